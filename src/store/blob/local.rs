//! New files in a folder, durable after one round of the disk instead of two, and without filling its queue.
//!
//! The usual order (write, sync the file, link it, sync the folder) waits for the disk twice. Here the bytes go to the disk
//! first, then the file gets its name, and then file and folder are synced at the same time, in one round. Where a journal
//! keeps the order of things (ext4, XFS), no name can outlive a power failure without all bytes behind it. On other file
//! systems the caller takes the usual way.
//!
//! Small objects go past the page cache: only a restart reads them. Large ones stay in it, for they are mapped next; they are
//! handed to the disk piece by piece, so that an acknowledgement meanwhile waits for one piece and not for all.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::syncer::{PAGE, Syncer};

/// Largest object that is written past the page cache: a group of the log with room to spare.
const LARGEST_DIRECT: usize = 8 << 20;
/// Bytes of a larger object that are handed to the disk at a time.
const PIECE: usize = 1 << 20;
/// Whether the disk, the quota or the size allowed to a file is full: `ENOSPC`, `EDQUOT`, `EFBIG`.
pub(super) fn is_full_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether the file system of a folder keeps the order that this module rests on.
#[cfg(target_os = "linux")]
pub(super) fn keeps_order(folder: &Path) -> bool {
    /// `f_type` of ext4 and its forebears, and of XFS.
    const ORDERED: [u64; 2] = [0xef53, 0x5846_5342];
    let kind = rustix::fs::statfs(folder).map(|found| u64::try_from(found.f_type));
    matches!(kind, Ok(Ok(kind)) if ORDERED.contains(&kind))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn keeps_order(_: &Path) -> bool {
    false
}

/// What became of a new file.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is there, whole and durable.
    Created,
    /// The name is taken.
    Exists,
    /// Nothing was done, and the usual way is to be taken: no folder yet, or the file system refuses.
    NotThisWay,
    /// Nothing is there.
    Failed(io::Error),
    /// It is there, and may not be durable.
    NotSynced(io::Error),
}

/// A name beside `path` as unfinished writes have it.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", rand::random::<u64>()));
    PathBuf::from(name)
}

/// Removes the files of a folder that are called so; tells how many there were. Blocking.
pub(super) fn sweep_unfinished(root: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry?;
        let suffix = entry.file_name().to_str().and_then(|name| name.rsplit_once('#'));
        let unfinished = suffix.is_some_and(|(_, suffix)| {
            !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
        });
        if unfinished && entry.file_type().is_file() && std::fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Puts a new file at `path`. Blocking.
pub(super) fn create(path: &Path, data: &Bytes, syncer: &Syncer) -> Outcome {
    let Some(folder) = path.parent() else {
        return Outcome::NotThisWay;
    };
    // As object_store calls them, so that they are swept with its own.
    let staged = unfinished(path);
    let written = if data.len() <= LARGEST_DIRECT {
        write_direct(&staged, data, syncer)
    } else {
        write_in_pieces(&staged, data)
    };
    let file = match written {
        Ok(file) => file,
        Err(error) => {
            let _ = std::fs::remove_file(&staged);
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
                    Outcome::NotThisWay
                }
                _ => Outcome::Failed(error),
            };
        }
    };
    let named = give_name(&staged, path);
    if named.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Outcome::Exists,
        Err(error) => Outcome::Failed(error),
        Ok(()) => match syncer.sync(&file, folder) {
            Ok(()) => Outcome::Created,
            Err(error) => Outcome::NotSynced(error),
        },
    }
}

/// Gives a file in the same folder the name `path`, unless that is taken.
#[cfg(target_os = "linux")]
fn give_name(staged: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, staged, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => link(staged, path),
        renamed => Ok(renamed?),
    }
}

#[cfg(not(target_os = "linux"))]
fn give_name(staged: &Path, path: &Path) -> io::Result<()> {
    link(staged, path)
}

fn link(staged: &Path, path: &Path) -> io::Result<()> {
    std::fs::hard_link(staged, path)?;
    std::fs::remove_file(staged)
}

/// Gives a file the name `path` as well. Blocking. The order is the usual one, for this is not on anybody's way.
pub(super) fn adopt(path: &Path, file: &Path) -> Outcome {
    let synced = File::open(file).and_then(|file| file.sync_all());
    match synced.and_then(|()| std::fs::hard_link(file, path)) {
        Ok(()) => match path
            .parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        {
            Ok(()) => Outcome::Created,
            Err(error) => Outcome::NotSynced(error),
        },
        Err(error) => match error.kind() {
            io::ErrorKind::AlreadyExists => Outcome::Exists,
            io::ErrorKind::NotFound | io::ErrorKind::CrossesDevices | io::ErrorKind::Unsupported => {
                Outcome::NotThisWay
            }
            _ => Outcome::Failed(error),
        },
    }
}

/// A new file with these bytes, on the disk and in the page cache.
fn write_in_pieces(path: &Path, data: &Bytes) -> io::Result<File> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    for piece in data.chunks(PIECE) {
        file.write_all(piece)?;
        file.sync_data()?;
    }
    Ok(file)
}

/// A file with these bytes, on the disk but for its metadata.
#[cfg(target_os = "linux")]
fn write_direct(path: &Path, data: &Bytes, syncer: &Syncer) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut pages = syncer.borrow_pages(data.len().div_ceil(PAGE));
    let padded: &mut [u8] = bytemuck::cast_slice_mut(&mut pages);
    padded[..data.len()].copy_from_slice(data);
    padded[data.len()..].fill(0);
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed())
        .open(path)?;
    file.write_all(padded)?;
    if padded.len() != data.len() {
        file.set_len(data.len() as u64)?;
    }
    syncer.give_pages_back(pages);
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn write_direct(_: &Path, _: &Bytes, _: &Syncer) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_becomes_an_object_and_never_another_ones() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (file, path) = (dir.path().join("file"), dir.path().join("object"));
        std::fs::write(&file, b"whole").expect("written");
        let nowhere = adopt(&dir.path().join("none/x"), &file);
        assert!(matches!(nowhere, Outcome::NotThisWay), "{nowhere:?}");
        let first = adopt(&path, &file);
        assert!(matches!(first, Outcome::Created), "{first:?}");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(std::fs::read(&path).expect("there"), b"whole");
        std::fs::write(&file, b"other").expect("written");
        let second = adopt(&path, &file);
        assert!(matches!(second, Outcome::Exists), "{second:?}");
        assert_eq!(std::fs::read(&path).expect("there"), b"whole");
    }

    #[test]
    fn files_of_every_length_are_whole_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let syncer = Syncer::default();
        for len in [0, 1, 4095, 4096, 4097, 70_000, LARGEST_DIRECT, LARGEST_DIRECT + 1] {
            let path = dir.path().join(len.to_string());
            let data: Bytes = (0..len).map(|i| (i % 251) as u8).collect();
            match create(&path, &data, &syncer) {
                Outcome::Created => {}
                // Some file systems take no such writes: then nothing may be left.
                Outcome::NotThisWay => {
                    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
                    continue;
                }
                other => panic!("{len} bytes: {other:?}"),
            }
            assert_eq!(std::fs::read(&path).expect("there"), data);
            let again = create(&path, &Bytes::from_static(b"other"), &syncer);
            assert!(matches!(again, Outcome::Exists), "{again:?}");
            assert_eq!(std::fs::read(&path).expect("there"), data);
        }
        let names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("there")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        assert!(names.iter().all(|name| !name.contains('#')), "{names:?}");
        let nowhere = create(&dir.path().join("none/x"), &Bytes::new(), &syncer);
        assert!(matches!(nowhere, Outcome::NotThisWay), "{nowhere:?}");
    }
}

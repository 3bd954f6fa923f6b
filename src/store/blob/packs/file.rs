//! The files that packs are: made with their place on the disk, written past the page cache, and used again.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::frame;
use crate::store::blob::reserve::allocate;
use crate::store::blob::syncer::{PAGE, Page, sync_folder};

/// Pages of a pack: a hundred objects of 64 writers.
pub(super) const PAGES: usize = 2048;
/// Ending of its name.
pub(super) const SUFFIX: &str = "pack";

/// A pack without objects, open for writing, its header on the disk.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) generation: u64,
}

pub(super) fn offset(page: usize) -> u64 {
    (page * PAGE) as u64
}

pub(super) fn write_at(file: &mut File, page: usize, bytes: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset(page)))?;
    file.write_all(bytes)
}

/// Makes a folder below `root`; it is there after a power failure.
pub(super) fn make_folder(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let above = folder
        .ancestors()
        .skip(1)
        .take_while(|above| above.starts_with(root));
    for above in above {
        sync_folder(above)?;
    }
    Ok(())
}

/// A new pack in a folder, with its place on the disk. Blocking.
pub(super) fn make(folder: &Path) -> io::Result<Fresh> {
    let path = folder.join(format!("{:016x}.{SUFFIX}", rand::random::<u64>()));
    let made = (|| {
        let mut file = open_direct(&path, true)?;
        allocate(&file, 0, offset(PAGES))?;
        let generation = start_generation(&mut file)?;
        file.sync_all()?;
        sync_folder(folder)?;
        Ok((file, generation))
    })();
    match made {
        Ok((file, generation)) => Ok(Fresh {
            path,
            file,
            generation,
        }),
        Err(error) => {
            let _ = std::fs::remove_file(&path);
            Err(error)
        }
    }
}

/// A pack whose objects are gone, for others. Blocking.
pub(super) fn again(path: &Path, open: Option<File>) -> io::Result<Fresh> {
    if !is_ours_alone(path) {
        return Err(io::Error::other("it has another name, too"));
    }
    let mut file = match open {
        Some(file) => file,
        None => open_direct(path, false)?,
    };
    if file.metadata()?.len() < offset(PAGES) {
        return Err(io::Error::other("it was cut to what it held"));
    }
    let generation = start_generation(&mut file)?;
    file.sync_data()?;
    Ok(Fresh {
        path: path.to_owned(),
        file,
        generation,
    })
}

/// Whether a file has one name only: a backup by hard links gives it another.
#[cfg(unix)]
fn is_ours_alone(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.nlink() == 1)
}

#[cfg(not(unix))]
fn is_ours_alone(_: &Path) -> bool {
    false
}

/// Writes a header with a generation that no frame there is of.
fn start_generation(file: &mut File) -> io::Result<u64> {
    let generation = rand::random();
    let mut page = [Page::ZERO];
    frame::put_header(bytemuck::cast_slice_mut(&mut page), generation);
    write_at(file, 0, bytemuck::cast_slice(&page))?;
    Ok(generation)
}

/// Opens a file to write past the page cache.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path, new: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    File::options()
        .write(true)
        .create_new(new)
        .custom_flags(flags)
        .open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path, _: bool) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

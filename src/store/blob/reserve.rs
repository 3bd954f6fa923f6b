//! Space of a folder that is put by, for a disk that is full: deleting is how one gets space back, and a deletion is a log
//! object first. So is a restart, which ends the epoch of the owner before. And so is what a person said of two images, which
//! comes before the deletions that follow from it: verdicts may take half of the space.
//!
//! The space is that of a file without content. It is cut by a piece whenever one of these finds no space; the rest stays out of
//! reach of the uploads that filled the disk. It is given up whole when the folder is opened, and made again when all of it is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::Purpose;

/// Log objects of a thousand deletions, and what a restart writes: fences, and keys that change places in their file.
const WHOLE: u64 = 4 << 20;
/// What one deletion gets: its object, and a block or two for the folder that names it.
const PIECE: u64 = 64 << 10;
const NAME: &str = "reserve";

/// The space put by.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// Its file, where there is one, and how long it is.
    file: Mutex<Option<(File, u64)>>,
}

impl Reserve {
    /// The reserve of a folder, given up. Blocking.
    pub(super) fn given_up(folder: &Path) -> Self {
        let path = folder.join(NAME);
        let _ = std::fs::remove_file(&path);
        Self {
            path,
            file: Mutex::default(),
        }
    }

    /// Takes as much as there is of what it lacks; tells how much it has. Blocking.
    pub(super) fn fill(&self) -> io::Result<u64> {
        let mut held = self.file.lock();
        if !matches!(*held, Some((_, WHOLE))) {
            if held.is_none() {
                let open = File::options()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&self.path);
                *held = Some((open?, 0));
            }
            if let Some((file, len)) = &mut *held {
                while *len < WHOLE && allocate(file, *len, PIECE).is_ok() {
                    *len += PIECE;
                }
                // A piece that was taken in part is none.
                file.set_len(*len)?;
            }
        }
        Ok(held.as_ref().map_or(0, |(_, len)| *len))
    }

    /// Gives a piece up; tells whether there was one for that purpose. Blocking.
    pub(super) fn give(&self, purpose: Purpose) -> bool {
        let kept = match purpose {
            Purpose::Deletion => 0,
            Purpose::Verdict => WHOLE / 2,
        };
        self.cut(kept, |len| len.saturating_sub(PIECE))
    }

    /// Gives all of it up; tells whether there was any. Blocking.
    pub(super) fn give_all(&self) -> bool {
        self.cut(0, |_| 0)
    }

    /// Shortens the file if it is longer than `kept`.
    fn cut(&self, kept: u64, less: impl FnOnce(u64) -> u64) -> bool {
        let mut held = self.file.lock();
        let Some((file, len)) = held.as_mut().filter(|(_, len)| *len > kept) else {
            return false;
        };
        let less = less(*len);
        // A journal gives space back with its next commit.
        let cut = file.set_len(less).and_then(|()| file.sync_all());
        if cut.is_ok() {
            *len = less;
        }
        cut.is_ok()
    }
}

/// Takes space for a part of a file, whose content stays as it is. Blocking.
#[cfg(target_os = "linux")]
pub(super) fn allocate(file: &File, at: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), at, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write(file, at, len),
        done => Ok(done?),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn allocate(file: &File, at: u64, len: u64) -> io::Result<()> {
    write(file, at, len)
}

fn write(mut file: &File, at: u64, len: u64) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom, Write as _};
    file.seek(SeekFrom::Start(at))?;
    io::copy(&mut io::Read::take(io::repeat(0), len), &mut file)?;
    file.flush()?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_until_nothing_is_left_and_come_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join(NAME);
        let reserve = Reserve::given_up(dir.path());
        assert!(!reserve.give(Purpose::Deletion), "nothing was put by");
        assert_eq!(reserve.fill().expect("filled"), WHOLE);
        let taken =
            || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&file).expect("there")) * 512;
        assert!(taken() >= WHOLE, "it takes space: {}", taken());
        for left in (0..WHOLE / PIECE).rev() {
            let verdicts = left >= WHOLE / PIECE / 2;
            if !verdicts {
                assert!(!reserve.give(Purpose::Verdict), "{left} pieces are for deletions");
            }
            assert!(reserve.give(if verdicts {
                Purpose::Verdict
            } else {
                Purpose::Deletion
            }));
            assert!(
                taken() <= left * PIECE + PIECE,
                "{left} pieces are left: {}",
                taken()
            );
        }
        assert!(!reserve.give(Purpose::Deletion));
        assert_eq!(reserve.fill().expect("filled"), WHOLE);
        assert!(reserve.give_all() && !reserve.give_all());
        assert_eq!(taken(), 0);
        assert_eq!(reserve.fill().expect("filled"), WHOLE);
        drop(reserve);
        let reserve = Reserve::given_up(dir.path());
        assert!(!file.exists() && !reserve.give(Purpose::Deletion));
    }
}

//! Files of removed log objects, kept for later ones.
//!
//! A file that is there already, with its place on the disk, is written faster than a new one; and ext4 without a journal passes
//! over every file that was deleted in the last minutes, one by one, whenever it makes a new one: where the log removes a thousand
//! files a second, a new one soon takes as long as its sync.
//!
//! What was an object becomes a spare when its name is gone from the disk, not before: its folder is synced by the next
//! object that is put there. A spare is called as an unfinished write is, in its object's folder, and swept like one.
//!
//! They are as many as one segment's log has, for that is what becomes spare at once and is written again until the next seal.
//! They are given back when the disk is full, when no object was put or removed for minutes, and when the store is dropped.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Spares of all folders together: the log of a segment of 32,768 images that 64 writers sent.
const MOST: usize = 512;
/// Their bytes together: that log is of 45 MB.
const MOST_BYTES: u64 = 64 << 20;
/// Spares that were not used for so long go.
const IDLE: Duration = Duration::from_secs(300);
/// Sizes of the files that are kept.
const KEPT: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 20;
/// What writes past the page cache are multiples of, in memory and on disk; no disk has larger blocks.
pub(super) const PAGE: usize = 4096;

/// Memory that is written to the disk as it is.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
pub(super) struct Page([u8; PAGE]);

/// What new objects are made of: spare files, and memory on its way to them.
#[derive(Default)]
pub(super) struct Spares {
    folders: Mutex<Folders>,
    pages: Mutex<Vec<Page>>,
    /// Idle ones: as many as there ever were objects put at the same time.
    helpers: Mutex<Vec<Helper>>,
}

/// A thread that syncs a folder while another one syncs a file in it. It ends with this value.
struct Helper {
    folders: mpsc::SyncSender<PathBuf>,
    answers: mpsc::Receiver<io::Result<()>>,
}

impl Helper {
    /// `None` when the system has no thread for it.
    fn start() -> Option<Self> {
        let (folders, asked) = mpsc::sync_channel::<PathBuf>(1);
        let (answer, answers) = mpsc::sync_channel(1);
        let serve = move || {
            while let Ok(folder) = asked.recv() {
                // Whoever asked takes the answer before it asks again.
                let _ = answer.send(sync_folder(&folder));
            }
        };
        let thread = std::thread::Builder::new().name("folder-sync".to_owned());
        thread.spawn(serve).ok()?;
        Some(Self { folders, answers })
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[derive(Debug, Default)]
struct Folders {
    of: HashMap<PathBuf, Files>,
    count: usize,
    bytes: u64,
    /// When one was last kept or taken.
    used: Option<Instant>,
}

/// A file and its length.
type Spare = (PathBuf, u64);

#[derive(Debug, Default)]
struct Files {
    /// Their names may come back after a power failure.
    removed: Vec<Spare>,
    free: Vec<Spare>,
}

/// A name in `folder` as unfinished writes have it.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("#{}", rand::random::<u64>()));
    PathBuf::from(name)
}

impl Spares {
    /// Takes an object's name away and keeps its file; `false` when it was not kept and is to be removed. Blocking.
    pub(super) fn keep(&self, path: &Path) -> bool {
        let (Some(folder), Some(len)) = (path.parent(), length_if_ours_alone(path)) else {
            return false;
        };
        {
            let folders = self.folders.lock();
            if folders.count >= MOST || folders.bytes + len > MOST_BYTES {
                return false;
            }
        }
        let spare = unfinished(&folder.join("spare"));
        if std::fs::rename(path, &spare).is_err() {
            return false;
        }
        let mut folders = self.folders.lock();
        folders.count += 1;
        folders.bytes += len;
        folders.used = Some(Instant::now());
        let files = folders.of.entry(folder.to_owned()).or_default();
        files.removed.push((spare, len));
        true
    }

    /// A file of a folder that may be written, for an object of `len` bytes.
    pub(super) fn take(&self, folder: &Path, len: usize) -> Option<PathBuf> {
        if !fits(len as u64) {
            return None;
        }
        let mut folders = self.folders.lock();
        let (spare, len) = folders.of.get_mut(folder)?.free.pop()?;
        folders.count = folders.count.saturating_sub(1);
        folders.bytes = folders.bytes.saturating_sub(len);
        folders.used = Some(Instant::now());
        Some(spare)
    }

    /// Syncs a new object's file and its folder at the same time. Blocking.
    pub(super) fn sync(&self, file: &File, folder: &Path) -> io::Result<()> {
        let leaving = {
            let mut folders = self.folders.lock();
            folders
                .of
                .get_mut(folder)
                .map(|files| std::mem::take(&mut files.removed))
        };
        let synced = self.sync_both(file, folder);
        if let Some(leaving) = leaving.filter(|leaving| !leaving.is_empty()) {
            let mut folders = self.folders.lock();
            let files = folders.of.entry(folder.to_owned()).or_default();
            match &synced {
                Ok(()) => files.free.extend(leaving),
                Err(_) => files.removed.extend(leaving),
            }
        }
        synced
    }

    fn sync_both(&self, file: &File, folder: &Path) -> io::Result<()> {
        let idle = self.helpers.lock().pop();
        let Some(helper) = idle.or_else(Helper::start) else {
            return file.sync_all().and(sync_folder(folder));
        };
        let gone = |_| io::Error::other("the thread that syncs a folder is gone");
        let asked = helper.folders.send(folder.to_owned());
        let synced = file.sync_all();
        asked.map_err(|_| gone(mpsc::RecvError))?;
        let other = helper.answers.recv().map_err(gone)?;
        self.helpers.lock().push(helper);
        synced.and(other)
    }

    /// Memory with whatever it held.
    pub(super) fn borrow_pages(&self, count: usize) -> Vec<Page> {
        let mut pages = std::mem::take(&mut *self.pages.lock());
        pages.resize(count, Page([0; PAGE]));
        pages
    }

    /// Keeps memory for the next one, unless it is more than most need.
    pub(super) fn give_pages_back(&self, pages: Vec<Page>) {
        if fits((pages.len() * PAGE) as u64) {
            *self.pages.lock() = pages;
        }
    }

    /// Gives the space of all spares back; tells whether there were any. Blocking.
    pub(super) fn clear(&self) -> bool {
        let folders = std::mem::take(&mut *self.folders.lock());
        let mut any = false;
        for files in folders.of.into_values() {
            for (spare, _) in files.removed.into_iter().chain(files.free) {
                any |= std::fs::remove_file(spare).is_ok();
            }
        }
        any
    }

    /// [`Self::clear`] where none was kept or taken in the last minutes before `now`. Blocking.
    pub(super) fn clear_idle(&self, now: Instant) {
        let used = self.folders.lock().used;
        if used.is_some_and(|used| now.saturating_duration_since(used) >= IDLE) {
            self.clear();
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.clear();
    }
}

impl std::fmt::Debug for Spares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spares")
            .field("count", &self.folders.lock().count)
            .finish_non_exhaustive()
    }
}

/// Whether spares are for objects of this many bytes: of those that a disk takes as they are, in whole pages.
fn fits(len: u64) -> bool {
    KEPT.contains(&len) && len.is_multiple_of(PAGE as u64)
}

/// Length of an object that is a file of the sizes kept and that nobody has given another name.
#[cfg(unix)]
fn length_if_ours_alone(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::symlink_metadata(path).ok()?;
    (meta.is_file() && meta.nlink() == 1 && fits(meta.len())).then_some(meta.len())
}

#[cfg(not(unix))]
fn length_if_ours_alone(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(folder: &Path, name: &str, len: usize) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, vec![7; len]).expect("written");
        path
    }

    #[test]
    fn a_removed_file_is_spare_once_its_folder_is_synced() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path();
        let spares = Spares::default();
        let large = object(folder, "large", 20 << 10);
        assert!(spares.keep(&large) && !large.exists());
        assert_eq!(spares.take(folder, 20 << 10), None, "its name may come back");
        let other = File::open(object(folder, "other", 1)).expect("there");
        for _ in 0..2 {
            let missing = spares.sync(&other, &folder.join("missing"));
            assert!(missing.is_err(), "a folder that cannot be synced");
        }
        assert_eq!(spares.take(folder, 20 << 10), None, "not this folder");
        spares.sync(&other, folder).expect("synced");
        let spare = spares.take(folder, 20 << 10).expect("one");
        assert_eq!(std::fs::metadata(&spare).expect("there").len(), 20 << 10);
        assert_eq!(spares.take(folder, 20 << 10), None, "taken once");
        assert!(!spares.clear(), "nothing is left");
    }

    #[test]
    fn files_that_others_may_read_or_that_do_not_fit_are_not_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path();
        let spares = Spares::default();
        for (name, len) in [("small", 4096), ("uneven", 20_000), ("huge", 2 << 20)] {
            let path = object(folder, name, len);
            assert!(!spares.keep(&path) && path.exists(), "{name}");
        }
        let backed_up = object(folder, "backed-up", 20 << 10);
        std::fs::hard_link(&backed_up, folder.join("backup")).expect("linked");
        assert!(!spares.keep(&backed_up) && backed_up.exists());
        assert!(!spares.keep(&folder.join("missing")));
        for n in 0..=MOST {
            assert_eq!(spares.keep(&object(folder, &n.to_string(), 16 << 10)), n < MOST);
        }
        assert!(spares.clear());
        assert_eq!(
            std::fs::read_dir(folder).expect("there").count(),
            6,
            "the objects"
        );
    }

    #[test]
    fn spares_take_so_many_bytes_and_go_when_they_are_not_used() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path();
        let left = || std::fs::read_dir(folder).expect("there").count();
        let spares = Spares::default();
        let fit = usize::try_from(MOST_BYTES >> 20).expect("few");
        for n in 0..=fit {
            let path = folder.join(n.to_string());
            std::fs::File::create(&path)
                .and_then(|file| file.set_len(1 << 20))
                .expect("made");
            assert_eq!(spares.keep(&path), n < fit, "{n}");
        }
        spares.clear_idle(Instant::now());
        assert_eq!(left(), fit + 1);
        spares.clear_idle(Instant::now() + IDLE);
        assert_eq!(left(), 1, "the one that did not fit");
        let small = object(folder, "small", 16 << 10);
        assert!(spares.keep(&small), "there is room again");
        drop(spares);
        assert_eq!(left(), 1);
    }
}

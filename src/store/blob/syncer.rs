//! Syncs a new file and its folder at the same time, and lends memory that a disk takes as it is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use parking_lot::Mutex;

/// What writes past the page cache are multiples of, in memory and on disk; no disk has larger blocks.
pub(super) const PAGE: usize = 4096;
/// Most memory that is kept for the next write, in pages: a group of many writers.
const MOST_KEPT: usize = 256;

/// Memory that is written to the disk as it is.
#[derive(Debug, Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
pub(super) struct Page([u8; PAGE]);

impl Page {
    pub(super) const ZERO: Self = Self([0; PAGE]);
}

/// What writes new files: threads that sync folders, and memory.
#[derive(Default)]
pub(super) struct Syncer {
    pages: Mutex<Vec<Page>>,
    /// Idle ones: as many as there ever were files written at the same time.
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

/// Makes the names in a folder durable. Blocking.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Syncer {
    /// Syncs a new file and its folder. Blocking.
    pub(super) fn sync(&self, file: &File, folder: &Path) -> io::Result<()> {
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
        pages.resize(count, Page::ZERO);
        pages
    }

    /// Keeps memory for the next one, unless it is more than most need.
    pub(super) fn give_pages_back(&self, pages: Vec<Page>) {
        if pages.len() <= MOST_KEPT {
            *self.pages.lock() = pages;
        }
    }
}

impl std::fmt::Debug for Syncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syncer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_synced_is_an_error_and_the_next_one_is_synced() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = File::create(dir.path().join("file")).expect("made");
        let syncer = Syncer::default();
        for _ in 0..2 {
            assert!(syncer.sync(&file, &dir.path().join("missing")).is_err());
            syncer.sync(&file, dir.path()).expect("synced");
        }
    }
}

//! Log objects of a folder, many to a file.
//!
//! An object in a file of its own waits for the disk twice: for its bytes, and for the file and its name. A pack is a file that
//! has its place on the disk before anything is put there, so that an object is written into it and synced in one go. Objects are
//! put by a folder's shelf, one after the other: that is what makes create-if-absent hold, for packs are written by the sole
//! owner of a folder. Every other object there (a small one, one that finds no room) is a file, under the same lock.
//!
//! A pack is full, then its objects are removed one after the other, and when the last is gone it gets another generation and is
//! written again. An object that was recycled, and not deleted, may be back after a restart if its pack still has others.

mod file;
mod frame;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};

use self::file::{Fresh, PAGES, SUFFIX, again, make, make_folder, offset, write_at};
use super::BlobMeta;
use super::local::{self, Outcome};
use super::syncer::{PAGE, Page, Syncer};

/// Folder whose objects go into packs.
const LOG: &str = "wal";
/// Sizes of the objects that go into packs: those of many writers. A shard that few write to gets no pack.
const SIZES: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 20;
/// Packs without objects that are kept for later ones, of all folders together: three logs of a segment of 32,768 images.
const MOST_FREE: usize = 16;
/// They are given up when nothing was put for so long.
const IDLE: Duration = Duration::from_secs(300);

/// All packs of a folder.
#[derive(Debug)]
pub(super) struct Packs {
    root: PathBuf,
    /// Whether objects are put here: by the sole owner, where the disk takes them.
    writable: AtomicBool,
    index: RwLock<BTreeMap<String, Place>>,
    shelves: Mutex<HashMap<PathBuf, Arc<Mutex<Shelf>>>>,
    /// Packs on shelves that have no objects.
    free: Arc<AtomicUsize>,
    /// When an object was last put.
    used: Mutex<Option<Instant>>,
}

/// A pack with objects.
#[derive(Debug)]
struct Pack {
    path: PathBuf,
    generation: u64,
    /// Objects that are not removed.
    live: AtomicUsize,
}

/// Where an object is.
#[derive(Debug, Clone)]
struct Place {
    pack: Arc<Pack>,
    first: usize,
    len: usize,
    modified: DateTime<Utc>,
    /// Nobody knows whether its bytes are there: the disk failed, and again when they were to be taken back.
    in_doubt: bool,
}

/// The packs that objects of one folder are put into.
#[derive(Debug, Default)]
struct Shelf {
    current: Option<Current>,
    free: Vec<Fresh>,
    /// Whether another one is being made, or could not be made.
    asked: bool,
    /// Whether the folder is there, durably.
    made: bool,
    buffer: Vec<Page>,
}

#[derive(Debug)]
struct Current {
    pack: Arc<Pack>,
    file: File,
    /// First page that is free.
    next: usize,
}

impl From<Fresh> for Current {
    fn from(fresh: Fresh) -> Self {
        Self {
            pack: Arc::new(Pack {
                path: fresh.path,
                generation: fresh.generation,
                live: AtomicUsize::new(0),
            }),
            file: fresh.file,
            next: 1,
        }
    }
}

/// How an object is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// For good.
    Durable,
    /// It may be back after a restart.
    Lazy,
}

impl Packs {
    /// Finds what the packs of a folder hold. Blocking.
    ///
    /// # Errors
    /// As reading them fails. Damage is no error: what can be told of an object is its name, and the rest is for its reader.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let mut index = BTreeMap::new();
        for path in paths(root)? {
            let mut bytes = Vec::new();
            let mut file = File::open(&path)?;
            file.read_to_end(&mut bytes)?;
            let modified = file.metadata()?.modified()?.into();
            let (generation, frames) = frame::scan(&bytes);
            let pack = Arc::new(Pack {
                path,
                generation: generation.unwrap_or_default(),
                live: AtomicUsize::new(frames.len()),
            });
            for frame in frames {
                let place = Place {
                    pack: Arc::clone(&pack),
                    first: frame.first,
                    len: frame.len,
                    modified,
                    in_doubt: false,
                };
                index.insert(frame.name, place);
            }
        }
        Ok(Self {
            root: root.to_owned(),
            writable: AtomicBool::new(false),
            index: RwLock::new(index),
            shelves: Mutex::default(),
            free: Arc::default(),
            used: Mutex::default(),
        })
    }

    /// The same for the sole owner of the folder, who puts objects here. What was put and not acknowledged is there to stay, and
    /// packs without objects go. Blocking.
    ///
    /// # Errors
    /// As syncing the packs fails.
    pub(super) fn own(&self) -> io::Result<()> {
        for path in paths(&self.root)? {
            if self.index.read().values().any(|place| place.pack.path == path) {
                File::open(&path)?.sync_all()?;
            } else {
                std::fs::remove_file(&path)?;
            }
        }
        self.writable
            .store(local::keeps_order(&self.root), Ordering::Relaxed);
        Ok(())
    }

    /// [`Self::own`], whatever the file system.
    #[cfg(test)]
    pub(super) fn own_anywhere(&self) {
        self.own().expect("readable");
        self.writable.store(true, Ordering::Relaxed);
    }

    /// Whether objects of that name are put here, and nowhere without this being asked.
    pub(super) fn keeps(&self, name: &str) -> bool {
        self.writable.load(Ordering::Relaxed) && is_log(name)
    }

    /// Puts an object into a pack, or into a file of its own. Blocking.
    pub(super) fn create(&self, name: &str, data: &Bytes, syncer: &Syncer) -> Outcome {
        let path = self.root.join(name);
        let Some(folder) = path.parent() else {
            return Outcome::NotThisWay;
        };
        let shelf = self.shelf(folder);
        let mut held = shelf.lock();
        if let Some(place) = self.place(name) {
            return match place.sync() {
                Ok(()) => Outcome::Exists,
                Err(error) => Outcome::NotSynced(error),
            };
        }
        if !held.made {
            if let Err(error) = make_folder(&self.root, folder) {
                return Outcome::Failed(error);
            }
            held.made = true;
        }
        let fits = SIZES.contains(&data.len()) && name.len() <= frame::LONGEST_NAME;
        if fits && path.symlink_metadata().is_err() {
            let outcome = self.append(&mut held, folder, name, data);
            if !matches!(outcome, Outcome::NotThisWay) {
                self.look_ahead(&shelf, &mut held, folder);
                return outcome;
            }
        }
        local::create(&path, data, syncer)
    }

    /// The object, if it stands here. Blocking.
    ///
    /// # Errors
    /// As reading fails, or when nobody knows whether it is there.
    pub(super) fn get(&self, name: &str) -> io::Result<Option<Bytes>> {
        let Some(place) = self.place(name) else {
            return Ok(None);
        };
        if place.in_doubt {
            return Err(io::Error::other("the disk failed when it was written"));
        }
        let mut pages = Vec::new();
        let mut file = File::open(&place.pack.path)?;
        file.seek(SeekFrom::Start(offset(place.first)))?;
        let wanted = frame::pages(place.len) * PAGE;
        file.take(wanted as u64).read_to_end(&mut pages)?;
        let object = frame::object(&pages, place.pack.generation, name, place.len);
        Ok(object.map(|range| Bytes::from(pages).slice(range)))
    }

    /// Whether an object stands here.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.index.read().contains_key(name)
    }

    /// What stands here under a folder.
    pub(super) fn list(&self, prefix: &str) -> Vec<BlobMeta> {
        let start = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        let index = self.index.read();
        let of_folder = index
            .range(start.clone()..)
            .take_while(|(name, _)| name.starts_with(&start));
        of_folder
            .map(|(name, place)| BlobMeta {
                name: name.clone(),
                size: place.len as u64,
                modified: place.modified,
            })
            .collect()
    }

    /// Removes an object; tells whether it stood here. Blocking.
    ///
    /// # Errors
    /// As writing fails; the object is still there.
    pub(super) fn remove(&self, name: &str, removal: Removal) -> io::Result<bool> {
        let path = self.root.join(name);
        let Some(folder) = path.parent().filter(|_| self.contains(name)) else {
            return Ok(false);
        };
        let shelf = self.shelf(folder);
        let mut held = shelf.lock();
        let Some(place) = self.place(name) else {
            return Ok(false);
        };
        if removal == Removal::Durable {
            place.erase()?;
        }
        self.index.write().remove(name);
        if place.pack.live.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.release(&mut held, &place.pack);
        }
        Ok(true)
    }

    /// Gives the space of all packs without objects back; tells whether there were any. Blocking.
    pub(super) fn clear(&self) -> bool {
        let shelves: Vec<_> = self.shelves.lock().values().cloned().collect();
        let mut any = false;
        for shelf in shelves {
            let mut held = shelf.lock();
            let unused = |current: &mut Current| current.pack.live.load(Ordering::Relaxed) == 0;
            if let Some(current) = held.current.take_if(unused) {
                any |= std::fs::remove_file(&current.pack.path).is_ok();
            }
            for fresh in std::mem::take(&mut held.free) {
                self.free.fetch_sub(1, Ordering::Relaxed);
                any |= std::fs::remove_file(fresh.path).is_ok();
            }
        }
        any
    }

    /// [`Self::clear`] where nothing was put in the last minutes before `now`. Blocking.
    pub(super) fn clear_idle(&self, now: Instant) {
        let used = *self.used.lock();
        if used.is_some_and(|used| now.saturating_duration_since(used) >= IDLE) {
            self.clear();
        }
    }

    fn place(&self, name: &str) -> Option<Place> {
        self.index.read().get(name).cloned()
    }

    fn shelf(&self, folder: &Path) -> Arc<Mutex<Shelf>> {
        let mut shelves = self.shelves.lock();
        if let Some(shelf) = shelves.get(folder) {
            return Arc::clone(shelf);
        }
        Arc::clone(shelves.entry(folder.to_owned()).or_default())
    }

    /// Writes an object behind the last one. [`Outcome::NotThisWay`] when there is no pack for it.
    fn append(&self, shelf: &mut Shelf, folder: &Path, name: &str, data: &Bytes) -> Outcome {
        let pages = frame::pages(data.len());
        if shelf.current.as_ref().is_none_or(|c| c.next + pages > PAGES) {
            let Some(next) = self.take(shelf, folder) else {
                return Outcome::NotThisWay;
            };
            if let Some(full) = shelf.current.replace(next.into())
                && full.pack.live.load(Ordering::Relaxed) == 0
            {
                self.release(shelf, &full.pack);
            }
        }
        let Some(current) = &mut shelf.current else {
            return Outcome::NotThisWay;
        };
        if shelf.buffer.len() < pages {
            shelf.buffer.resize(pages, Page::ZERO);
        }
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut shelf.buffer[..pages]);
        frame::put_frame(bytes, current.pack.generation, name, data);
        let mut place = Place {
            pack: Arc::clone(&current.pack),
            first: current.next,
            len: data.len(),
            modified: Utc::now(),
            in_doubt: false,
        };
        let written = write_at(&mut current.file, current.next, bytes);
        let outcome = match written.and_then(|()| current.file.sync_data()) {
            Ok(()) => {
                current.next += pages;
                Outcome::Created
            }
            // Nothing more is written where the disk failed.
            Err(error) => {
                tracing::warn!(name, %error, "an object could not be written into its pack");
                let abandoned = place.erase();
                shelf.current = None;
                if abandoned.is_ok() {
                    return Outcome::NotThisWay;
                }
                place.in_doubt = true;
                Outcome::NotSynced(error)
            }
        };
        place.pack.live.fetch_add(1, Ordering::Relaxed);
        self.index.write().insert(name.to_owned(), place);
        *self.used.lock() = Some(Instant::now());
        outcome
    }

    /// A pack to write into.
    fn take(&self, shelf: &mut Shelf, folder: &Path) -> Option<Fresh> {
        shelf.asked = false;
        if let Some(fresh) = shelf.free.pop() {
            self.free.fetch_sub(1, Ordering::Relaxed);
            return Some(fresh);
        }
        match make(folder) {
            Ok(fresh) => Some(fresh),
            Err(error) => {
                // A file system that takes no such writes will take none later.
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) {
                    self.writable.store(false, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// Has the next pack made while there is still room in this one.
    fn look_ahead(&self, shelf: &Arc<Mutex<Shelf>>, held: &mut Shelf, folder: &Path) {
        let half_full = held.current.as_ref().is_some_and(|c| c.next > PAGES / 2);
        if !half_full || held.asked || !held.free.is_empty() {
            return;
        }
        held.asked = true;
        let (shelf, folder, free) = (Arc::clone(shelf), folder.to_owned(), Arc::clone(&self.free));
        let work = move || {
            if let Ok(fresh) = make(&folder) {
                shelf.lock().free.push(fresh);
                free.fetch_add(1, Ordering::Relaxed);
            }
        };
        // Without a thread it is made when it is needed.
        let _ = std::thread::Builder::new()
            .name("next-pack".to_owned())
            .spawn(work);
    }

    /// What becomes of a pack whose last object is gone.
    fn release(&self, shelf: &mut Shelf, pack: &Arc<Pack>) {
        let is_current = |current: &mut Current| Arc::ptr_eq(&current.pack, pack);
        if let Some(current) = shelf.current.take_if(is_current) {
            shelf.current = again(&pack.path, Some(current.file)).ok().map(Current::from);
            if shelf.current.is_some() {
                return;
            }
        } else if shelf.current.is_some()
            // Nothing more is put into the folder of an earlier epoch.
            && self.free.load(Ordering::Relaxed) < MOST_FREE
            && let Ok(fresh) = again(&pack.path, None)
        {
            shelf.free.push(fresh);
            self.free.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let _ = std::fs::remove_file(&pack.path);
    }
}

impl Drop for Packs {
    fn drop(&mut self) {
        self.clear();
        for shelf in self.shelves.lock().values() {
            // Room that nothing will be put into: the next owner starts another one.
            if let Some(current) = shelf.lock().current.take() {
                let _ = current.file.set_len(offset(current.next));
            }
        }
    }
}

impl Place {
    fn sync(&self) -> io::Result<()> {
        if self.in_doubt {
            return Err(io::Error::other("the disk failed when it was written"));
        }
        File::open(&self.pack.path)?.sync_all()
    }

    /// Makes the object one that was never there. It is whole until its head is gone.
    fn erase(&self) -> io::Result<()> {
        let mut file = File::options().read(true).write(true).open(&self.pack.path)?;
        let last = self.first + frame::pages(self.len) - 1;
        let mut page = [0; PAGE];
        file.seek(SeekFrom::Start(offset(last)))?;
        file.read_exact(&mut page)?;
        frame::erase_tail(&mut page);
        write_at(&mut file, last, &page)?;
        file.sync_data()?;
        write_at(&mut file, self.first, &[0; PAGE])?;
        file.sync_data()
    }
}

fn is_log(name: &str) -> bool {
    name.split_once('/').is_some_and(|(folder, _)| folder == LOG)
}

/// Whether a name in the listing of a folder is that of a pack.
pub(super) fn is_pack(name: &str) -> bool {
    is_log(name) && name.rsplit_once('.').is_some_and(|(_, suffix)| suffix == SUFFIX)
}

/// All packs of a folder.
fn paths(root: &Path) -> io::Result<Vec<PathBuf>> {
    let log = root.join(LOG);
    if !log.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(log).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() && entry.path().extension().is_some_and(|suffix| suffix == SUFFIX) {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;

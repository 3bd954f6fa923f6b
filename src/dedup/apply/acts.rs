//! The acts of a journal, and how one is taken back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use super::{copy, hash, relocate, replace, unfinished, verified};
use crate::dedup::journal::{ActionKind, Line};
use crate::dedup::plan::PlannedFile;

/// Something that was done to a file, or begun.
pub(super) struct Act<'a> {
    pub(super) number: u64,
    pub(super) file: &'a PlannedFile,
    action: ActionKind,
    keep: &'a PlannedFile,
    to: Option<&'a Path>,
}

impl<'a> Act<'a> {
    /// Acts that were begun and of which nothing more is known, in order.
    pub(super) fn unfinished(lines: &'a [Line]) -> impl Iterator<Item = Self> {
        let settled: BTreeSet<u64> = lines
            .iter()
            .filter_map(|line| match line {
                Line::End { number, .. } | Line::Undone { number } => Some(*number),
                Line::Begin { .. } => None,
            })
            .collect();
        Self::all(lines).filter(move |act| !settled.contains(&act.number))
    }

    /// Acts that happened or may have happened, and were not undone: last first.
    pub(super) fn undoable(lines: &'a [Line]) -> impl Iterator<Item = Self> {
        let settled: BTreeSet<u64> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Undone { number }
                | Line::End {
                    number,
                    failure: Some(_),
                } => Some(*number),
                _ => None,
            })
            .collect();
        Self::all(lines)
            .rev()
            .filter(move |act| !settled.contains(&act.number))
    }

    fn all(lines: &'a [Line]) -> impl DoubleEndedIterator<Item = Self> {
        lines.iter().filter_map(|line| match line {
            Line::Begin {
                number,
                action,
                file,
                keep,
                to,
            } => Some(Self {
                number: *number,
                file,
                action: *action,
                keep,
                to: to.as_deref().map(Path::new),
            }),
            _ => None,
        })
    }

    fn replaces(&self) -> bool {
        matches!(
            self.action,
            ActionKind::Hardlink | ActionKind::Symlink | ActionKind::Reflink
        )
    }

    /// Puts the file back where it was.
    pub(super) fn restore(&self, trash: &mut TrashCan) -> Result<(), String> {
        let path = Path::new(&self.file.path);
        let is_link = fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
        if !is_link && self.action != ActionKind::Hardlink && verified(self.file).is_ok() {
            // The act never happened, or only half of it, or it was undone by hand.
            self.take_back_copy();
            return Ok(());
        }
        if !self.replaces() && fs::symlink_metadata(path).is_ok() {
            return Err("another file is in its place".to_owned());
        }
        let text = |error: io::Error| error.to_string();
        match self.action {
            ActionKind::Delete => Err("it was deleted for good".to_owned()),
            ActionKind::Trash => trash.put_back(self.file),
            ActionKind::Move => {
                let from = self.to.ok_or("the journal does not say where it went")?;
                relocate(from, path).map_err(text)
            }
            ActionKind::Hardlink | ActionKind::Symlink | ActionKind::Reflink => {
                let keep = self.keep;
                verified(keep)
                    .map_err(|reason| format!("the image that was kept, {}, {reason}", keep.path))?;
                replace(path, |new| copy(Path::new(&keep.path), new)).map_err(text)
            }
        }
    }

    /// Removes what an act that was cut short left, if the file itself is still in its place: what should have replaced
    /// it, or at the target of a move a copy or the beginning of one.
    pub(super) fn take_back_copy(&self) {
        if self.replaces() {
            // As below.
            let _ = fs::remove_file(unfinished(Path::new(&self.file.path)));
        }
        let Some(to) = self.to.filter(|_| self.action == ActionKind::Move) else {
            return;
        };
        if verified(self.file).is_ok() && is_beginning_of(to, Path::new(&self.file.path)).unwrap_or(false) {
            // It is in nobody's way if it stays.
            let _ = fs::remove_file(to);
        }
    }
}

/// Whether `part` holds the first bytes of `whole` and nothing else, and is another name or file than it.
fn is_beginning_of(part: &Path, whole: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(part)?;
    if !metadata.is_file() || part == whole {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(whole)?.take(metadata.len()))?;
    Ok(hasher.finalize().to_hex().as_str() == hash(part)?)
}

/// The system's trash, listed once: it may hold thousands of files.
#[cfg(any(target_os = "windows", all(unix, not(target_os = "macos"))))]
#[derive(Default)]
pub(super) struct TrashCan {
    items: Option<Vec<trash::TrashItem>>,
}

#[cfg(any(target_os = "windows", all(unix, not(target_os = "macos"))))]
impl TrashCan {
    /// Puts back the file that was thrown away last from this path, if it is still what it was.
    fn put_back(&mut self, file: &PlannedFile) -> Result<(), String> {
        let text = |error: trash::Error| error.to_string();
        if self.items.is_none() {
            self.items = Some(trash::os_limited::list().map_err(text)?);
        }
        let items = self.items.get_or_insert_default();
        let path = Path::new(&file.path);
        let newest = (0..items.len())
            .filter(|&i| items[i].original_path() == path && is_content(&items[i], file))
            .max_by_key(|&i| items[i].time_deleted);
        let newest = newest.ok_or("it is not in the trash any more")?;
        trash::os_limited::restore_all([items.swap_remove(newest)]).map_err(text)?;
        verified(file)
            .map(|_| ())
            .map_err(|reason| format!("what the trash gave back {reason}"))
    }
}

/// Whether an item of the trash has the bytes of `file`: another one may have been thrown away from the same path.
#[cfg(all(unix, not(target_os = "macos")))]
fn is_content(item: &trash::TrashItem, file: &PlannedFile) -> bool {
    // The item is named by its note, `info/NAME.trashinfo`; its bytes are in `files/NAME`.
    let note = Path::new(&item.id);
    let bytes = note.parent().and_then(Path::parent).zip(note.file_stem());
    bytes.is_some_and(|(can, name)| hash(&can.join("files").join(name)).is_ok_and(|h| h == file.blake3))
}

#[cfg(target_os = "windows")]
fn is_content(_: &trash::TrashItem, _: &PlannedFile) -> bool {
    // Windows names no file that could be read; what comes back is checked after.
    true
}

#[cfg(target_os = "macos")]
#[derive(Default)]
pub(super) struct TrashCan;

#[cfg(target_os = "macos")]
impl TrashCan {
    fn put_back(&mut self, _: &PlannedFile) -> Result<(), String> {
        Err("this system lets no program take files out of the trash: put it back by hand".to_owned())
    }
}

//! Carrying out a plan, and undoing what was done. The only part of `dedup` that touches files.
//!
//! Nothing is believed: keeper and duplicate are hashed again right before the duplicate goes, so whatever changed
//! since the scan stays. A keeper that is gone or changed protects its whole group.

mod acts;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use acts::{Act, TrashCan};

use super::journal::{ActionKind, Journal, Line};
use super::plan::{Plan, PlannedFile, VERSION};
use crate::error::ErrorKind;

/// What is done to duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The kind.
    pub kind: ActionKind,
    /// Where duplicates go, for [`ActionKind::Move`].
    pub to: Option<PathBuf>,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was dealt with; in a dry run, it would be.
    Done,
    /// It was left alone, for this reason.
    Left(String),
    /// The act failed.
    Failed(String),
}

/// Why a plan or a journal was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A plan of another format version.
    #[error("plan version {found}, this program writes and reads {VERSION}")]
    Version {
        /// Version of the plan.
        found: u32,
    },
    /// A file that one group keeps is removed by another, or a group removes its own keeper.
    #[error("the plan both keeps and removes {path}")]
    Contradiction {
        /// The file.
        path: String,
    },
    /// `move` without a folder.
    #[error("moving needs a folder to move to")]
    NoTarget,
    /// The journal cannot be written: nothing more was done.
    #[error("the journal cannot be written")]
    Journal(#[source] io::Error),
}

impl ApplyError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } | Self::Contradiction { .. } | Self::NoTarget => ErrorKind::Invalid,
            Self::Journal(_) => ErrorKind::Unavailable,
        }
    }
}

/// Carries out `plan`. Without a journal it is a dry run: everything is checked and nothing is changed. `report` hears
/// of every file.
///
/// # Errors
/// [`ApplyError`] when the plan contradicts itself (nothing was done) or the journal cannot be written (nothing more is
/// done).
pub fn apply(
    plan: &Plan,
    action: &Action,
    mut journal: Option<&mut Journal>,
    report: &mut dyn FnMut(&PlannedFile, &Outcome),
) -> Result<(), ApplyError> {
    check(plan, action)?;
    // One file can have several paths: what any group keeps goes in none.
    let kept: BTreeSet<PathBuf> = plan
        .groups
        .iter()
        .filter_map(|group| fs::canonicalize(&group.keep.path).ok())
        .collect();
    for group in &plan.groups {
        for removal in &group.remove {
            let file = &removal.file;
            let allowed = permit(file, &group.keep, &kept, action.kind);
            let outcome = match (allowed, journal.as_deref_mut()) {
                (Err(reason), _) => Outcome::Left(reason),
                (Ok(()), None) => Outcome::Done,
                (Ok(()), Some(journal)) => carry_out(file, &group.keep, action, journal)?,
            };
            report(file, &outcome);
        }
    }
    Ok(())
}

/// Refuses a plan that would lose an image.
///
/// # Errors
/// [`ApplyError`] when the plan contradicts itself or this program cannot read it.
pub fn check(plan: &Plan, action: &Action) -> Result<(), ApplyError> {
    if plan.version != VERSION {
        return Err(ApplyError::Version { found: plan.version });
    }
    if action.kind == ActionKind::Move && action.to.is_none() {
        return Err(ApplyError::NoTarget);
    }
    let kept: BTreeSet<&str> = plan.groups.iter().map(|g| g.keep.path.as_str()).collect();
    let removed = plan.groups.iter().flat_map(|g| &g.remove);
    match removed
        .map(|r| &r.file.path)
        .find(|path| kept.contains(path.as_str()))
    {
        Some(path) => Err(ApplyError::Contradiction { path: path.clone() }),
        None => Ok(()),
    }
}

/// The file's path without links, if it is still what the plan says.
fn verified(file: &PlannedFile) -> Result<PathBuf, String> {
    let path = Path::new(&file.path);
    let metadata = fs::symlink_metadata(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => "is gone".to_owned(),
        _ => format!("cannot be read: {e}"),
    })?;
    if !metadata.is_file() {
        return Err("is no regular file any more".to_owned());
    }
    let changed = || "has changed since the scan".to_owned();
    if metadata.len() != file.size {
        return Err(changed());
    }
    let hash = hash(path).map_err(|e| format!("cannot be read: {e}"))?;
    if hash != file.blake3 {
        return Err(changed());
    }
    fs::canonicalize(path).map_err(|e| format!("cannot be read: {e}"))
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Whether the file may go. The keeper is looked at again for every file: it may have gone since the last one did.
fn permit(
    file: &PlannedFile,
    keep: &PlannedFile,
    kept: &BTreeSet<PathBuf>,
    kind: ActionKind,
) -> Result<(), String> {
    let keeper = verified(keep).map_err(|reason| format!("the image to keep, {}, {reason}", keep.path))?;
    let path = verified(file).map_err(|reason| format!("it {reason}"))?;
    let shared = links_to_both(&path, &keeper);
    // A folder can be mounted twice: then one file has two paths without having two names.
    if path == keeper || shared == Some(1) {
        return Err("it is the image to keep under another path".to_owned());
    }
    if kept.contains(&path) {
        return Err("another group of the plan keeps it".to_owned());
    }
    let replaces = matches!(
        kind,
        ActionKind::Hardlink | ActionKind::Symlink | ActionKind::Reflink
    );
    if replaces && file.blake3 != keep.blake3 {
        return Err("its bytes differ from those of the image to keep, so a link would change it".to_owned());
    }
    if kind == ActionKind::Hardlink && shared.is_some() {
        return Err("it is a hard link to the image to keep already".to_owned());
    }
    Ok(())
}

/// The number of names of the file that both paths lead to; nothing when they lead to two files.
#[cfg(unix)]
fn links_to_both(a: &Path, b: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let (a, b) = (fs::metadata(a).ok()?, fs::metadata(b).ok()?);
    ((a.dev(), a.ino()) == (b.dev(), b.ino())).then(|| a.nlink())
}

#[cfg(windows)]
fn links_to_both(_: &Path, _: &Path) -> Option<u64> {
    // Paths without links are compared already, and stable Rust tells no more.
    None
}

fn carry_out(
    file: &PlannedFile,
    keep: &PlannedFile,
    action: &Action,
    journal: &mut Journal,
) -> Result<Outcome, ApplyError> {
    let path = Path::new(&file.path);
    let target = action
        .to
        .as_deref()
        .filter(|_| action.kind == ActionKind::Move)
        .map(|folder| free_name(folder, path));
    let to = target.as_ref().map(|t| t.display().to_string());
    let number = journal
        .begin(action.kind, file, keep, to)
        .map_err(ApplyError::Journal)?;
    let done = match action.kind {
        ActionKind::Trash => trash::delete(path).map_err(io::Error::other),
        ActionKind::Delete => fs::remove_file(path),
        ActionKind::Move => target.map_or(Ok(()), |target| relocate(path, &target)),
        ActionKind::Hardlink => replace(path, |new| fs::hard_link(&keep.path, new)),
        ActionKind::Symlink => replace(path, |new| symlink(Path::new(&keep.path), new)),
        ActionKind::Reflink => replace(path, |new| copy(Path::new(&keep.path), new)),
    };
    let failure = done.err().map(|error| error.to_string());
    journal
        .end(number, failure.clone())
        .map_err(ApplyError::Journal)?;
    Ok(failure.map_or(Outcome::Done, Outcome::Failed))
}

/// A name in `folder` that nothing has yet.
fn free_name(folder: &Path, path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy()));
    let extension = extension.unwrap_or_default();
    (0u32..)
        .map(|n| match n {
            0 => folder.join(path.file_name().unwrap_or_default()),
            n => folder.join(format!("{stem} ({n}){extension}")),
        })
        .find(|candidate| fs::symlink_metadata(candidate).is_err())
        .expect("some number is free")
}

/// Moves a file to a name that is free, also to another file system: copied, forced to disk, compared, then removed.
fn relocate(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    // A hard link fails when the name is taken, where a rename would overwrite.
    if fs::hard_link(from, to).is_ok() {
        return leave(from, to);
    }
    copy(from, to).inspect_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            // Half a copy is of no use; the error of the copy is the one to report.
            let _ = fs::remove_file(to);
        }
    })?;
    if hash(from)? != hash(to)? {
        fs::remove_file(to)?;
        return Err(io::Error::other("the copy differs from the file"));
    }
    let modified = fs::metadata(from)?.modified()?;
    let copy = File::options().write(true).open(to);
    // A copy that cannot be dated, because it is read-only like the file, is a copy all the same.
    let _ = copy.and_then(|copy| copy.set_modified(modified));
    leave(from, to)
}

/// The last step of a move. A file that cannot be removed has not moved: what was made of it at `to` goes again.
fn leave(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(from) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            // A network file system may have removed it all the same: then `to` is all that is left.
            if fs::symlink_metadata(from).is_ok() {
                // The error of the removal is the one to report.
                let _ = fs::remove_file(to);
            }
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Copies to a new file, on disk when this returns. Where the file system can, the copy shares blocks.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    // Takes the name, so that nothing is overwritten.
    File::options().write(true).create_new(true).open(to)?;
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Where what is to replace `path` is made.
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.doppel-new"))
}

/// Puts what `make` creates in the place of `path`, in one step.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let new = unfinished(path);
    // Left there by a process that was killed.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make(&new)?;
    fs::rename(&new, path).inspect_err(|_| {
        // The error of the rename is the one to report.
        let _ = fs::remove_file(&new);
    })
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// Settles the acts of `lines` that were begun and not ended, before a plan that was cut short is carried out to its end:
/// an act that happened is noted as done, half of one is taken back.
///
/// # Errors
/// [`ApplyError::Journal`] when the journal cannot be written.
pub fn settle(lines: &[Line], journal: &mut Journal) -> Result<(), ApplyError> {
    for act in Act::unfinished(lines) {
        let failure = match fs::symlink_metadata(&act.file.path) {
            // Gone, or replaced by a link: that was the last step.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Ok(metadata) if metadata.is_symlink() => None,
            _ => {
                act.take_back_copy();
                Some("cut short".to_owned())
            }
        };
        journal.end(act.number, failure).map_err(ApplyError::Journal)?;
    }
    Ok(())
}

/// Undoes the acts of a journal, last first, and notes it there. What cannot be undone is reported and left.
///
/// # Errors
/// [`ApplyError::Journal`] when the journal cannot be written.
pub fn undo(
    lines: &[Line],
    journal: &mut Journal,
    report: &mut dyn FnMut(&PlannedFile, &Outcome),
) -> Result<(), ApplyError> {
    let mut trash = TrashCan::default();
    for act in Act::undoable(lines) {
        let outcome = match act.restore(&mut trash) {
            Ok(()) => {
                journal.undone(act.number).map_err(ApplyError::Journal)?;
                Outcome::Done
            }
            Err(reason) => Outcome::Failed(reason),
        };
        report(act.file, &outcome);
    }
    Ok(())
}

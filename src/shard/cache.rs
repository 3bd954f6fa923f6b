//! Copies of a remote store's segments on the local disk, to be mapped. They are not synced: what is found there and is not
//! the segment is fetched again.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ShardOptions, Stores, objects};
use crate::types::{CollectionName, SegmentId, ShardId};

/// Younger copies may be of a segment that is not published yet.
const YOUNG: Duration = Duration::from_secs(3600);

/// Where the copy of an object is, if copies are made of it.
pub(crate) fn path(stores: &Stores, options: &ShardOptions, name: &str) -> Option<PathBuf> {
    // A store of files is mapped where it is.
    if stores.blobs.local_path(name).is_some() {
        return None;
    }
    Some(options.cache_dir.as_ref()?.join(name))
}

/// Writes a copy; half-written, it never has its name. Blocking.
pub(crate) fn write(path: &Path, object: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(object)?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Removes a copy; tells whether there was one. Readers keep their mapping.
pub(crate) fn forget(stores: &Stores, options: &ShardOptions, name: &str) -> bool {
    path(stores, options, name).is_some_and(|path| std::fs::remove_file(path).is_ok())
}

/// Removes from a node's cache what no shard of its own sweeps: copies of collections that are not listed, which were deleted
/// here or by another node, and the files that earlier versions put side by side. Returns how many folders and files went.
/// Blocking.
pub fn sweep_copies(cache_dir: &Path, listed: &HashSet<CollectionName>) -> usize {
    let mut removed = 0;
    let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries(cache_dir.to_owned()) {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        // Young ones may be segments in the making.
        if is_file && is_old(&entry) && std::fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    for entry in entries(cache_dir.join(objects::SEGMENTS)) {
        let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let is_listed = name.is_none_or(|name: CollectionName| listed.contains(&name));
        if !is_listed && std::fs::remove_dir_all(entry.path()).is_ok() {
            removed += 1;
        }
    }
    removed
}

fn is_old(entry: &std::fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|meta| meta.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= YOUNG))
}

/// Removes the copies of segments that a shard no longer has, and what writes left that were cut off.
pub(crate) fn sweep(
    stores: &Stores,
    options: &ShardOptions,
    (collection, shard): (&CollectionName, ShardId),
    segments: impl IntoIterator<Item = SegmentId>,
) {
    let Some(folder) = path(stores, options, &objects::folder(collection, shard)) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let wanted: HashSet<String> = segments.into_iter().map(|id| format!("{id}.seg")).collect();
    for entry in entries.flatten() {
        if is_old(&entry)
            && !entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.contains(name))
        {
            // What stays is looked at again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

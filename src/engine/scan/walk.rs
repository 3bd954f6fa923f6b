//! Finding the files of a scan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use globset::GlobSet;
use walkdir::{DirEntry, WalkDir};

use super::{ScanError, Skipped};

/// A file to be looked at.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Found {
    /// As the caller's argument leads to it.
    pub(in crate::engine) path: PathBuf,
    /// The same as text.
    pub(in crate::engine) name: String,
    /// Absolute, without links: the key in caches and plans.
    pub(super) canonical: String,
    pub(super) size: u64,
    /// Nanoseconds since 1970; 0 when the system does not say.
    pub(super) modified: i64,
    pub(super) reference: bool,
    /// Named as an argument: that it is no image is worth saying.
    pub(super) named: bool,
    /// Which file it is, where its path need not tell.
    identity: Option<Identity>,
}

/// Device and number of a file that has one name: what two paths share when a folder is mounted twice.
type Identity = (u64, u64);

/// What a walk found: files by path, and what could not be taken.
#[derive(Debug, Default)]
pub(in crate::engine) struct Walk {
    pub(in crate::engine) files: Vec<Found>,
    pub(super) skipped: Vec<Skipped>,
    /// Files that do not claim to be images.
    pub(super) ignored: u64,
}

/// Extensions of files that are expected to be images: when they are not, people want to know.
const EXTENSIONS: &[&str] = &[
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "ico", "pnm", "pbm",
    "pgm", "ppm", "pam", "qoi", "tga", "avif", "heic", "heif", "jxl", "dng", "cr2", "cr3", "nef", "arw",
    "orf", "rw2", "raf", "pef", "srw",
];

/// Lists the files under `paths` and `references`; a file under both is a reference. Links are not followed. Hidden
/// files and folders are left out, unless named as an argument.
pub(in crate::engine) fn walk(
    paths: &[PathBuf],
    references: &[PathBuf],
    exclude: &GlobSet,
) -> Result<Walk, ScanError> {
    let mut walk = Walk::default();
    let mut files: BTreeMap<String, Found> = BTreeMap::new();
    let roots = references
        .iter()
        .map(|root| (root, true))
        .chain(paths.iter().map(|root| (root, false)));
    for (root, reference) in roots {
        let absolute = fs::canonicalize(root).map_err(|source| ScanError::Root {
            path: root.display().to_string(),
            source,
        })?;
        let entries = WalkDir::new(root)
            .follow_root_links(true)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| {
                entry.depth() == 0 || (!is_hidden(entry) && !is_excluded(entry, root, exclude))
            });
        for entry in entries {
            match entry {
                Ok(entry) => walk.take(&entry, root, &absolute, reference, &mut files),
                Err(error) => walk.skipped.push(Skipped {
                    path: error.path().unwrap_or(root).display().to_string(),
                    reason: reason_of(&error),
                }),
            }
        }
    }
    // References come first, so that what is both is one.
    let mut files: Vec<Found> = files.into_values().collect();
    files.sort_by(|a, b| (!a.reference, &a.name).cmp(&(!b.reference, &b.name)));
    let mut seen = BTreeSet::new();
    files.retain(|file| file.identity.is_none_or(|identity| seen.insert(identity)));
    walk.files = files;
    walk.files.sort_by(|a, b| a.name.cmp(&b.name));
    walk.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    walk.skipped.dedup();
    Ok(walk)
}

impl Walk {
    fn take(
        &mut self,
        entry: &DirEntry,
        root: &Path,
        absolute: &Path,
        reference: bool,
        files: &mut BTreeMap<String, Found>,
    ) {
        let path = entry.path();
        let mut skip = |reason: &str| {
            self.skipped.push(Skipped {
                path: path.display().to_string(),
                reason: reason.to_owned(),
            });
        };
        if entry.path_is_symlink() && entry.depth() > 0 {
            match fs::metadata(path) {
                Ok(target) if target.is_file() && claims_to_be_image(path) => {
                    skip("symbolic link, not followed")
                }
                Ok(target) if target.is_dir() => skip("symbolic link to a folder, not followed"),
                Ok(_) => {}
                Err(error) => skip(&link_reason(&error)),
            }
            return;
        }
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return skip(&format!("unreadable: {error}")),
        };
        if metadata.is_dir() {
            return;
        }
        let named = entry.depth() == 0;
        let claims = named || claims_to_be_image(path);
        if !metadata.is_file() {
            if claims {
                skip("not a regular file");
            }
            return;
        }
        let relative = path.strip_prefix(root).unwrap_or(path);
        let canonical = if relative.as_os_str().is_empty() {
            absolute.to_owned()
        } else {
            absolute.join(relative)
        };
        let (Some(name), Some(canonical)) = (path.to_str(), canonical.to_str()) else {
            if claims {
                skip("the name is not valid UTF-8");
            }
            return;
        };
        if metadata.len() == 0 {
            if claims {
                skip("the file is empty (0 bytes)");
            }
            return;
        }
        if !claims && path.extension().is_some() {
            self.ignored += 1;
            return;
        }
        files.entry(canonical.to_owned()).or_insert_with(|| Found {
            path: path.to_owned(),
            name: name.to_owned(),
            canonical: canonical.to_owned(),
            size: metadata.len(),
            modified: modified(&metadata),
            reference,
            named,
            identity: identity(&metadata),
        });
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    // Several names are hard links. Some network file systems number nothing.
    (metadata.nlink() == 1 && metadata.ino() != 0).then(|| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}

/// Nanoseconds since 1970.
pub(super) fn modified(metadata: &Metadata) -> i64 {
    metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|age| i64::try_from(age.as_nanos()).ok())
        .unwrap_or(0)
}

/// Whether the name ends like an image's.
pub(super) fn claims_to_be_image(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn is_excluded(entry: &DirEntry, root: &Path, exclude: &GlobSet) -> bool {
    let path = entry.path();
    exclude.is_match(path)
        || exclude.is_match(path.strip_prefix(root).unwrap_or(path))
        || exclude.is_match(Path::new(entry.file_name()))
}

fn reason_of(error: &walkdir::Error) -> String {
    match (error.loop_ancestor(), error.io_error()) {
        (Some(_), _) => "symbolic link loop".to_owned(),
        (None, Some(cause)) => format!("unreadable: {cause}"),
        (None, None) => "unreadable".to_owned(),
    }
}

fn link_reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    if error.kind() == std::io::ErrorKind::NotFound {
        "symbolic link to nothing".to_owned()
    } else if text.contains("symbolic links") {
        // The kind of this error has no stable name; every Unix words it so.
        "symbolic link loop".to_owned()
    } else {
        format!("unreadable symbolic link: {text}")
    }
}

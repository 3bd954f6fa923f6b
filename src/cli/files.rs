//! Files named on the command line: each argument in order, folders walked and sorted by path.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: PathBuf,
    /// Named itself, not found in a folder: that it is no image is then worth an error.
    pub(super) explicit: bool,
}

/// What could not be walked, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    pub(super) reason: String,
}

/// All regular files under `paths`. Symbolic links are followed; a loop of them is reported, not walked.
pub(super) fn find(paths: &[PathBuf]) -> (Vec<Named>, Vec<Unreadable>) {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        match std::fs::metadata(path) {
            Ok(kind) if kind.is_dir() => walk(path, &mut files, &mut unreadable),
            Ok(_) => files.push(Named {
                path: path.clone(),
                explicit: true,
            }),
            Err(error) => unreadable.push(Unreadable {
                path: path.clone(),
                reason: error.to_string(),
            }),
        }
    }
    (files, unreadable)
}

fn walk(folder: &Path, files: &mut Vec<Named>, unreadable: &mut Vec<Unreadable>) {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => found.push(entry.into_path()),
            Ok(_) => {}
            Err(error) => unreadable.push(Unreadable {
                path: error.path().unwrap_or(folder).to_owned(),
                reason: match error.loop_ancestor() {
                    Some(ancestor) => format!("a loop of links back to {}", ancestor.display()),
                    None => error
                        .io_error()
                        .map_or_else(|| error.to_string(), ToString::to_string),
                },
            }),
        }
    }
    found.sort();
    files.extend(found.into_iter().map(|path| Named {
        path,
        explicit: false,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_order_and_folders_are_sorted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("d/inner")).expect("writable");
        for name in ["z.jpg", "d/b.jpg", "d/a.jpg", "d/inner/c.jpg"] {
            std::fs::write(path(name), b"x").expect("writable");
        }
        let (files, unreadable) = find(&[path("z.jpg"), path("missing"), path("d")]);
        let found: Vec<_> = files
            .iter()
            .map(|file| (file.path.clone(), file.explicit))
            .collect();
        let expected = [
            ("z.jpg", true),
            ("d/a.jpg", false),
            ("d/b.jpg", false),
            ("d/inner/c.jpg", false),
        ];
        assert_eq!(found, expected.map(|(name, explicit)| (path(name), explicit)));
        assert_eq!(
            unreadable.iter().map(|one| one.path.clone()).collect::<Vec<_>>(),
            [path("missing")]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_is_reported_and_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("a.jpg"), b"x").expect("writable");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).expect("a link");
        let (files, unreadable) = find(&[folder.path().to_owned()]);
        assert_eq!(files.len(), 1);
        assert_eq!(unreadable.len(), 1);
        assert!(unreadable[0].reason.contains("loop"), "{unreadable:?}");
    }
}

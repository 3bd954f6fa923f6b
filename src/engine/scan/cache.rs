//! What earlier scans found out: one redb file. Analyses are kept by content, so a file that was moved or copied costs
//! one read and no decoding; files are kept by path, size and time of modification, so an untouched file costs nothing.

use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tempfile::TempDir;

use super::ScanError;
use super::codec;
use super::intake::Known;
use crate::types::{ContentHash, ModelHash};

/// Canonical path → size, time of modification, content hash.
const FILES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("files");
/// Content hash → analysis, without the thumbnail.
const ANALYSES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("analyses");
/// Content hash → thumbnail (JPEG).
const THUMBNAILS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("thumbnails");
/// `version` → format version and model hash.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Format version of the values; a cache of another version, or of another model, is started anew.
const VERSION: u8 = 3;
const FILE_NAME: &str = "scan.redb";
/// Memory that redb may use for pages.
const PAGE_CACHE: usize = 64 << 20;

/// The cache's file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CacheError(Box<redb::Error>);

fn checked<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, CacheError> {
    call().map_err(|error| CacheError(Box::new(error)))
}

/// The cache of one scan.
pub(super) struct Cache {
    database: Database,
    durability: Durability,
    /// Removed when the scan ends.
    _temporary: Option<TempDir>,
}

/// A file as the cache knows it.
pub(super) struct FileEntry<'a> {
    pub(super) path: &'a str,
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) content: ContentHash,
}

/// A new analysis.
pub(super) struct NewAnalysis<'a> {
    pub(super) known: &'a Known,
    pub(super) thumbnail: &'a [u8],
}

impl Cache {
    /// Opens the cache in `folder`, made if it is missing; without a folder, one that lives as long as the scan. A cache
    /// that another process has open, or that this user cannot write, is left alone, a damaged one is started anew; all are
    /// logged.
    pub(super) fn open(folder: Option<&Path>, model: ModelHash) -> Result<Self, ScanError> {
        let Some(folder) = folder else {
            return Self::temporary(model);
        };
        let path = folder.join(FILE_NAME);
        match std::fs::create_dir_all(folder) {
            Err(error) if is_forbidden(&error) => {
                tracing::warn!(path = %folder.display(), %error, "no cache can be kept here: going on without one");
                return Self::temporary(model);
            }
            made => made.map_err(|source| ScanError::CacheFolder {
                path: folder.display().to_string(),
                source,
            })?,
        }
        match Self::at(&path, model, Durability::Immediate, None) {
            Ok(cache) => Ok(cache),
            Err(error) if is_busy(&error) => {
                tracing::warn!(path = %path.display(), "another process uses the cache: going on without it");
                Self::temporary(model)
            }
            Err(redb::Error::Io(error)) if is_forbidden(&error) => {
                tracing::warn!(path = %path.display(), %error, "no cache can be kept here: going on without one");
                Self::temporary(model)
            }
            Err(error) if is_damaged(&error) => {
                tracing::warn!(path = %path.display(), %error, "the cache is damaged: starting it anew");
                std::fs::remove_file(&path).map_err(|source| ScanError::CacheFolder {
                    path: path.display().to_string(),
                    source,
                })?;
                Ok(checked(|| Self::at(&path, model, Durability::Immediate, None))?)
            }
            Err(error) => Err(CacheError(Box::new(error)).into()),
        }
    }

    fn temporary(model: ModelHash) -> Result<Self, ScanError> {
        let folder = tempfile::Builder::new()
            .prefix("doppel-scan-")
            .tempdir()
            .map_err(|source| ScanError::CacheFolder {
                path: std::env::temp_dir().display().to_string(),
                source,
            })?;
        let path: PathBuf = folder.path().join(FILE_NAME);
        Ok(checked(|| {
            Self::at(&path, model, Durability::None, Some(folder))
        })?)
    }

    fn at(
        path: &Path,
        model: ModelHash,
        durability: Durability,
        temporary: Option<TempDir>,
    ) -> Result<Self, redb::Error> {
        let database = Database::builder().set_cache_size(PAGE_CACHE).create(path)?;
        let mut stamp = vec![VERSION];
        stamp.extend_from_slice(model.as_bytes());
        let mut txn = database.begin_write()?;
        txn.set_durability(durability)?;
        let same = txn
            .open_table(META)?
            .get("version")?
            .is_some_and(|v| v.value() == stamp);
        if !same {
            txn.delete_table(FILES)?;
            txn.delete_table(ANALYSES)?;
            txn.delete_table(THUMBNAILS)?;
            txn.open_table(META)?.insert("version", stamp.as_slice())?;
        }
        // A read of a table that was never written is an error: make them all.
        txn.open_table(FILES)?;
        txn.open_table(ANALYSES)?;
        txn.open_table(THUMBNAILS)?;
        txn.commit()?;
        Ok(Self {
            database,
            durability,
            _temporary: temporary,
        })
    }

    /// Content hash of a file that is unchanged since it was last seen.
    pub(super) fn content_of(
        &self,
        path: &str,
        size: u64,
        modified: i64,
    ) -> Result<Option<ContentHash>, CacheError> {
        checked(|| {
            let table = self.database.begin_read()?.open_table(FILES)?;
            let entry = table.get(path)?;
            Ok(entry.and_then(|value| codec::file_entry(value.value(), size, modified)))
        })
    }

    /// The analysis of a content.
    pub(super) fn analysis(&self, content: &ContentHash) -> Result<Option<Known>, CacheError> {
        checked(|| {
            let table = self.database.begin_read()?.open_table(ANALYSES)?;
            let entry = table.get(content.as_bytes())?;
            Ok(entry.and_then(|value| codec::decode(content, value.value())))
        })
    }

    /// The thumbnail of a content.
    pub(super) fn thumbnail(&self, content: &ContentHash) -> Result<Option<Vec<u8>>, CacheError> {
        checked(|| {
            let table = self.database.begin_read()?.open_table(THUMBNAILS)?;
            Ok(table.get(content.as_bytes())?.map(|value| value.value().to_vec()))
        })
    }

    /// Stores files and analyses in one transaction.
    pub(super) fn store(
        &self,
        files: &[FileEntry<'_>],
        analyses: &[NewAnalysis<'_>],
    ) -> Result<(), CacheError> {
        checked(|| {
            let mut txn = self.database.begin_write()?;
            txn.set_durability(self.durability)?;
            {
                let mut table = txn.open_table(FILES)?;
                for file in files {
                    let value = codec::encode_file(file.size, file.modified, &file.content);
                    table.insert(file.path, value.as_slice())?;
                }
                let mut table = txn.open_table(ANALYSES)?;
                let mut thumbnails = txn.open_table(THUMBNAILS)?;
                for new in analyses {
                    let key = new.known.fingerprint.content_hash;
                    table.insert(key.as_bytes(), codec::encode(new.known).as_slice())?;
                    thumbnails.insert(key.as_bytes(), new.thumbnail)?;
                }
            }
            txn.commit()?;
            Ok(())
        })
    }
}

fn is_busy(error: &redb::Error) -> bool {
    matches!(error, redb::Error::DatabaseAlreadyOpen)
}

/// Whether this user cannot write there; another folder may do.
fn is_forbidden(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

fn is_damaged(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
    ) || matches!(error, redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData)
}

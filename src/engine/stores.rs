//! The two stores that the settings name.

use std::sync::Arc;

use super::EngineError;
use crate::config::Config;
use crate::shard::Stores;
use crate::store::blob::{self, ObjectBlobStore, S3Options};
use crate::store::metadata::embedded::EmbeddedStore;

/// Opens the embedded metadata store and a folder below `data_dir`, or what the settings name instead; refuses an object
/// store that does not honour create-if-absent.
pub(super) async fn open(config: &Config) -> Result<Stores, EngineError> {
    if !config.etcd.is_empty() {
        return Err(EngineError::BadSetting {
            key: "etcd",
            reason: "this version keeps its metadata in the data folder only; leave it out".to_owned(),
        });
    }
    // First of all: whoever holds it is the only one who works in the folder.
    let metadata = EmbeddedStore::open(&config.data_dir.join("metadata")).await?;
    let objects = match &config.storage {
        None => {
            let folder = ObjectBlobStore::local(&config.data_dir.join("objects"))?;
            let removed = folder.sweep_unfinished()?;
            if removed > 0 {
                tracing::info!(removed, "removed files that a crash left half-written");
            }
            folder
        }
        Some(url) => ObjectBlobStore::s3(&bucket(url)?)?,
    };
    let blobs = blob::production(objects);
    blob::probe(&*blobs).await?;
    Ok(Stores {
        metadata: Arc::new(metadata),
        blobs,
    })
}

/// Reads `s3://bucket/prefix`; the endpoint and the keys come from the usual `AWS_*` variables.
fn bucket(url: &str) -> Result<S3Options, EngineError> {
    let bad = || EngineError::BadSetting {
        key: "storage",
        reason: format!("{url:?} is not s3://bucket or s3://bucket/prefix"),
    };
    let path = url.strip_prefix("s3://").ok_or_else(bad)?;
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return Err(bad());
    }
    Ok(S3Options {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        ..S3Options::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_from_their_addresses() {
        let read = |url: &str| bucket(url).map(|options| (options.bucket, options.prefix)).ok();
        let pair = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(read("s3://images"), pair("images", ""));
        assert_eq!(read("s3://images/a/b/"), pair("images", "a/b"));
        assert_eq!(read("s3:///a"), None);
        assert_eq!(read("/srv/images"), None);
    }
}

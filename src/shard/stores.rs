//! Opening the two stores that settings name.

use std::path::PathBuf;
use std::sync::Arc;

use super::ShardError;
use crate::store::blob::{self, BlobError, BlobStore, ObjectBlobStore, S3Options};
use crate::store::metadata::embedded::EmbeddedStore;
use crate::store::metadata::etcd::{EtcdOptions, EtcdStore};
use crate::store::metadata::{MetadataError, MetadataStore};

/// Folder of the objects in the data folder.
const OBJECTS: &str = "objects";

/// The two stores that hold everything.
#[derive(Clone)]
pub struct Stores {
    /// Keys under consensus.
    pub metadata: Arc<dyn MetadataStore>,
    /// Immutable objects.
    pub blobs: Arc<dyn BlobStore>,
}

/// Where the stores are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreLocation {
    /// Folder of what is not elsewhere: `metadata/` and `objects/`.
    pub data_dir: PathBuf,
    /// Addresses of etcd, `http://[user:password@]host:port`; none for the embedded metadata store.
    pub etcd: Vec<String>,
    /// `s3://bucket[/prefix]`; none for a folder. Keys, region and endpoint come from the `AWS_*` variables.
    pub storage: Option<String>,
}

impl StoreLocation {
    /// Opens both stores. The object store must pass a probe of what fencing rests on.
    ///
    /// # Errors
    /// [`ShardError::Metadata`] when another process has the data folder or etcd does not answer; [`ShardError::Blob`] when
    /// the object store is not there or does not honour create-if-absent.
    pub async fn open(&self) -> Result<Stores, ShardError> {
        let metadata: Arc<dyn MetadataStore> = if self.etcd.is_empty() {
            Arc::new(self.embedded().await?)
        } else {
            Arc::new(EtcdStore::connect(&etcd_options(&self.etcd)?).await?)
        };
        let mut objects = match &self.storage {
            Some(url) => ObjectBlobStore::s3(&s3_options(url)?)?,
            None => ObjectBlobStore::local(&self.data_dir.join(OBJECTS))?,
        };
        if self.etcd.is_empty() {
            // The metadata's lock says that nobody else writes there.
            let swept = objects.sweep_unfinished()?;
            if swept > 0 {
                tracing::info!(swept, "removed writes that a crash cut off");
            }
            objects = objects.with_packs()?.with_reserve();
        }
        let blobs = blob::production(objects);
        blob::probe(&*blobs).await?;
        Ok(Stores { metadata, blobs })
    }

    async fn embedded(&self) -> Result<EmbeddedStore, MetadataError> {
        let folder = self.data_dir.join("metadata");
        match EmbeddedStore::open(&folder).await {
            // Nobody else has it open: a lock is taken before anything is written.
            Err(MetadataError::Full) if self.storage.is_none() => {
                ObjectBlobStore::give_reserve_up(&self.data_dir.join(OBJECTS));
                EmbeddedStore::open(&folder).await
            }
            opened => opened,
        }
    }
}

/// Splits name and password off the first address that has them.
fn etcd_options(urls: &[String]) -> Result<EtcdOptions, ShardError> {
    let mut options = EtcdOptions::default();
    for url in urls {
        let invalid = || MetadataError::Invalid {
            reason: format!("{url}: an address of etcd is http://host:port"),
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(invalid)?;
        let endpoint = match rest.rsplit_once('@') {
            None => rest,
            Some((user, endpoint)) => {
                let (name, password) = user.split_once(':').ok_or_else(invalid)?;
                options.user = Some((name.to_owned(), password.to_owned()));
                endpoint
            }
        };
        options
            .endpoints
            .push(format!("{scheme}://{}", endpoint.trim_end_matches('/')));
    }
    Ok(options)
}

fn s3_options(url: &str) -> Result<S3Options, ShardError> {
    let bad = || BlobError::BadLocation {
        location: url.to_owned(),
        reason: "an object store is s3://bucket or s3://bucket/prefix".to_owned(),
    };
    let rest = url.strip_prefix("s3://").ok_or_else(bad)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(bad().into());
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
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn a_folder_has_one_owner_and_passes_the_probe() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let location = StoreLocation {
            data_dir: dir.path().to_owned(),
            ..StoreLocation::default()
        };
        let stores = location.open().await.expect("opened");
        let refused = location.open().await.err().expect("a second owner");
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(stores.blobs.list("probe").await.expect("listed").is_empty());
    }

    #[test]
    fn addresses_are_taken_apart() {
        let urls = ["http://a:2379".to_owned(), "http://me:pass@b:2379/".to_owned()];
        let options = etcd_options(&urls).expect("two addresses");
        assert_eq!(options.endpoints, ["http://a:2379", "http://b:2379"]);
        assert_eq!(options.user, Some(("me".to_owned(), "pass".to_owned())));
        assert!(etcd_options(&["a:2379".to_owned()]).is_err());

        let options = s3_options("s3://bucket/some/where/").expect("a bucket");
        assert_eq!(
            (options.bucket.as_str(), options.prefix.as_str()),
            ("bucket", "some/where")
        );
        for bad in ["s3://", "file:///x", "bucket"] {
            assert_eq!(s3_options(bad).expect_err("refused").kind(), ErrorKind::Invalid);
        }
    }
}

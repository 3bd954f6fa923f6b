//! The same shard over etcd and an S3 API, and take-over when a node dies.

use std::collections::HashMap;

use super::*;
use crate::store::blob::{S3Options, production};
use crate::store::metadata::etcd::{EtcdOptions, EtcdStore};
use crate::store::servers::{Etcd, S3};

async fn stores(etcd: &Etcd, s3: &S3) -> Stores {
    let options = EtcdOptions {
        endpoints: vec![etcd.endpoint()],
        user: None,
    };
    let bucket = S3Options {
        bucket: "doppel".to_owned(),
        prefix: "cluster-a".to_owned(),
        endpoint: Some(s3.endpoint()),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("test".to_owned()),
        secret_access_key: Some("test".to_owned()),
    };
    Stores {
        metadata: Arc::new(EtcdStore::connect(&options).await.expect("connected")),
        blobs: production(ObjectBlobStore::s3(&bucket).expect("a client")),
    }
}

async fn open(stores: &Stores, owner: &str, cache: &tempfile::TempDir) -> Arc<Shard> {
    let options = ShardOptions {
        cache_dir: Some(cache.path().to_owned()),
        ..options()
    };
    let collection = CollectionName::default_collection();
    let shard = ShardId::new(0);
    Shard::open(stores.clone(), "a", &collection, shard, &node(owner), options)
        .await
        .expect("opened")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_takes_over_everything_acknowledged() {
    let (etcd, s3) = (Etcd::start(), S3::start());
    s3.make_bucket("doppel").await;
    let caches: HashMap<_, _> = ["one", "two"]
        .into_iter()
        .map(|name| (name, tempfile::tempdir().expect("a folder")))
        .collect();
    let first_stores = stores(&etcd, &s3).await;
    let first = open(&first_stores, "one", &caches["one"]).await;
    append(&first, 0..20).await;
    assert!(first.delete(record(3).id).await.expect("deleted"));
    first.seal().await.expect("sealed");
    append(&first, 20..30).await;
    assert!(first.delete(record(4).id).await.expect("deleted"));
    let gone = [3, 4];
    let living = |to: u64| (0..to).filter(move |n| !gone.contains(n));
    check(&first, living(30), gone);

    // The first node does not know that it is dead.
    let second_stores = stores(&etcd, &s3).await;
    let second = open(&second_stores, "two", &caches["two"]).await;
    check(&second, living(30), gone);
    append(&second, 30..35).await;
    let refused = first.append(record(99)).await.expect_err("fenced");
    assert!(matches!(refused, ShardError::Fenced { .. }), "{refused}");
    assert!(first.seal().await.is_err());
    second.seal().await.expect("sealed");
    while second.compact().await.expect("compacted") {}
    check(&second, living(35), gone);
    check(
        &open(&first_stores, "one", &caches["one"]).await,
        living(35),
        [3, 4, 99],
    );
}

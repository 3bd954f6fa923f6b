//! The same shard over etcd and an S3 API, and take-over when a node dies.

use std::collections::HashMap;

use super::*;
use crate::store::blob::{S3Options, production};
use crate::store::metadata::etcd::{EtcdOptions, EtcdStore};
use crate::store::servers::{Etcd, S3};

async fn stores(etcd: &Etcd, s3: &S3) -> Stores {
    let options = EtcdOptions {
        endpoints: etcd.endpoints(),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_images_are_taken_and_found_and_sealed_when_it_is_back() {
    let (mut etcd, s3) = (Etcd::start(), S3::start());
    s3.make_bucket("doppel").await;
    let cache = tempfile::tempdir().expect("a folder");
    let stores = stores(&etcd, &s3).await;
    let shard = open(&stores, "one", &cache).await;
    append(&shard, 0..10).await;
    etcd.kill(0);
    append(&shard, 10..20).await;
    assert!(shard.delete(record(3).id).await.expect("deleted"));
    let living = |to: u64| (0..to).filter(|&n| n != 3);
    check(&shard, living(20), [3]);
    let seal = {
        let shard = shard.clone();
        tokio::spawn(async move {
            while let Err(error) = shard.seal().await {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!seal.is_finished(), "nothing can be published");
    append(&shard, 20..25).await;
    check(&shard, living(25), [3]);
    etcd.restart(0);
    tokio::time::timeout(Duration::from_secs(60), seal)
        .await
        .expect("in time")
        .expect("sealed");
    assert_eq!(shard.segments().len(), 1);
    check(&shard, living(25), [3]);
    check(&open(&stores, "two", &cache).await, living(25), [3]);
}

/// The day of a shard that the tests of deaths know, on real servers, with a check at its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_step_works_on_etcd_and_s3() {
    let (etcd, s3) = (Etcd::start(), S3::start());
    s3.make_bucket("doppel").await;
    let cache = tempfile::tempdir().expect("a folder");
    let stores = stores(&etcd, &s3).await;
    let shard = open(&stores, "one", &cache).await;
    let mut known = super::steps::Known::default();
    super::steps::live(&shard, &mut known)
        .await
        .expect("nothing fails");
    shard.close().await;
    let shard = open(&stores, "two", &cache).await;
    assert_eq!(shard.damage(), []);
    let there: Vec<u64> = known.there().collect();
    check(
        &shard,
        there.iter().copied(),
        (0..10).filter(|n| !there.contains(n)),
    );
    shard.close().await;
    super::steps::assert_clean(&stores, "a").await;
}

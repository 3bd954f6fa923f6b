//! One contract for every implementation, and what the wrappers add.

mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use crate::store::servers::S3;

use super::faults::{Fault, Faulty, Operation};
use super::{
    BlobError, BlobStore, Created, Metered, ObjectBlobStore, RetryPolicy, Retrying, S3Options, probe,
};

fn quick() -> RetryPolicy {
    RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_millis(1),
        max_pause: Duration::from_millis(2),
        timeout: Duration::from_millis(200),
    }
}

/// What every [`BlobStore`] must do. The S3 test runs it too.
pub(in crate::store) async fn contract(store: Arc<dyn BlobStore>) {
    probe(&*store).await.expect("the probe passes");

    assert!(matches!(
        store.get("a/none").await,
        Err(BlobError::NotFound { .. })
    ));
    store
        .delete("a/none")
        .await
        .expect("deleting nothing is no error");
    assert_eq!(store.list("a").await.expect("an empty listing"), vec![]);

    // Round trip: empty, small, large.
    for (name, size) in [("a/empty", 0), ("a/b/small", 10), ("a/large", 3 << 20)] {
        let body = Bytes::from(vec![7; size]);
        assert_eq!(
            store.create(name, body.clone()).await.expect("stored"),
            Created::New
        );
        assert_eq!(store.get(name).await.expect("read"), body);
    }

    // From a file.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), b"file").expect("written");
    let body = Bytes::from_static(b"file");
    for name in ["f/x", "f/y"] {
        let created = store.create_from(name, body.clone(), file.path()).await;
        assert_eq!(created.expect("stored"), Created::New);
        assert_eq!(store.get(name).await.expect("read"), body);
    }

    // Never overwritten.
    let other = Bytes::from_static(b"other");
    assert_eq!(
        store.create("a/b/small", other).await.expect("answered"),
        Created::AlreadyExists
    );
    let from_file = store.create_from("a/b/small", body, file.path()).await;
    assert_eq!(from_file.expect("answered"), Created::AlreadyExists);
    assert_eq!(
        store.get("a/b/small").await.expect("read"),
        Bytes::from(vec![7; 10])
    );

    // A folder is not a prefix of a name: "a/b" does not list "a/bc"; the order is that of the names.
    store
        .create("a/bc", Bytes::from_static(b"x"))
        .await
        .expect("stored");
    let names = |found: Vec<super::BlobMeta>| found.into_iter().map(|m| m.name).collect::<Vec<_>>();
    assert_eq!(names(store.list("a/b").await.expect("listed")), ["a/b/small"]);
    let all = store.list("a").await.expect("listed");
    assert_eq!(all.iter().map(|m| m.size).sum::<u64>(), (3 << 20) + 11);
    assert_eq!(names(all), ["a/b/small", "a/bc", "a/empty", "a/large"]);

    // Twenty racers, one winner, each time.
    for round in 0..5 {
        let name = format!("race/{round}");
        let calls = (0..20).map(|i| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move { store.create(&name, Bytes::from(format!("racer {i}"))).await })
        });
        let outcomes: Vec<_> = join_all(calls)
            .await
            .into_iter()
            .map(|outcome| outcome.expect("no panic").expect("answered"))
            .collect();
        let winners: Vec<_> = (0..20).filter(|&i| outcomes[i] == Created::New).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(
            store.get(&name).await.expect("read"),
            Bytes::from(format!("racer {}", winners[0]))
        );
    }

    store.delete("a/b/small").await.expect("deleted");
    assert!(matches!(
        store.get("a/b/small").await,
        Err(BlobError::NotFound { .. })
    ));
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(Arc::new(ObjectBlobStore::memory())).await;
}

#[tokio::test]
async fn local_folder_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = ObjectBlobStore::local(&dir.path().join("made/here")).expect("opened");
    contract(Arc::new(Metered::new(Retrying::new(store, quick())))).await;
}

#[tokio::test]
async fn packs_in_a_local_folder_keep_the_contract() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let open = || ObjectBlobStore::local(dir.path()).expect("opened");
    let store = open().with_packs_anywhere();
    contract(Arc::new(Metered::new(Retrying::new(store, quick())))).await;
    // What stands in a pack is an object as every other, in this store and in later ones.
    let body = Bytes::from(vec![7; 20_000]);
    let name = |n: usize| format!("wal/c/0/1/{n}");
    let store = open().with_packs_anywhere();
    for (n, body) in [
        (0, body.clone()),
        (1, Bytes::from_static(b"small")),
        (2, body.clone()),
    ] {
        assert_eq!(
            store.create(&name(n), body.clone()).await.expect("stored"),
            Created::New
        );
        assert_eq!(store.get(&name(n)).await.expect("read"), body);
    }
    assert!(!dir.path().join(name(0)).exists() && dir.path().join(name(1)).exists());
    for store in [store, open(), open().with_packs_anywhere()] {
        let listed = store.list("wal/c").await.expect("listed");
        let sizes: Vec<_> = listed.iter().map(|o| (o.name.clone(), o.size)).collect();
        assert_eq!(sizes, [(name(0), 20_000), (name(1), 5), (name(2), 20_000)]);
        for (n, wanted) in [(0, &body[..]), (1, b"small"), (2, &body[..])] {
            assert_eq!(store.get(&name(n)).await.expect("read"), wanted);
            let other = store.create(&name(n), Bytes::from_static(b"other")).await;
            assert_eq!(other.expect("answered"), Created::AlreadyExists);
        }
    }
    let store = open();
    store
        .delete(&name(0))
        .await
        .expect("deleted by whoever opens the folder");
    for store in [store, open()] {
        let read = store.get(&name(0)).await;
        assert!(matches!(read, Err(BlobError::NotFound { .. })), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_keeps_the_contract() {
    let server = S3::start();
    server.make_bucket("doppel").await;
    for prefix in ["", "some/where"] {
        let options = S3Options {
            bucket: "doppel".to_owned(),
            prefix: prefix.to_owned(),
            endpoint: Some(server.endpoint()),
            region: Some("us-east-1".to_owned()),
            access_key_id: Some("test".to_owned()),
            secret_access_key: Some("test".to_owned()),
        };
        let store = ObjectBlobStore::s3(&options).expect("a client");
        contract(super::production(store)).await;
    }
    let missing = S3Options {
        bucket: "nobody-made-this".to_owned(),
        endpoint: Some(server.endpoint()),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("test".to_owned()),
        secret_access_key: Some("test".to_owned()),
        ..S3Options::default()
    };
    let refused = probe(&ObjectBlobStore::s3(&missing).expect("a client")).await;
    assert!(
        matches!(refused, Err(BlobError::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn local_folder_forgets_unfinished_writes() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = ObjectBlobStore::local(dir.path()).expect("opened");
    store
        .create("x/whole", Bytes::from_static(b"1"))
        .await
        .expect("stored");
    std::fs::write(dir.path().join("x/half#1"), b"ha").expect("written");
    assert_eq!(store.list("x").await.expect("listed").len(), 1);
    assert_eq!(store.sweep_unfinished().expect("swept"), 1);
    assert!(!dir.path().join("x/half#1").exists());
    assert!(store.get("x/whole").await.is_ok());
}

/// A store over memory whose first `times` creates suffer `fault`.
fn failing_first(times: usize, fault: Fault) -> Retrying<Faulty<ObjectBlobStore>> {
    let seen = AtomicUsize::new(0);
    let plan = move |operation, _: &str| {
        if operation == Operation::Create && seen.fetch_add(1, Ordering::SeqCst) < times {
            fault
        } else {
            Fault::None
        }
    };
    Retrying::new(Faulty::new(ObjectBlobStore::memory(), Arc::new(plan)), quick())
}

#[tokio::test]
async fn lost_replies_are_told_from_others_objects() {
    for fault in [Fault::LoseReply, Fault::LoseRequest, Fault::Refuse, Fault::Hang] {
        let store = failing_first(2, fault);
        let ours = Bytes::from_static(b"ours, nonce 1");
        assert_eq!(
            store.create("n", ours.clone()).await.expect("stored"),
            Created::New,
            "{fault:?}"
        );
        assert_eq!(store.get("n").await.expect("read"), ours);
        let theirs = Bytes::from_static(b"theirs, nonce 2");
        assert_eq!(
            store.create("n", theirs).await.expect("answered"),
            Created::AlreadyExists
        );
    }
}

#[tokio::test]
async fn outcomes_are_named_for_what_they_are() {
    let data = Bytes::from_static(b"x");
    let store = failing_first(usize::MAX, Fault::LoseRequest);
    assert!(matches!(
        store.create("n", data.clone()).await,
        Err(BlobError::OutcomeUnknown { .. })
    ));
    let store = failing_first(usize::MAX, Fault::Refuse);
    assert!(matches!(
        store.create("n", data.clone()).await,
        Err(BlobError::Unavailable { .. })
    ));
    let store = failing_first(usize::MAX, Fault::Full);
    assert!(matches!(
        store.create("n", data).await,
        Err(BlobError::Full { .. })
    ));
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused() {
    /// Answers every create with success, as some S3 servers do.
    struct Overwriting(parking_lot::Mutex<std::collections::BTreeMap<String, Bytes>>);
    #[async_trait::async_trait]
    impl BlobStore for Overwriting {
        async fn create(&self, name: &str, data: Bytes) -> Result<Created, BlobError> {
            self.0.lock().insert(name.to_owned(), data);
            Ok(Created::New)
        }
        async fn create_from(
            &self,
            name: &str,
            data: Bytes,
            _: &std::path::Path,
        ) -> Result<Created, BlobError> {
            self.create(name, data).await
        }
        async fn get(&self, name: &str) -> Result<Bytes, BlobError> {
            let found = self.0.lock().get(name).cloned();
            found.ok_or_else(|| BlobError::NotFound {
                name: name.to_owned(),
            })
        }
        async fn list(&self, _: &str) -> Result<Vec<super::BlobMeta>, BlobError> {
            Ok(vec![])
        }
        async fn delete(&self, name: &str) -> Result<(), BlobError> {
            self.0.lock().remove(name);
            Ok(())
        }
        fn local_path(&self, _: &str) -> Option<std::path::PathBuf> {
            None
        }
    }
    let store = Overwriting(parking_lot::Mutex::default());
    let refused = probe(&store).await.expect_err("refused");
    assert!(matches!(refused, BlobError::NotConditional { .. }), "{refused}");
    assert!(store.0.lock().is_empty(), "the probe cleans up");
}

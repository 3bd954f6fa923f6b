//! One contract for every implementation.

mod etcd;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::Mutex;

use super::embedded::{EmbeddedOptions, EmbeddedStore};
use super::{Compare, LeaseId, MetadataError, MetadataStore, Op, TxnOutcome, WatchEvent, WatchStream};

fn leased(key: &str, value: &str, lease: LeaseId) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: value.to_owned().into(),
        lease: Some(lease),
    }
}

fn absent(key: &str) -> Compare {
    Compare::Absent { key: key.to_owned() }
}

fn committed(outcome: TxnOutcome) -> i64 {
    match outcome {
        TxnOutcome::Committed { revision } => revision,
        TxnOutcome::Refused => panic!("the transaction was refused"),
    }
}

async fn next(stream: &mut WatchStream) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(20), stream.recv())
        .await
        .expect("an event in time")
        .expect("the watch goes on")
}

/// What every [`MetadataStore`] must do, on keys under `/t/`.
pub(crate) async fn contract(store: Arc<dyn MetadataStore>) {
    revisions(&*store).await;
    conditions(&*store).await;
    racing(store.clone()).await;
    watching(&*store).await;
    leases(&*store).await;
}

async fn revisions(store: &dyn MetadataStore) {
    assert_eq!(store.get("/t/a").await.expect("read"), None);
    let first = committed(store.txn(vec![], vec![Op::put("/t/a", "1")]).await.expect("sent"));
    let entry = store.get("/t/a").await.expect("read").expect("there");
    assert_eq!((entry.create_revision, entry.mod_revision), (first, first));
    let second = committed(
        store
            .txn(vec![], vec![Op::put("/t/a", "2"), Op::put("/t/b", "x")])
            .await
            .expect("sent"),
    );
    assert_eq!(second, first + 1, "one revision for a whole transaction");
    let all = store.range("/t/").await.expect("read");
    assert_eq!(all.revision, second);
    let seen: Vec<_> = all
        .entries
        .iter()
        .map(|e| (e.key.as_str(), &e.value[..], e.create_revision, e.mod_revision))
        .collect();
    assert_eq!(
        seen,
        [
            ("/t/a", &b"2"[..], first, second),
            ("/t/b", &b"x"[..], second, second)
        ]
    );
    // What changes nothing has no revision of its own.
    let nothing = committed(
        store
            .txn(vec![], vec![Op::delete("/t/none")])
            .await
            .expect("sent"),
    );
    assert_eq!(nothing, second);
    // A key that comes back is another key.
    store.txn(vec![], vec![Op::delete("/t/b")]).await.expect("sent");
    let again = committed(store.txn(vec![], vec![Op::put("/t/b", "x")]).await.expect("sent"));
    let entry = store.get("/t/b").await.expect("read").expect("there");
    assert_eq!(entry.create_revision, again);
}

async fn conditions(store: &dyn MetadataStore) {
    let entry = store.get("/t/a").await.expect("read").expect("there");
    let modified = |revision| Compare::ModRevision {
        key: "/t/a".to_owned(),
        revision,
    };
    let created = |revision| Compare::CreateRevision {
        key: "/t/a".to_owned(),
        revision,
    };
    for refused in [
        vec![absent("/t/a")],
        vec![modified(entry.mod_revision - 1)],
        vec![created(entry.mod_revision)],
        vec![modified(entry.mod_revision), absent("/t/b")],
        vec![Compare::ModRevision {
            key: "/t/none".to_owned(),
            revision: 1,
        }],
    ] {
        let ops = vec![Op::put("/t/a", "bad"), Op::put("/t/c", "bad")];
        let outcome = store.txn(refused.clone(), ops).await.expect("sent");
        assert_eq!(outcome, TxnOutcome::Refused, "{refused:?}");
    }
    assert_eq!(
        store.get("/t/c").await.expect("read"),
        None,
        "nothing of a refused one"
    );
    assert_eq!(store.get("/t/a").await.expect("read"), Some(entry.clone()));
    let holding = vec![
        modified(entry.mod_revision),
        created(entry.create_revision),
        absent("/t/c"),
        Compare::unchanged("/t/a", Some(&entry)),
        Compare::unchanged("/t/c", None),
    ];
    committed(
        store
            .txn(holding, vec![Op::put("/t/a", "good")])
            .await
            .expect("sent"),
    );
    let twice = vec![Op::put("/t/a", "1"), Op::delete("/t/a")];
    assert!(matches!(
        store.txn(vec![], twice).await,
        Err(MetadataError::Invalid { .. })
    ));
}

async fn racing(store: Arc<dyn MetadataStore>) {
    // Twenty writers create one key: one wins.
    let calls = (0..20).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .txn(vec![absent("/t/race")], vec![Op::put("/t/race", format!("{i}"))])
                .await
        })
    });
    let outcomes = join_all(calls)
        .await
        .into_iter()
        .map(|o| o.expect("no panic").expect("sent"));
    let winners: Vec<_> = outcomes
        .enumerate()
        .filter(|(_, o)| *o != TxnOutcome::Refused)
        .collect();
    assert_eq!(winners.len(), 1);
    let entry = store.get("/t/race").await.expect("read").expect("there");
    assert_eq!(entry.value, winners[0].0.to_string());

    // Eight writers count to ten each, by compare and set: no count is lost.
    let calls = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < 10 {
                let known = store.get("/t/count").await.expect("read");
                let count: u32 = known.as_ref().map_or(0, |e| {
                    std::str::from_utf8(&e.value)
                        .expect("text")
                        .parse()
                        .expect("a number")
                });
                let ops = vec![Op::put("/t/count", (count + 1).to_string())];
                let outcome = store
                    .txn(vec![Compare::unchanged("/t/count", known.as_ref())], ops)
                    .await;
                done += u32::from(outcome.expect("sent") != TxnOutcome::Refused);
            }
        })
    });
    for call in join_all(calls).await {
        call.expect("no panic");
    }
    let entry = store.get("/t/count").await.expect("read").expect("there");
    assert_eq!(entry.value, "80");
}

async fn watching(store: &dyn MetadataStore) {
    let start = store.range("/t/w/").await.expect("read").revision;
    let mut live = store.watch("/t/w/", start).await.expect("watching");
    let first = committed(
        store
            .txn(vec![], vec![Op::put("/t/w/1", "a")])
            .await
            .expect("sent"),
    );
    store
        .txn(vec![], vec![Op::put("/t/other", "a")])
        .await
        .expect("sent");
    let second = committed(
        store
            .txn(vec![], vec![Op::delete("/t/w/1"), Op::put("/t/w/2", "b")])
            .await
            .expect("sent"),
    );
    for (stream, from) in [
        (&mut live, "live"),
        (
            &mut store.watch("/t/w/", start).await.expect("resumed"),
            "resumed",
        ),
    ] {
        match next(stream).await {
            WatchEvent::Put(e) => assert_eq!((e.key.as_str(), e.mod_revision), ("/t/w/1", first), "{from}"),
            other => panic!("{from}: {other:?}"),
        }
        let mut pair = [next(stream).await, next(stream).await];
        pair.sort_by_key(|event| matches!(event, WatchEvent::Put(_)));
        match &pair {
            [WatchEvent::Delete { key, revision }, WatchEvent::Put(e)] => {
                assert_eq!((key.as_str(), *revision), ("/t/w/1", second), "{from}");
                assert_eq!((e.key.as_str(), e.mod_revision), ("/t/w/2", second), "{from}");
            }
            other => panic!("{from}: {other:?}"),
        }
    }
    // From the middle: only what came after.
    let mut late = store.watch("/t/w/", first).await.expect("resumed");
    let event = next(&mut late).await;
    assert!(
        !matches!(&event, WatchEvent::Put(e) if e.mod_revision == first),
        "{event:?}"
    );
}

async fn leases(store: &dyn MetadataStore) {
    let lease = store.grant_lease(Duration::from_secs(30)).await.expect("granted");
    let other = store.grant_lease(Duration::from_secs(30)).await.expect("granted");
    assert_ne!(lease, other);
    let ops = vec![leased("/t/l/1", "x", lease), leased("/t/l/2", "y", other)];
    let revision = committed(store.txn(vec![], ops).await.expect("sent"));
    assert_eq!(
        store.get("/t/l/1").await.expect("read").expect("there").lease,
        Some(lease)
    );
    store.renew_lease(lease).await.expect("renewed");
    let mut watch = store.watch("/t/l/", revision).await.expect("watching");
    store.revoke_lease(lease).await.expect("revoked");
    assert!(matches!(next(&mut watch).await, WatchEvent::Delete { key, .. } if key == "/t/l/1"));
    assert_eq!(store.get("/t/l/1").await.expect("read"), None);
    assert!(store.get("/t/l/2").await.expect("read").is_some());
    assert!(matches!(
        store.renew_lease(lease).await,
        Err(MetadataError::LeaseLost { .. })
    ));
    let dead = store.txn(vec![], vec![leased("/t/l/3", "z", lease)]).await;
    assert!(matches!(dead, Err(MetadataError::LeaseLost { .. })), "{dead:?}");
    // A put without a lease frees the key from it.
    store
        .txn(vec![], vec![Op::put("/t/l/2", "mine")])
        .await
        .expect("sent");
    store.revoke_lease(other).await.expect("revoked");
    assert!(store.get("/t/l/2").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    contract(Arc::new(EmbeddedStore::open(dir.path()).await.expect("opened"))).await;
}

#[tokio::test]
async fn embedded_survives_a_restart_and_has_one_owner() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open(dir.path()).await.expect("opened");
    let lease = store.grant_lease(Duration::from_secs(60)).await.expect("granted");
    let ops = vec![Op::put("/t/a", "1"), leased("/t/n", "1", lease)];
    let revision = committed(store.txn(vec![], ops).await.expect("sent"));

    let Err(refused) = EmbeddedStore::open(dir.path()).await else {
        panic!("a second owner was let in")
    };
    assert!(matches!(refused, MetadataError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("in use by another doppel process"));

    drop(store);
    let store = EmbeddedStore::open(dir.path()).await.expect("opened again");
    let entry = store.get("/t/a").await.expect("read").expect("there");
    assert_eq!(entry.mod_revision, revision);
    assert_eq!(store.get("/t/n").await.expect("read"), None, "its holder is dead");
    let mut watch = store.watch("/t/", 0).await.expect("watching");
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(e) if e.mod_revision == revision));
}

#[tokio::test]
async fn embedded_leases_follow_the_clock_given() {
    let start = Instant::now();
    let now = Arc::new(Mutex::new(start));
    let clock = now.clone();
    let options = EmbeddedOptions {
        clock: Arc::new(move || *clock.lock()),
        history: 100,
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = EmbeddedStore::open_with(dir.path(), options)
        .await
        .expect("opened");
    let lease = store.grant_lease(Duration::from_secs(10)).await.expect("granted");
    store
        .txn(vec![], vec![leased("/t/n", "1", lease)])
        .await
        .expect("sent");
    *now.lock() = start + Duration::from_secs(9);
    store.renew_lease(lease).await.expect("renewed");
    *now.lock() = start + Duration::from_secs(18);
    assert!(store.get("/t/n").await.expect("read").is_some());
    let revision = store.range("/t/").await.expect("read").revision;
    let mut watch = store.watch("/t/", revision).await.expect("watching");
    *now.lock() = start + Duration::from_secs(19);
    // Nobody calls: the store itself looks at its leases.
    assert!(matches!(next(&mut watch).await, WatchEvent::Delete { key, .. } if key == "/t/n"));
    assert!(store.renew_lease(lease).await.is_err());
}

#[tokio::test]
async fn embedded_watch_beyond_the_history_is_reset() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = EmbeddedOptions {
        history: 5,
        ..EmbeddedOptions::default()
    };
    let store = EmbeddedStore::open_with(dir.path(), options)
        .await
        .expect("opened");
    for i in 0..20 {
        store
            .txn(vec![], vec![Op::put("/t/a", format!("{i}"))])
            .await
            .expect("sent");
    }
    let mut watch = store.watch("/t/", 2).await.expect("watching");
    match next(&mut watch).await {
        WatchEvent::Reset(snapshot) => assert_eq!(snapshot.entries[0].value, "19"),
        other => panic!("{other:?}"),
    }
    store
        .txn(vec![], vec![Op::put("/t/a", "20")])
        .await
        .expect("sent");
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(e) if e.value == "20"));
}

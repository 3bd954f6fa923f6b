//! Real etcd processes: the contract, and what they do to a client that lives long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::etcd::{EtcdOptions, EtcdStore};
use super::super::{MetadataError, MetadataStore, Op, WatchEvent};
use super::{committed, contract, leased, next};
use crate::store::servers::Etcd;

async fn connect(etcd: &Etcd) -> EtcdStore {
    let options = EtcdOptions {
        endpoints: etcd.endpoints(),
        user: None,
    };
    EtcdStore::connect(&options).await.expect("connected")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_the_contract() {
    let etcd = Etcd::start();
    contract(Arc::new(connect(&etcd).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_watches_and_sessions_outlive_a_restart_and_a_compaction() {
    let mut etcd = Etcd::start();
    let store = connect(&etcd).await;
    let lease = store.grant_lease(Duration::from_secs(60)).await.expect("granted");
    let start = committed(store.txn(vec![], vec![Op::put("/t/a", "0")]).await.expect("sent"));
    let mut watch = store.watch("/t/", start).await.expect("watching");
    store.txn(vec![], vec![Op::put("/t/a", "1")]).await.expect("sent");
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(e) if e.value == "1"));

    etcd.kill(0);
    let down = store.txn(vec![], vec![Op::put("/t/a", "x")]).await;
    assert!(
        matches!(
            down,
            Err(MetadataError::OutcomeUnknown { .. } | MetadataError::Unavailable { .. })
        ),
        "{down:?}"
    );
    assert!(matches!(
        store.get("/t/a").await,
        Err(MetadataError::Unavailable { .. })
    ));
    etcd.restart(0);
    // The same client and the same watch go on.
    let mut tries = 0;
    while store.txn(vec![], vec![Op::put("/t/a", "2")]).await.is_err() {
        tries += 1;
        assert!(tries < 20, "the client does not come back");
    }
    let event = next(&mut watch).await;
    assert!(
        matches!(&event, WatchEvent::Put(e) if e.value == "2"),
        "{event:?}"
    );
    store
        .renew_lease(lease)
        .await
        .expect("renewed: leases are durable");

    // Who asks for what was compacted away gets all there is instead.
    let revision = committed(store.txn(vec![], vec![Op::put("/t/a", "3")]).await.expect("sent"));
    store.compact_for_test(revision).await;
    let mut late = store.watch("/t/", start).await.expect("watching");
    match next(&mut late).await {
        WatchEvent::Reset(snapshot) => assert_eq!(snapshot.entries[0].value, "3"),
        other => panic!("{other:?}"),
    }
    store.txn(vec![], vec![Op::put("/t/a", "4")]).await.expect("sent");
    assert!(matches!(next(&mut late).await, WatchEvent::Put(e) if e.value == "4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_with_passwords_is_logged_in_to_again() {
    // Tokens live for a second, and are gone with their member.
    let mut etcd = Etcd::start_with(1, &["--auth-token-ttl", "1", "--bcrypt-cost", "4"]);
    connect(&etcd).await.protect_for_test().await;
    let login = |password: &str| EtcdOptions {
        endpoints: etcd.endpoints(),
        user: Some(("root".to_owned(), password.to_owned())),
    };
    for refused in [
        EtcdOptions {
            user: None,
            ..login("")
        },
        login("wrong"),
    ] {
        let refused = match EtcdStore::connect(&refused).await {
            Ok(store) => store.get("/t/a").await.err(),
            Err(error) => Some(error),
        };
        assert!(
            matches!(refused, Some(MetadataError::Unavailable { .. })),
            "{refused:?}"
        );
    }
    let store = EtcdStore::connect(&login("secret")).await.expect("connected");
    contract(Arc::new(store.clone())).await;

    let lease = store.grant_lease(Duration::from_secs(60)).await.expect("granted");
    let revision = store.range("/t/").await.expect("read").revision;
    let mut watch = store.watch("/t/auth", revision).await.expect("watching");
    for round in 0..3 {
        match round {
            // The token has run out; nothing but the lease has used it since.
            0 => tokio::time::sleep(Duration::from_millis(2500)).await,
            1 => etcd.restart(0),
            _ => store.change_users_for_test("another").await,
        }
        let mut tries = 0;
        while let Err(error) = store.renew_lease(lease).await {
            assert!(!matches!(error, MetadataError::LeaseLost { .. }), "{error}");
            tries += 1;
            assert!(tries < 20, "round {round}: {error}");
        }
        let ops = vec![leased("/t/auth", &round.to_string(), lease)];
        committed(store.txn(vec![], ops).await.expect("sent"));
        let event = next(&mut watch).await;
        assert!(
            matches!(&event, WatchEvent::Put(e) if e.value == round.to_string()),
            "round {round}: {event:?}"
        );
        let late = store.watch("/t/auth", revision).await;
        assert!(matches!(
            next(&mut late.expect("watching")).await,
            WatchEvent::Put(_)
        ));
        store.grant_lease(Duration::from_secs(5)).await.expect("granted");
    }
    store.revoke_lease(lease).await.expect("revoked");
    assert!(matches!(next(&mut watch).await, WatchEvent::Delete { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_without_a_majority_answers_with_an_error_and_comes_back() {
    let mut etcd = Etcd::start_with(3, &[]);
    let store = connect(&etcd).await;
    let start = committed(store.txn(vec![], vec![Op::put("/t/a", "0")]).await.expect("sent"));
    let mut watch = store.watch("/t/", start).await.expect("watching");

    // One member less changes nothing, though some call may have gone to it.
    etcd.kill(0);
    let patience = Instant::now() + Duration::from_secs(30);
    while store.txn(vec![], vec![Op::put("/t/a", "1")]).await.is_err() {
        assert!(Instant::now() < patience, "two of three members do not serve");
    }
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(e) if e.value == "1"));

    // Without a majority there is an error within the deadlines, not silence.
    etcd.kill(1);
    let asked = Instant::now();
    let unavailable = loop {
        match store.get("/t/a").await {
            Err(error) => break error,
            Ok(_) => assert!(
                asked.elapsed() < Duration::from_secs(30),
                "a lonely member answers"
            ),
        }
    };
    assert!(
        matches!(unavailable, MetadataError::Unavailable { .. }),
        "{unavailable}"
    );
    assert!(asked.elapsed() < Duration::from_secs(40), "{:?}", asked.elapsed());

    etcd.restart(0);
    let patience = Instant::now() + Duration::from_secs(30);
    while store.txn(vec![], vec![Op::put("/t/a", "2")]).await.is_err() {
        assert!(
            Instant::now() < patience,
            "two of three members do not serve again"
        );
    }
    // What was sent meanwhile may have been committed too; the last word is seen once.
    loop {
        match next(&mut watch).await {
            WatchEvent::Put(e) if e.value == "2" => break,
            WatchEvent::Put(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn etcd_ranges_beyond_a_page_are_of_one_moment() {
    let etcd = Etcd::start();
    let store = connect(&etcd).await;
    for part in 0..45 {
        let ops = (0..100)
            .map(|i| Op::put(format!("/t/{:05}", part * 100 + i), "x"))
            .collect();
        store.txn(vec![], ops).await.expect("sent");
    }
    let all = store.range("/t/").await.expect("read");
    assert_eq!(all.entries.len(), 4500);
    assert!(all.entries.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(
        all.revision,
        all.entries.iter().map(|e| e.mod_revision).max().expect("some")
    );
}

#[tokio::test]
async fn etcd_that_is_not_there_is_said_to_be_unavailable() {
    let nowhere = EtcdOptions {
        endpoints: vec!["http://127.0.0.1:1".to_owned()],
        user: None,
    };
    let error = EtcdStore::connect(&nowhere).await.err().expect("refused");
    assert!(matches!(error, MetadataError::Unavailable { .. }), "{error}");
}

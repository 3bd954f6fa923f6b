//! The elected node of a cluster. It opens the shards; the others wait, and one of them takes over when its lease has run
//! out.
//!
//! Elected by create-if-absent and a watch, not by etcd's own campaign calls. The election decides who should act; what
//! makes it safe when two believe they are elected are the epochs and fences of the shards. So losing the metadata store is
//! no reason to step down: the elected node goes on, and when the store is back it asks whether another stands in its place.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::metadata::keys::Keys;
use crate::store::metadata::{Compare, LeaseId, MetadataError, MetadataStore, Op, TxnOutcome, WatchEvent};
use crate::types::NodeId;

/// Pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(500);

/// Proof of being elected, for as long as [`Self::is_held`].
pub struct Leadership {
    metadata: Arc<dyn MetadataStore>,
    lease: Arc<Mutex<LeaseId>>,
    held: watch::Receiver<bool>,
    stop: CancellationToken,
}

/// Waits until `node` is elected in `cluster`. A leader that dies is followed by another within about `ttl`.
///
/// # Errors
/// [`MetadataError`] when the first calls fail; later failures are waited out.
pub async fn elect(
    metadata: Arc<dyn MetadataStore>,
    cluster: &str,
    node: &NodeId,
    ttl: Duration,
) -> Result<Leadership, MetadataError> {
    let key = Keys::new(cluster).leader();
    metadata.get(&key).await?;
    let mut announced = false;
    loop {
        match stand(&metadata, &key, node, ttl).await {
            Ok(Some(lease)) => {
                tracing::info!(%node, cluster, "elected");
                return Ok(Leadership::keep(metadata, key, node.clone(), lease, ttl));
            }
            Ok(None) => {
                if !announced {
                    tracing::info!(%node, cluster, "another node is elected, waiting to take over");
                    announced = true;
                }
                wait_for_vacancy(&metadata, &key, ttl).await;
            }
            Err(error) => {
                tracing::warn!(%error, "standing for election failed, will try again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One attempt; `None` when another node is elected.
async fn stand(
    metadata: &Arc<dyn MetadataStore>,
    key: &str,
    node: &NodeId,
    ttl: Duration,
) -> Result<Option<LeaseId>, MetadataError> {
    if metadata.get(key).await?.is_some() {
        return Ok(None);
    }
    let lease = metadata.grant_lease(ttl).await?;
    let put = Op::Put {
        key: key.to_owned(),
        value: node.to_string().into(),
        lease: Some(lease),
    };
    let outcome = match metadata
        .txn(vec![Compare::Absent { key: key.to_owned() }], vec![put])
        .await
    {
        // It stands if it is bound to our lease.
        Err(MetadataError::OutcomeUnknown { .. }) => {
            let entry = metadata.get(key).await?;
            entry.is_some_and(|entry| entry.lease == Some(lease))
        }
        outcome => outcome? != TxnOutcome::Refused,
    };
    if outcome {
        return Ok(Some(lease));
    }
    metadata.revoke_lease(lease).await?;
    Ok(None)
}

/// Returns when the key is gone, or may be.
async fn wait_for_vacancy(metadata: &Arc<dyn MetadataStore>, key: &str, ttl: Duration) {
    let watching = async {
        let snapshot = metadata.range(key).await?;
        if snapshot.entries.is_empty() {
            return Ok(());
        }
        let mut changes = metadata.watch(key, snapshot.revision).await?;
        while let Some(change) = changes.recv().await {
            match change {
                WatchEvent::Delete { .. } => return Ok(()),
                WatchEvent::Reset(now) if now.entries.is_empty() => return Ok(()),
                WatchEvent::Put(_) | WatchEvent::Reset(_) => {}
            }
        }
        Ok(())
    };
    let watched: Result<Result<(), MetadataError>, _> = tokio::time::timeout(ttl * 2, watching).await;
    if !matches!(watched, Ok(Ok(()))) {
        tokio::time::sleep(PAUSE).await;
    }
}

impl Leadership {
    fn keep(
        metadata: Arc<dyn MetadataStore>,
        key: String,
        node: NodeId,
        lease: LeaseId,
        ttl: Duration,
    ) -> Self {
        let (state, held) = watch::channel(true);
        let stop = CancellationToken::new();
        let lease = Arc::new(Mutex::new(lease));
        let leadership = Self {
            metadata: metadata.clone(),
            lease: lease.clone(),
            held,
            stop: stop.clone(),
        };
        tokio::spawn(async move {
            let renewing = async {
                loop {
                    tokio::time::sleep(ttl / 3).await;
                    let current = *lease.lock();
                    match metadata.renew_lease(current).await {
                        Ok(()) => {}
                        Err(MetadataError::LeaseLost { .. }) => {
                            match stand(&metadata, &key, &node, ttl).await {
                                Ok(Some(fresh)) => {
                                    tracing::warn!("the election had run out, and nobody else stood");
                                    *lease.lock() = fresh;
                                }
                                Ok(None) => return,
                                Err(error) => tracing::warn!(%error, "standing again failed, will try again"),
                            }
                        }
                        // Nobody can be elected where this node cannot ask, or else the shards' fences stop it.
                        Err(error) => tracing::warn!(%error, "renewing the election failed, will try again"),
                    }
                }
            };
            tokio::select! {
                () = renewing => tracing::warn!("another node is elected"),
                () = stop.cancelled() => {}
            }
            state.send_replace(false);
        });
        leadership
    }

    /// Whether the election stands, as far as this node knows: as long as the metadata store does not answer, it does.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Returns when it no longer stands.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut held = self.held.clone();
        async move {
            // The sender ends after it said so.
            let _ = held.wait_for(|held| !held).await;
        }
    }

    /// Steps down at once, so that the next node need not wait for the lease to run out.
    ///
    /// # Errors
    /// As the store fails; the lease runs out then.
    pub async fn resign(self) -> Result<(), MetadataError> {
        self.stop.cancel();
        let lease = *self.lease.lock();
        self.metadata.revoke_lease(lease).await
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::metadata::embedded::EmbeddedStore;
    use crate::store::metadata::etcd::{EtcdOptions, EtcdStore};
    use crate::store::servers::Etcd;

    /// One leader at a time; the next follows one that resigns and one that just vanishes.
    async fn contract(store: Arc<dyn MetadataStore>) {
        let ttl = Duration::from_secs(2);
        let stand = |name: &str| {
            let (store, node) = (store.clone(), name.parse().expect("a name"));
            tokio::spawn(async move { elect(store, "c", &node, ttl).await.expect("elected") })
        };
        let first = stand("a").await.expect("no panic");
        let waiting = stand("b");
        tokio::time::sleep(ttl * 2).await;
        assert!(!waiting.is_finished(), "the first is alive and renews");
        assert!(first.is_held());
        first.resign().await.expect("resigned");
        let patience = Duration::from_secs(30);
        let second = tokio::time::timeout(patience, waiting)
            .await
            .expect("in time")
            .expect("no panic");
        let waiting = stand("c");
        // It stops renewing without a word.
        drop(second);
        let third = tokio::time::timeout(patience, waiting)
            .await
            .expect("in time")
            .expect("no panic");
        assert!(third.is_held());
        // Its lease goes behind its back, and nobody else is there: it stands again.
        let lost = *third.lease.lock();
        store.revoke_lease(lost).await.expect("revoked");
        let key = Keys::new("c").leader();
        let again = tokio::time::timeout(patience, async {
            while *third.lease.lock() == lost || store.get(&key).await.expect("read").is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        again.await.expect("in time");
        assert!(third.is_held());
        // Somebody else is there: it steps down.
        let mut waiting = stand("d");
        tokio::time::sleep(ttl).await;
        let fourth = tokio::time::timeout(patience, async {
            loop {
                // The third may stand again before the fourth does: then it loses that lease too.
                let lease = *third.lease.lock();
                store.revoke_lease(lease).await.expect("revoked");
                if let Ok(fourth) = tokio::time::timeout(ttl / 2, &mut waiting).await {
                    break fourth;
                }
            }
        });
        let fourth = fourth.await.expect("in time");
        assert!(fourth.expect("no panic").is_held());
        tokio::time::timeout(patience, third.lost())
            .await
            .expect("it notices");
        assert!(!third.is_held());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_leads_at_a_time_embedded() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        contract(Arc::new(EmbeddedStore::open(dir.path()).await.expect("opened"))).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_leads_at_a_time_in_etcd() {
        let etcd = Etcd::start();
        let options = EtcdOptions {
            endpoints: etcd.endpoints(),
            user: None,
        };
        contract(Arc::new(EtcdStore::connect(&options).await.expect("connected"))).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn losing_etcd_for_longer_than_the_lease_deposes_nobody() {
        let mut etcd = Etcd::start();
        let options = EtcdOptions {
            endpoints: etcd.endpoints(),
            user: None,
        };
        let store: Arc<dyn MetadataStore> = Arc::new(EtcdStore::connect(&options).await.expect("connected"));
        let ttl = Duration::from_secs(2);
        let node = "a".parse().expect("a name");
        let elected = elect(store.clone(), "c", &node, ttl).await.expect("elected");
        etcd.kill(0);
        tokio::time::sleep(ttl * 3).await;
        assert!(elected.is_held());
        etcd.restart(0);
        tokio::time::sleep(ttl * 3).await;
        assert!(elected.is_held());
        let entry = store.get(&Keys::new("c").leader()).await.expect("read");
        assert_eq!(entry.expect("it stands").value, "a");
    }
}

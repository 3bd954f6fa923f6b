//! Which nodes are alive, and who takes over the shards of those that are not.
//!
//! A node stands in the registry under a lease: when it dies, its key goes with the lease, and any node may claim its
//! shards. Nothing here has to be right for safety: two nodes that both believe they may claim a shard are told apart by
//! the shard's epochs and fences.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::shard::Assignment;
use crate::store::metadata::keys::Keys;
use crate::store::metadata::{Compare, LeaseId, MetadataError, MetadataStore, Op, TxnOutcome};
use crate::types::{CollectionName, NodeId, ShardId};

/// Version of the stored value.
const VERSION: u32 = 1;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name, one at a time in a cluster.
    pub id: NodeId,
    /// `host:port` where its HTTP API is reached.
    pub address: String,
    /// Failure domain.
    pub zone: String,
    /// Version of the program.
    pub build: String,
}

/// The stored value.
#[derive(Serialize, Deserialize)]
struct Value {
    v: u32,
    address: String,
    zone: String,
    build: String,
    /// Random; tells one run of a node from the next.
    boot: String,
    #[serde(default)]
    draining: bool,
}

/// Why the registry refuses.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The metadata store fails.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A node of that name is alive.
    #[error("a node named {id} is running already: give each node its own name")]
    NameTaken {
        /// The name.
        id: NodeId,
    },
    /// The stored value makes no sense.
    #[error("{key} is damaged: {what}")]
    Corrupt {
        /// Its key.
        key: String,
        /// What was found.
        what: String,
    },
}

impl RegistryError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> crate::error::ErrorKind {
        match self {
            Self::Metadata(e) => e.kind(),
            Self::NameTaken { .. } => crate::error::ErrorKind::Conflict,
            Self::Corrupt { .. } => crate::error::ErrorKind::Corrupt,
        }
    }
}

/// This node's place in the registry; it leaves when this is dropped or [`Self::leave`] is called.
pub struct Membership {
    registry: Registry,
    info: NodeInfo,
    lease: Arc<parking_lot::Mutex<LeaseId>>,
    stop: CancellationToken,
}

/// The nodes of a cluster.
#[derive(Clone)]
pub struct Registry {
    metadata: Arc<dyn MetadataStore>,
    keys: Keys,
}

impl Registry {
    /// The registry of the cluster of that name.
    #[must_use]
    pub fn new(metadata: Arc<dyn MetadataStore>, cluster: &str) -> Self {
        Self {
            metadata,
            keys: Keys::new(cluster),
        }
    }

    /// Enters a node, and keeps it there: its lease is renewed three times as often as it must be, and it enters again
    /// when the lease was lost all the same.
    ///
    /// # Errors
    /// [`RegistryError::NameTaken`] when a node of that name is alive for longer than `ttl`; else as the store fails.
    pub async fn join(&self, info: NodeInfo, ttl: Duration) -> Result<Membership, RegistryError> {
        let boot = uuid::Uuid::new_v4().to_string();
        let patience = tokio::time::Instant::now() + ttl * 3;
        let lease = loop {
            match self.enter(&info, &boot, ttl).await {
                // The node's former run may be dead and its lease not out yet.
                Err(RegistryError::NameTaken { .. }) if tokio::time::Instant::now() < patience => {
                    tokio::time::sleep(ttl / 4).await;
                }
                entered => break entered?,
            }
        };
        let membership = Membership {
            registry: self.clone(),
            info: info.clone(),
            lease: Arc::new(parking_lot::Mutex::new(lease)),
            stop: CancellationToken::new(),
        };
        let keeper = Keeper {
            registry: self.clone(),
            info,
            boot,
            ttl,
            lease: membership.lease.clone(),
        };
        let stop = membership.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = keeper.run() => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(membership)
    }

    async fn enter(&self, info: &NodeInfo, boot: &str, ttl: Duration) -> Result<LeaseId, RegistryError> {
        let key = self.keys.node(&info.id);
        let value = Value {
            v: VERSION,
            address: info.address.clone(),
            zone: info.zone.clone(),
            build: info.build.clone(),
            boot: boot.to_owned(),
            draining: false,
        };
        let known = self.metadata.get(&key).await?;
        if let Some(entry) = &known {
            let other: Option<Value> = serde_json::from_slice(&entry.value).ok();
            if other.is_none_or(|other| other.boot != boot) {
                return Err(RegistryError::NameTaken { id: info.id.clone() });
            }
        }
        let lease = self.metadata.grant_lease(ttl).await?;
        let put = Op::Put {
            key: key.clone(),
            value: serde_json::to_vec(&value)
                .expect("plain values always serialise")
                .into(),
            lease: Some(lease),
        };
        match self
            .metadata
            .txn(vec![Compare::unchanged(&key, known.as_ref())], vec![put])
            .await?
        {
            TxnOutcome::Committed { .. } => Ok(lease),
            TxnOutcome::Refused => Err(RegistryError::NameTaken { id: info.id.clone() }),
        }
    }

    /// The nodes that are alive, by name.
    ///
    /// # Errors
    /// As the store fails; [`RegistryError::Corrupt`].
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, RegistryError> {
        let prefix = self.keys.nodes();
        let entries = self.metadata.range(&prefix).await?.entries;
        let decoded = entries.into_iter().map(|entry| {
            let corrupt = |what: String| RegistryError::Corrupt {
                key: entry.key.clone(),
                what,
            };
            let value: Value = serde_json::from_slice(&entry.value).map_err(|e| corrupt(e.to_string()))?;
            let name = entry.key.strip_prefix(&prefix).unwrap_or_default();
            Ok(NodeInfo {
                id: name
                    .parse()
                    .map_err(|_| corrupt("not a node's name".to_owned()))?,
                address: value.address,
                zone: value.zone,
                build: value.build,
            })
        });
        decoded.collect()
    }

    /// The owner of every shard that has one, alive or not.
    ///
    /// # Errors
    /// As the store fails; [`RegistryError::Corrupt`].
    pub async fn owners(&self) -> Result<HashMap<(CollectionName, ShardId), NodeId>, RegistryError> {
        let prefix = self.keys.assignments();
        let entries = self.metadata.range(&prefix).await?.entries;
        let decoded = entries.into_iter().map(|entry| {
            let corrupt = |what: String| RegistryError::Corrupt {
                key: entry.key.clone(),
                what,
            };
            let name = || corrupt("not the key of a shard".to_owned());
            let (collection, shard) = entry
                .key
                .strip_prefix(&prefix)
                .and_then(|rest| rest.split_once('/'))
                .ok_or_else(name)?;
            let place = (
                collection.parse().map_err(|_| name())?,
                shard.parse().map_err(|_| name())?,
            );
            let assignment: Assignment =
                serde_json::from_slice(&entry.value).map_err(|e| corrupt(e.to_string()))?;
            Ok((
                place,
                assignment
                    .owner
                    .parse()
                    .map_err(|_| corrupt("not a node's name".to_owned()))?,
            ))
        });
        decoded.collect()
    }
}

/// Renews a membership.
struct Keeper {
    registry: Registry,
    info: NodeInfo,
    boot: String,
    ttl: Duration,
    lease: Arc<parking_lot::Mutex<LeaseId>>,
}

impl Keeper {
    async fn run(self) {
        loop {
            tokio::time::sleep(self.ttl / 3).await;
            let lease = *self.lease.lock();
            match self.registry.metadata.renew_lease(lease).await {
                Ok(()) => {}
                Err(MetadataError::LeaseLost { .. }) => {
                    tracing::warn!(node = %self.info.id, "the node's lease ran out, entering the registry again");
                    match self.registry.enter(&self.info, &self.boot, self.ttl).await {
                        Ok(fresh) => *self.lease.lock() = fresh,
                        Err(error) => tracing::warn!(%error, "entering the registry failed, will try again"),
                    }
                }
                Err(error) => tracing::warn!(%error, "renewing the node's lease failed, will try again"),
            }
        }
    }
}

impl Membership {
    /// The node.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.info
    }

    /// Leaves at once, so that others need not wait for the lease to run out.
    ///
    /// # Errors
    /// As the store fails; the lease runs out then.
    pub async fn leave(self) -> Result<(), RegistryError> {
        self.stop.cancel();
        let lease = *self.lease.lock();
        Ok(self.registry.metadata.revoke_lease(lease).await?)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Shards that `node` should claim: those without a living owner, where `node` comes first among the living. Pure; every
/// node computes the same from the same facts, and where facts differ the epochs decide.
#[must_use]
pub fn to_claim(
    node: &NodeId,
    living: &[NodeId],
    shards: &[(CollectionName, ShardId)],
    owners: &HashMap<(CollectionName, ShardId), NodeId>,
) -> Vec<(CollectionName, ShardId)> {
    let mut load: BTreeMap<&NodeId, usize> = living.iter().map(|id| (id, 0)).collect();
    let mut orphans = Vec::new();
    for place in shards {
        match owners.get(place).and_then(|owner| load.get_mut(owner)) {
            Some(count) => *count += 1,
            None => orphans.push(place),
        }
    }
    orphans.sort_unstable();
    let mut mine = Vec::new();
    for place in orphans {
        // The least loaded; of equals the first by name.
        let Some((&least, _)) = load.iter().min_by_key(|(id, count)| (**count, (**id).clone())) else {
            break;
        };
        if let Some(count) = load.get_mut(least) {
            *count += 1;
        }
        if least == node {
            mine.push(place.clone());
        }
    }
    mine
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::metadata::embedded::EmbeddedStore;

    fn info(name: &str) -> NodeInfo {
        NodeInfo {
            id: name.parse().expect("a name"),
            address: "127.0.0.1:8080".to_owned(),
            zone: "a".to_owned(),
            build: "0.1.0".to_owned(),
        }
    }

    #[tokio::test]
    async fn nodes_come_and_go_with_their_leases() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store: Arc<dyn MetadataStore> = Arc::new(EmbeddedStore::open(dir.path()).await.expect("opened"));
        let registry = Registry::new(store.clone(), "c");
        let ttl = Duration::from_secs(1);
        let a = registry.join(info("a"), ttl).await.expect("joined");
        let b = registry.join(info("b"), ttl).await.expect("joined");
        assert_eq!(registry.nodes().await.expect("listed"), [info("a"), info("b")]);
        // Alive for longer than the lease, because it is renewed; so the name stays taken.
        let taken = registry.join(info("a"), ttl).await.err().expect("refused");
        assert!(matches!(taken, RegistryError::NameTaken { .. }), "{taken}");
        a.leave().await.expect("left");
        assert_eq!(registry.nodes().await.expect("listed"), [info("b")]);
        // A node that just vanishes is gone when its lease is.
        drop(b);
        let patience = tokio::time::Instant::now() + Duration::from_secs(10);
        while !registry.nodes().await.expect("listed").is_empty() {
            assert!(tokio::time::Instant::now() < patience);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    #[test]
    fn shards_without_a_living_owner_are_shared_out_once() {
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<NodeId>().expect("a name"));
        let collection = CollectionName::default_collection();
        let shards: Vec<_> = (0..8).map(|s| (collection.clone(), ShardId::new(s))).collect();
        let owners: HashMap<_, _> = shards
            .iter()
            .take(6)
            .map(|place| {
                (
                    place.clone(),
                    if place.1.get() < 3 { a.clone() } else { c.clone() },
                )
            })
            .collect();
        let living = [a.clone(), b.clone()];
        let [for_a, for_b] = [&a, &b].map(|node| to_claim(node, &living, &shards, &owners));
        assert_eq!(
            for_a.len() + for_b.len(),
            5,
            "c's three and the two without an owner"
        );
        assert!(for_a.iter().all(|place| !for_b.contains(place)));
        assert!(for_b.len() > for_a.len(), "b had none");
        assert!(
            to_claim(&c, &living, &shards, &owners).is_empty(),
            "the dead claim nothing"
        );
        assert!(to_claim(&a, &[], &shards, &owners).is_empty());
    }
}

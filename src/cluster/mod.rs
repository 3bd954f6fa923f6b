//! Floor 3: what a cluster agrees on: its collections, its nodes, who owns which shard.

pub mod catalogue;
pub mod leader;
pub mod registry;

use std::sync::Arc;
use std::time::Duration;

use crate::store::metadata::MetadataStore;
use leader::{Leadership, elect};
use registry::{Membership, NodeInfo, Registry, RegistryError};

/// How long a node that says nothing counts as alive.
pub const NODE_TTL: Duration = Duration::from_secs(10);

/// A node's place in a cluster: registered, and elected to open the shards.
pub struct Seat {
    membership: Membership,
    leadership: Leadership,
}

impl Seat {
    /// Registers the node and waits until it is elected: at once where it is alone, else when the node that is elected has
    /// died or left.
    ///
    /// # Errors
    /// As the store fails at the beginning; later failures are waited out.
    pub async fn take(
        metadata: Arc<dyn MetadataStore>,
        cluster: &str,
        info: NodeInfo,
    ) -> Result<Self, RegistryError> {
        let registry = Registry::new(metadata.clone(), cluster);
        let membership = loop {
            match registry.join(info.clone(), NODE_TTL).await {
                Err(RegistryError::NameTaken { id }) => {
                    tracing::warn!(node = %id, "a node of this name is running; waiting for its end");
                }
                joined => break joined?,
            }
        };
        let leadership = elect(metadata, cluster, &info.id, NODE_TTL).await?;
        Ok(Self {
            membership,
            leadership,
        })
    }

    /// Returns when another node may have been elected: this one must stop writing.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        self.leadership.lost()
    }

    /// Gives the seat up at once, so that the next node need not wait for leases to run out.
    ///
    /// # Errors
    /// As the store fails; the leases run out then.
    pub async fn leave(self) -> Result<(), RegistryError> {
        self.leadership.resign().await?;
        self.membership.leave().await
    }
}

//! What stands where no collection that is listed has a shard. A collection that is deleted loses its objects first, and its
//! entry in the list after: so these are of one whose entry is lost, and may be all that is left of it.

use std::collections::BTreeMap;

use super::{Check, Severity, Target};
use crate::shard::ShardError;
use crate::shard::wal::{self, Content};
use crate::store::blob::BlobMeta;

/// Folders of shards: `seg/COLLECTION/SHARD/…`.
const OF_SHARDS: [&str; 2] = ["seg", "wal"];
/// Where the check of a store at its opening writes.
const PROBES: &str = "probe";

/// The first three parts of an object's name.
fn place(object: &BlobMeta) -> Option<String> {
    let mut parts = object.name.splitn(4, '/');
    let place = [parts.next()?, parts.next()?, parts.next()?].join("/");
    parts.next().map(|_| place)
}

fn is_of(target: &Target, place: &str) -> bool {
    let mut parts = place.split('/').skip(1);
    parts.next() == Some(target.collection.as_str())
        && parts
            .next()
            .and_then(|shard| shard.parse().ok())
            .is_some_and(|shard: u16| shard < target.shards)
}

impl Check<'_> {
    /// Names the shards that nobody lists, and removes what a cut-off probe left.
    pub(super) async fn strays(&mut self, targets: &[Target]) -> Result<(), ShardError> {
        for folder in OF_SHARDS {
            let mut places: BTreeMap<String, usize> = BTreeMap::new();
            for object in self.stores.blobs.list(folder).await? {
                let Some(place) = place(&object) else {
                    self.find(Severity::Degraded, &object.name, "not the name of an object");
                    continue;
                };
                if targets.iter().any(|target| is_of(target, &place)) {
                    continue;
                }
                // The fences of a deleted collection stay for ever.
                if let Some(at) = wal::position(&object.name)
                    && wal::decode(at, &self.stores.blobs.get(&object.name).await?) == Ok(Content::Fence)
                {
                    continue;
                }
                *places.entry(place).or_default() += 1;
            }
            for (place, count) in places {
                let what = format!("{count} objects of a collection or shard that is not listed; kept");
                self.find(Severity::Loss, &place, &what);
            }
        }
        for object in self.stores.blobs.list(PROBES).await? {
            self.waste(&object.name, "left by a check of the store").await?;
        }
        Ok(())
    }
}

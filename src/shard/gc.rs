//! Removes what nothing needs any more. Fences stay for ever: they are what keeps a former owner from writing.

use std::collections::HashMap;

use super::maintenance::Maintenance;
use super::state::{SegmentState, from_json};
use super::{ShardError, cache, objects, wal};
use crate::types::{Epoch, SegmentId, Seq};

impl Maintenance {
    /// Removes WAL objects below the floor, old tombstones and orphans. Returns how many objects went.
    ///
    /// An object's age is how much older it is than the newest one of its listing: by the store's clock, which our own
    /// clock, when it jumps, does not change.
    pub(crate) async fn collect_garbage(&self) -> Result<usize, ShardError> {
        // Held to the end: nothing is published meanwhile.
        let ledger = self.ledger.lock().await;
        let floor = ledger.head().floor();
        let place = &self.core.place;
        let blobs = &place.stores.blobs;
        let mut removed = 0;

        let objects = blobs.list(&wal::folder(&place.collection, place.shard)).await?;
        let mut last: HashMap<Epoch, Seq> = HashMap::new();
        for at in objects.iter().filter_map(|object| wal::position(&object.name)) {
            let seq = last.entry(at.epoch).or_insert(at.seq);
            *seq = at.seq.max(*seq);
        }
        for object in &objects {
            let Some(at) = wal::position(&object.name) else {
                continue;
            };
            // The last object of an earlier epoch is its fence.
            let fence = at.epoch < self.core.epoch && last.get(&at.epoch) == Some(&at.seq);
            if at < floor && !fence {
                // Only a shard that is being opened reads the log, and it starts at the floor.
                blobs.recycle(&object.name).await?;
                removed += 1;
            }
        }

        // Listed before the metadata is read: what is published in between is in the metadata.
        let listed = blobs
            .list(&objects::folder(&place.collection, place.shard))
            .await?;
        let uploading = self.core.uploading.lock().clone();
        let prefix = self.core.keys.segments(&place.collection, place.shard);
        let mut published: HashMap<SegmentId, u32> = HashMap::new();
        for entry in &place.stores.metadata.range(&prefix).await?.entries {
            let state: SegmentState = from_json(entry)?;
            if let Some(id) = entry.key.strip_prefix(&prefix).and_then(|id| id.parse().ok()) {
                published.insert(id, state.tombstones);
            }
        }
        let shard = (&place.collection, place.shard);
        cache::sweep(
            &place.stores,
            &self.core.options,
            shard,
            published.keys().chain(&uploading).copied(),
        );
        let newest = listed.iter().map(|object| object.modified).max();
        for object in listed {
            let Some((id, version)) = objects::parse(&object.name) else {
                continue;
            };
            let old = newest
                .and_then(|newest| (newest - object.modified).to_std().ok())
                .is_some_and(|age| age >= self.core.options.orphan_age);
            let superseded = match (published.get(&id), version) {
                (Some(_), None) => false,
                (Some(&current), Some(version)) => version < current || (version > current && old),
                (None, _) => old && !uploading.contains(&id),
            };
            if superseded {
                blobs.delete(&object.name).await?;
                removed += 1;
            }
        }
        if removed > 0 {
            tracing::debug!(collection = %place.collection, shard = %place.shard, removed, "removed objects");
        }
        Ok(removed)
    }
}

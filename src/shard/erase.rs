//! The end of a shard: its data goes, its epochs and fences stay, so that no former owner writes into a collection that
//! gets the same name later.

use super::ledger::Ledger;
use super::recovery::{WalPlace, fence};
use super::{ShardError, Stores, objects, wal};
use crate::store::metadata::Op;
use crate::store::metadata::keys::Keys;
use crate::types::{CollectionName, NodeId, Seq, ShardId};

/// Most segment keys removed by one transaction.
const KEYS_PER_COMMIT: usize = 100;

/// Takes a shard over, fences its owner and removes all its data. Thumbnails and originals, which other collections may
/// share, are not touched. One that was cut short goes on with the next call.
///
/// # Errors
/// As the stores fail.
pub async fn erase(
    stores: &Stores,
    cluster: &str,
    collection: &CollectionName,
    shard: ShardId,
    owner: &NodeId,
) -> Result<(), ShardError> {
    let keys = Keys::new(cluster);
    let mut ledger = Ledger::claim(stores, &keys, collection, shard, owner).await?;
    let epoch = ledger.epoch();
    let place = WalPlace {
        stores: stores.clone(),
        collection: collection.clone(),
        shard,
    };
    let mut head = fence(&place, ledger.head(), epoch).await?;
    head.raise_floor(wal::Position {
        epoch,
        seq: Seq::new(0),
    });
    let published = stores
        .metadata
        .range(&keys.segments(collection, shard))
        .await?
        .entries;
    let ops: Vec<Op> = published.iter().map(|entry| Op::delete(&entry.key)).collect();
    let mut parts: Vec<Vec<Op>> = ops.chunks(KEYS_PER_COMMIT).map(<[Op]>::to_vec).collect();
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    for part in parts {
        if ledger.commit(head.clone(), Vec::new(), part).await?.is_none() {
            return Err(ledger.fenced());
        }
        head = ledger.head().clone();
    }
    for object in stores.blobs.list(&objects::folder(collection, shard)).await? {
        stores.blobs.delete(&object.name).await?;
    }
    let objects = stores.blobs.list(&wal::folder(collection, shard)).await?;
    for (object, next) in objects.iter().zip(objects.iter().skip(1).map(Some).chain([None])) {
        let at = wal::position(&object.name);
        let next = next.and_then(|next| wal::position(&next.name));
        // The last object of each epoch is its fence.
        if at.is_some() && at.map(|a| a.epoch) == next.map(|n| n.epoch) {
            stores.blobs.delete(&object.name).await?;
        }
    }
    Ok(())
}

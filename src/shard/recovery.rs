//! Opening a shard after another owner: fence the epochs before ours, then replay what they wrote.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::state::{EpochState, Head};
use super::wal::{self, Content, Entry, Position};
use super::{Damage, ShardError, Stores, objects};
use crate::store::blob::{BlobError, Created};
use crate::types::{CollectionName, Epoch, Seq, ShardId};

/// WAL objects read ahead during replay.
pub(crate) const READ_AHEAD: usize = 16;
/// Between two progress lines in the log.
pub(crate) const PROGRESS: Duration = Duration::from_secs(2);

/// Where a shard's WAL stands.
#[derive(Clone)]
pub(crate) struct WalPlace {
    pub(crate) stores: Stores,
    pub(crate) collection: CollectionName,
    pub(crate) shard: ShardId,
}

impl WalPlace {
    pub(crate) fn name(&self, at: Position) -> String {
        wal::name(&self.collection, self.shard, at)
    }

    async fn seqs(&self, epoch: Epoch, from: Seq) -> Result<Vec<Seq>, ShardError> {
        let folder = wal::epoch_folder(&self.collection, self.shard, epoch);
        let objects = self.stores.blobs.list(&folder).await?;
        let places = objects.iter().filter_map(|object| wal::position(&object.name));
        let mut seqs: Vec<Seq> = places
            .filter(|p| p.epoch == epoch && p.seq >= from)
            .map(|p| p.seq)
            .collect();
        seqs.sort_unstable();
        Ok(seqs)
    }
}

/// Ends every epoch before `ours` that has no end yet; returns the head with their ends.
pub(crate) async fn fence(place: &WalPlace, head: &Head, ours: Epoch) -> Result<Head, ShardError> {
    let mut fenced = head.clone();
    for state in &mut fenced.epochs {
        if state.id < ours.get() && state.end.is_none() {
            let epoch = Epoch::new(state.id);
            let from = first_seq(head, epoch);
            let end = fence_epoch(place, epoch, from).await?;
            tracing::info!(collection = %place.collection, shard = %place.shard, %epoch, %end, "fenced an earlier writer");
            state.end = Some(end.get());
        }
    }
    Ok(fenced)
}

fn first_seq(head: &Head, epoch: Epoch) -> Seq {
    if head.floor().epoch == epoch {
        head.floor().seq
    } else {
        Seq::new(0)
    }
}

/// Puts a fence at the first free place of an epoch, or finds the one that stands there.
async fn fence_epoch(place: &WalPlace, epoch: Epoch, from: Seq) -> Result<Seq, ShardError> {
    // The last object may be the fence of a takeover that did not get further.
    let mut seq = place.seqs(epoch, from).await?.last().copied().unwrap_or(from);
    loop {
        let at = Position { epoch, seq };
        let name = place.name(at);
        match place
            .stores
            .blobs
            .create(&name, wal::encode(at, &Content::Fence))
            .await?
        {
            Created::New => return Ok(seq),
            Created::AlreadyExists => match place.stores.blobs.get(&name).await {
                Ok(object) if wal::decode(at, &object) == Ok(Content::Fence) => return Ok(seq),
                Ok(_) => seq = seq.next(),
                Err(BlobError::NotFound { .. }) => {}
                Err(e) => return Err(e.into()),
            },
        }
    }
}

/// Hands every entry from the floor up to the epochs' ends to `apply`, in order. Objects that are missing or fail
/// their checks are named, and the rest goes on. Returns the bytes read.
pub(crate) async fn replay(
    place: &WalPlace,
    head: &Head,
    ours: Epoch,
    damage: &mut Vec<Damage>,
    mut apply: impl FnMut(Entry, u64),
) -> Result<u64, ShardError> {
    let (mut objects, mut bytes) = (0_u64, 0_u64);
    let mut said = Instant::now();
    let earlier = head
        .epochs
        .iter()
        .filter(|e| e.id >= head.floor_epoch && e.id < ours.get());
    for EpochState { id, end } in earlier {
        let epoch = Epoch::new(*id);
        let from = first_seq(head, epoch);
        let end = end.unwrap_or(0);
        let present = place.seqs(epoch, from).await?;
        let missing = (from.get()..end).filter(|seq| present.binary_search(&Seq::new(*seq)).is_err());
        for seq in missing.collect::<Vec<_>>() {
            let seq = Seq::new(seq);
            damage.push(Damage::new(
                place.name(Position { epoch, seq }),
                "the WAL object is missing",
            ));
        }
        let wanted: Vec<Seq> = present.into_iter().filter(|seq| seq.get() < end).collect();
        let of = objects + wanted.len() as u64;
        let mut reads = futures::stream::iter(wanted)
            .map(|seq| {
                let at = Position { epoch, seq };
                let name = place.name(at);
                let blobs = Arc::clone(&place.stores.blobs);
                async move { (at, blobs.get(&name).await, name) }
            })
            .buffered(READ_AHEAD);
        while let Some((at, object, name)) = reads.next().await {
            let object = object?;
            match wal::decode(at, &object) {
                Ok(Content::Data(entries)) => {
                    let size = object.len() as u64;
                    bytes += size;
                    let share = size / entries.len().max(1) as u64;
                    entries.into_iter().for_each(|entry| apply(entry, share));
                }
                Ok(Content::Fence) => damage.push(Damage::new(name, "a fence stands before the epoch's end")),
                Err(wal::NEWER) => {
                    let what = wal::NEWER.to_string();
                    return Err(ShardError::Corrupt { name, what });
                }
                Err(error) => {
                    // Kept under another name: the original goes when the floor passes it.
                    place
                        .stores
                        .blobs
                        .create(&format!("{}/{name}", objects::EVIDENCE), object)
                        .await?;
                    damage.push(Damage::new(name, &error.to_string()));
                }
            }
            objects += 1;
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                tracing::info!(collection = %place.collection, shard = %place.shard, %epoch, objects, of, bytes, "replaying the WAL");
            }
        }
    }
    if objects > 0 {
        tracing::info!(collection = %place.collection, shard = %place.shard, objects, bytes, "replayed the WAL");
    }
    Ok(bytes)
}

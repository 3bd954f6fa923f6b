//! Compaction: segments become one, without what is dead in them.

use std::sync::Arc;

use super::maintenance::{Maintenance, Uploaded};
use super::objects;
use super::view::LiveSegment;
use super::{ShardError, background};
use crate::segment::Tombstones;
use crate::segment::compaction::Weight;
use crate::store::metadata::{Compare, Op};
use crate::types::{ImageId, ImageRecord, Judgement};

impl Maintenance {
    /// Merges the segments that the policy chooses; tells whether it chose any.
    pub(crate) async fn compact(&self) -> Result<bool, ShardError> {
        let _one = self.compacting.lock().await;
        let core = &self.core;
        let view = core.view();
        let weights: Vec<Weight> = view
            .segments
            .iter()
            .map(|live| Weight {
                rows: live.segment.len(),
                dead: live.dead.dead(),
            })
            .collect();
        let Some(chosen) = core.options.compaction.choose(&weights) else {
            return Ok(false);
        };
        let inputs: Vec<Arc<LiveSegment>> =
            chosen.iter().map(|&place| view.segments[place].clone()).collect();
        drop(view);
        let sources = inputs.clone();
        let (records, judgements) = background::run(move || gather(&sources)).await??;
        let merged = if records.is_empty() && judgements.is_empty() {
            None
        } else {
            Some(self.build_and_upload(records, judgements).await?)
        };
        let id = merged.as_ref().map(|new| new.id);
        let published = self.publish_merge(&inputs, merged).await;
        if let Some(id) = id {
            self.forget_upload(id);
        }
        published?;
        // Readers hold their mappings; the names can go.
        let place = &core.place;
        for input in &inputs {
            let name = objects::segment_name(&place.collection, place.shard, input.id);
            place.stores.blobs.delete(&name).await?;
            let version = input.stored.lock().tombstones;
            if version > 0 {
                let name = objects::tombstones_name(&place.collection, place.shard, input.id, version);
                place.stores.blobs.delete(&name).await?;
            }
        }
        Ok(true)
    }

    /// One transaction that puts the merged segment in the inputs' place. Deletes that came while it was built are noted
    /// beside it first: the WAL that holds them may be below the floor by now.
    async fn publish_merge(
        &self,
        inputs: &[Arc<LiveSegment>],
        mut merged: Option<Uploaded>,
    ) -> Result<(), ShardError> {
        let core = &self.core;
        let place = &core.place;
        let lives = |id: &ImageId| inputs.iter().any(|input| input.find(id).is_some());
        let mut ledger = self.ledger.lock().await;
        if let Some(new) = &mut merged {
            let died = Tombstones::new(new.segment.len());
            for row in 0..u32::try_from(new.segment.len()).unwrap_or(u32::MAX) {
                if !lives(&new.segment.id(row)) {
                    died.kill(row);
                }
            }
            if died.dead() > 0 {
                let (object, dead) = died.encode(new.id);
                let name = objects::tombstones_name(&place.collection, place.shard, new.id, 1);
                objects::upload(&place.stores, &name, object).await?;
                new.state.tombstones = 1;
                new.state.dead = dead as u64;
            }
        }
        let mut compares = Vec::new();
        let mut ops: Vec<Op> = merged
            .as_ref()
            .map(|new| self.put_segment(new))
            .into_iter()
            .collect();
        for input in inputs {
            let key = core.keys.segment(&place.collection, place.shard, input.id);
            ops.push(Op::delete(&key));
            let revision = input.stored.lock().revision;
            compares.push(Compare::ModRevision { key, revision });
        }
        let head = ledger.head().clone();
        let revision = self.publish(&mut ledger, head, compares, ops).await?;
        let before: usize = inputs.iter().map(|input| input.segment.len()).sum();
        let after = merged.as_ref().map_or(0, |new| new.segment.len());
        core.replace(|view| {
            view.segments
                .retain(|live| inputs.iter().all(|input| input.id != live.id));
            view.segments
                .extend(merged.map(|new| Arc::new(new.into_live(revision, lives))));
        });
        tracing::info!(
            collection = %place.collection, shard = %place.shard, segments = inputs.len(), before, after, "compacted"
        );
        Ok(())
    }
}

/// The living rows of segments, and the last word on each pair.
fn gather(inputs: &[Arc<LiveSegment>]) -> Result<(Vec<Arc<ImageRecord>>, Vec<Judgement>), ShardError> {
    let mut records = Vec::new();
    let mut judgements = std::collections::BTreeMap::new();
    for live in inputs {
        let damaged = |source| ShardError::Segment {
            name: live.id.to_string(),
            source,
        };
        for row in 0..u32::try_from(live.segment.len()).unwrap_or(u32::MAX) {
            if !live.dead.is_dead(row) {
                records.push(Arc::new(live.segment.record(row).map_err(damaged)?));
            }
        }
        for judgement in live.segment.judgements().map_err(damaged)? {
            let entry = judgements.entry(judgement.pair).or_insert(judgement);
            if judgement.at >= entry.at {
                *entry = judgement;
            }
        }
    }
    Ok((records, judgements.into_values().collect()))
}

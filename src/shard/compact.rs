//! Compaction: segments become one, without what is dead in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::maintenance::{Maintenance, Uploaded};
use super::objects;
use super::view::LiveSegment;
use super::{ShardError, background, cache};
use crate::segment::compaction::Weight;
use crate::segment::{SegmentError, Tombstones};
use crate::store::metadata::{Compare, Op};
use crate::types::{ImageId, ImageRecord, Judgement};
use crate::vector::RowId;

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
        let made = self.begin();
        let sources = inputs.clone();
        let (rows, judgements) =
            background::run(move || Ok::<_, ShardError>((Living::of(&sources), last_words(&sources)?)))
                .await??;
        let merged = if rows.len() == 0 && judgements.is_empty() {
            None
        } else {
            Some(self.build_and_upload(rows, judgements, made).await?)
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
            cache::forget(&place.stores, &core.options, &name);
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

/// The living rows of segments by rising id, each read when its turn comes.
struct Living {
    inputs: Vec<Arc<LiveSegment>>,
    /// Input and row there.
    rows: std::vec::IntoIter<(ImageId, usize, RowId)>,
}

impl Living {
    fn of(inputs: &[Arc<LiveSegment>]) -> Self {
        let mut rows = Vec::with_capacity(inputs.iter().map(|live| live.living()).sum());
        for (input, live) in inputs.iter().enumerate() {
            let living = (0..)
                .take(live.segment.len())
                .filter(|&row| !live.dead.is_dead(row));
            rows.extend(living.map(|row| (live.segment.id(row), input, row)));
        }
        rows.sort_unstable();
        // Nothing puts an image into two segments, but for metadata that was made anew from objects of earlier versions.
        rows.dedup_by_key(|&mut (id, ..)| id);
        Self {
            inputs: inputs.to_vec(),
            rows: rows.into_iter(),
        }
    }
}

impl Iterator for Living {
    type Item = Result<Arc<ImageRecord>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, input, row) = self.rows.next()?;
        let live = &self.inputs[input];
        Some(match live.segment.record(row) {
            Ok(record) => Ok(Arc::new(record)),
            Err(error) => Err(SegmentError::Corrupt {
                what: format!("row {row} of {}: {error}", live.id),
            }),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for Living {}

/// The last word on each pair.
fn last_words(inputs: &[Arc<LiveSegment>]) -> Result<Vec<Judgement>, ShardError> {
    let mut judgements = BTreeMap::new();
    for live in inputs {
        let judged = live.segment.judgements().map_err(|source| ShardError::Segment {
            name: live.id.to_string(),
            source,
        })?;
        for judgement in judged {
            let entry = judgements.entry(judgement.pair).or_insert(judgement);
            if judgement.at >= entry.at {
                *entry = judgement;
            }
        }
    }
    Ok(judgements.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fixtures::{DIM, built, record, records};
    use crate::segment::{Segment, SegmentSpec};
    use crate::shard::view::Stored;
    use crate::types::{ModelHash, SegmentId};

    fn live(numbers: std::ops::Range<u64>, dead: &[u64]) -> Arc<LiveSegment> {
        let spec = SegmentSpec {
            dim: DIM,
            model: ModelHash::from_bytes([1; 32]),
        };
        let (_, file) = built(records(numbers), &[], spec).expect("built");
        let segment = Segment::open(file, spec).expect("opened");
        let tombstones = Tombstones::new(segment.len());
        for &n in dead {
            tombstones.kill(segment.find(&record(n).id).expect("there"));
        }
        Arc::new(LiveSegment {
            id: SegmentId::random(),
            segment,
            dead: tombstones,
            stored: Stored {
                revision: 0,
                tombstones: 0,
                dead: 0,
            }
            .into(),
        })
    }

    #[test]
    fn what_lives_in_the_inputs_comes_once_by_rising_id() {
        let rows = Living::of(&[live(0..10, &[1, 2]), live(8..20, &[8, 12])]);
        let mut expected: Vec<_> = (0..20).filter(|n| ![1, 2, 12].contains(n)).map(record).collect();
        expected.sort_by_key(|record| record.id);
        assert_eq!(rows.len(), expected.len());
        let found: Vec<_> = rows.map(|row| (*row.expect("read")).clone()).collect();
        assert_eq!(found, expected);
    }
}

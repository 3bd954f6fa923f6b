//! What a shard holds at one moment: the growing segment, the one being sealed, the published ones. Readers take a
//! view and keep it; the writer changes what is in it; sealing and compaction replace it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::growing::{Found, Growing};
use super::{ListCursor, ShardError, ShardHit};
use crate::segment::{Segment, Tombstones};
use crate::types::{Embedding, ImageId, ImageRecord, PdqHash, PixelHash, SegmentId, Similarity};
use crate::vector::{Hit, RowFilter, RowId, VectorError, VectorIndex};

/// PDQ hashes of images below this quality mean nothing and are never found.
const PDQ_MIN_QUALITY: u8 = 50;

/// A published segment with its dead rows.
pub(crate) struct LiveSegment {
    pub(crate) id: SegmentId,
    pub(crate) segment: Segment,
    pub(crate) dead: Tombstones,
    pub(crate) stored: Mutex<Stored>,
}

/// What the metadata store knows of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// Revision of its key.
    pub(crate) revision: i64,
    /// Version of the tombstones stored.
    pub(crate) tombstones: u32,
    /// Dead rows in them.
    pub(crate) dead: usize,
}

#[derive(Clone)]
pub(crate) struct View {
    pub(crate) growing: Arc<Growing>,
    /// Frozen, being sealed.
    pub(crate) sealing: Option<Arc<Growing>>,
    pub(crate) segments: Vec<Arc<LiveSegment>>,
}

impl LiveSegment {
    pub(crate) fn living(&self) -> usize {
        self.segment.len() - self.dead.dead()
    }

    /// The row of an image that lives here.
    pub(crate) fn find(&self, id: &ImageId) -> Option<RowId> {
        self.segment.find(id).filter(|&row| !self.dead.is_dead(row))
    }

    fn record(&self, row: RowId) -> Option<Arc<ImageRecord>> {
        match self.segment.record(row) {
            Ok(record) => Some(Arc::new(record)),
            Err(error) => {
                tracing::error!(segment = %self.id, row, %error, "a row cannot be read");
                None
            }
        }
    }

    fn with_living(
        &self,
        search: impl FnOnce(Option<RowFilter<'_>>) -> Result<Vec<Hit>, VectorError>,
    ) -> Result<Vec<Found>, VectorError> {
        let living = |row: RowId| !self.dead.is_dead(row);
        let hits = search(if self.dead.dead() == 0 {
            None
        } else {
            Some(&living)
        })?;
        Ok(hits
            .into_iter()
            .map(|hit| (self.segment.id(hit.row), hit.similarity))
            .collect())
    }
}

impl View {
    fn memories(&self) -> impl Iterator<Item = &Arc<Growing>> {
        std::iter::once(&self.growing).chain(&self.sealing)
    }

    pub(crate) fn len(&self) -> usize {
        self.memories().map(|g| g.len()).sum::<usize>()
            + self.segments.iter().map(|s| s.living()).sum::<usize>()
    }

    pub(crate) fn contains(&self, id: &ImageId) -> bool {
        self.memories().any(|g| g.contains(id)) || self.segments.iter().any(|s| s.find(id).is_some())
    }

    pub(crate) fn get(&self, id: &ImageId) -> Option<Arc<ImageRecord>> {
        if let Some(record) = self.memories().find_map(|g| g.get(id)) {
            return Some(record);
        }
        self.segments.iter().find_map(|s| s.record(s.find(id)?))
    }

    /// Removes an image wherever it is; tells whether it lived.
    pub(crate) fn delete(&self, id: &ImageId) -> bool {
        let mut lived = false;
        for growing in self.memories() {
            lived |= growing.delete(id);
        }
        for live in &self.segments {
            if let Some(row) = live.segment.find(id) {
                lived |= live.dead.kill(row);
            }
        }
        lived
    }

    pub(crate) fn list(&self, before: Option<ListCursor>, limit: usize) -> Vec<Arc<ImageRecord>> {
        let cursor = before.map(|c| (c.created, c.id));
        let mut fresh: HashMap<ImageId, Arc<ImageRecord>> = HashMap::new();
        let mut found: Vec<(DateTime<Utc>, ImageId, Option<(usize, RowId)>)> = Vec::new();
        for growing in self.memories() {
            for record in growing.newest_first(cursor, limit) {
                found.push((record.created, record.id, None));
                fresh.insert(record.id, record);
            }
        }
        for (place, live) in self.segments.iter().enumerate() {
            let rows = live
                .segment
                .newest_first(cursor)
                .filter(|&row| !live.dead.is_dead(row));
            found.extend(rows.take(limit).map(|row| {
                (
                    live.segment.created(row),
                    live.segment.id(row),
                    Some((place, row)),
                )
            }));
        }
        found.sort_unstable_by_key(|&(created, id, _)| Reverse((created, id)));
        found.dedup_by_key(|entry| entry.1);
        found.truncate(limit);
        let record = |(_, id, place)| match place {
            None => fresh.remove(&id),
            Some((place, row)) => {
                let live: &Arc<LiveSegment> = &self.segments[place];
                live.record(row)
            }
        };
        found.into_iter().filter_map(record).collect()
    }

    pub(crate) fn by_pixel_hash(&self, hash: &PixelHash) -> Vec<ImageId> {
        let mut ids: Vec<ImageId> = self.memories().flat_map(|g| g.by_pixel_hash(hash)).collect();
        for live in &self.segments {
            let rows = live
                .segment
                .by_pixel_hash(hash)
                .filter(|&row| !live.dead.is_dead(row));
            ids.extend(rows.map(|row| live.segment.id(row)));
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    pub(crate) fn pdq_within(&self, variants: &[PdqHash], radius: u32) -> Vec<(ImageId, u32)> {
        let mut found: Vec<(ImageId, u32)> = self
            .segments
            .par_iter()
            .flat_map_iter(|live| {
                let mut here = Vec::new();
                live.segment
                    .pdq_within(variants, radius, PDQ_MIN_QUALITY, |row, distance| {
                        if !live.dead.is_dead(row) {
                            here.push((live.segment.id(row), distance));
                        }
                    });
                here
            })
            .collect();
        for growing in self.memories() {
            growing.pdq_within(variants, radius, PDQ_MIN_QUALITY, |id, distance| {
                found.push((id, distance))
            });
        }
        found.sort_unstable_by_key(|&(id, distance)| (distance, id));
        let mut seen = HashSet::new();
        found.retain(|(id, _)| seen.insert(*id));
        found
    }

    pub(crate) fn search(&self, query: &Embedding, k: usize) -> Result<Vec<ShardHit>, ShardError> {
        let mut hits = self.gather(
            |growing| growing.search(query, k),
            |index, filter| index.search(query, k, filter),
        )?;
        hits.truncate(k);
        Ok(hits)
    }

    pub(crate) fn range(&self, query: &Embedding, min: Similarity) -> Result<Vec<ShardHit>, ShardError> {
        self.gather(
            |growing| growing.range(query, min),
            |index, filter| index.range(query, min, filter),
        )
    }

    /// Asks every part, the sealed ones in parallel, and merges what they find: nearest first, each image once.
    fn gather(
        &self,
        in_memory: impl Fn(&Growing) -> Result<Vec<Found>, VectorError>,
        sealed: impl Fn(&dyn VectorIndex, Option<RowFilter<'_>>) -> Result<Vec<Hit>, VectorError> + Sync,
    ) -> Result<Vec<ShardHit>, ShardError> {
        let ask = |live: &Arc<LiveSegment>| live.with_living(|filter| sealed(live.segment.index(), filter));
        let mut found: Vec<Found> = match &self.segments[..] {
            [] => Vec::new(),
            [one] => ask(one)?,
            many => many.par_iter().map(ask).collect::<Result<Vec<_>, _>>()?.concat(),
        };
        for growing in self.memories() {
            found.extend(in_memory(growing)?);
        }
        found.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut seen = HashSet::new();
        found.retain(|(id, _)| seen.insert(*id));
        Ok(found
            .into_iter()
            .map(|(id, similarity)| ShardHit { id, similarity })
            .collect())
    }
}

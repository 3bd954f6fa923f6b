//! The growing segment: what was acknowledged and is not sealed yet. In memory, rebuilt by replay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parking_lot::{Mutex, RwLock};

use super::tail::Tail;
use crate::types::{Embedding, ImageId, ImagePair, ImageRecord, Judgement, PdqHash, PixelHash, Similarity};
use crate::vector::growing::{GrowingIndex, GrowingParams};
use crate::vector::{Hit, RowFilter, RowId, VectorError, VectorIndex};

/// Records with what finds them.
pub(crate) struct Growing {
    rows: RwLock<Rows>,
    vectors: Vectors,
    /// Rows that were deleted; replaced, not changed, so that a search holds one state of it.
    dead: RwLock<Arc<HashSet<RowId>>>,
    judgements: Mutex<HashMap<ImagePair, Judgement>>,
    wal_bytes: AtomicU64,
    first: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Rows {
    /// By row; `None` when deleted.
    records: Vec<Option<Arc<ImageRecord>>>,
    by_id: HashMap<ImageId, RowId>,
    by_pixels: HashMap<PixelHash, Vec<ImageId>>,
    by_time: BTreeMap<(DateTime<Utc>, ImageId), RowId>,
}

/// One image found, before its record is looked up.
pub(crate) type Found = (ImageId, Similarity);

impl Growing {
    pub(crate) fn new(dim: usize) -> Self {
        Self {
            rows: RwLock::default(),
            vectors: Vectors::new(dim),
            dead: RwLock::default(),
            judgements: Mutex::default(),
            wal_bytes: AtomicU64::new(0),
            first: Mutex::new(None),
        }
    }

    /// Adds a record, unless the id is there. Called by the writer only.
    pub(crate) fn insert(&self, record: Arc<ImageRecord>) -> Result<(), VectorError> {
        let row = {
            let mut rows = self.rows.write();
            if rows.by_id.contains_key(&record.id) {
                return Ok(());
            }
            let row = RowId::try_from(rows.records.len()).map_err(|_| VectorError::TooManyRows)?;
            rows.by_id.insert(record.id, row);
            rows.by_pixels
                .entry(record.fingerprint.pixel_hash)
                .or_default()
                .push(record.id);
            rows.by_time.insert((record.created, record.id), row);
            rows.records.push(Some(record.clone()));
            row
        };
        self.touch();
        self.vectors.insert(row, &record.fingerprint.embedding)
    }

    /// Removes an image; tells whether it was here.
    pub(crate) fn delete(&self, id: &ImageId) -> bool {
        let mut rows = self.rows.write();
        let Some(row) = rows.by_id.remove(id) else {
            return false;
        };
        if let Some(record) = rows.records[row as usize].take() {
            rows.by_time.remove(&(record.created, record.id));
            if let Some(same) = rows.by_pixels.get_mut(&record.fingerprint.pixel_hash) {
                same.retain(|other| other != id);
                if same.is_empty() {
                    rows.by_pixels.remove(&record.fingerprint.pixel_hash);
                }
            }
        }
        Arc::make_mut(&mut self.dead.write()).insert(row);
        true
    }

    pub(crate) fn judge(&self, judgement: Judgement) {
        self.touch();
        self.judgements.lock().insert(judgement.pair, judgement);
    }

    pub(crate) fn judgements(&self) -> Vec<Judgement> {
        let mut all: Vec<_> = self.judgements.lock().values().copied().collect();
        all.sort_unstable_by_key(|j| j.pair);
        all
    }

    fn touch(&self) {
        self.first.lock().get_or_insert_with(Instant::now);
    }

    /// When the first change came in.
    pub(crate) fn first_change(&self) -> Option<Instant> {
        *self.first.lock()
    }

    pub(crate) fn add_wal_bytes(&self, bytes: u64) {
        self.wal_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of WAL that this segment's records stand in.
    pub(crate) fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Ordering::Relaxed)
    }

    /// Living records.
    pub(crate) fn len(&self) -> usize {
        self.rows.read().by_id.len()
    }

    /// Rows, dead ones included.
    pub(crate) fn rows(&self) -> usize {
        self.rows.read().records.len()
    }

    pub(crate) fn contains(&self, id: &ImageId) -> bool {
        self.rows.read().by_id.contains_key(id)
    }

    pub(crate) fn get(&self, id: &ImageId) -> Option<Arc<ImageRecord>> {
        let rows = self.rows.read();
        let row = *rows.by_id.get(id)?;
        rows.records[row as usize].clone()
    }

    /// All living records.
    pub(crate) fn records(&self) -> Vec<Arc<ImageRecord>> {
        self.rows.read().records.iter().flatten().cloned().collect()
    }

    pub(crate) fn by_pixel_hash(&self, hash: &PixelHash) -> Vec<ImageId> {
        self.rows.read().by_pixels.get(hash).cloned().unwrap_or_default()
    }

    /// Living records, newest first, after a cursor.
    pub(crate) fn newest_first(
        &self,
        after: Option<(DateTime<Utc>, ImageId)>,
        limit: usize,
    ) -> Vec<Arc<ImageRecord>> {
        let rows = self.rows.read();
        let mut page = Vec::new();
        let mut take = |row: &RowId| page.extend(rows.records[*row as usize].clone());
        match after {
            Some(cursor) => rows
                .by_time
                .range(..cursor)
                .rev()
                .take(limit)
                .for_each(|(_, row)| take(row)),
            None => rows
                .by_time
                .iter()
                .rev()
                .take(limit)
                .for_each(|(_, row)| take(row)),
        }
        page
    }

    pub(crate) fn pdq_within(
        &self,
        variants: &[PdqHash],
        radius: u32,
        min_quality: u8,
        mut found: impl FnMut(ImageId, u32),
    ) {
        for record in self.rows.read().records.iter().flatten() {
            let print = &record.fingerprint;
            if print.pdq_quality < min_quality {
                continue;
            }
            if let Some(distance) = variants.iter().map(|v| v.hamming(&print.pdq)).min()
                && distance <= radius
            {
                found(record.id, distance);
            }
        }
    }

    pub(crate) fn search(&self, query: &Embedding, k: usize) -> Result<Vec<Found>, VectorError> {
        self.with_living(|filter| self.vectors.search(query, k, filter))
    }

    pub(crate) fn range(&self, query: &Embedding, min: Similarity) -> Result<Vec<Found>, VectorError> {
        self.with_living(|filter| self.vectors.range(query, min, filter))
    }

    fn with_living(
        &self,
        search: impl FnOnce(Option<RowFilter<'_>>) -> Result<Vec<Hit>, VectorError>,
    ) -> Result<Vec<Found>, VectorError> {
        let dead = self.dead.read().clone();
        let living = |row: RowId| !dead.contains(&row);
        let hits = search(if dead.is_empty() { None } else { Some(&living) })?;
        let rows = self.rows.read();
        let found = hits.into_iter().filter_map(|hit| {
            let record = rows.records[hit.row as usize].as_ref()?;
            Some((record.id, hit.similarity))
        });
        Ok(found.collect())
    }

    /// Moves embeddings from the scanned tail into the graph until there are none or `stop_indexing` was called.
    pub(crate) fn index(&self) {
        self.vectors.index();
    }

    /// Whether enough embeddings wait for `index`.
    pub(crate) fn wants_indexing(&self) -> bool {
        self.vectors.wants_indexing()
    }

    /// Ends a running `index` soon.
    pub(crate) fn stop_indexing(&self) {
        self.vectors.stop.store(true, Ordering::Relaxed);
    }
}

/// Embeddings waiting for the graph before it is worth waking the indexer.
const INDEX_BATCH: usize = 512;

/// Embeddings waiting beyond which the graph is left behind: a seal will overtake it.
const BEHIND: usize = 8 * INDEX_BATCH;
/// Images come in while the last came so recently.
const RECENT: Duration = Duration::from_millis(20);
/// Of the time of a core, what an indexer that was left behind leaves to the writers for each part that it takes.
const LEAVES: u32 = 9;

/// A graph, and a tail of embeddings that are scanned until the graph has them: an acknowledgement does not wait for
/// an insertion, which takes a millisecond.
struct Vectors {
    dim: usize,
    graph: GrowingIndex,
    waiting: RwLock<Waiting>,
    indexing: AtomicBool,
    stop: AtomicBool,
}

struct Waiting {
    fresh: Tail,
    /// When the last of them came.
    last: Instant,
    /// Being put into the graph: found by scanning until all of it is there.
    moving: Option<Arc<Tail>>,
}

impl Vectors {
    fn new(dim: usize) -> Self {
        Self {
            dim,
            graph: GrowingIndex::new(dim, GrowingParams::default()),
            waiting: RwLock::new(Waiting {
                fresh: Tail::new(dim),
                last: Instant::now(),
                moving: None,
            }),
            indexing: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    fn insert(&self, row: RowId, embedding: &Embedding) -> Result<(), VectorError> {
        let mut waiting = self.waiting.write();
        waiting.last = Instant::now();
        waiting.fresh.push(row, embedding)
    }

    fn wants_indexing(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && !self.indexing.load(Ordering::Relaxed)
            && self.waiting.read().fresh.len() >= INDEX_BATCH
    }

    fn index(&self) {
        if self.indexing.swap(true, Ordering::AcqRel) {
            return;
        }
        while !self.stop.load(Ordering::Relaxed) {
            let moving = {
                let mut waiting = self.waiting.write();
                if waiting.fresh.len() < INDEX_BATCH {
                    break;
                }
                let moving = Arc::new(std::mem::replace(&mut waiting.fresh, Tail::new(self.dim)));
                waiting.moving = Some(Arc::clone(&moving));
                moving
            };
            for (row, embedding) in moving.rows() {
                if self.stop.load(Ordering::Relaxed) {
                    // What is left of `moving` stays there and is scanned.
                    return;
                }
                let started = Instant::now();
                if let Err(error) = self.graph.insert(*row, embedding) {
                    tracing::error!(%error, row, "the graph refused a vector; its batch stays scanned");
                    return;
                }
                if self.is_left_behind(Instant::now()) {
                    // The system wakes a thread on a core that is idle, and makes it wait where none is.
                    std::thread::sleep(started.elapsed() * LEAVES);
                } else {
                    // Whoever waits for the core goes first: an acknowledgement does not wait for the end of a time slice.
                    std::thread::yield_now();
                }
            }
            self.waiting.write().moving = None;
        }
        self.indexing.store(false, Ordering::Release);
    }

    /// Whether images come in faster than a graph can have them.
    fn is_left_behind(&self, now: Instant) -> bool {
        let waiting = self.waiting.read();
        waiting.fresh.len() >= BEHIND && now.saturating_duration_since(waiting.last) < RECENT
    }

    fn gather(
        &self,
        search: impl Fn(&dyn VectorIndex) -> Result<Vec<Hit>, VectorError>,
    ) -> Result<Vec<Hit>, VectorError> {
        let (mut hits, moving) = {
            let waiting = self.waiting.read();
            (search(&waiting.fresh)?, waiting.moving.clone())
        };
        // Everything that was there under the lock is in one of the three. A row may be in two: each counts once below.
        if let Some(moving) = moving {
            hits.extend(search(&*moving)?);
        }
        if !self.graph.is_empty() {
            hits.extend(search(&self.graph)?);
        }
        hits.sort_unstable_by(|a, b| b.similarity.cmp(&a.similarity).then(a.row.cmp(&b.row)));
        let mut seen = HashSet::new();
        hits.retain(|hit| seen.insert(hit.row));
        Ok(hits)
    }

    fn search(
        &self,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        let mut hits = self.gather(|index| index.search(query, k, filter))?;
        hits.truncate(k);
        Ok(hits)
    }

    fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        self.gather(|index| index.range(query, min, filter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fixtures::{DIM, record};

    #[test]
    fn rows_are_found_while_the_graph_takes_them_over() {
        let growing = Growing::new(DIM);
        let has = |n: usize| {
            let record = record(n as u64);
            let hits = growing
                .search(&record.fingerprint.embedding, 3)
                .expect("searched");
            hits.iter().any(|(id, _)| *id == record.id)
        };
        let is_deleted = |n: usize, rows: usize| n.is_multiple_of(3) && 2 * n < rows;
        std::thread::scope(|scope| {
            for n in 0..4 * INDEX_BATCH {
                growing
                    .insert(record(n as u64).into())
                    .expect("of this dimension");
                if growing.wants_indexing() {
                    scope.spawn(|| growing.index());
                }
                if n.is_multiple_of(2) && is_deleted(n / 2, n + 1) {
                    assert!(growing.delete(&record(n as u64 / 2).id));
                }
                for earlier in [n, n * 3 / 4, n / 2, n / 4, n / 8] {
                    assert_eq!(has(earlier), !is_deleted(earlier, n + 1), "row {earlier} of {n}");
                }
            }
        });
        assert!(
            growing.vectors.graph.len() >= 3 * INDEX_BATCH,
            "the graph has most"
        );
        let rows = 4 * INDEX_BATCH;
        assert!((0..rows).all(|n| has(n) != is_deleted(n, rows)));
    }

    #[test]
    fn a_graph_is_left_behind_while_more_comes_than_it_can_have() {
        let vectors = Vectors::new(DIM);
        let insert = |row: usize| {
            let record = record(row as u64);
            let row = RowId::try_from(row).expect("few");
            vectors
                .insert(row, &record.fingerprint.embedding)
                .expect("of this dimension");
        };
        (0..BEHIND - 1).for_each(insert);
        let last = || vectors.waiting.read().last;
        assert!(!vectors.is_left_behind(last()), "it can have these");
        insert(BEHIND);
        assert!(vectors.is_left_behind(last()));
        assert!(!vectors.is_left_behind(last() + RECENT), "nothing comes");
    }
}

//! The contract of [`VectorIndex`], run on every implementation, and the vectors that the pillar's tests use.

use std::collections::HashSet;

use proptest::prelude::*;

use super::flat::FlatIndex;
use super::frozen::{BuildParams, FrozenIndex};
use super::growing::{GrowingIndex, GrowingParams};
use super::{Hit, RowFilter, RowId, VectorError, VectorIndex};
use crate::types::{Embedding, Similarity};

/// Repeatable numbers (splitmix64).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in −1..1.
    pub(super) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// About normal, variance 1.
    pub(super) fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.float()).sum::<f32>() * 0.866
    }
}

/// Vectors in random directions.
pub(super) fn random_embeddings(n: usize, dim: usize, seed: u64) -> Vec<Embedding> {
    clustered_embeddings(n, dim, n, 0.0, seed)
}

/// Vectors around `clusters` random centres; `spread` is the length of the noise beside a centre of length 1.
pub(super) fn clustered_embeddings(
    n: usize,
    dim: usize,
    clusters: usize,
    spread: f32,
    seed: u64,
) -> Vec<Embedding> {
    let mut numbers = Numbers(seed);
    let scale = 1.0 / (dim as f32).sqrt();
    let mut direction =
        |length: f32| -> Vec<f32> { (0..dim).map(|_| numbers.normal() * scale * length).collect() };
    let centres: Vec<Vec<f32>> = (0..clusters).map(|_| direction(1.0)).collect();
    (0..n)
        .map(|i| {
            let noise = direction(spread);
            let sum: Vec<f32> = centres[i % clusters]
                .iter()
                .zip(noise)
                .map(|(c, x)| c + x)
                .collect();
            Embedding::normalised(&sum).expect("a random vector has a direction")
        })
        .collect()
}

/// Builds an index of rows that need not be in order.
type Build = fn(usize, &[(RowId, Embedding)]) -> Box<dyn VectorIndex>;

fn flat(dim: usize, rows: &[(RowId, Embedding)]) -> Box<dyn VectorIndex> {
    let mut index = FlatIndex::new(dim);
    for (row, vector) in rows {
        index.insert(*row, vector).expect("a new row");
    }
    Box::new(index)
}

fn growing_with(dim: usize, rows: &[(RowId, Embedding)], exact_below: usize) -> Box<dyn VectorIndex> {
    let index = GrowingIndex::new(
        dim,
        GrowingParams {
            exact_below,
            ..GrowingParams::default()
        },
    );
    for (row, vector) in rows {
        index.insert(*row, vector).expect("a new row");
    }
    Box::new(index)
}

fn growing(dim: usize, rows: &[(RowId, Embedding)]) -> Box<dyn VectorIndex> {
    growing_with(dim, rows, GrowingParams::default().exact_below)
}

fn growing_graph(dim: usize, rows: &[(RowId, Embedding)]) -> Box<dyn VectorIndex> {
    growing_with(dim, rows, 0)
}

/// A frozen index numbers its rows itself: this one gives them the numbers that the test wants.
struct Renumbered {
    index: FrozenIndex,
    /// Rows in rising order, so that the order of equal similarities is kept.
    rows: Vec<RowId>,
}

impl Renumbered {
    fn outward(&self, hits: Vec<Hit>) -> Vec<Hit> {
        hits.into_iter()
            .map(|hit| Hit {
                row: self.rows[hit.row as usize],
                ..hit
            })
            .collect()
    }

    fn inward<T>(&self, filter: Option<RowFilter<'_>>, ask: impl FnOnce(Option<RowFilter<'_>>) -> T) -> T {
        match filter {
            Some(allows) => ask(Some(&|row: RowId| allows(self.rows[row as usize]))),
            None => ask(None),
        }
    }
}

impl VectorIndex for Renumbered {
    fn dim(&self) -> usize {
        self.index.dim()
    }

    fn len(&self) -> usize {
        self.index.len()
    }

    fn search(
        &self,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        let hits = self.inward(filter, |filter| self.index.search(query, k, filter));
        hits.map(|hits| self.outward(hits))
    }

    fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        let hits = self.inward(filter, |filter| self.index.range(query, min, filter));
        hits.map(|hits| self.outward(hits))
    }
}

fn frozen(dim: usize, rows: &[(RowId, Embedding)]) -> Box<dyn VectorIndex> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|(row, _)| *row);
    let (rows, vectors): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let block = FrozenIndex::build(dim, &vectors, &BuildParams::default()).expect("vectors of one dimension");
    Box::new(Renumbered {
        index: FrozenIndex::open(block.into()).expect("a block just built"),
        rows,
    })
}

const IMPLEMENTATIONS: [(&str, Build); 4] = [
    ("flat", flat),
    ("growing", growing),
    ("growing graph", growing_graph),
    ("frozen", frozen),
];

/// How far a stored similarity may be off: half-precision originals.
const TOLERANCE: f32 = 5e-4;

/// What every answer must obey, whatever its recall.
fn assert_well_formed(name: &str, rows: &[(RowId, Embedding)], query: &Embedding, hits: &[Hit]) {
    assert!(
        hits.is_sorted(),
        "{name}: falling similarity, then rising row: {hits:?}"
    );
    let distinct: HashSet<RowId> = hits.iter().map(|hit| hit.row).collect();
    assert_eq!(distinct.len(), hits.len(), "{name}: a row appears once");
    for hit in hits {
        let (_, vector) = rows
            .iter()
            .find(|(row, _)| *row == hit.row)
            .expect("a row of the index");
        let exact = vector.similarity(query).get();
        assert!(
            (hit.similarity.get() - exact).abs() < TOLERANCE,
            "{name}: {hit:?} is {exact}"
        );
    }
}

/// The exact answer: all allowed rows, best first.
fn ranked(rows: &[(RowId, Embedding)], query: &Embedding, allows: impl Fn(RowId) -> bool) -> Vec<Hit> {
    let mut hits: Vec<Hit> = rows
        .iter()
        .filter(|(row, _)| allows(*row))
        .map(|(row, vector)| Hit {
            row: *row,
            similarity: vector.similarity(query),
        })
        .collect();
    hits.sort();
    hits
}

/// Checks one query on one small index, where every implementation must be exact (up to ties within rounding).
fn check(name: &str, index: &dyn VectorIndex, rows: &[(RowId, Embedding)], query: &Embedding, modulus: u32) {
    let allows = |row: RowId| row.is_multiple_of(modulus);
    let want = ranked(rows, query, allows);
    for k in [0, 1, 3, 10, rows.len() + 5] {
        let hits = index
            .search(query, k, Some(&allows))
            .expect("the right dimension");
        assert_well_formed(name, rows, query, &hits);
        assert_eq!(
            hits.len(),
            k.min(want.len()),
            "{name}: k = {k} of {} allowed rows",
            want.len()
        );
        assert!(
            hits.iter().all(|hit| allows(hit.row)),
            "{name}: refused rows stay out"
        );
        for (got, want) in hits.iter().zip(&want) {
            let off = (got.similarity.get() - want.similarity.get()).abs();
            assert!(off < TOLERANCE, "{name}: {got:?} instead of {want:?}, k = {k}");
        }
    }
    for min in [-1.0, 0.0, 0.5, 0.9, 1.0 - TOLERANCE] {
        let hits = index
            .range(query, Similarity::clamped(min), Some(&allows))
            .expect("the right dimension");
        assert_well_formed(name, rows, query, &hits);
        assert!(
            hits.iter()
                .all(|hit| allows(hit.row) && hit.similarity.get() >= min),
            "{name}: range {min}"
        );
        let found: HashSet<RowId> = hits.iter().map(|hit| hit.row).collect();
        for hit in want.iter().filter(|hit| hit.similarity.get() >= min + TOLERANCE) {
            assert!(found.contains(&hit.row), "{name}: range {min} misses {hit:?}");
        }
    }
}

/// Small sets with equal, opposite and nearly equal vectors, rows in any order.
fn small_sets() -> impl Strategy<Value = (Vec<(RowId, Embedding)>, Embedding, u32)> {
    (1usize..=20, 0usize..=60, any::<u64>(), 1u32..=4).prop_map(|(dim, n, seed, modulus)| {
        let mut numbers = Numbers(seed);
        let mut vectors = random_embeddings(n + 1, dim, seed);
        for i in 1..vectors.len() {
            let other = numbers.next() as usize % i;
            let components = vectors[other].as_slice().to_vec();
            match numbers.next() % 4 {
                0 => vectors[i] = vectors[other].clone(),
                1 => {
                    let opposite: Vec<f32> = components.iter().map(|x| -x).collect();
                    vectors[i] = Embedding::normalised(&opposite).expect("a direction");
                }
                2 => {
                    let near: Vec<f32> = components.iter().map(|x| x + 1e-4 * numbers.float()).collect();
                    vectors[i] = Embedding::normalised(&near).expect("a direction");
                }
                _ => {}
            }
        }
        let query = vectors.swap_remove(numbers.next() as usize % vectors.len());
        let first = numbers.next() as u32 % 1000;
        let rows = vectors
            .into_iter()
            .enumerate()
            .map(|(i, v)| (first + (i as u32 * 7) % 61, v))
            .collect();
        (rows, query, modulus)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_index_answers_small_sets_exactly((rows, query, modulus) in small_sets()) {
        for (name, build) in IMPLEMENTATIONS {
            let index = build(query.dim(), &rows);
            assert_eq!((index.dim(), index.len(), index.is_empty()), (query.dim(), rows.len(), rows.is_empty()));
            check(name, &*index, &rows, &query, modulus);
        }
    }
}

#[test]
fn another_dimension_is_refused() {
    let rows = numbered(random_embeddings(10, 8, 1));
    let query = random_embeddings(1, 9, 2).remove(0);
    for (name, build) in IMPLEMENTATIONS {
        let index = build(8, &rows);
        let refused = VectorError::WrongDimension { expected: 8, got: 9 };
        assert_eq!(index.search(&query, 3, None), Err(refused.clone()), "{name}");
        assert_eq!(index.range(&query, Similarity::ONE, None), Err(refused), "{name}");
    }
}

#[test]
fn a_taken_row_is_refused_and_changes_nothing() {
    let vectors = random_embeddings(2, 8, 1);
    let mut flat = FlatIndex::new(8);
    flat.insert(5, &vectors[0]).expect("a new row");
    assert_eq!(flat.insert(5, &vectors[1]), Err(VectorError::RowTaken { row: 5 }));
    let growing = GrowingIndex::new(8, GrowingParams::default());
    growing.insert(5, &vectors[0]).expect("a new row");
    assert_eq!(
        growing.insert(5, &vectors[1]),
        Err(VectorError::RowTaken { row: 5 })
    );
    for index in [&flat as &dyn VectorIndex, &growing] {
        assert_eq!(index.len(), 1);
        let hits = index.search(&vectors[1], 5, None).expect("the right dimension");
        assert_eq!(hits.len(), 1);
        assert!((hits[0].similarity.get() - vectors[0].similarity(&vectors[1]).get()).abs() < 1e-5);
    }
}

fn numbered(vectors: Vec<Embedding>) -> Vec<(RowId, Embedding)> {
    (0..).zip(vectors).collect()
}

/// Share of the exact `k` best that the index finds, by similarity, so that ties count as found.
fn recall(
    index: &dyn VectorIndex,
    rows: &[(RowId, Embedding)],
    queries: &[Embedding],
    k: usize,
    modulus: u32,
) -> f64 {
    let allows = |row: RowId| row.is_multiple_of(modulus);
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let want = ranked(rows, query, allows);
        let Some(worst) = want.get(k - 1) else { continue };
        let hits = index
            .search(query, k, Some(&allows))
            .expect("the right dimension");
        wanted += k;
        // By exact similarity: ties count as found, and the rounding of an index does not matter.
        let exact = |hit: &Hit| rows[hit.row as usize].1.similarity(query);
        found += hits.iter().filter(|hit| exact(hit) >= worst.similarity).count();
    }
    found as f64 / wanted as f64
}

#[test]
fn graphs_keep_their_recall_under_every_filter() {
    let vectors = clustered_embeddings(3020, 48, 150, 0.7, 11);
    let (vectors, queries) = vectors.split_at(3000);
    let rows = numbered(vectors.to_vec());
    for (name, build) in IMPLEMENTATIONS {
        let index = build(48, &rows);
        for modulus in [1, 2, 10, 100, 1000] {
            let recall = recall(
                &*index,
                &rows,
                queries,
                if modulus == 1000 { 2 } else { 10 },
                modulus,
            );
            assert!(
                recall >= 0.97,
                "{name}: recall {recall} with one row of {modulus} allowed"
            );
        }
        let none = index
            .search(&queries[0], 10, Some(&|_| false))
            .expect("the right dimension");
        assert_eq!(none, [], "{name}: nothing allowed");
    }
}

#[test]
fn a_range_is_complete_around_crowds_of_equal_and_near_equal_vectors() {
    let mut vectors = clustered_embeddings(2000, 32, 100, 0.6, 5);
    let centre = vectors[0].clone();
    vectors.extend(vec![centre.clone(); 300]);
    let mut numbers = Numbers(3);
    for _ in 0..700 {
        let near: Vec<f32> = centre
            .as_slice()
            .iter()
            .map(|x| x + 1e-3 * numbers.float())
            .collect();
        vectors.push(Embedding::normalised(&near).expect("a direction"));
    }
    let rows = numbered(vectors);
    for (name, build) in IMPLEMENTATIONS {
        let index = build(32, &rows);
        for min in [0.999, 0.6] {
            let want = ranked(&rows, &centre, |_| true);
            let want = want
                .iter()
                .filter(|hit| hit.similarity.get() >= min + TOLERANCE)
                .count();
            let hits = index
                .range(&centre, Similarity::clamped(min), None)
                .expect("the right dimension");
            assert_well_formed(name, &rows, &centre, &hits);
            assert!(
                hits.len() as f64 >= 0.98 * want as f64,
                "{name}: {} of {want} above {min}",
                hits.len()
            );
        }
        let hits = index.search(&centre, 301, None).expect("the right dimension");
        assert!(
            hits.iter().all(|hit| hit.similarity.get() > 1.0 - TOLERANCE),
            "{name}: all equal vectors"
        );
        assert_eq!(hits.len(), 301, "{name}");
    }
}

#[test]
fn inserts_and_searches_run_side_by_side() {
    let vectors = clustered_embeddings(1500, 32, 60, 0.7, 21);
    let index = GrowingIndex::new(
        32,
        GrowingParams {
            exact_below: 0,
            ..GrowingParams::default()
        },
    );
    std::thread::scope(|scope| {
        for part in 0..3usize {
            let (index, vectors) = (&index, &vectors);
            scope.spawn(move || {
                for row in (part..vectors.len()).step_by(3) {
                    index.insert(row as RowId, &vectors[row]).expect("a new row");
                    let hits = index.search(&vectors[row], 1, None).expect("the right dimension");
                    assert!(
                        hits[0].similarity.get() > 1.0 - 1e-5,
                        "row {row} is found once it is in"
                    );
                }
            });
        }
    });
    let rows = numbered(vectors);
    assert_eq!(index.len(), rows.len());
    let queries: Vec<Embedding> = clustered_embeddings(20, 32, 60, 0.7, 21);
    assert!(recall(&index, &rows, &queries, 10, 1) >= 0.97);
}

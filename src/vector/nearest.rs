//! The nearest few of every vector of one set: what the de-duplication of a folder asks for.
//!
//! Comparing all pairs is exact and, up to [`GRAPH_FROM`] vectors, faster than anything else. From there on the vectors are
//! indexed, and each is searched: of 100,000 vectors of dimension 256 comparing took 18 s and the graph 27 s of CPU time, and
//! the former grows with the square of their number.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::frozen::{BuildParams, FrozenError, FrozenIndex, SearchParams};
use super::join::{JoinProgress, Pair, self_join_each};
use super::{Hit, VectorError};
use crate::types::{Embedding, Similarity};

/// Number of vectors from which a graph is faster than comparing all pairs.
const GRAPH_FROM: usize = 150_000;

/// Vectors searched by one task.
const BLOCK: usize = 64;

/// What indexing a vector counts in the progress; searching it counts one.
const INDEXING: u64 = 4;

/// Hands out the pairs of each vector with at least its `count` nearest, as far as their similarity is at least `min`, in
/// no defined order; a pair may come more than once. From [`GRAPH_FROM`] vectors on about one neighbour in a hundred is
/// missed.
///
/// Works on all threads of the current rayon pool, which also call `progress` and `take`. A graph holds every vector once more in
/// three bytes a component, and some times that while it is built.
///
/// # Errors
/// [`VectorError::WrongDimension`] when the vectors' dimensions differ, [`VectorError::TooManyRows`].
pub fn nearest_each(
    vectors: &[Embedding],
    count: usize,
    min: Similarity,
    progress: impl Fn(JoinProgress) + Sync,
    take: impl Fn(&[Pair]) + Sync,
) -> Result<(), VectorError> {
    if vectors.len() < GRAPH_FROM {
        self_join_each(vectors, min, progress, take)
    } else {
        by_graph(vectors, count, min, progress, take)
    }
}

fn by_graph(
    vectors: &[Embedding],
    count: usize,
    min: Similarity,
    progress: impl Fn(JoinProgress) + Sync,
    take: impl Fn(&[Pair]) + Sync,
) -> Result<(), VectorError> {
    let total = vectors.len() as u64 * (INDEXING + 1);
    let set = SealedSet::of(vectors, &|indexed| {
        let done = indexed as u64 * INDEXING;
        progress(JoinProgress { done, total });
    })?;
    let done = AtomicU64::new(vectors.len() as u64 * INDEXING);
    (0..vectors.len().div_ceil(BLOCK))
        .into_par_iter()
        .try_for_each(|block| {
            let start = block * BLOCK;
            let queries = &vectors[start..(start + BLOCK).min(vectors.len())];
            let mut pairs = Vec::new();
            // A vector finds itself, too.
            for ((row, query), hits) in (start..)
                .zip(queries)
                .zip(set.nearest(queries, count.saturating_add(1))?)
            {
                let others = hits.iter().filter(|hit| hit.row as usize != row);
                // Both vectors may find the pair: exact similarities are the same in both directions.
                let exact = others.map(|hit| (hit.row, query.similarity(&vectors[hit.row as usize])));
                #[expect(clippy::cast_possible_truncation, reason = "at most MAX_ROWS vectors")]
                pairs.extend(exact.filter(|&(_, similarity)| similarity >= min).map(
                    |(other, similarity)| Pair {
                        a: other.min(row as u32),
                        b: other.max(row as u32),
                        similarity,
                    },
                ));
            }
            take(&pairs);
            let new = queries.len() as u64;
            progress(JoinProgress {
                done: done.fetch_add(new, Ordering::Relaxed) + new,
                total,
            });
            Ok(())
        })
}

/// A set of vectors made ready to be asked for the nearest of many others.
pub struct SealedSet {
    index: Option<FrozenIndex>,
}

impl SealedSet {
    /// Indexes `vectors`, on all threads of the current rayon pool; `progress` is told how many are done.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`] when their dimensions differ, [`VectorError::TooManyRows`].
    pub fn of(vectors: &[Embedding], progress: &dyn Fn(usize)) -> Result<Self, VectorError> {
        let Some(first) = vectors.first() else {
            return Ok(Self { index: None });
        };
        let block = FrozenIndex::build_reporting(first.dim(), vectors, &BuildParams::default(), progress);
        let index = block
            .and_then(|block| FrozenIndex::open(block.into()))
            .map_err(|error| match error {
                FrozenError::Vector(error) => error,
                // The parameters are right and the block is new: it can only be too large.
                _ => VectorError::TooManyRows,
            })?;
        Ok(Self { index: Some(index) })
    }

    /// The `count` nearest vectors of each query, best first; about one in a hundred is missed in a large set.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`].
    pub fn nearest(&self, queries: &[Embedding], count: usize) -> Result<Vec<Vec<Hit>>, VectorError> {
        let mut answers = vec![Vec::new(); queries.len()];
        if let Some(index) = &self.index {
            let params = SearchParams {
                ef: SearchParams::default().ef.max(2 * count),
                ..SearchParams::default()
            };
            index.search_each(queries, count, params, None, &mut answers)?;
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use parking_lot::Mutex;

    use super::*;
    use crate::vector::tests::clustered_embeddings;

    #[test]
    fn the_graph_finds_the_nearest_of_nearly_every_vector_and_progress_reaches_the_end() {
        let mut vectors = clustered_embeddings(3000, 24, 150, 0.5, 5);
        // Equal vectors: each has more neighbours than are asked for.
        let crowd = vectors[7].clone();
        vectors.extend(std::iter::repeat_n(crowd, 40));
        let min = Similarity::clamped(0.3);
        let (found, last) = (Mutex::new(BTreeSet::new()), Mutex::new((0, 0)));
        let progress = |p: JoinProgress| {
            let mut last = last.lock();
            *last = (last.0.max(p.done), p.total);
        };
        let take = |pairs: &[Pair]| {
            found.lock().extend(pairs.iter().map(|pair| {
                let exact = vectors[pair.a as usize].similarity(&vectors[pair.b as usize]);
                assert!(pair.a < pair.b && pair.similarity == exact && exact >= min);
                (pair.a, pair.b)
            }));
        };
        by_graph(&vectors, 8, min, progress, take).expect("one dimension");
        let (found, last) = (found.into_inner(), last.into_inner());
        assert_eq!(last, (vectors.len() as u64 * 5, vectors.len() as u64 * 5));

        let (mut wanted, mut missed) = (0, 0);
        for (a, vector) in (0u32..3000).zip(&vectors) {
            let mut others: Vec<(Similarity, u32)> = (0u32..)
                .zip(&vectors)
                .filter(|&(b, _)| b != a)
                .map(|(b, other)| (vector.similarity(other), b))
                .collect();
            others.sort_unstable_by(|x, y| y.cmp(x));
            let eighth = others[7].0;
            for &(similarity, b) in others.iter().filter(|&&(s, _)| s > eighth && s >= min) {
                wanted += 1;
                missed += usize::from(!found.contains(&(a.min(b), a.max(b))));
                assert!(similarity > eighth);
            }
        }
        assert!(missed * 100 <= wanted, "{missed} of {wanted}");
        for b in 3001..3040 {
            let neighbours = found.iter().filter(|&&(x, y)| x == b || y == b).count();
            assert!(neighbours >= 8, "{b} of the crowd has {neighbours}");
        }
    }

    #[test]
    fn few_vectors_are_compared_exactly_and_mixed_dimensions_refused() {
        let vectors = clustered_embeddings(50, 8, 5, 0.4, 6);
        let count = |pairs: &Mutex<usize>| *pairs.lock();
        let (exact, nearest) = (Mutex::new(0), Mutex::new(0));
        let min = Similarity::clamped(0.5);
        self_join_each(&vectors, min, |_| (), |pairs| *exact.lock() += pairs.len()).expect("one dimension");
        nearest_each(&vectors, 3, min, |_| (), |pairs| *nearest.lock() += pairs.len())
            .expect("one dimension");
        assert_eq!(count(&exact), count(&nearest));
        assert!(count(&exact) > 0);

        let mixed = [
            clustered_embeddings(1, 4, 1, 0.0, 1),
            clustered_embeddings(1, 5, 1, 0.0, 1),
        ]
        .concat();
        let refused = by_graph(&mixed, 1, min, |_| (), |_| ());
        assert_eq!(refused, Err(VectorError::WrongDimension { expected: 4, got: 5 }));
        by_graph(&[], 1, min, |_| (), |_| ()).expect("nothing to do");
    }
}

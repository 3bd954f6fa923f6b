//! All pairs of one set that are at least so similar: what the de-duplication of a folder or a collection asks for.
//!
//! Every pair is compared: 8-bit codes first, sixteen codes against eight queries at a time so that the arithmetic
//! units and not the memory set the speed, then the few pairs that the codes' error bound cannot exclude once more
//! in f32. The result is exact up to the rounding of an f32 sum (1e-6).

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rayon::prelude::*;

use super::distance::{Kernels, PANEL_CODES, pack_panel};
use super::quantise::{as_query, code_len, encode, product_error, step_of};
use super::{MAX_ROWS, VectorError};
use crate::types::{Embedding, Similarity};

/// Two vectors that are similar enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Position of the first vector.
    pub a: u32,
    /// Position of the second vector, greater than `a`.
    pub b: u32,
    /// Their cosine similarity.
    pub similarity: Similarity,
}

/// How far a join has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinProgress {
    /// Comparisons done.
    pub done: u64,
    /// Comparisons to be done in all.
    pub total: u64,
}

/// Queries of one task: with their codes in the first-level cache, every panel is read once for all of them.
const BLOCK: usize = 8 * PANEL_CODES;

/// All pairs with a similarity of at least `min`, ordered by `a`, then `b`.
///
/// Works on all threads of the current rayon pool. `progress` is called from these threads, once for every 128
/// vectors. Memory beside the result: one byte a component, and one block a thread. When the result itself may be
/// large (10,000 equal vectors make 50 million pairs), use [`self_join_each`].
///
/// # Errors
/// [`VectorError::WrongDimension`] when the vectors' dimensions differ, [`VectorError::TooManyRows`].
pub fn self_join(
    vectors: &[Embedding],
    min: Similarity,
    progress: impl Fn(JoinProgress) + Sync,
) -> Result<Vec<Pair>, VectorError> {
    let pairs = Mutex::new(Vec::new());
    self_join_each(vectors, min, progress, |found| {
        pairs.lock().extend_from_slice(found)
    })?;
    let mut pairs = pairs.into_inner();
    pairs.sort_unstable_by_key(|pair| (pair.a, pair.b));
    Ok(pairs)
}

/// [`self_join`] that hands pairs out as they are found, in runs of at most some thousand, and keeps none.
///
/// `take` is called from the pool's threads; the order of the runs is not defined.
///
/// # Errors
/// As [`self_join`].
pub fn self_join_each(
    vectors: &[Embedding],
    min: Similarity,
    progress: impl Fn(JoinProgress) + Sync,
    take: impl Fn(&[Pair]) + Sync,
) -> Result<(), VectorError> {
    let Some(first) = vectors.first() else {
        return Ok(());
    };
    if vectors.len() > MAX_ROWS {
        return Err(VectorError::TooManyRows);
    }
    vectors
        .iter()
        .try_for_each(|vector| VectorError::check_dim(first.dim(), vector))?;

    let join = Join::new(vectors, min, Kernels::active());
    let total = join.comparisons(vectors.len());
    let done = AtomicU64::new(0);
    let blocks = vectors.len().div_ceil(BLOCK);
    // The first blocks have the most to compare with; handing them out one by one keeps all threads busy.
    (0..blocks).into_par_iter().with_max_len(1).for_each(|block| {
        let start = block * BLOCK;
        let end = (start + BLOCK).min(vectors.len());
        join.block(start..end, &take);
        let new = join.comparisons(vectors.len() - start) - join.comparisons(vectors.len() - end);
        progress(JoinProgress {
            done: done.fetch_add(new, Ordering::Relaxed) + new,
            total,
        });
    });
    Ok(())
}

/// Pairs handed out at once.
const RUN: usize = 4096;

struct Join<'a> {
    vectors: &'a [Embedding],
    min: Similarity,
    kernels: Kernels,
    stride: usize,
    /// Panels of [`PANEL_CODES`] codes each, of all vectors in their order.
    panels: Vec<u8>,
    /// Codes whose product is below this cannot belong to a pair.
    least: i64,
}

impl<'a> Join<'a> {
    fn new(vectors: &'a [Embedding], min: Similarity, kernels: Kernels) -> Self {
        let stride = code_len(vectors[0].dim());
        let step = step_of(vectors.iter().map(Embedding::as_slice));
        let mut panels = vec![0; vectors.len().div_ceil(PANEL_CODES) * PANEL_CODES * stride];
        let error = vectors
            .par_chunks(PANEL_CODES)
            .zip(panels.par_chunks_mut(PANEL_CODES * stride))
            .map_init(
                || vec![0; PANEL_CODES * stride],
                |codes, (vectors, panel)| {
                    let mut largest = 0.0f32;
                    for (vector, code) in vectors.iter().zip(codes.chunks_exact_mut(stride)) {
                        largest = largest.max(encode(vector.as_slice(), step, code));
                    }
                    pack_panel(&codes[..vectors.len() * stride], stride, panel);
                    largest
                },
            )
            .reduce(|| 0.0, f32::max);
        let least = f64::from(min.get() - product_error(error, error)) / (f64::from(step) * f64::from(step));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounded down on purpose, and it fits"
        )]
        Self {
            vectors,
            min,
            kernels,
            stride,
            panels,
            least: least.floor() as i64,
        }
    }

    /// Comparisons among `n` vectors.
    #[expect(clippy::unused_self, reason = "reads as a question to the join")]
    fn comparisons(&self, n: usize) -> u64 {
        let n = n as u64;
        n * n.saturating_sub(1) / 2
    }

    /// Finds the pairs whose first vector is in `range`.
    fn block(&self, range: std::ops::Range<usize>, take: &(impl Fn(&[Pair]) + Sync)) {
        let panel_len = PANEL_CODES * self.stride;
        let queries = self.queries(range.clone());
        let mut products = vec![[0i32; PANEL_CODES]; range.len()];
        let mut pairs = Vec::new();
        let first_panel = range.start / PANEL_CODES;
        for (number, panel) in self.panels.chunks_exact(panel_len).enumerate().skip(first_panel) {
            self.kernels.dot_panel(panel, &queries, &mut products);
            let codes = number * PANEL_CODES;
            for (a, products) in range.clone().zip(&products) {
                if products.iter().all(|&product| i64::from(product) < self.least) {
                    continue;
                }
                let width = PANEL_CODES.min(self.vectors.len() - codes);
                for (lane, &product) in products[..width].iter().enumerate() {
                    if i64::from(product) >= self.least && codes + lane > a {
                        self.recheck(a, codes + lane, &mut pairs);
                    }
                }
            }
            if pairs.len() >= RUN {
                take(&pairs);
                pairs.clear();
            }
        }
        if !pairs.is_empty() {
            take(&pairs);
        }
    }

    fn recheck(&self, a: usize, b: usize, pairs: &mut Vec<Pair>) {
        let dot = self
            .kernels
            .dot_f32(self.vectors[a].as_slice(), self.vectors[b].as_slice());
        let similarity = Similarity::clamped(dot);
        if similarity >= self.min {
            #[expect(clippy::cast_possible_truncation, reason = "at most MAX_ROWS vectors")]
            pairs.push(Pair {
                a: a as u32,
                b: b as u32,
                similarity,
            });
        }
    }

    /// The codes of a range of vectors as queries, row-major. The range starts with a panel.
    fn queries(&self, range: std::ops::Range<usize>) -> Vec<i8> {
        debug_assert_eq!(range.start % PANEL_CODES, 0);
        let mut queries = vec![0; range.len() * self.stride];
        let panel_len = PANEL_CODES * self.stride;
        for (i, query) in queries.chunks_exact_mut(self.stride).enumerate() {
            let (number, lane) = ((range.start + i) / PANEL_CODES, i % PANEL_CODES);
            let panel = &self.panels[number * panel_len..][..panel_len];
            for (group, four) in query.chunks_exact_mut(4).enumerate() {
                as_query(&panel[(group * PANEL_CODES + lane) * 4..][..4], four);
            }
        }
        queries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::tests::{clustered_embeddings, random_embeddings};

    fn exact(vectors: &[Embedding], min: f32) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        for a in 0..vectors.len() {
            for b in a + 1..vectors.len() {
                if vectors[a].similarity(&vectors[b]).get() >= min {
                    pairs.push((a as u32, b as u32));
                }
            }
        }
        pairs
    }

    #[test]
    fn finds_exactly_the_pairs_of_a_plain_double_loop() {
        for (n, dim) in [
            (0, 5),
            (1, 5),
            (2, 3),
            (15, 8),
            (16, 64),
            (17, 65),
            (129, 30),
            (400, 20),
        ] {
            let vectors = clustered_embeddings(n, dim, n.div_ceil(6).max(1), 0.5, n as u64);
            for min in [0.5, 0.9] {
                let pairs = self_join(&vectors, Similarity::clamped(min), |_| ()).expect("one dimension");
                let found: Vec<_> = pairs.iter().map(|pair| (pair.a, pair.b)).collect();
                assert_eq!(
                    found,
                    exact(&vectors, min),
                    "{n} vectors of dimension {dim}, at least {min}"
                );
                for pair in pairs {
                    let exact = vectors[pair.a as usize]
                        .similarity(&vectors[pair.b as usize])
                        .get();
                    assert!((pair.similarity.get() - exact).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn equal_vectors_make_all_their_pairs_and_progress_reaches_the_end() {
        let vectors = vec![random_embeddings(1, 12, 3).remove(0); 300];
        let last = Mutex::new((0, 0));
        let pairs = self_join(&vectors, Similarity::clamped(0.999), |p| {
            assert!(p.done <= p.total);
            let mut last = last.lock();
            *last = (last.0.max(p.done), p.total);
        });
        let all = 300 * 299 / 2;
        assert_eq!(pairs.expect("one dimension").len(), all);
        assert_eq!(*last.lock(), (all as u64, all as u64));
    }

    #[test]
    fn every_kernel_finds_the_same_pairs() {
        let vectors = clustered_embeddings(200, 33, 30, 0.5, 8);
        for kernels in Kernels::supported() {
            let join = Join::new(&vectors, Similarity::clamped(0.7), kernels);
            let pairs = Mutex::new(Vec::new());
            for start in (0..200).step_by(BLOCK) {
                join.block(start..(start + BLOCK).min(200), &|found: &[Pair]| {
                    pairs.lock().extend_from_slice(found)
                });
            }
            let mut pairs: Vec<_> = pairs.into_inner().iter().map(|pair| (pair.a, pair.b)).collect();
            pairs.sort_unstable();
            assert_eq!(pairs, exact(&vectors, 0.7), "{kernels:?}");
        }
    }

    #[test]
    fn mixed_dimensions_are_refused() {
        let vectors = [random_embeddings(1, 4, 1), random_embeddings(1, 5, 1)].concat();
        let refused = self_join(&vectors, Similarity::ONE, |_| ());
        assert_eq!(refused, Err(VectorError::WrongDimension { expected: 4, got: 5 }));
    }
}

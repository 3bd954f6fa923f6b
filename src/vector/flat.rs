//! Exact search by scanning every vector.

use std::collections::HashSet;

use super::distance::Kernels;
use super::ranking::Best;
use super::{Hit, MAX_ROWS, RowFilter, RowId, VectorError, VectorIndex};
use crate::types::{Embedding, Similarity};

/// All vectors side by side, f32. Every answer is exact up to the rounding of an f32 sum (1e-6).
#[derive(Debug)]
pub struct FlatIndex {
    dim: usize,
    kernels: Kernels,
    rows: Vec<RowId>,
    taken: HashSet<RowId>,
    /// Row-major, `[rows.len(), dim]`.
    components: Vec<f32>,
}

impl FlatIndex {
    /// An empty index of vectors with `dim` components.
    #[must_use]
    pub fn new(dim: usize) -> Self {
        Self::with_kernels(dim, Kernels::active())
    }

    /// An empty index that computes with the given kernels.
    #[must_use]
    pub fn with_kernels(dim: usize, kernels: Kernels) -> Self {
        Self {
            dim,
            kernels,
            rows: Vec::new(),
            taken: HashSet::new(),
            components: Vec::new(),
        }
    }

    /// Adds a vector under a row number of the caller's.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`], [`VectorError::RowTaken`], [`VectorError::TooManyRows`]; the index is
    /// unchanged then.
    pub fn insert(&mut self, row: RowId, vector: &Embedding) -> Result<(), VectorError> {
        VectorError::check_dim(self.dim, vector)?;
        if self.rows.len() >= MAX_ROWS {
            return Err(VectorError::TooManyRows);
        }
        if !self.taken.insert(row) {
            return Err(VectorError::RowTaken { row });
        }
        self.rows.push(row);
        self.components.extend_from_slice(vector.as_slice());
        Ok(())
    }

    /// Similarities with `query` of the rows that the filter allows.
    fn scan<'a>(
        &'a self,
        query: &'a Embedding,
        filter: Option<RowFilter<'a>>,
    ) -> Result<impl Iterator<Item = Hit> + 'a, VectorError> {
        VectorError::check_dim(self.dim, query)?;
        Ok(self
            .rows
            .iter()
            .zip(self.components.chunks_exact(self.dim.max(1)))
            .filter(move |&(&row, _)| filter.is_none_or(|allows| allows(row)))
            .map(move |(&row, vector)| Hit {
                row,
                similarity: Similarity::clamped(self.kernels.dot_f32(vector, query.as_slice())),
            }))
    }
}

impl VectorIndex for FlatIndex {
    fn dim(&self) -> usize {
        self.dim
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn search(
        &self,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        let mut best = Best::new(k);
        self.scan(query, filter)?.for_each(|hit| best.offer(hit));
        Ok(best.into_sorted())
    }

    fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        let mut hits: Vec<Hit> = self
            .scan(query, filter)?
            .filter(|hit| hit.similarity >= min)
            .collect();
        hits.sort_unstable();
        Ok(hits)
    }
}

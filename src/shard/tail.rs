//! Embeddings of a growing segment that no graph has yet, found by scanning.

use crate::types::{Embedding, Similarity};
use crate::vector::distance::Kernels;
use crate::vector::{Hit, RowFilter, RowId, VectorError, VectorIndex};

/// Embeddings where their records have them: an acknowledgement waits for no copy. Every answer is exact up to the rounding of an
/// f32 sum (1e-6).
pub(super) struct Tail {
    dim: usize,
    kernels: Kernels,
    rows: Vec<(RowId, Embedding)>,
}

impl Tail {
    pub(super) fn new(dim: usize) -> Self {
        Self {
            dim,
            kernels: Kernels::active(),
            rows: Vec::new(),
        }
    }

    /// Adds an embedding under a row number that is new.
    pub(super) fn push(&mut self, row: RowId, embedding: &Embedding) -> Result<(), VectorError> {
        VectorError::check_dim(self.dim, embedding)?;
        self.rows.push((row, embedding.clone()));
        Ok(())
    }

    /// All of them, in the order in which they came.
    pub(super) fn rows(&self) -> &[(RowId, Embedding)] {
        &self.rows
    }

    /// Similarities with `query` of the rows that the filter allows.
    fn scan<'a>(
        &'a self,
        query: &'a Embedding,
        filter: Option<RowFilter<'a>>,
    ) -> Result<impl Iterator<Item = Hit> + 'a, VectorError> {
        VectorError::check_dim(self.dim, query)?;
        let allowed = move |&&(row, _): &&(RowId, _)| filter.is_none_or(|allows| allows(row));
        Ok(self.rows.iter().filter(allowed).map(|(row, vector)| Hit {
            row: *row,
            similarity: Similarity::clamped(self.kernels.dot_f32(vector.as_slice(), query.as_slice())),
        }))
    }
}

impl VectorIndex for Tail {
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
        let mut hits: Vec<Hit> = self.scan(query, filter)?.collect();
        if k < hits.len() {
            hits.select_nth_unstable(k);
            hits.truncate(k);
        }
        hits.sort_unstable();
        Ok(hits)
    }

    fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        let scanned = self.scan(query, filter)?;
        let mut hits: Vec<Hit> = scanned.filter(|hit| hit.similarity >= min).collect();
        hits.sort_unstable();
        Ok(hits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fixtures::{DIM, record};
    use crate::vector::flat::FlatIndex;

    #[test]
    fn it_finds_what_the_flat_index_finds() {
        let (mut tail, mut flat) = (Tail::new(DIM), FlatIndex::new(DIM));
        for n in 0..200 {
            let embedding = record(n).fingerprint.embedding;
            let row = RowId::try_from(n).expect("few");
            tail.push(row, &embedding).expect("of this dimension");
            flat.insert(row, &embedding).expect("of this dimension");
        }
        let even = |row: RowId| row.is_multiple_of(2);
        for n in [0, 7, 199, 300] {
            let query = record(n).fingerprint.embedding;
            for filter in [None, Some(&even as RowFilter<'_>)] {
                for k in [0, 1, 10, 199, 200, 300] {
                    assert_eq!(
                        tail.search(&query, k, filter),
                        flat.search(&query, k, filter),
                        "{k}"
                    );
                }
                let min = flat.search(&query, 20, filter).expect("found")[19].similarity;
                assert_eq!(tail.range(&query, min, filter), flat.range(&query, min, filter));
            }
        }
        let other = Embedding::normalised(&[1.0; DIM + 1]).expect("a direction");
        assert_eq!(tail.search(&other, 1, None), flat.search(&other, 1, None));
        assert!(tail.push(200, &other).is_err());
        assert_eq!(tail.len(), 200);
    }
}

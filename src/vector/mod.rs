//! Floor 1, pillar `vector`: indexes over unit vectors. No I/O, no images, no storage.
//!
//! | module | what |
//! |---|---|
//! | [`distance`] | SIMD kernels, chosen once per process |
//! | [`flat`] | exact search by scanning; the oracle of the tests and the fast path of small sets |
//! | [`frozen`] | sealed: an immutable block of bytes, 8-bit codes in a graph, originals for re-ranking |
//! | [`growing`] | takes inserts and searches at once (hnsw_rs) |
//! | [`join`] | all pairs of one set above a similarity |
//! | [`nearest`] | the nearest few of every vector of one set |

pub mod distance;
pub mod flat;
pub mod frozen;
pub mod growing;
pub mod join;
pub mod nearest;
mod quantise;
mod ranking;
#[cfg(test)]
mod tests;

use crate::error::ErrorKind;
use crate::types::{Embedding, Similarity};

/// Number of a row within one index, chosen by the caller.
pub type RowId = u32;

/// One answer of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The row found.
    pub row: RowId,
    /// Its cosine similarity with the query.
    pub similarity: Similarity,
}

/// The order of answers: falling similarity, then rising row. The better hit is the lesser one.
impl Ord for Hit {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other
            .similarity
            .cmp(&self.similarity)
            .then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Which rows a search may return. `None` in the search calls stands for all rows.
pub type RowFilter<'a> = &'a (dyn Fn(RowId) -> bool + Sync);

/// Why an index refused a vector or a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// The vector has another dimension than the index.
    #[error("the vector has {got} dimensions, the index has {expected}")]
    WrongDimension {
        /// Dimension of the index.
        expected: usize,
        /// Dimension of the vector.
        got: usize,
    },
    /// The row is in the index already.
    #[error("row {row} is in the index already")]
    RowTaken {
        /// The row.
        row: RowId,
    },
    /// More vectors than row numbers can tell apart.
    #[error("an index holds at most {MAX_ROWS} rows")]
    TooManyRows,
}

/// Most rows of one index: node numbers leave the top bit of 32 free.
pub const MAX_ROWS: usize = (1 << 31) - 1;

impl VectorError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::WrongDimension { .. } | Self::TooManyRows => ErrorKind::Invalid,
            Self::RowTaken { .. } => ErrorKind::Conflict,
        }
    }

    /// Refuses a vector whose dimension is not `expected`.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`].
    pub fn check_dim(expected: usize, vector: &Embedding) -> Result<(), Self> {
        if vector.dim() == expected {
            Ok(())
        } else {
            Err(Self::WrongDimension {
                expected,
                got: vector.dim(),
            })
        }
    }
}

/// A set of unit vectors that answers nearest-neighbour questions under cosine similarity.
///
/// Contract (one test runs it on every implementation): answers come in order of falling similarity, equal
/// similarities by rising row; a row appears at most once; rows that the filter refuses do not count towards `k`;
/// equal vectors are all found. Safe to call from many threads, searches while inserting included.
pub trait VectorIndex: Send + Sync {
    /// Dimension of the vectors.
    fn dim(&self) -> usize;

    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `k` rows closest to `query`, fewer when the index holds fewer.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`].
    fn search(
        &self,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError>;

    /// All rows whose similarity with `query` is at least `min`.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`].
    fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError>;
}

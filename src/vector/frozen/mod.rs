//! The index of a sealed segment: one immutable block of bytes, searched in place.
//!
//! [`FrozenIndex::build`] makes the block, [`FrozenIndex::open`] checks it and serves from it, be it in memory or
//! mapped from a file ([`map`]). A segment file embeds the block at any multiple of 64 bytes:
//!
//! ```
//! # use doppel_compute as doppel;
//! use bytes::Bytes;
//! use doppel::types::Embedding;
//! use doppel::vector::VectorIndex as _;
//! use doppel::vector::frozen::{BuildParams, FrozenIndex};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rows = [Embedding::normalised(&[1.0, 0.0])?, Embedding::normalised(&[0.6, 0.8])?];
//! let block: Vec<u8> = FrozenIndex::build(2, &rows, &BuildParams::default())?;
//! let index = FrozenIndex::open(Bytes::from(block))?;
//! let hits = index.search(&rows[1], 1, None)?;
//! assert_eq!(hits[0].row, 1); // the position in `rows`
//! # Ok(())
//! # }
//! ```
//!
//! A search walks the graph over 8-bit codes ([`quantise`](super::quantise)) and compares the best of what it meets
//! once more with the originals, which are kept in 16 bits a component in the block's last part and may stay on disk. The
//! similarities that it answers are off by 2e-5 at most, and by less than 1e-6 for vectors that are equal.

mod beam;
mod build;
mod collapse;
mod crowd;
mod format;
mod graph;
mod map;
mod originals;
mod range;
mod resident;
mod search;
mod spread;
#[cfg(test)]
mod tests;
mod view;
mod walk;

use bytes::Bytes;
use rayon::prelude::*;

use super::distance::Kernels;
use super::{Hit, RowFilter, VectorError, VectorIndex};
use crate::error::ErrorKind;
use crate::types::{Embedding, Similarity};
pub use build::{FrozenBlock, FrozenBuilder};
use format::{Block, Section};
pub use map::{MapOptions, map};
use search::Wanted;
use spread::Spreads;
use view::View;

/// How the graph is built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BuildParams {
    /// Links of a node in the upper layers, twice as many in the lowest; 4 to 128.
    pub links: usize,
    /// Width of the search that finds a node's neighbours.
    pub ef_construction: usize,
    /// A neighbour is left out when another one is closer to it, by this factor of the squared distance, than the
    /// node is. 1 is the rule of HNSW; more keeps more links.
    pub diversity: f32,
}

impl Default for BuildParams {
    fn default() -> Self {
        Self {
            links: 16,
            ef_construction: 200,
            diversity: 1.15,
        }
    }
}

/// How wide a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchParams {
    /// Nodes that the search keeps in view: more find more and take longer. At least `k` in effect.
    pub ef: usize,
    /// How many of the best nodes, beyond `k`, are compared with the originals.
    pub rerank: usize,
}

impl Default for SearchParams {
    fn default() -> Self {
        Self { ef: 96, rerank: 24 }
    }
}

/// Why a block could not be built or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrozenError {
    /// A vector cannot be part of the index.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// A parameter is out of range.
    #[error("links must be 4 to 128, ef_construction 1 to 65536 and diversity 1 to 2")]
    Params,
    /// The block would not fit the format.
    #[error("the index is too large for one block")]
    TooLarge,
    /// The block ends too early.
    #[error("the index is cut off after {len} bytes")]
    Truncated {
        /// Length of what is there.
        len: usize,
    },
    /// The block does not start with the magic number.
    #[error("not a frozen index")]
    NotAnIndex,
    /// The block has another version than this program reads.
    #[error(
        "the index has format version {version}, this program reads versions up to {}",
        format::VERSION
    )]
    UnknownVersion {
        /// Its version.
        version: usize,
    },
    /// A checksum is wrong.
    #[error("the index is damaged: checksum of its {part}")]
    Damaged {
        /// Which part.
        part: &'static str,
    },
    /// Checksums are right, but the contents cannot be: the block was not written by [`FrozenIndex::build`].
    #[error("the index is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

impl FrozenError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Vector(error) => error.kind(),
            Self::Params | Self::TooLarge => ErrorKind::Invalid,
            Self::Truncated { .. }
            | Self::NotAnIndex
            | Self::UnknownVersion { .. }
            | Self::Damaged { .. }
            | Self::Malformed { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Sizes of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrozenStats {
    /// Rows.
    pub rows: usize,
    /// Distinct vectors.
    pub vectors: usize,
    /// Nodes of the graph: vectors with distinct codes.
    pub nodes: usize,
    /// Nodes that the builder had to add a link to, because no path led there.
    pub repaired: usize,
    /// Bytes that every search touches: graph, codes and row numbers.
    pub resident_bytes: usize,
    /// Bytes of the originals, of which a search reads a few per query.
    pub original_bytes: usize,
}

/// An immutable index over `rows.len()` vectors; a row is the position in the slice it was built from.
pub struct FrozenIndex {
    block: Block,
    kernels: Kernels,
    params: SearchParams,
    spreads: Spreads,
}

impl FrozenIndex {
    /// Builds the block of an index over vectors of `dim` components, on all threads of the current rayon pool. The
    /// result depends on the arguments alone, not on the number of threads or the processor.
    ///
    /// # Errors
    /// [`FrozenError::Vector`] for a vector of another dimension or too many rows, [`FrozenError::Params`].
    pub fn build(dim: usize, rows: &[Embedding], params: &BuildParams) -> Result<Vec<u8>, FrozenError> {
        Self::build_reporting(dim, rows, params, &|_| ())
    }

    /// [`Self::build`] that tells `progress` how many rows are in the graph by now; the last ones may go unmentioned.
    ///
    /// # Errors
    /// As there.
    pub fn build_reporting(
        dim: usize,
        rows: &[Embedding],
        params: &BuildParams,
        progress: &dyn Fn(usize),
    ) -> Result<Vec<u8>, FrozenError> {
        let mut builder = FrozenBuilder::new(dim, rows.len(), params)?;
        rows.iter().try_for_each(|row| builder.push(row))?;
        let block = builder.finish(progress)?;
        let mut bytes = Vec::with_capacity(block.len());
        block.write_to(&mut bytes).expect("memory takes every write");
        Ok(bytes)
    }

    /// Opens a block that [`Self::build`] made, reading all of it once for its checksums.
    ///
    /// [`Bytes`] wraps a `Vec<u8>`, a part of a larger buffer, or a mapped file. A block that does not start at a
    /// multiple of 64 bytes in memory is copied.
    ///
    /// # Errors
    /// A variant of [`FrozenError`] with kind `corrupt`: any cut and any flipped bit is noticed.
    pub fn open(block: Bytes) -> Result<Self, FrozenError> {
        let mut index = Self {
            block: Block::read(block)?,
            kernels: Kernels::active(),
            params: SearchParams::default(),
            spreads: Spreads::default(),
        };
        index.view().check()?;
        index.block.hot.start_moving();
        index.spreads = index.view().measure_spreads();
        Ok(index)
    }

    /// Sets how wide searches are that do not say so themselves.
    #[must_use]
    pub fn with_params(mut self, params: SearchParams) -> Self {
        self.params = params;
        self
    }

    /// Sets the kernels that searches compute with.
    #[must_use]
    pub fn with_kernels(mut self, kernels: Kernels) -> Self {
        self.kernels = kernels;
        self
    }

    /// Sizes.
    #[must_use]
    pub fn stats(&self) -> FrozenStats {
        let shape = &self.block.shape;
        FrozenStats {
            rows: shape.rows,
            vectors: shape.vectors,
            nodes: shape.nodes,
            repaired: shape.repaired,
            resident_bytes: format::SECTIONS
                .iter()
                .filter(|&&section| section != Section::Originals)
                .map(|&section| self.block.len_of(section))
                .sum(),
            original_bytes: self.block.len_of(Section::Originals),
        }
    }

    /// [`VectorIndex::search`] with its own width, into a buffer that is cleared first.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`].
    pub fn search_into(
        &self,
        query: &Embedding,
        k: usize,
        params: SearchParams,
        filter: Option<RowFilter<'_>>,
        hits: &mut Vec<Hit>,
    ) -> Result<(), VectorError> {
        self.search_each(
            std::slice::from_ref(query),
            k,
            params,
            filter,
            std::slice::from_mut(hits),
        )
    }

    /// [`Self::search_into`] for several queries on this thread, which take turns: while one waits for memory, another
    /// computes. `answers[i]` belongs to `queries[i]`.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`]; nothing was searched then.
    ///
    /// # Panics
    /// When there are not as many answers as queries.
    pub fn search_each(
        &self,
        queries: &[Embedding],
        k: usize,
        params: SearchParams,
        filter: Option<RowFilter<'_>>,
        answers: &mut [Vec<Hit>],
    ) -> Result<(), VectorError> {
        assert_eq!(queries.len(), answers.len(), "an answer for each query");
        queries
            .iter()
            .try_for_each(|query| VectorError::check_dim(self.dim(), query))?;
        self.view()
            .search(queries, answers, &Wanted { k, params, filter });
        Ok(())
    }

    /// [`Self::search_each`] on all threads of the current rayon pool.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn search_batch(
        &self,
        queries: &[Embedding],
        k: usize,
        params: SearchParams,
        filter: Option<RowFilter<'_>>,
        answers: &mut [Vec<Hit>],
    ) -> Result<(), VectorError> {
        /// Queries of one task: enough that starting and ending it costs nothing.
        const TASK: usize = 64;
        assert_eq!(queries.len(), answers.len(), "an answer for each query");
        queries
            .par_chunks(TASK)
            .zip(answers.par_chunks_mut(TASK))
            .try_for_each(|(queries, answers)| self.search_each(queries, k, params, filter, answers))
    }
}

impl VectorIndex for FrozenIndex {
    fn dim(&self) -> usize {
        self.block.shape.dim
    }

    fn len(&self) -> usize {
        self.block.shape.rows
    }

    fn search(
        &self,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        let mut hits = Vec::with_capacity(k.min(self.len()));
        self.search_into(query, k, self.params, filter, &mut hits)?;
        Ok(hits)
    }

    fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        VectorError::check_dim(self.dim(), query)?;
        Ok(self.view().range(query, min, self.params.ef, filter))
    }
}

impl std::fmt::Debug for FrozenIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenIndex")
            .field("dim", &self.dim())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

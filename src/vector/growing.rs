//! The index of a growing segment: takes inserts from many threads and answers searches meanwhile.
//!
//! The graph is hnsw_rs's, and this is the only file that names it. What is known of that crate and guarded here:
//! its stock dot product asserts on rounding, so the distance is ours and never negative; parameters out of range
//! end the process, so they are clamped; points inserted while there is no entry point yet stay without links, so
//! the first insertion is awaited; many equal vectors tear the graph apart, so equal vectors share one node; its
//! filter stops early, so filtering is done here, on a widening search.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::Hnsw;
use parking_lot::RwLock;

use super::distance::Kernels;
use super::ranking::Best;
use super::{Hit, MAX_ROWS, RowFilter, RowId, VectorError, VectorIndex};
use crate::types::{Embedding, Similarity};

/// How the graph of a growing index is built and searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrowingParams {
    /// Links of a node in the upper layers, twice as many in the lowest; 4 to 64.
    pub links: usize,
    /// Width of the search that finds a new node's neighbours; at least `links`.
    pub ef_construction: usize,
    /// Least width of a search.
    pub ef: usize,
    /// With fewer distinct vectors than this every search is an exact scan, which is faster there.
    pub exact_below: usize,
    /// Rows expected, a hint for allocation.
    pub expected_rows: usize,
}

impl Default for GrowingParams {
    fn default() -> Self {
        Self {
            links: 16,
            ef_construction: 200,
            ef: 96,
            exact_below: 8192,
            expected_rows: 16_384,
        }
    }
}

/// A widening search gives up the graph for an exact scan once it would visit this share of the nodes.
const SCAN_SHARE: usize = 8;

/// A range search is complete when the graph has shown vectors this far below the range's end.
const RANGE_MARGIN: f32 = 0.05;

/// Highest layer number plus one that hnsw_rs works with.
const LAYERS: usize = 16;

/// HNSW graph over the distinct vectors inserted so far. Inserted rows are visible to searches that start after
/// `insert` returns.
pub struct GrowingIndex {
    dim: usize,
    params: GrowingParams,
    kernels: Kernels,
    graph: Hnsw<'static, f32, CosineDistance>,
    /// Set when the graph has its first point.
    seeded: OnceLock<()>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    rows: HashSet<RowId>,
    /// Distinct vectors; a node's position is its number in the graph.
    nodes: Vec<Node>,
    node_of: HashMap<VectorBits, u32>,
    /// Nodes that are not wholly in the graph yet; searches scan them.
    pending: BTreeSet<u32>,
}

struct Node {
    vector: Embedding,
    rows: Vec<RowId>,
}

impl GrowingIndex {
    /// An empty index of vectors with `dim` components. Parameters out of range are clamped.
    #[must_use]
    pub fn new(dim: usize, params: GrowingParams) -> Self {
        Self::with_kernels(dim, params, Kernels::active())
    }

    /// An empty index that computes with the given kernels.
    #[must_use]
    pub fn with_kernels(dim: usize, params: GrowingParams, kernels: Kernels) -> Self {
        let links = params.links.clamp(4, 64);
        let params = GrowingParams {
            links,
            ef_construction: params.ef_construction.clamp(links, 4096),
            ef: params.ef.clamp(1, 4096),
            expected_rows: params.expected_rows.min(1 << 24),
            ..params
        };
        let graph = Hnsw::new(
            params.links,
            params.expected_rows,
            LAYERS,
            params.ef_construction,
            CosineDistance(kernels),
        );
        Self {
            dim,
            params,
            kernels,
            graph,
            seeded: OnceLock::new(),
            state: RwLock::default(),
        }
    }

    /// Adds a vector under a row number of the caller's.
    ///
    /// # Errors
    /// [`VectorError::WrongDimension`], [`VectorError::RowTaken`], [`VectorError::TooManyRows`]; the index is
    /// unchanged then.
    pub fn insert(&self, row: RowId, vector: &Embedding) -> Result<(), VectorError> {
        VectorError::check_dim(self.dim, vector)?;
        let Some(node) = self.state.write().add(row, vector)? else {
            return Ok(());
        };
        let point = (vector.as_slice(), node as usize);
        let mut first = false;
        self.seeded.get_or_init(|| {
            first = true;
            self.graph.insert_slice(point);
        });
        if !first {
            self.graph.insert_slice(point);
        }
        self.state.write().pending.remove(&node);
        Ok(())
    }

    fn similarity(&self, vector: &Embedding, query: &Embedding) -> Similarity {
        Similarity::clamped(self.kernels.dot_f32(vector.as_slice(), query.as_slice()))
    }

    /// Offers the allowed rows of `nodes` to `take`.
    fn offer(
        &self,
        state: &State,
        nodes: impl Iterator<Item = u32>,
        query: &Embedding,
        filter: Option<RowFilter<'_>>,
        mut take: impl FnMut(Hit),
    ) {
        for node in nodes {
            let node = &state.nodes[node as usize];
            let similarity = self.similarity(&node.vector, query);
            for &row in &node.rows {
                if filter.is_none_or(|allows| allows(row)) {
                    take(Hit { row, similarity });
                }
            }
        }
    }

    /// The nodes that a graph search of the given width finds and those that are not in the graph yet, each once.
    fn candidates(&self, query: &Embedding, width: usize) -> Vec<u32> {
        // Before the search: a node that leaves `pending` afterwards was in the graph when the search began.
        let pending: Vec<u32> = self.state.read().pending.iter().copied().collect();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "node numbers were u32 when they were inserted"
        )]
        let mut found: Vec<u32> = self
            .graph
            .search(query.as_slice(), width, width)
            .iter()
            .map(|n| n.d_id as u32)
            .collect();
        found.extend(pending);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether a search of this width should rather scan all `nodes`.
    fn scans(&self, width: usize, nodes: usize) -> bool {
        nodes < self.params.exact_below || width > nodes / SCAN_SHARE
    }
}

impl State {
    /// Registers a row; answers the node to put into the graph when the vector is new.
    fn add(&mut self, row: RowId, vector: &Embedding) -> Result<Option<u32>, VectorError> {
        if self.rows.len() >= MAX_ROWS {
            return Err(VectorError::TooManyRows);
        }
        if !self.rows.insert(row) {
            return Err(VectorError::RowTaken { row });
        }
        let key = VectorBits(vector.clone());
        if let Some(&node) = self.node_of.get(&key) {
            self.nodes[node as usize].rows.push(row);
            return Ok(None);
        }
        let node = u32::try_from(self.nodes.len()).map_err(|_| VectorError::TooManyRows)?;
        self.node_of.insert(key, node);
        self.nodes.push(Node {
            vector: vector.clone(),
            rows: vec![row],
        });
        self.pending.insert(node);
        Ok(Some(node))
    }

    fn all(&self) -> impl Iterator<Item = u32> {
        0..u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }
}

impl VectorIndex for GrowingIndex {
    fn dim(&self) -> usize {
        self.dim
    }

    fn len(&self) -> usize {
        self.state.read().rows.len()
    }

    fn search(
        &self,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        VectorError::check_dim(self.dim, query)?;
        let mut width = self.params.ef.max(k.saturating_mul(2));
        loop {
            let nodes = self.state.read().nodes.len();
            let scan = self.scans(width, nodes);
            let found = if scan {
                Vec::new()
            } else {
                self.candidates(query, width)
            };
            let mut best = Best::new(k);
            let state = self.state.read();
            if scan {
                self.offer(&state, state.all(), query, filter, |hit| best.offer(hit));
                return Ok(best.into_sorted());
            }
            self.offer(&state, found.into_iter(), query, filter, |hit| best.offer(hit));
            let hits = best.into_sorted();
            if hits.len() == k {
                return Ok(hits);
            }
            width *= 4;
        }
    }

    fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        filter: Option<RowFilter<'_>>,
    ) -> Result<Vec<Hit>, VectorError> {
        VectorError::check_dim(self.dim, query)?;
        let mut width = self.params.ef;
        loop {
            let nodes = self.state.read().nodes.len();
            let scan = self.scans(width, nodes);
            let found = if scan {
                Vec::new()
            } else {
                self.candidates(query, width)
            };
            let state = self.state.read();
            let mut hits = Vec::new();
            let mut farthest = Similarity::ONE;
            if scan {
                self.offer(&state, state.all(), query, filter, |hit| hits.push(hit));
            } else {
                let found = found.into_iter().inspect(|&node| {
                    farthest = farthest.min(self.similarity(&state.nodes[node as usize].vector, query));
                });
                self.offer(&state, found, query, filter, |hit| hits.push(hit));
            }
            if scan || farthest.get() < min.get() - RANGE_MARGIN {
                hits.retain(|hit| hit.similarity >= min);
                hits.sort_unstable();
                return Ok(hits);
            }
            width *= 4;
        }
    }
}

impl std::fmt::Debug for GrowingIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrowingIndex")
            .field("dim", &self.dim)
            .field("rows", &self.len())
            .finish_non_exhaustive()
    }
}

/// `1 − cosine`, clamped to 0..=2: hnsw_rs asserts that distances are not negative.
#[derive(Clone, Copy)]
struct CosineDistance(Kernels);

impl Distance<f32> for CosineDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        1.0 - Similarity::clamped(self.0.dot_f32(a, b)).get()
    }
}

/// A vector as a key: equal when every component has the same bits.
struct VectorBits(Embedding);

impl PartialEq for VectorBits {
    fn eq(&self, other: &Self) -> bool {
        self.0
            .as_slice()
            .iter()
            .map(|x| x.to_bits())
            .eq(other.0.as_slice().iter().map(|x| x.to_bits()))
    }
}

impl Eq for VectorBits {}

impl Hash for VectorBits {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for x in self.0.as_slice() {
            state.write_u32(x.to_bits());
        }
    }
}

//! From rows to a block: collapse, build the graph in random order, lay it out for locality. A row takes its original (two
//! bytes a component), a code (one) and its links meanwhile, once each.

use std::io::{self, Write};

use super::super::distance::Kernels;
use super::collapse::{Collapsed, collapse};
use super::format::{Layout, SECTIONS, Shape};
use super::graph::{self, Graph};
use super::originals::{inverse_norm, rounded};
use super::walk::Codes;
use super::{BuildParams, FrozenError};
use crate::types::Embedding;
use crate::vector::{MAX_ROWS, VectorError};

/// Takes the rows of an index one by one; [`finish`](Self::finish) builds it.
#[derive(Debug)]
pub struct FrozenBuilder {
    dim: usize,
    params: BuildParams,
    /// In 16 bits a component, `[rows, dim]`.
    originals: Vec<i16>,
    rows: usize,
}

impl FrozenBuilder {
    /// For about `rows` vectors of `dim` components.
    ///
    /// # Errors
    /// [`FrozenError::Params`].
    pub fn new(dim: usize, rows: usize, params: &BuildParams) -> Result<Self, FrozenError> {
        if !(4..=128).contains(&params.links)
            || !(1..=65_536).contains(&params.ef_construction)
            || !(1.0..=2.0).contains(&params.diversity)
        {
            return Err(FrozenError::Params);
        }
        Ok(Self {
            dim,
            params: *params,
            originals: Vec::with_capacity(rows.min(MAX_ROWS) * dim),
            rows: 0,
        })
    }

    /// Adds the next row; rows are numbered from 0.
    ///
    /// # Errors
    /// [`FrozenError::Vector`] for a vector of another dimension or too many rows.
    pub fn push(&mut self, row: &Embedding) -> Result<(), FrozenError> {
        if self.rows == MAX_ROWS {
            return Err(VectorError::TooManyRows.into());
        }
        VectorError::check_dim(self.dim, row)?;
        self.originals.extend(rounded(row.as_slice()));
        self.rows += 1;
        Ok(())
    }

    /// Builds the index on all threads of the current rayon pool. The result depends on rows and parameters alone, not on
    /// the number of threads or the processor. `progress` is told how many rows are in the graph by now; the last ones may
    /// go unmentioned.
    ///
    /// # Errors
    /// [`FrozenError::TooLarge`].
    pub fn finish(self, progress: &dyn Fn(usize)) -> Result<FrozenBlock, FrozenError> {
        let Self {
            dim,
            params,
            originals,
            rows,
        } = self;
        let Collapsed {
            mut codes,
            code_len,
            step,
            error,
            vectors_of,
            rows_of,
            mut originals,
        } = collapse(dim, originals);
        let nodes = vectors_of.len();
        // Random order: what comes first is in the upper layers, and batches are samples of the whole.
        let shuffled = shuffled(nodes);
        arrange(&mut codes, code_len, &shuffled);
        let graph = graph::build(
            Codes {
                bytes: &codes,
                len: code_len,
                kernels: Kernels::active(),
            },
            &params,
            progress,
        );
        let order = breadth_first(&graph);
        let mut place = vec![0u32; nodes];
        (0u32..)
            .zip(&order)
            .for_each(|(new, &old)| place[old as usize] = new);

        let links: Vec<u32> = order
            .iter()
            .flat_map(|&old| {
                graph
                    .base
                    .links()
                    .of(old)
                    .iter()
                    .map(|&target| place[target as usize])
            })
            .collect();
        let mut upper: Vec<u32> = place[..graph.upper.first().map_or(0, graph::Layer::nodes)].to_vec();
        graph.upper.iter().for_each(|layer| upper.extend(&layer.targets));
        arrange(&mut codes, code_len, &order);
        let shape = Shape {
            dim,
            rows,
            vectors: rows_of.len(),
            nodes,
            degree: graph.base.degree,
            upper_degree: params.links,
            levels: graph.upper.iter().map(graph::Layer::nodes).collect(),
            step,
            error,
            repaired: graph.repaired,
            code_len,
        };
        drop(graph);
        let mut behind = Behind::default();
        for &old in &order {
            behind.add_node(&vectors_of[shuffled[old as usize] as usize], &rows_of);
        }
        arrange(&mut originals, dim, &behind.vectors);
        let norms = originals.chunks_exact(dim.max(1)).map(inverse_norm).collect();
        FrozenBlock {
            layout: Layout::of(&shape).ok_or(FrozenError::TooLarge)?,
            header: Vec::new(),
            links,
            upper,
            codes,
            vector_starts: behind.vector_starts,
            row_starts: behind.row_starts,
            rows: behind.rows,
            norms,
            originals,
        }
        .with_header(&shape)
    }
}

/// The block of an index, not yet written.
#[derive(Debug)]
pub struct FrozenBlock {
    layout: Layout,
    header: Vec<u8>,
    links: Vec<u32>,
    upper: Vec<u32>,
    codes: Vec<u8>,
    vector_starts: Vec<u32>,
    row_starts: Vec<u32>,
    rows: Vec<u32>,
    norms: Vec<f32>,
    originals: Vec<i16>,
}

impl FrozenBlock {
    fn with_header(mut self, shape: &Shape) -> Result<Self, FrozenError> {
        self.header = self.layout.header(shape, self.sections())?;
        Ok(self)
    }

    fn sections(&self) -> [&[u8]; SECTIONS.len()] {
        [
            bytemuck::cast_slice(&self.links),
            bytemuck::cast_slice(&self.upper),
            &self.codes,
            bytemuck::cast_slice(&self.vector_starts),
            bytemuck::cast_slice(&self.row_starts),
            bytemuck::cast_slice(&self.rows),
            bytemuck::cast_slice(&self.norms),
            bytemuck::cast_slice(&self.originals),
        ]
    }

    /// Bytes of the block.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block has a header")]
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Writes the block.
    ///
    /// # Errors
    /// As `out` fails.
    pub fn write_to(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        self.layout.write(&self.header, self.sections(), out)
    }
}

/// What stands behind the nodes, in the nodes' final order.
struct Behind {
    vector_starts: Vec<u32>,
    row_starts: Vec<u32>,
    rows: Vec<u32>,
    /// Each vector's place before.
    vectors: Vec<u32>,
}

impl Default for Behind {
    fn default() -> Self {
        Self {
            vector_starts: vec![0],
            row_starts: vec![0],
            rows: vec![],
            vectors: vec![],
        }
    }
}

impl Behind {
    fn add_node(&mut self, vectors: &[u32], rows_of: &[Vec<u32>]) {
        for &vector in vectors {
            self.rows.extend(&rows_of[vector as usize]);
            self.row_starts.push(count(self.rows.len()));
        }
        self.vectors.extend(vectors);
        self.vector_starts.push(count(self.vectors.len()));
    }
}

/// A number of rows, of which there are fewer than 2³¹.
fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

/// The numbers below `n` in a random order that is always the same (Fisher and Yates, with splitmix64).
fn shuffled(n: usize) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count(n)).collect();
    let mut state = 0u64;
    for i in (1..n).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let below = (i + 1) as u128;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the upper half of the product is below i + 1"
        )]
        numbers.swap(i, ((u128::from(z) * below) >> 64) as usize);
    }
    numbers
}

/// Moves row `order[i]` of a matrix to place `i`, for all of its rows.
fn arrange<T: Copy>(matrix: &mut [T], len: usize, order: &[u32]) {
    let mut moved = vec![false; order.len()];
    for start in 0..order.len() {
        if moved[start] {
            continue;
        }
        let first = matrix[start * len..][..len].to_vec();
        let mut at = start;
        // Once around a cycle.
        loop {
            moved[at] = true;
            let from = order[at] as usize;
            if from == start {
                break;
            }
            matrix.copy_within(from * len..(from + 1) * len, at * len);
            at = from;
        }
        matrix[at * len..][..len].copy_from_slice(&first);
    }
}

/// The nodes in the order in which a walk from node 0 meets them: neighbours come to lie close together.
fn breadth_first(graph: &Graph) -> Vec<u32> {
    let nodes = graph.base.nodes();
    let mut met = vec![false; nodes];
    let mut order = Vec::with_capacity(nodes);
    for start in 0..count(nodes) {
        if std::mem::replace(&mut met[start as usize], true) {
            continue;
        }
        let mut at = order.len();
        order.push(start);
        while let Some(&node) = order.get(at) {
            at += 1;
            for &target in graph.base.links().of(node) {
                if !std::mem::replace(&mut met[target as usize], true) {
                    order.push(target);
                }
            }
        }
    }
    order
}

//! From rows to a block: collapse, build the graph in random order, lay it out for locality, write.

use rayon::prelude::*;

use super::super::distance::Kernels;
use super::collapse::{Collapsed, collapse};
use super::format::{Shape, write};
use super::graph::{self, Graph};
use super::originals::inverse_norm;
use super::walk::Codes;
use super::{BuildParams, FrozenError};
use crate::types::Embedding;

/// Builds a block; see [`FrozenIndex::build`](super::FrozenIndex::build).
pub(super) fn build(
    dim: usize,
    rows: &[Embedding],
    params: &BuildParams,
    progress: &dyn Fn(usize),
) -> Result<Vec<u8>, FrozenError> {
    let collapsed = collapse(dim, rows);
    let nodes = collapsed.vectors_of.len();
    // Random order: what comes first is in the upper layers, and batches are samples of the whole.
    let shuffled = shuffled(nodes);
    let codes = gather(&collapsed.codes, collapsed.code_len, &shuffled);
    let codes = Codes {
        bytes: &codes,
        len: collapsed.code_len,
        kernels: Kernels::active(),
    };
    let graph = graph::build(codes, params, progress);
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
    let final_codes = gather(codes.bytes, codes.len, &order);
    let original_nodes: Vec<u32> = order.iter().map(|&old| shuffled[old as usize]).collect();
    let behind = Behind::of(&collapsed, &original_nodes);

    let shape = Shape {
        dim,
        rows: rows.len(),
        vectors: collapsed.originals.len(),
        nodes,
        degree: graph.base.degree,
        upper_degree: params.links,
        levels: graph.upper.iter().map(graph::Layer::nodes).collect(),
        step: collapsed.step,
        error: collapsed.error,
        repaired: graph.repaired,
        code_len: collapsed.code_len,
    };
    write(
        &shape,
        [
            bytemuck::cast_slice(&links),
            bytemuck::cast_slice(&upper),
            &final_codes,
            bytemuck::cast_slice(&behind.vector_starts),
            bytemuck::cast_slice(&behind.row_starts),
            bytemuck::cast_slice(&behind.rows),
            bytemuck::cast_slice(&behind.norms),
            bytemuck::cast_slice(&behind.originals),
        ],
    )
}

/// What stands behind the nodes, in the nodes' final order.
struct Behind {
    vector_starts: Vec<u32>,
    row_starts: Vec<u32>,
    rows: Vec<u32>,
    norms: Vec<f32>,
    originals: Vec<i16>,
}

impl Behind {
    fn of(collapsed: &Collapsed, nodes: &[u32]) -> Self {
        let mut behind = Self {
            vector_starts: vec![0],
            row_starts: vec![0],
            rows: vec![],
            norms: vec![],
            originals: vec![],
        };
        for &node in nodes {
            for &vector in &collapsed.vectors_of[node as usize] {
                let original = &collapsed.originals[vector as usize];
                behind.norms.push(inverse_norm(original));
                behind.originals.extend_from_slice(original);
                behind.rows.extend(&collapsed.rows_of[vector as usize]);
                behind.row_starts.push(count(behind.rows.len()));
            }
            behind.vector_starts.push(count(behind.norms.len()));
        }
        behind
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

/// The chosen rows of a matrix, in that order.
fn gather(matrix: &[u8], len: usize, rows: &[u32]) -> Vec<u8> {
    let mut gathered = vec![0; rows.len() * len];
    gathered
        .par_chunks_mut(len.max(1))
        .zip(rows)
        .for_each(|(to, &row)| to.copy_from_slice(&matrix[row as usize * len..][..len]));
    gathered
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

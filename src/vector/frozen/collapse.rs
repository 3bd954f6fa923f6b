//! From rows to nodes: equal vectors share one original, equal codes share one node of the graph.
//!
//! Equal vectors tear a graph apart (each links to the others and to nothing else), and there is nothing to be won
//! by telling them apart while searching. Crowds of vectors that are nearly equal share a node too ([`crowd`]).

use std::collections::HashMap;

use rayon::prelude::*;

use super::super::distance::Kernels;
use super::super::quantise::{code_len, encode, step_of};
use super::crowd;
use super::originals::inverse_norm;
use super::walk::Codes;

/// The distinct codes and what stands behind them, in order of first appearance.
#[derive(Debug)]
pub(super) struct Collapsed {
    /// `[nodes, code_len]`.
    pub(super) codes: Vec<u8>,
    pub(super) code_len: usize,
    pub(super) step: f32,
    /// Largest norm of the difference between a vector and its own code.
    pub(super) error: f32,
    /// Vectors of each node, as positions in `originals`.
    pub(super) vectors_of: Vec<Vec<u32>>,
    /// Rows of each distinct vector.
    pub(super) rows_of: Vec<Vec<u32>>,
    /// The distinct vectors in 16 bits a component, `[vectors, dim]`.
    pub(super) originals: Vec<i16>,
}

/// Groups rows, given in 16 bits a component, `[rows, dim]`.
pub(super) fn collapse(dim: usize, mut originals: Vec<i16>) -> Collapsed {
    let rows_of = distinct(&mut originals, dim);
    let widened = |original: &[i16]| {
        let norm = inverse_norm(original);
        original
            .iter()
            .map(|&x| f32::from(x) * norm)
            .collect::<Vec<f32>>()
    };
    let step = originals
        .par_chunks_exact(dim.max(1))
        .map(|o| step_of([widened(o).as_slice()]))
        .reduce(|| 0.0, f32::max);
    let step = if step > 0.0 { step } else { 1.0 };
    let len = code_len(dim);
    let mut codes = vec![0; rows_of.len() * len];
    let error = codes
        .par_chunks_exact_mut(len.max(1))
        .zip(originals.par_chunks_exact(dim.max(1)))
        .map(|(code, original)| encode(&widened(original), step, code))
        .reduce(|| 0.0, f32::max);
    let mut vectors_of = distinct(&mut codes, len);
    if len > 0 {
        gather_crowds(&mut codes, len, step, &mut vectors_of);
    }
    Collapsed {
        codes,
        code_len: len,
        step,
        error,
        vectors_of,
        rows_of,
        originals,
    }
}

/// Puts every crowd behind the code that stands for it; the other codes of the crowd go.
fn gather_crowds(codes: &mut Vec<u8>, len: usize, step: f32, vectors_of: &mut Vec<Vec<u32>>) {
    let stands_for = crowd::representatives(
        Codes {
            bytes: codes,
            len,
            kernels: Kernels::active(),
        },
        step,
    );
    // The vectors whose own code it is come first: their place is in the middle.
    for node in 0..vectors_of.len() {
        let middle = stands_for[node] as usize;
        if middle != node {
            let vectors = std::mem::take(&mut vectors_of[node]);
            vectors_of[middle].extend(vectors);
        }
    }
    let kept = vectors_of
        .iter()
        .enumerate()
        .filter(|(_, vectors)| !vectors.is_empty());
    keep(codes, len, kept.map(|(node, _)| node));
    vectors_of.retain(|vectors| !vectors.is_empty());
}

/// Leaves the distinct rows of a matrix in order of first appearance, and answers for each the positions where it stood.
fn distinct<T: bytemuck::NoUninit>(matrix: &mut Vec<T>, len: usize) -> Vec<Vec<u32>> {
    let rows = matrix.chunks_exact(len.max(1));
    let mut places: Vec<Vec<u32>> = Vec::new();
    let mut number_of: HashMap<&[u8], usize> = HashMap::with_capacity(rows.len());
    for (position, row) in (0u32..).zip(rows) {
        let next = places.len();
        let number = *number_of.entry(bytemuck::cast_slice(row)).or_insert(next);
        if number == next {
            places.push(Vec::with_capacity(1));
        }
        places[number].push(position);
    }
    drop(number_of);
    keep(matrix, len, places.iter().map(|same| same[0] as usize));
    places
}

/// Leaves these rows of a matrix; they are named in rising order.
fn keep<T: Copy>(matrix: &mut Vec<T>, len: usize, rows: impl Iterator<Item = usize>) {
    let mut kept = 0;
    for row in rows {
        matrix.copy_within(row * len..(row + 1) * len, kept * len);
        kept += 1;
    }
    matrix.truncate(kept * len);
}

#[cfg(test)]
mod tests {
    use super::super::originals::rounded;
    use super::*;

    #[test]
    fn equal_vectors_share_an_original_and_equal_codes_a_node() {
        let rows: [[f32; 3]; 5] = [
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.999_99, 0.002, 0.0],
            [-0.0, 1.0, -0.0],
        ];
        let collapsed = collapse(3, rows.iter().flat_map(|row| rounded(row)).collect());
        assert_eq!(collapsed.originals.len(), 3 * 3);
        assert_eq!(collapsed.rows_of, [vec![0, 2], vec![1, 4], vec![3]]);
        assert_eq!(collapsed.vectors_of, [vec![0, 2], vec![1]]);
        assert_eq!(collapsed.codes.len(), 2 * collapsed.code_len);
        assert!(collapsed.error < 0.01);
    }
}

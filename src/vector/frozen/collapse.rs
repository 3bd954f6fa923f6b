//! From rows to nodes: equal vectors share one original, equal codes share one node of the graph.
//!
//! Equal vectors tear a graph apart (each links to the others and to nothing else), and there is nothing to be won
//! by telling them apart while searching. Crowds of vectors that are nearly equal share a node too ([`crowd`]).

use std::collections::HashMap;

use rayon::prelude::*;

use super::super::distance::Kernels;
use super::super::quantise::{code_len, encode, step_of};
use super::crowd;
use super::originals::{inverse_norm, rounded};
use super::walk::Codes;
use crate::types::Embedding;

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
    /// The distinct vectors in 16 bits a component.
    pub(super) originals: Vec<Box<[i16]>>,
}

/// Rounds every vector to 16 bits a component, then groups equal ones.
pub(super) fn collapse(dim: usize, rows: &[Embedding]) -> Collapsed {
    let (originals, rows_of) = distinct(rows.par_iter().map(|row| rounded(row.as_slice())).collect());

    let widened = |original: &[i16]| {
        let norm = inverse_norm(original);
        original
            .iter()
            .map(|&x| f32::from(x) * norm)
            .collect::<Vec<f32>>()
    };
    let step = originals
        .par_iter()
        .map(|o| step_of([widened(o).as_slice()]))
        .reduce(|| 0.0, f32::max);
    let step = if step > 0.0 { step } else { 1.0 };
    let coded: Vec<(Box<[u8]>, f32)> = originals
        .par_iter()
        .map(|original| {
            let mut code = vec![0; code_len(dim)].into_boxed_slice();
            let error = encode(&widened(original), step, &mut code);
            (code, error)
        })
        .collect();
    let error = coded.iter().map(|(_, error)| *error).fold(0.0, f32::max);
    let (codes, vectors_of) = distinct(coded.into_iter().map(|(code, _)| code).collect());
    let len = code_len(dim);
    let (codes, vectors_of) = without_crowds(codes.concat(), len, step, vectors_of);
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

/// The codes and the vectors behind them, with every crowd behind the code that stands for it.
fn without_crowds(
    codes: Vec<u8>,
    len: usize,
    step: f32,
    vectors_of: Vec<Vec<u32>>,
) -> (Vec<u8>, Vec<Vec<u32>>) {
    if len == 0 {
        return (codes, vectors_of);
    }
    let stands_for = crowd::representatives(
        Codes {
            bytes: &codes,
            len,
            kernels: Kernels::active(),
        },
        step,
    );
    let mut merged: Vec<Vec<u32>> = vec![Vec::new(); vectors_of.len()];
    // The vectors whose own code it is come first: their place is in the middle.
    for (node, vectors) in (0u32..).zip(&vectors_of) {
        if stands_for[node as usize] == node {
            merged[node as usize].extend(vectors);
        }
    }
    for (node, vectors) in (0u32..).zip(&vectors_of) {
        if stands_for[node as usize] != node {
            merged[stands_for[node as usize] as usize].extend(vectors);
        }
    }
    let kept: Vec<&[u8]> = codes
        .chunks_exact(len)
        .zip(&merged)
        .filter(|(_, vectors)| !vectors.is_empty())
        .map(|(code, _)| code)
        .collect();
    let codes = kept.concat();
    merged.retain(|vectors| !vectors.is_empty());
    (codes, merged)
}

/// The distinct values in order of first appearance, and for each the positions where it stands.
fn distinct<T: BitsKey>(values: Vec<Box<[T]>>) -> (Vec<Box<[T]>>, Vec<Vec<u32>>) {
    let mut places: Vec<Vec<u32>> = Vec::new();
    let mut number_of: HashMap<&[u8], usize> = HashMap::with_capacity(values.len());
    let mut first = Vec::with_capacity(values.len());
    for (position, value) in (0u32..).zip(&values) {
        let next = places.len();
        let number = *number_of.entry(T::bits(value)).or_insert(next);
        if number == next {
            places.push(Vec::with_capacity(1));
        }
        first.push(number == next);
        places[number].push(position);
    }
    drop(number_of);
    let kept = values
        .into_iter()
        .zip(first)
        .filter(|(_, first)| *first)
        .map(|(value, _)| value)
        .collect();
    (kept, places)
}

/// Numbers that are equal exactly when their bytes are.
trait BitsKey: Sized {
    fn bits(values: &[Self]) -> &[u8];
}

impl BitsKey for u8 {
    fn bits(values: &[Self]) -> &[u8] {
        values
    }
}

impl BitsKey for i16 {
    fn bits(values: &[Self]) -> &[u8] {
        bytemuck::cast_slice(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_vectors_share_an_original_and_equal_codes_a_node() {
        let unit = |x: [f32; 3]| Embedding::normalised(&x).expect("a direction");
        let rows = [
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.999_99, 0.002, 0.0],
            [-0.0, 1.0, -0.0],
        ]
        .map(unit);
        let collapsed = collapse(3, &rows);
        assert_eq!(collapsed.rows_of, [vec![0, 2], vec![1, 4], vec![3]]);
        assert_eq!(collapsed.vectors_of, [vec![0, 2], vec![1]]);
        assert_eq!(collapsed.codes.len(), 2 * collapsed.code_len);
        assert!(collapsed.error < 0.01);
    }
}

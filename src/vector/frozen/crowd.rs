//! Crowds: many vectors that are nearly equal stand behind one node.
//!
//! A crowd that is spread over thousands of nodes breaks the graph for everybody: its nodes link to each other and to
//! nothing else, and they fill the beam of every search that passes by. As one node it is a place like any other; a
//! search that ends there compares the query with all of the crowd's originals, so nothing in it is out of reach.

use rayon::prelude::*;

use super::walk::Codes;
use crate::vector::quantise::as_query;

/// Members are at most this far from the vector whose code stands for the crowd: a cosine of .989.
const RADIUS: f32 = 0.15;

/// Crowds are looked for among this many vectors at most, so that looking costs little beside building the graph.
const SAMPLE: usize = 8192;

/// Vectors of the sample, the middle included, that make a crowd.
const CROWD: usize = 12;

/// The node that stands for each node: itself where there is no crowd. `codes` are distinct.
pub(super) fn representatives(codes: Codes<'_>, step: f32) -> Vec<u32> {
    let nodes = codes.bytes.len() / codes.len;
    let all: Vec<u32> = (0..u32::try_from(nodes).unwrap_or(u32::MAX)).collect();
    let near = Near::new(codes, &all, step);
    let sample: Vec<u32> = all
        .iter()
        .copied()
        .step_by(nodes.div_ceil(SAMPLE).max(1))
        .collect();
    let around: Vec<Vec<u32>> = sample.par_iter().map(|&node| near.among(node, &sample)).collect();

    // The middle of the densest crowd first.
    let mut by_density: Vec<usize> = (0..sample.len()).filter(|&i| around[i].len() >= CROWD).collect();
    by_density.sort_by_key(|&i| std::cmp::Reverse(around[i].len()));
    let mut taken = vec![false; nodes];
    let mut middles = Vec::new();
    for i in by_density {
        let free = around[i].iter().filter(|&&node| !taken[node as usize]).count();
        if free >= CROWD && !taken[sample[i] as usize] {
            around[i].iter().for_each(|&node| taken[node as usize] = true);
            middles.push(sample[i]);
        }
    }
    if middles.is_empty() {
        return all;
    }
    let mut stands_for = all.clone();
    stands_for
        .par_iter_mut()
        .for_each(|node| *node = near.closest(*node, &middles).unwrap_or(*node));
    middles
        .iter()
        .for_each(|&middle| stands_for[middle as usize] = middle);
    stands_for
}

/// Which nodes are within [`RADIUS`] of each other.
struct Near<'a> {
    codes: Codes<'a>,
    /// Squared length of each code.
    squares: Vec<i32>,
    /// [`RADIUS`] squared, in steps.
    most: f64,
}

impl<'a> Near<'a> {
    fn new(codes: Codes<'a>, all: &[u32], step: f32) -> Self {
        let squares = all
            .par_iter()
            .map_init(
                || vec![0; codes.len],
                |query, &node| {
                    as_query(codes.code(node), query);
                    codes.kernels.dot_code(codes.code(node), query)
                },
            )
            .collect();
        Self {
            codes,
            squares,
            most: f64::from(RADIUS / step).powi(2),
        }
    }

    /// Squared distances from `node` to `others`, in steps.
    fn distances(&self, node: u32, others: &[u32]) -> impl Iterator<Item = f64> {
        let mut query = vec![0; self.codes.len];
        as_query(self.codes.code(node), &mut query);
        let mut products = vec![0; others.len()];
        self.codes
            .kernels
            .dot_code_rows(self.codes.bytes, others, &query, &mut products);
        let squares = &self.squares;
        let square = move |node: u32| f64::from(squares[node as usize]);
        others
            .iter()
            .zip(products)
            .map(move |(&other, product)| square(node) + square(other) - 2.0 * f64::from(product))
    }

    /// Those of `others` that are near `node`, itself included.
    fn among(&self, node: u32, others: &[u32]) -> Vec<u32> {
        let distances = self.distances(node, others);
        let near = others
            .iter()
            .zip(distances)
            .filter(|&(_, distance)| distance <= self.most);
        near.map(|(&other, _)| other).collect()
    }

    /// The closest of `others` if it is near.
    fn closest(&self, node: u32, others: &[u32]) -> Option<u32> {
        let distances = self.distances(node, others);
        let near = others
            .iter()
            .zip(distances)
            .filter(|&(_, distance)| distance <= self.most);
        near.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(&other, _)| other)
    }
}

//! How far a node's vectors lie from its code: what a search must allow for where one node stands for several vectors.

use rayon::prelude::*;

use super::View;
use crate::vector::quantise::ZERO;

/// How far the vectors of a node lie from its code, where there are several.
#[derive(Debug, Default)]
pub(super) struct Spreads {
    /// Node and largest distance, by rising node.
    of: Vec<(u32, f32)>,
    /// The largest of all.
    pub(super) widest: f32,
}

impl Spreads {
    pub(super) fn of(&self, node: u32) -> Option<f32> {
        let at = self.of.binary_search_by_key(&node, |&(node, _)| node).ok()?;
        Some(self.of[at].1)
    }
}

impl View<'_> {
    /// Measures the nodes that have several vectors.
    pub(super) fn measure_spreads(&self) -> Spreads {
        let nodes = u32::try_from(self.vector_starts.len() - 1).unwrap_or(u32::MAX);
        let of: Vec<(u32, f32)> = (0..nodes)
            .into_par_iter()
            .filter(|&node| self.vectors_of(node).len() > 1)
            .map(|node| {
                let code = self.codes.code(node);
                let distance = |vector: usize| {
                    let norm = self.norms[vector];
                    let off = self.components(vector).zip(code).map(|(at, &level)| {
                        self.originals.component(at) * norm - (f32::from(level) - f32::from(ZERO)) * self.step
                    });
                    off.map(|x| x * x).sum::<f32>().sqrt()
                };
                (node, self.vectors_of(node).map(distance).fold(0.0, f32::max))
            })
            .collect();
        let widest = of.iter().map(|&(_, spread)| spread).fold(0.0, f32::max);
        Spreads { of, widest }
    }
}

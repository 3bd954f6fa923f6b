//! The originals of the vectors in 16 bits a component, which a search compares what its codes chose with.

use half::f16;

use super::super::distance::{Kernels, prefetch};
use super::format::{Block, Section};

/// Largest magnitude of a component.
const LIMIT: f32 = 32_767.0;

/// The direction of a vector as whole numbers, the largest at ±32,767: nothing is cut off, every component is as exact as
/// any other, and the same direction at the same length is rounded the same.
pub(super) fn rounded(vector: &[f32]) -> impl Iterator<Item = i16> {
    let largest = vector.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = if largest > 0.0 { LIMIT / largest } else { 0.0 };
    vector.iter().map(move |x| {
        #[expect(clippy::cast_possible_truncation, reason = "within ±32,767 by the clamp")]
        {
            (x * scale).round().clamp(-LIMIT, LIMIT) as i16
        }
    })
}

/// One over the norm of what [`rounded`] answered.
pub(super) fn inverse_norm(original: &[i16]) -> f32 {
    let square: f64 = original.iter().map(|&x| f64::from(x).powi(2)).sum();
    #[expect(clippy::cast_possible_truncation, reason = "no more than a rounding")]
    {
        (1.0 / square.sqrt()) as f32
    }
}

/// All originals, `[vectors, dimension]`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Originals<'a> {
    /// Half-precision floats: blocks of version 1. A product is off by some 1e-5.
    Half(&'a [f16]),
    /// What [`rounded`] answers: a product is off by some 2e-6.
    Fixed(&'a [i16]),
}

impl<'a> Originals<'a> {
    /// Those of a block.
    pub(super) fn of(block: &'a Block) -> Self {
        match block.version {
            1 => Self::Half(block.section(Section::Originals)),
            _ => Self::Fixed(block.section(Section::Originals)),
        }
    }

    /// Product of the components in a range with as many of a query, in units of the original.
    pub(super) fn dot(self, range: std::ops::Range<usize>, query: &[f32], kernels: Kernels) -> f32 {
        match self {
            Self::Half(all) => kernels.dot_f16(&all[range], query),
            Self::Fixed(all) => kernels.dot_i16(&all[range], query),
        }
    }

    /// One component.
    pub(super) fn component(self, at: usize) -> f32 {
        match self {
            Self::Half(all) => all[at].to_f32(),
            Self::Fixed(all) => f32::from(all[at]),
        }
    }

    /// Asks for the components in a range.
    pub(super) fn prefetch(self, range: std::ops::Range<usize>) {
        match self {
            Self::Half(all) => prefetch(&all[range]),
            Self::Fixed(all) => prefetch(&all[range]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Embedding;
    use crate::vector::tests::random_embeddings;

    #[test]
    fn a_direction_is_kept_to_some_millionths_and_rounded_again_to_the_same() {
        for vector in random_embeddings(50, 100, 4) {
            let original: Vec<i16> = rounded(vector.as_slice()).collect();
            let norm = inverse_norm(&original);
            let back: Vec<f32> = original.iter().map(|&x| f32::from(x) * norm).collect();
            let off: f32 = back
                .iter()
                .zip(vector.as_slice())
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            assert!(off.sqrt() < 1e-4, "off by {}", off.sqrt());
            let back = Embedding::normalised(&back).expect("a direction");
            assert!(rounded(back.as_slice()).eq(original));
        }
        assert!(rounded(&[0.0, -0.0]).eq([0, 0]));
        assert!(rounded(&[-1.0, 0.5, 1e-9]).eq([-32_767, 16_384, 0]));
    }
}

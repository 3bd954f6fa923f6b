//! Unit vectors and the similarity between them.

use std::fmt;
use std::sync::Arc;

/// Embedding of one image: a vector of unit L2 norm, f32, cheap to clone.
///
/// Every component is finite and the norm is 1 within 1e-5; the constructor is the only way in.
#[derive(Clone, PartialEq)]
pub struct Embedding(Arc<[f32]>);

/// Why a vector cannot be an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmbedding {
    /// The vector has no components.
    #[error("the vector is empty")]
    Empty,
    /// A component is NaN or infinite.
    #[error("component {index} is not a finite number")]
    NotFinite {
        /// Position of the first such component.
        index: usize,
    },
    /// The norm is not 1, as that of a stored embedding must be.
    #[error("the stored vector is not of unit length")]
    NotUnit,
    /// The norm is zero (or too small to divide by): the vector has no direction.
    #[error("the vector has no direction: its norm is zero")]
    ZeroNorm,
}

impl Embedding {
    /// Checks `components` and scales them to unit length.
    ///
    /// # Errors
    /// [`InvalidEmbedding`] when the vector is empty, has a component that is not finite, or has no direction.
    pub fn normalised(components: &[f32]) -> Result<Self, InvalidEmbedding> {
        if components.is_empty() {
            return Err(InvalidEmbedding::Empty);
        }
        if let Some(index) = components.iter().position(|x| !x.is_finite()) {
            return Err(InvalidEmbedding::NotFinite { index });
        }
        // f64: a sum of squares of large f32 components would overflow.
        let norm = components
            .iter()
            .map(|&x| f64::from(x) * f64::from(x))
            .sum::<f64>()
            .sqrt();
        if norm < 1e-20 {
            return Err(InvalidEmbedding::ZeroNorm);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a unit vector's components fit f32"
        )]
        Ok(Self(
            components.iter().map(|&x| (f64::from(x) / norm) as f32).collect(),
        ))
    }

    /// Takes back components that were an embedding when they were stored, bit for bit.
    ///
    /// # Errors
    /// [`InvalidEmbedding`] when they cannot have been one: empty, not finite, or not of unit length within 1e-3.
    pub fn from_stored(components: &[f32]) -> Result<Self, InvalidEmbedding> {
        if components.is_empty() {
            return Err(InvalidEmbedding::Empty);
        }
        if let Some(index) = components.iter().position(|x| !x.is_finite()) {
            return Err(InvalidEmbedding::NotFinite { index });
        }
        let squares: f64 = components.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        if (squares - 1.0).abs() > 2e-3 {
            return Err(InvalidEmbedding::NotUnit);
        }
        Ok(Self(components.into()))
    }

    /// Number of components.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.0.len()
    }

    /// The components, `[dim]`.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Cosine similarity, computed in f64 by the plain sum: the reference that kernels are tested against.
    ///
    /// # Panics
    /// In debug builds, when the dimensions differ.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> Similarity {
        debug_assert_eq!(self.dim(), other.dim(), "embeddings of different models");
        let dot: f64 = self
            .0
            .iter()
            .zip(other.0.iter())
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum();
        #[expect(clippy::cast_possible_truncation, reason = "the value is within -1..=1")]
        Similarity::clamped(dot as f32)
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding(dim {})", self.dim())
    }
}

/// Cosine similarity, −1 to 1; greater is closer. Never NaN, so it is totally ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity(f32);

impl Similarity {
    /// The similarity of a vector with itself.
    pub const ONE: Self = Self(1.0);

    /// Clamps a dot product of unit vectors, which rounding may carry past ±1. NaN becomes −1.
    #[must_use]
    pub fn clamped(dot: f32) -> Self {
        if dot.is_nan() {
            Self(-1.0)
        } else {
            Self(dot.clamp(-1.0, 1.0))
        }
    }

    /// The cosine.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl Eq for Similarity {}

impl PartialOrd for Similarity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Similarity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_and_refuses_what_has_no_direction() {
        let e = Embedding::normalised(&[3.0, 4.0]).expect("a plain vector");
        assert_eq!(e.as_slice(), &[0.6, 0.8]);
        let huge = Embedding::normalised(&[f32::MAX, f32::MAX]).expect("no overflow");
        assert!((huge.as_slice()[0] - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
        assert_eq!(Embedding::normalised(&[]), Err(InvalidEmbedding::Empty));
        assert_eq!(Embedding::normalised(&[0.0; 4]), Err(InvalidEmbedding::ZeroNorm));
        assert_eq!(
            Embedding::normalised(&[1.0, f32::NAN]),
            Err(InvalidEmbedding::NotFinite { index: 1 })
        );
    }

    #[test]
    fn similarity_is_clamped_and_ordered() {
        assert_eq!(Similarity::clamped(1.000_001), Similarity::ONE);
        assert_eq!(Similarity::clamped(f32::NAN).get(), -1.0);
        assert!(Similarity::clamped(0.2) < Similarity::clamped(0.3));
    }
}

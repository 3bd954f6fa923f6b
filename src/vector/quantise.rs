//! 8-bit codes of unit vectors.
//!
//! A component `x` is stored as `round(x / step)` plus 128, with one `step` for a whole set of vectors: the largest
//! component over 127, so nothing is cut off. A query has a step of its own. The product of two codes times both
//! steps approximates the cosine; by the Cauchy–Schwarz inequality it is off by at most
//! `‖a − â‖ + ‖b − b̂‖ · ‖â‖`, and the norms of these errors are kept.

use crate::types::Embedding;

/// Bytes that a stored code's length is a multiple of: one cache line, one AVX-512 register.
pub(super) const CODE_ALIGN: usize = 64;

/// Largest magnitude of a code's component.
const LIMIT: f32 = 127.0;

/// The stored byte of a zero component.
pub(super) const ZERO: u8 = 128;

/// Length of the code of a vector with `dim` components: rounded up, the rest holds zeros.
pub(super) fn code_len(dim: usize) -> usize {
    dim.next_multiple_of(CODE_ALIGN)
}

/// The step that covers every component of `vectors`.
pub(super) fn step_of<'a>(vectors: impl IntoIterator<Item = &'a [f32]>) -> f32 {
    let largest = vectors
        .into_iter()
        .flat_map(<[f32]>::iter)
        .fold(0.0f32, |largest, x| largest.max(x.abs()));
    if largest > 0.0 { largest / LIMIT } else { 1.0 }
}

/// Writes the stored code of `vector`, `code_len(dim)` bytes, and answers the norm of its error.
pub(super) fn encode(vector: &[f32], step: f32, code: &mut [u8]) -> f32 {
    code[vector.len()..].fill(ZERO);
    let mut error = 0.0;
    for (&x, byte) in vector.iter().zip(code) {
        let level = (x / step).round().clamp(-LIMIT, LIMIT);
        error += (x - level * step).powi(2);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to 255 by the clamp"
        )]
        {
            *byte = (level + f32::from(ZERO)) as u8;
        }
    }
    error.sqrt()
}

/// The code of a query, with its own step.
#[derive(Debug, Default, Clone)]
pub(super) struct QueryCode {
    /// Components within −127..=127, `code_len(dim)` of them.
    pub(super) code: Vec<i8>,
    /// What one level of a component stands for.
    pub(super) step: f32,
    /// Norm of the error of the code.
    pub(super) error: f32,
}

impl QueryCode {
    /// Encodes `query` in place, keeping the buffer.
    pub(super) fn set(&mut self, query: &Embedding) {
        let query = query.as_slice();
        self.step = step_of([query]);
        self.code.clear();
        self.code.resize(code_len(query.len()), 0);
        // Without a branch or a call, for every search does this: added to this number, whose last place counts ones, a
        // small float is rounded, and the lowest byte of the sum is the whole number.
        const ONES: f32 = 12_582_912.0;
        let scale = 1.0 / self.step;
        let mut errors = [0.0f32; 8];
        for (query, out) in query.chunks(8).zip(self.code.chunks_mut(8)) {
            for ((&x, out), error) in query.iter().zip(out).zip(&mut errors) {
                let sum = (x * scale).clamp(-LIMIT, LIMIT) + ONES;
                *out = sum.to_bits().to_le_bytes()[0].cast_signed();
                *error += (x - (sum - ONES) * self.step).powi(2);
            }
        }
        self.error = errors.iter().sum::<f32>().sqrt();
    }
}

/// Writes a stored code in the form of a query: the same levels as `i8`.
pub(super) fn as_query(stored: &[u8], query: &mut [i8]) {
    for (&s, q) in stored.iter().zip(query) {
        *q = (s ^ ZERO).cast_signed();
    }
}

/// Largest difference between a cosine and the product of two codes with these error norms.
pub(super) fn product_error(query_error: f32, stored_error: f32) -> f32 {
    // ‖â‖ ≤ 1 + ‖a − â‖; the last term covers the rounding of f32 sums.
    query_error + stored_error * (1.0 + query_error) + 1e-5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::distance::Kernels;
    use crate::vector::tests::random_embeddings;

    #[test]
    fn the_stated_error_bounds_every_product() {
        let vectors = random_embeddings(40, 70, 1);
        let step = step_of(vectors.iter().map(Embedding::as_slice));
        let mut query = QueryCode::default();
        let mut code = vec![0; code_len(70)];
        for a in &vectors {
            query.set(a);
            for b in &vectors {
                let error = encode(b.as_slice(), step, &mut code);
                let dot = Kernels::active().dot_code(&code, &query.code) as f32 * step * query.step;
                let off = (dot - a.similarity(b).get()).abs();
                assert!(off <= product_error(query.error, error), "off by {off}");
                assert!(error < 0.05, "an 8-bit code is this close: {error}");
            }
        }
    }

    #[test]
    fn a_query_is_rounded_to_its_levels() {
        let vector = [
            1.0,
            -1.0,
            0.2512,
            -0.002,
            0.0,
            0.496 / 127.0,
            -0.51 / 127.0,
            0.9,
            3e-9,
        ];
        let vector = Embedding::normalised(&vector).expect("a direction");
        let mut query = QueryCode::default();
        query.set(&vector);
        assert_eq!(query.code[..10], [127, -127, 32, 0, 0, 0, -1, 114, 0, 0]);
        assert_eq!(query.code.len(), 64);
        let levels = vector.as_slice().iter().zip(&query.code);
        let error: f32 = levels
            .map(|(x, &q)| (x - f32::from(q) * query.step).powi(2))
            .sum();
        assert!(
            (query.error - error.sqrt()).abs() < 1e-6,
            "{} {error}",
            query.error
        );
    }

    #[test]
    fn a_stored_code_becomes_a_query_with_the_same_levels() {
        let mut query = [0i8; 3];
        as_query(&[1, ZERO, 255], &mut query);
        assert_eq!(query, [-127, 0, 127]);
    }
}

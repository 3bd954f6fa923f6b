//! Portable kernels: the meaning of every function, and the fallback.

use half::{bf16, f16};

use super::{PANEL_CODES, PANEL_GROUP, Table};

pub(super) static TABLE: Table = Table {
    name: "scalar",
    supported: || true,
    dot_f32,
    dot_f16,
    dot_i16,
    dot_bf16,
    dot_code,
    dot_code_rows,
    dot_panel,
    hamming,
    hamming_each,
};

/// Partial sums that are kept apart: enough for the compiler to vectorise, and more exact than one sum.
const LANES: usize = 16;

fn dot_by<A: Copy, B: Copy>(a: &[A], b: &[B], product: impl Fn(A, B) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += product(x[lane], y[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&x, &y)| product(x, y)).sum();
    sums.iter().sum::<f32>() + rest
}

fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    dot_by(a, b, |x, y| x * y)
}

pub(super) fn dot_f16(a: &[f16], b: &[f32]) -> f32 {
    dot_by(a, b, |x, y| x.to_f32() * y)
}

pub(super) fn dot_i16(a: &[i16], b: &[f32]) -> f32 {
    dot_by(a, b, |x, y| f32::from(x) * y)
}

pub(super) fn dot_bf16(a: &[bf16], b: &[bf16]) -> f32 {
    dot_by(a, b, |x, y| x.to_f32() * y.to_f32())
}

pub(super) fn dot_code(stored: &[u8], query: &[i8]) -> i32 {
    stored
        .iter()
        .zip(query)
        .map(|(&s, &q)| (i32::from(s) - 128) * i32::from(q))
        .sum()
}

fn dot_code_rows(stored: &[u8], rows: &[u32], query: &[i8], out: &mut [i32]) {
    let stride = query.len();
    for (&row, out) in rows.iter().zip(out) {
        let at = row as usize * stride;
        *out = dot_code(&stored[at..at + stride], query);
    }
}

fn dot_panel(panel: &[u8], queries: &[i8], out: &mut [[i32; PANEL_CODES]]) {
    let dim = panel.len() / PANEL_CODES;
    for (q, sums) in out.iter_mut().enumerate() {
        *sums = [0; PANEL_CODES];
        let query = &queries[q * dim..(q + 1) * dim];
        for (fours, group) in panel
            .chunks_exact(PANEL_CODES * PANEL_GROUP)
            .zip(query.chunks_exact(PANEL_GROUP))
        {
            for (sum, four) in sums.iter_mut().zip(fours.chunks_exact(PANEL_GROUP)) {
                *sum += dot_code(four, group);
            }
        }
    }
}

pub(super) fn hamming(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    a.as_chunks::<8>()
        .0
        .iter()
        .zip(b.as_chunks::<8>().0)
        .map(|(x, y)| (u64::from_ne_bytes(*x) ^ u64::from_ne_bytes(*y)).count_ones())
        .sum()
}

pub(super) fn hamming_each(query: &[u8; 32], hashes: &[[u8; 32]], out: &mut [u16]) {
    for (hash, out) in hashes.iter().zip(out) {
        *out = bits(hamming(query, hash));
    }
}

/// A distance of 256-bit hashes, which is at most 256.
pub(super) fn bits(distance: u32) -> u16 {
    u16::try_from(distance).unwrap_or(u16::MAX)
}

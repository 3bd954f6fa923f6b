//! NEON, which every aarch64 processor has.

use std::arch::aarch64::*;

use half::{bf16, f16};

use super::{PANEL_CODES, Table, scalar};

pub(super) static TABLE: Table = Table {
    name: "neon",
    supported: || std::arch::is_aarch64_feature_detected!("neon"),
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

#[target_feature(enable = "neon")]
fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 16 * 16;
    let mut sums = [vdupq_n_f32(0.0); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 16 <= n, so 4 lanes at i + 4 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    vld1q_f32(a.as_ptr().add(i + 4 * lane)),
                    vld1q_f32(b.as_ptr().add(i + 4 * lane)),
                )
            };
            *sum = vfmaq_f32(*sum, x, y);
        }
        i += 16;
    }
    let rest: f32 = a[whole..n].iter().zip(&b[whole..n]).map(|(x, y)| x * y).sum();
    sum_f32(sums) + rest
}

#[target_feature(enable = "neon")]
fn sum_f32(sums: [float32x4_t; 4]) -> f32 {
    vaddvq_f32(vaddq_f32(
        vaddq_f32(sums[0], sums[1]),
        vaddq_f32(sums[2], sums[3]),
    ))
}

/// Widens four finite half-precision numbers by moving their bits and scaling by 2^112, the difference of the two
/// formats' exponent biases; subnormal numbers come out right.
#[target_feature(enable = "neon")]
fn widen_f16(bits: uint16x4_t) -> float32x4_t {
    let bits = vmovl_u16(bits);
    let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
    let magnitude = vshlq_n_u32::<13>(vandq_u32(bits, vdupq_n_u32(0x7fff)));
    let scaled = vmulq_n_f32(
        vreinterpretq_f32_u32(magnitude),
        f32::from_bits((127 + 112) << 23),
    );
    vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), sign))
}

#[target_feature(enable = "neon")]
fn dot_f16(a: &[f16], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 16 * 16;
    let mut sums = [vdupq_n_f32(0.0); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 16 <= n, so 4 lanes at i + 4 · lane are inside both slices; f16 is 16 bits.
            let (x, y) = unsafe {
                (
                    vld1_u16(a.as_ptr().add(i + 4 * lane).cast()),
                    vld1q_f32(b.as_ptr().add(i + 4 * lane)),
                )
            };
            *sum = vfmaq_f32(*sum, widen_f16(x), y);
        }
        i += 16;
    }
    sum_f32(sums) + scalar::dot_f16(&a[whole..n], &b[whole..n])
}

#[target_feature(enable = "neon")]
fn dot_i16(a: &[i16], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 16 * 16;
    let mut sums = [vdupq_n_f32(0.0); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 16 <= n, so 4 lanes at i + 4 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    vld1_s16(a.as_ptr().add(i + 4 * lane)),
                    vld1q_f32(b.as_ptr().add(i + 4 * lane)),
                )
            };
            *sum = vfmaq_f32(*sum, vcvtq_f32_s32(vmovl_s16(x)), y);
        }
        i += 16;
    }
    sum_f32(sums) + scalar::dot_i16(&a[whole..n], &b[whole..n])
}

/// A bfloat16 is the upper half of an f32.
#[target_feature(enable = "neon")]
fn dot_bf16(a: &[bf16], b: &[bf16]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 16 * 16;
    let mut sums = [vdupq_n_f32(0.0); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 16 <= n, so 4 lanes at i + 4 · lane are inside both slices; bf16 is 16 bits.
            let (x, y) = unsafe {
                (
                    vld1_u16(a.as_ptr().add(i + 4 * lane).cast()),
                    vld1_u16(b.as_ptr().add(i + 4 * lane).cast()),
                )
            };
            let x = vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(x)));
            let y = vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(y)));
            *sum = vfmaq_f32(*sum, x, y);
        }
        i += 16;
    }
    sum_f32(sums) + scalar::dot_bf16(&a[whole..n], &b[whole..n])
}

/// Adds the products of 16 stored and 16 query components to four sums, by fours of neighbours.
#[target_feature(enable = "neon")]
fn add_products(sum: int32x4_t, stored: uint8x16_t, query: int8x16_t) -> int32x4_t {
    let stored = vreinterpretq_s8_u8(veorq_u8(stored, vdupq_n_u8(128)));
    let low = vmull_s8(vget_low_s8(stored), vget_low_s8(query));
    let high = vmull_s8(vget_high_s8(stored), vget_high_s8(query));
    vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
}

#[target_feature(enable = "neon")]
fn dot_code(stored: &[u8], query: &[i8]) -> i32 {
    let n = stored.len().min(query.len());
    let whole = n / 16 * 16;
    let mut sum = vdupq_n_s32(0);
    let mut i = 0;
    while i < whole {
        // SAFETY: i + 16 <= n.
        let (s, q) = unsafe { (vld1q_u8(stored.as_ptr().add(i)), vld1q_s8(query.as_ptr().add(i))) };
        sum = add_products(sum, s, q);
        i += 16;
    }
    vaddvq_s32(sum) + scalar::dot_code(&stored[whole..n], &query[whole..n])
}

#[target_feature(enable = "neon")]
fn dot_code_rows(stored: &[u8], rows: &[u32], query: &[i8], out: &mut [i32]) {
    let stride = query.len();
    for (&row, out) in rows.iter().zip(out) {
        let at = row as usize * stride;
        *out = dot_code(&stored[at..at + stride], query);
    }
}

#[target_feature(enable = "neon")]
fn dot_panel(panel: &[u8], queries: &[i8], out: &mut [[i32; PANEL_CODES]]) {
    let dim = panel.len() / PANEL_CODES;
    for (q, row) in out.iter_mut().enumerate() {
        let query = &queries[q * dim..(q + 1) * dim];
        let mut sums = [vdupq_n_s32(0); 4];
        for (codes, four) in panel.as_chunks::<64>().0.iter().zip(query.as_chunks::<4>().0) {
            let four = i32::from_ne_bytes(four.map(i8::cast_unsigned));
            let four = vreinterpretq_s8_s32(vdupq_n_s32(four));
            for (quarter, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a group of a panel is 64 bytes.
                let codes = unsafe { vld1q_u8(codes.as_ptr().add(16 * quarter)) };
                *sum = add_products(*sum, codes, four);
            }
        }
        for (quarter, sum) in sums.into_iter().enumerate() {
            // SAFETY: an output row is sixteen i32.
            unsafe { vst1q_s32(row.as_mut_ptr().add(4 * quarter), sum) };
        }
    }
}

#[target_feature(enable = "neon")]
fn hamming(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    // SAFETY: both arrays are 32 bytes.
    let parts = unsafe {
        [
            veorq_u8(vld1q_u8(a.as_ptr()), vld1q_u8(b.as_ptr())),
            veorq_u8(vld1q_u8(a.as_ptr().add(16)), vld1q_u8(b.as_ptr().add(16))),
        ]
    };
    u32::from(vaddlvq_u8(vcntq_u8(parts[0])) + vaddlvq_u8(vcntq_u8(parts[1])))
}

#[target_feature(enable = "neon")]
fn hamming_each(query: &[u8; 32], hashes: &[[u8; 32]], out: &mut [u16]) {
    for (hash, out) in hashes.iter().zip(out) {
        *out = scalar::bits(hamming(query, hash));
    }
}

//! AVX2 with FMA and F16C.
//!
//! Code products without VNNI: both codes are split into magnitude and sign, so that the 16-bit sums of
//! `maddubs` (at most 2 · 128 · 127) do not saturate.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{PANEL_CODES, Table, scalar};

pub(super) static TABLE: Table = Table {
    name: "avx2",
    supported: || {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("popcnt")
    },
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

#[target_feature(enable = "avx2,fma")]
fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 32 * 32;
    let mut sums = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 32 <= n, so 8 lanes at i + 8 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    _mm256_loadu_ps(a.as_ptr().add(i + 8 * lane)),
                    _mm256_loadu_ps(b.as_ptr().add(i + 8 * lane)),
                )
            };
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
        i += 32;
    }
    let rest: f32 = a[whole..n].iter().zip(&b[whole..n]).map(|(x, y)| x * y).sum();
    sum_f32(sums) + rest
}

#[target_feature(enable = "avx2")]
fn sum_f32(sums: [__m256; 4]) -> f32 {
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot_f16(a: &[f16], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 32 * 32;
    let mut sums = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 32 <= n, so 8 lanes at i + 8 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    _mm_loadu_si128(a.as_ptr().add(i + 8 * lane).cast()),
                    _mm256_loadu_ps(b.as_ptr().add(i + 8 * lane)),
                )
            };
            *sum = _mm256_fmadd_ps(_mm256_cvtph_ps(x), y, *sum);
        }
        i += 32;
    }
    sum_f32(sums) + scalar::dot_f16(&a[whole..n], &b[whole..n])
}

#[target_feature(enable = "avx2,fma")]
fn dot_i16(a: &[i16], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 32 * 32;
    let mut sums = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 32 <= n, so 8 lanes at i + 8 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    _mm_loadu_si128(a.as_ptr().add(i + 8 * lane).cast()),
                    _mm256_loadu_ps(b.as_ptr().add(i + 8 * lane)),
                )
            };
            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(x)), y, *sum);
        }
        i += 32;
    }
    sum_f32(sums) + scalar::dot_i16(&a[whole..n], &b[whole..n])
}

/// A bfloat16 is the upper half of an f32.
#[target_feature(enable = "avx2,fma")]
fn dot_bf16(a: &[bf16], b: &[bf16]) -> f32 {
    let n = a.len().min(b.len());
    let whole = n / 32 * 32;
    let mut sums = [_mm256_setzero_ps(); 4];
    let mut i = 0;
    while i < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 32 <= n, so 8 lanes at i + 8 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    _mm_loadu_si128(a.as_ptr().add(i + 8 * lane).cast()),
                    _mm_loadu_si128(b.as_ptr().add(i + 8 * lane).cast()),
                )
            };
            let x = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x)));
            let y = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(y)));
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
        i += 32;
    }
    sum_f32(sums) + scalar::dot_bf16(&a[whole..n], &b[whole..n])
}

/// Adds the products of 32 stored and 32 query components to eight sums.
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, stored: __m256i, query: __m256i) -> __m256i {
    let stored = _mm256_xor_si256(stored, _mm256_set1_epi8(-128));
    let products = _mm256_maddubs_epi16(_mm256_abs_epi8(stored), _mm256_sign_epi8(query, stored));
    _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)))
}

#[target_feature(enable = "avx2")]
fn sum_i32(sum: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}

#[target_feature(enable = "avx2")]
fn dot_code(stored: &[u8], query: &[i8]) -> i32 {
    let n = stored.len().min(query.len());
    let whole = n / 32 * 32;
    let mut sums = [_mm256_setzero_si256(); 2];
    let mut i = 0;
    while i < whole {
        // SAFETY: i + 32 <= n.
        let (s, q) = unsafe {
            (
                _mm256_loadu_si256(stored.as_ptr().add(i).cast()),
                _mm256_loadu_si256(query.as_ptr().add(i).cast()),
            )
        };
        let lane = i / 32 % 2;
        sums[lane] = add_products(sums[lane], s, q);
        i += 32;
    }
    sum_i32(_mm256_add_epi32(sums[0], sums[1])) + scalar::dot_code(&stored[whole..n], &query[whole..n])
}

#[target_feature(enable = "avx2")]
fn dot_code_rows(stored: &[u8], rows: &[u32], query: &[i8], out: &mut [i32]) {
    let stride = query.len();
    for (&row, out) in rows.iter().zip(out) {
        let at = row as usize * stride;
        *out = dot_code(&stored[at..at + stride], query);
    }
}

#[target_feature(enable = "avx2")]
fn dot_panel(panel: &[u8], queries: &[i8], out: &mut [[i32; PANEL_CODES]]) {
    let dim = panel.len() / PANEL_CODES;
    for (q, row) in out.iter_mut().enumerate() {
        let query = &queries[q * dim..(q + 1) * dim];
        let mut sums = [_mm256_setzero_si256(); 2];
        for (codes, four) in panel.as_chunks::<64>().0.iter().zip(query.as_chunks::<4>().0) {
            let four = _mm256_set1_epi32(i32::from_ne_bytes(four.map(i8::cast_unsigned)));
            for (half, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a group of a panel is 64 bytes.
                let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().add(32 * half).cast()) };
                *sum = add_products(*sum, codes, four);
            }
        }
        // SAFETY: an output row is sixteen i32.
        unsafe {
            _mm256_storeu_si256(row.as_mut_ptr().cast(), sums[0]);
            _mm256_storeu_si256(row.as_mut_ptr().add(8).cast(), sums[1]);
        }
    }
}

/// Four population counts of 64 bits: what AVX2 has no instruction for.
#[target_feature(enable = "avx2,popcnt")]
fn hamming(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    scalar::hamming(a, b)
}

#[target_feature(enable = "avx2,popcnt")]
fn hamming_each(query: &[u8; 32], hashes: &[[u8; 32]], out: &mut [u16]) {
    for (hash, out) in hashes.iter().zip(out) {
        *out = scalar::bits(hamming(query, hash));
    }
}

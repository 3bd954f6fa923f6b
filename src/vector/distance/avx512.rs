//! AVX-512 with VNNI: 64 code components an instruction.
//!
//! The functions are safe to call from code that has the same features; others reach them through the table, whose
//! contract (see [`Table`]) makes them sound. Loads past the end of a slice are masked.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{PANEL_CODES, Table, scalar};

pub(super) static TABLE: Table = BASE;

pub(super) static TABLE_BF16: Table = Table {
    name: "avx512-bf16",
    supported: || supported() && is_x86_feature_detected!("avx512bf16"),
    dot_bf16: dot_bf16_native,
    ..BASE
};

const BASE: Table = Table {
    name: "avx512",
    supported,
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

fn supported() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vpopcntdq")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt")
}

/// Mask of the `left` lowest of 16 lanes.
fn lanes16(left: usize) -> u16 {
    if left >= 16 { u16::MAX } else { (1u16 << left) - 1 }
}

/// Mask of the `left` lowest of 64 lanes.
fn lanes64(left: usize) -> u64 {
    if left >= 64 { u64::MAX } else { (1u64 << left) - 1 }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let mut sums = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 64 <= n {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 64 <= n, so 16 lanes at i + 16 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    _mm512_loadu_ps(a.add(i + 16 * lane)),
                    _mm512_loadu_ps(b.add(i + 16 * lane)),
                )
            };
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
        i += 64;
    }
    while i < n {
        let mask = lanes16(n - i);
        // SAFETY: i < n, and the mask leaves out the lanes past n.
        let (x, y) = unsafe {
            (
                _mm512_maskz_loadu_ps(mask, a.add(i)),
                _mm512_maskz_loadu_ps(mask, b.add(i)),
            )
        };
        sums[0] = _mm512_fmadd_ps(x, y, sums[0]);
        i += 16;
    }
    sum_f32(sums)
}

#[target_feature(enable = "avx512f")]
fn sum_f32(sums: [__m512; 4]) -> f32 {
    _mm512_reduce_add_ps(_mm512_add_ps(
        _mm512_add_ps(sums[0], sums[1]),
        _mm512_add_ps(sums[2], sums[3]),
    ))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn dot_f16(a: &[f16], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (a.as_ptr().cast::<i16>(), b.as_ptr());
    let mut sums = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 64 <= n {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 64 <= n, so 16 lanes at i + 16 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    _mm256_loadu_si256(a.add(i + 16 * lane).cast()),
                    _mm512_loadu_ps(b.add(i + 16 * lane)),
                )
            };
            *sum = _mm512_fmadd_ps(_mm512_cvtph_ps(x), y, *sum);
        }
        i += 64;
    }
    while i < n {
        let mask = lanes16(n - i);
        // SAFETY: i < n, and the mask leaves out the lanes past n.
        let (x, y) = unsafe {
            (
                _mm256_maskz_loadu_epi16(mask, a.add(i)),
                _mm512_maskz_loadu_ps(mask, b.add(i)),
            )
        };
        sums[0] = _mm512_fmadd_ps(_mm512_cvtph_ps(x), y, sums[0]);
        i += 16;
    }
    sum_f32(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn dot_i16(a: &[i16], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (a.as_ptr(), b.as_ptr());
    let mut sums = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 64 <= n {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 64 <= n, so 16 lanes at i + 16 · lane are inside both slices.
            let (x, y) = unsafe {
                (
                    _mm256_loadu_si256(a.add(i + 16 * lane).cast()),
                    _mm512_loadu_ps(b.add(i + 16 * lane)),
                )
            };
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(x)), y, *sum);
        }
        i += 64;
    }
    while i < n {
        let mask = lanes16(n - i);
        // SAFETY: i < n, and the mask leaves out the lanes past n.
        let (x, y) = unsafe {
            (
                _mm256_maskz_loadu_epi16(mask, a.add(i)),
                _mm512_maskz_loadu_ps(mask, b.add(i)),
            )
        };
        sums[0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(x)), y, sums[0]);
        i += 16;
    }
    sum_f32(sums)
}

/// A bfloat16 is the upper half of an f32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn dot_bf16(a: &[bf16], b: &[bf16]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (a.as_ptr().cast::<i16>(), b.as_ptr().cast::<i16>());
    let mut sums = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i < n {
        let mask = lanes16(n - i);
        // SAFETY: i < n, and the mask leaves out the lanes past n.
        let (x, y) = unsafe {
            (
                _mm256_maskz_loadu_epi16(mask, a.add(i)),
                _mm256_maskz_loadu_epi16(mask, b.add(i)),
            )
        };
        let x = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)));
        let y = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(y)));
        let lane = i / 16 % 4;
        sums[lane] = _mm512_fmadd_ps(x, y, sums[lane]);
        i += 16;
    }
    sum_f32(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn dot_bf16_native(a: &[bf16], b: &[bf16]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (a.as_ptr().cast::<i16>(), b.as_ptr().cast::<i16>());
    let mut sums = [_mm512_setzero_ps(); 4];
    let mut i = 0;
    while i + 128 <= n {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: i + 128 <= n, so 32 lanes at i + 32 · lane are inside both slices; __m512bh is 32 bfloat16 of 16 bits
            // each, for which every bit pattern is valid.
            let (x, y): (__m512bh, __m512bh) = unsafe {
                (
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_epi16(a.add(i + 32 * lane))),
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_epi16(b.add(i + 32 * lane))),
                )
            };
            *sum = _mm512_dpbf16_ps(*sum, x, y);
        }
        i += 128;
    }
    while i < n {
        let mask = if n - i >= 32 {
            u32::MAX
        } else {
            (1u32 << (n - i)) - 1
        };
        // SAFETY: i < n, and the mask leaves out the lanes past n; __m512bh as above.
        let (x, y): (__m512bh, __m512bh) = unsafe {
            (
                std::mem::transmute::<__m512i, __m512bh>(_mm512_maskz_loadu_epi16(mask, a.add(i))),
                std::mem::transmute::<__m512i, __m512bh>(_mm512_maskz_loadu_epi16(mask, b.add(i))),
            )
        };
        sums[0] = _mm512_dpbf16_ps(sums[0], x, y);
        i += 32;
    }
    sum_f32(sums)
}

/// `128 · Σ query`: what the offset of stored codes adds to a product.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn offset(query: &[i8]) -> i32 {
    let n = query.len();
    let mut sum = _mm512_setzero_si512();
    let mut i = 0;
    while i < n {
        // SAFETY: i < n, and the mask leaves out the lanes past n.
        let q = unsafe { _mm512_maskz_loadu_epi8(lanes64(n - i), query.as_ptr().add(i)) };
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-128), q);
        i += 64;
    }
    _mm512_reduce_add_epi32(sum)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_code(stored: &[u8], query: &[i8]) -> i32 {
    let n = query.len().min(stored.len());
    let (stored, query) = (stored.as_ptr(), query.as_ptr());
    let zero = _mm512_set1_epi8(-128);
    // Sums of the products, and of what the offset of stored codes adds to them.
    let (mut sums, mut offsets) = ([_mm512_setzero_si512(); 2], [_mm512_setzero_si512(); 2]);
    let mut i = 0;
    while i + 128 <= n {
        for lane in 0..2 {
            // SAFETY: i + 128 <= n, so 64 bytes at i + 64 · lane are inside both slices.
            let (s, q) = unsafe {
                (
                    _mm512_loadu_si512(stored.add(i + 64 * lane).cast()),
                    _mm512_loadu_si512(query.add(i + 64 * lane).cast()),
                )
            };
            sums[lane] = _mm512_dpbusd_epi32(sums[lane], s, q);
            offsets[lane] = _mm512_dpbusd_epi32(offsets[lane], zero, q);
        }
        i += 128;
    }
    while i < n {
        let mask = lanes64(n - i);
        // SAFETY: i < n, and the mask leaves out the lanes past n.
        let (s, q) = unsafe {
            (
                _mm512_maskz_loadu_epi8(mask, stored.add(i).cast()),
                _mm512_maskz_loadu_epi8(mask, query.add(i)),
            )
        };
        sums[0] = _mm512_dpbusd_epi32(sums[0], s, q);
        offsets[0] = _mm512_dpbusd_epi32(offsets[0], zero, q);
        i += 64;
    }
    let sum = _mm512_add_epi32(sums[0], sums[1]);
    let offset = _mm512_add_epi32(offsets[0], offsets[1]);
    _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, offset))
}

/// Four rows at a time: the query is loaded once for them, and their four sums are reduced together.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2")]
fn dot_code_rows(stored: &[u8], rows: &[u32], query: &[i8], out: &mut [i32]) {
    let stride = query.len();
    let offset = offset(query);
    let (fours, rest) = rows.as_chunks::<4>();
    let (out_fours, out_rest) = out.as_chunks_mut::<4>();
    for (four, out) in fours.iter().zip(out_fours) {
        // SAFETY: every row is within `stored` (contract of the table), so `stride` bytes are readable at each.
        let starts = four.map(|row| unsafe { stored.as_ptr().add(row as usize * stride) });
        let mut sums = [_mm512_setzero_si512(); 4];
        let mut i = 0;
        while i + 64 <= stride {
            // SAFETY: i + 64 <= stride.
            let q = unsafe { _mm512_loadu_si512(query.as_ptr().add(i).cast()) };
            for (sum, start) in sums.iter_mut().zip(starts) {
                // SAFETY: i + 64 <= stride, which is readable at each start.
                let s = unsafe { _mm512_loadu_si512(start.add(i).cast()) };
                *sum = _mm512_dpbusd_epi32(*sum, s, q);
            }
            i += 64;
        }
        if i < stride {
            let mask = lanes64(stride - i);
            // SAFETY: i < stride, and the mask leaves out the lanes past the row's end.
            let q = unsafe { _mm512_maskz_loadu_epi8(mask, query.as_ptr().add(i)) };
            for (sum, start) in sums.iter_mut().zip(starts) {
                // SAFETY: as above.
                let s = unsafe { _mm512_maskz_loadu_epi8(mask, start.add(i).cast()) };
                *sum = _mm512_dpbusd_epi32(*sum, s, q);
            }
        }
        let [a, b, c, d] = sums
            .map(|sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)));
        let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let totals = _mm_add_epi32(
            _mm256_castsi256_si128(pairs),
            _mm256_extracti128_si256::<1>(pairs),
        );
        let totals = _mm_sub_epi32(totals, _mm_set1_epi32(offset));
        // SAFETY: `out` is four i32.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), totals) };
    }
    for (&row, out) in rest.iter().zip(out_rest) {
        *out = dot_code(&stored[row as usize * stride..][..stride], query);
    }
}

/// One panel against eight queries at a time: eight accumulators of sixteen sums, no horizontal additions.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_panel(panel: &[u8], queries: &[i8], out: &mut [[i32; PANEL_CODES]]) {
    let dim = panel.len() / PANEL_CODES;
    let mut done = 0;
    while done + 8 <= out.len() {
        panel_block::<8>(panel, &queries[done * dim..], dim, &mut out[done..]);
        done += 8;
    }
    while done < out.len() {
        panel_block::<1>(panel, &queries[done * dim..], dim, &mut out[done..]);
        done += 1;
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn panel_block<const Q: usize>(panel: &[u8], queries: &[i8], dim: usize, out: &mut [[i32; PANEL_CODES]]) {
    assert!(queries.len() >= Q * dim && out.len() >= Q, "a block of queries");
    let mut sums = [_mm512_setzero_si512(); Q];
    let mut offsets = [_mm512_setzero_si512(); Q];
    let half = _mm512_set1_epi8(-128);
    for group in 0..dim / 4 {
        // SAFETY: a panel holds 64 bytes for each of its dim / 4 groups.
        let codes = unsafe { _mm512_loadu_si512(panel.as_ptr().add(group * 64).cast()) };
        for (q, sum) in sums.iter_mut().enumerate() {
            // SAFETY: query q has dim components, of which four start at 4 · group.
            let four = unsafe {
                queries
                    .as_ptr()
                    .add(q * dim + group * 4)
                    .cast::<i32>()
                    .read_unaligned()
            };
            let four = _mm512_set1_epi32(four);
            *sum = _mm512_dpbusd_epi32(*sum, codes, four);
        }
    }
    for (q, offset) in offsets.iter_mut().enumerate() {
        for group in 0..dim / 64 {
            // SAFETY: query q has dim components, of which 64 start at 64 · group.
            let part = unsafe { _mm512_loadu_si512(queries.as_ptr().add(q * dim + group * 64).cast()) };
            *offset = _mm512_dpbusd_epi32(*offset, half, part);
        }
        let rest = dim % 64;
        if rest > 0 {
            // SAFETY: the mask leaves out what lies past the query's end.
            let part =
                unsafe { _mm512_maskz_loadu_epi8(lanes64(rest), queries.as_ptr().add(q * dim + dim - rest)) };
            *offset = _mm512_dpbusd_epi32(*offset, half, part);
        }
    }
    for ((sum, offset), out) in sums.into_iter().zip(offsets).zip(out) {
        let total = _mm512_sub_epi32(sum, _mm512_set1_epi32(_mm512_reduce_add_epi32(offset)));
        // SAFETY: an output row is sixteen i32.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), total) };
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq,avx2")]
fn hamming(a: &[u8; 32], b: &[u8; 32]) -> u32 {
    // SAFETY: both arrays are 32 bytes.
    let (x, y) = unsafe {
        (
            _mm256_loadu_si256(a.as_ptr().cast()),
            _mm256_loadu_si256(b.as_ptr().cast()),
        )
    };
    let counts = _mm256_popcnt_epi64(_mm256_xor_si256(x, y));
    let pair = _mm_add_epi64(
        _mm256_castsi256_si128(counts),
        _mm256_extracti128_si256::<1>(counts),
    );
    let total = _mm_add_epi64(pair, _mm_unpackhi_epi64(pair, pair));
    _mm_cvtsi128_si32(total).cast_unsigned()
}

#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq,avx2")]
fn hamming_each(query: &[u8; 32], hashes: &[[u8; 32]], out: &mut [u16]) {
    for (hash, out) in hashes.iter().zip(out) {
        *out = scalar::bits(hamming(query, hash));
    }
}

//! Time of one distance, one thread, vectors in the first-level cache.
//!
//! Measures: every kernel of every instruction set of this machine, dimensions 256 and 512; the product of one query with
//! 32 gathered codes, and of one panel with eight queries, as throughput in distances. Real searches wait for memory
//! more than for arithmetic: see `benches/index.rs` for those.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doppel::vector::distance::{Kernels, PANEL_CODES, pack_panel};
use half::{bf16, f16};
use std::hint::black_box;

fn floats(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 7919 % 1009) as f32 / 1009.0 - 0.5) * 0.2)
        .collect()
}

fn stored(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7919 % 255 + 1) as u8).collect()
}

fn query(n: usize) -> Vec<i8> {
    stored(n).into_iter().map(|x| (x ^ 128).cast_signed()).collect()
}

fn single(criterion: &mut Criterion) {
    let hash = [0x5a; 32];
    for kernels in Kernels::supported() {
        let mut group = criterion.benchmark_group(format!("one distance, {}", kernels.name()));
        for dim in [256, 512] {
            let a = floats(dim);
            let b: Vec<f32> = a.iter().rev().copied().collect();
            let half: Vec<f16> = a.iter().map(|&x| f16::from_f32(x)).collect();
            let [brain_a, brain_b] =
                [&a, &b].map(|v| v.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>());
            let (code, code_query) = (stored(dim), query(dim));
            group.bench_function(BenchmarkId::new("f32", dim), |bencher| {
                bencher.iter(|| kernels.dot_f32(black_box(&a), black_box(&b)));
            });
            group.bench_function(BenchmarkId::new("f16", dim), |bencher| {
                bencher.iter(|| kernels.dot_f16(black_box(&half), black_box(&b)));
            });
            let whole: Vec<i16> = a.iter().map(|x| (x * 32_767.0) as i16).collect();
            group.bench_function(BenchmarkId::new("i16", dim), |bencher| {
                bencher.iter(|| kernels.dot_i16(black_box(&whole), black_box(&b)));
            });
            group.bench_function(BenchmarkId::new("bf16", dim), |bencher| {
                bencher.iter(|| kernels.dot_bf16(black_box(&brain_a), black_box(&brain_b)));
            });
            group.bench_function(BenchmarkId::new("u8·i8", dim), |bencher| {
                bencher.iter(|| kernels.dot_code(black_box(&code), black_box(&code_query)));
            });
        }
        group.bench_function("hamming 256", |bencher| {
            bencher.iter(|| kernels.hamming(black_box(&hash), black_box(&hash)));
        });
    }
}

fn many(criterion: &mut Criterion) {
    const ROWS: usize = 32;
    for kernels in Kernels::supported() {
        let mut group = criterion.benchmark_group(format!("many distances, {}", kernels.name()));
        for dim in [256, 512] {
            let matrix = stored(dim * ROWS);
            let one = query(dim);
            let rows: Vec<u32> = (0..ROWS as u32).rev().collect();
            let mut out = vec![0; ROWS];
            group.throughput(Throughput::Elements(ROWS as u64));
            group.bench_function(BenchmarkId::new("32 gathered codes", dim), |bencher| {
                bencher.iter(|| kernels.dot_code_rows(black_box(&matrix), &rows, black_box(&one), &mut out));
            });
            let mut panel = vec![0; dim * PANEL_CODES];
            pack_panel(&matrix, dim, &mut panel);
            let eight = query(dim * 8);
            let mut products = vec![[0; PANEL_CODES]; 8];
            group.throughput(Throughput::Elements(8 * PANEL_CODES as u64));
            group.bench_function(BenchmarkId::new("panel × 8 queries", dim), |bencher| {
                bencher.iter(|| kernels.dot_panel(black_box(&panel), black_box(&eight), &mut products));
            });
        }
        let hashes = vec![[0x77; 32]; 1000];
        let mut out = vec![0; hashes.len()];
        group.throughput(Throughput::Elements(hashes.len() as u64));
        group.bench_function("hamming 256", |bencher| {
            bencher.iter(|| kernels.hamming_each(black_box(&[1; 32]), black_box(&hashes), &mut out));
        });
    }
}

/// A thousand multiplications that wait for each other take 3,000 cycles on every x86 processor of the last ten years: what a
/// cycle takes here and now.
fn clock(criterion: &mut Criterion) {
    criterion.bench_function("clock, 3000 cycles", |bencher| {
        bencher.iter(|| (0..1000).fold(black_box(3u64), |x, _| x.wrapping_mul(x)));
    });
}

criterion_group!(benches, clock, single, many);
criterion_main!(benches);

//! Time of searching, joining and building, one thread.
//!
//! Measures, on 20,000 vectors of dimension 256 around 100 centres (made here; real embeddings are less regular): top-10
//! and range search of every index kind, the self-join, and building. The recall of each search against the exact one
//! is printed before its time: a speed without its recall says nothing. Peers are measured in `docs/benchmarks.md`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doppel::types::{Embedding, Similarity};
use doppel::vector::VectorIndex;
use doppel::vector::flat::FlatIndex;
use doppel::vector::frozen::{BuildParams, FrozenIndex, SearchParams};
use doppel::vector::growing::{GrowingIndex, GrowingParams};
use doppel::vector::join::self_join;

const DIM: usize = 256;

/// Normal enough numbers from a linear congruential generator.
fn vectors(n: usize, seed: u64) -> Vec<Embedding> {
    let mut state = 7_u64;
    let mut number = |stream: u64| {
        let mut sum = 0.0;
        for _ in 0..4 {
            state = (state ^ stream)
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
        }
        sum
    };
    let centres: Vec<Vec<f32>> = (0..100).map(|_| (0..DIM).map(|_| number(0)).collect()).collect();
    (0..n)
        .map(|i| {
            let centre = &centres[i * 31 % centres.len()];
            let noisy: Vec<f32> = centre.iter().map(|c| c + 0.8 * number(seed)).collect();
            Embedding::normalised(&noisy).expect("a direction")
        })
        .collect()
}

fn recall(index: &dyn VectorIndex, exact: &FlatIndex, queries: &[Embedding]) -> f64 {
    let mut found = 0;
    for query in queries {
        let want = exact.search(query, 10, None).expect("one dimension");
        let hits = index.search(query, 10, None).expect("one dimension");
        found += hits
            .iter()
            .filter(|hit| want.iter().any(|other| other.row == hit.row))
            .count();
    }
    found as f64 / (10 * queries.len()) as f64
}

fn searches(criterion: &mut Criterion) {
    let base = vectors(20_000, 1);
    let queries = vectors(200, 2);
    let mut flat = FlatIndex::new(DIM);
    let growing = GrowingIndex::new(DIM, GrowingParams::default());
    for (row, vector) in (0..).zip(&base) {
        flat.insert(row, vector).expect("a new row");
        growing.insert(row, vector).expect("a new row");
    }
    let block = FrozenIndex::build(DIM, &base, &BuildParams::default()).expect("one dimension");
    let frozen = |ef| {
        let index = FrozenIndex::open(block.clone().into()).expect("a block just built");
        index.with_params(SearchParams {
            ef,
            ..SearchParams::default()
        })
    };
    let indexes: [(&str, Box<dyn VectorIndex>); 5] = [
        ("flat", Box::new(flat)),
        ("growing", Box::new(growing)),
        ("frozen, ef 32", Box::new(frozen(32))),
        ("frozen, ef 96", Box::new(frozen(96))),
        ("frozen, ef 256", Box::new(frozen(256))),
    ];
    let mut exact = FlatIndex::new(DIM);
    (0..)
        .zip(&base)
        .for_each(|(row, vector)| exact.insert(row, vector).expect("a new row"));
    let mut group = criterion.benchmark_group("index");
    group.throughput(Throughput::Elements(1));
    for (name, index) in &indexes {
        let name = format!("{name}, recall {:.4}", recall(&**index, &exact, &queries));
        let mut next = queries.iter().cycle();
        group.bench_function(BenchmarkId::new("top 10", &name), |bencher| {
            bencher.iter(|| next.next().map(|query| index.search(query, 10, None)));
        });
        group.bench_function(BenchmarkId::new("range 0.6", &name), |bencher| {
            bencher.iter(|| {
                next.next()
                    .map(|query| index.range(query, Similarity::clamped(0.6), None))
            });
        });
    }
}

fn building(criterion: &mut Criterion) {
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a pool of one thread");
    let base = vectors(10_000, 1);
    let mut group = criterion.benchmark_group("10,000 vectors");
    group.sample_size(10);
    group.throughput(Throughput::Elements(base.len() as u64));
    group.bench_function("frozen build", |bencher| {
        one_thread.install(|| bencher.iter(|| FrozenIndex::build(DIM, &base, &BuildParams::default())));
    });
    group.bench_function("self-join at 0.7", |bencher| {
        one_thread.install(|| bencher.iter(|| self_join(&base, Similarity::clamped(0.7), |_| ())));
    });
}

criterion_group!(benches, searches, building);
criterion_main!(benches);

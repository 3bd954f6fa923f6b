//! Time of the network per image, one thread.
//!
//! Measures: the packed network on every instruction set of this machine and candle's stock operations, on the weights
//! that are shipped, batch 1 and 16. Throughput is given in images. Inputs are noise: the time does not depend on values.
//! Compare with another runtime only in the same hour on the same machine, on the same number of threads.

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doppel_compute::vision::network::{Isa, PackedNetwork, StockNetwork, Weights};

const WEIGHTS: &[u8] = include_bytes!("../models/doppel-t.safetensors");

fn network(criterion: &mut Criterion) {
    let weights = Weights::from_safetensors(WEIGHTS).expect("the shipped weights load");
    let side = weights.spec().input_size as usize;
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a pool of one thread");
    let mut group = criterion.benchmark_group("network");
    for batch in [1_usize, 16] {
        group.throughput(Throughput::Elements(batch as u64));
        let input = Tensor::rand(-2_f32, 2.0, (batch, side, side, 3), &Device::Cpu).expect("a tensor");
        for isa in Isa::supported() {
            let network = PackedNetwork::new(&weights, isa).expect("checked weights pack");
            group.bench_function(BenchmarkId::new(isa.name(), batch), |bencher| {
                one_thread.install(|| bencher.iter(|| network.forward(&input).expect("runs")));
            });
        }
        let stock = StockNetwork::new(weights.clone());
        let planes = input
            .permute((0, 3, 1, 2))
            .and_then(|x| x.contiguous())
            .expect("four dimensions");
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("stock candle", batch), |bencher| {
            one_thread.install(|| bencher.iter(|| stock.forward(&planes).expect("runs")));
        });
    }
    group.finish();
}

criterion_group!(benches, network);
criterion_main!(benches);

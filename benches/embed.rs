//! Time of the network per image, on one thread and on two.
//!
//! Measures: the packed network, in f32 and in eight bits, on every instruction set of this machine, and candle's stock
//! operations, on the weights that are shipped, batch 1 and 16. Throughput is given in images. Inputs are noise: the time
//! does not depend on values.
//! Compare with another runtime only in the same hour on the same machine, on the same number of threads.

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doppel_compute::vision::network::{Activations, Isa, PackedNetwork, StockNetwork, Weights};

const WEIGHTS: &[u8] = include_bytes!("../models/doppel-t.safetensors");
const ACTIVATIONS: &str = include_str!("../models/activations.json");

fn network(criterion: &mut Criterion) {
    let weights = Weights::from_safetensors(WEIGHTS).expect("the shipped weights load");
    let activations = Activations::from_json(ACTIVATIONS).expect("the shipped activations");
    let side = weights.spec().input_size as usize;
    for (threads, batch) in [(1, 1), (1, 16), (2, 16)] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool of threads");
        let mut group = criterion.benchmark_group(format!("network on {threads}"));
        group.throughput(Throughput::Elements(batch as u64));
        let input = Tensor::rand(-2_f32, 2.0, (batch, side, side, 3), &Device::Cpu).expect("a tensor");
        for isa in Isa::supported() {
            let network = PackedNetwork::new(&weights, isa).expect("checked weights pack");
            group.bench_function(BenchmarkId::new(isa.name(), batch), |bencher| {
                pool.install(|| bencher.iter(|| network.forward(&input).expect("runs")));
            });
            let int8 =
                PackedNetwork::in_eight_bits(&weights, &activations, isa).expect("checked weights pack");
            group.bench_function(
                BenchmarkId::new(format!("{} int8", isa.name()), batch),
                |bencher| {
                    pool.install(|| bencher.iter(|| int8.forward(&input).expect("runs")));
                },
            );
        }
        let stock = StockNetwork::new(weights.clone());
        let planes = input
            .permute((0, 3, 1, 2))
            .and_then(|x| x.contiguous())
            .expect("four dimensions");
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("stock candle", batch), |bencher| {
            pool.install(|| bencher.iter(|| stock.forward(&planes).expect("runs")));
        });
        group.finish();
    }
}

criterion_group!(benches, network);
criterion_main!(benches);

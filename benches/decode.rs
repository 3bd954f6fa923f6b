//! Time from the bytes of a file to pixels, hashes and embedding, one thread.
//!
//! Measures, on images made here (smooth shapes under fine noise, JPEG quality 85, 4:2:0; photographs hold less or more
//! detail, and decoding time follows it): full decode; decode to what the network needs, with the squash to its input;
//! the same by the `image` crate and its Lanczos filter, as most services do it; and the whole analysis.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use doppel_compute::vision::{
    Analyser, DecodeLimits, Demand, Embedder as _, RgbImage, builtin, decode, decode_to, fingerprint,
    thumbnail,
};
use image::imageops::FilterType;

fn photograph(width: u32, height: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let image = RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = f64::from(state >> 28);
        let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let tone = |f: f64| {
            (110.0 + 60.0 * (u * f + v * 3.0).sin() + 50.0 * (v * f * 1.3 - u * 7.0).cos() + noise) as u8
        };
        image::Rgb([tone(9.0), tone(17.0), tone(31.0)])
    });
    thumbnail::encode(&image).expect("encodes")
}

fn files(criterion: &mut Criterion) {
    let limits = DecodeLimits::default();
    let embedder = builtin().expect("the shipped weights load");
    let side = embedder.input_size();
    let analyser = Analyser::new(embedder, limits);
    let demand = Demand::AtLeast {
        long: thumbnail::THUMBNAIL_SIDE,
        short: side,
    };
    let one_thread = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("a pool of one thread");
    for (name, width, height) in [("12 MP", 4000, 3000), ("2 MP", 1632, 1224), ("640 px", 640, 480)] {
        let file = photograph(width, height);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        group.bench_function("full decode", |bencher| {
            bencher.iter(|| decode(&file, &limits).expect("decodes"));
        });
        group.bench_function("to the network's input", |bencher| {
            bencher.iter(|| decode_to(&file, &limits, demand).expect("decodes").squashed(side));
        });
        group.bench_function("to the network's input, image crate and Lanczos3", |bencher| {
            bencher.iter(|| {
                let image = image::load_from_memory(&file).expect("decodes");
                image.resize_exact(side, side, FilterType::Lanczos3).into_rgb8()
            });
        });
        let decoded = decode(&file, &limits).expect("decodes").pixels;
        group.bench_function("preview", |bencher| bencher.iter(|| thumbnail::preview(&decoded)));
        group.bench_function("pixel hash", |bencher| {
            bencher.iter(|| fingerprint::pixel_hash(&decoded))
        });
        let preview = thumbnail::preview(&decoded);
        group.bench_function("PDQ of the preview", |bencher| {
            bencher.iter(|| fingerprint::pdq_dihedral(&preview))
        });
        group.bench_function("thumbnail", |bencher| {
            bencher.iter(|| thumbnail::encode(&preview))
        });
        group.bench_function(BenchmarkId::from_parameter("analyse"), |bencher| {
            one_thread.install(|| bencher.iter(|| analyser.analyse(&file).expect("analyses")));
        });
        group.finish();
    }
}

criterion_group!(benches, files);
criterion_main!(benches);

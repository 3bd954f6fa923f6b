//! hnsw_rs as it comes, driven by JSON lines: the peer `hnsw_rs` of `benches/peers.py`, which starts this program.
//!
//! Its graph over its own copies of the vectors, with this project's f32 kernel as the distance, which is faster than the
//! crate's own. Requests and answers are those of `doppel bench index --stdio`, without `open` and `save`; one thread.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "answers go to whoever drives it"
)]

use std::io::{IsTerminal as _, Write as _};
use std::time::Instant;

use cpu_time::ProcessTime;
use doppel::vector::distance::Kernels;
use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::Hnsw;
use serde_json::{Value, json};

/// Layers the crate works with.
const LAYERS: usize = 16;

/// `1 − cosine` of unit vectors; never negative, which the crate asserts.
#[derive(Clone, Copy)]
struct CosineDistance(Kernels);

impl Distance<f32> for CosineDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - self.0.dot_f32(a, b)).max(0.0)
    }
}

/// The rows of a .npy file of float32 `[n, dim]`.
fn read(path: &str) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).expect("a file to read");
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, data) = bytes[10..].split_at(length);
    let header = String::from_utf8_lossy(header);
    let dim = header
        .split(['(', ')'])
        .nth(1)
        .and_then(|shape| shape.split(',').nth(1))
        .and_then(|dim| dim.trim().parse().ok())
        .expect("an array of two dimensions");
    let numbers: Vec<f32> = data
        .as_chunks()
        .0
        .iter()
        .map(|&x| f32::from_le_bytes(x))
        .collect();
    numbers.chunks_exact(dim).map(<[f32]>::to_vec).collect()
}

/// What `work` answers, with its seconds and CPU-seconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64, f64) {
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let answer = work();
    (answer, wall.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64())
}

fn main() {
    if std::io::stdin().is_terminal() {
        eprintln!("this peer is driven by benches/peers.py");
        return;
    }
    let mut graph = None;
    for line in std::io::stdin().lines() {
        let request: Value = serde_json::from_str(&line.expect("input")).expect("JSON");
        let text = |key: &str| request[key].as_str().expect("a path");
        let number = |key: &str| usize::try_from(request[key].as_u64().expect("a number")).expect("a size");
        let answer = if request["op"] == "build" {
            let rows = read(text("base"));
            let (links, width) = (number("M"), number("efc"));
            let (built, build_s, build_cpu) = timed(|| {
                let built = Hnsw::<f32, _>::new(
                    links,
                    rows.len(),
                    LAYERS,
                    width,
                    CosineDistance(Kernels::active()),
                );
                for (number, row) in rows.iter().enumerate() {
                    built.insert((row, number));
                }
                built
            });
            graph = Some(built);
            json!({"ok": true, "build_s": build_s, "build_cpu": build_cpu, "pid": std::process::id()})
        } else {
            let graph = graph.as_ref().expect("a graph was built before");
            let queries = read(text("query"));
            let (k, width) = (number("k"), number("ef"));
            let (found, s, cpu_s) = timed(|| {
                let of = |query: &Vec<f32>| graph.search(query, k, width);
                queries.iter().map(of).collect::<Vec<_>>()
            });
            let rows = found.iter().flat_map(|hits| {
                let rows = hits
                    .iter()
                    .map(|hit| i32::try_from(hit.d_id).expect("a row number"));
                rows.chain(std::iter::repeat(-1)).take(k)
            });
            let bytes: Vec<u8> = rows.flat_map(i32::to_le_bytes).collect();
            std::fs::write(text("out"), bytes).expect("a file to write");
            json!({"ok": true, "s": s, "cpu_s": cpu_s})
        };
        println!("{answer}");
        std::io::stdout().flush().expect("output");
    }
}

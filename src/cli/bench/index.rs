//! `doppel bench index`: builds an index over a file of vectors and measures it against exact search.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use cpu_time::ProcessTime;
use rayon::prelude::*;
use serde_json::json;

use super::npy;
use crate::cli::{Exit, print};
use crate::types::Embedding;
use crate::vector::distance::Kernels;
use crate::vector::flat::FlatIndex;
use crate::vector::frozen::{BuildParams, FrozenIndex, SearchParams};
use crate::vector::{Hit, VectorIndex as _};

/// Flags of `doppel bench index`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Vectors to index: .npy, float32 [n, dim]; rows are scaled to unit length
    #[arg(long, value_name = "B.npy", required_unless_present = "stdio")]
    base: Option<PathBuf>,
    /// Vectors to search for
    #[arg(long, value_name = "Q.npy", required_unless_present = "stdio")]
    queries: Option<PathBuf>,
    /// Neighbours to find
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k: u32,
    /// Widths of the search to measure
    #[arg(long, value_delimiter = ',', default_values_t = [16, 24, 32, 48, 64, 96, 128, 192, 256, 512])]
    ef: Vec<usize>,
    /// Nodes beyond k that are compared with the originals
    #[arg(long, default_value_t = SearchParams::default().rerank)]
    rerank: usize,
    /// Links of a node
    #[arg(long, default_value_t = BuildParams::default().links)]
    links: usize,
    /// Width of the search while building
    #[arg(long, default_value_t = BuildParams::default().ef_construction)]
    ef_construction: usize,
    /// Threads for building and searching; 0 = all
    #[arg(short = 'j', long, default_value_t = 1, value_parser = crate::cli::workers())]
    threads: usize,
    /// Passes over the queries for each width; the median is reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    passes: u32,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Speak JSON lines on standard input and output instead: one request a line, one answer a line
    #[arg(long, conflicts_with_all = ["base", "queries"])]
    stdio: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// What one width of the search gave.
struct Measured {
    ef: usize,
    recall: f64,
    per_second: f64,
    per_cpu_second: f64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    if args.stdio {
        super::stdio::serve(std::io::stdin().lock(), std::io::stdout().lock())?;
        return Ok(Exit::Done);
    }
    let (Some(base), Some(queries)) = (&args.base, &args.queries) else {
        return Ok(Exit::Usage);
    };
    let base = npy::read(base, usize::MAX)?;
    let queries = npy::read(queries, usize::MAX)?;
    let dim = base.first().context("the base is empty")?.dim();
    ensure!(
        queries.first().is_some_and(|query| query.dim() == dim),
        "base and queries differ in dimension"
    );

    let pool = pool(args.threads)?;
    let params = BuildParams {
        links: args.links,
        ef_construction: args.ef_construction,
        ..BuildParams::default()
    };
    let (built, build_s, build_cpu_s) = timed(|| pool.install(|| FrozenIndex::build(dim, &base, &params)));
    let (index, open_s, _) = timed(|| FrozenIndex::open(built?.into()));
    let index = index?;
    index.settle();
    let k = args.k as usize;
    let truth = truth(&base, &queries, k)?;
    let measured: Vec<Measured> = args
        .ef
        .iter()
        .map(|&ef| measure(args, &pool, &index, &queries, &truth, ef))
        .collect();

    let stats = index.stats();
    let per_vector = |bytes: usize| bytes as f64 / base.len() as f64;
    let (resident, originals) = (per_vector(stats.resident_bytes), per_vector(stats.original_bytes));
    if args.format == Format::Json {
        let points: Vec<_> = measured
            .iter()
            .map(|m| json!({"ef": m.ef, "recall": m.recall, "qps": m.per_second, "queries_per_cpu_s": m.per_cpu_second}))
            .collect();
        let report = json!({
            "vectors": base.len(), "dim": dim, "queries": queries.len(), "k": k, "threads": pool.current_num_threads(),
            "kernels": Kernels::active().name(), "build_s": build_s, "build_cpu_s": build_cpu_s, "open_s": open_s,
            "resident_bytes_per_vector": resident, "original_bytes_per_vector": originals,
            "nodes": stats.nodes, "repaired": stats.repaired, "searches": points,
        });
        print(&format!("{report:#}\n"))?;
        return Ok(Exit::Done);
    }
    let mut table = format!(
        "{} vectors of dimension {dim}, {} queries, k {k}, {} threads, kernels {}\n\
         build {build_s:.2} s ({build_cpu_s:.2} CPU-s), open {open_s:.3} s\n\
         bytes per vector: {resident:.0} resident, {originals:.0} originals; {} nodes, {} repaired\n\n\
         {:>6} {:>8} {:>10} {:>16}\n",
        base.len(),
        queries.len(),
        pool.current_num_threads(),
        Kernels::active().name(),
        stats.nodes,
        stats.repaired,
        "ef",
        "recall",
        "queries/s",
        "queries/CPU-s",
    );
    for m in &measured {
        writeln!(
            table,
            "{:>6} {:>8.4} {:>10.0} {:>16.0}",
            m.ef, m.recall, m.per_second, m.per_cpu_second
        )?;
    }
    print(&table)?;
    Ok(Exit::Done)
}

/// Threads for one measurement; 0 = one for each processor.
pub(super) fn pool(threads: usize) -> anyhow::Result<rayon::ThreadPool> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?)
}

/// What `work` answers, with the seconds and the CPU-seconds of the whole process that it took.
pub(super) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64, f64) {
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    let answer = work();
    (answer, wall.elapsed().as_secs_f64(), cpu.elapsed().as_secs_f64())
}

/// The exact neighbours of every query. All threads of the machine work on them: this is not measured.
fn truth(base: &[Embedding], queries: &[Embedding], k: usize) -> anyhow::Result<Vec<Vec<Hit>>> {
    let mut flat = FlatIndex::new(base[0].dim());
    for (row, vector) in (0..).zip(base) {
        flat.insert(row, vector)?;
    }
    queries
        .par_iter()
        .map(|query| Ok(flat.search(query, k, None)?))
        .collect()
}

fn measure(
    args: &Args,
    pool: &rayon::ThreadPool,
    index: &FrozenIndex,
    queries: &[Embedding],
    truth: &[Vec<Hit>],
    ef: usize,
) -> Measured {
    let k = args.k as usize;
    let mut found = Vec::new();
    let mut passes: Vec<(f64, f64)> = (0..args.passes)
        .map(|_| {
            let (answers, wall, cpu) = timed(|| {
                search_all(
                    pool,
                    index,
                    queries,
                    k,
                    SearchParams {
                        ef,
                        rerank: args.rerank,
                    },
                )
            });
            found = answers;
            (wall, cpu)
        })
        .collect();
    let right: usize = found
        .iter()
        .zip(truth)
        .map(|(hits, truth)| {
            let truth: HashSet<u32> = truth.iter().map(|hit| hit.row).collect();
            hits.iter().filter(|hit| truth.contains(&hit.row)).count()
        })
        .sum();
    let wanted: usize = truth.iter().map(Vec::len).sum();
    let median = |of: fn(&(f64, f64)) -> f64, passes: &mut [(f64, f64)]| {
        passes.sort_by(|a, b| of(a).total_cmp(&of(b)));
        queries.len() as f64 / of(&passes[passes.len() / 2])
    };
    Measured {
        ef,
        recall: right as f64 / wanted.max(1) as f64,
        per_second: median(|pass| pass.0, &mut passes),
        per_cpu_second: median(|pass| pass.1, &mut passes),
    }
}

/// The hits of every query, in order.
pub(super) fn search_all(
    pool: &rayon::ThreadPool,
    index: &FrozenIndex,
    queries: &[Embedding],
    k: usize,
    params: SearchParams,
) -> Vec<Vec<Hit>> {
    let mut answers = vec![Vec::with_capacity(k); queries.len()];
    // The dimension was checked before; a query of another one finds nothing.
    let _ = match pool.current_num_threads() {
        1 => index.search_each(queries, k, params, None, &mut answers),
        _ => pool.install(|| index.search_batch(queries, k, params, None, &mut answers)),
    };
    answers
}

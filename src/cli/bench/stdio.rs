//! `doppel bench index --stdio`: one JSON request a line, one JSON answer a line, so that other harnesses can drive it.
//!
//! ```text
//! {"op":"build","base":PATH.npy,"n":N,"threads":T,"M":16,"efc":200}  → {"ok":true,"build_s":S,"build_cpu":S,"pid":PID}
//! {"op":"open","path":PATH}                                             → {"ok":true,"open_s":S,"open_cpu":S,"pid":PID}
//! {"op":"search","query":PATH.npy,"k":K,"ef":EF,"threads":T,"out":PATH} → {"ok":true,"s":S,"cpu_s":S}
//! ```
//!
//! `build` keeps the index in a file when `"save":PATH` is given, and `open` maps such a file. Both also answer `rows`,
//! `nodes`, `repaired`, `resident_bytes` and `original_bytes` of the index. `out` receives the rows found as raw
//! little-endian i32, `queries × k`, −1 where there are fewer than `k`. A request that fails is answered
//! `{"ok":false,"error":TEXT}`, and the process goes on.

use std::fs::File;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::index::{pool, search_all, timed};
use super::npy;
use crate::vector::VectorIndex as _;
use crate::vector::frozen::{BuildParams, FrozenIndex, MapOptions, SearchParams, map};

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    Build {
        base: PathBuf,
        /// Only the first rows; all when absent.
        n: Option<usize>,
        #[serde(default = "one")]
        threads: usize,
        #[serde(rename = "M")]
        links: Option<usize>,
        efc: Option<usize>,
        /// File to keep the index in.
        save: Option<PathBuf>,
    },
    Open {
        path: PathBuf,
    },
    Search {
        query: PathBuf,
        k: usize,
        ef: usize,
        /// Nodes beyond k that are compared with the originals.
        rerank: Option<usize>,
        #[serde(default = "one")]
        threads: usize,
        out: PathBuf,
    },
}

fn one() -> usize {
    1
}

/// Answers requests until the input ends.
///
/// # Errors
/// When input or output fail.
pub(super) fn serve(input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut index = None;
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = answer(&line, &mut index)
            .unwrap_or_else(|error| json!({"ok": false, "error": format!("{error:#}")}));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(line: &str, index: &mut Option<FrozenIndex>) -> anyhow::Result<Value> {
    match serde_json::from_str(line).context("not a request")? {
        Request::Build {
            base,
            n,
            threads,
            links,
            efc,
            save,
        } => {
            let rows = npy::read(&base, n.unwrap_or(usize::MAX))?;
            let dim = rows.first().context("the base is empty")?.dim();
            let defaults = BuildParams::default();
            let params = BuildParams {
                links: links.unwrap_or(defaults.links),
                ef_construction: efc.unwrap_or(defaults.ef_construction),
                ..defaults
            };
            let pool = pool(threads)?;
            *index = None;
            let (built, build_s, build_cpu) =
                timed(|| pool.install(|| FrozenIndex::build(dim, &rows, &params)));
            let block = built?;
            if let Some(path) = save {
                std::fs::write(&path, &block).with_context(|| format!("cannot write {}", path.display()))?;
            }
            let built = index.insert(FrozenIndex::open(block.into())?);
            built.settle();
            Ok(described(
                built,
                json!({"build_s": build_s, "build_cpu": build_cpu}),
            ))
        }
        Request::Open { path } => {
            *index = None;
            let options = MapOptions {
                prefault: true,
                random: false,
            };
            let (opened, open_s, open_cpu) = timed(|| -> anyhow::Result<_> {
                let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
                Ok(FrozenIndex::open(map(&file, options)?)?)
            });
            let opened = index.insert(opened?);
            opened.settle();
            Ok(described(opened, json!({"open_s": open_s, "open_cpu": open_cpu})))
        }
        Request::Search {
            query,
            k,
            ef,
            rerank,
            threads,
            out,
        } => {
            let index = index.as_ref().context("nothing was built yet")?;
            let queries = npy::read(&query, usize::MAX)?;
            let fits = queries.iter().all(|query| query.dim() == index.dim());
            ensure!(fits, "the queries have another dimension than the index");
            let pool = pool(threads)?;
            let rerank = rerank.unwrap_or(SearchParams::default().rerank);
            let (answers, s, cpu_s) =
                timed(|| search_all(&pool, index, &queries, k, SearchParams { ef, rerank }));
            let mut bytes = Vec::with_capacity(queries.len() * k * 4);
            for hits in &answers {
                let rows = hits.iter().map(|hit| hit.row.cast_signed());
                bytes.extend(
                    rows.chain(std::iter::repeat(-1))
                        .take(k)
                        .flat_map(i32::to_le_bytes),
                );
            }
            std::fs::write(&out, bytes).with_context(|| format!("cannot write {}", out.display()))?;
            Ok(json!({"ok": true, "s": s, "cpu_s": cpu_s}))
        }
    }
}

/// The answer of what made an index: `times` and the sizes of the index.
fn described(index: &FrozenIndex, mut times: Value) -> Value {
    let stats = index.stats();
    times["ok"] = json!(true);
    times["pid"] = json!(std::process::id());
    times["rows"] = json!(stats.rows);
    times["nodes"] = json!(stats.nodes);
    times["repaired"] = json!(stats.repaired);
    times["resident_bytes"] = json!(stats.resident_bytes);
    times["original_bytes"] = json!(stats.original_bytes);
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_searches_and_goes_on_after_a_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let header = format!(
            "{:<117}\n",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"
        );
        let numbers = [1.0f32, 0.0, 0.8, 0.6, 0.0, 1.0]
            .iter()
            .flat_map(|x| x.to_le_bytes());
        let file: Vec<u8> = b"\x93NUMPY\x01\x00\x76\x00"
            .iter()
            .copied()
            .chain(header.bytes())
            .chain(numbers)
            .collect();
        std::fs::write(path("base.npy"), file).expect("a file");
        let search = json!({"op": "search", "query": path("base.npy"), "k": 4, "ef": 10, "threads": 1, "out": path("out")});
        let build = json!({"op": "build", "base": path("base.npy"), "n": 3, "threads": 2, "M": 16, "efc": 200, "save": path("kept")});
        let open = json!({"op": "open", "path": path("kept")});
        let input = format!("{search}\n{{\"op\":\"dance\"}}\n{build}\n{open}\n{search}\n");
        let mut output = Vec::new();
        serve(input.as_bytes(), &mut output).expect("a folder to write to");
        let answers: Vec<Value> = String::from_utf8(output)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let ok: Vec<_> = answers.iter().map(|answer| answer["ok"].as_bool()).collect();
        assert_eq!(
            ok,
            [Some(false), Some(false), Some(true), Some(true), Some(true)],
            "{answers:?}"
        );
        assert_eq!(answers[2]["pid"].as_u64(), Some(u64::from(std::process::id())));
        assert!(answers[3]["open_s"].is_number() && answers[3]["rows"] == 3);
        assert!(answers[4]["s"].is_number() && answers[4]["cpu_s"].is_number());
        let out: Vec<i32> = std::fs::read(path("out"))
            .expect("the answers")
            .as_chunks()
            .0
            .iter()
            .map(|&x| i32::from_le_bytes(x))
            .collect();
        assert_eq!(out, [0, 1, 2, -1, 1, 0, 2, -1, 2, 1, 0, -1]);
    }
}

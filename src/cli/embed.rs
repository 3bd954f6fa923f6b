//! `doppel embed`: embeddings of files as a numpy array.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use indicatif::ProgressBar;
use rayon::prelude::*;

use super::files::{self, Unreadable};
use super::{Context, Exit, progress, warn};
use crate::engine::network;
use crate::types::Embedding;
use crate::vision::Analyser;

/// Files read and embedded at a time.
const CHUNK: usize = 32;

/// Embed images with the chosen network and write the vectors as a numpy array
///
/// OUT.npy holds float32 [n, dim], one unit vector a row, in the order of the arguments (folders sorted by path); OUT.txt
/// holds the path of each row. Files that cannot be read are reported and left out of both.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel embed photos/ -o photos.npy
  doppel embed a.jpg b.png more/ -o all.npy -j 4")]
pub(super) struct Args {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where to write the array; its list of paths goes beside it, ending in .txt
    #[arg(short, long, value_name = "OUT.npy")]
    output: PathBuf,
    /// Threads; all cores when absent
    #[arg(short = 'j', long, value_name = "N", value_parser = super::workers())]
    threads: Option<usize>,
}

pub(super) fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let threads = args.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .context("starting threads")?;
    let analyser = Analyser::new(network(&context.config)?, context.decode_limits());
    let (found, mut unreadable) = files::find(&args.paths);
    let list = args.output.with_extension("txt");
    anyhow::ensure!(
        list != args.output,
        "the array cannot be named {}: its list of paths is",
        list.display()
    );
    let mut out = NpyWriter::create(&args.output, analyser.embedder().dim())?;
    let mut paths =
        BufWriter::new(File::create(&list).with_context(|| format!("creating {}", list.display()))?);
    let bar = progress(found.len() as u64, "images");
    for chunk in found.chunks(CHUNK) {
        let results = pool.install(|| embed(&analyser, chunk, context.config.limits.max_file_bytes));
        for (file, result) in chunk.iter().zip(results) {
            match result {
                Ok(embedding) => {
                    out.push(&embedding)?;
                    paths.write_all(file.path.as_os_str().as_encoded_bytes())?;
                    paths.write_all(b"\n")?;
                }
                Err(reason) => unreadable.push(Unreadable {
                    path: file.path.clone(),
                    reason,
                }),
            }
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    report(&bar, &unreadable);
    paths.flush()?;
    let rows = out.finish()?;
    warn(format_args!(
        "{rows} embeddings in {}, {} files left out",
        args.output.display(),
        unreadable.len()
    ));
    Ok(if rows == 0 { Exit::Failed } else { Exit::Done })
}

fn report(bar: &ProgressBar, unreadable: &[Unreadable]) {
    for one in unreadable {
        bar.suspend(|| warn(format_args!("{}: {}", one.path.display(), one.reason)));
    }
}

/// The embedding of each file, or why there is none.
fn embed(analyser: &Analyser, files: &[files::Named], max_bytes: u64) -> Vec<Result<Embedding, String>> {
    let read: Vec<Result<Bytes, String>> = files
        .par_iter()
        .map(|file| super::read(&file.path, max_bytes))
        .collect();
    let bytes: Vec<Bytes> = read.iter().flatten().cloned().collect();
    let mut analyses = analyser.analyse_batch(&bytes).into_iter();
    read.into_iter()
        .map(|read| {
            read?;
            let analysis = analyses
                .next()
                .expect("one answer a file")
                .map_err(|error| error.to_string())?;
            Ok(analysis.fingerprint.embedding)
        })
        .collect()
}

/// Writes a two-dimensional float32 array row by row, in numpy's format 1.0
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
struct NpyWriter {
    file: BufWriter<File>,
    dim: usize,
    rows: usize,
}

impl NpyWriter {
    /// Bytes of the header; the array starts there, aligned to 64.
    const HEADER: usize = 128;

    fn create(path: &Path, dim: usize) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut writer = Self {
            file: BufWriter::new(file),
            dim,
            rows: 0,
        };
        writer.write_header()?;
        Ok(writer)
    }

    fn push(&mut self, embedding: &Embedding) -> io::Result<()> {
        for component in embedding.as_slice() {
            self.file.write_all(&component.to_le_bytes())?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Writes the number of rows into the header, and answers it.
    fn finish(mut self) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(0))?;
        self.write_header()?;
        self.file.flush()?;
        Ok(self.rows)
    }

    fn write_header(&mut self) -> io::Result<()> {
        let (rows, dim) = (self.rows, self.dim);
        let description = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
        // Magic, version, length of the rest; padded with spaces and closed by a newline.
        let rest = Self::HEADER - 10;
        let length = u16::try_from(rest).expect("the header is short");
        self.file.write_all(b"\x93NUMPY\x01\x00")?;
        self.file.write_all(&length.to_le_bytes())?;
        writeln!(self.file, "{description:<width$}", width = rest - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_array_has_numpys_layout() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.npy");
        let mut writer = NpyWriter::create(&path, 2).expect("writable");
        for row in [[3.0, 4.0], [0.0, 1.0]] {
            writer
                .push(&Embedding::normalised(&row).expect("a direction"))
                .expect("writable");
        }
        assert_eq!(writer.finish().expect("writable"), 2);
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = std::str::from_utf8(&bytes[10..128]).expect("text");
        assert!(
            header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"),
            "{header}"
        );
        assert!(header.ends_with('\n'));
        let floats: Vec<f32> = bytes[128..]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect();
        assert_eq!(floats, [0.6, 0.8, 0.0, 1.0]);
    }
}

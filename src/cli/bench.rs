//! `doppel bench`: measures this machine, on the user's own data.

mod accuracy;
mod embed;
mod index;
mod npy;
mod stdio;
mod storage;

use clap::Subcommand;

use super::{Context, Exit};

/// Flags of `doppel bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel bench accuracy ~/Pictures                    how well edited copies of your own images are found
  doppel bench embed ~/Pictures                       images per second, and where the time goes
  doppel bench index --base b.npy --queries q.npy     recall and speed of the vector index
  doppel bench storage --dir /srv                     durable writes, recovery and write amplification on that disk")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Attack your own images and measure how many of the copies are found, by kind of edit
    Accuracy(accuracy::Args),
    /// Read, decode, hash and embed your own images and measure the speed of each stage
    Embed(embed::Args),
    /// Build a vector index and measure recall, queries per second, build time and size
    Index(index::Args),
    /// Store made-up vectors and measure acknowledgements, recovery and write amplification
    Storage(storage::Args),
}

/// Runs one benchmark.
///
/// # Errors
/// When a file cannot be read or does not hold what the benchmark needs.
pub(super) fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    match args.command {
        Bench::Accuracy(args) => accuracy::run(&args, context),
        Bench::Embed(args) => embed::run(&args, context),
        Bench::Index(args) => index::run(&args),
        Bench::Storage(args) => storage::run(&args, context),
    }
}

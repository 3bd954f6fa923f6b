//! `doppel bench`: measures this machine, on the user's own data.

mod accuracy;

use clap::Subcommand;

use super::{Context, Exit};

/// Measure this machine on your own data
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel bench accuracy ~/Pictures          how well edited copies of your own images are found")]
pub struct Args {
    #[command(subcommand)]
    command: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Attack your own images and measure how many of the copies are found, by kind of edit
    Accuracy(accuracy::Args),
}

/// Runs one benchmark.
///
/// # Errors
/// When a file cannot be read or does not hold what the benchmark needs.
pub fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    match args.command {
        Bench::Accuracy(args) => accuracy::run(&args, context),
    }
}

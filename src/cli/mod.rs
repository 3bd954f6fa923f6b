//! Floor 5, the command line: one file a subcommand. Each has `Args` (clap) and `run(Args, &Context) -> anyhow::Result<Exit>`;
//! this file names them, reads the settings, and turns what they return into an exit code.

mod apply;
mod bench;
mod client;
mod compare;
mod config;
mod embed;
mod files;
mod fsck;
mod import;
mod judge;
mod matching;
mod scan;
mod search;
mod serve;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{Config, Log, Overrides};
use crate::telemetry;
use crate::vision::DecodeLimits;

/// How a command ended. A failure is an error, not an `Exit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Nothing found, or the work is done: 0.
    Done,
    /// Duplicates were found: 11, or 0 under `-W`.
    Found,
    /// The command ran to its end and could not do all of it; what failed has been reported: 1.
    Failed,
    /// The arguments make no sense; what is wrong has been reported: 2.
    Usage,
}

/// What every command gets beside its own arguments.
#[derive(Debug)]
pub struct Context {
    /// The effective settings.
    pub config: Config,
}

impl Context {
    /// A runtime for commands that talk to stores or servers.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn runtime(&self) -> io::Result<tokio::runtime::Runtime> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()
    }

    /// Refuses to look into a data folder that is not there: opened, it would be made, and be found empty and whole.
    ///
    /// # Errors
    /// When everything is to be in the data folder and there is none.
    pub fn expect_data(&self) -> anyhow::Result<()> {
        let config = &self.config;
        let is_all_local = config.etcd.is_empty() && config.storage.is_none();
        if is_all_local && !config.data_dir.exists() {
            anyhow::bail!("there is no data folder {}", config.data_dir.display());
        }
        Ok(())
    }

    /// What is read of image files.
    #[must_use]
    pub fn decode_limits(&self) -> DecodeLimits {
        let limits = &self.config.limits;
        DecodeLimits {
            max_pixels: limits.max_pixels,
            max_side: limits.max_side_pixels,
            max_file_bytes: limits.max_file_bytes,
        }
    }
}

/// Writes `text` to standard output. Commands print through this, so that a closed pipe ends them quietly.
///
/// # Errors
/// Any failure to write; [`run`] takes a closed pipe for a normal end.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Parses a number of threads or connections. More than a machine can start is a slip, and would hang it.
#[must_use]
pub fn workers() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(0..=1024)
}

/// What a terminal may show of a path: control characters could forge lines or colours.
#[must_use]
pub fn shown(path: &str) -> String {
    path.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Tells the person at the terminal something, on standard error.
pub fn warn(text: fmt::Arguments<'_>) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "doppel: {text}");
}

/// A bar on standard error with rate and time left; nothing when standard error is no terminal.
#[must_use]
pub fn progress(total: u64, what: &str) -> ProgressBar {
    let template = format!("{{bar:40}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

/// A whole file, or in words why it cannot be read. One larger than `max_bytes` is not.
///
/// # Errors
/// The reason, for a person.
pub fn read(path: &Path, max_bytes: u64) -> Result<Bytes, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > max_bytes {
        return Err(format!("{size} bytes exceed the limit of {max_bytes} bytes"));
    }
    std::fs::read(path)
        .map(Bytes::from)
        .map_err(|error| error.to_string())
}

const EXIT_CODES: &str = "\
Exit codes:
  0   nothing found, or done
  11  duplicates found (0 with -W)
  2   bad usage
  1   failure

Settings come from defaults, doppel.toml, the environment (DOPPEL_LISTEN, DOPPEL_LIMITS__MAX_K, ...) and flags; later wins.
`doppel config` prints the effective ones.";

/// Finds duplicate images: an HTTP service, a folder tool and a web gallery in one binary.
#[derive(Debug, Parser)]
#[command(name = "doppel", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// Settings file; without it, doppel.toml in the working directory if there is one
    #[arg(long, global = true, value_name = "FILE", env = "DOPPEL_CONFIG")]
    config: Option<PathBuf>,
    /// Network that embeds images: doppel-t, doppel-s (both inside the binary; S finds more and is slower), either with -int8 (in eight bits, twice as fast with AVX-512 VNNI), FILE.toml (describes one that you bring), or FILE.safetensors
    #[arg(long, global = true, value_name = "MODEL")]
    model: Option<String>,
    /// Exit with 0, not 11, when duplicates are found
    #[arg(short = 'W', long, global = true)]
    no_found_code: bool,
    /// What to log to standard error: error, warn, info, debug, trace, or module=level,…
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

/// Flags of the commands that open the stores themselves.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct StoreFlags {
    /// Folder for metadata and, without --storage, for all objects
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of etcd, may be given several times; without it, metadata is in the data folder
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    etcd: Vec<String>,
    /// Object store, s3://bucket/prefix; without it, objects are in the data folder
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Scan(Box<scan::Args>),
    Apply(apply::Args),
    Undo(apply::UndoArgs),
    Compare(compare::Args),
    Judge(judge::Args),
    Import(import::Args),
    Search(search::Args),
    Embed(embed::Args),
    /// Measure this machine, on your own data
    Bench(bench::Args),
    Config(config::Args),
    Fsck(fsck::Args),
}

impl Command {
    /// The settings given as flags.
    fn overrides(&self) -> Overrides {
        match self {
            Self::Serve(serve::Args {
                listen,
                allowed_hosts,
                store,
            })
            | Self::Config(config::Args {
                listen,
                allowed_hosts,
                store,
            }) => Overrides {
                listen: *listen,
                allowed_hosts: allowed_hosts.clone(),
                ..Overrides::from(store)
            },
            Self::Search(args) => Overrides::from(&args.store),
            Self::Fsck(args) => Overrides::from(&args.store),
            _ => Overrides::default(),
        }
    }

    /// What is logged when nobody said: a service tells what it does, a command only what goes wrong.
    fn default_filter(&self) -> &'static str {
        match self {
            // the graph library announces each of its parameters
            Self::Serve(_) => "info,hnsw_rs=warn",
            _ => "warn",
        }
    }

    fn run(self, context: &Context) -> anyhow::Result<Exit> {
        match self {
            Self::Serve(args) => serve::run(args, context),
            Self::Import(args) => import::run(args, context),
            Self::Search(args) => search::run(args, context),
            Self::Embed(args) => embed::run(args, context),
            Self::Bench(args) => bench::run(args, context),
            Self::Config(args) => config::run(args, context),
            Self::Fsck(args) => fsck::run(&args, context),
            Self::Apply(args) => apply::run(args, context),
            Self::Undo(args) => apply::run_undo(&args, context),
            Self::Compare(args) => compare::run(&args, context),
            Self::Judge(args) => judge::run(&args),
            Self::Scan(args) => scan::run(*args, context),
        }
    }
}

impl From<&StoreFlags> for Overrides {
    fn from(flags: &StoreFlags) -> Self {
        Self {
            data_dir: flags.data_dir.clone(),
            etcd: flags.etcd.clone(),
            storage: flags.storage.clone(),
            ..Self::default()
        }
    }
}

/// Runs the command that `args` (program name first) ask for, and says how it ended.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(refusal) => {
            // clap writes help to standard output and errors to standard error; a closed pipe is nobody's concern.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(2));
        }
    };
    let quiet = cli.global.no_found_code;
    match start(cli) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Found) if quiet => ExitCode::SUCCESS,
        Ok(Exit::Found) => ExitCode::from(11),
        Ok(Exit::Failed) => ExitCode::FAILURE,
        Ok(Exit::Usage) => ExitCode::from(2),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = error.downcast_ref::<crate::config::ConfigError>().is_some();
            let _ = writeln!(io::stderr(), "doppel: {error:#}");
            if usage {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<Exit> {
    let overrides = Overrides {
        model: cli.global.model,
        ..cli.command.overrides()
    };
    let mut config = Config::load(cli.global.config.as_deref(), &overrides)?;
    if let Some(filter) = cli.global.log {
        config.log.filter = filter;
    } else if config.log == Log::default() {
        cli.command.default_filter().clone_into(&mut config.log.filter);
    }
    telemetry::start_log(&config.log)?;
    cli.command.run(&Context { config })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_command_shows_examples() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains("Examples:"),
                "doppel {} --help shows no examples",
                sub.get_name()
            );
            assert!(
                sub.get_about().is_some(),
                "doppel {} has no description",
                sub.get_name()
            );
        }
    }
}

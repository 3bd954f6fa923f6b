//! `doppel config`: the effective settings.

use std::net::SocketAddr;

use super::{Context, Exit, StoreFlags, print};

/// Print the effective settings as TOML, ready to be saved as doppel.toml
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel config                               what is in effect here
  DOPPEL_LIMITS__MAX_K=50 doppel config       a setting from the environment
  doppel config --config other.toml > doppel.toml")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) store: StoreFlags,
    /// Address the service would listen on
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Name by which requests may ask for the service
    #[arg(long = "allowed-host", value_name = "HOST", value_delimiter = ',')]
    pub(super) allowed_hosts: Vec<String>,
}

pub(super) fn run(_: Args, context: &Context) -> anyhow::Result<Exit> {
    print(&context.config.to_toml()?)?;
    Ok(Exit::Done)
}

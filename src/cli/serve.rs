//! `doppel serve`: the HTTP service with its gallery.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Context, Exit, StoreFlags};
use crate::config::Config;
use crate::engine::Engine;
use crate::http::{self, Api};
use crate::telemetry::Metrics;

/// Run the service: upload, search, review, with a gallery in the browser
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel serve                                        http://127.0.0.1:8080, data in the user's data folder
  doppel serve --listen 0.0.0.0:8080 --data-dir /srv/doppel
  doppel serve --etcd http://e1:2379,http://e2:2379 --storage s3://images/doppel

The gallery is at /, the API's description at /docs. There is no login: whoever reaches the address can read and delete.
Pages of other web sites cannot, and on this machine requests for other names than addresses, localhost and --allowed-host
are refused: a page could lead its own name here.")]
pub(super) struct Args {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Name by which requests may ask for this service, besides addresses and localhost; its pages may change things too. May be
    /// given several times; `*` for all. Without any, all names are taken when it listens on more than this machine
    #[arg(long = "allowed-host", value_name = "HOST", value_delimiter = ',')]
    pub(super) allowed_hosts: Vec<String>,
    #[command(flatten)]
    pub(super) store: StoreFlags,
}

pub(super) fn run(_: Args, context: &Context) -> anyhow::Result<Exit> {
    let runtime = context.runtime()?;
    let served = runtime.block_on(serve(&context.config));
    // A merge of segments that is being computed may take minutes more, and nothing of it is needed.
    runtime.shutdown_background();
    served?;
    Ok(Exit::Done)
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    // The address first: a port that is taken is told at once, before shards are opened and fenced.
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().context("asking for the address")?;
    let engine = Engine::open(config.clone()).await?;
    let api = Api {
        engine: Arc::clone(&engine),
        metrics: Metrics::install()?,
        stopping: CancellationToken::new(),
    };
    tracing::info!(%address, data_dir = %config.data_dir.display(), "serving on http://{address}");
    let deposed = CancellationToken::new();
    let end = {
        let (taken_over, deposed) = (engine.deposed(), deposed.clone());
        async move {
            tokio::select! {
                () = stop_signal() => {}
                () = taken_over => deposed.cancel(),
            }
        }
    };
    http::serve(listener, api, end, config.limits.shutdown_timeout).await;
    tracing::info!("stopping");
    engine.close().await;
    if deposed.is_cancelled() {
        anyhow::bail!(
            "this node is no longer the elected one of cluster {}",
            config.cluster
        );
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is taken: another doppel or another program listens there (choose another with --listen)"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{address}: not permitted (ports below 1024 need privileges; choose another with --listen)")
        }
        _ => anyhow::Error::new(error).context(format!("listening on {address}")),
    })
}

/// Ends when the process is asked to stop.
async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                () = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    interrupt.await;
}

/// A service of this process alone, for commands that ask a data folder a question.
pub(super) struct Embedded {
    engine: Arc<Engine>,
    address: String,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Embedded {
    /// Opens the stores of `config` and serves them on a free port of the loopback interface.
    pub(super) async fn start(config: &Config) -> anyhow::Result<Self> {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = format!(
            "http://{}",
            listener.local_addr().context("asking for the address")?
        );
        let engine = Engine::open(config.clone()).await?;
        let stop = CancellationToken::new();
        let api = Api {
            engine: Arc::clone(&engine),
            metrics: Metrics::install()?,
            stopping: stop.clone(),
        };
        let until = stop.clone().cancelled_owned();
        let serving = tokio::spawn(http::serve(listener, api, until, Duration::from_secs(1)));
        Ok(Self {
            engine,
            address,
            stop,
            serving,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.serving.await.context("stopping")?;
        self.engine.close().await;
        Ok(())
    }
}

//! Floor 5, the HTTP door: one file a resource, all documents in `dto`, all errors as problem documents.

pub mod assets;
mod collections;
mod dto;
mod error;
mod evidence;
mod extract;
mod groups;
mod images;
mod jobs;
mod router;
mod search;
mod service;
#[cfg(test)]
mod tests;
mod uploads;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::telemetry::Metrics;
use crate::types::CollectionName;

pub use router::{openapi, router};

/// What every handler works with.
#[derive(Clone)]
pub struct Api {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Metrics of the process.
    pub metrics: Metrics,
    /// Cancelled when the service begins to stop.
    pub stopping: CancellationToken,
}

impl Api {
    /// What images of a collection are shown with.
    fn shown<'a>(&'a self, collection: &'a CollectionName) -> dto::Shown<'a> {
        let engine = &self.engine;
        dto::Shown { engine, collection }
    }
}

/// Serves `api` on `listener` until `stop` ends; then answers what has begun, at most for `patience`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    stop: impl Future<Output = ()> + Send + 'static,
    patience: Duration,
) -> io::Result<()> {
    let stopping = api.stopping.clone();
    let upkeep = tokio::spawn(keep_metrics(api.metrics.clone()));
    let serving = axum::serve(listener, router(api)).with_graceful_shutdown({
        let stopping = stopping.clone();
        async move {
            stop.await;
            stopping.cancel();
        }
    });
    let served = tokio::select! {
        served = serving => served,
        () = async {
            stopping.cancelled().await;
            tokio::time::sleep(patience).await;
        } => {
            tracing::warn!(?patience, "requests were still running: leaving without them");
            Ok(())
        }
    };
    upkeep.abort();
    served
}

async fn keep_metrics(metrics: Metrics) {
    let mut tick = tokio::time::interval(Metrics::UPKEEP);
    loop {
        tick.tick().await;
        metrics.upkeep();
    }
}

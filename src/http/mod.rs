//! Floor 5, the HTTP door: one file a resource, all documents in `dto`, all errors as problem documents.

pub mod assets;
mod collections;
mod connections;
mod dto;
mod error;
mod evidence;
mod extract;
mod flowing;
mod groups;
mod images;
mod jobs;
mod router;
mod search;
mod service;
#[cfg(test)]
mod tests;
mod uploads;
mod visitors;

use std::future::Future;
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
pub async fn serve(
    listener: TcpListener,
    api: Api,
    stop: impl Future<Output = ()> + Send + 'static,
    patience: Duration,
) {
    let stopping = api.stopping.clone();
    let upkeep = tokio::spawn(keep_metrics(api.metrics.clone()));
    let limits = api.engine.config().limits.clone();
    let ending = CancellationToken::new();
    let serving = connections::serve(listener, router(api), &limits, ending.clone());
    let waiting = tokio::spawn({
        let (stopping, ending) = (stopping.clone(), ending.clone());
        async move {
            stop.await;
            stopping.cancel();
            ending.cancel();
        }
    });
    tokio::select! {
        () = serving => {}
        () = async {
            ending.cancelled().await;
            tokio::time::sleep(patience).await;
        } => {
            tracing::warn!(?patience, "requests were still running: leaving without them");
        }
    }
    upkeep.abort();
    waiting.abort();
}

async fn keep_metrics(metrics: Metrics) {
    let mut tick = tokio::time::interval(Metrics::UPKEEP);
    loop {
        tick.tick().await;
        metrics.upkeep();
    }
}

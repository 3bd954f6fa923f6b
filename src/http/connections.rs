//! Connections: so many at a time, and none that keeps a place without asking for anything or taking its answer.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flowing::Flowing;
use crate::config::Limits;

/// Pause after the system refused a connection for want of something.
const PAUSE: Duration = Duration::from_secs(1);

/// Serves `router` on `listener` until `stopping`, and then what has begun.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    stopping: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(limits.max_connections));
    let (patience, answer_timeout) = (limits.header_timeout, limits.answer_timeout);
    let connections = TaskTracker::new();
    loop {
        let (stream, place) = tokio::select! {
            () = stopping.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        connections.spawn(converse(
            Flowing::new(stream, answer_timeout),
            place,
            router.clone(),
            patience,
            stopping.clone(),
        ));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, once there is room for it. Others wait in the system's queue.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    if room.available_permits() == 0 {
        tracing::warn!("as many connections as limits.max_connections allows: others wait");
    }
    let place = Arc::clone(room).acquire_owned().await;
    let place = place.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether a connection was gone before it was accepted.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Answers the requests of a connection. One without a whole request header within `patience`, at first or after an answer,
/// ends.
async fn converse(
    stream: Flowing<TcpStream>,
    place: OwnedSemaphorePermit,
    router: Router,
    patience: Duration,
    stopping: CancellationToken,
) {
    let _place = place;
    let router = TowerToHyperService::new(router);
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let answer = router.call(request);
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience);
    // Of these the client has to answer a ping now and then.
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience);
    let mut conversation = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // Before the first bytes tell the version no timer of these runs.
    let mut waited = pin!(tokio::time::sleep(patience));
    let (mut is_waiting, mut is_leaving) = (true, false);
    loop {
        tokio::select! {
            ended = conversation.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = &*error, "a connection broke");
                }
                return;
            }
            () = waited.as_mut(), if is_waiting => {
                if !asked.load(Ordering::Relaxed) {
                    tracing::debug!(?patience, "a connection asked for nothing");
                    return;
                }
                is_waiting = false;
            }
            () = stopping.cancelled(), if !is_leaving => {
                is_leaving = true;
                conversation.as_mut().graceful_shutdown();
            }
        }
    }
}

//! The one place where uploads are decoded and embedded: a queue with bounded length and bounded bytes in front of a thread
//! that takes what has gathered, across requests, as one batch. The first image of a batch waits a few milliseconds for
//! company; while one batch is computed the next gathers by itself.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::EngineError;
use crate::config::Ingest;
use crate::telemetry::names;
use crate::vision::{Analyser, Analysis};

/// Bytes are counted against the limit in units of this size: a semaphore counts in u32.
const UNIT_BYTES: u64 = 4096;

struct Job {
    bytes: Bytes,
    reply: oneshot::Sender<Result<Analysis, EngineError>>,
    /// Given back when the bytes are dropped.
    _room: OwnedSemaphorePermit,
}

/// Analyses images, many requests at once.
pub(super) struct AnalysisPool {
    queue: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    room_units: u32,
    patience: Duration,
}

impl AnalysisPool {
    /// Starts the pool's thread; it ends when the pool is dropped.
    pub(super) fn start(analyser: Arc<Analyser>, options: &Ingest) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(options.queue_images);
        let (batch_images, batch_wait) = (options.batch_images, options.batch_wait);
        std::thread::Builder::new()
            .name("doppel-analysis".to_owned())
            .spawn(move || work(&analyser, jobs, batch_images, batch_wait))?;
        let room_units = units(options.queue_bytes);
        let room = Arc::new(Semaphore::new(room_units as usize));
        Ok(Self {
            queue,
            room,
            room_units,
            patience: options.queue_timeout,
        })
    }

    /// Analyses one file. Waits for room in the queue at most as long as configured.
    ///
    /// # Errors
    /// [`EngineError::Image`] when the file cannot be read, [`EngineError::Busy`] when no room came free in time,
    /// [`EngineError::Panicked`] when a decoder broke.
    pub(super) async fn analyse(&self, bytes: Bytes) -> Result<Analysis, EngineError> {
        let started = Instant::now();
        let busy = || EngineError::Busy {
            waiting: self.queue.max_capacity() - self.queue.capacity(),
        };
        let deadline = tokio::time::Instant::now() + self.patience;
        // A file larger than the whole budget takes all of it and goes alone.
        let needed = units(bytes.len() as u64).min(self.room_units);
        let room = Arc::clone(&self.room).acquire_many_owned(needed);
        let room = tokio::time::timeout_at(deadline, room)
            .await
            .map_err(|_| busy())?;
        let room = room.map_err(|_| EngineError::Stopping)?;
        let slot = tokio::time::timeout_at(deadline, self.queue.reserve())
            .await
            .map_err(|_| busy())?;
        let (reply, answer) = oneshot::channel();
        slot.map_err(|_| EngineError::Stopping)?.send(Job {
            bytes,
            reply,
            _room: room,
        });
        metrics::gauge!(names::QUEUE_IMAGES).set(self.waiting() as f64);
        let analysis = answer.await.map_err(|_| EngineError::Stopping)?;
        metrics::histogram!(names::STAGE_SECONDS, "stage" => "analyse").record(started.elapsed());
        analysis
    }

    /// Images in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES))
        .unwrap_or(u32::MAX)
        .clamp(1, Semaphore::MAX_PERMITS as u32)
}

/// Body of the thread: batch after batch until every sender is gone.
fn work(analyser: &Analyser, mut jobs: mpsc::Receiver<Job>, batch_images: usize, batch_wait: Duration) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        gather(&mut batch, &mut jobs, batch_images, batch_wait);
        // A client that went away leaves no work behind.
        batch.retain(|job| !job.reply.is_closed());
        if !batch.is_empty() {
            metrics::histogram!(names::BATCH_IMAGES).record(batch.len() as f64);
            answer(analyser, batch);
        }
    }
}

/// Fills `batch` with what is there, waiting for more until the first has waited `wait`.
fn gather(batch: &mut Vec<Job>, jobs: &mut mpsc::Receiver<Job>, most: usize, wait: Duration) {
    let deadline = Instant::now() + wait;
    while batch.len() < most {
        match jobs.try_recv() {
            Ok(job) => batch.push(job),
            Err(mpsc::error::TryRecvError::Disconnected) => return,
            Err(mpsc::error::TryRecvError::Empty) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return;
                }
                std::thread::sleep(left.min(Duration::from_micros(200)));
            }
        }
    }
}

fn answer(analyser: &Analyser, batch: Vec<Job>) {
    let files: Vec<Bytes> = batch.iter().map(|job| job.bytes.clone()).collect();
    let results = match caught(|| analyser.analyse_batch(&files)) {
        Ok(results) => results
            .into_iter()
            .map(|r| r.map_err(EngineError::Image))
            .collect(),
        // One of them broke a decoder: the others must not suffer for it.
        Err(_) => files
            .iter()
            .map(|file| caught(|| analyser.analyse(file))?.map_err(EngineError::Image))
            .collect::<Vec<_>>(),
    };
    for (job, result) in batch.into_iter().zip(results) {
        // Nobody waits for the answer any more: nothing to do.
        let _ = job.reply.send(result);
    }
}

/// Runs `work`; a panic becomes an error.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| panicked(&*payload))
}

/// The error that a panic becomes.
pub(super) fn panicked(payload: &(dyn Any + Send)) -> EngineError {
    let what = payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "no message".to_owned());
    tracing::error!(panic = %what, "caught a panic");
    EngineError::Panicked { what }
}

//! The one place where uploads are decoded and embedded: a queue with bounded length and bounded bytes. A thread that is free
//! takes what has gathered, across requests, as one batch, but leaves their share to other threads that are free; while the
//! threads compute the next batch gathers by itself.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::EngineError;
use super::workers::{Idle, Workers};
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
    queue: Arc<Waiting>,
    workers: Arc<Workers>,
    slots: Arc<Semaphore>,
    room: Arc<Semaphore>,
    room_units: u32,
    patience: Duration,
}

/// What waits, and what takes it.
struct Waiting {
    /// In their order, each with its place in the queue.
    jobs: Mutex<VecDeque<(Job, OwnedSemaphorePermit)>>,
    analyser: Arc<Analyser>,
    batch_images: usize,
    idle: Idle,
}

impl AnalysisPool {
    /// A queue in front of `workers`.
    pub(super) fn new(analyser: Arc<Analyser>, options: &Ingest, workers: Arc<Workers>) -> Self {
        let room_units = units(options.queue_bytes);
        Self {
            queue: Arc::new(Waiting {
                jobs: Mutex::default(),
                analyser,
                batch_images: options.batch_images,
                idle: workers.idle(),
            }),
            workers,
            slots: Arc::new(Semaphore::new(options.queue_images.min(Semaphore::MAX_PERMITS))),
            room: Arc::new(Semaphore::new(room_units as usize)),
            room_units,
            patience: options.queue_timeout,
        }
    }

    /// Analyses one file. Waits for room in the queue at most as long as configured.
    ///
    /// # Errors
    /// [`EngineError::Image`] when the file cannot be read, [`EngineError::Busy`] when no room came free in time,
    /// [`EngineError::Panicked`] when a decoder broke.
    pub(super) async fn analyse(&self, bytes: Bytes) -> Result<Analysis, EngineError> {
        let started = Instant::now();
        let busy = || EngineError::Busy {
            waiting: self.waiting(),
        };
        let deadline = tokio::time::Instant::now() + self.patience;
        // A file larger than the whole budget takes all of it and goes alone.
        let needed = units(bytes.len() as u64).min(self.room_units);
        let room = Arc::clone(&self.room).acquire_many_owned(needed);
        let room = tokio::time::timeout_at(deadline, room)
            .await
            .map_err(|_| busy())?;
        let room = room.map_err(|_| EngineError::Stopping)?;
        let slot = tokio::time::timeout_at(deadline, Arc::clone(&self.slots).acquire_owned())
            .await
            .map_err(|_| busy())?;
        let slot = slot.map_err(|_| EngineError::Stopping)?;
        let (reply, answer) = oneshot::channel();
        let job = Job {
            bytes,
            reply,
            _room: room,
        };
        self.queue.jobs.lock().push_back((job, slot));
        let queue = Arc::clone(&self.queue);
        self.workers.later(move || queue.take());
        metrics::gauge!(names::QUEUE_IMAGES).set(self.waiting() as f64);
        let analysis = answer.await.map_err(|_| EngineError::Stopping)?;
        metrics::histogram!(names::STAGE_SECONDS, "stage" => "analyse").record(started.elapsed());
        analysis
    }

    /// Images in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.queue.jobs.lock().len()
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES))
        .unwrap_or(u32::MAX)
        .clamp(1, Semaphore::MAX_PERMITS as u32)
}

impl Waiting {
    /// Analyses a batch of what waits; there may be nothing left.
    fn take(&self) {
        let mut batch: Vec<Job> = {
            let mut jobs = self.jobs.lock();
            let share = jobs.len().div_ceil(1 + self.idle.threads());
            let share = share.min(self.batch_images);
            jobs.drain(..share).map(|(job, _)| job).collect()
        };
        // A client that went away leaves no work behind.
        batch.retain(|job| !job.reply.is_closed());
        if !batch.is_empty() {
            metrics::histogram!(names::BATCH_IMAGES).record(batch.len() as f64);
            answer(&self.analyser, batch);
        }
    }
}

fn answer(analyser: &Analyser, batch: Vec<Job>) {
    let files: Vec<Bytes> = batch.iter().map(|job| job.bytes.clone()).collect();
    let results = match caught(|| analyser.analyse_together(&files)) {
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

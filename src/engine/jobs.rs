//! Work in the background: a registry of this process's jobs with progress and cancelling. Jobs are not kept over a
//! restart; what they do is safe to stop and to repeat.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::EngineError;
use crate::types::CollectionName;

/// Jobs remembered after their end.
const REMEMBERED: usize = 200;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Finds the matches of every image, so that the groups are complete.
    Dedup,
    /// Removes deleted rows and merges small segments.
    Compact,
}

impl JobKind {
    /// The kind as written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dedup => "dedup",
            Self::Compact => "compact",
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// At work.
    Running,
    /// Ended well.
    Done,
    /// Ended with an error.
    Failed,
    /// Stopped because someone asked for it, or because the service stopped.
    Cancelled,
}

impl JobState {
    /// The state as written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job as it is now.
#[derive(Debug, Clone)]
pub struct JobInfo {
    /// Its id.
    pub id: Uuid,
    /// What it does.
    pub kind: JobKind,
    /// The collection it works on.
    pub collection: CollectionName,
    /// Where it stands.
    pub state: JobState,
    /// Steps done.
    pub done: u64,
    /// Steps in all, as far as known.
    pub total: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: Option<DateTime<Utc>>,
}

/// What a running job holds: it tells its progress and learns that it should stop.
#[derive(Clone)]
pub(super) struct JobHandle {
    info: Arc<watch::Sender<JobInfo>>,
    cancel: CancellationToken,
}

impl JobHandle {
    /// Tells how far the job is.
    pub(super) fn progress(&self, done: u64, total: u64) {
        self.info
            .send_modify(|info| (info.done, info.total) = (done, total));
    }

    /// Whether the job should stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn end(&self, result: Result<(), EngineError>) {
        self.info.send_modify(|info| {
            info.ended = Some(Utc::now());
            (info.state, info.error) = match result {
                Err(error) => (JobState::Failed, Some(error.to_string())),
                Ok(()) if self.cancel.is_cancelled() => (JobState::Cancelled, None),
                Ok(()) => (JobState::Done, None),
            };
        });
    }
}

/// All jobs of this process.
pub(super) struct Jobs {
    /// Version 7 ids: in order of their start.
    all: Mutex<BTreeMap<Uuid, JobHandle>>,
    stop: CancellationToken,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self {
            all: Mutex::new(BTreeMap::new()),
            stop: CancellationToken::new(),
        }
    }

    /// Starts `work` in the background.
    pub(super) fn start<F>(
        &self,
        kind: JobKind,
        collection: CollectionName,
        work: impl FnOnce(JobHandle) -> F,
    ) -> JobInfo
    where
        F: Future<Output = Result<(), EngineError>> + Send + 'static,
    {
        let id = Uuid::now_v7();
        let info = JobInfo {
            id,
            kind,
            collection,
            state: JobState::Running,
            done: 0,
            total: 0,
            error: None,
            started: Utc::now(),
            ended: None,
        };
        let (sender, _) = watch::channel(info.clone());
        let handle = JobHandle {
            info: Arc::new(sender),
            cancel: self.stop.child_token(),
        };
        self.remember(id, handle.clone());
        let running = tokio::spawn(work(handle.clone()));
        tokio::spawn(async move {
            let result = running.await.unwrap_or_else(|lost| {
                Err(EngineError::Panicked {
                    what: lost.to_string(),
                })
            });
            if let Err(error) = &result {
                tracing::error!(job = %id, kind = kind.as_str(), %error, "a job failed");
            }
            handle.end(result);
        });
        info
    }

    fn remember(&self, id: Uuid, handle: JobHandle) {
        let mut all = self.all.lock();
        all.insert(id, handle);
        while all.len() > REMEMBERED {
            let Some(oldest) = all
                .iter()
                .find(|(_, job)| job.info.borrow().ended.is_some())
                .map(|(id, _)| *id)
            else {
                return;
            };
            all.remove(&oldest);
        }
    }

    /// The running job of this kind on this collection.
    pub(super) fn running(&self, kind: JobKind, collection: &CollectionName) -> Option<JobInfo> {
        let all = self.all.lock();
        let mut infos = all.values().map(|job| job.info.borrow().clone());
        infos.find(|info| info.kind == kind && info.collection == *collection && info.ended.is_none())
    }

    /// All jobs, latest first.
    pub(super) fn list(&self) -> Vec<JobInfo> {
        self.all
            .lock()
            .values()
            .rev()
            .map(|job| job.info.borrow().clone())
            .collect()
    }

    /// Follows a job: the receiver holds its present state and wakes at every change.
    pub(super) fn follow(&self, id: &str) -> Result<watch::Receiver<JobInfo>, EngineError> {
        Ok(self.find(id)?.info.subscribe())
    }

    /// Asks a job to stop; one that has ended stays as it is.
    pub(super) fn cancel(&self, id: &str) -> Result<JobInfo, EngineError> {
        let job = self.find(id)?;
        job.cancel.cancel();
        Ok(job.info.borrow().clone())
    }

    /// Asks all jobs to stop.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    fn find(&self, id: &str) -> Result<JobHandle, EngineError> {
        let missing = || EngineError::NoJob {
            id: id.chars().take(60).collect(),
        };
        let id: Uuid = id.parse().map_err(|_| missing())?;
        self.all.lock().get(&id).cloned().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_tells_its_progress_and_can_be_cancelled() {
        let jobs = Jobs::new();
        let collection = CollectionName::default_collection();
        let info = jobs.start(JobKind::Dedup, collection.clone(), |job| async move {
            job.progress(1, 2);
            job.cancel.cancelled().await;
            Ok(())
        });
        let mut follow = jobs.follow(&info.id.to_string()).expect("a job that was started");
        follow
            .wait_for(|info| info.done == 1 && info.total == 2)
            .await
            .expect("alive");
        assert!(jobs.running(JobKind::Dedup, &collection).is_some());
        jobs.cancel(&info.id.to_string()).expect("a job that is running");
        let ended = follow
            .wait_for(|info| info.ended.is_some())
            .await
            .expect("alive")
            .clone();
        assert_eq!(ended.state, JobState::Cancelled);
        assert!(jobs.running(JobKind::Dedup, &collection).is_none());
        assert!(matches!(
            jobs.cancel("no-such-job"),
            Err(EngineError::NoJob { .. })
        ));
    }

    #[tokio::test]
    async fn a_job_that_fails_or_panics_says_so() {
        let jobs = Jobs::new();
        let collection = CollectionName::default_collection();
        let failing = jobs.start(JobKind::Compact, collection.clone(), |_| async {
            Err(EngineError::Stopping)
        });
        let breaking = jobs.start(JobKind::Compact, collection, |_| async {
            panic!("broken on purpose")
        });
        for info in [failing, breaking] {
            let mut follow = jobs.follow(&info.id.to_string()).expect("a job that was started");
            let ended = follow
                .wait_for(|info| info.ended.is_some())
                .await
                .expect("alive")
                .clone();
            assert_eq!(ended.state, JobState::Failed);
            assert!(ended.error.is_some());
        }
    }
}

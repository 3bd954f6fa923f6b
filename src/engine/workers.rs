//! The threads that compute: one a core. So few that each finds its memory and its caches as it left them; and work waits in
//! a queue here instead of taking turns on a core.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::EngineError;
use super::analysis::caught;

/// Pieces of [`Workers::run`] in a row after which one of [`Workers::later`] has its turn.
const IN_A_ROW: u32 = 16;

type Work = Box<dyn FnOnce() + Send>;

/// Runs work that computes, as much at a time as there are cores.
pub(super) struct Workers {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    sooner: VecDeque<Work>,
    later: VecDeque<Work>,
    /// Pieces taken from `sooner` since the last one of `later`.
    in_a_row: u32,
    /// Threads that wait for work.
    idle: usize,
    closed: bool,
}

impl Queue {
    fn take(&mut self) -> Option<Work> {
        let is_their_turn = self.in_a_row >= IN_A_ROW && !self.later.is_empty();
        if !is_their_turn && let Some(work) = self.sooner.pop_front() {
            self.in_a_row += 1;
            return Some(work);
        }
        self.in_a_row = 0;
        self.later.pop_front()
    }
}

impl Workers {
    /// Starts the threads; they end when the value is dropped.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub(super) fn start(threads: usize) -> std::io::Result<Self> {
        let workers = Self {
            shared: Arc::default(),
        };
        for _ in 0..threads.max(1) {
            let shared = Arc::clone(&workers.shared);
            std::thread::Builder::new()
                .name("doppel-worker".to_owned())
                .spawn(move || shared.work())?;
        }
        Ok(workers)
    }

    /// Runs work that a request waits for, unless nobody does any more when its turn comes.
    ///
    /// # Errors
    /// [`EngineError::Panicked`], [`EngineError::Stopping`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move || {
            if !reply.is_closed() {
                // A caller that gave up meanwhile needs no answer.
                let _ = reply.send(caught(work));
            }
        });
        self.shared.push(|queue| queue.sooner.push_back(work));
        answer.await.map_err(|_| EngineError::Stopping)?
    }

    /// Runs work when nothing of [`Self::run`] waits, or after some of it. A panic is the caller's own to catch.
    pub(super) fn later(&self, work: impl FnOnce() + Send + 'static) {
        let work: Work = Box::new(work);
        self.shared.push(|queue| queue.later.push_back(work));
    }

    /// Tells how many threads wait for work.
    pub(super) fn idle(&self) -> Idle {
        Idle(Arc::clone(&self.shared))
    }
}

/// A view of the threads that wait for work.
pub(super) struct Idle(Arc<Shared>);

impl Idle {
    pub(super) fn threads(&self) -> usize {
        self.0.queue.lock().idle
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.ready.notify_all();
    }
}

impl Shared {
    fn push(&self, put: impl FnOnce(&mut Queue)) {
        put(&mut self.queue.lock());
        self.ready.notify_one();
    }

    /// Body of a thread.
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(work) = queue.take() {
                drop(queue);
                work();
                queue = self.queue.lock();
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                self.ready.wait(&mut queue);
                queue.idle -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_runs_and_a_panic_stays_with_its_caller() {
        let workers = Workers::start(1).expect("a thread");
        assert_eq!(workers.run(|| 7).await.expect("runs"), 7);
        let broken = workers.run(|| panic!("on purpose")).await;
        assert!(matches!(broken, Err(EngineError::Panicked { what }) if what == "on purpose"));
        assert_eq!(workers.run(|| 8).await.expect("the thread goes on"), 8);
    }

    #[tokio::test]
    async fn what_is_waited_for_goes_first_but_not_for_ever() {
        let workers = Workers::start(1).expect("a thread");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        workers.later(move || {
            let _ = wait.recv();
        });
        while workers.idle().threads() > 0 || !workers.shared.queue.lock().later.is_empty() {
            std::thread::yield_now();
        }
        // The thread is held: what follows is chosen from when it is free.
        let done = Arc::new(AtomicUsize::new(0));
        let before = Arc::new(AtomicUsize::new(usize::MAX));
        let (count, seen) = (Arc::clone(&done), Arc::clone(&before));
        workers.later(move || seen.store(count.load(Ordering::SeqCst), Ordering::SeqCst));
        let many = (0..40).map(|_| {
            let done = Arc::clone(&done);
            workers.run(move || done.fetch_add(1, Ordering::SeqCst))
        });
        let many = futures::future::join_all(many);
        let release = async { drop(go) };
        futures::join!(many, release);
        assert_eq!(before.load(Ordering::SeqCst), IN_A_ROW as usize);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_left_out() {
        let workers = Workers::start(1).expect("a thread");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        workers.later(move || {
            let _ = wait.recv();
        });
        let ran = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ran);
        let given_up = workers.run(move || count.fetch_add(1, Ordering::SeqCst));
        assert!(futures::FutureExt::now_or_never(given_up).is_none(), "it waits");
        drop(go);
        workers.run(|| ()).await.expect("runs");
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
}

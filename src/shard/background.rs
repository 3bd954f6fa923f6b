//! Work that no caller waits for: graphs, seals, merges. It takes every core that is idle and gives way to everything else,
//! so that acknowledgements and searches are as fast beside it as without.

use tokio::sync::oneshot;

use super::ShardError;

/// Runs `work` on a thread of its own.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("background".to_owned());
    let started = thread.spawn(|| {
        give_way();
        work();
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no thread for background work");
    }
}

/// Runs `work`, with as many threads as there are cores for what it does in parallel.
///
/// # Errors
/// [`ShardError::Unavailable`] when there are no threads, or it panicked.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ShardError> {
    let (answer, result) = oneshot::channel();
    spawn(move || {
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|_| "background".to_owned())
            .build();
        let outcome = match pool {
            Ok(pool) => Ok(pool.install(work)),
            Err(error) => Err(ShardError::Unavailable {
                reason: error.to_string(),
            }),
        };
        // Whoever asked may be gone: the shard was closed meanwhile.
        drop(answer.send(outcome));
    });
    result.await.unwrap_or_else(|_| {
        Err(ShardError::Unavailable {
            reason: "background work ended without a result".to_owned(),
        })
    })
}

/// Steps by which background threads are nicer than the process: a tenth of what other work gets where both want a core. With
/// less, seals would stand still on a machine that is busy with something else.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// Lowers the priority of the calling thread. Failing to costs speed only.
#[cfg(target_os = "linux")]
fn give_way() {
    // On Linux a niceness is that of the calling thread, and of those that it starts.
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!(%error, "background work runs at normal priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[tokio::test]
    async fn results_come_back_and_panics_are_errors() {
        let sum: Result<u64, _> = run(|| (1..=1000_u64).into_par_iter().sum()).await;
        assert_eq!(sum.expect("ran"), 500_500);
        let failed = run(|| -> () { panic!("as tests do") }).await;
        assert!(
            matches!(failed, Err(ShardError::Unavailable { .. })),
            "{failed:?}"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn all_its_threads_give_way_and_no_other() {
        let niceness = || rustix::process::getpriority_process(None).expect("known");
        let before = niceness();
        let found = run(move || {
            let mut found = rayon::broadcast(|_| niceness());
            found.push(niceness());
            found
        });
        let found = found.await.expect("ran");
        let expected = (before + NICER).min(19);
        assert!(found.iter().all(|&n| n == expected), "{found:?}");
        assert_eq!(niceness(), before);
    }
}

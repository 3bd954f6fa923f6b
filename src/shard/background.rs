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

/// Longest time, in nanoseconds, that a background thread runs before others are considered, where nothing else wakes: the
/// longest that Linux takes.
#[cfg(target_os = "linux")]
const SLICE: u64 = 100_000_000;

/// Lowers the priority of the calling thread. Failing to costs speed only.
#[cfg(target_os = "linux")]
fn give_way() {
    // On Linux a niceness is that of the calling thread, and of those that it starts.
    let lowered = rustix::process::nice(NICER).map_err(std::io::Error::from);
    if let Err(error) = lowered.and_then(set_slice) {
        tracing::debug!(%error, "background work runs at normal priority");
    }
}

/// Gives the calling thread long slices of its core. Since Linux 6.12 a thread that wakes takes the core at once from one with
/// longer slices; otherwise whoever has it, however nice, keeps it for the rest of a slice of 3 ms. Earlier versions pay no
/// attention to it.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a system call without a wrapper")]
fn set_slice(nice: i32) -> std::io::Result<()> {
    let attributes = libc::sched_attr {
        size: std::mem::size_of::<libc::sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SLICE,
        sched_deadline: 0,
        sched_period: 0,
    };
    let (this_thread, no_flags) = (0, 0);
    // SAFETY: the call reads the structure, whose size it is told, and keeps nothing.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            this_thread,
            &raw const attributes,
            no_flags,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
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
        // Nanoseconds, as far as this kernel has them.
        let slice = || {
            let about = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
            let line = about.lines().find(|line| line.starts_with("se.slice"));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
        let mut version = kernel.split('.').map_while(|part| part.parse::<u32>().ok());
        let takes_slices = (version.next(), version.next()) >= (Some(6), Some(12));
        let found = run(move || rayon::broadcast(|_| slice())).await.expect("ran");
        if takes_slices && slice().is_some() {
            assert!(found.iter().all(|&found| found == Some(SLICE)), "{found:?}");
            assert_ne!(slice(), Some(SLICE));
        }
    }
}

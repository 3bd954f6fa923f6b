//! SIGKILL at random moments, again and again on the same store.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use doppel::segment::compaction::Policy;
use doppel::shard::{Appended, ShardOptions};

use super::common::{CHILD, DIM, Told, child, model, open, record, runtime, say, stores, verify};

const START: &str = "DOPPEL_TEST_CRASH_START";
const WRITERS: u64 = 16;

/// Small enough that seals and compactions never cease.
fn options() -> ShardOptions {
    ShardOptions {
        seal_rows: 150,
        orphan_age: Duration::ZERO,
        compaction: Policy {
            most_small: 6,
            most_scanned: 5000,
            ..Policy::default()
        },
        ..ShardOptions::new(DIM, model())
    }
}

/// The child: each writer stores images of its own numbers, deletes some, and says what was acknowledged.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let start: u64 = std::env::var(START).expect("set").parse().expect("a number");
    runtime().block_on(async {
        let stores = stores(Path::new(&dir)).await;
        let shard = open(&stores, options()).await;
        say("ready\n");
        let writers = (0..WRITERS).map(|writer| {
            let shard = shard.clone();
            tokio::spawn(async move {
                for step in 0.. {
                    let n = start + step * WRITERS + writer;
                    match shard.append(record(n)).await.expect("stored") {
                        Appended::New => say(&format!("+{n}\n")),
                        Appended::Existing(_) => say(&format!("!{n}\n")),
                    }
                    if n % 4 == 1 {
                        let victim = n - (n % 64).min(step * WRITERS) / WRITERS * WRITERS;
                        say(&format!("?{victim}\n"));
                        if shard.delete(record(victim).id).await.expect("deleted") {
                            say(&format!("-{victim}\n"));
                        }
                    }
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

/// `start`: first number of the child.
fn round(dir: &Path, told: &mut Told, start: u64, kill_after: Duration) {
    let mut child = child("random::writes_until_it_is_killed", dir)
        .env(START, start.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let ready = lines
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .any(|line| line.ends_with("ready"));
    assert!(ready, "the child opens the store it was killed in");
    let killer = std::thread::spawn(move || {
        std::thread::sleep(kill_after);
        child.kill().expect("killed");
        child.wait().expect("reaped");
    });
    told.listen(lines);
    killer.join().expect("killed");
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let rounds =
        std::env::var("DOPPEL_TEST_CRASH_ROUNDS").map_or(5, |text| text.parse().expect("a number of rounds"));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut told, mut start) = (Told::default(), 0);
    let mut random = u64::from(std::process::id()) | 1;
    let begin = Instant::now();
    for number in 0..rounds {
        // xorshift: any moment will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let before = told.stored.len();
        // It may store some and be killed before it says so.
        start = told.highest.max(start) + 1000;
        round(
            dir.path(),
            &mut told,
            start,
            Duration::from_millis(20 + random % 700),
        );
        let opened = runtime().block_on(verify(dir.path(), &told, options()));
        println!(
            "round {number}: {} acknowledged, {} deleted, {} new, opened in {opened:?}, {:?}",
            told.stored.len(),
            told.deleted.len(),
            told.stored.len() - before,
            begin.elapsed()
        );
    }
    assert!(told.stored.len() > 50, "too little was written to prove anything");
}

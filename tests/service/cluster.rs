//! Two nodes over three etcd members and an S3 API, all of them processes: one serves, the other takes over when it dies.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::server::{Server, client, doppel, ids, picture, upload};

/// `scripts/cluster --servers`, which ends what it started when its input ends: with this value, or this process.
struct Servers {
    script: Child,
    environment: BTreeMap<String, String>,
    _folder: tempfile::TempDir,
}

impl Servers {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster"))
            .arg("--servers")
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/cluster runs");
        let lines = BufReader::new(script.stdout.take().expect("piped"))
            .lines()
            .map_while(Result::ok);
        let environment: BTreeMap<String, String> = lines
            .take_while(|line| line != "ready")
            .filter_map(|line| {
                line.split_once('=')
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
            })
            .collect();
        assert!(
            environment.contains_key("ETCD"),
            "the servers did not start: {environment:?}"
        );
        Self {
            script,
            environment,
            _folder: folder,
        }
    }

    /// A node of the cluster that these servers carry.
    fn node(&self, name: &str, folder: &Path) -> Command {
        let mut command = doppel();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join(name))
            .args([
                "--etcd",
                &self.environment["ETCD"],
                "--storage",
                &self.environment["STORAGE"],
            ])
            .env("DOPPEL_NODE", name)
            .envs(
                self.environment
                    .iter()
                    .filter(|(name, _)| name.starts_with("AWS_")),
            );
        command
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_followed_by_another_that_serves_all_it_acknowledged() {
    let servers = Servers::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let patience = Duration::from_secs(90);
    let first = Server::run(&mut servers.node("one", folder.path())).serving(patience);
    let standby = Server::run(&mut servers.node("two", folder.path()));
    let http = client();
    let (acks, mut seen) = tokio::sync::mpsc::unbounded_channel();
    for lane in 0..4_u32 {
        let (http, base, acks) = (http.clone(), first.base.clone(), acks.clone());
        tokio::spawn(async move {
            for n in 0.. {
                match upload(&http, &base, picture(lane * 10_000 + n)).await {
                    Some(id) => acks.send(id).expect("the test listens"),
                    None => return,
                }
            }
        });
    }
    drop(acks);
    let mut acknowledged = BTreeSet::new();
    for _ in 0..24 {
        acknowledged.insert(seen.recv().await.expect("the first node takes uploads"));
    }
    assert!(!standby.serves(), "two nodes serve the same shards");
    first.kill();
    let killed = Instant::now();
    while let Some(id) = seen.recv().await {
        acknowledged.insert(id);
    }
    let second = standby.serving(patience);
    eprintln!(
        "taken over {:.1} s after the kill",
        killed.elapsed().as_secs_f64()
    );
    let served = ids(&http, &second.base).await;
    let lost: Vec<_> = acknowledged.difference(&served).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost",
        lost.len(),
        acknowledged.len()
    );
    for id in &acknowledged {
        let url = format!("{}/v1/collections/default/images/{id}/thumbnail", second.base);
        let status = http.get(url).send().await.expect("an answer").status();
        assert!(status.is_success(), "no thumbnail of {id}: {status}");
    }
    let id = upload(&http, &second.base, picture(99_999))
        .await
        .expect("the second node takes uploads");

    // The first one is back, and waits: its shards are another's now.
    let back = Server::run(&mut servers.node("one", folder.path()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!back.serves(), "two nodes serve the same shards");
    assert!(ids(&http, &second.base).await.contains(&id));
    second.kill();
    let third = back.serving(patience);
    acknowledged.insert(id);
    assert!(acknowledged.is_subset(&ids(&http, &third.base).await));
}

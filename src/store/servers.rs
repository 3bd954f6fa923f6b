//! Real servers for tests: etcd and an S3 API as processes on free ports, gone with their values. A missing program fails
//! the test.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn spawn(command: &mut Command) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} does not start ({e}): scripts/setup test installs it"))
}

/// Waits until something listens on a port.
fn wait_for(port: u16, child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = child.try_wait().expect("a child's status") {
            panic!("the server ended at once: {status}");
        }
        assert!(
            Instant::now() < deadline,
            "the server does not listen on port {port}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn end(child: &mut Child) {
    // Gone already is as good.
    let _ = child.kill();
    let _ = child.wait();
}

/// etcd members with fresh data folders.
pub(crate) struct Etcd {
    members: Vec<Member>,
    arguments: Vec<&'static str>,
    dir: tempfile::TempDir,
}

struct Member {
    child: Child,
    port: u16,
    peer_port: u16,
}

impl Etcd {
    /// One member.
    pub(crate) fn start() -> Self {
        Self::start_with(1, &[])
    }

    /// So many members, with arguments besides the usual ones.
    pub(crate) fn start_with(members: usize, arguments: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let ports: Vec<(u16, u16)> = (0..members).map(|_| (free_port(), free_port())).collect();
        let peers: Vec<u16> = ports.iter().map(|(_, peer)| *peer).collect();
        let members = ports
            .iter()
            .enumerate()
            .map(|(number, &(port, peer_port))| Member {
                child: Self::run(&dir, number, port, &peers, arguments),
                port,
                peer_port,
            });
        let mut etcd = Self {
            members: members.collect(),
            arguments: arguments.to_vec(),
            dir,
        };
        for member in &mut etcd.members {
            wait_for(member.port, &mut member.child);
        }
        etcd
    }

    fn run(
        dir: &tempfile::TempDir,
        number: usize,
        port: u16,
        peers: &[u16],
        arguments: &[&'static str],
    ) -> Child {
        let program = std::env::var_os("DOPPEL_TEST_ETCD").map_or_else(|| "etcd".into(), PathBuf::from);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(number, &peer)| format!("m{number}={}", url(peer)))
            .collect();
        let (client, peer) = (url(port), url(peers[number]));
        spawn(
            Command::new(program)
                .args(["--name", &format!("m{number}")])
                .arg("--data-dir")
                .arg(dir.path().join(number.to_string()))
                .args([
                    "--listen-client-urls",
                    &client,
                    "--advertise-client-urls",
                    &client,
                ])
                .args([
                    "--listen-peer-urls",
                    &peer,
                    "--initial-advertise-peer-urls",
                    &peer,
                ])
                .args(["--initial-cluster", &cluster.join(",")])
                .args(arguments),
        )
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        let url = |member: &Member| format!("http://127.0.0.1:{}", member.port);
        self.members.iter().map(url).collect()
    }

    /// Ends a member as a crash would.
    pub(crate) fn kill(&mut self, member: usize) {
        end(&mut self.members[member].child);
    }

    /// Starts a member again on its data.
    pub(crate) fn restart(&mut self, member: usize) {
        self.kill(member);
        let peers: Vec<u16> = self.members.iter().map(|m| m.peer_port).collect();
        let port = self.members[member].port;
        let child = Self::run(&self.dir, member, port, &peers, &self.arguments);
        self.members[member].child = child;
        wait_for(port, &mut self.members[member].child);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            end(&mut member.child);
        }
    }
}

/// An S3 API that keeps its objects in memory.
pub(crate) struct S3 {
    child: Child,
    port: u16,
}

impl S3 {
    pub(crate) fn start() -> Self {
        let program =
            std::env::var_os("DOPPEL_TEST_MOTO").map_or_else(|| "moto_server".into(), PathBuf::from);
        let port = free_port();
        let mut child = spawn(
            Command::new(program)
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools")),
        );
        wait_for(port, &mut child);
        Self { child, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a bucket: an unsigned PUT, which this server takes.
    pub(crate) async fn make_bucket(&self, name: &str) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/{name}", self.endpoint());
        let answer = reqwest::Client::new()
            .put(url)
            .send()
            .await
            .expect("the server answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

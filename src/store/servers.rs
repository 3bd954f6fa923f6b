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

/// One etcd member with a fresh data folder.
pub(crate) struct Etcd {
    child: Child,
    port: u16,
    peer_port: u16,
    dir: tempfile::TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (port, peer_port) = (free_port(), free_port());
        let child = Self::run(&dir, port, peer_port);
        Self {
            child,
            port,
            peer_port,
            dir,
        }
    }

    fn run(dir: &tempfile::TempDir, port: u16, peer_port: u16) -> Child {
        let program = std::env::var_os("DOPPEL_TEST_ETCD").map_or_else(|| "etcd".into(), PathBuf::from);
        let client = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let mut child = spawn(
            Command::new(program)
                .arg("--data-dir")
                .arg(dir.path())
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
                .args(["--initial-cluster", &format!("default={peer}")]),
        );
        wait_for(port, &mut child);
        child
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Starts it again on its data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = Self::run(&self.dir, self.port, self.peer_port);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        end(&mut self.child);
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

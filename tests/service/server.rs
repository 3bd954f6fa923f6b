//! A `doppel serve` of a test, and what a client does with it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use doppel::vision::{RgbImage, thumbnail};
use reqwest::multipart::{Form, Part};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_doppel");

/// A running `doppel serve`; killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) base: String,
}

impl Server {
    pub(crate) fn start(data_dir: &Path) -> Self {
        let mut command = doppel();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir);
        Self::run(&mut command).serving(Duration::from_secs(60))
    }

    /// Starts a command that serves sooner or later.
    pub(crate) fn run(command: &mut Command) -> Starting {
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = process.stderr.take().expect("piped");
        let (found, address) = mpsc::channel();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("serving on ") {
                    let address: String = address
                        .chars()
                        .take_while(|c| !c.is_whitespace() && *c != '\x1b')
                        .collect();
                    let _ = found.send(address);
                }
                lines.lock().expect("no panic").push(line);
            }
        });
        Starting {
            process,
            address,
            log,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL, as a power failure for the process.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it has ended");
    }
}

/// A process that does not serve yet.
pub(crate) struct Starting {
    process: Child,
    address: mpsc::Receiver<String>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Starting {
    /// Waits until it serves.
    pub(crate) fn serving(mut self, patience: Duration) -> Server {
        match self.address.recv_timeout(patience) {
            Ok(base) => Server {
                process: self.process,
                base,
            },
            Err(_) => {
                let _ = self.process.kill();
                let log = self.log.lock().expect("no panic").join("\n");
                panic!("it ended, or does not serve within {patience:?}:\n{log}");
            }
        }
    }

    /// Whether it serves already.
    pub(crate) fn serves(&self) -> bool {
        self.address.try_recv().is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary, untouched by the settings of whoever runs the tests.
pub(crate) fn doppel() -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOPPEL_")) {
        command.env_remove(name);
    }
    command
}

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .expect("a client")
}

/// A small picture that no other seed gives.
pub(crate) fn picture(seed: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(96, 72, |x, y| {
        let h = (x / 8 * 31 + y / 8 * 17 + seed * 7919).wrapping_mul(2_654_435_761);
        [(h >> 24) as u8, (h >> 16) as u8, (h >> 8) as u8].into()
    });
    thumbnail::encode(&image).expect("encodes")
}

pub(crate) async fn upload(http: &reqwest::Client, base: &str, file: Vec<u8>) -> Option<String> {
    let form = Form::new().part("file", Part::bytes(file).file_name("picture.jpg"));
    let request = http
        .post(format!("{base}/v1/collections/default/images"))
        .multipart(form);
    let answer: Value = request.send().await.ok()?.json().await.ok()?;
    answer["images"][0]["id"].as_str().map(str::to_owned)
}

pub(crate) async fn ids(http: &reqwest::Client, base: &str) -> BTreeSet<String> {
    let (mut ids, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let url = format!("{base}/v1/collections/default/images?limit=50{cursor}");
        let page: Value = http
            .get(url)
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        for image in page["images"].as_array().expect("a list") {
            ids.insert(image["id"].as_str().expect("an id").to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

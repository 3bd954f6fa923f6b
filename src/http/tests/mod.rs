//! The API over a real socket, on a temporary data folder, with images made here.

mod beyond;
mod closed;
mod connections;
mod errors;
mod groups;
mod images;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Api, serve};
use crate::config::Config;
use crate::engine::Engine;
use crate::telemetry::Metrics;
use crate::vision::{RgbImage, thumbnail};

/// A service of one test.
struct Service {
    base: String,
    http: Client,
    api: Api,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    /// Removed at the end of the test.
    folder: TempDir,
}

impl Service {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A service whose settings `change` has been applied to.
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config {
            data_dir: folder.path().join("data"),
            ..Config::default()
        };
        change(&mut config);
        let engine = Engine::open(config).await.expect("the engine opens");
        Self::over(engine, folder).await
    }

    async fn over(engine: Arc<Engine>, folder: TempDir) -> Self {
        let stop = CancellationToken::new();
        let metrics = Metrics::install().expect("the only recorder");
        let api = Api {
            engine,
            metrics,
            stopping: CancellationToken::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let until = stop.clone().cancelled_owned();
        let serving = tokio::spawn(serve(listener, api.clone(), until, Duration::from_secs(1)));
        Self {
            base,
            http: client(),
            api,
            stop,
            serving,
            folder,
        }
    }

    /// Stops the service and starts it again on the same folder.
    async fn restart(self) -> Self {
        self.stop.cancel();
        self.serving.await.expect("no panic");
        self.api.engine.close().await;
        let config = self.api.engine.config().clone();
        drop(self.api);
        // Threads of the old engine may still hold the folder's lock for a moment.
        let mut last = None;
        for _ in 0..200 {
            match Engine::open(config.clone()).await {
                Ok(engine) => return Self::over(engine, self.folder).await,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("cannot be opened again: {last:?}");
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("an answer")
    }

    /// A GET that must succeed, as JSON.
    async fn read(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.expect("JSON")
    }

    async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path)
            .send()
            .await
            .expect("an answer")
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path)
            .json(body)
            .send()
            .await
            .expect("an answer")
    }

    async fn post_form(&self, path: &str, form: Form) -> Response {
        self.request(Method::POST, path)
            .multipart(form)
            .send()
            .await
            .expect("an answer")
    }

    /// Uploads files to `default`; answers the status and the entries of the answer.
    async fn upload(&self, query: &str, files: &[(&str, Bytes)]) -> (StatusCode, Vec<Value>) {
        let response = self
            .post_form(&format!("/v1/collections/default/images{query}"), form(files))
            .await;
        let status = response.status();
        let mut answer: Value = response.json().await.expect("JSON");
        let images = answer["images"].take();
        (
            status,
            images
                .as_array()
                .unwrap_or_else(|| panic!("no images: {answer}"))
                .clone(),
        )
    }

    /// Uploads one file that must be new; answers its id.
    async fn created(&self, name: &str, file: Bytes) -> String {
        let (status, images) = self.upload("", &[(name, file)]).await;
        assert_eq!(
            (status, &images[0]["status"]),
            (StatusCode::CREATED, &"created".into()),
            "{images:?}"
        );
        images[0]["id"].as_str().expect("an id").to_owned()
    }
}

/// A client for plain HTTP.
fn client() -> Client {
    // A provider installed by another test is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().tls_certs_only([]).build().expect("a client")
}

fn form(files: &[(&str, Bytes)]) -> Form {
    files.iter().fold(Form::new(), |form, (name, file)| {
        form.part("file", part(name, file))
    })
}

fn part(name: &str, file: &Bytes) -> Part {
    Part::stream(file.clone()).file_name(name.to_owned())
}

/// A picture with much to recognise, as JPEG. Its content depends on `seed` alone: other sizes are resized copies.
fn picture(seed: u32, width: u32, height: u32) -> Bytes {
    let noise = |x: u32, y: u32, salt: u32| {
        let mut h = x.wrapping_mul(0x9e37_79b1)
            ^ y.wrapping_mul(0x85eb_ca6b)
            ^ (seed * 977 + salt).wrapping_mul(0xc2b2_ae35);
        h ^= h >> 15;
        h = h.wrapping_mul(0x2c1b_3c6d);
        f64::from((h ^ (h >> 12)) & 0xff)
    };
    // Value noise at three scales: blobs, shapes and grain.
    let smooth = |u: f64, v: f64, cells: f64, salt: u32| {
        let (x, y) = (u * cells, v * cells);
        let (fx, fy) = (x.fract(), y.fract());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small positive cells"
        )]
        let (x, y) = (x as u32, y as u32);
        let top = noise(x, y, salt) * (1.0 - fx) + noise(x + 1, y, salt) * fx;
        let bottom = noise(x, y + 1, salt) * (1.0 - fx) + noise(x + 1, y + 1, salt) * fx;
        top * (1.0 - fy) + bottom * fy
    };
    let image = RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (
            (f64::from(x) + 0.5) / f64::from(width),
            (f64::from(y) + 0.5) / f64::from(height),
        );
        let channel = |salt: u32| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to a byte"
            )]
            let value = (0.5 * smooth(u, v, 4.0, salt)
                + 0.3 * smooth(u, v, 12.0, salt + 1)
                + 0.2 * smooth(u, v, 30.0, salt + 2))
            .clamp(0.0, 255.0) as u8;
            value
        };
        [channel(1), channel(11), channel(21)].into()
    });
    thumbnail::encode(&image).expect("encodes").into()
}

/// Fails unless `response` is a problem document of this status and kind; answers it.
async fn problem(response: Response, status: StatusCode, kind: &str) -> Value {
    let url = response.url().to_string();
    assert_eq!(response.status(), status, "{url}");
    let media_type = response
        .headers()
        .get("content-type")
        .map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(media_type.as_deref(), Some("application/problem+json"), "{url}");
    let document: Value = response.json().await.expect("JSON");
    assert_eq!(
        document["type"],
        format!("urn:doppel:problem:{kind}"),
        "{url}: {document}"
    );
    assert_eq!(document["status"], status.as_u16(), "{url}: {document}");
    assert!(
        document["title"].is_string() && document["detail"].is_string(),
        "{url}: {document}"
    );
    document
}

/// Waits until the groups of `default` are complete; answers them.
async fn complete_groups(service: &Service, level: &str) -> Value {
    for _ in 0..600 {
        let groups = service
            .read(&format!("/v1/collections/default/groups?level={level}"))
            .await;
        if groups["complete"] == true {
            return groups;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the groups were not complete within 30 seconds");
}

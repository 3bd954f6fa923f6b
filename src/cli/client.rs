//! The service as a client sees it: requests are repeated while it is busy or away, as long as that can help.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use crate::types::{CollectionName, ImageId};

/// Tries of one request.
const TRIES: u32 = 8;
/// Longest wait between two tries, whatever the service asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What kept a request from an answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// No answer, after all tries.
    #[error("{server} does not answer: {reason}")]
    NoAnswer { server: String, reason: String },
    /// The service refused.
    #[error("{detail} ({status})")]
    Refused { status: StatusCode, detail: String },
}

/// A doppel service.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    server: Url,
}

impl Client {
    /// A client of the service at `server`, `http://host:port`.
    pub(super) fn new(server: &str) -> anyhow::Result<Self> {
        let with_scheme = if server.contains("://") {
            server.to_owned()
        } else {
            format!("http://{server}")
        };
        let mut server = Url::parse(&with_scheme).with_context(|| format!("{server:?} is not an address"))?;
        anyhow::ensure!(
            matches!(server.scheme(), "http" | "https") && server.has_host(),
            "{server} is not an http:// or https:// address"
        );
        if !server.path().ends_with('/') {
            server.set_path(&format!("{}/", server.path()));
        }
        // Several may be built in one process: a provider that is installed already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(10));
        if server.scheme() == "http" {
            // Without TLS the system's certificates are of no concern; a machine without any works too.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            http: builder.build().context("preparing the HTTP client")?,
            server,
        })
    }

    fn request(&self, method: Method, path: &str) -> anyhow::Result<RequestBuilder> {
        let url = self
            .server
            .join(path)
            .with_context(|| format!("{path:?} after {}", self.server))?;
        Ok(self.http.request(method, url))
    }

    /// Creates a collection unless it is there.
    pub(super) async fn ensure_collection(&self, name: &CollectionName) -> anyhow::Result<()> {
        let path = format!("v1/collections/{name}");
        match self.send(|| self.request(Method::GET, &path)).await {
            Ok(_) => return Ok(()),
            Err(error) if !is_status(&error, StatusCode::NOT_FOUND) => return Err(error),
            Err(_) => {}
        }
        self.send(|| self.request(Method::PUT, &path)).await?;
        Ok(())
    }

    /// Whether the collection holds an image.
    pub(super) async fn holds(&self, collection: &CollectionName, id: ImageId) -> anyhow::Result<bool> {
        let path = format!("v1/collections/{collection}/images/{id}");
        match self.send(|| self.request(Method::GET, &path)).await {
            Ok(_) => Ok(true),
            Err(error) if is_status(&error, StatusCode::NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads one file; answers its entry of the service's answer.
    pub(super) async fn upload(
        &self,
        collection: &CollectionName,
        on_duplicate: &str,
        name: &str,
        file: Bytes,
    ) -> anyhow::Result<Value> {
        let path = format!("v1/collections/{collection}/images");
        let answer = self
            .send(|| {
                let form = Form::new().part("file", part(name, &file));
                Ok(self
                    .request(Method::POST, &path)?
                    .query(&[("on_duplicate", on_duplicate)])
                    .multipart(form))
            })
            .await?;
        let mut answer: Value = answer.json().await.context("reading the answer")?;
        Ok(answer["images"][0].take())
    }

    /// Searches for what matches a file.
    pub(super) async fn search(
        &self,
        collection: &CollectionName,
        (k, level, deep): (usize, &str, bool),
        name: &str,
        file: Bytes,
    ) -> anyhow::Result<Value> {
        let path = format!("v1/collections/{collection}/search");
        let answer = self
            .send(|| {
                let form = Form::new().part("file", part(name, &file));
                let query = [
                    ("k", k.to_string()),
                    ("level", level.to_owned()),
                    ("deep", deep.to_string()),
                ];
                Ok(self.request(Method::POST, &path)?.query(&query).multipart(form))
            })
            .await?;
        answer.json().await.context("reading the answer")
    }

    /// Sends the request that `build` makes, again while the service is busy or away.
    async fn send(&self, build: impl Fn() -> anyhow::Result<RequestBuilder>) -> anyhow::Result<Response> {
        let mut wait = Duration::from_millis(250);
        for attempt in 1.. {
            let (error, asked) = match build()?.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let (status, asked) = (response.status(), retry_after(&response));
                    let error = ClientError::Refused {
                        status,
                        detail: detail(response).await,
                    };
                    if !matches!(
                        status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                    ) {
                        return Err(error.into());
                    }
                    (error, asked)
                }
                Err(error) => {
                    let reason = innermost(&error);
                    (
                        ClientError::NoAnswer {
                            server: self.server.to_string(),
                            reason,
                        },
                        None,
                    )
                }
            };
            if attempt == TRIES {
                return Err(error.into());
            }
            tracing::debug!(%error, attempt, "trying again");
            tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
            wait = (wait * 2).min(Duration::from_secs(8));
        }
        unreachable!("the loop ends by an answer or by the last try")
    }
}

fn part(name: &str, file: &Bytes) -> Part {
    Part::stream_with_length(file.clone(), file.len() as u64).file_name(name.to_owned())
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// What the service says is wrong: a problem document, or the failure of the only file of an upload.
async fn detail(response: Response) -> String {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let detail = document["detail"]
        .as_str()
        .or_else(|| document["images"][0]["error"]["detail"].as_str());
    detail.map_or_else(
        || status.canonical_reason().unwrap_or("no reason given").to_owned(),
        str::to_owned,
    )
}

fn is_status(error: &anyhow::Error, wanted: StatusCode) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Refused { status, .. }) if *status == wanted)
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

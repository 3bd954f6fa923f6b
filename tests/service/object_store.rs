//! An object store that looks like S3 and keeps no promise about names that are taken: the service refuses it when it starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Key, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::server::{Server, client, doppel, ids, picture, upload};

/// Objects of one bucket, and whether `If-None-Match: *` is honoured.
struct Bucket {
    honest: bool,
    objects: Mutex<BTreeMap<String, Bytes>>,
}

const MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// Starts the store; its address.
async fn serve(honest: bool) -> (Arc<Bucket>, String) {
    let bucket = Arc::new(Bucket {
        honest,
        objects: Mutex::default(),
    });
    let app = Router::new()
        .route("/bucket", get(list))
        .route("/bucket/{*key}", get(read).put(write).delete(remove))
        .with_state(bucket.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (bucket, address)
}

async fn write(
    State(bucket): State<Arc<Bucket>>,
    Key(key): Key<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut objects = bucket.objects.lock().expect("no panic");
    let conditional = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value == "*");
    if bucket.honest && conditional && objects.contains_key(&key) {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    objects.insert(key, body);
    [(header::ETAG, "\"tag\"")].into_response()
}

async fn read(State(bucket): State<Arc<Bucket>>, Key(key): Key<String>) -> Response {
    match bucket.objects.lock().expect("no panic").get(&key) {
        Some(object) => {
            let head = [(header::ETAG, "\"tag\""), (header::LAST_MODIFIED, MODIFIED)];
            (head, object.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn remove(State(bucket): State<Arc<Bucket>>, Key(key): Key<String>) -> StatusCode {
    bucket.objects.lock().expect("no panic").remove(&key);
    StatusCode::NO_CONTENT
}

async fn list(State(bucket): State<Arc<Bucket>>, RawQuery(query): RawQuery) -> String {
    let query = query.unwrap_or_default();
    let prefix = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("prefix="))
        .unwrap_or_default()
        .replace("%2F", "/");
    let objects = bucket.objects.lock().expect("no panic");
    let contents = objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(key, object)| {
        format!(
            "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
            object.len()
        )
    });
    let contents: String = contents.collect();
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")
}

fn node(folder: &Path, endpoint: &str) -> Command {
    let mut command = doppel();
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--storage",
            "s3://bucket/doppel",
            "--data-dir",
        ])
        .arg(folder)
        .envs([
            ("AWS_ENDPOINT", endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DISABLE_BULK_DELETE", "true"),
        ]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_create_if_absent_is_refused_and_one_that_honours_it_serves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (bucket, endpoint) = serve(false).await;
    let mut refused = node(&folder.path().join("refused"), &endpoint)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = refused.try_wait().expect("a child") {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            let _ = refused.kill();
            panic!("it serves on a store that overwrites");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let output = refused.wait_with_output().expect("it has ended");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{message}");
    assert!(
        message.contains("does not honour create-if-absent") && message.contains("racing writers won"),
        "{message}"
    );
    // Not a byte was entrusted to it.
    let left = bucket.objects.lock().expect("no panic").clone();
    assert!(left.is_empty(), "{left:?}");

    // The same store with the promise kept: what was refused was nothing else.
    let (_, endpoint) = serve(true).await;
    let honest = folder.path().join("honest");
    let server = Server::run(&mut node(&honest, &endpoint)).serving(Duration::from_secs(60));
    let http = client();
    let id = upload(&http, &server.base, picture(1)).await.expect("stored");
    server.kill();
    let server = Server::run(&mut node(&honest, &endpoint)).serving(Duration::from_secs(60));
    assert!(ids(&http, &server.base).await.contains(&id));
}

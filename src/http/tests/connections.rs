//! Clients that are slow, silent or many, by hand on a socket.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const PATIENCE: Duration = Duration::from_millis(400);
/// Longer than anything takes that is not stuck.
const ENOUGH: Duration = Duration::from_secs(20);
const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn connect(service: &Service) -> TcpStream {
    let address = service.base.strip_prefix("http://").expect("HTTP");
    TcpStream::connect(address).await.expect("connected")
}

/// What comes until the service closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(ENOUGH, stream.read_to_end(&mut text)).await;
    // A connection that is cut rather than closed has ended as well.
    let _ = read.expect("it is closed");
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads one answer of `/livez`.
async fn alive(stream: &mut TcpStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"ok\n") {
        let read = tokio::time::timeout(ENOUGH, stream.read_buf(&mut text)).await;
        assert_ne!(
            read.expect("an answer").expect("readable"),
            0,
            "{:?}",
            String::from_utf8_lossy(&text)
        );
    }
}

async fn patient(change: impl FnOnce(&mut Config)) -> Service {
    Service::with(|config| {
        config.limits.header_timeout = PATIENCE;
        change(config);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_header_does_not_keep_a_connection() {
    let service = patient(|_| {}).await;
    for begun in [&b""[..], b"PRI", b"GET /livez HTTP/1.1\r\nHost: local"] {
        let mut stream = connect(&service).await;
        stream.write_all(begun).await.expect("written");
        let started = Instant::now();
        rest(&mut stream).await;
        assert!(started.elapsed() >= PATIENCE / 2, "not at once: {begun:?}");
    }
    // Nor does it after a whole one.
    let mut stream = connect(&service).await;
    stream.write_all(LIVEZ).await.expect("written");
    alive(&mut stream).await;
    stream.write_all(b"GET /live").await.expect("written");
    rest(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_does_not_keep_a_connection() {
    let service = Service::with(|config| {
        config.limits.answer_timeout = PATIENCE;
        config.collections.keep_originals = true;
    })
    .await;
    // A JPEG is one whatever follows it; the system keeps some megabytes of an answer by itself.
    let mut large = picture(82, 80, 80).to_vec();
    large.resize(24 << 20, 7);
    let id = service.created("large.jpg", large.clone().into()).await;
    let ask = format!("GET /v1/collections/default/images/{id}/file HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut stream = connect(&service).await;
    stream.write_all(ask.as_bytes()).await.expect("written");
    tokio::time::sleep(4 * PATIENCE).await;
    let taken = rest(&mut stream).await.len();
    assert!(taken < large.len(), "all of it came: {taken}");

    // Longer than that in all, but never at a standstill.
    let mut stream = connect(&service).await;
    stream.write_all(ask.as_bytes()).await.expect("written");
    let (mut taken, mut piece) = (0, vec![0; 4 << 20]);
    while taken < large.len() {
        tokio::time::sleep(PATIENCE / 2).await;
        let read = tokio::time::timeout(
            ENOUGH,
            stream.read_exact(&mut piece[..(large.len() - taken).min(4 << 20)]),
        )
        .await;
        taken += read.expect("it comes").expect("all of it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_is_room_for_wait() {
    let service = Service::with(|config| config.limits.max_connections = 2).await;
    let mut first = connect(&service).await;
    let mut second = connect(&service).await;
    for stream in [&mut first, &mut second] {
        stream.write_all(LIVEZ).await.expect("written");
        alive(stream).await;
    }
    let mut third = connect(&service).await;
    third.write_all(LIVEZ).await.expect("written");
    let mut byte = [0];
    let early = tokio::time::timeout(PATIENCE, third.read(&mut byte)).await;
    assert!(early.is_err(), "there was no room: {early:?}");
    drop(first);
    alive(&mut third).await;
    second.write_all(LIVEZ).await.expect("written");
    alive(&mut second).await;
}

/// An upload whose body takes longer than a header may, and longer than the service is asked to run.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_has_begun_is_finished() {
    let service = patient(|_| {}).await;
    let file = picture(80, 200, 150);
    let mut body =
        b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.jpg\"\r\n\r\n".to_vec();
    body.extend_from_slice(&file);
    body.extend_from_slice(b"\r\n--x--\r\n");
    let header = format!(
        "POST /v1/collections/default/images HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (half, other) = body.split_at(body.len() / 2);
    let mut stream = connect(&service).await;
    stream.write_all(header.as_bytes()).await.expect("written");
    stream.write_all(half).await.expect("written");
    tokio::time::sleep(2 * PATIENCE).await;
    service.stop.cancel();
    tokio::time::sleep(PATIENCE / 4).await;
    let address = service.base.strip_prefix("http://").expect("HTTP");
    assert!(TcpStream::connect(address).await.is_err(), "no new connections");
    stream.write_all(other).await.expect("written");
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    service.serving.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_pages_of_others_are_refused() {
    let service = Service::start().await;
    let id = service.created("a.jpg", picture(81, 80, 80)).await;
    let image = format!("/v1/collections/default/images/{id}");
    for path in ["/", "/v1/collections", "/livez"] {
        let asked = service.request(Method::GET, path).header("host", "evil.example");
        let refused = asked.send().await.expect("an answer");
        let told = problem(refused, StatusCode::MISDIRECTED_REQUEST, "misdirected").await;
        assert!(told["detail"].to_string().contains("evil.example"), "{told}");
    }
    let asked = service
        .request(Method::DELETE, &image)
        .header("origin", "https://evil.example");
    problem(
        asked.send().await.expect("an answer"),
        StatusCode::FORBIDDEN,
        "cross_site",
    )
    .await;
    assert_eq!(
        service.get(&image).await.status(),
        StatusCode::OK,
        "it is still there"
    );
    let asked = service
        .request(Method::DELETE, &image)
        .header("origin", &service.base);
    let deleted = asked.send().await.expect("an answer");
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT, "the gallery's own page");
}

//! A real S3 API behind a proxy that answers 409 and 5xx in its place, loses its replies, is slow, or says nothing.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What happens to a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    /// Answered with this status, and not passed on.
    Status(u16, &'static str),
    /// Passed on, and the connection closed instead of the answer.
    LostReply,
    /// Passed on after a while.
    Slow,
    /// Never answered, and not passed on.
    Silence,
}

/// Listens in front of `upstream`; the first `left` PUTs suffer `fault`.
async fn proxy(upstream: String, fault: Wire, left: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (upstream, left) = (upstream.clone(), left.clone());
            // A client that hangs up is none of the proxy's business.
            tokio::spawn(async move { drop(serve(client, &upstream, fault, &left).await) });
        }
    });
    endpoint
}

/// One request a connection.
async fn serve(mut client: TcpStream, upstream: &str, fault: Wire, left: &AtomicUsize) -> io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let is_put = head.starts_with("PUT ");
    let hit = is_put
        && left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok();
    match fault {
        Wire::Status(status, code) if hit => {
            let xml = format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>"
            );
            let answer = format!(
                "HTTP/1.1 {status} On Purpose\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{xml}",
                xml.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Wire::Silence if hit => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return Ok(());
        }
        Wire::Slow if hit => tokio::time::sleep(Duration::from_millis(700)).await,
        _ => {}
    }
    let address = upstream.trim_start_matches("http://");
    let mut server = TcpStream::connect(address).await?;
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if hit && fault == Wire::LostReply {
        return Ok(());
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

async fn read_request(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = bytes.split_off(end);
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, body))
}

/// A client of the bucket behind a proxy, with the wrappers of a running service but less patience.
async fn behind(server: &S3, fault: Wire, left: &Arc<AtomicUsize>) -> Arc<dyn BlobStore> {
    let options = S3Options {
        bucket: "doppel".to_owned(),
        endpoint: Some(proxy(server.endpoint(), fault, left.clone()).await),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("test".to_owned()),
        secret_access_key: Some("test".to_owned()),
        ..S3Options::default()
    };
    let policy = RetryPolicy {
        attempts: 4,
        first_pause: Duration::from_millis(1),
        max_pause: Duration::from_millis(2),
        timeout: Duration::from_secs(2),
    };
    let store = ObjectBlobStore::s3(&options).expect("a client");
    Arc::new(Metered::new(Retrying::new(store, policy)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_on_the_wire_is_mended_or_named() {
    let server = S3::start();
    server.make_bucket("doppel").await;
    let faults = [
        Wire::Status(409, "ConditionalRequestConflict"),
        Wire::Status(500, "InternalError"),
        Wire::Status(503, "SlowDown"),
        Wire::Status(507, "XMinioStorageFull"),
        Wire::LostReply,
        Wire::Slow,
        Wire::Silence,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let left = Arc::new(AtomicUsize::new(0));
        let store = behind(&server, fault, &left).await;
        let name = |part: &str| format!("wire/{number}/{part}");
        let ours = Bytes::from(format!("ours {number}"));

        // Once: a try more, and one object, ours. Only a full disk is told at once.
        left.store(1, Ordering::SeqCst);
        let once = store.create(&name("once"), ours.clone()).await;
        if fault == Wire::Status(507, "XMinioStorageFull") {
            assert!(matches!(once, Err(BlobError::Full { .. })), "{once:?}");
            assert!(store.list(&name("once")).await.expect("listed").is_empty());
        } else {
            assert_eq!(once.expect("stored"), Created::New, "{fault:?}");
            assert_eq!(store.get(&name("once")).await.expect("read"), ours, "{fault:?}");
        }
        // Another's object is told from our own lost try.
        left.store(usize::from(fault == Wire::LostReply), Ordering::SeqCst);
        store.create(&name("theirs"), ours.clone()).await.expect("stored");
        left.store(1, Ordering::SeqCst);
        let other = Bytes::from_static(b"other");
        if !matches!(fault, Wire::Status(507, _)) {
            let answer = store.create(&name("theirs"), other).await.expect("answered");
            assert_eq!(answer, Created::AlreadyExists, "{fault:?}");
            assert_eq!(store.get(&name("theirs")).await.expect("read"), ours, "{fault:?}");
        }
        // For ever: never a success that is none.
        left.store(usize::MAX, Ordering::SeqCst);
        let forever = store.create(&name("forever"), ours.clone()).await;
        left.store(0, Ordering::SeqCst);
        let there = store.get(&name("forever")).await;
        match (fault, forever) {
            (Wire::Slow | Wire::LostReply, Ok(Created::New))
            | (Wire::LostReply, Err(BlobError::OutcomeUnknown { .. })) => {
                assert_eq!(there.expect("read"), ours)
            }
            (Wire::Status(507, _), Err(BlobError::Full { .. }))
            | (_, Err(BlobError::OutcomeUnknown { .. } | BlobError::Unavailable { .. })) => {
                assert!(
                    matches!(there, Err(BlobError::NotFound { .. })),
                    "{fault:?}: {there:?}"
                );
            }
            (_, other) => panic!("{fault:?}: {other:?}"),
        }
    }
}

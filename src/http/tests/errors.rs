//! Whatever is wrong with a request, the answer is a problem document that says so.

use axum::Router;
use axum::routing::get;
use reqwest::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use serde_json::json;

use super::*;
use crate::config::Limits;
use crate::http::openapi;
use crate::http::router::surround;

const NO_IMAGE: &str = "00000000000000000000000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn names_ids_and_parameters_are_checked() {
    let service = Service::start().await;
    let of = |rest: &str| format!("/v1/collections/default{rest}");
    let gets = [
        ("/v1/collections/nowhere".to_owned(), 404, "not_found"),
        ("/v1/collections/nowhere/images".to_owned(), 404, "not_found"),
        ("/v1/collections/nowhere/groups".to_owned(), 404, "not_found"),
        (
            format!("/v1/collections/nowhere/images/{NO_IMAGE}"),
            404,
            "not_found",
        ),
        ("/v1/collections/BAD".to_owned(), 422, "invalid"),
        ("/v1/collections/a%2Fb".to_owned(), 422, "invalid"),
        (of(&format!("/images/{NO_IMAGE}")), 404, "not_found"),
        (of(&format!("/images/{NO_IMAGE}/thumbnail")), 404, "not_found"),
        (of(&format!("/images/{NO_IMAGE}/file")), 404, "not_found"),
        (of(&format!("/images/{NO_IMAGE}/matches")), 404, "not_found"),
        (of("/images/17"), 422, "invalid"),
        (of("/images/%FF"), 400, "malformed"),
        (of("/images?limit=0"), 422, "invalid"),
        (of("/images?limit=1001"), 422, "invalid"),
        (of("/images?limit=-1"), 400, "malformed"),
        (of("/images?cursor=rubbish"), 422, "invalid"),
        (of("/images?page=2"), 400, "malformed"),
        (of("/groups?level=twins"), 400, "malformed"),
        ("/v1/nothing".to_owned(), 404, "not_found"),
        ("/v1".to_owned(), 404, "not_found"),
    ];
    for (path, status, kind) in gets {
        problem(
            service.get(&path).await,
            StatusCode::from_u16(status).expect("a status"),
            kind,
        )
        .await;
    }
    let unknown = service
        .get(&of("/images?page=2"))
        .await
        .json::<Value>()
        .await
        .expect("JSON");
    assert!(
        unknown["detail"].as_str().expect("text").contains("page"),
        "{unknown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_checked() {
    let service = Service::start().await;
    let search = "/v1/collections/default/search";
    let images = "/v1/collections/default/images";
    let send = |path: &str, media_type: &str, body: &str| {
        let request = service
            .request(Method::POST, path)
            .header(CONTENT_TYPE, media_type)
            .body(body.to_owned());
        async move { request.send().await.expect("an answer") }
    };
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    problem(
        send(search, "application/json", "{").await,
        StatusCode::BAD_REQUEST,
        "malformed",
    )
    .await;
    problem(
        send(search, "application/json", "{}").await,
        unprocessable,
        "invalid",
    )
    .await;
    problem(
        send(search, "application/json", r#"{"id":"x"}"#).await,
        unprocessable,
        "invalid",
    )
    .await;
    problem(
        send(search, "application/json", r#"{"id":"x","kk":1}"#).await,
        unprocessable,
        "invalid",
    )
    .await;
    let missing = json!({"id": NO_IMAGE});
    problem(
        service.post(search, &missing).await,
        StatusCode::NOT_FOUND,
        "not_found",
    )
    .await;
    for k in ["0", "1001", "999999999"] {
        problem(
            service.post(&format!("{search}?k={k}"), &missing).await,
            unprocessable,
            "invalid",
        )
        .await;
    }
    let beyond = service
        .post(&format!("{search}?k=99999999999999999999999"), &missing)
        .await;
    problem(beyond, StatusCode::BAD_REQUEST, "malformed").await;

    let unsupported = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    for (path, media_type) in [
        (search, "text/plain"),
        (images, "application/json"),
        (images, "image/jpeg"),
    ] {
        problem(
            send(path, media_type, "{}").await,
            unsupported,
            "unsupported_media_type",
        )
        .await;
    }
    let bare = service
        .request(Method::POST, images)
        .body("x")
        .send()
        .await
        .expect("an answer");
    problem(bare, unsupported, "unsupported_media_type").await;
    problem(
        send(images, "multipart/form-data", "x").await,
        StatusCode::BAD_REQUEST,
        "malformed",
    )
    .await;
    let cut = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.jpg\"\r\n\r\nabc";
    problem(
        send(images, "multipart/form-data; boundary=b", cut).await,
        StatusCode::BAD_REQUEST,
        "malformed",
    )
    .await;
    for path in [images, search] {
        let empty = send(path, "multipart/form-data; boundary=b", "--b--\r\n").await;
        problem(empty, unprocessable, "invalid").await;
    }
    let text = Form::new().text("note", "no file");
    problem(service.post_form(images, text).await, unprocessable, "invalid").await;
    let two = form(&[("a", picture(1, 64, 64)), ("b", picture(1, 64, 64))]);
    problem(service.post_form(search, two).await, unprocessable, "invalid").await;
    let no_image = form(&[("a.jpg", Bytes::from_static(b"text"))]);
    let refused = problem(
        service.post_form(search, no_image).await,
        unprocessable,
        "invalid",
    )
    .await;
    assert!(
        refused["detail"].as_str().expect("text").contains("not an image"),
        "{refused}"
    );
    let nowhere = service
        .post_form(
            "/v1/collections/nowhere/images",
            form(&[("a.jpg", picture(1, 64, 64))]),
        )
        .await;
    problem(nowhere, StatusCode::NOT_FOUND, "not_found").await;
    let bad = service
        .request(Method::PUT, "/v1/collections/x")
        .json(&json!({"shards": 0}))
        .send()
        .await;
    problem(bad.expect("an answer"), unprocessable, "invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let service = Service::with(|config| {
        config.limits.max_file_bytes = 20_000;
        config.limits.max_request_bytes = 100_000;
        config.limits.max_files = 3;
        config.limits.max_pixels = 1_000_000;
    })
    .await;
    let small = picture(1, 64, 64);
    let large = Bytes::from(vec![0xff; 30_000]);
    let (status, images) = service
        .upload("", &[("large.jpg", large), ("small.jpg", small.clone())])
        .await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        (&images[0]["status"], &images[1]["status"]),
        (&json!("failed"), &json!("created"))
    );
    assert!(
        images[0]["error"]["detail"]
            .as_str()
            .expect("text")
            .contains("20000 bytes"),
        "{images:?}"
    );
    let (_, images) = service
        .upload("", &[("huge.png", png_header(50_000, 50_000))])
        .await;
    assert!(
        images[0]["error"]["detail"]
            .as_str()
            .expect("text")
            .contains("50000 × 50000"),
        "{images:?}"
    );

    let path = "/v1/collections/default/images";
    let many = form(&[
        ("a", small.clone()),
        ("b", small.clone()),
        ("c", small.clone()),
        ("d", small),
    ]);
    problem(
        service.post_form(path, many).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
    )
    .await;
    let body = form(&[("a", Bytes::from(vec![0; 150_000]))]);
    problem(
        service.post_form(path, body).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
    )
    .await;
    let json = service
        .request(Method::POST, "/v1/jobs")
        .header(CONTENT_TYPE, "application/json");
    let json = json.body(vec![b' '; 2 << 20]).send().await.expect("an answer");
    problem(json, StatusCode::PAYLOAD_TOO_LARGE, "too_large").await;
}

/// The start of a PNG file that announces these dimensions.
fn png_header(width: u32, height: u32) -> Bytes {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend_from_slice(&width.to_be_bytes());
    chunk.extend_from_slice(&height.to_be_bytes());
    chunk.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\r".to_vec();
    file.extend_from_slice(&chunk);
    file.extend_from_slice(&crc32fast::hash(&chunk).to_be_bytes());
    file.extend_from_slice(b"\0\0\0\0IDAT");
    file.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_a_resource_lacks_are_named() {
    let service = Service::start().await;
    let response = service
        .request(Method::PATCH, "/v1/collections/default")
        .send()
        .await
        .expect("an answer");
    let allow = response.headers()[ALLOW].to_str().expect("text").to_owned();
    assert!(
        allow.contains("GET") && allow.contains("PUT") && allow.contains("DELETE"),
        "{allow}"
    );
    problem(response, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").await;
    let response = service
        .request(Method::POST, "/somewhere")
        .send()
        .await
        .expect("an answer");
    problem(response, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_and_slow_handlers_become_problems() {
    let routes = Router::new()
        .route("/panic", get(async || -> &'static str { panic!("secret") }))
        .route(
            "/slow",
            get(async || tokio::time::sleep(Duration::from_secs(60)).await),
        );
    let limits = Limits {
        request_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(axum::serve(listener, surround(routes, &limits)).into_future());
    let get = |path: &str| client().get(format!("{base}{path}")).send();
    let panicked = get("/panic").await.expect("an answer");
    let document = problem(panicked, StatusCode::INTERNAL_SERVER_ERROR, "internal").await;
    assert!(!document.to_string().contains("secret"), "{document}");
    let slow = get("/slow").await.expect("an answer");
    assert_eq!(slow.headers()[RETRY_AFTER], "1");
    problem(slow, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_tells_about_itself() {
    let service = Service::start().await;
    service.created("a.jpg", picture(1, 80, 80)).await;
    assert_eq!(service.get("/livez").await.status(), StatusCode::OK);
    assert_eq!(service.get("/readyz").await.status(), StatusCode::OK);
    let cluster = service.read("/v1/cluster").await;
    assert_eq!(
        (&cluster["nodes"][0]["images"], &cluster["nodes"][0]["shards"]),
        (&json!(1), &json!(1))
    );
    let metrics = service.get("/metrics").await.text().await.expect("text");
    for name in [
        "doppel_http_requests_total",
        "doppel_images_ingested_total",
        "doppel_stage_duration_seconds",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    let id = service.get("/livez").await.headers()["x-request-id"].clone();
    assert!(!id.is_empty());
    let page = service.get("/docs/").await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.text().await.expect("text").contains("swagger"));
    service.api.stopping.cancel();
    problem(
        service.get("/readyz").await,
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_every_route() {
    let service = Service::start().await;
    let served = service.read("/openapi.json").await;
    assert_eq!(served, serde_json::to_value(openapi()).expect("JSON"));
    let image = "/v1/collections/{collection}/images/{id}";
    let routes = [
        ("get", "/v1/collections".to_owned()),
        ("get", "/v1/collections/{collection}".to_owned()),
        ("put", "/v1/collections/{collection}".to_owned()),
        ("delete", "/v1/collections/{collection}".to_owned()),
        ("post", "/v1/collections/{collection}/images".to_owned()),
        ("get", "/v1/collections/{collection}/images".to_owned()),
        ("get", image.to_owned()),
        ("delete", image.to_owned()),
        ("get", format!("{image}/thumbnail")),
        ("get", format!("{image}/file")),
        ("get", format!("{image}/matches")),
        ("post", "/v1/collections/{collection}/search".to_owned()),
        ("post", "/v1/collections/{collection}/compare".to_owned()),
        ("get", "/v1/collections/{collection}/groups".to_owned()),
        (
            "post",
            "/v1/collections/{collection}/groups/{id}/resolve".to_owned(),
        ),
        ("post", "/v1/jobs".to_owned()),
        ("get", "/v1/jobs/{job}".to_owned()),
        ("delete", "/v1/jobs/{job}".to_owned()),
        ("get", "/v1/jobs/{job}/events".to_owned()),
        ("get", "/v1/cluster".to_owned()),
        ("get", "/livez".to_owned()),
        ("get", "/readyz".to_owned()),
        ("get", "/metrics".to_owned()),
    ];
    for (method, path) in routes {
        assert!(
            served["paths"][&path][method].is_object(),
            "{method} {path} is not described"
        );
    }
}

#[tokio::test]
async fn a_sender_that_hangs_up_is_no_failure_of_the_service() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let service = Service::start().await;
    let address = service.base.trim_start_matches("http://");
    let bodies = [
        ("images", "multipart/form-data; boundary=b", "--b\r\n"),
        ("search", "application/json", "{"),
    ];
    for (resource, kind, body) in bodies {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
        let request = format!(
            "POST /v1/collections/default/{resource} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("hung up");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{resource}: {answer}");
    }
}

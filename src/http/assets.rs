//! The web gallery, embedded in the binary, as the router's fallback.
//!
//! Vite writes `web/dist`: `index.html` and files whose names carry a hash of their content (`assets/index-Bq3x.js`).
//! The hashed ones are cached for ever, everything else is checked by `ETag` on every use. A path that names no file is
//! one of the gallery's own pages and gets `index.html`, except below `/v1`, where it is an API path that does not exist.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::error::Problem;
use crate::error::ErrorKind;

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Dist;

/// What a gallery page may load: its own files, its own API, and pictures that the person dropped on it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                      connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Folder of the files whose names change with their content.
const HASHED: &str = "assets/";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>doppel</title>\
<h1>The gallery is not built</h1>\
<p>This binary was compiled before the gallery. Build both, in this order:</p>\
<pre>npm --prefix web ci\nnpm --prefix web run build\ncargo build --release</pre>\
<p>The API works without it: <a href=\"/docs\">/docs</a>.</p></html>";

/// Router whose fallback serves the gallery; merge it into, or set it behind, the API's routes.
pub fn router() -> Router {
    Router::new().fallback(serve)
}

async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    respond(Dist::get, &method, uri.path(), &headers)
}

/// Answers one request from the files that `find` knows by their path below `web/dist`.
fn respond(
    find: impl Fn(&str) -> Option<EmbeddedFile>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Response {
    if path == "/v1" || path.starts_with("/v1/") {
        let detail = format!("there is no resource {path}; /docs lists what there is");
        return guard(Problem::of_kind(ErrorKind::NotFound, detail).into_response());
    }
    if method != Method::GET && method != Method::HEAD {
        let detail = format!("{path} is a page of the gallery and does not answer {method}");
        let refused = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
        let mut response = guard(refused.into_response());
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let name = path.trim_start_matches('/');
    if !name.is_empty() && name != "index.html" {
        if let Some(file) = find(name) {
            return send(name, file, headers);
        }
        if looks_like_a_file(name) {
            let detail = format!("the gallery has no file {path}");
            return guard(Problem::of_kind(ErrorKind::NotFound, detail).into_response());
        }
    }
    find("index.html").map_or_else(not_built, |file| send("index.html", file, headers))
}

/// The gallery's own pages have no dot in their last segment; a stale link to a file must not get a page.
fn looks_like_a_file(name: &str) -> bool {
    name.starts_with(HASHED) || name.rsplit('/').next().is_some_and(|last| last.contains('.'))
}

fn send(name: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let etag = etag(&file);
    let unchanged = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| names(value, &etag));
    let content_type = content_type(file.metadata.mimetype());
    let mut response = if unchanged {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::from(match file.data {
            std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
        }))
    };
    let lifetime = if name.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, content_type);
    out.insert(CACHE_CONTROL, HeaderValue::from_static(lifetime));
    if let Ok(value) = HeaderValue::from_str(&etag) {
        out.insert(ETAG, value);
    }
    guard(response)
}

/// Strong validator: the file's SHA-256, shortened to 128 bits.
fn etag(file: &EmbeddedFile) -> String {
    use std::fmt::Write as _;
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in &file.metadata.sha256_hash()[..16] {
        write!(tag, "{byte:02x}").expect("writing to a String cannot fail");
    }
    tag.push('"');
    tag
}

/// Whether an `If-None-Match` value names `etag`, by the weak comparison of RFC 9110 §13.1.2.
fn names(value: &str, etag: &str) -> bool {
    value
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

fn content_type(mime: &str) -> HeaderValue {
    let value = if mime.starts_with("text/") {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_owned()
    };
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Said at the root of a binary that was compiled before the gallery.
fn not_built() -> Response {
    let mut response = Response::new(Body::from(NOT_BUILT));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    guard(response)
}

/// Adds the headers that every answer of the gallery carries.
fn guard(mut response: Response) -> Response {
    let out = response.headers_mut();
    out.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    out.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use rust_embed::Metadata;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const PAGE: &[u8] = b"<!doctype html><title>gallery</title>";

    fn find(name: &str) -> Option<EmbeddedFile> {
        let (data, mime): (&'static [u8], _) = match name {
            "index.html" => (PAGE, "text/html"),
            "assets/index-Bq3x.js" => (b"export {}", "text/javascript"),
            "icon.svg" => (b"<svg/>", "image/svg+xml"),
            _ => return None,
        };
        let mut hash = [0; 32];
        hash[..data.len().min(32)].copy_from_slice(&data[..data.len().min(32)]);
        Some(EmbeddedFile {
            data: Cow::Borrowed(data),
            metadata: Metadata::__rust_embed_new(hash, None, None, mime),
        })
    }

    fn get(path: &str) -> Response {
        respond(find, &Method::GET, path, &HeaderMap::new())
    }

    fn header(response: &Response, name: axum::http::HeaderName) -> &str {
        response
            .headers()
            .get(name)
            .map_or("", |v| v.to_str().expect("ASCII"))
    }

    async fn body(response: Response) -> Bytes {
        axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body in memory")
    }

    #[tokio::test]
    async fn every_page_of_the_gallery_is_the_index() {
        for path in [
            "/",
            "/index.html",
            "/c/default",
            "/c/default/groups",
            "/c/a.b/search",
        ] {
            let response = get(path);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
            assert_eq!(header(&response, CACHE_CONTROL), "no-cache");
            assert_eq!(body(response).await, PAGE);
        }
    }

    #[test]
    fn hashed_files_are_cached_for_ever_and_the_rest_is_not() {
        let script = get("/assets/index-Bq3x.js");
        assert_eq!(header(&script, CONTENT_TYPE), "text/javascript; charset=utf-8");
        assert_eq!(
            header(&script, CACHE_CONTROL),
            "public, max-age=31536000, immutable"
        );
        let icon = get("/icon.svg");
        assert_eq!(header(&icon, CONTENT_TYPE), "image/svg+xml");
        assert_eq!(header(&icon, CACHE_CONTROL), "no-cache");
    }

    #[tokio::test]
    async fn an_unchanged_file_is_not_sent_again() {
        let etag = header(&get("/"), ETAG).to_owned();
        assert_eq!(etag.len(), 34);
        assert_ne!(etag, header(&get("/icon.svg"), ETAG));
        for (value, status) in [
            (etag.clone(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", W/{etag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, value.parse().expect("a header value"))]);
            let response = respond(find, &Method::GET, "/c/default", &headers);
            assert_eq!(response.status(), status, "{value}");
            assert_eq!(header(&response, ETAG), etag);
            let empty = body(response).await.is_empty();
            assert_eq!(empty, status == StatusCode::NOT_MODIFIED);
        }
    }

    #[tokio::test]
    async fn what_does_not_exist_is_not_the_index() {
        for path in [
            "/assets/index-old.js",
            "/assets/none",
            "/robots.txt",
            "/c/default/photo.jpg",
        ] {
            assert_eq!(get(path).status(), StatusCode::NOT_FOUND, "{path}");
        }
        let response = get("/v1/nothing");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(header(&response, CONTENT_TYPE), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&body(response).await).expect("JSON");
        assert_eq!(problem["status"], 404);
        assert_eq!(get("/v1").status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn other_methods_are_refused() {
        let response = respond(find, &Method::POST, "/c/default", &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&response, ALLOW), "GET, HEAD");
    }

    #[test]
    fn every_answer_carries_the_policy() {
        for path in ["/", "/assets/index-Bq3x.js", "/assets/none", "/v1/nothing"] {
            let response = get(path);
            let policy = header(&response, CONTENT_SECURITY_POLICY);
            assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
            assert_eq!(header(&response, X_CONTENT_TYPE_OPTIONS), "nosniff");
        }
    }

    #[tokio::test]
    async fn a_binary_without_the_gallery_says_how_to_build_it() {
        let response = respond(|_| None, &Method::GET, "/", &HeaderMap::new());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let page = body(response).await;
        let page = std::str::from_utf8(&page).expect("UTF-8");
        assert!(page.contains("npm --prefix web run build"), "{page}");
    }

    #[tokio::test]
    async fn the_router_serves_what_was_embedded() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move { axum::serve(listener, router()).await });
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: gallery\r\nconnection: close\r\n\r\n")
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let status = if Dist::get("index.html").is_some() {
            "200"
        } else {
            "503"
        };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("doppel"), "{answer}");
        server.abort();
    }
}

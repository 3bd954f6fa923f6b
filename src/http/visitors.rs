//! Who may ask. There is no login, so what a web page may do matters: a page that a person opens must not reach a service on
//! that person's machine, neither by a name of its own that leads to this address (DNS rebinding: the `Host` header tells) nor
//! by sending forms across (the browser tells, in `Sec-Fetch-Site` and `Origin`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{HOST, HeaderMap, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::Problem;

/// W3C Fetch Metadata: set by browsers, and by no script.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Allows every host, and pages of every site.
const ALL: &str = "*";

/// The hosts that a service answers for.
#[derive(Debug, Clone)]
pub(super) struct Visitors {
    listed: Arc<BTreeSet<String>>,
    /// Whether `Host` has to be one of them.
    checks_host: bool,
}

impl Visitors {
    /// A service that listens on `listen`, with the setting `allowed_hosts`. Where that is empty, `Host` is checked on a
    /// loopback address only: elsewhere the names that lead here are the business of whoever opened it.
    pub(super) fn new(listen: SocketAddr, allowed: &[String]) -> Self {
        let listed: BTreeSet<String> = allowed.iter().map(|host| named(host)).collect();
        let checks_host = !listed.contains(ALL) && (!listed.is_empty() || listen.ip().is_loopback());
        Self {
            listed: Arc::new(listed),
            checks_host,
        }
    }

    fn is_listed(&self, host: &str) -> bool {
        self.listed.contains(ALL) || self.listed.contains(&named(host))
    }

    /// Whether a request may be for `host`, without its port. A name that somebody else gives out is the danger; an address
    /// is none, and `localhost` is nobody's to give.
    fn answers_for(&self, host: &str) -> bool {
        let name = named(host);
        !self.checks_host
            || name.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.is_listed(&name)
    }

    /// Why a request is not answered.
    fn refusal(&self, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        let asked = request.uri().authority().cloned();
        // What has no host comes from no browser.
        let asked = asked.map_or_else(|| authority(headers, &HOST), |authority| Some(Ok(authority)));
        match &asked {
            Some(Ok(authority)) if self.answers_for(authority.host()) => {}
            None => {}
            Some(found) => {
                let host = found.as_ref().map_or("this name", |authority| authority.host());
                return Some(Problem::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    "misdirected",
                    format!(
                        "this doppel does not answer for {host}; name it in allowed_hosts (--allowed-host) if it should"
                    ),
                ));
            }
        }
        let asked = asked.and_then(Result::ok);
        (!request.method().is_safe() && !self.is_of_this_site(headers, asked.as_ref())).then(|| {
            let detail = "a page of another site may not change anything here; name its host in allowed_hosts (--allowed-host) if it may";
            Problem::new(StatusCode::FORBIDDEN, "cross_site", detail)
        })
    }

    /// Whether no page of another site asks, as far as the browser tells.
    fn is_of_this_site(&self, headers: &HeaderMap, asked: Option<&Authority>) -> bool {
        let site = headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes());
        if matches!(site, Some(b"same-origin" | b"none")) {
            return true;
        }
        let Some(origin) = headers.get(ORIGIN) else {
            return site.is_none();
        };
        let Some(origin) = origin.to_str().ok().and_then(|origin| {
            let (_, authority) = origin.split_once("://")?;
            authority.parse::<Authority>().ok()
        }) else {
            // A page without an origin ("null") may be anybody's.
            return self.listed.contains(ALL);
        };
        let is_this = |asked: &Authority| asked.as_str().eq_ignore_ascii_case(origin.as_str());
        site.is_none() && asked.is_some_and(is_this) || self.is_listed(origin.host())
    }
}

/// A host as it is compared: in small letters, without brackets and without the dot of the root.
fn named(host: &str) -> String {
    let host = host.trim().trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn authority(headers: &HeaderMap, name: &HeaderName) -> Option<Result<Authority, ()>> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let is_one = values.next().is_none();
    let read = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(read.filter(|_| is_one).ok_or(()))
}

/// Middleware: answers in the place of the service where it must not.
pub(super) async fn admit(visitors: Visitors, request: Request, next: Next) -> Response {
    match visitors.refusal(&request) {
        None => next.run(request).await,
        Some(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn visitors(listen: &str, allowed: &[&str]) -> Visitors {
        let allowed: Vec<String> = allowed.iter().map(|host| (*host).to_owned()).collect();
        Visitors::new(listen.parse().expect("an address"), &allowed)
    }

    /// Status with which a request is refused.
    fn refused(visitors: &Visitors, method: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let request = headers.iter().fold(
            Request::builder().method(method).uri("/v1/collections"),
            |request, (name, value)| request.header(*name, *value),
        );
        let request = request.body(Body::empty()).expect("a request");
        let status = |refusal: Problem| refusal.into_response().status().as_u16();
        visitors.refusal(&request).map(status)
    }

    #[test]
    fn on_this_machine_names_that_others_give_out_are_refused() {
        let local = visitors("127.0.0.1:8080", &[]);
        let of = |host: &str| refused(&local, "GET", &[("host", host)]);
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "LOCALHOST",
            "photos.localhost",
            "[::1]:8080",
            "192.168.1.5",
            "localhost.:1",
        ] {
            assert_eq!(of(host), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8080",
            "127.0.0.1.nip.example",
            "",
            "a b",
            "notlocalhost",
        ] {
            assert_eq!(of(host), Some(421), "{host}");
        }
        assert_eq!(refused(&local, "GET", &[]), None, "HTTP/1.0");
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(refused(&local, "GET", &twice), Some(421));
    }

    #[test]
    fn names_are_checked_elsewhere_when_they_are_listed() {
        let evil = [("host", "evil.example")];
        let named = [("host", "Photos.Example.:443")];
        for (listen, allowed, expected) in [
            ("0.0.0.0:8080", &[][..], [None, None]),
            ("0.0.0.0:8080", &["photos.example"], [Some(421), None]),
            ("127.0.0.1:8080", &["photos.example", "x"], [Some(421), None]),
            ("127.0.0.1:8080", &["*"], [None, None]),
            ("[::1]:8080", &[], [Some(421), Some(421)]),
        ] {
            let visitors = visitors(listen, allowed);
            let found = [&evil[..], &named].map(|headers| refused(&visitors, "GET", headers));
            assert_eq!(found, expected, "{listen} {allowed:?}");
        }
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let local = visitors("127.0.0.1:8080", &[]);
        let host = ("host", "127.0.0.1:8080");
        let allowed: &[&[(&str, &str)]] = &[
            &[host],
            &[host, ("origin", "http://127.0.0.1:8080")],
            &[
                host,
                ("origin", "http://127.0.0.1:8080"),
                ("sec-fetch-site", "same-origin"),
            ],
            // The development server of the gallery passes both on; a proxy may change the host.
            &[("host", "localhost:5173"), ("origin", "http://localhost:5173")],
            &[
                host,
                ("origin", "https://photos.example"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[host, ("sec-fetch-site", "none")],
        ];
        let others: &[&[(&str, &str)]] = &[
            &[host, ("origin", "https://evil.example")],
            &[host, ("origin", "http://127.0.0.1:3000")],
            &[host, ("origin", "null")],
            &[host, ("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "cross-site")],
            &[
                host,
                ("origin", "http://localhost:3000"),
                ("sec-fetch-site", "same-site"),
            ],
        ];
        for method in ["POST", "PUT", "DELETE"] {
            for headers in allowed {
                assert_eq!(refused(&local, method, headers), None, "{method} {headers:?}");
            }
            for headers in others {
                assert_eq!(
                    refused(&local, method, headers),
                    Some(403),
                    "{method} {headers:?}"
                );
                assert_eq!(
                    refused(&local, "GET", headers),
                    None,
                    "a browser shows the answer to nobody"
                );
            }
        }
        let open = visitors("0.0.0.0:8080", &[]);
        assert_eq!(
            refused(&open, "POST", others[0]),
            Some(403),
            "whatever it listens on"
        );
        let known = visitors("127.0.0.1:8080", &["app.example"]);
        let app = [
            host,
            ("origin", "https://app.example"),
            ("sec-fetch-site", "cross-site"),
        ];
        assert_eq!(refused(&known, "POST", &app), None);
        assert_eq!(refused(&known, "POST", others[0]), Some(403));
        assert_eq!(
            refused(&visitors("127.0.0.1:8080", &["*"]), "POST", others[3]),
            None
        );
    }
}

//! What goes over the wire, byte for byte.

use super::*;
use crate::model::request::HttpOptions;

fn outline<'a>(url: &'a url::Url, headers: &'a [(String, String)], options: &'a HttpOptions) -> Outline<'a> {
    Outline {
        method: "GET",
        origin: url,
        path: Some("/a/b?c=d#e"),
        headers,
        rendered: &[],
        body: Bytes::new(),
        keep: Keep::default(),
        redirects: 10,
        timeout: Duration::from_secs(1),
        options,
    }
}

fn headers(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn url(text: &str) -> url::Url {
    text.parse().unwrap()
}

/// The head of a call, the agent's name shortened, and the body.
fn sent(request: &Prepared, call: &Call<'_>, hop: Option<&Hop>, cookie: Option<&str>) -> (String, Vec<u8>) {
    let leg = Leg { cookie, ..request.leg(call, hop).unwrap() };
    let mut buffer = Vec::new();
    let message = request.message(&leg, &mut buffer);
    let head = String::from_utf8(message.head.to_vec()).unwrap();
    (head.replace(concat!("plimsoll/", env!("CARGO_PKG_VERSION")), "AGENT"), message.body.to_vec())
}

#[test]
fn a_call_in_which_nothing_is_rendered_is_what_was_prepared() {
    let (url, options) = (url("http://[::1]:8080/ignored"), HttpOptions::default());
    let headers = headers(&[("X-A", "1"), ("content-length", "7")]);
    let request = Prepared::new(outline(&url, &headers, &options)).unwrap();
    let call = Call::default();
    let (head, body) = sent(&request, &call, None, None);
    assert_eq!(head, "GET /a/b?c=d HTTP/1.1\r\nHost: [::1]:8080\r\nX-A: 1\r\nUser-Agent: AGENT\r\n\r\n");
    assert!(body.is_empty());
    let leg = request.leg(&call, None).unwrap();
    let mut buffer = Vec::new();
    request.message(&leg, &mut buffer);
    assert!(buffer.is_empty(), "nothing is put together");
}

#[test]
fn what_is_rendered_and_what_the_options_ask_for_is_added() {
    let url = url("https://shop.example/");
    let options = HttpOptions { compression: true, connections: Connections::PerRequest, ..HttpOptions::default() };
    let headers = headers(&[("user-agent", "mine"), ("Host", "tenant.example")]);
    let outline = Outline {
        method: "POST",
        path: None,
        rendered: &["X-Id"],
        body: Bytes::from_static(b"constant"),
        ..outline(&url, &headers, &options)
    };
    let request = Prepared::new(outline).unwrap();
    let call = Call { path: Some("/items/7"), headers: &[("X-Id", "7"), ("X-Empty", "")], ..Call::default() };
    let lines =
        "Host: tenant.example\r\nuser-agent: mine\r\nAccept-Encoding: gzip, br, zstd\r\nConnection: close\r\nX-Id: 7\r\nX-Empty: \r\n";
    let (head, body) = sent(&request, &call, None, None);
    assert_eq!(head, format!("POST /items/7 HTTP/1.1\r\n{lines}Content-Length: 8\r\n\r\n"));
    assert_eq!(body, b"constant");
    let call = Call { body: Some(b""), ..call };
    assert_eq!(
        sent(&request, &call, None, Some("a=1")).0,
        format!("POST /items/7 HTTP/1.1\r\n{lines}Cookie: a=1\r\nContent-Length: 0\r\n\r\n")
    );
}

#[test]
fn another_origin_gets_its_own_host_and_after_a_redirect_no_credentials() {
    let (url, options) = (url("http://shop.example/"), HttpOptions::default());
    let headers = headers(&[("Authorization", "Bearer t"), ("Cookie", "own=1"), ("Content-Type", "text/plain")]);
    let outline = Outline { method: "POST", body: Bytes::from_static(b"body"), ..outline(&url, &headers, &options) };
    let request = Prepared::new(outline).unwrap();
    let other = Origin::of(&"https://other.example:8443".parse().unwrap()).unwrap();
    // The author's own address: with everything.
    let call = Call { origin: Some(&other), headers: &[("X-Api-Key", "k")], ..Call::default() };
    let (head, _) = sent(&request, &call, None, Some("own=1; jar=2"));
    let lines = "Authorization: Bearer t\r\nContent-Type: text/plain\r\nUser-Agent: AGENT\r\nX-Api-Key: k\r\nCookie: own=1; jar=2\r\nContent-Length: 4";
    assert_eq!(head, format!("POST /a/b?c=d HTTP/1.1\r\nHost: other.example:8443\r\n{lines}\r\n\r\n"));
    // A redirect there: without.
    let hop = |origin: &Origin, bodiless| {
        let foreign = *origin != *request.origin;
        Hop { origin: origin.clone(), path: "/next".into(), method: Method::PUT, foreign, bodiless }
    };
    let call = Call { headers: &[("X-Api-Key", "k")], ..Call::default() };
    let (head, body) = sent(&request, &call, Some(&hop(&other, false)), None);
    assert_eq!(
        head,
        "PUT /next HTTP/1.1\r\nHost: other.example:8443\r\nContent-Type: text/plain\r\nUser-Agent: AGENT\r\nContent-Length: 4\r\n\r\n"
    );
    assert_eq!(body, b"body");
    // A redirect within the origin that drops the body.
    let (head, body) = sent(&request, &call, Some(&hop(&request.origin, true)), None);
    let lines = "Host: shop.example\r\nAuthorization: Bearer t\r\nCookie: own=1\r\nUser-Agent: AGENT\r\nX-Api-Key: k\r\nContent-Length: 0";
    assert_eq!(head, format!("PUT /next HTTP/1.1\r\n{lines}\r\n\r\n"));
    assert!(body.is_empty());
    // Back from elsewhere: without.
    let back = Hop { foreign: true, ..hop(&request.origin, true) };
    let (head, _) = sent(&request, &call, Some(&back), None);
    assert_eq!(head, "PUT /next HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: AGENT\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn what_would_change_the_request_around_it_is_not_sent() {
    let (url, options) = (url("http://shop.example/"), HttpOptions::default());
    let request = Prepared::new(Outline { rendered: &["X"], ..outline(&url, &[], &options) }).unwrap();
    let reason = |call: Call<'_>| request.leg(&call, None).map(|_| ()).map_err(|broken| broken.0);
    for path in ["/a b", "/a\r\nX: 1", "relative", "/ü", ""] {
        assert_eq!(reason(Call { path: Some(path), ..Call::default() }), Err(Reason::Script("path".into())), "{path}");
    }
    for value in ["a\r\nX-Evil: 1", "a\0"] {
        assert_eq!(reason(Call { headers: &[("X", value)], ..Call::default() }), Err(Reason::Script("header X".into())), "{value}");
    }
    assert_eq!(reason(Call { headers: &[("X", "ü\tb")], ..Call::default() }), Ok(()));
    for (name, value) in [("bad name", "1"), ("X", "a\nb"), ("transfer-encoding", "chunked")] {
        assert!(Prepared::new(outline(&url, &headers(&[(name, value)]), &options)).is_err(), "{name}");
    }
    assert!(Prepared::new(Outline { method: "BAD METHOD", ..outline(&url, &[], &options) }).is_err());
    assert!(Prepared::new(Outline { path: Some("no"), ..outline(&url, &[], &options) }).is_err());
}

#[test]
fn messages_hide_what_was_sent() {
    let (url, options) = (url("http://shop.example/"), HttpOptions::default());
    let headers = headers(&[("Authorization", "Bearer s3cr3t-value")]);
    let request = Prepared::new(outline(&url, &headers, &options)).unwrap();
    let call = Call { headers: &[("X-Api-Key", "k3y-of-this-user")], ..Call::default() };
    let message = request.message_of(401, b"no user for s3cr3t-value\n or k3y-of-this-user", &call);
    assert_eq!(message, "status 401: no user for <redacted> or <redacted>");
    assert_eq!(request.message_of(500, b"", &call), "status 500");
    assert!(request.message_of(500, &[b"token=a ".as_slice(); 100].concat(), &call).chars().count() <= 500);
}

#[test]
fn rendered_addresses_may_be_whole_ones() {
    assert_eq!(address("/a?b"), Ok((None, "/a?b".into())));
    assert_eq!(address("items?page=2"), Ok((None, "/items?page=2".into())));
    let (origin, path) = address("https://Other.example/a/../b?c#d").unwrap();
    assert_eq!((origin.unwrap().authority().as_str(), path.as_str()), ("other.example", "/b?c"));
    assert!(address("ftp://other.example/a").is_err() && address("http://").is_err());
}

//! Tokens for client credentials: from the demo target, which checks them, and from endpoints that do not give one.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::sync::Arc;
use std::time::Duration;

use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::request::{Hidden, TlsOptions, TokenSource};
use plimsoll::protocol::dial::Dialer;
use plimsoll::protocol::dns::Dns;
use plimsoll::protocol::guard::Guard;
use plimsoll::protocol::tls::Tls;
use plimsoll::protocol::token::{Token, TokenFailure, TokenFetcher, keep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::demo::{client, target};
use crate::servers::free_port;

/// A secret with everything in it that needs encoding.
const SECRET: &str = "s3cr3t: +/ü&=%";

fn source(url: &str, client_id: &str, secret: &str, in_body: bool) -> TokenSource {
    TokenSource::ClientCredentials {
        token_url: url.parse().unwrap(),
        client_id: client_id.into(),
        client_secret: Hidden(secret.into()),
        scope: Some("read write".into()),
        audience: Some("https://shop.example/".into()),
        in_body,
    }
}

fn fetcher(source: &TokenSource, allow: &str) -> TokenFetcher {
    let guard = Guard::new(&[], Some(&allow.parse().unwrap()));
    let dialer = Dialer::new(Arc::new(guard), Tls::new(&TlsOptions::default()).unwrap(), Dns::default());
    TokenFetcher::new(source, &dialer).unwrap()
}

/// Answers every request with this text, and then closes, or stays when the text ends in the middle of a head; returns what it was
/// asked as well.
async fn endpoint(answer: String) -> (String, JoinSet<()>, Arc<std::sync::Mutex<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/oauth/token?tenant=1", listener.local_addr().unwrap());
    let (asked, mut serving) = (Arc::default(), JoinSet::new());
    let heard: Arc<std::sync::Mutex<String>> = Arc::clone(&asked);
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).contains("audience=") && stream.read_buf(&mut request).await.unwrap() > 0 {}
            *heard.lock().unwrap() = String::from_utf8(request).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, serving, asked)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_demo_target_gives_a_token_that_opens_the_account() {
    let target = target(2, 0).await;
    for in_body in [false, true] {
        let mut fetcher = fetcher(&source(&target.url("/oauth/token"), "demo", "demo-secret", in_body), &target.url("/"));
        let token = fetcher.fetch().await.unwrap();
        assert_eq!(token.expires_after, Some(Duration::from_secs(300)));
        let account = client().get(target.url("/api/account")).bearer_auth(&token.value.0).send().await.unwrap();
        assert_eq!((account.status().as_u16(), account.text().await.unwrap().as_str()), (200, r#"{"name":"demo"}"#));
        assert!(!format!("{token:?}").contains(&token.value.0));
    }
    let mut refused = fetcher(&source(&target.url("/oauth/token"), "demo", "another-secret", false), &target.url("/"));
    let failure = refused.fetch().await.unwrap_err();
    let message = format!("no token from {}: status 401: invalid_client no such client, or another secret", target.url("/oauth/token"));
    assert_eq!(failure, TokenFailure { reason: Reason::Status(401), message, lasting: true });
    target.stop().await;
}

#[tokio::test]
async fn the_request_is_that_of_the_rfc() {
    let (url, _serving, asked) = endpoint(ok(r#"{"access_token":"t0ken","expires_in":"60"}"#)).await;
    let token = Token { value: Hidden("t0ken".into()), expires_after: Some(Duration::from_secs(60)) };
    assert_eq!(fetcher(&source(&url, "shop", SECRET, true), &url).fetch().await, Ok(token.clone()));
    let request = asked.lock().unwrap().clone();
    assert!(request.starts_with("POST /oauth/token?tenant=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    assert!(request.contains("\r\nContent-Type: application/x-www-form-urlencoded\r\n") && !request.contains("Authorization"), "{request}");
    let form = "grant_type=client_credentials&scope=read+write&audience=https%3A%2F%2Fshop.example%2F";
    let secret = "s3cr3t%3A+%2B%2F%C3%BC%26%3D%25";
    assert!(request.ends_with(&format!("\r\n\r\n{form}&client_id=shop&client_secret={secret}")), "{request}");

    assert_eq!(fetcher(&source(&url, "sh:op", SECRET, false), &url).fetch().await, Ok(token));
    let request = asked.lock().unwrap().clone();
    assert!(request.ends_with(&format!("\r\n\r\n{form}")), "{request}");
    let sent = request.lines().find_map(|line| line.strip_prefix("Authorization: Basic ")).unwrap();
    let decoded = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, sent).unwrap();
    assert_eq!(String::from_utf8(decoded).unwrap(), format!("sh%3Aop:{secret}"));
}

#[tokio::test]
async fn an_endpoint_that_gives_no_token_has_one_reason_and_no_secret_is_told() {
    let status = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let large = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(100_000));
    for (answer, reason, lasting, text) in [
        (status("401 Unauthorized", r#"{"error":"invalid_client"}"#), Reason::Status(401), true, "status 401: invalid_client"),
        (status("400 Bad", &format!("no client with {SECRET}!")), Reason::Status(400), true, "status 400: no client with <redacted>!"),
        (status("429 Slow Down", ""), Reason::Status(429), false, "status 429"),
        (status("503 Busy", "try\n later"), Reason::Status(503), false, "status 503: try later"),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".into(), Reason::Status(302), false, "status 302"),
        (ok("<html>"), Reason::Protocol, false, "the answer is not JSON"),
        (ok(r#"{"token":"t"}"#), Reason::Protocol, false, "the answer has no `access_token`"),
        (ok(r#"{"access_token":"a\nb"}"#), Reason::Protocol, false, "`access_token` has a character that may not stand in a header"),
        (ok(r#"{"access_token":""}"#), Reason::Protocol, false, "`access_token` has a character"),
        (ok(r#"{"access_token":"t","token_type":"mac"}"#), Reason::Protocol, false, "`token_type` is `mac`; only Bearer is understood"),
        (ok(r#"{"access_token":"t","expires_in":-5}"#), Reason::Protocol, false, "`expires_in` is no number of seconds"),
        (ok(&large), Reason::BodyTooLarge, false, "the body is larger than 65536 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".into(), Reason::ClosedEarly, false, ""),
        ("HTTP/1.1 2".into(), Reason::ClosedEarly, false, ""),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n".into(), Reason::Protocol, false, ""),
    ] {
        let (url, _serving, _) = endpoint(answer.clone()).await;
        let failure = fetcher(&source(&url, "shop", SECRET, false), &url).fetch().await.unwrap_err();
        assert_eq!((&failure.reason, failure.lasting), (&reason, lasting), "{failure}");
        let place = format!("no token from {}: {text}", url.trim_end_matches("?tenant=1"));
        assert!(failure.message.starts_with(&place) && !failure.message.contains("s3cr3t"), "{failure}");
    }
    let url = format!("http://127.0.0.1:{}/token", free_port());
    assert_eq!(fetcher(&source(&url, "shop", SECRET, false), &url).fetch().await.unwrap_err().reason, Reason::ConnectRefused);
    let blocked = fetcher(&source(&url, "shop", SECRET, false), "http://127.0.0.1:1/").fetch().await.unwrap_err();
    assert_eq!((blocked.reason, blocked.lasting), (Reason::BlockedByGuard, true));
    let login = TokenSource::Login {
        flow: Vec::new(),
        token: plimsoll::model::template::Template::literal("t", plimsoll::model::template::Encoding::Plain),
        refresh: None,
    };
    let guard = Arc::new(Guard::default());
    let dialer = Dialer::new(guard, Tls::new(&TlsOptions::default()).unwrap(), Dns::default());
    assert!(TokenFetcher::new(&login, &dialer).is_err());
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_and_asked_again() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let mut fetcher = fetcher(&source(&url, "shop", SECRET, false), &url);
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        // The first is not answered; the second is.
        let (_silent, _) = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 2048];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(ok(r#"{"access_token":"t"}"#).as_bytes()).await;
        std::future::pending::<()>().await;
    });
    let mut told = Vec::new();
    keep(async || fetcher.fetch().await, |news| told.push(news)).await;
    let failure = told[0].as_ref().unwrap_err();
    assert_eq!((&failure.reason, told.len()), (&Reason::Timeout(Phase::Waiting), 2), "{told:?}");
    assert!(failure.message.ends_with(": no answer within 10000 ms"), "{failure}");
    assert_eq!(told[1].as_ref().unwrap().expires_after, None);
}

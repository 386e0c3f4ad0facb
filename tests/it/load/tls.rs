//! TLS towards a target: whom it trusts, how it proves itself, and that whatever is wrong with it is one reason.
#![expect(clippy::unwrap_used, reason = "a server that cannot be made is a test that failed")]

use std::sync::Arc;

use futures_util::future::join_all;
use plimsoll::model::failure::Reason;
use plimsoll::model::request::{Connections, Hidden, HttpOptions, HttpVersion, TlsOptions};
use plimsoll::protocol::http::HttpClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::asker::{Ask, Ways, answer, failure, on_a_load_thread};
use super::notepad::{Notepad, text};
use crate::servers::tls::{Issuer, authority, certificate, server_config};

/// A server that answers every HTTP/1.1 request with its path, over TLS.
struct Server {
    host: String,
    _tasks: JoinSet<()>,
}

struct Wishes<'a> {
    identity: (String, String),
    /// Clients must show a certificate of this authority.
    clients_of: Option<&'a Issuer>,
    only_tls12: bool,
    alpn: &'a [&'a str],
}

impl Server {
    async fn start(wishes: Wishes<'_>) -> Self {
        let mut config = server_config(wishes.identity, wishes.clients_of, wishes.only_tls12);
        config.alpn_protocols = wishes.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    // A handshake that fails is what some tests want.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") { serve_http2(stream).await } else { serve(stream).await }
                });
            }
        });
        Self { host, _tasks: tasks }
    }
}

async fn serve(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        if path.starts_with("/cut") {
            // Closed without the alert that says so: an attacker could have cut the answer off.
            let framing = if path == "/cut-length" { "Content-Length: 5\r\n" } else { "" };
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\nhell").as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            return;
        }
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

async fn serve_http2(stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        respond.send_response(http::Response::new(()), false).unwrap().send_data(bytes::Bytes::from("over HTTP/2"), true).unwrap();
    }
}

fn trusting(issuer: &Issuer) -> TlsOptions {
    TlsOptions { ca: vec![issuer.pem().into_bytes()], ..TlsOptions::default() }
}

/// What a request with these settings comes to.
async fn ask(server: &Server, tls: TlsOptions) -> Outcome {
    let ways = Ways { tls, ..Ways::default() };
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(std::slice::from_ref(&server.host)));
        let ask = Ask::new("GET", &format!("https://{}/secret", server.host), &ways);
        let exchange = ask.by(&mut client).await;
        if exchange.outcome.failure.is_some() {
            return Err(failure(&exchange));
        }
        assert!(!exchange.outcome.phases.tls.is_zero() && exchange.outcome.connected, "{:?}", exchange.outcome);
        // The connection is kept like any other.
        let again = ask.by(&mut client).await;
        assert!(again.outcome.phases.tls.is_zero() && !again.outcome.connected, "{:?}", again.outcome);
        Ok(answer(&again))
    })
    .await
}

fn assert_tls(result: Outcome, message: &str) {
    let (reason, text) = result.expect_err(message);
    assert_eq!(reason, Some(Reason::Tls), "{text}");
    assert!(text.contains(message), "{text}");
}

fn plain_wishes(identity: (String, String)) -> Wishes<'static> {
    Wishes { identity, clients_of: None, only_tls12: false, alpn: &["http/1.1"] }
}

/// What a request comes to: status and body, or reason and message.
type Outcome = Result<(u16, String), (Option<Reason>, String)>;

fn assert_fine(result: &Outcome) {
    assert_eq!(result, &Ok((200, "/secret".into())));
}

#[tokio::test]
async fn a_certificate_must_be_of_a_known_authority_for_this_name_and_of_today() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let server = Server::start(plain_wishes(certificate(&ours, "localhost", false))).await;
    assert_fine(&ask(&server, trusting(&ours)).await);
    assert_tls(ask(&server, TlsOptions::default()).await, "UnknownIssuer");
    assert_tls(ask(&server, trusting(&theirs)).await, "UnknownIssuer");
    // Not verified because somebody has asked for that.
    assert_fine(&ask(&server, TlsOptions { verify: false, ..TlsOptions::default() }).await);

    let named = Server::start(plain_wishes(certificate(&ours, "shop.internal", false))).await;
    assert_tls(ask(&named, trusting(&ours)).await, "not valid for name \"localhost\"");
    assert_fine(&ask(&named, TlsOptions { server_name: Some("shop.internal".into()), ..trusting(&ours) }).await);

    let expired = Server::start(plain_wishes(certificate(&ours, "localhost", true))).await;
    assert_tls(ask(&expired, trusting(&ours)).await, "certificate expired");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let with_identity = |issuer: &Issuer| {
        let (chain, key) = certificate(issuer, "vu", false);
        TlsOptions { identity: Some(Hidden((chain.into_bytes(), key.into_bytes()))), ..trusting(&ours) }
    };
    for only_tls12 in [false, true] {
        let wishes = Wishes { identity: certificate(&ours, "localhost", false), clients_of: Some(&ours), only_tls12, alpn: &[] };
        let server = Server::start(wishes).await;
        assert_fine(&ask(&server, with_identity(&ours)).await);
        // With TLS 1.3 the refusal comes when the first answer is read.
        assert_tls(ask(&server, trusting(&ours)).await, "ertificate");
        assert_tls(ask(&server, with_identity(&theirs)).await, "alert");
    }
}

#[tokio::test]
async fn versions_and_peers_that_do_not_fit_are_failures_of_tls() {
    let ours = authority("ours");
    let old = Server::start(Wishes { only_tls12: true, ..plain_wishes(certificate(&ours, "localhost", false)) }).await;
    assert_fine(&ask(&old, trusting(&ours)).await);
    assert_tls(ask(&old, TlsOptions { only_tls13: true, ..trusting(&ours) }).await, "alert");
    // A server that speaks no TLS at all.
    let plain = Notepad::start(|_| text(200, "")).await;
    let server = Server { host: format!("localhost:{}", plain.address.port()), _tasks: JoinSet::new() };
    assert_tls(ask(&server, trusting(&ours)).await, "corrupt message");
    // A server that speaks no HTTP/2, where nothing else will do.
    let options = HttpOptions { version: HttpVersion::Http2, ..HttpOptions::default() };
    let ways = Ways { tls: trusting(&ours), options, ..Ways::default() };
    let exchange = on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(std::slice::from_ref(&old.host)));
        Ask::new("GET", &format!("https://{}/", old.host), &ways).by(&mut client).await
    });
    assert_eq!(failure(&exchange.await).0, Some(Reason::Tls));
}

#[tokio::test]
async fn an_answer_that_may_have_been_cut_off_is_not_taken_for_whole() {
    let ours = authority("ours");
    let server = Server::start(plain_wishes(certificate(&ours, "localhost", false))).await;
    let ways = Ways { tls: trusting(&ours), ..Ways::default() };
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(std::slice::from_ref(&server.host)));
        for path in ["/cut", "/cut-length"] {
            let exchange = Ask::new("GET", &format!("https://{}{path}", server.host), &ways).by(&mut client).await;
            assert_eq!(failure(&exchange).0, Some(Reason::ClosedEarly), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_version_of_http_is_agreed_on_by_alpn() {
    let ours = authority("ours");
    let both = Server::start(Wishes { alpn: &["h2", "http/1.1"], ..plain_wishes(certificate(&ours, "localhost", false)) }).await;
    let old = Server::start(plain_wishes(certificate(&ours, "localhost", false))).await;
    for (server, version, body) in [
        (&both, HttpVersion::Auto, "over HTTP/2"),
        (&both, HttpVersion::Http2, "over HTTP/2"),
        (&both, HttpVersion::Http1, "/path"),
        (&old, HttpVersion::Auto, "/path"),
    ] {
        for connections in [Connections::PerVu, Connections::Shared, Connections::PerRequest] {
            let ways =
                Ways { tls: trusting(&ours), options: HttpOptions { version, connections, ..HttpOptions::default() }, ..Ways::default() };
            on_a_load_thread(async {
                let pool = ways.pool(std::slice::from_ref(&server.host));
                let mut clients: Vec<HttpClient> = (0..8).map(|_| HttpClient::new(pool.clone())).collect();
                let ask = Ask::new("GET", &format!("https://{}/path", server.host), &ways);
                for _ in 0..2 {
                    let exchanges = join_all(clients.iter_mut().map(|client| ask.by(client))).await;
                    assert!(exchanges.iter().all(|exchange| answer(exchange) == (200, body.into())), "{version:?} {connections:?}");
                    let connected = exchanges.iter().filter(|exchange| exchange.outcome.connected).count();
                    let one = connections == Connections::Shared && body == "over HTTP/2";
                    assert!(!one || connected <= 1, "{connected} connections instead of one");
                }
            })
            .await;
        }
    }
}

//! A WebSocket server that pushes and pings, and is an HTTP server as well: a VU that only sends, thinks, or asks something else meanwhile
//! goes on reading, answers every ping, and counts what nobody heard.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use plimsoll::model::request::TlsOptions;
use plimsoll::model::run::Verdict;
use plimsoll::protocol::dial::{Dialer, Origin};
use plimsoll::protocol::dns::Dns;
use plimsoll::protocol::guard::Guard;
use plimsoll::protocol::tls::Tls;
use plimsoll::protocol::websocket::{Opening, Payload, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::program::Plan;

/// Time enough on a busy machine for whatever answers at all.
const AMPLE: Duration = Duration::from_secs(60);
/// Messages of one push; with their kilobyte each more than the system holds between two sides.
const PUSHED: u32 = 20_000;

/// What the connections know of each other.
#[derive(Default)]
struct Known {
    pings: watch::Sender<u64>,
    pongs: watch::Sender<u64>,
    pushed: watch::Sender<bool>,
}

/// The server; it ends when this is dropped.
struct Chat {
    url: String,
    known: Arc<Known>,
    _serving: JoinSet<()>,
}

impl Chat {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (known, mut serving) = (Arc::<Known>::default(), JoinSet::new());
        let all = known.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, all.clone()));
            }
        });
        Self { url, known, _serving: serving }
    }

    async fn socket(&self) -> Socket {
        let url = self.url.parse().unwrap();
        let dialer = Dialer::new(Arc::new(Guard::new(&[], Some(&url))), Tls::new(&TlsOptions::default()).unwrap(), Dns::default());
        let origin = Origin::of(&url).unwrap();
        let opening = Opening { origin: &origin, path: "/chat", headers: &[], subprotocols: &[], max_message: 1 << 20, timeout: AMPLE };
        Socket::open(&dialer, &opening).await.socket.unwrap()
    }
}

async fn serve(mut stream: TcpStream, known: Arc<Known>) {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
                return;
            }
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        match text.split(' ').nth(1).unwrap() {
            "/chat" => return chat(stream, &text, &known).await,
            // Answered when a ping that is sent now was answered.
            "/until-pong" => {
                let wanted = *known.pings.borrow() + 1;
                known.pings.send_replace(wanted);
                known.pongs.subscribe().wait_for(|pongs| *pongs >= wanted).await.unwrap();
            }
            "/until-pushed" => drop(known.pushed.subscribe().wait_for(|pushed| *pushed).await.unwrap()),
            other => panic!("unknown path {other}"),
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
    }
}

/// Pings when it is asked to; pushes when it is told to, and reads nothing meanwhile.
async fn chat(mut stream: TcpStream, head: &str, known: &Known) {
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let mut pings = known.pings.subscribe();
    loop {
        tokio::select! {
            _ = pings.changed() => {
                // The client may have gone.
                let payload = pings.borrow_and_update().to_string();
                let _ = socket.send(Message::Ping(payload.into())).await;
            }
            said = socket.next() => match said {
                Some(Ok(Message::Pong(payload))) => {
                    let number = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                    known.pongs.send_replace(number);
                }
                Some(Ok(Message::Text(text))) if text.as_str() == "push" => {
                    for number in 1..=PUSHED {
                        if socket.send(Message::text(format!("{number:<1024}"))).await.is_err() {
                            return;
                        }
                    }
                    known.pushed.send_replace(true);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// Hears everything that is left; returns how many messages that were, and how many were dropped.
async fn hear_out(socket: &mut Socket) -> (u32, u32) {
    let (mut heard, mut unheard, mut last) = (0, 0, 0);
    while last < PUSHED {
        let message = socket.exchange(None, Some(&mut |_| true), AMPLE).await;
        assert_eq!(message.outcome.failure, None, "{:?}", message.outcome);
        unheard += message.outcome.unheard;
        let number: u32 = String::from_utf8(message.message.unwrap().to_vec()).unwrap().trim().parse().unwrap();
        assert!(number > last, "{number} after {last}");
        (heard, last) = (heard + 1, number);
    }
    (heard, unheard)
}

#[tokio::test]
async fn a_socket_that_is_pushed_to_is_read_from_while_the_vu_thinks() {
    let server = Chat::start().await;
    let mut socket = server.socket().await;
    assert_eq!(socket.exchange(Some(Payload::Text("push")), None, AMPLE).await.outcome.failure, None);
    let mut pushed = server.known.pushed.subscribe();
    let all = tokio::time::timeout(AMPLE, async { drop(pushed.wait_for(|pushed| *pushed).await.unwrap()) });
    socket.during(all).await.unwrap();
    let (heard, unheard) = hear_out(&mut socket).await;
    assert_eq!(heard + unheard, PUSHED, "{heard} heard");
    assert!(unheard > PUSHED / 4, "{unheard}");
}

#[tokio::test]
async fn a_socket_that_is_pushed_to_is_read_from_while_the_vu_only_sends() {
    let server = Chat::start().await;
    let mut socket = server.socket().await;
    assert_eq!(socket.exchange(Some(Payload::Text("push")), None, AMPLE).await.outcome.failure, None);
    let (large, mut unheard) = ("x".repeat(64 * 1024), 0);
    let pushed = server.known.pushed.subscribe();
    // The server reads none of it before it has pushed everything: what is sent must not wait for that alone.
    for _ in 0..1_000 {
        if *pushed.borrow() {
            break;
        }
        let said = socket.exchange(Some(Payload::Text(&large)), None, AMPLE).await;
        assert_eq!(said.outcome.failure, None, "{:?}", said.outcome);
        unheard += said.outcome.unheard;
    }
    assert!(*pushed.borrow());
    let (heard, further) = hear_out(&mut socket).await;
    assert_eq!(heard + unheard + further, PUSHED, "{heard} heard");
}

#[tokio::test]
async fn pings_are_answered_and_pushes_are_read_during_steps_of_other_protocols() {
    let server = Chat::start().await;
    let meanwhile = "{ step: pong, get: /until-pong, timeout: 60s }, { step: pushed, get: /until-pushed, timeout: 60s }, \
        { parallel: [{ step: left, get: /until-pong, timeout: 60s }, { step: right, get: /until-pushed, timeout: 60s }] }";
    let flow = format!(
        "[{{ step: open, websocket: /chat, do: [{{ step: push, send: push }}, {meanwhile}, {{ step: hear, expect: any, timeout: 60s }}] }}]"
    );
    let scenarios = format!("{{ users: {{ executor: per-vu-iterations, vus: 1, iterations: 1, flow: {flow} }} }}");
    let done = Plan { base_url: &server.url, target: "", scenarios: &scenarios, profile: "", top: "" }.run().await;
    done.assert(0, Some(Verdict::Pass));
    let summary = done.run.summary.unwrap();
    assert_eq!((summary.total.requests, summary.total.failed), (7, 0));
    // What nobody heard is known, though no step failed.
    assert!(summary.total.unheard > u64::from(PUSHED) / 4, "{summary:?}");
}

//! The WebSocket of the demo target: it greets, and answers every message after a real query on a connection of the pool.
//! Faults act on its messages as they do on requests; what each of them does here: docs/probes.md.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::api::{App, Failure, Shared};
use super::wire::Wire;

/// Path under which the fault `errors` finds messages; the handshake is found under `/ws`, as a request.
const MESSAGES: &str = "/ws/message";
/// The subprotocol that is spoken when a client offers it.
const SUBPROTOCOL: &str = "v1";
/// Largest message that is taken, bytes.
const LARGEST: usize = 1 << 20;
/// Longest reason that a close frame holds, bytes.
const LONGEST_REASON: usize = 123;
/// Pieces that a slow answer is sent in.
const PIECES: u32 = 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// `GET /ws`.
pub(super) async fn open(State(app): Shared, mut request: Request) -> Response {
    let headers = request.headers();
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_upgrade(headers)) else {
        let upgrade = [(header::UPGRADE, "websocket")];
        return (StatusCode::UPGRADE_REQUIRED, upgrade, Json(json!({"error": "a WebSocket is expected"}))).into_response();
    };
    let mut answer = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    let Ok(accept) = accept else { return StatusCode::BAD_REQUEST.into_response() };
    answer.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let wire = request.extensions().get::<ConnectInfo<Wire>>().map(|ConnectInfo(wire)| wire.clone()).unwrap_or_default();
    let upgrade = hyper::upgrade::on(&mut request);
    app.sockets.spawn(serve(app.clone(), upgrade, wire));
    answer
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

async fn serve(app: Arc<App>, upgrade: OnUpgrade, wire: Wire) {
    // A client that goes away before the answer is out gets no conversation.
    let Ok(upgraded) = upgrade.await else { return };
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024).max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    app.metrics.sockets_open.inc();
    if let Err(error) = (Conversation { app: &app, wire, socket }).hold().await {
        tracing::debug!(%error, "a WebSocket ended");
    }
    app.metrics.sockets_open.dec();
}

/// What becomes of the conversation after a message.
#[derive(PartialEq)]
enum After {
    Stay,
    /// We have said good-bye; the client's answer is waited for.
    Leave,
    End,
}

/// The good-bye that a client asks for by `{"type":"close","code":4003,"reason":"…"}`; 1000 where there is no code that can be sent.
fn goodbye(message: &Message) -> Option<CloseFrame> {
    let Message::Text(text) = message else { return None };
    let asked: Value = serde_json::from_str(text).ok().filter(|asked: &Value| asked["type"] == "close")?;
    let code = asked["code"].as_u64().and_then(|code| u16::try_from(code).ok()).map(CloseCode::from);
    let reason = asked["reason"].as_str().filter(|reason| reason.len() <= LONGEST_REASON).unwrap_or_default();
    Some(CloseFrame { code: code.filter(|code| code.is_allowed()).unwrap_or(CloseCode::Normal), reason: reason.into() })
}

/// What a message costs the service: a query, while it holds a connection.
async fn work(app: &App) -> Result<(), Failure> {
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let query = "SELECT cents FROM wallets WHERE user_id = ?1";
    let (_,): (i64,) = sqlx::query_as(query).bind(user).fetch_one(lease.connection()).await?;
    app.finish(lease).await;
    Ok(())
}

struct Conversation<'a> {
    app: &'a App,
    wire: Wire,
    socket: Socket,
}

impl Conversation<'_> {
    async fn hold(mut self) -> Result<(), Error> {
        self.say(&json!({"type": "welcome"})).await?;
        let mut seq = 0_u64;
        loop {
            let Some(message) = self.app.unless_stopped(self.socket.next()).await else {
                return self.end(CloseCode::Away, "the service ends").await;
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(Error::Capacity(_))) => return self.end(CloseCode::Size, "the message is too large").await,
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            };
            if matches!(message, Message::Text(_) | Message::Binary(_)) {
                seq += 1;
                self.app.metrics.socket_messages.inc();
                match self.answer(seq, message).await? {
                    After::Stay => {}
                    After::Leave => return self.leave().await,
                    After::End => return Ok(()),
                }
            }
        }
    }

    /// Answers one message, unless a fault has something else in mind.
    async fn answer(&mut self, seq: u64, message: Message) -> Result<After, Error> {
        self.app.stall().await;
        let active = self.app.board.active();
        if active.refuses() {
            self.wire.cut();
            return Ok(After::End);
        }
        if active.error_for(MESSAGES).is_some() {
            self.end(CloseCode::Error, "a fault is switched on").await?;
            return Ok(After::End);
        }
        if let Some(CloseFrame { code, reason }) = goodbye(&message) {
            self.end(code, reason).await?;
            return Ok(After::Leave);
        }
        self.app.board.leak_memory(active.faults.memory_leak_bytes);
        let worked = work(self.app).await;
        // A stall that began meanwhile holds back what is ready, too.
        self.app.stall().await;
        let slow = Duration::from_millis(active.faults.slow_body_ms);
        let answer = match (worked, &message) {
            (Err(failure), _) => Message::text(json!({"type": "error", "seq": seq, "error": failure.to_string()}).to_string()),
            (Ok(()), Message::Binary(_)) => message,
            (Ok(()), _) => {
                let text = message.into_text()?;
                let said = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.to_string()));
                Message::text(json!({"type": "echo", "seq": seq, "message": said}).to_string())
            }
        };
        if active.truncates() {
            return self.half(answer).await.map(|()| After::End);
        }
        if slow.is_zero() {
            self.socket.send(answer).await?;
        } else {
            self.in_pieces(answer, slow).await?;
        }
        Ok(After::Stay)
    }

    async fn say(&mut self, message: &Value) -> Result<(), Error> {
        self.socket.send(Message::text(message.to_string())).await
    }

    async fn end(&mut self, code: CloseCode, reason: impl Into<Utf8Bytes>) -> Result<(), Error> {
        self.socket.close(Some(CloseFrame { code, reason: reason.into() })).await
    }

    /// After our good-bye: until the client has said its own, or the service ends. Whatever else it says is too late.
    async fn leave(&mut self) -> Result<(), Error> {
        while let Some(Some(message)) = self.app.unless_stopped(self.socket.next()).await {
            message?;
        }
        Ok(())
    }

    /// Sends half a message; then the connection is cut.
    async fn half(&mut self, message: Message) -> Result<(), Error> {
        let code = OpCode::Data(if message.is_text() { Data::Text } else { Data::Binary });
        let whole = message.into_data();
        let half = whole.slice(..whole.len() / 2);
        self.socket.send(Message::Frame(Frame::message(half, code, false))).await?;
        self.wire.cut();
        Ok(())
    }

    /// Sends a message as fragments that are spread over a time.
    async fn in_pieces(&mut self, message: Message, time: Duration) -> Result<(), Error> {
        let mut code = OpCode::Data(if message.is_text() { Data::Text } else { Data::Binary });
        let mut left: Bytes = message.into_data();
        let step = left.len().div_ceil(PIECES as usize).max(1);
        loop {
            self.app.pause(time / PIECES).await;
            let piece = left.split_to(step.min(left.len()));
            self.socket.send(Message::Frame(Frame::message(piece, code, left.is_empty()))).await?;
            if left.is_empty() {
                return Ok(());
            }
            code = OpCode::Data(Data::Continue);
        }
    }
}

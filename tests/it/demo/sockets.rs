//! The WebSocket of the demo target, asked by tungstenite's own client: it greets and answers, and every fault acts on messages.

use futures_util::{SinkExt, StreamExt};
use plimsoll::demo::Running;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{PATIENCE, clear, client, metric, switch, target, until};

type Socket = WebSocketStream<TcpStream>;

async fn open(target: &Running, subprotocols: Option<&str>) -> Result<(Socket, Option<String>), Error> {
    let mut request = format!("ws://{}/ws", target.addr).into_client_request().unwrap();
    if let Some(subprotocols) = subprotocols {
        request.headers_mut().insert("sec-websocket-protocol", subprotocols.parse().unwrap());
    }
    let stream = TcpStream::connect(target.addr).await.unwrap();
    let (socket, answer) = timeout(PATIENCE, client_async(request, stream)).await.unwrap()?;
    Ok((socket, answer.headers().get("sec-websocket-protocol").map(|chosen| chosen.to_str().unwrap().to_owned())))
}

async fn hear(socket: &mut Socket) -> Result<Value, Error> {
    let message = timeout(PATIENCE, socket.next()).await.unwrap().expect("an open socket")?;
    if let Message::Close(Some(frame)) = &message {
        return Ok(json!({"closed": u16::from(frame.code), "reason": frame.reason.as_str()}));
    }
    Ok(serde_json::from_str(message.to_text()?).unwrap())
}

async fn greeted(target: &Running) -> Socket {
    let (mut socket, _) = open(target, None).await.unwrap();
    assert_eq!(hear(&mut socket).await.unwrap(), json!({"type": "welcome"}));
    socket
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

#[tokio::test]
async fn it_greets_and_answers_every_message() {
    let target = target(2, 0).await;
    let mut socket = greeted(&target).await;
    say(&mut socket, r#"{"type":"hello"}"#).await;
    assert_eq!(hear(&mut socket).await.unwrap(), json!({"type": "echo", "seq": 1, "message": {"type": "hello"}}));
    say(&mut socket, "no JSON").await;
    assert_eq!(hear(&mut socket).await.unwrap(), json!({"type": "echo", "seq": 2, "message": "no JSON"}));
    socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(vec![1, 2, 3]));
    let client = client();
    assert!((metric(&client, &target, "demo_websockets_open").await - 1.0).abs() < 0.1);
    assert!((metric(&client, &target, "demo_websocket_messages_total").await - 3.0).abs() < 0.1);
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    while metric(&client, &target, "demo_websockets_open").await > 0.5 {}
    // Subprotocols: the one that it speaks, or none.
    assert_eq!(open(&target, Some("v2, v1")).await.unwrap().1, Some("v1".into()));
    assert!(open(&target, Some("v2")).await.is_err());
    assert_eq!(client.get(target.url("/ws")).send().await.unwrap().status(), 426);
    // A socket that is open does not keep the service from ending.
    let mut socket = greeted(&target).await;
    let stopped = tokio::join!(timeout(PATIENCE, target.stop()), hear(&mut socket));
    assert!(stopped.0.is_ok());
    assert_eq!(stopped.1.unwrap(), json!({"closed": u16::from(CloseCode::Away), "reason": "the service ends"}));
}

#[tokio::test]
async fn it_closes_when_it_is_asked_to_and_hears_the_answer() {
    let target = target(1, 0).await;
    let long = "x".repeat(124);
    for (asked, code, reason) in [
        (json!({"type": "close", "code": 4003, "reason": "kicked"}), 4003, "kicked"),
        (json!({"type": "close"}), 1000, ""),
        // What cannot be sent is left out.
        (json!({"type": "close", "code": 1006, "reason": long}), 1000, ""),
        (json!({"type": "close", "code": 70_000, "reason": 5}), 1000, ""),
    ] {
        let mut socket = greeted(&target).await;
        say(&mut socket, &asked.to_string()).await;
        assert_eq!(hear(&mut socket).await.unwrap(), json!({"closed": code, "reason": reason}));
        // Our answer is sent while the end is waited for.
        assert!(timeout(PATIENCE, socket.next()).await.unwrap().is_none());
    }
    let client = client();
    while metric(&client, &target, "demo_websockets_open").await > 0.5 {}
    // One that does not answer does not keep the service from ending.
    let mut silent = greeted(&target).await;
    say(&mut silent, r#"{"type":"close"}"#).await;
    timeout(PATIENCE, target.stop()).await.unwrap();
}

#[tokio::test]
async fn a_message_holds_a_connection_of_the_pool_and_waits_for_one() {
    let (client, target) = (client(), target(1, 600_000).await);
    let (mut one, mut two) = (greeted(&target).await, greeted(&target).await);
    say(&mut one, "1").await;
    until(&target, |pool| pool.in_use == 1).await;
    say(&mut two, "2").await;
    until(&target, |pool| pool.waiting == 1).await;
    switch(&client, &target, json!({"pool": 2})).await;
    until(&target, |pool| pool.in_use == 2 && pool.waiting == 0).await;
    target.stop().await;
    // Holds were cut short; the answers still came.
    assert_eq!(hear(&mut one).await.unwrap()["message"], 1);
    assert_eq!(hear(&mut two).await.unwrap()["message"], 2);
}

#[tokio::test]
async fn faults_act_on_messages() {
    let (client, target) = (client(), target(2, 0).await);
    // An error on messages closes the socket; one on the path refuses to open it.
    let mut socket = greeted(&target).await;
    switch(&client, &target, json!({"errors": [{"prefix": "/ws/message", "status": 500}]})).await;
    say(&mut socket, "1").await;
    assert_eq!(hear(&mut socket).await.unwrap(), json!({"closed": 1011, "reason": "a fault is switched on"}));
    drop(greeted(&target).await);
    switch(&client, &target, json!({"errors": [{"prefix": "/ws", "status": 503}]})).await;
    assert!(matches!(open(&target, None).await, Err(Error::Http(answer)) if answer.status() == 503));
    clear(&client, &target).await;

    // Cut without an answer, and in the middle of one.
    for fault in [json!({"refuse": 1.0}), json!({"truncated_body": 1.0})] {
        let mut socket = greeted(&target).await;
        switch(&client, &target, fault.clone()).await;
        say(&mut socket, "1").await;
        let error = hear(&mut socket).await.unwrap_err();
        assert!(matches!(error, Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)), "{fault}: {error}");
        clear(&client, &target).await;
    }

    // A slow answer comes whole.
    let mut socket = greeted(&target).await;
    switch(&client, &target, json!({"slow_body_ms": 50, "memory_leak_bytes": 1000})).await;
    say(&mut socket, r#""grüß""#).await;
    assert_eq!(hear(&mut socket).await.unwrap(), json!({"type": "echo", "seq": 1, "message": "grüß"}));
    assert!(metric(&client, &target, "demo_leaked_bytes").await > 999.0);
    clear(&client, &target).await;

    // A stall holds the answer back until it is over.
    switch(&client, &target, json!({"stall_ms": 600_000})).await;
    say(&mut socket, "2").await;
    assert!(timeout(std::time::Duration::from_millis(50), socket.next()).await.is_err());
    clear(&client, &target).await;
    assert_eq!(hear(&mut socket).await.unwrap()["seq"], 2);
    target.stop().await;
}

#[tokio::test]
async fn who_finds_no_connection_in_time_is_told_so_and_stays() {
    let settings = plimsoll::demo::Settings { pool: 1, hold: PATIENCE, acquire_timeout: std::time::Duration::ZERO, ..Default::default() };
    let target = plimsoll::demo::start(settings).await.unwrap();
    let (mut one, mut two) = (greeted(&target).await, greeted(&target).await);
    // The first message opens the connection, for which this target hardly waits: it tries again.
    let mut seq = 0;
    while target.pool().in_use == 0 {
        say(&mut one, "1").await;
        seq += 1;
        let _ = timeout(std::time::Duration::from_millis(100), one.next()).await;
        assert!(seq < 500, "no connection");
    }
    say(&mut two, "2").await;
    assert_eq!(hear(&mut two).await.unwrap(), json!({"type": "error", "seq": 1, "error": "sorry, too many clients already"}));
    say(&mut two, "2").await;
    assert_eq!(hear(&mut two).await.unwrap()["seq"], 2);
    target.stop().await;
}

//! A WebSocket server that behaves in one bad way per path, in its answer to the handshake or after the first message.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A running server; it ends with the guard.
pub(crate) struct SocketMisfits {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl SocketMisfits {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    // The client may go away at any time.
                    let _ = serve(stream).await;
                });
            }
        });
        Self { address, _serving: serving }
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if !head.starts_with(b"GET ") {
            return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = derive_accept_key(key.as_bytes());
    if let Some(answer) = bad_answer(&path, &accept) {
        stream.write_all(answer.as_bytes()).await?;
        return match path.as_str() {
            "/open/close" | "/open/half-head" => Ok(()),
            "/open/reset" => stream.set_zero_linger(),
            _ => std::future::pending().await,
        };
    }
    let opened = format!("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    stream.write_all(opened.as_bytes()).await?;
    if path == "/unread" {
        return std::future::pending().await;
    }
    // One short message, all of it, so that closing sends no RST.
    let mut message = [0_u8; 256];
    if stream.read(&mut message).await? == 0 {
        return Ok(());
    }
    let (bytes, then) = bad_frame(&path);
    stream.write_all(&bytes).await?;
    match then {
        Then::Close => Ok(()),
        Then::Reset => stream.set_zero_linger(),
        Then::Stay => std::future::pending().await,
        Then::Chatter => loop {
            stream.write_all(b"\x81\x02no").await?;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        },
        Then::Flood => {
            let many = b"\x81\x02no".repeat(10_000);
            loop {
                stream.write_all(&many).await?;
            }
        }
    }
}

/// The answer to the handshake, when it is that what is bad.
fn bad_answer(path: &str, accept: &str) -> Option<String> {
    let upgrade = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    Some(match path {
        "/open/forbidden" => {
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 42\r\n\r\n{\"error\":\"no\",\"password\":\"hunter2hunter2\"}".into()
        }
        "/open/moved" => "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".into(),
        "/open/plain" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it".into(),
        "/open/wrong-key" => format!("{upgrade}Sec-WebSocket-Accept: {}\r\n\r\n", derive_accept_key(b"another")),
        "/open/no-upgrade" => format!("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"),
        "/open/extension" => format!("{upgrade}Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
        "/open/subprotocol" => format!("{upgrade}Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: x\r\n\r\n"),
        "/open/garbage" => "SSH-2.0-OpenSSH_9.9\r\n\r\n".into(),
        "/open/half-head" | "/open/slow-head" => "HTTP/1.1 101 X\r\nUpgr".into(),
        "/open/close" | "/open/reset" | "/open/silence" => String::new(),
        _ => return None,
    })
}

enum Then {
    Close,
    Reset,
    Stay,
    /// One other message after the other, without haste.
    Chatter,
    /// The same, as fast as they go.
    Flood,
}

/// What a message is answered with.
fn bad_frame(path: &str) -> (Vec<u8>, Then) {
    let size = |bytes: u64| [b"\x82\x7f".as_slice(), &bytes.to_be_bytes()].concat();
    match path {
        "/reset" => (b"\x81\x0aha".to_vec(), Then::Reset),
        "/cut" => (Vec::new(), Then::Close),
        "/cut-in-frame" => (b"\x81\x0aha".to_vec(), Then::Close),
        "/cut-in-message" => (b"\x01\x02ha".to_vec(), Then::Close),
        "/closed" => (b"\x88\x12\x03\xe9service restarts".to_vec(), Then::Stay),
        "/late-farewell" => (b"\x81\x02no\x81\x02no\x88\x02\x03\xe8".to_vec(), Then::Close),
        "/silent-farewell" => (b"\x88\x02\x03\xe8".to_vec(), Then::Stay),
        "/too-much" => (b"\x88\x09\x03\xf1too big".to_vec(), Then::Stay),
        "/too-much-and-reset" => (b"\x88\x09\x03\xf1too big".to_vec(), Then::Reset),
        "/closed-silently" => (b"\x88\x00".to_vec(), Then::Stay),
        "/bad-close" => (b"\x88\x01\x03".to_vec(), Then::Stay),
        "/too-large" => (size(1 << 20), Then::Stay),
        "/too-large-for-anybody" => (size(u64::MAX), Then::Stay),
        "/too-large-in-fragments" => {
            let fragment = |code: u8| [[code, 125].as_slice(), &[b'x'; 125]].concat();
            ([fragment(0x02), fragment(0x00).repeat(600)].concat(), Then::Stay)
        }
        "/unknown-opcode" => (b"\x83\x02no".to_vec(), Then::Stay),
        "/reserved-bits" => (b"\xc1\x02no".to_vec(), Then::Stay),
        "/masked" => (b"\x81\x82abcdno".to_vec(), Then::Stay),
        "/no-begin" => (b"\x80\x02no".to_vec(), Then::Stay),
        "/invalid-utf8" => (b"\x81\x02\xff\xfe".to_vec(), Then::Stay),
        "/half-a-letter" => (b"\x81\x01\xc3".to_vec(), Then::Stay),
        "/silence" => (Vec::new(), Then::Stay),
        "/half-and-silence" => (b"\x81\x0aha".to_vec(), Then::Stay),
        "/chatter" => (Vec::new(), Then::Chatter),
        "/flood" => (Vec::new(), Then::Flood),
        other => panic!("unknown path {other}"),
    }
}

//! The little of Redis's protocol (RESP 2) that a probe needs: a command goes out, one simple reply comes back. Bounded: neither a line
//! nor a text of more than a megabyte is read, and an array is refused.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest line and longest text.
const MOST: u64 = 1 << 20;

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// What the server refuses: `NOAUTH Authentication required.`
    Refused(String),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Wraps a socket.
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Sends a command and reads its reply. `InvalidData` when the answer is not one of Redis.
    pub(super) async fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        // A server that refuses everybody says so and hangs up before it is asked: its word counts more than that writing failed.
        let written = self.0.get_mut().write_all(command.as_bytes()).await;
        let reply = self.reply().await;
        match (&reply, written) {
            (Err(_), Err(error)) => Err(error),
            (Ok(_) | Err(_), Ok(()) | Err(_)) => reply,
        }
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(MOST).read_until(b'\n', &mut line).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or_else(not_redis)?;
        let (kind, rest) = text.split_at_checked(1).ok_or_else(not_redis)?;
        match kind {
            "+" => Ok(Reply::Text(rest.into())),
            "-" => Ok(Reply::Refused(rest.into())),
            ":" => rest.parse().map(Reply::Number).map_err(|_| not_redis()),
            "$" => {
                let length = rest.parse::<u64>().ok().filter(|length| *length <= MOST).ok_or_else(not_redis)?;
                let mut text = Vec::new();
                (&mut self.0).take(length + 2).read_to_end(&mut text).await?;
                let text = text.strip_suffix(b"\r\n").filter(|text| text.len() as u64 == length).ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Reply::Text(String::from_utf8_lossy(text).into_owned()))
            }
            _ => Err(not_redis()),
        }
    }
}

fn not_redis() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not one of Redis")
}

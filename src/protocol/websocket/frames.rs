//! WebSocket messages on a connection (RFC 6455, 5 to 7): tungstenite's codec, driven by the one task that owns the socket, so that no
//! message costs a lock, a waker of its own or a buffer. Knows nothing of figures; `websocket.rs` does.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::model::failure::Reason;

/// Bytes read at once. Each socket keeps a buffer of this size, ten thousand sockets ten thousand of them.
const READ_BUFFER: usize = 4 * 1024;

/// The client's end of a WebSocket on the stream `S`.
pub(super) struct Frames<S> {
    context: WebSocketContext,
    io: S,
}

/// What has come of sending so far.
pub(super) enum Sending {
    /// All was written, or nothing more can be.
    Done(Result<(), Error>),
    /// This was read meanwhile; there is more to be written.
    Read(Result<Message, Error>),
}

/// The stream during one poll, as the codec wants it.
struct Turn<'t, 'c, S> {
    io: &'t mut S,
    cx: &'t mut Context<'c>,
}

impl<S: AsyncRead + Unpin> Read for Turn<'_, '_, S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buffer) {
            Poll::Ready(done) => done.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Turn<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.io).poll_write(self.cx, bytes) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match Pin::new(&mut *self.io).poll_flush(self.cx) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

/// What would block is not there yet.
fn pending<T>(done: Result<T, Error>) -> Poll<Result<T, Error>> {
    match done {
        Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// After the handshake; `rest` is what came with its answer, `most` the largest message in bytes.
    pub(super) fn new(io: S, rest: Vec<u8>, most: usize) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).max_message_size(Some(most)).max_frame_size(Some(most));
        Self { context: WebSocketContext::from_partially_read(rest, Role::Client, Some(config)), io }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        pending(self.context.read(&mut Turn { io: &mut self.io, cx }))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        pending(self.context.flush(&mut Turn { io: &mut self.io, cx }))
    }

    /// The next message; pings are answered on the way. Nothing is lost when it is given up in the middle.
    pub(super) async fn read(&mut self) -> Result<Message, Error> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// The next message, if it has arrived already.
    pub(super) fn read_now(&mut self) -> Option<Result<Message, Error>> {
        // Whoever reads next leaves its own waker.
        match self.poll_read(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(read) => Some(read),
            Poll::Pending => None,
        }
    }

    /// Sends `message`, if it is still there, and ends when all of it was written, or when something was read meanwhile: a peer may
    /// stop reading until it is read from. Given up in the middle, the rest goes out with the next one.
    pub(super) async fn send_or_read(&mut self, message: &mut Option<Message>) -> Sending {
        poll_fn(|cx| {
            if let Some(message) = message.take() {
                // A message that does not fit into the socket yet is kept by the codec; flushing sends it.
                if let Poll::Ready(Err(error)) = pending(self.context.write(&mut Turn { io: &mut self.io, cx }, message)) {
                    return Poll::Ready(Sending::Done(Err(error)));
                }
            }
            match self.poll_flush(cx) {
                Poll::Ready(done) => Poll::Ready(Sending::Done(done)),
                Poll::Pending => self.poll_read(cx).map(Sending::Read),
            }
        })
        .await
    }

    /// Says good-bye, then reads until the peer has closed the connection. Ends only when the peer does: the caller bounds it.
    /// `answered` becomes true with the peer's close frame.
    pub(super) async fn close(&mut self, answered: &mut bool) -> Result<(), Error> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        poll_fn(|cx| pending(self.context.close(&mut Turn { io: &mut self.io, cx }, Some(frame.clone())))).await?;
        loop {
            match self.read().await {
                Ok(Message::Close(_)) => *answered = true,
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until nothing more comes; the caller bounds it. After both close frames: until the peer has closed the connection.
    pub(super) async fn read_out(&mut self) {
        while self.read().await.is_ok() {}
    }

    /// Sends the reply to the peer's close frame, if that can be done at once.
    pub(super) fn reply(&mut self) {
        // The socket is given up in any case.
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
    }

    /// Tells the peer what it did wrong, if that can be sent at once (RFC 6455, 7.1.7).
    pub(super) fn complain(&mut self, error: &Error) {
        let code = if matches!(error, Error::Utf8(_)) {
            CloseCode::Invalid
        } else if matches!(error, Error::Capacity(_)) {
            CloseCode::Size
        } else {
            CloseCode::Protocol
        };
        let frame = CloseFrame { code, reason: "".into() };
        let mut cx = Context::from_waker(Waker::noop());
        // The socket is given up in any case.
        let _ = self.context.close(&mut Turn { io: &mut self.io, cx: &mut cx }, Some(frame));
    }
}

/// The reason behind an error of the connection.
pub(super) fn reason_of_io(error: &io::Error) -> Reason {
    /// Cut off by the peer or by the network between.
    const CUT: [ErrorKind; 7] = [
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::ConnectionAborted,
        ErrorKind::NotConnected,
        ErrorKind::TimedOut,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
    ];
    if CUT.contains(&error.kind()) {
        Reason::Reset
    } else if error.kind() == ErrorKind::UnexpectedEof {
        Reason::ClosedEarly
    } else {
        Reason::Protocol
    }
}

/// The reason behind an error of the codec, and what people may read about it.
pub(super) fn broken_by(error: &Error) -> (Reason, String) {
    match error {
        Error::Io(error) => (reason_of_io(error), error.to_string()),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing) => {
            (Reason::ClosedEarly, "the connection was closed without a close frame".into())
        }
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            (Reason::BodyTooLarge, format!("a message of {size} bytes or more; at most {max_size} are taken"))
        }
        Error::Utf8(_) => (Reason::Protocol, "a text message is not valid UTF-8".into()),
        Error::Capacity(CapacityError::TooManyHeaders)
        | Error::Protocol(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => (Reason::Protocol, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::timeout;
    use tokio_tungstenite::WebSocketStream;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Both ends of a connection that holds 64 bytes in each direction.
    fn connected() -> (Frames<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        (Frames::new(ours, Vec::new(), 1000), theirs)
    }

    async fn send(frames: &mut Frames<DuplexStream>, message: Message) {
        let mut message = Some(message);
        assert!(matches!(frames.send_or_read(&mut message).await, Sending::Done(Ok(()))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_not_read_from_cannot_block_what_is_sent() {
        let (mut frames, mut theirs) = connected();
        // It says two messages, more than the way holds, before it reads anything.
        let peer = async {
            theirs.write_all(&[&b"\x81\x3c"[..], &[b'x'; 60], b"\x81\x3c", &[b'y'; 60]].concat()).await.unwrap();
            let mut heard = [0; 8 + 200];
            theirs.read_exact(&mut heard).await.unwrap();
            heard[0]
        };
        let ours = async {
            let (mut message, mut read) = (Some(Message::text("a".repeat(200))), Vec::new());
            loop {
                match frames.send_or_read(&mut message).await {
                    Sending::Done(done) => break done.map(|()| read).unwrap(),
                    Sending::Read(one) => read.push(one.unwrap()),
                }
            }
        };
        let (read, first) = timeout(600 * SECOND, async { tokio::join!(ours, peer) }).await.unwrap();
        assert_eq!((read, first), (vec![Message::text("x".repeat(60)), Message::text("y".repeat(60))], 0x81));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_in_the_middle_of_sending_goes_out_with_the_next_message() {
        let (mut frames, theirs) = connected();
        let long = "a".repeat(900);
        assert!(timeout(SECOND, send(&mut frames, Message::text(long.clone()))).await.is_err());
        let mut server = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let both = async { (server.next().await.unwrap().unwrap(), server.next().await.unwrap().unwrap()) };
        let ((), (first, second)) = tokio::join!(send(&mut frames, Message::text("b")), both);
        assert_eq!((first, second), (Message::text(long), Message::text("b")));
        // And a ping is answered although nobody wrote since.
        server.send(Message::Ping("p".into())).await.unwrap();
        assert_eq!(frames.read().await.unwrap(), Message::Ping("p".into()));
        assert!(timeout(SECOND, frames.read()).await.is_err());
        assert_eq!(server.next().await.unwrap().unwrap(), Message::Pong("p".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_in_the_middle_of_reading_is_not_lost() {
        let (mut frames, mut theirs) = connected();
        for piece in [&b"\x81"[..], b"\x05he", b"ll"] {
            theirs.write_all(piece).await.unwrap();
            assert!(timeout(SECOND, frames.read()).await.is_err());
            assert!(frames.read_now().is_none());
        }
        theirs.write_all(b"o\x81\x01!").await.unwrap();
        assert_eq!(frames.read().await.unwrap(), Message::text("hello"));
        assert_eq!(frames.read_now().unwrap().unwrap(), Message::text("!"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_breaks_the_rules_is_told_which() {
        for (bytes, reason, code) in [
            (&b"\x83\x00"[..], Reason::Protocol, 1002_u16),
            (b"\x81\x01\xff", Reason::Protocol, 1007),
            (b"\x82\x7e\x04\x00", Reason::BodyTooLarge, 1009),
        ] {
            let (mut frames, mut theirs) = connected();
            theirs.write_all(bytes).await.unwrap();
            let error = frames.read().await.unwrap_err();
            assert_eq!(broken_by(&error).0, reason);
            frames.complain(&error);
            let mut told = [0; 8];
            theirs.read_exact(&mut told).await.unwrap();
            // Close, two bytes, masked.
            assert_eq!((told[0], told[1]), (0x88, 0x82));
            assert_eq!(u16::from_be_bytes([told[6] ^ told[2], told[7] ^ told[3]]), code);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn closing_waits_for_the_peer_and_passes_over_what_it_still_says() {
        let (mut frames, theirs) = connected();
        let mut server = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        server.send(Message::text("late")).await.unwrap();
        let served = async {
            assert!(matches!(server.next().await, Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Normal));
            while server.next().await.is_some() {}
            drop(server);
        };
        let mut answered = false;
        let (closed, ()) = tokio::join!(frames.close(&mut answered), served);
        closed.unwrap();
        assert!(answered);
        let (mut frames, silent) = connected();
        let mut answered = false;
        assert!(timeout(SECOND, frames.close(&mut answered)).await.is_err());
        assert!(!answered);
        drop(silent);
        // The frame has come, the end of the connection has not.
        let (mut frames, mut theirs) = connected();
        theirs.write_all(b"\x88\x02\x03\xe8").await.unwrap();
        assert!(timeout(SECOND, frames.close(&mut answered)).await.is_err());
        assert!(answered);
    }
}

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

    /// Sends a message, all of it. Given up in the middle, the rest goes out with the next one.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), Error> {
        let mut message = Some(message);
        poll_fn(|cx| {
            if let Some(message) = message.take() {
                // A message that does not fit into the socket yet is kept by the codec; flushing sends it.
                if let Poll::Ready(Err(error)) = pending(self.context.write(&mut Turn { io: &mut self.io, cx }, message)) {
                    return Poll::Ready(Err(error));
                }
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Says good-bye, then reads until the peer has closed, too. Ends only when the peer does: the caller bounds it.
    pub(super) async fn close(&mut self) -> Result<(), Error> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        poll_fn(|cx| pending(self.context.close(&mut Turn { io: &mut self.io, cx }, Some(frame.clone())))).await?;
        loop {
            match self.read().await {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
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

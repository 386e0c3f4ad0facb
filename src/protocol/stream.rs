//! A plain or TLS connection that remembers when bytes last went out and first came back, and how many: the phases of a request
//! as the wire saw them, whatever sits above.

use std::cell::Cell;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// What the wire saw since the last `begin`.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last_write: Cell<Option<Instant>>,
    first_read: Cell<Option<Instant>>,
    sent: Cell<u64>,
    received: Cell<u64>,
}

/// Figures of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metered {
    pub(super) last_write: Option<Instant>,
    pub(super) first_read: Option<Instant>,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Meter {
    /// Forgets the former request.
    pub(super) fn begin(&self) {
        self.last_write.set(None);
        self.first_read.set(None);
        self.sent.set(0);
        self.received.set(0);
    }

    pub(super) fn read(&self) -> Metered {
        Metered {
            last_write: self.last_write.get(),
            first_read: self.first_read.get(),
            sent: self.sent.get(),
            received: self.received.get(),
        }
    }

    fn wrote(&self, bytes: usize) {
        self.last_write.set(Some(Instant::now()));
        self.sent.set(self.sent.get() + bytes as u64);
    }

    fn got(&self, bytes: usize) {
        if bytes > 0 && self.first_read.get().is_none() {
            self.first_read.set(Some(Instant::now()));
        }
        self.received.set(self.received.get() + bytes as u64);
    }
}

/// The transport below a protocol.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A transport with its meter.
pub(super) struct Metering {
    inner: Transport,
    meter: Rc<Meter>,
}

impl Metering {
    /// The transport and the meter that watches it.
    pub(super) fn new(inner: Transport) -> (Self, Rc<Meter>) {
        let meter = Rc::new(Meter::default());
        (Self { inner, meter: meter.clone() }, meter)
    }

    fn written(&self, polled: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.meter.wrote(bytes);
        }
        polled
    }
}

impl Transport {
    /// Whether there is nothing to be read: false when the peer has closed, or says something unasked. Costs no system call when nothing
    /// has happened since the last read.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        match self {
            Self::Plain(stream) => stream.try_read(&mut byte).is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            // Session tickets and the like are taken in on the way.
            Self::Tls(stream) => {
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(&mut **stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[std::io::IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Metering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.meter.got(buffer.filled().len() - before);
        }
        polled
    }
}

impl AsyncWrite for Metering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[std::io::IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

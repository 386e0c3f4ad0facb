//! Reads HTTP/1.1 answers from bytes as they come, cut anywhere: head by httparse, then the body by RFC 9112, section 6. Does no I/O,
//! so that it can be tried with every cut and with garbage. Keeps bytes of its own only of a head that came in pieces.

use std::mem::MaybeUninit;

use httparse::{ParserConfig, Status};

use super::exchange::{Exchange, Interest};
use crate::model::failure::Reason;
use crate::protocol::dial::Broken;

/// Longest head, and longest trailers.
const HEAD_LIMIT: usize = 64 * 1024;
/// Most headers of an answer, and most trailers.
const MOST_HEADERS: usize = 128;
/// Most bytes of extensions of a chunk.
const EXTENSIONS_LIMIT: u32 = 16 * 1024;

/// One answer after the other of one connection.
#[derive(Debug)]
pub(super) struct Reader {
    part: Part,
    /// What has come of a head or of trailers that are not complete.
    partial: Vec<u8>,
    /// Status of the answer whose body is read.
    status: u16,
    /// The answer to a HEAD has no body, whatever its headers say.
    to_head: bool,
    /// The peer keeps the connection.
    keep_alive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    /// So many bytes of the body are still to come.
    Length(u64),
    Chunked(Chunk, u64),
    UntilClose,
    Done,
}

/// What comes next of a chunked body; the number beside it is the size of the chunk, or what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    FirstDigit,
    Digits,
    Space,
    /// Bytes of extensions so far.
    Extension(u32),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Trailers, if any, up to an empty line.
    Trailers,
}

fn broken(text: impl Into<String>) -> Broken {
    Broken(Reason::Protocol, text.into())
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { part: Part::Done, partial: Vec::new(), status: 0, to_head: false, keep_alive: true }
    }

    /// Awaits the answer to a request; `to_head`: its method was HEAD.
    pub(super) fn begin(&mut self, to_head: bool) {
        self.part = Part::Head;
        self.to_head = to_head;
        if self.partial.capacity() > HEAD_LIMIT / 8 {
            self.partial = Vec::new();
        }
        self.partial.clear();
    }

    pub(super) fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// Whether the connection can be used again, once the answer is complete.
    pub(super) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// Takes the next bytes; returns how many belong to the answer: fewer than all only when it is complete before the last.
    pub(super) fn feed(&mut self, bytes: &[u8], interest: &Interest, exchange: &mut Exchange) -> Result<usize, Broken> {
        let mut rest = bytes;
        while !rest.is_empty() && self.part != Part::Done {
            let used = match self.part {
                Part::Head => self.head(rest, interest, exchange)?,
                Part::Length(left) => {
                    let piece = front(rest, left);
                    interest.body(self.status, piece, exchange)?;
                    let left = left - piece.len() as u64;
                    self.part = if left == 0 { Part::Done } else { Part::Length(left) };
                    piece.len()
                }
                Part::Chunked(chunk, size) => self.chunk(chunk, size, rest, interest, exchange)?,
                Part::UntilClose => {
                    interest.body(self.status, rest, exchange)?;
                    rest.len()
                }
                Part::Done => 0,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        if self.part == Part::Done {
            exchange.status = Some(self.status);
        }
        Ok(bytes.len() - rest.len())
    }

    /// The peer has closed in an orderly way: the end of an answer without a length, too early for any other.
    pub(super) fn close(&mut self, exchange: &mut Exchange) -> Result<(), Broken> {
        if self.part == Part::UntilClose {
            self.part = Part::Done;
            exchange.status = Some(self.status);
            return Ok(());
        }
        let text = if self.part == Part::Head { "connection closed before the answer" } else { "connection closed within the body" };
        Err(Broken(Reason::ClosedEarly, text.into()))
    }

    /// Reads a head, or the part of it that has come; returns how many bytes it has taken.
    fn head(&mut self, bytes: &[u8], interest: &Interest, exchange: &mut Exchange) -> Result<usize, Broken> {
        let before = self.partial.len();
        let mut partial = std::mem::take(&mut self.partial);
        let whole = if before == 0 {
            bytes
        } else {
            partial.extend_from_slice(bytes);
            &partial
        };
        let mut slots = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut answer = httparse::Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut answer, whole, &mut slots);
        match parsed {
            Ok(Status::Complete(length)) => {
                self.begin_body(&answer, interest, exchange)?;
                partial.clear();
                self.partial = partial;
                Ok(length - before)
            }
            Ok(Status::Partial) if whole.len() > HEAD_LIMIT => Err(broken(format!("the head is longer than {HEAD_LIMIT} bytes"))),
            Ok(Status::Partial) => {
                if before == 0 {
                    partial.extend_from_slice(bytes);
                }
                self.partial = partial;
                Ok(bytes.len())
            }
            Err(error) => Err(broken(format!("the answer is not HTTP/1.1: {error}"))),
        }
    }

    /// Decides by a complete head what comes next.
    fn begin_body(&mut self, answer: &httparse::Response<'_, '_>, interest: &Interest, exchange: &mut Exchange) -> Result<(), Broken> {
        let status = answer.code.unwrap_or_default();
        match status {
            0..=99 | 1000.. => return Err(broken(format!("{status} is not a status"))),
            101 => return Err(broken("the server switches to another protocol, unasked")),
            // Something before the answer: it is still to come.
            100..=199 => return Ok(()),
            200..=999 => {}
        }
        let modern = answer.version == Some(1);
        let mut framing = Framing { length: Ok(None), chunked: None, keep_alive: modern, close: false };
        for header in answer.headers.iter() {
            framing.header(header.name.as_bytes(), header.value);
            interest.header(header.name.as_bytes(), header.value, exchange);
        }
        self.status = status;
        self.keep_alive = framing.keep_alive;
        self.part = if self.to_head || matches!(status, 204 | 304) {
            Part::Done
        } else if let Some(chunked) = framing.chunked {
            if !modern {
                return Err(broken("HTTP/1.0 knows no Transfer-Encoding"));
            }
            if chunked { Part::Chunked(Chunk::FirstDigit, 0) } else { Part::UntilClose }
        } else {
            match framing.length.map_err(broken)? {
                None => Part::UntilClose,
                Some(0) => Part::Done,
                Some(length) => Part::Length(length),
            }
        };
        self.keep_alive &= self.part != Part::UntilClose;
        Ok(())
    }

    /// Reads on in a chunked body; returns how many bytes it has taken.
    fn chunk(&mut self, chunk: Chunk, size: u64, bytes: &[u8], interest: &Interest, exchange: &mut Exchange) -> Result<usize, Broken> {
        if chunk == Chunk::Data {
            let piece = front(bytes, size);
            interest.body(self.status, piece, exchange)?;
            let left = size - piece.len() as u64;
            self.part = Part::Chunked(if left == 0 { Chunk::DataCr } else { Chunk::Data }, left);
            return Ok(piece.len());
        }
        if chunk == Chunk::Trailers {
            return self.trailers(bytes);
        }
        let Some(&byte) = bytes.first() else { return Ok(0) };
        let (next, size) = chunk.after(byte, size)?;
        self.part = Part::Chunked(next, size);
        Ok(1)
    }

    /// Reads trailers, which nobody asks for, up to the empty line that ends the answer.
    fn trailers(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let before = self.partial.len();
        for (at, &byte) in bytes.iter().enumerate() {
            self.partial.push(byte);
            let complete = matches!(self.partial.as_slice(), b"\r\n" | [.., b'\r', b'\n', b'\r', b'\n']);
            let lone_cr = matches!(self.partial.as_slice(), [.., b'\r', after] if *after != b'\n');
            if lone_cr || self.partial.len() > HEAD_LIMIT {
                return Err(broken("the trailers are not valid or too long"));
            }
            if complete {
                let mut slots = [httparse::EMPTY_HEADER; MOST_HEADERS];
                httparse::parse_headers(&self.partial, &mut slots).map_err(|error| broken(format!("invalid trailers: {error}")))?;
                self.partial.clear();
                self.part = Part::Done;
                return Ok(at + 1);
            }
        }
        Ok(self.partial.len() - before)
    }
}

/// The first `most` bytes, or all.
fn front(bytes: &[u8], most: u64) -> &[u8] {
    usize::try_from(most).ok().and_then(|most| bytes.get(..most)).unwrap_or(bytes)
}

/// What the headers say about the length of the body and about the connection.
#[derive(Debug)]
struct Framing {
    /// The length; `Err` when what stands there is none, which matters only when it decides.
    length: Result<Option<u64>, &'static str>,
    /// Whether chunked is the last transfer coding, when there is any.
    chunked: Option<bool>,
    keep_alive: bool,
    close: bool,
}

impl Framing {
    fn header(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                // `close` wins, in whatever order they come.
                self.close |= options.clone().any(|option| option.eq_ignore_ascii_case(b"close"));
                self.keep_alive |= options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
                self.keep_alive &= !self.close;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let Ok(known) = self.length else { return };
                self.length = value.split(|byte| *byte == b',').try_fold(known, |known, number| {
                    let number = digits(number.trim_ascii()).ok_or("the Content-Length is not a number")?;
                    if known.is_some_and(|known| known != number) {
                        return Err("there are two Content-Lengths that differ");
                    }
                    Ok(Some(number))
                });
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                self.chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            }
            _ => {}
        }
    }
}

/// A number of digits only.
fn digits(text: &[u8]) -> Option<u64> {
    let number = |number: u64, byte: &u8| number.checked_mul(10)?.checked_add(u64::from(byte.is_ascii_digit().then(|| byte - b'0')?));
    if text.is_empty() { None } else { text.iter().try_fold(0, number) }
}

impl Chunk {
    /// The state after a byte of a size line or of a line end.
    fn after(self, byte: u8, size: u64) -> Result<(Self, u64), Broken> {
        let next = match (self, byte) {
            (Self::FirstDigit | Self::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or_default());
                let size = if self == Self::FirstDigit { 0 } else { size };
                let grown = size.checked_mul(16).and_then(|size| size.checked_add(digit));
                return grown.map(|size| (Self::Digits, size)).ok_or_else(|| broken("the size of a chunk is too large"));
            }
            (Self::Digits | Self::Space, b' ' | b'\t') => Self::Space,
            (Self::Digits | Self::Space, b';') => Self::Extension(0),
            (Self::Digits | Self::Space | Self::Extension(_), b'\r') => Self::SizeLf,
            (Self::Extension(length), byte) if byte != b'\n' && length < EXTENSIONS_LIMIT => Self::Extension(length + 1),
            (Self::SizeLf, b'\n') if size == 0 => Self::Trailers,
            (Self::SizeLf, b'\n') => Self::Data,
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::FirstDigit,
            _ => return Err(broken("a chunk of the body is not valid")),
        };
        Ok((next, size))
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;

//! The messages of an answer, cut out of the bytes as they come: counted, and kept only when somebody will look at them.
//! Every way in which they can be no messages is one reason.

use std::io::Read;

use bytes::{Buf, Bytes, BytesMut};

use super::method::PREFIX;
use crate::model::failure::Reason;
use crate::protocol::dial::Broken;

/// How the messages of an answer are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    Identity,
    /// By gzip, where a message says so.
    Gzip,
}

/// The messages of one answer so far.
pub(super) struct Answers {
    keep: bool,
    /// Largest message, and largest sum of kept messages, in bytes after decompression.
    limit: u64,
    compression: Compression,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    prefixed: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    /// The message so far, when it comes in pieces and is kept.
    part: BytesMut,
    kept_bytes: u64,
    /// Messages that are complete.
    pub(super) count: u64,
    /// Those that were kept.
    pub(super) kept: Vec<Bytes>,
}

impl Answers {
    pub(super) fn new(keep: bool, limit: u64) -> Self {
        Self {
            keep,
            limit,
            compression: Compression::Identity,
            prefix: [0; PREFIX],
            prefixed: 0,
            left: 0,
            part: BytesMut::new(),
            kept_bytes: 0,
            count: 0,
            kept: Vec::new(),
        }
    }

    /// What the answer's headers say about compression.
    pub(super) fn compressed_by(&mut self, compression: Compression) {
        self.compression = compression;
    }

    /// Whether so many messages are complete; those beyond them are forgotten.
    pub(super) fn are_enough(&mut self, take: Option<u64>) -> bool {
        let Some(take) = take.filter(|take| self.count >= *take) else { return false };
        self.count = take;
        self.kept.truncate(usize::try_from(take).unwrap_or(usize::MAX));
        true
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, mut chunk: Bytes) -> Result<(), Broken> {
        while !chunk.is_empty() {
            if self.prefixed < PREFIX {
                let taken = (PREFIX - self.prefixed).min(chunk.len());
                chunk.copy_to_slice(&mut self.prefix[self.prefixed..self.prefixed + taken]);
                self.prefixed += taken;
                if self.prefixed < PREFIX {
                    return Ok(());
                }
                self.begin()?;
            }
            let piece = chunk.split_to(self.left.min(chunk.len()));
            self.left -= piece.len();
            if self.keep && (self.left > 0 || !self.part.is_empty()) {
                self.part.extend_from_slice(&piece);
            }
            if self.left == 0 {
                self.complete(piece)?;
            }
        }
        Ok(())
    }

    /// Reads the prefix of a message.
    fn begin(&mut self) -> Result<(), Broken> {
        let length = u32::from_be_bytes([self.prefix[1], self.prefix[2], self.prefix[3], self.prefix[4]]);
        match (self.prefix[0], self.compression) {
            (0, _) | (1, Compression::Gzip) => {}
            (1, Compression::Identity) => {
                return Err(Broken(Reason::Protocol, "a message is compressed, although the answer says nothing of it".into()));
            }
            (flag, _) => return Err(Broken(Reason::Protocol, format!("a message begins with the byte {flag}, not with 0 or 1"))),
        }
        if u64::from(length) > self.limit {
            return Err(self.too_large(&format!("a message of {length} bytes")));
        }
        self.left = length as usize;
        Ok(())
    }

    /// A message is whole; `piece` is its last piece, and all of it unless a part came before.
    fn complete(&mut self, piece: Bytes) -> Result<(), Broken> {
        self.prefixed = 0;
        self.count += 1;
        if !self.keep {
            return Ok(());
        }
        let message = if self.part.is_empty() { piece } else { self.part.split().freeze() };
        let message = if self.prefix[0] == 1 { self.decompress(&message)? } else { message };
        self.kept_bytes += message.len() as u64;
        if self.kept_bytes > self.limit {
            return Err(self.too_large("the answer"));
        }
        self.kept.push(message);
        Ok(())
    }

    fn decompress(&self, message: &[u8]) -> Result<Bytes, Broken> {
        let mut whole = Vec::new();
        let read = flate2::read::GzDecoder::new(message).take(self.limit + 1).read_to_end(&mut whole);
        read.map_err(|error| Broken(Reason::Decompress, format!("a message cannot be decompressed: {error}")))?;
        if whole.len() as u64 > self.limit {
            return Err(self.too_large("a message"));
        }
        Ok(whole.into())
    }

    fn too_large(&self, what: &str) -> Broken {
        Broken(Reason::BodyTooLarge, format!("{what} is larger than {} bytes", self.limit))
    }

    /// The answer has ended: in the middle of a message?
    pub(super) fn end(&self) -> Result<(), Broken> {
        if self.prefixed == 0 {
            return Ok(());
        }
        let read = if self.prefixed < PREFIX {
            "the length of a message".into()
        } else {
            format!("a message, {} bytes before its end", self.left)
        };
        Err(Broken(Reason::ClosedEarly, format!("the answer ended in the middle of {read}")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn message(flag: u8, text: &[u8]) -> Vec<u8> {
        [&[flag], &(text.len() as u32).to_be_bytes()[..], text].concat()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Counted and kept messages of bytes that come in pieces of this size.
    fn read(bytes: &[u8], piece: usize, keep: bool, compression: Compression) -> Result<(u64, Vec<Bytes>), Reason> {
        let mut answers = Answers::new(keep, 1000);
        answers.compressed_by(compression);
        for piece in bytes.chunks(piece) {
            answers.push(Bytes::copy_from_slice(piece)).map_err(|broken| broken.0)?;
        }
        answers.end().map_err(|broken| broken.0)?;
        Ok((answers.count, answers.kept))
    }

    #[test]
    fn messages_are_found_however_they_are_cut() {
        let bytes = [message(0, b"one"), message(0, b""), message(0, &[7; 900])].concat();
        for piece in [1, 2, 5, 6, 8, 9, 100, 10_000] {
            assert_eq!(read(&bytes, piece, false, Compression::Identity), Ok((3, vec![])), "{piece}");
            let (count, kept) = read(&bytes, piece, true, Compression::Identity).unwrap();
            assert_eq!((count, kept), (3, vec!["one".into(), Bytes::new(), vec![7; 900].into()]), "{piece}");
        }
    }

    #[test]
    fn compressed_messages_are_read() {
        let bytes = [message(1, &gzip(b"one")), message(0, b"two")].concat();
        for piece in [1, 7, 1000] {
            assert_eq!(read(&bytes, piece, true, Compression::Gzip), Ok((2, vec!["one".into(), "two".into()])), "{piece}");
        }
        assert_eq!(read(&bytes, 9, false, Compression::Gzip), Ok((2, vec![])));
    }

    #[test]
    fn what_is_no_message_has_one_reason() {
        for (bytes, compression, reason) in [
            (message(0, &[1; 1001]), Compression::Identity, Reason::BodyTooLarge),
            ([message(0, &[1; 600]), message(0, &[1; 600])].concat(), Compression::Identity, Reason::BodyTooLarge),
            (message(1, &gzip(&vec![0; 100_000])), Compression::Gzip, Reason::BodyTooLarge),
            (message(1, b"not gzip at all"), Compression::Gzip, Reason::Decompress),
            (message(1, &gzip(b"one")), Compression::Identity, Reason::Protocol),
            (message(2, b"one"), Compression::Gzip, Reason::Protocol),
            (b"HTTP/1.1 200 OK".to_vec(), Compression::Identity, Reason::Protocol),
            (message(0, b"one")[..6].to_vec(), Compression::Identity, Reason::ClosedEarly),
            (message(0, b"one")[..3].to_vec(), Compression::Identity, Reason::ClosedEarly),
            (message(0, b"one")[..5].to_vec(), Compression::Identity, Reason::ClosedEarly),
        ] {
            for piece in [1, 10_000] {
                assert_eq!(read(&bytes, piece, true, compression), Err(reason.clone()));
            }
        }
    }
}

//! Undoes the compression of bodies: gzip, deflate, br, zstd. The limit holds for what comes out, so that a small answer cannot fill
//! the memory; a compressed body that is not whole or not valid is a failure of its own.

use std::io::Read;

use super::exchange::too_large;
use crate::model::failure::Reason;
use crate::protocol::dial::Broken;

/// What is asked for in `Accept-Encoding`.
pub(super) const ACCEPTED: &str = "gzip, br, zstd";
/// Largest window of a zstd frame in HTTP (RFC 9659).
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// From the value of `Content-Encoding`; `None` for what is not known, several codings among it: such a body stays as it is.
    pub(super) fn named(value: &[u8]) -> Option<Self> {
        match value.trim_ascii().to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            b"br" => Some(Self::Brotli),
            b"zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The body as it was before it was compressed.
    pub(super) fn undo(self, packed: &[u8], limit: usize) -> Result<Vec<u8>, Broken> {
        let (body, end) = self.unpack(packed, limit);
        match end {
            Ok(()) if body.len() > limit => Err(too_large(limit)),
            Ok(()) => Ok(body),
            Err(error) => Err(Broken(Reason::Decompress, format!("the body is not valid {}: {error}", self.name()))),
        }
    }

    /// As much of the beginning as can be read.
    pub(super) fn undo_some(self, packed: &[u8], limit: usize) -> Vec<u8> {
        let (mut body, _) = self.unpack(packed, limit);
        body.truncate(limit);
        body
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// What comes out, at most one byte more than `limit`, and how it ended.
    fn unpack(self, packed: &[u8], limit: usize) -> (Vec<u8>, std::io::Result<()>) {
        let mut body = Vec::new();
        let room = limit as u64 + 1;
        let end = match self {
            Self::Gzip => flate2::bufread::MultiGzDecoder::new(packed).take(room).read_to_end(&mut body).map(drop),
            // The standard means zlib; some servers send the bare stream. A zlib header is a multiple of 31.
            Self::Deflate => match packed {
                [first, second, ..] if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0 => {
                    flate2::bufread::ZlibDecoder::new(packed).take(room).read_to_end(&mut body).map(drop)
                }
                _ => flate2::bufread::DeflateDecoder::new(packed).take(room).read_to_end(&mut body).map(drop),
            },
            Self::Brotli => brotli_decompressor::Decompressor::new(packed, 4096).take(room).read_to_end(&mut body).map(drop),
            Self::Zstd => unzstd(packed, room, &mut body),
        };
        (body, end)
    }
}

/// Frame after frame, as the format allows.
fn unzstd(mut packed: &[u8], room: u64, body: &mut Vec<u8>) -> std::io::Result<()> {
    use ruzstd::decoding::StreamingDecoder;
    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    loop {
        let left = room.saturating_sub(body.len() as u64);
        match StreamingDecoder::new_with_max_window_size(&mut packed, ZSTD_WINDOW) {
            Ok(frame) => _ = frame.take(left).read_to_end(body)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                let rest = packed.get(length as usize..);
                packed = rest.ok_or_else(|| std::io::Error::other("a skipped frame is cut off"))?;
            }
            Err(error) => return Err(std::io::Error::other(error)),
        }
        if packed.is_empty() || body.len() as u64 >= room {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &[u8] = b"to be read again and again and again";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// An uncompressed meta-block: what any brotli encoder may say (RFC 7932, 9.2).
    fn brotli(text: &[u8]) -> Vec<u8> {
        // WBITS 16 = one bit 0; not last; MNIBBLES 4; MLEN - 1; uncompressed; then bytes; then an empty last block.
        let header = (text.len() as u32 - 1) << 4 | 1 << 20;
        let mut packed = header.to_le_bytes()[..3].to_vec();
        packed.extend_from_slice(text);
        packed.push(3);
        packed
    }

    fn samples() -> Vec<(Coding, Vec<u8>)> {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(TEXT).unwrap();
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        bare.write_all(TEXT).unwrap();
        vec![
            (Coding::Gzip, gzip(TEXT)),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, bare.finish().unwrap()),
            (Coding::Brotli, brotli(TEXT)),
            (Coding::Zstd, zstd(TEXT)),
        ]
    }

    #[test]
    fn every_coding_is_undone_and_a_body_that_is_cut_off_or_broken_is_a_failure() {
        for (coding, packed) in samples() {
            assert_eq!(coding.undo(&packed, TEXT.len()).unwrap(), TEXT, "{coding:?}");
            assert_eq!(coding.undo(&packed, TEXT.len() - 1).unwrap_err().0, Reason::BodyTooLarge, "{coding:?}");
            for end in 0..packed.len() - 1 {
                assert_eq!(coding.undo(&packed[..end], 1_000).map_err(|broken| broken.0), Err(Reason::Decompress), "{coding:?} {end}");
            }
            assert_eq!(coding.undo(b"<html>no</html>", 1_000).unwrap_err().0, Reason::Decompress, "{coding:?}");
        }
    }

    #[test]
    fn several_members_and_frames_are_one_body() {
        assert_eq!(Coding::Gzip.undo(&[gzip(b"a"), gzip(b"b")].concat(), 9).unwrap(), b"ab");
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7];
        assert_eq!(Coding::Zstd.undo(&[zstd(b"a"), skipped.to_vec(), zstd(b"b")].concat(), 9).unwrap(), b"ab");
    }

    #[test]
    fn a_bomb_fills_no_memory() {
        let zeros = vec![0; 8 * 1024 * 1024];
        for (coding, bomb) in [(Coding::Gzip, gzip(&zeros)), (Coding::Zstd, zstd(&zeros))] {
            assert!(bomb.len() < 100_000, "{coding:?} {}", bomb.len());
            assert_eq!(coding.undo(&bomb, 1024 * 1024).unwrap_err().0, Reason::BodyTooLarge, "{coding:?}");
            assert_eq!(coding.unpack(&bomb, 1024 * 1024).0.len(), 1024 * 1024 + 1, "{coding:?}");
        }
        assert_eq!(Coding::Gzip.undo_some(&gzip(TEXT)[..30], 5), &TEXT[..5]);
    }

    #[test]
    fn codings_are_known_by_name() {
        for (value, coding) in [
            ("gzip", Some(Coding::Gzip)),
            (" X-GZIP ", Some(Coding::Gzip)),
            ("br", Some(Coding::Brotli)),
            ("identity", None),
            ("gzip, br", None),
        ] {
            assert_eq!(Coding::named(value.as_bytes()), coding, "{value}");
        }
    }
}

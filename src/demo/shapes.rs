//! Answers in shapes that a client has to deal with: a redirect, and a body that is compressed when the client takes that.

use std::io::Write as _;

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::Deserialize;
use serde_json::json;

/// Items of the list.
const ITEMS: usize = 200;

/// `GET /moved`: what was here is elsewhere.
pub(super) async fn moved() -> Redirect {
    Redirect::to("/api/v1/users/profile")
}

#[derive(Deserialize)]
pub(super) struct Wish {
    /// `gzip`, `br` or `zstd`; without it the first of these that the client takes.
    coding: Option<String>,
}

/// `GET /list`: compressed where the client says that it takes it, else as it is.
pub(super) async fn list(Query(wish): Query<Wish>, headers: HeaderMap) -> Response {
    let items: Vec<_> = (1..=ITEMS).map(|id| json!({"id": id, "name": format!("item {id}")})).collect();
    let body = json!({ "items": items }).to_string().into_bytes();
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let accepts = |coding: &str| accepted.split(',').any(|one| one.split(';').next().is_some_and(|one| one.trim() == coding));
    let wished = |coding: &&str| wish.coding.as_deref().is_none_or(|wish| wish == *coding) && accepts(coding);
    let coding = ["gzip", "br", "zstd"].into_iter().find(wished);
    let coded = match coding {
        Some("gzip") => gzip(&body),
        Some("br") => Ok(stored_brotli(&body)),
        Some(_) => Ok(compress_to_vec(body.as_slice(), CompressionLevel::Fastest)),
        None => Ok(body),
    };
    let Ok(coded) = coded else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut answer = ([(header::CONTENT_TYPE, "application/json")], coded).into_response();
    if let Some(coding) = coding {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    answer
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}

/// Brotli whose pieces are stored as they are (RFC 7932, 9.2): a window of 64 KiB, a head of 3 bytes before each piece, and an empty last one.
fn stored_brotli(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 8);
    for (number, piece) in body.chunks(1 << 16).enumerate() {
        // Not the last; 4 nibbles of length less one; uncompressed; filled up to a byte. The first head begins with the bit of the window.
        let head = ((piece.len() - 1) << 3) | (1 << 19);
        let head = if number == 0 { head << 1 } else { head };
        out.extend(head.to_le_bytes().into_iter().take(3));
        out.extend_from_slice(piece);
    }
    // The last, and empty.
    out.push(0b11);
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_coding_gives_the_body_back() {
        let body = json!({"items": (0..20_000).collect::<Vec<u32>>()}).to_string().into_bytes();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(gzip(&body).unwrap().as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, body);
        let mut plain = Vec::new();
        brotli_decompressor::Decompressor::new(stored_brotli(&body).as_slice(), 4096).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, body);
        let coded = compress_to_vec(body.as_slice(), CompressionLevel::Fastest);
        let mut plain = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(coded.as_slice()).unwrap().read_to_end(&mut plain).unwrap();
        assert_eq!(plain, body);
    }
}

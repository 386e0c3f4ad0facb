//! Answers well and badly made, cut anywhere; garbage; and the same answers read by hyper.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::super::exchange::Headers;
use super::*;

const LIMIT: usize = 10_000;

fn interest() -> Interest {
    let headers = Headers::Named(vec!["x-kept".parse().unwrap()]);
    Interest { body: true, body_limit: LIMIT, headers, for_jar: true, location: true }
}

/// What reading an answer came to: status, body, bytes after its end, whether the connection is kept; or the reason why not.
#[derive(Debug, PartialEq)]
enum Read {
    Whole { status: u16, body: Vec<u8>, rest: usize, kept: bool },
    Broken(Reason),
}

/// Reads pieces and then the end of the connection.
fn read(pieces: &[&[u8]], to_head: bool) -> Read {
    let mut exchange = Exchange::new(Instant::now());
    let mut reader = Reader::new();
    reader.begin(to_head);
    let mut rest = 0;
    for piece in pieces {
        match reader.feed(piece, &interest(), &mut exchange) {
            Ok(used) => rest += piece.len() - used,
            Err(broken) => return Read::Broken(broken.0),
        }
    }
    if !reader.is_done()
        && let Err(broken) = reader.close(&mut exchange)
    {
        return Read::Broken(broken.0);
    }
    Read::Whole { status: exchange.status.unwrap(), body: exchange.body, rest, kept: reader.keeps_alive() }
}

fn whole(status: u16, body: &str, rest: usize, kept: bool) -> Read {
    Read::Whole { status, body: body.into(), rest, kept }
}

#[test]
fn lengths_chunks_and_ends_are_told_apart() {
    let early = || Read::Broken(Reason::ClosedEarly);
    let wrong = || Read::Broken(Reason::Protocol);
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", whole(200, "hello", 0, true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", whole(200, "", 0, true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\nhello", whole(200, "hello", 0, true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello world", whole(200, "hello", 6, true)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\nhello", whole(200, "hello", 0, false)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, close, keep-alive\r\n\r\nhello", whole(200, "hello", 0, false)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", whole(200, "hello", 0, false)),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", whole(200, "hello", 0, true)),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", whole(200, "until the end", 0, false)),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nuntil", whole(200, "until", 0, false)),
        ("HTTP/1.1 204 No Content\r\n\r\n", whole(204, "", 0, true)),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", whole(304, "", 0, true)),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\n!",
            whole(404, "!", 0, true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
            whole(200, "hello world", 0, true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: x, Chunked\r\nContent-Length: 3\r\n\r\n0A \r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\nX",
            whole(200, "0123456789", 1, true),
        ),
        ("", early()),
        ("HTTP/1.1 200 OK\r\nContent-Le", early()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", early()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", early()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", early()),
        ("SSH-2.0-OpenSSH_9.9\r\n\r\n", wrong()),
        ("HTTP/1.1 099 Low\r\n\r\n", wrong()),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", wrong()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", wrong()),
        ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", wrong()),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", wrong()),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello", wrong()),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", wrong()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n", wrong()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;a\r\n", wrong()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n", wrong()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", wrong()),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n", wrong()),
    ] {
        assert_eq!(read(&[answer.as_bytes()], false), expected, "{answer}");
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4711\r\n\r\n";
    assert_eq!(read(&[answer], true), whole(200, "", 0, true));
}

#[test]
fn a_head_and_a_body_have_limits() {
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(HEAD_LIMIT));
    assert_eq!(read(&[endless.as_bytes()], false), Read::Broken(Reason::Protocol));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
    assert_eq!(read(&[many.as_bytes()], false), Read::Broken(Reason::Protocol));
    for head in ["", "Content-Length: 10001\r\n"] {
        let large = format!("HTTP/1.1 200 OK\r\n{head}\r\n{}", "x".repeat(LIMIT + 1));
        assert_eq!(read(&[large.as_bytes()], false), Read::Broken(Reason::BodyTooLarge));
        let just = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(LIMIT));
        assert_eq!(read(&[just.as_bytes()], false), whole(200, &"x".repeat(LIMIT), 0, false));
    }
}

#[test]
fn what_is_asked_for_is_kept_and_nothing_else() {
    let answer =
        b"HTTP/1.1 302 Found\r\nX-Kept: 1\r\nx-kept: 2\r\nX-Other: 3\r\nLocation: /b\r\nSet-Cookie: a=1\r\nset-cookie: b=2; Path=/\r\n\
        Content-Encoding: br\r\nContent-Length: 2\r\n\r\nno";
    let mut exchange = Exchange::new(Instant::now());
    let mut reader = Reader::new();
    reader.begin(false);
    reader.feed(answer, &interest(), &mut exchange).unwrap();
    assert_eq!(exchange.headers.get_all("x-kept").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((exchange.headers.len(), exchange.location.as_deref(), exchange.for_jar.len()), (2, Some("/b"), 2));
    assert_eq!(exchange.coding, Some(super::super::coding::Coding::Brotli));
    let all = Interest { headers: Headers::All, ..interest() };
    let mut exchange = Exchange::new(Instant::now());
    reader.begin(false);
    reader.feed(answer, &all, &mut exchange).unwrap();
    assert_eq!(exchange.headers.len(), 8);
    // Nobody asks: only the beginning of what a failed answer says.
    let silent = Interest { body: false, body_limit: 0, headers: Headers::None, for_jar: false, location: false };
    for (status, kept) in [(200, 0), (500, 300)] {
        let mut exchange = Exchange::new(Instant::now());
        reader.begin(false);
        let answer =
            format!("HTTP/1.1 {status} X\r\nX-Kept: 1\r\nLocation: /\r\nSet-Cookie: a=1\r\nContent-Length: 400\r\n\r\n{}", "x".repeat(400));
        reader.feed(answer.as_bytes(), &silent, &mut exchange).unwrap();
        assert_eq!((exchange.body.len(), exchange.status), (kept, Some(status)));
        assert!(exchange.headers.is_empty() && exchange.location.is_none() && exchange.for_jar.is_empty());
    }
}

/// Pieces that answers are made of, right and wrong ones.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.1 500 Oh\r\n",
        "HTTP/1.2 200 OK\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 12\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: x\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Connection: close\r\n",
        "A: b\r\n",
        "A : b\r\n",
        "no colon\r\n",
        "\r\n",
        "\n",
        "\r",
        "hello",
        "5\r\nhello\r\n",
        "a;x=\"y\"\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\nA: b\r\n\r\n",
        "00000000000000005 \r\n",
        "\u{0}",
    ];
    let piece = prop_oneof![9 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..6)];
    let body = prop_oneof![
        Just(b"Content-Length: 5\r\n\r\nhello".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;q\r\nd\r\n0\r\nT: t\r\n\r\n".to_vec()),
        Just(b"\r\nto the end".to_vec()),
    ];
    let sound = (prop::collection::vec(Just(b"A: b\r\n".to_vec()), 0..3), body, prop::collection::vec(any::<(u16, u8)>(), 0..2));
    let nearly = sound.prop_map(|(headers, body, changes)| {
        let mut answer = [b"HTTP/1.1 200 OK\r\n".to_vec(), headers.concat(), body].concat();
        for (at, byte) in changes {
            let at = usize::from(at) % answer.len();
            answer[at] = byte;
        }
        answer
    });
    prop_oneof![prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()), nearly]
}

fn cut<'a>(bytes: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|&cut| usize::from(cut) % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// The same answer as hyper reads it.
async fn by_hyper(answer: &[u8], to_head: bool) -> Read {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    let serve = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut request).await.unwrap();
        }
        // Whoever does not want to read on has closed before.
        let _ = far.write_all(answer).await;
        let _ = far.shutdown().await;
    };
    let ask = async {
        let method = if to_head { "HEAD" } else { "GET" };
        let request = hyper::Request::builder().method(method).uri("/").header("host", "x").body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    };
    let (result, ()) = tokio::select! {
        both = async { tokio::join!(ask, serve) } => both,
        () = async { let _ = connection.await; std::future::pending().await } => unreachable!(),
    };
    match result {
        Ok((status, body)) => Read::Whole { status, body: body.to_vec(), rest: 0, kept: true },
        Err(error) => Read::Broken(reason_of(&error)),
    }
}

fn reason_of(error: &hyper::Error) -> Reason {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return if io.kind() == std::io::ErrorKind::UnexpectedEof { Reason::ClosedEarly } else { Reason::Protocol };
        }
        source = inner.source();
    }
    let closed = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    if closed { Reason::ClosedEarly } else { Reason::Protocol }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_an_answer_or_a_reason_wherever_it_is_cut(answer in soup(), cuts in prop::collection::vec(any::<u16>(), 0..8), to_head: bool) {
        let at_once = read(&[&answer], to_head);
        prop_assert_eq!(read(&cut(&answer, &cuts), to_head), at_once);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), chunked: bool) {
        read(&[&bytes], false);
        let head: &[u8] = if chunked { b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { b"HTTP/1.1 200 OK\r\n" };
        let each: Vec<&[u8]> = [head].into_iter().chain(bytes.chunks(1)).collect();
        read(&each, false);
    }

    #[test]
    fn hyper_reads_the_same(answer in soup(), to_head: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ours = match read(&[&answer], to_head) {
            Read::Whole { status, body, .. } => Read::Whole { status, body, rest: 0, kept: true },
            broken @ Read::Broken(_) => broken,
        };
        prop_assert_eq!(ours, runtime.block_on(by_hyper(&answer, to_head)));
    }
}

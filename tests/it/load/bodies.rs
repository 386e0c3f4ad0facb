//! Bodies out and in: forms and uploads, compression with its limit, and answers that come before everything was sent.

use std::io::Write;

use bytes::Bytes;
use plimsoll::model::failure::Reason;
use plimsoll::model::request::HttpOptions;
use plimsoll::protocol::http::{HttpClient, Keep, form};

use super::asker::{Ask, Ways, answer, failure, on_a_load_thread};
use super::misfits::Misfits;
use super::notepad::{Answer, Noted, Notepad, text, with};
use crate::servers::{PATIENCE, wait_until};

const MIB: usize = 1024 * 1024;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(text).and_then(|()| packer.finish()).expect("memory that can be written")
}

fn packed(asked: &Noted) -> Answer {
    let zstd = |text: &[u8]| ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
    let (status, coding, body) = match asked.path.as_str() {
        "/gzip" => (200, "gzip", gzip(b"it is gzip")),
        "/zstd" => (200, "zstd", zstd(b"it is zstd")),
        // "it is br" in an uncompressed meta-block.
        "/br" => (200, "br", [b"\x70\x00\x10it is br".as_slice(), b"\x03"].concat()),
        "/cut" => (200, "gzip", gzip(b"it is gzip")[..20].to_vec()),
        "/lie" => (200, "gzip", b"<html>".to_vec()),
        "/bomb" => (200, "gzip", gzip(&vec![0; 8 * MIB])),
        "/unknown" => (200, "snappy", b"as it came".to_vec()),
        "/error" => (500, "gzip", gzip(b"sorry, too many clients already")),
        other => panic!("unknown path {other}"),
    };
    with(text(status, body), &[("content-encoding", coding)])
}

#[tokio::test]
async fn compression_is_undone_within_the_limit() {
    let server = Notepad::start(packed).await;
    let options = HttpOptions { compression: true, max_body: MIB as u64, ..HttpOptions::default() };
    let ways = Ways { options, ..Ways::default() };
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.host()]));
        for (path, body) in [("/gzip", "it is gzip"), ("/zstd", "it is zstd"), ("/br", "it is br"), ("/unknown", "as it came")] {
            let exchange = Ask::new("GET", &server.url(path), &ways).by(&mut client).await;
            assert_eq!(answer(&exchange), (200, body.into()), "{path}");
        }
        assert!(server.take().iter().all(|noted| noted.header("accept-encoding") == Some("gzip, br, zstd")));
        for (path, reason) in [("/cut", Reason::Decompress), ("/lie", Reason::Decompress), ("/bomb", Reason::BodyTooLarge)] {
            let mut ask = Ask::new("GET", &server.url(path), &ways);
            assert_eq!(failure(&ask.by(&mut client).await).0, Some(reason), "{path}");
            // Nobody wants to see it: nothing to undo.
            ask.keep = Keep::default();
            assert_eq!(answer(&ask.by(&mut client).await), (200, String::new()), "{path}");
        }
        // What a failed answer says is read all the same.
        let mut ask = Ask::new("GET", &server.url("/error"), &ways);
        ask.keep = Keep::default();
        assert_eq!(answer(&ask.by(&mut client).await), (500, "sorry, too many clients already".into()));
    })
    .await;
}

#[tokio::test]
async fn a_form_arrives_as_it_was_put_together() {
    let server = Notepad::start(|_| text(201, "")).await;
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.host()]));
        let file = vec![b'\xff'; MIB];
        let parts = [
            form::Part { name: "title", file_name: None, content_type: None, content: b"a card" },
            form::Part { name: "file", file_name: Some("card.png"), content_type: Some("image/png"), content: &file },
        ];
        let mut body = Vec::new();
        let boundary = form::multipart(&parts, &mut body);
        let mut ask = Ask::new("POST", &server.url("/cards"), &ways).header("Content-Type", &form::multipart_type(&boundary));
        ask.body = body.clone().into();
        assert_eq!(answer(&ask.by(&mut client).await), (201, String::new()));
        let noted = server.take();
        assert_eq!((noted[0].header("content-length"), noted[0].body.len()), (Some(body.len().to_string().as_str()), body.len()));
        let text = String::from_utf8_lossy(&noted[0].body);
        let marker = format!("--{boundary}");
        let pieces: Vec<&str> = text.split(&marker).collect();
        assert_eq!((pieces.len(), pieces[3]), (4, "--\r\n"));
        assert!(
            pieces[2]
                .starts_with("\r\nContent-Disposition: form-data; name=\"file\"; filename=\"card.png\"\r\nContent-Type: image/png\r\n\r\n")
        );
    })
    .await;
}

#[tokio::test]
async fn large_bodies_go_both_ways_at_once() {
    let server = Notepad::start(|asked| text(200, asked.body.clone())).await;
    let ways = Ways { options: HttpOptions { max_body: 16 * MIB as u64, ..HttpOptions::default() }, ..Ways::default() };
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.host()]));
        let body: Bytes = (0..8 * MIB).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into();
        let mut ask = Ask::new("PUT", &server.url("/"), &ways);
        ask.body = body.clone();
        for _ in 0..2 {
            let exchange = ask.by(&mut client).await;
            assert_eq!((exchange.outcome.failure.clone(), exchange.status), (None, Some(200)));
            assert!(exchange.body == body, "{} bytes came back", exchange.body.len());
            let phases = exchange.outcome.phases;
            assert!(!phases.sending.is_zero() && !phases.receiving.is_zero(), "{phases:?}");
        }
        ask.keep = Keep::default();
        let exchange = ask.by(&mut client).await;
        assert_eq!((answer(&exchange), exchange.outcome.bytes_received > 8 * MIB as u64), ((200, String::new()), true));
        assert_eq!(server.connections(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_answer_before_everything_was_sent_is_the_answer() {
    let server = Misfits::start().await;
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
        let mut ask = Ask::new("POST", &format!("{}/refuse-upload", server.url()), &ways);
        ask.body = vec![b'x'; 32 * MIB].into();
        assert_eq!(answer(&ask.by(&mut client).await), (413, "too large".into()));
        // The rest of the body is not taken for the next request.
        let exchange = Ask::new("GET", &format!("{}/well/plain", server.url()), &ways).by(&mut client).await;
        assert_eq!((answer(&exchange).0, exchange.outcome.connected), (200, true));
    })
    .await;
}

#[tokio::test]
async fn what_comes_after_an_answer_spoils_it_and_its_connection() {
    let server = Misfits::start().await;
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
        let exchange = Ask::new("GET", &format!("{}/chatty", server.url()), &ways).by(&mut client).await;
        assert_eq!(failure(&exchange), (Some(Reason::Protocol), "5 bytes came after the end of the answer".into()));
        assert_eq!(exchange.status, None);
        // The same a moment later, while nobody waits for anything: the connection is not used again.
        let exchange = Ask::new("GET", &format!("{}/well/then-chatty", server.url()), &ways).by(&mut client).await;
        assert_eq!(answer(&exchange).0, 200);
        wait_until("the server to say more", PATIENCE, async || (server.answers() == 2).then_some(())).await;
        let exchange = Ask::new("POST", &format!("{}/well/plain", server.url()), &ways).by(&mut client).await;
        assert_eq!((answer(&exchange).0, exchange.outcome.connected), (200, true));
    })
    .await;
}

#[tokio::test]
async fn a_body_that_drips_runs_out_of_time_within_it() {
    let server = Misfits::start().await;
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
        let mut ask = Ask::new("GET", &format!("{}/drip", server.url()), &ways);
        ask.timeout = std::time::Duration::from_secs(3);
        let began = tokio::time::Instant::now();
        let exchange = ask.by(&mut client).await;
        let timeout = Reason::Timeout(plimsoll::model::failure::Phase::Receiving);
        assert_eq!(failure(&exchange), (Some(timeout), "no answer within 3000 ms".into()));
        // Connecting takes of the same time.
        assert!(exchange.ended - began >= ask.timeout && exchange.outcome.bytes_received > 20, "{:?}", exchange.outcome);
    })
    .await;
}

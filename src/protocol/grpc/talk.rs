//! One call on an HTTP/2 connection: messages out and answers in at the same time, until the status. Says of every failure which one
//! reason it has, and whether the server can have seen anything of the call.

use std::cell::Cell;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answers::{Answers, Compression};
use super::link::Link;
use super::status::{self, Shown};
use crate::model::failure::{Phase, Reason};
use crate::model::measure::Phases;
use crate::model::request::GrpcStream;
use crate::protocol::dial::Broken;
use crate::protocol::ending::{self, Again, again};

/// How much of an answer that is not gRPC is kept for people, bytes.
const TEXT_LIMIT: usize = 300;

/// When what happened; read when the call's time is up, too.
#[derive(Debug, Default)]
pub(super) struct Marks {
    began: Cell<Option<Instant>>,
    sent: Cell<Option<Instant>>,
    answered: Cell<Option<Instant>>,
    ended: Cell<Option<Instant>>,
}

impl Marks {
    fn set(mark: &Cell<Option<Instant>>) {
        mark.set(Some(Instant::now()));
    }

    /// What was going on; `None` before the call was given to its connection.
    pub(super) fn phase(&self) -> Option<Phase> {
        self.began.get()?;
        Some(match (self.sent.get(), self.answered.get()) {
            (_, Some(_)) => Phase::Receiving,
            (Some(_), None) => Phase::Waiting,
            (None, None) => Phase::Sending,
        })
    }

    /// Fills in sending, waiting and receiving; they add up to the time since the call was given to its connection, also when the
    /// server answered before everything was sent.
    pub(super) fn measure(&self, phases: &mut Phases) {
        let Some(began) = self.began.get() else { return };
        let ended = self.ended.get().unwrap_or_else(Instant::now);
        let answered = self.answered.get().unwrap_or(ended);
        let sent = self.sent.get().unwrap_or(answered).min(answered);
        // Added: an attempt that the server has not begun with came before, at times.
        phases.sending += sent.saturating_duration_since(began);
        phases.waiting += answered.saturating_duration_since(sent);
        phases.receiving += ended.saturating_duration_since(answered);
    }
}

/// What came back.
pub(super) struct Answer {
    /// The status and its message.
    pub(super) status: u16,
    pub(super) message: String,
    /// Initial metadata; of an answer that is nothing but trailers: none.
    pub(super) headers: HeaderMap,
    /// Trailing metadata, the status included.
    pub(super) trailers: HeaderMap,
}

impl Answer {
    /// Of a call that is over because enough has come.
    fn enough(headers: HeaderMap) -> Self {
        Self { status: status::OK, message: String::new(), headers, trailers: HeaderMap::new() }
    }
}

/// Why nothing usable came back.
pub(super) enum Failed {
    /// For this reason.
    Broken(Broken),
    /// For this reason, and the server has certainly not begun with the call: it may be made again, elsewhere.
    Unseen(Broken),
    /// The same, because the server takes no more calls now on a connection that is well (RFC 9113, 8.7).
    Refused(Broken),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// Makes a call: `frames` are its messages, each with the five bytes before it. A call that is over because enough has come is cancelled
/// by letting go of it.
pub(super) async fn talk(
    link: &Link,
    request: http::Request<()>,
    (frames, how): (&[Bytes], GrpcStream),
    answers: &mut Answers,
    marks: &Marks,
) -> Result<Answer, Failed> {
    let unseen = |error: h2::Error| Failed::Unseen(broken_by(&error));
    let written = link.sent();
    let mut sender = link.sender.clone();
    Marks::set(&marks.began);
    let (response, stream) = sender.send_request(request, frames.is_empty()).map_err(unseen)?;
    let feeding = feed(stream, frames, how.every, marks);
    let receiving = receive(response, how, answers, marks);
    tokio::pin!(feeding, receiving);
    let mut fed = false;
    let received = loop {
        tokio::select! {
            biased;
            () = &mut feeding, if !fed => fed = true,
            received = &mut receiving => break received,
        }
    };
    Marks::set(&marks.ended);
    received.map_err(|lost| match lost {
        Lost::Broken(broken) => Failed::Broken(broken),
        Lost::Wire(error) => {
            let broken = link.broken_by(&error);
            match again(&error) {
                Again::Refused | Again::Crowded => Failed::Refused(broken),
                Again::Unseen if marks.answered.get().is_none() => Failed::Unseen(broken),
                // It closed before anything was written.
                Again::No if marks.answered.get().is_none() && link.sent() == written => Failed::Unseen(broken),
                Again::No | Again::Unseen | Again::Harmless => Failed::Broken(broken),
            }
        }
    })
}

/// A failure while an answer is read.
enum Lost {
    Broken(Broken),
    Wire(h2::Error),
}

impl From<Broken> for Lost {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<h2::Error> for Lost {
    fn from(error: h2::Error) -> Self {
        Self::Wire(error)
    }
}

/// Sends all messages, as fast as the server takes them, or one `every` so long. A server that stops listening says why in its answer.
async fn feed(mut stream: SendStream<Bytes>, frames: &[Bytes], every: Option<Duration>, marks: &Marks) {
    let mut due = marks.began.get();
    for (index, frame) in frames.iter().enumerate() {
        if let (Some(every), 1..) = (every, index) {
            due = due.map(|due| due + every);
            // Apart, as all that only streams need: it does not lie in every VU's memory.
            Box::pin(sleep_until(due.unwrap_or_else(Instant::now))).await;
        }
        let mut left = frame.clone();
        while !left.is_empty() {
            stream.reserve_capacity(left.len());
            while stream.capacity() == 0 {
                if !matches!(poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_))) {
                    return;
                }
            }
            let piece = left.split_to(stream.capacity().min(left.len()));
            let last = left.is_empty() && index + 1 == frames.len();
            if stream.send_data(piece, last).is_err() {
                return;
            }
        }
    }
    Marks::set(&marks.sent);
}

/// What comes within a call's own time; `None` when that is over.
async fn within<T>(until: Option<Instant>, coming: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => Box::pin(timeout_at(until, coming)).await.ok(),
        None => Some(coming.await),
    }
}

async fn receive(response: ResponseFuture, how: GrpcStream, answers: &mut Answers, marks: &Marks) -> Result<Answer, Lost> {
    let until = how.lasting.and_then(|lasting| Some(marks.began.get()? + lasting));
    let Some(answered) = within(until, response).await else {
        let ms = how.lasting.unwrap_or_default().as_millis();
        return Err(Broken(Reason::Timeout(Phase::Waiting), format!("the server said nothing within {ms} ms")).into());
    };
    let (head, mut body) = answered?.into_parts();
    Marks::set(&marks.answered);
    if let Some(answer) = trailers_only(head.status, &head.headers, &body)? {
        return Ok(answer);
    }
    if !is_grpc(&head) {
        return foreign(head, &mut body).await;
    }
    answers.compressed_by(compression(&head.headers)?);
    loop {
        let Some(chunk) = within(until, poll_fn(|cx| body.poll_data(cx))).await else { return Ok(Answer::enough(head.headers)) };
        let Some(chunk) = chunk else { break };
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        answers.push(chunk)?;
        if answers.are_enough(how.take) {
            return Ok(Answer::enough(head.headers));
        }
    }
    let trailers = poll_fn(|cx| body.poll_trailers(cx)).await?;
    match told(trailers.as_ref())? {
        Some((status, trailers)) => {
            let message = status::message(trailers);
            if status == status::OK {
                answers.end()?;
            }
            Ok(Answer { status, message, headers: head.headers, trailers: trailers.clone() })
        }
        None => {
            answers.end()?;
            Err(Broken(Reason::Protocol, "the answer ended without a status".into()).into())
        }
    }
}

/// The status in trailers, if there is one.
fn told(trailers: Option<&HeaderMap>) -> Result<Option<(u16, &HeaderMap)>, Broken> {
    let Some(trailers) = trailers else { return Ok(None) };
    let told = status::told(trailers).map_err(|text| Broken(Reason::Protocol, format!("`{text}` is no status")))?;
    Ok(told.map(|status| (status, trailers)))
}

/// An answer that is nothing but a status.
fn trailers_only(http: StatusCode, headers: &HeaderMap, body: &RecvStream) -> Result<Option<Answer>, Broken> {
    if !body.is_end_stream() {
        return Ok(None);
    }
    if let Some((status, headers)) = told(Some(headers))? {
        return Ok(Some(Answer { status, message: status::message(headers), headers: HeaderMap::new(), trailers: headers.clone() }));
    }
    if http == StatusCode::OK {
        return Err(Broken(Reason::Protocol, "the answer has neither messages nor a status".into()));
    }
    Ok(None)
}

fn is_grpc(head: &http::response::Parts) -> bool {
    let kind = head.headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
    head.status == StatusCode::OK && kind.starts_with(b"application/grpc")
}

/// An answer of something that does not speak gRPC, such as a proxy: its HTTP status says what it comes to.
async fn foreign(head: http::response::Parts, body: &mut RecvStream) -> Result<Answer, Lost> {
    let mut text = Vec::new();
    while let Some(chunk) = poll_fn(|cx| body.poll_data(cx)).await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        text.extend_from_slice(&chunk[..chunk.len().min(TEXT_LIMIT - text.len())]);
        if text.len() == TEXT_LIMIT {
            break;
        }
    }
    let text = String::from_utf8_lossy(&text);
    if head.status == StatusCode::OK {
        return Err(Broken(Reason::Protocol, format!("the answer is not gRPC: {text}")).into());
    }
    // A server may tell a status beside an HTTP status of its own.
    let status = told(Some(&head.headers))?.map(|(status, headers)| (status, status::message(headers)));
    let http = || format!("HTTP {}: {text}", head.status).trim_end_matches(": ").to_owned();
    let (status, message) = status.unwrap_or_else(|| (status::of_http(head.status.as_u16()), http()));
    Ok(Answer { status, message, headers: head.headers, trailers: HeaderMap::new() })
}

fn compression(headers: &HeaderMap) -> Result<Compression, Broken> {
    match headers.get("grpc-encoding").map(http::HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(Compression::Identity),
        Some(b"gzip") => Ok(Compression::Gzip),
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(Broken(Reason::Decompress, format!("the answer is compressed by `{other}`, which was not asked for")))
        }
    }
}

/// The reason behind an HTTP/2 error, and what people may read about it: the status that gRPC's own clients make of it as well.
pub(super) fn broken_by(error: &h2::Error) -> Broken {
    let Broken(reason, text) = ending::broken_by(error);
    let equal = match error.reason() {
        Some(_) if error.is_go_away() => UNAVAILABLE,
        Some(code) => grpc_of(code),
        None => return Broken(reason, text),
    };
    let is_told = matches!(reason, Reason::Reset | Reason::ClosedEarly);
    let text = if is_told { format!("{text} (as a gRPC status: {})", Shown(equal)) } else { text };
    Broken(reason, text)
}

/// The server cannot take the call now.
const UNAVAILABLE: u16 = 14;

/// The status that gRPC's own clients make of a reset (gRPC over HTTP/2, "HTTP2 Transport Mapping").
fn grpc_of(reason: h2::Reason) -> u16 {
    match reason {
        h2::Reason::REFUSED_STREAM => UNAVAILABLE,
        h2::Reason::CANCEL => 1,
        h2::Reason::ENHANCE_YOUR_CALM => 8,
        h2::Reason::INADEQUATE_SECURITY => 7,
        _ => 13,
    }
}

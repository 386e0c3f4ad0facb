//! WebSocket (RFC 6455): opens a socket, says and hears messages on it, closes it (`parting`). Opening and every exchange are one
//! request each, with phases, bytes and exactly one reason when they fail; closing is one when a step says so, else none. A `Socket`
//! belongs to one VU and lives on its thread.
//!
//! ```text
//! let opened = Socket::open(&dialer, &opening).await;                 // opened.outcome is one request
//! let Some(mut socket) = opened.socket else { return };
//! let heard = socket.exchange(Some(Payload::Text(text)), Some(&mut |message| …), timeout).await;   // and this is another
//! socket.during(tokio::time::sleep(think)).await;                     // whatever is done meanwhile: pings are answered
//! socket.close().await;
//! ```

mod frames;
mod handshake;
mod parting;

pub use parting::{Closing, Leaving, MOST_REASON};

use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::dial::{Broken, Course, Dialer, Origin};
use super::redact::{secrets_of, shown};
use super::stream::{Meter, Metering};
use crate::model::failure::{Phase, Reason};
use crate::model::measure::Outcome;
use frames::{Frames, Sending, broken_by, reason_of_io};
use handshake::{Answer, Upgrade};

/// How long the body of a refusal is waited for; its reason is known already.
const BODY_WAIT: Duration = Duration::from_secs(1);
/// Messages that one exchange passes over before it gives up.
const MOST_PASSED: u64 = 100_000;
/// Messages and their bytes that are kept while nobody listens; of more, the oldest are dropped.
const MOST_KEPT: (usize, usize) = (1000, 1024 * 1024);

/// What a socket is opened with, all of it rendered.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Where to.
    pub origin: &'a Origin,
    /// Path and query.
    pub path: &'a str,
    /// Names and values; cookies and credentials are among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// Subprotocols offered; with any, the server must choose one.
    pub subprotocols: &'a [String],
    /// Largest message that is taken, bytes.
    pub max_message: usize,
    /// Longest time until the socket is open.
    pub timeout: Duration,
}

/// What opening a socket came to.
#[derive(Default)]
pub struct Opened {
    /// Figures and the reason, if it failed.
    pub outcome: Outcome,
    /// Status of the answer: 101 when the socket is open.
    pub status: Option<u16>,
    /// Headers of the answer, cookies among them.
    pub headers: HeaderMap,
    /// The socket, if it is open.
    pub socket: Option<Socket>,
}

/// A message to be sent.
#[derive(Debug, Clone, Copy)]
pub enum Payload<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// Says of a message whether it is the one that is waited for.
pub type Wanted<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// What an exchange came to.
#[derive(Debug, Default)]
pub struct Heard {
    /// Figures and the reason, if it failed. `waiting` is the time from the last byte of our message (or from the begin, when there is
    /// none) until the wanted message was whole.
    pub outcome: Outcome,
    /// The message that was waited for.
    pub message: Option<Bytes>,
}

/// An open WebSocket.
pub struct Socket {
    frames: Frames<Metering>,
    meter: Rc<Meter>,
    /// Came while nobody listened, oldest first.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
    /// Dropped since the last exchange, because more came than is kept.
    unheard: u32,
    /// Why it is of no use any more.
    end: Option<End>,
    /// Both sides have said good-bye, as a step wanted it.
    parted: bool,
    /// Room for what is sent, used again and again.
    room: BytesMut,
}

/// The end of a socket.
struct End {
    broken: Broken,
    /// The code of the peer's close frame, 1005 when the frame had none; `None`: there was no frame.
    code: Option<u16>,
    /// Whether a request has failed with it; those after that one find the socket closed.
    counted: bool,
}

/// How far an opening has come; read when its time is up.
struct Progress {
    course: Course,
    /// Since when the connection stands, and what it saw.
    wire: Option<(Rc<Meter>, Instant)>,
    /// Bytes of the upgrade request.
    request: u64,
}

impl Progress {
    fn timed_out(&self) -> Reason {
        let Some((meter, _)) = &self.wire else { return self.course.timed_out() };
        let metered = meter.read();
        Reason::Timeout(if metered.received > 0 {
            Phase::Receiving
        } else if metered.sent < self.request {
            Phase::Sending
        } else {
            Phase::Waiting
        })
    }

    /// Fills in what the wire saw of the upgrade.
    fn measure(&self, outcome: &mut Outcome) {
        let Some((meter, began)) = &self.wire else { return };
        let (metered, ended) = (meter.read(), Instant::now());
        let first = metered.first_read.unwrap_or(ended);
        let written = metered.last_write.unwrap_or(*began).min(first);
        outcome.phases.sending = written.saturating_duration_since(*began);
        outcome.phases.waiting = first.saturating_duration_since(written);
        outcome.phases.receiving = ended.saturating_duration_since(first);
        (outcome.bytes_sent, outcome.bytes_received) = (metered.sent, metered.received);
    }
}

impl Socket {
    /// Opens a socket within its time. A status other than 101 is a failure with that status; redirects are not followed.
    pub async fn open(dialer: &Dialer, opening: &Opening<'_>) -> Opened {
        let mut opened = Opened::default();
        let mut progress = Progress { course: Course(Phase::Connecting), wire: None, request: 0 };
        let shaken = timeout_at(Instant::now() + opening.timeout, shake(dialer, opening, &mut opened, &mut progress)).await;
        progress.measure(&mut opened.outcome);
        let broken = match shaken {
            Ok(Ok(socket)) => {
                opened.socket = Some(socket);
                return opened;
            }
            Ok(Err(broken)) => broken,
            Err(_) => Broken(progress.timed_out(), format!("the socket was not open within {} ms", opening.timeout.as_millis())),
        };
        fail(&mut opened.outcome, broken);
        opened
    }

    /// Sends a message, if there is one, then reads until one comes that is `wanted`, if any is; others are passed over. What had come
    /// before our message is passed over, too: an answer cannot come before its question. Pings are answered meanwhile.
    pub async fn exchange(&mut self, say: Option<Payload<'_>>, wanted: Option<Wanted<'_>>, within: Duration) -> Heard {
        let began = self.begin();
        let (says, waits) = (say.is_some(), wanted.is_some());
        let (mut written, mut passed) = (None, 0);
        let talked = timeout_at(began + within, self.talk(say, wanted, &mut written, &mut passed)).await;
        let said = if says { written } else { Some(began) };
        let mut heard = Heard { outcome: self.figures(began, said, waits), message: None };
        match talked {
            Ok(Ok(message)) => heard.message = message,
            Ok(Err(broken)) => fail(&mut heard.outcome, broken),
            Err(_) => fail(&mut heard.outcome, late(said.is_some(), passed, within)),
        }
        heard
    }

    /// Does something else with the VU (thinking, a request) and keeps the socket alive: pings are answered, messages are kept for the
    /// next exchange. Beyond a bound the oldest are dropped, and counted: a peer that pushes is read from for as long as it does.
    pub async fn during<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        tokio::select! {
            biased;
            done = &mut other => return done,
            () = self.attend() => {}
        }
        other.await
    }

    /// Messages that were dropped since this was asked, or an exchange told it.
    pub fn take_unheard(&mut self) -> u32 {
        std::mem::take(&mut self.unheard)
    }

    /// Whether it can still be used, as far as is known.
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// The beginning of a request.
    fn begin(&self) -> Instant {
        self.meter.begin();
        Instant::now()
    }

    /// What a request that ends now came to: `said` is when the last byte of ours was written, `None` if that did not come about.
    fn figures(&mut self, began: Instant, said: Option<Instant>, waits: bool) -> Outcome {
        let (ended, metered) = (Instant::now(), self.meter.read());
        let mut outcome = Outcome { unheard: self.take_unheard(), ..Outcome::default() };
        outcome.phases.sending = said.unwrap_or(ended).saturating_duration_since(began);
        if let Some(said) = said.filter(|_| waits) {
            outcome.phases.waiting = ended.saturating_duration_since(said);
        }
        (outcome.bytes_sent, outcome.bytes_received) = (metered.sent, metered.received);
        outcome
    }

    async fn talk(
        &mut self,
        say: Option<Payload<'_>>,
        wanted: Option<Wanted<'_>>,
        written: &mut Option<Instant>,
        passed: &mut u64,
    ) -> Result<Option<Bytes>, Broken> {
        if let Some(say) = say {
            if wanted.is_some() {
                self.usable()?;
                self.pass_over()?;
            } else {
                self.take_in();
                self.usable()?;
            }
            self.say(say).await?;
            *written = self.meter.read().last_write;
        }
        let Some(wanted) = wanted else { return Ok(None) };
        loop {
            let message = self.next().await?;
            if wanted(&message) {
                return Ok(Some(message));
            }
            *passed += 1;
            if *passed > MOST_PASSED {
                return Err(Broken(Reason::BodyTooLarge, format!("{MOST_PASSED} messages came, and none was the expected one")));
            }
        }
    }

    /// Fails when the socket has ended: once for the reason, then for being closed.
    fn usable(&mut self) -> Result<(), Broken> {
        let Some(end) = &mut self.end else { return Ok(()) };
        let Broken(reason, text) = end.broken.clone();
        let known = std::mem::replace(&mut end.counted, true);
        Err(Broken(if known { Reason::ClosedEarly } else { reason }, text))
    }

    /// A message as a frame, in the room that the former one has left.
    fn frame(&mut self, say: Payload<'_>) -> Message {
        let (code, bytes) = match say {
            Payload::Text(text) => (Data::Text, text.as_bytes()),
            Payload::Binary(bytes) => (Data::Binary, bytes),
        };
        self.room.extend_from_slice(bytes);
        Message::Frame(Frame::message(self.room.split().freeze(), OpCode::Data(code), true))
    }

    /// Sends a message; what comes meanwhile is kept.
    async fn say(&mut self, say: Payload<'_>) -> Result<(), Broken> {
        let mut message = Some(self.frame(say));
        loop {
            match self.frames.send_or_read(&mut message).await {
                Sending::Done(Ok(())) => return Ok(()),
                Sending::Done(Err(error)) => return Err(self.last_words().await.unwrap_or_else(|| self.broke(&error, true))),
                Sending::Read(read) => {
                    if let Some(message) = self.data(read, true)? {
                        self.keep(message);
                    }
                }
            }
        }
    }

    /// What the peer had said before nothing could be written any more, if that was its good-bye: it says more than a broken pipe.
    async fn last_words(&mut self) -> Option<Broken> {
        for _ in 0..MOST_KEPT.0 {
            // The connection is cut: what has come can still be read, then its end.
            let read = self.frames.read().await.ok()?;
            match self.data(Ok(read), true) {
                Ok(Some(message)) => self.keep(message),
                Ok(None) => {}
                Err(broken) => return Some(broken),
            }
        }
        None
    }

    /// Keeps what has come already, so that a peer that pushes is read from also by a VU that only sends.
    fn take_in(&mut self) {
        for _ in 0..MOST_KEPT.0 {
            let Some(read) = self.frames.read_now().filter(|_| self.end.is_none()) else { return };
            if let Ok(Some(message)) = self.data(read, false) {
                self.keep(message);
            }
        }
    }

    /// Keeps a message for who listens next.
    fn keep(&mut self, message: Bytes) {
        self.kept_bytes += message.len();
        self.kept.push_back(message);
        while self.kept.len() > MOST_KEPT.0 || self.kept_bytes > MOST_KEPT.1 && self.kept.len() > 1 {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.kept_bytes -= oldest.len();
            self.unheard = self.unheard.saturating_add(1);
        }
    }

    /// Forgets every message that has come already.
    fn pass_over(&mut self) -> Result<(), Broken> {
        self.kept.clear();
        self.kept_bytes = 0;
        while let Some(read) = self.frames.read_now() {
            self.data(read, true)?;
        }
        Ok(())
    }

    /// The next text or binary message.
    async fn next(&mut self) -> Result<Bytes, Broken> {
        if let Some(message) = self.kept.pop_front() {
            self.kept_bytes -= message.len();
            return Ok(message);
        }
        self.usable()?;
        loop {
            let read = self.frames.read().await;
            if let Some(message) = self.data(read, true)? {
                return Ok(message);
            }
        }
    }

    /// What was read, if it is a text or binary message; the end of the socket is remembered. `counted`: a request fails with it.
    fn data(&mut self, read: Result<Message, Error>, counted: bool) -> Result<Option<Bytes>, Broken> {
        match read {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => Ok(Some(message.into_data())),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(None),
            Ok(Message::Close(frame)) => {
                self.frames.reply();
                let broken = Broken(Reason::ClosedEarly, parting::farewell(frame.as_ref()));
                self.end = Some(End { broken: broken.clone(), code: Some(parting::code_of(frame.as_ref())), counted });
                Err(broken)
            }
            Err(error) => Err(self.broke(&error, counted)),
        }
    }

    fn broke(&mut self, error: &Error, counted: bool) -> Broken {
        let (reason, text) = broken_by(error);
        if matches!(reason, Reason::Protocol | Reason::BodyTooLarge) {
            self.frames.complain(error);
        }
        let broken = Broken(reason, text);
        self.end = Some(End { broken: broken.clone(), code: None, counted });
        broken
    }

    /// Reads and keeps what comes; returns when the socket has ended.
    async fn attend(&mut self) {
        while self.end.is_none() {
            let read = self.frames.read().await;
            if let Ok(Some(message)) = self.data(read, false) {
                self.keep(message);
            }
        }
    }
}

/// Connects and does the opening handshake.
async fn shake(dialer: &Dialer, opening: &Opening<'_>, opened: &mut Opened, progress: &mut Progress) -> Result<Socket, Broken> {
    let (origin, key) = (opening.origin, generate_key());
    let upgrade = Upgrade::new(&origin.authority(), opening.path, opening.headers, opening.subprotocols, &key)
        .map_err(|text| Broken(Reason::Script("request".into()), text))?;
    let dialed = dialer.dial(origin, &["http/1.1"], &mut progress.course, &mut opened.outcome).await?;
    let (mut io, meter) = Metering::new(dialed.transport);
    (progress.wire, progress.request) = (Some((meter.clone(), Instant::now())), upgrade.head.len() as u64);
    let sent = async {
        io.write_all(&upgrade.head).await?;
        io.flush().await
    };
    sent.await.map_err(|error| Broken(reason_of_io(&error), error.to_string()))?;
    let mut answer = Answer::read(&mut io).await.map_err(|(reason, text)| Broken(reason, text))?;
    opened.status = Some(answer.status);
    if answer.status != 101 {
        let body = timeout(BODY_WAIT, answer.body(&mut io)).await;
        opened.headers = answer.headers;
        return Err(refusal(answer.status, &body.unwrap_or_default(), opening.headers));
    }
    upgrade.verify(&answer).map_err(|text| Broken(Reason::Protocol, text))?;
    opened.headers = answer.headers;
    let frames = Frames::new(io, answer.rest.into(), opening.max_message);
    Ok(Socket { frames, meter, kept: VecDeque::new(), kept_bytes: 0, unheard: 0, end: None, parted: false, room: BytesMut::new() })
}

/// Status and body of a refusal, on one line, without what looks like a secret or was sent as one.
fn refusal(status: u16, body: &[u8], sent: &[(&str, &str)]) -> Broken {
    let text = shown(body, &secrets_of(sent.iter().copied()));
    Broken(Reason::Status(status), if text.is_empty() { format!("status {status}") } else { format!("status {status}: {text}") })
}

/// The reason of an exchange whose time is up.
fn late(said: bool, passed: u64, within: Duration) -> Broken {
    let ms = within.as_millis();
    if !said {
        return Broken(Reason::Timeout(Phase::Sending), format!("the message could not be sent within {ms} ms"));
    }
    let others = if passed > 0 { format!(", but {passed} others") } else { String::new() };
    Broken(Reason::Timeout(Phase::Waiting), format!("the expected message did not come within {ms} ms{others}"))
}

fn fail(outcome: &mut Outcome, Broken(reason, text): Broken) {
    outcome.failure = Some(reason);
    outcome.message = Some(text);
}

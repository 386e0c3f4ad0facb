//! The end of a WebSocket (RFC 6455, 5.5.1 and 7): closed by us, with a code and a reason; by the peer, where that is what is waited for;
//! or without a word of the flow, when its session is over. Each is bounded: a peer that does not close keeps nobody.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::frames::Sending;
use super::{Broken, End, Payload, Socket, fail};
use crate::model::failure::{Phase, Reason};
use crate::model::measure::Outcome;
use crate::protocol::redact::shown;

/// Longest reason of a close frame, in bytes of UTF-8: a control frame holds 125, two of them are the code (RFC 6455, 5.5).
pub const MOST_REASON: usize = 123;
/// How long the peer may take to close after a session is over.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// The code of a close frame without one (RFC 6455, 7.1.5).
const NO_CODE: u16 = 1005;

/// How we close.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// Status code.
    pub code: u16,
    /// Reason; at most [`MOST_REASON`] bytes.
    pub reason: &'a str,
    /// Name of the step, for those that find the socket closed.
    pub step: &'a str,
}

/// What became of the good-bye at the end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The peer answered with its own close frame.
    Answered,
    /// It did not, within two seconds or before it cut the connection.
    Unanswered,
    /// There was nothing to say any more.
    Over,
}

/// How far a parting has come; read when its time is up.
#[derive(Default)]
struct Parting {
    /// When the last byte of ours was written.
    written: Option<Instant>,
    /// Messages that were passed over.
    passed: u64,
}

impl Parting {
    /// The reason of a parting whose time is up: `what` was to be sent, if it was not.
    fn late(&self, said: Option<Instant>, what: &str, within: Duration) -> Broken {
        let ms = within.as_millis();
        if said.is_none() {
            return Broken(Reason::Timeout(Phase::Sending), format!("{what} could not be sent within {ms} ms"));
        }
        let others = if self.passed > 0 { format!(", but sent {} messages", self.passed) } else { String::new() };
        Broken(Reason::Timeout(Phase::Waiting), format!("the server did not close the socket within {ms} ms{others}"))
    }
}

impl End {
    /// Whether the peer has closed as was wanted: with one of these codes, or with any when there are none.
    fn is_as_wanted(&mut self, codes: &[u16]) -> Result<(), Broken> {
        self.counted = true;
        if self.code.is_some_and(|code| codes.is_empty() || codes.contains(&code)) {
            return Ok(());
        }
        let Broken(reason, text) = self.broken.clone();
        Err(Broken(reason.clone(), if reason == Reason::ClosedEarly { format!("{text}; expected: {}", wanted(codes)) } else { text }))
    }
}

impl Socket {
    /// Sends a close frame and waits for the peer's. Messages that come meanwhile are passed over; whatever comes of it, the socket is
    /// closed for the steps that follow.
    pub async fn leave(&mut self, leaving: Leaving<'_>, within: Duration) -> Outcome {
        let (began, mut parting) = (self.begin(), Parting::default());
        if let Err(broken) = self.usable().and_then(|()| self.pass_over()) {
            let mut outcome = self.figures(began, None, true);
            fail(&mut outcome, broken);
            return outcome;
        }
        let said = timeout_at(began + within, self.say_goodbye(leaving, &mut parting)).await;
        let broken = Broken(Reason::ClosedEarly, format!("the socket was closed by the step `{}`", leaving.step));
        (self.end, self.parted) = (Some(End { broken, code: None, counted: true }), matches!(said, Ok(Ok(()))));
        let mut outcome = self.figures(began, parting.written, true);
        match said {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => fail(&mut outcome, broken),
            Err(_) => fail(&mut outcome, parting.late(parting.written, "the close frame", within)),
        }
        outcome
    }

    /// Sends a message, if there is one, then waits until the peer closes the socket with one of these codes, or with any when there
    /// are none. Messages are passed over. A socket that the peer has closed since the last step meets it at once; but not with a message
    /// of ours: an answer cannot come before its question.
    pub async fn hear_out(&mut self, say: Option<Payload<'_>>, codes: &[u16], within: Duration) -> Outcome {
        let (began, mut parting) = (self.begin(), Parting::default());
        let says = say.is_some();
        let heard = timeout_at(began + within, self.hear_goodbye(say, codes, &mut parting)).await;
        self.parted |= matches!(heard, Ok(Ok(())));
        let said = if says { parting.written } else { Some(began) };
        let mut outcome = self.figures(began, said, true);
        match heard {
            Ok(Ok(())) => {}
            Ok(Err(broken)) => fail(&mut outcome, broken),
            Err(_) => fail(&mut outcome, parting.late(said, "the message", within)),
        }
        outcome
    }

    /// The end of a session: says good-bye, if no step and no peer has, and waits for the peer to close, but not for long.
    pub async fn close(mut self) -> Closing {
        if self.end.is_none() {
            let mut answered = false;
            // Whatever ends it, what counts is whether the peer's close frame came.
            let _ = timeout(CLOSE_WAIT, self.frames.close(&mut answered)).await;
            return if answered { Closing::Answered } else { Closing::Unanswered };
        }
        if self.parted {
            // The server closes the connection first, so that it is the one that waits for stray packets (RFC 6455, 7.1.1).
            let _ = timeout(CLOSE_WAIT, self.frames.read_out()).await;
        }
        Closing::Over
    }

    async fn say_goodbye(&mut self, leaving: Leaving<'_>, parting: &mut Parting) -> Result<(), Broken> {
        let frame = CloseFrame { code: CloseCode::from(leaving.code), reason: leaving.reason.into() };
        let (mut frame, mut heard) = (Some(Message::Close(Some(frame))), false);
        loop {
            match self.frames.send_or_read(&mut frame).await {
                Sending::Done(Ok(())) => break,
                // Once both have said good-bye the peer may go.
                Sending::Done(Err(_)) | Sending::Read(Err(_)) if heard => return Ok(()),
                Sending::Done(Err(error)) => {
                    return if self.last_words().await.is_some() { Ok(()) } else { Err(self.broke(&error, true)) };
                }
                Sending::Read(read) => heard |= self.is_farewell(read, parting)?,
            }
        }
        parting.written = self.meter.read().last_write;
        while !heard {
            let read = self.frames.read().await;
            heard = self.is_farewell(read, parting)?;
        }
        Ok(())
    }

    async fn hear_goodbye(&mut self, say: Option<Payload<'_>>, codes: &[u16], parting: &mut Parting) -> Result<(), Broken> {
        if let Some(say) = say {
            self.usable()?;
            self.pass_over()?;
            match self.say(say).await {
                Ok(()) => parting.written = self.meter.read().last_write,
                // It may close before it has read everything: what is too large for it, for example.
                Err(_) if self.end.as_ref().is_some_and(|end| end.code.is_some()) => {}
                Err(broken) => return Err(broken),
            }
        } else if self.end.as_ref().is_some_and(|end| end.counted) {
            self.usable()?;
        }
        parting.passed += self.kept.len() as u64;
        self.kept.clear();
        self.kept_bytes = 0;
        loop {
            if let Some(end) = &mut self.end {
                return end.is_as_wanted(codes);
            }
            let read = self.frames.read().await;
            // An error is the end of the socket, which is looked at next.
            parting.passed += u64::from(self.data(read, true).is_ok_and(|message| message.is_some()));
        }
    }

    /// Whether this is the peer's close frame; messages are passed over.
    fn is_farewell(&mut self, read: Result<Message, Error>, parting: &mut Parting) -> Result<bool, Broken> {
        let farewell = matches!(read, Ok(Message::Close(_)));
        match self.data(read, true) {
            Ok(message) => {
                parting.passed += u64::from(message.is_some());
                Ok(false)
            }
            Err(_) if farewell => Ok(true),
            Err(broken) => Err(broken),
        }
    }
}

/// The code of the peer's close frame.
pub(super) fn code_of(frame: Option<&CloseFrame>) -> u16 {
    frame.map_or(NO_CODE, |frame| frame.code.into())
}

/// The peer's close frame in words.
pub(super) fn farewell(frame: Option<&CloseFrame>) -> String {
    match frame {
        None => format!("the server closed the socket without a code ({NO_CODE})"),
        Some(frame) => {
            let code = u16::from(frame.code);
            format!("the server closed the socket: {code} {}", shown(frame.reason.as_bytes(), &[])).trim_end().to_owned()
        }
    }
}

/// The codes that were wanted, in words.
fn wanted(codes: &[u16]) -> String {
    match codes {
        [] => "any close frame".into(),
        codes => codes.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(reason: Reason, text: &str, code: Option<u16>) -> End {
        End { broken: Broken(reason, text.into()), code, counted: false }
    }

    #[test]
    fn the_code_decides_whether_an_end_is_the_wanted_one() {
        let closed = "the server closed the socket: 4003 kicked";
        for (code, wanted, fine) in [
            (4003, &[][..], true),
            (4003, &[4003], true),
            (4003, &[1000, 4003], true),
            (4003, &[1000], false),
            (1005, &[], true),
            (1005, &[1000], false),
        ] {
            let mut end = end(Reason::ClosedEarly, closed, Some(code));
            assert_eq!(end.is_as_wanted(wanted).is_ok(), fine, "{code} of {wanted:?}");
            assert!(end.counted);
        }
        let told = |mut end: End, wanted: &[u16]| end.is_as_wanted(wanted).map_err(|Broken(reason, text)| (reason, text)).unwrap_err();
        let other = told(end(Reason::ClosedEarly, closed, Some(4003)), &[1000, 1001]);
        assert_eq!(other, (Reason::ClosedEarly, format!("{closed}; expected: 1000 or 1001")));
        let cut = told(end(Reason::ClosedEarly, "cut", None), &[]);
        assert_eq!(cut, (Reason::ClosedEarly, "cut; expected: any close frame".into()));
        assert_eq!(told(end(Reason::Reset, "reset", None), &[]), (Reason::Reset, "reset".into()));
    }

    #[test]
    fn a_farewell_tells_code_and_reason() {
        let frame = |code: u16, reason: &str| CloseFrame { code: code.into(), reason: reason.into() };
        for (frame, code, text) in [
            (None, 1005, "the server closed the socket without a code (1005)"),
            (Some(frame(1001, "")), 1001, "the server closed the socket: 1001"),
            (Some(frame(4003, "token=hunter2hunter2")), 4003, "the server closed the socket: 4003 token=<redacted>"),
        ] {
            assert_eq!((code_of(frame.as_ref()), farewell(frame.as_ref()).as_str()), (code, text));
        }
    }
}

//! How a request over HTTP/2 ends without an answer, and what HTTP and gRPC make of it alike: its one reason, and whether the server can
//! have seen anything of it. Here lies as well when a cut of a kept connection is the well-known race between two sides.

use std::io::ErrorKind;
use std::time::Duration;

use super::dial::Broken;
use crate::model::failure::Reason;

/// How often a request is sent over HTTP/2 that the server has certainly not begun with.
pub(super) const TRIES: u32 = 3;
/// How long a server that refused a request is given to end others.
pub(super) const BREATH: Duration = Duration::from_millis(1);
/// A connection that carried nothing for so long may be closed by its server for being idle: servers wait two seconds and more.
const IDLE: Duration = Duration::from_secs(1);
/// The server's close was on its way when the request was sent: it arrives within the time of a round trip, and this.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Whether a request that was cut off may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It may have been carried out, or the server has cut it off: that is what became of it.
    No,
    /// The server closed the idle connection while the request was on its way. Who does no harm by asking twice asks again.
    Harmless,
    /// The server has certainly not begun with it.
    Unseen,
    /// The same, on a connection that is well (RFC 9113, 8.7).
    Refused,
    /// The same, because the server had not told yet how many requests it takes at once.
    Crowded,
}

/// Whether the cut of a kept connection, before anything of an answer, is no deed of the server's but the race of its idle timeout with
/// the request (RFC 9112, 9.3.1): the connection had been idle for `idle`, and the cut came `after` the request. `round_trip` is what
/// connecting took.
pub(super) fn is_race(idle: Duration, after: Duration, round_trip: Duration) -> bool {
    idle >= IDLE && after <= round_trip + AT_ONCE
}

/// What is certain about a request from the error of its stream.
pub(super) fn again(error: &h2::Error) -> Again {
    let told = error.reason().filter(|_| error.is_remote());
    if told == Some(h2::Reason::REFUSED_STREAM) && error.is_reset() {
        Again::Refused
    } else if told == Some(h2::Reason::NO_ERROR) && error.is_go_away() {
        // The server says goodbye and names the last request that it has begun with: this one came later (RFC 9113, 6.8).
        Again::Unseen
    } else {
        Again::No
    }
}

/// The reason behind an error of HTTP/2, and what people may read about it.
pub(super) fn broken_by(error: &h2::Error) -> Broken {
    let text = error.to_string();
    if let Some(io) = error.get_io() {
        return of_io(io, text);
    }
    // What the peer found wrong with HTTP/2, or we.
    let about_protocol = [
        h2::Reason::PROTOCOL_ERROR,
        h2::Reason::FLOW_CONTROL_ERROR,
        h2::Reason::SETTINGS_TIMEOUT,
        h2::Reason::FRAME_SIZE_ERROR,
        h2::Reason::COMPRESSION_ERROR,
        h2::Reason::HTTP_1_1_REQUIRED,
    ];
    let reason = match error.reason() {
        Some(code) if error.is_remote() && !about_protocol.contains(&code) => {
            if error.is_go_away() && code == h2::Reason::NO_ERROR {
                Reason::ClosedEarly
            } else {
                Reason::Reset
            }
        }
        Some(_) | None => Reason::Protocol,
    };
    Broken(reason, text)
}

/// The reason behind the end of a connection. The error is a copy, of which kind and text are left.
fn of_io(error: &std::io::Error, text: String) -> Broken {
    let kind = error.kind();
    // What h2 says when the peer closed while requests were running; the system's own broken pipe has a number.
    let is_closed = kind == ErrorKind::BrokenPipe && error.raw_os_error().is_none() && !text.contains("os error");
    if is_closed || kind == ErrorKind::UnexpectedEof {
        Broken(Reason::ClosedEarly, format!("connection closed before the end of the answer ({text})"))
    } else if text.contains("received fatal alert") {
        // Under TLS 1.3 a server refuses a certificate when the handshake is over on this side.
        Broken(Reason::Tls, text)
    } else if matches!(kind, ErrorKind::InvalidData | ErrorKind::InvalidInput) {
        Broken(Reason::Protocol, text)
    } else {
        Broken(Reason::Reset, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_cut_is_the_race_only_after_idleness_and_at_once() {
        assert!(is_race(IDLE, MS, MS));
        assert!(!is_race(IDLE / 2, MS, MS), "the connection was in use");
        assert!(!is_race(60 * IDLE, AT_ONCE + 2 * MS, MS), "the server had it for a while");
        assert!(is_race(60 * IDLE, AT_ONCE + 50 * MS, 80 * MS), "the way is long");
    }

    #[test]
    fn codes_of_our_own_are_of_the_protocol() {
        let error = h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM);
        assert_eq!((broken_by(&error).0, again(&error)), (Reason::Protocol, Again::No));
    }
}

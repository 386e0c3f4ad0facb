//! Statuses of calls: their names, where they stand in an answer, and what an answer without one comes to. Pure.

use std::fmt;

use http::HeaderMap;

/// OK.
pub const OK: u16 = 0;
/// The server does not have the method.
pub(super) const UNIMPLEMENTED: u16 = 12;
/// The time was up.
pub(super) const DEADLINE_EXCEEDED: u16 = 4;
/// The names of the statuses, by number (gRPC, "Status codes and their use").
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a status; `None` for a number that has none.
pub fn name(code: u16) -> Option<&'static str> {
    NAMES.get(usize::from(code)).copied()
}

/// A status for people: `14 UNAVAILABLE`.
pub(super) struct Shown(pub(super) u16);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => write!(f, "{} {name}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The status that headers or trailers tell: `None` when they tell none, `Err` with what stands there when it is no status.
pub(super) fn told(headers: &HeaderMap) -> Result<Option<u16>, String> {
    let Some(value) = headers.get("grpc-status") else { return Ok(None) };
    let code = value.to_str().ok().and_then(|text| text.parse().ok());
    code.map(Some).ok_or_else(|| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// `grpc-message`, percent-decoded; what is not decodable stays as it is.
pub(super) fn message(headers: &HeaderMap) -> String {
    let Some(value) = headers.get("grpc-message") else { return String::new() };
    let (bytes, mut decoded) = (value.as_bytes(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The status of an answer that has none of its own, by its HTTP status (gRPC, "HTTP to gRPC status code mapping").
pub(super) fn of_http(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), http::HeaderValue::from_bytes(value.as_bytes()).unwrap())])
    }

    #[test]
    fn statuses_have_names() {
        assert_eq!((name(14), name(16), name(17)), (Some("UNAVAILABLE"), Some("UNAUTHENTICATED"), None));
        assert_eq!((Shown(14).to_string(), Shown(99).to_string()), ("14 UNAVAILABLE".into(), "99".into()));
    }

    #[test]
    fn statuses_are_read_from_headers() {
        assert_eq!(told(&headers("grpc-status", "5")), Ok(Some(5)));
        assert_eq!(told(&HeaderMap::new()), Ok(None));
        assert_eq!(told(&headers("grpc-status", "-1")), Err("-1".into()));
        assert_eq!(told(&headers("grpc-status", "OK")), Err("OK".into()));
    }

    #[test]
    fn messages_are_decoded() {
        for (sent, read) in [
            ("sorry, too many clients already", "sorry, too many clients already"),
            ("gr%C3%BC%C3%9Fe%0A100%25", "grüße\n100%"),
            ("50% off, %zz, %4", "50% off, %zz, %4"),
            ("%e2%82", "\u{fffd}"),
            ("", ""),
        ] {
            assert_eq!(message(&headers("grpc-message", sent)), read);
        }
        assert_eq!(message(&HeaderMap::new()), "");
    }

    #[test]
    fn an_http_status_becomes_a_status() {
        assert_eq!([200, 400, 401, 403, 404, 429, 503, 500].map(of_http), [2, 13, 16, 7, 12, 14, 14, 2]);
    }
}

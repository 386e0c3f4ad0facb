//! Why a request failed: every failed request has exactly one reason, and the reasons of a second add up to its failures.
//! The text form (`status_500`, `timeout:waiting`, `check:status is 200`) is what stores, labels and reports show.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The part of a request that was going on when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Looking up the host name.
    Dns,
    /// Opening the connection.
    Connecting,
    /// TLS handshake.
    Tls,
    /// Writing the request.
    Sending,
    /// Waiting for the first byte of the answer.
    Waiting,
    /// Reading the answer.
    Receiving,
}

impl Phase {
    /// The word used in reasons and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connecting => "connecting",
            Self::Tls => "tls",
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Receiving => "receiving",
        }
    }
}

/// The one reason of a failed request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The name could not be resolved.
    Dns,
    /// Nobody listens there.
    ConnectRefused,
    /// No answer to the connection attempt in time.
    ConnectTimeout,
    /// The connection attempt was reset, or failed otherwise.
    ConnectReset,
    /// The TLS handshake failed.
    Tls,
    /// The request's time ran out in this phase.
    Timeout(Phase),
    /// The peer reset the connection in the middle.
    Reset,
    /// The peer closed before the answer was complete.
    ClosedEarly,
    /// The answer is not valid HTTP, gRPC or WebSocket.
    Protocol,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body could not be decompressed.
    Decompress,
    /// An HTTP status that was not expected.
    Status(u16),
    /// A gRPC status other than the expected one.
    GrpcStatus(u16),
    /// A check did not hold; its name.
    Check(String),
    /// A template could not be filled in, or what it gave could not be sent; which.
    Script(String),
    /// What was to be taken from the answer is not in it; which.
    Extract(String),
    /// The target is not on the allow list.
    BlockedByGuard,
    /// Cut off by the end of the run.
    Interrupted,
}

impl Reason {
    /// The class without its detail, as the metric label `reason` shows it: `status_5xx`, `timeout`, `check`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectReset => "connect_reset",
            Self::Tls => "tls",
            Self::Timeout(_) => "timeout",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed_early",
            Self::Protocol => "protocol",
            Self::BodyTooLarge => "body_too_large",
            Self::Decompress => "decompress",
            Self::Status(code) if (400..500).contains(code) => "status_4xx",
            Self::Status(code) if *code >= 500 => "status_5xx",
            Self::Status(_) => "status_other",
            Self::GrpcStatus(_) => "grpc_status",
            Self::Check(_) => "check",
            Self::Script(_) => "script",
            Self::Extract(_) => "extract",
            Self::BlockedByGuard => "blocked_by_guard",
            Self::Interrupted => "interrupted",
        }
    }

    /// True when the server answered, so that the request has a duration.
    pub fn has_answer(&self) -> bool {
        matches!(self, Self::Status(_) | Self::GrpcStatus(_) | Self::Check(_) | Self::Extract(_) | Self::Decompress | Self::BodyTooLarge)
    }

    /// True when the iteration cannot go on: something that it would need was not there.
    pub fn breaks_off(&self) -> bool {
        matches!(self, Self::Script(_) | Self::Extract(_))
    }

    /// Reads the text form back.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(code) = text.strip_prefix("status_") {
            return code.parse().ok().map(Self::Status);
        }
        if let Some(code) = text.strip_prefix("grpc_status_") {
            return code.parse().ok().map(Self::GrpcStatus);
        }
        if let Some((class, detail)) = text.split_once(':') {
            return match class {
                "check" => Some(Self::Check(detail.into())),
                "script" => Some(Self::Script(detail.into())),
                "extract" => Some(Self::Extract(detail.into())),
                "timeout" => [Phase::Dns, Phase::Connecting, Phase::Tls, Phase::Sending, Phase::Waiting, Phase::Receiving]
                    .into_iter()
                    .find(|phase| phase.as_str() == detail)
                    .map(Self::Timeout),
                _ => None,
            };
        }
        [
            Self::Dns,
            Self::ConnectRefused,
            Self::ConnectTimeout,
            Self::ConnectReset,
            Self::Tls,
            Self::Reset,
            Self::ClosedEarly,
            Self::Protocol,
            Self::BodyTooLarge,
            Self::Decompress,
            Self::BlockedByGuard,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|reason| reason.class() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(code) => write!(f, "status_{code}"),
            Self::GrpcStatus(code) => write!(f, "grpc_status_{code}"),
            Self::Check(name) => write!(f, "check:{name}"),
            Self::Script(what) => write!(f, "script:{what}"),
            Self::Extract(what) => write!(f, "extract:{what}"),
            Self::Timeout(phase) => write!(f, "timeout:{}", phase.as_str()),
            Self::Dns
            | Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::ConnectReset
            | Self::Tls
            | Self::Reset
            | Self::ClosedEarly
            | Self::Protocol
            | Self::BodyTooLarge
            | Self::Decompress
            | Self::BlockedByGuard
            | Self::Interrupted => f.write_str(self.class()),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown reason `{text}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_text() {
        for reason in [
            Reason::Dns,
            Reason::ConnectRefused,
            Reason::ConnectTimeout,
            Reason::ConnectReset,
            Reason::Tls,
            Reason::Timeout(Phase::Waiting),
            Reason::Reset,
            Reason::ClosedEarly,
            Reason::Protocol,
            Reason::BodyTooLarge,
            Reason::Decompress,
            Reason::Status(503),
            Reason::GrpcStatus(14),
            Reason::Check("status is 200: yes".into()),
            Reason::Script("token".into()),
            Reason::Extract("token".into()),
            Reason::BlockedByGuard,
            Reason::Interrupted,
        ] {
            assert_eq!(Reason::parse(&reason.to_string()), Some(reason));
        }
        assert_eq!(Reason::Status(503).class(), "status_5xx");
    }
}

//! `storage:`, `server:`, `log:` and `load:` as written.

use std::time::Duration;

use super::retention::{RawRecords, RawRetention};
use crate::registry::{ByteSize, FilePath, Secret, Spanned, WebUrl};
use crate::{choice, settings};

settings! {
    /// Where runs are kept.
    pub(crate) struct RawStorage titled "the storage" {
        /// `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/DATABASE`. Without it: `sqlite://plimsoll.db` in `data_dir`.
        url: secret Secret,
        /// Folder for the files of the daemon; a relative path of SQLite starts there. Without it: the folder of the configuration.
        data_dir: optional FilePath,
        /// How long what is kept. Profiles may have their own.
        retention: optional RawRetention,
        /// How long records of schedules, alerts and messages are kept.
        records: optional RawRecords,
        /// Folder for what the database does not take at present; it is written when it does. Without it: `spool` in `data_dir`.
        spool: optional FilePath,
        /// Most that is kept there: seconds of runs beyond it are lost, and counted.
        spool_limit: default ByteSize = ByteSize(256 << 20),
    }
}

settings! {
    /// The HTTP server.
    pub(crate) struct RawServer titled "the server" {
        /// Address and port; port 0 = any free one. Without it: `127.0.0.1:9611`.
        listen: optional Spanned<String>,
        /// File with the tokens that may start and cancel runs: `name: SHA-256 in hex`, or `name: { token_file: PATH }`.
        tokens_file: optional Spanned<FilePath>,
        /// How people reach the server, for links in messages.
        external_url: optional WebUrl,
        /// Listen on other than the local address although there are no tokens.
        insecure: default bool = false,
    }
}

choice! {
    /// How log lines look.
    pub(crate) enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

settings! {
    /// Logs.
    pub(crate) struct RawLog titled "the log" {
        /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,plimsoll::engine=debug`.
        level: optional Spanned<String>,
        /// How lines look.
        format: default LogFormat = LogFormat::Text,
    }
}

settings! {
    /// Load generation.
    pub(crate) struct RawLoad titled "the load settings" {
        /// Threads that send load.
        threads: optional Spanned<u16>,
        /// Longest time that running iterations may take when the daemon stops.
        drain: default Duration = Duration::from_secs(10),
    }
}

/// A token of the API: SHA-256 in hex, or a mapping.
#[derive(Debug, Clone)]
pub(crate) enum RawToken {
    /// SHA-256 of the token, in hex.
    Digest(Spanned<String>),
    /// The token itself, read from a file.
    Plain(Secret),
}

settings! {
    /// A token of the API.
    pub(crate) struct TokenKeys titled "token" {
        /// SHA-256 of the token, in hex: 64 digits.
        sha256: optional Spanned<String>,
        /// The token itself, only as a file.
        token: secret Secret,
    }
}

impl crate::registry::Decode for RawToken {
    fn decode(node: &crate::registry::Node, cx: &mut crate::registry::Context<'_>) -> Option<Self> {
        use crate::registry::Value;
        if let Value::Text(_) | Value::Number(..) = node.value {
            return Spanned::decode(node, cx).map(Self::Digest);
        }
        if let Some(plain) = node.get("token") {
            cx.diagnostics.push("plain-token", plain.span, "a token may not stand in the file", "write its `sha256:`, or a `token_file:`");
            return None;
        }
        let keys = TokenKeys::decode(node, cx)?;
        match (keys.sha256, keys.token) {
            (Some(digest), None) => Some(Self::Digest(digest)),
            (None, Some(token)) => Some(Self::Plain(token)),
            _ => {
                cx.diagnostics.push("missing-key", node.span, "a token needs `sha256` or `token_file`", "give one of them");
                None
            }
        }
    }
    fn schema() -> serde_json::Value {
        serde_json::json!({"anyOf": [{"type": "string"}, TokenKeys::schema()]})
    }
}

//! Storage, server, logs and load: addresses that can be used, tokens as digests.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Resolver;
use crate::config::raw::service::{LogFormat, RawLoad, RawLog, RawServer, RawStorage, RawToken};
use crate::engine::setup::{LoadSetup, LogSetup, ServerSetup, StorageSetup};
use crate::registry::{Decode, FilePath, Named, Secret, Spanned};

/// The database when none is named, below the data folder.
const DEFAULT_DATABASE: &str = "sqlite://plimsoll.db";

impl Resolver<'_> {
    pub(super) fn storage(&mut self, raw: Option<&RawStorage>) -> StorageSetup {
        let given = raw.and_then(|raw| raw.data_dir.as_ref());
        let data_dir = given.map_or_else(|| self.sources.folder.clone(), |path| PathBuf::from(&path.0));
        let url = raw.and_then(|raw| raw.url.as_ref()).map_or(DEFAULT_DATABASE, Secret::expose);
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            let message = "the storage is neither SQLite nor PostgreSQL";
            self.mistake(
                "bad-url",
                self.declared.storage,
                message,
                "write `sqlite://plimsoll.db` or `postgres://user@host/database` as `url`",
            );
        }
        let spool = raw.and_then(|raw| raw.spool.as_ref()).map_or_else(|| data_dir.join("spool"), |path| PathBuf::from(&path.0));
        let spool_limit = raw.map_or(StorageSetup::default().spool_limit, |raw| raw.spool_limit.0);
        StorageSetup { url: Secret::new(below(url, &data_dir)), data_dir, spool, spool_limit, ..StorageSetup::default() }
    }

    pub(super) fn server(&mut self, raw: Option<&RawServer>) -> ServerSetup {
        let mut setup = ServerSetup::default();
        let Some(raw) = raw else { return setup };
        if let Some(file) = &raw.tokens_file {
            setup.tokens = self.tokens(file);
        }
        setup.external_url = raw.external_url.as_ref().map(|url| url.0.clone());
        setup.insecure = raw.insecure;
        if let Some(listen) = &raw.listen {
            self.check_listen(listen, raw);
            setup.listen.clone_from(&listen.value);
        }
        setup
    }

    fn check_listen(&mut self, listen: &Spanned<String>, raw: &RawServer) {
        let parts = listen.value.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        let Some((host, _)) = parts else {
            let message = format!("`{}` is not an address with a port", listen.value);
            self.mistake("bad-host", listen.span, message, "write `127.0.0.1:9611`");
            return;
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !local && raw.tokens_file.is_none() && !raw.insecure {
            let message = format!("the server would listen on `{}` without tokens", listen.value);
            self.mistake("insecure-listen", listen.span, message, "add `tokens_file:`, or `insecure: true` if nobody else can reach it");
        }
    }

    fn tokens(&mut self, file: &Spanned<FilePath>) -> Vec<(String, [u8; 32])> {
        let mut mistakes = std::mem::take(&mut self.cx.diagnostics);
        let node = self.sources.read(Path::new(&file.value.0), Some(file.span), &mut mistakes);
        self.cx.diagnostics = mistakes;
        let Some(read) = node.and_then(|node| Named::<RawToken>::decode(&node, &mut self.cx)) else { return Vec::new() };
        let mut tokens = Vec::new();
        for (name, token) in read.iter() {
            let digest = match token {
                RawToken::Plain(secret) if secret.expose().trim().is_empty() => {
                    self.mistake(
                        "bad-token",
                        name.span,
                        format!("the token `{}` is empty", name.value),
                        "write a long random text into its file",
                    );
                    None
                }
                RawToken::Plain(secret) => Some(Sha256::digest(secret.expose().trim().as_bytes()).into()),
                RawToken::Digest(text) => self.token_digest(text),
            };
            tokens.extend(digest.map(|digest| (name.value.clone(), digest)));
        }
        tokens
    }

    fn token_digest(&mut self, text: &Spanned<String>) -> Option<[u8; 32]> {
        let digits = text.value.trim();
        let bytes = (0..digits.len() / 2).map(|i| digits.get(2 * i..2 * i + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        let bytes: Option<Vec<u8>> = bytes.collect();
        let digest = bytes.filter(|_| digits.len() == 64).and_then(|bytes| bytes.try_into().ok());
        if digest.is_none() {
            let hint = "write the 64 digits of `printf %s TOKEN | sha256sum`, or `{ token_file: PATH }`";
            self.mistake("bad-token", text.span, "this is not the SHA-256 of a token", hint);
        }
        digest
    }

    pub(super) fn log(&mut self, raw: Option<&RawLog>) -> LogSetup {
        let mut setup = LogSetup::default();
        let Some(raw) = raw else { return setup };
        setup.json = raw.format == LogFormat::Json;
        if let Some(level) = &raw.level {
            if tracing_subscriber::EnvFilter::try_new(&level.value).is_err() {
                let message = format!("`{}` is neither a level nor a filter", level.value);
                self.mistake("bad-log-level", level.span, message, "write `error`, `warn`, `info`, `debug` or `trace`");
            }
            setup.level.clone_from(&level.value);
        }
        setup
    }

    pub(super) fn load(&mut self, raw: Option<&RawLoad>) -> LoadSetup {
        let mut setup = LoadSetup::default();
        let Some(raw) = raw else { return setup };
        setup.drain = raw.drain;
        if let Some(threads) = &raw.threads {
            if threads.value == 0 || threads.value > 256 {
                self.mistake("out-of-range", threads.span, "load is sent by 1 to 256 threads", "write the number of cores that it may use");
            }
            setup.threads = usize::from(threads.value.max(1));
        }
        setup
    }
}

/// A relative path of SQLite, below the data folder; every other address as it is.
fn below(url: &str, data_dir: &Path) -> String {
    let Some(rest) = url.strip_prefix("sqlite:") else { return url.to_owned() };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.starts_with('/') || path.starts_with(":memory:") {
        return url.to_owned();
    }
    format!("sqlite://{}", data_dir.join(path).display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_databases_lie_below_the_data_folder() {
        for (url, expected) in [
            ("sqlite://plimsoll.db", "sqlite:///data/plimsoll.db"),
            ("sqlite:runs/a.db?mode=rwc", "sqlite:///data/runs/a.db?mode=rwc"),
            ("sqlite:///abs.db", "sqlite:///abs.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("postgres://db/x", "postgres://db/x"),
        ] {
            assert_eq!(below(url, Path::new("/data")), expected);
        }
    }
}

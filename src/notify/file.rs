//! A mailbox on this machine: a folder with one `.eml` file per message, or a file with one JSON line per message. Written through to
//! the disk before it counts as delivered. What the demo uses, and what a forwarder can pick up.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::render::{one_line, state, text};
use super::{ChannelSettings, Delivery, Notifier, NotifyParts};
use crate::choice;
use crate::model::alerting::Outgoing;
use crate::registry::{Context, Decode, Kind, Node};

/// A disk that takes longer counts as failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> = Kind {
    name: "file",
    summary: "A mailbox on this machine: a folder of mails, or a file of JSON lines.",
    decode,
    keys: FileSettings::keys,
};

choice! {
    /// How messages are kept.
    pub enum FileFormat {
        /// A folder with one mail per file, named after the message's id.
        Mail = "mail",
        /// A file with one JSON object per line.
        Json = "json",
    }
}

crate::settings! {
    /// A mailbox on this machine: a folder of mails, or a file of JSON lines.
    pub struct FileSettings titled "the file channel" {
        /// Folder (`mail`) or file (`json`); relative to the data folder. It is made when it does not exist.
        path: default String = "mailbox".into(),
        /// `mail`: a folder with one `.eml` per message; `json`: a file with one line per message.
        format: default FileFormat = FileFormat::Mail,
        /// Whether resolves are sent too.
        send_resolved: default bool = true,
    }
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    Some(Arc::new(FileSettings::decode(node, cx)?))
}

impl ChannelSettings for FileSettings {
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        Ok(Arc::new(FileNotifier { path: parts.data_dir.join(&self.path), format: self.format, hostname: parts.hostname.clone() }))
    }

    fn describe(&self) -> String {
        format!("file mailbox {}", self.path)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }
}

struct FileNotifier {
    path: PathBuf,
    format: FileFormat,
    hostname: String,
}

#[async_trait]
impl Notifier for FileNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        let (path, format, hostname, message) = (self.path.clone(), self.format, self.hostname.clone(), outgoing.clone());
        let write = tokio::task::spawn_blocking(move || match format {
            FileFormat::Mail => write_mail(&path, &message, &hostname),
            FileFormat::Json => append_line(&path, &message),
        });
        let failed = |class, reason: String| Delivery::Retry { class, reason: format!("{}: {reason}", self.path.display()), after: None };
        match tokio::time::timeout(TIMEOUT, write).await {
            Ok(Ok(Ok(place))) => Delivery::Delivered(place.display().to_string()),
            Ok(Ok(Err(error))) => failed("server_error", error.to_string()),
            Ok(Err(error)) => failed("server_error", error.to_string()),
            Err(_) => failed("timeout", "the disk did not answer".into()),
        }
    }
}

/// Writes one mail. The same message again replaces its file; a reader never sees half of one.
fn write_mail(folder: &Path, outgoing: &Outgoing, hostname: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let name: String = outgoing.id.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect();
    let path = folder.join(format!("{name}.eml"));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(mail(outgoing, hostname).as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(path)
}

/// Appends one line in one write, so that lines of several writers do not mix.
fn append_line(path: &Path, outgoing: &Outgoing) -> io::Result<PathBuf> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let line = serde_json::json!({"id": outgoing.id, "channel": outgoing.channel, "message": outgoing.message});
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    Ok(path.to_owned())
}

/// A mail as mail programs read it (RFC 5322, headers in UTF-8 as RFC 6532 allows).
fn mail(outgoing: &Outgoing, hostname: &str) -> String {
    let message = &outgoing.message;
    let again = if message.seq > 1 { "Re: " } else { "" };
    format!(
        "Date: {}\nFrom: Plimsoll <plimsoll@{}>\nTo: {}\nSubject: {again}{}\nMessage-ID: <{}@{}>\nX-Plimsoll-State: {}\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{}",
        message.at.to_utc().to_rfc2822(),
        one_line(hostname),
        one_line(&outgoing.channel),
        one_line(&message.subject),
        one_line(&outgoing.id),
        one_line(hostname),
        state(message.kind),
        text(message, None),
    )
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;
    use crate::model::alerting::MessageKind;

    fn notifier(path: PathBuf, format: FileFormat) -> FileNotifier {
        FileNotifier { path, format, hostname: "plimsoll.test".into() }
    }

    #[tokio::test]
    async fn a_folder_gets_one_mail_per_message() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = notifier(folder.path().join("in/box"), FileFormat::Mail);
        for kind in [MessageKind::Fired, MessageKind::Fired, MessageKind::Resolved] {
            assert!(matches!(mailbox.send(&sample(kind)).await, Delivery::Delivered(_)));
        }
        let mut names: Vec<String> =
            std::fs::read_dir(&mailbox.path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["20261121T020312-pool-nearly-full-3f9a-1-ops.eml", "20261121T020312-pool-nearly-full-3f9a-2-ops.eml"]);
        insta::assert_snapshot!(std::fs::read_to_string(mailbox.path.join(&names[1])).unwrap());
    }

    #[tokio::test]
    async fn a_file_gets_one_line_per_message() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = notifier(folder.path().join("box.jsonl"), FileFormat::Json);
        for kind in MessageKind::ALL {
            assert!(matches!(mailbox.send(&sample(*kind)).await, Delivery::Delivered(_)));
        }
        let text = std::fs::read_to_string(&mailbox.path).unwrap();
        let kinds: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"]["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, MessageKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_written_may_be_mended() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let mailbox = notifier(folder.path().join("file/box"), FileFormat::Mail);
        assert!(matches!(mailbox.send(&sample(MessageKind::Fired)).await, Delivery::Retry { .. }));
    }
}

//! Probe `command`: numbers from the output of a program of this machine. Only where the configuration says `allow_commands: true`.
//! Bounded in time and output; what is not done in time is killed with its whole group, also when the reading is broken off.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::fetch::beginning;
use super::http_json::{Path, numbers};
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::model::units::{format_bytes, format_duration};
use crate::registry::{ByteSize, Context, Decode, FilePath, Kind, Named, Node};
use crate::settings;

/// Name of this kind; `config` asks for it, because it must be allowed.
pub const NAME: &str = "command";

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "command",
    summary: "Takes numbers from the output of a program; only with `allow_commands: true`.",
    decode: |node, cx| checked(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: CommandSettings::keys,
};

/// Most that is kept of what a program says to its standard error.
const MOST_COMPLAINT: u64 = 4096;

settings! {
    /// Runs a program.
    pub struct CommandSettings titled "the probe" {
        /// The program and its arguments. No shell is between: `[sh, -c, "…"]` if one is needed.
        command: required Vec<String>,
        /// Numbers by name, each a JSON path; the output is JSON then. Without it: one number, or lines of `name number`.
        values: optional Named<Path>,
        /// Folder in which it runs; the daemon's own when not given.
        folder: optional FilePath,
        /// Time until it is killed.
        timeout: default Duration = Duration::from_secs(5),
        /// Largest output that is read.
        max_output: default ByteSize = ByteSize(64 << 10),
    }
}

/// The settings, with a program.
fn checked(node: &Node, cx: &mut Context<'_>) -> Option<CommandSettings> {
    let settings = CommandSettings::decode(node, cx)?;
    if settings.command.first().is_none_or(String::is_empty) {
        cx.diagnostics.push("missing-value", node.span, "the command is empty", "write `command: [program, argument]`");
        return None;
    }
    Some(settings)
}

impl ProbeSettings for CommandSettings {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        Box::new(CommandProbe { settings: self.clone() })
    }

    fn describe(&self) -> String {
        // Arguments may hold secrets.
        self.command.first().cloned().unwrap_or_default()
    }
}

/// An open probe.
struct CommandProbe {
    settings: CommandSettings,
}

/// A program that runs, in a group of its own. Dropped, the group is killed.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // What has ended and been waited for has no group any more, or one that its own children are still in.
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[async_trait]
impl Probe for CommandProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let program = self.settings.describe();
        let limit = self.settings.timeout;
        let output = match tokio::time::timeout(limit, self.output(&program)).await {
            Ok(output) => output?,
            Err(_) => {
                let detail = format!("{program} did not end within {}, and was killed", format_duration(limit));
                return Err(ProbeError { reason: "timeout", detail });
            }
        };
        match &self.settings.values {
            Some(values) => numbers(&output, values, &program),
            None => lines(&output).map_err(|what| ProbeError { reason: "parse", detail: format!("{program}: {what}") }),
        }
    }
}

/// A program with its arguments that gets no input and of the environment a path only: the daemon's own secrets are none of its business.
/// What it writes can be read.
pub(super) fn bare(program: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    command
}

impl CommandProbe {
    /// What the program writes, once it ended well.
    async fn output(&self, program: &str) -> Result<String, ProbeError> {
        let mut command = bare(program, self.settings.command.get(1..).unwrap_or_default());
        if let Some(folder) = &self.settings.folder {
            command.current_dir(&folder.0);
        }
        let child = command.process_group(0).kill_on_drop(true).spawn().map_err(|error| {
            let reason = if error.kind() == std::io::ErrorKind::PermissionDenied { "permission" } else { "missing" };
            ProbeError { reason, detail: format!("{program} cannot be run: {error}") }
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut running = Running { child, group };
        let broken = |error: std::io::Error| ProbeError { reason: "parse", detail: format!("{program}: {error}") };
        let most = self.settings.max_output.0;
        let (out, complaint) = (running.child.stdout.take(), running.child.stderr.take());
        let (output, complaint) = tokio::try_join!(
            async {
                let output = beginning_of(out, most + 1).await.map_err(broken)?;
                let detail = format!("{program} wrote more than {} (`max_output`)", format_bytes(most as f64));
                if output.len() as u64 > most { Err(ProbeError { reason: "parse", detail }) } else { Ok(output) }
            },
            async { all_and_keep_the_beginning(complaint, MOST_COMPLAINT).await.map_err(broken) },
        )?;
        let status = running.child.wait().await.map_err(broken)?;
        if !status.success() {
            let detail = format!("{program} ended with {status}: {}", beginning(&String::from_utf8_lossy(&complaint)));
            return Err(ProbeError { reason: "status", detail });
        }
        String::from_utf8(output).map_err(|_| ProbeError { reason: "parse", detail: format!("{program} did not write UTF-8 text") })
    }
}

/// The beginning of a stream; what is beyond is not waited for.
async fn beginning_of(stream: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(stream) = stream {
        stream.take(most).read_to_end(&mut read).await?;
    }
    Ok(read)
}

/// Reads a stream to its end, so that nobody waits to write to it, and keeps its beginning.
async fn all_and_keep_the_beginning(stream: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(most).read_to_end(&mut read).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(read)
}

/// One number, or lines of `name number`. Empty lines and those that begin with `#` do not count.
fn lines(output: &str) -> Result<Vec<Point>, String> {
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut points: Vec<Point> = Vec::new();
    for line in lines {
        let (name, number) = match line.rsplit_once(char::is_whitespace) {
            Some((name, number)) => (name.trim(), number),
            None => ("value", line),
        };
        let value = number.parse::<f64>().ok().filter(|value| value.is_finite());
        let Some(value) = value else { return Err(format!("`{}` is not `name number`", beginning(line))) };
        if points.iter().any(|point| point.labels.get("name").is_some_and(|other| other == name)) {
            return Err(format!("`{}` is told twice", beginning(name)));
        }
        points.push(Point::new("custom", value).with("name", name));
    }
    if points.is_empty() { Err("it wrote no number".into()) } else { Ok(points) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_one_number_or_named_ones() {
        let told =
            |output: &str| lines(output).map(|points| points.into_iter().map(|p| (p.labels["name"].clone(), p.value)).collect::<Vec<_>>());
        assert_eq!(told("42\n").unwrap(), [("value".to_owned(), 42.0)]);
        assert_eq!(told("# queue\n\nopen 3\nin flight  4.5\n").unwrap(), [("open".to_owned(), 3.0), ("in flight".to_owned(), 4.5)]);
        for bad in ["", "# nothing\n", "open three\n", "NaN\n", "a 1\na 2\n", "<html>"] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }
}

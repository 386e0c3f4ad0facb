//! A program of this machine gets the message as JSON on its standard input. Only where the configuration says `allow_commands: true`.
//! Bounded in time and output; what is not done in time is killed with its whole group. Exit code 75 asks to be tried again.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use super::render::{cut, one_line, state, text};
use super::{ChannelSettings, Delivery, Notifier, NotifyParts, Rate};
use crate::model::alerting::Outgoing;
use crate::model::units::format_duration;
use crate::registry::{Context, Decode, FilePath, Kind, Node};

/// Name of this kind; `config` asks for it, because it must be allowed.
pub const NAME: &str = "exec";

/// The exit code that asks for another attempt: `EX_TEMPFAIL` of sysexits.h.
const TRY_AGAIN: i32 = 75;
/// Most bytes of each output that are kept; the rest is read and dropped.
const OUTPUT_BYTES: u64 = 4096;
/// Most characters of the output that are shown.
const OUTPUT_CHARS: usize = 200;
/// How long after its end a program's output is waited for, when something that it left behind still holds it open.
const AFTER_END: Duration = Duration::from_secs(1);

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> = Kind {
    name: "exec",
    summary: "A program gets the message as JSON on its standard input; only with `allow_commands: true`.",
    decode,
    keys: ExecSettings::keys,
};

crate::settings! {
    /// A program gets the message as JSON on its standard input; only with `allow_commands: true`.
    pub struct ExecSettings titled "the exec channel" {
        /// The program and its arguments. No shell is between: `[sh, -c, "…"]` if one is needed.
        command: required Vec<String>,
        /// Folder in which it runs; the daemon's own when not given.
        folder: optional FilePath,
        /// Time until it is killed, with all that it started; a minute at most.
        timeout: default Duration = Duration::from_secs(10),
        /// Whether resolves are sent too.
        send_resolved: default bool = true,
    }
}

/// The settings, checked.
#[derive(Clone)]
struct Exec {
    program: String,
    arguments: Vec<String>,
    folder: Option<String>,
    timeout: Duration,
    send_resolved: bool,
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Arguments may hold secrets.
        f.debug_struct("Exec").field("program", &self.program).field("arguments", &self.arguments.len()).finish_non_exhaustive()
    }
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    let settings = ExecSettings::decode(node, cx)?;
    let mut words = settings.command.into_iter();
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        cx.diagnostics.push("missing-value", node.span, "the command is empty", "write `command: [program, argument]`");
        return None;
    };
    let folder = settings.folder.map(|folder| folder.0);
    let exec = Exec { program, arguments: words.collect(), folder, timeout: settings.timeout, send_resolved: settings.send_resolved };
    Some(Arc::new(exec))
}

impl ChannelSettings for Exec {
    fn connect(&self, _parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        Ok(Arc::new(ExecNotifier { settings: self.clone() }))
    }

    fn describe(&self) -> String {
        format!("program {}", self.program)
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    // A burst of alerts must not become a burst of programs beside the load.
    fn rate(&self) -> Rate {
        Rate { burst: 5, per_second: 2.0 }
    }
}

struct ExecNotifier {
    settings: Exec,
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
impl Notifier for ExecNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        let (program, limit) = (&self.settings.program, self.settings.timeout);
        let input = input(outgoing).to_string().into_bytes();
        match tokio::time::timeout(limit, self.run(input)).await {
            Ok(Ok((status, output))) => verdict(program, status, &output),
            Ok(Err(error)) => Delivery::Retry { class: "client_error", reason: format!("{program} cannot be run: {error}"), after: None },
            Err(_) => {
                let reason = format!("{program} did not end within {}, and was killed", format_duration(limit));
                Delivery::Retry { class: "timeout", reason, after: None }
            }
        }
    }
}

impl ExecNotifier {
    /// Runs the program to its end: how it ended, and the beginning of what it wrote.
    async fn run(&self, input: Vec<u8>) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut command = Command::new(&self.settings.program);
        command.args(&self.settings.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The daemon's own secrets are none of its business.
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        if let Some(folder) = &self.settings.folder {
            command.current_dir(folder);
        }
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let mut running = Running { child, group };
        let (stdin, out, complaint) = (running.child.stdin.take(), running.child.stdout.take(), running.child.stderr.take());
        let mut talk = std::pin::pin!(async {
            let ((), out, complaint) = tokio::join!(tell(stdin, &input), beginning(out), beginning(complaint));
            if complaint.is_empty() { out } else { complaint }
        });
        let mut said = None;
        let status = loop {
            tokio::select! {
                status = running.child.wait() => break status?,
                output = &mut talk, if said.is_none() => said = Some(output),
            }
        };
        let said = match said {
            Some(said) => said,
            None => tokio::time::timeout(AFTER_END, talk).await.unwrap_or_default(),
        };
        Ok((status, said))
    }
}

/// Gives the program its input. One that does not read it has said by its exit code what it thinks of it.
async fn tell(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
    }
}

/// Reads a stream to its end, so that nobody waits to write to it, and keeps its beginning.
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut read = Vec::new();
    if let Some(mut stream) = stream {
        let _ = (&mut stream).take(OUTPUT_BYTES).read_to_end(&mut read).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    read
}

/// What the end of a program means. One that a signal ended did not decide anything.
fn verdict(program: &str, status: ExitStatus, output: &[u8]) -> Delivery {
    let said = cut(one_line(String::from_utf8_lossy(output).trim()).trim(), OUTPUT_CHARS);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    match status.code() {
        Some(0) => Delivery::Delivered(format!("program {program}")),
        Some(TRY_AGAIN) => {
            Delivery::Retry { class: "server_error", reason: format!("{program} asks to be tried again{said}"), after: None }
        }
        Some(code) => Delivery::GiveUp { class: "client_error", reason: format!("{program} ended with exit code {code}{said}") },
        None => Delivery::Retry { class: "server_error", reason: format!("{program} ended by {status}{said}"), after: None },
    }
}

/// What the program reads.
fn input(outgoing: &Outgoing) -> Json {
    json!({
        "id": outgoing.id,
        "channel": outgoing.channel,
        "state": state(outgoing.message.kind),
        "message": outgoing.message,
        "text": text(&outgoing.message, None),
    })
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;
    use crate::model::alerting::MessageKind;

    fn shell(script: &str, timeout: Duration) -> ExecNotifier {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        ExecNotifier { settings: Exec { program: "sh".into(), arguments, folder: None, timeout, send_resolved: true } }
    }

    async fn send(script: &str) -> Delivery {
        shell(script, Duration::from_secs(60)).send(&sample(MessageKind::Fired)).await
    }

    #[test]
    fn the_input_of_every_kind() {
        insta::assert_json_snapshot!("exec_fired", input(&sample(MessageKind::Fired)));
        for kind in MessageKind::ALL {
            let input = input(&sample(*kind));
            assert_eq!((&input["message"]["kind"], &input["state"]), (&json!(kind), &json!(state(*kind))));
        }
    }

    #[tokio::test]
    async fn the_program_reads_the_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("got");
        assert_eq!(send(&format!("cat > '{}'", path.display())).await, Delivery::Delivered("program sh".into()));
        let got: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(got, input(&sample(MessageKind::Fired)));
    }

    #[tokio::test]
    async fn the_exit_code_decides() {
        let later = |reason: &str| Delivery::Retry { class: "server_error", reason: reason.into(), after: None };
        let never = |reason: &str| Delivery::GiveUp { class: "client_error", reason: reason.into() };
        for (script, expected) in [
            ("exit 0", Delivery::Delivered("program sh".into())),
            ("echo not now >&2; exit 75", later("sh asks to be tried again: not now")),
            ("echo no such room; exit 1", never("sh ended with exit code 1: no such room")),
            ("exit 2", never("sh ended with exit code 2")),
            ("kill -KILL $$", later("sh ended by signal: 9 (SIGKILL)")),
        ] {
            assert_eq!(send(script).await, expected, "{script}");
        }
    }

    #[tokio::test]
    async fn output_is_read_to_its_end_and_little_of_it_is_kept() {
        let Delivery::GiveUp { reason, .. } = send("head -c 3000000 /dev/zero | tr '\\0' x; exit 1").await else { panic!() };
        assert!(reason.chars().count() < 300 && reason.ends_with('…'), "{reason}");
    }

    #[tokio::test]
    async fn what_it_leaves_behind_neither_holds_up_nor_stays() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > '{}'; exit 0", pid.display());
        assert_eq!(send(&script).await, Delivery::Delivered("program sh".into()));
        gone(&std::fs::read_to_string(pid).unwrap()).await;
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_with_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > '{}'; wait", pid.display());
        let delivery = shell(&script, Duration::from_secs(3)).send(&sample(MessageKind::Fired)).await;
        let reason = "sh did not end within 3s, and was killed".to_owned();
        assert_eq!(delivery, Delivery::Retry { class: "timeout", reason, after: None });
        gone(&std::fs::read_to_string(pid).unwrap()).await;
    }

    /// Waits until a process has ended; one that nobody waits for stays as a zombie.
    async fn gone(pid: &str) {
        let stat = format!("/proc/{}/stat", pid.trim());
        for _ in 0..600 {
            let goes_on = std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
            if !goes_on {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("process {pid} goes on");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_may_come_back() {
        let mut notifier = shell("", Duration::from_secs(60));
        notifier.settings.program = "/nowhere/pager".into();
        let Delivery::Retry { class, reason, .. } = notifier.send(&sample(MessageKind::Fired)).await else { panic!() };
        assert_eq!(class, "client_error");
        assert!(reason.starts_with("/nowhere/pager cannot be run: "), "{reason}");
    }

    #[test]
    fn arguments_are_not_shown() {
        let exec = shell("hunter2", Duration::from_secs(1)).settings;
        assert!(!format!("{exec:?} {}", exec.describe()).contains("hunter2"));
    }
}

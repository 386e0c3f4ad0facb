//! Prints what happens in the engine: progress, summaries, alerts, deliveries.

use super::terminal::{say, say_line};
use std::io::IsTerminal;

use crate::engine::handle::Event;
use crate::model::finding::Finding;
use crate::model::run::Run;
use crate::report;

/// Seconds between progress lines when the output is not a terminal.
const SPARSE: u32 = 5;

/// A printer of events.
pub(super) struct Printer {
    terminal: bool,
    /// A progress line stands on the current line of the terminal.
    open_line: bool,
}

impl Printer {
    /// A printer on standard output.
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), open_line: false }
    }

    /// Prints an event; the end of a run is printed by [`Printer::run_ended`], which knows its findings.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted(run) => self.line(&format!("run {} begins: profile {} on target {}", run.id, run.profile, run.target)),
            Event::Progress(_, progress) => {
                let line = report::progress_line(progress);
                if self.terminal {
                    say!("\r\x1b[K{line}");
                    self.open_line = true;
                } else if progress.second % SPARSE == 0 {
                    say_line!("{line}");
                }
            }
            Event::Controlled(id, entry) => self.line(&format!("run {id}: {} by {}", entry.what(), entry.by)),
            Event::RunEnded(_) => {}
            Event::Decided(message) => self.line(&report::message_text(message)),
            Event::Delivered(channel, message, detail) => {
                self.line(&format!("  {} `{}` told by channel `{channel}`: {detail}", message.kind, message.rule));
            }
            Event::NotDelivered(channel, why, Some(wait)) => {
                let wait = crate::model::units::format_duration(std::time::Duration::from_secs(wait.as_secs()));
                self.line(&format!("  channel `{channel}` did not take a message ({why}); tried again in {wait}"));
            }
            Event::NotDelivered(channel, why, None) => self.line(&format!("  channel `{channel}` did not take a message, given up: {why}")),
        }
    }

    /// Prints the summary of a run.
    pub(super) fn run_ended(&mut self, run: &Run, findings: &[Finding]) {
        self.line("");
        say_line!("{}", report::summary_text(run, findings));
    }

    /// Prints a line below whatever is there.
    pub(super) fn line(&mut self, text: &str) {
        if std::mem::take(&mut self.open_line) {
            say_line!("");
        }
        if !text.is_empty() {
            say_line!("{text}");
        }
    }
}

//! Conditions about what analysis concludes of a run: `leak(memory) at least likely`, `capacity drop > 5%`; and about the program's own
//! work: `storage failing for 1m`, `channel failing for 5m`, `missed runs >= 2`.
//!
//! ```text
//! leak     = "leak" "(" resource ")" [selector] "at" "least" ("possible" | "likely" | "certain")
//! capacity = "capacity" [selector] "drop" ">" percentage
//! storage  = "storage" "failing" ["for" time]
//! channel  = "channel" "failing" ["for" time]
//! missed   = "missed" "runs" [selector] ">=" number
//! resource = "memory" | "connections" | "descriptors" | "threads" | "queue" | "p95" | "errors" | "any"
//! ```

use std::time::Duration;

use super::parse::{Parsed, Reader, clause, is_name, percentage, run_selector};
use crate::model::Labels;
use crate::model::analysed::{Resource, Sureness};
use crate::model::units::{format_duration, format_percent};
use crate::registry::suggest;

/// What is bad about a conclusion.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A resource leaks, at least so sure.
    Leak {
        /// `profile`, `target`, `probe`, `pool`.
        selector: Labels,
        /// Which; `None`: any.
        resource: Option<Resource>,
        /// How sure.
        sureness: Sureness,
    },
    /// The capacity is lower than that of the runs before, by more than this share.
    CapacityDrop {
        /// `profile`, `target`.
        selector: Labels,
        /// Share, above 0.
        by: f64,
    },
    /// The database of the program itself does not take data, or something was lost.
    StorageFailing {
        /// How long it may take no data while nothing is lost.
        hold: Duration,
    },
    /// Nothing arrives through a channel, or what is sent there is refused for good.
    ChannelFailing {
        /// How long nothing may arrive.
        hold: Duration,
    },
    /// Runs of a schedule that did not happen, in a row.
    MissedRuns {
        /// `schedule`, `profile`, `target`.
        selector: Labels,
        /// How many, at least 1.
        runs: u32,
    },
}

/// What selects nothing.
static NO_LABELS: Labels = Labels::new();

impl Found {
    /// What selects its runs and series.
    pub fn selector(&self) -> &Labels {
        match self {
            Self::Leak { selector, .. } | Self::CapacityDrop { selector, .. } | Self::MissedRuns { selector, .. } => selector,
            Self::StorageFailing { .. } | Self::ChannelFailing { .. } => &NO_LABELS,
        }
    }

    /// What is looked at: `leak(memory)`, `capacity`.
    pub fn subject(&self) -> String {
        match self {
            Self::Leak { resource, .. } => format!("leak({})", resource.map_or("any", Resource::as_str)),
            Self::CapacityDrop { .. } => "capacity".into(),
            Self::StorageFailing { .. } => "storage".into(),
            Self::ChannelFailing { .. } => "channel".into(),
            Self::MissedRuns { .. } => "missed runs".into(),
        }
    }

    /// What is bad: "at least likely", "drop > 5 %".
    pub fn limit(&self) -> String {
        match self {
            Self::Leak { sureness, .. } => format!("at least {sureness}"),
            Self::CapacityDrop { by, .. } => format!("drop > {}", format_percent(*by)),
            Self::StorageFailing { hold } => format!("failing for {} or losing data", format_duration(*hold)),
            Self::ChannelFailing { hold } => format!("failing for {} or refusing for good", format_duration(*hold)),
            Self::MissedRuns { runs, .. } => format!(">= {runs}"),
        }
    }
}

/// Reads what follows the word `leak`.
pub(super) fn leak(reader: &mut Reader<'_>) -> Parsed<Found> {
    if !reader.eat("(") {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "`leak` needs a resource", "write `leak(memory) at least likely`");
    }
    let (start, word) = reader.word(is_name);
    let names = || Resource::ALL.iter().map(|resource| resource.as_str()).chain(["any"]);
    let resource = Resource::parse(word);
    if resource.is_none() && word != "any" {
        let hint = suggest(word, names());
        return reader.fail("bad-threshold", start, start + word.len(), format!("`{word}` is not a resource"), hint);
    }
    if !reader.eat(")") {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "the resource is not closed", "add `)`");
    }
    let selector = run_selector(reader, &["profile", "target", "probe", "pool"])?;
    if !(reader.eat("at") && reader.eat("least")) {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "how sure it must be is missing", "write `at least likely`");
    }
    let (start, word) = reader.word(is_name);
    let Some(sureness) = Sureness::parse(word) else {
        let hint = suggest(word, Sureness::ALL.iter().map(|sureness| sureness.as_str()));
        return reader.fail("bad-threshold", start, start + word.len(), format!("`{word}` is not how sure a leak can be"), hint);
    };
    Ok(Found::Leak { selector, resource, sureness })
}

/// Reads what follows the word `capacity`.
pub(super) fn capacity(reader: &mut Reader<'_>) -> Parsed<Found> {
    let selector = run_selector(reader, &["profile", "target"])?;
    if !(reader.eat("drop") && reader.eat(">")) {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "by how much it may drop is missing", "write `capacity drop > 5%`");
    }
    let (start, end, by) = percentage(reader)?;
    if by <= 0.0 {
        return reader.fail("out-of-range", start, end, "a drop of nothing is no drop", "write a share above zero, such as `5%`");
    }
    Ok(Found::CapacityDrop { selector, by })
}

/// Reads what follows the word `storage`.
pub(super) fn storage(reader: &mut Reader<'_>) -> Parsed<Found> {
    if !reader.eat("failing") {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "what is bad about the storage is missing", "write `storage failing for 1m`");
    }
    Ok(Found::StorageFailing { hold: clause(reader, "for")?.unwrap_or_default() })
}

/// Reads what follows the word `channel`.
pub(super) fn channel(reader: &mut Reader<'_>) -> Parsed<Found> {
    if !reader.eat("failing") {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "what is bad about the channel is missing", "write `channel failing for 5m`");
    }
    Ok(Found::ChannelFailing { hold: clause(reader, "for")?.unwrap_or_default() })
}

/// Reads what follows the word `missed`.
pub(super) fn missed(reader: &mut Reader<'_>) -> Parsed<Found> {
    const HINT: &str = "write `missed runs >= 2`";
    if !reader.eat("runs") {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "what was missed is missing", HINT);
    }
    let selector = run_selector(reader, &["schedule", "profile", "target"])?;
    if !reader.eat(">=") {
        let at = reader.position();
        return reader.fail("bad-threshold", at, at + 1, "how many runs is missing", HINT);
    }
    let (start, digits) = reader.word(|c| c.is_ascii_digit());
    match digits.parse() {
        Ok(runs) if runs > 0 => Ok(Found::MissedRuns { selector, runs }),
        Ok(_) | Err(_) => reader.fail("bad-threshold", start, start + digits.len().max(1), "this is not a number of runs", HINT),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, parse_condition};
    use super::*;

    fn found(text: &str) -> Found {
        match parse_condition(text) {
            Ok(Condition::Found(found)) => found,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn conclusions_are_read() {
        let leak = found("leak(memory) at least likely");
        assert_eq!((leak.subject(), leak.limit()), ("leak(memory)".into(), "at least likely".into()));
        let any = found("leak(any){profile:soak, pool:main} at least certain");
        assert_eq!((any.subject(), any.selector().len()), ("leak(any)".into(), 2));
        let drop = found("capacity{profile:ladder} drop > 5%");
        assert_eq!((drop.subject(), drop.limit()), ("capacity".into(), "drop > 5 %".into()));
        let storage = found("storage failing for 90s");
        assert_eq!((storage.subject(), storage.limit()), ("storage".into(), "failing for 1m30s or losing data".into()));
        assert_eq!(found("storage failing"), Found::StorageFailing { hold: Duration::ZERO });
        assert_eq!(found("channel failing for 5m"), Found::ChannelFailing { hold: Duration::from_secs(300) });
        let missed = found("missed runs{schedule:nightly} >= 2");
        assert_eq!((missed.subject(), missed.limit(), missed.selector().len()), ("missed runs".into(), ">= 2".into(), 1));
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, code, at, hint) in [
            ("leak at least likely", "bad-threshold", 5, "leak(memory)"),
            ("leak(memry) at least likely", "bad-threshold", 5, "memory"),
            ("leak(memory at least likely", "bad-threshold", 12, "`)`"),
            ("leak(memory) likely", "bad-threshold", 13, "at least"),
            ("leak(memory) at least liekly", "bad-threshold", 22, "likely"),
            ("leak(memory){step:a} at least likely", "unknown-tag", 13, ""),
            ("leak(memory) at least likely twice", "bad-threshold", 29, ""),
            ("storage full", "bad-threshold", 8, "storage failing"),
            ("channel broken", "bad-threshold", 8, "channel failing"),
            ("missed >= 2", "bad-threshold", 7, "missed runs"),
            ("missed runs > 2", "bad-threshold", 12, ">= 2"),
            ("missed runs >= 0", "bad-threshold", 15, ">= 2"),
            ("missed runs{pool:main} >= 1", "unknown-tag", 12, ""),
            ("storage failing for 5", "missing-unit", 20, "5s"),
            ("capacity > 5%", "bad-threshold", 9, "capacity drop"),
            ("capacity drop > 5", "missing-unit", 16, "%"),
            ("capacity drop > 0%", "out-of-range", 16, "5%"),
        ] {
            let error = parse_condition(text).unwrap_err();
            assert_eq!((error.code, error.at), (code, at), "{text}: {error:?}");
            assert!(error.hint.contains(hint), "{text}: {error:?}");
        }
    }
}

//! The message of a digest: what a day or a week was, from what the store holds of it. A number that was not measured is not told; what did
//! not happen is told as such. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::show_time;
use super::reason::plain_time;
use crate::model::alerting::{Message, MessageKind, Severity};
use crate::model::digest::{Digest, Every};
use crate::model::run::Verdict;
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// Most entries of one line.
const MOST: usize = 3;
/// Longest entry in characters.
const ENTRY_CHARS: usize = 160;

/// What is known of a period.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DigestFacts {
    /// Verdicts of the runs that began in it, by profile; `None`: the run broke off, or goes on.
    pub runs: Vec<(String, Option<Verdict>)>,
    /// Instants that led to no run, oldest first.
    pub missed: Vec<MissedInstant>,
    /// The last number of each profile that measured its capacity.
    pub capacity: Vec<CapacityTold>,
    /// What is left of each target, by the last reading.
    pub headroom: Vec<HeadroomTold>,
    /// Regressions that were found, as sentences.
    pub regressions: Vec<String>,
    /// Profiles whose verdict flips although nothing changed: flips and pairs of neighbouring runs.
    pub flaky: Vec<(String, usize, usize)>,
    /// Incidents that were open in it.
    pub incidents: Vec<IncidentTold>,
}

/// An instant of a schedule that led to no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissedInstant {
    /// Schedule.
    pub schedule: String,
    /// When.
    pub due: Timestamp,
    /// Why.
    pub reason: String,
}

/// What a profile's last staircase came to.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityTold {
    /// Profile.
    pub profile: String,
    /// Requests a second.
    pub per_second: f64,
    /// Median of the runs before, and how many there are.
    pub before: Option<(f64, usize)>,
}

/// What is left of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadroomTold {
    /// Target.
    pub target: String,
    /// What gives way first.
    pub resource: String,
    /// Share that is free.
    pub free: f64,
    /// Until it is used up, at the present growth.
    pub left: Option<Duration>,
}

/// An incident of the period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncidentTold {
    /// Rule.
    pub rule: String,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it closed; `None`: it is open.
    pub closed_at: Option<Timestamp>,
}

/// What a digest stands under: the same for everybody who writes it, so that a period is told once.
pub fn digest_id(digest: &Digest, to: Timestamp) -> String {
    format!("{}-digest-{}", to.to_utc().format("%Y%m%dT%H%M%S"), digest.name)
}

/// The message about what happened from `from` on and before `to`.
pub fn digest_message(digest: &Digest, facts: &DigestFacts, (from, to): (Timestamp, Timestamp), link: Option<String>) -> Message {
    let local = |at: Timestamp, format: &str| at.to_utc().with_timezone(&digest.timezone).format(format).to_string();
    let what = match digest.every {
        Every::Daily => "Daily digest",
        Every::Weekly => "Weekly digest",
    };
    let lines = [
        Some(("Runs", runs(&facts.runs))),
        list("Missed", facts.missed.iter().rev().map(missed), facts.missed.len()),
        list("Capacity", facts.capacity.iter().map(capacity), facts.capacity.len()),
        list("Headroom", facts.headroom.iter().map(headroom), facts.headroom.len()),
        list("Regressions", facts.regressions.iter().cloned(), facts.regressions.len()),
        list("Flaky", facts.flaky.iter().map(flaky), facts.flaky.len()),
        Some(("Incidents", incidents(&facts.incidents, to))),
        Some(("Period", format!("{} to {} ({})", local(from, "%a %Y-%m-%d %H:%M"), local(to, "%a %Y-%m-%d %H:%M"), digest.timezone))),
    ];
    Message {
        incident: digest_id(digest, to),
        kind: MessageKind::Digest,
        seq: 1,
        severity: Severity::Low,
        rule: "digest".into(),
        subject: format!("{what} {} ({})", local(to, "%Y-%m-%d"), digest.name),
        headline: format!("{what}: {}", headline(facts)),
        lines: lines.into_iter().flatten().map(|(key, value)| (key.to_owned(), value)).collect(),
        labels: [("digest".to_owned(), digest.name.clone())].into(),
        started_at: from,
        at: to,
        ended_at: None,
        link,
        runbook: None,
        run: None,
        alerts: Vec::new(),
    }
}

fn headline(facts: &DigestFacts) -> String {
    let passed = facts.runs.iter().filter(|(_, verdict)| *verdict == Some(Verdict::Pass)).count();
    let mut parts = match facts.runs.len() {
        0 => vec!["nothing ran".to_owned()],
        all => vec![format!("{passed} of {} passed", many(all, "run"))],
    };
    let mut add = |count: usize, words: String| {
        if count > 0 {
            parts.push(words);
        }
    };
    add(facts.missed.len(), format!("{} missed", many(facts.missed.len(), "run")));
    add(facts.regressions.len(), many(facts.regressions.len(), "regression"));
    let open = facts.incidents.iter().filter(|incident| incident.closed_at.is_none()).count();
    let still = if open > 0 { format!(", {open} still open") } else { String::new() };
    add(facts.incidents.len(), format!("{}{still}", many(facts.incidents.len(), "incident")));
    parts.join(", ")
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// "12: 10 passed, 1 failed, 1 broke off; not passed: soak (2), surge".
fn runs(runs: &[(String, Option<Verdict>)]) -> String {
    if runs.is_empty() {
        return "none".into();
    }
    let words = [
        (Some(Verdict::Pass), "passed"),
        (Some(Verdict::Fail), "failed"),
        (Some(Verdict::NoData), "without data"),
        (Some(Verdict::Invalid), "invalid"),
        (None, "without a verdict"),
    ];
    let counted = words.into_iter().map(|(verdict, word)| (runs.iter().filter(|(_, found)| *found == verdict).count(), word));
    let parts: Vec<String> = counted.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let mut not_passed: BTreeMap<&str, usize> = BTreeMap::new();
    for (profile, _) in runs.iter().filter(|(_, verdict)| *verdict != Some(Verdict::Pass)) {
        *not_passed.entry(profile).or_default() += 1;
    }
    let mut named: Vec<(&str, usize)> = not_passed.into_iter().collect();
    named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let named = named.into_iter().map(|(profile, count)| if count > 1 { format!("{profile} ({count})") } else { profile.to_owned() });
    let named = entries(named);
    let tail = if named.is_empty() { String::new() } else { format!("; not passed: {named}") };
    format!("{}: {}{tail}", runs.len(), parts.join(", "))
}

fn missed(instant: &MissedInstant) -> String {
    format!("{} at {}: {}", instant.schedule, show_time(instant.due), instant.reason)
}

fn capacity(told: &CapacityTold) -> String {
    let against = told.before.filter(|(before, _)| *before > 0.0).map(|(before, runs)| {
        let change = told.per_second / before - 1.0;
        let of = if runs == 1 { "the run before".to_owned() } else { format!("the median of {runs} runs before") };
        let share = format_percent((change.abs() * 1000.0).round() / 1000.0);
        if change < 0.0 { format!(", {share} below {of}") } else { format!(", {share} above {of}") }
    });
    format!("{}: {} requests/s{}", told.profile, trim_decimal(told.per_second, 1), against.unwrap_or_default())
}

fn headroom(told: &HeadroomTold) -> String {
    let left = told.left.map(|left| format!(", used up in about {}", plain_days(left))).unwrap_or_default();
    format!("{}: {} free ({}){left}", told.target, format_percent((told.free * 1000.0).round() / 1000.0), told.resource)
}

/// Days, where hours would be more exact than the estimate is.
fn plain_days(time: Duration) -> String {
    let days = time.as_secs() / 86_400;
    if days >= 2 { format!("{days} days") } else { plain_time(time) }
}

fn flaky((profile, flips, pairs): &(String, usize, usize)) -> String {
    format!("{profile} ({flips} of {pairs} verdicts flipped without a change)")
}

/// "4, the longest 32m (pool-nearly-full); 1 still open: probe-down".
fn incidents(incidents: &[IncidentTold], to: Timestamp) -> String {
    if incidents.is_empty() {
        return "none".into();
    }
    let lasted = |incident: &IncidentTold| incident.closed_at.unwrap_or(to).since(incident.opened_at);
    let longest = incidents.iter().max_by_key(|incident| lasted(incident));
    let longest = longest.map(|incident| format!(", the longest {} ({})", plain_time(lasted(incident)), incident.rule)).unwrap_or_default();
    let open: Vec<String> =
        incidents.iter().filter(|incident| incident.closed_at.is_none()).map(|incident| incident.rule.clone()).collect();
    let tail = if open.is_empty() { String::new() } else { format!("; {} still open: {}", open.len(), entries(open.into_iter())) };
    format!("{}{longest}{tail}", incidents.len())
}

/// A line of entries; none without any.
fn list(key: &'static str, all: impl Iterator<Item = String>, count: usize) -> Option<(&'static str, String)> {
    (count > 0).then(|| (key, entries(all)))
}

/// The first few, and how many more there are.
fn entries(all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.map(|entry| shortened(&entry)).collect();
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join("; ")
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= ENTRY_CHARS {
        return text.to_owned();
    }
    text.chars().take(ENTRY_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn digest(every: Every) -> Digest {
        Digest { name: "morning".into(), every, cron: "0 8 * * *".into(), timezone: chrono_tz::Europe::Berlin, send: vec!["ops".into()] }
    }

    fn told(facts: &DigestFacts) -> String {
        let period = (at("2026-11-20T07:00:00Z"), at("2026-11-21T07:00:00Z"));
        let message = digest_message(&digest(Every::Daily), facts, period, None);
        let lines: Vec<String> = message.lines.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        assert!(lines.len() <= 8);
        format!("{}\n{}\n{}\n{}", message.incident, message.subject, message.headline, lines.join("\n"))
    }

    #[test]
    fn a_day_is_told_in_eight_lines() {
        let run = |profile: &str, verdict| (profile.to_owned(), verdict);
        let minute = |minute: u64| at("2026-11-21T02:00:00Z").plus(Duration::from_secs(minute * 60));
        let missed = |n: u64| MissedInstant { schedule: "nightly".into(), due: minute(n), reason: "the daemon was down".into() };
        let facts = DigestFacts {
            runs: vec![
                run("soak", Some(Verdict::Pass)),
                run("soak", Some(Verdict::Fail)),
                run("soak", Some(Verdict::Invalid)),
                run("surge", None),
                run("climb", Some(Verdict::Pass)),
            ],
            missed: (0..5).map(missed).collect(),
            capacity: vec![
                CapacityTold { profile: "climb".into(), per_second: 188.04, before: Some((200.0, 7)) },
                CapacityTold { profile: "steps".into(), per_second: 90.0, before: None },
            ],
            headroom: vec![HeadroomTold {
                target: "shop".into(),
                resource: "pool main".into(),
                free: 0.4218,
                left: Some(Duration::from_secs(31 * 86_400 + 9)),
            }],
            regressions: vec!["p95 of soak is 18 % worse since run r7. ".repeat(10)],
            flaky: vec![("browse".into(), 3, 9)],
            incidents: vec![
                IncidentTold { rule: "pool-nearly-full".into(), opened_at: minute(0), closed_at: Some(minute(32)) },
                IncidentTold { rule: "probe-down".into(), opened_at: minute(290), closed_at: None },
            ],
        };
        insta::assert_snapshot!(told(&facts));
    }

    #[test]
    fn a_day_on_which_nothing_was_measured_has_no_zeros() {
        insta::assert_snapshot!(told(&DigestFacts::default()));
    }

    #[test]
    fn the_id_is_that_of_the_period_whoever_writes_it() {
        let (one, other) = (at("2026-11-21T07:00:00Z"), at("2026-11-22T07:00:00Z"));
        assert_eq!(digest_id(&digest(Every::Daily), one), "20261121T070000-digest-morning");
        assert_ne!(digest_id(&digest(Every::Daily), one), digest_id(&digest(Every::Daily), other));
        let weekly = digest_message(&digest(Every::Weekly), &DigestFacts::default(), (one, other), Some("http://x/".into()));
        assert_eq!((weekly.subject.as_str(), weekly.link.as_deref()), ("Weekly digest 2026-11-22 (morning)", Some("http://x/")));
    }
}

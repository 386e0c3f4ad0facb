//! Single lines and lists for the terminal: progress, runs, messages.

use super::ABSENT;
use super::text::{count, cut, latency, plain, row, share, table};
use crate::model::alerting::{Message, MessageKind};
use crate::model::progress::{PoolNow, Progress};
use crate::model::run::RunLine;
use crate::model::units::{format_duration, format_percent, trim_decimal};

/// Widest progress line, in characters.
const WIDTH: usize = 100;

/// One second of a running run in at most 100 characters: time, stage, VUs, requests, p95, failures, pools.
pub fn progress_line(progress: &Progress) -> String {
    let Progress { second, total_seconds, phase, vus, requests, failed, p95_us, dropped_total, pools, .. } = progress;
    let clock = |seconds: u32| format_duration(std::time::Duration::from_secs(u64::from(seconds)));
    let mut line = format!(
        "{:>6}/{} {:<10} {:>4} VUs {:>7} req/s  p95 {:<6} failed {}",
        clock(second + 1),
        clock(*total_seconds),
        plain(phase, 10),
        vus,
        count(*requests),
        latency(*p95_us),
        count(*failed),
    );
    if *failed > 0 {
        line.push_str(&format!(" ({})", share(*failed, *requests)));
    }
    if *dropped_total > 0 {
        line.push_str(&format!("  dropped {}", count(*dropped_total)));
    }
    for pool in pools {
        line.push_str("  ");
        line.push_str(&pool_now(pool));
    }
    cut(&line, WIDTH)
}

/// `main 20/20, 40 waiting`.
fn pool_now(pool: &PoolNow) -> String {
    let shown = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), |value| trim_decimal(value, 0));
    let name = if pool.pool.is_empty() { "pool".to_owned() } else { plain(&pool.pool, 16) };
    let waiting = pool.waiting.filter(|waiting| *waiting > 0.0).map(|waiting| format!(", {} waiting", trim_decimal(waiting, 0)));
    format!("{name} {}/{}{}", shown(pool.in_use), shown(pool.limit), waiting.unwrap_or_default())
}

/// Runs as a table, in the order given.
pub fn runs_table(runs: &[RunLine]) -> String {
    if runs.is_empty() {
        return "no runs\n".into();
    }
    let mut rows = vec![row(["run", "target", "started (UTC)", "verdict", "length", "requests", "failed", "p95", "pool"])];
    for run in runs {
        let headline = run.headline;
        rows.push(vec![
            run.id.to_string(),
            plain(&run.target, 24),
            run.started_at.to_utc().format("%Y-%m-%d %H:%M:%S").to_string(),
            run.verdict.map_or(run.status.as_str(), |verdict| verdict.as_str()).to_owned(),
            headline.map_or(ABSENT.into(), |headline| seconds(headline.seconds)),
            headline.map_or(ABSENT.into(), |headline| count(headline.requests)),
            headline.map_or(ABSENT.into(), |headline| share(headline.failed, headline.requests)),
            latency(headline.and_then(|headline| headline.p95_us)),
            headline.and_then(|headline| headline.pool_peak).map_or(ABSENT.into(), format_percent),
        ]);
    }
    table(&rows, 4)
}

/// A length in seconds for people.
pub(super) fn seconds(seconds: f64) -> String {
    std::time::Duration::try_from_secs_f64(seconds).map_or_else(|_| ABSENT.into(), format_duration)
}

/// A message on the terminal: what happened in one line, the facts below it.
pub fn message_text(message: &Message) -> String {
    let (word, prefix) = match message.kind {
        MessageKind::Fired => ("alert fired", "Fired"),
        MessageKind::Reminder => ("alert still firing", "Still firing"),
        MessageKind::Resolved => ("alert resolved", "Resolved"),
        MessageKind::FiredAndResolved => ("alert fired and resolved", "Fired and resolved"),
        MessageKind::Acknowledged => ("alert acknowledged", "Acknowledged"),
        MessageKind::Changed => ("alerts changed", "Changed"),
        MessageKind::Digest => ("digest", "Digest"),
        MessageKind::Test => ("test message", "Test"),
    };
    let headline = plain(&message.headline, 300);
    let said = headline.strip_prefix(prefix).unwrap_or(&headline);
    let said = if said.is_empty() { format!(": {}", plain(&message.subject, 300)) } else { said.to_owned() };
    // "Fired: …" is told as "alert fired: …", "Resolved after 3m: …" as "alert resolved after 3m: …", anything else as it is.
    let joint = if said.starts_with([':', ' ']) { "" } else { ": " };
    let mut text = format!("{word}{joint}{said}\n");
    let mut rows: Vec<Vec<String>> = message.lines.iter().map(|(name, value)| vec![plain(name, 30), plain(value, 200)]).collect();
    for (name, link) in [("page", &message.link), ("runbook", &message.runbook)] {
        if let Some(link) = link {
            rows.push(vec![name.to_owned(), plain(link, 300)]);
        }
    }
    text.push_str(&table(&rows, 2));
    text
}

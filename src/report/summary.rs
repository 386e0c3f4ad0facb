//! What a person reads at the end of a run: the verdict and its reason first, then the figures it rests on.
//! Three rates stand apart under their own names: requests failed, checks failed, iterations with a failed check.

use super::ABSENT;
use super::lines::seconds;
use super::text::{count, decimal, latency, plain, row, share, table};
use crate::model::finding::Finding;
use crate::model::measure::Accounting;
use crate::model::run::{EndedBy, LatencySummary, Run, SeriesSummary, StepSummary, Summary, ThresholdResult, Verdict};
use crate::model::threshold::{find_metric, show_unit};
use crate::model::units::format_percent;

/// The end of a run as text of several lines.
pub fn summary_text(run: &Run, findings: &[Finding]) -> String {
    let mut text = head(run);
    section(&mut text, "Findings", &findings_text(findings));
    section(&mut text, "Thresholds", &thresholds(&run.thresholds));
    if let Some(summary) = &run.summary {
        section(&mut text, "Levels", &levels(summary));
        if let Some(capacity) = &summary.analysed.capacity {
            section(&mut text, "Load line", &super::load_line::load_line(capacity));
        }
        section(&mut text, "Rates", &rates(summary));
        section(&mut text, "Steps", &steps(summary));
        section(&mut text, "Groups", &groups(summary));
        section(&mut text, "Failures", &failures(summary));
        section(&mut text, "Iterations", &iterations(summary));
        section(&mut text, "Pools", &pools(summary));
        section(&mut text, "Resources", &resources(summary));
        section(&mut text, "Databases", &super::database::databases(&summary.databases, summary.total.requests));
        section(&mut text, "Load generator", &generator(summary));
    } else {
        text.push_str("\nNo figures: nothing was measured.\n");
    }
    text
}

/// What analysis says of a run, as text of several lines.
pub fn analysis_text(run: &Run, findings: &[Finding]) -> String {
    let mut text = format!("run {}, {} on {}\n", run.id, run.profile, run.target);
    section(&mut text, "Findings", &findings_text(findings));
    if findings.is_empty() {
        text.push_str("\nNothing was found: no load was held for 5 min, none was climbed, no pool was full.\n");
    }
    if let Some(capacity) = run.summary.as_ref().and_then(|summary| summary.analysed.capacity.as_ref()) {
        section(&mut text, "Load line", &super::load_line::load_line(capacity));
    }
    text
}

fn section(text: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        text.push_str(&format!("\n{title}\n{body}"));
    }
}

fn verdict_word(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Pass) => "PASS",
        Some(Verdict::Fail) => "FAIL",
        Some(Verdict::NoData) => "NO DATA",
        Some(Verdict::Invalid) => "INVALID",
        None => "NO VERDICT",
    }
}

fn head(run: &Run) -> String {
    let version = run.target_version.as_ref().map(|version| format!(" {}", plain(version, 40))).unwrap_or_default();
    let mut text = format!("{}  {} on {}{version}\n", verdict_word(run.verdict), run.profile, run.target);
    for reason in &run.reasons {
        text.push_str(&format!("  {}\n", plain(reason, 300)));
    }
    let ended = match run.ended_by {
        Some(EndedBy::Completed) => "came to its end",
        Some(EndedBy::Threshold) => "ended early by a threshold",
        Some(EndedBy::Guard) => "ended early by a guard of the target",
        Some(EndedBy::Cancelled) => "cancelled",
        Some(EndedBy::Signal) => "ended early because Plimsoll was told to stop",
        Some(EndedBy::Setup) => "not loaded, because its setup failed",
        Some(EndedBy::Crash) => "cut off because the daemon died",
        None => "still going on",
    };
    let by = run.trigger.name.as_ref().map_or_else(|| run.trigger.by.clone(), |name| format!("{} {}", run.trigger.by, plain(name, 60)));
    let length = run.summary.as_ref().map(|summary| format!(", {}", seconds(summary.seconds))).unwrap_or_default();
    let started = run.started_at.to_utc().format("%Y-%m-%d %H:%M:%S UTC");
    let seed = run.catalog.seed.map(|seed| format!(", seed {seed}")).unwrap_or_default();
    text.push_str(&format!("  run {}, started {started} by {by}{length}, {ended}{seed}\n", run.id));
    text
}

fn findings_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("  [{}] {}\n", finding.severity, plain(&finding.title, 400)));
        for evidence in finding.evidence.iter().filter(|_| !super::is_quiet(finding)) {
            text.push_str(&format!("      {}: {}\n", plain(&evidence.name, 80), plain(&evidence.value, 240)));
        }
    }
    text
}

fn thresholds(thresholds: &[ThresholdResult]) -> String {
    let rows: Vec<Vec<String>> = thresholds
        .iter()
        .map(|threshold| {
            let since = threshold.first_breach.map(|second| format!(" (first at second {second})")).unwrap_or_default();
            vec![threshold.verdict.as_str().to_owned(), plain(&threshold.text, 80), format!("{}{since}", plain(&threshold.reason, 200))]
        })
        .collect();
    table(&rows, 3)
}

/// The levels of staircases, in the order in which they were climbed.
fn levels(summary: &Summary) -> String {
    let several = summary.climbs.len() > 1;
    let mut rows = Vec::new();
    for climb in &summary.climbs {
        for level in &climb.levels {
            let name = if several { format!("{} / {}", climb.scenario, level.shown) } else { level.shown.clone() };
            let reason = level.reasons.first().map(|reason| plain(reason, 200)).unwrap_or_default();
            let seconds = format!("seconds {} to {}", level.from, level.to);
            rows.push(vec![level.verdict.as_str().to_owned(), plain(&name, 60), seconds, reason]);
        }
    }
    table(&rows, 4)
}

fn checks_of(step: &StepSummary) -> (u64, u64) {
    step.checks.values().fold((0, 0), |(failed, made), check| (failed + check.failed, made + check.passed + check.failed))
}

fn rates(summary: &Summary) -> String {
    let line =
        |name: &str, part: u64, whole: u64| vec![name.to_owned(), share(part, whole), format!("{} of {}", count(part), count(whole))];
    let (checks_failed, checks_made) = checks_of(&summary.total);
    let ended = summary.scenarios.iter().map(|one| one.counts.completed + one.counts.failed).sum();
    let with_failed = summary.scenarios.iter().map(|one| one.with_failed_check).sum();
    let rows = [
        line("requests failed", summary.total.failed, summary.total.requests),
        line("checks failed", checks_failed, checks_made),
        line("iterations with a failed check", with_failed, ended),
    ];
    table(&rows, 1)
}

fn step_row(name: String, step: &StepSummary) -> Vec<String> {
    let (checks_failed, checks_made) = checks_of(step);
    let at = |pick: fn(&LatencySummary) -> u64| latency(step.duration.as_ref().map(pick));
    vec![
        name,
        count(step.requests),
        decimal(Some(step.per_second), 2),
        count(step.failed),
        share(step.failed, step.requests),
        share(checks_failed, checks_made),
        at(|d| d.p50_us),
        at(|d| d.p95_us),
        at(|d| d.p99_us),
        at(|d| d.max_us),
    ]
}

fn steps(summary: &Summary) -> String {
    let mut rows = vec![row(["step", "requests", "/s", "failed", "%", "checks failed", "p50", "p95", "p99", "max"])];
    let several = summary.scenarios.len() > 1;
    for step in &summary.steps {
        let name = if several { format!("{} / {}", step.scenario, step.step) } else { step.step.clone() };
        rows.push(step_row(plain(&name, 40), step));
    }
    rows.push(step_row("all".into(), &summary.total));
    let rare = super::rare::rare(summary).into_iter().map(|sentence| format!("  {sentence}\n"));
    table(&rows, 1) + &rare.collect::<String>()
}

fn groups(summary: &Summary) -> String {
    let mut rows = vec![row(["group", "times", "p50", "p95", "p99", "max"])];
    for group in &summary.groups {
        let duration = &group.duration;
        let mut cells = vec![plain(&group.group, 40), count(duration.count)];
        cells.extend([duration.p50_us, duration.p95_us, duration.p99_us, duration.max_us].map(|us| latency(Some(us))));
        rows.push(cells);
    }
    if rows.len() == 1 { String::new() } else { table(&rows, 1) }
}

fn failures(summary: &Summary) -> String {
    let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
    let quoted = |message: &str| if message.is_empty() { String::new() } else { format!("\"{}\"", plain(message, 100)) };
    for step in &summary.steps {
        let mut add = |failed: u64, reason: String, seconds: String, message: String| {
            rows.push((failed, vec![count(failed), plain(&step.step, 30), plain(&reason, 60), seconds, message]));
        };
        for one in &step.told {
            add(one.count, one.reason.to_string(), span(one.first, one.last), quoted(&one.sample));
        }
        if step.told_beyond > 0 {
            add(step.told_beyond, "various".into(), String::new(), "too many different messages to tell apart".into());
        }
        if step.told.is_empty() {
            // As earlier versions stored it.
            for (reason, failed) in &step.reasons {
                add(*failed, reason.to_string(), String::new(), quoted(step.messages.get(reason).map_or("", String::as_str)));
            }
        }
    }
    rows.sort_by_key(|(failed, _)| std::cmp::Reverse(*failed));
    let shown: Vec<Vec<String>> = rows.iter().take(12).map(|(_, row)| row.clone()).collect();
    let width = shown.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let shown: Vec<Vec<String>> = shown.into_iter().map(|row| [vec![format!("{:>width$}", row[0])], row[1..].to_vec()].concat()).collect();
    let mut text = table(&shown, 5);
    if rows.len() > 12 {
        let rest: u64 = rows[12..].iter().map(|(failed, _)| failed).sum();
        text.push_str(&format!("  and {} more for {} other reasons or with other messages\n", count(rest), rows.len() - 12));
    }
    text
}

/// "second 3", "seconds 3 to 9".
fn span(first: u32, last: u32) -> String {
    if first == last { format!("second {first}") } else { format!("seconds {first} to {last}") }
}

fn iterations(summary: &Summary) -> String {
    let mut rows = vec![row([
        "scenario",
        "scheduled",
        "started",
        "completed",
        "failed",
        "interrupted",
        "dropped",
        "unsent",
        "VUs max",
        "p95",
        "late p99",
    ])];
    let mut censored = 0;
    for scenario in &summary.scenarios {
        let Accounting { scheduled, started, completed, failed, interrupted, dropped, unsent } = scenario.counts;
        let mut cells = vec![plain(&scenario.scenario, 30)];
        cells.extend([scheduled, started, completed, failed, interrupted, dropped, unsent, scenario.vus_max].map(count));
        cells.push(latency(scenario.iteration_duration.map(|d| d.p95_us)));
        cells.push(latency(scenario.start_lag.map(|d| d.p99_us)));
        rows.push(cells);
        censored += scenario.censored;
    }
    if rows.len() == 1 {
        return String::new();
    }
    let mut text = table(&rows, 1);
    for scenario in &summary.scenarios {
        for (reason, broke) in &scenario.broke_off {
            text.push_str(&format!("  {} broke off between requests: {}\n", count(*broke), plain(&reason.to_string(), 200)));
        }
    }
    if censored > 0 {
        text.push_str(&format!("  {} dropped starts are counted as censored response times\n", count(censored)));
    }
    text
}

/// The series of the same probe and labels, of another metric.
fn beside<'a>(summary: &'a Summary, one: &SeriesSummary, metric: &str) -> Option<&'a SeriesSummary> {
    summary.series.iter().find(|other| other.metric == metric && other.probe == one.probe && other.labels == one.labels)
}

fn labelled(one: &SeriesSummary) -> String {
    let labels: Vec<String> = one
        .labels
        .iter()
        .map(|(name, value)| if name == "pool" { plain(value, 40) } else { format!("{name}={}", plain(value, 40)) })
        .collect();
    if labels.is_empty() { one.probe.clone() } else { labels.join(" ") }
}

fn pools(summary: &Summary) -> String {
    let mut rows = vec![row(["pool", "limit", "peak", "p95", "mean", "full", "in use max", "waiting max"])];
    for one in summary.series.iter().filter(|one| one.metric == "pool_utilization") {
        let greatest = |metric: &str| decimal(beside(summary, one, metric).map(|series| series.max), 0);
        rows.push(vec![
            labelled(one),
            decimal(beside(summary, one, "pool_limit").map(|series| series.last), 0),
            format_percent(one.max),
            format_percent(one.p95),
            format_percent(one.mean),
            format!("{} of {} readings", one.saturated, one.samples),
            greatest("pool_in_use"),
            greatest("pool_waiting"),
        ]);
    }
    if rows.len() == 1 { String::new() } else { table(&rows, 1) }
}

fn resources(summary: &Summary) -> String {
    let mut rows = vec![row(["resource", "", "min", "mean", "p95", "max", "last", "readings"])];
    for one in summary.series.iter().filter(|one| !one.metric.starts_with("pool_") && one.metric != "probe_up") {
        let shown = |value: f64| find_metric(&one.metric).map_or_else(|| decimal(Some(value), 2), |metric| show_unit(metric.unit, value));
        let mut cells = vec![one.metric.replace('_', " "), labelled(one)];
        cells.extend([one.min, one.mean, one.p95, one.max, one.last].map(shown));
        cells.push(count(one.samples));
        rows.push(cells);
    }
    let mut text = if rows.len() == 1 { String::new() } else { table(&rows, 2) };
    for (probe, (errors, last)) in &summary.probe_errors {
        text.push_str(&format!("  probe {} could not be read {}, last: {}\n", plain(probe, 40), times(*errors), plain(last, 160)));
    }
    text
}

fn times(number: u64) -> String {
    if number == 1 { "once".into() } else { format!("{} times", count(number)) }
}

fn generator(summary: &Summary) -> String {
    let generator = &summary.generator;
    let cpu = generator.cpu_cores.map_or_else(|| ABSENT.to_owned(), |cores| format!("{} cores", decimal(Some(cores), 2)));
    let mut text = format!("  longest stall {}, CPU {cpu}, threads {}\n", latency(Some(generator.stall_max_us)), generator.threads);
    if summary.intervals_lost > 0 {
        text.push_str(&format!("  {} seconds of figures could not be stored\n", count(summary.intervals_lost)));
    }
    text
}

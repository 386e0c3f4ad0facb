//! What a person reads about a trend: one sentence, and the figures behind it. Says with every verdict how small a growth could have
//! been shown.

use std::time::Duration;

use super::{Basis, Confidence, Envelope, Kind, METHOD, Scale, Trend, Verdict, Why};
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::run::RunId;
use crate::model::threshold::{Unit, show_unit};
use crate::model::units::{Timestamp, format_duration, format_percent, trim_decimal};

/// A leak that may fill its resource within so many hours is high.
const SOON_HOURS: f64 = 24.0;
/// A growth that began after this share of the time judged is told with its beginning.
const LATER: f64 = 0.1;
/// Hours beyond which a time to exhaustion is told as "more than".
const FAR_HOURS: f64 = 24.0 * 365.0;

/// What the trend is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subject<'a> {
    /// The series: `process_memory{probe="app"}`.
    pub series: &'a str,
    /// What people call it: "memory of `app`".
    pub name: &'a str,
    /// Unit of its values.
    pub unit: Unit,
}

/// The trend as a finding. Its kind is `leak` for a leak, `leak_suspected` for one that is worth watching, `levelling`, `step`,
/// `leak_unknown` when the data do not answer, else `no_leak`.
pub fn finding(run: &RunId, at: Timestamp, subject: Subject, trend: &Trend) -> Finding {
    let kind = match (trend.verdict, trend.confidence) {
        (Verdict::Leak, _) => "leak",
        (Verdict::NoLeak, Some(_)) => "leak_suspected",
        (Verdict::Levelling, _) => "levelling",
        (Verdict::Step, _) => "step",
        (Verdict::Inconclusive, _) => "leak_unknown",
        (Verdict::NoLeak, None) | (Verdict::Tiny, _) => "no_leak",
    };
    Finding {
        kind: kind.into(),
        run: run.clone(),
        severity: severity(trend),
        title: sentence(subject, trend),
        evidence: evidence(subject, trend),
        method: METHOD.into(),
        at,
    }
}

fn severity(trend: &Trend) -> Severity {
    let soon = trend.exhaustion.is_some_and(|exhaustion| exhaustion.earliest < SOON_HOURS);
    match trend.verdict {
        Verdict::Leak if soon => Severity::High,
        Verdict::Leak => Severity::Medium,
        Verdict::Levelling | Verdict::Step | Verdict::Tiny | Verdict::NoLeak | Verdict::Inconclusive => Severity::Low,
    }
}

/// The trend in words, such as "Memory of `app` grows by 24 MiB an hour (21 MiB to 27 MiB): a leak, certain. …".
pub fn sentence(subject: Subject, trend: &Trend) -> String {
    let name = capital(subject.name);
    let tell = Telling { subject, scale: trend.scale };
    let judged = about(trend.basis.to_s - trend.basis.from_s);
    let word = tell.word();
    let mut text = match trend.verdict {
        Verdict::Leak => leak(&name, &tell, trend),
        Verdict::Levelling => match trend.why {
            Some(Why::Warming { needed_s }) => format!(
                "{name} was still warming up for most of the {judged} judged: no {word} is shown or ruled out. A soak of {} would tell.",
                about(needed_s)
            ),
            Some(_) | None => format!("{name} grew and levels off in the {judged} judged: a warm-up, no {word}."),
        },
        Verdict::Step => {
            let (at, by) = trend.step.unwrap_or((0.0, 0.0));
            let at = format_duration(seconds(at));
            format!("{name} jumped once, by {} at {at}, and stays: a single step, no {word}.", tell.growth(by))
        }
        Verdict::Tiny => {
            let per_hour = trend.growth.map_or(0.0, |growth| growth.per_hour);
            format!("{name} grows by {} an hour, less than matters: no {word}.", tell.growth(per_hour))
        }
        Verdict::NoLeak if trend.confidence.is_some() => {
            format!("{name} may be growing: it stands out in the {judged} judged, but is not proved. Worth watching.")
        }
        Verdict::NoLeak => format!("No {word} of {} is seen in the {judged} judged.", subject.name),
        Verdict::Inconclusive => format!("Whether {} {} cannot be said: {}.", subject.name, tell.verb(), why(&tell, trend.why)),
    };
    if let Some(detectable) = trend.detectable_per_hour.filter(|detectable| detectable.is_finite() && *detectable > 0.0) {
        text.push_str(&format!(" A growth of {} an hour or more would have shown.", tell.growth(detectable)));
    }
    text
}

fn leak(name: &str, tell: &Telling, trend: &Trend) -> String {
    let (from, judged) = (trend.basis.from_s, trend.basis.to_s - trend.basis.from_s);
    let later = trend.since_s.filter(|since| since - from > LATER * judged);
    let since = later.map_or(String::new(), |since| format!(" since {}", about(since)));
    let how = match trend.kind {
        Some(Kind::Stepwise) => " in steps",
        Some(Kind::Accelerating) if later.is_some() => ", faster than before",
        Some(Kind::Accelerating) => ", faster and faster",
        Some(Kind::Steady) | None => "",
    };
    let sure = trend.confidence.map_or("", |confidence| match confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Certain => "certain",
    });
    let speed = trend.growth.map_or(String::new(), |growth| {
        format!(" by {} an hour ({} to {})", tell.growth(growth.per_hour), tell.growth(growth.low), tell.growth(growth.high))
    });
    let mut text = format!("{name} grows{speed}{since}{how}: {} {}, {sure}.", tell.article(), tell.word());
    if let Some(exhaustion) = trend.exhaustion {
        let limit = show_unit(tell.subject.unit, exhaustion.limit);
        let latest = exhaustion.latest.map_or("perhaps never".into(), hours);
        text.push_str(&format!(
            " The limit of {limit} is reached in {} ({} to {latest}) if it goes on like this.",
            hours(exhaustion.hours),
            hours(exhaustion.earliest)
        ));
    }
    text
}

fn why(tell: &Telling, why: Option<Why>) -> String {
    match why {
        Some(Why::TooFewSamples { needed, found }) => format!("{found} samples under constant load are too few, {needed} are needed"),
        Some(Why::Holes { measured }) => format!("only {} of the time was measured", format_percent((measured * 100.0).round() / 100.0)),
        Some(Why::Warming { .. }) => "it was still warming up".into(),
        Some(Why::Fell { at_s, by }) => format!(
            "it rises, but it also fell by {} at {}, and a leak with a restart looks like a slow collection of garbage",
            tell.growth(by),
            format_duration(seconds(at_s))
        ),
        Some(Why::Unusable) | None => "the numbers cannot be calculated with".into(),
    }
}

fn evidence(subject: Subject, trend: &Trend) -> Vec<Evidence> {
    let tell = Telling { subject, scale: trend.scale };
    let Basis { samples, points, .. } = trend.basis;
    let mut evidence = vec![("series", subject.series.to_owned())];
    if let Some(growth) = trend.growth {
        let (per_hour, low, high) = (tell.growth(growth.per_hour), tell.growth(growth.low), tell.growth(growth.high));
        evidence.push(("growth an hour", format!("{per_hour} ({low} to {high}, 95 %)")));
    }
    if let Some(exhaustion) = trend.exhaustion {
        let latest = exhaustion.latest.map_or("never".into(), hours);
        let value = format!("{} ({} to {latest})", hours(exhaustion.hours), hours(exhaustion.earliest));
        evidence.push(("time to the limit", value));
    }
    evidence.push(("p-value", if trend.p < 0.0001 { "< 0.0001".into() } else { trim_decimal(trend.p, 4) }));
    let envelope = match trend.basis.envelope {
        Some(Envelope::CycleFloors) => format!("{samples} samples, floors of {points} cycles"),
        Some(Envelope::BlockMedians) => format!("{samples} samples, medians of {points} blocks"),
        None => format!("{samples} samples"),
    };
    evidence.push(("sample size", envelope));
    evidence.push(("worth of independent points", trim_decimal(trend.basis.effective_points, 1)));
    if let Some((all, per_hour)) = trend.detectable.zip(trend.detectable_per_hour) {
        let value = format!("{} an hour, {} over this time", tell.growth(per_hour), tell.growth(all));
        evidence.push(("smallest growth that would have shown", value));
    }
    evidence.push(("level", tell.value(trend.basis.level)));
    evidence.extend(remarks(&trend.basis));
    evidence.into_iter().map(|(name, value)| Evidence { name: name.into(), value }).collect()
}

/// What was done to the samples.
fn remarks(basis: &Basis) -> Vec<(&'static str, String)> {
    let mut remarks = Vec::new();
    if let Some(tau) = basis.warm_up_s {
        remarks.push(("warm-up taken out", format!("time constant {}", format_duration(seconds(tau)))));
    }
    if let Some(cycles) = basis.wave_cycles {
        remarks.push(("wave taken out", format!("{} cycles", trim_decimal(cycles, 1))));
    }
    if !basis.restarts_s.is_empty() {
        let at: Vec<String> = basis.restarts_s.iter().map(|at| format_duration(seconds(*at))).collect();
        remarks.push(("restarts of the target", format!("at {}; judged {} to {}", at.join(", "), from(basis), to(basis))));
    }
    if basis.clock_steps > 0 {
        remarks.push(("clock set back", basis.clock_steps.to_string()));
    }
    if basis.dropped > 0 {
        remarks.push(("samples that were no numbers", basis.dropped.to_string()));
    }
    remarks
}

fn from(basis: &Basis) -> String {
    format_duration(seconds(basis.from_s))
}

fn to(basis: &Basis) -> String {
    format_duration(seconds(basis.to_s))
}

/// Puts numbers into words.
struct Telling<'a> {
    subject: Subject<'a>,
    scale: Scale,
}

impl Telling<'_> {
    /// Response times and shares of failures do not leak: they rise.
    fn rises(&self) -> bool {
        self.scale == Scale::Ratio || self.subject.unit == Unit::Ratio
    }

    fn word(&self) -> &'static str {
        if self.rises() { "upward trend" } else { "leak" }
    }

    fn article(&self) -> &'static str {
        if self.rises() { "an" } else { "a" }
    }

    fn verb(&self) -> &'static str {
        if self.rises() { "rises" } else { "leaks" }
    }

    fn value(&self, value: f64) -> String {
        let rounded = match self.subject.unit {
            // Bytes are printed with three or four figures.
            Unit::Bytes => value,
            Unit::Time | Unit::Ratio | Unit::Count => significant(value),
        };
        show_unit(self.subject.unit, rounded)
    }

    fn growth(&self, growth: f64) -> String {
        match (self.scale, self.subject.unit) {
            (Scale::Ratio, _) => format_percent(significant(growth)),
            // `show_unit` knows no negative times.
            (Scale::Plain, Unit::Time) if growth < 0.0 => format!("-{}", self.value(-growth)),
            (Scale::Plain, Unit::Time | Unit::Ratio | Unit::Bytes | Unit::Count) => self.value(growth),
        }
    }
}

/// Three figures: more would claim what nobody knows.
fn significant(value: f64) -> f64 {
    if value.abs() < 1e-300 || !value.is_finite() {
        return 0.0;
    }
    let unit = 10.0_f64.powi(value.abs().log10().floor() as i32 - 2);
    (value / unit).round() * unit
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0).round()).unwrap_or(Duration::MAX)
}

/// A length of time, to the minute when it is long.
fn about(length: f64) -> String {
    format_duration(seconds(if length > 600.0 { (length / 60.0).round() * 60.0 } else { length }))
}

fn hours(hours: f64) -> String {
    if hours > FAR_HOURS {
        return "more than a year".into();
    }
    if hours >= 72.0 {
        return format!("{} days", trim_decimal(hours / 24.0, 1));
    }
    // To the minute; short times to the second.
    let unit = if hours < 1.0 { 1.0 } else { 60.0 };
    format_duration(seconds((hours * 3600.0 / unit).round() * unit))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

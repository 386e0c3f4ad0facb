//! The figures that are compared: latencies, throughput and failures of all steps and of each, means and peaks of probe series.

use super::draw::{Latencies, Means, Peaks};
use super::estimate::{Estimate, Least, Noise, figures, outcome};
use super::failures::{Share, difference};
use super::side::{SeriesKey, Side, Steps};
use super::{ASSUMED_SCATTER, Direction, Outcome, Row, Scatter};
use crate::analysis::numbers::{Span, t_quantile};
use crate::analysis::regression::metric;
use crate::model::threshold::{Unit, find_metric};
use crate::model::units::trim_decimal;

/// Confidence of the intervals of all steps together.
const OF_ALL: f64 = 0.95;
/// Of single steps and series: there are many, and one in twenty would be false.
pub(super) const OF_MANY: f64 = 0.99;
/// Comparable runs from which on their scatter is believed.
pub(super) const LEAST_RUNS: usize = 4;
/// Degrees of freedom of a scatter that is assumed.
const ASSUMED_FREEDOM: f64 = 30.0;

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// Series whose highest reading is compared besides their mean.
const PEAKS: [&str; 2] = ["pool_in_use", "process_memory"];

/// How two sides are compared.
pub(super) struct Context<'a> {
    /// Both went through the same schedule.
    pub(super) paired: bool,
    /// What is known of the scatter between runs.
    pub(super) scatter: Option<&'a Scatter>,
    /// Both are parts of one run.
    pub(super) within_one: bool,
}

impl Context<'_> {
    fn noise(&self, figure: &str, confidence: f64) -> Noise {
        if self.within_one {
            return Noise { relative: 0.0, reach: 0.0 };
        }
        let tail = (1.0 - confidence) / 2.0;
        match self.scatter.and_then(|known| known.relative.get(figure).map(|relative| (known.runs, *relative))) {
            Some((runs, relative)) => Noise { relative, reach: t_quantile(tail, (runs - 1) as f64) },
            None => Noise { relative: ASSUMED_SCATTER, reach: t_quantile(tail, ASSUMED_FREEDOM) },
        }
    }
}

pub(super) fn rows(first: &Side, second: &Side, context: &Context) -> Vec<Row> {
    let mut rows = of_steps(None, (first, &first.total), (second, &second.total), context);
    for ((scenario, step), own) in &first.steps {
        let other =
            second.steps.get(&(scenario.clone(), step.clone())).or_else(|| only(second, step).filter(|_| only(first, step).is_some()));
        if let Some(other) = other {
            rows.extend(of_steps(Some(format!("{scenario}/{step}")), (first, own), (second, other), context));
        }
    }
    for (key, own) in &first.series {
        if let Some(other) = second.series.get(key) {
            rows.extend(of_series(key, own, other, context));
        }
    }
    rows
}

/// The step of this name, when there is only one: the same step may stand in another scenario.
fn only<'s>(side: &'s Side, step: &str) -> Option<&'s Steps> {
    let mut named = side.steps.iter().filter(|((_, name), _)| name == step);
    named.next().filter(|_| named.next().is_none()).map(|(_, steps)| steps)
}

fn of_steps(subject: Option<String>, first: (&Side, &Steps), second: (&Side, &Steps), context: &Context) -> Vec<Row> {
    let confidence = if subject.is_none() { OF_ALL } else { OF_MANY };
    let quantiles = QUANTILES.map(|(_, quantile)| quantile);
    // A block counts when both sides measured it, where they are drawn in pairs.
    let measured = |side: &Side| -> Vec<usize> { (0..side.measured_s.len()).filter(|at| side.measured_s[*at] > 0).collect() };
    let (mut keep_first, mut keep_second) = (measured(first.0), measured(second.0));
    if context.paired {
        keep_first.retain(|at| keep_second.contains(at));
        keep_second.clone_from(&keep_first);
    }
    let kept = |steps: &Steps, keep: &[usize]| -> Vec<usize> {
        keep.iter().copied().filter(|at| !steps.blocks[*at].duration.is_empty()).collect()
    };
    let (mut a_keep, mut b_keep) = (kept(first.1, &keep_first), kept(second.1, &keep_second));
    if context.paired {
        a_keep.retain(|at| b_keep.contains(at));
        b_keep.clone_from(&a_keep);
    }
    let sides = (Latencies::new(first.1, &a_keep, &quantiles), Latencies::new(second.1, &b_keep, &quantiles));
    let rules: Vec<_> = QUANTILES.iter().map(|(name, _)| rule(name, context.noise(name, confidence))).collect();
    let mut rows: Vec<Row> = figures((&sides.0, &sides.1), context.paired, confidence, &rules)
        .into_iter()
        .zip(QUANTILES)
        .map(|((a, b, told), (name, _))| Row {
            subject: subject.clone(),
            figure: name.into(),
            unit: Unit::Time,
            first: number(a),
            second: number(b),
            ratio: told.ratio,
            difference: told.difference,
            outcome: told.outcome,
        })
        .collect();
    let rate = |(side, steps): (&Side, &Steps), keep: &[usize]| {
        Means(keep.iter().map(|at| (steps.blocks[*at].requests as f64, f64::from(side.measured_s[*at]))).collect())
    };
    let throughput = (rate(first, &keep_first), rate(second, &keep_second));
    let rules = [rule("throughput", context.noise("throughput", confidence))];
    for (a, b, told) in figures((&throughput.0, &throughput.1), context.paired, confidence, &rules) {
        let (ratio, difference) = (told.ratio, told.difference);
        let figure = "throughput".into();
        rows.push(Row {
            subject: subject.clone(),
            figure,
            unit: Unit::Count,
            first: number(a),
            second: number(b),
            ratio,
            difference,
            outcome: told.outcome,
        });
    }
    rows.push(of_failures(subject, first.1, second.1, context, confidence));
    rows
}

fn of_failures(subject: Option<String>, first: &Steps, second: &Steps, context: &Context, confidence: f64) -> Row {
    let (a, b) = (Share::of(first), Share::of(second));
    let (values, found) = ((a.value(), b.value()), difference(&a, &b, confidence));
    let (_, least, direction) = rule("error_rate", context.noise("error_rate", confidence));
    let told = values.0.zip(values.1).zip(found).map(|((a, b), (change, span))| {
        let half = context.noise("error_rate", confidence).half() * a.max(b);
        let span = Span { low: change - (change - span.low).hypot(half), high: change + (span.high - change).hypot(half) };
        // Shares below what is worth telling are the same, however few they are.
        (outcome(a, change, (span, confidence), least, direction), Estimate { value: change, low: span.low, high: span.high })
    });
    Row {
        subject,
        figure: "error_rate".into(),
        unit: Unit::Ratio,
        first: values.0,
        second: values.1,
        ratio: None,
        difference: told.map(|(_, difference)| difference),
        outcome: told.map_or(Outcome::CannotTell, |(outcome, _)| outcome),
    }
}

/// What a figure of steps has to change by, and which way is bad.
fn rule(name: &str, noise: Noise) -> (Noise, Least, Direction) {
    let Some(metric) = metric::find(name) else { return (noise, Least { relative: 0.03, absolute: 0.0 }, Direction::Neither) };
    let direction = match metric.worse {
        metric::Worse::Higher => Direction::HigherIsWorse,
        metric::Worse::Lower => Direction::LowerIsWorse,
    };
    (noise, Least { relative: metric.least_relative, absolute: metric.least_absolute }, direction)
}

fn direction_of(metric: &str) -> Direction {
    match metric {
        "pool_idle" | "pool_limit" | "custom" => Direction::Neither,
        "probe_up" => Direction::LowerIsWorse,
        _ if metric.starts_with("pool_") || metric.starts_with("process_") => Direction::HigherIsWorse,
        _ => Direction::Neither,
    }
}

fn of_series(key: &SeriesKey, first: &[Vec<f64>], second: &[Vec<f64>], context: &Context) -> Vec<Row> {
    let (probe, metric, labels) = key;
    let unit = find_metric(metric).map_or(Unit::Count, |metric| metric.unit);
    let told: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let subject = if told.is_empty() { probe.clone() } else { format!("{probe} {}", told.join(" ")) };
    let noise = context.noise(metric, OF_MANY);
    let least = |relative: f64| Least { relative, absolute: least_of(metric, unit) };
    let row = |figure: String, (a, b, told): (f64, f64, super::estimate::Told)| Row {
        subject: Some(subject.clone()),
        figure,
        unit,
        first: number(a),
        second: number(b),
        ratio: told.ratio,
        difference: told.difference,
        outcome: told.outcome,
    };
    let means = |blocks: &[Vec<f64>]| {
        Means(blocks.iter().filter(|values| !values.is_empty()).map(|values| (values.iter().sum(), values.len() as f64)).collect())
    };
    let sides = (means(first), means(second));
    // Readings come at their own pace: blocks may be empty on one side only.
    let paired = context.paired && sides.0.0.len() == sides.1.0.len();
    let rules = [(noise, least(0.05), direction_of(metric))];
    let mut rows: Vec<Row> =
        figures((&sides.0, &sides.1), paired, OF_MANY, &rules).into_iter().map(|found| row(metric.clone(), found)).collect();
    if PEAKS.contains(&metric.as_str()) {
        let peaks = |blocks: &[Vec<f64>]| Peaks(blocks.iter().filter_map(|values| values.iter().copied().reduce(f64::max)).collect());
        let sides = (peaks(first), peaks(second));
        rows.extend(figures((&sides.0, &sides.1), paired, OF_MANY, &rules).into_iter().map(|found| row(format!("{metric} peak"), found)));
    }
    rows
}

/// Least change of a mean reading that is worth telling, in its unit.
fn least_of(metric: &str, unit: Unit) -> f64 {
    match unit {
        Unit::Time => 0.000_5,
        Unit::Ratio => 0.02,
        Unit::Bytes => 1_048_576.0,
        Unit::Count if metric == "probe_up" => 0.01,
        Unit::Count => 0.5,
    }
}

fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// `p95 of checkout/pay +23 %`.
pub(super) fn in_words(row: &Row) -> String {
    let of = row.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
    let figure = row.figure.replace('_', " ");
    let sign = |value: f64| if value < 0.0 { "-" } else { "+" };
    match (row.ratio, row.difference) {
        (Some(ratio), _) => {
            let change = (ratio.value - 1.0) * 100.0;
            format!("{figure}{of} {}{} %", sign(change), trim_decimal(change.abs(), 1))
        }
        (None, Some(difference)) if row.unit == Unit::Ratio => {
            format!("{figure}{of} {}{} points", sign(difference.value), trim_decimal(difference.value.abs() * 100.0, 2))
        }
        (None, Some(difference)) => {
            format!("{figure}{of} {}{}", sign(difference.value), crate::model::threshold::show_unit(row.unit, difference.value.abs()))
        }
        (None, None) => format!("{figure}{of}"),
    }
}

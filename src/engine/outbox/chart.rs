//! The chart that goes along with a message: what the rule looked at until the message was written, from what the store holds then.
//! It never keeps a message from being sent: without it, the message says why.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::engine::setup::Setup;
use crate::model::Labels;
use crate::model::alerting::{Message, MessageKind};
use crate::model::rollup::Resolution;
use crate::model::run::{Run, RunId};
use crate::model::series::{Point, Reading};
use crate::model::threshold::{Aggregate, Aggregation, Condition, Evaluator, MetricKind, Series, Source};
use crate::model::units::Timestamp;
use crate::notify::{Chart, Image};
use crate::report::chart::Scale;
use crate::report::picture::Picture;
use crate::store::{ReadingFilter, Store, StoreResult};

/// Least time before the incident that is shown.
const LEAD: Duration = Duration::from_secs(600);
/// Longest time that is shown: readings are read one by one.
const MOST: Duration = Duration::from_secs(24 * 3600);
/// Longest time that a message waits for its chart.
const PATIENCE: Duration = Duration::from_secs(10);
/// A pause between two readings of so many of their usual distances is a gap.
const GAP: f64 = 2.5;

/// What a chart is drawn of.
struct Subject<'a> {
    series: &'a Series,
    labels: &'a Labels,
    run: Option<&'a RunId>,
    /// Rule and place.
    named: &'a str,
    started_at: Timestamp,
    from: Timestamp,
    to: Timestamp,
    /// Usual distance of readings while no run is going on.
    idle: Duration,
}

type Values = Vec<(Timestamp, Option<f64>)>;

/// The chart of a message; none for rules that look at no series.
pub(super) async fn of(store: &Arc<dyn Store>, setup: &Setup, message: &Message) -> Chart {
    let Some(subject) = subject_of(setup, message) else { return Chart::None };
    match timeout(PATIENCE, values(store, &subject)).await {
        Ok(Ok(values)) => {
            let picture = picture(&subject, values);
            match picture.png() {
                Ok(png) => Chart::Drawn(Arc::new(Image { png, alt: picture.alt() })),
                Err(why) => Chart::Missing(why),
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, incident = message.incident, "the chart of a message cannot be drawn");
            Chart::Missing("what was measured cannot be read".into())
        }
        Err(_) => Chart::Missing(format!("what was measured could not be read within {} s", PATIENCE.as_secs())),
    }
}

/// What the message is about: of a group, the alert that stands first.
fn subject_of<'a>(setup: &'a Setup, message: &'a Message) -> Option<Subject<'a>> {
    if matches!(message.kind, MessageKind::Digest | MessageKind::Test | MessageKind::Acknowledged) {
        return None;
    }
    let first = message.alerts.first();
    let rule = first.map_or(&message.rule, |alert| &alert.rule);
    let Condition::Series(series) = &setup.rules.iter().find(|known| known.name == *rule)?.when else { return None };
    if series.metric.source == Source::History {
        return None;
    }
    let labels = first.map_or(&message.labels, |alert| &alert.labels);
    let started_at = first.map_or(message.started_at, |alert| alert.started_at);
    let to = first.map_or(message.ended_at, |alert| alert.ended_at).unwrap_or(message.at);
    let asked = series.window.unwrap_or_default() + series.hold.unwrap_or_default();
    Some(Subject {
        series,
        labels,
        run: first.map_or(message.run.as_ref(), |alert| alert.run.as_ref()),
        named: first.map_or(&message.subject, |alert| &alert.subject),
        started_at,
        from: started_at.minus(LEAD.max(asked * 2)).max(to.minus(MOST)),
        to,
        idle: labels.get("target").and_then(|target| setup.targets.get(target)).map(|target| target.idle_interval).unwrap_or_default(),
    })
}

async fn values(store: &Arc<dyn Store>, subject: &Subject<'_>) -> StoreResult<Values> {
    if subject.series.metric.source == Source::Probe {
        let warm = subject.from.minus(subject.series.window.unwrap_or_default());
        let to = Some(Timestamp(subject.to.0 + 1));
        let filter = ReadingFilter { target: subject.labels.get("target").cloned(), from: Some(warm), to, ..ReadingFilter::default() };
        return Ok(of_readings(subject, &store.readings(&filter).await?));
    }
    let Some(run) = subject.run else { return Ok(Vec::new()) };
    match store.run(&run.0).await? {
        Some(run) => of_run(store, subject, &run).await,
        None => Ok(Vec::new()),
    }
}

/// The readings of the alert's own series; one that failed, or lacks it, is a gap.
fn of_readings(subject: &Subject<'_>, readings: &[Reading]) -> Values {
    let probe = subject.labels.get("probe");
    let mut follow = Follow::new(subject.series);
    let mut values: Values = Vec::new();
    let mut last: Option<Timestamp> = None;
    for reading in readings.iter().filter(|reading| probe.is_none_or(|probe| *probe == reading.probe)) {
        let pause = last.map_or(0.0, |last| reading.at.since(last).as_secs_f64());
        if pause > subject.idle.as_secs_f64().max(1.0) * GAP {
            values.push((reading.at, None));
        }
        last = Some(reading.at);
        values.push((reading.at, follow.take(reading.at.as_seconds(), measured(subject, reading))));
    }
    values.retain(|(at, _)| *at >= subject.from);
    values
}

fn measured(subject: &Subject<'_>, reading: &Reading) -> Option<Aggregate> {
    if subject.series.metric.name == "probe_up" {
        let up = f64::from(u8::from(reading.points.is_ok()));
        return Some(Aggregate::Level(up, 1, up, up, up));
    }
    let own = |point: &&Point| point.labels.iter().all(|(label, value)| subject.labels.get(label) == Some(value));
    let points: Vec<Point> = reading.points.as_ref().ok()?.iter().filter(own).cloned().collect();
    subject.series.measure_points(&points)
}

/// What the run's own figures say; without a window they add up from its start.
async fn of_run(store: &Arc<dyn Store>, subject: &Subject<'_>, run: &Run) -> StoreResult<Values> {
    let second = |at: Timestamp| at.since(run.started_at).as_secs() as u32;
    let Some(kept) = store.kept(&run.id).await? else { return Ok(Vec::new()) };
    let Some(finest) = kept.finest else { return Ok(Vec::new()) };
    let resolution = Resolution::fitting(finest, second(subject.to).saturating_sub(second(subject.from)), 1_500);
    let warm = subject.series.window.map_or(0, |window| second(subject.from.minus(window)));
    let spans = store.rolled(&run.id, resolution, warm, second(subject.to) + 1).await?;
    let mut follow = Follow::new(subject.series);
    let mut values: Values = Vec::new();
    let mut next = None;
    for span in spans {
        let interval = &span.interval;
        let at = run.started_at.plus(Duration::from_secs(u64::from(interval.second)));
        if next.is_some_and(|next| interval.second > next) {
            values.push((at, None));
        }
        next = Some(interval.second + resolution.seconds());
        let measured = match subject.series.measure(&run.catalog, interval, &[], false) {
            Some(Aggregate::Sum(sum, seconds)) => Some(Aggregate::Sum(sum, seconds * f64::from(resolution.seconds()))),
            other => other,
        };
        values.push((at, follow.take(f64::from(interval.second), measured)));
    }
    values.retain(|(at, _)| *at >= subject.from);
    Ok(values)
}

/// The number that the rule compared, as alerting makes it.
struct Follow<'a> {
    series: &'a Series,
    evaluator: Option<Evaluator>,
}

impl<'a> Follow<'a> {
    fn new(series: &'a Series) -> Self {
        // Without a window a reading stands for itself.
        let itself = series.window.is_none() && series.metric.source == Source::Probe;
        Self { series, evaluator: (!itself).then(|| Evaluator::new(series.clone(), false)) }
    }

    /// The number at a moment; `None` when nothing was measured then, whatever is known from before.
    fn take(&mut self, at: f64, measured: Option<Aggregate>) -> Option<f64> {
        let fresh = measured.as_ref().and_then(|measured| measured.value(self.series.aggregation));
        let Some(evaluator) = &mut self.evaluator else { return fresh };
        let actual = evaluator.push(at, measured).actual;
        fresh.and(actual)
    }
}

fn picture(subject: &Subject<'_>, values: Values) -> Picture {
    let series = subject.series;
    let per_second = series.metric.kind == MetricKind::Counter && series.aggregation == Aggregation::Rate;
    let bound = series.bound;
    Picture {
        title: format!("{} {}", series.metric.name, series.aggregation.text()),
        place: subject.named.split_once(": ").map_or(subject.named, |(_, place)| place).to_owned(),
        scale: if per_second { Scale::PerSecond } else { Scale::Unit(series.metric.unit) },
        from: values.first().map_or(subject.from, |(at, _)| subject.from.max(*at)),
        to: subject.to,
        limit: (bound.value, format!("{} {}", bound.op.as_str(), series.show(bound.value))),
        beyond: beyond(&values, subject.started_at, |value| bound.op.holds(value, bound.value)),
        values,
    }
}

/// From when to when the condition held around the moment at which the incident opened. Where nothing was measured it neither began nor
/// ended.
fn beyond(values: &Values, opened: Timestamp, holds: impl Fn(f64) -> bool) -> Option<(Timestamp, Option<Timestamp>)> {
    let known: Vec<(Timestamp, bool)> = values.iter().filter_map(|(at, value)| value.map(|value| (*at, holds(value)))).collect();
    let opening = known.iter().rposition(|(at, holds)| *at <= opened && *holds)?;
    let began = known[..opening].iter().rposition(|(_, holds)| !holds).map_or(0, |before| before + 1);
    let ended = known[opening..].iter().find(|(_, holds)| !holds).map(|(at, _)| *at);
    Some((known[began].0, ended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::threshold::parse_series;

    fn at(second: u64) -> Timestamp {
        Timestamp(1_000_000_000).plus(Duration::from_secs(second))
    }

    fn reading(second: u64, value: Option<f64>) -> Reading {
        let points = value.map(|value| {
            let point =
                |pool: &str, value| Point::new("pool_utilization", value).with("pool", pool).with("target", "shop").with("probe", "app");
            vec![point("other", 0.01), point("main", value)]
        });
        Reading { target: "shop".into(), probe: "app".into(), at: at(second), second: None, points: points.ok_or_else(|| "gone".into()) }
    }

    fn labels() -> Labels {
        [("pool", "main"), ("target", "shop"), ("probe", "app"), ("alertname", "r")].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
    }

    fn drawn(series: &str, readings: &[Reading]) -> Values {
        let (series, labels) = (parse_series(series).unwrap(), labels());
        let subject = Subject {
            series: &series,
            labels: &labels,
            run: None,
            named: "r: pool `main`",
            started_at: at(30),
            from: at(0),
            to: at(60),
            idle: Duration::from_secs(5),
        };
        of_readings(&subject, readings)
    }

    #[test]
    fn readings_that_failed_or_are_missing_are_gaps_and_other_pools_do_not_count() {
        let readings = [(0, Some(0.2)), (5, None), (10, Some(0.4)), (30, Some(0.9))].map(|(second, value)| reading(second, value));
        let values = drawn("pool_utilization: max > 80%", &readings);
        assert_eq!(values, [(at(0), Some(0.2)), (at(5), None), (at(10), Some(0.4)), (at(30), None), (at(30), Some(0.9))]);
    }

    #[test]
    fn a_window_is_followed_as_the_rule_follows_it() {
        let readings = [(0, 0.2), (5, 0.9), (10, 0.3), (15, 0.3), (20, 0.1)].map(|(second, value)| reading(second, Some(value)));
        let values = drawn("pool_utilization: max > 80% over 10s", &readings);
        let shown: Vec<f64> = values.into_iter().filter_map(|(_, value)| value).collect();
        assert_eq!(shown, [0.2, 0.9, 0.9, 0.3, 0.3]);
    }

    #[test]
    fn the_time_beyond_the_limit_is_the_one_in_which_the_incident_opened() {
        let values: Values = [(0, 0.9), (5, 0.1), (10, 0.9), (20, 0.95), (30, 1.0), (40, 0.2), (50, 0.9)]
            .into_iter()
            .flat_map(|(second, value)| [(at(second), Some(value)), (at(second + 1), None)])
            .collect();
        let holds = |value: f64| value > 0.8;
        assert_eq!(beyond(&values, at(25), holds), Some((at(10), Some(at(40)))));
        assert_eq!(beyond(&values, at(55), holds), Some((at(50), None)));
        assert_eq!(beyond(&Vec::new(), at(55), holds), None);
        assert_eq!(beyond(&vec![(at(1), Some(0.1))], at(55), holds), None);
    }
}

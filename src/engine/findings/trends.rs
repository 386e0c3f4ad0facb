//! Leaks and trends of one run: takes the longest stretch of constant load, gives each resource's series to the detector
//! (`analysis::leak`), all together so that they share the chance of a false alarm, and tells what it says. Pure.

use super::asked::Asked;
use super::timeline::{Stretch, Timeline};
use super::tracks::{Key, Tracks};
use crate::analysis::leak::{self, Confidence, Scale, Soak, Subject, Trend, Verdict};
use crate::model::Labels;
use crate::model::analysed::{Ranged, Resource, Sureness, TrendFound, TrendVerdict};
use crate::model::finding::Finding;
use crate::model::run::RunId;
use crate::model::units::Timestamp;

/// Constant load for fewer seconds is no soak: nothing is said of leaks.
pub(super) const SOAK: u32 = 300;

/// A series that is judged.
struct Candidate {
    resource: Resource,
    probe: Option<String>,
    labels: Labels,
    series: String,
    name: String,
    soak: Soak,
}

/// What the resources of the run did in its longest stretch of constant load; nothing when there was no soak. `meanwhile`: the run goes on
/// and is looked at again and again, which finds by chance what one look would not.
pub(super) fn trends(
    (run, at): (&RunId, Timestamp),
    (timeline, tracks): (&Timeline, &Tracks),
    asked: &Asked,
    meanwhile: bool,
) -> (Vec<Finding>, Vec<TrendFound>) {
    let Some(stretch) = timeline.longest().filter(|stretch| stretch.length() >= SOAK) else { return Default::default() };
    let mut candidates: Vec<Candidate> = of_probes(stretch, tracks, asked).collect();
    candidates.extend(of_load(stretch, timeline, asked));
    let soaks: Vec<Soak> = candidates.iter().map(|candidate| candidate.soak.clone()).collect();
    let judged: Vec<Trend> = if meanwhile { leak::judge_meanwhile(&soaks) } else { leak::judge_all(&soaks) };
    let told = candidates.iter().zip(&judged).map(|(candidate, trend)| {
        let subject = Subject { series: &candidate.series, name: &candidate.name, unit: candidate.resource.unit() };
        let finding = leak::finding(run, at, subject, trend);
        let found = found(candidate, trend, finding.title.clone());
        (finding, found)
    });
    let mut told: Vec<(Finding, TrendFound)> = told.collect();
    // What matters first.
    told.sort_by_key(|(finding, found)| (std::cmp::Reverse(finding.severity), std::cmp::Reverse(found.sureness)));
    told.into_iter().unzip()
}

/// What the readings of the daemon itself show, from second 0 to `until`; they are looked at again and again.
pub(super) fn of_itself(tracks: &Tracks, until: f64, restarts: &[(String, f64)]) -> Vec<TrendFound> {
    let own = |probe: &str| restarts.iter().filter(|(name, at)| name == probe && *at > 0.0).map(|(_, at)| *at).collect();
    let candidate = |(key, resource, track, limit): (&Key, Resource, &super::tracks::Track, Option<f64>)| Candidate {
        resource,
        probe: Some(key.probe.clone()),
        labels: key.labels.clone(),
        series: series_of(key),
        name: name_of(resource, key),
        soak: Soak { samples: track.samples(0.0, until), scale: Scale::Plain, limit, restarts: own(&key.probe) },
    };
    let candidates: Vec<Candidate> = tracks.resources().map(candidate).collect();
    let soaks: Vec<Soak> = candidates.iter().map(|candidate| candidate.soak.clone()).collect();
    let judged = leak::judge_meanwhile(&soaks);
    let told = |(candidate, trend): (&Candidate, &Trend)| {
        let subject = Subject { series: &candidate.series, name: &candidate.name, unit: candidate.resource.unit() };
        found(candidate, trend, leak::sentence(subject, trend))
    };
    candidates.iter().zip(&judged).map(told).collect()
}

fn of_probes<'a>(stretch: &'a Stretch, tracks: &'a Tracks, asked: &'a Asked) -> impl Iterator<Item = Candidate> + 'a {
    let (from, to) = (f64::from(stretch.from), f64::from(stretch.to));
    let candidate = move |(key, resource, track, limit): (&Key, Resource, &super::tracks::Track, Option<f64>)| {
        let soak = Soak {
            samples: track.samples(from, to),
            scale: Scale::Plain,
            limit: limit.or_else(|| asked.limit_of(resource)),
            restarts: tracks.restarts(&key.probe),
        };
        let (series, name) = (series_of(key), name_of(resource, key));
        Candidate { resource, probe: Some(key.probe.clone()), labels: key.labels.clone(), series, name, soak }
    };
    tracks.resources().map(candidate).filter(|candidate| !candidate.soak.samples.is_empty())
}

fn of_load(stretch: &Stretch, timeline: &Timeline, asked: &Asked) -> Vec<Candidate> {
    let (from, to) = (f64::from(stretch.from), f64::from(stretch.to));
    let minutes: Vec<_> = timeline.minutes.iter().filter(|minute| minute.at > from && minute.at < to).collect();
    let of = |resource: Resource, name: &str, scale: Scale, samples: Vec<(f64, f64)>| Candidate {
        resource,
        probe: None,
        labels: Labels::new(),
        series: if resource == Resource::P95 { "response time, all requests".into() } else { "requests failed, all requests".into() },
        name: name.into(),
        soak: Soak { samples, scale, limit: asked.limit_of(resource), restarts: Vec::new() },
    };
    let p95 = minutes.iter().filter_map(|minute| Some((minute.at, minute.p95_s?))).collect();
    let errors = minutes.iter().map(|minute| (minute.at, minute.failed)).collect();
    vec![
        of(Resource::P95, "p95 of the response time", Scale::Ratio, p95),
        of(Resource::Errors, "share of failed requests", Scale::Plain, errors),
    ]
}

/// `process_memory{probe="app", replica="2"}`.
fn series_of(key: &Key) -> String {
    let own = std::iter::once(format!("probe=\"{}\"", key.probe));
    let labels: Vec<String> = own.chain(key.labels.iter().map(|(name, value)| format!("{name}=\"{value}\""))).collect();
    format!("{}{{{}}}", key.metric, labels.join(", "))
}

/// "memory of `app`", in the singular.
fn name_of(resource: Resource, key: &Key) -> String {
    let what = match resource {
        Resource::Memory => "memory",
        Resource::Connections => "connection use",
        Resource::Descriptors => "number of open descriptors",
        Resource::Threads => "number of threads",
        Resource::Queue => "queue",
        Resource::P95 => "p95",
        Resource::Errors => "share of failures",
    };
    let others: Vec<&str> = key.labels.iter().filter(|(name, _)| *name != "pool").map(|(_, value)| value.as_str()).collect();
    let whose = match (key.labels.get("pool"), others.as_slice()) {
        (Some(pool), []) => format!("pool `{pool}`"),
        (Some(pool), others) => format!("pool `{pool}` ({})", others.join(", ")),
        (None, []) => format!("`{}`", key.probe),
        (None, others) => format!("`{}` ({})", key.probe, others.join(", ")),
    };
    format!("{what} of {whose}")
}

fn found(candidate: &Candidate, trend: &Trend, title: String) -> TrendFound {
    let verdict = match trend.verdict {
        Verdict::Leak => TrendVerdict::Leak,
        Verdict::Levelling => TrendVerdict::Levelling,
        Verdict::Step => TrendVerdict::Step,
        Verdict::Tiny => TrendVerdict::Tiny,
        Verdict::NoLeak => TrendVerdict::NoLeak,
        Verdict::Inconclusive => TrendVerdict::Unknown,
    };
    let sureness = trend.confidence.map(|confidence| match confidence {
        Confidence::Possible => Sureness::Possible,
        Confidence::Likely => Sureness::Likely,
        Confidence::Certain => Sureness::Certain,
    });
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    let hours = |hours: f64| hours * 3600.0;
    TrendFound {
        resource: candidate.resource,
        probe: candidate.probe.clone(),
        labels: candidate.labels.clone(),
        verdict,
        sureness,
        per_hour: trend.growth.and_then(|growth| Ranged::new(growth.per_hour, growth.low, growth.high)),
        limit: candidate.soak.limit,
        exhausted_in_s: trend.exhaustion.and_then(|exhaustion| {
            Ranged::new(hours(exhaustion.hours), hours(exhaustion.earliest), exhaustion.latest.map_or(f64::INFINITY, hours))
        }),
        detectable: trend.detectable.and_then(finite),
        detectable_per_hour: trend.detectable_per_hour.and_then(finite),
        from_s: trend.basis.from_s,
        to_s: trend.basis.to_s,
        title,
    }
}

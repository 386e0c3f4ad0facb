//! Scores the detection of regressions on histories that people annotated: `check_histories FILE.jsonl.gz`. One JSON object a line with
//! `key`, `values` and `annotators` (per person the indices at which a new level begins). Prints precision, recall, F1 and the quiet
//! histories that were flagged, of Plimsoll and, for comparison, of Apache Otava's method and of never raising an alarm.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};

use anyhow::{Context, bail};
use plimsoll::analysis::change_point::{OtavaSettings, Rules, change_points, otava};
use serde::Deserialize;

/// A found point counts for a marked one when it is at most this far off.
const MARGIN: usize = 5;

/// One annotated history.
#[derive(Deserialize)]
struct History {
    values: Vec<f64>,
    annotators: Vec<Vec<usize>>,
    #[serde(default)]
    consensus: Vec<usize>,
}

/// What a detector comes to.
#[derive(Default)]
struct Score {
    precision: f64,
    recall: f64,
    f1: f64,
    /// Points that most people marked, and how many of them were found.
    consensus: (usize, usize),
    /// Found points that nobody marked, per 1000 values.
    unsupported: f64,
    /// Histories in which nobody marked anything, and how many of them were flagged.
    quiet: (usize, usize),
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else { bail!("usage: check_histories FILE.jsonl.gz") };
    let histories = read(path)?;
    let detectors: [(&str, Detector); 6] = [
        ("never alarm", Box::new(|_| Vec::new())),
        ("Otava, default", otava_with(OtavaSettings::default())),
        ("Otava, min 5 %", otava_with(OtavaSettings { min_magnitude: 0.05, ..OtavaSettings::default() })),
        ("Otava, p 1e-6", otava_with(OtavaSettings { max_p: 1e-6, ..OtavaSettings::default() })),
        ("Perfherder, T 7", Box::new(|values| perfherder(values, 7.0))),
        ("plimsoll", Box::new(|values| change_points(values, &Rules::default()).iter().map(|point| point.index).collect())),
    ];
    let mut out = std::io::stdout().lock();
    let values: usize = histories.iter().map(|history| history.values.len()).sum();
    writeln!(out, "{} histories, {values} values, margin {MARGIN} points\n", histories.len())?;
    writeln!(
        out,
        "{:<16} {:>6} {:>10} {:>7} {:>14} {:>12} {:>14}",
        "detector", "F1", "precision", "recall", "quiet flagged", "consensus", "unsupported/k"
    )?;
    for (name, detector) in &detectors {
        let score = score(&histories, detector);
        writeln!(
            out,
            "{name:<16} {:>6.3} {:>10.3} {:>7.3} {:>14} {:>12} {:>14.2}",
            score.f1,
            score.precision,
            score.recall,
            format!("{} of {}", score.quiet.1, score.quiet.0),
            format!("{} of {}", score.consensus.1, score.consensus.0),
            score.unsupported,
        )?;
    }
    Ok(())
}

type Detector = Box<dyn Fn(&[f64]) -> Vec<usize>>;

fn otava_with(settings: OtavaSettings) -> Detector {
    Box::new(move |values| otava(values, &settings).points.iter().map(|point| point.index).collect())
}

fn read(path: &str) -> anyhow::Result<Vec<History>> {
    let file = std::fs::File::open(path).with_context(|| format!("{path} cannot be opened"))?;
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    let parse = |(at, line): (usize, std::io::Result<String>)| {
        let line = line.with_context(|| format!("{path} cannot be read at line {}", at + 1))?;
        serde_json::from_str(&line).with_context(|| format!("{path}:{} is no history", at + 1))
    };
    let histories: Vec<History> = lines.enumerate().map(parse).collect::<anyhow::Result<_>>()?;
    if histories.is_empty() {
        bail!("{path} holds no histories");
    }
    Ok(histories)
}

/// How many of the marked points were found; each found point serves once, the nearest first.
fn matched(marked: &BTreeSet<usize>, found: &BTreeSet<usize>) -> usize {
    let mut left = found.clone();
    let serves = |mark: &&usize| {
        let nearest =
            left.iter().copied().filter(|point| point.abs_diff(**mark) <= MARGIN).min_by_key(|point| (point.abs_diff(**mark), *point));
        nearest.is_some_and(|point| left.remove(&point))
    };
    marked.iter().filter(serves).count()
}

/// Precision against whatever anybody marked, recall averaged over people (van den Burg & Williams 2020); index 0 is a free hit of both.
fn score(histories: &[History], detector: &Detector) -> Score {
    let mut score = Score::default();
    let mut unsupported = 0;
    for history in histories {
        let found: BTreeSet<usize> = detector(&history.values).into_iter().collect();
        let marked: BTreeSet<usize> = history.annotators.iter().flatten().copied().collect();
        let with_start = |points: &BTreeSet<usize>| -> BTreeSet<usize> { points.iter().copied().chain([0]).collect() };
        let all_found = with_start(&found);
        let precision = matched(&with_start(&marked), &all_found) as f64 / all_found.len() as f64;
        let recalls = history.annotators.iter().map(|own| {
            let own = with_start(&own.iter().copied().collect());
            matched(&own, &all_found) as f64 / own.len() as f64
        });
        let recall = recalls.sum::<f64>() / history.annotators.len().max(1) as f64;
        score.precision += precision;
        score.recall += recall;
        score.f1 += if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        score.consensus.0 += history.consensus.len();
        score.consensus.1 += matched(&history.consensus.iter().copied().collect(), &found);
        unsupported += found.len() - matched(&marked, &found);
        score.quiet.0 += usize::from(marked.is_empty());
        score.quiet.1 += usize::from(marked.is_empty() && !found.is_empty());
    }
    let count = histories.len() as f64;
    let values: usize = histories.iter().map(|history| history.values.len()).sum();
    score.precision /= count;
    score.recall /= count;
    score.f1 /= count;
    score.unsupported = 1000.0 * unsupported as f64 / values.max(1) as f64;
    score
}

/// Perfherder's t-test with weights that fall with the distance (mozilla/treeherder, `perfalert`): 12 to 24 values back, 12 forward.
fn perfherder(values: &[f64], threshold: f64) -> Vec<usize> {
    const BACK: usize = 12;
    const MOST_BACK: usize = 24;
    const FORE: usize = 12;
    let weighed = |part: &mut dyn ExactSizeIterator<Item = f64>| {
        let part: Vec<f64> = part.collect();
        let count = part.len() as f64;
        let weight = |at: usize| (count - at as f64) / count;
        let total: f64 = (0..part.len()).map(weight).sum();
        let mean = part.iter().enumerate().map(|(at, value)| value * weight(at)).sum::<f64>() / total;
        let spread = if part.len() > 1 { part.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) } else { 0.0 };
        (mean, count, spread)
    };
    let (mut t, mut since) = (vec![0.0; values.len()], 0);
    for at in 1..values.len() {
        let back = since.clamp(BACK, MOST_BACK);
        let (before, n, spread_before) = weighed(&mut values[at.saturating_sub(back)..at].iter().rev().copied());
        let (after, m, spread_after) = weighed(&mut values[at..(at + FORE).min(values.len())].iter().copied());
        let error = (spread_before / n + spread_after / m).sqrt();
        t[at] = if (after - before).abs() > 0.0 { (after - before).abs() / error } else { 0.0 };
        since = if t[at] > threshold { 0 } else { since + 1 };
    }
    let peak = |at: &usize| t[*at] > threshold && t[*at] >= t[at - 1] && t.get(at + 1).is_none_or(|next| t[*at] >= *next);
    (BACK..(values.len() + 1).saturating_sub(FORE)).filter(peak).collect()
}

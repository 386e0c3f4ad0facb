//! Looks at one stretch between two restarts: reduces it to points, cleans them, looks at its windows. No verdict yet: that depends on
//! how many metrics are judged together.

use super::clean::WarmUp;
use super::fall::lasting_falls;
use super::points::{Envelope, Points, reduce};
use super::window::{Window, look};
use super::{FEWEST_SAMPLES, Why, clean};
use crate::analysis::stats::order::{median_of, quantile_of_sorted, same, sorted};

/// Windows, as shares of the stretch up to its end: a leak may have begun in the middle.
const WINDOWS: [f64; 3] = [1.0, 0.6, 0.4];
/// Fewest points of a window that is not the whole.
const FEWEST_IN_WINDOW: f64 = 12.0;
/// Fewest points after a warm-up.
const FEWEST_AFTER_WARM_UP: usize = 12;
/// Time constants of a warm-up that are cut off.
const WARM_UP_CUT: f64 = 3.0;
/// Time constants of a warm-up that a soak should last.
const WARM_UPS_NEEDED: f64 = 10.0;
/// A distance between samples counts as measured up to so many usual ones.
const MEASURED: f64 = 3.0;
/// Share of the time that has to be measured.
const LEAST_MEASURED: f64 = 0.5;
/// Share of the stretch that is recent, and most points of it.
const RECENT: f64 = 0.4;
const MOST_RECENT: usize = 96;
/// The value has to end above this share of all that was before a last part.
const NEW_HIGH: f64 = 0.95;

/// What a stretch says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    pub(super) samples: usize,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) level: f64,
    pub(super) outcome: Result<Looked, Why>,
}

/// What its windows say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Looked {
    /// The points before anything was taken out of them.
    pub(super) as_read: Points,
    /// The points after it.
    pub(super) points: Points,
    /// The last of the samples, finer than the points; of a saw-tooth or a wave the points themselves.
    pub(super) recent: Points,
    pub(super) envelope: Envelope,
    /// Usual height of the teeth above the points; 0: no teeth.
    pub(super) teeth: f64,
    pub(super) wave_cycles: Option<f64>,
    pub(super) warm_up: Option<WarmUp>,
    /// The whole first; none when all values are the same.
    pub(super) windows: Vec<Part>,
    /// The deepest fall that is no tooth: when, and how far.
    pub(super) fell: Option<(f64, f64)>,
    /// What the parts between such falls say by themselves.
    pub(super) between_falls: Vec<Looked>,
}

/// A window of a stretch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    pub(super) window: Window,
    /// True when it ends above all that was before it.
    pub(super) new_high: bool,
    /// Growth that a warm-up that was taken out may still have left over in it.
    pub(super) leftover: Option<f64>,
}

impl Looked {
    /// The smallest p-value of a window that rises, for all windows together; 1 when none does.
    pub(super) fn p(&self) -> f64 {
        let rising = self.windows.iter().filter(|part| part.window.slope > 0.0).map(|part| part.window.p);
        (rising.fold(1.0, f64::min) * self.windows.len().max(1) as f64).min(1.0)
    }
}

/// Looks at the samples of a stretch whose ramp is cut off.
pub(super) fn look_at(samples: &Points) -> Stretch {
    let measured = measured(samples);
    let outcome = if samples.len() < FEWEST_SAMPLES {
        Err(Why::TooFewSamples { needed: FEWEST_SAMPLES, found: samples.len() })
    } else if measured < LEAST_MEASURED {
        Err(Why::Holes { measured })
    } else {
        looked(samples).map(|whole| with_falls(whole, samples))
    };
    Stretch {
        samples: samples.len(),
        from: samples.times.first().copied().unwrap_or(0.0),
        to: samples.times.last().copied().unwrap_or(0.0),
        level: median_of(samples.values.iter().copied()),
        outcome,
    }
}

/// Share of the time that was measured.
fn measured(samples: &Points) -> f64 {
    let apart: Vec<f64> = samples.times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let usual = median_of(apart.iter().copied());
    let measured: f64 = apart.iter().map(|apart| apart.min(MEASURED * usual)).sum();
    if samples.span() > 0.0 { measured / samples.span() } else { 0.0 }
}

fn looked(samples: &Points) -> Result<Looked, Why> {
    let reduced = reduce(samples);
    let mut found = Looked {
        recent: reduced.points.clone(),
        as_read: reduced.points.clone(),
        points: reduced.points,
        envelope: reduced.envelope,
        teeth: reduced.teeth,
        wave_cycles: None,
        warm_up: None,
        windows: vec![],
        fell: None,
        between_falls: vec![],
    };
    if samples.values.iter().all(|value| same(*value, samples.values[0])) {
        return Ok(found);
    }
    found.wave_cycles = clean::take_out_wave(&mut found.points);
    if found.wave_cycles.is_none()
        && let Some(warm_up) = clean::take_out_warm_up(&mut found.points)
    {
        found.warm_up = Some(warm_up);
        found.points = found.points.since(found.points.times[0] + WARM_UP_CUT * warm_up.tau_s);
        if found.points.len() < FEWEST_AFTER_WARM_UP {
            return Err(Why::Warming { needed_s: WARM_UPS_NEEDED * warm_up.tau_s });
        }
    }
    let plain = found.envelope == Envelope::BlockMedians && found.wave_cycles.is_none() && found.warm_up.is_none();
    found.recent = if plain { recent(samples) } else { found.points.clone() };
    found.windows = windows(&found.points, found.warm_up.as_ref())?;
    Ok(found)
}

/// The last samples, some taken together where there are many.
fn recent(samples: &Points) -> Points {
    let last = samples.since(samples.times[samples.len() - 1] - RECENT * samples.span());
    last.taken_together(last.len().div_ceil(MOST_RECENT))
}

fn windows(points: &Points, warm_up: Option<&WarmUp>) -> Result<Vec<Part>, Why> {
    let mut parts = Vec::new();
    let end = points.times.last().copied().unwrap_or(0.0);
    for share in WINDOWS {
        let whole = share >= 1.0;
        if !whole && (points.len() as f64) * share < FEWEST_IN_WINDOW {
            continue;
        }
        let part = if whole { points.clone() } else { points.since(end - share * points.span()) };
        match look(&part) {
            Ok(window) => {
                let before = sorted(&points.values[..points.len() - part.len()]);
                let new_high = before.is_empty() || window.now > quantile_of_sorted(&before, NEW_HIGH);
                let leftover = warm_up.map(|warm_up| warm_up.leftover(window.since));
                parts.push(Part { window, new_high, leftover });
            }
            // A last part may be unusable by itself, such as when its points are at one moment.
            Err(_) if !whole => {}
            Err(_) => return Err(Why::Unusable),
        }
    }
    Ok(parts)
}

/// Adds the falls that are no teeth, and what the parts between them say.
fn with_falls(mut whole: Looked, samples: &Points) -> Looked {
    if whole.envelope == Envelope::CycleFloors {
        return whole;
    }
    let falls = lasting_falls(&samples.values);
    let Some(deepest) = falls.iter().copied().max_by(|a, b| a.depth.total_cmp(&b.depth)) else { return whole };
    whole.fell = Some((samples.times[deepest.after + 1], deepest.depth));
    let borders: Vec<usize> = [0].into_iter().chain(falls.iter().map(|fall| fall.after + 1)).chain([samples.len()]).collect();
    let parts = borders.windows(2).map(|pair| samples.part(pair[0], pair[1])).filter(|part| part.len() >= FEWEST_SAMPLES);
    whole.between_falls = parts.filter_map(|part| looked(&part).ok()).collect();
    whole
}

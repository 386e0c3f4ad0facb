//! From what the stretches say to a verdict, for one metric or several of one run. Several metrics share the chance of a false alarm
//! (Holm); what is left over but stands out (Benjamini-Hochberg, 5 %) is worth watching.

use super::limit::{detectable, exhaustion, speed, value_now};
use super::shape::{is_accelerating, is_staircase};
use super::stretch::{Looked, Part, Stretch, look_at};
use super::window::{Window, look};
use super::{ALPHA, Basis, Confidence, Growth, Kind, LEAST_GROWTH, Scale, Soak, Trend, Verdict, WATCH, Why, series};
use crate::analysis::stats::multiple::{benjamini_hochberg, holm};

/// A leak with a smaller p-value is certain.
const CERTAIN: f64 = 0.001;
/// Largest growth that is told as a share.
const MOST_RATIO: f64 = 1e9;
/// Two levels with less than this share of the line's squares are a step.
const STEP: f64 = 0.75;
/// A step that no test for a trend has seen has to be this much better than a line, and so many times the noise high.
const CLEAR_STEP: (f64, f64) = (0.35, 3.0);
/// Fewer points fall into two levels by chance.
const STEP_POINTS: usize = 8;
/// The second half grows less than this share of the whole's slope: it levels off.
const LEVELLING: f64 = 0.25;
/// A fall of this share of the growth makes it doubtful.
const DOUBTFUL_FALL: f64 = 0.5;

/// A metric with all that was looked at.
struct Metric<'a> {
    soak: &'a Soak,
    basis: Basis,
    end: f64,
    stretches: Vec<Stretch>,
}

/// Judges one metric by itself.
pub fn judge(soak: &Soak) -> Trend {
    let metric = Metric::new(soak);
    let p = metric.p().unwrap_or(1.0);
    metric.verdict(1.0, p, p, ALPHA)
}

/// Judges the metrics of one run together; the answers are in the same order.
pub fn judge_all(soaks: &[Soak]) -> Vec<Trend> {
    judged(soaks, ALPHA)
}

/// The same while the run goes on and is looked at again and again, which finds by chance what one look would not: a leak that is not
/// certain is only a suspicion, and what could have been found is what would have been certain.
pub fn judge_meanwhile(soaks: &[Soak]) -> Vec<Trend> {
    let mut judged = judged(soaks, CERTAIN);
    judged.iter_mut().for_each(doubt);
    judged
}

fn doubt(trend: &mut Trend) {
    if trend.verdict == Verdict::Leak && trend.confidence != Some(Confidence::Certain) {
        trend.verdict = Verdict::NoLeak;
        trend.confidence = Some(Confidence::Possible);
    }
}

/// `alpha`: how small the chance of a false alarm has to be for a leak to be called one.
fn judged(soaks: &[Soak], alpha: f64) -> Vec<Trend> {
    let metrics: Vec<Metric> = soaks.iter().map(Metric::new).collect();
    // Only metrics that could be tested share the chance of a false alarm.
    let raw: Vec<f64> = metrics.iter().filter_map(Metric::p).collect();
    // A leak in one of them would be the clearest of all, and would have to be so clear (Holm).
    let alpha = alpha / raw.len().max(1) as f64;
    let mut adjusted = raw.iter().zip(holm(&raw)).zip(benjamini_hochberg(&raw));
    metrics
        .iter()
        .map(|metric| match metric.p().and_then(|_| adjusted.next()) {
            Some(((raw, holm), q)) => metric.verdict(if *raw > 0.0 { holm / raw } else { 1.0 }, holm, q, alpha),
            None => metric.verdict(1.0, 1.0, 1.0, alpha),
        })
        .collect()
}

impl<'a> Metric<'a> {
    fn new(soak: &'a Soak) -> Self {
        let series = series::read(soak);
        let stretches = series.stretches.iter().map(look_at).collect();
        let basis = Basis { dropped: series.dropped, clock_steps: series.clock_steps, restarts_s: series.restarts, ..Basis::default() };
        Self { soak, basis, end: series.end, stretches }
    }

    /// How many stretches could be judged.
    fn judged(&self) -> usize {
        self.stretches.iter().filter(|stretch| stretch.outcome.is_ok()).count()
    }

    /// The smallest p-value of a rise, over all windows and stretches; `None` when nothing could be judged.
    fn p(&self) -> Option<f64> {
        let all = self.stretches.iter().filter_map(|stretch| stretch.outcome.as_ref().ok()).map(Looked::p);
        all.reduce(f64::min).map(|least| (least * self.judged() as f64).min(1.0))
    }

    /// The verdict when p-values count `factor` times because other metrics were judged too; `p` and `q` are those of the metric. `alpha`:
    /// the p-value of the metric below which a leak would have been called one.
    fn verdict(&self, factor: f64, p: f64, q: f64, alpha: f64) -> Trend {
        let mut trend = Trend {
            verdict: Verdict::Inconclusive,
            why: None,
            confidence: None,
            p,
            kind: None,
            growth: None,
            since_s: None,
            step: None,
            exhaustion: None,
            detectable: None,
            detectable_per_hour: None,
            scale: self.soak.scale,
            basis: self.basis.clone(),
        };
        let factor = factor * self.judged().max(1) as f64;
        let longest = |a: &&Stretch, b: &&Stretch| (a.to - a.from).total_cmp(&(b.to - b.from));
        let leaking = |stretch: &&Stretch| {
            stretch.outcome.as_ref().is_ok_and(|looked| decide(looked, stretch.level, self.soak.scale, factor).0 == Verdict::Leak)
        };
        // The last stretch that leaks; otherwise the longest that could be judged; otherwise the longest.
        let chosen = self.stretches.iter().rev().find(leaking);
        let chosen = chosen.or_else(|| self.stretches.iter().filter(|stretch| stretch.outcome.is_ok()).max_by(longest));
        let Some(stretch) = chosen.or_else(|| self.stretches.iter().max_by(longest)) else {
            trend.why = Some(Why::TooFewSamples { needed: super::FEWEST_SAMPLES, found: 0 });
            return trend;
        };
        self.describe(&mut trend, stretch);
        let alpha = alpha / self.judged().max(1) as f64;
        match &stretch.outcome {
            Ok(looked) => {
                let slope = self.conclude(&mut trend, stretch, looked, (factor, q), alpha);
                trend.detectable = slope.map(|slope| self.told_growth(slope * (stretch.to - stretch.from)));
                trend.detectable_per_hour = slope.map(|slope| self.told_growth(slope * 3600.0));
            }
            Err(why) => {
                trend.why = Some(*why);
                if matches!(why, Why::Warming { .. }) {
                    trend.verdict = Verdict::Levelling;
                }
            }
        }
        trend
    }

    /// The figures that do not depend on the verdict.
    fn describe(&self, trend: &mut Trend, stretch: &Stretch) {
        let basis = &mut trend.basis;
        basis.samples = stretch.samples;
        (basis.from_s, basis.to_s) = (stretch.from, stretch.to);
        basis.level = self.told(stretch.level);
        basis.now = basis.level;
        let Ok(looked) = &stretch.outcome else { return };
        basis.points = looked.points.len();
        basis.envelope = Some(looked.envelope);
        basis.wave_cycles = looked.wave_cycles;
        basis.warm_up_s = looked.warm_up.map(|warm_up| warm_up.tau_s);
        let Some(whole) = looked.windows.first().map(|part| part.window) else { return };
        basis.noise = self.told_growth(whole.noise);
        basis.autocorrelation = whole.phi;
        basis.effective_points = whole.effective();
        basis.now = self.told(value_now(&looked.recent, whole.slope, stretch.to));
    }

    /// Concludes; returns the smallest growth per second that would have been found, on the scale that is judged.
    fn conclude(&self, trend: &mut Trend, stretch: &Stretch, looked: &Looked, (factor, q): (f64, f64), alpha: f64) -> Option<f64> {
        let (verdict, part) = decide(looked, stretch.level, self.soak.scale, factor);
        trend.verdict = verdict;
        let least = self.least_growth(stretch.level);
        let (Some(part), Some(whole)) = (part, looked.windows.first()) else { return Some(least / (stretch.to - stretch.from)) };
        let (window, alpha) = (part.window, alpha / looked.windows.len() as f64);
        let of = |window: &Window| detectable(window, whole.leftover, alpha, least) / window.span;
        if window.slope > 0.0 && verdict != Verdict::NoLeak {
            let hourly = |slope: f64| self.told_growth(slope * 3600.0);
            let (low, high) = (hourly(window.low), hourly(window.high));
            trend.growth = Some(Growth { per_hour: hourly(window.slope), low, high });
            trend.since_s = Some(window.since);
        }
        if verdict == Verdict::Step {
            trend.step = Some((window.step_at, self.told_growth(window.step)));
        }
        if let Some((at_s, by)) = doubtful_fall(looked, stretch.level, self.soak.scale, factor, verdict, &window) {
            trend.verdict = Verdict::Inconclusive;
            trend.why = Some(Why::Fell { at_s, by: self.told_growth(by) });
            return None;
        }
        if verdict == Verdict::Leak {
            trend.confidence = Some(if trend.p < CERTAIN { Confidence::Certain } else { Confidence::Likely });
            trend.kind = Some(kind(looked, &window));
            trend.exhaustion = self.exhaustion(stretch, looked, &window);
        } else if verdict == Verdict::NoLeak && q < WATCH {
            trend.confidence = Some(Confidence::Possible);
        }
        match verdict {
            Verdict::Step => without_step(looked, &window).as_ref().map(of),
            // A curve is far from the line over the whole; the part that is one tells the noise better.
            Verdict::Leak => Some(of(&window).min(of(&whole.window))),
            Verdict::Levelling | Verdict::Tiny | Verdict::NoLeak | Verdict::Inconclusive => Some(of(&whole.window)),
        }
    }

    fn exhaustion(&self, stretch: &Stretch, looked: &Looked, window: &Window) -> Option<super::Exhaustion> {
        let told = self.soak.limit.filter(|limit| limit.is_finite())?;
        let limit = match self.soak.scale {
            Scale::Plain => told,
            Scale::Ratio => (told > 0.0).then(|| told.ln())?,
        };
        let windows: Vec<Window> = looked.windows.iter().map(|part| part.window).collect();
        let (slope, interval) = speed(window, &windows, &looked.recent);
        // After a restart it is the last stretch that fills up, at the speed that was seen before it.
        let last = self.stretches.last().filter(|last| last.from > stretch.from);
        let now = match last {
            Some(last) => last.outcome.as_ref().map_or(last.level, |looked| value_now(&looked.recent, slope, self.end)),
            None => value_now(&looked.recent, slope, self.end),
        };
        exhaustion((told, limit), now, looked.teeth, slope, interval)
    }

    /// A value as it is told, from the scale that is judged.
    fn told(&self, value: f64) -> f64 {
        match self.soak.scale {
            Scale::Plain => value,
            Scale::Ratio => value.exp(),
        }
    }

    /// Growth as it is told.
    fn told_growth(&self, growth: f64) -> f64 {
        match self.soak.scale {
            Scale::Plain => growth,
            Scale::Ratio => growth.exp_m1().min(MOST_RATIO),
        }
    }

    fn least_growth(&self, level: f64) -> f64 {
        least_growth(level, self.soak.scale)
    }
}

/// Growth that is worth a word, on the scale that is judged.
fn least_growth(level: f64, scale: Scale) -> f64 {
    match scale {
        Scale::Plain => LEAST_GROWTH * level.abs(),
        Scale::Ratio => LEAST_GROWTH.ln_1p(),
    }
}

/// The verdict of a stretch when p-values count `factor` times, and the window that it rests on.
fn decide(looked: &Looked, level: f64, scale: Scale, factor: f64) -> (Verdict, Option<&Part>) {
    let Some(whole) = looked.windows.first() else { return (Verdict::NoLeak, None) };
    let factor = factor * looked.windows.len() as f64;
    let least = least_growth(level, scale);
    let judged: Vec<(Verdict, &Part)> = looked.windows.iter().map(|part| (shape(part, least, factor), part)).collect();
    let mut leaks = judged.iter().filter(|(verdict, _)| *verdict == Verdict::Leak).map(|(_, part)| *part);
    if let Some(first) = leaks.next() {
        // It accelerates: a last part is steeper beyond doubt.
        let steepest = leaks.fold(first, |best, part| if part.window.low > first.window.slope { part } else { best });
        return (Verdict::Leak, Some(steepest));
    }
    let other = judged.iter().find(|(verdict, _)| *verdict != Verdict::NoLeak);
    let (verdict, part) = other.copied().unwrap_or((Verdict::NoLeak, whole));
    let clear = &whole.window;
    let enough = clear.points >= STEP_POINTS;
    let jumped = enough && clear.two_levels < CLEAR_STEP.0 && clear.step > least.max(CLEAR_STEP.1 * clear.noise);
    if jumped && matches!(verdict, Verdict::NoLeak | Verdict::Levelling) { (Verdict::Step, Some(whole)) } else { (verdict, Some(part)) }
}

/// The verdict of one window.
fn shape(part: &Part, least: f64, factor: f64) -> Verdict {
    let window = &part.window;
    if window.p * factor >= ALPHA || window.slope <= 0.0 || !part.new_high {
        Verdict::NoLeak
    } else if window.growth < least.max(window.noise) {
        Verdict::Tiny
    } else if window.two_levels < STEP {
        Verdict::Step
    } else if window.second_half < LEVELLING * window.slope || part.leftover.is_some_and(|leftover| window.low_growth() < leftover) {
        Verdict::Levelling
    } else {
        Verdict::Leak
    }
}

/// A fall that makes the verdict doubtful: it is deep against the growth, or what lies between the falls rises by itself.
fn doubtful_fall(looked: &Looked, level: f64, scale: Scale, factor: f64, verdict: Verdict, window: &Window) -> Option<(f64, f64)> {
    let fell = looked.fell?;
    let doubtful = if verdict == Verdict::Leak {
        fell.1 >= DOUBTFUL_FALL * window.growth
    } else {
        let factor = factor * looked.between_falls.len() as f64;
        looked.between_falls.iter().any(|part| decide(part, level, scale, factor).0 == Verdict::Leak)
    };
    doubtful.then_some(fell)
}

/// The whole, with the step of a window taken out: what else could have been seen.
fn without_step(looked: &Looked, window: &Window) -> Option<Window> {
    let mut points = looked.points.clone();
    for (value, time) in points.values.iter_mut().zip(&points.times) {
        *value -= if *time >= window.step_at { window.step } else { 0.0 };
    }
    look(&points).ok()
}

/// What kind of growth the window shows.
fn kind(looked: &Looked, window: &Window) -> Kind {
    let points = looked.as_read.since(window.since);
    if is_staircase(&points) {
        return Kind::Stepwise;
    }
    let faster = looked.windows.first().is_some_and(|whole| window.since > whole.window.since && window.low > whole.window.slope);
    if faster || is_accelerating(&points) { Kind::Accelerating } else { Kind::Steady }
}

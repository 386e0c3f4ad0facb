//! Does a resource grow without end under constant load (docs/methods.md, "Leaks and trends")? Few, nearly independent points are made of
//! the samples, waves and warm-up taken out, the whole and its last parts tested for a trend by two methods that must agree, and what
//! is significant is asked for its shape: a leak goes on, a step or a warm-up does not. At least 20 samples. On soaks without a leak
//! about 1 % false alarms where Mann-Kendall has 35 % (`scripts/bench-leak`).

mod clean;
mod fall;
mod finding;
mod idle;
mod judge;
mod limit;
mod points;
mod series;
mod shape;
mod stretch;
#[cfg(test)]
mod tests;
mod window;

use serde::{Deserialize, Serialize};

pub use finding::{Subject, finding, sentence};
pub use idle::{Differential, FEWEST_IDLE, FEWEST_NIGHTS, Retained, differential, retained};
pub use judge::{judge, judge_all, judge_meanwhile};
pub use limit::Exhaustion;
pub use points::Envelope;

/// Name and version of the method, for findings.
pub const METHOD: &str = "leak-gls-mk/2";
/// Highest chance of calling a series without a trend a leak, over all windows, stretches and metrics of a run together.
pub const ALPHA: f64 = 0.02;
/// Share of false ones among those that are only watched.
pub const WATCH: f64 = 0.05;
/// Growth below this share of the level is not worth a word.
pub const LEAST_GROWTH: f64 = 0.01;
/// Fewest samples.
pub const FEWEST_SAMPLES: usize = 20;

/// What is known of one metric in the part of a run whose load is constant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Soak {
    /// Second of the run and value, in the order of reading. Missing readings are left out; NaN and infinities are.
    pub samples: Vec<(f64, f64)>,
    /// How growth is counted.
    pub scale: Scale,
    /// The value at which the resource is used up.
    pub limit: Option<f64>,
    /// Seconds at which the target is known to have been restarted (its start time changed, its counters began anew).
    pub restarts: Vec<f64>,
}

/// How growth is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// In the metric's unit: memory, connections, descriptors, threads, queues, error rates.
    #[default]
    Plain,
    /// As a share of the level, for response times: the logarithm is judged, and only values above 0. Each value should stand for
    /// at least 60 s and 1000 requests.
    Ratio,
}

/// What is concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It grows, and goes on growing.
    Leak,
    /// It grew, and levels off: a warm-up, a cache that fills.
    Levelling,
    /// It jumped once.
    Step,
    /// It grows, but by less than 1 % of its level or than its noise.
    Tiny,
    /// No growth is seen. Says something only together with [`Trend::detectable`].
    NoLeak,
    /// The data do not answer; [`Trend::why`] says why.
    Inconclusive,
}

/// How sure a leak is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Worth watching: about one in twenty of these is false, and its shape may still be another.
    Possible,
    /// Significant at 2 % over all metrics of the run, and of the shape of a leak.
    Likely,
    /// The same at 0.1 %.
    Certain,
}

/// What kind of growth a leak is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// As much in every hour.
    Steady,
    /// In steps, with levels between them.
    Stepwise,
    /// Faster at the end than over the whole.
    Accelerating,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Too little was measured after the ramp was cut off.
    TooFewSamples {
        /// Samples needed.
        needed: usize,
        /// Samples there are.
        found: usize,
    },
    /// Less than half of the time was measured.
    Holes {
        /// Share that was.
        measured: f64,
    },
    /// Still warming up for most of the time.
    Warming {
        /// Seconds that a soak should last.
        needed_s: f64,
    },
    /// It rises, but it also fell, and nobody said that the target was restarted: a leak with a restart and a slow collection of garbage
    /// look alike.
    Fell {
        /// Second of the deepest fall.
        at_s: f64,
        /// How far it fell, in the metric's unit or as a share.
        by: f64,
    },
    /// The numbers cannot be calculated with.
    Unusable,
}

/// Growth per hour with its 95 % interval; in the metric's unit, or with [`Scale::Ratio`] as a share (0.1: 10 % an hour).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// Growth per hour.
    pub per_hour: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What the verdict rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Samples judged: after the cut of the ramp, in the stretch that the verdict speaks of.
    pub samples: usize,
    /// Samples left out because they were no numbers.
    pub dropped: usize,
    /// Points that they were reduced to.
    pub points: usize,
    /// What a point is.
    pub envelope: Option<Envelope>,
    /// First second judged.
    pub from_s: f64,
    /// Last second judged.
    pub to_s: f64,
    /// Median level.
    pub level: f64,
    /// Value at the end, by the line.
    pub now: f64,
    /// Scatter of the points around the line.
    pub noise: f64,
    /// Autocorrelation of neighbouring points around the line, 0 to 1.
    pub autocorrelation: f64,
    /// How many independent points they are worth.
    pub effective_points: f64,
    /// Cycles of a wave that was taken out.
    pub wave_cycles: Option<f64>,
    /// Time constant in seconds of a warm-up that was taken out.
    pub warm_up_s: Option<f64>,
    /// Seconds at which the target was restarted.
    pub restarts_s: Vec<f64>,
    /// How often the clock was set back.
    pub clock_steps: usize,
}

/// The answer for one metric of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// What is concluded.
    pub verdict: Verdict,
    /// Why there is no answer.
    pub why: Option<Why>,
    /// How sure a leak is; `None`: none is suspected.
    pub confidence: Option<Confidence>,
    /// Chance of a trend as clear as this without a cause, over all windows, stretches and metrics of the run; 1 when nothing rises.
    pub p: f64,
    /// What kind of leak it is.
    pub kind: Option<Kind>,
    /// How fast it grows; `None` when it does not.
    pub growth: Option<Growth>,
    /// Since which second it grows like this: the first judged, or the first of a last part in which it grows faster.
    pub since_s: Option<f64>,
    /// Second at which a step happened, and its height in the metric's unit or as a share.
    pub step: Option<(f64, f64)>,
    /// When the limit is reached if it goes on like this; only for leaks with a limit.
    pub exhaustion: Option<Exhaustion>,
    /// Growth over the time judged that would have been found with a chance of 80 %, in the metric's unit or as a share. `None` when the
    /// data do not answer.
    pub detectable: Option<f64>,
    /// The same per hour.
    pub detectable_per_hour: Option<f64>,
    /// How growth is counted.
    pub scale: Scale,
    /// What the verdict rests on.
    pub basis: Basis,
}

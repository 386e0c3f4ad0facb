//! Made-up soaks of which it is known whether they leak: 18 kinds without a leak, 13 with. Each is a function of its kind, a seed, the
//! number of samples and the growth. Times in seconds, one sample every ten; values in MB, or connections.

use std::f64::consts::TAU;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Poisson, StandardNormal};

/// Seconds between samples.
const STEP_S: f64 = 10.0;
/// Level that the value stays at.
const LEVEL: f64 = 512.0;
/// Standard deviation of the noise.
pub(crate) const SIGMA: f64 = 4.0;

/// Kinds without a leak.
pub(crate) const FLAT: &[&str] = &[
    "white",
    "ar50",
    "ar80",
    "ar95",
    "saw",
    "saw_slow",
    "warmup",
    "warmup_slow",
    "step",
    "stairs_plateau",
    "seasonal",
    "ties",
    "constant",
    "outliers",
    "gaps",
    "restart",
    "spike_end",
    "randwalk",
];

/// Kinds with a leak.
pub(crate) const LEAKY: &[&str] =
    &["white", "ar50", "ar80", "ar95", "saw", "saw_slow", "warmup", "seasonal", "ties", "outliers", "gaps", "late", "conn_stairs"];

/// A made-up soak and the truth about it.
pub(crate) struct Soak {
    pub(crate) times: Vec<f64>,
    pub(crate) values: Vec<f64>,
    /// True slope once the leak has begun, per second.
    pub(crate) slope: f64,
    /// True value at the end, without noise.
    pub(crate) end: f64,
}

/// The limit that a kind is asked for.
pub(crate) fn limit(kind: &str) -> f64 {
    if matches!(kind, "ties" | "conn_stairs") { 200.0 } else { 1024.0 }
}

/// The soak of a kind; `growth` is what leaks over the whole of it, 0: nothing.
pub(crate) fn make(kind: &str, seed: u64, n: usize, growth: f64) -> Option<Soak> {
    let mut random = SmallRng::seed_from_u64(seed_of(kind, seed, n, growth));
    let part: Vec<f64> = (0..n).map(|at| at as f64 / (n - 1) as f64).collect();
    let mut values = shape(kind, &part, &mut random)?;
    let onset = if kind == "late" { 0.5 } else { 0.0 };
    if growth > 0.0 && kind == "conn_stairs" {
        // Leaked connections: each at a moment of its own.
        let count = Poisson::new(growth).map_or(0.0, |poisson| poisson.sample(&mut random)) as usize;
        for _ in 0..count {
            let at = random.random_range(0.0..1.0);
            for (value, _) in values.iter_mut().zip(&part).filter(|(_, part)| **part > at) {
                *value += 1.0;
            }
        }
    } else if growth > 0.0 {
        for (value, part) in values.iter_mut().zip(&part) {
            *value += growth * ((part - onset) / (1.0 - onset)).max(0.0);
        }
    }
    if matches!(kind, "ties" | "conn_stairs") {
        for value in &mut values {
            *value = value.round();
        }
    }
    let kept = kept(kind, n, &mut random);
    let pick = |series: &mut dyn Iterator<Item = f64>| series.zip(&kept).filter(|(_, kept)| **kept).map(|(value, _)| value).collect();
    let span = (n - 1) as f64 * STEP_S;
    Some(Soak {
        times: pick(&mut (0..n).map(|at| at as f64 * STEP_S)),
        values: pick(&mut values.into_iter()),
        slope: growth / ((1.0 - onset) * span),
        end: growth + if kind == "ties" { LEVEL / 16.0 } else { LEVEL },
    })
}

/// The values before anything leaks.
fn shape(kind: &str, part: &[f64], random: &mut SmallRng) -> Option<Vec<f64>> {
    if let Some(values) = noise(kind, part.len(), random) {
        return Some(values);
    }
    let n = part.len();
    let shape: Box<dyn Fn(f64) -> f64> = match kind {
        "late" => Box::new(|_| 0.0),
        "warmup" | "warmup_slow" => {
            let tau = if kind == "warmup" { random.random_range(0.02..0.06) } else { random.random_range(0.10..0.22) };
            Box::new(move |part| -100.0 * (-part / tau).exp())
        }
        "step" => {
            let (height, at) = (random.random_range(3.0..12.0) * SIGMA, random.random_range(0.15..0.85));
            Box::new(move |part| if part > at { height } else { 0.0 })
        }
        "stairs_plateau" => {
            let mut at: Vec<f64> = (0..3).map(|_| random.random_range(0.05..0.6)).collect();
            at.sort_by(f64::total_cmp);
            Box::new(move |part| at.iter().zip([40.0, 20.0, 10.0]).filter(|(at, _)| part > **at).map(|(_, height)| height).sum())
        }
        "seasonal" => {
            let (cycles, phase) = (random.random_range(2.5..6.0), random.random_range(0.0..1.0));
            Box::new(move |part| 5.0 * SIGMA * (TAU * (part * cycles + phase)).sin())
        }
        "restart" => {
            let at = random.random_range(0.2..0.8);
            Box::new(move |part| if part > at { -60.0 } else { 0.0 })
        }
        "spike_end" => {
            let from = 1.0 - (n / 40).max(2) as f64 / (n - 1) as f64;
            Box::new(move |part| if part > from { 12.0 * SIGMA } else { 0.0 })
        }
        _ => return None,
    };
    let noise = autoregressive(n, if kind == "restart" { 0.8 } else { 0.5 }, SIGMA, random);
    Some(noise.into_iter().zip(part).map(|(noise, part)| LEVEL + noise + shape(*part)).collect())
}

/// The values of kinds that are nothing but noise, or teeth.
fn noise(kind: &str, n: usize, random: &mut SmallRng) -> Option<Vec<f64>> {
    let noise = match kind {
        "white" => autoregressive(n, 0.0, SIGMA, random),
        "ar50" => autoregressive(n, 0.5, SIGMA, random),
        "ar80" | "gaps" => autoregressive(n, 0.8, SIGMA, random),
        "ar95" => autoregressive(n, 0.95, SIGMA, random),
        "saw" | "saw_slow" => {
            let teeth = saw_tooth(n, if kind == "saw" { 18.0 } else { n as f64 / 7.0 }, 120.0, random);
            autoregressive(n, 0.0, SIGMA, random).into_iter().zip(teeth).map(|(noise, tooth)| noise + tooth).collect()
        }
        "ties" => return Some(autoregressive(n, 0.8, 1.0, random).into_iter().map(|noise| LEVEL / 16.0 + noise).collect()),
        "constant" => vec![0.0; n],
        "outliers" => {
            let outlier = |noise: f64, random: &mut SmallRng| {
                noise + if random.random_bool(0.03) { random.random_range(5.0..40.0) * SIGMA } else { 0.0 }
            };
            let noise = autoregressive(n, 0.5, SIGMA, random);
            noise.into_iter().map(|noise| outlier(noise, random)).collect()
        }
        "randwalk" => {
            let shocks = autoregressive(n, 0.0, SIGMA / (n as f64).sqrt() * 2.0, random);
            let walk = |sum: &mut f64, shock: f64| {
                *sum += shock;
                Some(*sum)
            };
            shocks.into_iter().scan(0.0, walk).collect()
        }
        "conn_stairs" => {
            let busy = Poisson::new(2.0).ok()?;
            return Some((0..n).map(|_| 20.0 + busy.sample(random)).collect());
        }
        _ => return None,
    };
    Some(noise.into_iter().map(|noise| LEVEL + noise).collect())
}

/// Which samples are there: of `gaps` 15 % are lost, and one hole takes 12 % of the run.
fn kept(kind: &str, n: usize, random: &mut SmallRng) -> Vec<bool> {
    if kind != "gaps" {
        return vec![true; n];
    }
    let mut kept: Vec<bool> = (0..n).map(|_| random.random_bool(0.85)).collect();
    let from = (random.random_range(0.15..0.7) * n as f64) as usize;
    for kept in kept.iter_mut().skip(from).take((0.12 * n as f64) as usize) {
        *kept = false;
    }
    kept
}

/// Noise of which each value keeps the share `phi` of the one before, with standard deviation `sigma`.
fn autoregressive(n: usize, phi: f64, sigma: f64, random: &mut SmallRng) -> Vec<f64> {
    let fresh = (1.0 - phi * phi).sqrt();
    let mut former: f64 = StandardNormal.sample(random);
    let mut values = vec![former * sigma];
    for _ in 1..n {
        let shock: f64 = StandardNormal.sample(random);
        former = phi * former + fresh * shock;
        values.push(former * sigma);
    }
    values
}

/// Memory between two collections of garbage rises in a line and falls to its floor; cycles and heights vary, the first is cut short.
fn saw_tooth(n: usize, period: f64, height: f64, random: &mut SmallRng) -> Vec<f64> {
    let phase = random.random_range(0.0..1.0);
    let mut values = Vec::with_capacity(n);
    let mut first = true;
    while values.len() < n {
        let (a, b): (f64, f64) = (StandardNormal.sample(random), StandardNormal.sample(random));
        let length = (period * (1.0 + 0.25 * a)).round().max(4.0);
        let top = height * (1.0 + 0.15 * b);
        let skip = if first { (phase * length) as usize } else { 0 };
        first = false;
        values.extend((skip..length as usize).map(|at| top * at as f64 / length).take(n - values.len()));
    }
    values
}

/// One number for all that a soak depends on (FNV-1a, then mixed).
fn seed_of(kind: &str, seed: u64, n: usize, growth: f64) -> u64 {
    let words = [seed, n as u64, (growth * 1000.0) as u64];
    let bytes = kind.bytes().chain(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

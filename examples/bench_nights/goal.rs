//! Goals and whether they hold; lines on the terminal; the dice of the simulations.

use std::io::{self, Write};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

/// What was asked for and what came out.
#[derive(Default)]
pub(crate) struct Goals(Vec<(bool, String)>);

impl Goals {
    /// A number that may not be above a limit.
    pub(crate) fn at_most(&mut self, what: &str, found: f64, limit: f64) {
        self.0.push((found <= limit, format!("{what}: {found:.3}, at most {limit}")));
    }

    /// A number that may not be below a limit.
    pub(crate) fn at_least(&mut self, what: &str, found: f64, limit: f64) {
        self.0.push((found >= limit, format!("{what}: {found:.3}, at least {limit}")));
    }

    /// Prints goal by goal whether it holds; true when all do.
    pub(crate) fn print(&self) -> io::Result<bool> {
        line("")?;
        for (holds, goal) in &self.0 {
            line(&format!("{} {goal}", if *holds { "holds " } else { "MISSED" }))?;
        }
        Ok(self.0.iter().all(|(holds, _)| *holds))
    }
}

/// A line on standard output.
pub(crate) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A line on standard error, as far as there is one.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A generator for one simulated thing: the same `name` and `run` always give the same.
pub(crate) fn dice(name: &str, run: u64) -> Xoshiro256PlusPlus {
    let hash = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    Xoshiro256PlusPlus::seed_from_u64(hash ^ run.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Normal noise whose neighbours have the correlation `phi`, standard deviation 1.
pub(crate) fn noise(dice: &mut Xoshiro256PlusPlus, count: usize, phi: f64) -> Vec<f64> {
    let mut values: Vec<f64> = (0..count).map(|_| dice.sample(StandardNormal)).collect();
    for at in 1..count {
        values[at] = phi * values[at - 1] + (1.0 - phi * phi).sqrt() * values[at];
    }
    values
}

/// The value below which a share lies; NaN of none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let at = (share * (values.len() as f64 - 1.0)).round();
    values.get(at as usize).copied().unwrap_or(f64::NAN)
}

//! Shares of failed requests from night to night. Nights differ by more than chance among requests allows, so a test on the counts of two
//! nights cries at everything; and many nights have no failure at all, which defeats rank tests. Here a night is one number, the
//! arc sine of the root of its share (Anscombe 1948), whose variance is known when only chance among requests plays: one over the number of
//! requests. Scatter beyond that is the overdispersion, and it is the scatter that the nights are judged by.

use crate::analysis::numbers::median;

/// Failed and all requests of one night.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Requests that failed.
    pub failed: u64,
    /// All requests.
    pub requests: u64,
}

impl Counts {
    /// Share that failed, 0 to 1; `None` without requests.
    pub fn share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.failed.min(self.requests) as f64 / self.requests as f64)
    }

    /// The number that is compared between nights; `None` without requests.
    pub(super) fn stabilised(&self) -> Option<f64> {
        let (failed, requests) = (self.failed.min(self.requests) as f64, self.requests as f64);
        (self.requests > 0).then(|| 2.0 * ((failed + 0.375) / (requests + 0.75)).sqrt().asin())
    }
}

/// The share that belongs to a stabilised number.
pub(super) fn share_of(stabilised: f64) -> f64 {
    (stabilised.clamp(0.0, std::f64::consts::PI) / 2.0).sin().powi(2)
}

/// Standard deviation of stabilised numbers by chance alone.
pub(super) fn by_chance(counts: &[Option<Counts>]) -> f64 {
    let requests: Vec<f64> = counts.iter().flatten().map(|counts| counts.requests as f64).filter(|requests| *requests > 0.0).collect();
    1.0 / median(&requests).max(1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_survive_the_way_there_and_back() {
        for (failed, requests) in [(0, 100_000), (12, 40_000), (9_000, 10_000), (5, 5)] {
            let counts = Counts { failed, requests };
            let back = share_of(counts.stabilised().unwrap());
            assert!((back - counts.share().unwrap()).abs() < 0.6 / requests as f64, "{counts:?}: {back}");
        }
        assert_eq!(Counts { failed: 3, requests: 0 }.stabilised(), None);
        assert!((by_chance(&[None, Some(Counts { failed: 0, requests: 10_000 })]) - 0.01).abs() < 1e-12);
        assert!(share_of(-4.0).abs() < f64::EPSILON && (share_of(9.0) - 1.0).abs() < f64::EPSILON);
    }
}

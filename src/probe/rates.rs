//! Counters that are read again and again, as growth and as rates. The first reading has none; a counter that went down began anew.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::pools::increase;
use crate::model::series::Point;

/// Former values by name, each with the moment it was read.
#[derive(Debug, Default)]
pub(super) struct Rates {
    former: BTreeMap<String, (Instant, f64)>,
}

impl Rates {
    /// By how much a counter grew since it was read last, and in how many seconds. Remembers the value.
    pub(super) fn growth(&mut self, name: &str, at: Instant, now: Option<f64>) -> Option<(f64, f64)> {
        let now = now.filter(|now| now.is_finite())?;
        let (before, former) = self.former.insert(name.to_owned(), (at, now))?;
        let seconds = at.saturating_duration_since(before).as_secs_f64();
        increase(Some(former), Some(now)).filter(|_| seconds > 0.0).map(|grown| (grown, seconds))
    }

    /// Growth per second.
    pub(super) fn rate(&mut self, name: &str, at: Instant, now: Option<f64>) -> Option<f64> {
        self.growth(name, at, now).map(|(grown, seconds)| grown / seconds)
    }

    /// The share of `part` in `part + rest` by their growth; none while neither grew.
    pub(super) fn share(&mut self, name: &str, at: Instant, part: Option<f64>, rest: Option<f64>) -> Option<f64> {
        let part = self.growth(&format!("{name}/part"), at, part);
        let rest = self.growth(&format!("{name}/rest"), at, rest);
        let ((part, _), (rest, _)) = (part?, rest?);
        (part + rest > 0.0).then(|| part / (part + rest))
    }

    /// The mean of `sum` per `count` by their growth; none while nothing was counted.
    pub(super) fn mean(&mut self, name: &str, at: Instant, sum: Option<f64>, count: Option<f64>) -> Option<f64> {
        let sum = self.growth(&format!("{name}/sum"), at, sum);
        let count = self.growth(&format!("{name}/count"), at, count);
        let ((sum, _), (count, _)) = (sum?, count?);
        (count > 0.0).then(|| sum / count)
    }
}

/// Adds a figure, if there is one.
pub(super) fn push(points: &mut Vec<Point>, metric: &str, value: Option<f64>) {
    points.extend(value.filter(|value| value.is_finite()).map(|value| Point::new(metric, value)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn growth_needs_two_readings_and_survives_a_reset() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rates.rate("a", at(0), Some(10.0)), None);
        assert_eq!(rates.rate("a", at(2), Some(30.0)), Some(10.0));
        assert_eq!(rates.rate("a", at(2), Some(30.0)), None, "no time passed");
        assert_eq!(rates.rate("a", at(3), None), None);
        // A reading that failed makes the span longer, not the number wrong.
        assert_eq!(rates.growth("a", at(4), Some(5.0)), Some((5.0, 2.0)));
        assert_eq!(rates.rate("b", at(4), Some(f64::NAN)), None);
    }

    #[test]
    fn shares_and_means_are_of_what_grew() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rates.share("hits", at(0), Some(90.0), Some(10.0)), None);
        assert_eq!(rates.share("hits", at(1), Some(93.0), Some(11.0)), Some(0.75));
        assert_eq!(rates.share("hits", at(2), Some(93.0), Some(11.0)), None, "nobody asked");
        assert_eq!(rates.mean("time", at(0), Some(1.0), Some(1.0)), None);
        assert_eq!(rates.mean("time", at(1), Some(4.0), Some(3.0)), Some(1.5));
        assert_eq!(rates.mean("time", at(2), Some(4.0), Some(3.0)), None);
    }
}

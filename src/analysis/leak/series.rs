//! Makes a series out of what was read: drops what is no number, mends a clock that was set back, splits at restarts of the target and
//! cuts off the first tenth of each stretch. Missing samples stay missing, and keep their time.

use super::points::Points;
use super::{Scale, Soak};
use crate::analysis::stats::LARGEST;
use crate::analysis::stats::order::median_of;

/// Share of a stretch that is cut off at its beginning.
const RAMP: f64 = 0.10;

/// What can be judged of a soak.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Series {
    /// Stretches between restarts, in the order of time, their beginnings cut off; those without samples left out.
    pub(super) stretches: Vec<Points>,
    /// Samples that were no numbers.
    pub(super) dropped: usize,
    /// How often the clock went backwards.
    pub(super) clock_steps: usize,
    /// Restarts between samples.
    pub(super) restarts: Vec<f64>,
    /// Time of the last sample.
    pub(super) end: f64,
}

/// Reads a soak.
pub(super) fn read(soak: &Soak) -> Series {
    let numbers = numbers(soak);
    let dropped = soak.samples.len() - numbers.len();
    let (samples, clock_steps) = mend_clock(&numbers);
    let Some((end, _)) = samples.last().copied() else { return Series { dropped, ..Series::default() } };
    let first = samples[0].0;
    let mut restarts: Vec<f64> = soak.restarts.iter().copied().filter(|at| *at > first && *at <= end).collect();
    restarts.sort_by(f64::total_cmp);
    restarts.dedup();
    let mut stretches = Vec::new();
    let borders: Vec<f64> = [f64::NEG_INFINITY].into_iter().chain(restarts.iter().copied()).chain([f64::INFINITY]).collect();
    for border in borders.windows(2) {
        let inside = samples.iter().filter(|(time, _)| border[0] <= *time && *time < border[1]);
        let (times, values) = inside.copied().unzip();
        let whole = Points { times, values };
        if let Some(begin) = whole.times.first() {
            stretches.push(whole.since(begin + RAMP * whole.span()));
        }
    }
    Series { stretches, dropped, clock_steps, restarts, end }
}

/// The samples that can be calculated with, on the scale that is judged.
fn numbers(soak: &Soak) -> Vec<(f64, f64)> {
    let sound = |(time, value): &(f64, f64)| time.abs() <= LARGEST && value.abs() <= LARGEST;
    let scaled = |(time, value): (f64, f64)| match soak.scale {
        Scale::Plain => Some((time, value)),
        Scale::Ratio => (value > 0.0).then(|| (time, value.ln())),
    };
    soak.samples.iter().copied().filter(sound).filter_map(scaled).collect()
}

/// Samples in ascending time. Where the clock was set back, what follows is moved on by one usual distance after what was before; a
/// single sample that comes too late is dropped. A clock that was set forward cannot be told from a gap.
fn mend_clock(samples: &[(f64, f64)]) -> (Vec<(f64, f64)>, usize) {
    let usual = median_of(samples.windows(2).map(|pair| pair[1].0 - pair[0].0).filter(|apart| *apart > 0.0));
    let mut mended: Vec<(f64, f64)> = Vec::with_capacity(samples.len());
    let (mut moved, mut steps) = (0.0, 0);
    for (at, (time, value)) in samples.iter().enumerate() {
        let Some((before, _)) = mended.last().copied() else {
            mended.push((*time, *value));
            continue;
        };
        if time + moved < before {
            let late = samples.get(at + 1).is_some_and(|(next, _)| next + moved >= before);
            if late {
                continue;
            }
            moved = before + usual - time;
            steps += 1;
        }
        mended.push((time + moved, *value));
    }
    (mended, steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soak(samples: &[(f64, f64)]) -> Soak {
        Soak { samples: samples.to_vec(), ..Soak::default() }
    }

    #[test]
    fn drops_what_is_no_number() {
        let mut soak = soak(&[(0.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (2.0, 1e200), (3.0, -4.0)]);
        let series = read(&soak);
        assert_eq!((series.dropped, series.end, series.stretches.len()), (3, 3.0, 1));
        soak.scale = Scale::Ratio;
        assert_eq!(read(&soak).dropped, 4);
        assert_eq!(read(&Soak::default()), Series::default());
    }

    #[test]
    fn a_clock_that_was_set_back_goes_on() {
        let times = |samples: &[(f64, f64)]| mend_clock(samples).0.iter().map(|sample| sample.0).collect::<Vec<_>>();
        let set_back = [(100.0, 1.0), (110.0, 2.0), (120.0, 3.0), (70.0, 4.0), (80.0, 5.0)];
        assert_eq!(times(&set_back), [100.0, 110.0, 120.0, 130.0, 140.0]);
        assert_eq!(mend_clock(&set_back).1, 1);
        let late = [(100.0, 1.0), (110.0, 2.0), (105.0, 9.0), (120.0, 3.0)];
        assert_eq!(times(&late), [100.0, 110.0, 120.0]);
        assert_eq!(mend_clock(&late).1, 0);
        // A last sample that is too early: the clock was set back just before it.
        assert_eq!(times(&[(0.0, 1.0), (5.0, 1.0), (1.0, 1.0)]), [0.0, 5.0, 10.0]);
    }

    #[test]
    fn splits_at_restarts_and_cuts_the_beginnings() {
        let samples: Vec<(f64, f64)> = (0..40).map(|at| (f64::from(at), 1.0)).collect();
        let series = read(&Soak { restarts: vec![20.0, 90.0, -5.0, 20.0], ..soak(&samples) });
        assert_eq!(series.restarts, [20.0]);
        let begins: Vec<(f64, usize)> = series.stretches.iter().map(|part| (part.times[0], part.len())).collect();
        assert_eq!(begins, [(2.0, 18), (22.0, 18)]);
    }
}

//! Staircases: levels in one unit, ascending; a gate that speaks of the scenario's own figures; a search that has an end.

use std::time::Duration;

use super::Resolver;
use crate::config::raw::staircase::{RawLevel, Search, StaircaseKeys};
use crate::model::alerting::Severity;
use crate::model::profile::Executor;
use crate::model::staircase::{StairUnit, Staircase};
use crate::model::threshold::{Source, Threshold};
use crate::model::units::Rate;
use crate::registry::{Span, Spanned};

/// Most levels of one climb.
const MOST_LEVELS: usize = 1_000;
/// A level is judged by whole seconds, of which it must have some.
const SHORTEST_HOLD: Duration = Duration::from_secs(2);
/// Levels are told apart by three decimals.
const FINEST: f64 = 0.001;

/// A mistake that has been reported.
struct Told;

impl Resolver<'_> {
    pub(super) fn staircase(&mut self, name: &Spanned<String>, keys: &StaircaseKeys) -> Option<Executor> {
        let hold = self.positive(&keys.hold, "the time for which a level is held");
        let levels = self.levels(name, keys);
        let gate = self.gate(name, keys);
        let per = match levels.as_deref()?.first()?.value {
            RawLevel::Vus(_) => None,
            RawLevel::Rate(rate) => Some(rate.per),
        };
        let unit = self.stair_unit(name, keys, per);
        let levels = self.same_unit(&levels?, per)?;
        self.ascending(&levels)?;
        let search = self.search(name, keys, per);
        let must_reach = self.must_reach(keys, per, &levels);
        let stairs = Staircase {
            unit: unit?,
            levels: levels.into_iter().map(|level| level.value).collect(),
            hold: hold?,
            ramp: keys.ramp,
            rest: keys.rest,
            gate: gate?,
            stop_on_fail: keys.stop_on_fail,
            resolution: search.ok()?,
            must_reach: must_reach.ok()?,
        };
        Some(Executor::Staircase(Box::new(stairs)))
    }

    /// The levels as written, or as `from`, `to` and `step` give them.
    fn levels(&mut self, name: &Spanned<String>, keys: &StaircaseKeys) -> Option<Vec<Spanned<RawLevel>>> {
        let hint = "write `from: 50`, `to: 500`, `step: 50`, or `levels: [50, 100, 200]`";
        match (&keys.levels, &keys.from, &keys.to, &keys.step) {
            (Some(levels), None, None, None) => {
                if levels.value.is_empty() {
                    self.mistake("missing-value", levels.span, "a staircase needs at least one level", hint);
                    return None;
                }
                Some(levels.value.clone())
            }
            (Some(levels), ..) => {
                self.mistake("conflicting-keys", levels.span, "the levels are given twice", "remove `from`, `to` and `step`, or `levels`");
                None
            }
            (None, Some(from), Some(to), Some(step)) => self.climb(from, to, step),
            (None, ..) => {
                let message = format!("scenario `{}` has no levels", name.value);
                self.mistake("missing-key", name.span, message, hint);
                None
            }
        }
    }

    /// `from`, one step higher each, and `to`.
    fn climb(&mut self, from: &Spanned<RawLevel>, to: &Spanned<RawLevel>, step: &Spanned<RawLevel>) -> Option<Vec<Spanned<RawLevel>>> {
        let per = match from.value {
            RawLevel::Vus(_) => None,
            RawLevel::Rate(rate) => Some(rate.per),
        };
        let number = |resolver: &mut Self, level: &Spanned<RawLevel>| resolver.in_unit(level, per);
        let (first, last, by) = (number(self, from), number(self, to), number(self, step));
        let (first, last, by) = (first?, last?, by?);
        if by < FINEST {
            self.mistake("out-of-range", step.span, "a staircase without steps", "write a `step` above 0");
            return None;
        }
        if last < first {
            self.mistake("out-of-range", to.span, "a staircase climbs", "write a `to` that is not below `from`");
            return None;
        }
        let count = ((last - first) / by + 1e-9).floor() as usize;
        if count >= MOST_LEVELS {
            self.mistake("out-of-range", step.span, format!("more than {MOST_LEVELS} levels"), "write a larger `step`");
            return None;
        }
        let mut levels: Vec<f64> = (0..=count).map(|n| first + by * n as f64).collect();
        if levels.last().is_some_and(|highest| last - highest > FINEST / 2.0) {
            levels.push(last);
        }
        let back = |level: f64| match per {
            None => RawLevel::Vus(level.round() as u64),
            Some(per) => RawLevel::Rate(Rate { count: level, per }),
        };
        Some(levels.into_iter().map(|level| Spanned { value: back(level), span: from.span }).collect())
    }

    /// A level as a number, counted per `per`; a mistake when it is of the other kind.
    fn in_unit(&mut self, level: &Spanned<RawLevel>, per: Option<Duration>) -> Option<f64> {
        match (level.value, per) {
            (RawLevel::Vus(vus), None) => Some(vus as f64),
            (RawLevel::Rate(rate), Some(per)) if rate.per == per => Some(rate.count),
            (RawLevel::Rate(rate), Some(per)) => Some(rate.count * per.as_secs_f64() / rate.per.as_secs_f64()),
            (RawLevel::Vus(_), Some(_)) => self.other_unit(level.span, "the other levels are rates", "write a rate such as `50/s`"),
            (RawLevel::Rate(_), None) => self.other_unit(level.span, "the other levels are VUs", "write a number of VUs such as `50`"),
        }
    }

    fn other_unit(&mut self, span: Span, message: &str, hint: &str) -> Option<f64> {
        self.mistake("conflicting-keys", span, message, hint);
        None
    }

    fn same_unit(&mut self, levels: &[Spanned<RawLevel>], per: Option<Duration>) -> Option<Vec<Spanned<f64>>> {
        let numbers: Vec<Option<Spanned<f64>>> =
            levels.iter().map(|level| self.in_unit(level, per).map(|value| Spanned { value, span: level.span })).collect();
        numbers.into_iter().collect()
    }

    fn ascending(&mut self, levels: &[Spanned<f64>]) -> Option<()> {
        if let Some(none) = levels.iter().find(|level| level.value < FINEST) {
            self.mistake("out-of-range", none.span, "a level without load", "write levels above 0");
            return None;
        }
        if let Some(pair) = levels.windows(2).find(|pair| pair[1].value - pair[0].value < FINEST) {
            self.mistake("out-of-range", pair[1].span, "a staircase climbs: each level is above the one before", "write them in order");
            return None;
        }
        Some(())
    }

    fn stair_unit(&mut self, name: &Spanned<String>, keys: &StaircaseKeys, per: Option<Duration>) -> Option<StairUnit> {
        if per.is_none() {
            let of_rates = [
                keys.arrivals.as_ref().map(|key| key.span),
                keys.seed.as_ref().map(|key| key.span),
                keys.when_busy.as_ref().map(|key| key.span),
            ];
            for span in of_rates.into_iter().flatten() {
                self.mistake(
                    "conflicting-keys",
                    span,
                    "VUs that loop have no starts by the clock",
                    "remove it, or write the levels as rates",
                );
            }
        }
        match (per, &keys.pre_allocated_vus) {
            (None, None) if keys.max_vus.is_none() => Some(StairUnit::Vus),
            (None, vus) => {
                let span = vus.as_ref().or(keys.max_vus.as_ref()).map_or(name.span, |vus| vus.span);
                self.mistake("conflicting-keys", span, "the levels are VUs themselves", "remove it, or write the levels as rates");
                None
            }
            (Some(per), Some(vus)) => self.vu_pool(vus, keys.max_vus.as_ref()).map(|vus| StairUnit::Rate { per, vus }),
            (Some(_), None) => {
                let message = format!("the rates of scenario `{}` have no VUs", name.value);
                self.mistake("missing-key", name.span, message, "add `preAllocatedVUs:`");
                None
            }
        }
    }

    /// The gate. Its figures are the scenario's own unless a selector says otherwise.
    fn gate(&mut self, name: &Spanned<String>, keys: &StaircaseKeys) -> Option<Vec<Threshold>> {
        if !keys.gate.is_empty() && keys.hold.value < SHORTEST_HOLD && !keys.hold.value.is_zero() {
            self.mistake("out-of-range", keys.hold.span, "too short for the gate to judge it", "hold a level for `2s` or longer");
        }
        let gate: Vec<Option<Threshold>> = keys
            .gate
            .iter()
            .map(|text| {
                let mut series = self.series(text)?;
                if series.metric.source != Source::Probe && !series.selector.contains_key("scenario") {
                    series.selector.insert("scenario".into(), name.value.clone());
                }
                let (abort_on_fail, delay_abort_eval, exclude_ramp) = (false, Duration::ZERO, false);
                Some(Threshold {
                    text: text.value.clone(),
                    series,
                    abort_on_fail,
                    delay_abort_eval,
                    exclude_ramp,
                    severity: Severity::High,
                })
            })
            .collect();
        gate.into_iter().collect()
    }

    /// The resolution of the search; `None`: nothing is searched for.
    fn search(&mut self, name: &Spanned<String>, keys: &StaircaseKeys, per: Option<Duration>) -> Result<Option<f64>, Told> {
        let Some(Spanned { value: Search::Bisect, span }) = &keys.search else {
            if let Some(resolution) = &keys.resolution {
                self.mistake("missing-key", resolution.span, "nothing is searched for", "add `search: bisect`, or remove it");
                return Err(Told);
            }
            return Ok(None);
        };
        let Some(resolution) = &keys.resolution else {
            let message = format!("it is not said how exactly scenario `{}` searches", name.value);
            self.mistake("missing-key", *span, message, "add `resolution: 10`, or a rate such as `10/s`");
            return Err(Told);
        };
        if keys.gate.is_empty() {
            self.mistake("missing-key", *span, "without a gate no level fails, and there is nothing to search for", "add `gate:`");
            return Err(Told);
        }
        if !keys.stop_on_fail {
            self.mistake("conflicting-keys", *span, "a search begins where a level does not pass", "remove `stopOnFail: false`");
            return Err(Told);
        }
        let number = self.in_unit(resolution, per).ok_or(Told)?;
        if number < FINEST {
            self.mistake("out-of-range", resolution.span, "the search would never end", "write a `resolution` above 0");
            return Err(Told);
        }
        Ok(Some(number))
    }

    /// The level that must pass; `None`: none.
    fn must_reach(&mut self, keys: &StaircaseKeys, per: Option<Duration>, levels: &[Spanned<f64>]) -> Result<Option<f64>, Told> {
        let Some(must_reach) = &keys.must_reach else { return Ok(None) };
        if keys.gate.is_empty() {
            self.mistake("missing-key", must_reach.span, "without a gate it is not known which levels pass", "add `gate:`");
            return Err(Told);
        }
        let number = self.in_unit(must_reach, per).ok_or(Told)?;
        if levels.last().is_some_and(|highest| highest.value < number) {
            self.mistake("out-of-range", must_reach.span, "no level is that high", "write a level that is climbed");
            return Err(Told);
        }
        Ok(Some(number))
    }
}

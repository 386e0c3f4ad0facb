//! History, gates and suites: profiles that exist, numbers that make sense, expressions that can be read.

use super::Resolver;
use crate::config::raw::history::{RawGate, RawHistory, RawPhases, RawSuite, RawTest};
use crate::engine::setup::HistorySetup;
use crate::model::suite::{Ask, Gate, PhaseRatio, Suite, SuiteTest};
use crate::model::threshold::{Bound, Source, find_metric, parse_bound, parse_series};
use crate::registry::Spanned;

/// Fewest runs of a history that says anything.
const LEAST_RUNS: u16 = 10;
/// Figures of steps that two phases are compared by.
const FIGURES: [&str; 4] = ["p50", "p95", "p99", "throughput"];

impl Resolver<'_> {
    pub(super) fn history(&mut self, raw: Option<&RawHistory>) -> HistorySetup {
        let mut setup = HistorySetup::default();
        let Some(raw) = raw else { return setup };
        if let Some(runs) = &raw.runs {
            if runs.value < LEAST_RUNS {
                let message = format!("a history of {} runs says nothing", runs.value);
                self.mistake("out-of-range", runs.span, message, format!("write {LEAST_RUNS} or more"));
            }
            setup.runs = u32::from(runs.value);
        }
        setup.reruns = raw.reruns.map_or(setup.reruns, u32::from);
        setup
    }

    pub(super) fn passes_gate(&mut self, name: &Spanned<String>, raw: &RawGate) -> Option<Gate> {
        let declared = self.declared.profiles.clone();
        let known = self.known("unknown-profile", "profile", &raw.profile, &declared);
        if raw.passes.value == 0 {
            self.mistake("out-of-range", raw.passes.span, "a gate that asks for no passes is always open", "write 1 or more");
        }
        known.then(|| Gate { name: name.value.clone(), profile: raw.profile.value.clone(), passes: u32::from(raw.passes.value) })
    }

    pub(super) fn suite(&mut self, name: &Spanned<String>, raw: &RawSuite) -> Suite {
        if raw.tests.value.iter().next().is_none() {
            self.mistake("missing-value", raw.tests.span, format!("suite `{}` has no tests", name.value), "add one below `tests:`");
        }
        let mut tests = Vec::new();
        for (test, raw) in raw.tests.value.iter() {
            self.check_label(test, "test");
            tests.extend(self.test(test, raw));
        }
        Suite { name: name.value.clone(), description: raw.description.clone(), pass: raw.pass.0, tests }
    }

    fn test(&mut self, name: &Spanned<String>, raw: &RawTest) -> Option<SuiteTest> {
        let declared = self.declared.profiles.clone();
        let known = self.known("unknown-profile", "profile", &raw.profile, &declared);
        let given = [
            raw.holds.as_ref().map(|text| ("holds", text.span)),
            raw.compare.as_ref().map(|phases| ("compare", phases.span)),
            raw.recovers.as_ref().map(|within| ("recovers", within.span)),
            raw.steady.as_ref().map(|resources| ("steady", resources.span)),
        ];
        if let [(first, _), (second, span), ..] = given.into_iter().flatten().collect::<Vec<_>>()[..] {
            let message = format!("test `{}` has both `{first}` and `{second}`", name.value);
            self.mistake("conflicting-keys", span, message, "make two tests of it");
            return None;
        }
        let asks = if let Some(text) = &raw.holds {
            self.series(text).map(|series| Ask::Holds(text.value.clone(), Box::new(series)))
        } else if let Some(phases) = &raw.compare {
            self.phases(&phases.value).map(Ask::Ratio)
        } else if let Some(within) = &raw.recovers {
            Some(Ask::Recovers(within.value))
        } else if let Some(resources) = &raw.steady {
            Some(Ask::Steady(resources.value.clone()))
        } else {
            Some(Ask::Verdict)
        }?;
        let (name, profile) = (name.value.clone(), raw.profile.value.clone());
        known.then_some(SuiteTest { name, profile, priority: raw.priority, asks })
    }

    fn phases(&mut self, raw: &RawPhases) -> Option<PhaseRatio> {
        let of_probe = find_metric(&raw.figure).is_some_and(|metric| metric.source == Source::Probe);
        if !of_probe && !FIGURES.contains(&raw.figure.as_str()) {
            let message = format!("`{}` is not a figure that phases are compared by", raw.figure);
            self.mistake("unknown-word", raw.phase.span, message, format!("write {}, or a metric of a probe", FIGURES.join(", ")));
            return None;
        }
        Some(PhaseRatio {
            phase: raw.phase.value.clone(),
            with: raw.with.value.clone(),
            figure: raw.figure.clone(),
            step: raw.step.clone(),
            bound: self.ratio(&raw.ratio)?,
        })
    }

    /// `< 50%`, with the unit of a share.
    fn ratio(&mut self, text: &Spanned<String>) -> Option<Bound> {
        let share = parse_series("checks: rate > 0%").ok()?;
        match parse_bound(&text.value, &share) {
            Ok(bound) => Some(bound),
            Err(error) => {
                let span = self.sources.within(text.span, &text.value, error.at, error.len);
                self.mistake(error.code, span, error.message, "write `< 50%`: the figure of `phase` over that of `with`");
                None
            }
        }
    }
}

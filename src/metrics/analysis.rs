//! What analysis says of the last run of each profile, as gauges: leaks, and the load line. Label values come from the configuration,
//! from fixed words, and from the pools that were followed, of which analysis follows a bounded number.

use std::collections::BTreeMap;

use prometheus::GaugeVec;

use super::Metrics;
use super::record::replace;
use crate::model::analysed::{CapacityFound, TrendFound, TrendVerdict};
use crate::model::run::Run;

/// Labels and value of a gauge.
type Values = BTreeMap<Vec<String>, f64>;

impl Metrics {
    /// All gauges of analysis.
    pub(super) fn analysis(&self) -> [&GaugeVec; 5] {
        let families = &self.families;
        [&families.leak_confidence, &families.leak_growth, &families.leak_exhaustion, &families.capacity_load, &families.capacity_rate]
    }

    /// What the resources of a run did; replaces what was said of its profile before.
    pub fn trends(&self, run: &Run, trends: &[TrendFound]) {
        self.trends_of(&run.profile, trends);
    }

    /// The same for a profile, or for the daemon itself under its own name.
    pub fn trends_of(&self, profile: &str, trends: &[TrendFound]) {
        let (mut sure, mut growth, mut left) = (Values::new(), Values::new(), Values::new());
        for trend in trends {
            let labels = || {
                let pool = trend.labels.get("pool").cloned().unwrap_or_default();
                vec![profile.to_owned(), trend.probe.clone().unwrap_or_default(), trend.resource.as_str().into(), pool]
            };
            // Several replicas of a pool: the one that is worst.
            let worst = |values: &mut Values, value: f64, pick: fn(f64, f64) -> f64| {
                values.entry(labels()).and_modify(|known| *known = pick(*known, value)).or_insert(value);
            };
            if trend.verdict != TrendVerdict::Unknown {
                worst(&mut sure, trend.sureness.map_or(0.0, |sureness| f64::from(sureness as u8) + 1.0), f64::max);
            }
            if trend.verdict == TrendVerdict::Leak {
                if let Some(per_hour) = trend.per_hour {
                    worst(&mut growth, per_hour.value, f64::max);
                }
                if let Some(seconds) = trend.exhausted_in_s {
                    worst(&mut left, seconds.value, f64::min);
                }
            }
        }
        let of_profile = [("profile", profile)];
        let families = &self.families;
        for (family, values) in [(&families.leak_confidence, sure), (&families.leak_growth, growth), (&families.leak_exhaustion, left)] {
            replace(family, &of_profile, &values.into_iter().collect::<Vec<_>>());
        }
    }

    /// The load line of a run; one without leaves what was said before, because not every run of a profile climbs to its end.
    pub(super) fn capacity(&self, run: &Run, capacity: Option<&CapacityFound>) {
        let Some(found) = capacity else { return };
        let loads = [
            ("safe", found.safe),
            ("peak", found.peak),
            ("breaking", found.breaking),
            ("breaking_estimated", found.breaking_estimate.map(|estimate| estimate.value)),
        ];
        let value = |(kind, load): (&str, Option<f64>)| {
            Some((vec![run.profile.clone(), found.scenario.clone(), found.unit.clone(), kind.to_owned()], load?))
        };
        let values: Vec<(Vec<String>, f64)> = loads.into_iter().filter_map(value).collect();
        let of_profile = [("profile", run.profile.as_str())];
        replace(&self.families.capacity_load, &of_profile, &values);
        let number: Vec<(Vec<String>, f64)> = found.number().map(|number| (vec![run.profile.clone()], number)).into_iter().collect();
        replace(&self.families.capacity_rate, &of_profile, &number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use crate::model::analysed::{Ranged, Resource, Sureness};
    use crate::model::sample;

    fn trend(resource: Resource, verdict: TrendVerdict, sureness: Option<Sureness>) -> TrendFound {
        TrendFound {
            resource,
            probe: Some("app".into()),
            labels: Labels::from([("pool".to_owned(), "main".to_owned())]),
            verdict,
            sureness,
            per_hour: Some(Ranged { value: 60.0, low: 50.0, high: Some(70.0) }),
            limit: Some(20.0),
            exhausted_in_s: Some(Ranged { value: 900.0, low: 700.0, high: None }),
            detectable: Some(1.0),
            detectable_per_hour: None,
            from_s: 0.0,
            to_s: 600.0,
            title: String::new(),
        }
    }

    #[test]
    fn leaks_are_shown_until_the_next_run_says_otherwise() {
        let (metrics, run) = (Metrics::new(), sample::finished());
        metrics.trends(&run, &[trend(Resource::Connections, TrendVerdict::Leak, Some(Sureness::Certain))]);
        let page = metrics.render();
        let labels = format!("{{pool=\"main\",probe=\"app\",profile=\"{}\",resource=\"connections\"}}", run.profile);
        for line in [
            format!("plimsoll_leak_confidence_level{labels} 3"),
            format!("plimsoll_leak_growth_per_hour{labels} 60"),
            format!("plimsoll_leak_exhaustion_seconds{labels} 900"),
        ] {
            assert!(page.contains(&line), "{line} is not in {page}");
        }
        metrics.trends(&run, &[trend(Resource::Connections, TrendVerdict::NoLeak, None)]);
        let page = metrics.render();
        assert!(page.contains(&format!("plimsoll_leak_confidence_level{labels} 0")), "{page}");
        assert!(!page.contains("plimsoll_leak_growth_per_hour{"), "{page}");
        metrics.trends(&run, &[trend(Resource::Connections, TrendVerdict::Unknown, None)]);
        assert!(!metrics.render().contains("plimsoll_leak_confidence_level{"), "what is not known is absent");
    }
}

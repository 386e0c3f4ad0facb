//! What was deployed when the level changed: versions that the target told from run to run, and markers that were given. It is a
//! coincidence in time, told as such.

use super::Change;
use super::comparable::Night;
use crate::model::units::Timestamp;

/// A deploy that somebody told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// When.
    pub at: Timestamp,
    /// What: a version, a commit, a word.
    pub version: String,
}

/// A deploy that falls into the time of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspected {
    /// What was deployed; for a version that the target told, `1.4.2 → 1.5.0`.
    pub version: String,
    /// When, if a marker says so.
    pub at: Option<Timestamp>,
    /// True when it lies between the last night before the change and the first night after it; false when only within the nights that
    /// the change may as well have happened at.
    pub exact: bool,
}

/// The deploys that fall into the time of a change, the exact ones first.
pub fn suspected(change: &Change, nights: &[Night], markers: &[Marker]) -> Vec<Suspected> {
    let mut found = Vec::new();
    for index in change.likely.0.min(change.index)..=change.likely.1.max(change.index) {
        let (Some(before), Some(after)) = (index.checked_sub(1).and_then(|before| nights.get(before)), nights.get(index)) else {
            continue;
        };
        let exact = index == change.index;
        if let (Some(old), Some(new)) = (&before.version, &after.version)
            && old != new
        {
            found.push(Suspected { version: format!("{old} → {new}"), at: None, exact });
        }
        let within = markers.iter().filter(|marker| before.at < marker.at && marker.at <= after.at);
        found.extend(within.map(|marker| Suspected { version: marker.version.clone(), at: Some(marker.at), exact }));
    }
    found.sort_by_key(|suspected| !suspected.exact);
    found
}

#[cfg(test)]
mod tests {
    use super::super::comparable::sample;
    use super::super::{History, Rules, judge, metric};
    use super::*;

    #[test]
    fn the_version_that_came_with_the_change_is_named_first() {
        let mut nights: Vec<Night> =
            (0..24).map(|day| sample(day, 0.2 + [0.0, 0.004, -0.004][day as usize % 3] + if day >= 20 { 0.06 } else { 0.0 })).collect();
        for (day, night) in nights.iter_mut().enumerate() {
            night.version = Some(if day < 20 { "1.4" } else { "1.5" }.into());
        }
        let values: Vec<f64> = nights.iter().map(|night| night.values["p95"]).collect();
        let judged = judge(&History { values: &values, ..History::default() }, metric::find("p95").unwrap(), &Rules::default());
        let marker = |day: i64, version: &str| Marker { at: Timestamp(day * 86_400_000_000 - 1), version: version.into() };
        let found = suspected(&judged.changes[0], &nights, &[marker(20, "infra-77"), marker(5, "old"), marker(23, "new")]);
        let told: Vec<(&str, bool)> = found.iter().map(|found| (found.version.as_str(), found.exact)).collect();
        assert_eq!(told, [("1.4 → 1.5", true), ("infra-77", true)]);
    }
}

//! What keeps an incident from being told at present: a silence, a window of maintenance, or another alert that says it already.
//! Muted is not forgotten: state and history go on, and `threads` tells what is still open when it is no longer muted.

use std::collections::{BTreeMap, BTreeSet};

use super::message::show_time;
use crate::model::Labels;
use crate::model::alerting::AlertInstance;
use crate::model::muting::{Inhibit, Matcher, Silence, all_fit};
use crate::model::units::Timestamp;

/// A window that is open now.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenWindow {
    /// Name in the configuration.
    pub name: String,
    /// Until then.
    pub until: Timestamp,
    /// Which alerts; none: all.
    pub matchers: Vec<Matcher>,
}

/// What keeps alerts quiet now, besides each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Quiet {
    /// Silences, whether they hold now or not.
    pub silences: Vec<Silence>,
    /// Maintenance that goes on.
    pub maintenance: Vec<OpenWindow>,
    /// Mute timings that are on, by name, and until when; routes name them.
    pub timings: BTreeMap<String, Timestamp>,
}

impl Quiet {
    /// Why an alert with these labels is not told of: who wants it, until when and why.
    pub(super) fn reason(&self, labels: &Labels, now: Timestamp) -> Option<String> {
        let holds = |silence: &&Silence| silence.is_active(now) && !silence.matchers.is_empty() && all_fit(&silence.matchers, labels);
        // The one that lasts longest says when it will be heard again.
        if let Some(silence) = self.silences.iter().filter(holds).max_by_key(|silence| (silence.ends_at, &silence.id)) {
            let Silence { id, author, comment, ends_at, .. } = silence;
            return Some(format!("silenced by {author} until {} (silence {id}): {comment}", show_time(*ends_at)));
        }
        let open = self.maintenance.iter().filter(|window| all_fit(&window.matchers, labels));
        let window = open.max_by_key(|window| (window.until, &window.name))?;
        Some(format!("maintenance window `{}` until {}", window.name, show_time(window.until)))
    }

    /// Why a route with these mute timings tells nothing now.
    pub(super) fn timing(&self, names: &[String]) -> Option<String> {
        let on = names.iter().filter_map(|name| self.timings.get(name).map(|until| (until, name)));
        on.max().map(|(until, name)| format!("mute timing `{name}` until {}", show_time(*until)))
    }
}

/// Fingerprints of open alerts that others mute, with the reason. An alert is muted only when somebody who is told of says it instead:
/// alerts that mute each other in a circle are all told.
pub(super) fn inhibited<'a>(rules: &[Inhibit], open: impl Iterator<Item = &'a AlertInstance>) -> BTreeMap<String, String> {
    let open: Vec<&AlertInstance> = open.collect();
    let mut muted: BTreeMap<String, String> = BTreeMap::new();
    if rules.is_empty() || open.len() < 2 {
        return muted;
    }
    // Which alerts each one mutes, and by which rule.
    let mut mutes: Vec<Vec<(usize, &Inhibit)>> = vec![Vec::new(); open.len()];
    let mut has_source: BTreeSet<usize> = BTreeSet::new();
    for rule in rules {
        let of = |matchers: &[Matcher]| {
            let fits = |(_, alert): &(usize, &&AlertInstance)| all_fit(matchers, &alert.labels);
            open.iter().enumerate().filter(fits).map(|(index, _)| index).collect::<Vec<_>>()
        };
        let targets = of(&rule.target);
        for source in of(&rule.source) {
            for target in targets.iter().copied().filter(|target| *target != source) {
                let same = |label: &String| open[source].labels.get(label) == open[target].labels.get(label);
                if rule.equal.iter().all(same) {
                    mutes[source].push((target, rule));
                    has_source.insert(target);
                }
            }
        }
    }
    let mut heard: Vec<usize> = (0..open.len()).filter(|index| !has_source.contains(index)).collect();
    while let Some(source) = heard.pop() {
        for (target, rule) in &mutes[source] {
            let key = &open[*target].fingerprint;
            if !muted.contains_key(key) {
                muted.insert(key.clone(), format!("muted because {} is firing (inhibition `{}`)", open[source].fingerprint, rule.name));
                heard.push(*target);
            }
        }
    }
    muted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::group::Group;
    use crate::alert::properties::rule;
    use crate::model::alerting::Rule;

    fn alert(name: &str, target: &str) -> AlertInstance {
        let rule = Rule { name: name.into(), ..rule("pool_utilization: max > 80%") };
        Group::new(&rule, &[("target".to_owned(), target.to_owned())].into()).instance
    }

    fn inhibit(source: &str, target: &str) -> Inhibit {
        Inhibit {
            name: format!("{source}-{target}"),
            source: vec![Matcher::equal("alertname", source)],
            target: vec![Matcher::parse(&format!("alertname=~{target}")).unwrap()],
            equal: vec!["target".into()],
        }
    }

    fn muted(rules: &[Inhibit], open: &[AlertInstance]) -> Vec<String> {
        inhibited(rules, open.iter()).into_keys().collect()
    }

    #[test]
    fn an_alert_mutes_those_of_the_same_target() {
        let open = [alert("down", "shop"), alert("pool", "shop"), alert("pool", "bank")];
        assert_eq!(muted(&[inhibit("down", "pool|slow")], &open), ["pool{target=\"shop\"}"]);
        assert_eq!(muted(&[inhibit("down", "pool|slow")], &open[1..]), Vec::<String>::new(), "nothing without its source");
        let reason = inhibited(&[inhibit("down", "pool")], open.iter()).remove("pool{target=\"shop\"}").unwrap();
        assert_eq!(reason, "muted because down{target=\"shop\"} is firing (inhibition `down-pool`)");
    }

    #[test]
    fn a_chain_has_one_that_is_told_and_a_circle_mutes_nobody() {
        let open = [alert("a", "shop"), alert("b", "shop"), alert("c", "shop")];
        let chain = [inhibit("a", "b"), inhibit("b", "c")];
        assert_eq!(muted(&chain, &open), ["b{target=\"shop\"}", "c{target=\"shop\"}"]);
        let circle = [inhibit("a", "b"), inhibit("b", "c"), inhibit("c", "a")];
        assert_eq!(muted(&circle, &open), Vec::<String>::new());
        let itself = [inhibit("a", "a|b")];
        assert_eq!(muted(&itself, &open), ["b{target=\"shop\"}"], "nobody mutes itself");
    }

    #[test]
    fn the_longest_silence_speaks_and_windows_come_after() {
        let at = |second: i64| Timestamp(second * 1_000_000);
        let silence = |id: &str, end: i64| Silence {
            id: id.into(),
            matchers: vec![Matcher::equal("target", "shop")],
            author: "ann".into(),
            comment: "deploy".into(),
            created_at: at(0),
            starts_at: at(10),
            ends_at: at(end),
            ended_by: None,
        };
        let window = OpenWindow { name: "nightly".into(), until: at(3600), matchers: vec![Matcher::equal("target", "shop")] };
        let mut quiet = Quiet { silences: vec![silence("aaaa", 60), silence("bbbb", 50)], maintenance: vec![window], ..Quiet::default() };
        quiet.timings.insert("nights".into(), at(7200));
        let labels: Labels = [("target".to_owned(), "shop".to_owned())].into();
        let said = |second: i64| quiet.reason(&labels, at(second)).unwrap();
        assert_eq!(said(30), "silenced by ann until 1970-01-01 00:01:00 UTC (silence aaaa): deploy");
        assert_eq!(said(5), "maintenance window `nightly` until 1970-01-01 01:00:00 UTC");
        assert_eq!(quiet.reason(&[("target".to_owned(), "bank".to_owned())].into(), at(30)), None);
        assert_eq!(quiet.timing(&["days".into(), "nights".into()]), Some("mute timing `nights` until 1970-01-01 02:00:00 UTC".into()));
        assert_eq!(quiet.timing(&["days".into()]), None);
    }
}

//! Rules about the program's own storage: `storage failing for 1m`.

use super::super::machine::Input;
use super::super::storage::StorageWatch;
use super::Alerts;
use crate::alert::fingerprint::fingerprint;
use crate::model::Labels;
use crate::model::threshold::{Condition, Found};
use crate::model::units::Timestamp;

impl Alerts {
    /// Takes how the database takes data. An outage that is over before anybody could be told of it fires first, and is resolved at the
    /// next call; then it is forgotten.
    pub fn observe_storage(&mut self, watch: &mut StorageWatch, now: Timestamp) {
        let mut untold = false;
        for rule in self.rules.values().cloned().collect::<Vec<_>>() {
            let Condition::Found(Found::StorageFailing { hold }) = &rule.when else { continue };
            let existing = self.groups.get(&fingerprint(&rule.name, &Labels::new()));
            let open = existing.is_some_and(|group| group.instance.incident.is_some());
            let outage = watch.outage.as_ref();
            let input = match outage {
                Some(outage) if outage.matters(*hold, now) && !(open && outage.is_over()) => {
                    untold |= outage.is_over();
                    Input::Bad
                }
                Some(outage) if !outage.is_over() => Input::Quiet,
                Some(_) | None if open => Input::Good,
                Some(_) | None => continue,
            };
            if input == Input::Quiet {
                continue;
            }
            let Some(key) = self.group(&rule, &Labels::new()) else { continue };
            let Some(group) = self.groups.get_mut(&key) else { continue };
            group.instance.value = outage.map(|outage| outage.lasted(now).as_secs_f64());
            group.instance.shown = outage.map_or_else(|| "the database takes data".into(), |outage| outage.sentence(now));
            self.step(&key, input, now, None);
        }
        if !untold && watch.outage.as_ref().is_some_and(super::super::storage::Outage::is_over) {
            watch.outage = None;
        }
    }
}

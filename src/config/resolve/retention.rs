//! Retention: what is not given is the default's; what is given for a profile goes before what is given for the storage.

use std::collections::BTreeMap;

use super::Resolver;
use crate::config::raw::profile::RawProfile;
use crate::config::raw::retention::RawRetention;
use crate::config::raw::service::RawStorage;
use crate::model::retention::{Policies, Policy, Records};
use crate::registry::Named;

impl Resolver<'_> {
    pub(super) fn retention(&mut self, storage: Option<&RawStorage>, profiles: &Named<RawProfile>) -> Policies {
        let default = self.policy(storage.and_then(|storage| storage.retention.as_ref()), Policy::default());
        let mut own = BTreeMap::new();
        for (name, profile) in profiles.iter() {
            if let Some(raw) = &profile.retention {
                own.insert(name.value.clone(), self.policy(Some(raw), default));
            }
        }
        let mut records = Records::default();
        if let Some(raw) = storage.and_then(|storage| storage.records.as_ref()) {
            for (keep, given) in records.0.iter_mut().zip([raw.ticks, raw.alerts, raw.messages]) {
                *keep = given.map_or(*keep, |given| given.0);
            }
        }
        Policies { default, profiles: own, records }
    }

    /// `base` with what `raw` gives.
    fn policy(&mut self, raw: Option<&RawRetention>, base: Policy) -> Policy {
        let mut policy = base;
        let Some(raw) = raw else { return policy };
        for (keep, given) in policy.series.iter_mut().zip([raw.second, raw.ten_seconds, raw.minute, raw.hour]) {
            if let Some(given) = given {
                *keep = given.0;
            }
        }
        if let Some(runs) = &raw.runs {
            if runs.value.0 == Some(0) {
                self.mistake("out-of-range", runs.span, "a profile keeps at least one run", "write a number such as `500`, or `all`");
            }
            policy.runs = runs.value.0;
        }
        policy
    }
}

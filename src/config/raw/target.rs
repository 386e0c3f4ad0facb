//! `targets:` as written: addresses, limits, probes, guards. No checks across keys.

use std::time::Duration;

use super::Attempt;
use super::auth::{RawAuth, RawWay};
use super::http::TlsKeys;
use crate::model::units::Rate;
use crate::registry::{Named, Node, Spanned, WebUrl};
use crate::settings;

settings! {
    /// A system that may be loaded.
    pub(crate) struct RawTarget titled "target" {
        /// Start of every address that begins with `/`.
        base_url: optional Spanned<Attempt<WebUrl>>,
        /// `production` (or `prod`, `prd`, `live`, in whatever case) needs `allow_production: true` in every profile that loads one of its hosts, and limits.
        environment: default String = "test".into(),
        /// Hosts that load may reach besides the one of `base_url`: `host:port`. Networks, such as `10.2.0.0/16`: all these names may lead to addresses in them only.
        allow: default Vec<Spanned<String>>,
        /// Upper bounds on the load; a profile that exceeds them is refused.
        limits: optional RawLimits,
        /// How requests prove who asks, unless the scenario or the step say otherwise: `none`, a name from `identities`, or a mapping.
        auth: optional Spanned<RawAuth>,
        /// Ways to prove who asks, by name, for `auth:` of scenarios and steps.
        identities: default Named<Attempt<RawWay>>,
        /// TLS towards it.
        tls: optional TlsKeys,
        /// Where the target tells its version, so that regressions can be tied to deploys.
        version: optional RawVersion,
        /// What to read while it is loaded, by name; `type` chooses the kind.
        probes: default Named<Node>,
        /// Where a probe reads the load that production puts on it, in requests a second: what is left of its capacity is followed.
        production_load: optional RawProductionLoad,
        /// What is bad for the target, in the grammar of thresholds: the first time the load is halved, the second time it is stopped.
        guard: default Vec<Spanned<String>>,
        /// Time between readings of the probes while no run is going on.
        idle_interval: default Duration = Duration::from_secs(15),
    }
}

settings! {
    /// Upper bounds on the load of a target.
    pub(crate) struct RawLimits titled "the limits" {
        /// Requests a second, all scenarios together. A profile that starts more is refused; VUs that loop are held back.
        rate: optional Rate,
        /// VUs at one time, all scenarios together.
        vus: optional u64,
        /// Length of a run.
        duration: optional Duration,
    }
}

settings! {
    /// Where a target tells its version.
    pub(crate) struct RawVersion titled "the version" {
        /// Path to get.
        path: required Spanned<String>,
        /// Header that holds the version; without it the body does.
        header: optional String,
    }
}

settings! {
    /// Where a probe reads the load that production puts on a target.
    pub(crate) struct RawProductionLoad titled "the production load" {
        /// Probe of the target.
        probe: required Spanned<String>,
        /// Metric that it reads, a number of requests a second: `custom`.
        metric: default String = "custom".into(),
        /// Labels of the series: `{ name: rps }`. Series that have them are added up.
        labels: default Named<String>,
    }
}

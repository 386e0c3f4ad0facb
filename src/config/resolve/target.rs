//! Targets: hosts that may be reached, limits, probes by their kinds, guards.

use std::collections::BTreeMap;

use super::Resolver;
use super::expression::Selectable;
use crate::config::raw::Attempt;
use crate::config::raw::target::RawTarget;
use crate::engine::setup::{ProductionHost, ProductionLoad, TargetSetup};
use crate::model::network::Network;
use crate::model::profile::{Limits, Target, VersionSource};
use crate::model::threshold::Series;
use crate::probe::{ProbeSpec, command};
use crate::registry::{Spanned, decode_kind};

/// `host:port` of an address, as allow lists have it.
pub(super) fn host_of(url: &url::Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

impl Resolver<'_> {
    pub(super) fn target(&mut self, name: &Spanned<String>, raw: &RawTarget, commands: bool) -> TargetSetup {
        let limits = raw.limits.as_ref().map_or_else(Limits::default, |limits| Limits {
            rate: limits.rate,
            vus: limits.vus,
            duration: limits.duration,
        });
        let target = Target {
            name: name.value.clone(),
            base_url: raw.base_url.as_ref().and_then(|url| url.value.0.as_ref()).map(|url| url.0.clone()),
            environment: raw.environment.clone(),
            allow: raw.allow.iter().filter_map(|host| self.allowed_host(host)).collect(),
            limits,
            tls: self.tls(raw.tls.as_ref()),
            version: raw.version.as_ref().map(|version| VersionSource { path: version.path.value.clone(), header: version.header.clone() }),
        };
        match &raw.base_url {
            Some(Spanned { value: Attempt(Some(url)), span }) if url.0.query().is_some() || url.0.fragment().is_some() => {
                self.mistake("bad-url", *span, "a base address has no query and no fragment", "end it after the path");
            }
            Some(Spanned { value: Attempt(None), .. }) => {
                self.wrong_bases.insert(name.value.clone());
            }
            Some(_) | None => {}
        }
        if let Some(version) = &raw.version {
            self.version(&version.path, raw.base_url.is_some());
        }
        if target.is_production() && limits.rate.is_none() && limits.vus.is_none() {
            let message = format!("the production target `{}` has no limits", name.value);
            self.mistake("missing-limits", name.span, message, "add `limits: { rate: 100/s, vus: 50, duration: 30m }`");
        }
        self.identities(&raw.identities, raw.auth.as_ref(), &target);
        let guards = raw.guard.iter().filter_map(|text| self.guard(text)).collect();
        TargetSetup { target, production: Vec::new(), probes: self.probes(raw, commands), guards, idle_interval: raw.idle_interval }
    }

    /// What targets have to do with each other: a target that may load a host of a production target is bound by that one's limits, too.
    pub(super) fn production_hosts(targets: &mut BTreeMap<String, TargetSetup>) {
        let production = targets.values().map(|setup| &setup.target).filter(|target| target.is_production());
        let production: Vec<(Limits, ProductionHost)> = production
            .flat_map(|target| target.hosts().into_iter().map(|host| (target.limits, ProductionHost { target: target.name.clone(), host })))
            .collect();
        for setup in targets.values_mut() {
            let hosts = setup.target.hosts();
            for (limits, _) in production.iter().filter(|(_, other)| other.target != setup.target.name && hosts.contains(&other.host)) {
                setup.target.limits = setup.target.limits.strictest(*limits);
            }
            setup.production = production.iter().map(|(_, host)| host.clone()).collect();
        }
    }

    /// Where the load of production is read.
    pub(super) fn production(&mut self, raw: &RawTarget) -> Option<ProductionLoad> {
        let load = raw.production_load.as_ref()?;
        let probes: Vec<String> = raw.probes.iter().map(|(name, _)| name.value.clone()).collect();
        self.known("no-probe", "probe", &load.probe, &probes).then(|| ProductionLoad {
            probe: load.probe.value.clone(),
            metric: load.metric.clone(),
            labels: load.labels.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect(),
        })
    }

    /// A condition that makes the load less, and its text. The scenarios of profiles, and tags of theirs, are not the target's.
    fn guard(&mut self, text: &Spanned<String>) -> Option<(String, Series)> {
        let series = self.series(text)?;
        self.check_tags(text, &series.selector, series.metric.source, &Selectable::default());
        Some((text.value.clone(), series))
    }

    fn version(&mut self, path: &Spanned<String>, has_base: bool) {
        if !path.value.starts_with('/') {
            self.mistake("bad-url", path.span, format!("`{}` is not a path", path.value), "begin it with `/`");
        } else if !has_base {
            self.mistake("missing-base-url", path.span, "the target has no `base_url` that the path could follow", "add `base_url:`");
        }
    }

    fn allowed_host(&mut self, host: &Spanned<String>) -> Option<String> {
        if host.value.contains('/') {
            let network = Network::parse(&host.value).map(|_| host.value.clone());
            if network.is_none() {
                let message = format!("`{}` is neither a host with a port nor a network", host.value);
                self.mistake(
                    "bad-host",
                    host.span,
                    message,
                    "write `shop.internal:8080`, or a network such as `10.2.0.0/16` or `fd00::/8`",
                );
            }
            return network;
        }
        let port = host.value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
        // The scheme only serves to read the host; an explicit port that happens to be its default is kept by the check above.
        let url = url::Url::parse(&format!("http://{}/", host.value)).ok();
        let plain = url.as_ref().is_some_and(|url| url.path() == "/" && url.username().is_empty() && url.query().is_none());
        if plain && port.is_some() {
            return url.as_ref().and_then(host_of);
        }
        let hint = if plain && port.is_none() && !host.value.contains(':') {
            format!("write `{0}:80` or `{0}:443`", host.value)
        } else {
            "write `shop.internal:8080`".to_owned()
        };
        self.mistake("bad-host", host.span, format!("`{}` is not a host with a port", host.value), hint);
        None
    }

    fn probes(&mut self, raw: &RawTarget, commands: bool) -> Vec<ProbeSpec> {
        let mut probes = Vec::new();
        for (name, node) in raw.probes.iter() {
            self.check_name(name, "probe");
            self.cx.name = Some(name.value.clone());
            let decoded = decode_kind(node, "probe", self.kinds.probes, &mut self.cx);
            self.cx.name = None;
            if let Some((kind, settings)) = decoded {
                if kind == command::NAME && !commands {
                    let hint = "add `allow_commands: true` at the top of the configuration, if programs may be run on this machine";
                    self.mistake("commands-not-allowed", name.span, "programs are not run unless that is allowed", hint);
                }
                probes.push(ProbeSpec { name: name.value.clone(), kind, settings });
            }
        }
        probes
    }
}

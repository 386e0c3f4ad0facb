//! From the mirror of the file to what the engine works from: names are looked up, limits compared, expressions and addresses
//! parsed, defaults filled in. Every mistake is gathered; a part that is wrong is left out, so that the others are still checked.

mod alerts;
mod auth;
mod captures;
mod data;
mod digest;
mod expression;
mod flow;
mod history;
mod iteration;
mod muting;
mod profile;
mod retention;
mod scenario;
mod schedule;
mod service;
mod staircase;
mod target;
mod telling;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use self::auth::Identities;
use self::flow::Schemas;
use super::Kinds;
use super::raw::RawConfig;
use super::sources::Sources;
use crate::engine::setup::Setup;
use crate::model::units::Timestamp;
use crate::registry::{Context, Decode, Diagnostics, Node, Span, Spanned, Surroundings, suggest};

pub(crate) use alerts::DEFAULT_RULES;

/// Makes the setup of a configuration, and all its mistakes. The setup is complete only when there are none.
/// With `now`, what is over by then is a mistake.
pub(crate) fn resolve(
    root: &Node,
    sources: &mut Sources,
    kinds: &Kinds,
    surroundings: &dyn Surroundings,
    now: Option<Timestamp>,
) -> (Setup, Diagnostics) {
    let mut resolver = Resolver {
        cx: Context::new(surroundings),
        sources,
        kinds,
        declared: Declared::of(root),
        wrong_bases: BTreeSet::new(),
        identities: BTreeMap::new(),
        schemas: Vec::new(),
        now,
    };
    let setup = RawConfig::decode(root, &mut resolver.cx).map(|raw| resolver.setup(&raw)).unwrap_or_default();
    (setup, resolver.cx.diagnostics)
}

/// The names that the file defines, also those whose definition is wrong: a second mistake about them would mislead.
struct Declared {
    targets: Vec<String>,
    profiles: Vec<String>,
    channels: Vec<String>,
    /// Where the address of the storage stands; its value is a secret and carries no place.
    storage: Span,
}

impl Declared {
    fn of(root: &Node) -> Self {
        let names =
            |node: Option<&Node>| node.map(|node| node.entries().iter().map(|entry| entry.key.clone()).collect()).unwrap_or_default();
        let storage = root.get("storage");
        let url = storage.and_then(|storage| storage.get("url").or_else(|| storage.get("url_file")));
        Self {
            storage: url.map_or(root.span, |url| url.span),
            targets: names(root.get("targets")),
            profiles: names(root.get("profiles")),
            channels: names(root.get("alerts").and_then(|alerts| alerts.get("channels"))),
        }
    }
}

struct Resolver<'a> {
    cx: Context<'a>,
    sources: &'a mut Sources,
    kinds: &'a Kinds,
    declared: Declared,
    /// Targets whose `base_url` is given and wrong: nothing can be said of addresses below it.
    wrong_bases: BTreeSet<String>,
    /// How requests to each target prove who asks.
    identities: BTreeMap<String, Identities>,
    /// Schemas of gRPC that were compiled.
    schemas: Schemas,
    /// When it is asked whether the configuration is right; `None`: it is put in force, and what is over does no harm.
    now: Option<Timestamp>,
}

/// Redirects that are followed where nothing is said.
const REDIRECTS: u32 = 10;

impl Resolver<'_> {
    fn setup(&mut self, raw: &RawConfig) -> Setup {
        let mut setup = Setup { storage: self.storage(raw.storage.as_ref()), ..Setup::default() };
        setup.storage.retention = self.retention(raw.storage.as_ref(), &raw.profiles);
        setup.allow_commands = raw.allow_commands;
        setup.server = self.server(raw.server.as_ref());
        setup.log = self.log(raw.log.as_ref());
        setup.load = self.load(raw.load.as_ref());
        for (name, target) in raw.targets.iter() {
            self.check_name(name, "target");
            setup.production.extend(self.production(target).map(|load| (name.value.clone(), load)));
            setup.targets.insert(name.value.clone(), self.target(name, target, raw.allow_commands));
        }
        Self::production_hosts(&mut setup.targets);
        for (name, profile) in raw.profiles.iter() {
            self.check_name(name, "profile");
            let target = setup.targets.get(&profile.target.value).map(|target| target.target.clone());
            let captures = self.captures(name.span, &profile.captures, target.as_ref(), raw.allow_commands);
            if !captures.is_empty() {
                setup.captures.insert(name.value.clone(), captures);
            }
            if let Some(profile) = self.profile(name, profile, &setup.targets) {
                setup.profiles.insert(name.value.clone(), profile);
            }
        }
        setup.history = self.history(raw.history.as_ref());
        for (name, gate) in raw.gates.iter() {
            self.check_name(name, "gate");
            setup.gates.extend(self.passes_gate(name, gate).map(|gate| (name.value.clone(), gate)));
        }
        for (name, suite) in raw.suites.iter() {
            self.check_name(name, "suite");
            setup.suites.insert(name.value.clone(), self.suite(name, suite));
        }
        for (name, schedule) in raw.schedules.iter() {
            self.check_name(name, "schedule");
            let scheduled = self.schedule(name, schedule, &setup.suites);
            setup.schedules.extend(scheduled.into_iter().map(|schedule| (schedule.name.clone(), schedule)));
        }
        self.alerts(raw.alerts.as_ref(), &mut setup);
        setup
    }

    /// The bytes of a file that the configuration names at `span`.
    fn read_file(&mut self, path: &str, span: Span) -> Option<Vec<u8>> {
        match super::sources::read_bytes(Path::new(path)) {
            Ok(bytes) => Some(bytes),
            Err(why) => {
                self.mistake("unreadable-file", span, format!("{path} cannot be read: {why}"), "check the path and its permissions");
                None
            }
        }
    }

    fn mistake(&mut self, code: &'static str, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.cx.diagnostics.push(code, span, message, hint);
    }

    /// Names of the user's own stand in labels, addresses and file names.
    fn check_name(&mut self, name: &Spanned<String>, what: &str) {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name.value.chars().all(fine) || !name.value.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let message = format!("`{}` cannot be the name of a {what}", name.value);
            self.mistake("bad-name", name.span, message, "use letters, digits, `-`, `_` and `.`, a letter or digit first");
        }
    }

    /// Names within a profile stand in labels and in the selectors of thresholds.
    fn check_label(&mut self, name: &Spanned<String>, what: &str) {
        let bad = |c: char| c.is_control() || matches!(c, '{' | '}' | ',' | '"');
        if name.value.trim().is_empty() || name.value != name.value.trim() || name.value.contains(bad) {
            let message = format!("`{}` cannot be the name of a {what}", name.value);
            self.mistake("bad-name", name.span, message, "do not use braces, commas or quotes, nor spaces at the ends");
        }
    }

    /// Reports a name that is not declared.
    fn known(&mut self, code: &'static str, what: &str, name: &Spanned<String>, declared: &[String]) -> bool {
        let known = declared.contains(&name.value);
        if !known {
            let hint = suggest(&name.value, declared.iter().map(String::as_str));
            self.mistake(code, name.span, format!("there is no {what} `{}`", name.value), hint);
        }
        known
    }

    /// Reports names that occur twice.
    fn check_unique<'n>(&mut self, what: &str, names: impl Iterator<Item = &'n Spanned<String>>) {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for name in names {
            if let Some(first) = seen.get(name.value.as_str()) {
                let message = format!("the {what} `{}` is defined twice", name.value);
                let other = (*first, "first given here".to_owned());
                self.cx.diagnostics.push_pair("duplicate-name", name.span, message, "rename one of them", other);
            } else {
                seen.insert(&name.value, name.span);
            }
        }
    }
}

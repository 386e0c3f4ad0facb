//! Captures: exactly one thing at exactly one moment, from hosts that the target may reach.

use std::time::Duration;

use super::Resolver;
use crate::config::raw::capture::{RawCapture, RawMoment};
use crate::model::capture::{MOST, MOST_BYTES, Moment};
use crate::model::profile::Target;
use crate::probe::capture::{CaptureSpec, Profile, Source};
use crate::registry::{Span, Spanned};

/// Longest CPU profile.
const LONGEST: Duration = Duration::from_secs(120);

impl Resolver<'_> {
    /// The captures of a profile that stands at `span`; `target` is `None` when it is wrong.
    pub(super) fn captures(&mut self, span: Span, raw: &[RawCapture], target: Option<&Target>, commands: bool) -> Vec<CaptureSpec> {
        if raw.len() > MOST {
            let message = format!("{} captures are too many", raw.len());
            self.mistake("out-of-range", span, message, format!("a run has at most {MOST}"));
        }
        let each = raw.iter().enumerate().filter_map(|(index, raw)| self.capture(span, index, raw, target, commands));
        let specs: Vec<CaptureSpec> = each.collect();
        for (index, spec) in specs.iter().enumerate() {
            if specs[..index].iter().any(|other| other.name == spec.name) {
                let place = raw.get(index).and_then(|raw| raw.name.as_ref()).map_or(span, |name| name.span);
                let message = format!("there are two captures `{}`", spec.name);
                self.mistake("duplicate-name", place, message, "give each a name of its own");
            }
        }
        specs
    }

    fn capture(&mut self, span: Span, index: usize, raw: &RawCapture, target: Option<&Target>, commands: bool) -> Option<CaptureSpec> {
        let place = raw.name.as_ref().map_or(span, |name| name.span);
        let moment = match (&raw.at, &raw.when) {
            (Some(at), None) => Some(Moment::At(at.value)),
            (None, Some(when)) => Some(match when.value {
                RawMoment::FirstBreach => Moment::FirstBreach,
                RawMoment::Peak => Moment::Peak,
            }),
            (Some(_), Some(when)) => {
                self.mistake("conflicting-keys", when.span, "a capture has one moment: `at` or `when`", "make two captures of it");
                None
            }
            (None, None) => {
                self.mistake("missing-key", place, "a capture needs a moment", "add `at: 15m`, `when: first breach` or `when: peak`");
                None
            }
        };
        if let Some(name) = &raw.name {
            self.check_name(name, "capture");
        }
        let source = self.source(place, raw, target, commands);
        if raw.limit.value.0 > MOST_BYTES {
            self.mistake("out-of-range", raw.limit.span, "the captures of a run may have 64 MiB together", "give a smaller `limit`");
        }
        let (moment, source) = (moment?, source?);
        let mut spec = CaptureSpec { name: String::new(), moment, source, timeout: raw.timeout, limit: raw.limit.value.0 };
        spec.name = raw.name.as_ref().map_or_else(|| format!("{}-{}", spec.kind(), index + 1), |name| name.value.clone());
        Some(spec)
    }

    fn source(&mut self, place: Span, raw: &RawCapture, target: Option<&Target>, commands: bool) -> Option<Source> {
        let given = [raw.pprof.is_some(), raw.url.is_some(), raw.postgres.is_some(), raw.command.is_some()];
        match given.iter().filter(|given| **given).count() {
            0 => {
                self.mistake("missing-key", place, "a capture needs something to capture", "add `pprof`, `url`, `postgres` or `command`");
                return None;
            }
            1 => {}
            _ => {
                self.mistake("conflicting-keys", place, "a capture is of one thing", "make several captures of it");
                return None;
            }
        }
        if let Some(profile) = raw.profile.as_ref().filter(|_| raw.pprof.is_none()) {
            self.mistake("conflicting-keys", profile.span, "`profile` belongs to `pprof`", "remove it, or add `pprof: http://host:port`");
        }
        if let Some(base) = &raw.pprof {
            let length = raw.length.value;
            if length < Duration::from_secs(1) || length > LONGEST {
                self.mistake("out-of-range", raw.length.span, "a CPU profile listens for 1s to 2m", "write `length: 10s`");
            }
            let profile = raw.profile.as_ref().map_or(Profile::Cpu, |profile| profile.value);
            self.allowed(&base.value.0, base.span, target?)?;
            return Some(Source::Pprof { base: base.value.0.clone(), profile, length });
        }
        if let Some(url) = &raw.url {
            self.allowed(&url.value.0, url.span, target?)?;
            return Some(Source::Url(url.value.0.clone()));
        }
        if let Some(url) = &raw.postgres {
            return self.database(place, url.expose(), target?).then(|| Source::Postgres(url.clone()));
        }
        raw.command.as_ref().and_then(|command| self.program(command, commands))
    }

    /// Whether the target may be asked at this address of a database; what is wrong is told without it.
    fn database(&mut self, place: Span, url: &str, target: &Target) -> bool {
        match url::Url::parse(url) {
            Ok(parsed) if matches!(parsed.scheme(), "postgres" | "postgresql") && parsed.has_host() => {
                let mut parsed = parsed;
                if parsed.port().is_none() {
                    // A port that is a number can always be set on an address with a host.
                    let _ = parsed.set_port(Some(5432));
                }
                self.allowed(&parsed, place, target).is_some()
            }
            _ => {
                let hint = "write `postgres://user:password@host:5432/database`";
                self.mistake("bad-url", place, "`postgres` is not the address of a PostgreSQL server", hint);
                false
            }
        }
    }

    fn program(&mut self, command: &Spanned<Vec<String>>, commands: bool) -> Option<Source> {
        if !commands {
            let hint = "add `allow_commands: true` at the top of the configuration, if programs may be run on this machine";
            self.mistake("commands-not-allowed", command.span, "programs are not run unless that is allowed", hint);
            return None;
        }
        if command.value.first().is_none_or(|program| program.trim().is_empty()) {
            self.mistake("missing-value", command.span, "no program is named", "write `command: [\"/usr/bin/top\", \"-b\", \"-n1\"]`");
            return None;
        }
        Some(Source::Command(command.value.clone()))
    }
}

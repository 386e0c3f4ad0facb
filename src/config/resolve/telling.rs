//! Digests become cron texts, and templates of messages are compiled and tried: what is wrong with one is told with its line.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Resolver;
use crate::config::raw::alerts::RawAlerts;
use crate::config::raw::telling::{RawDigest, RawTemplate};
use crate::engine::setup::Setup;
use crate::model::digest::{Digest, Every, Weekday};
use crate::notify::{MessageTemplate, Part};
use crate::registry::Spanned;

/// When a digest is told where nothing is said.
const MORNING: (u32, u32) = (8, 0);

impl Resolver<'_> {
    /// Digests and templates; the channels are there already.
    pub(super) fn telling(&mut self, raw: &RawAlerts, setup: &mut Setup) {
        for (name, digest) in raw.digests.iter() {
            self.check_name(name, "digest");
            setup.digests.extend(self.message_digest(name, digest, setup));
        }
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for (name, template) in raw.templates.iter() {
            self.check_name(name, "template");
            let channels = self.templated(name, template, &mut owners);
            let Some(compiled) = self.message_template(name, template) else { continue };
            let compiled = Arc::new(compiled);
            setup.templates.extend(channels.into_iter().map(|channel| (channel, compiled.clone())));
        }
    }

    fn message_digest(&mut self, name: &Spanned<String>, raw: &RawDigest, setup: &Setup) -> Option<Digest> {
        let declared = self.declared.channels.clone();
        for channel in &raw.send {
            if !self.known("unknown-channel", "channel", channel, &declared) {
                continue;
            }
            if setup.channels.get(&channel.value).is_some_and(|spec| !spec.settings.takes_digests()) {
                let message = format!("channel `{}` takes alerts only, and a digest is none", channel.value);
                self.mistake("not-for-digests", channel.span, message, "send it by mail, Slack, Teams, a webhook, a program or a file");
            }
        }
        if raw.send.is_empty() {
            self.mistake("missing-value", name.span, "a digest needs at least one channel", "write `send: [NAME]`");
        }
        let timezone = raw.timezone.as_ref().map_or(Some(chrono_tz::UTC), |zone| self.timezone(zone))?;
        let (hour, minute) = raw.at.as_ref().map_or(Some(MORNING), |at| self.time_of_day(at))?;
        if let Some(day) = raw.weekday.as_ref().filter(|_| raw.every == Every::Daily) {
            self.mistake("conflicting-keys", day.span, "a daily digest comes on every day", "remove `weekday`, or write `every: weekly`");
        }
        let day = raw.weekday.as_ref().map_or(Weekday::Monday, |day| day.value).number();
        let cron = match raw.every {
            Every::Daily => format!("{minute} {hour} * * *"),
            Every::Weekly => format!("{minute} {hour} * * {day}"),
        };
        let send = raw.send.iter().map(|channel| channel.value.clone()).collect();
        Some(Digest { name: name.value.clone(), every: raw.every, cron, timezone, send })
    }

    /// `08:00`.
    fn time_of_day(&mut self, text: &Spanned<String>) -> Option<(u32, u32)> {
        let digits = |part: &str| part.len() <= 2 && !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let read = text.value.split_once(':').filter(|(hour, minute)| digits(hour) && digits(minute) && minute.len() == 2);
        let read = read.and_then(|(hour, minute)| Some((hour.parse().ok()?, minute.parse().ok()?)));
        let found = read.filter(|(hour, minute)| *hour < 24_u32 && *minute < 60_u32);
        if found.is_none() {
            self.mistake(
                "bad-time",
                text.span,
                format!("`{}` is not a time of the day", text.value),
                "write hour and minute, as in `08:00`",
            );
        }
        found
    }

    /// The channels that a template is for. Two templates for one channel are a mistake.
    fn templated(&mut self, name: &Spanned<String>, raw: &RawTemplate, owners: &mut BTreeMap<String, String>) -> Vec<String> {
        let declared = self.declared.channels.clone();
        let everybody = raw.channels.is_empty();
        let here = |channel: &String| Spanned { value: channel.clone(), span: name.span };
        let wanted: Vec<Spanned<String>> = if everybody { declared.iter().map(here).collect() } else { raw.channels.clone() };
        let mut channels = Vec::new();
        for channel in wanted {
            if !everybody && !self.known("unknown-channel", "channel", &channel, &declared) {
                continue;
            }
            if let Some(owner) = owners.get(&channel.value) {
                let message = format!("channel `{}` has the template `{owner}` already", channel.value);
                self.mistake("conflicting-keys", channel.span, message, "name in `channels` whose messages each template is for");
                continue;
            }
            owners.insert(channel.value.clone(), name.value.clone());
            channels.push(channel.value);
        }
        channels
    }

    fn message_template(&mut self, name: &Spanned<String>, raw: &RawTemplate) -> Option<MessageTemplate> {
        let given = [(Part::Subject, &raw.subject), (Part::Headline, &raw.headline), (Part::Text, &raw.text), (Part::Html, &raw.html)];
        let given: Vec<(Part, &Spanned<String>)> = given.into_iter().filter_map(|(part, text)| Some((part, text.as_ref()?))).collect();
        if given.is_empty() {
            let hint = "add `subject`, `headline`, `text` or `html`";
            self.mistake("missing-key", name.span, format!("template `{}` says nothing", name.value), hint);
            return None;
        }
        let parts: Vec<(Part, &str)> = given.iter().map(|(part, text)| (*part, text.value.as_str())).collect();
        match MessageTemplate::new(&name.value, &parts) {
            Ok(template) => Some(template),
            Err(mistake) => {
                let span = given.iter().find(|(part, _)| *part == mistake.part).map_or(name.span, |(_, text)| text.span);
                let line = mistake.line.map(|line| format!(", line {line}")).unwrap_or_default();
                let message = format!("template `{}`, `{}`{line}: {}", name.value, mistake.part.key(), mistake.message);
                self.mistake("bad-message-template", span, message, mistake.hint);
                None
            }
        }
    }
}

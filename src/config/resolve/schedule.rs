//! Schedules: cron texts that can be read and that fire at all, time zones that exist.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::TimeZone;
use croner::parser::{CronParser, Seconds, Year};

use super::Resolver;
use crate::config::raw::profile::RawSchedule;
use crate::model::schedule::{Missed, Overlap, Schedule};
use crate::model::suite::Suite;
use crate::registry::{Spanned, nearest};

impl Resolver<'_> {
    /// The schedule of a profile, or one of each profile of a suite.
    pub(super) fn schedule(&mut self, name: &Spanned<String>, raw: &RawSchedule, suites: &BTreeMap<String, Suite>) -> Vec<Schedule> {
        let what = self.scheduled(name, raw, suites);
        let timezone = raw.timezone.as_ref().map_or(Some(chrono_tz::UTC), |zone| self.timezone(zone));
        let cron = self.cron(&raw.cron, timezone.unwrap_or(chrono_tz::UTC));
        let (Some(cron), Some(timezone)) = (cron, timezone) else { return Vec::new() };
        let one = |(name, profile, overlap)| Schedule {
            name,
            profile,
            cron: cron.clone(),
            timezone,
            jitter: raw.jitter,
            overlap,
            missed: raw.missed.as_ref().and_then(|missed| missed.0).map_or(Missed::Skip, Missed::RunWithin),
            run_at_start: raw.run_at_start,
        };
        what.into_iter().map(one).collect()
    }

    /// Name, profile and overlap of what runs. The profiles of a suite wait for each other.
    fn scheduled(&mut self, name: &Spanned<String>, raw: &RawSchedule, suites: &BTreeMap<String, Suite>) -> Vec<(String, String, Overlap)> {
        match (&raw.profile, &raw.suite) {
            (Some(profile), None) => {
                let declared = self.declared.profiles.clone();
                let known = self.known("unknown-profile", "profile", profile, &declared);
                let overlap = raw.overlap.unwrap_or(Overlap::Skip);
                if known { vec![(name.value.clone(), profile.value.clone(), overlap)] } else { Vec::new() }
            }
            (None, Some(suite)) => {
                if raw.overlap.is_some_and(|overlap| overlap != Overlap::Queue) {
                    let message =
                        format!("the profiles of a suite wait for each other, so `overlap` of `{}` can only be `queue`", name.value);
                    self.mistake("conflicting-keys", suite.span, message, "leave `overlap` out");
                }
                let declared: Vec<String> = suites.keys().cloned().collect();
                if !self.known("unknown-suite", "suite", suite, &declared) {
                    return Vec::new();
                }
                let profiles = suites.get(&suite.value).map(Suite::profiles).unwrap_or_default();
                profiles.into_iter().map(|profile| (format!("{}/{profile}", name.value), profile, Overlap::Queue)).collect()
            }
            (Some(_), Some(suite)) => {
                let message = format!("schedule `{}` has both `profile` and `suite`", name.value);
                self.mistake("conflicting-keys", suite.span, message, "make two schedules of it");
                Vec::new()
            }
            (None, None) => {
                let message = format!("schedule `{}` does not say what runs", name.value);
                self.mistake("missing-key", name.span, message, "add `profile: NAME` or `suite: NAME`");
                Vec::new()
            }
        }
    }

    pub(super) fn timezone(&mut self, zone: &Spanned<String>) -> Option<chrono_tz::Tz> {
        let found = chrono_tz::Tz::from_str(&zone.value).ok();
        if found.is_none() {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let hint = nearest(&zone.value, names)
                .map_or_else(|| "write an IANA name such as `Europe/Berlin`".to_owned(), |near| format!("did you mean `{near}`?"));
            self.mistake("unknown-timezone", zone.span, format!("there is no time zone `{}`", zone.value), hint);
        }
        found
    }

    /// Whether it fires does not depend on today: without a year the calendar repeats.
    pub(super) fn cron(&mut self, cron: &Spanned<String>, zone: chrono_tz::Tz) -> Option<String> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let fields = cron.value.split_whitespace().count();
        let read = if matches!(fields, 5 | 6) || cron.value.starts_with('@') {
            parser.parse(&cron.value).map_err(|error| plain(&error))
        } else {
            Err(format!("it has {fields} {}", if fields == 1 { "field" } else { "fields" }))
        };
        let read = match read {
            Ok(read) => read,
            Err(why) => {
                let message = format!("`{}` is not a cron expression: {why}", cron.value);
                self.mistake("cron-bad", cron.span, message, "write five fields: minute hour day month weekday, as in `0 2 * * *`");
                return None;
            }
        };
        let from = zone.with_ymd_and_hms(2024, 1, 1, 0, 0, 0).earliest()?;
        if read.find_next_occurrence(&from, true).is_err() {
            self.mistake("cron-never-fires", cron.span, format!("`{}` never fires", cron.value), "no date has this day in this month");
            return None;
        }
        Some(cron.value.clone())
    }
}

/// What the cron parser says, without its own names.
fn plain(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError;
    match error {
        CronError::EmptyPattern => "it is empty".into(),
        CronError::InvalidPattern(text) | CronError::IllegalCharacters(text) | CronError::ComponentError(text) => {
            let mut letters = text.trim_end_matches('.').chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
        CronError::InvalidDate | CronError::InvalidTime | CronError::TimeSearchLimitExceeded => error.to_string(),
    }
}

//! Schedules: cron texts that can be read and that fire at all, time zones that exist.

use std::str::FromStr;

use chrono::TimeZone;
use croner::parser::{CronParser, Seconds, Year};

use super::Resolver;
use crate::config::raw::profile::RawSchedule;
use crate::model::schedule::{Missed, Schedule};
use crate::registry::{Spanned, nearest};

impl Resolver<'_> {
    pub(super) fn schedule(&mut self, name: &Spanned<String>, raw: &RawSchedule) -> Option<Schedule> {
        let declared = self.declared.profiles.clone();
        let known = self.known("unknown-profile", "profile", &raw.profile, &declared);
        let timezone = raw.timezone.as_ref().map_or(Some(chrono_tz::UTC), |zone| self.timezone(zone));
        let cron = self.cron(&raw.cron, timezone.unwrap_or(chrono_tz::UTC));
        Some(Schedule {
            name: name.value.clone(),
            profile: raw.profile.value.clone(),
            cron: cron?,
            timezone: timezone?,
            jitter: raw.jitter,
            overlap: raw.overlap,
            missed: raw.missed.as_ref().and_then(|missed| missed.0).map_or(Missed::Skip, Missed::RunWithin),
            run_at_start: raw.run_at_start,
        })
        .filter(|_| known)
    }

    fn timezone(&mut self, zone: &Spanned<String>) -> Option<chrono_tz::Tz> {
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
    fn cron(&mut self, cron: &Spanned<String>, zone: chrono_tz::Tz) -> Option<String> {
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

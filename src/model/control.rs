//! Steering a run that is going on: what can be asked for, and the record of who asked. Pure vocabulary; what it does to start
//! times is `executor::schedule`, docs/methods.md explains it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::units::{Rate, Timestamp, parse_rate, trim_decimal};
use crate::choice;

choice! {
    /// What can be asked of a run that is going on.
    pub enum Action {
        /// Send more or less load than the profile says.
        Scale = "scale",
        /// Start nothing; the clock of the profile stands still.
        Pause = "pause",
        /// Go on where it stood.
        Resume = "resume",
        /// Keep the present level; the clock of the profile stands still.
        Hold = "hold",
        /// End it now.
        Stop = "stop",
    }
}

/// The load in place of the profile's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// So many times what the profile says at each moment; 1 is the profile itself.
    Factor(f64),
    /// So many VUs, whatever the profile says; for closed executors.
    Vus(u64),
    /// So many starts, whatever the profile says; for open executors.
    Rate(Rate),
}

impl Scale {
    /// Reads `50%` or `2x` (of the profile), `20` (VUs) or `50/s` (starts); the error says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let hint = "write `50%` or `2x` of what the profile says, `20` for VUs, or a rate such as `50/s`";
        let factor = |number: &str| number.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        let found = if let Some(number) = text.strip_suffix('%') {
            factor(number).map(|percent| Self::Factor(percent / 100.0))
        } else if let Some(number) = text.strip_suffix('x') {
            factor(number).map(Self::Factor)
        } else if text.contains('/') {
            parse_rate(text).ok().map(Self::Rate)
        } else {
            text.trim_end_matches(" VUs").parse().ok().map(Self::Vus)
        };
        found.ok_or_else(|| format!("`{text}` is not an amount: {hint}"))
    }

    /// Half of it, at least one VU.
    #[must_use]
    pub fn halved(self) -> Self {
        match self {
            Self::Factor(factor) => Self::Factor(factor / 2.0),
            Self::Vus(vus) => Self::Vus(vus.div_ceil(2)),
            Self::Rate(rate) => Self::Rate(Rate { count: rate.count / 2.0, ..rate }),
        }
    }

    /// So many VUs where the profile says `vus`. What is more than none stays more than none.
    pub fn of_vus(self, vus: u64) -> u64 {
        match self {
            // The subtraction undoes the rounding of factors such as 1.1, which would make 12 of 10.
            Self::Factor(factor) => (vus as f64 * factor - 1e-9).ceil().max(0.0) as u64,
            Self::Vus(vus) => vus,
            Self::Rate(_) => vus,
        }
    }

    /// So many starts (in any unit of time) where the profile says `rate`; an absolute one is given per nanosecond.
    pub fn of_rate_per_ns(self, rate: f64) -> f64 {
        match self {
            Self::Factor(factor) => rate * factor,
            Self::Rate(absolute) => absolute.count / absolute.per.as_nanos() as f64,
            Self::Vus(_) => rate,
        }
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Factor(factor) => write!(f, "{} times the profile", trim_decimal(*factor, 4)),
            Self::Vus(1) => f.write_str("1 VU"),
            Self::Vus(vus) => write!(f, "{vus} VUs"),
            Self::Rate(rate) => write!(f, "{rate}"),
        }
    }
}

/// What somebody did to a run: stored with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlEntry {
    /// When it was asked for.
    pub at: Timestamp,
    /// Offset in the run, in seconds, from which on it holds on all load threads.
    pub second: f64,
    /// Who asked: `api token ci`, or the guard that did.
    pub by: String,
    /// What was asked for.
    pub action: Action,
    /// By how much, for `scale`.
    pub scale: Option<Scale>,
    /// Of this scenario; `None`: of all.
    pub scenario: Option<String>,
}

impl ControlEntry {
    /// What was asked for, in words: `scale users to 20 VUs`.
    pub fn what(&self) -> String {
        let mut text = self.action.as_str().to_owned();
        if let Some(scenario) = &self.scenario {
            text.push_str(&format!(" `{scenario}`"));
        }
        if let Some(scale) = self.scale {
            text.push_str(&format!(" to {scale}"));
        }
        text
    }
}

/// All load is stopped, and nothing starts until somebody lets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standstill {
    /// Since when.
    pub at: Timestamp,
    /// Who stopped it.
    pub by: String,
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all load was stopped by {} at {}; nothing starts until `plimsoll resume`", self.by, self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaled_vus_are_whole_and_do_not_vanish() {
        for (scale, vus, expected) in [
            (Scale::Factor(0.5), 10, 5),
            (Scale::Factor(0.5), 3, 2),
            (Scale::Factor(0.01), 1, 1),
            (Scale::Factor(1.1), 10, 11),
            (Scale::Factor(2.0), 0, 0),
            (Scale::Vus(7), 0, 7),
            (Scale::Factor(1.0).halved(), 1, 1),
            (Scale::Vus(7).halved(), 3, 4),
        ] {
            assert_eq!(scale.of_vus(vus), expected, "{scale:?} of {vus}");
        }
    }

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for (text, expected) in [
            ("50%", Some(Scale::Factor(0.5))),
            (" 2x ", Some(Scale::Factor(2.0))),
            ("1.5 x", Some(Scale::Factor(1.5))),
            ("20", Some(Scale::Vus(20))),
            ("20 VUs", Some(Scale::Vus(20))),
            ("90/min", Some(Scale::Rate(Rate { count: 90.0, per: std::time::Duration::from_secs(60) }))),
            ("", None),
            ("2.5", None),
            ("-1", None),
            ("fast", None),
            ("NaN%", None),
            ("5/", None),
        ] {
            let read = Scale::parse(text);
            assert_eq!(read.clone().ok(), expected, "{text}");
            assert!(read.is_ok() || read.is_err_and(|error| error.contains("`50%`")), "{text}");
        }
    }

    #[test]
    fn an_entry_says_what_was_done_and_survives_its_json() {
        let entry = ControlEntry {
            at: Timestamp(1_700_000_000_000_000),
            second: 12.5,
            by: "api token ci".into(),
            action: Action::Scale,
            scale: Some(Scale::Rate(Rate::per_second(50.0))),
            scenario: Some("users".into()),
        };
        assert_eq!(entry.what(), "scale `users` to 50/s");
        let json = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<ControlEntry>(&json).unwrap(), entry);
        let all = ControlEntry { action: Action::Pause, scale: None, scenario: None, ..entry };
        assert_eq!(all.what(), "pause");
    }
}

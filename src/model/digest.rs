//! Digests: what a day or a week was, told without an alert. Logic is in `alert/digest.rs`.

use chrono_tz::Tz;

use crate::choice;

choice! {
    /// How often a digest is told.
    pub enum Every {
        /// Once a day.
        Daily = "daily",
        /// Once a week.
        Weekly = "weekly",
    }
}

choice! {
    /// A day of the week.
    pub enum Weekday {
        /// Monday.
        Monday = "monday",
        /// Tuesday.
        Tuesday = "tuesday",
        /// Wednesday.
        Wednesday = "wednesday",
        /// Thursday.
        Thursday = "thursday",
        /// Friday.
        Friday = "friday",
        /// Saturday.
        Saturday = "saturday",
        /// Sunday.
        Sunday = "sunday",
    }
}

impl Weekday {
    /// Its number in cron: Sunday is 0.
    pub fn number(self) -> u32 {
        match self {
            Self::Sunday => 0,
            Self::Monday => 1,
            Self::Tuesday => 2,
            Self::Wednesday => 3,
            Self::Thursday => 4,
            Self::Friday => 5,
            Self::Saturday => 6,
        }
    }
}

/// A digest: what happened between two instants of its cron text is told at the second one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Name.
    pub name: String,
    /// How often.
    pub every: Every,
    /// When: five cron fields.
    pub cron: String,
    /// Where the clock of `cron` hangs.
    pub timezone: Tz,
    /// Channels.
    pub send: Vec<String>,
}

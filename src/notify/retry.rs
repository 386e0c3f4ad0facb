//! When a message is tried again: full-jitter exponential backoff (Marc Brooker, "Exponential Backoff And Jitter", AWS 2015), the
//! receiver's Retry-After honoured, given up after a day. Pure: time and randomness are arguments; the engine's outbox keeps the result.

use std::time::Duration;

use super::Delivery;
use crate::model::units::{Timestamp, format_duration};

/// Upper end of the first wait.
pub const FIRST: Duration = Duration::from_secs(5);
/// Longest wait, also when the receiver asks for more.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// Shortest wait, so that full jitter never means at once.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// A message that has not arrived so long after it was written is given up.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What to do with a message after an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// It arrived.
    Sent {
        /// Where it went.
        detail: String,
    },
    /// To be tried again.
    Wait {
        /// Not before.
        until: Timestamp,
        /// Class for metrics.
        class: &'static str,
        /// Why it did not arrive.
        detail: String,
    },
    /// Given up.
    Dropped {
        /// Class for metrics.
        class: &'static str,
        /// Why.
        detail: String,
    },
}

/// What follows from an attempt that ended at `now`. `attempts` counts the attempts before it; `jitter` is evenly between 0 and 1.
pub fn next(delivery: Delivery, attempts: u32, created_at: Timestamp, now: Timestamp, jitter: f64) -> Next {
    let (class, reason, after) = match delivery {
        Delivery::Delivered(detail) => return Next::Sent { detail },
        Delivery::GiveUp { class, reason } => return Next::Dropped { class, detail: reason },
        Delivery::Retry { class, reason, after } => (class, reason, after),
    };
    if now.since(created_at) >= GIVE_UP_AFTER {
        let detail = format!("given up after {} and {} attempts: {reason}", format_duration(GIVE_UP_AFTER), attempts + 1);
        return Next::Dropped { class, detail };
    }
    let wait = backoff(attempts, jitter).max(after.unwrap_or_default().min(LONGEST));
    // The last attempt is made when the day is over, not some time before.
    let until = now.plus(wait).min(created_at.plus(GIVE_UP_AFTER)).max(now.plus(SHORTEST));
    Next::Wait { until, class, detail: reason }
}

/// A wait evenly between nothing and 5 s, 10 s, 20 s … one hour.
fn backoff(attempts: u32, jitter: f64) -> Duration {
    let ceiling = FIRST.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST);
    ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retry(after: Option<u64>) -> Delivery {
        Delivery::Retry { class: "network", reason: "refused".into(), after: after.map(Duration::from_secs) }
    }

    fn wait(delivery: Delivery, attempts: u32, age: u64, jitter: f64) -> Option<u64> {
        let created = Timestamp(1_000_000);
        let now = created.plus(Duration::from_secs(age));
        match next(delivery, attempts, created, now, jitter) {
            Next::Wait { until, .. } => Some(until.since(now).as_secs()),
            Next::Sent { .. } | Next::Dropped { .. } => None,
        }
    }

    #[test]
    fn waits_double_up_to_an_hour() {
        for (sentence, attempts, after, age, jitter, expected) in [
            ("the first wait is up to 5 s", 0, None, 0, 1.0, Some(5)),
            ("then 10", 1, None, 5, 1.0, Some(10)),
            ("half of it at half the jitter", 3, None, 60, 0.5, Some(20)),
            ("an hour at most", 20, None, 7200, 1.0, Some(3600)),
            ("any number of attempts", u32::MAX, None, 7200, 1.0, Some(3600)),
            ("never at once", 0, None, 0, 0.0, Some(1)),
            ("as long as the receiver asks", 0, Some(90), 0, 1.0, Some(90)),
            ("but an hour at most", 0, Some(86_400), 0, 1.0, Some(3600)),
            ("the receiver cannot shorten it", 3, Some(1), 0, 1.0, Some(40)),
            ("a last attempt at the end of the day", 20, None, 86_000, 1.0, Some(400)),
            ("then never again", 20, None, 86_400, 1.0, None),
        ] {
            assert_eq!(wait(retry(after), attempts, age, jitter), expected, "{sentence}");
        }
    }

    #[test]
    fn what_cannot_be_helped_is_dropped_and_what_arrived_is_sent() {
        let at = Timestamp(0);
        let give_up = Delivery::GiveUp { class: "client_error", reason: "404".into() };
        assert_eq!(next(give_up, 0, at, at, 0.5), Next::Dropped { class: "client_error", detail: "404".into() });
        assert_eq!(next(Delivery::Delivered("there".into()), 9, at, at, 0.5), Next::Sent { detail: "there".into() });
        let Next::Dropped { detail, .. } = next(retry(None), 30, at, at.plus(GIVE_UP_AFTER), 0.5) else { panic!() };
        assert_eq!(detail, "given up after 1d and 31 attempts: refused");
    }

    proptest! {
        #[test]
        fn every_wait_is_between_a_second_and_an_hour(attempts: u32, after in proptest::option::of(0_u64..1_000_000), age in 0_u64..86_399, jitter in 0.0..1.0) {
            let wait = wait(retry(after), attempts, age, jitter).unwrap();
            prop_assert!((1..=3600).contains(&wait));
        }
    }
}

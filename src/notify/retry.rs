//! When a message is tried again: full-jitter exponential backoff (Marc Brooker, "Exponential Backoff And Jitter", AWS 2015), the
//! receiver's Retry-After honoured, given up after a day. Pure: time and randomness are arguments; the engine's outbox keeps the result.

use std::time::Duration;

use super::Delivery;
use crate::model::alerting::OutboxState;
use crate::model::units::{Timestamp, format_duration};

/// Upper end of the first wait.
pub const FIRST: Duration = Duration::from_secs(5);
/// Longest wait, also when the receiver asks for more.
pub const LONGEST: Duration = Duration::from_secs(3600);
/// Shortest wait, so that full jitter never means at once.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// A message that has not arrived so long after it was written is given up.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Where a message is after an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Sent, dropped, or waiting for another attempt.
    pub state: OutboxState,
    /// Next attempt not before; now when there is none.
    pub not_before: Timestamp,
    /// Where it went, or why it did not.
    pub detail: String,
}

/// What follows from an attempt that ended at `now`. `attempts` counts that one too; `jitter` is evenly between 0 and 1.
pub fn next(delivery: &Delivery, attempts: u32, created_at: Timestamp, now: Timestamp, jitter: f64) -> Next {
    let done = |state, detail| Next { state, not_before: now, detail };
    let (reason, after) = match delivery {
        Delivery::Delivered(place) => return done(OutboxState::Sent, place.clone()),
        Delivery::GiveUp { reason, .. } => return done(OutboxState::Dropped, reason.clone()),
        Delivery::Retry { reason, after, .. } => (reason, after.unwrap_or_default()),
    };
    if now.since(created_at) >= GIVE_UP_AFTER {
        let age = format_duration(GIVE_UP_AFTER);
        return done(OutboxState::Dropped, format!("given up after {age} and {attempts} attempts: {reason}"));
    }
    let wait = backoff(attempts.saturating_sub(1), jitter).max(after.min(LONGEST));
    // The last attempt is made when the day is over, not some time before.
    let not_before = now.plus(wait).min(created_at.plus(GIVE_UP_AFTER)).max(now.plus(SHORTEST));
    Next { state: OutboxState::Waiting, not_before, detail: reason.clone() }
}

/// A wait evenly between nothing and 5 s, 10 s, 20 s … one hour.
fn backoff(failed_before: u32, jitter: f64) -> Duration {
    let ceiling = FIRST.saturating_mul(2_u32.saturating_pow(failed_before)).min(LONGEST);
    ceiling.mul_f64(jitter.clamp(0.0, 1.0)).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn retry(after: Option<u64>) -> Delivery {
        Delivery::Retry { class: "network", reason: "refused".into(), after: after.map(Duration::from_secs) }
    }

    fn wait(delivery: &Delivery, attempts: u32, age: u64, jitter: f64) -> Option<u64> {
        let created = Timestamp(1_000_000);
        let now = created.plus(Duration::from_secs(age));
        let next = next(delivery, attempts, created, now, jitter);
        (next.state == OutboxState::Waiting).then(|| next.not_before.since(now).as_secs())
    }

    #[test]
    fn waits_double_up_to_an_hour() {
        for (sentence, attempts, after, age, jitter, expected) in [
            ("the first wait is up to 5 s", 1, None, 0, 1.0, Some(5)),
            ("then 10", 2, None, 5, 1.0, Some(10)),
            ("half of it at half the jitter", 4, None, 60, 0.5, Some(20)),
            ("an hour at most", 20, None, 7200, 1.0, Some(3600)),
            ("any number of attempts", u32::MAX, None, 7200, 1.0, Some(3600)),
            ("never at once", 1, None, 0, 0.0, Some(1)),
            ("as long as the receiver asks", 1, Some(90), 0, 1.0, Some(90)),
            ("but an hour at most", 1, Some(86_400), 0, 1.0, Some(3600)),
            ("the receiver cannot shorten it", 4, Some(1), 0, 1.0, Some(40)),
            ("a last attempt at the end of the day", 20, None, 86_000, 1.0, Some(400)),
            ("then never again", 20, None, 86_400, 1.0, None),
        ] {
            assert_eq!(wait(&retry(after), attempts, age, jitter), expected, "{sentence}");
        }
    }

    #[test]
    fn what_cannot_be_helped_is_dropped_and_what_arrived_is_sent() {
        let at = Timestamp(0);
        let give_up = Delivery::GiveUp { class: "client_error", reason: "404".into() };
        assert_eq!(next(&give_up, 1, at, at, 0.5), Next { state: OutboxState::Dropped, not_before: at, detail: "404".into() });
        let arrived = Delivery::Delivered("there".into());
        assert_eq!(next(&arrived, 9, at, at, 0.5), Next { state: OutboxState::Sent, not_before: at, detail: "there".into() });
        let late = next(&retry(None), 31, at, at.plus(GIVE_UP_AFTER), 0.5);
        assert_eq!((late.state, late.detail.as_str()), (OutboxState::Dropped, "given up after 1d and 31 attempts: refused"));
    }

    proptest! {
        #[test]
        fn every_wait_is_between_a_second_and_an_hour(attempts: u32, after in proptest::option::of(0_u64..1_000_000), age in 0_u64..86_399, jitter in 0.0..1.0) {
            let wait = wait(&retry(after), attempts, age, jitter).unwrap();
            prop_assert!((1..=3600).contains(&wait));
        }
    }
}

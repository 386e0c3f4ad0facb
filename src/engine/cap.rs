//! The limit on requests a second that a target has, kept by all load threads together, whatever the executors and flows ask for.
//! A generic cell rate algorithm (ITU-T I.371): one number, the moment up to which requests are paid for, and no lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::model::units::Rate;

/// So much of unused time is kept: requests that come a little unevenly are not held back.
const SLACK: Duration = Duration::from_millis(100);

/// The limit of one target.
#[derive(Debug)]
pub struct RateCap {
    limit: Rate,
    /// Nanoseconds that one request pays for.
    gap: u64,
    origin: Instant,
    /// Nanoseconds after `origin` up to which requests are paid for.
    paid: AtomicU64,
    held: AtomicU64,
}

impl RateCap {
    /// A limit, from now on.
    pub fn new(limit: Rate) -> Self {
        let gap = limit.per.as_nanos() as f64 / limit.count.max(f64::MIN_POSITIVE);
        Self { limit, gap: gap.min(1e18) as u64, origin: Instant::now(), paid: AtomicU64::new(0), held: AtomicU64::new(0) }
    }

    /// Waits until one more request may be sent; true when it had to wait.
    pub async fn turn(&self) -> bool {
        let Some(at) = self.pay(Instant::now()) else { return false };
        self.held.fetch_add(1, Ordering::Relaxed);
        sleep_until(at).await;
        true
    }

    /// Pays for a request that was sent already, such as a redirect: those after it wait.
    pub fn sent(&self) {
        self.pay(Instant::now());
    }

    /// Takes the next place; `None`: at once.
    fn pay(&self, now: Instant) -> Option<Instant> {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos() as u64;
        let next = |paid: u64| Some(paid.max(elapsed).saturating_add(self.gap));
        let paid = self.paid.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_default();
        let at = paid.saturating_sub((SLACK.as_nanos() as u64).max(self.gap));
        (at > elapsed).then(|| self.origin + Duration::from_nanos(at))
    }

    /// What people should know of it: how many requests were held back; `None` when none was.
    pub fn sentence(&self) -> Option<String> {
        let held = self.held.load(Ordering::Relaxed);
        let limit = self.limit;
        (held > 0).then(|| format!("the target's limit of {limit} held back {held} requests: without it the load would have been higher"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn never_more_than_the_limit_however_many_ask() {
        let cap = std::sync::Arc::new(RateCap::new(Rate::per_second(50.0)));
        let sent = std::sync::Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (cap, sent) = (cap.clone(), sent.clone());
            tasks.spawn(async move {
                loop {
                    cap.turn().await;
                    sent.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        let mut before = 0;
        for second in 0..10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = sent.load(Ordering::Relaxed);
            let most = if second == 0 { 50 + 6 } else { 50 + 1 };
            assert!((49..=most).contains(&(now - before)), "{} in second {second}", now - before);
            before = now;
        }
        assert!(cap.sentence().unwrap().starts_with("the target's limit of 50/s held back "));
    }

    #[tokio::test(start_paused = true)]
    async fn who_keeps_to_the_limit_never_waits() {
        let cap = RateCap::new(Rate::per_second(100.0));
        for number in 0..1_000_u64 {
            // Up to 20 ms late.
            let late = Duration::from_micros(number * 7_919 % 20_000);
            sleep_until(cap.origin + Duration::from_millis(10 * number) + late).await;
            assert!(!cap.turn().await, "request {number}");
        }
        assert_eq!(cap.sentence(), None);
        // Redirects are paid for by those after them.
        (0..20).for_each(|_| cap.sent());
        assert!(cap.turn().await);
    }
}

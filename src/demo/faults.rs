//! The faults of the demo target: what can be switched on by a request, and the switchboard that the request path asks.
//! Shares are exact, not random: with a share of 0.2 every fifth request is hit. What each fault does: docs/probes.md.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// Everything that is wrong on purpose. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Every query takes this much longer, while it holds its connection, milliseconds.
    pub slow_ms: u64,
    /// Size of the pool instead of the configured one.
    pub pool: Option<u32>,
    /// Bytes kept for ever by every request.
    pub memory_leak_bytes: u64,
    /// Every so many requests that use a connection do not give it back; 0: none.
    pub connection_leak_every: u64,
    /// Requests answered with an error.
    pub errors: Vec<ErrorFault>,
    /// Nothing is answered for this long from now on, milliseconds; shows what is left.
    pub stall_ms: u64,
    /// The service behind `/api/v1/cards` refuses connections.
    pub dependency_down: bool,
    /// Share of requests whose connection is closed without an answer.
    pub refuse: f64,
    /// The body of every answer is spread over this long, milliseconds.
    pub slow_body_ms: u64,
    /// Share of answers that end in the middle of their body.
    pub truncated_body: f64,
}

/// Requests under a path that are answered with an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorFault {
    /// Begin of the path; `/metrics` is spared unless it is named.
    #[serde(default = "everything")]
    pub prefix: String,
    /// Status of the answer.
    pub status: u16,
    /// Share of the requests.
    #[serde(default = "all")]
    pub share: f64,
}

fn everything() -> String {
    "/".into()
}

fn all() -> f64 {
    1.0
}

impl Faults {
    /// The same with the keys of `change` replaced; `Err` says what is wrong with it.
    pub fn changed(&self, change: &serde_json::Value) -> Result<Self, String> {
        let serde_json::Value::Object(change) = change else { return Err("a JSON object is expected".into()) };
        let mut whole = serde_json::to_value(self).map_err(|error| error.to_string())?;
        for (key, value) in change {
            whole[key.as_str()] = value.clone();
        }
        let faults: Self = serde_json::from_value(whole).map_err(|error| error.to_string())?;
        faults.check()?;
        Ok(faults)
    }

    fn check(&self) -> Result<(), String> {
        let longest = Duration::from_secs(600).as_millis() as u64;
        for (name, value) in [("slow_ms", self.slow_ms), ("stall_ms", self.stall_ms), ("slow_body_ms", self.slow_body_ms)] {
            if value > longest {
                return Err(format!("`{name}` is at most {longest}"));
            }
        }
        if self.pool.is_some_and(|pool| !(1..=1000).contains(&pool)) {
            return Err("`pool` is between 1 and 1000".into());
        }
        let shares = self.errors.iter().map(|error| ("share", error.share));
        for (name, share) in shares.chain([("refuse", self.refuse), ("truncated_body", self.truncated_body)]) {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("`{name}` is between 0 and 1"));
            }
        }
        if self.errors.iter().any(|error| !(400..=599).contains(&error.status)) {
            return Err("`status` is between 400 and 599".into());
        }
        Ok(())
    }
}

/// Hits an exact share of what passes.
#[derive(Debug, Default)]
struct Turnstile(AtomicU64);

impl Turnstile {
    fn hits(&self, share: f64) -> bool {
        let passed = self.0.fetch_add(1, Ordering::Relaxed) as f64;
        ((passed + 1.0) * share).floor() > (passed * share).floor()
    }
}

/// The faults in force, with the counters of their shares.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// What is switched on.
    pub(super) faults: Faults,
    refused: Turnstile,
    truncated: Turnstile,
    errors: Vec<Turnstile>,
}

impl Active {
    fn new(faults: Faults) -> Self {
        let errors = faults.errors.iter().map(|_| Turnstile::default()).collect();
        Self { faults, errors, ..Self::default() }
    }

    /// The error that this request is to be answered with.
    pub(super) fn error_for(&self, path: &str) -> Option<u16> {
        let concerns = |prefix: &str| path.starts_with(prefix) && (path != "/metrics" || prefix.starts_with("/metrics"));
        let rules = self.faults.errors.iter().zip(&self.errors);
        rules.filter(|(rule, _)| concerns(&rule.prefix)).find(|(rule, seen)| seen.hits(rule.share)).map(|(rule, _)| rule.status)
    }

    /// Whether this request's connection is to be closed without an answer.
    pub(super) fn refuses(&self) -> bool {
        self.refused.hits(self.faults.refuse)
    }

    /// Whether this answer is to end in the middle.
    pub(super) fn truncates(&self) -> bool {
        self.truncated.hits(self.faults.truncated_body)
    }
}

/// Holds the faults in force and what they have done.
#[derive(Debug)]
pub(super) struct Switchboard {
    active: RwLock<Arc<Active>>,
    stalled_until: watch::Sender<Option<Instant>>,
    dependency_down: watch::Sender<bool>,
    hoard: Mutex<Vec<Box<[u8]>>>,
    hoarded: AtomicU64,
    leak_limit: u64,
}

impl Switchboard {
    /// Nothing is wrong yet.
    pub(super) fn new(leak_limit: u64) -> Self {
        Self {
            active: RwLock::default(),
            stalled_until: watch::Sender::new(None),
            dependency_down: watch::Sender::new(false),
            hoard: Mutex::default(),
            hoarded: AtomicU64::new(0),
            leak_limit,
        }
    }

    /// The faults in force.
    pub(super) fn active(&self) -> Arc<Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The faults for people: the stall shows what is left of it.
    pub(super) fn shown(&self) -> Faults {
        let left = self.stalled_until.borrow().map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        Faults { stall_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX), ..self.active().faults.clone() }
    }

    /// Puts other faults in force.
    pub(super) fn set(&self, faults: Faults) {
        let until = (faults.stall_ms > 0).then(|| Instant::now() + Duration::from_millis(faults.stall_ms));
        self.stalled_until.send_replace(until);
        self.dependency_down.send_replace(faults.dependency_down);
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Active::new(faults));
    }

    /// Frees what the memory leak kept, as a restart would.
    pub(super) fn free_memory(&self) {
        self.hoard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.hoarded.store(0, Ordering::Relaxed);
    }

    /// Returns when nothing is stalled (any more).
    pub(super) async fn stall_over(&self) {
        let mut changes = self.stalled_until.subscribe();
        loop {
            let Some(until) = *changes.borrow_and_update() else { return };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Follows the state of the dependency.
    pub(super) fn dependency_down(&self) -> watch::Receiver<bool> {
        self.dependency_down.subscribe()
    }

    /// Keeps memory for ever. Every page is written to, so that it is really used.
    pub(super) fn leak_memory(&self, bytes: u64) {
        let before = self.hoarded.fetch_add(bytes, Ordering::Relaxed);
        if bytes == 0 || before + bytes > self.leak_limit {
            self.hoarded.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        let block = vec![0xA5_u8; usize::try_from(bytes).unwrap_or(0)].into_boxed_slice();
        self.hoard.lock().unwrap_or_else(PoisonError::into_inner).push(block);
    }

    /// Bytes kept by the memory leak.
    pub(super) fn leaked_bytes(&self) -> u64 {
        self.hoarded.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shares_are_exact() {
        for (share, of, hits) in [(0.2, 100, 20), (1.0, 7, 7), (0.0, 50, 0), (0.5, 3, 1), (0.001, 1000, 1)] {
            let turnstile = Turnstile::default();
            assert_eq!((0..of).filter(|_| turnstile.hits(share)).count(), hits, "{share}");
        }
    }

    #[test]
    fn a_change_replaces_only_what_it_names() {
        let slow = Faults::default().changed(&json!({"slow_ms": 200})).unwrap();
        let both = slow.changed(&json!({"errors": [{"status": 500}]})).unwrap();
        assert_eq!((both.slow_ms, both.errors[0].prefix.as_str(), both.errors[0].status), (200, "/", 500));
        for (change, message) in [
            (json!({"slowms": 1}), "unknown field `slowms`"),
            (json!({"refuse": 2}), "`refuse` is between 0 and 1"),
            (json!({"pool": 0}), "`pool` is between 1 and 1000"),
            (json!({"errors": [{"status": 200}]}), "`status` is between 400 and 599"),
            (json!({"stall_ms": 999_999_999}), "`stall_ms` is at most 600000"),
            (json!([]), "a JSON object is expected"),
        ] {
            let error = Faults::default().changed(&change).unwrap_err();
            assert!(error.contains(message), "{change}: {error}");
        }
    }

    #[test]
    fn errors_go_by_path_and_spare_the_metrics() {
        let faults =
            Faults::default().changed(&json!({"errors": [{"prefix": "/api/bot", "status": 500}, {"status": 503, "share": 0.5}]})).unwrap();
        let active = Active::new(faults);
        assert_eq!(active.error_for("/api/bot/enable"), Some(500));
        assert_eq!([active.error_for("/x"), active.error_for("/x")], [None, Some(503)]);
        assert_eq!([active.error_for("/metrics"), active.error_for("/metrics")], [None, None]);
    }

    #[test]
    fn the_memory_leak_stops_at_its_limit() {
        let board = Switchboard::new(1000);
        for _ in 0..20 {
            board.leak_memory(300);
        }
        assert_eq!(board.leaked_bytes(), 900);
        board.free_memory();
        assert_eq!(board.leaked_bytes(), 0);
    }
}

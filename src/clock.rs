//! The wall clock as a parameter: `SystemClock` for the program, `TestClock` for tests. Nothing else reads the time of day.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::model::units::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now, UTC.
    fn now(&self) -> Timestamp;
}

/// A clock shared by many parts.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
    fn now(&self) -> Timestamp {
        Timestamp::from_utc(chrono::Utc::now())
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that shows `at`.
    pub fn at(at: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(at.0)))
    }

    /// Sets the time, also backwards.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }

    /// Moves the time on.
    pub fn advance(&self, by: std::time::Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

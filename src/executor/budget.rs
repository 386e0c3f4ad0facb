//! A number of iterations that VUs of all load threads share: each start takes one, and what is left at the deadline is taken
//! by one of them, so that none is counted twice or lost.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

/// Iterations that nobody has started yet.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
    used_up: CancellationToken,
}

impl Budget {
    /// So many iterations.
    pub fn new(iterations: u64) -> Self {
        let budget = Self { left: AtomicU64::new(iterations), used_up: CancellationToken::new() };
        if iterations == 0 {
            budget.used_up.cancel();
        }
        budget
    }

    /// Takes one; `false` when there is none.
    pub fn take(&self) -> bool {
        let taken = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        if taken.is_ok_and(|before| before == 1) {
            self.used_up.cancel();
        }
        taken.is_ok()
    }

    /// Takes all that is left, and says how many that were.
    pub fn take_rest(&self) -> u64 {
        let rest = self.left.swap(0, Ordering::AcqRel);
        self.used_up.cancel();
        rest
    }

    /// True when none is left.
    pub fn is_used_up(&self) -> bool {
        self.used_up.is_cancelled()
    }

    /// Returns once none is left.
    pub async fn used_up(&self) {
        self.used_up.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iteration_is_taken_once_whoever_takes_it() {
        let budget = Budget::new(10_000);
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..2_400).filter(|_| budget.take()).count() as u64)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 9_600);
        assert!(!budget.is_used_up());
        assert_eq!((budget.take_rest(), budget.take_rest(), budget.take(), budget.is_used_up()), (400, 0, false, true));
    }
}

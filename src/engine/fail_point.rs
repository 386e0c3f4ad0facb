//! Places on the way of a message where a test lets the process die, as `kill -9` would: nothing is flushed, closed or given back; or
//! stand still, as `kill -STOP` does, until it is continued.
//! Compiled into debug builds only, and asleep unless the environment names one (docs/alerting.md, "What is proved"); in a release build
//! nothing of it is left.

use std::sync::Arc;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// The steps of a message's way, in order.
pub const STEPS: [&str; 6] = ["before-commit", "after-commit", "after-lease", "before-send", "after-send", "after-settle"];

/// Which step ends the process, and the how manieth time.
#[derive(Debug, Clone, Default)]
pub struct FailPoint {
    #[cfg(debug_assertions)]
    armed: Option<Arc<Armed>>,
    #[cfg(not(debug_assertions))]
    _armed: Option<Arc<()>>,
}

#[cfg(debug_assertions)]
#[derive(Debug)]
struct Armed {
    step: String,
    left: AtomicU32,
    signal: &'static str,
}

impl FailPoint {
    /// Reads `after-send:3`: the third time that step is passed; `after-send:3:stop` stops the process there. Anything else never fires.
    #[cfg(debug_assertions)]
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(':');
        let step = parts.next().unwrap_or_default();
        let left = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1_u32).max(1);
        let signal = if parts.next() == Some("stop") { "-STOP" } else { "-KILL" };
        let known = STEPS.contains(&step);
        Self { armed: known.then(|| Arc::new(Armed { step: step.to_owned(), left: AtomicU32::new(left), signal })) }
    }

    /// A message passes a step.
    #[cfg(debug_assertions)]
    #[expect(clippy::disallowed_methods, reason = "the process is to stand still here")]
    pub fn reached(&self, step: &str) {
        let Some(armed) = self.armed.as_ref().filter(|armed| armed.step == step) else { return };
        if armed.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let pid = std::process::id().to_string();
        let sent = std::process::Command::new("kill").args([armed.signal, &pid]).status();
        if armed.signal == "-KILL" || sent.is_err() {
            // The signal is on its way: nothing more may happen.
            std::process::abort();
        }
        // Another thread may be the one that hears of the stop first: this one goes no further before it.
        std::thread::sleep(std::time::Duration::from_secs(2));
    }

    /// A message passes a step.
    #[cfg(not(debug_assertions))]
    pub fn reached(&self, _step: &str) {}
}

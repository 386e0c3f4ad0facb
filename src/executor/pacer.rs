//! Waits for the next start that is due. tokio's timers are a millisecond coarse, so that a start would be half of one late at the
//! median; a timer of the kernel (timerfd), waited for by the same event loop, is exact to some microseconds. Under tokio's paused
//! clock, which knows no kernel timer, and where there is none, tokio's own.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Starts that are due within this time of each other share one wake-up: at high rates the timer must not cost more than the load.
const TOGETHER: Duration = Duration::from_micros(100);

/// A timer.
#[derive(Debug)]
pub(super) struct Pacer {
    #[cfg(target_os = "linux")]
    timer: Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>,
}

impl Pacer {
    /// tokio's timers.
    pub(super) fn coarse() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            timer: None,
        }
    }

    /// A timer of the kernel, or tokio's where there is none.
    #[cfg(target_os = "linux")]
    #[expect(deprecated, reason = "its replacement needs `unsafe`; what it warns of, a descriptor that changes, an OwnedFd does not do")]
    pub(super) fn exact() -> Self {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use tokio::io::{Interest, unix::AsyncFd};
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        Self { timer: timer.ok().and_then(|timer| AsyncFd::with_interest(timer, Interest::READABLE).ok()) }
    }

    /// tokio's timers: there are no others here.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn exact() -> Self {
        Self::coarse()
    }

    /// Returns at `at`, or a little later.
    #[cfg(target_os = "linux")]
    pub(super) async fn sleep_until(&self, at: Instant) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let wait = at.saturating_duration_since(Instant::now()).max(TOGETHER);
        let Some(timer) = &self.timer else { return sleep_until(at).await };
        let once = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: never, it_value: once };
        if timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &setting).is_err() {
            return sleep_until(at).await;
        }
        loop {
            let Ok(mut ready) = timer.readable().await else { return sleep_until(at).await };
            let mut expirations = [0_u8; 8];
            match rustix::io::read(timer.get_ref(), &mut expirations) {
                Ok(_) => return,
                // Left over from a wait that was given up.
                Err(_) => ready.clear_ready(),
            }
        }
    }

    /// Returns at `at`, or a little later.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn sleep_until(&self, at: Instant) {
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_never_wakes_too_early_and_can_be_given_up() {
        let pacer = Pacer::exact();
        for micros in [0, 50, 300, 2_500, 700, 12_000] {
            // Given up, and then it goes off: that must not wake the next wait.
            let soon = pacer.sleep_until(Instant::now() + Duration::from_micros(150));
            let _given_up = futures_util::poll!(std::pin::pin!(soon)).is_pending();
            tokio::time::sleep(Duration::from_micros(400)).await;
            let at = Instant::now() + Duration::from_micros(micros);
            pacer.sleep_until(at).await;
            assert!(Instant::now() >= at, "{micros}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_has_its_own_time() {
        let before = Instant::now();
        Pacer::coarse().sleep_until(before + Duration::from_secs(3_600)).await;
        assert_eq!(before.elapsed().as_secs(), 3_600);
    }
}

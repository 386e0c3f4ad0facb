//! The time limit of a client's requests with one timer that is armed rarely: it is left to fire at the deadline of an earlier request
//! and only then moved to the current one's. A request that is answered in time costs no timer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of one client. Belongs to the task that polls it; another task that takes over is woken as well.
#[derive(Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Who is woken when it fires.
    waker: Option<Waker>,
}

impl Timer {
    /// What a future comes to, unless `deadline` passes before.
    pub(super) async fn limit<F: Future>(&mut self, deadline: Instant, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.is_over(deadline, cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Whether `deadline` has passed; if not, the task is woken when it has, or earlier.
    pub(super) fn is_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| {
            self.waker = None;
            Box::pin(sleep_until(deadline))
        });
        loop {
            if sleep.is_elapsed() {
                // The only clock read, once per timeout's length: it may be the deadline of an earlier request.
                if Instant::now() >= deadline {
                    return true;
                }
                sleep.as_mut().reset(deadline);
                self.waker = None;
            } else if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
                self.waker = None;
            } else if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return false;
            }
            // Outside of the task's budget, which reading may have used up: the timer has to be registered.
            let mut registering = tokio::task::unconstrained(sleep.as_mut());
            if Pin::new(&mut registering).poll(cx).is_pending() {
                self.waker = Some(cx.waker().clone());
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn wait(timer: &mut Timer, deadline: Instant) {
        poll_fn(|cx| if timer.is_over(deadline, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    #[tokio::test(start_paused = true)]
    async fn fires_at_the_current_deadline_whatever_it_was_armed_for() {
        let (mut timer, began) = (Timer::default(), Instant::now());
        let second = Duration::from_secs(1);
        // Answered long before their deadlines: the timer stays where the first one has put it.
        for after in 0..5 {
            let quick = tokio::time::timeout(second, wait(&mut timer, began + second * (10 + after))).await;
            assert!(quick.is_err());
        }
        let armed_for = timer.sleep.as_ref().map(|sleep| sleep.deadline());
        assert_eq!(armed_for, Some(began + second * 10));
        wait(&mut timer, began + second * 20).await;
        assert_eq!(began.elapsed().as_secs(), 20);
        wait(&mut timer, began + second * 60).await;
        assert_eq!(began.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_moves_it_and_a_passed_one_is_over_at_once() {
        let (mut timer, began) = (Timer::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, wait(&mut timer, began + second * 100)).await.is_err());
        wait(&mut timer, began + second * 5).await;
        assert_eq!(began.elapsed().as_secs(), 5);
        wait(&mut timer, began + second).await;
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn another_task_that_takes_over_is_woken() {
        let (mut timer, began) = (Timer::default(), Instant::now());
        let deadline = began + Duration::from_secs(3);
        assert!(tokio::time::timeout(Duration::from_secs(1), wait(&mut timer, deadline)).await.is_err());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { wait(&mut timer, deadline).await });
        tasks.join_next().await.unwrap().unwrap();
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}

//! The one connection of a probe that keeps one: opened with the first reading, held, opened again after it broke, with growing pauses.
//! A question without an answer is waited for on that connection; nothing is asked and nothing is opened beside it, so that a server
//! that hangs never holds more than one connection of ours. No protocol is known here.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::ProbeError;
use crate::model::units::format_duration;

/// First pause after a connection could not be opened; it doubles with every failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Silence after which a connection is given up and another one may be opened; doubles every time. A server that lives answers within
/// the time limit of its statements, so that behind so long a silence there is no server any more.
const FIRST_PATIENCE: Duration = Duration::from_secs(300);

/// What became of an attempt to connect.
pub(super) enum Opened<C, A> {
    /// A connection.
    Connection(C),
    /// None, and that is an answer (the server is full). The next question tries again at once.
    Answer(A),
}

/// Why a question has no answer.
pub(super) struct Failed {
    /// For the reading.
    pub(super) error: ProbeError,
    /// Whether the connection is of no use any more.
    pub(super) broken: bool,
}

impl Failed {
    /// The connection broke.
    pub(super) fn broken(error: ProbeError) -> Self {
        Self { error, broken: true }
    }

    /// The connection is as good as before.
    pub(super) fn kept(error: ProbeError) -> Self {
        Self { error, broken: false }
    }
}

/// How one kind of server is talked to.
#[async_trait]
pub(super) trait Link: Send + Sync + 'static {
    /// An open connection.
    type Connection: Send + 'static;
    /// What can be asked.
    type Question: Send + 'static;
    /// What is answered.
    type Answer: Send + 'static;
    /// Opens a connection, ready for questions.
    async fn connect(&self) -> Result<Opened<Self::Connection, Self::Answer>, ProbeError>;
    /// Asks one question.
    async fn ask(&self, connection: &mut Self::Connection, question: Self::Question) -> Result<Self::Answer, Failed>;
}

/// What is left of an exchange: the connection, unless it broke, and the answer.
struct Ended<L: Link> {
    connection: Option<L::Connection>,
    /// Whether connecting was what failed.
    refused: bool,
    answer: Result<L::Answer, ProbeError>,
}

struct UnderWay<L: Link> {
    since: Instant,
    work: Pin<Box<dyn Future<Output = Ended<L>> + Send>>,
}

struct Refused {
    error: ProbeError,
    until: Instant,
    pause: Duration,
}

/// A connection and what is under way on it. Dropped, both end.
pub(super) struct OneConnection<L: Link> {
    link: Arc<L>,
    /// Longest time that `ask` takes.
    limit: Duration,
    held: Option<L::Connection>,
    under_way: Option<UnderWay<L>>,
    refused: Option<Refused>,
    patience: Duration,
}

impl<L: Link> OneConnection<L> {
    /// Nothing is opened yet.
    pub(super) fn new(link: L, limit: Duration) -> Self {
        Self { link: Arc::new(link), limit, held: None, under_way: None, refused: None, patience: FIRST_PATIENCE }
    }

    /// Asks, within the time limit. When the former question is still without an answer, that answer is waited for first; it is of
    /// another moment, and thrown away.
    pub(super) async fn ask(&mut self, question: L::Question) -> Result<L::Answer, ProbeError> {
        let until = Instant::now() + self.limit;
        if self.under_way.is_some() {
            // Only that the connection is free again (or gone) counts.
            let _late = self.end_of_work(until).await?;
        }
        if self.held.is_none()
            && let Some(refused) = self.refused.as_ref().filter(|refused| refused.until > Instant::now())
        {
            let ProbeError { reason, detail } = &refused.error;
            return Err(ProbeError { reason, detail: format!("{detail} (it is tried again every {})", format_duration(refused.pause)) });
        }
        let work = exchange(self.link.clone(), self.held.take(), question);
        self.under_way = Some(UnderWay { since: Instant::now(), work: Box::pin(work) });
        self.end_of_work(until).await?
    }

    /// Waits for what is under way; an error when it takes longer than `until`. What is under way stays so when this is dropped.
    async fn end_of_work(&mut self, until: Instant) -> Result<Result<L::Answer, ProbeError>, ProbeError> {
        let Some(under_way) = &mut self.under_way else {
            return Err(ProbeError { reason: "parse", detail: "nothing was asked".into() });
        };
        let Ok(ended) = timeout_at(until, &mut under_way.work).await else {
            let silent = under_way.since.elapsed();
            let mut detail = format!("no answer for {}", format_duration(Duration::from_millis(silent.as_millis() as u64)));
            if silent >= self.patience {
                detail.push_str("; the connection is given up");
                self.under_way = None;
                self.patience *= 2;
            }
            return Err(ProbeError { reason: "timeout", detail });
        };
        self.under_way = None;
        self.held = ended.connection;
        self.refused = match &ended.answer {
            Err(error) if ended.refused => {
                let pause = self.refused.as_ref().map_or(FIRST_PAUSE, |former| LONGEST_PAUSE.min(former.pause * 2));
                Some(Refused { error: error.clone(), until: Instant::now() + pause, pause })
            }
            Ok(_) | Err(_) => None,
        };
        if ended.answer.is_ok() {
            self.patience = FIRST_PATIENCE;
        }
        Ok(ended.answer)
    }
}

/// One question, on the connection that is there or on a new one. What a client library does not expect of a server must not take the
/// program with it, so a panic is an answer that cannot be read.
async fn exchange<L: Link>(link: Arc<L>, held: Option<L::Connection>, question: L::Question) -> Ended<L> {
    let work = async {
        let mut connection = match held {
            Some(connection) => connection,
            None => match link.connect().await {
                Ok(Opened::Connection(connection)) => connection,
                Ok(Opened::Answer(answer)) => return Ended { connection: None, refused: false, answer: Ok(answer) },
                Err(error) => return Ended { connection: None, refused: true, answer: Err(error) },
            },
        };
        match link.ask(&mut connection, question).await {
            Ok(answer) => Ended { connection: Some(connection), refused: false, answer: Ok(answer) },
            Err(failed) => {
                let connection = (!failed.broken).then_some(connection);
                Ended { connection, refused: false, answer: Err(failed.error) }
            }
        }
    };
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let error = ProbeError { reason: "parse", detail: "the server answers in a way that cannot be read".into() };
        Ended { connection: None, refused: true, answer: Err(error) }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A server that opens, answers or hangs as it is told.
    #[derive(Default)]
    struct Told {
        opened: AtomicU32,
        closed: Arc<AtomicU32>,
        refuses: AtomicU32,
        seconds: AtomicU32,
        panics: AtomicU32,
    }

    struct Open(Arc<AtomicU32>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl Link for Arc<Told> {
        type Connection = Open;
        type Question = u32;
        type Answer = u32;
        async fn connect(&self) -> Result<Opened<Open, u32>, ProbeError> {
            if self.refuses.load(Ordering::SeqCst) > 0 {
                self.refuses.fetch_sub(1, Ordering::SeqCst);
                return Err(ProbeError { reason: "connect", detail: "refused".into() });
            }
            self.opened.fetch_add(1, Ordering::SeqCst);
            Ok(Opened::Connection(Open(self.closed.clone())))
        }
        async fn ask(&self, _connection: &mut Open, question: u32) -> Result<u32, Failed> {
            assert!(self.panics.load(Ordering::SeqCst) == 0, "told to");
            tokio::time::sleep(Duration::from_secs(u64::from(self.seconds.load(Ordering::SeqCst)))).await;
            match question {
                0 => Err(Failed::broken(ProbeError { reason: "connect", detail: "broke".into() })),
                1 => Err(Failed::kept(ProbeError { reason: "permission", detail: "no".into() })),
                other => Ok(other),
            }
        }
    }

    fn line() -> (Arc<Told>, OneConnection<Arc<Told>>) {
        let told = Arc::new(Told::default());
        (told.clone(), OneConnection::new(told, Duration::from_secs(2)))
    }

    fn open(told: &Told) -> u32 {
        told.opened.load(Ordering::SeqCst) - told.closed.load(Ordering::SeqCst)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_holds_one_connection_and_gets_one_question() {
        let (told, mut line) = line();
        assert_eq!(line.ask(7).await, Ok(7));
        told.seconds.store(100, Ordering::SeqCst);
        for _ in 0..20 {
            assert_eq!(line.ask(8).await.unwrap_err().reason, "timeout");
            assert_eq!((open(&told), told.opened.load(Ordering::SeqCst)), (1, 1));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        told.seconds.store(0, Ordering::SeqCst);
        // The late answer is not taken for the one of now.
        assert_eq!(line.ask(9).await, Ok(9));
        assert_eq!(told.opened.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_minutes_of_silence_the_connection_is_closed_before_another_is_opened() {
        let (told, mut line) = line();
        told.seconds.store(1_000_000, Ordering::SeqCst);
        for _ in 0..400 {
            assert_eq!(line.ask(8).await.unwrap_err().reason, "timeout");
            assert!(open(&told) <= 1);
        }
        assert!((2..=3).contains(&told.opened.load(Ordering::SeqCst)), "{}", told.opened.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_between_attempts_grow_and_the_reason_is_kept() {
        let (told, mut line) = line();
        told.refuses.store(u32::MAX, Ordering::SeqCst);
        for _ in 0..120 {
            let error = line.ask(2).await.unwrap_err();
            assert!(error.reason == "connect" && error.detail.starts_with("refused"), "{error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // 0, 1, 3, 7, 15, 31, 61, 91 s and, at the edge of a second, one less.
        let attempts = u32::MAX - told.refuses.load(Ordering::SeqCst);
        assert!((7..=9).contains(&attempts), "{attempts}");
        told.refuses.store(0, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(line.ask(2).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_is_opened_again_at_once_and_a_good_one_is_kept() {
        let (told, mut line) = line();
        assert_eq!(line.ask(1).await.unwrap_err().reason, "permission");
        assert_eq!(line.ask(2).await, Ok(2));
        assert_eq!(told.opened.load(Ordering::SeqCst), 1);
        assert_eq!(line.ask(0).await.unwrap_err().reason, "connect");
        assert_eq!(open(&told), 0);
        assert_eq!(line.ask(2).await, Ok(2));
        assert_eq!((open(&told), told.opened.load(Ordering::SeqCst)), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_the_library_is_a_failed_reading() {
        let (told, mut line) = line();
        told.panics.store(1, Ordering::SeqCst);
        assert_eq!(line.ask(2).await.unwrap_err().reason, "parse");
        assert_eq!(open(&told), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_is_broken_off_leaves_its_question_under_way() {
        let (told, mut line) = line();
        told.seconds.store(5, Ordering::SeqCst);
        let broken_off = tokio::time::timeout(Duration::from_millis(1), line.ask(2)).await;
        assert!(broken_off.is_err());
        assert_eq!(line.ask(3).await.unwrap_err().reason, "timeout");
        assert_eq!(told.opened.load(Ordering::SeqCst), 1);
    }
}

//! Captures of one run: each is begun at its moment, on a task of its own, and stored as it comes. They never hold the run up: what
//! fails, or is not done soon after the end, is recorded with its reason. One CPU profile of a process at a time, over all runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::executor::schedule::Course;
use crate::model::capture::{Captured, MOST, MOST_BYTES, Moment};
use crate::model::run::RunId;
use crate::probe::ProbeParts;
use crate::probe::capture::{CaptureSpec, Taken};
use crate::store::{Store, StoreError};

/// How long captures may go on after the end of their run.
const AFTER_THE_END: Duration = Duration::from_secs(5);
/// Tries to store one, and the time between them.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(2);
/// Steps in which the peak of the load is looked for.
const STEPS: u32 = 2_000;

/// Processes of which a CPU profile is being taken; shared by all runs.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl Busy {
    fn of(&self, process: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds any more.
        all.retain(|_, lock| Arc::strong_count(lock) > 1);
        all.entry(process.to_owned()).or_default().clone()
    }
}

/// What captures work with.
#[derive(Clone)]
pub struct CaptureParts {
    /// Where they are stored.
    pub store: Arc<dyn Store>,
    /// For those over HTTP, and the wall clock.
    pub probe: ProbeParts,
    /// CPU profiles going on.
    pub busy: Busy,
}

/// A capture that has begun.
#[derive(Clone)]
struct Begun {
    run: RunId,
    captured: Captured,
}

/// All captures of one run.
pub struct Captures {
    run: RunId,
    parts: CaptureParts,
    waiting: Vec<(CaptureSpec, Option<Duration>)>,
    begun: BTreeMap<u32, Captured>,
    tasks: JoinSet<(u32, Option<u64>)>,
    number: u32,
    bytes: u64,
}

impl Captures {
    /// Those of a run; none is begun yet. What is due at the peak waits until [`Captures::peak_is`] says when that is.
    pub fn new(run: RunId, specs: Vec<CaptureSpec>, parts: CaptureParts) -> Self {
        let moment = |spec: CaptureSpec| {
            let at = match spec.moment {
                Moment::At(time) => Some(time),
                Moment::FirstBreach | Moment::Peak => None,
            };
            (spec, at)
        };
        let waiting = specs.into_iter().take(MOST).map(moment).collect();
        Self { run, parts, waiting, begun: BTreeMap::new(), tasks: JoinSet::new(), number: 0, bytes: 0 }
    }

    /// True when nothing is to be captured, or going on.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.tasks.is_empty()
    }

    /// Says when the load is highest.
    pub fn peak_is(&mut self, at: Duration) {
        for (_, due) in self.waiting.iter_mut().filter(|(spec, _)| spec.moment == Moment::Peak) {
            *due = Some(at);
        }
    }

    /// Begins what is due in this second. `broken` is the first condition that was broken, once there is one.
    pub fn second(&mut self, second: u32, broken: Option<&str>) {
        while let Some(Ok((number, bytes))) = self.tasks.try_join_next() {
            self.settled(number, bytes);
        }
        let passed = Duration::from_secs(u64::from(second) + 1);
        let is_due = |(spec, due): &(CaptureSpec, Option<Duration>)| match spec.moment {
            Moment::At(_) | Moment::Peak => due.is_some_and(|due| due <= passed),
            Moment::FirstBreach => broken.is_some(),
        };
        let (due, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(is_due);
        self.waiting = waiting;
        for (spec, _) in due {
            let why = match (spec.moment, broken) {
                (Moment::FirstBreach, Some(broken)) => format!("{} (`{broken}`)", spec.moment),
                (Moment::FirstBreach | Moment::At(_) | Moment::Peak, _) => spec.moment.to_string(),
            };
            self.begin(spec, why, second);
        }
    }

    fn begin(&mut self, spec: CaptureSpec, why: String, second: u32) {
        self.number += 1;
        let captured = Captured {
            number: self.number,
            name: spec.name.clone(),
            kind: spec.kind().into(),
            what: spec.describe(),
            why,
            second,
            at: self.parts.probe.clock.now(),
            took_ms: 0,
            content_type: String::new(),
            file: String::new(),
            bytes: 0,
            error: None,
        };
        self.begun.insert(self.number, captured.clone());
        let begun = Begun { run: self.run.clone(), captured };
        let room = MOST_BYTES.saturating_sub(self.bytes);
        self.tasks.spawn(take(self.parts.clone(), spec, begun, room));
    }

    fn settled(&mut self, number: u32, bytes: Option<u64>) {
        // What could not be stored stays among the begun, and is told of at the end.
        if let Some(bytes) = bytes {
            self.begun.remove(&number);
            self.bytes += bytes;
        }
    }

    /// The run has ended: waits a little for those that go on, records the rest as cut off, and those that never came to their moment as
    /// what they are. Returns what people should know.
    pub async fn end(&mut self) -> Vec<String> {
        let limit = Instant::now() + AFTER_THE_END;
        while let Ok(Some(done)) = timeout_at(limit, self.tasks.join_next()).await {
            if let Ok((number, bytes)) = done {
                self.settled(number, bytes);
            }
        }
        self.tasks.shutdown().await;
        let mut notes = Vec::new();
        for captured in std::mem::take(&mut self.begun).into_values() {
            let captured = Captured { error: Some("the run was over before it was done".into()), ..captured };
            if let Err(error) = self.parts.store.save_capture(&self.run, &captured, None).await {
                notes.push(format!("capture `{}` could not be stored: {error}", captured.name));
            }
        }
        notes
    }
}

/// Takes one and stores it, with its failure if it fails. Returns its bytes, or `None` when it could not be stored.
async fn take(parts: CaptureParts, spec: CaptureSpec, begun: Begun, room: u64) -> (u32, Option<u64>) {
    let began = Instant::now();
    let taken = match spec.exclusive() {
        Some(process) => {
            let turn = parts.busy.of(&process);
            match tokio::time::timeout(spec.timeout, turn.lock()).await {
                Ok(_turn) => spec.take(&parts.probe.http).await,
                Err(_) => Err("another CPU profile of this process was being taken all the time".into()),
            }
        }
        None => spec.take(&parts.probe.http).await,
    };
    let fits = |taken: Taken| {
        let whole = "there is no room for it: the captures of a run may have 64 MiB together";
        if taken.data.len() as u64 > room { Err(whole.to_owned()) } else { Ok(taken) }
    };
    let number = begun.captured.number;
    let took_ms = began.elapsed().as_millis() as u64;
    let captured = Captured { took_ms, ..begun.captured };
    let (captured, data) = match taken.and_then(fits) {
        Ok(Taken { content_type, extension, data }) => {
            let file = format!("{number:02}-{}.{extension}", spec.name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_"));
            (Captured { content_type, file, bytes: data.len() as u64, ..captured }, Some(data))
        }
        Err(error) => {
            tracing::warn!(run_id = %begun.run, capture = spec.name, error, "a capture failed");
            (Captured { error: Some(error), ..captured }, None)
        }
    };
    let stored = store(&parts, &begun.run, &captured, data.as_deref()).await;
    if let Err(error) = &stored {
        tracing::error!(run_id = %begun.run, capture = spec.name, %error, "a capture could not be stored");
    }
    (number, stored.is_ok().then_some(captured.bytes))
}

async fn store(parts: &CaptureParts, run: &RunId, captured: &Captured, data: Option<&[u8]>) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match parts.store.save_capture(run, captured, data).await {
            Err(error) if error.is_passing() && tries < TRIES => tokio::time::sleep(BETWEEN).await,
            result => return result,
        }
    }
}

/// When the load of these courses together is highest, in shares of the most that each has; a plateau counts from its first third on.
/// `None`: that is decided on the way.
pub fn peak_of(courses: &[&Course]) -> Option<Duration> {
    if courses.iter().any(|course| course.is_decided_on_the_way()) {
        return None;
    }
    let end = courses.iter().filter_map(|course| course.end()).max()?;
    let step = end / STEPS;
    let level = |course: &Course, at: Duration| course.rate_at(at).unwrap_or_else(|| course.vus_at(at) as f64);
    let moments: Vec<Duration> = (0..STEPS).map(|n| step * n).collect();
    let most: Vec<f64> = courses.iter().map(|course| moments.iter().map(|at| level(course, *at)).fold(0.0, f64::max)).collect();
    let load = |at: Duration| {
        let shares = courses.iter().zip(&most).filter(|(_, most)| **most > 0.0).map(|(course, most)| level(course, at) / most);
        shares.sum::<f64>()
    };
    let loads: Vec<f64> = moments.iter().map(|at| load(*at)).collect();
    let highest = loads.iter().copied().fold(0.0, f64::max);
    let first = loads.iter().position(|load| *load >= highest * 0.999)?;
    let plateau = loads[first..].iter().take_while(|load| **load >= highest * 0.999).count();
    moments.get(first + plateau / 3).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::capture::Source;

    async fn parts() -> (CaptureParts, RunId) {
        let store = crate::store::open("sqlite::memory:").await.unwrap();
        let run = crate::model::sample::running();
        store.start_run(&run).await.unwrap();
        let parts = CaptureParts { store, probe: crate::probe::capture::test_parts(), busy: Busy::default() };
        (parts, run.id)
    }

    fn command(name: &str, moment: Moment, words: &[&str]) -> CaptureSpec {
        let source = Source::Command(words.iter().map(|word| (*word).to_owned()).collect());
        CaptureSpec { name: name.into(), moment, source, timeout: Duration::from_secs(60), limit: 1_000 }
    }

    #[tokio::test]
    async fn each_is_taken_at_its_moment_and_a_failure_is_recorded() {
        let (parts, run) = parts().await;
        let specs = vec![
            command("later", Moment::At(Duration::from_secs(5)), &["echo", "later"]),
            command("broken", Moment::FirstBreach, &["echo", "broken"]),
            command("never", Moment::At(Duration::from_secs(500)), &["echo", "never"]),
            command("missing", Moment::At(Duration::ZERO), &["/no/such/program"]),
            command("fails", Moment::Peak, &["sh", "-c", "echo oh >&2; exit 3"]),
            command("large", Moment::At(Duration::ZERO), &["head", "-c", "5000", "/dev/zero"]),
        ];
        let mut captures = Captures::new(run.clone(), specs, parts.clone());
        captures.peak_is(Duration::from_secs(3));
        for second in 0..8 {
            captures.second(second, (second >= 6).then_some("errors: rate < 1%"));
        }
        while !captures.tasks.is_empty() {
            let (number, bytes) = captures.tasks.join_next().await.unwrap().unwrap();
            captures.settled(number, bytes);
        }
        assert_eq!(captures.end().await, [] as [String; 0]);
        let stored = parts.store.captures(&run).await.unwrap();
        let told: Vec<_> =
            stored.iter().map(|one| (one.name.as_str(), one.second, one.bytes, one.error.as_deref().unwrap_or_default())).collect();
        assert_eq!(told[0].0, "missing");
        assert!(told[0].3.starts_with("/no/such/program cannot be run"), "{told:?}");
        assert_eq!(told[1], ("large", 0, 0, "it is larger than 1000 B"));
        assert_eq!(told[2], ("fails", 2, 0, "it ended with exit status: 3: oh"));
        assert_eq!((told[3], told[4]), (("later", 4, 6, ""), ("broken", 6, 7, "")));
        assert_eq!((stored.len(), stored[4].why.as_str()), (5, "at the first breach (`errors: rate < 1%`)"));
        let (captured, content) = parts.store.capture(&run, 4).await.unwrap().unwrap();
        assert_eq!((captured.file.as_str(), &content[..]), ("04-later.txt", &b"later\n"[..]));
    }

    #[tokio::test]
    async fn what_goes_on_when_the_run_has_ended_is_cut_off_and_recorded() {
        let (parts, run) = parts().await;
        let mut captures = Captures::new(run.clone(), vec![command("slow", Moment::At(Duration::ZERO), &["sleep", "600"])], parts.clone());
        captures.second(0, None);
        assert_eq!(captures.end().await, [] as [String; 0]);
        let stored = parts.store.captures(&run).await.unwrap();
        assert_eq!(stored[0].error.as_deref(), Some("the run was over before it was done"));
    }

    #[tokio::test]
    async fn one_process_is_profiled_by_one_at_a_time() {
        let busy = Busy::default();
        let turn = busy.of("shop:6060");
        let held = turn.lock().await;
        assert!(busy.of("shop:6060").try_lock().is_err());
        assert!(busy.of("other:6060").try_lock().is_ok());
        drop(held);
        assert!(busy.of("shop:6060").try_lock().is_ok());
    }
}

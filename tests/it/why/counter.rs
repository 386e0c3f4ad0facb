//! The counter-tests of attribution, on recorded runs of the demo target: the real program loads it at a constant rate, a real probe reads
//! it, and faults are switched while it goes on. Slow without a full pool, a full pool that harms nobody, failures that come at another
//! time than the full pool, two full pools of which one is to blame. Nothing here goes by the clock: a fault is switched when so many
//! seconds are stored, and the holds of the demo pool dominate what the machine adds.

use std::process::Command;
use std::time::Duration;

use plimsoll::demo::{self, Settings};
use plimsoll::model::analysed::CauseFound;
use plimsoll::model::finding::Finding;
use plimsoll::model::run::Run;

use crate::servers::bed::{Bed, LONG, run_with_seconds};
use crate::servers::daemon::plimsoll;
use crate::servers::http::try_ask;
use crate::servers::{Child, wait_until};

/// How long a request holds its connection.
const HOLD: Duration = Duration::from_millis(250);
/// How long it waits for one.
const PATIENT: Duration = Duration::from_secs(1);
/// Users that ask without a pause, from the first second to the last.
const USERS: u32 = 10;
/// Length of a run, in seconds: phases of eight, and as much again for a machine that is busy.
const SECONDS: u32 = 60;
/// Seconds of a phase.
const PHASE: usize = 8;

/// A run of the demo target that goes on.
struct Course {
    bed: Bed,
    /// Another service, which nobody loads.
    beside: demo::Running,
    child: Child,
    /// Seconds that are waited for so far.
    waited: usize,
}

impl Course {
    async fn begin() -> Self {
        let settings = Settings { hold: HOLD, acquire_timeout: PATIENT, ..Settings::default() };
        let bed = Bed::with(settings.clone()).await;
        let beside = demo::start(Settings { pool: 3, hold: Duration::ZERO, ..settings }).await.unwrap();
        let metrics = beside.url("/metrics");
        bed.configure(&format!(
            r#"
      beside: {{ type: prometheus, url: "{metrics}", pools: [{{ preset: go-sql, name: beside }}] }}
profiles:
  steady:
    target: shop
    scenarios:
      users:
        executor: constant-vus
        vus: {USERS}
        duration: {SECONDS}s
        gracefulStop: 5s
        flow: [{{ step: balance, get: /api/v1/wallet/balance, check: {{ status: 200 }} }}]
"#
        ));
        let config = bed.config();
        let mut command: Command = plimsoll(&["run", "steady", "--config", config.to_str().unwrap()]);
        let child = Child::spawn("run", bed.folder.path(), command.current_dir(bed.folder.path()));
        Self { bed, beside, child, waited: 0 }
    }

    /// Waits until another phase of the run is stored.
    async fn phase(&mut self) {
        self.waited += PHASE;
        run_with_seconds(&*self.bed.store().await, self.waited).await;
    }

    /// Switches a fault of the target that is loaded.
    async fn fault(&self, change: &str) {
        switch(&self.bed.target, change).await;
    }

    /// All faults off.
    async fn mend(&self) {
        let answer = try_ask(self.bed.target.addr, "DELETE", "/faults", "", "").await.unwrap();
        assert!(answer.status < 300, "{answer:?}");
    }

    /// Waits for the end of the run; returns it as it is stored.
    async fn end(mut self) -> Told {
        let child = &mut self.child;
        wait_until("the end of the run", LONG, async || child.status()).await;
        let store = self.bed.store().await;
        let run = store.run("last").await.unwrap().unwrap_or_else(|| panic!("{}", self.child.output()));
        let findings = store.findings(Some(&run.id), 100).await.unwrap();
        Told { run, findings }
    }
}

async fn switch(target: &demo::Running, change: &str) {
    let answer = try_ask(target.addr, "POST", "/faults", "Content-Type: application/json\r\n", change).await.unwrap();
    assert!(answer.status < 300, "{answer:?}");
}

/// What became of a run.
struct Told {
    run: Run,
    findings: Vec<Finding>,
}

impl Told {
    fn causes(&self) -> &[CauseFound] {
        &self.run.summary.as_ref().unwrap().analysed.causes
    }

    fn failed(&self) -> u64 {
        self.run.summary.as_ref().unwrap().total.failed
    }

    fn kinds(&self, kind: &str) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.kind == kind).collect()
    }

    /// Everything, for a test that failed.
    fn all(&self) -> String {
        let summary = self.run.summary.as_ref().unwrap();
        format!("{:#?}\n{:#?}\n{:#?}", self.findings, summary.analysed.causes, summary.series)
    }

    /// Most of a pool that was in use, and its size.
    fn pool(&self, pool: &str) -> (f64, f64) {
        let summary = self.run.summary.as_ref().unwrap();
        let of = |metric: &str, value: fn(&plimsoll::model::run::SeriesSummary) -> f64| {
            let found = summary.series.iter().find(|one| one.metric == metric && one.labels.get("pool").is_some_and(|name| name == pool));
            value(found.unwrap_or_else(|| panic!("{metric} of {pool}: {}", self.all())))
        };
        (of("pool_in_use", |one| one.max), of("pool_limit", |one| one.min))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slow_without_a_full_pool_is_explained_by_no_resource() {
    let mut course = Course::begin().await;
    course.phase().await;
    course.phase().await;
    // Bodies come slowly: connections are given back as before, and the pool of 20 has ten users at most.
    course.fault("{\"slow_body_ms\": 1000}").await;
    course.phase().await;
    course.mend().await;
    let told = course.end().await;
    assert_eq!((told.failed(), told.pool("main").0 <= f64::from(USERS)), (0, true), "{}", told.all());
    let slow: Vec<&CauseFound> = told.causes().iter().filter(|cause| cause.harm == "slowness").collect();
    assert!(!slow.is_empty() && slow.iter().all(|cause| cause.resource.is_none()), "{}", told.all());
    assert!(slow.iter().any(|cause| cause.to_s >= 15), "{}", told.all());
    let found = told.kinds("slowdown_unexplained");
    assert!(found.iter().all(|finding| finding.title.ends_with("No resource that was read explains this.")), "{}", told.all());
    let why_not = |finding: &&Finding| finding.evidence.iter().any(|one| one.name == "not pool `main`" && one.value == "never full");
    assert!(!found.is_empty() && found.iter().any(why_not), "{}", told.all());
    assert!(told.kinds("slowdown_caused").is_empty() && told.kinds("pool_exhausted").is_empty(), "{}", told.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_that_harms_nobody_is_the_cause_of_nothing() {
    let mut course = Course::begin().await;
    course.phase().await;
    // As many connections as users: all are taken, and nobody waits.
    course.fault(&format!("{{\"pool\": {USERS}}}")).await;
    course.phase().await;
    course.phase().await;
    course.mend().await;
    let told = course.end().await;
    assert_eq!((told.failed(), told.pool("main")), (0, (f64::from(USERS), f64::from(USERS))), "{}", told.all());
    // It is told that the pool was full, as a fact and without a word of failures.
    let full = told.kinds("pool_exhausted");
    assert!(full.iter().any(|finding| finding.title.contains("pool `main` was full (10 of 10")), "{}", told.all());
    assert!(full.iter().all(|finding| finding.severity < plimsoll::model::alerting::Severity::High), "{}", told.all());
    assert!(full.iter().all(|finding| !finding.title.contains("failures")), "{}", told.all());
    // There are no failures, and so no cause of any.
    assert!(told.causes().iter().all(|cause| cause.harm != "failures"), "{}", told.all());
    assert!(told.kinds("failures_caused").is_empty() && told.kinds("failures_unexplained").is_empty(), "{}", told.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_was_full_at_another_time_is_not_the_cause_of_failures() {
    let mut course = Course::begin().await;
    course.phase().await;
    course.fault(&format!("{{\"pool\": {USERS}}}")).await;
    course.phase().await;
    course.mend().await;
    course.phase().await;
    // The pool has room again; now something else breaks.
    course.fault("{\"errors\": [{\"prefix\": \"/api/v1/wallet\", \"status\": 500, \"share\": 0.5}]}").await;
    course.phase().await;
    course.mend().await;
    let told = course.end().await;
    assert!(told.failed() >= 5, "{}", told.all());
    let failures: Vec<&CauseFound> = told.causes().iter().filter(|cause| cause.harm == "failures").collect();
    assert!(!failures.is_empty() && failures.iter().all(|cause| cause.resource.is_none()), "{}", told.all());
    let found = told.kinds("failures_unexplained");
    assert!(found.iter().any(|finding| finding.title.ends_with("No resource that was read explains this.")), "{}", told.all());
    // That it was full is told, with the share of the failures that it has: none.
    let full = told.kinds("pool_exhausted");
    assert!(full.iter().all(|finding| finding.severity < plimsoll::model::alerting::Severity::High), "{}", told.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_full_pools_the_one_that_is_to_blame_is_named() {
    let mut course = Course::begin().await;
    course.phase().await;
    // The other service loses its connections long before anything happens, and does not get them back.
    switch(&course.beside, "{\"connection_leak_every\": 1}").await;
    for _ in 0..3 {
        let answer = try_ask(course.beside.addr, "GET", "/api/v1/wallet/balance", "", "").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    course.phase().await;
    // Now the pool that is loaded is too small: nine of the ten users wait, and in vain.
    course.fault("{\"pool\": 1, \"slow_ms\": 1500}").await;
    course.phase().await;
    course.mend().await;
    course.phase().await;
    let told = course.end().await;
    assert_eq!(told.pool("beside"), (3.0, 3.0), "{}", told.all());
    let failures: Vec<&CauseFound> = told.causes().iter().filter(|cause| cause.harm == "failures").collect();
    assert!(!failures.is_empty(), "{}", told.all());
    assert!(failures.iter().all(|cause| cause.resource.as_deref() == Some("pool `main`")), "{}", told.all());
    assert!(failures[0].said.as_deref().is_some_and(|said| said.contains("sorry, too many clients already")), "{}", told.all());
    let found = told.kinds("pool_exhausted");
    let of = |pool: &str| found.iter().filter(|finding| finding.title.contains(&format!("pool `{pool}` was full"))).collect::<Vec<_>>();
    let main = of("main");
    assert!(main.len() == 1 && main[0].title.contains("of all failures fall into these seconds"), "{}", told.all());
    assert!(main[0].evidence.iter().any(|one| one.name == "not pool `beside`"), "{}", told.all());
    assert!(!main[0].title.contains("beside"), "the two are told apart: {}", told.all());
}

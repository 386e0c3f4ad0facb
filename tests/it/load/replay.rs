//! What users of the demo would see: two runs with one seed are the same run, data that end do not fail anybody, every iteration is a new
//! visitor, and an answer that belongs to somebody else is found out.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::demo::{self, Settings};
use plimsoll::model::failure::Reason;
use plimsoll::model::run::{Run, Verdict};

use super::notepad::{Noted, Notepad, text, with};
use super::program::Plan;
use crate::servers::daemon::plimsoll;
use crate::servers::temp_dir;

/// Runs `main` of a plan with further arguments; exit code and the run.
async fn run_with(plan: &Plan<'_>, arguments: &[&str]) -> (i32, Run) {
    let folder = temp_dir();
    let config = plan.write(folder.path());
    let mut command = plimsoll(&["run", "main", "--json", "--config", config.to_str().expect("a path")]);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let run: Run = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
    for scenario in &run.summary.as_ref().expect("figures").scenarios {
        assert_eq!(scenario.counts.breach(), None, "{scenario:?}");
    }
    (output.status.code().expect("it ends by itself"), run)
}

fn bodies(notepad: &Notepad) -> BTreeSet<String> {
    notepad.take().iter().map(|noted| String::from_utf8_lossy(&noted.body).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_with_one_seed_draw_the_same() {
    let notepad = Notepad::start(|_| text(200, "")).await;
    let scenarios = r#"{ buyers: { executor: per-vu-iterations, vus: 3, iterations: 4,
        data: { items: { rows: [{ id: 1 }, { id: 2 }, { id: 3 }], pick: random } },
        flow: [{ repeat: [1, 3], do: [{ step: buy, post: /buy, json: { id: "${uuid}", n: "${rand.int(1, 1000000)}", item: "${items.id}", mail: "${email}" } }] }] } }"#;
    let plan = |profile| Plan { base_url: "", target: "", scenarios, profile, top: "load: { threads: 2 }" };
    let base = notepad.url("");
    let (plain, seeded) = (Plan { base_url: &base, ..plan("") }, Plan { base_url: &base, ..plan("    seed: 7") });
    let (_, first) = run_with(&plain, &["--seed", "7"]).await;
    let sent = bodies(&notepad);
    assert!(sent.len() >= 12, "{sent:?}");
    assert_eq!(first.catalog.seed, Some(7));
    // The profile says it as well as the command line, which comes before it.
    let (_, second) = run_with(&seeded, &[]).await;
    assert_eq!((bodies(&notepad), second.catalog.seed), (sent.clone(), Some(7)));
    let (_, other) = run_with(&seeded, &["--seed", "8"]).await;
    let others = bodies(&notepad);
    assert_eq!(other.catalog.seed, Some(8));
    assert!(others.is_disjoint(&sent));
    // One that was not told its seed tells it, and can be had again.
    let (_, drawn) = run_with(&plain, &[]).await;
    let drawn_bodies = bodies(&notepad);
    let seed = drawn.catalog.seed.expect("every run tells its seed").to_string();
    assert!(drawn_bodies.is_disjoint(&sent), "every run has another one");
    run_with(&plain, &["--seed", &seed]).await;
    assert_eq!(bodies(&notepad), drawn_bodies);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_end_end_the_vus_that_need_them_and_fail_nobody() {
    let notepad = Notepad::start(|_| text(200, "")).await;
    let rows: Vec<String> = (0..20).map(|row| format!("{{ id: {row} }}")).collect();
    let scenario = |executor: &str| {
        let data = format!("data: {{ users: {{ rows: [{}], at_end: stop }} }}", rows.join(", "));
        format!("{{ users: {{ {executor}, {data}, flow: [{{ step: use, get: \"/${{users.id}}\" }}] }} }}")
    };
    for (executor, dropped, code, verdict) in [
        ("executor: constant-vus, vus: 6, duration: 1h", 0, 0, Verdict::Pass),
        ("executor: per-vu-iterations, vus: 6, iterations: 10", 40, 98, Verdict::Invalid),
        ("executor: shared-iterations, vus: 6, iterations: 60", 40, 98, Verdict::Invalid),
        ("executor: constant-arrival-rate, rate: 20/s, duration: 3s, preAllocatedVUs: 60", 40, 98, Verdict::Invalid),
    ] {
        let (base, scenarios) = (notepad.url(""), scenario(executor));
        let plan = Plan { base_url: &base, target: "", scenarios: &scenarios, profile: "", top: "load: { threads: 2 }" };
        let (ended, run) = run_with(&plan, &[]).await;
        let asked: BTreeSet<String> = notepad.take().into_iter().map(|noted| noted.path).collect();
        assert_eq!(asked, (0..20).map(|row| format!("/{row}")).collect(), "{executor}: every row once");
        let summary = run.summary.as_ref().expect("figures");
        let counts = &summary.scenarios[0].counts;
        assert_eq!((counts.completed, counts.failed, summary.total.failed), (20, 0, 0), "{executor}");
        assert_eq!(counts.dropped + counts.unsent, dropped, "{executor}");
        let told = "the data `users` of `users` came to their end: all 20 rows were used, and `at_end` says `stop`";
        assert!(run.reasons.iter().any(|reason| reason == told), "{executor}: {:?}", run.reasons);
        // A machine that is too busy to send the load in time says that first, and nothing else counts then.
        if run.reasons.iter().any(|reason| reason.contains("the load generator")) {
            continue;
        }
        assert_eq!((ended, run.verdict), (code, Some(verdict)), "{executor}: {:?}", run.reasons);
        let why = run.reasons.iter().any(|reason| reason.contains("for which the data had no row left"));
        assert_eq!(why, verdict == Verdict::Invalid, "{executor}: {:?}", run.reasons);
    }
}

/// How many requests of each path came with a cookie, and how many came in all.
fn with_cookie(noted: &[Noted]) -> BTreeMap<String, (usize, usize)> {
    let mut counts = BTreeMap::<String, (usize, usize)>::new();
    for request in noted {
        let count = counts.entry(request.path.clone()).or_default();
        *count = (count.0 + usize::from(request.header("cookie").is_some()), count.1 + 1);
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_iteration_is_a_new_visitor_unless_told_otherwise() {
    let notepad = Notepad::start(|_| with(text(200, ""), &[("set-cookie", "seen=1; Path=/")])).await;
    for (http, first, second, connections) in [
        ("", 0, 8, 2),
        (", http: { cookies: per-vu }", 6, 8, 2),
        (", http: { cookies: none }", 0, 0, 2),
        (", http: { connections: per-iteration }", 0, 8, 8),
    ] {
        let scenarios = format!(
            "{{ visitors: {{ executor: per-vu-iterations, vus: 2, iterations: 4{http}, flow: [{{ step: first, get: /first }}, {{ step: second, get: /second }}] }} }}"
        );
        let base = notepad.url("");
        let before = notepad.connections();
        let plan = Plan { base_url: &base, target: "", scenarios: &scenarios, profile: "", top: "" };
        run_with(&plan, &[]).await;
        let counts = with_cookie(&notepad.take());
        assert_eq!((counts["/first"], counts["/second"]), ((first, 8), (second, 8)), "{http}");
        assert_eq!(notepad.connections() - before, connections, "{http}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_belongs_to_somebody_else_is_found_out() {
    // A cache that has mixed its users up: whoever asks is ann.
    let answer = |_: &Noted| with(text(200, r#"{"user": "ann", "id": 1}"#), &[("x-user", "ann")]);
    let notepad = Notepad::start(answer).await;
    let scenarios = r#"{ users: { executor: per-vu-iterations, vus: 2, iterations: 5,
        data: { users: { rows: [{ name: ann, id: "1" }, { name: bob, id: "2" }], pick: unique } },
        flow: [
            { step: by-json, get: /, check: { "json $.user": "${users.name}" } },
            { step: by-number, get: /, check: { "json $.id": "${users.id}" } },
            { step: by-header, get: /, check: { "header x-user": "${users.name}" } },
            { step: by-text, get: /, check: { body_contains: "\"user\": \"${users.name}\"" } },
            { step: unknown, get: /, check: { "json $.user": "${users.name.first}" } } ] } }"#;
    let base = notepad.url("");
    let plan = Plan { base_url: &base, target: "", scenarios, profile: "", top: "" };
    let (_, run) = run_with(&plan, &[]).await;
    let summary = run.summary.as_ref().expect("figures");
    for (step, check) in [
        ("by-json", r#"json $.user == "${users.name}""#),
        ("by-number", r#"json $.id == "${users.id}""#),
        ("by-header", r#"header x-user == "${users.name}""#),
        ("by-text", r#"body contains "\"user\": \"${users.name}\"""#),
    ] {
        let step = summary.steps.iter().find(|one| one.step == step).expect("it was done");
        assert_eq!((step.requests, step.reasons.clone()), (10, [(Reason::Check(check.to_owned()), 5)].into()), "{step:?}");
    }
    let unknown = summary.steps.iter().find(|one| one.step == "unknown").expect("it was tried");
    let reason = Reason::Script("`${users.name.first}` is not set: there is no `first`".into());
    assert_eq!((unknown.requests, unknown.reasons.clone()), (10, [(reason, 10)].into()), "what is not there is a failure");
    assert_eq!(notepad.take().len(), 40, "and nothing is sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_may_be_opened_at_an_address_that_an_answer_gave() {
    let target = demo::start(Settings::default()).await.expect("a demo target");
    let base = target.url("").trim_end_matches('/').to_owned();
    let socket = base.replace("http://", "ws://");
    let scenarios = format!(
        r#"{{ chats: {{ executor: per-vu-iterations, vus: 2, iterations: 2, flow: [
            {{ set: {{ url: "{socket}/ws", elsewhere: "ws://elsewhere.internal/ws" }} }},
            {{ step: open, websocket: "${{url}}", do: [
                {{ step: talk, send: {{ mine: "${{vu}}-${{iteration.vu}}", n: "${{iteration.vu}}" }},
                   expect: {{ "json $.message.mine": "${{vu}}-${{iteration.vu}}", "json $.message.n": "${{iteration.vu}}" }}, timeout: 20s }} ] }},
            {{ step: guarded, websocket: "${{elsewhere}}", do: [{{ step: never, send: x }}] }} ] }} }}"#
    );
    let plan = Plan { base_url: &base, target: "", scenarios: &scenarios, profile: "", top: "" };
    let (_, run) = run_with(&plan, &[]).await;
    let steps = &run.summary.as_ref().expect("figures").steps;
    let of = |name: &str| steps.iter().find(|step| step.step == name).map(|step| (step.requests, step.reasons.clone()));
    assert_eq!((of("open"), of("talk")), (Some((4, BTreeMap::new())), Some((4, BTreeMap::new()))), "{steps:#?}");
    assert_eq!(of("guarded"), Some((4, [(Reason::BlockedByGuard, 4)].into())));
    target.stop().await;
}

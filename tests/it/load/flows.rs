//! Flows of everything at once, against the demo target: what is extracted is sent on, every node of the flow happens as often as it says,
//! all three protocols land in one run's figures, and what fails on the way says why.

use plimsoll::demo::{self, Settings};
use plimsoll::model::failure::Reason;
use plimsoll::model::run::{EndedBy, Run, StepSummary, Verdict};

use super::program::{check_books, execute};
use crate::servers::temp_dir;

const PROTO: &str = include_str!("../../../config/examples/challenge/events.proto");

/// Runs a profile written in YAML, indented by four, against a demo target of its own, whose address stands for `BASE` in it.
async fn run(profile: &str) -> (i32, Run) {
    let target = demo::start(Settings::default()).await.expect("a demo target");
    let url = target.url("").trim_end_matches('/').to_owned();
    let folder = temp_dir();
    std::fs::write(folder.path().join("events.proto"), PROTO).expect("the schema");
    let config = folder.path().join("plimsoll.yaml");
    let text = format!(
        "storage: {{ url: \"sqlite://{}/plimsoll.db\" }}\ntargets:\n  shop:\n    base_url: {url}\nprofiles:\n  main:\n    target: shop\n{profile}",
        folder.path().display()
    );
    std::fs::write(&config, text.replace("BASE", &url)).expect("the configuration");
    let (code, stdout, stderr) = execute(&config).await;
    let run: Run = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("exit code {code}, {error}:\n{stdout}\n{stderr}"));
    check_books(&run);
    (code, run)
}

fn step<'r>(run: &'r Run, name: &str) -> &'r StepSummary {
    let summary = run.summary.as_ref().unwrap_or_else(|| panic!("no summary: {:?}", run.reasons));
    summary.steps.iter().find(|step| step.step == name).unwrap_or_else(|| panic!("no step `{name}` in {:?}", summary.steps))
}

const EVERYTHING: &str = r#"
    setup:
      - { step: sign-up, post: /api/login, json: { user: admin, password: secret-word }, extract: { key: $.token } }
    teardown:
      - { step: sign-out, get: /api/account, bearer: "${setup.key}" }
    scenarios:
      users:
        executor: per-vu-iterations
        vus: 2
        iterations: 3
        data:
          users: { rows: [{ name: ada, n: 1 }, { name: bob, n: 2 }], pick: unique }
        flow:
          - group: sign-in
            do:
              - step: login
                post: /api/login
                json: { user: "${users.name}", password: "pw-${users.n}" }
                check: { status: 200, "json $.user": exists }
                extract: { token: $.token, jar: { cookie: session }, kind: { header: content-type } }
              - { step: account, get: /api/account, bearer: "${token}", check: { status: 200, "json $.name": exists } }
          - { step: setups-key, get: /api/account, headers: { Authorization: "Bearer ${setup.key}" }, check: { "json $.name": admin } }
          - repeat: 2
            do: [{ step: twice, get: "/status/200?q=${users.name}" }]
          - if: "${users.name} == ada"
            do: [{ step: only-ada, get: /status/200 }]
            else: [{ step: only-bob, get: /status/200 }]
          - parallel:
              - { step: left, get: /api/v1/cards }
              - { step: right, get: /api/v1/wallet/balance }
          - step: record
            grpc: { call: events.v1.Events/Record, proto: events.proto, message: { user: "${users.name}" } }
            check: { grpc_status: OK }
          - step: open
            websocket: /ws
            do:
              - { step: greeting, expect: { "json $.type": welcome } }
              - { step: echo, send: { type: hello, user: "${users.name}" }, expect: { "json $.type": echo }, timeout: 20s }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_node_and_every_protocol_in_one_flow() {
    let (code, run) = run(EVERYTHING).await;
    assert_eq!(
        (code, run.verdict),
        (0, Some(Verdict::Pass)),
        "{:?}\n{:#?}",
        run.reasons,
        run.summary.as_ref().map(|one| &one.total.messages)
    );
    for (name, times) in [
        ("login", 6),
        ("account", 6),
        ("setups-key", 6),
        ("twice", 12),
        ("only-ada", 3),
        ("only-bob", 3),
        ("left", 6),
        ("right", 6),
        ("record", 6),
        ("open", 6),
        ("greeting", 6),
        ("echo", 6),
    ] {
        let figures = step(&run, name);
        assert_eq!((figures.requests, figures.failed), (times, 0), "{name}: {:?}", figures.messages);
        assert!(figures.duration.is_some(), "{name} has no duration");
    }
    let summary = run.summary.as_ref().expect("a summary");
    assert_eq!((summary.groups.len(), summary.groups[0].group.as_str(), summary.groups[0].duration.count), (1, "sign-in", 6));
    // The setup and the teardown are not among the figures; what became of them is said.
    assert!(summary.steps.iter().all(|step| step.step != "sign-up" && step.step != "sign-out"));
    for said in ["the setup went through (1 requests)", "the teardown went through (1 requests)"] {
        assert!(run.reasons.iter().any(|reason| reason == said), "{said} in {:?}", run.reasons);
    }
    let protocols: Vec<&str> = run.catalog.steps.iter().map(|step| step.protocol.as_str()).collect();
    assert!(["http", "grpc", "websocket"].iter().all(|protocol| protocols.contains(protocol)), "{protocols:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_filled_in_or_taken_is_a_failure_with_its_reason() {
    let (code, run) = run(r#"
    scenarios:
      users:
        executor: per-vu-iterations
        vus: 1
        iterations: 2
        flow:
          - { step: nothing, get: /api/v1/health, extract: { token: $.no.such.member } }
          - { step: never, get: "/status/200?q=${token}" }
      loops:
        executor: per-vu-iterations
        vus: 1
        iterations: 2
        flow:
          - { step: once, get: /status/200 }
          - while: "1 == 1"
            at_most: 3
            do: [{ step: again, get: /status/200 }]
"#)
    .await;
    assert_eq!(run.verdict, Some(Verdict::Invalid), "{:?}", run.reasons);
    assert_eq!(code, 98);
    let nothing = step(&run, "nothing");
    assert_eq!((nothing.requests, nothing.failed), (2, 2));
    assert!(
        nothing.reasons.keys().all(|reason| matches!(reason, Reason::Extract(text) if text.starts_with("token: nothing at"))),
        "{:?}",
        nothing.reasons
    );
    let summary = run.summary.as_ref().expect("a summary");
    assert!(summary.steps.iter().all(|step| step.step != "never"), "the iteration broke off before it");
    let loops = summary.scenarios.iter().find(|one| one.scenario == "loops").expect("the scenario");
    assert_eq!((loops.counts.failed, loops.broke_off.values().sum::<u64>()), (2, 2), "{:?}", loops.broke_off);
    assert_eq!(step(&run, "again").requests, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_fails_sends_no_load() {
    let (code, run) = run(r"
    setup:
      - { step: sign-up, post: /status/503 }
    scenarios:
      users: { executor: per-vu-iterations, vus: 1, iterations: 1, flow: [{ step: home, get: / }] }
")
    .await;
    assert_eq!((code, run.verdict, run.ended_by), (98, Some(Verdict::Invalid), Some(EndedBy::Setup)), "{:?}", run.reasons);
    assert!(run.reasons.iter().any(|reason| reason.starts_with("the setup failed: step `sign-up`: status_503")), "{:?}", run.reasons);
    assert_eq!(run.summary.expect("a summary").total.requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn vus_share_the_token_of_a_client_and_of_a_login() {
    let (code, run) = run(r#"
    scenarios:
      machines:
        executor: per-vu-iterations
        vus: 2
        iterations: 2
        auth: { oauth2: { token_url: "BASE/oauth/token", client_id: demo, client_secret: demo-secret } }
        flow: [{ step: by-client, get: /api/account, check: { status: 200 } }]
      people:
        executor: per-vu-iterations
        vus: 2
        iterations: 2
        auth:
          login:
            flow: [{ step: login, post: /api/login, json: { user: ada, password: pw }, extract: { token: $.token } }]
            token: "${token}"
        flow: [{ step: by-login, get: /api/account, check: { status: 200, "json $.name": ada } }]
"#)
    .await;
    assert_eq!((code, run.verdict), (0, Some(Verdict::Pass)), "{:?} {:?}", run.reasons, run.summary.map(|one| one.total.messages));
    assert_eq!(run.catalog.steps.len(), 2, "the login is no step of the run");
}

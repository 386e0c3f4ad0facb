//! What flows cost per request, without any protocol: templates, checks, extraction, the walk. `cargo bench --bench flow`.
//! A bare GET costs some 7 µs of CPU; a step of a flow with everything must stay well below that. Compare ratios: single runs vary.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and a step that fails ends it")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use plimsoll::clock::SystemClock;
use plimsoll::flow::answer::{Answer, Judge};
use plimsoll::flow::data::{RunData, ScenarioData};
use plimsoll::flow::scope::Scope;
use plimsoll::flow::walk::{Next, NumberedFlow};
use plimsoll::model::flow::{AtEnd, Check, CheckKind, Extract, ExtractFrom, Feeder, FlowNode, Operator, Pause, Pick, Step};
use plimsoll::model::request::{HttpRequest, Request};
use plimsoll::model::template::{Encoding, Template};
use serde_json::{Value, json};

fn template(text: &str, encoding: Encoding) -> Template {
    Template::parse(text, encoding).unwrap()
}

/// CPU time of this thread, in nanoseconds (Linux).
fn cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds of CPU per round of `work`: the least of five series, as other programs on the machine only ever add.
fn measure(name: &str, rounds: u32, mut work: impl FnMut()) -> f64 {
    let series = |work: &mut dyn FnMut()| {
        let begin = cpu_ns();
        (0..rounds).for_each(|_| work());
        (cpu_ns() - begin) / f64::from(rounds)
    };
    let least = (0..5).map(|_| series(&mut work)).fold(f64::INFINITY, f64::min);
    println!("{name:<72} {least:>8.0} ns");
    least
}

fn scope() -> Scope {
    let rows = Arc::new((0..1_000).map(|row| vec![json!(format!("user-{row}")), json!(format!("secret {row}"))]).collect());
    let columns = vec!["name".into(), "password".into()];
    let users = Feeder { name: "users".into(), columns, rows, pick: Pick::Shuffled, at_end: AtEnd::Recycle, first: 0 };
    let run = RunData::new(1, Arc::new(SystemClock));
    let mut scope = Scope::new(ScenarioData::new(run, "bench", false, &[users]), 0);
    scope.begin_iteration(0);
    scope.set("token", json!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"));
    scope.set("user", json!({"id": 4711, "name": "Ann \"A\" Bauer"}));
    scope
}

fn rendering(rounds: u32) {
    let mut scope = scope();
    let mut out = String::new();
    let json = r#"{"user": "${users.name}", "password": "${users.password}", "to": "${rand.uuid}", "id": "${user.id}", "cents": 100}"#;
    for (name, template) in [
        ("render a constant path", template("/api/v1/wallet/balance?currency=EUR", Encoding::Url)),
        ("render a path with a variable", template("/api/v1/users/${user.id}/orders", Encoding::Url)),
        ("render `Bearer ${token}`", template("Bearer ${token}", Encoding::Header)),
        ("render a JSON body with two cells, a UUID and a number", template(json, Encoding::Json)),
        (
            "render the five generators email, name, uuid, seq, rand.int",
            template("${email} ${name} ${uuid} ${seq} ${rand.int(1, 9)}", Encoding::Plain),
        ),
    ] {
        measure(name, rounds, || {
            out.clear();
            scope.render(black_box(&template), &mut out).unwrap();
            black_box(&out);
        });
    }
}

fn checks(path: &str) -> Vec<Check> {
    let kinds = [
        CheckKind::Status(vec![200]),
        CheckKind::DurationBelow(Duration::from_millis(200)),
        CheckKind::Json(path.into(), Operator::AtLeast, Template::of_json(&json!(1)).unwrap()),
    ];
    kinds.into_iter().map(|kind| Check { name: format!("{kind:?}"), kind }).collect()
}

fn extracts(path: &str) -> Vec<Extract> {
    vec![Extract { variable: "token".into(), from: ExtractFrom::Json(path.into()), default: None }]
}

/// A document of about so many bytes.
fn document(bytes: usize) -> String {
    let item = |id: usize| json!({"id": id, "name": format!("item {id}"), "price": 12.5, "tags": ["a", "b"], "stock": {"left": 3}});
    let items: Vec<Value> = (0..bytes / 85).map(item).collect();
    json!({"user": {"id": 4711}, "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0", "items": items}).to_string()
}

fn judging(rounds: u32) {
    let mut scope = scope();
    let headers = HeaderMap::new();
    for (size, rounds) in [(200, rounds), (2_000, rounds / 4), (20_000, rounds / 40)] {
        let body = document(size);
        let answer = Answer {
            status: Some(200),
            grpc_status: None,
            duration: Duration::from_millis(3),
            headers: &headers,
            set_cookies: &[],
            body: body.as_bytes(),
        };
        for (name, extract) in [("picked out while reading", "$.token"), ("from the whole document", "$..token")] {
            let judge = Judge::new(&checks("$.user.id"), &extracts(extract)).unwrap();
            measure(&format!("three checks, one extraction, body of {} bytes: {name}", body.len()), rounds, || {
                let wanted = judge.wanted(&mut scope).unwrap();
                assert!(judge.judge(black_box(&answer), &wanted, &mut scope).failure.is_none());
            });
        }
        let text = [Check { name: "text".into(), kind: CheckKind::BodyContains(Template::literal("not in there", Encoding::Plain)) }];
        let judge = Judge::new(&text, &[]).unwrap();
        measure(&format!("body of {} bytes contains a text", body.len()), rounds, || {
            let wanted = judge.wanted(&mut scope).unwrap();
            assert!(judge.judge(black_box(&answer), &wanted, &mut scope).failure.is_some());
        });
    }
}

/// Ten steps, each with a path, a header and a body to render, three checks and an extraction; choices, a loop and pauses between them.
fn ten_steps(rounds: u32) {
    let url = url::Url::parse("http://127.0.0.1/").unwrap();
    let step = |index: usize| {
        let mut request = HttpRequest::new("POST", &url);
        request.address.path = template(&format!("/api/{index}/${{users.name}}"), Encoding::Url);
        request.headers = vec![("authorization".into(), template("Bearer ${token}", Encoding::Header))];
        let (checks, extracts) = (checks("$.user.id"), extracts("$.token"));
        Step { name: format!("step {index}"), request: Request::Http(request), checks, extracts, timeout: Duration::from_secs(1) }
    };
    let steps = |range: std::ops::Range<usize>| range.map(|index| FlowNode::Step(Box::new(step(index)))).collect::<Vec<_>>();
    let pause = FlowNode::Pause(Pause::Normal(Duration::from_secs(1), Duration::from_millis(200)));
    let flow = vec![
        FlowNode::Set(vec![("token".into(), template("none", Encoding::Plain))]),
        FlowNode::Group { name: "first".into(), flow: steps(0..4) },
        pause,
        FlowNode::Choose(vec![(80.0, steps(4..8)), (20.0, steps(8..12))]),
        FlowNode::Repeat { times: (2, 2), flow: steps(12..13) },
    ];
    let body = template(r#"{"user": "${users.name}", "to": "${rand.uuid}"}"#, Encoding::Json);
    let numbered = NumberedFlow::new(&flow).unwrap();
    let judge = Judge::new(&checks("$.user.id"), &extracts("$.token")).unwrap();
    let (answered, headers) = (document(200), HeaderMap::new());
    let answer = Answer {
        status: Some(200),
        grpc_status: None,
        duration: Duration::ZERO,
        headers: &headers,
        set_cookies: &[],
        body: answered.as_bytes(),
    };
    let (mut scope, mut out, mut number) = (scope(), String::new(), 0);
    let mut walk_through = |whole: bool| {
        scope.begin_iteration(number);
        number += 1;
        let mut walk = numbered.walk();
        let mut sent = 0;
        while let Some(next) = walk.next(&mut scope).unwrap() {
            let Next::Step(_, Step { request: Request::Http(request), .. }) = next else { continue };
            sent += 1;
            if whole {
                out.clear();
                scope.render(&request.address.path, &mut out).unwrap();
                request.headers.iter().for_each(|(_, value)| scope.render(value, &mut out).unwrap());
                scope.render(&body, &mut out).unwrap();
                let wanted = judge.wanted(&mut scope).unwrap();
                assert!(judge.judge(&answer, &wanted, &mut scope).failure.is_none());
            }
        }
        assert_eq!(sent, 10);
    };
    let walk = measure("ten steps: the walk alone", rounds / 10, || walk_through(false));
    let whole = measure("ten steps: walk, three templates, three checks, one extraction each", rounds / 10, || walk_through(true));
    println!("per step: {:.2} µs, of it the walk {:.2} µs", whole / 1e4, walk / 1e4);
}

fn main() {
    // Under `cargo test` (no `--bench`) a few rounds show that it works.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 200_000 } else { 400 };
    rendering(rounds);
    judging(rounds);
    ten_steps(rounds);
}

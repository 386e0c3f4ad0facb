//! The server over real sockets: every route, who may do what, what hostile names do, and what a browser makes of the pages.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

extern crate plimsoll;

mod browser;
pub(crate) mod fake;
mod inside;
pub(crate) mod sample;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fake::{Served, TOKEN, busy};
use plimsoll::engine::handle::EngineStatus;
use plimsoll::model::failure::Reason;
use plimsoll::model::run::{RunId, RunStatus, Verdict};
use plimsoll::model::units::Timestamp;

const ID: &str = "20261121-020000-checkout-7k3f";
const ROUTES: &[&str] = &[
    "/",
    "/runs/20261121-020000-checkout-7k3f",
    "/runs/20261121-030000-checkout-m2q9/control",
    "/stop",
    "/style.css",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/api/v1/runs",
    "/api/v1/runs/20261121-020000-checkout-7k3f",
    "/api/v1/runs/20261121-020000-checkout-7k3f/intervals",
    "/api/v1/profiles",
    "/api/v1/targets",
    "/api/v1/schedules",
    "/api/v1/alerts",
    "/api/v1/findings",
    "/api/v1/silences",
    "/silences",
    "/healthz",
    "/readyz",
    "/api/v1/stop",
    "/compare",
    "/compare?a=20261121-020000-checkout-7k3f&b=20261121-020000-checkout-7k3f",
    "/profiles/checkout",
    "/api/v1/compare?a=20261121-020000-checkout-7k3f&b=20261121-020000-checkout-7k3f",
    "/api/v1/profiles/checkout/history",
    "/api/v1/profiles/checkout/baseline",
    "/api/v1/targets/shop/deploys",
    "/api/v1/gates",
    "/api/v1/headroom",
    "/itself",
    "/api/v1/itself",
    "/api/v1/runs/last/pin",
];

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n")
}

#[tokio::test]
async fn every_route_answers_with_its_type_and_the_security_headers() {
    let served = Served::start().await;
    for route in ROUTES.iter().chain(&["/nowhere", "/api/v1/nowhere", "/runs/none"]) {
        let answer = served.get(route).await;
        let expected = if route.ends_with("nowhere") || route.ends_with("none") { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{route}: {answer:?}");
        let content_type = match *route {
            "/style.css" => "text/css; charset=utf-8",
            "/metrics" => "text/plain; version=0.0.4; charset=utf-8",
            "/-/healthy" | "/-/ready" | "/healthz" | "/readyz" => "text/plain; charset=utf-8",
            route if route.starts_with("/api/") => "application/json",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.headers["content-type"], content_type, "{route}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{route}");
        assert_eq!(answer.headers["x-frame-options"], "DENY", "{route}");
        assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'; style-src 'self'"), "{route}");
        assert!(!answer.body.contains("hunter2"), "{route} shows a secret");
        if content_type.starts_with("text/html") {
            let title = answer.body.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).unwrap();
            assert!(title.ends_with(" – Plimsoll"), "{route}: {title}");
        }
    }
}

#[tokio::test]
async fn only_a_known_token_changes_something() {
    let served = Served::start().await;
    let changes = [
        ("POST", "/api/v1/runs"),
        ("DELETE", "/api/v1/runs/last"),
        ("POST", "/api/v1/runs/last/cancel"),
        ("PATCH", "/api/v1/runs/last/control"),
        ("PUT", "/api/v1/runs/last/pin"),
        ("DELETE", "/api/v1/runs/last/pin"),
        ("POST", "/api/v1/stop"),
        ("POST", "/api/v1/resume"),
        ("POST", "/api/v1/suites/battery/runs"),
        ("PUT", "/api/v1/profiles/checkout/baseline"),
        ("DELETE", "/api/v1/profiles/checkout/baseline"),
        ("POST", "/api/v1/targets/shop/deploys"),
        ("POST", "/-/reload"),
        ("POST", "/api/v1/silences"),
        ("DELETE", "/api/v1/silences/3f9a2c1d"),
        ("POST", "/api/v1/incidents/inc-1/ack"),
    ];
    for (method, path) in changes {
        for (header, code) in [
            ("", "token_required"),
            ("Authorization: Basic YTpi\r\n", "token_required"),
            ("Authorization: Bearer wrong\r\n", "token_unknown"),
            ("Authorization: Bearer \r\n", "token_required"),
        ] {
            let answer = served.ask(method, path, header, "{\"profile\":\"checkout\"}").await;
            assert_eq!((answer.status, answer.code().as_str()), (401, code), "{method} {path} {header}");
            assert!(answer.headers["www-authenticate"].starts_with("Bearer"));
        }
    }
    assert!(served.asked.lock().unwrap().is_empty(), "the engine was asked without a token");
    let mut status = busy();
    let mut setup = fake::setup();
    setup.server.tokens.clear();
    status.setup = Arc::new(setup);
    served.status.send_replace(Arc::new(status));
    let answer = served.ask("POST", "/api/v1/runs", &bearer(), "{\"profile\":\"checkout\"}").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "no_tokens"));
}

const LIVE: &str = "20261121-030000-checkout-m2q9";

#[tokio::test]
async fn a_run_is_steered_over_the_api() {
    let served = Served::start().await;
    let path = format!("/api/v1/runs/{LIVE}/control");
    let answer = served.ask("PATCH", &path, &bearer(), r#"{"action":"scale","to":"50%","scenario":"shoppers"}"#).await;
    let json = answer.json();
    assert_eq!((answer.status, json["what"].as_str()), (200, Some("scale `shoppers` to 0.5 times the profile")), "{answer:?}");
    assert_eq!((&json["entry"]["by"], &json["entry"]["second"]), (&"api token ci".into(), &26.1.into()));
    assert_eq!(served.ask("PATCH", "/api/v1/runs/last/control", &bearer(), r#"{"action":"pause"}"#).await.status, 200);
    for (body, status, code) in [
        (r#"{"action":"hold"}"#, 409, "not_now"),
        (r#"{"action":"scale","to":"fast"}"#, 400, "bad_request"),
        (r#"{"action":"faster"}"#, 422, "bad_request"),
        (r#"{"action":"pause","for":"1m"}"#, 422, "bad_request"),
        ("{", 400, "bad_request"),
    ] {
        let answer = served.ask("PATCH", &path, &bearer(), body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}");
    }
    let answer = served.ask("PATCH", "/api/v1/runs/nope/control", &bearer(), r#"{"action":"pause"}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_run"));
    let answer = served.ask("POST", "/api/v1/stop", &bearer(), r#"{"hold":true}"#).await;
    assert_eq!((answer.status, &answer.json()["stopped"][0]), (200, &LIVE.into()));
    assert_eq!(served.ask("POST", "/api/v1/stop", &format!("Authorization: Bearer {TOKEN}\r\n"), "").await.status, 200);
    assert_eq!(served.ask("POST", "/api/v1/stop", &bearer(), r#"{"hold":1}"#).await.status, 422);
    assert_eq!(served.ask("POST", "/api/v1/resume", &bearer(), "").await.status, 200);
    let asked = served.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            format!("scale `shoppers` to 0.5 times the profile of {LIVE} by api token ci"),
            format!("pause of {LIVE} by api token ci"),
            format!("hold of {LIVE} by api token ci"),
            "stop all by api token ci, hold true".to_owned(),
            "stop all by api token ci, hold false".to_owned(),
            "resume by api token ci".to_owned(),
        ]
    );
}

#[tokio::test]
async fn a_run_is_kept_over_the_api() {
    let served = Served::start().await;
    let path = format!("/api/v1/runs/{ID}/pin");
    for (method, body, pin, asked) in [
        ("PUT", "{}", "pinned".into(), "pinned"),
        ("PUT", r#"{"as":"baseline"}"#, "baseline".into(), "baseline"),
        ("DELETE", "", serde_json::Value::Null, "no longer"),
    ] {
        let answer = served.ask(method, &path, &bearer(), body).await;
        assert_eq!((answer.status, &answer.json()["pin"]), (200, &pin), "{method} {body}: {answer:?}");
        assert_eq!(answer.json()["run"], ID);
        assert_eq!(served.asked.lock().unwrap().pop().unwrap(), format!("keep {ID} {asked}"));
    }
    for (path, body, status, code) in [
        (path.as_str(), r#"{"as":"forever"}"#, 400, "bad_request"),
        (path.as_str(), r#"{"for":"1y"}"#, 422, "bad_request"),
        ("/api/v1/runs/nope/pin", "{}", 404, "unknown_run"),
    ] {
        let answer = served.ask("PUT", path, &bearer(), body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {body}");
    }
}

#[tokio::test]
async fn a_run_is_steered_by_hand() {
    let served = Served::start().await;
    let home = served.get("/").await.body;
    assert!(home.contains("href=\"/stop\"") && home.contains(&format!("href=\"/runs/{LIVE}/control\"")), "{home}");
    assert!(home.contains("held, scaled to 30 VUs"), "{home}");
    let path = format!("/runs/{LIVE}/control");
    for page in [path.as_str(), "/stop"] {
        let body = served.get(page).await.body;
        assert!(body.contains("<form") && body.contains("type=\"password\""), "{body}");
        assert!(!body.contains("http-equiv=\"refresh\""), "a page that reloads takes away what is being written: {body}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let token = format!("token={TOKEN}");
    let answer = served.ask("POST", &path, form, &format!("{token}&action=scale&to=50%25&scenario=")).await;
    assert_eq!((answer.status, answer.headers["location"].as_str()), (303, format!("/runs/{LIVE}").as_str()), "{answer:?}");
    let answer = served.ask("POST", "/stop", form, &format!("{token}&action=hold")).await;
    assert_eq!((answer.status, answer.headers["location"].as_str()), (303, "/"));
    for (page, body, status, said) in [
        (path.as_str(), "token=&action=pause".to_owned(), 401, "write a token into the form"),
        (path.as_str(), "token=wrong&action=pause".to_owned(), 401, "this token is not known"),
        (path.as_str(), format!("{token}&action=hold"), 409, "that is how it is already"),
        (path.as_str(), format!("{token}&action=scale&to=fast"), 400, "is not an amount"),
        (path.as_str(), format!("{token}&action=explode"), 400, "there is no such button"),
        ("/stop", "token=wrong&action=stop".to_owned(), 401, "this token is not known"),
        ("/stop", format!("{token}&action=explode"), 400, "there is no such button"),
    ] {
        let answer = served.ask("POST", page, form, &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.body.contains("Nothing was done: ") && answer.body.contains(said), "{body}: {}", answer.body);
        assert!(!answer.body.contains(TOKEN), "a token is never shown");
    }
    assert_eq!(served.get("/runs/20261121-020000-checkout-7k3f/control").await.status, 404, "it has ended");
    let asked = served.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            format!("scale to 0.5 times the profile of {LIVE} by the page, token ci"),
            "stop all by the page, token ci, hold true".to_owned(),
            format!("hold of {LIVE} by the page, token ci"),
        ]
    );
}

#[tokio::test]
async fn runs_are_started_cancelled_and_refused() {
    let served = Served::start().await;
    let answer = served.ask("POST", "/api/v1/runs", &bearer(), "{\"profile\":\"checkout\"}").await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["id"], "20261121-020100-checkout-aaaa");
    for (body, status, code) in [
        ("{\"profile\":\"busy\"}", 409, "not_now"),
        ("{\"profile\":\"nope\"}", 404, "unknown"),
        ("{\"profil\":\"checkout\"}", 422, "bad_request"),
        ("{", 400, "bad_request"),
    ] {
        let answer = served.ask("POST", "/api/v1/runs", &bearer(), body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}");
    }
    let answer = served.ask("POST", "/api/v1/suites/battery/runs", &bearer(), "").await;
    assert_eq!((answer.status, &answer.json()["profiles"]), (202, &serde_json::json!(["checkout", "cache"])));
    let answer = served.ask("POST", "/api/v1/suites/nope/runs", &bearer(), "").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "unknown"));
    let large = format!("{{\"profile\":\"{}\"}}", "x".repeat(100_000));
    assert_eq!(served.ask("POST", "/api/v1/runs", &bearer(), &large).await.status, 413);
    assert_eq!(served.ask("DELETE", &format!("/api/v1/runs/{ID}"), &bearer(), "").await.status, 202);
    served.store.gone.store(true, Ordering::SeqCst);
    let live = "/api/v1/runs/20261121-030000-checkout-m2q9/cancel";
    assert_eq!(served.ask("POST", live, &bearer(), "").await.status, 202, "a running run can be cancelled while the store is away");
    let answer = served.ask("POST", "/-/reload", &bearer(), "").await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "bad_configuration"));
    let asked = served.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            "start checkout by api ci",
            "start busy by api ci",
            "start nope by api ci",
            "suite battery by api ci",
            "suite nope by api ci",
            &format!("cancel {ID} by api token ci"),
            "cancel 20261121-030000-checkout-m2q9 by api token ci",
            "reload"
        ]
    );
}

#[tokio::test]
async fn the_list_of_runs_is_filtered_and_mistakes_are_told() {
    let served = Served::start().await;
    let query = "/api/v1/runs?profile=checkout&target=shop&status=finished&verdict=fail&limit=1&before=2026-11-22T00:00:00Z";
    let list = served.get(query).await.json();
    assert_eq!(list["runs"][0]["id"], ID);
    assert_eq!(list["runs"][0]["verdict"], "fail");
    assert_eq!(list["next_before"], "2026-11-21T02:00:00.000000Z");
    let filter = served.store.filters.lock().unwrap().pop().unwrap();
    assert_eq!(
        (filter.target.as_deref(), filter.status, filter.verdict, filter.limit),
        (Some("shop"), Some(RunStatus::Finished), Some(Verdict::Fail), 1)
    );
    assert_eq!(filter.before, Timestamp::parse("2026-11-22T00:00:00Z"));
    for (query, says) in [
        ("verdict=failed", "`verdict` is one of pass, fail, no_data, invalid"),
        ("status=done", "`status` is one of running, finished, interrupted"),
        ("before=yesterday", "RFC 3339"),
        ("profil=checkout", "unknown field `profil`"),
        ("limit=-1", "limit"),
    ] {
        let answer = served.get(&format!("/api/v1/runs?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains(says), "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn one_run_has_everything_and_its_seconds() {
    let served = Served::start().await;
    let answer = served.get(&format!("/api/v1/runs/{ID}")).await.json();
    assert_eq!(answer["findings"][0]["kind"], "pool_exhausted");
    let whole = serde_json::to_string(&sample::finished()).unwrap();
    assert!(answer["run"] == serde_json::from_str::<serde_json::Value>(&whole).unwrap(), "the run is not whole: {}", answer["run"]);
    let seconds = served.get(&format!("/api/v1/runs/{ID}/intervals?from=10&to=30")).await.json();
    let requests = seconds["series"]["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 20);
    assert!(requests[10].is_null() && seconds["series"]["p95_us"][10].is_null(), "second 20 is not stored: absent, not 0");
    let expected = sample::progress(12);
    assert_eq!((requests[2].as_u64(), seconds["series"]["failed"][2].as_u64()), (Some(expected.requests), Some(expected.failed)));
    let pool = seconds["probes"].as_array().unwrap().iter().find(|one| one["metric"] == "pool_utilization").unwrap();
    assert_eq!((pool["labels"]["pool"].as_str(), pool["values"][2].as_f64()), (Some("main"), Some(1.0)));
    assert_eq!(served.get(&format!("/api/v1/runs/{ID}/intervals?from=10&to=5")).await.status, 400);
    series_at_any_resolution(&served).await;
    let redirect = served.get("/runs/last").await;
    assert_eq!((redirect.status, redirect.headers["location"].as_str()), (307, "/runs/20261121-020000-checkout-7k3f"));
}

async fn series_at_any_resolution(served: &Served) {
    let ask = async |query: &str| served.get(&format!("/api/v1/runs/{ID}/series{query}")).await;
    let whole = ask("").await.json();
    assert_eq!((&whole["resolution"], whole["series"][0]["seconds"].as_u64()), (&"1s".into(), Some(1)), "{whole}");
    let coarse = ask("?points=5").await.json();
    assert_eq!(coarse["resolution"], "10s");
    let sum =
        |answer: &serde_json::Value| answer["series"].as_array().unwrap().iter().map(|one| one["requests"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&whole), sum(&coarse), "nothing is lost");
    assert_eq!(coarse["probes"][0]["spans"][0]["samples"], 10);
    for wrong in ["?resolution=2s", "?from=9&to=5", "?step=nobody", "?to=90000&resolution=1s", "?fro=1"] {
        assert_eq!(ask(wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn configuration_and_alerts_are_told_without_secrets() {
    let served = Served::start().await;
    let schedules = served.get("/api/v1/schedules").await.json();
    let schedule = &schedules["schedules"][0];
    assert_eq!((schedule["timezone"].as_str(), schedule["missed"].as_str()), (Some("Europe/Zurich"), Some("run once within 1h")));
    assert_eq!(schedule["ticks"][0]["reason"], "shop was being loaded by another run");
    assert!(schedule["next"].as_str().unwrap().starts_with("2026-11-22T01:00:00"));
    let targets = served.get("/api/v1/targets").await.json();
    assert_eq!(targets["targets"][0]["base_url"], "http://127.0.0.1:8080/api");
    assert_eq!(targets["targets"][0]["probes"][0]["type"], "prometheus");
    let profiles = served.get("/api/v1/profiles").await.json();
    assert_eq!(profiles["profiles"][0]["scenarios"][0]["executor"]["max_vus"], 60);
    let alerts = served.get("/api/v1/alerts").await.json();
    assert_eq!((alerts["alerts"][0]["state"].as_str(), alerts["outbox"]["waiting"].as_u64()), (Some("firing"), Some(1)));
    assert_eq!(alerts["transitions"][0]["to"], "firing");
}

#[tokio::test]
async fn readiness_speaks_of_plimsoll_only() {
    let served = Served::start().await;
    insta::assert_snapshot!("ready", served.get("/-/ready").await.body);
    served.store.gone.store(true, Ordering::SeqCst);
    let answer = served.get("/-/ready").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("[-] storage: cannot be written") && answer.body.ends_with("not ready\n"), "{}", answer.body);
    assert_eq!(served.get("/-/healthy").await.status, 200, "the process itself is well");
    assert_eq!(served.get("/metrics").await.status, 200, "metrics answer while the store is away");
    let page = served.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("The database is not available"), "the page says so and shows the rest");
    assert!(page.body.contains("pool-nearly-full") && !page.body.contains("hunter2"));
    let api = served.get("/api/v1/runs").await;
    assert_eq!((api.status, api.code().as_str()), (503, "storage_unavailable"));
    assert!(!api.body.contains("hunter2"));
    served.store.gone.store(false, Ordering::SeqCst);
    let mut status = busy();
    status.scheduler_tick = Some(sample::START.minus(Duration::from_secs(60)));
    status.last_reload = Some((sample::START, Some("plimsoll.yaml:3:5 password: hunter2".into())));
    served.status.send_replace(Arc::new(status));
    let answer = served.get("/-/ready").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("[-] scheduler: last ticked 1m45s ago") && answer.body.contains("[!] configuration: reload failed"));
    assert!(!answer.body.contains("hunter2"));
}

#[tokio::test]
async fn hostile_names_stay_text() {
    let served = Served::start().await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let mut run = sample::finished();
    run.id = RunId("20261121-020000-x-evil".into());
    run.profile = evil.into();
    run.target = evil.into();
    run.reasons = vec![evil.into()];
    run.target_version = Some(evil.into());
    run.trigger.name = Some(evil.into());
    run.thresholds[0].text = evil.into();
    let summary = run.summary.as_mut().unwrap();
    summary.steps[0].step = evil.into();
    summary.steps[0].reasons = [(Reason::Check(evil.into()), 1)].into();
    summary.steps[0].messages = [(Reason::Check(evil.into()), evil.into())].into();
    summary.series[0].labels.insert("pool".into(), evil.into());
    served.store.runs.lock().unwrap().insert(0, run);
    let mut status = busy();
    status.alerts[0].rule = evil.into();
    status.running[0].profile = evil.into();
    status.next[0].schedule = evil.into();
    status.running[0].progress.as_mut().unwrap().phase = evil.into();
    served.status.send_replace(Arc::new(status));
    for path in ["/", "/runs/20261121-020000-x-evil", "/runs/%3Cscript%3Ealert(1)"] {
        let body = served.get(path).await.body;
        assert!(!body.contains("<script") && !body.contains("<img"), "{path}: {body}");
    }
    assert!(served.get("/").await.body.contains("&lt;script&gt;"), "the name is shown, as text");
}

#[tokio::test]
async fn wrong_methods_are_told_and_an_idle_engine_has_a_page() {
    let served = Served::start().await;
    assert_eq!(served.ask("PUT", "/api/v1/runs", "", "").await.code(), "method_not_allowed");
    assert_eq!(served.ask("POST", "/-/ready", "", "").await.status, 405);
    served.store.runs.lock().unwrap().clear();
    served.status.send_replace(Arc::new(EngineStatus::default()));
    let body = served.get("/").await.body;
    for text in ["Nothing is firing.", "Nothing is scheduled.", "No run has ended yet.", "No target is configured."] {
        assert!(body.contains(text), "{text} is missing");
    }
}

#[tokio::test]
async fn serving_ends_when_told() {
    let mut served = Served::start().await;
    assert_eq!(served.get("/-/healthy").await.status, 200);
    served.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(30), async { while served.tasks.join_next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the server did not stop");
    assert!(tokio::net::TcpStream::connect(served.address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn silences_are_made_listed_and_ended_over_the_api_and_the_page() {
    let served = Served::start().await;
    let made = served
        .ask(
            "POST",
            "/api/v1/silences",
            &bearer(),
            r#"{"matchers": ["target=shop", "pool=~a|b"], "comment": "deploy", "duration": "2h", "author": "ann"}"#,
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!((made["state"].as_str(), made["author"].as_str()), (Some("active"), Some("ann (api token ci)")));
    assert_eq!(made["id"].as_str().unwrap().len(), 8);
    for (body, says) in [
        (r#"{"matchers": ["target=shop"], "comment": "x", "ends_at": "2026-11-20T00:00:00Z"}"#, "is in the past"),
        (r#"{"matchers": [], "comment": "x", "duration": "2h"}"#, "silence everything"),
        (r#"{"matchers": ["target=shop"], "comment": "", "duration": "2h"}"#, "needs a comment"),
        (r#"{"matchers": ["target~shop"], "comment": "x", "duration": "2h"}"#, "compares nothing"),
        (r#"{"matchers": ["target=shop"], "comment": "x"}"#, "say how long"),
        (r#"{"matchers": ["target=shop"], "comment": "x", "duration": "2"}"#, "duration"),
        (r#"{"matchers": ["target=shop"], "comment": "x", "ends_at": "tomorrow"}"#, "RFC 3339"),
    ] {
        let refused = served.ask("POST", "/api/v1/silences", &bearer(), body).await;
        assert!(refused.status == 400 && refused.body.contains(says), "{body}: {refused:?}");
    }
    let list = served.get("/api/v1/silences").await.json();
    assert_eq!((list["silences"][0]["id"].as_str(), list["silences"][0]["state"].as_str()), (Some("3f9a2c1d"), Some("active")));
    assert_eq!(served.ask("DELETE", "/api/v1/silences/3f9a2c1d", &bearer(), "").await.status, 200);
    assert_eq!(served.ask("DELETE", "/api/v1/silences/nope", &bearer(), "").await.status, 404);
    let acked = served.ask("POST", "/api/v1/incidents/inc-1/ack", &bearer(), r#"{"comment": "on it"}"#).await.json();
    assert_eq!((acked["incidents"][0].as_str(), acked["acked"]["by"].as_str()), (Some("inc-1"), Some("api token ci")));
    let page = served.get("/silences").await.body;
    assert!(page.contains("pool=&quot;&lt;main&gt;&quot;") && page.contains("database &amp; more"), "{page}");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let sent = served.ask("POST", "/silences", form, &format!("token={TOKEN}&action=ack&id=inc-1&comment=mine")).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let refused = served.ask("POST", "/silences", form, "token=wrong&action=ack&id=inc-1").await;
    assert!(refused.status == 401 && refused.body.contains("Nothing was done"), "{refused:?}");
    let asked = served.asked.lock().unwrap().clone();
    assert!(asked.contains(&"silence target=\"shop\", pool=~\"a|b\" ann (api token ci)".to_owned()), "{asked:?}");
    assert!(
        asked.contains(&"expire 3f9a2c1d api token ci".to_owned())
            && asked.contains(&"acknowledge inc-1 the page, token ci mine".to_owned()),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_channel_that_fails_is_seen_on_the_page_and_by_readyz() {
    let served = Served::start().await;
    let mut status = busy();
    let mut slack = plimsoll::model::channel::ChannelHealth { channel: "slack".into(), ..Default::default() };
    slack.failed("Slack at hooks.example.org answered 404 <no_service>", true, true, sample::START);
    status.channels = vec![slack];
    served.status.send_replace(Arc::new(status));
    let ready = served.get("/readyz?verbose").await;
    assert!(ready.status == 200 && ready.body.contains("[!] channel slack: broken since"), "{ready:?}");
    let page = served.get("/").await.body;
    assert!(
        page.contains("Channel slack is broken") && page.contains("1 message was given up") && page.contains("404 &lt;no_service&gt;"),
        "{page}"
    );
}

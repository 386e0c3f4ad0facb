//! Every way in which a server can fail becomes exactly one reason, and what is no failure is not counted as one.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::sync::Arc;
use std::time::Duration;

use plimsoll::model::failure::{Phase, Reason};
use plimsoll::model::request::{HttpOptions, TlsOptions};
use plimsoll::model::run::{StepSummary, Verdict};
use plimsoll::protocol::dial::Dialer;
use plimsoll::protocol::dns::Dns;
use plimsoll::protocol::guard::Guard;
use plimsoll::protocol::http::{Call, Exchange, HttpClient, HttpPool, Keep, Outline, Prepared};
use plimsoll::protocol::tls::Tls;

use super::asker::{Ask, Ways, on_a_load_thread};
use super::misfits::Misfits;
use super::program::Plan;
use crate::servers::free_port;

/// Time enough on a busy machine for whatever answers at all.
const AMPLE: Duration = Duration::from_secs(30);

/// Step, its request, and the only reason it may fail for.
fn failing(refused: u16) -> Vec<(String, String, Reason)> {
    let quick = ", timeout: 2s";
    let list: Vec<(&str, String, Reason)> = vec![
        ("refused", format!("get: 'http://127.0.0.1:{refused}/'"), Reason::ConnectRefused),
        ("reset", "get: /reset".into(), Reason::Reset),
        ("reset-at-once", "get: /reset-at-once".into(), Reason::Reset),
        ("close", "get: /close".into(), Reason::ClosedEarly),
        ("close-post", "post: /close, json: { a: 1 }".into(), Reason::ClosedEarly),
        ("half", "get: /half".into(), Reason::ClosedEarly),
        ("half-chunked", "get: /half-chunked".into(), Reason::ClosedEarly),
        ("half-head", "get: /half-head".into(), Reason::ClosedEarly),
        ("garbage", "get: /garbage".into(), Reason::Protocol),
        ("bad-chunk", "get: /bad-chunk".into(), Reason::Protocol),
        ("no-body", format!("get: /no-body{quick}"), Reason::Timeout(Phase::Receiving)),
        ("slow-head", format!("get: /slow-head{quick}"), Reason::Timeout(Phase::Receiving)),
        ("silence", format!("get: /silence{quick}"), Reason::Timeout(Phase::Waiting)),
        ("big", "get: /big, check: { body: json }".into(), Reason::BodyTooLarge),
        ("not-found", "get: /400".into(), Reason::Status(400)),
        ("broken", "get: /500".into(), Reason::Status(500)),
        ("unexpected", "get: /well/no-content, check: { status: 200 }".into(), Reason::Status(204)),
        ("not-json", "get: /not-json, check: { body: json }".into(), Reason::Check("body is JSON".into())),
        ("wrong", "get: /null, check: { status: 200, \"json $.ok\": true }".into(), Reason::Check("json $.ok == true".into())),
    ];
    list.into_iter().map(|(name, request, reason)| (name.to_owned(), request, reason)).collect()
}

#[tokio::test]
async fn every_failure_has_exactly_one_reason() {
    let server = Misfits::start().await;
    let refused = free_port();
    let cases = failing(refused);
    let steps: Vec<String> = cases.iter().map(|(name, request, _)| format!("{{ step: {name}, {request} }}")).collect();
    let scenarios =
        format!("{{ users: {{ executor: constant-vus, vus: 2, duration: 1s, gracefulStop: 60s, flow: [{}] }} }}", steps.join(", "));
    let allow = format!("    allow: [\"127.0.0.1:{refused}\"]");
    let done = Plan { base_url: &server.url(), target: &allow, scenarios: &scenarios, profile: "", top: "" }.run().await;
    done.assert(99, Some(Verdict::Fail));
    let summary = done.run.summary.unwrap();
    let iterations = summary.scenarios[0].counts.completed;
    assert!(iterations >= 2);
    for ((name, _, reason), step) in cases.iter().zip(&summary.steps) {
        assert_eq!((name, step.requests, step.failed), (&step.step, iterations, iterations), "{step:?}");
        assert!(step.reasons.keys().eq([reason]), "{name}: {:?}", step.reasons);
        assert_eq!(step.duration.is_some(), reason.has_answer(), "{name}");
    }
    let message = |name: &str, reason: &Reason| {
        summary.steps.iter().find(|step| step.step == name).map(|step: &StepSummary| step.messages[reason].clone()).unwrap()
    };
    assert_eq!(message("not-found", &Reason::Status(400)), r#"status 400: {"error": "no such card", "password": "<redacted>"}"#);
    assert_eq!(message("broken", &Reason::Status(500)), "status 500: sorry, too many clients already; Authorization: <redacted>");
    assert!(message("reset", &Reason::Reset).contains("reset by peer"), "{}", message("reset", &Reason::Reset));
    assert_eq!(message("silence", &Reason::Timeout(Phase::Waiting)), "no answer within 2000 ms");
}

#[tokio::test]
async fn whatever_the_standard_allows_is_no_failure() {
    let server = Misfits::start().await;
    let json = "check: { status: 200, \"json $.ok\": true }";
    let steps = [
        format!("{{ step: plain, get: /well/plain, {json} }}"),
        "{ step: head, head: /well/plain, check: { status: 200 } }".into(),
        format!("{{ step: chunked, get: /well/chunked, {json} }}"),
        "{ step: no-content, delete: /well/no-content, check: { status: 204 } }".into(),
        "{ step: not-modified, get: /well/not-modified, check: { status: 304 } }".into(),
        "{ step: moved, get: /well/moved, redirects: 0 }".into(),
        format!("{{ step: hints, post: /well/hints, headers: {{ Expect: 100-continue }}, json: {{ a: 1 }}, {json} }}"),
        format!("{{ step: until-close, get: /well/until-close, {json} }}"),
        format!("{{ step: old, get: /well/old, {json} }}"),
        format!("{{ step: again, get: /well/plain, {json} }}"),
    ];
    let scenarios = format!("{{ users: {{ executor: constant-vus, vus: 3, duration: 2s, flow: [{}] }} }}", steps.join(", "));
    let done = Plan { base_url: &server.url(), target: "", scenarios: &scenarios, profile: "", top: "" }.run().await;
    done.assert(0, Some(Verdict::Pass));
    let summary = done.run.summary.unwrap();
    let (iterations, connections) = (summary.scenarios[0].counts.completed, summary.total.connections);
    assert_eq!((summary.total.failed, summary.total.requests), (0, iterations * 10));
    assert!(summary.steps.iter().all(|step| step.duration.is_some() && step.bytes_received > 0), "{:?}", summary.steps);
    assert_eq!(connections, server.connections());
    // Two of ten answers end their connection; everything else shares one.
    assert!(connections <= iterations * 2 + 3 && connections >= iterations * 2, "{connections} connections, {iterations} iterations");
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closes_is_no_failure() {
    let server = Misfits::start().await;
    // Closed while nobody looks; requests that could do harm when sent twice come on a connection that was found closed in time.
    let flow = "[{ step: closes, get: /well/then-closed }, { pause: 20ms }, { step: after, get: /well/plain }, \
        { step: closes-again, get: /well/then-closed }, { pause: 20ms }, { step: post, post: /well/plain, json: {} }]";
    let scenarios = format!("{{ users: {{ executor: constant-vus, vus: 2, duration: 1s, flow: {flow} }} }}");
    let done = Plan { base_url: &server.url(), target: "", scenarios: &scenarios, profile: "", top: "" }.run().await;
    done.assert(0, Some(Verdict::Pass));
    let summary = done.run.summary.unwrap();
    let iterations = summary.scenarios[0].counts.completed;
    assert!(iterations > 0 && summary.total.failed == 0 && summary.total.requests == iterations * 4, "{summary:?}");
}

#[tokio::test]
async fn a_request_that_a_kept_connection_lost_is_in_the_figures() {
    let server = Misfits::start().await;
    // The server takes the second request of each connection, and closes.
    let flow = "[{ step: dooms, get: /well/then-doomed }, { step: lost, get: /well/plain }]";
    let scenarios = format!("{{ users: {{ executor: constant-vus, vus: 2, duration: 1s, flow: {flow} }} }}");
    let done = Plan { base_url: &server.url(), target: "", scenarios: &scenarios, profile: "", top: "" }.run().await;
    let summary = done.run.summary.unwrap();
    let lost = &summary.steps[1];
    // Each is a failure, but for those before which the machine stood still for so long that the connection was idle.
    assert!(lost.requests > 0 && lost.failed + lost.resent == lost.requests, "{lost:?}");
    assert!(lost.failed > 0 && lost.reasons.keys().all(|reason| matches!(reason, Reason::ClosedEarly | Reason::Reset)), "{lost:?}");
    assert_eq!(summary.total.resent, lost.resent);
}

/// What became of a request on a connection that was idle for a while, and whose server closes when the request has come.
async fn after_idleness(server: &Misfits, method: &'static str, path: &str) -> Exchange {
    let ways = Ways::default();
    on_a_load_thread(async {
        let mut client = HttpClient::new(ways.pool(&[server.address.to_string()]));
        let first = Ask::new("GET", &format!("{}/well/then-doomed", server.url()), &ways).by(&mut client).await;
        assert_eq!(first.status, Some(200));
        tokio::time::sleep(Duration::from_millis(1100)).await;
        Ask::new(method, &format!("{}{path}", server.url()), &ways).by(&mut client).await
    })
    .await
}

#[tokio::test]
async fn an_idle_connection_that_is_closed_at_once_is_no_failure_and_any_other_cut_is() {
    let server = Misfits::start().await;
    // The server had the request for a while: a worker that died. Its time counts, too.
    let died = after_idleness(&server, "GET", "/wait/1500").await.outcome;
    assert_eq!((died.failure, died.resent), (Some(Reason::ClosedEarly), 0));
    assert!(died.phases.service_time() >= Duration::from_millis(1500), "{:?}", died.phases);
    let harmful = after_idleness(&server, "POST", "/well/plain").await.outcome;
    assert_eq!((harmful.failure, harmful.resent), (Some(Reason::ClosedEarly), 0));
    // Closed at once: the idle timeout of the server. On a machine that stands still meanwhile it may look otherwise.
    for _ in 0..20 {
        let raced = after_idleness(&server, "GET", "/well/plain").await;
        if raced.outcome.resent == 0 {
            assert_eq!(raced.outcome.failure, Some(Reason::ClosedEarly));
            continue;
        }
        assert_eq!((raced.outcome.failure, raced.status, raced.outcome.resent), (None, Some(200), 1));
        return;
    }
    panic!("no request was sent again");
}

/// Sends requests one after the other through one client; each is given as method, address, body and its time.
async fn send_all(allow: &[String], requests: Vec<(&str, String, Option<Vec<u8>>, Duration)>) -> Vec<Exchange> {
    let tls = Tls::new(&TlsOptions::default()).unwrap();
    let dialer = Dialer::new(Arc::new(Guard::new(allow, None)), tls, Dns::default());
    let options = HttpOptions::default();
    tokio::task::LocalSet::new()
        .run_until(async move {
            let mut client = HttpClient::new(HttpPool::new(&dialer, &options));
            let mut exchanges = Vec::new();
            for (method, url, body, timeout) in requests {
                let url: url::Url = url.parse().unwrap();
                let outline = Outline {
                    method,
                    origin: &url,
                    path: Some(url.path()),
                    headers: &[],
                    rendered: &[],
                    body: body.unwrap_or_default().into(),
                    keep: Keep::default(),
                    redirects: 0,
                    timeout,
                    options: &options,
                };
                exchanges.push(client.send(&Prepared::new(outline).unwrap(), Call::default()).await);
            }
            exchanges
        })
        .await
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_never_connected_to() {
    let server = Misfits::start().await;
    let url = format!("{}/well/plain", server.url());
    let exchanges = send_all(&["127.0.0.1:1".into()], vec![("GET", url, None, AMPLE)]).await;
    assert_eq!((exchanges[0].outcome.failure.clone(), server.connections()), (Some(Reason::BlockedByGuard), 0));
    // The metadata service of clouds stays out of reach although somebody allowed it.
    let metadata = "169.254.169.254:80".to_owned();
    let exchanges = send_all(std::slice::from_ref(&metadata), vec![("GET", format!("http://{metadata}/"), None, AMPLE)]).await;
    assert_eq!(exchanges[0].outcome.failure, Some(Reason::BlockedByGuard));
}

#[tokio::test]
async fn a_name_without_an_address_is_dns() {
    let host = "nonexistent.invalid:80".to_owned();
    let exchanges = send_all(std::slice::from_ref(&host), vec![("GET", format!("http://{host}/"), None, AMPLE)]).await;
    assert_eq!(exchanges[0].outcome.failure, Some(Reason::Dns), "{:?}", exchanges[0]);
    assert!(exchanges[0].outcome.message.is_some());
}

#[tokio::test]
async fn a_server_that_does_not_read_is_a_timeout_of_sending() {
    let server = Misfits::start().await;
    let body = Some(vec![b'x'; 32 * 1024 * 1024]);
    let url = format!("{}/deaf", server.url());
    let exchanges = send_all(&[server.address.to_string()], vec![("POST", url, body, Duration::from_secs(2))]).await;
    let outcome = &exchanges[0].outcome;
    assert_eq!(outcome.failure, Some(Reason::Timeout(Phase::Sending)));
    assert!(outcome.bytes_sent > 0 && outcome.bytes_received == 0 && outcome.connected, "{outcome:?}");
}

#[tokio::test]
async fn a_request_that_may_have_been_carried_out_is_not_sent_twice() {
    let server = Misfits::start().await;
    let url = |path: &str| format!("{}{path}", server.url());
    let post = ("POST", url("/well/plain"), Some(b"{}".to_vec()), AMPLE);
    let requests = vec![("GET", url("/well/then-doomed"), None, AMPLE), post.clone(), post];
    let exchanges = send_all(&[server.address.to_string()], requests).await;
    let failures: Vec<_> = exchanges.iter().map(|exchange| exchange.outcome.failure.clone()).collect();
    assert_eq!(failures, [None, Some(Reason::ClosedEarly), None]);
    assert_eq!((server.requests(), server.connections()), (3, 2));
}

#[tokio::test]
async fn the_parts_of_a_request_add_up() {
    let server = Misfits::start().await;
    let url = format!("{}/wait/100", server.url());
    let exchanges = send_all(&[server.address.to_string()], vec![("GET", url, None, AMPLE)]).await;
    let outcome = &exchanges[0].outcome;
    let phases = outcome.phases;
    assert_eq!((outcome.failure.clone(), exchanges[0].status), (None, Some(200)));
    assert!(phases.waiting >= Duration::from_millis(99) && phases.service_time() == phases.sending + phases.waiting + phases.receiving);
    // Status line, one header, the body.
    assert_eq!(outcome.bytes_received, 50);
}
// A connection attempt that nobody answers (`connect_timeout`) needs an address that swallows packets: 127.0.0.1 has none, and how many
// connections a full backlog swallows differs between kernels. The reason is the same code path as a timeout of any other phase.

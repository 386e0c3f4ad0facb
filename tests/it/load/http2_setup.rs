//! Setup, teardown and a shared login on a server that speaks HTTP/2 only: the `http:` of the profile is theirs, too.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use plimsoll::model::run::{EndedBy, Verdict};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::program::{Done, Plan};

/// What was asked for, with the token it came with: `DELETE /accounts/acc-1 as setups`.
type Asked = Arc<Mutex<Vec<String>>>;

/// A server without HTTP/1.1 that gives keys and keeps accounts for who has one; it ends when this is dropped.
struct Server {
    address: SocketAddr,
    asked: Asked,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
        let (mut tasks, all) = (JoinSet::new(), asked.clone());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let asked = all.clone();
                open.spawn(async move {
                    // Whoever does not begin as HTTP/2 does is left.
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    let mut answers = JoinSet::new();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        answers.spawn(answer(request, respond, asked.clone()));
                    }
                });
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// What was asked for, in order; the same in a row once, with how often.
    fn asked(&self) -> Vec<(String, usize)> {
        let mut told: Vec<(String, usize)> = Vec::new();
        for one in self.asked.lock().unwrap().iter() {
            match told.last_mut() {
                Some((last, times)) if last == one => *times += 1,
                Some(_) | None => told.push((one.clone(), 1)),
            }
        }
        told
    }

    async fn run(&self, profile: &str) -> Done {
        let scenarios = r#"{ users: { executor: per-vu-iterations, vus: 2, iterations: 3, flow: [{ step: account, get: "/accounts/${setup.account}", check: { status: 200, "json $.owner": logins } }],
            auth: { login: { flow: [{ step: login, post: /login, json: { user: ada }, extract: { key: $.key } }], token: "${key}" } } } }"#;
        Plan { base_url: &format!("http://{}", self.address), target: "", scenarios, profile, top: "load: { threads: 1 }" }.run().await
    }
}

async fn answer(request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>, asked: Asked) {
    let (head, mut body) = request.into_parts();
    let mut sent = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        let _ = body.flow_control().release_capacity(piece.len());
        sent.extend_from_slice(&piece);
    }
    let key = head.headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer ")).unwrap_or("nobody");
    let (method, path) = (head.method.as_str(), head.uri.path());
    let (status, answer) = {
        let mut asked = asked.lock().unwrap();
        asked.push(format!("{method} {path} as {key}"));
        let keys = asked.iter().filter(|one| one.starts_with("POST /login")).count();
        match (method, path, key) {
            ("POST", "/login", _) if serde_json::from_slice::<Json>(&sent).is_ok_and(|sent| sent["user"].is_string()) => {
                // The first is the shared login's, which comes before the setup.
                (200, json!({ "key": if keys == 1 { "logins" } else { "setups" } }))
            }
            (_, _, "nobody") => (401, json!({ "error": "who are you?" })),
            ("POST", "/accounts", _) => (201, json!({ "id": "acc-1" })),
            ("GET" | "DELETE", "/accounts/acc-1", _) => (200, json!({ "owner": key })),
            _ => (404, json!({ "error": "there is no such thing" })),
        }
    };
    let head = http::Response::builder().status(status).header("content-type", "application/json").body(()).unwrap();
    if let Ok(mut stream) = respond.send_response(head, false) {
        let _ = stream.send_data(answer.to_string().into(), true);
    }
}

const SETUP: &str = r#"
    setup:
      - { step: sign-in, post: /login, json: { user: admin }, extract: { key: $.key } }
      - { step: open, post: /accounts, bearer: "${key}", json: { of: ada }, check: { status: 201 }, extract: { account: $.id } }
    teardown:
      - { step: close, delete: "/accounts/${setup.account}", bearer: "${setup.key}", check: { status: 200 } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn setup_login_and_teardown_speak_as_their_profile_does() {
    let server = Server::start().await;
    let done = server.run(&format!("    http: {{ version: \"2\" }}\n{SETUP}")).await;
    done.assert(0, Some(Verdict::Pass));
    for said in ["the setup went through (2 requests)", "the teardown went through (1 requests)"] {
        assert!(done.run.reasons.iter().any(|reason| reason == said), "{said} in {:?}", done.run.reasons);
    }
    let told = server.asked();
    let told: Vec<(&str, usize)> = told.iter().map(|(what, times)| (what.as_str(), *times)).collect();
    let expected = [
        ("POST /login as nobody", 2),
        ("POST /accounts as setups", 1),
        ("GET /accounts/acc-1 as logins", 6),
        ("DELETE /accounts/acc-1 as setups", 1),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_that_speaks_as_the_server_does_not_says_so() {
    let server = Server::start().await;
    let done = server.run(SETUP).await;
    done.assert(98, Some(Verdict::Invalid));
    assert_eq!(done.run.ended_by, Some(EndedBy::Setup), "{:?}", done.run.reasons);
    assert!(done.run.reasons.iter().any(|reason| reason.starts_with("no token could be obtained: ")), "{:?}", done.run.reasons);
    assert_eq!((server.asked(), done.run.summary.unwrap().total.requests), (vec![], 0));
}

//! Logins and tokens of the demo target: what examples of authentication are shown on.

use std::time::Duration;

use plimsoll::demo::{self, Running, Settings};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::{client, get, target};

async fn ask(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn token(client: &Client, target: &Running, form: &[(&str, &str)]) -> RequestBuilder {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    client.post(target.url("/oauth/token")).header("content-type", "application/x-www-form-urlencoded").body(form)
}

#[tokio::test]
async fn a_login_gives_a_token_and_a_cookie_that_both_open_the_account() {
    let (client, target) = (client(), target(2, 0).await);
    let answer = client.post(target.url("/api/login")).json(&json!({"user": "ann", "password": "x"})).send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(cookie, format!("session={token}; Path=/; HttpOnly; SameSite=Lax"));
    let account = || client.get(target.url("/api/account"));
    assert_eq!(ask(account().bearer_auth(&token)).await, (200, json!({"name": "ann"})));
    assert_eq!(ask(account().header("cookie", format!("a=1; session={token}"))).await, (200, json!({"name": "ann"})));
    assert_eq!(ask(account().basic_auth("bob", Some("x"))).await, (200, json!({"name": "bob"})));
    for (request, challenge) in [
        (account(), "Bearer realm=\"demo\""),
        (account().basic_auth("bob", Some("")), "Bearer realm=\"demo\""),
        (account().bearer_auth("made-up"), "Bearer realm=\"demo\", error=\"invalid_token\""),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["www-authenticate"].to_str().unwrap()), (401, challenge));
    }
    target.stop().await;
}

#[tokio::test]
async fn client_credentials_get_a_token_in_both_ways() {
    let (client, target) = (client(), target(2, 0).await);
    let grant = ("grant_type", "client_credentials");
    let in_body = token(&client, &target, &[grant, ("client_id", "demo"), ("client_secret", "demo-secret"), ("scope", "a b")]);
    for request in [in_body, token(&client, &target, &[grant, ("scope", "a b")]).basic_auth("demo", Some("demo-secret"))] {
        let (status, body) = ask(request).await;
        assert_eq!((status, &body["token_type"], &body["expires_in"], &body["scope"]), (200, &json!("Bearer"), &json!(300), &json!("a b")));
        let account = client.get(target.url("/api/account")).bearer_auth(body["access_token"].as_str().unwrap());
        assert_eq!(ask(account).await, (200, json!({"name": "demo"})));
    }
    for (request, status, error) in [
        (token(&client, &target, &[grant]), 401, "invalid_client"),
        (token(&client, &target, &[grant]).basic_auth("demo", Some("demo-secreT")), 401, "invalid_client"),
        (token(&client, &target, &[grant]).basic_auth("other", Some("demo-secret")), 401, "invalid_client"),
        (token(&client, &target, &[("grant_type", "password")]).basic_auth("demo", Some("demo-secret")), 400, "unsupported_grant_type"),
        (token(&client, &target, &[("scope", "a")]).basic_auth("demo", Some("demo-secret")), 400, "invalid_request"),
    ] {
        let (got, body) = ask(request).await;
        assert_eq!((got, &body["error"]), (status, &json!(error)));
    }
    target.stop().await;
}

#[tokio::test]
async fn a_token_is_good_for_its_life_only() {
    let client = client();
    let settings = Settings { token_life: Duration::from_millis(1), hold: Duration::ZERO, ..Settings::default() };
    let target = demo::start(settings).await.unwrap();
    let form = [("grant_type", "client_credentials"), ("client_id", "demo"), ("client_secret", "demo-secret")];
    let (_, body) = ask(token(&client, &target, &form)).await;
    let account = || client.get(target.url("/api/account")).bearer_auth(body["access_token"].as_str().unwrap());
    while ask(account()).await.0 == 200 {}
    assert_eq!(ask(account()).await.1, json!({"error": "the token is not known, or it has expired"}));
    assert_eq!(get(&client, &target, "/api/v1/health").await.unwrap().0, 200);
    target.stop().await;
}

//! Who may ask the demo target: a login that gives a token and a session cookie, OAuth 2 client credentials (RFC 6749, 4.4), and an
//! endpoint that wants one of them. Any user with any password may log in; the one client is named in the settings.

use std::sync::Arc;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::api::{App, Failure, Shared};

/// The cookie that a login sets.
const COOKIE: &str = "session";

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<App>> {
    use axum::routing::{get, post};
    Router::new().route("/api/login", post(login)).route("/oauth/token", post(token)).route("/api/account", get(account))
}

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

async fn login(State(app): Shared, Json(login): Json<Login>) -> Result<Response, Failure> {
    if login.user.is_empty() || login.password.is_empty() {
        return Ok((StatusCode::UNAUTHORIZED, Json(json!({"error": "user and password are needed"}))).into_response());
    }
    let token = new_token(&app, &login.user, None).await?;
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax");
    Ok(([(header::SET_COOKIE, cookie)], Json(json!({"token": token, "user": login.user}))).into_response())
}

/// Keeps a token for `name`, which is good until so many milliseconds of the service's life, or as long as it lives.
async fn new_token(app: &App, name: &str, until_ms: Option<i64>) -> Result<String, Failure> {
    let mut lease = app.database.acquire().await?;
    let insert = "INSERT INTO sessions (token, name, until_ms) VALUES (lower(hex(randomblob(16))), ?1, ?2) RETURNING token";
    let (token,): (String,) = sqlx::query_as(insert).bind(name).bind(until_ms).fetch_one(lease.connection()).await?;
    app.finish(lease).await;
    Ok(token)
}

/// What is asked of `/oauth/token`.
#[derive(Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
}

/// RFC 6749, 4.4 and 5. The client shows itself by basic authentication or in the form.
async fn token(State(app): Shared, headers: HeaderMap, Form(asked): Form<TokenRequest>) -> Result<Response, Failure> {
    let refused = |status: StatusCode, error: &str, why: &str| {
        let body = Json(json!({"error": error, "error_description": why}));
        let mut answer = (status, [(header::CACHE_CONTROL, "no-store")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"demo\""));
        }
        Ok(answer)
    };
    // RFC 6749, 2.3.1: id and secret are encoded as in a form before they are put together.
    let decoded = |text: &str| url::form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default();
    let shown = match basic(&headers) {
        Some((id, secret)) => Some((decoded(&id), decoded(&secret))),
        None => asked.client_id.zip(asked.client_secret),
    };
    let Some((id, secret)) = shown else {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client", "no client is named");
    };
    let known = id == app.settings.client_id && bool::from(secret.as_bytes().ct_eq(app.settings.client_secret.as_bytes()));
    if !known {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client", "no such client, or another secret");
    }
    match asked.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", "only client_credentials"),
        None => return refused(StatusCode::BAD_REQUEST, "invalid_request", "`grant_type` is missing"),
    }
    let life = app.settings.token_life;
    let token = new_token(&app, &id, Some(app.age_ms() + life.as_millis() as i64)).await?;
    let mut body = json!({"access_token": token, "token_type": "Bearer", "expires_in": life.as_secs()});
    if let Some(scope) = asked.scope {
        body["scope"] = scope.into();
    }
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Who asks: a token in the header or the cookie of a login, or user and password.
async fn account(State(app): Shared, headers: HeaderMap) -> Result<Response, Failure> {
    let (mut name, token) = (basic(&headers).filter(|(_, password)| !password.is_empty()).map(|(user, _)| user), bearer(&headers));
    let mut lease = app.database.acquire().await?;
    if let Some(token) = &token {
        let query = "SELECT name FROM sessions WHERE token = ?1 AND (until_ms IS NULL OR until_ms > ?2)";
        let found = sqlx::query_as(query).bind(token).bind(app.age_ms()).fetch_optional(lease.connection()).await?;
        name = found.map(|(name,): (String,)| name);
    }
    app.finish(lease).await;
    if let Some(name) = name {
        return Ok(Json(json!({"name": name})).into_response());
    }
    let (challenge, error) = match token {
        Some(_) => ("Bearer realm=\"demo\", error=\"invalid_token\"", "the token is not known, or it has expired"),
        None => ("Bearer realm=\"demo\"", "a token is needed"),
    };
    Ok((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], Json(json!({"error": error}))).into_response())
}

/// The credentials behind a scheme in `Authorization`.
fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let (given, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(credentials.trim())
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(credentials(headers, "basic")?).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The token in the header, or else in the cookie.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookie = || cookies.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    credentials(headers, "bearer").or_else(cookie).map(str::to_owned)
}

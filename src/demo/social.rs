//! A social platform, small: a feed that is expensive to put together and kept for a while, and registrations that must not collide.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{App, Failure, Shared};

/// How long a feed is kept.
const FRESH: Duration = Duration::from_secs(30);
/// Most people who can register, so that a run that never ends does not fill the memory.
const MOST_PEOPLE: i64 = 1_000_000;

/// The feeds that are kept, by user, each with when it was made.
#[derive(Debug, Default)]
pub(super) struct Feeds(Mutex<HashMap<i64, (Instant, Value)>>);

impl Feeds {
    fn get(&self, user: i64) -> Option<Value> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&user).filter(|(made, _)| made.elapsed() < FRESH).map(|(_, feed)| feed.clone())
    }

    fn keep(&self, user: i64, feed: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(user, (Instant::now(), feed));
    }
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/posts/feed", get(feed)).route("/api/users", post(register))
}

#[derive(Deserialize)]
struct FeedQuery {
    /// `off`: put together anew.
    cache: Option<String>,
}

async fn feed(State(app): Shared, Query(query): Query<FeedQuery>) -> Result<Json<Value>, Failure> {
    let (user, cached) = (app.user(), query.cache.as_deref() != Some("off"));
    if let Some(feed) = app.feeds.get(user).filter(|_| cached) {
        return Ok(Json(feed));
    }
    let mut lease = app.database.acquire().await?;
    let query = "SELECT u.name, t.note, sum(t.cents) OVER (PARTITION BY t.user_id ORDER BY t.id) FROM transactions t \
                 JOIN users u ON u.id = t.user_id ORDER BY t.id DESC LIMIT 50";
    let rows: Vec<(String, String, i64)> = sqlx::query_as(query).fetch_all(lease.connection()).await?;
    app.finish(lease).await;
    let posts: Vec<Value> = rows.into_iter().map(|(name, note, cents)| json!({"by": name, "text": note, "cents": cents})).collect();
    let feed = json!({"user": user, "posts": posts});
    if cached {
        app.feeds.keep(user, feed.clone());
    }
    Ok(Json(feed))
}

#[derive(Deserialize)]
struct Registration {
    name: String,
    email: String,
}

/// 201 with the id, or 409 when the address is taken.
async fn register(State(app): Shared, Json(person): Json<Registration>) -> Result<Response, Failure> {
    if !person.email.contains('@') || person.name.is_empty() {
        return Err(Failure::BadRequest("`name` and an `email` with `@` are expected".into()));
    }
    let mut lease = app.database.acquire().await?;
    let insert = "INSERT INTO people (name, email) SELECT ?1, ?2 WHERE (SELECT count(*) FROM people) < ?3 \
                  ON CONFLICT (email) DO NOTHING RETURNING id";
    let row = sqlx::query_as(insert).bind(&person.name).bind(&person.email).bind(MOST_PEOPLE);
    let id: Option<(i64,)> = row.fetch_optional(lease.connection()).await?;
    app.finish(lease).await;
    Ok(match id {
        Some((id,)) => (StatusCode::CREATED, Json(json!({"id": id, "email": person.email}))).into_response(),
        None => (StatusCode::CONFLICT, Json(json!({"error": "this address is registered already"}))).into_response(),
    })
}

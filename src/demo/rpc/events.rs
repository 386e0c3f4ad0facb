//! `events.v1.Events`: a unary call and every kind of stream, each with a real query on a connection of the pool.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::post;
use futures_util::{Stream, TryStreamExt as _, stream};
use sqlx::SqliteConnection;
use tonic::{Status, Streaming};

use super::messages::{Event, Kind, Receipt, Summary, WatchRequest};
use super::{Method, wire};
use crate::demo::api::{App, Failure, Shared};

/// Most events that `Watch` tells.
const MOST: u32 = 100_000;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route(
            "/events.v1.Events/Record",
            post(async |State(app): Shared, request: Request| {
                wire::<Receipt, Event>().unary(Method(|event| record(app.clone(), event)), request).await
            }),
        )
        .route(
            "/events.v1.Events/Upload",
            post(async |State(app): Shared, request: Request| {
                wire::<Summary, Event>().client_streaming(Method(|events| upload(app.clone(), events)), request).await
            }),
        )
        .route(
            "/events.v1.Events/Watch",
            post(async |State(app): Shared, request: Request| {
                wire::<Event, WatchRequest>().server_streaming(Method(|asked| watch(app.clone(), asked)), request).await
            }),
        )
        .route("/events.v1.Events/Chat", post(async |request: Request| wire::<Event, Event>().streaming(Method(chat), request).await))
}

async fn insert(connection: &mut SqliteConnection, event: &Event) -> Result<i64, Failure> {
    if event.amount < 0 {
        return Err(Failure::BadRequest("`amount` must not be negative".into()));
    }
    let query = "INSERT INTO events (user, kind, amount) VALUES (?1, ?2, ?3) RETURNING id";
    let (id,): (i64,) = sqlx::query_as(query).bind(&event.user).bind(event.kind).bind(event.amount).fetch_one(connection).await?;
    Ok(id)
}

async fn record(app: Arc<App>, event: Event) -> Result<Receipt, Status> {
    let mut lease = app.database.acquire().await.map_err(Failure::from)?;
    let id = insert(lease.connection(), &event).await?;
    app.finish(lease).await;
    Ok(Receipt { id, user: event.user })
}

async fn upload(app: Arc<App>, mut events: Streaming<Event>) -> Result<Summary, Status> {
    let mut lease = app.database.acquire().await.map_err(Failure::from)?;
    let mut summary = Summary::default();
    while let Some(event) = events.message().await? {
        insert(lease.connection(), &event).await?;
        summary.count += 1;
        summary.amount = summary.amount.saturating_add(event.amount);
    }
    app.finish(lease).await;
    Ok(summary)
}

async fn watch(app: Arc<App>, asked: WatchRequest) -> Result<impl Stream<Item = Result<Event, Status>> + use<>, Status> {
    let mut lease = app.database.acquire().await.map_err(Failure::from)?;
    let query = "SELECT kind, amount FROM events WHERE user = ?1 ORDER BY id DESC LIMIT ?2";
    let asked_for = asked.count.min(MOST);
    let rows = sqlx::query_as(query).bind(&asked.user).bind(asked_for).fetch_all(lease.connection()).await;
    let rows: Vec<(i32, i64)> = rows.map_err(Failure::from)?;
    app.finish(lease).await;
    // Who has no events yet is told of logins.
    let rows = rows.into_iter().chain(std::iter::repeat((Kind::Login as i32, 0))).take(asked_for as usize);
    let pause = Duration::from_millis(asked.every_ms.into());
    Ok(stream::unfold((app, asked.user, rows), move |(app, user, mut rows)| async move {
        let (kind, amount) = rows.next()?;
        app.pause(pause).await;
        let event = Event { user: user.clone(), kind, amount, ..Event::default() };
        Some((Ok(event), (app, user, rows)))
    }))
}

async fn chat(events: Streaming<Event>) -> Result<impl Stream<Item = Result<Event, Status>> + use<>, Status> {
    Ok(events.into_stream())
}

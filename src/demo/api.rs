//! The HTTP side of the demo target: what a small wallet service answers, each route with a real query on a connection of the pool.
//! Faults act in `front.rs`, before and after these handlers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Connection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account;
use super::dependency;
use super::faults::Switchboard;
use super::front;
use super::metrics::Metrics;
use super::pool::{AcquireError, Database, Lease};
use super::settings::Settings;
use super::shapes;
use super::social::{self, Feeds};
use super::socket;

/// Largest answer of `/bytes`.
const MOST_BYTES: usize = 100 << 20;
/// Longest wait of `/slow`.
const LONGEST: Duration = Duration::from_secs(600);

/// What the handlers share.
pub(super) struct App {
    pub(super) settings: Settings,
    pub(super) database: Database,
    pub(super) board: Switchboard,
    pub(super) metrics: Metrics,
    /// Open WebSockets.
    pub(super) sockets: TaskTracker,
    pub(super) feeds: Feeds,
    dependency: SocketAddr,
    stop: CancellationToken,
    turn: AtomicU64,
    started: Instant,
}

pub(super) type Shared = State<Arc<App>>;

impl App {
    pub(super) fn new(
        settings: Settings,
        database: Database,
        board: Switchboard,
        metrics: Metrics,
        dependency: SocketAddr,
        stop: CancellationToken,
    ) -> Self {
        let (sockets, turn, started) = (TaskTracker::new(), AtomicU64::new(0), Instant::now());
        let feeds = Feeds::default();
        Self { settings, database, board, metrics, sockets, feeds, dependency, stop, turn, started }
    }

    /// What a future comes to; `None` when the service ends before.
    pub(super) async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(future).await
    }

    /// Milliseconds that the service has lived.
    pub(super) fn age_ms(&self) -> i64 {
        self.started.elapsed().as_millis() as i64
    }

    /// Waits, but no longer than the service lives.
    pub(super) async fn pause(&self, time: Duration) {
        if !time.is_zero() {
            self.unless_stopped(tokio::time::sleep(time)).await;
        }
    }

    /// Waits until a stall is over or the service ends.
    pub(super) async fn stall(&self) {
        self.unless_stopped(self.board.stall_over()).await;
    }

    /// The user whose turn it is; requests go round all of them.
    pub(super) fn user(&self) -> i64 {
        let users = u64::from(self.settings.users.max(1));
        (self.turn.fetch_add(1, Ordering::Relaxed) % users + 1) as i64
    }

    /// Holds the connection as long as a request is to hold it, then gives it back.
    pub(super) async fn finish(&self, lease: Lease) {
        let active = self.board.active();
        self.pause(self.settings.hold + Duration::from_millis(active.faults.slow_ms)).await;
        self.database.give_back(lease, active.faults.connection_leak_every).await;
    }
}

/// Why a request could not be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Pool(AcquireError),
    #[error("the card service cannot be reached: {0}")]
    Dependency(std::io::Error),
    #[error("{0}")]
    BadRequest(String),
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        Self::Pool(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Pool(AcquireError::Database(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Pool(AcquireError::Exhausted) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Pool(AcquireError::Database(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Dependency(_) => StatusCode::BAD_GATEWAY,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}

type Answer = Result<Json<Value>, Failure>;

/// Routes by name; what is counted per route in the metrics comes from here too.
pub(super) const ROUTES: &[&str] = &[
    "/",
    "/metrics",
    "/faults",
    "/api/v1/health",
    "/api/v1/wallet/balance",
    "/api/v1/transactions",
    "/api/v1/users/profile",
    "/api/v1/cards",
    "/api/v1/transfer",
    "/api/login",
    "/api/user/performance",
    "/api/bot/enable",
    "/api/bot/disable",
    "/api/account",
    "/api/posts/feed",
    "/api/users",
    "/oauth/token",
    "/slow",
    "/bytes",
    "/moved",
    "/list",
    "/ws",
];

/// All routes, behind the faults; `rpc` are those of gRPC.
pub(super) fn router(app: Arc<App>, rpc: Router<Arc<App>>) -> Router {
    Router::new()
        .merge(rpc)
        .route("/", get(async || "Plimsoll demo target\n"))
        .route("/metrics", get(metrics))
        .route("/faults", get(front::show_faults).post(front::change_faults).delete(front::clear_faults))
        .route("/api/v1/health", get(health))
        .route("/api/v1/wallet/balance", get(balance))
        .route("/api/v1/transactions", get(transactions))
        .route("/api/v1/users/profile", get(profile))
        .route("/api/v1/cards", get(cards))
        .route("/api/v1/transfer", post(transfer))
        .route("/api/user/performance", get(performance))
        .route("/api/bot/enable", post(async |app: Shared| switch_bot(app, true).await))
        .route("/api/bot/disable", post(async |app: Shared| switch_bot(app, false).await))
        .route("/slow", get(slow))
        .route("/bytes", get(bytes))
        .route("/moved", get(shapes::moved))
        .route("/list", get(shapes::list))
        .route("/status/{code}", any(status))
        .route("/ws", get(socket::open))
        .merge(account::routes())
        .merge(social::routes())
        .layer(middleware::from_fn_with_state(app.clone(), front::front))
        .with_state(app)
}

async fn metrics(State(app): Shared) -> Response {
    match app.metrics.page(app.database.snapshot(), app.board.leaked_bytes()) {
        Ok(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn health(State(app): Shared) -> Answer {
    let mut lease = app.database.acquire().await?;
    let (one,): (i64,) = sqlx::query_as("SELECT 1").fetch_one(lease.connection()).await?;
    app.finish(lease).await;
    Ok(Json(json!({"status": "ok", "database": one == 1})))
}

async fn balance(State(app): Shared) -> Answer {
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let query = "SELECT cents, currency FROM wallets WHERE user_id = ?1";
    let (cents, currency): (i64, String) = sqlx::query_as(query).bind(user).fetch_one(lease.connection()).await?;
    app.finish(lease).await;
    Ok(Json(json!({"user": user, "cents": cents, "currency": currency})))
}

async fn transactions(State(app): Shared) -> Answer {
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let query = "SELECT id, cents, note FROM transactions WHERE user_id = ?1 ORDER BY id DESC LIMIT 20";
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(query).bind(user).fetch_all(lease.connection()).await?;
    app.finish(lease).await;
    let rows: Vec<Value> = rows.into_iter().map(|(id, cents, note)| json!({"id": id, "cents": cents, "note": note})).collect();
    Ok(Json(json!({"user": user, "transactions": rows})))
}

async fn profile(State(app): Shared) -> Answer {
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let query = "SELECT name, email FROM users WHERE id = ?1";
    let (name, email): (String, String) = sqlx::query_as(query).bind(user).fetch_one(lease.connection()).await?;
    app.finish(lease).await;
    Ok(Json(json!({"id": user, "name": name, "email": email})))
}

async fn cards(State(app): Shared) -> Answer {
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let query = "SELECT last_four, network FROM cards WHERE user_id = ?1";
    let (last_four, network): (String, String) = sqlx::query_as(query).bind(user).fetch_one(lease.connection()).await?;
    let called = dependency::call(app.dependency).await;
    app.finish(lease).await;
    called.map_err(Failure::Dependency)?;
    Ok(Json(json!({"user": user, "cards": [{"last_four": last_four, "network": network}]})))
}

#[derive(Deserialize)]
struct Transfer {
    to: String,
    cents: i64,
}

async fn transfer(State(app): Shared, Json(transfer): Json<Transfer>) -> Answer {
    if transfer.cents <= 0 {
        return Err(Failure::BadRequest("`cents` must be more than 0".into()));
    }
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let mut transaction = lease.connection().begin_with("BEGIN IMMEDIATE").await?;
    let insert = "INSERT INTO transactions (user_id, cents, note) VALUES (?1, ?2, 'to ' || ?3) RETURNING id";
    let row = sqlx::query_as(insert).bind(user).bind(-transfer.cents).bind(&transfer.to);
    let (id,): (i64,) = row.fetch_one(&mut *transaction).await?;
    let update = sqlx::query("UPDATE wallets SET cents = cents - ?2 WHERE user_id = ?1").bind(user).bind(transfer.cents);
    update.execute(&mut *transaction).await?;
    transaction.commit().await?;
    app.finish(lease).await;
    Ok(Json(json!({"id": id, "user": user, "to": transfer.to, "cents": transfer.cents})))
}

async fn performance(State(app): Shared) -> Answer {
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let query = "SELECT count(*), coalesce(sum(cents), 0), coalesce(avg(cents), 0.0) FROM transactions WHERE user_id = ?1";
    let (trades, sum, mean): (i64, i64, f64) = sqlx::query_as(query).bind(user).fetch_one(lease.connection()).await?;
    app.finish(lease).await;
    Ok(Json(json!({"user": user, "trades": trades, "profit_cents": sum, "mean_cents": mean})))
}

async fn switch_bot(State(app): Shared, enabled: bool) -> Answer {
    let (user, mut lease) = (app.user(), app.database.acquire().await?);
    let update = sqlx::query("UPDATE bots SET enabled = ?2 WHERE user_id = ?1").bind(user).bind(enabled);
    update.execute(lease.connection()).await?;
    app.finish(lease).await;
    Ok(Json(json!({"user": user, "enabled": enabled})))
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

async fn slow(State(app): Shared, Query(slow): Query<Slow>) -> Json<Value> {
    app.pause(Duration::from_millis(slow.ms).min(LONGEST)).await;
    Json(json!({"waited_ms": slow.ms}))
}

#[derive(Deserialize)]
struct Size {
    n: usize,
}

async fn bytes(Query(size): Query<Size>) -> Result<Response, Failure> {
    if size.n > MOST_BYTES {
        return Err(Failure::BadRequest(format!("`n` is at most {MOST_BYTES}")));
    }
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], vec![b'x'; size.n]).into_response())
}

async fn status(Path(code): Path<u16>) -> Result<Response, Failure> {
    let bad = || Failure::BadRequest("a status between 200 and 599 is expected".into());
    let status = StatusCode::from_u16(code).ok().filter(|status| (200..600).contains(&status.as_u16())).ok_or_else(bad)?;
    Ok((status, Json(json!({"status": code}))).into_response())
}

//! PostgreSQL from version 12 on: a small pool, statements that end in time, a role without special rights.
//! A server that goes away is `Gone`; the pool finds it again by itself. Passwords never reach an error.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Postgres};

use super::schema::{self, Schema, inspect, migration_error};
use super::shared::{SqlStore, store_error};
use super::{Store, StoreError, StoreResult};

/// Migrations, embedded.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");
const CONNECTIONS: u32 = 6;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that wait for a lock, or run, for longer than this are cancelled by the server.
const SESSION: &str = "SET lock_timeout = '5s'; SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '10s'";
const OLDEST_VERSION: i64 = 12;
/// Parameters that an address may have; sqlx would only warn about others, and show their values.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Opens the database at `url`.
pub(super) async fn open(url: &str) -> StoreResult<Arc<dyn Store>> {
    Ok(Arc::new(open_sql(url).await?))
}

/// Newest version of the schema.
pub(super) fn known() -> i64 {
    schema::newest(&MIGRATIONS)
}

/// How the schema compares to the program's; nothing is changed.
pub(super) async fn look(url: &str) -> StoreResult<Schema> {
    let options = options(url)?;
    let place = place(&options);
    let mut connection = connect(&options, &place).await?;
    check_server(&mut connection, &place).await?;
    inspect::<Postgres>(&mut connection, &MIGRATIONS, &place).await
}

/// Opens the database at `url`.
pub(super) async fn open_sql(url: &str) -> StoreResult<SqlStore<Postgres>> {
    let options = options(url)?;
    let place = place(&options);
    let mut connection = connect(&options, &place).await?;
    check_server(&mut connection, &place).await?;
    prepare(&mut connection, &place).await.map_err(explained)?;
    connection.close().await.map_err(|error| store_error::<Postgres>(&place, &error))?;

    let pool = PoolOptions::<Postgres>::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(Duration::from_secs(300))
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }))
        .connect_lazy_with(options);
    let store = SqlStore::new(pool.clone(), pool, place);
    store.ping().await.map_err(explained)?;
    Ok(store)
}

/// Reads the address; errors do not repeat it, for it may hold a password.
fn options(url: &str) -> StoreResult<PgConnectOptions> {
    let unusable = |why: String| StoreError::Unusable(format!("the PostgreSQL address is not valid: {why}"));
    let parsed = url::Url::parse(url).map_err(|error| unusable(error.to_string()))?;
    if let Some((key, _)) = parsed.query_pairs().find(|(key, _)| !PARAMETERS.contains(&key.as_ref()) && !key.starts_with("options[")) {
        return Err(unusable(format!("unknown parameter `{key}`")));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| unusable(root_cause(&error)))?;
    let named = options.get_application_name().is_some();
    Ok(if named { options } else { options.application_name("plimsoll") })
}

/// The innermost error, without the layers around it.
fn root_cause(error: &sqlx::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// `user@host:port/database`.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    let host = options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string());
    format!("{}@{host}:{}/{database}", options.get_username(), options.get_port())
}

/// The database that an address means, without the user.
pub(super) fn name_of(url: &str) -> Option<String> {
    let place = place(&options(url).ok()?);
    Some(place.split_once('@').map_or(place.clone(), |(_, name)| name.into()))
}

async fn connect(options: &PgConnectOptions, place: &str) -> StoreResult<PgConnection> {
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Err(_) => Err(StoreError::Gone(format!("{place}: no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
        Ok(Err(error)) => Err(store_error::<Postgres>(place, &error)),
        Ok(Ok(connection)) => Ok(connection),
    }
}

async fn check_server(connection: &mut PgConnection, place: &str) -> StoreResult<()> {
    const VERSION: &str = "SELECT current_setting('server_version_num')::bigint / 10000";
    const UTF8: &str = "SELECT count(*) FROM pg_database WHERE datname = current_database() AND pg_encoding_to_char(encoding) = 'UTF8'";
    let version = schema::number::<Postgres>(connection, VERSION, place).await?;
    if version < OLDEST_VERSION {
        return Err(StoreError::Unusable(format!("{place}: PostgreSQL {version} is too old, {OLDEST_VERSION} or newer is needed")));
    }
    if schema::number::<Postgres>(connection, UTF8, place).await? == 0 {
        return Err(StoreError::Unusable(format!(
            "{place}: the database is not in UTF-8; create it with ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    Ok(())
}

/// Makes the schema current. sqlx holds an advisory lock meanwhile, so that of several daemons one does it.
async fn prepare(connection: &mut PgConnection, place: &str) -> StoreResult<()> {
    match inspect::<Postgres>(connection, &MIGRATIONS, place).await? {
        Schema::Current => Ok(()),
        Schema::Older(_) => MIGRATIONS.run(connection).await.map_err(|error| migration_error::<Postgres>(place, &error)),
    }
}

/// Says what to do about an error at opening.
fn explained(error: StoreError) -> StoreError {
    if let StoreError::Unusable(text) = &error {
        return StoreError::Unusable(format!("{text}: the role must own the database, or have CREATE and write rights on its schema"));
    }
    error
}

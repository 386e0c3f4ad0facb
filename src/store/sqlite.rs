//! SQLite: one file in WAL mode, one connection that writes, a few that read. What was acknowledged survives the death of
//! the process at any moment (it is in the WAL); `synchronous = NORMAL` may lose the last transactions when the machine
//! loses power, never the file's consistency (<https://www.sqlite.org/pragma.html#pragma_synchronous>).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection};
use tokio::time::Instant;

use super::schema::{self, Schema, inspect, migration_error};
use super::shared::{SqlStore, store_error};
use super::{Store, StoreError, StoreResult};

/// Migrations, embedded.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
/// How long another process may take to bring the schema up to date, and how often it is looked at.
const OTHERS_WORK: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_millis(50);
/// How long a statement waits for the lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call waits for a connection that others of this process use.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
const READERS: u32 = 4;
/// `PRAGMA application_id` of our files, set by the first migration: "PLIM".
const APPLICATION_ID: i64 = 0x504c_494d;
/// First bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Page cache of a connection: a negative number of KiB. It is filled to the brim within hours by a file that only grows, and gives nothing
/// there: what is read again is in the system's cache.
const CACHE: &str = "-512";
/// Size to which the WAL shrinks after it has grown.
const WAL_BYTES: &str = "67108864";

/// Opens `location`: a path, or `:memory:`.
pub(super) async fn open(location: &str) -> StoreResult<Arc<dyn Store>> {
    Ok(Arc::new(open_sql(location).await?))
}

/// The same for those who need more than the trait.
pub(super) async fn open_sql(location: &str) -> StoreResult<SqlStore<Sqlite>> {
    open_with(location, &MIGRATIONS).await
}

/// Newest version of the schema.
pub(super) fn known() -> i64 {
    schema::newest(&MIGRATIONS)
}

/// How the schema compares to the program's; nothing is changed.
pub(super) async fn look(location: &str) -> StoreResult<Schema> {
    let path = checked_path(location)?;
    if !path.exists() {
        return Ok(Schema::Older(0));
    }
    let mut connection = options(&path).create_if_missing(false).connect().await.map_err(|error| error_at(&path, &error))?;
    if is_foreign(&mut connection, location).await? {
        return Err(StoreError::Unusable(format!("{location} is a database of another program: name another file")));
    }
    inspect::<Sqlite>(&mut connection, &MIGRATIONS, location).await
}

const LOOSE: &str = "SELECT \"table\" || ': a row refers to a row of ' || parent || ' that is not there' FROM pragma_foreign_key_check";

/// What SQLite finds wrong with the file; empty: nothing.
pub(super) async fn integrity(location: &str) -> StoreResult<Vec<String>> {
    let path = checked_path(location)?;
    let failed = |error| error_at(&path, &error);
    let mut connection = match options(&path).create_if_missing(false).connect().await {
        Ok(connection) => connection,
        Err(error) => return damage_or(failed(error)),
    };
    let found: Result<Vec<String>, _> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await;
    let damage = match found {
        Ok(found) => found.into_iter().filter(|line| line != "ok").collect::<Vec<_>>(),
        Err(error) => return damage_or(failed(error)),
    };
    if !damage.is_empty() {
        return Ok(damage);
    }
    sqlx::query_scalar(LOOSE).fetch_all(&mut connection).await.map_err(failed)
}

/// Damage as what a check has found; every other error as it is.
fn damage_or(error: StoreError) -> StoreResult<Vec<String>> {
    if let StoreError::Corrupt(text) = error { Ok(vec![text]) } else { Err(error) }
}

/// What an error means, with what to do about it.
pub(super) fn error_at(path: &Path, error: &sqlx::Error) -> StoreError {
    explained(store_error::<Sqlite>(&path.display().to_string(), error), path)
}

async fn open_with(location: &str, migrator: &Migrator) -> StoreResult<SqlStore<Sqlite>> {
    if location == ":memory:" {
        return in_memory(migrator).await;
    }
    let path = checked_path(location)?;
    let place = path.display().to_string();
    let options = options(&path);
    let mut connection = connected(&options, &place).await.map_err(|error| explained(error, &path))?;
    prepare(&mut connection, &path, migrator).await?;
    connection.close().await.map_err(|error| store_error::<Sqlite>(&place, &error))?;

    let writer = whole(pool(1)).min_connections(1).connect_with(options.clone()).await;
    let writer = writer.map_err(|error| store_error::<Sqlite>(&place, &error))?;
    let readers = whole(pool(READERS)).idle_timeout(Duration::from_secs(60)).connect_lazy_with(options.pragma("query_only", "ON"));
    let store = SqlStore::new(writer, readers, place);
    store.ping().await.map_err(|error| explained(error, &path))?;
    Ok(store)
}

/// Opens the database. Where two processes find an empty file, both want to make it one with a journal written ahead, and SQLite refuses one of
/// them at once instead of letting both wait for each other: that one tries again.
async fn connected(options: &SqliteConnectOptions, place: &str) -> StoreResult<SqliteConnection> {
    let until = Instant::now() + OTHERS_WORK;
    loop {
        let began = Instant::now();
        match options.connect().await.map_err(|error| store_error::<Sqlite>(place, &error)) {
            // One that has waited in vain has met somebody who holds the file for long.
            Err(StoreError::Busy(_)) if began < until && began.elapsed() < BUSY_TIMEOUT / 2 => tokio::time::sleep(PATIENCE).await,
            done => return done,
        }
    }
}

/// One connection that never ends, because the database ends with it.
async fn in_memory(migrator: &Migrator) -> StoreResult<SqlStore<Sqlite>> {
    let place = "memory";
    let failed = |error| store_error::<Sqlite>(place, &error);
    let pool = pool(1).min_connections(1).connect_with(SqliteConnectOptions::new().in_memory(true)).await.map_err(failed)?;
    migrator.run(&pool).await.map_err(|error| migration_error::<Sqlite>(place, &error))?;
    Ok(SqlStore::new(pool.clone(), pool, place.into()))
}

fn pool(connections: u32) -> PoolOptions<Sqlite> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Replaces connections that believe to be in a transaction when they come back. SQLite ends a transaction by itself when the disk is
/// full or fails (<https://www.sqlite.org/lang_transaction.html>, section 2.3); the driver's own rollback then fails, and it would
/// refuse every further transaction on that connection.
fn whole(pool: PoolOptions<Sqlite>) -> PoolOptions<Sqlite> {
    pool.after_release(|connection, _| {
        Box::pin(async move {
            // The rollback of a transaction that was dropped is done before this is answered.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", WAL_BYTES)
        .pragma("cache_size", CACHE)
}

/// The path, when a database can be there.
fn checked_path(location: &str) -> StoreResult<PathBuf> {
    let unusable = |text: String| Err(StoreError::Unusable(text));
    if location.is_empty() {
        return unusable("`sqlite://` names no file: write for example `sqlite:///var/lib/plimsoll/plimsoll.db`".into());
    }
    if location.contains('?') {
        return unusable(format!("`sqlite://{location}`: parameters after `?` are not supported; write only the path"));
    }
    let path = PathBuf::from(location);
    if path.is_dir() {
        return unusable(format!("{location} is a folder: name a file in it, such as {}", path.join("plimsoll.db").display()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return unusable(format!("{location}: the folder {} does not exist; create it first", folder.display()));
    }
    if path.exists() && !is_sqlite_or_empty(&path)? {
        return unusable(format!("{location} is not an SQLite file: name another file, or restore a backup"));
    }
    Ok(path)
}

fn is_sqlite_or_empty(path: &Path) -> StoreResult<bool> {
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start))
        .map_err(|error| StoreError::Unusable(format!("{} cannot be read: {error}", path.display())))?;
    Ok(start.is_empty() || start == MAGIC)
}

/// Makes the schema current, with a copy of the file beside it when that changes something.
async fn prepare(connection: &mut SqliteConnection, path: &Path, migrator: &Migrator) -> StoreResult<()> {
    let place = path.display().to_string();
    if is_foreign(connection, &place).await.map_err(|error| explained(error, path))? {
        return Err(StoreError::Unusable(format!("{place} is a database of another program: name another file")));
    }
    let Schema::Older(found) = inspect::<Sqlite>(connection, migrator, &place).await? else { return Ok(()) };
    let Err(error) = upgrade(connection, path, migrator, found).await else { return Ok(()) };
    // Two processes may start at the same time; the one that comes second waits until the work is done.
    for _ in 0..OTHERS_WORK.as_millis() / PATIENCE.as_millis() {
        if let Ok(Schema::Current) = inspect::<Sqlite>(connection, migrator, &place).await {
            return Ok(());
        }
        tokio::time::sleep(PATIENCE).await;
    }
    Err(explained(error, path))
}

async fn upgrade(connection: &mut SqliteConnection, path: &Path, migrator: &Migrator, found: i64) -> StoreResult<()> {
    if found > 0 {
        back_up(connection, path, found).await?;
    }
    migrator.run(connection).await.map_err(|error| migration_error::<Sqlite>(&path.display().to_string(), &error))
}

async fn is_foreign(connection: &mut SqliteConnection, place: &str) -> StoreResult<bool> {
    const TABLES: &str = "SELECT count(*) FROM sqlite_master WHERE name <> '_sqlx_migrations' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'";
    match schema::number::<Sqlite>(connection, "PRAGMA application_id", place).await? {
        APPLICATION_ID => Ok(false),
        0 => Ok(schema::number::<Sqlite>(connection, TABLES, place).await? > 0),
        _ => Ok(true),
    }
}

/// Copies the database to `FILE.backup-vN`.
async fn back_up(connection: &mut SqliteConnection, path: &Path, version: i64) -> StoreResult<()> {
    copy(connection, &PathBuf::from(format!("{}.backup-v{version}", path.display()))).await
}

/// Copies the database to a file, in place of a former one; the copy is complete before it gets that name.
pub(super) async fn copy(connection: &mut SqliteConnection, to: &Path) -> StoreResult<()> {
    let partial = PathBuf::from(format!("{}.partial", to.display()));
    let failed = |error: std::io::Error| StoreError::Unusable(format!("{}: the backup cannot be written: {error}", to.display()));
    if partial.exists() {
        std::fs::remove_file(&partial).map_err(failed)?;
    }
    let into = sqlx::query("VACUUM INTO $1").bind(partial.display().to_string()).execute(connection).await;
    into.map_err(|error| store_error::<Sqlite>(&to.display().to_string(), &error))?;
    File::open(&partial).and_then(|file| file.sync_all()).map_err(failed)?;
    std::fs::rename(&partial, to).map_err(failed)
}

/// Says what to do about an error at opening.
fn explained(error: StoreError, path: &Path) -> StoreError {
    if let StoreError::Unusable(text) | StoreError::Gone(text) = &error {
        return StoreError::Unusable(format!("{text}: the user that runs Plimsoll must be able to write the file and its folder"));
    }
    if let StoreError::Corrupt(text) = &error {
        let recover = format!("sqlite3 {} .recover", path.display());
        return StoreError::Corrupt(format!("{text}: restore a backup, or save what can be read with `{recover}`"));
    }
    error
}

#[cfg(test)]
mod tests {
    use sqlx::SqlSafeStr;
    use sqlx::migrate::{Migration, MigrationType};

    use super::*;

    /// The program's migrations and one more that changes something.
    fn newer_program(sql: &'static str) -> Migrator {
        let mut migrations: Vec<Migration> = MIGRATIONS.iter().cloned().collect();
        let version = migrations.iter().map(|migration| migration.version).max().unwrap() + 1;
        migrations.push(Migration::new(version, "later".into(), MigrationType::Simple, sql.into_sql_str(), false));
        Migrator::with_migrations(migrations)
    }

    async fn tables(path: &Path) -> Vec<String> {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetch_all(&mut connection).await.unwrap()
    }

    #[tokio::test]
    async fn an_upgrade_that_changes_something_leaves_a_complete_copy_of_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plimsoll.db");
        let location = file.to_str().unwrap();
        open(location).await.unwrap().close().await;
        let latest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap();
        let backup = folder.path().join(format!("plimsoll.db.backup-v{latest}"));
        open(location).await.unwrap().close().await;
        assert!(!backup.exists(), "nothing changed, nothing is copied");

        open_with(location, &newer_program("CREATE TABLE later (id INTEGER)")).await.unwrap().close().await;
        assert!(tables(&file).await.contains(&"later".to_owned()));
        let copied = tables(&backup).await;
        assert!(copied.contains(&"runs".to_owned()) && !copied.contains(&"later".to_owned()), "{copied:?}");
        let refused = open(location).await.err().unwrap();
        assert!(matches!(refused, StoreError::TooNew { found, known } if found == latest + 1 && known == latest), "{refused}");
    }

    #[tokio::test]
    async fn an_upgrade_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plimsoll.db");
        let location = file.to_str().unwrap();
        open(location).await.unwrap().close().await;
        let error =
            open_with(location, &newer_program("CREATE TABLE later (id INTEGER); CREATE TABLE runs (id INTEGER)")).await.err().unwrap();
        assert!(error.to_string().contains("runs already exists"), "{error}");
        assert!(!tables(&file).await.contains(&"later".to_owned()));
        open(location).await.unwrap().ping().await.unwrap();
    }

    #[tokio::test]
    async fn the_file_is_set_up_for_one_writer_that_survives_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plimsoll.db");
        let _store = open(file.to_str().unwrap()).await.unwrap();
        let mut connection = options(&file).connect().await.unwrap();
        for (pragma, expected) in [("PRAGMA auto_vacuum", 2), ("PRAGMA foreign_keys", 1), ("PRAGMA synchronous", 1)] {
            let found: i64 = sqlx::query_scalar(pragma).fetch_one(&mut connection).await.unwrap();
            assert_eq!(found, expected, "{pragma}");
        }
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
        assert_eq!(mode, "wal");
    }
}

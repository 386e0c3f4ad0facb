//! The care of a database apart from the daemon: which version it has, whether it is whole, copies, exports and imports. Works on an
//! address; nothing here is called while runs are stored. docs/storage.md explains the commands that use it.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection};

use super::portable::{self, Counts};
use super::schema::Schema;
use super::{StoreError, StoreResult, postgres, sqlite};

/// The version of a database and that of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Of the database; 0: nothing is there yet.
    pub found: i64,
    /// Newest that this program knows.
    pub known: i64,
}

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong; empty: nothing.
    pub damage: Vec<String>,
    /// Rows by table.
    pub rows: Counts,
}

fn sqlite_path(url: &str) -> Option<&str> {
    url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest))
}

/// Reads the version of a database and changes nothing; `TooNew` when a newer program wrote it.
pub async fn versions(url: &str) -> StoreResult<Versions> {
    let (schema, known) = match sqlite_path(url) {
        Some(path) => (sqlite::look(path).await?, sqlite::known()),
        None => (postgres::look(url).await?, postgres::known()),
    };
    let found = match schema {
        Schema::Current => known,
        Schema::Older(found) => found,
    };
    Ok(Versions { found, known })
}

/// Reads the whole database and says what is wrong with it. Changes nothing but, on an older one, the version.
pub async fn check(url: &str) -> StoreResult<Checked> {
    let mut damage = Vec::new();
    if let Some(path) = sqlite_path(url) {
        damage = sqlite::integrity(path).await?;
        if !damage.is_empty() {
            return Ok(Checked { damage, rows: Counts::new() });
        }
    }
    match export(url, &mut std::io::sink()).await {
        Ok(rows) => Ok(Checked { damage, rows }),
        Err(StoreError::Corrupt(text)) => Ok(Checked { damage: vec![text], rows: Counts::new() }),
        Err(error) => Err(error),
    }
}

/// Writes the whole database as lines of JSON.
pub async fn export(url: &str, out: &mut (dyn Write + Send)) -> StoreResult<Counts> {
    match sqlite_path(url) {
        Some(path) => portable::export(&sqlite::open_sql(path).await?, sqlite::known(), out).await,
        None => portable::export(&postgres::open_sql(url).await?, postgres::known(), out).await,
    }
}

/// Reads an export into a database: all of it or nothing. The database has to be empty, unless `replace` empties it first.
pub async fn import(url: &str, input: &mut (dyn BufRead + Send), replace: bool) -> StoreResult<Counts> {
    match sqlite_path(url) {
        Some(path) => portable::import(&sqlite::open_sql(path).await?, sqlite::known(), input, replace).await,
        None => portable::import(&postgres::open_sql(url).await?, postgres::known(), input, replace).await,
    }
}

/// Copies an SQLite database while it is in use; the copy is complete before it gets its name.
pub async fn copy_sqlite(path: &Path, to: &Path) -> StoreResult<()> {
    let mut connection = sqlite::options(path).create_if_missing(false).connect().await.map_err(|error| sqlite::error_at(path, &error))?;
    sqlite::copy(&mut connection, to).await?;
    connection.close().await.map_err(|error| sqlite::error_at(path, &error))
}

/// Puts a copy in the place of an SQLite database that nobody uses; returns where the former one is now, if there was one.
pub async fn put_back_sqlite(path: &Path, copy: &Path) -> StoreResult<Option<PathBuf>> {
    let versions = versions(&format!("sqlite://{}", copy.display())).await?;
    if versions.found == 0 {
        return Err(StoreError::Unusable(format!("{} is not a database of Plimsoll", copy.display())));
    }
    let damage = sqlite::integrity(&copy.display().to_string()).await?;
    if let Some(first) = damage.first() {
        return Err(StoreError::Corrupt(format!("{}: {first}; nothing was changed", copy.display())));
    }
    let failed = |error: std::io::Error| StoreError::Unusable(format!("{}: the copy cannot be put back: {error}", path.display()));
    let named = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    // A database in use may have its newest rows beside the file: SQLite puts them together here.
    copy_sqlite(copy, &named(".restored")).await?;
    let before = named(".before-restore");
    let existed = path.exists();
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (named(suffix), PathBuf::from(format!("{}{suffix}", before.display())));
        if to.exists() {
            std::fs::remove_file(&to).map_err(failed)?;
        }
        if from.exists() {
            std::fs::rename(&from, &to).map_err(failed)?;
        }
    }
    std::fs::rename(named(".restored"), path).map_err(failed)?;
    Ok(existed.then_some(before))
}

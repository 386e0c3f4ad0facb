//! Versions of the schema: migrations are embedded in the program, go forward only, and a database that a newer program
//! has changed is refused. What a backup before an upgrade is made of is the backend's business.

use futures_util::StreamExt;
use sqlx::migrate::{MigrateError, Migrator};

use super::dialect::{Columns, Dialect};
use super::shared::{arguments, store_error};
use super::{StoreError, StoreResult, sql};

/// How the schema of a database compares to the program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// The same.
    Current,
    /// Older; 0 = nothing there yet.
    Older(i64),
}

/// The version that a program brings a database to.
pub(super) fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Looks at the database; `TooNew` when a newer program changed it.
pub(super) async fn inspect<D: Dialect>(connection: &mut D::Connection, migrator: &Migrator, place: &str) -> StoreResult<Schema> {
    let known = newest(migrator);
    let found = match number::<D>(connection, D::HAS_MIGRATIONS, place).await? {
        0 => 0,
        _ => number::<D>(connection, sql::VERSION, place).await?,
    };
    match found {
        _ if found > known => Err(StoreError::TooNew { found, known }),
        _ if found == known => Ok(Schema::Current),
        _ => Ok(Schema::Older(found)),
    }
}

/// The number that a query gives; 0 for NULL or no row.
pub(super) async fn number<D: Dialect>(connection: &mut D::Connection, sql: &'static str, place: &str) -> StoreResult<i64> {
    let arguments = arguments::<D>(&[])?;
    match D::fetch(connection, sql, arguments).next().await {
        None => Ok(0),
        Some(row) => Ok(Columns::<D>::new(&row.map_err(|error| store_error::<D>(place, &error))?).opt_int()?.unwrap_or(0)),
    }
}

/// What a failed migration means.
pub(super) fn migration_error<D: Dialect>(place: &str, error: &MigrateError) -> StoreError {
    if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
        return store_error::<D>(place, error);
    }
    StoreError::Unusable(format!("{place}: {error}"))
}

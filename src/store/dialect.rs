//! What SQLite and PostgreSQL do differently, and nothing else: how a transaction begins, how values are bound and read,
//! what error codes mean. The statements (`sql.rs`) and everything that uses them are written once, generic over `Dialect`.
//! A new SQL database implements this trait; the values here are the only types that reach a database.

use std::borrow::Cow;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use sqlx::error::BoxDynError;
use sqlx::{Arguments, Column, Database, Postgres, Row, Sqlite};

use super::space::Space;
use super::{StoreError, StoreResult, bundles, sql};
use crate::model::histogram::LatencyHistogram;
use crate::model::run::RunId;
use crate::model::units::Timestamp;

/// Makes a `StoreError` of a message.
pub(super) type ErrorKind = fn(String) -> StoreError;

/// An SQL database behind the shared statements.
pub(super) trait Dialect: Database + Space {
    /// Begins a transaction that writes.
    const BEGIN_WRITE: &'static str;
    /// Begins a transaction that sees one state of the database and writes nothing.
    const BEGIN_READ: &'static str;
    /// Counts 1 when migrations were ever applied.
    const HAS_MIGRATIONS: &'static str;
    /// Leases due messages; see `Store::lease_messages`.
    const LEASE: &'static str;
    /// Enlisted processes, and the database's clock.
    const OWNERS: &'static str;
    /// Enlists a process, or shows that it lives.
    const BEAT: &'static str;
    /// Takes a lease that nobody has.
    const HOLD: &'static str;

    /// Steps of seconds, put together; see `bundles`.
    const BUNDLES: &'static str;

    /// Tables, their columns and the types of these, in their order.
    const TABLES: &'static str;
    /// Tables and those that they refer to.
    const REFERENCES: &'static str;
    /// What an INSERT needs to set a number that the database would give.
    const OVERRIDING: &'static str;
    /// Gives statements that have to be run after rows were inserted with such numbers.
    const AFTER_IMPORT: &'static str;

    /// Adds a value to the arguments of a statement.
    fn bind(arguments: &mut Self::Arguments, value: &Value<'_>) -> Result<(), BoxDynError>;
    /// Runs a statement; returns the number of rows it changed.
    fn execute<'e>(
        connection: &'e mut Self::Connection,
        sql: &'static str,
        arguments: Self::Arguments,
    ) -> BoxFuture<'e, Result<u64, sqlx::Error>>;
    /// Runs a query.
    fn fetch<'e>(
        connection: &'e mut Self::Connection,
        sql: &'static str,
        arguments: Self::Arguments,
    ) -> BoxStream<'e, Result<Self::Row, sqlx::Error>>;
    /// Runs a statement that was put together, of names from the database's catalog only.
    fn execute_made(connection: &mut Self::Connection, sql: String, arguments: Self::Arguments) -> BoxFuture<'_, Result<u64, sqlx::Error>>;
    /// Runs a query that was put together, of names from the database's catalog only.
    fn fetch_made(connection: &mut Self::Connection, sql: String) -> BoxStream<'_, Result<Self::Row, sqlx::Error>>;
    /// Reads a whole number.
    fn int(row: &Self::Row, index: usize) -> Result<Option<i64>, sqlx::Error>;
    /// Reads a number.
    fn real(row: &Self::Row, index: usize) -> Result<Option<f64>, sqlx::Error>;
    /// Reads a text.
    fn text(row: &Self::Row, index: usize) -> Result<Option<&str>, sqlx::Error>;
    /// Reads bytes.
    fn blob(row: &Self::Row, index: usize) -> Result<Option<&[u8]>, sqlx::Error>;
    /// What an error code of the database means to us.
    fn error_kind(code: &str) -> ErrorKind;
}

/// A value on its way into the database.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    /// Whole number.
    Int(Option<i64>),
    /// Number.
    Real(Option<f64>),
    /// Text.
    Text(Option<Cow<'a, str>>),
    /// Bytes.
    Blob(Option<Vec<u8>>),
}

impl<'a> Value<'a> {
    /// A text as both databases can keep it: PostgreSQL has no NUL in texts.
    fn clean(text: Cow<'a, str>) -> Self {
        Self::Text(Some(if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }))
    }

    /// A histogram in packed form; NULL when it is empty.
    pub(super) fn histogram(histogram: &LatencyHistogram) -> Self {
        Self::Blob((!histogram.is_empty()).then(|| histogram.to_packed()))
    }

    /// The same of one that is read with `beside` at hand.
    pub(super) fn histogram_beside(histogram: &LatencyHistogram, beside: &LatencyHistogram) -> Self {
        Self::Blob((!histogram.is_empty()).then(|| histogram.to_packed_beside(beside)))
    }
}

macro_rules! values {
    ($( $from:ty => |$name:ident| $value:expr ),* $(,)?) => {
        $( impl<'a> From<$from> for Value<'a> { fn from($name: $from) -> Self { $value } } )*
    };
}

values! {
    i64 => |number| Self::Int(Some(number)),
    u64 => |number| Self::Int(Some(i64::try_from(number).unwrap_or(i64::MAX))),
    u32 => |number| Self::Int(Some(i64::from(number))),
    u16 => |number| Self::Int(Some(i64::from(number))),
    Option<i64> => |number| Self::Int(number),
    Option<u32> => |number| Self::Int(number.map(i64::from)),
    Timestamp => |at| Self::Int(Some(at.0)),
    Option<Timestamp> => |at| Self::Int(at.map(|at| at.0)),
    Option<f64> => |number| Self::Real(number.filter(|number| number.is_finite())),
    &'a str => |text| Self::clean(Cow::Borrowed(text)),
    &'a String => |text| Self::clean(Cow::Borrowed(text)),
    String => |text| Self::clean(Cow::Owned(text)),
    &'a RunId => |id| Self::clean(Cow::Borrowed(&id.0)),
    Option<&'a str> => |text| text.map_or(Self::Text(None), Self::from),
    &'a Option<String> => |text| Self::from(text.as_deref()),
    Option<String> => |text| text.map_or(Self::Text(None), Self::from),
    &'a Option<RunId> => |id| Self::from(id.as_ref().map(|id| id.0.as_str())),
}

/// The arguments of a statement, each turned into a [`Value`].
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::store::dialect::Value::from($value)),*] };
}
pub(super) use params;

/// The columns of a row, read from left to right.
pub(super) struct Columns<'r, D: Dialect> {
    row: &'r D::Row,
    next: usize,
}

impl<'r, D: Dialect> Columns<'r, D> {
    pub(super) fn new(row: &'r D::Row) -> Self {
        Self { row, next: 0 }
    }

    /// Reads the next column with `read`.
    fn take<T>(&mut self, read: impl FnOnce(&'r D::Row, usize) -> Result<T, sqlx::Error>) -> StoreResult<T> {
        let index = self.next;
        self.next += 1;
        read(self.row, index).map_err(|error| self.damaged(error))
    }

    /// The error of the column that was read last.
    fn damaged(&self, why: impl std::fmt::Display) -> StoreError {
        self.damaged_at(self.next.saturating_sub(1), why)
    }

    /// The error of the column that many before the next one.
    pub(super) fn damaged_before(&self, columns: usize, why: impl std::fmt::Display) -> StoreError {
        self.damaged_at(self.next.saturating_sub(columns), why)
    }

    fn damaged_at(&self, column: usize, why: impl std::fmt::Display) -> StoreError {
        let name = self.row.columns().get(column).map_or("?", Column::name);
        StoreError::Corrupt(format!("column {name}: {why}"))
    }

    fn some<T>(&self, value: Option<T>) -> StoreResult<T> {
        value.ok_or_else(|| self.damaged("is NULL"))
    }

    pub(super) fn opt_int(&mut self) -> StoreResult<Option<i64>> {
        self.take(D::int)
    }

    pub(super) fn int(&mut self) -> StoreResult<i64> {
        let value = self.opt_int()?;
        self.some(value)
    }

    /// A whole number that fits `T`.
    pub(super) fn number<T: TryFrom<i64>>(&mut self) -> StoreResult<T> {
        let value = self.int()?;
        T::try_from(value).map_err(|_| self.damaged(format_args!("{value} is out of range")))
    }

    pub(super) fn opt_number<T: TryFrom<i64>>(&mut self) -> StoreResult<Option<T>> {
        let value = self.opt_int()?;
        value.map(|value| T::try_from(value).map_err(|_| self.damaged(format_args!("{value} is out of range")))).transpose()
    }

    pub(super) fn time(&mut self) -> StoreResult<Timestamp> {
        self.int().map(Timestamp)
    }

    pub(super) fn opt_time(&mut self) -> StoreResult<Option<Timestamp>> {
        Ok(self.opt_int()?.map(Timestamp))
    }

    pub(super) fn opt_real(&mut self) -> StoreResult<Option<f64>> {
        self.take(D::real)
    }

    pub(super) fn opt_text(&mut self) -> StoreResult<Option<&'r str>> {
        self.take(D::text)
    }

    pub(super) fn text(&mut self) -> StoreResult<&'r str> {
        let value = self.opt_text()?;
        self.some(value)
    }

    pub(super) fn string(&mut self) -> StoreResult<String> {
        self.text().map(Into::into)
    }

    pub(super) fn opt_string(&mut self) -> StoreResult<Option<String>> {
        Ok(self.opt_text()?.map(Into::into))
    }

    pub(super) fn opt_run(&mut self) -> StoreResult<Option<RunId>> {
        Ok(self.opt_string()?.map(RunId))
    }

    /// One of a few words; `parse` is `T::parse` of a `choice!`.
    pub(super) fn word<T>(&mut self, parse: fn(&str) -> Option<T>) -> StoreResult<T> {
        let word = self.text()?;
        parse(word).ok_or_else(|| self.damaged(format_args!("unknown word `{word}`")))
    }

    pub(super) fn opt_word<T>(&mut self, parse: fn(&str) -> Option<T>) -> StoreResult<Option<T>> {
        let word = self.opt_text()?;
        word.map(|word| parse(word).ok_or_else(|| self.damaged(format_args!("unknown word `{word}`")))).transpose()
    }

    /// JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> StoreResult<T> {
        let text = self.text()?;
        serde_json::from_str(text).map_err(|error| self.damaged(error))
    }

    /// JSON, or NULL.
    pub(super) fn opt_json<T: serde::de::DeserializeOwned>(&mut self) -> StoreResult<Option<T>> {
        let text = self.opt_text()?;
        text.map(|text| serde_json::from_str(text).map_err(|error| self.damaged(error))).transpose()
    }

    pub(super) fn opt_blob(&mut self) -> StoreResult<Option<&'r [u8]>> {
        self.take(D::blob)
    }

    /// A histogram; NULL is an empty one.
    pub(super) fn histogram(&mut self) -> StoreResult<LatencyHistogram> {
        match self.opt_blob()? {
            None => Ok(LatencyHistogram::default()),
            Some(bytes) => LatencyHistogram::from_bytes(bytes).ok_or_else(|| self.damaged("is not a histogram")),
        }
    }
}

/// What sqlx offers only per concrete database: the same text for each.
macro_rules! sqlx_calls {
    () => {
        fn bind(arguments: &mut Self::Arguments, value: &Value<'_>) -> Result<(), BoxDynError> {
            match value {
                Value::Int(number) => Arguments::add(arguments, *number),
                Value::Real(number) => Arguments::add(arguments, *number),
                Value::Text(text) => Arguments::add(arguments, text.as_deref()),
                Value::Blob(bytes) => Arguments::add(arguments, bytes.as_deref()),
            }
        }

        fn execute<'e>(
            connection: &'e mut Self::Connection,
            sql: &'static str,
            arguments: Self::Arguments,
        ) -> BoxFuture<'e, Result<u64, sqlx::Error>> {
            Box::pin(async move {
                let done = sqlx::query_with::<Self, _>(sql, arguments).execute(connection).await?;
                Ok(done.rows_affected())
            })
        }

        fn fetch<'e>(
            connection: &'e mut Self::Connection,
            sql: &'static str,
            arguments: Self::Arguments,
        ) -> BoxStream<'e, Result<Self::Row, sqlx::Error>> {
            sqlx::query_with::<Self, _>(sql, arguments).fetch(connection).boxed()
        }

        fn execute_made(
            connection: &mut Self::Connection,
            sql: String,
            arguments: Self::Arguments,
        ) -> BoxFuture<'_, Result<u64, sqlx::Error>> {
            Box::pin(async move {
                let done = sqlx::query_with::<Self, _>(sqlx::AssertSqlSafe(sql), arguments).execute(connection).await?;
                Ok(done.rows_affected())
            })
        }

        fn fetch_made(connection: &mut Self::Connection, sql: String) -> BoxStream<'_, Result<Self::Row, sqlx::Error>> {
            sqlx::query::<Self>(sqlx::AssertSqlSafe(sql)).fetch(connection).boxed()
        }

        fn int(row: &Self::Row, index: usize) -> Result<Option<i64>, sqlx::Error> {
            row.try_get(index)
        }

        fn real(row: &Self::Row, index: usize) -> Result<Option<f64>, sqlx::Error> {
            row.try_get(index)
        }

        fn text(row: &Self::Row, index: usize) -> Result<Option<&str>, sqlx::Error> {
            row.try_get(index)
        }

        fn blob(row: &Self::Row, index: usize) -> Result<Option<&[u8]>, sqlx::Error> {
            row.try_get(index)
        }
    };
}

impl Dialect for Sqlite {
    // Takes the write lock at once, so that waiting for it is covered by the busy timeout.
    const BEGIN_WRITE: &'static str = "BEGIN IMMEDIATE";
    const BEGIN_READ: &'static str = "BEGIN";
    const HAS_MIGRATIONS: &'static str = "SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    const LEASE: &'static str = sql::LEASE_SQLITE;
    const OWNERS: &'static str = sql::OWNERS_SQLITE;
    const BEAT: &'static str = sql::BEAT_SQLITE;
    const HOLD: &'static str = sql::HOLD_SQLITE;
    const BUNDLES: &'static str = bundles::SQLITE;
    const TABLES: &'static str = "SELECT m.name, c.name, lower(c.type) FROM sqlite_master m JOIN pragma_table_info(m.name) c \
        WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY m.name, c.cid";
    const REFERENCES: &'static str = "SELECT m.name, f.\"table\" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f \
        WHERE m.type = 'table'";
    const OVERRIDING: &'static str = "";
    const AFTER_IMPORT: &'static str = "SELECT '' WHERE 1 = 0";

    sqlx_calls!();

    /// Primary result codes, <https://www.sqlite.org/rescode.html>; the low byte of the extended code.
    fn error_kind(code: &str) -> ErrorKind {
        match code.parse::<i32>().map(|code| (code, code & 0xff)) {
            // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE
            Ok((1555 | 2067, _)) => StoreError::Duplicate,
            // BUSY, LOCKED
            Ok((_, 5 | 6)) => StoreError::Busy,
            // IOERR, and a file that moved away
            Ok((_, 10)) => StoreError::Gone,
            Ok((_, 13)) => StoreError::Full,
            // PERM, READONLY, CANTOPEN, AUTH
            Ok((_, 3 | 8 | 14 | 23)) => StoreError::Unusable,
            // CORRUPT, NOTADB
            Ok((_, 11 | 26)) => StoreError::Corrupt,
            _ => StoreError::Other,
        }
    }
}

impl Dialect for Postgres {
    const BEGIN_WRITE: &'static str = "BEGIN";
    const BEGIN_READ: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    const HAS_MIGRATIONS: &'static str = "SELECT count(to_regclass('_sqlx_migrations'))";
    const LEASE: &'static str = sql::LEASE_POSTGRES;
    const OWNERS: &'static str = sql::OWNERS_POSTGRES;
    const BEAT: &'static str = sql::BEAT_POSTGRES;
    const HOLD: &'static str = sql::HOLD_POSTGRES;
    const BUNDLES: &'static str = bundles::POSTGRES;
    const TABLES: &'static str = "SELECT t.relname::text, a.attname::text, format_type(a.atttypid, NULL) FROM pg_class t \
        JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped \
        WHERE n.nspname = current_schema() AND t.relkind IN ('r', 'p') AND NOT t.relispartition ORDER BY t.relname, a.attnum";
    const REFERENCES: &'static str = "SELECT t.relname::text, o.relname::text FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid \
        JOIN pg_class o ON o.oid = c.confrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
        WHERE c.contype = 'f' AND n.nspname = current_schema()";
    const OVERRIDING: &'static str = " OVERRIDING SYSTEM VALUE";
    const AFTER_IMPORT: &'static str = "SELECT format('SELECT setval(pg_get_serial_sequence(%L, %L), coalesce(max(%I), 0) + 1, false) FROM %I', \
        quote_ident(t.relname), a.attname, a.attname, t.relname) FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace \
        JOIN pg_attribute a ON a.attrelid = t.oid WHERE n.nspname = current_schema() AND a.attidentity <> '' AND NOT t.relispartition";

    sqlx_calls!();

    /// SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn error_kind(code: &str) -> ErrorKind {
        match code {
            "23505" => StoreError::Duplicate,
            // serialization failure, deadlock, lock not available, cancelled by a timeout, too many connections, out of memory
            "40001" | "40P01" | "55P03" | "57014" | "53300" | "53200" => StoreError::Busy,
            "53100" => StoreError::Full,
            // shutdowns, starting up, a standby
            "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "25P03" => StoreError::Gone,
            // no such database, no such schema, missing rights, wrong role or password
            "3D000" | "3F000" | "42501" => StoreError::Unusable,
            _ if code.starts_with("28") => StoreError::Unusable,
            _ if code.starts_with("08") => StoreError::Gone,
            "XX001" | "XX002" => StoreError::Corrupt,
            _ => StoreError::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_waiting_helps() {
        let sqlite = |code| Sqlite::error_kind(code)(String::new());
        let postgres = |code| Postgres::error_kind(code)(String::new());
        for passing in [sqlite("5"), sqlite("261"), sqlite("517"), sqlite("6"), sqlite("13"), sqlite("778")] {
            assert!(passing.is_passing(), "{passing}");
        }
        for passing in ["40001", "40P01", "55P03", "57014", "53100", "57P01", "57P03", "08006", "53300"].map(postgres) {
            assert!(passing.is_passing(), "{passing}");
        }
        for lasting in [sqlite("2067"), sqlite("1555"), sqlite("11"), sqlite("26"), sqlite("8"), sqlite("14"), sqlite("1")] {
            assert!(!lasting.is_passing(), "{lasting}");
        }
        for lasting in ["23505", "42501", "28P01", "3D000", "42P01", "XX001"].map(postgres) {
            assert!(!lasting.is_passing(), "{lasting}");
        }
        assert!(matches!(sqlite("2067"), StoreError::Duplicate(_)));
        assert!(matches!(postgres("53100"), StoreError::Full(_)));
        assert!(matches!(sqlite("26"), StoreError::Corrupt(_)));
    }

    #[test]
    fn what_one_database_cannot_keep_neither_keeps() {
        assert!(matches!(Value::from("a\0b"), Value::Text(Some(text)) if text == "a\u{fffd}b"));
        assert!(matches!(Value::from(Some(f64::NAN)), Value::Real(None)));
    }
}

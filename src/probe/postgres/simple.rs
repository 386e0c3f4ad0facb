//! PostgreSQL's simple protocol, for servers and poolers alike: several statements in one message, every value as text, rows by name.
//! Bounded: a server that answers with more rows than anybody asked for is not read to the end.

use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Either, PgConnection, Row as _, ValueRef};

use crate::probe::ProbeError;
use crate::probe::one_connection::Failed;

/// Most rows of one question.
const MOST_ROWS: usize = 20_000;

/// One row; values are looked up by the names of their columns.
pub(in crate::probe) struct Row(PgRow);

impl Row {
    /// A value as text; `None` when it is NULL or there is no such column.
    pub(in crate::probe) fn text(&self, column: &str) -> Option<String> {
        let value = self.0.try_get_raw(column).ok()?;
        if value.is_null() { None } else { value.as_str().ok().map(str::to_owned) }
    }

    /// A value as a number.
    pub(in crate::probe) fn number(&self, column: &str) -> Option<f64> {
        self.text(column)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A truth value.
    pub(in crate::probe) fn is(&self, column: &str) -> bool {
        self.text(column).as_deref() == Some("t")
    }
}

/// Connects. Nothing is sent that a pooler would refuse, and no statement is logged.
pub(in crate::probe) async fn connect(options: PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let options = options.extra_float_digits(None).statement_cache_capacity(0).application_name("plimsoll");
    options.disable_statement_logging().connect().await
}

/// The rows of every statement of `sql`, in order.
pub(in crate::probe) async fn ask(connection: &mut PgConnection, sql: String) -> Result<Vec<Vec<Row>>, Failed> {
    let mut answers = Vec::new();
    let mut rows = Vec::new();
    let mut all = 0;
    let mut stream = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(connection);
    loop {
        match stream.try_next().await.map_err(|error| failed(&error))? {
            Some(Either::Left(_)) => answers.push(std::mem::take(&mut rows)),
            Some(Either::Right(row)) => {
                all += 1;
                if all > MOST_ROWS {
                    let detail = format!("more than {MOST_ROWS} rows where fewer were asked for");
                    return Err(Failed::broken(ProbeError { reason: "parse", detail }));
                }
                rows.push(Row(row));
            }
            None => return Ok(answers),
        }
    }
}

/// The code (SQLSTATE) of what a server said.
pub(in crate::probe) fn code_of(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned()
}

/// What an error means for the reading and for the connection.
pub(in crate::probe) fn failed(error: &sqlx::Error) -> Failed {
    if let Some(said) = error.as_database_error() {
        let code = code_of(error);
        let reason = match code.as_str() {
            "28P01" | "28000" | "42501" => "permission",
            "57014" | "55P03" | "25P03" => "timeout",
            "3D000" | "42P01" | "42703" | "42883" => "missing",
            "08P01" => "parse",
            _ => "connect",
        };
        let error = ProbeError { reason, detail: format!("{} ({code})", said.message()) };
        // Classes 08, 53 and 57P end the session; the others end the statement.
        let broken = code.starts_with("08") || code.starts_with("57P") || code == "25P03" || code.is_empty();
        return Failed { error, broken };
    }
    let reason = if matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_)) { "connect" } else { "parse" };
    Failed::broken(ProbeError { reason, detail: error.to_string() })
}

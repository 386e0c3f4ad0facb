//! The whole database as a stream of text, and back: from SQLite to PostgreSQL, the other way, or to a later version. The form is in
//! docs/storage.md under "Exports". Tables and columns come from the database's own catalog, so that no table is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::dialect::{Columns, Dialect, Value};
use super::shared::{SqlStore, Tx};
use super::{StoreError, StoreResult};

/// Version of the form.
const FORM: u32 = 1;
const FORMAT: &str = "plimsoll-export";
/// Tables about processes at work, which are none of another database's business.
const LEFT_OUT: &[&str] = &["owners", "leases", "_sqlx_migrations"];
/// A table that a fresh database has rows in.
const PREPARED: &str = "store_meta";

/// Rows by table.
pub type Counts = BTreeMap<String, u64>;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    schema: i64,
    program: String,
}

#[derive(Serialize, Deserialize)]
struct TableLine {
    table: String,
    columns: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: Counts,
}

/// A line that is not a row.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Row(Vec<Json>),
    Table(TableLine),
    End(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Real,
    Text,
    Blob,
}

#[derive(Debug, Default)]
struct Table {
    columns: Vec<(String, Kind)>,
    refers_to: BTreeSet<String>,
}

impl Table {
    fn names(&self) -> Vec<String> {
        self.columns.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn kind_of(table: &str, column: &str, word: &str) -> StoreResult<Kind> {
    match word {
        "integer" | "bigint" => Ok(Kind::Int),
        "real" | "double precision" => Ok(Kind::Real),
        "text" => Ok(Kind::Text),
        "blob" | "bytea" => Ok(Kind::Blob),
        _ => Err(StoreError::Other(format!("column {table}.{column} has the type {word}, which cannot be exported"))),
    }
}

/// Tables of the database with their columns.
async fn tables<D: Dialect>(tx: &mut Tx<'_, D>) -> StoreResult<BTreeMap<String, Table>> {
    let columns = tx.list(D::TABLES, &[], |row| Ok((row.string()?, row.string()?, row.string()?))).await?;
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for (table, column, word) in columns.into_iter().filter(|(table, ..)| !LEFT_OUT.contains(&table.as_str())) {
        let kind = kind_of(&table, &column, &word)?;
        tables.entry(table).or_default().columns.push((column, kind));
    }
    for (table, other) in tx.list(D::REFERENCES, &[], |row| Ok((row.string()?, row.string()?))).await? {
        if let Some(table) = tables.get_mut(&table).filter(|_| table != other) {
            table.refers_to.insert(other);
        }
    }
    Ok(tables)
}

/// Names in such an order that a table comes after those it refers to.
fn in_order(tables: &BTreeMap<String, Table>) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    while order.len() < tables.len() {
        let ready = |table: &Table| table.refers_to.iter().all(|other| order.contains(other) || !tables.contains_key(other));
        let next: Vec<String> =
            tables.iter().filter(|(name, table)| !order.contains(name) && ready(table)).map(|(name, _)| name.clone()).collect();
        if next.is_empty() {
            order.extend(tables.keys().filter(|name| !order.contains(name)).cloned().collect::<Vec<_>>());
        }
        order.extend(next);
    }
    order
}

/// Writes everything, as it is at one moment, one JSON value a line.
pub(super) async fn export<D: Dialect>(store: &SqlStore<D>, schema: i64, out: &mut (dyn Write + Send)) -> StoreResult<Counts> {
    let mut tx = store.reading().await?;
    let tables = tables(&mut tx).await?;
    let program = env!("CARGO_PKG_VERSION").to_owned();
    line(out, &Header { format: FORMAT.into(), version: FORM, schema, program })?;
    let mut counts = Counts::new();
    for name in in_order(&tables) {
        let Some(table) = tables.get(&name) else { continue };
        line(out, &TableLine { table: name.clone(), columns: table.names() })?;
        let statement = format!("SELECT {} FROM {}", quoted(&table.names()), quoted(std::slice::from_ref(&name)));
        let mut count = 0;
        tx.list_made(statement, |row| {
            count += 1;
            line(out, &read_row(row, &table.columns)?)
        })
        .await?;
        counts.insert(name, count);
    }
    line(out, &End { end: counts.clone() })?;
    Ok(counts)
}

fn line<T: Serialize>(out: &mut (dyn Write + Send), value: &T) -> StoreResult<()> {
    let written = serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from).and_then(|()| out.write_all(b"\n"));
    written.map_err(|error| StoreError::Unusable(format!("the export cannot be written: {error}")))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn read_row<D: Dialect>(row: &mut Columns<'_, D>, columns: &[(String, Kind)]) -> StoreResult<Vec<Json>> {
    columns
        .iter()
        .map(|(_, kind)| {
            Ok(match kind {
                Kind::Int => row.opt_int()?.map(Json::from),
                Kind::Real => row.opt_real()?.map(Json::from),
                Kind::Text => row.opt_text()?.map(Json::from),
                Kind::Blob => row.opt_blob()?.map(|bytes| serde_json::json!({ "base64": BASE64.encode(bytes) })),
            }
            .unwrap_or(Json::Null))
        })
        .collect()
}

/// Reads an export into a database: all of it or nothing. The database has to be empty, unless `replace` empties it first.
pub(super) async fn import<D: Dialect>(
    store: &SqlStore<D>,
    known: i64,
    input: &mut (dyn BufRead + Send),
    replace: bool,
) -> StoreResult<Counts> {
    let mut lines = input.lines();
    check_header(&next_line(&mut lines)?.ok_or_else(|| damaged("it is empty"))?, known)?;
    let mut tx = store.writing().await?;
    let tables = tables(&mut tx).await?;
    make_room(&mut tx, &tables, replace).await?;
    let mut counts = Counts::new();
    let mut current: Option<(String, String, Vec<Kind>)> = None;
    loop {
        let text = next_line(&mut lines)?.ok_or_else(|| damaged("its end is missing"))?;
        match serde_json::from_str::<Line>(&text).map_err(|error| damaged(&error.to_string()))? {
            Line::Table(table) => {
                counts.insert(table.table.clone(), 0);
                current = Some(insert_into::<D>(&tables, table)?);
            }
            Line::Row(row) => {
                let (table, statement, kinds) = current.as_ref().ok_or_else(|| damaged("a row stands before its table"))?;
                if row.len() != kinds.len() {
                    return Err(damaged(&format!("a row of {table} has {} values instead of {}", row.len(), kinds.len())));
                }
                let values: StoreResult<Vec<Value<'_>>> = row.iter().zip(kinds).map(|(value, kind)| value_of(value, *kind)).collect();
                tx.execute_made(statement.clone(), &values?).await?;
                *counts.entry(table.clone()).or_default() += 1;
            }
            Line::End(end) => {
                if end.end != counts {
                    return Err(damaged("its rows are not those that its end counts"));
                }
                break;
            }
        }
    }
    super::lines::make_missing(&mut tx).await?;
    for (statement,) in tx.list(D::AFTER_IMPORT, &[], |row| Ok((row.string()?,))).await? {
        tx.list_made(statement, |_| Ok(())).await?;
    }
    tx.commit().await?;
    Ok(counts)
}

fn damaged(why: &str) -> StoreError {
    StoreError::Corrupt(format!("the export is damaged or was made by something else: {why}; nothing was changed"))
}

fn next_line(lines: &mut dyn Iterator<Item = std::io::Result<String>>) -> StoreResult<Option<String>> {
    lines.next().transpose().map_err(|error| damaged(&error.to_string()))
}

fn check_header(text: &str, known: i64) -> StoreResult<()> {
    let header: Header = serde_json::from_str(text).map_err(|_| damaged("its first line is not that of an export"))?;
    if header.format != FORMAT || header.version > FORM {
        return Err(damaged(&format!("it has the form {} {}, this program knows {FORMAT} {FORM}", header.format, header.version)));
    }
    if header.schema > known {
        return Err(StoreError::TooNew { found: header.schema, known });
    }
    Ok(())
}

/// Sees to it that nothing is there.
async fn make_room<D: Dialect>(tx: &mut Tx<'_, D>, tables: &BTreeMap<String, Table>, replace: bool) -> StoreResult<()> {
    for name in in_order(tables).iter().rev() {
        let table = quoted(std::slice::from_ref(name));
        let mut found = false;
        tx.list_made(format!("SELECT 1 FROM {table} LIMIT 1"), |_| {
            found = true;
            Ok(())
        })
        .await?;
        if found && !replace && name != PREPARED {
            return Err(StoreError::Unusable(format!(
                "the database is not empty (table {name}): import into an empty one, or give `--replace` to lose what is there"
            )));
        }
        tx.execute_made(format!("DELETE FROM {table}"), &[]).await?;
    }
    Ok(())
}

/// The statement that adds a row of a table of the export, and what its columns hold.
fn insert_into<D: Dialect>(tables: &BTreeMap<String, Table>, line: TableLine) -> StoreResult<(String, String, Vec<Kind>)> {
    let unknown = |what: &str| damaged(&format!("this program has no {what}"));
    let table = tables.get(&line.table).ok_or_else(|| unknown(&format!("table {}", line.table)))?;
    let kinds: StoreResult<Vec<Kind>> = line
        .columns
        .iter()
        .map(|wanted| {
            let column = table.columns.iter().find(|(name, _)| name == wanted);
            column.map(|(_, kind)| *kind).ok_or_else(|| unknown(&format!("column {}.{wanted}", line.table)))
        })
        .collect();
    let places: Vec<String> = (1..=line.columns.len()).map(|place| format!("${place}")).collect();
    let (name, columns) = (quoted(std::slice::from_ref(&line.table)), quoted(&line.columns));
    let statement = format!("INSERT INTO {name} ({columns}){} VALUES ({})", D::OVERRIDING, places.join(", "));
    Ok((line.table, statement, kinds?))
}

fn value_of(value: &Json, kind: Kind) -> StoreResult<Value<'_>> {
    let wrong = || damaged(&format!("{value} is not what its column holds"));
    if value.is_null() {
        return Ok(match kind {
            Kind::Int => Value::Int(None),
            Kind::Real => Value::Real(None),
            Kind::Text => Value::Text(None),
            Kind::Blob => Value::Blob(None),
        });
    }
    match kind {
        Kind::Int => value.as_i64().map(|number| Value::Int(Some(number))),
        Kind::Real => value.as_f64().map(|number| Value::Real(Some(number))),
        Kind::Text => value.as_str().map(Value::from),
        Kind::Blob => value["base64"].as_str().and_then(|text| BASE64.decode(text).ok()).map(|bytes| Value::Blob(Some(bytes))),
    }
    .ok_or_else(wrong)
}

//! What was captured during runs: what it is as JSON, its content as it came; with the statements, the same on both databases.

use super::StoreResult;
use super::dialect::{Dialect, Value, params};
use super::runs::Key;
use super::shared::{Tx, json};
use crate::model::capture::Captured;
use crate::model::run::RunId;

const SAVE: &str = "INSERT INTO captures (run, number, about, content) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (run, number) DO UPDATE SET about = excluded.about, content = excluded.content";
const LIST: &str = "SELECT c.about FROM captures c JOIN runs r ON r.num = c.run WHERE r.id = $1 ORDER BY c.number";
const ONE: &str = "SELECT c.about, c.content FROM captures c JOIN runs r ON r.num = c.run WHERE r.id = $1 AND c.number = $2";

pub(super) async fn save<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, captured: &Captured, content: Option<&[u8]>) -> StoreResult<()> {
    let key = Key::of(tx, run).await?.num;
    let mut values = params![key, captured.number, json(captured)?].to_vec();
    values.push(Value::Blob(content.map(<[u8]>::to_vec)));
    tx.execute(SAVE, &values).await.map(drop)
}

pub(super) async fn list<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId) -> StoreResult<Vec<Captured>> {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the bare method is not general over the row's lifetime")]
    tx.list(LIST, params![run], |row| row.json()).await
}

pub(super) async fn one<D: Dialect>(tx: &mut Tx<'_, D>, run: &RunId, number: u32) -> StoreResult<Option<(Captured, Vec<u8>)>> {
    tx.first(ONE, params![run, number], |row| Ok((row.json()?, row.opt_blob()?.unwrap_or_default().to_vec()))).await
}

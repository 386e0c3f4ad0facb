//! Rows that iterations take values from, as written under `data:`.

use crate::model::flow::{AtEnd, Pick};
use crate::registry::{FilePath, Node, Spanned};
use crate::settings;

settings! {
    /// Rows, from one of `csv`, `json`, `rows`; `${NAME.COLUMN}` is a value of the row that an iteration got.
    pub(crate) struct DataKeys titled "data" {
        /// File of comma-separated values whose first line names the columns.
        csv: optional Spanned<FilePath>,
        /// File with a JSON list of objects.
        json: optional Spanned<FilePath>,
        /// The rows themselves: a list of mappings.
        rows: optional Spanned<Node>,
        /// Which row an iteration gets: the next (one count for all VUs), any, the next of a shuffled round, or one per VU that it keeps.
        pick: default Pick = Pick::Sequential,
        /// What comes after the last row: the first again, or nothing: VUs that need one end, and starts that find none are dropped. Without it: `recycle`.
        at_end: optional Spanned<AtEnd>,
    }
}

//! Reads the cases of a folder: `index.json`, and of each case its table of numbers (an empty field is a missing sample) and what is
//! expected of it.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A line of `index.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Entry {
    /// Name of the case and of its two files.
    #[serde(rename = "case")]
    pub(crate) name: String,
    /// What sort of case it is.
    pub(crate) kind: String,
}

/// A case: its numbers and what is known of them.
#[derive(Debug)]
pub(crate) struct Case {
    header: Vec<String>,
    rows: Vec<Vec<Option<f64>>>,
    json: Value,
}

/// The cases of a folder, in the order of its index.
pub(crate) fn index(folder: &Path) -> Result<Vec<Entry>, String> {
    let path = folder.join("index.json");
    serde_json::from_str(&text(&path)?).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

impl Case {
    /// Reads `NAME.csv` and `NAME.json`.
    pub(crate) fn read(folder: &Path, entry: &Entry) -> Result<Self, String> {
        let path = folder.join(format!("{}.json", entry.name));
        let json = serde_json::from_str(&text(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        let path = folder.join(format!("{}.csv", entry.name));
        let mut reader = csv::Reader::from_path(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let header = reader.headers().map_err(|error| error.to_string())?.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| format!("{}: {error}", path.display()))?;
            rows.push(record.iter().map(number).collect::<Result<_, String>>()?);
        }
        Ok(Self { header, rows, json })
    }

    /// One column, `None` where a sample is missing.
    pub(crate) fn column(&self, name: &str) -> Result<Vec<Option<f64>>, String> {
        let at = self.header.iter().position(|column| column == name).ok_or_else(|| format!("no column `{name}`"))?;
        Ok(self.rows.iter().map(|row| row.get(at).copied().flatten()).collect())
    }

    /// What other implementations say, at a JSON pointer below `expected` such as `/mann_kendall/p`; `None` when absent or null.
    pub(crate) fn expected(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(&format!("/expected{pointer}")).filter(|value| !value.is_null())
    }

    /// The same, as a number.
    pub(crate) fn number(&self, pointer: &str) -> Option<f64> {
        self.expected(pointer).and_then(Value::as_f64)
    }

    /// What is known to be true of the case, at a JSON pointer below `truth`; `None` when absent or null.
    pub(crate) fn truth(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(&format!("/truth{pointer}")).filter(|value| !value.is_null())
    }
}

fn number(field: &str) -> Result<Option<f64>, String> {
    let field = field.trim();
    if field.is_empty() {
        return Ok(None);
    }
    field.parse().map(Some).map_err(|_| format!("not a number: {field}"))
}

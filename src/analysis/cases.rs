//! Reads the reference cases under `tests/data/cases` for unit tests: a table of numbers and what is known of it.

use std::path::Path;

/// A case.
pub(super) struct Case {
    header: Vec<String>,
    rows: Vec<Vec<f64>>,
    /// Provenance, truth, expected values.
    pub(super) json: serde_json::Value,
}

impl Case {
    /// A column of the table; NaN where a sample is missing.
    pub(super) fn column(&self, name: &str) -> Vec<f64> {
        let at = self.header.iter().position(|column| column == name).unwrap();
        self.rows.iter().map(|row| row[at]).collect()
    }
}

/// The case called `name`.
pub(super) fn read(name: &str) -> Case {
    let path = |end: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cases").join(format!("{name}.{end}"));
    let text = std::fs::read_to_string(path("csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let rows = lines.map(|line| line.iter().map(|field| field.parse().unwrap_or(f64::NAN)).collect()).collect();
    Case { header, rows, json: serde_json::from_str(&std::fs::read_to_string(path("json")).unwrap()).unwrap() }
}

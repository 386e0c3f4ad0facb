//! Data of scenarios: files and rows read when the configuration is, so that a missing column is told before any load.

use std::sync::Arc;

use super::Resolver;
use crate::config::raw::Attempt;
use crate::config::raw::data::DataKeys;
use crate::config::raw::profile::RawProfile;
use crate::flow::feeder::{FeederError, Table, from_csv, from_json, from_values};
use crate::model::flow::{AtEnd, Feeder, Pick};
use crate::model::profile::Scenario;
use crate::model::template::is_reserved;
use crate::registry::{FilePath, Named, Spanned};

impl Resolver<'_> {
    /// The feeders of a scenario with so many VUs at most; `None` where a mistake was told.
    pub(super) fn data(&mut self, raw: &Named<Attempt<DataKeys>>, vus: Option<u64>) -> Vec<(String, Option<Feeder>)> {
        raw.iter()
            .map(|(name, keys)| {
                let named = self.check_data_name(name);
                let feeder = keys.0.as_ref().and_then(|keys| self.feeder(name, keys, vus));
                (name.value.clone(), feeder.filter(|_| named))
            })
            .collect()
    }

    fn check_data_name(&mut self, name: &Spanned<String>) -> bool {
        let text = name.value.as_str();
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if is_reserved(text) {
            let message = format!("`{text}` cannot be the name of data: `${{{text}}}` has a meaning of its own");
            self.mistake("bad-name", name.span, message, format!("write `my_{text}`, for example"));
        } else if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(fine) && !is_capital(text) {
            return true;
        } else {
            let message = format!("`{text}` cannot be the name of data");
            self.mistake("bad-name", name.span, message, "use letters, digits, `_` and `-`, a letter or `_` first, not only capitals");
        }
        false
    }

    fn feeder(&mut self, name: &Spanned<String>, keys: &DataKeys, vus: Option<u64>) -> Option<Feeder> {
        let table = self.table(name, keys);
        if let Some(at_end) = &keys.at_end
            && keys.pick == Pick::Random
        {
            self.mistake("conflicting-keys", at_end.span, "rows that are picked at random have no end", "remove `at_end`");
        }
        let at_end = keys.at_end.as_ref().map_or(AtEnd::Recycle, |at_end| at_end.value);
        let table = table?;
        let rows = table.rows.len() as u64;
        if let Some(vus) = vus.filter(|vus| *vus > rows)
            && keys.pick == Pick::Unique
            && at_end == AtEnd::Stop
        {
            let message = format!("the data `{}` have {rows} rows, and there are up to {vus} VUs that need one each", name.value);
            self.mistake("out-of-range", name.span, message, "add rows, or write `at_end: recycle` so that VUs share them");
            return None;
        }
        let Table { columns, rows } = table;
        Some(Feeder { name: name.value.clone(), columns, rows: Arc::new(rows), pick: keys.pick, at_end, first: 0 })
    }

    /// Gives the VUs of each scenario rows of their own where several take one each from the same rows. Returns what people should know:
    /// rows that VUs have to share.
    pub(super) fn share_out(&mut self, raw: &RawProfile, scenarios: &mut [Scenario]) -> Vec<String> {
        let mut notes = Vec::new();
        for at in 0..scenarios.len() {
            let (before, rest) = scenarios.split_at_mut(at);
            let Some(scenario) = rest.first_mut() else { continue };
            let vus = scenario.executor.max_vus();
            for feeder in scenario.data.iter_mut().filter(|feeder| feeder.pick == Pick::Unique) {
                let same = |other: &&Feeder| other.pick == Pick::Unique && other.columns == feeder.columns && other.rows == feeder.rows;
                let takers = before.iter().filter(|other| other.data.iter().any(|other| same(&other)));
                feeder.first = takers.map(|other| other.executor.max_vus()).sum();
                let (wanted, rows) = (feeder.first + vus, feeder.rows.len() as u64);
                if wanted <= rows {
                    continue;
                }
                if feeder.at_end == AtEnd::Recycle {
                    notes
                        .push(format!("`{}` of `{}` has {rows} rows for {wanted} VUs: some of them share one", feeder.name, scenario.name));
                } else if feeder.first > 0 {
                    // Where it is its own VUs that are too many, that was told.
                    let named = raw.scenarios.value.iter().find(|(name, _)| name.value == scenario.name);
                    let span = named.map_or(raw.scenarios.span, |(name, _)| name.span);
                    let message = format!(
                        "the data `{}` have {rows} rows; the VUs of `{}` and of the scenarios before it that take from them are up to {wanted}",
                        feeder.name, scenario.name
                    );
                    self.mistake("out-of-range", span, message, "add rows, or write `at_end: recycle` so that VUs share them");
                }
            }
        }
        notes
    }

    /// The rows, from the one place that is given.
    fn table(&mut self, name: &Spanned<String>, keys: &DataKeys) -> Option<Table> {
        let given = [
            ("csv", keys.csv.as_ref().map(|file| file.span)),
            ("json", keys.json.as_ref().map(|file| file.span)),
            ("rows", keys.rows.as_ref().map(|rows| rows.span)),
        ];
        let mut given = given.into_iter().filter_map(|(key, span)| span.map(|span| (key, span)));
        if let (Some((first, _)), Some((second, span))) = (given.next(), given.next()) {
            let message = format!("rows come from one place: `{first}` or `{second}`");
            self.mistake("conflicting-keys", span, message, "keep one of them");
            return None;
        }
        let (read, span, file) = match keys {
            DataKeys { csv: Some(file), .. } => (from_csv(&self.file(file)?, b','), file.span, Some(&file.value)),
            DataKeys { json: Some(file), .. } => (from_json(&self.file(file)?), file.span, Some(&file.value)),
            DataKeys { rows: Some(rows), .. } => {
                let serde_json::Value::Array(list) = rows.value.to_json() else {
                    return self.cx.wrong_type(&rows.value, "a list of mappings");
                };
                (from_values(list), rows.span, None)
            }
            _ => {
                let message = format!("the data `{}` come from nowhere", name.value);
                self.mistake("missing-key", name.span, message, "add one of `csv:`, `json:`, `rows:`");
                return None;
            }
        };
        match read {
            Ok(table) => Some(table),
            Err(FeederError { line, message, hint }) => {
                let message = match (file, line) {
                    (Some(FilePath(path)), Some(line)) => format!("{path}:{line}: {message}"),
                    (Some(FilePath(path)), None) => format!("{path}: {message}"),
                    (None, _) => message,
                };
                self.mistake("bad-data", span, message, hint);
                None
            }
        }
    }

    fn file(&mut self, file: &Spanned<FilePath>) -> Option<Vec<u8>> {
        self.read_file(&file.value.0, file.span)
    }
}

fn is_capital(text: &str) -> bool {
    text.chars().all(|c| !c.is_ascii_lowercase())
}

//! Reads the rows of a feeder: a CSV file (RFC 4180, with a header row) or a JSON array of objects. A file that is not quite right is
//! refused with its line, so that no iteration runs with a shifted column. Cells of CSV are texts; JSON keeps its types.

use serde_json::Value;

/// Columns and rows of a feeder.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows, at least one; each has a value for every column.
    pub rows: Vec<Vec<Value>>,
}

/// Why a file is not a feeder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeederError {
    /// Line of the file, from 1, where it is known.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl FeederError {
    fn new(line: impl Into<Option<u64>>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { line: line.into(), message: message.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for FeederError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.message, self.hint)
    }
}

impl std::error::Error for FeederError {}

/// Reads CSV in UTF-8, with or without a byte order mark. `separator` is what stands between two cells, usually `,`.
pub fn from_csv(file: &[u8], separator: u8) -> Result<Table, FeederError> {
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(text);
    let header = reader.headers().map_err(|error| bad_csv(&error))?.clone();
    let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    check_columns(&columns)?;
    let mut rows = Vec::new();
    let mut last_line = 1;
    for record in reader.records() {
        let record = record.map_err(|error| bad_csv(&error))?;
        last_line = record.position().map_or(last_line, csv::Position::line);
        rows.push(record.iter().map(|cell| Value::String(cell.to_owned())).collect());
    }
    // Every quote has its counterpart; the reader would take the rest of the file for one cell.
    if text.iter().fold(false, |open, byte| open ^ (*byte == b'"')) {
        let hint = "close it; within a quoted cell a quote is written twice, and a cell with a quote is quoted";
        return Err(FeederError::new(last_line, "a quote is not closed from here on", hint));
    }
    if rows.is_empty() {
        return Err(FeederError::new(None, "there is a header and no row", "add at least one row"));
    }
    Ok(Table { columns, rows })
}

fn check_columns(columns: &[String]) -> Result<(), FeederError> {
    if columns.iter().all(String::is_empty) {
        return Err(FeederError::new(None, "the file is empty", "begin it with a header row such as `name,password`"));
    }
    for (at, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(FeederError::new(1, format!("column {} has no name", at + 1), "name every column in the first row"));
        }
        if columns[..at].contains(name) {
            return Err(FeederError::new(1, format!("there are two columns `{name}`"), "give every column a name of its own"));
        }
    }
    Ok(())
}

fn bad_csv(error: &csv::Error) -> FeederError {
    let line = error.position().map(csv::Position::line);
    if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind() {
        let message = format!("the row has {len} cells and the header has {expected_len}");
        return FeederError::new(line, message, "put quotes around a cell that holds a comma or a line break");
    }
    if let csv::ErrorKind::Utf8 { .. } = error.kind() {
        return FeederError::new(line, "the text is not UTF-8", "save the file as UTF-8");
    }
    FeederError::new(line, error.to_string(), "the file must be CSV as in RFC 4180")
}

/// Reads a JSON array of objects that all have the same members.
pub fn from_json(file: &[u8]) -> Result<Table, FeederError> {
    let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(FeederError::new(None, "the file is empty", SHAPE));
    }
    let rows: Vec<Value> =
        serde_json::from_slice(text).map_err(|error| FeederError::new(error.line() as u64, format!("not a JSON array: {error}"), SHAPE))?;
    from_values(rows)
}

const SHAPE: &str = "write an array of objects: `[{\"name\": \"ann\"}, {\"name\": \"bob\"}]`";

/// Takes rows that stand in a document as they are: objects that all have the same members.
pub fn from_values(rows: Vec<Value>) -> Result<Table, FeederError> {
    let Some(Value::Object(first)) = rows.first() else {
        let message = if rows.is_empty() { "there is no row" } else { "row 1 is not an object" };
        return Err(FeederError::new(None, message, SHAPE));
    };
    let columns: Vec<String> = first.keys().cloned().collect();
    if columns.is_empty() {
        return Err(FeederError::new(None, "row 1 has no members", SHAPE));
    }
    let rows: Result<Vec<Vec<Value>>, FeederError> =
        rows.into_iter().enumerate().map(|(index, row)| json_row(index + 1, row, &columns)).collect();
    Ok(Table { columns, rows: rows? })
}

fn json_row(number: usize, row: Value, columns: &[String]) -> Result<Vec<Value>, FeederError> {
    let Value::Object(mut members) = row else {
        return Err(FeederError::new(None, format!("row {number} is not an object"), SHAPE));
    };
    let hint = "every row has the members of the first one; write `null` for what is not known";
    let values: Option<Vec<Value>> = columns.iter().map(|column| members.get_mut(column).map(Value::take)).collect();
    if let Some(more) = members.keys().find(|member| !columns.contains(member)) {
        return Err(FeederError::new(None, format!("row {number} has `{more}`, which row 1 has not"), hint));
    }
    values.ok_or_else(|| {
        let lacks: Vec<String> =
            columns.iter().filter(|column| !members.contains_key(*column)).map(|column| format!("`{column}`")).collect();
        FeederError::new(None, format!("row {number} lacks {}", lacks.join(", ")), hint)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn csv(text: &str) -> Table {
        from_csv(text.as_bytes(), b',').unwrap()
    }

    fn refused(text: &str) -> String {
        let error = from_csv(text.as_bytes(), b',').unwrap_err();
        assert!(!error.hint.is_empty());
        format!("{}: {}", error.line.map_or("-".into(), |line| line.to_string()), error.message)
    }

    #[test]
    fn csv_as_people_write_it() {
        let table = csv("\u{feff}name, password\r\nann,\"a, \"\"b\"\"\nc\"\r\n\r\n007,\r\n");
        assert_eq!(table.columns, ["name", "password"]);
        assert_eq!(table.rows, [[json!("ann"), json!("a, \"b\"\nc")], [json!("007"), json!("")]]);
        assert_eq!(csv("id\n1").rows, [[json!("1")]]);
        assert_eq!(from_csv(b"a;b\n1,5;2\n", b';').unwrap().rows, [[json!("1,5"), json!("2")]]);
    }

    #[test]
    fn csv_that_is_not_quite_right_is_refused_with_its_line() {
        for (text, wanted) in [
            ("", "-: the file is empty"),
            ("\u{feff}", "-: the file is empty"),
            ("a,b\n", "-: there is a header and no row"),
            ("a,b\n1,2\n3\n", "3: the row has 1 cells and the header has 2"),
            ("a,b\n\"1\n1\",2\n3,4,5\n", "4: the row has 3 cells and the header has 2"),
            ("a,b,a\n1,2,3\n", "1: there are two columns `a`"),
            ("a,\n1,2\n", "1: column 2 has no name"),
            ("a,b\n1,2\n3,\"4\n5,6\n", "3: a quote is not closed from here on"),
        ] {
            assert_eq!(refused(text), wanted, "{text}");
        }
        let error = from_csv(b"a\nb\n\xff\n", b',').unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (Some(3), "the text is not UTF-8"));
    }

    #[test]
    fn json_keeps_its_types() {
        let table = from_json(br#"[{"id": 1, "tags": ["x"]}, {"tags": null, "id": 2.5}]"#).unwrap();
        assert_eq!(table.columns, ["id", "tags"]);
        assert_eq!(table.rows, [[json!(1), json!(["x"])], [json!(2.5), Value::Null]]);
    }

    #[test]
    fn json_that_is_not_quite_right_is_refused() {
        for (text, line, message) in [
            ("", None, "the file is empty"),
            ("[]", None, "there is no row"),
            ("[{}]", None, "row 1 has no members"),
            ("[1]", None, "row 1 is not an object"),
            ("[{\"a\": 1}, 2]", None, "row 2 is not an object"),
            ("[{\"a\": 1, \"b\": 2}, {}]", None, "row 2 lacks `a`, `b`"),
            ("[{\"a\": 1}, {\"a\": 1, \"c\": 2}]", None, "row 2 has `c`, which row 1 has not"),
        ] {
            let error = from_json(text.as_bytes()).unwrap_err();
            assert_eq!((error.line, error.message.as_str()), (line, message), "{text}");
        }
        let error = from_json(b"[\n{\"a\": 1},\n{\"a\" 1}]").unwrap_err();
        assert_eq!(error.line, Some(3));
        assert!(error.to_string().starts_with("line 3: not a JSON array"), "{error}");
    }
}

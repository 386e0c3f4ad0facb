//! What was captured during a run, as a table for the terminal.

use super::text::{plain, row, table};
use crate::model::capture::Captured;
use crate::model::units::format_bytes;

/// One line for each capture, in order.
pub fn captures_table(captures: &[Captured]) -> String {
    if captures.is_empty() {
        return "nothing was captured during this run\n".into();
    }
    let mut rows = vec![row(["#", "capture", "second", "size", "", ""])];
    for one in captures {
        let size = if one.error.is_some() { "failed".to_owned() } else { format_bytes(one.bytes as f64) };
        let last = one.error.as_deref().unwrap_or(&one.why);
        rows.push(vec![one.number.to_string(), plain(&one.name, 40), one.second.to_string(), size, plain(&one.what, 80), plain(last, 120)]);
    }
    table(&rows, 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::units::Timestamp;

    #[test]
    fn a_failure_says_why() {
        let one = Captured {
            number: 1,
            name: "cpu".into(),
            kind: "pprof".into(),
            what: "cpu profile of http://shop:6060 over 10s".into(),
            why: "at 15m".into(),
            second: 900,
            at: Timestamp(0),
            took_ms: 10_012,
            content_type: "application/octet-stream".into(),
            file: "01-cpu.pb.gz".into(),
            bytes: 20_480,
            error: None,
        };
        let failed = Captured { number: 2, bytes: 0, error: Some("the answer is 404 Not Found".into()), ..one.clone() };
        let text = captures_table(&[one, failed]);
        assert!(text.contains("1  cpu") && text.contains("20 KiB") && text.contains("at 15m"), "{text}");
        assert!(text.contains("failed") && text.contains("the answer is 404 Not Found"), "{text}");
        assert_eq!(captures_table(&[]), "nothing was captured during this run\n");
    }
}

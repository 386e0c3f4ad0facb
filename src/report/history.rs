//! Suites as text: the verdict first, then each test with what was measured and what was asked.

use super::text::{plain, row, table};
use crate::model::run::Verdict;
use crate::model::suite::SuiteResult;

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::NoData => "NO DATA",
        Verdict::Invalid => "INVALID",
    }
}

/// A suite's result as text of several lines.
pub fn suite_text(result: &SuiteResult) -> String {
    let mut text = format!("{}  suite {}: {}\n", word(result.verdict), plain(&result.suite, 80), plain(&result.sentence, 400));
    if let Some(description) = &result.description {
        text.push_str(&format!("  {}\n", plain(description, 200)));
    }
    for (priority, passed, tests) in &result.by_priority {
        text.push_str(&format!("  {priority}: {passed} of {tests}\n"));
    }
    let mut rows = vec![row(["", "test", "priority", "measured", "target", "run"])];
    for one in &result.results {
        let run = one.run.as_ref().map_or_else(|| "-".to_owned(), |run| run.0.clone());
        rows.push(vec![
            one.verdict.to_string(),
            plain(&one.test, 60),
            one.priority.to_string(),
            plain(&one.measured, 60),
            plain(&one.target, 80),
            run,
        ]);
    }
    text.push('\n');
    text.push_str(&table(&rows, 6));
    for one in &result.results {
        if let Some(note) = &one.note {
            text.push_str(&format!("  {}: {}\n", plain(&one.test, 60), plain(note, 300)));
        }
    }
    text
}

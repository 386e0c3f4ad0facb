//! What was told, by the file channel `box`.

use std::path::Path;

/// The headline of the first message that says that a rule fires.
pub(super) fn fired(folder: &Path, rule: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("box.jsonl")).unwrap_or_default();
    let headline = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let message = &line["message"];
        (message["kind"] == "fired" && message["rule"] == rule).then(|| message["headline"].as_str().map(str::to_owned))?
    };
    text.lines().find_map(headline)
}

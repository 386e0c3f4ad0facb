//! What was wrong with a configuration, for people: every mistake with file, line, the offending text and what to do.
//! Values of secret keys in the lines that are shown are covered. The codes are listed in docs/configuration.md.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use super::sources::Source;
use crate::registry::{Diagnostic, Span};

/// Every code that a mistake can have, and what it means; the table of docs/configuration.md.
pub const CODES: &[(&str, &str)] = &[
    ("bad-address", "not a mail address"),
    ("bad-certificate", "a certificate, key or name that TLS cannot use"),
    ("bad-condition", "not a condition of `if` or `while`"),
    ("bad-data", "rows that cannot be read"),
    ("bad-grpc", "a schema of gRPC that cannot be read, a method that it does not have, or a message that does not fit"),
    ("bad-header", "a header that cannot be sent"),
    ("bad-host", "not a host with a port"),
    ("bad-json-path", "not a JSON path of RFC 9535"),
    ("bad-log-level", "neither a level nor a filter"),
    ("bad-matcher", "not a comparison of a label"),
    ("bad-message-template", "a template of messages that does not compile, or names a field that no message has"),
    ("bad-name", "a name that cannot stand in labels and addresses"),
    ("bad-pattern", "not a regular expression"),
    ("bad-secret", "a secret that does not have its form"),
    ("bad-selector", "not a selector of a metrics page"),
    ("bad-template", "a `${…}` that cannot be read, or stands where nothing can be filled in"),
    ("bad-threshold", "not a threshold, guard or rule"),
    ("bad-time", "not a time"),
    ("bad-token", "a token that is empty, or no SHA-256"),
    ("bad-url", "not an address that can be used"),
    ("commands-not-allowed", "a program that would be run, without `allow_commands: true`"),
    ("conflicting-keys", "keys that exclude each other"),
    ("cron-bad", "not a cron expression"),
    ("cron-never-fires", "a cron expression that no date satisfies"),
    ("duplicate-key", "a key given twice in one mapping"),
    ("duplicate-name", "a name defined twice: in two files, or twice where it must be unique"),
    ("host-not-allowed", "a request to a host that is neither the target's own nor in its `allow`"),
    ("impossible-check", "a check that can never hold"),
    ("inhibition-loop", "alerts that could mute each other in a circle"),
    ("insecure-listen", "the server would be reachable for others without tokens"),
    ("key-of-another-executor", "a key that another executor has"),
    ("key-of-another-request", "a key, check or extraction that another kind of request has"),
    ("missing-base-url", "a path without a `base_url` to follow"),
    ("missing-key", "a key that must be given"),
    ("missing-limits", "a production target without limits, or a limit that cannot bound the load"),
    ("missing-unit", "a bare number where a unit is needed"),
    ("missing-value", "a list that may not be empty"),
    ("no-probe", "a threshold on a reading, and no probe to read it"),
    ("no-websocket", "a message where no WebSocket is open"),
    ("not-a-number", "a quantity that does not begin with a number"),
    ("not-for-digests", "a digest to a channel that takes alerts only"),
    ("nothing-to-measure", "a threshold on requests or groups that the profile does not have"),
    ("out-of-range", "a value that is too small, too large or impossible"),
    ("over-limits", "a profile that asks for more than its target allows"),
    ("plain-token", "a token of the API in the file itself"),
    ("production-not-allowed", "a profile loads a production target without `allow_production: true`"),
    ("unknown-channel", "a channel that is not defined"),
    ("unknown-group", "a group that the profile does not have"),
    ("unknown-identity", "an identity that the target does not have"),
    ("unknown-key", "a key that does not exist there"),
    ("unknown-kind", "a `type` that does not exist"),
    ("unknown-label", "a label that no alert can have"),
    ("unknown-metric", "a metric that does not exist"),
    ("unknown-phase", "a phase that no scenario has"),
    ("unknown-preset", "a preset that does not exist"),
    ("unknown-profile", "a profile that is not defined"),
    ("unknown-rule", "a default rule that does not exist"),
    ("unknown-scenario", "a scenario that the profile does not have"),
    ("unknown-step", "a step that the profile does not have"),
    ("unknown-suite", "a suite that is not defined"),
    ("unknown-tag", "a tag that the metric does not have"),
    ("unknown-target", "a target that is not defined"),
    ("unknown-timezone", "a time zone that does not exist"),
    ("unknown-unit", "a unit that does not exist, or of another quantity"),
    ("unknown-variable", "a `${…}` that nothing sets"),
    ("unknown-window", "a mute timing that is not defined"),
    ("unknown-word", "a word that is not one of those allowed"),
    ("unreadable-file", "a file of the configuration that cannot be read"),
    ("unreadable-secret", "a secret file that cannot be read"),
    ("unset-variable", "an environment variable that is not set"),
    ("window-over", "a silence that is over already; `plimsoll check` says it, a daemon starts all the same"),
    ("wrong-type", "a text, number, list or mapping where another is needed"),
    ("yaml-syntax", "not YAML"),
];

/// Why a configuration cannot be used: all its mistakes, sorted by place, with the lines at fault.
#[derive(Clone)]
pub struct Report {
    mistakes: Vec<Diagnostic>,
    files: Vec<Source>,
}

impl Report {
    pub(crate) fn new(mut mistakes: Vec<Diagnostic>, files: Vec<Source>) -> Self {
        mistakes.sort_by_key(place);
        mistakes.dedup();
        Self { mistakes, files }
    }

    /// The mistakes, sorted by place.
    pub fn mistakes(&self) -> &[Diagnostic] {
        &self.mistakes
    }

    /// Number of mistakes.
    pub fn count(&self) -> usize {
        self.mistakes.len()
    }

    /// The report as text, with colours for a terminal when `colour` is true.
    pub fn render(&self, colour: bool) -> String {
        let paint = Paint(colour);
        let mut text = String::new();
        for mistake in &self.mistakes {
            let head = format!("error[{}]", mistake.code);
            text.push_str(&format!("{}: {}\n", paint.red(&head), paint.bold(&mistake.message)));
            self.place(&mut text, mistake.span, &mistake.hint, &paint);
            if let Some((span, note)) = &mistake.other {
                self.place(&mut text, *span, note, &paint);
            }
        }
        let plural = if self.mistakes.len() == 1 { "mistake" } else { "mistakes" };
        text.push_str(&format!("{} {plural}\n", self.mistakes.len()));
        text
    }

    fn place(&self, text: &mut String, span: Span, hint: &str, paint: &Paint) {
        let Some(file) = self.files.get(span.file) else {
            text.push_str(&format!("   = {hint}\n"));
            return;
        };
        let Some(line) = file.line(span.line) else {
            text.push_str(&format!("   {} {}\n   {} {hint}\n", paint.blue("┌─"), file.name, paint.blue("=")));
            return;
        };
        let shown = cover(line).replace('\t', " ");
        let number = span.line.to_string();
        let gutter = number.len().max(2);
        let left = line.chars().count() + 1;
        let length = span.len.min(left.saturating_sub(span.column)).max(1);
        let (shown, column) = crop(&shown, span.column, length);
        let indent = " ".repeat(column.saturating_sub(1));
        text.push_str(&format!(
            "{:gutter$} {} {}:{}:{}\n{} {} {}\n{:gutter$} {} {indent}{} {hint}\n",
            "",
            paint.blue("┌─"),
            file.name,
            span.line,
            span.column,
            paint.blue(&format!("{number:>gutter$}")),
            paint.blue("│"),
            shown.trim_end(),
            "",
            paint.blue("│"),
            paint.red(&"^".repeat(length)),
        ));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

fn place(mistake: &Diagnostic) -> (usize, usize, usize) {
    (mistake.span.file, mistake.span.line, mistake.span.column)
}

/// Longest line that is shown whole, in characters.
const WIDEST: usize = 160;

/// A window of a very long line around the place, and the column of the place within it.
fn crop(line: &str, column: usize, length: usize) -> (String, usize) {
    if line.chars().count() <= WIDEST {
        return (line.to_owned(), column);
    }
    let start = column.saturating_sub(1 + WIDEST / 3);
    let window: String = line.chars().skip(start).take(WIDEST.max(length)).collect();
    let mark = if start > 0 { "…" } else { "" };
    (format!("{mark}{window}"), column - start + mark.chars().count())
}

static SECRET_VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?ix) (?: \b(?:password|passwd|secret|token|client_secret|bearer|authorization|cookie|api_?key|x-api-key|routing_key|webhook_url|sha256)
        ["']? \s* : \s* ( "(?:[^"\\]|\\.)*" | '[^']*' | [^\s,}\#][^,}\#]* ) ) | (?: :// [^\s:/@"']* : ([^\s@/"']+) @ )"#,
    )
    .ok()
});

/// The line with the values of secret keys covered, character by character, so that columns stay true.
fn cover(line: &str) -> String {
    let Some(pattern) = SECRET_VALUE.as_ref() else { return line.to_owned() };
    let mut covered = String::with_capacity(line.len());
    let mut from = 0;
    for found in pattern.captures_iter(line) {
        let Some(value) = found.get(1).or_else(|| found.get(2)) else { continue };
        // A variable is no secret, its name helps.
        if value.as_str().trim_matches(['"', '\'']).starts_with("${") {
            continue;
        }
        covered.push_str(&line[from..value.start()]);
        covered.push_str(&"*".repeat(value.as_str().trim_end().chars().count()));
        from = value.start() + value.as_str().trim_end().len();
    }
    covered.push_str(&line[from..]);
    covered
}

struct Paint(bool);

impl Paint {
    fn wrap(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
    fn red(&self, text: &str) -> String {
        self.wrap("1;31", text)
    }
    fn blue(&self, text: &str) -> String {
        self.wrap("1;34", text)
    }
    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, spans: &[(Span, &str)]) -> Report {
        let mistakes = spans
            .iter()
            .map(|(span, hint)| Diagnostic { code: "x", message: "wrong".into(), span: *span, hint: (*hint).into(), other: None })
            .collect();
        Report::new(mistakes, vec![Source { name: "shop.yaml".into(), text: text.into() }])
    }

    fn at(line: usize, column: usize, len: usize) -> Span {
        Span { file: 0, line, column, len }
    }

    #[test]
    fn shows_the_line_and_what_to_do() {
        let text = "a:\n\tthersholds: é\n";
        let shown = report(text, &[(at(2, 2, 10), "did you mean `thresholds`?"), (at(1, 1, 99), "first")]).to_string();
        insta::assert_snapshot!(shown, @r"
        error[x]: wrong
           ┌─ shop.yaml:1:1
         1 │ a:
           │ ^^ first
        error[x]: wrong
           ┌─ shop.yaml:2:2
         2 │  thersholds: é
           │  ^^^^^^^^^^ did you mean `thresholds`?
        2 mistakes
        ");
    }

    #[test]
    fn secrets_in_a_shown_line_are_covered() {
        for (line, covered) in [
            ("smtp: { password: hunter2, prot: 1 }", "smtp: { password: *******, prot: 1 }"),
            ("  password: \"a b # c\" # note", "  password: ********* # note"),
            ("url: postgres://u:pw@db/x", "url: postgres://u:**@db/x"),
            ("headers: { Authorization: Bearer abc }", "headers: { Authorization: ********** }"),
            ("password_file: /run/x", "password_file: /run/x"),
            ("password: ${PW}", "password: ${PW}"),
        ] {
            assert_eq!(cover(line), covered);
        }
    }

    #[test]
    fn a_very_long_line_is_cropped_around_the_place() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let shown = report(&line, &[(at(1, 501, 1), "here")]).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        let mark = lines[3].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[2].chars().nth(mark), Some('X'));
        assert!(lines[2].chars().count() < 200);
    }

    #[test]
    fn colours_only_when_asked_for() {
        let report = report("a: 1\n", &[(at(1, 1, 1), "x")]);
        assert!(report.render(true).contains("\u{1b}[1;31m") && !report.render(false).contains('\u{1b}'));
    }
}

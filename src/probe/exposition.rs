//! Reads a `/metrics` page: the Prometheus text format 0.0.4, with what OpenMetrics and Prometheus 3 add (exemplars, `# EOF`,
//! `# UNIT`, quoted UTF-8 names) tolerated. Pure; never panics, never guesses: a line that cannot be read is an error with its number.
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::borrow::Cow;
use std::collections::HashMap;

/// One line of numbers: `name{label="value"} 12.5`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// The metric's name.
    pub name: Cow<'a, str>,
    /// Labels in the order of the page, escapes resolved.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The value; may be NaN or infinite.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of `label`, if the sample has it.
    pub fn label(&self, label: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == label).map(|(_, value)| value.as_ref())
    }
}

/// All samples of a page, found by name.
#[derive(Debug, Default)]
pub struct Page<'a> {
    samples: Vec<Sample<'a>>,
    by_name: HashMap<String, Vec<usize>>,
}

/// A line that is not of the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct FormatError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl<'a> Page<'a> {
    /// Reads a whole page.
    pub fn parse(text: &'a str) -> Result<Self, FormatError> {
        let mut page = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let sample = parse_line(line).map_err(|what| FormatError { line: index + 1, what })?;
            page.by_name.entry(sample.name.to_string()).or_default().push(page.samples.len());
            page.samples.push(sample);
        }
        Ok(page)
    }

    /// Every sample, in the order of the page.
    pub fn samples(&self) -> &[Sample<'a>] {
        &self.samples
    }

    /// The samples called `name`.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Sample<'a>> {
        self.by_name.get(name).into_iter().flatten().filter_map(|&index| self.samples.get(index))
    }
}

/// Reads one line that is neither empty nor a comment. The timestamp and an exemplar behind the value are checked and dropped.
fn parse_line(line: &str) -> Result<Sample<'_>, &'static str> {
    let name_end = line.find(['{', ' ', '\t']).ok_or("a name without a value")?;
    let (bare_name, rest) = line.split_at(name_end);
    let mut name = (!bare_name.is_empty()).then_some(Cow::Borrowed(bare_name));
    if name.as_deref().is_some_and(|name| !is_name(name, true)) {
        return Err("not a metric name");
    }
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside, &mut name)?,
        None => (Vec::new(), rest),
    };
    let name = name.ok_or("a line without a metric name")?;
    let numbers = rest.split_once(" # ").map_or(rest, |(numbers, _exemplar)| numbers);
    let mut words = numbers.split_ascii_whitespace();
    let value = words.next().ok_or("a name without a value")?.parse::<f64>().map_err(|_| "the value is not a number")?;
    if words.next().is_some_and(|stamp| stamp.parse::<f64>().is_err()) {
        return Err("the timestamp is not a number");
    }
    if words.next().is_some() {
        return Err("something follows the timestamp");
    }
    Ok(Sample { name, labels, value })
}

type LabelList<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Reads what stands between the braces, and returns the rest of the line. A quoted word without `=` is the metric's name (Prometheus 3).
fn parse_labels<'a>(mut rest: &'a str, name: &mut Option<Cow<'a, str>>) -> Result<(LabelList<'a>, &'a str), &'static str> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (key, quoted, after) = parse_key(rest)?;
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            let inside = after.trim_start().strip_prefix('"').ok_or("a label value without quotes")?;
            let (value, after) = parse_quoted(inside)?;
            labels.push((key, value));
            rest = after.trim_start();
        } else if quoted && name.is_none() {
            *name = Some(key);
        } else {
            return Err("a label without a value");
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("no `}` or `,` after a label"),
        }
    }
}

/// A label's name, bare or quoted; whether it was quoted; and what follows.
fn parse_key(text: &str) -> Result<(Cow<'_, str>, bool, &str), &'static str> {
    if let Some(inside) = text.strip_prefix('"') {
        let (key, after) = parse_quoted(inside)?;
        return Ok((key, true, after));
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).ok_or("the braces are not closed")?;
    let (key, after) = text.split_at(end);
    if is_name(key, false) { Ok((Cow::Borrowed(key), false, after)) } else { Err("not a label name") }
}

/// Reads up to the closing quote, resolving `\\`, `\"` and `\n`; text behind the opening quote is given.
fn parse_quoted(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let plain_end = text.find(['"', '\\']).ok_or("a quote is not closed")?;
    let (plain, after) = text.split_at(plain_end);
    if let Some(after) = after.strip_prefix('"') {
        return Ok((Cow::Borrowed(plain), after));
    }
    let mut resolved = String::from(plain);
    let mut chars = after.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Cow::Owned(resolved), &after[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => resolved.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => resolved.push(escaped),
                // As Prometheus reads it: an unknown escape stands for itself.
                Some((_, other)) => resolved.extend(['\\', other]),
                None => break,
            },
            other => resolved.push(other),
        }
    }
    Err("a quote is not closed")
}

/// Whether `text` is a name of a metric (colons allowed) or of a label.
pub(super) fn is_name(text: &str, colons: bool) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    !text.is_empty() && text.chars().all(allowed) && !text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Sample<'_> {
        let mut page = Page::parse(line).unwrap();
        assert_eq!(page.samples.len(), 1, "{line}");
        page.samples.remove(0)
    }

    #[test]
    fn reads_the_lines_that_real_pages_have() {
        for (line, name, labels, value) in [
            ("up 1", "up", vec![], 1.0),
            ("  up\t 1 1395066363000", "up", vec![], 1.0),
            ("a:b_total{x=\"y\"} 1.5e3 -3", "a:b_total", vec![("x", "y")], 1500.0),
            // Micrometer ends the labels with a comma.
            ("h{pool=\"HikariPool-1\",} 4.0", "h", vec![("pool", "HikariPool-1")], 4.0),
            ("h {pool = \"a\" , b=\"\"} +Inf", "h", vec![("pool", "a"), ("b", "")], f64::INFINITY),
            (
                r#"m{path="C:\\DIR\\F",e="say \"hi\"\n",o="a\qb"} 2"#,
                "m",
                vec![("path", r"C:\DIR\F"), ("e", "say \"hi\"\n"), ("o", r"a\qb")],
                2.0,
            ),
            ("m{l=\"a } # b\"} 3", "m", vec![("l", "a } # b")], 3.0),
            // OpenMetrics: an exemplar behind the value.
            ("b_bucket{le=\"10\"} 17 # {trace_id=\"KOO\"} 9.8 1520879607.789", "b_bucket", vec![("le", "10")], 17.0),
            ("b_bucket{le=\"10\"} 17 1520 # {} 9.8", "b_bucket", vec![("le", "10")], 17.0),
            // Prometheus 3: quoted names.
            ("{\"my.metric\",\"some.label\"=\"ü\"} 7", "my.metric", vec![("some.label", "ü")], 7.0),
        ] {
            let sample = one(line);
            let read: Vec<(&str, &str)> = sample.labels.iter().map(|(k, v)| (k.as_ref(), v.as_ref())).collect();
            assert_eq!((sample.name.as_ref(), read), (name, labels), "{line}");
            assert!(sample.value.total_cmp(&value).is_eq(), "{line}: {}", sample.value);
        }
        assert!(one("x NaN").value.is_nan());
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        let page = Page::parse("# HELP a b\n# TYPE a counter\n\na 1\r\n# UNIT a x\na{l=\"2\"} 2\n# EOF").unwrap();
        assert_eq!(page.named("a").map(|sample| sample.value).collect::<Vec<_>>(), [1.0, 2.0]);
        assert_eq!(page.named("b").count(), 0);
    }

    #[test]
    fn what_is_no_page_is_refused_with_its_line() {
        for (text, line, what) in [
            ("<!DOCTYPE html>\n<p>", 1, "not a metric name"),
            ("a 1\n{\"error\": \"x\"}", 2, "no `}` or `,` after a label"),
            ("{\"error\", \"x\"}", 1, "a label without a value"),
            ("name", 1, "a name without a value"),
            ("name one", 1, "the value is not a number"),
            ("name 1 soon", 1, "the timestamp is not a number"),
            ("name 1 2 3", 1, "something follows the timestamp"),
            ("9name 1", 1, "not a metric name"),
            ("n{a=b} 1", 1, "a label value without quotes"),
            ("n{a=\"b} 1", 1, "a quote is not closed"),
            ("n{a=\"b\" c=\"d\"} 1", 1, "no `}` or `,` after a label"),
            ("n{a", 1, "the braces are not closed"),
            ("{a=\"b\"} 1", 1, "a line without a metric name"),
            ("n{=\"b\"} 1", 1, "not a label name"),
        ] {
            assert_eq!(Page::parse(text).unwrap_err(), FormatError { line, what }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = Page::parse(&text);
        }

        #[test]
        fn never_panics_on_what_looks_like_a_page(text in "([a-z_]{1,3}|[{}\",=\\\\ #\n]|[0-9.+-]{1,3}|ü|NaN){0,30}") {
            let _ = Page::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(
            name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}",
            labels in prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,6}", "(?s).{0,12}", 0..4),
            value in prop::num::f64::ANY,
        ) {
            let escape = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let inside: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
            let braces = if inside.is_empty() { String::new() } else { format!("{{{}}}", inside.join(",")) };
            let line = format!("{name}{braces} {value}\n");
            let sample = one(&line);
            prop_assert_eq!(sample.name.as_ref(), name);
            let read: Vec<(String, String)> = sample.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            prop_assert_eq!(read, labels.into_iter().collect::<Vec<_>>());
            prop_assert!(sample.value.total_cmp(&value).is_eq() || (sample.value.is_nan() && value.is_nan()));
        }
    }
}

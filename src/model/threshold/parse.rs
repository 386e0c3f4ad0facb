//! Reads the threshold grammar. Every refusal says where in the text, what and what to write.
//!
//! ```text
//! condition   = series | verdict | leak | capacity | storage | channel | missed (`found`)
//! series      = metric [selector] ":" aggregation op value ["over" time] ["for" time]
//! verdict     = "verdict" [selector] ("==" | "!=") ("pass" | "fail" | "no_data" | "invalid") ["for" number ("run" | "runs")]
//! selector    = "{" tag ":" value { "," tag ":" value } "}"
//! aggregation = "p(" number ")" | "med" | "avg" | "min" | "max" | "count" | "rate" | "value"
//! op          = "<" | "<=" | ">" | ">=" | "==" | "!="
//! value       = time | percentage | size | rate | number, as the metric's unit demands
//! ```

use std::time::Duration;

use super::found;
use super::{Aggregation, Bound, Comparison, Condition, METRICS, Metric, MetricKind, Series, Source, Unit, find_metric, tags_of};
use crate::model::Labels;
use crate::model::run::Verdict;
use crate::model::units::{UnitError, parse_bytes, parse_duration, parse_percent, parse_rate};
use crate::registry::suggest;

/// Why a text is not a threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Stable code: `bad-threshold`, `unknown-metric`, `missing-unit` …
    pub code: &'static str,
    /// First offending character, from 0.
    pub at: usize,
    /// Number of offending characters, at least 1.
    pub len: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The text being read, by characters.
pub(super) struct Reader<'a> {
    text: &'a str,
    position: usize,
}

pub(super) type Parsed<T> = Result<T, ParseError>;

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.position..]
    }

    /// Where it is, in bytes.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    fn skip_space(&mut self) {
        self.position += self.rest().len() - self.rest().trim_start().len();
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.position += token.len();
        }
        found
    }

    /// A run of characters that satisfy `keep`, with its start.
    pub(super) fn word(&mut self, keep: impl Fn(char) -> bool) -> (usize, &'a str) {
        self.skip_space();
        let start = self.position;
        let len = self.rest().find(|c: char| !keep(c)).unwrap_or(self.rest().len());
        self.position += len;
        (start, &self.text[start..self.position])
    }

    pub(super) fn fail<T>(
        &self,
        code: &'static str,
        start: usize,
        end: usize,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Parsed<T> {
        let at = self.text[..start].chars().count();
        // The end may lie behind the text (something is missing there) or within a character.
        let len = self.text.get(start..end).map_or(1, |part| part.chars().count()).max(1);
        Err(ParseError { code, at, len, message: message.into(), hint: hint.into() })
    }
}

pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Reads a whole condition, as alert rules have it.
pub fn parse_condition(text: &str) -> Result<Condition, ParseError> {
    let mut reader = Reader { text, position: 0 };
    let (_, name) = reader.word(is_name);
    if name == "verdict" {
        return verdict(&mut reader);
    }
    if name == "regression" {
        return regression(&mut reader).map(Condition::Series);
    }
    let found = match name {
        "leak" => Some(found::leak(&mut reader)?),
        "capacity" => Some(found::capacity(&mut reader)?),
        "storage" => Some(found::storage(&mut reader)?),
        "channel" => Some(found::channel(&mut reader)?),
        "missed" => Some(found::missed(&mut reader)?),
        _ => None,
    };
    if let Some(found) = found {
        end(&mut reader)?;
        return Ok(Condition::Found(found));
    }
    parse_series(text).map(Condition::Series)
}

/// Metrics of runs that are compared from night to night; the names of `analysis::regression::metric`.
pub const REGRESSIONS: [&str; 10] =
    ["p50", "p95", "p99", "throughput", "error_rate", "pool_peak", "memory_peak", "memory_slope", "capacity", "recovery"];

/// `regression(p95){profile:soak} > 10%`: what is known of a run once it has been compared with its history.
fn regression(reader: &mut Reader<'_>) -> Parsed<Series> {
    const METRIC: &str = "regression";
    let Some(metric) = find_metric(METRIC) else { return reader.fail("unknown-metric", 0, METRIC.len(), "regressions are not known", "") };
    let opened = reader.eat("(");
    let (start, of) = reader.word(is_name);
    if !opened || !reader.eat(")") {
        return reader.fail("bad-threshold", 0, METRIC.len(), "say of which metric", "write `regression(p95) > 10%`");
    }
    if !REGRESSIONS.contains(&of) {
        let message = format!("`{of}` is not compared from run to run");
        return reader.fail("unknown-metric", start, start + of.len(), message, suggest(of, REGRESSIONS.iter().copied()));
    }
    let mut selector = run_selector(reader, tags_of(Source::History))?;
    selector.insert("metric".into(), of.into());
    let op = comparison(reader)?;
    let value = value(reader, metric, Aggregation::Value)?;
    end(reader)?;
    Ok(Series { metric, selector, aggregation: Aggregation::Value, bound: Bound { op, value }, window: None, hold: None })
}

/// Reads a series expression, as thresholds and guards have it.
pub fn parse_series(text: &str) -> Result<Series, ParseError> {
    let mut reader = Reader { text, position: 0 };
    let (start, name) = reader.word(is_name);
    let Some(metric) = find_metric(name) else {
        let hint = suggest(name, METRICS.iter().map(|metric| metric.name));
        return reader.fail("unknown-metric", start, start + name.len(), format!("unknown metric `{name}`"), hint);
    };
    if metric.source == Source::History {
        let message = format!("`{name}` is known only after a run has ended: it stands in alert rules");
        return reader.fail("unknown-metric", start, start + name.len(), message, "write the rule `regression(p95) > 10%`");
    }
    let selector = selector(&mut reader)?;
    if !reader.eat(":") {
        let at = reader.position;
        return reader.fail("bad-threshold", at, at + 1, "a `:` is missing after the metric", format!("write `{name}: p(95) < 200ms`"));
    }
    let aggregation = aggregation(&mut reader, metric)?;
    let op = comparison(&mut reader)?;
    let value = value(&mut reader, metric, aggregation)?;
    let window = clause(&mut reader, "over")?;
    let hold = clause(&mut reader, "for")?;
    end(&mut reader)?;
    Ok(Series { metric, selector, aggregation, bound: Bound { op, value }, window, hold })
}

/// Reads `< 70%`: a bound of the same unit as `series` has.
pub fn parse_bound(text: &str, series: &Series) -> Result<Bound, ParseError> {
    let mut reader = Reader { text, position: 0 };
    let op = comparison(&mut reader)?;
    let value = value(&mut reader, series.metric, series.aggregation)?;
    end(&mut reader)?;
    Ok(Bound { op, value })
}

fn verdict(reader: &mut Reader<'_>) -> Parsed<Condition> {
    let selector = selector(reader)?;
    let before = reader.position;
    let op = comparison(reader)?;
    let equal = match op {
        Comparison::Equal => true,
        Comparison::NotEqual => false,
        Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
            return reader.fail("bad-threshold", before, reader.position, "verdicts are not ordered", "use `==` or `!=`");
        }
    };
    let (start, word) = reader.word(is_name);
    let Some(verdict) = Verdict::parse(word) else {
        let hint = suggest(word, Verdict::ALL.iter().map(|verdict| verdict.as_str()));
        return reader.fail("bad-threshold", start, start + word.len(), format!("`{word}` is not a verdict"), hint);
    };
    let mut runs = 1;
    if reader.eat("for") {
        let (start, digits) = reader.word(|c| c.is_ascii_digit());
        runs = digits.parse().unwrap_or(0);
        if runs == 0 || !(reader.eat("runs") || reader.eat("run")) {
            return reader.fail("bad-threshold", start, reader.position, "`for` counts runs here", "write `for 2 runs`");
        }
    }
    end(reader)?;
    Ok(Condition::Verdict { selector, equal, verdict, runs })
}

/// Which tags there are is known only with the profile: its scenarios have tags of their own.
fn selector(reader: &mut Reader<'_>) -> Parsed<Labels> {
    run_selector(reader, &[])
}

/// A selector whose tags are these; none: any.
pub(super) fn run_selector(reader: &mut Reader<'_>, known: &[&str]) -> Parsed<Labels> {
    let mut labels = Labels::new();
    if !reader.eat("{") {
        return Ok(labels);
    }
    loop {
        let (start, tag) = reader.word(|c| is_name(c) || c == '-' || c == '.');
        if tag.is_empty() {
            return reader.fail("bad-threshold", start, start + 1, "a tag is missing", "write `{step:login}`");
        }
        if !known.is_empty() && !known.contains(&tag) {
            let hint = suggest(tag, known.iter().copied());
            return reader.fail("unknown-tag", start, start + tag.len(), format!("this metric has no tag `{tag}`"), hint);
        }
        if !(reader.eat(":") || reader.eat("=")) {
            let at = reader.position;
            return reader.fail(
                "bad-threshold",
                at,
                at + 1,
                format!("a `:` is missing after the tag `{tag}`"),
                format!("write `{{{tag}:value}}`"),
            );
        }
        let value = if reader.eat("\"") {
            let (_, value) = reader.word(|c| c != '"');
            reader.eat("\"");
            value
        } else {
            reader.word(|c| c != ',' && c != '}').1.trim_end()
        };
        if value.is_empty() {
            let at = reader.position;
            return reader.fail("bad-threshold", at, at + 1, format!("the tag `{tag}` has no value"), format!("write `{{{tag}:value}}`"));
        }
        labels.insert(tag.into(), value.into());
        if reader.eat("}") {
            return Ok(labels);
        }
        if !reader.eat(",") {
            let at = reader.position;
            return reader.fail("bad-threshold", at, at + 1, "the selector is not closed", "add `}`");
        }
    }
}

fn aggregation(reader: &mut Reader<'_>, metric: &Metric) -> Parsed<Aggregation> {
    let (start, word) = reader.word(is_name);
    let allowed: &[&str] = match metric.kind {
        MetricKind::Trend => &["p(95)", "med", "avg", "min", "max"],
        MetricKind::Counter => &["count", "rate"],
        MetricKind::Rate => &["rate"],
        MetricKind::Gauge => &["avg", "min", "max", "value"],
    };
    let found = match word {
        "p" if reader.eat("(") => {
            let (at, digits) = reader.word(|c| c.is_ascii_digit() || c == '.');
            let quantile = digits.parse::<f64>().ok().filter(|value| (0.0..=100.0).contains(value));
            if !reader.eat(")") || quantile.is_none() {
                return reader.fail("bad-threshold", at, reader.position, "a percentile is a number from 0 to 100", "write `p(95)`");
            }
            Aggregation::Quantile(quantile.unwrap_or_default() / 100.0)
        }
        "med" => Aggregation::Quantile(0.5),
        "avg" => Aggregation::Avg,
        "min" => Aggregation::Min,
        "max" => Aggregation::Max,
        "count" => Aggregation::Count,
        "rate" => Aggregation::Rate,
        "value" => Aggregation::Value,
        _ => {
            let hint = suggest(word, allowed.iter().copied());
            return reader.fail("bad-threshold", start, start + word.len(), format!("`{word}` is not an aggregation"), hint);
        }
    };
    let name = if matches!(found, Aggregation::Quantile(_)) && word == "p" { "p(95)" } else { word };
    if !allowed.contains(&name) {
        let list: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("`{word}` cannot be taken of `{}`", metric.name);
        return reader.fail("bad-threshold", start, start + word.len(), message, format!("use {}", list.join(", ")));
    }
    Ok(found)
}

fn comparison(reader: &mut Reader<'_>) -> Parsed<Comparison> {
    for (token, op) in [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ] {
        if reader.eat(token) {
            return Ok(op);
        }
    }
    reader.skip_space();
    let at = reader.position;
    reader.fail("bad-threshold", at, at + 1, "a comparison is missing", "use <, <=, >, >=, == or !=")
}

fn value(reader: &mut Reader<'_>, metric: &Metric, aggregation: Aggregation) -> Parsed<f64> {
    reader.skip_space();
    let start = reader.position;
    let rest = reader.rest();
    let end = [" over ", " for "].iter().filter_map(|word| rest.find(word)).min().unwrap_or(rest.len());
    let text = rest[..end].trim_end();
    reader.position = start + text.len();
    if text.is_empty() {
        return reader.fail("bad-threshold", start, start + 1, "a value is missing", "write what to compare with");
    }
    let per_second = metric.kind == MetricKind::Counter && aggregation == Aggregation::Rate;
    let read: Result<f64, UnitError> = match metric.unit {
        Unit::Count if per_second => parse_rate(text).map(crate::model::units::Rate::as_per_second),
        Unit::Bytes if per_second => match text.strip_suffix("/s") {
            Some(size) => parse_bytes(size).map(|bytes| bytes as f64),
            None => Err(UnitError { code: "missing-unit", message: "a rate needs a unit".into(), hint: format!("write `{text}/s`") }),
        },
        Unit::Time => parse_duration(text).map(|time| time.as_secs_f64()),
        Unit::Ratio => parse_percent(text),
        Unit::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
        Unit::Count => text.replace('_', "").parse::<f64>().ok().filter(|value| value.is_finite()).ok_or_else(|| UnitError {
            code: "not-a-number",
            message: format!("`{text}` is not a number"),
            hint: "write a plain number".into(),
        }),
    };
    read.or_else(|error| reader.fail(error.code, start, start + text.len(), error.message, error.hint))
}

/// A share such as `5%`, with its place.
pub(super) fn percentage(reader: &mut Reader<'_>) -> Parsed<(usize, usize, f64)> {
    let (start, text) = reader.word(|c| !c.is_whitespace());
    let end = start + text.len();
    match parse_percent(text) {
        Ok(share) => Ok((start, end, share)),
        Err(error) => reader.fail(error.code, start, end, error.message, error.hint),
    }
}

pub(super) fn clause(reader: &mut Reader<'_>, word: &str) -> Parsed<Option<Duration>> {
    if !reader.eat(word) {
        return Ok(None);
    }
    let (start, text) = reader.word(|c| c.is_ascii_alphanumeric() || c == '.');
    match parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(Some(time)),
        Ok(_) => reader.fail(
            "out-of-range",
            start,
            start + text.len(),
            format!("`{word}` needs a time above zero"),
            format!("write `{word} 30s`"),
        ),
        Err(error) => reader.fail(error.code, start, start + text.len(), error.message, error.hint),
    }
}

fn end(reader: &mut Reader<'_>) -> Parsed<()> {
    reader.skip_space();
    if reader.rest().is_empty() {
        return Ok(());
    }
    let at = reader.position;
    reader.fail(
        "bad-threshold",
        at,
        reader.text.len(),
        format!("`{}` is not understood", reader.rest()),
        "only `over TIME` and `for TIME` may follow the value",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_documented_examples() {
        let series = parse_series("http_req_duration{step:claim}: p(95) < 100ms").unwrap();
        assert_eq!((series.metric.name, series.selector["step"].as_str(), series.bound.value), ("http_req_duration", "claim", 0.1));
        let series = parse_series("http_req_failed: rate < 1% over 1m for 3m").unwrap();
        assert_eq!((series.window, series.hold), (Some(Duration::from_secs(60)), Some(Duration::from_secs(180))));
        let series = parse_series("pool_utilization{pool:main}: max < 80% over 30s").unwrap();
        assert!((series.bound.value - 0.8).abs() < 1e-12);
        let series = parse_series("http_reqs{step:groups}: rate >= 50/s").unwrap();
        assert_eq!((series.bound.op, series.bound.value), (Comparison::GreaterOrEqual, 50.0));
        assert!(matches!(
            parse_condition("verdict{profile:soak} == fail for 2 runs").unwrap(),
            Condition::Verdict { runs: 2, equal: true, .. }
        ));
    }

    #[test]
    fn refusals_point_at_the_offending_text() {
        for (text, code, at, hint) in [
            ("http_req_duration: p(95) < 200", "missing-unit", 27, "write `200ms` or `200s`"),
            ("http_req_durations: p(95) < 200ms", "unknown-metric", 0, "did you mean `http_req_duration`?"),
            ("http_req_failed: p(95) < 1%", "bad-threshold", 17, "use `rate`"),
            ("http_req_failed: rate 1%", "bad-threshold", 22, "use <, <=, >, >=, == or !="),
            ("http_req_failed: rate < 1% during 5m", "unknown-unit", 24, "write `1%`"),
            ("http_req_failed: rate < 1% over 5m please", "bad-threshold", 35, "only `over TIME` and `for TIME` may follow the value"),
            ("http_req_failed: rate < 1% over 5", "missing-unit", 32, "write `5ms` or `5s`"),
            ("http_req_failed: rate", "bad-threshold", 21, "use <, <=, >, >=, == or !="),
            ("http_req_failed: rate é", "bad-threshold", 22, "use <, <=, >, >=, == or !="),
            ("http_req_failed", "bad-threshold", 15, "write `http_req_failed: p(95) < 200ms`"),
        ] {
            let error = parse_series(text).unwrap_err();
            assert_eq!((error.code, error.at, error.hint.as_str()), (code, at, hint), "{text}");
        }
        assert_eq!(parse_condition("verdict == broken").unwrap_err().hint, "known: `pass`, `fail`, `no_data`, `invalid`");
    }
}

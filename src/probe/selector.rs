//! Which numbers of a page make one figure: `metric{label="v"}`, several added or subtracted, scaled by a constant.
//! Pure and small on purpose: no functions over time, no PromQL. Grammar and meaning: docs/probes.md.

use serde_json::{Value as Json, json};

use super::exposition::{Page, Sample, is_name};
use crate::registry::{Context, Decode, Node};

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Matcher {
    label: String,
    equal: bool,
    value: String,
}

/// How several samples that match become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fold {
    Sum,
    Max,
}

/// One metric with conditions on its labels.
#[derive(Debug, Clone, PartialEq)]
struct Term {
    metric: String,
    matchers: Vec<Matcher>,
    fold: Fold,
    /// Counts as nothing when the page lacks it (`?` behind it).
    optional: bool,
    /// 1 or -1.
    sign: f64,
}

/// A sum of terms times a factor: how one figure is read off a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    terms: Vec<Term>,
    factor: f64,
    /// As written.
    text: String,
}

/// The labels that tell one pool from another and their values in this pool.
pub type Group = Vec<(String, String)>;

impl Selector {
    /// Reads `a{x="1"} + b? - max(c)` with an optional `* 0.001` or `/ 1000` behind it.
    ///
    /// ```text
    /// selector = term { ("+" | "-") term } [ ("*" | "/") number ]
    /// term     = metric [ "{" matcher { "," matcher } "}" ] [ "?" ]  |  ("sum" | "max") "(" term ")" [ "?" ]
    /// matcher  = label ("=" | "!=") '"' value '"'
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text };
        let mut terms = vec![reader.term(1.0)?];
        let mut factor = 1.0;
        loop {
            if reader.eat('+') {
                terms.push(reader.term(1.0)?);
            } else if reader.eat('-') {
                terms.push(reader.term(-1.0)?);
            } else if reader.eat('*') {
                factor = reader.number()?;
                break;
            } else if reader.eat('/') {
                factor = 1.0 / reader.number()?;
                break;
            } else {
                break;
            }
        }
        let rest = reader.rest.trim();
        if !rest.is_empty() {
            return Err(format!("`{rest}` is too much"));
        }
        if !factor.is_finite() {
            return Err("the factor must be a number other than 0".into());
        }
        Ok(Self { terms, factor, text: text.trim().into() })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The values that `keys` take in the samples of the first term which also carry every pair of `wanted`, each once, in the page's order.
    /// Samples that lack a key have an empty value for it, as in Prometheus.
    pub fn groups(&self, page: &Page<'_>, keys: &[String], wanted: &[(String, String)]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let Some(first) = self.terms.first() else { return groups };
        for sample in first.samples(page) {
            if !wanted.iter().all(|(label, value)| sample.label(label).unwrap_or("") == value) {
                continue;
            }
            let group: Group = keys.iter().map(|key| (key.clone(), sample.label(key).unwrap_or("").into())).collect();
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// The figure for one group: `None` when the page lacks a term that is not optional, or the result is not finite.
    /// A sample that does not have a label of the group at all belongs to every group (a limit that is given once for all pools).
    pub fn value(&self, page: &Page<'_>, group: &[(String, String)]) -> Option<f64> {
        let mut sum = 0.0;
        let mut any = false;
        for term in &self.terms {
            match term.value(page, group) {
                Some(value) => {
                    sum += term.sign * value;
                    any = true;
                }
                None if term.optional => {}
                None => return None,
            }
        }
        let value = sum * self.factor;
        (any && value.is_finite()).then_some(value)
    }

    /// Whether the page has a sample of the first term.
    pub fn is_on(&self, page: &Page<'_>) -> bool {
        self.terms.first().is_some_and(|term| term.samples(page).next().is_some())
    }
}

impl Term {
    fn samples<'p, 'a>(&'p self, page: &'p Page<'a>) -> impl Iterator<Item = &'p Sample<'a>> {
        page.named(&self.metric).filter(|sample| {
            self.matchers.iter().all(|matcher| (sample.label(&matcher.label).unwrap_or("") == matcher.value) == matcher.equal)
        })
    }

    fn value(&self, page: &Page<'_>, group: &[(String, String)]) -> Option<f64> {
        let of_group = |sample: &&Sample<'_>| group.iter().all(|(label, value)| sample.label(label).is_none_or(|has| has == value));
        let values = self.samples(page).filter(of_group).map(|sample| sample.value);
        match self.fold {
            Fold::Sum => values.reduce(|a, b| a + b),
            // NaN must not vanish in a maximum: it was not measured.
            Fold::Max => values.reduce(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }),
        }
    }
}

/// What is left to read.
struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn eat(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn need(&mut self, c: char) -> Result<(), String> {
        if self.eat(c) { Ok(()) } else { Err(format!("`{c}` expected before `{}`", self.rest)) }
    }

    fn word(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Result<f64, String> {
        self.rest = self.rest.trim_start();
        let (word, rest) = self.rest.split_at(self.rest.find(char::is_whitespace).unwrap_or(self.rest.len()));
        self.rest = rest;
        let number: f64 = word.parse().map_err(|_| format!("`{word}` is not a number"))?;
        if number.is_finite() && number != 0.0 { Ok(number) } else { Err("the factor must be a number other than 0".into()) }
    }

    fn term(&mut self, sign: f64) -> Result<Term, String> {
        let word = self.word();
        let mut term = match (word, self.rest.starts_with('(')) {
            ("sum" | "max", true) => {
                self.need('(')?;
                let mut inner = self.term(sign)?;
                self.need(')')?;
                inner.fold = if word == "max" { Fold::Max } else { Fold::Sum };
                inner
            }
            (_, true) => return Err(format!("`{word}(…)` is not known; `sum(…)` and `max(…)` are")),
            _ if is_name(word, true) => {
                let matchers = if self.eat('{') { self.matchers()? } else { Vec::new() };
                Term { metric: word.into(), matchers, fold: Fold::Sum, optional: false, sign }
            }
            _ => return Err(format!("a metric name expected before `{}`", if word.is_empty() { self.rest } else { word })),
        };
        term.optional |= self.eat('?');
        Ok(term)
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, String> {
        let mut matchers = Vec::new();
        while !self.eat('}') {
            let label = self.word();
            if !is_name(label, false) {
                return Err(format!("a label name expected before `{}`", self.rest));
            }
            let equal = !self.eat('!');
            self.need('=')?;
            self.need('"')?;
            let (value, rest) = self.rest.split_once('"').ok_or("a quote is not closed")?;
            self.rest = rest;
            matchers.push(Matcher { label: label.into(), equal, value: value.into() });
            if !self.eat(',') {
                self.need('}')?;
                break;
            }
        }
        Ok(matchers)
    }
}

impl Decode for Selector {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        match Self::parse(&text) {
            Ok(selector) => Some(selector),
            Err(what) => {
                let hint = "write `metric{label=\"value\"}`, several joined by `+` or `-`, and `* 0.001` or `/ 1000` for another unit";
                cx.diagnostics.push("bad-selector", node.span, format!("`{text}` is not a selector: {what}"), hint);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "examples": ["db_connections{state=\"used\"}"]})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = "\
        used{pool=\"a\",host=\"1\"} 3\nused{pool=\"a\",host=\"2\"} 4\nused{pool=\"b\",host=\"1\"} 5\n\
        limit{pool=\"a\"} 10\nlimit{pool=\"b\"} 20\nreserve 2\nbroken NaN\nmillis 1500\n";

    fn value(text: &str, group: &[(&str, &str)]) -> Option<f64> {
        let group: Group = group.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Selector::parse(text).unwrap().value(&Page::parse(PAGE).unwrap(), &group)
    }

    #[test]
    fn reads_figures_off_a_page() {
        let a = [("pool", "a")];
        for (text, group, expected) in [
            ("used", &[][..], Some(12.0)),
            ("used", &a[..], Some(7.0)),
            ("max(used)", &a[..], Some(4.0)),
            ("used{host=\"1\"}", &[][..], Some(8.0)),
            ("used{host!=\"1\"}", &[][..], Some(4.0)),
            ("used{host=\"1\", pool=\"b\",}", &[][..], Some(5.0)),
            // A label that a sample lacks counts as empty.
            ("reserve{pool=\"\"}", &[][..], Some(2.0)),
            // Given once, it holds for every pool.
            ("limit - reserve", &a[..], Some(8.0)),
            ("limit + gone?", &a[..], Some(10.0)),
            ("limit + sum(gone)?", &a[..], Some(10.0)),
            ("limit + gone", &a[..], None),
            ("gone?", &a[..], None),
            ("gone", &[][..], None),
            ("broken", &[][..], None),
            ("max(broken)", &[][..], None),
            ("millis / 1000", &[][..], Some(1.5)),
            ("millis + reserve * 1e-3", &[][..], Some(1.502)),
        ] {
            match (value(text, group), expected) {
                (Some(value), Some(expected)) => assert!((value - expected).abs() < 1e-12, "{text}: {value}"),
                (value, expected) => assert_eq!(value, expected, "{text}"),
            }
        }
    }

    #[test]
    fn finds_the_groups_of_a_page() {
        let page = Page::parse(PAGE).unwrap();
        let used = Selector::parse("used").unwrap();
        let names = |wanted: &[(String, String)]| -> Vec<String> {
            used.groups(&page, &["pool".into()], wanted).into_iter().map(|group| group[0].1.clone()).collect()
        };
        assert_eq!(names(&[]), ["a", "b"]);
        assert_eq!(names(&[("host".into(), "2".into())]), ["a"]);
        assert_eq!(used.groups(&page, &[], &[]), [Group::new()]);
    }

    #[test]
    fn says_what_it_cannot_read() {
        for (text, what) in [
            ("", "a metric name expected before ``"),
            ("a b", "`b` is too much"),
            ("a +", "a metric name expected before ``"),
            ("rate(a)", "`rate(…)` is not known; `sum(…)` and `max(…)` are"),
            ("a{b}", "`=` expected before `}`"),
            ("a{b=c}", "`\"` expected before `c}`"),
            ("a{b=\"c}", "a quote is not closed"),
            ("a / 0", "the factor must be a number other than 0"),
            ("a * x", "`x` is not a number"),
            ("1a", "a metric name expected before `1a`"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err(), what, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "([a-z]{1,3}|[{}()=!\"+*/?,-]|[0-9.]{1,2}| |sum|max|ü){0,12}") {
            let _ = Selector::parse(&text);
        }
    }
}

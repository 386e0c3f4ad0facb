//! YAML text to `registry::Node`: values with their places, through serde-saphyr. Knows no keys and no meaning.
//! Quoted scalars stay texts, plain ones become numbers and truth values with their text kept beside; doubles of a key are
//! reported with both places. Anchors, aliases and merge keys are expanded by the parser, within its budget.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, MessageFormatter, UserMessageFormatter};

use crate::registry::{Diagnostics, Entry, Node, Span, Value};

/// A value of the document, doubles of keys still in it.
enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Located>),
    Map(Vec<(serde_saphyr::Spanned<String>, Located)>),
}

type Located = serde_saphyr::Spanned<Tree>;

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }
    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value as f64))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

/// Reads one document. What is wrong goes to `diagnostics`; `None` when there is no tree at all (a syntax error).
/// `file` is the index that every span of the tree carries. An empty document is `Null`.
pub(crate) fn parse(file: usize, text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reader = Reader { file, text };
    // The parser stops at the first double key. "Last wins" hands every entry of a mapping to the visitor, so that all doubles
    // can be reported with both places; the strict pass before it sees also those that the parser would resolve by itself.
    let strict = match read(text, DuplicateKeyPolicy::Error) {
        Ok(tree) => return Some(reader.node(tree, None, diagnostics)),
        Err(error) => error,
    };
    if !matches!(strict.without_snippet(), Error::DuplicateMappingKey { .. }) {
        reader.refuse(&strict, diagnostics);
        return None;
    }
    let before = diagnostics.0.len();
    match read(text, DuplicateKeyPolicy::LastWins) {
        Ok(tree) => {
            let node = reader.node(tree, None, diagnostics);
            if !diagnostics.0[before..].iter().any(|mistake| mistake.code == "duplicate-key") {
                reader.refuse(&strict, diagnostics);
            }
            Some(node)
        }
        Err(error) => {
            reader.refuse(&error, diagnostics);
            None
        }
    }
}

fn read(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Located, Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

struct Reader<'a> {
    file: usize,
    text: &'a str,
}

impl Reader<'_> {
    fn span(&self, location: Location) -> Option<Span> {
        let (line, column) = (location.line() as usize, location.column() as usize);
        let len = (location.span().len() as usize).max(1);
        (line > 0).then_some(Span { file: self.file, line, column, len })
    }

    /// The text of a scalar as written.
    fn written(&self, location: Location) -> Option<&str> {
        let (start, len) = (location.span().byte_offset()?, location.span().byte_len()?);
        self.text.get(start as usize..(start + len) as usize)
    }

    fn node(&self, located: Located, key: Option<Span>, diagnostics: &mut Diagnostics) -> Node {
        // Where a value is defined, not where an alias refers to it: the text at fault stands there.
        let defined = located.defined;
        let own = self.span(defined).or_else(|| self.span(located.referenced)).or(key);
        let own = own.unwrap_or(Span { file: self.file, line: 1, column: 1, len: 1 });
        match located.value {
            Tree::Null => Node { span: key.unwrap_or(own), value: Value::Null },
            Tree::Bool(value) => Node { span: own, value: Value::Bool(value) },
            Tree::Number(value) => {
                let text = self.written(defined).map(str::trim).filter(|text| text.starts_with(['-', '+', '.']) || starts_with_digit(text));
                Node { span: own, value: Value::Number(value, text.map_or_else(|| value.to_string(), str::to_owned)) }
            }
            Tree::Text(text) => Node { span: own, value: Value::Text(text) },
            Tree::List(items) => {
                let items = items.into_iter().map(|item| self.node(item, None, diagnostics)).collect();
                Node { span: key.unwrap_or(own), value: Value::List(items) }
            }
            Tree::Map(entries) => self.map(entries, key, own, diagnostics),
        }
    }

    /// A mapping is shown by its key where it has one, else by its first key: its own place is only a point.
    fn map(
        &self,
        entries: Vec<(serde_saphyr::Spanned<String>, Located)>,
        key: Option<Span>,
        own: Span,
        diagnostics: &mut Diagnostics,
    ) -> Node {
        let mut read: Vec<Entry> = Vec::with_capacity(entries.len());
        for (name, located) in entries {
            let span = self.span(name.defined).or_else(|| self.span(name.referenced)).unwrap_or(own);
            let node = self.node(located, Some(span), diagnostics);
            match read.iter().find(|entry| entry.key == name.value) {
                Some(first) if first.span != span => diagnostics.push_pair(
                    "duplicate-key",
                    span,
                    format!("the key `{}` is given twice", name.value),
                    "keep one of them",
                    (first.span, "first given here".into()),
                ),
                Some(_) => {}
                None => read.push(Entry { key: name.value, span, node }),
            }
        }
        let span = key.or_else(|| read.first().map(|entry| entry.span)).unwrap_or(own);
        Node { span, value: Value::Map(read) }
    }

    fn refuse(&self, error: &Error, diagnostics: &mut Diagnostics) {
        let error = error.without_snippet();
        let code = if matches!(error, Error::DuplicateMappingKey { .. }) { "duplicate-key" } else { "yaml-syntax" };
        let place = error.location().and_then(|location| self.span(location));
        let span = place.unwrap_or(Span { file: self.file, line: 1, column: 1, len: 1 });
        let message = UserMessageFormatter.format_message(error).into_owned();
        let hint = if matches!(error, Error::MultipleDocuments { .. }) {
            "one document a file: remove the `---`"
        } else if code == "duplicate-key" {
            "keep one of them"
        } else {
            "the file cannot be read from here on"
        };
        diagnostics.push(code, span, message, hint);
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ok(text: &str) -> Node {
        let mut diagnostics = Diagnostics::default();
        let node = parse(0, text, &mut diagnostics).unwrap();
        assert!(diagnostics.is_empty(), "{:?}", diagnostics.0);
        node
    }

    fn mistakes(text: &str) -> Vec<(&'static str, usize, usize, Option<usize>)> {
        let mut diagnostics = Diagnostics::default();
        parse(0, text, &mut diagnostics);
        diagnostics.0.iter().map(|m| (m.code, m.span.line, m.span.column, m.other.as_ref().map(|o| o.0.line))).collect()
    }

    fn span(node: &Node) -> (usize, usize, usize) {
        (node.span.line, node.span.column, node.span.len)
    }

    #[test]
    fn plain_scalars_are_typed_and_quoted_ones_are_texts() {
        for (text, value) in [
            ("1", Value::Number(1.0, "1".into())),
            ("1_000", Value::Number(1000.0, "1_000".into())),
            ("-2.50", Value::Number(-2.5, "-2.50".into())),
            ("\"1\"", Value::Text("1".into())),
            ("'true'", Value::Text("true".into())),
            ("true", Value::Bool(true)),
            ("off", Value::Text("off".into())),
            ("~", Value::Null),
            (".inf", Value::Text(".inf".into())),
            ("5m", Value::Text("5m".into())),
            ("!!str 7", Value::Text("7".into())),
            ("007", Value::Number(7.0, "007".into())),
        ] {
            assert_eq!(ok(&format!("k: {text}\n")).get("k").unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn every_value_knows_its_place() {
        let node = ok("# a comment\na:\n  b: \"x y\" # trailing\n  cä: [1, two ]\n  d: { e: < 200ms }\n  f: |\n    x\n    y\n");
        let a = node.get("a").unwrap();
        assert_eq!(span(a), (2, 1, 1), "a mapping stands where its key stands");
        assert_eq!(span(a.get("b").unwrap()), (3, 6, 5), "quotes included");
        let Value::List(items) = &a.get("cä").unwrap().value else { panic!() };
        assert_eq!((span(&items[0]), span(&items[1])), ((4, 8, 1), (4, 11, 3)));
        assert_eq!(span(a.get("d").unwrap().get("e").unwrap()), (5, 11, 7));
        assert_eq!(a.entries()[1].span, Span { file: 0, line: 4, column: 3, len: 2 });
        assert_eq!(a.get("f").unwrap().value, Value::Text("x\ny\n".into()));
    }

    #[test]
    fn anchors_aliases_and_merges_are_expanded() {
        let node = ok("base: &b { x: 1, y: 2 }\nuse:\n  <<: *b\n  y: 3\nagain: *b\n");
        let used = node.get("use").unwrap();
        assert_eq!(used.get("x").unwrap().scalar().as_deref(), Some("1"));
        assert_eq!(used.get("y").unwrap().scalar().as_deref(), Some("3"));
        assert_eq!(span(node.get("again").unwrap().get("x").unwrap()), (1, 15, 1), "the place of the definition");
    }

    #[test]
    fn doubles_are_all_reported_with_both_places() {
        assert_eq!(mistakes("a: 1\nb: 2\na: 3\nb: 4\n"), [("duplicate-key", 3, 1, Some(1)), ("duplicate-key", 4, 1, Some(2))]);
        assert_eq!(mistakes("x: { 1: a, 1: b }\n").len(), 1, "also doubles that the parser resolves by itself");
        let merged = "base: &b { y: 2 }\nuse: { <<: *b, y: 3 }\nd: 1\nd: 2\n";
        assert_eq!(mistakes(merged), [("duplicate-key", 4, 1, Some(3))], "overriding a merged key is no double");
    }

    #[test]
    fn what_is_no_yaml_is_one_mistake_with_a_place() {
        for text in ["a: [1, 2\nb: 3\n", "a: \"open\n", "a: b: c\n", "a: 1\n---\nb: 2\n", "a: *nowhere\n", "a: &a [*a]\n", "? [x]\n: y\n"] {
            let found = mistakes(text);
            assert_eq!((found.len(), found.first().map(|m| m.0)), (1, Some("yaml-syntax")), "{text:?}: {found:?}");
            assert!(found[0].1 > 0);
        }
        assert_eq!(ok("").value, Value::Null);
        assert_eq!(ok("# only a comment\n").value, Value::Null);
        assert_eq!(ok("\u{feff}a: 1\r\nb: 2\r\n").entries().len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c:&*<>!|?\\-\\[\\]{},#\"'\\\\ \t\n0-9é~%@`]{0,60}") {
            let mut diagnostics = Diagnostics::default();
            let node = parse(0, &text, &mut diagnostics);
            prop_assert!(node.is_some() || !diagnostics.is_empty());
        }
    }
}

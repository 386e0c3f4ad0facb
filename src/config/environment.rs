//! `${NAME}` in the values of a configuration: replaced by environment variables before anything is decoded, so that a value
//! can never change the structure of the file. `$${` stands for a literal `${`. In flows, and in what says how requests prove who
//! asks, names that are not written in capitals belong to the flow: they and `$${` are left as they are, for its templates.

use super::sources::Sources;
use crate::registry::{Diagnostic, Diagnostics, Node, Span, Value};

/// Looks up environment variables; the one place where configuration meets the process.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What was put in, to keep it out of messages, and where nothing could be.
#[derive(Default)]
pub(crate) struct Substituted {
    /// Value and name.
    values: Vec<(String, String)>,
    /// Scalars with a variable that has no value: what else is wrong with them only follows from that.
    unfilled: Vec<Span>,
}

/// Values shorter than this are no secrets, and putting names in their place would only garble messages.
const SHORTEST_SECRET: usize = 4;

impl Substituted {
    /// `text` with every value replaced by the name that it came from.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for (value, name) in &self.values {
            hidden = hidden.replace(value, &format!("${{{name}}}"));
        }
        hidden
    }

    /// True when the mistake speaks of a scalar that could not be filled in.
    pub(crate) fn explains(&self, mistake: &Diagnostic) -> bool {
        let at = mistake.span;
        !matches!(mistake.code, "unset-variable" | "unknown-variable")
            && self.unfilled.iter().any(|span| span.file == at.file && span.line == at.line && span.column <= at.column)
            && self.unfilled.iter().any(|span| at.column < span.column + span.len)
    }
}

/// Replaces all variables in the values below `node`.
pub(crate) fn substitute(node: &mut Node, lookup: Lookup<'_>, sources: &Sources, diagnostics: &mut Diagnostics) -> Substituted {
    let mut pass = Pass { lookup, sources, diagnostics, done: Substituted::default() };
    pass.walk(node, &mut Vec::new());
    // Longest first, so that a value that contains another is hidden as a whole.
    pass.done.values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    pass.done
}

struct Pass<'a> {
    lookup: Lookup<'a>,
    sources: &'a Sources,
    diagnostics: &'a mut Diagnostics,
    done: Substituted,
}

/// Places whose texts are filled in per iteration, `*` standing for a name of the user's choice; everything below them belongs to them.
const FLOWS: [&[&str]; 6] = [
    &["profiles", "*", "setup"],
    &["profiles", "*", "teardown"],
    &["profiles", "*", "scenarios", "*", "flow"],
    &["profiles", "*", "scenarios", "*", "auth"],
    &["targets", "*", "auth"],
    &["targets", "*", "identities"],
];

/// What a text is, and so what may stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only environment variables.
    Setting,
    /// A part of a flow: other names and `$${` are left to it.
    Flow,
}

fn kind_of(path: &[String]) -> Kind {
    let begins = |flow: &&[&str]| flow.len() <= path.len() && flow.iter().zip(path).all(|(key, found)| *key == "*" || *key == found);
    if FLOWS.iter().any(begins) { Kind::Flow } else { Kind::Setting }
}

impl Pass<'_> {
    fn walk(&mut self, node: &mut Node, path: &mut Vec<String>) {
        match &mut node.value {
            Value::Map(entries) => {
                for entry in entries {
                    path.push(entry.key.clone());
                    self.walk(&mut entry.node, path);
                    path.pop();
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| self.walk(item, path)),
            Value::Text(text) if text.contains("${") => {
                let written = self.sources.file(node.span).and_then(|source| source.written(node.span));
                let plain = written.is_some_and(|written| !written.starts_with(['"', '\'', '|', '>', '!']));
                let text = text.clone();
                let before = self.diagnostics.0.len();
                let filled = self.fill(&text, node.span, kind_of(path));
                if self.diagnostics.0.len() > before {
                    self.done.unfilled.push(node.span);
                }
                node.value = if plain { typed(filled) } else { Value::Text(filled) };
            }
            Value::Text(_) | Value::Null | Value::Bool(_) | Value::Number(..) => {}
        }
    }

    fn fill(&mut self, text: &str, place: Span, kind: Kind) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            let literal = before.strip_suffix('$');
            filled.push_str(literal.unwrap_or(before));
            if literal.is_some() {
                filled.push_str(if kind == Kind::Flow { "$${" } else { "${" });
                rest = &from[2..];
                continue;
            }
            let name = from[2..].split('}').next().unwrap_or_default();
            if kind == Kind::Flow && !(is_environment_name(name) && from.len() > name.len() + 2) {
                // The flow's own, also when it is not closed: its templates say so.
                filled.push_str("${");
                rest = &from[2..];
                continue;
            }
            let Some(end) = from.find('}') else {
                let span = self.sources.find(place, from, 0);
                self.diagnostics.push("unknown-variable", span, "a `${` is not closed", "add `}`, or write `$${` for a literal `${`");
                return filled;
            };
            let value = self.value(&from[2..end], text, text.len() - rest.len() + at, place);
            rest = &from[end + 1..];
            if kind == Kind::Flow && value.ends_with('$') && rest.starts_with("${") {
                let span = self.sources.find(place, &from[..=end], 0);
                let message =
                    format!("the value of `{}` ends with a `$`, which would make the `${{` after it a literal one", &from[..=end]);
                self.diagnostics.push("bad-template", span, message, "put something between them");
            }
            match kind {
                Kind::Setting => filled.push_str(&value),
                Kind::Flow => filled.push_str(&guarded(&value, rest)),
            }
        }
        filled.push_str(rest);
        filled
    }

    fn value(&mut self, name: &str, text: &str, at: usize, place: Span) -> String {
        let whole = format!("${{{name}}}");
        let span = self.sources.find(place, &whole, text[..at].matches(&whole).count());
        if !is_environment_name(name) {
            let message = format!("`{whole}` cannot be filled in here: only flows have variables of their own");
            let hint = "write `${NAME}` in capitals for an environment variable, or `$${` for a literal `${`";
            self.diagnostics.push("unknown-variable", span, message, hint);
            return String::new();
        }
        let Some(value) = (self.lookup)(name) else {
            let message = format!("the environment variable `{name}` is not set");
            self.diagnostics.push("unset-variable", span, message, "set it, or write `$${` for a literal `${`");
            return String::new();
        };
        if value.len() >= SHORTEST_SECRET && !self.done.values.iter().any(|(known, _)| *known == value) {
            self.done.values.push((value.clone(), name.to_owned()));
        }
        value
    }
}

/// The value of a variable as a flow takes it for what it is: a `${` in it is none of the flow's, nor one that it makes together with
/// what follows.
fn guarded(value: &str, next: &str) -> String {
    let mut guarded = value.replace("${", "$${");
    if value.ends_with('$') && next.starts_with('{') {
        guarded.push('$');
    }
    guarded
}

fn is_environment_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// What the text would be, had it been written plainly in the file.
fn typed(text: String) -> Value {
    match text.as_str() {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') && !text.ends_with('.');
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Value::Number(number, text),
        _ => Value::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> (Node, Diagnostics, Substituted) {
        let mut diagnostics = Diagnostics::default();
        let mut sources = Sources::default();
        let mut node = sources.add("x.yaml".into(), text.into(), &mut diagnostics).unwrap();
        let lookup = |name: &str| match name {
            "VUS" => Some("50".into()),
            "PASSWORD" => Some("hunter22".into()),
            "EMPTY" => Some(String::new()),
            "PLACEHOLDER" => Some("a${token}".into()),
            "DOLLAR" => Some("5$".into()),
            "EVIL" => Some("x: [1, 2]\ny: ${PASSWORD}".into()),
            _ => None,
        };
        let substituted = substitute(&mut node, &lookup, &sources, &mut diagnostics);
        (node, diagnostics, substituted)
    }

    #[test]
    fn values_are_filled_in_and_typed_as_if_written() {
        for (text, value) in [
            ("${VUS}", Value::Number(50.0, "50".into())),
            ("\"${VUS}\"", Value::Text("50".into())),
            ("${VUS}s", Value::Text("50s".into())),
            ("\"a ${PASSWORD} b ${VUS}\"", Value::Text("a hunter22 b 50".into())),
            ("x$${VUS}", Value::Text("x${VUS}".into())),
            ("\"${EMPTY}\"", Value::Text(String::new())),
            ("${EVIL}", Value::Text("x: [1, 2]\ny: ${PASSWORD}".into())),
            ("\"$VUS $ {VUS}\"", Value::Text("$VUS $ {VUS}".into())),
        ] {
            let (node, diagnostics, _) = run(&format!("k: {text}\n"));
            assert!(diagnostics.is_empty(), "{text}: {:?}", diagnostics.0);
            assert_eq!(node.get("k").unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_shown_where_it_stands() {
        let (_, diagnostics, _) = run("a: \"${NOPE} ${NOPE}\"\nb: ${token}\nc: |\n  x\n  y ${OTHER}\nd: \"open ${VUS\"\n");
        let found: Vec<_> = diagnostics.0.iter().map(|m| (m.code, m.span.line, m.span.column, m.span.len)).collect();
        assert_eq!(
            found,
            [
                ("unset-variable", 1, 5, 7),
                ("unset-variable", 1, 13, 7),
                ("unknown-variable", 2, 4, 8),
                ("unset-variable", 5, 5, 8),
                ("unknown-variable", 6, 10, 5)
            ]
        );
    }

    #[test]
    fn flows_keep_what_is_theirs() {
        let in_flow = |text: &str| {
            let (node, diagnostics, _) = run(&format!("profiles: {{ p: {{ scenarios: {{ s: {{ flow: [\"{text}\"] }} }} }} }}\n"));
            let mut at = &node;
            for key in ["profiles", "p", "scenarios", "s", "flow"] {
                at = at.get(key).unwrap();
            }
            let Value::List(items) = &at.value else { panic!() };
            (items[0].scalar().unwrap(), diagnostics.0.len())
        };
        for (text, filled) in [
            ("${token} ${VUS} ${users.NAME} ${seq(A)}", "${token} 50 ${users.NAME} ${seq(A)}"),
            ("$${token} $${VUS}", "$${token} $${VUS}"),
            ("${rand.int(1, ${VUS})}", "${rand.int(1, 50)}"),
            ("open ${token", "open ${token"),
            ("${PLACEHOLDER}", "a$${token}"),
            ("${DOLLAR}{token}", "5$${token}"),
            ("${DOLLAR}", "5$"),
        ] {
            assert_eq!(in_flow(text), (filled.to_owned(), 0), "{text}");
        }
        assert_eq!(in_flow("${NOPE} ${token}").1, 1);
        assert_eq!(in_flow("${DOLLAR}${token}").1, 1);
    }

    #[test]
    fn only_flows_have_variables() {
        let places = [
            ("targets: { t: { auth: { bearer: \"${x}\" } } }", 0),
            ("targets: { t: { identities: { a: { login: { token: \"${x}\" } } } } }", 0),
            ("profiles: { p: { setup: [{ get: \"${x}\" }], teardown: [{ get: \"${x}\" }] } }", 0),
            ("profiles: { p: { scenarios: { s: { auth: { bearer: \"${x}\" }, flow: [{ json: { flow: \"${x}\" } }] } } } }", 0),
            ("profiles: { p: { scenarios: { s: { data: { d: { csv: \"${x}\" } } } } } }", 1),
            ("targets: { t: { base_url: \"${x}\" } }", 1),
            ("alerts: { rules: { flow: { when: \"${x}\" } } }", 1),
        ];
        for (text, mistakes) in places {
            let (_, diagnostics, _) = run(&format!("{text}\n"));
            assert_eq!(diagnostics.0.len(), mistakes, "{text}");
        }
    }

    #[test]
    fn values_never_reach_a_message() {
        let (_, _, substituted) = run("a: \"${PASSWORD}\"\nb: ${VUS}\n");
        assert_eq!(substituted.hide("`postgres://u:hunter22@db` is wrong, 50"), "`postgres://u:${PASSWORD}@db` is wrong, 50");
    }
}

//! What stands in `${…}`: a dotted name, maybe with arguments: `token`, `user.id`, `users.name`, `setup.key`, `rand.int(1, 100)`.

use super::generator::{self, Generator};
use crate::registry::suggest;

/// What stands in `${…}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// As written, without `${` and `}`.
    pub source: String,
    /// Where its value comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// It is made up anew each time.
    Generator(Generator),
    /// A variable of the run's setup: `setup.NAME`, and the members below.
    Setup(String, Vec<Member>),
    /// A variable and the members below, or a feeder and its column (and the members below).
    Name(String, Vec<Member>),
}

/// A step into a value: the member of an object, or the index of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As written: `id`, `0`.
    pub name: String,
    /// The name as an index, if it is one.
    pub index: Option<usize>,
}

/// Why an expression cannot be read: what is wrong, and what to do.
pub(super) type Refusal = (String, String);

/// An argument of a generator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Expression {
    /// Reads what stands between `${` and `}`.
    pub(super) fn parse(source: &str) -> Result<Self, Refusal> {
        let text = source.trim();
        let whole = format!("`${{{text}}}`");
        let (name, arguments) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let Some(inside) = rest.strip_suffix(')') else {
                    return Err((format!("{whole} has a `(` without a `)` at its end"), "write `${rand.int(1, 100)}`".into()));
                };
                (name.trim_end(), Some(arguments(inside)))
            }
        };
        let mut segments = name.split('.');
        let head = segments.next().unwrap_or_default();
        if !is_head(head) || !segments.clone().all(is_segment) {
            return Err((format!("{whole} is no name"), not_a_name(text)));
        }
        let origin = if let Some(made) = generator::parse(name, arguments.as_deref()) {
            Origin::Generator(made?)
        } else if arguments.is_some() {
            return Err((format!("`{name}` takes no arguments: it is no generator"), suggest(name, known())));
        } else if head == "setup" {
            let Some(variable) = segments.next() else {
                return Err(("`${setup}` lacks the name of a variable".into(), "write `${setup.NAME}`".into()));
            };
            Origin::Setup(variable.into(), segments.map(Member::new).collect())
        } else {
            Origin::Name(head.into(), segments.map(Member::new).collect())
        };
        Ok(Self { source: text.into(), origin })
    }

    /// The name that must be known: of a variable, a feeder or a generator; for `setup.NAME` it is `setup`.
    pub fn head(&self) -> &str {
        self.source.split(['.', '(']).next().unwrap_or_default().trim_end()
    }

    /// The members behind the name: of a feeder the first is its column.
    pub fn members(&self) -> &[Member] {
        match &self.origin {
            Origin::Generator(_) => &[],
            Origin::Setup(_, members) | Origin::Name(_, members) => members,
        }
    }
}

impl Member {
    fn new(name: &str) -> Self {
        Self { name: name.into(), index: name.parse().ok() }
    }
}

fn known() -> impl Iterator<Item = &'static str> + Clone {
    generator::known_generators()
}

fn is_head(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && is_segment(name)
}

fn is_segment(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}

fn not_a_name(text: &str) -> String {
    if text.is_empty() {
        "write the name of a variable, such as `${token}`, or `$${` for a literal `${`".into()
    } else if text.contains('[') {
        format!("write `${{{}}}`", text.replace('[', ".").replace([']', '"', '\''], "").trim_start_matches('.'))
    } else {
        "write a name such as `${token}`, `${user.id}` or `${items.0.id}`; there is no arithmetic".into()
    }
}

/// Arguments, cut at commas outside quotes and trimmed.
fn arguments(inside: &str) -> Vec<Argument> {
    if inside.trim().is_empty() {
        return Vec::new();
    }
    let mut list = Vec::new();
    let (mut start, mut quote) = (0, None);
    for (at, c) in inside.char_indices() {
        match (c, quote) {
            (',', None) => {
                list.push(argument(&inside[start..at]));
                start = at + 1;
            }
            ('"' | '\'', None) if inside[start..at].trim().is_empty() => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    list.push(argument(&inside[start..]));
    list
}

fn argument(text: &str) -> Argument {
    let text = text.trim();
    let inner = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    Argument { text: inner.unwrap_or(text).into(), quoted: inner.is_some() }
}

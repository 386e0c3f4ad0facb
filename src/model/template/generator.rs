//! Generators: values that are made up anew each time a template is filled in. Their names are reserved: no variable and no feeder
//! may have them. What they give: docs/flows.md, "Generators".

use serde_json::Value;

use super::expression::{Argument, Refusal};
use crate::registry::suggest;

/// Makes up a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Generator {
    /// A random UUID (RFC 9562, version 4).
    Uuid,
    /// The next number of the run, from 1; with a name, of a count of that name.
    Seq(Option<String>),
    /// A whole number, both bounds possible.
    Int(i64, i64),
    /// A number from the first bound up to, but without, the second.
    Float(f64, f64),
    /// So many lower-case hexadecimal digits.
    Hex(usize),
    /// So many letters and digits.
    Alnum(usize),
    /// One of these.
    Choice(Vec<Value>),
    /// An address below `example.com`.
    Email,
    /// First and last name.
    Name,
    /// A first name.
    FirstName,
    /// A last name.
    LastName,
    /// Unix time in milliseconds.
    Now,
    /// Unix time in seconds.
    NowSeconds,
    /// UTC time as in RFC 3339, with milliseconds.
    NowIso,
    /// Number of the VU, from 1.
    Vu,
    /// Number of the iteration in its scenario, from 0.
    Iteration,
    /// Number of the iteration among those of its VU, from 0.
    IterationOfVu,
}

/// Name, form and meaning of every generator, for messages and the reference.
pub const GENERATORS: [(&str, &str, &str); 19] = [
    ("uuid", "uuid", "a random UUID"),
    ("seq", "seq", "1, 2, 3 …: every number once in the whole run"),
    ("seq", "seq(orders)", "the same, with a count of its own for this name"),
    ("rand.int", "rand.int(1, 100)", "a whole number; both bounds are possible"),
    ("rand.float", "rand.float(0.5, 2)", "a number; the second bound is not reached"),
    ("rand.uuid", "rand.uuid", "the same as `uuid`"),
    ("rand.hex", "rand.hex(16)", "so many hexadecimal digits"),
    ("rand.alnum", "rand.alnum(16)", "so many letters and digits"),
    ("rand.choice", "rand.choice(red, green, 'dark blue')", "one of these; numbers, `true`, `false` and `null` are such unless quoted"),
    ("email", "email", "an address below `example.com`"),
    ("name", "name", "a first and a last name"),
    ("first_name", "first_name", "a first name"),
    ("last_name", "last_name", "a last name"),
    ("now", "now", "the time, in milliseconds since 1970"),
    ("now.s", "now.s", "the time, in seconds since 1970"),
    ("now.iso", "now.iso", "the time as `2026-11-21T02:00:00.000Z`"),
    ("vu", "vu", "the number of the VU in its scenario, from 1"),
    ("iteration", "iteration", "the number of the iteration in its scenario, from 0"),
    ("iteration.vu", "iteration.vu", "the number of the iteration among those of its VU, from 0"),
];

/// Longest text that a generator makes.
const LONGEST: usize = 1 << 20;

/// The names of all generators.
pub fn known_generators() -> impl Iterator<Item = &'static str> + Clone {
    GENERATORS.iter().filter(|(name, form, _)| *name != "seq" || form == name).map(|(name, ..)| *name)
}

/// True for names that variables and feeders cannot have, because `${NAME}` means something else.
pub fn is_reserved(name: &str) -> bool {
    name == "setup" || known_generators().any(|known| known.split('.').next() == Some(name))
}

/// The generator of this name; `None` when the name does not belong to one.
pub(super) fn parse(name: &str, arguments: Option<&[Argument]>) -> Option<Result<Generator, Refusal>> {
    let head = name.split('.').next().unwrap_or_default();
    if head == "setup" || !is_reserved(head) {
        return None;
    }
    let Some((_, form, _)) = GENERATORS.iter().rev().find(|(known, ..)| *known == name) else {
        return Some(Err((format!("there is no generator `{name}`"), suggest(name, known_generators()))));
    };
    let made = match (name, arguments) {
        ("uuid" | "rand.uuid", None) => Some(Generator::Uuid),
        ("seq", None) => Some(Generator::Seq(None)),
        ("seq", Some([name])) if !name.text.is_empty() => Some(Generator::Seq(Some(name.text.clone()))),
        ("rand.int", Some([from, to])) => bounds(from, to).map(|(from, to)| Generator::Int(from, to)),
        ("rand.float", Some([from, to])) => {
            bounds(from, to).filter(|(from, to): &(f64, f64)| (to - from).is_finite()).map(|(from, to)| Generator::Float(from, to))
        }
        ("rand.hex", Some([length])) => self::length(length).map(Generator::Hex),
        ("rand.alnum", Some([length])) => self::length(length).map(Generator::Alnum),
        ("rand.choice", Some(choices @ [_, ..])) => Some(Generator::Choice(choices.iter().map(scalar).collect())),
        ("email", None) => Some(Generator::Email),
        ("name", None) => Some(Generator::Name),
        ("first_name", None) => Some(Generator::FirstName),
        ("last_name", None) => Some(Generator::LastName),
        ("now", None) => Some(Generator::Now),
        ("now.s", None) => Some(Generator::NowSeconds),
        ("now.iso", None) => Some(Generator::NowIso),
        ("vu", None) => Some(Generator::Vu),
        ("iteration", None) => Some(Generator::Iteration),
        ("iteration.vu", None) => Some(Generator::IterationOfVu),
        _ => None,
    };
    Some(made.ok_or_else(|| refusal(name, form, arguments)))
}

fn refusal(name: &str, form: &str, arguments: Option<&[Argument]>) -> Refusal {
    let takes_some = form.contains('(');
    let message = match (name, arguments) {
        (_, Some(_)) if !takes_some => format!("`{name}` takes no arguments"),
        (_, None) => format!("`{name}` lacks its arguments"),
        ("rand.int", _) => "`rand.int` takes two whole numbers, the lower first".into(),
        ("rand.float", _) => "`rand.float` takes two numbers, the lower first".into(),
        ("rand.hex" | "rand.alnum", _) => format!("`{name}` takes a length from 1 to {LONGEST}"),
        (_, Some(_)) => format!("`{name}` does not take such arguments"),
    };
    (message, format!("write `${{{form}}}`"))
}

fn bounds<T: std::str::FromStr + PartialOrd>(from: &Argument, to: &Argument) -> Option<(T, T)> {
    let (from, to) = (from.text.parse().ok()?, to.text.parse().ok()?);
    (from <= to).then_some((from, to))
}

fn length(argument: &Argument) -> Option<usize> {
    argument.text.parse().ok().filter(|length| (1..=LONGEST).contains(length))
}

/// A number, `true`, `false` or `null` unless quoted; else a text.
fn scalar(argument: &Argument) -> Value {
    let typed = (!argument.quoted).then(|| serde_json::from_str(&argument.text).ok()).flatten();
    match typed {
        Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        Some(Value::String(_) | Value::Array(_) | Value::Object(_)) | None => Value::String(argument.text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_on_flows_lists_every_generator() {
        let page = include_str!("../../../docs/flows.md");
        for (name, form, meaning) in GENERATORS {
            let line = format!("| `${{{form}}}` | {meaning} |\n");
            assert!(page.contains(&line), "docs/flows.md lacks {name}: {line}");
        }
    }
}

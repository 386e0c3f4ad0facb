//! A text with `${…}` in it, as a flow writes it: parsed once, when the configuration is read; `flow::render` fills it in, iteration
//! by iteration. A value can never change the structure around it: what a placeholder stands in decides how its value is escaped.
//! `$${` is a literal `${`. The language: docs/flows.md.

mod expression;
mod generator;
mod parse;

pub use expression::{Expression, Member, Origin};
pub use generator::{GENERATORS, Generator, is_reserved, known_generators};
pub use parse::TemplateError;
pub(in crate::model) use parse::closing;
pub use parse::{is_control, percent_encode, percent_encode_address};

/// What a template's text is part of, and so how values are escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it is: raw bodies, variables, comparisons.
    Plain,
    /// A path, query or whole address: everything but unreserved characters is percent-encoded, except in a template that begins
    /// with a placeholder (`${next}`), whose first value may be a whole address or path.
    Url,
    /// A header's value: a control character is a failure, not a header of its own.
    Header,
    /// A JSON document: a string that is one placeholder takes the value with its own type, any other is escaped into the string.
    Json,
}

/// A text with `${…}` in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
    encoding: Encoding,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// `${…}`, and what it stands in.
    Value(Expression, Place),
}

/// What a placeholder stands in, and so how its value is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Nothing in particular: as it is.
    Plain,
    /// Within an address: everything but unreserved characters (RFC 3986, 2.3) is percent-encoded.
    UrlPart,
    /// The beginning of an address: may be a whole one, so that only what no address can hold is percent-encoded.
    Address,
    /// A header's value: no control characters.
    Header,
    /// A JSON string that is nothing but this placeholder: becomes the value, with its type.
    JsonValue,
    /// Within a JSON string.
    JsonText,
}

impl Template {
    /// A template that is just this text, whatever is in it.
    pub fn literal(text: impl Into<String>, encoding: Encoding) -> Self {
        let text = text.into();
        Self { parts: if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] }, encoding }
    }

    /// The text, when nothing has to be filled in.
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The placeholder, when it is nothing else: then its value keeps its type.
    pub fn single(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Part::Value(value, _)] => Some(value),
            _ => None,
        }
    }

    /// As written, but for characters that were escaped when it was read. Equal sources render equally.
    pub fn source(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.replace("${", "$${"),
                Part::Value(value, Place::JsonValue) => format!("\"${{{}}}\"", value.source),
                Part::Value(value, _) => format!("${{{}}}", value.source),
            })
            .collect()
    }

    /// What it refers to, in order: variables, columns of feeders, generators.
    pub fn references(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value(value, _) => Some(value),
        })
    }

    /// The two one behind the other: a path and its query.
    #[must_use]
    pub fn join(mut self, next: Self) -> Self {
        for part in next.parts {
            match (self.parts.last_mut(), part) {
                (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
                (_, part) => self.parts.push(part),
            }
        }
        self
    }

    /// Its pieces.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What its text is part of.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}

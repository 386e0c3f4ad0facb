//! A text with `${…}` in it, as a flow writes it: parsed once, when the configuration is read; `flow::render` fills it in, iteration
//! by iteration. A value can never change the structure around it: what a placeholder stands in decides how its value is escaped.

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
    /// `${…}`.
    Value(Expression),
}

/// What stands in `${…}`: a dotted name, maybe with arguments: `users.name`, `rand.int(1, 100)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// As written, without `${` and `}`.
    pub source: String,
    /// The name, cut at its dots.
    pub path: Vec<String>,
    /// Arguments in brackets, trimmed; `None` without brackets.
    pub arguments: Option<Vec<String>>,
}

impl Template {
    /// A template that is just this text.
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

    /// As written.
    pub fn source(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Value(value) => format!("${{{}}}", value.source),
            })
            .collect()
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

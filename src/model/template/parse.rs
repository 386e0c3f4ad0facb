//! Reads templates: texts, JSON documents and forms. Every refusal says where in the text, what is wrong and what to write.

use std::fmt::Write as _;

use serde_json::Value;

use super::expression::Expression;
use super::{Encoding, Part, Place, Template};

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The text that it is about; in a JSON document the key or string.
    pub text: String,
    /// First offending byte in that text.
    pub at: usize,
}

impl TemplateError {
    pub(in crate::model) fn new(text: &str, at: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), text: text.into(), at }
    }
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.message, self.hint)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a text. With [`Encoding::Json`] it is a JSON document whose strings are templates.
    pub fn parse(text: &str, encoding: Encoding) -> Result<Self, TemplateError> {
        let place = match encoding {
            Encoding::Plain => Place::Plain,
            Encoding::Url => Place::UrlPart,
            Encoding::Header => Place::Header,
            Encoding::Json => {
                let document: Value = serde_json::from_str(text).map_err(|error| no_json(text, &error))?;
                return Self::of_json(&document);
            }
        };
        let mut parts = pieces(text, place)?;
        match (encoding, parts.first_mut()) {
            (Encoding::Url, Some(Part::Value(_, place))) => *place = Place::Address,
            (Encoding::Url | Encoding::Plain | Encoding::Header | Encoding::Json, _) => {}
        }
        for part in &mut parts {
            match (encoding, part) {
                (Encoding::Url, Part::Text(literal)) => *literal = addressable(literal),
                (Encoding::Header, Part::Text(literal)) if literal.bytes().any(is_control) => {
                    let at = text.bytes().position(is_control).unwrap_or_default();
                    return Err(TemplateError::new(text, at, "a header cannot hold a line break or control character", "remove it"));
                }
                (Encoding::Url | Encoding::Plain | Encoding::Header | Encoding::Json, _) => {}
            }
        }
        Ok(Self { parts, encoding })
    }

    /// Reads a JSON document whose strings are templates; keys cannot be. A string that is one placeholder takes the value with its type.
    pub fn of_json(document: &Value) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        json(document, &mut parts)?;
        Ok(Self { parts, encoding: Encoding::Json })
    }

    /// Reads the fields of a form (`application/x-www-form-urlencoded`) or of a query, in order; values are templates, names are not.
    pub fn of_form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        for (name, value) in fields {
            let mut start = String::from(if parts.is_empty() { "" } else { "&" });
            percent_encode(&literal(name, "the name of a field")?, &mut start);
            start.push('=');
            push_text(&mut parts, &start);
            for part in pieces(value, Place::UrlPart)? {
                match part {
                    Part::Text(text) => {
                        let mut encoded = String::new();
                        percent_encode(&text, &mut encoded);
                        push_text(&mut parts, &encoded);
                    }
                    Part::Value(..) => parts.push(part),
                }
            }
        }
        Ok(Self { parts, encoding: Encoding::Url })
    }
}

fn no_json(text: &str, error: &serde_json::Error) -> TemplateError {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = (before + error.column().saturating_sub(1)).min(text.len());
    let hint = "placeholders stand within strings: `\"${id}\"` takes the value with its own type";
    TemplateError::new(text, at, format!("this is not JSON: {error}"), hint)
}

/// A text that must not have a placeholder in it.
fn literal(text: &str, what: &str) -> Result<String, TemplateError> {
    match pieces(text, Place::Plain)?.as_slice() {
        [] => Ok(String::new()),
        [Part::Text(literal)] => Ok(literal.clone()),
        _ => {
            let at = text.find("${").unwrap_or_default();
            Err(TemplateError::new(text, at, format!("{what} cannot hold a placeholder"), "write `$${` for a literal `${`"))
        }
    }
}

/// Cuts a text into literal pieces and placeholders.
fn pieces(text: &str, place: Place) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut position = 0;
    while let Some(found) = text[position..].find("${") {
        let at = position + found;
        if let Some(before) = text[position..at].strip_suffix('$') {
            push_text(&mut parts, before);
            push_text(&mut parts, "${");
            position = at + 2;
            continue;
        }
        push_text(&mut parts, &text[position..at]);
        let Some(length) = closing(&text[at + 2..]) else {
            return Err(TemplateError::new(text, at, "a `${` is not closed", "add `}`, or write `$${` for a literal `${`"));
        };
        let expression =
            Expression::parse(&text[at + 2..at + 2 + length]).map_err(|(message, hint)| TemplateError::new(text, at, message, hint))?;
        parts.push(Part::Value(expression, place));
        position = at + 2 + length + 1;
    }
    push_text(&mut parts, &text[position..]);
    Ok(parts)
}

/// Where the `}` is that closes a placeholder: not one within a quoted argument.
pub(in crate::model) fn closing(inside: &str) -> Option<usize> {
    let (mut quote, mut argument_begins) = (None, false);
    for (at, c) in inside.char_indices() {
        match (c, quote) {
            ('}', None) => return Some(at),
            ('"' | '\'', None) if argument_begins => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        argument_begins = matches!(c, '(' | ',') || (argument_begins && c.is_whitespace());
    }
    None
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(before)) => before.push_str(text),
        Some(Part::Value(..)) | None => parts.push(Part::Text(text.into())),
    }
}

fn json(value: &Value, parts: &mut Vec<Part>) -> Result<(), TemplateError> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => push_text(parts, &value.to_string()),
        Value::String(text) => json_text(text, parts)?,
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push_text(parts, if index == 0 { "[" } else { "," });
                json(item, parts)?;
            }
            push_text(parts, if items.is_empty() { "[]" } else { "]" });
        }
        Value::Object(members) => {
            for (index, (key, member)) in members.iter().enumerate() {
                push_text(parts, if index == 0 { "{" } else { "," });
                let key = literal(key, "a key")?;
                push_text(parts, &Value::String(key).to_string());
                push_text(parts, ":");
                json(member, parts)?;
            }
            push_text(parts, if members.is_empty() { "{}" } else { "}" });
        }
    }
    Ok(())
}

fn json_text(text: &str, parts: &mut Vec<Part>) -> Result<(), TemplateError> {
    let mut inner = pieces(text, Place::JsonText)?;
    if let [Part::Value(_, place)] = inner.as_mut_slice() {
        *place = Place::JsonValue;
        parts.append(&mut inner);
        return Ok(());
    }
    push_text(parts, "\"");
    for part in inner {
        match part {
            Part::Text(text) => {
                let quoted = Value::String(text).to_string();
                push_text(parts, &quoted[1..quoted.len() - 1]);
            }
            Part::Value(..) => parts.push(part),
        }
    }
    push_text(parts, "\"");
    Ok(())
}

/// True for what no header can hold (RFC 9110, 5.5); a tab can stand in one.
pub fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// `text` percent-encoded but for unreserved characters (RFC 3986, 2.3).
pub fn percent_encode(text: &str, out: &mut String) {
    encode(text, out, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
}

/// `text` with only those characters percent-encoded that no address can hold (RFC 3986, 2).
pub fn percent_encode_address(text: &str, out: &mut String) {
    encode(text, out, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'));
}

fn addressable(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    percent_encode_address(text, &mut encoded);
    encoded
}

fn encode(text: &str, out: &mut String, keep: impl Fn(u8) -> bool) {
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| !keep(*byte)) {
        // Bytes that are kept are ASCII, so that both ends are character boundaries or the slice is empty.
        out.push_str(text.get(start..at).unwrap_or_default());
        let _ = write!(out, "%{byte:02X}");
        start = at + 1;
    }
    out.push_str(text.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::template::{Generator, Origin};

    fn refused(text: &str, encoding: Encoding) -> String {
        let error = Template::parse(text, encoding).unwrap_err();
        format!("{} at {}: {}", error.message, error.at, error.hint)
    }

    #[test]
    fn cuts_a_text_into_pieces() {
        let template = Template::parse("/items/${item.id}/${ users.name }?n=${rand.int(1, 5)}", Encoding::Url).unwrap();
        assert_eq!(template.source(), "/items/${item.id}/${users.name}?n=${rand.int(1, 5)}");
        let references: Vec<_> = template.references().map(|value| (value.head(), value.members().len())).collect();
        assert_eq!(references, [("item", 1), ("users", 1), ("rand", 0)]);
        assert_eq!(template.references().last().unwrap().origin, Origin::Generator(Generator::Int(1, 5)));
        assert!(matches!(template.parts()[1], Part::Value(_, Place::UrlPart)));
        let next = Template::parse("${next}?a=${b}", Encoding::Url).unwrap();
        assert!(matches!(next.parts(), [Part::Value(_, Place::Address), Part::Text(_), Part::Value(_, Place::UrlPart)]));
    }

    #[test]
    fn two_dollars_are_a_literal_one() {
        for (text, constant) in [("", ""), ("a", "a"), ("$${x}", "${x}"), ("a $${ b $5 $", "a ${ b $5 $"), ("$$${x}", "$${x}")] {
            let template = Template::parse(text, Encoding::Plain).unwrap();
            assert_eq!(template.constant(), Some(constant), "{text}");
            assert_eq!(template.source(), text);
        }
        let mixed = Template::parse("$${a}${b}$${c}", Encoding::Plain).unwrap();
        assert_eq!(mixed.source(), "$${a}${b}$${c}");
        assert_eq!(Template::literal("${a}", Encoding::Plain).source(), "$${a}");
    }

    #[test]
    fn a_quoted_argument_may_hold_anything() {
        let template = Template::parse("${rand.choice('a}, b', \"c\", 3, '3', it's)}", Encoding::Plain).unwrap();
        let choices = vec![json!("a}, b"), json!("c"), json!(3), json!("3"), json!("it's")];
        assert_eq!(template.references().next().unwrap().origin, Origin::Generator(Generator::Choice(choices)));
    }

    #[test]
    fn refusals_say_where_and_what_to_write() {
        for (text, wanted) in [
            ("a ${token", "a `${` is not closed at 2: add `}`, or write `$${` for a literal `${`"),
            ("${}", "`${}` is no name at 0: write the name of a variable, such as `${token}`, or `$${` for a literal `${`"),
            ("${items[0].id}", "`${items[0].id}` is no name at 0: write `${items.0.id}`"),
            (
                "é${n + 1}",
                "`${n + 1}` is no name at 2: write a name such as `${token}`, `${user.id}` or `${items.0.id}`; there is no arithmetic",
            ),
            ("${rand.itn(1, 2)}", "there is no generator `rand.itn` at 0: did you mean `rand.int`?"),
            ("${uid()}", "`uid` takes no arguments: it is no generator at 0: did you mean `uuid`?"),
            ("${rand.int(2, 1)}", "`rand.int` takes two whole numbers, the lower first at 0: write `${rand.int(1, 100)}`"),
            ("${rand.int(1.5, 2)}", "`rand.int` takes two whole numbers, the lower first at 0: write `${rand.int(1, 100)}`"),
            ("${rand.float(0, inf)}", "`rand.float` takes two numbers, the lower first at 0: write `${rand.float(0.5, 2)}`"),
            ("${rand.hex(0)}", "`rand.hex` takes a length from 1 to 1048576 at 0: write `${rand.hex(16)}`"),
            ("${rand.hex}", "`rand.hex` lacks its arguments at 0: write `${rand.hex(16)}`"),
            ("${rand.choice()}", "`rand.choice` does not take such arguments at 0: write `${rand.choice(red, green, 'dark blue')}`"),
            ("${uuid(4)}", "`uuid` takes no arguments at 0: write `${uuid}`"),
            ("${rand.int(1, 2) + 1}", "`${rand.int(1, 2) + 1}` has a `(` without a `)` at its end at 0: write `${rand.int(1, 100)}`"),
            ("${setup}", "`${setup}` lacks the name of a variable at 0: write `${setup.NAME}`"),
        ] {
            assert_eq!(refused(text, Encoding::Plain), wanted);
        }
        assert_eq!(refused("a\r\nb: c", Encoding::Header), "a header cannot hold a line break or control character at 1: remove it");
    }

    #[test]
    fn an_address_holds_only_what_it_may() {
        let template = Template::parse("/a b/ü\r\n?q=100%25&x=${y}", Encoding::Url).unwrap();
        assert!(matches!(&template.parts()[0], Part::Text(text) if text == "/a%20b/%C3%BC%0D%0A?q=100%25&x="));
    }

    #[test]
    fn json_keeps_its_shape_and_its_types() {
        let document = json!({"id": "${id}", "name": "Mr \"${name}\"\n", "n": [1, 2.5, true, null, {}, []], "cost": "$${5}"});
        let template = Template::of_json(&document).unwrap();
        assert_eq!(template.source(), r#"{"id":"${id}","name":"Mr \"${name}\"\n","n":[1,2.5,true,null,{},[]],"cost":"$${5}"}"#);
        let places: Vec<Place> =
            template.parts().iter().filter_map(|part| if let Part::Value(_, place) = part { Some(*place) } else { None }).collect();
        assert_eq!(places, [Place::JsonValue, Place::JsonText]);
        assert_eq!(Template::parse(&document.to_string(), Encoding::Json).unwrap(), template);
        let error = Template::of_json(&json!({"a": {"x ${k}": 1}})).unwrap_err();
        assert_eq!((error.message.as_str(), error.text.as_str(), error.at), ("a key cannot hold a placeholder", "x ${k}", 2));
        assert_eq!(Template::of_json(&json!({"$${k}": 1})).unwrap().constant(), Some(r#"{"${k}":1}"#));
        assert!(refused("{\"a\": ${x}}", Encoding::Json).contains("at 6: placeholders stand within strings"));
    }

    #[test]
    fn a_form_is_encoded_around_its_values() {
        let template = Template::of_form([("user name", "${users.name} & co"), ("x", ""), ("y", "${a}${b}")]).unwrap();
        assert_eq!(template.source(), "user%20name=${users.name}%20%26%20co&x=&y=${a}${b}");
        assert_eq!(Template::of_form([]).unwrap().constant(), Some(""));
        assert!(Template::of_form([("${a}", "b")]).is_err());
        let path = Template::parse("/a", Encoding::Url).unwrap().join(Template::parse("?", Encoding::Url).unwrap()).join(template);
        assert_eq!(path.parts().len(), 5, "{path:?}");
    }

    #[test]
    fn every_generator_reads_its_own_form() {
        for (name, form, _) in crate::model::template::GENERATORS {
            let template = Template::parse(&format!("${{{form}}}"), Encoding::Plain).unwrap();
            assert!(matches!(template.single().unwrap().origin, Origin::Generator(_)), "{name}");
            assert!(crate::model::template::is_reserved(name.split('.').next().unwrap()));
        }
        assert!(!crate::model::template::is_reserved("token"));
    }
}

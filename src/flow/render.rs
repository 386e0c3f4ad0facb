//! Writes values into the text around them, escaped as the place demands: no value can change the structure that it stands in.

use std::fmt::{self, Write as _};

use serde_json::Value;

use super::Script;
use crate::model::template::{Expression, Place, is_control, percent_encode, percent_encode_address};

/// What a placeholder gives, borrowed from where it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given<'a> {
    /// A text that was made up.
    Text(&'a str),
    /// A whole number that was made up.
    Whole(i64),
    /// A number that was made up.
    Number(f64),
    /// A variable, a cell of a feeder, or a part of one.
    Json(&'a Value),
}

impl Given<'_> {
    /// A value of its own.
    pub fn to_value(self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.into()),
            Self::Whole(number) => Value::from(number),
            Self::Number(number) => Value::from(number),
            Self::Json(value) => value.clone(),
        }
    }

    /// Whether something is there: neither empty, `false`, `0` nor `null`, whether typed or written as a text.
    pub fn is_truthy(self) -> bool {
        let text = |text: &str| !matches!(text, "" | "false" | "0" | "null");
        match self {
            Self::Text(given) => text(given),
            Self::Whole(number) => number != 0,
            Self::Number(number) => number.abs() > 0.0,
            Self::Json(Value::Null) => false,
            Self::Json(Value::Bool(given)) => *given,
            Self::Json(Value::Number(number)) => number.as_f64().is_none_or(|number| number.abs() > 0.0),
            Self::Json(Value::String(given)) => text(given),
            Self::Json(Value::Array(items)) => !items.is_empty(),
            Self::Json(Value::Object(members)) => !members.is_empty(),
        }
    }

    /// Appends the value as the place demands. What cannot stand there is a failure: `null` in an address, header or JSON text, and a
    /// control character in a header.
    pub(super) fn write(self, expression: &Expression, place: Place, out: &mut String) -> Result<(), Script> {
        if self == Self::Json(&Value::Null) && !matches!(place, Place::Plain | Place::JsonValue) {
            return Err(Script(format!("`${{{}}}` is null", expression.source)));
        }
        let quoted = place == Place::JsonValue && matches!(self, Self::Text(_) | Self::Json(Value::String(_)));
        if quoted {
            out.push('"');
        }
        let escape = match (place, quoted) {
            (Place::JsonValue, true) => Place::JsonText,
            (Place::JsonValue, false) => Place::Plain,
            (Place::Plain | Place::UrlPart | Place::Address | Place::Header | Place::JsonText, _) => place,
        };
        let mut sink = Sink { out, place: escape };
        let written = match self {
            Self::Text(text) => sink.write_str(text),
            Self::Whole(number) => write!(sink, "{number}"),
            Self::Number(number) => write!(sink, "{number}"),
            Self::Json(Value::String(text)) => sink.write_str(text),
            Self::Json(Value::Number(number)) => write!(sink, "{number}"),
            Self::Json(value) => write!(sink, "{value}"),
        };
        if quoted {
            out.push('"');
        }
        written.map_err(|_| Script(format!("`${{{}}}` holds a line break or control character, which no header can", expression.source)))
    }
}

/// Escapes what is written through it.
struct Sink<'o> {
    out: &'o mut String,
    place: Place,
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match self.place {
            Place::UrlPart => percent_encode(text, self.out),
            Place::Address => percent_encode_address(text, self.out),
            Place::Header if text.bytes().any(is_control) => return Err(fmt::Error),
            Place::Plain | Place::JsonValue | Place::Header => self.out.push_str(text),
            Place::JsonText => escape_json(text, self.out),
        }
        Ok(())
    }
}

/// `text` as it stands between the quotes of a JSON string (RFC 8259, 7).
fn escape_json(text: &str, out: &mut String) {
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        // Bytes that are escaped are ASCII, so that both ends are character boundaries.
        out.push_str(text.get(start..at).unwrap_or_default());
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => _ = write!(out, "\\u{byte:04x}"),
        }
        start = at + 1;
    }
    out.push_str(text.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow::testing::{rendered, scope};
    use crate::model::template::Encoding;

    #[test]
    fn a_value_is_escaped_as_its_place_demands() {
        let mut scope = scope();
        scope.set_text("path", "a/b c?ü&=");
        scope.set_text("next", "http://x/y?a=b%20c&d=\r\n e");
        scope.set_text("quote", "a\"b\\c\n\u{1}é");
        scope.set("n", json!(1.5));
        scope.set("big", json!(1e30));
        scope.set("none", Value::Null);
        for (encoding, text, wanted) in [
            (Encoding::Url, "/x/${path}", Ok("/x/a%2Fb%20c%3F%C3%BC%26%3D")),
            (Encoding::Url, "${next}&f=${path}", Ok("http://x/y?a=b%20c&d=%0D%0A%20e&f=a%2Fb%20c%3F%C3%BC%26%3D")),
            (Encoding::Url, "/${n}/${big}", Ok("/1.5/1e%2B30")),
            (Encoding::Url, "/${none}", Err("`${none}` is null")),
            (Encoding::Header, "v=${path}", Ok("v=a/b c?ü&=")),
            (Encoding::Header, "${next}", Err("`${next}` holds a line break or control character, which no header can")),
            (Encoding::Header, "${none}", Err("`${none}` is null")),
            (Encoding::Plain, "{\"a\": ${none}, \"b\": ${n}}", Ok("{\"a\": null, \"b\": 1.5}")),
            (Encoding::Json, r#"{"a": "${none}", "b": "${n}", "c": "n=${n}"}"#, Ok(r#"{"a":null,"b":1.5,"c":"n=1.5"}"#)),
            (Encoding::Json, r#"["${quote}", "x${quote}"]"#, Ok("[\"a\\\"b\\\\c\\n\\u0001é\",\"xa\\\"b\\\\c\\n\\u0001é\"]")),
            (Encoding::Json, r#"["x${none}"]"#, Err("`${none}` is null")),
        ] {
            assert_eq!(rendered(&mut scope, text, encoding), wanted.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn what_is_there_and_what_is_not() {
        for (value, truthy) in [
            (json!(null), false),
            (json!(false), false),
            (json!(true), true),
            (json!(0), false),
            (json!(0.0), false),
            (json!(-1), true),
            (json!(""), false),
            (json!("0"), false),
            (json!("false"), false),
            (json!("null"), false),
            (json!("no"), true),
            (json!([]), false),
            (json!([0]), true),
            (json!({}), false),
            (json!({"a": 1}), true),
        ] {
            assert_eq!(Given::Json(&value).is_truthy(), truthy, "{value}");
        }
        assert!(Given::Whole(1).is_truthy() && !Given::Number(0.0).is_truthy() && !Given::Text("").is_truthy());
    }
}

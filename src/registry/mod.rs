//! How a kind named in the configuration becomes a part: nodes with places, decoding that gathers every mistake, and
//! tables of kinds. Each part owns its settings (`settings!` in its own file) and one `Kind` line in its module's table.
//! Pure: no YAML, no files, no environment.

mod decode;
mod diagnostic;
mod macros;
mod node;

pub use decode::{
    ByteSize, Context, Decode, FilePath, KeyDoc, NOWHERE, Section, Share, Surroundings, WebUrl, join_doc, object_schema, readable_default,
};
pub use diagnostic::{Diagnostic, Diagnostics, nearest, suggest};
pub use node::{Entry, Named, Node, Secret, Span, Spanned, Value};

use std::sync::Arc;

/// One entry of a table of kinds: `type: slack` leads to the entry called `slack`.
pub struct Kind<T: ?Sized> {
    /// The word behind `type:`.
    pub name: &'static str,
    /// One line for the reference.
    pub summary: &'static str,
    /// Reads the settings (the `type` key already removed).
    pub decode: fn(&Node, &mut Context<'_>) -> Option<Arc<T>>,
    /// The keys of the settings, for the schema and the reference.
    pub keys: fn() -> Vec<KeyDoc>,
}

/// Reads a section whose `type:` names one of `kinds`; reports a missing or unknown kind with the nearest name.
pub fn decode_kind<T: ?Sized>(node: &Node, what: &str, kinds: &[Kind<T>], cx: &mut Context<'_>) -> Option<(&'static str, Arc<T>)> {
    let Some(type_node) = node.get("type") else {
        if !matches!(node.value, Value::Map(_)) {
            return cx.wrong_type(node, "a mapping");
        }
        let names: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.name)).collect();
        cx.diagnostics.push(
            "missing-key",
            node.span,
            format!("{what} lacks the key `type`"),
            format!("add `type:` with one of {}", names.join(", ")),
        );
        return None;
    };
    let name = String::decode(type_node, cx)?;
    let Some(kind) = kinds.iter().find(|kind| kind.name == name) else {
        let known: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        cx.diagnostics.push("unknown-kind", type_node.span, format!("`{name}` is not a kind of {what}"), suggest(&name, known));
        return None;
    };
    (kind.decode)(&node.without("type"), cx).map(|part| (kind.name, part))
}

/// The JSON Schema of a section whose `type:` names one of `kinds`.
pub fn kinds_schema<T: ?Sized>(kinds: &[Kind<T>]) -> serde_json::Value {
    let variants: Vec<serde_json::Value> = kinds
        .iter()
        .map(|kind| {
            let mut keys = vec![KeyDoc {
                key: "type",
                doc: "Chooses the kind.".into(),
                required: true,
                default: None,
                schema: serde_json::json!({"const": kind.name}),
            }];
            keys.extend((kind.keys)());
            object_schema(kind.summary, &keys)
        })
        .collect();
    serde_json::json!({"oneOf": variants})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Nothing;
    impl Surroundings for Nothing {
        fn read_secret_file(&self, _path: &str) -> Result<String, String> {
            Ok("hunter2\n".into())
        }
        fn resolve_path(&self, path: &str) -> String {
            path.into()
        }
    }

    crate::settings! {
        /// A mail server.
        pub struct Sample titled "the sample" {
            /// Host name.
            host: required String,
            /// Port.
            port: default u16 = 587,
            /// Patience.
            max_wait as "maxWait": optional Duration,
            /// Password.
            password: secret Secret,
        }
    }

    fn text(text: &str) -> Node {
        Node { span: Span::default(), value: Value::Text(text.into()) }
    }

    fn map(entries: Vec<(&str, Node)>) -> Node {
        let entries = entries.into_iter().map(|(key, node)| Entry { key: key.into(), span: Span::default(), node }).collect();
        Node { span: Span::default(), value: Value::Map(entries) }
    }

    #[test]
    fn reads_keys_defaults_and_secrets() {
        let mut cx = Context::new(&Nothing);
        let node = map(vec![("host", text("mail")), ("maxWait", text("3s")), ("password_file", text("x"))]);
        let sample = Sample::decode(&node, &mut cx).unwrap();
        assert_eq!((sample.host.as_str(), sample.port, sample.max_wait), ("mail", 587, Some(Duration::from_secs(3))));
        assert_eq!(sample.password.as_ref().map(Secret::expose), Some("hunter2"));
        assert_eq!(format!("{:?}", sample.password), "Some(<secret>)");
        assert!(cx.diagnostics.is_empty());
    }

    #[test]
    fn gathers_every_mistake_of_a_section() {
        let mut cx = Context::new(&Nothing);
        let node = map(vec![("prot", text("1")), ("maxWait", text("3"))]);
        assert!(Sample::decode(&node, &mut cx).is_none());
        let codes: Vec<&str> = cx.diagnostics.0.iter().map(|mistake| mistake.code).collect();
        assert_eq!(codes, ["missing-key", "missing-unit", "unknown-key"]);
        assert_eq!(cx.diagnostics.0[2].hint, "did you mean `port`?");
    }

    #[test]
    fn the_schema_names_every_key_and_what_is_required() {
        let schema = <Sample as Decode>::schema();
        assert_eq!(schema["required"], serde_json::json!(["host"]));
        let keys: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["host", "port", "maxWait", "password", "password_file"]);
        assert_eq!(schema["properties"]["port"]["description"], "Port. Default: 587.");
    }
}

//! What stands behind `grpc:` in a step. What it means together (a schema from one place, messages that fit the method) is checked by
//! `config` with the functions of `schema`.

use std::time::Duration;

use crate::registry::{FilePath, Named, Node, Spanned};
use crate::settings;

settings! {
    /// A gRPC call. Its messages are written as YAML or JSON; the schema comes from `.proto` files or from the server.
    pub struct GrpcKeys titled "`grpc`" {
        /// Host and port: `grpc.shop.internal:9090`, spoken to in plain; with `https://` in front, by TLS. Without it: the target's
        /// `base_url`.
        address: optional Spanned<String>,
        /// What is called: `package.Service/Method`.
        call: required Spanned<String>,
        /// `.proto` files that declare the service.
        proto: default Vec<Spanned<FilePath>>,
        /// Folders in which their imports are looked for. Without it: the folder of each file.
        include: default Vec<Spanned<FilePath>>,
        /// Ask the server for the schema, once, when the run starts; instead of `proto`.
        reflection: optional Spanned<bool>,
        /// The message, with the field names of the schema. Without it: an empty one.
        message: optional Spanned<Node>,
        /// Messages in order, where the client streams.
        messages: optional Spanned<Vec<Node>>,
        /// Send one of `messages` in so long, instead of all as fast as the server takes them.
        every: optional Spanned<Duration>,
        /// Where the server streams: end the call as a success after so many messages.
        take: optional Spanned<u64>,
        /// Where the server streams: end the call as a success after so long.
        lasting as "for": optional Spanned<Duration>,
        /// Metadata, by name; a name that ends in `-bin` takes its value in Base64.
        metadata: default Named<Spanned<String>>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Context, Decode, Entry, NOWHERE, Surroundings, Value};

    struct Here;
    impl Surroundings for Here {
        fn read_secret_file(&self, path: &str) -> Result<String, String> {
            Err(path.into())
        }
        fn resolve_path(&self, path: &str) -> String {
            format!("here/{path}")
        }
    }

    fn text(text: &str) -> Node {
        Node { span: NOWHERE, value: Value::Text(text.into()) }
    }

    fn map(entries: Vec<(&str, Node)>) -> Node {
        let entries = entries.into_iter().map(|(key, node)| Entry { key: key.into(), span: NOWHERE, node }).collect();
        Node { span: NOWHERE, value: Value::Map(entries) }
    }

    #[test]
    fn one_file_stands_for_a_list_of_one() {
        let node = map(vec![("call", text("a.B/C")), ("proto", text("a.proto")), ("message", map(vec![("user", text("${seq}"))]))]);
        let keys = GrpcKeys::decode(&node, &mut Context::new(&Here)).unwrap();
        assert_eq!(keys.proto.iter().map(|path| path.value.0.as_str()).collect::<Vec<_>>(), ["here/a.proto"]);
        assert_eq!(keys.message.unwrap().value.to_json(), serde_json::json!({"user": "${seq}"}));
        assert!(keys.reflection.is_none() && keys.messages.is_none() && keys.metadata.0.is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        let mut cx = Context::new(&Here);
        assert!(GrpcKeys::decode(&map(vec![("mesage", text("x"))]), &mut cx).is_none());
        let told: Vec<_> = cx.diagnostics.0.iter().map(|mistake| (mistake.code, mistake.hint.as_str())).collect();
        assert_eq!(told, [("missing-key", "add `call:`"), ("unknown-key", "did you mean `message`?")]);
    }
}

//! What in a message, written as JSON, does not fit its type: unknown fields, values of the wrong kind, two fields of one `oneof`. Templates
//! are only known when a request is made: a text with `${…}` in it is taken for whatever it may become. Pure.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use crate::registry::suggest;

/// Something in a message that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The way to it, from the message's root.
    pub at: Vec<Hop>,
    /// True when the key at the end of the way is wrong, not its value.
    pub is_key: bool,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// One hop on the way into a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// Into an object, by key.
    Key(String),
    /// Into an array, by index.
    Index(usize),
}

/// Types that the JSON mapping writes in a form of their own: judged as a whole.
const SPECIAL: &[(&str, &str)] = &[
    ("google.protobuf.Any", "write a mapping with `@type`"),
    ("google.protobuf.Timestamp", "write it as `2026-01-31T12:00:00Z`"),
    ("google.protobuf.Duration", "write seconds: `1.5s`"),
    ("google.protobuf.FieldMask", "write the paths in one text, with commas between: `user.name,at`"),
    ("google.protobuf.Struct", "write a mapping"),
    ("google.protobuf.ListValue", "write a list"),
    ("google.protobuf.Value", "write any value"),
    ("google.protobuf.FloatValue", "write a number"),
    ("google.protobuf.DoubleValue", "write a number"),
    ("google.protobuf.Int32Value", "write a whole number"),
    ("google.protobuf.Int64Value", "write a whole number"),
    ("google.protobuf.UInt32Value", "write a whole number of 0 or more"),
    ("google.protobuf.UInt64Value", "write a whole number of 0 or more"),
    ("google.protobuf.BoolValue", "write `true` or `false`"),
    ("google.protobuf.StringValue", "put it in quotes"),
    ("google.protobuf.BytesValue", "write it in Base64"),
];

/// Everything in `message` that does not fit `descriptor`.
pub(super) fn misfits(descriptor: &MessageDescriptor, message: &Value) -> Vec<Misfit> {
    let mut search = Search { way: Vec::new(), found: Vec::new() };
    search.message(descriptor, message);
    search.found
}

/// Whether a value's text is only known when a request is made.
fn is_open(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(is_open),
        Value::Object(entries) => entries.iter().any(|(key, value)| key.contains("${") || is_open(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a value is one placeholder, which may become a value of any type.
fn is_placeholder(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("${") && text.ends_with('}') && text.matches("${").count() == 1)
}

/// What a value of this kind is called.
fn name_of(kind: &Kind) -> String {
    match kind {
        Kind::Message(descriptor) => format!("a `{}`", descriptor.full_name()),
        Kind::Enum(descriptor) => format!("one of the enum `{}`", descriptor.full_name()),
        Kind::Double => "a `double`".into(),
        Kind::Float => "a `float`".into(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "an `int32`".into(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "an `int64`".into(),
        Kind::Uint32 | Kind::Fixed32 => "a `uint32`".into(),
        Kind::Uint64 | Kind::Fixed64 => "a `uint64`".into(),
        Kind::Bool => "a `bool`".into(),
        Kind::String => "a `string`".into(),
        Kind::Bytes => "`bytes`".into(),
    }
}

/// How a value of this kind is written.
fn hint_for(kind: &Kind, value: &Value) -> String {
    match kind {
        Kind::Message(descriptor) => {
            let special = SPECIAL.iter().find(|(name, _)| *name == descriptor.full_name());
            special.map_or("write a mapping with its fields", |(_, hint)| hint).into()
        }
        Kind::Enum(descriptor) => {
            let names: Vec<String> = descriptor.values().map(|known| known.name().to_owned()).collect();
            suggest(value.as_str().unwrap_or_default(), names.iter().map(String::as_str))
        }
        Kind::Double | Kind::Float => "write a number".into(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "write a whole number".into(),
        Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => "write a whole number of 0 or more".into(),
        Kind::Bool => "write `true` or `false`".into(),
        Kind::String => "put it in quotes".into(),
        Kind::Bytes => "write it in Base64".into(),
    }
}

struct Search {
    way: Vec<Hop>,
    found: Vec<Misfit>,
}

impl Search {
    fn tell(&mut self, is_key: bool, message: String, hint: String) {
        self.found.push(Misfit { at: self.way.clone(), is_key, message, hint });
    }

    /// Judges what lies one hop further.
    fn within(&mut self, hop: Hop, judge: impl FnOnce(&mut Self)) {
        self.way.push(hop);
        judge(self);
        self.way.pop();
    }

    fn message(&mut self, descriptor: &MessageDescriptor, value: &Value) {
        let Value::Object(entries) = value else {
            if !is_placeholder(value) {
                self.tell(false, format!("a `{}` is expected here", descriptor.full_name()), "write a mapping with its fields".into());
            }
            return;
        };
        let mut chosen: Vec<(String, &String)> = Vec::new();
        for (key, value) in entries {
            self.within(Hop::Key(key.clone()), |search| {
                let field = descriptor.get_field_by_json_name(key).or_else(|| descriptor.get_field_by_name(key));
                let Some(field) = field else { return search.stranger(descriptor, key, value) };
                if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic() && !value.is_null()) {
                    if let Some((_, other)) = chosen.iter().find(|(name, _)| name == oneof.name()) {
                        search.tell(true, format!("`{other}` and `{key}` exclude each other"), "keep one of them".into());
                    }
                    chosen.push((oneof.name().to_owned(), key));
                }
                search.field(&field, value);
            });
        }
        for field in descriptor.fields().filter(FieldDescriptor::is_required) {
            if !entries.contains_key(field.name()) && !entries.contains_key(field.json_name()) {
                let message = format!("a `{}` needs the field `{}`", descriptor.full_name(), field.name());
                self.tell(false, message, format!("add `{}`", field.name()));
            }
        }
    }

    /// A key that is no field: an extension, or a mistake.
    fn stranger(&mut self, descriptor: &MessageDescriptor, key: &str, value: &Value) {
        if descriptor.get_extension_by_json_name(key).is_some() {
            if let Err(error) = read(descriptor, key, value).or_else(|error| if is_open(value) { Ok(()) } else { Err(error) }) {
                self.tell(false, format!("`{key}` does not fit: {error}"), "see the `.proto` file that declares it".into());
            }
            return;
        }
        let fields: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
        let message = format!("`{}` has no field `{key}`", descriptor.full_name());
        self.tell(true, message, suggest(key, fields.iter().map(String::as_str)));
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value) {
        if value.is_null() || is_placeholder(value) {
            return;
        }
        let kind = field.kind();
        if field.is_map() {
            let Value::Object(entries) = value else {
                return self.tell(false, format!("`{}` is a map", field.name()), "write a mapping".into());
            };
            let Some(kind) = kind.as_message().map(|entry| entry.map_entry_value_field().kind()) else { return };
            for (key, value) in entries {
                // A key that a template fills in is as good as any that the field takes; its value is judged beside another one.
                let wrap = |value: &Value| if key.contains("${") { json!({"1": value}) } else { json!({key: value}) };
                self.within(Hop::Key(key.clone()), |search| search.one(field, &kind, value, wrap));
            }
        } else if field.is_list() {
            let Value::Array(items) = value else {
                return self.tell(false, format!("`{}` is repeated", field.name()), "write a list".into());
            };
            for (index, item) in items.iter().enumerate() {
                self.within(Hop::Index(index), |search| search.one(field, &kind, item, |value| json!([value])));
            }
        } else {
            self.one(field, &kind, value, Value::clone);
        }
    }

    /// One value of a field; `wrap` puts it into the list or map that the field wants.
    fn one(&mut self, field: &FieldDescriptor, kind: &Kind, value: &Value, wrap: impl FnOnce(&Value) -> Value) {
        if is_placeholder(value) {
            return;
        }
        if let Kind::Message(descriptor) = kind
            && !SPECIAL.iter().any(|(name, _)| *name == descriptor.full_name())
        {
            return self.message(descriptor, value);
        }
        let fits = if is_open(value) {
            // A text around a placeholder stays a text, which everything but a truth value may be written as.
            *kind != Kind::Bool && (value.is_string() || kind.as_message().is_some())
        } else {
            read(field.parent_message(), field.name(), &wrap(value)).is_ok()
        };
        if !fits {
            self.tell(false, format!("`{}` takes {}, not `{value}`", field.name(), name_of(kind)), hint_for(kind, value));
        }
    }
}

/// Whether a message with this one field can be read.
fn read(descriptor: &MessageDescriptor, field: &str, value: &Value) -> Result<(), String> {
    let message = DynamicMessage::deserialize(descriptor.clone(), json!({field: value}));
    message.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    /// The type `t.Order` of a schema with everything that a message can hold.
    pub(in super::super) fn order() -> MessageDescriptor {
        let text = r#"
            syntax = "proto2";
            package t;
            import "google/protobuf/timestamp.proto";
            import "google/protobuf/duration.proto";
            import "google/protobuf/struct.proto";
            import "google/protobuf/wrappers.proto";
            import "google/protobuf/field_mask.proto";
            import "google/protobuf/any.proto";
            enum Size { SMALL = 0; LARGE = 1; }
            message Item { required string product_name = 1; optional int32 count = 2; optional Item part = 3; }
            message Order {
              optional string user = 1;
              repeated Item items = 2;
              map<string, int64> scores = 3;
              map<int32, Item> slots = 4;
              optional Size size = 5;
              optional bool gift = 6;
              optional bytes token = 7;
              optional uint64 cents = 8;
              optional double weight = 9;
              oneof way { string street = 10; Item box = 11; }
              optional google.protobuf.Timestamp at = 12;
              optional google.protobuf.Duration within = 13;
              optional google.protobuf.Struct extra = 14;
              optional google.protobuf.StringValue note = 15;
              optional google.protobuf.FieldMask mask = 16;
              repeated string tags = 17;
              optional google.protobuf.Any any = 18;
              optional google.protobuf.BoolValue sure = 19;
              extensions 100 to 200;
            }
            extend Order { optional int32 rank = 100; }
        "#;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.proto"), text).unwrap();
        let set = protox::compile(["t.proto"], [folder.path()]).unwrap();
        DescriptorPool::from_file_descriptor_set(set).unwrap().get_message_by_name("t.Order").unwrap()
    }

    fn way(misfit: &Misfit) -> String {
        let hops = misfit.at.iter().map(|hop| match hop {
            Hop::Key(key) => format!(".{key}"),
            Hop::Index(index) => format!("[{index}]"),
        });
        hops.collect()
    }

    #[test]
    fn what_fits_is_accepted() {
        for message in [
            json!({}),
            json!({"user": "a", "items": [{"productName": "x", "count": 1, "part": {"product_name": "y"}}], "scores": {"a": 1, "b": "2"}}),
            json!({"slots": {"1": {"product_name": "x"}}, "size": "LARGE", "gift": true, "token": "AAE=", "cents": "18446744073709551615"}),
            json!({"size": 1, "weight": 1.5, "street": "a", "box": null, "at": "2026-01-31T12:00:00Z", "within": "1.5s"}),
            json!({"extra": {"a": [1, {"b": null}]}, "note": "x", "mask": "user,at", "tags": ["a"], "[t.rank]": 3}),
            json!({"any": {"@type": "type.googleapis.com/t.Item", "productName": "x"}, "sure": true}),
        ] {
            assert_eq!(misfits(&order(), &message), [], "{message}");
            DynamicMessage::deserialize(order(), message).unwrap();
        }
    }

    #[test]
    fn templates_fit_wherever_their_value_might() {
        for message in [
            json!("${order}"),
            json!({"user": "u-${seq}", "items": ["${item}", {"product_name": "${p}", "count": "${n}"}], "scores": {"${name}": 1, "b": "${s}"}}),
            json!({"slots": {"${n}": {"product_name": "x"}}, "size": "${size}", "gift": "${gift}", "token": "${t}", "cents": "1${seq}"}),
            json!({"box": {"product_name": "${p}"}, "at": "${now}", "within": "${s}s", "extra": {"a": "${b}"}, "note": "${n}", "tags": "${tags}"}),
            json!({"items": "${items}", "scores": "${scores}", "[t.rank]": "${rank}"}),
        ] {
            assert_eq!(misfits(&order(), &message), [], "{message}");
        }
    }

    #[test]
    fn everything_that_does_not_fit_is_told_with_its_place() {
        for (message, at, text, hint) in [
            (json!({"usr": "a"}), ".usr", "`t.Order` has no field `usr`", "did you mean `user`?"),
            (
                json!({"items": [{"product_name": "x"}, {"produkt_name": "x", "product_name": "y"}]}),
                ".items[1].produkt_name",
                "has no field",
                "did you mean `product_name`?",
            ),
            (json!({"user": 5}), ".user", "`user` takes a `string`, not `5`", "put it in quotes"),
            (json!({"gift": "yes"}), ".gift", "`gift` takes a `bool`, not `\"yes\"`", "write `true` or `false`"),
            (json!({"gift": "is ${x}"}), ".gift", "`gift` takes a `bool`", "write `true` or `false`"),
            (json!({"cents": -1}), ".cents", "`cents` takes a `uint64`, not `-1`", "write a whole number of 0 or more"),
            (json!({"items": {"product_name": "x"}}), ".items", "`items` is repeated", "write a list"),
            (json!({"scores": [1]}), ".scores", "`scores` is a map", "write a mapping"),
            (
                json!({"scores": {"a": "many ${x} "}, "slots": {"one": {"product_name": "x"}, "2": {}}}),
                ".slots.2",
                "a `t.Item` needs the field `product_name`",
                "add `product_name`",
            ),
            (json!({"scores": {"a": "many"}}), ".scores.a", "`scores` takes an `int64`, not `\"many\"`", "write a whole number"),
            (json!({"size": "LARG"}), ".size", "`size` takes one of the enum `t.Size`", "did you mean `LARGE`?"),
            (json!({"token": "%%"}), ".token", "`token` takes `bytes`", "write it in Base64"),
            (json!({"street": "a", "box": {"product_name": "x"}}), ".box", "`street` and `box` exclude each other", "keep one of them"),
            (json!({"box": 1}), ".box", "a `t.Item` is expected here", "write a mapping with its fields"),
            (json!({"box": {"product_name": {"a": "${x}"}}}), ".box.product_name", "`product_name` takes a `string`", "put it in quotes"),
            (json!({"at": "noon"}), ".at", "takes a `google.protobuf.Timestamp`", "write it as `2026-01-31T12:00:00Z`"),
            (json!({"within": 5}), ".within", "takes a `google.protobuf.Duration`", "write seconds: `1.5s`"),
            (json!({"weight": "heavy"}), ".weight", "`weight` takes a `double`", "write a number"),
            (json!({"[t.rank]": "first"}), ".[t.rank]", "`[t.rank]` does not fit", "see the `.proto` file that declares it"),
            (json!([1]), "", "a `t.Order` is expected here", "write a mapping with its fields"),
        ] {
            let found = misfits(&order(), &message);
            assert_eq!(found.len(), 1, "{message}: {found:?}");
            assert_eq!((way(&found[0]).as_str(), found[0].hint.as_str()), (at, hint), "{message}");
            assert!(found[0].message.contains(text), "{message}: {}", found[0].message);
        }
        assert_eq!(misfits(&order(), &json!({"a": 1, "b": 2, "user": 3})).len(), 3);
    }
}

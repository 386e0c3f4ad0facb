//! A method of a service: which side streams, and its messages between JSON and the wire. JSON is read as the Protocol Buffers JSON
//! mapping says; what a template filled in takes the type of its field.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, SerializeOptions};
use serde_json::Value;

use super::misfit::{Misfit, misfits};
use super::schema::SchemaError;
use crate::model::request::GrpcStream;

/// Bytes before a message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) const PREFIX: usize = 5;

/// A method. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Method {
    descriptor: MethodDescriptor,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

impl Method {
    pub(super) fn new(descriptor: MethodDescriptor) -> Self {
        Self { input: descriptor.input(), output: descriptor.output(), descriptor }
    }

    /// The path of its calls: `/package.Service/Method`.
    pub fn path(&self) -> String {
        format!("/{}/{}", self.descriptor.parent_service().full_name(), self.descriptor.name())
    }

    /// Whether the client may send more than one message.
    pub fn client_streams(&self) -> bool {
        self.descriptor.is_client_streaming()
    }

    /// Whether the server may send more than one message.
    pub fn server_streams(&self) -> bool {
        self.descriptor.is_server_streaming()
    }

    /// For people: `unary`, `client streaming`, `server streaming` or `bidirectional`.
    pub fn kind(&self) -> &'static str {
        match (self.client_streams(), self.server_streams()) {
            (false, false) => "unary",
            (true, false) => "client streaming",
            (false, true) => "server streaming",
            (true, true) => "bidirectional",
        }
    }

    /// Whether so many messages can be sent.
    pub fn takes(&self, messages: usize) -> Result<(), SchemaError> {
        if messages == 1 || self.client_streams() {
            return Ok(());
        }
        let message = format!("`{}` is {}: it takes one message, not {messages}", self.descriptor.name(), self.kind());
        Err(SchemaError::new(message, "write one `message`"))
    }

    /// Whether its streams can go like this.
    pub fn suits(&self, stream: &GrpcStream) -> Result<(), SchemaError> {
        let streams = |wrong: bool, key: &str, side: &str, hint: &str| {
            if !wrong {
                return Ok(());
            }
            let message = format!("`{}` is {}: `{key}` is for methods whose {side} streams", self.descriptor.name(), self.kind());
            Err(SchemaError::new(message, hint))
        };
        streams(stream.take.is_some() && !self.server_streams(), "take", "server", "remove it")?;
        streams(stream.lasting.is_some() && !self.server_streams(), "for", "server", "remove it, or write `timeout`")?;
        streams(stream.every.is_some() && !self.client_streams(), "every", "client", "remove it")
    }

    /// Everything in a message that does not fit the method, places included. A text with `${…}` in it fits wherever its value might.
    pub fn misfits(&self, message: &Value) -> Vec<Misfit> {
        misfits(&self.input, message)
    }

    /// A message as it goes over the wire, with the five bytes before it. `json` is a document whose templates are filled in; `Err`
    /// says why it does not fit.
    pub fn encode(&self, json: &str) -> Result<Bytes, String> {
        let mut value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        settle_message(&self.input, &mut value);
        let message = DynamicMessage::deserialize_with_options(self.input.clone(), value, &DeserializeOptions::new());
        Ok(framed(&message.map_err(|error| error.to_string())?))
    }

    /// A message of the answer as JSON: the mapping's names (`lowerCamelCase`), fields at their default included, 64-bit numbers as
    /// numbers.
    pub fn to_json(&self, message: &[u8]) -> Result<Value, String> {
        let message = DynamicMessage::decode(self.output.clone(), message).map_err(|error| error.to_string())?;
        let options = SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
        message.serialize_with_options(serde_json::value::Serializer, &options).map_err(|error| error.to_string())
    }
}

/// A message with its prefix, not compressed.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A `BytesMut` grows, so that there is always room.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// Gives scalars the type of their field where no meaning is lost: what `"${seq}"` left as a number becomes a text in a `string` field,
/// `"true"` becomes a truth value in a `bool` field, `"1"` a number in an enum's.
fn settle_message(descriptor: &MessageDescriptor, value: &mut Value) {
    let Value::Object(entries) = value else { return };
    if descriptor.full_name().starts_with("google.protobuf.") {
        return;
    }
    for (name, value) in entries {
        let field = descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
        if let Some(field) = field {
            settle_field(&field, value);
        }
    }
}

fn settle_field(field: &FieldDescriptor, value: &mut Value) {
    let kind = field.kind();
    match (value, kind.as_message().filter(|_| field.is_map())) {
        (Value::Object(entries), Some(entry)) => {
            let kind = entry.map_entry_value_field().kind();
            entries.values_mut().for_each(|value| settle(&kind, value));
        }
        (Value::Array(items), None) if field.is_list() => items.iter_mut().for_each(|item| settle(&kind, item)),
        (value, None) if !field.is_list() => settle(&kind, value),
        _ => {}
    }
}

fn settle(kind: &Kind, value: &mut Value) {
    if let Kind::Message(descriptor) = kind {
        return match descriptor.full_name() {
            "google.protobuf.StringValue" => settle(&Kind::String, value),
            "google.protobuf.BoolValue" => settle(&Kind::Bool, value),
            _ => settle_message(descriptor, value),
        };
    }
    let settled = match (kind, &*value) {
        (Kind::String, Value::Number(number)) => Some(Value::String(number.to_string())),
        (Kind::String, Value::Bool(truth)) => Some(Value::String(truth.to_string())),
        (Kind::Bool, Value::String(text)) => text.parse().ok().map(Value::Bool),
        (Kind::Enum(_), Value::String(text)) => text.parse::<i32>().ok().map(Value::from),
        _ => None,
    };
    if let Some(settled) = settled {
        *value = settled;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::misfit::tests::order;
    use super::*;

    fn settled(mut value: Value) -> Value {
        settle_message(&order(), &mut value);
        value
    }

    #[test]
    fn filled_in_templates_take_the_type_of_their_field() {
        let filled = json!({
            "user": 7, "items": [{"productName": 1.5, "count": "3"}], "tags": [1, true, "x"], "gift": "true", "size": "1", "street": false,
            "slots": {"1": {"product_name": 9}}, "note": 5, "sure": "false", "unknown": 1, "cents": 5, "extra": {"a": 1},
        });
        let expected = json!({
            "user": "7", "items": [{"productName": "1.5", "count": "3"}], "tags": ["1", "true", "x"], "gift": true, "size": 1, "street": "false",
            "slots": {"1": {"product_name": "9"}}, "note": "5", "sure": false, "unknown": 1, "cents": 5, "extra": {"a": 1},
        });
        assert_eq!(settled(filled), expected);
        assert_eq!(settled(json!({"user": {"a": 1}, "gift": "maybe", "items": 5})), json!({"user": {"a": 1}, "gift": "maybe", "items": 5}));
    }

    #[test]
    fn a_message_has_its_length_before_it() {
        let text: String = "hello".into();
        assert_eq!(framed(&text), [&[0, 0, 0, 0, 7, 10, 5][..], b"hello"].concat());
    }
}

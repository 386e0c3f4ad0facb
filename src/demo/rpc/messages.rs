//! The messages of `events.proto` and `health.proto`, field by field; a test compares them with the files.

use std::collections::BTreeMap;

use prost::{Enumeration, Message};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum Kind {
    Unspecified = 0,
    Login = 1,
    StatUpdate = 2,
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(enumeration = "Kind", tag = "2")]
    pub(super) kind: i32,
    #[prost(int64, tag = "3")]
    pub(super) amount: i64,
    #[prost(message, optional, tag = "4")]
    pub(super) at: Option<Timestamp>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Receipt {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(string, tag = "2")]
    pub(super) user: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(int64, tag = "1")]
    pub(super) count: i64,
    #[prost(int64, tag = "2")]
    pub(super) amount: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchRequest {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(uint32, tag = "2")]
    pub(super) count: u32,
    #[prost(uint32, tag = "3")]
    pub(super) every_ms: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum Health {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckResponse {
    #[prost(enumeration = "Health", tag = "1")]
    pub(super) status: i32,
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, DynamicMessage};
    use serde_json::json;

    use super::*;

    /// What a message of the schema, written as JSON, is as one of these types, and what that is as JSON again.
    fn there_and_back<T: Message + Default>(name: &str, json: &serde_json::Value) -> (T, serde_json::Value) {
        let pool = DescriptorPool::decode(super::super::compile().unwrap().as_slice()).unwrap();
        let descriptor = pool.get_message_by_name(name).unwrap();
        let message = DynamicMessage::deserialize(descriptor.clone(), json.clone()).unwrap();
        let read = T::decode(message.encode_to_vec().as_slice()).unwrap();
        let again = DynamicMessage::decode(descriptor, read.encode_to_vec().as_slice()).unwrap();
        (read, serde_json::to_value(again).unwrap())
    }

    #[test]
    fn the_messages_are_those_of_the_schema() {
        let event = json!({"user": "a", "kind": "KIND_STAT_UPDATE", "amount": "7", "at": "2026-01-31T12:00:00.5Z", "labels": {"k": "v"}});
        let (read, again) = there_and_back::<Event>("events.v1.Event", &event);
        assert_eq!((read.kind, read.at.unwrap().nanos), (Kind::StatUpdate as i32, 500_000_000));
        let again = again.as_object().unwrap();
        assert_eq!(again["at"].as_str().map(|at| &at[..19]), Some("2026-01-31T12:00:00"));
        assert!(event.as_object().unwrap().iter().all(|(key, value)| key == "at" || again[key] == *value), "{again:?}");
        let receipt = json!({"id": "5", "user": "a"});
        assert_eq!(there_and_back::<Receipt>("events.v1.Receipt", &receipt).1, receipt);
        let summary = json!({"count": "5", "amount": "6"});
        assert_eq!(there_and_back::<Summary>("events.v1.Summary", &summary).1, summary);
        let watch = json!({"user": "a", "count": 5, "everyMs": 6});
        assert_eq!(there_and_back::<WatchRequest>("events.v1.WatchRequest", &watch).1, watch);
        let check = json!({"service": "a"});
        assert_eq!(there_and_back::<HealthCheckRequest>("grpc.health.v1.HealthCheckRequest", &check).1, check);
        let answer = json!({"status": "SERVICE_UNKNOWN"});
        assert_eq!(there_and_back::<HealthCheckResponse>("grpc.health.v1.HealthCheckResponse", &answer).1, answer);
    }
}

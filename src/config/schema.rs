//! The JSON Schema of configuration files, for editors, from the same declarations that decode them. Written to
//! config/plimsoll.schema.json; a test fails when that file is stale.

use serde_json::{Value as Json, json};

use super::Kinds;
use super::raw::RawConfig;
use super::raw::auth::RawAuth;
use super::raw::flow::RawFlow;
use super::raw::flow::check::RawChecks;
use crate::registry::{Decode, kinds_schema};

/// The JSON Schema (draft 2020-12) of one configuration file.
pub fn schema(kinds: &Kinds) -> Json {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Plimsoll configuration",
    });
    let mut body = RawConfig::schema();
    replace(&mut body, "/properties/targets/additionalProperties/properties/probes/additionalProperties", kinds_schema(kinds.probes));
    replace(&mut body, "/properties/alerts/properties/channels/additionalProperties", kinds_schema(kinds.channels));
    if let (Json::Object(whole), Json::Object(body)) = (&mut schema, body) {
        whole.extend(body);
        let shared = json!({"flow": RawFlow::definition(), "auth": RawAuth::definition(), "check": RawChecks::definition()});
        whole.insert("$defs".into(), shared);
    }
    schema
}

fn replace(schema: &mut Json, pointer: &str, with: Json) {
    if let Some(place) = schema.pointer_mut(pointer) {
        *place = with;
    }
}

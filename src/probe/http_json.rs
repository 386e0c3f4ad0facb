//! Probe `http_json`: a page of JSON, and numbers in it by JSON path (RFC 9535), for services that tell how they are in their own way.
//! A path must lead to one number: to none is `missing`, to several or to something else is `parse`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ACCEPT, HeaderValue};
use serde_json::Value as Json;
use serde_json_path::JsonPath;

use super::fetch::{Fetch, Headers, PageUrl, beginning};
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{ByteSize, Context, Decode, Kind, Named, Node, Secret};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "http_json",
    summary: "Fetches a page of JSON and takes numbers from it by JSON path.",
    decode: |node, cx| HttpJsonSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: HttpJsonSettings::keys,
};

settings! {
    /// Fetches a page of JSON.
    pub struct HttpJsonSettings titled "the probe" {
        /// Address of the page.
        url: required PageUrl,
        /// Numbers by name; each a JSON path. They become the metric `custom` with the label `name`.
        values: required Named<Path>,
        /// Time for the whole answer.
        timeout: default Duration = Duration::from_secs(2),
        /// Headers of the request.
        headers: default Headers,
        /// Token for `Authorization: Bearer`.
        bearer: secret Secret,
        /// Largest page that is read.
        max_size: default ByteSize = ByteSize(1 << 20),
    }
}

/// A JSON path.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    path: JsonPath,
    text: String,
}

impl Decode for Path {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        match JsonPath::parse(&text) {
            Ok(path) => Some(Self { path, text }),
            Err(error) => {
                let hint = "write a path of RFC 9535 such as `$.pool.active`";
                cx.diagnostics.push("bad-json-path", node.span, format!("`{text}` is not a JSON path: {error}"), hint);
                None
            }
        }
    }
    fn schema() -> Json {
        serde_json::json!({"type": "string", "pattern": "^\\$"})
    }
}

impl Path {
    /// The one number that the path leads to. A number written as a text counts, true and false are 1 and 0.
    pub(super) fn number(&self, page: &Json) -> Result<f64, ProbeError> {
        let nodes = self.path.query(page).all();
        let not = |reason: &'static str, what: String| ProbeError { reason, detail: format!("`{}` leads to {what}", self.text) };
        let value = match nodes.as_slice() {
            [] => return Err(not("missing", "nothing".into())),
            [one] => *one,
            more => return Err(not("parse", format!("{} values, not one", more.len()))),
        };
        let number = match value {
            Json::Number(number) => number.as_f64(),
            Json::String(text) => text.trim().parse().ok(),
            Json::Bool(value) => Some(f64::from(u8::from(*value))),
            Json::Null => return Err(not("missing", "null".into())),
            Json::Array(_) | Json::Object(_) => None,
        };
        number
            .filter(|number| number.is_finite())
            .ok_or_else(|| not("parse", format!("{}, which is no number", beginning(&value.to_string()))))
    }
}

/// The numbers of a page.
pub(super) fn numbers(page: &str, values: &Named<Path>, from: &str) -> Result<Vec<Point>, ProbeError> {
    let page: Json = serde_json::from_str(page).map_err(|error| ProbeError {
        reason: "parse",
        detail: format!("{from} did not answer with JSON ({error}): {}", beginning(page)),
    })?;
    values.iter().map(|(name, path)| Ok(Point::new("custom", path.number(&page)?).with("name", &name.value))).collect()
}

impl ProbeSettings for HttpJsonSettings {
    fn open(&self, parts: &ProbeParts) -> Box<dyn Probe> {
        let mut headers = self.headers.with_bearer(self.bearer.as_ref());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json, */*;q=0.1"));
        let fetch = Fetch { http: parts.http.clone(), headers, timeout: self.timeout, max_size: self.max_size };
        Box::new(HttpJsonProbe { fetch, settings: self.clone() })
    }

    fn describe(&self) -> String {
        self.url.to_string()
    }
}

/// An open probe.
struct HttpJsonProbe {
    fetch: Fetch,
    settings: HttpJsonSettings,
}

#[async_trait]
impl Probe for HttpJsonProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        let page = self.fetch.text(&self.settings.url).await?;
        numbers(&page, &self.settings.values, &self.settings.url.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::probe::tests::{decode, diagnostics};

    #[test]
    fn a_path_leads_to_one_number_or_to_a_reason() {
        let page = json!({"pool": {"active": 7, "max": "20", "ok": true}, "list": [1, 2], "nothing": null, "name": "x"});
        let number = |text: &str| decode::<Path>(&json!(text)).number(&page);
        assert_eq!(number("$.pool.active"), Ok(7.0));
        assert_eq!(number("$.pool.max"), Ok(20.0));
        assert_eq!(number("$.pool.ok"), Ok(1.0));
        assert_eq!(number("$.list[1]"), Ok(2.0));
        for (path, reason) in [
            ("$.gone", "missing"),
            ("$.nothing", "missing"),
            ("$.list[*]", "parse"),
            ("$.list", "parse"),
            ("$.name", "parse"),
            ("$.pool", "parse"),
        ] {
            assert_eq!(number(path).unwrap_err().reason, reason, "{path}");
        }
        let found = diagnostics::<HttpJsonSettings>(&json!({"url": "http://127.0.0.1:9/", "values": {"a": "pool.active"}}));
        assert!(found[0].starts_with("bad-json-path"), "{found:?}");
    }
}

//! The tables of docs/configuration.md, from the same declarations that decode the files: the page is written by hand around
//! them, and a test fails when one of them is stale. Pure: text in, text out.

use serde_json::Value as Json;

use super::Kinds;
use super::diagnostics::CODES;
use super::raw::{RawConfig, alerts, auth, capture, data, flow, history, http, profile, retention, scenario, service, target, telling};
use super::resolve::DEFAULT_RULES;
use crate::model::threshold::{METRICS, MetricKind, Source, Unit};
use crate::protocol::grpc::settings::GrpcKeys;
use crate::registry::{KeyDoc, Kind, readable_default};

/// The page with every block between `<!-- table NAME -->` and `<!-- end -->` made anew. Unknown names leave an empty block.
pub fn reference(page: &str, kinds: &Kinds) -> String {
    let mut fresh = String::with_capacity(page.len());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        fresh.push_str(line);
        fresh.push('\n');
        let Some(name) = line.strip_prefix("<!-- table ").and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        fresh.push_str(&table(name, kinds).unwrap_or_default());
        for skipped in lines.by_ref() {
            if skipped == "<!-- end -->" {
                fresh.push_str("<!-- end -->\n");
                break;
            }
        }
    }
    fresh
}

/// Names of all tables; each must be on the page.
#[cfg(test)]
pub(super) const TABLES: [&str; 74] = [
    "top",
    "target",
    "limits",
    "version",
    "auth",
    "basic",
    "oauth2",
    "login",
    "tls",
    "probes",
    "profile",
    "threshold",
    "scenario",
    "constant-vus",
    "ramping-vus",
    "vu-stage",
    "constant-arrival-rate",
    "ramping-arrival-rate",
    "rate-stage",
    "per-vu-iterations",
    "shared-iterations",
    "externally-controlled",
    "staircase",
    "http",
    "data",
    "step",
    "part",
    "grpc-step",
    "grpc",
    "websocket",
    "message",
    "close",
    "extract",
    "sequence",
    "choose",
    "branch",
    "repeat",
    "while",
    "if",
    "group",
    "parallel",
    "set",
    "pause",
    "random-pause",
    "normal",
    "pace",
    "schedule",
    "missed",
    "capture",
    "production",
    "history",
    "gate",
    "suite",
    "test",
    "retention",
    "records",
    "alerts",
    "rule",
    "route",
    "window",
    "timing",
    "inhibition",
    "digest",
    "template",
    "default-rules",
    "channels",
    "storage",
    "server",
    "token",
    "log",
    "load",
    "metrics",
    "codes",
    "executors",
];

fn table(name: &str, kinds: &Kinds) -> Option<String> {
    Some(match name {
        "top" => keys(&RawConfig::keys()),
        "target" => keys(&target::RawTarget::keys()),
        "limits" => keys(&target::RawLimits::keys()),
        "version" => keys(&target::RawVersion::keys()),
        "auth" => keys(&auth::AuthKeys::keys()),
        "basic" => keys(&auth::BasicKeys::keys()),
        "oauth2" => keys(&auth::OAuth2Keys::keys()),
        "login" => keys(&auth::LoginKeys::keys()),
        "tls" => keys(&http::TlsKeys::keys()),
        "probes" => of_kinds(kinds.probes),
        "profile" => keys(&profile::RawProfile::keys()),
        "threshold" => keys(&profile::ThresholdKeys::keys()),
        "scenario" => keys(&scenario::CommonKeys::keys()),
        "executors" => executors(),
        "vu-stage" => keys(&scenario::VuStage::keys()),
        "rate-stage" => keys(&scenario::RateStage::keys()),
        "http" => keys(&http::HttpKeys::keys()),
        "data" => keys(&data::DataKeys::keys()),
        "schedule" => keys(&profile::RawSchedule::keys()),
        "missed" => keys(&profile::MissedKeys::keys()),
        "capture" => keys(&capture::RawCapture::keys()),
        "production" => keys(&target::RawProductionLoad::keys()),
        "history" => keys(&history::RawHistory::keys()),
        "gate" => keys(&history::RawGate::keys()),
        "suite" => keys(&history::RawSuite::keys()),
        "test" => keys(&history::RawTest::keys()),
        "retention" => keys(&retention::RawRetention::keys()),
        "records" => keys(&retention::RawRecords::keys()),
        "alerts" => keys(&alerts::RawAlerts::keys()),
        "digest" => keys(&telling::RawDigest::keys()),
        "template" => keys(&telling::RawTemplate::keys()),
        "rule" => keys(&alerts::RawRule::keys()),
        "route" => keys(&alerts::RawRoute::keys()),
        "window" => keys(&alerts::RawWindow::keys()),
        "timing" => keys(&alerts::RawTiming::keys()),
        "inhibition" => keys(&alerts::RawInhibit::keys()),
        "default-rules" => default_rules(),
        "channels" => of_kinds(kinds.channels),
        "storage" => keys(&service::RawStorage::keys()),
        "server" => keys(&service::RawServer::keys()),
        "token" => keys(&service::TokenKeys::keys()),
        "log" => keys(&service::RawLog::keys()),
        "load" => keys(&service::RawLoad::keys()),
        "metrics" => metrics(),
        "codes" => codes(),
        other => return node(other).or_else(|| Some(keys(&scenario::ExecutorName::parse(other)?.keys()))),
    })
}

/// The tables of nodes of flows.
fn node(name: &str) -> Option<String> {
    Some(keys(&match name {
        "step" => flow::step::HttpStep::keys(),
        "part" => flow::step::PartKeys::keys(),
        "grpc-step" => flow::step::GrpcStep::keys(),
        "grpc" => GrpcKeys::keys(),
        "websocket" => flow::step::SocketStep::keys(),
        "message" => flow::step::ExchangeStep::keys(),
        "close" => flow::parting::CloseKeys::keys(),
        "extract" => flow::extract::ExtractKeys::keys(),
        "sequence" => flow::SequenceKeys::keys(),
        "choose" => flow::ChooseKeys::keys(),
        "branch" => flow::Branch::keys(),
        "repeat" => flow::RepeatKeys::keys(),
        "while" => flow::WhileKeys::keys(),
        "if" => flow::IfKeys::keys(),
        "group" => flow::GroupKeys::keys(),
        "parallel" => flow::ParallelKeys::keys(),
        "set" => flow::SetKeys::keys(),
        "pause" => flow::pause::PauseKeys::keys(),
        "random-pause" => flow::pause::RandomPause::keys(),
        "normal" => flow::pause::NormalKeys::keys(),
        "pace" => flow::PaceKeys::keys(),
        _ => return None,
    }))
}

fn keys(keys: &[KeyDoc]) -> String {
    let mut text = String::from("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let default = match key.default {
            Some(default) => format!("`{}`", readable_default(default)),
            None if key.required => "required".into(),
            None => String::new(),
        };
        text.push_str(&row(&[&format!("`{}`", key.key), &value(&key.schema), &default, &key.doc]));
    }
    text
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn of_kinds<T: ?Sized>(kinds: &[Kind<T>]) -> String {
    let sections: Vec<String> =
        kinds.iter().map(|kind| format!("\n`{}`: {}\n\n{}", kind.name, kind.summary, keys(&(kind.keys)()))).collect();
    format!("{}\n", sections.concat())
}

fn executors() -> String {
    let mut text = String::from("| executor | keys of its own |\n| --- | --- |\n");
    for executor in scenario::ExecutorName::ALL {
        let own: Vec<String> = executor.keys().iter().map(|key| format!("`{}`", key.key)).collect();
        text.push_str(&row(&[&format!("`{executor}`"), &own.join(", ")]));
    }
    text
}

fn default_rules() -> String {
    let mut text = String::from("| rule | when | recover | severity |\n| --- | --- | --- | --- |\n");
    for rule in &DEFAULT_RULES {
        let recover = if rule.recover.is_empty() { "when it no longer holds".to_owned() } else { format!("`{}`", rule.recover) };
        text.push_str(&row(&[&format!("`{}`", rule.name), &format!("`{}`", rule.when), &recover, rule.severity.as_str()]));
    }
    text
}

fn metrics() -> String {
    let mut text = String::from("| metric | aggregations | unit | selected by | meaning |\n| --- | --- | --- | --- | --- |\n");
    for metric in METRICS {
        let aggregations = match metric.kind {
            MetricKind::Trend => "p(95), med, avg, min, max",
            MetricKind::Counter => "count, rate",
            MetricKind::Rate => "rate",
            MetricKind::Gauge => "avg, min, max, value",
        };
        let unit = match metric.unit {
            Unit::Time => "`200ms`",
            Unit::Ratio => "`80%`",
            Unit::Bytes => "`2GiB`",
            Unit::Count => "`12`",
        };
        let selected = match metric.source {
            Source::Step => "step, scenario, phase",
            Source::Scenario => "scenario, phase",
            Source::Group => "group, scenario, phase",
            Source::Probe => "labels of the probe",
            Source::History => "of, profile, target; written `regression(p95) > 10%`, in alert rules only",
        };
        text.push_str(&row(&[&format!("`{}`", metric.name), aggregations, unit, selected, metric.help]));
    }
    text
}

fn codes() -> String {
    let mut text = String::from("| code | meaning |\n| --- | --- |\n");
    for (code, meaning) in CODES {
        text.push_str(&row(&[&format!("`{code}`"), meaning]));
    }
    text
}

/// What a value looks like, from its schema.
fn value(schema: &Json) -> String {
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().filter_map(Json::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    if let Some(example) = schema["examples"][0].as_str() {
        return format!("`{example}`");
    }
    if let Some(word) = schema["const"].as_str() {
        return format!("`{word}`");
    }
    if let Some(shared) = schema["$ref"].as_str() {
        return match shared.rsplit('/').next() {
            Some("flow") => "node of a flow".into(),
            Some("auth") => "`none`, a name or mapping".into(),
            _ => "mapping".into(),
        };
    }
    if let Some(variants) = schema["anyOf"].as_array() {
        return match variants.as_slice() {
            [list, _] if list["type"] == "array" => format!("list of {}", value(&list["items"])),
            variants => variants.iter().map(value).collect::<Vec<_>>().join(" or "),
        };
    }
    match schema["type"].as_str() {
        Some("integer") => "whole number".into(),
        Some("number") => "number".into(),
        Some("boolean") => "`true`, `false`".into(),
        Some("array") => format!("list of {}", value(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() && schema["properties"].is_null() => "mapping from names".into(),
        Some("object") => "mapping".into(),
        Some("string") => "text".into(),
        _ if schema["type"].is_array() => "text".into(),
        _ if schema["oneOf"].is_array() => "mapping".into(),
        _ => "anything".into(),
    }
}

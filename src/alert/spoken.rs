//! What happened in the words of somebody who is woken by it: "pool `main` of shop at 100 % of 20 for 12s", not the name of a metric.
//! The exact condition stays in the history and in the message's lines.

use super::ToldAlert;
use super::fingerprint::group_labels;
use super::reason::plain_time;
use crate::model::Labels;
use crate::model::alerting::{AlertState, MessageKind};
use crate::model::units::{Timestamp, trim_decimal};

/// The headline's sentence; `None` when nothing better than the reason can be said.
pub(super) fn spoken(told: &ToldAlert, at: Timestamp) -> Option<String> {
    let alert = &told.instance;
    let metric = told.rule.as_ref()?.metric?;
    if alert.value.is_none() || alert.state == AlertState::NoData || matches!(told.kind, MessageKind::Test | MessageKind::FiredAndResolved)
    {
        return None;
    }
    if told.reason.starts_with("there is data again") {
        return None;
    }
    let labels = group_labels(&alert.fingerprint, &alert.rule);
    let shown = &alert.shown;
    let said = match metric {
        "pool_utilization" => {
            let limit = told.capacity.map(|limit| format!(" of {}", trim_decimal(limit, 0))).unwrap_or_default();
            format!("{} at {shown}{limit}", named("pool", &labels))
        }
        "requests_failed" | "http_req_failed" => format!("{shown} of the requests of {} fail", named("profile", &labels)),
        "grpc_req_failed" => format!("{shown} of the calls of {} fail", named("profile", &labels)),
        "http_req_duration" | "grpc_req_duration" | "response_time" | "service_time" => {
            let which = told.rule.as_ref().map(|rule| rule.aggregation.as_str()).unwrap_or_default();
            format!("{} answers in {shown} ({which})", named("profile", &labels))
        }
        "process_memory" => format!("{} uses {shown} of memory", named("probe", &labels)),
        "process_cpu" => format!("{} uses {shown} of a core", named("probe", &labels)),
        "probe_up" => format!("{} cannot be read", named("probe", &labels)),
        _ => return None,
    };
    let held = alert.active_since.filter(|_| told.kind != MessageKind::Resolved).map(|since| at.since(since));
    let held = held.filter(|held| held.as_secs() > 0).map(|held| format!(" for {}", plain_time(held))).unwrap_or_default();
    Some(format!("{said}{held}"))
}

/// "pool `main` of shop", or only "shop" where the label is absent.
fn named(label: &str, labels: &Labels) -> String {
    match (labels.get(label), labels.get("target")) {
        (Some(name), Some(target)) => format!("{label} `{name}` of {target}"),
        (Some(name), None) => format!("{label} `{name}`"),
        (None, Some(target)) => target.clone(),
        (None, None) => label.to_owned(),
    }
}

//! What is configured: profiles, targets, schedules. Addresses without user, password and query, which may hold secrets.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::{Parts, stored};
use crate::engine::setup::TargetSetup;
use crate::model::flow::{Step, steps_of};
use crate::model::profile::{Executor, Profile, Scenario};
use crate::model::schedule::{Missed, Schedule};
use crate::model::units::format_duration;

/// Records of instants shown per schedule.
const TICKS: u32 = 10;

/// An address as people may see it.
fn public_url(url: &url::Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses that cannot have a user at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn step(step: &Step) -> Value {
    let checks: Vec<&str> = step.checks.iter().map(|check| check.name.as_str()).collect();
    let timeout = format_duration(step.timeout);
    json!({ "name": step.name, "protocol": step.request.protocol(), "title": step.request.title(), "timeout": timeout, "checks": checks })
}

fn executor(executor: &Executor) -> Value {
    json!({
        "type": executor.name(),
        "open": executor.is_open(),
        "duration": format_duration(executor.duration()),
        "max_vus": executor.max_vus(),
        "max_rate_per_second": executor.max_rate(),
    })
}

fn scenario(scenario: &Scenario) -> Value {
    let found: Vec<Value> = steps_of(&scenario.flow).into_iter().map(step).collect();
    json!({ "name": scenario.name, "executor": executor(&scenario.executor), "start": format_duration(scenario.start_time), "steps": found })
}

fn profile(profile: &Profile) -> Value {
    json!({
        "name": profile.name,
        "target": profile.target,
        "description": profile.description,
        "digest": profile.digest,
        "scenarios": profile.scenarios.iter().map(scenario).collect::<Vec<_>>(),
        "thresholds": profile.thresholds.iter().map(|threshold| threshold.text.as_str()).collect::<Vec<_>>(),
    })
}

fn target(setup: &TargetSetup) -> Value {
    let target = &setup.target;
    json!({
        "name": target.name,
        "base_url": target.base_url.as_ref().map(public_url),
        "environment": target.environment,
        "allow": target.allow,
        "limits": {
            "rate": target.limits.rate.map(|rate| rate.to_string()),
            "vus": target.limits.vus,
            "duration": target.limits.duration.map(format_duration),
        },
        "probes": setup.probes.iter().map(|probe| {
            json!({ "name": probe.name, "type": probe.kind, "reads": probe.settings.describe() })
        }).collect::<Vec<_>>(),
        "guards": setup.guards.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(),
    })
}

pub(super) async fn profiles(State(parts): State<Parts>) -> Json<Value> {
    let status = parts.engine.status();
    Json(json!({ "profiles": status.setup.profiles.values().map(profile).collect::<Vec<_>>() }))
}

pub(super) async fn targets(State(parts): State<Parts>) -> Json<Value> {
    let status = parts.engine.status();
    Json(json!({ "targets": status.setup.targets.values().map(target).collect::<Vec<_>>() }))
}

fn schedule(schedule: &Schedule) -> Value {
    json!({
        "name": schedule.name,
        "profile": schedule.profile,
        "cron": schedule.cron,
        "timezone": schedule.timezone.name(),
        "jitter": format_duration(schedule.jitter),
        "overlap": schedule.overlap,
        "missed": match schedule.missed {
            Missed::Skip => "skip".to_owned(),
            Missed::RunWithin(within) => format!("run once within {}", format_duration(within)),
        },
    })
}

pub(super) async fn schedules(State(parts): State<Parts>) -> Result<Json<Value>, ApiError> {
    let status = parts.engine.status();
    let mut all = Vec::new();
    for one in status.setup.schedules.values() {
        let mut shown = schedule(one);
        shown["next"] = json!(status.next.iter().find(|next| next.schedule == one.name).and_then(|next| next.at));
        shown["ticks"] = json!(stored(parts.store.ticks(Some(&one.name), TICKS)).await?);
        all.push(shown);
    }
    Ok(Json(json!({ "schedules": all, "queued": status.queued, "lost_ticks": status.lost.ticks })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        let url = url::Url::parse("https://ops:hunter2@shop.example/api?key=abc#x").unwrap();
        assert_eq!(public_url(&url), "https://shop.example/api");
    }
}

//! What the unit tests of flows share: scopes, feeders, templates.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::data::{RunData, ScenarioData};
use super::scope::Scope;
use super::walk::Next;
use crate::clock::TestClock;
use crate::model::flow::{AtEnd, Feeder, Pick, Step};
use crate::model::request::{HttpRequest, Request};
use crate::model::template::{Encoding, Template};
use crate::model::units::Timestamp;

/// Data of a run whose clock stands at 2026-11-21T02:00:00.123Z.
pub(super) fn run(seed: u64) -> Arc<RunData> {
    RunData::new(seed, TestClock::at(Timestamp::parse("2026-11-21T02:00:00.123456Z").unwrap()))
}

/// The first VU of a scenario without data, in its first iteration.
pub(super) fn scope() -> Scope {
    scope_with(&[])
}

/// The same with data.
pub(super) fn scope_with(feeders: &[Feeder]) -> Scope {
    let mut scope = Scope::new(ScenarioData::new(run(7), "test", false, feeders), 0);
    scope.begin_iteration(0);
    scope
}

/// A feeder of one row per value.
pub(super) fn feeder(name: &str, column: &str, values: Vec<Value>, pick: Pick, at_end: AtEnd) -> Feeder {
    let rows = Arc::new(values.into_iter().map(|value| vec![value]).collect());
    Feeder { name: name.into(), columns: vec![column.into()], rows, pick, at_end, first: 0 }
}

/// A template.
pub(super) fn template(text: &str, encoding: Encoding) -> Template {
    Template::parse(text, encoding).unwrap()
}

/// What a template comes to.
pub(super) fn rendered(scope: &mut Scope, text: &str, encoding: Encoding) -> Result<String, String> {
    let mut out = String::new();
    scope.render(&template(text, encoding), &mut out).map(|()| out).map_err(|script| script.to_string())
}

/// A step that is only its name.
pub(super) fn step(name: &str) -> Step {
    let url = url::Url::parse("http://127.0.0.1/").unwrap();
    let request = Request::Http(HttpRequest::new("GET", &url));
    Step { name: name.into(), request, checks: vec![], extracts: vec![], timeout: Duration::from_secs(1) }
}

/// What is next, in a word.
pub(super) fn title(next: &Next<'_>) -> String {
    match next {
        Next::Step(number, step) => format!("{number}:{}", step.name),
        Next::Parallel(first, steps) => {
            format!("{first}:{}", steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join("+"))
        }
        Next::Connect(number, step) => format!("connect {number}:{}", step.name),
        Next::Close(number) => format!("close {number}"),
        Next::Pause(time) => format!("pause {time:?}"),
        Next::PaceUntil(time) => format!("pace {time:?}"),
        Next::GroupBegin(number) => format!("begin {number}"),
        Next::GroupEnd(number) => format!("end {number}"),
    }
}

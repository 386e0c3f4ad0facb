//! Steering by hand: forms for one run and for everything at once. They stand on pages of their own, because a page that reloads
//! itself would take away what is being written. Who sends one names a token, as with the API; no session is kept.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::Parts;
use super::super::api::runs::going;
use super::super::auth::name_of;
use super::super::error::ApiError;
use super::parts::{fact, run_path, time};
use super::{page, respond};
use crate::engine::handle::LiveRun;
use crate::engine::steer::Steer;
use crate::model::control::{Action, ControlEntry, Scale};
use crate::model::run::RunId;

/// What a form says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Wish {
    token: String,
    /// Which button.
    action: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    scenario: String,
}

impl Wish {
    /// Who sends it, as stored with what is done.
    fn by(&self, parts: &Parts) -> Result<String, ApiError> {
        let token = Some(self.token.trim()).filter(|token| !token.is_empty());
        Ok(format!("the page, token {}", name_of(parts, token, "write a token into the form")?))
    }
}

/// A form that could not be read.
fn unreadable(rejection: &FormRejection) -> ApiError {
    ApiError::new(rejection.status(), "bad_request", rejection.body_text())
}

fn token_field() -> Markup {
    html! { p { label { "Token " input type="password" name="token" autocomplete="current-password" required; } } }
}

/// What went wrong with the last wish.
fn trouble(error: Option<&ApiError>) -> Markup {
    html! { @if let Some(error) = error { div.banner { strong { "Nothing was done: " } (error.message) } } }
}

/// The page that steers one run.
pub(in super::super) async fn run(State(parts): State<Parts>, Path(id): Path<String>) -> Response {
    steering(&parts, &id, None).await
}

async fn steering(parts: &Parts, id: &str, error: Option<&ApiError>) -> Response {
    let status = parts.engine.status();
    let live = match going(parts, id).await {
        Ok(id) => status.running.iter().find(|live| live.id == id),
        Err(_) => None,
    };
    let Some(live) = live else {
        let body =
            html! { h1 { "Not going on" } section { p { "This run is not going on." } p { a href=(run_path(id)) { "To its page" } } } };
        return respond(StatusCode::NOT_FOUND, page("Not going on", None, &body));
    };
    let profile = status.setup.profiles.get(&live.profile);
    let scenarios: Vec<&str> = profile.map(|profile| profile.scenarios.iter().map(|one| one.name.as_str()).collect()).unwrap_or_default();
    let body = html! {
        h1 { "Steer " (live.profile) " on " (live.target) }
        p.muted { "Run " a href=(run_path(&live.id.0)) { (live.id) } " · started " (time(live.started_at)) }
        (trouble(error))
        (state(live))
        (run_form(live, &scenarios))
    };
    respond(error.map_or(StatusCode::OK, |error| error.status), page("Steer a run", None, &body))
}

fn state(live: &LiveRun) -> Markup {
    html! { section { dl.facts {
        (fact("Now", &html! { (if live.steered.is_empty() { "as the profile says" } else { &live.steered }) }))
        @if let Some(now) = &live.progress {
            (fact("Stage", &html! { (now.phase) })) (fact("VUs", &html! { (now.vus) })) (fact("Requests a second", &html! { (now.requests) }))
        }
    } } }
}

fn run_form(live: &LiveRun, scenarios: &[&str]) -> Markup {
    let path = format!("{}/control", run_path(&live.id.0));
    html! {
        section { form.control method="post" action=(path) {
            (token_field())
            @if scenarios.len() > 1 { p { label { "Scenario " select name="scenario" {
                option value="" { "all" } @for name in scenarios { option value=(name) { (name) } }
            } } } }
            p {
                button name="action" value="pause" { "Pause" } " "
                button name="action" value="hold" { "Hold" } " "
                button name="action" value="resume" { "Resume" }
                small.muted { " Pause: nothing starts. Hold: the present level stays. In both the clock of the profile stands still." }
            }
            p {
                label { "Scale to " input name="to" placeholder="50%, 2x, 20 or 50/s" size="20"; } " "
                button name="action" value="scale" { "Scale" }
                small.muted { " A share or a multiple of what the profile says, a number of VUs, or a rate. 100% is the profile again." }
            }
            p { button.danger name="action" value="stop" { "Stop this run now" } }
        } }
    }
}

/// Does what the form of one run says.
pub(in super::super) async fn steer(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    form: Result<Form<Wish>, FormRejection>,
) -> Response {
    let done = async {
        let Form(wish) = form.map_err(|rejection| unreadable(&rejection))?;
        let by = wish.by(&parts)?;
        let id = going(&parts, &id).await?;
        done(&parts, &id, &wish, by).await.map(|_| id)
    };
    match done.await {
        Ok(id) => Redirect::to(&run_path(&id.0)).into_response(),
        Err(error) => steering(&parts, &id, Some(&error)).await,
    }
}

async fn done(parts: &Parts, id: &RunId, wish: &Wish, by: String) -> Result<ControlEntry, ApiError> {
    let action = Action::parse(&wish.action).ok_or_else(|| ApiError::bad_request("there is no such button"))?;
    let scale = match action {
        Action::Scale => Some(Scale::parse(&wish.to).map_err(ApiError::bad_request)?),
        Action::Pause | Action::Resume | Action::Hold | Action::Stop => None,
    };
    let scenario = Some(wish.scenario.clone()).filter(|name| !name.is_empty());
    Ok(parts.engine.control_run(id, Steer { action, scale, scenario, by }).await?)
}

/// The page of the kill switch.
pub(in super::super) async fn everything(State(parts): State<Parts>) -> Response {
    switch(&parts, None)
}

fn switch(parts: &Parts, error: Option<&ApiError>) -> Response {
    let status = parts.engine.status();
    let body = html! {
        h1 { "Stop everything" }
        (trouble(error))
        @if let Some(standstill) = &status.standstill {
            div class="banner warn" { strong { "All load is stopped" } " by " (standstill.by) ", since " (time(standstill.at)) "." }
        }
        section { form.control method="post" action="/stop" {
            @if status.running.is_empty() { p { "No run is going on." } } @else {
                p { "Going on:" }
                ul { @for live in &status.running { li { a href=(run_path(&live.id.0)) { (live.profile) } " on " (live.target) } } }
            }
            (token_field())
            p { button.danger name="action" value="stop" { "Stop every run now" } small.muted { " Requests that are under way are cut off. Schedules go on." } }
            p { button.danger name="action" value="hold" { "Stop every run, and let nothing start" } small.muted { " Until somebody resumes, also after a restart." } }
            @if status.standstill.is_some() { p { button name="action" value="resume" { "Let load start again" } } }
        } }
    };
    respond(error.map_or(StatusCode::OK, |error| error.status), page("Stop everything", None, &body))
}

/// Does what the form of the kill switch says.
pub(in super::super) async fn stop(State(parts): State<Parts>, form: Result<Form<Wish>, FormRejection>) -> Response {
    let done = async {
        let Form(wish) = form.map_err(|rejection| unreadable(&rejection))?;
        let by = wish.by(&parts)?;
        match wish.action.as_str() {
            "stop" | "hold" => parts.engine.stop_all(&by, wish.action == "hold").await.map(drop)?,
            "resume" => parts.engine.resume(&by).await?,
            _ => return Err(ApiError::bad_request("there is no such button")),
        }
        Ok(())
    };
    match done.await {
        Ok(()) => Redirect::to("/").into_response(),
        Err(error) => switch(&parts, Some(&error)),
    }
}

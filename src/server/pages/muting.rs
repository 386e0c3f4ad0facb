//! Silences and open incidents by hand: who silenced what until when, a form for a new silence, who takes care of an incident, and who
//! did what.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::super::api::muting::SilenceRequest;
use super::super::auth::name_of;
use super::super::error::ApiError;
use super::super::{Parts, stored};
use super::parts::{alert_labels, badge, time};
use super::{page, respond};
use crate::engine::handle::EngineStatus;
use crate::engine::windows::SHOWN_FOR;
use crate::model::audit::Deed;
use crate::model::muting::{Ack, Silence, show_matchers};
use crate::model::units::Timestamp;

/// Entries of who did what on the page.
const SHOWN_DEEDS: u32 = 30;

/// What a form says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Wish {
    token: String,
    /// Which button: `silence`, `expire` or `ack`.
    action: String,
    #[serde(default)]
    matchers: String,
    #[serde(default)]
    duration: String,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    author: String,
    /// The silence or incident.
    #[serde(default)]
    id: String,
}

/// The page.
pub(in super::super) async fn silences(State(parts): State<Parts>) -> Response {
    shown(&parts, None).await
}

async fn shown(parts: &Parts, error: Option<&ApiError>) -> Response {
    let status = parts.engine.status();
    let now = parts.clock.now();
    let silences = stored(parts.store.silences(now.minus(SHOWN_FOR))).await;
    let body = html! {
        h1 { "Silences" }
        @if let Some(error) = error { div.banner { strong { "Nothing was done: " } (error.message) } }
        (incidents(&status))
        section {
            h2 { "Silences" }
            @match &silences {
                Ok(silences) if silences.is_empty() => { p.muted { "Nothing is silenced, and nothing was in the last week." } }
                Ok(silences) => { (table(silences, now)) }
                Err(_) => { p.muted { "The list is not available: the database cannot be read." } }
            }
        }
        (form())
        (audit(stored(parts.store.deeds(SHOWN_DEEDS)).await.ok().as_deref()))
    };
    respond(error.map_or(StatusCode::OK, |error| error.status), page("Silences", None, &body))
}

/// Who did what, newest first; `None`: it cannot be read.
fn audit(deeds: Option<&[Deed]>) -> Markup {
    html! {
        section {
            h2 { "Who did what" }
            @match deeds {
                None => { p.muted { "The list is not available: the database cannot be read." } }
                Some([]) => { p.muted { "Nobody has asked for anything yet." } }
                Some(deeds) => { div.scroll { table {
                    thead { tr { th { "When" } th { "Who" } th { "What" } th { "Of" } th { "Detail" } } }
                    tbody { @for deed in deeds { tr {
                        td.tight { (time(deed.at)) } td { (deed.by) } td.tight { code { (deed.what) } } td { (deed.object) }
                        td.wide { (deed.detail) @if let Some(why) = &deed.refused { " " strong { "refused: " } (why) } }
                    } } }
                } } }
            }
            p { small.muted { "More of it: " a href="/api/v1/audit?limit=500" { "the API" } ", " code { "plimsoll audit" } "." } }
        }
    }
}

fn token_field() -> Markup {
    html! { label { "Token " input type="password" name="token" autocomplete="current-password" required; } }
}

fn incidents(status: &EngineStatus) -> Markup {
    let open: Vec<_> = status.alerts.iter().filter(|alert| alert.incident.is_some()).collect();
    html! {
        section {
            h2 { "Open incidents" }
            @if open.is_empty() { p.muted { "None is open." } }
            @for alert in open {
                form.control method="post" action="/silences" {
                    p {
                        (badge(alert.state.as_str())) " " strong { (alert.rule) } " " small.muted { (alert_labels(alert)) }
                        @if let Some(muted) = &alert.muted { br; small { (muted) } }
                    }
                    @match &alert.acked {
                        Some(ack) => { p { "Taken by " (ack.by) ", " (time(ack.at)) @if !ack.comment.is_empty() { ": " (ack.comment) } } }
                        None => { p {
                            input type="hidden" name="id" value=[alert.incident.as_deref()];
                            (token_field()) " " label { "Comment " input name="comment" size="30"; } " "
                            button name="action" value="ack" { "I take care of it" }
                            small.muted { " It is not repeated any more." }
                        } }
                    }
                }
            }
        }
    }
}

fn table(silences: &[Silence], now: Timestamp) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "State" } th { "Alerts" } th { "From" } th { "Until" } th { "Author" } th { "Comment" } th { "" } } }
            tbody { @for silence in silences { tr {
                td { (silence.state(now)) br; small.muted { (silence.id) } }
                td.wide { code { (show_matchers(&silence.matchers)) } }
                td.tight { (time(silence.starts_at)) }
                td.tight { (time(silence.ends_at)) @if let Some(by) = &silence.ended_by { br; small.muted { "ended by " (by) } } }
                td { (silence.author) } td.wide { (silence.comment) }
                td { @if silence.state(now) != "expired" { form.control method="post" action="/silences" {
                    input type="hidden" name="id" value=(silence.id);
                    (token_field()) " " button name="action" value="expire" { "End it now" }
                } } }
            } } }
        } }
    }
}

fn form() -> Markup {
    html! {
        section {
            h2 { "New silence" }
            form.control method="post" action="/silences" {
                p { label { "Alerts " input name="matchers" placeholder="target=shop pool=~main|side" size="50" required; } small.muted { " All must fit; separated by spaces." } }
                p { label { "For " input name="duration" placeholder="2h" size="8" required; } }
                p { label { "Comment " input name="comment" size="50" required; } }
                p { label { "Author " input name="author" size="20"; } " " (token_field()) }
                p { button name="action" value="silence" { "Silence" } small.muted { " What is still firing when it ends is told then. State and history go on." } }
            }
        }
    }
}

/// Does what a form says.
pub(in super::super) async fn change(State(parts): State<Parts>, form: Result<Form<Wish>, FormRejection>) -> Response {
    let done = async {
        let Form(wish) = form.map_err(|rejection| ApiError::new(rejection.status(), "bad_request", rejection.body_text()))?;
        let token = Some(wish.token.trim()).filter(|token| !token.is_empty());
        let by = format!("the page, token {}", name_of(&parts, token, "write a token into the form")?);
        let now = parts.clock.now();
        match wish.action.as_str() {
            "silence" => {
                let matchers = wish.matchers.split_whitespace().map(str::to_owned).collect();
                let (comment, author) = (wish.comment, wish.author);
                let request = SilenceRequest { matchers, comment, author, duration: Some(wish.duration), starts_at: None, ends_at: None };
                parts.engine.silence(request.silence(&by, now)?).await?;
            }
            "expire" => drop(parts.engine.expire_silence(&wish.id, &by).await?),
            "ack" => drop(parts.engine.acknowledge(&wish.id, Ack { by, at: now, comment: wish.comment.trim().to_owned() }).await?),
            _ => return Err(ApiError::bad_request("there is no such button")),
        }
        Ok(())
    };
    match done.await {
        Ok(()) => Redirect::to("/silences").into_response(),
        Err(error) => shown(&parts, Some(&error)).await,
    }
}

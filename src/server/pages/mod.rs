//! Pages for people, rendered here and complete without scripts. maud escapes every text; only our own SVG goes in as it is.

mod captures;
pub(super) mod compare;
pub(super) mod control;
mod database;
mod failures;
mod headroom;
pub(super) mod history;
mod home;
pub(super) mod itself;
mod load_line;
pub(super) mod muting;
mod needs;
mod parts;
mod run;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

pub(super) use home::home;
pub(super) use run::run;

use super::Parts;
use super::error::ApiError;

const STYLE: &str = include_str!("style.css");
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='6' fill='none' stroke='%230f83c9' stroke-width='2'/%3E%3Cpath d='M1 8h14' stroke='%230f83c9' stroke-width='2'/%3E%3C/svg%3E";

/// The style sheet; its address carries the version, so it may be kept.
pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=86400")], STYLE)
}

/// A whole page; `refresh_s` makes the browser load it again.
fn page(title: &str, refresh_s: Option<u32>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(seconds) = refresh_s { meta http-equiv="refresh" content=(seconds); }
                title { (title) " – Plimsoll" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href=(concat!("/style.css?v=", env!("CARGO_PKG_VERSION")));
            }
            body {
                header {
                    a.name href="/" { "Plimsoll" }
                    nav {
                        a href="/compare" { "Compare" }
                        a href="/api/v1/runs" { "API" }
                        a href="/metrics" { "Metrics" }
                        a href="/-/ready" { "Health" }
                    }
                }
                main { (body) }
                footer { "Plimsoll " (env!("CARGO_PKG_VERSION")) @if let Some(seconds) = refresh_s { " · this page reloads every " (seconds) " s" } " · times are UTC" }
            }
        }
    }
}

fn respond(status: StatusCode, markup: Markup) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], markup.into_string()).into_response()
}

/// A page that says what is missing.
pub(super) fn not_found(_: &Parts, what: &str) -> Response {
    let body = html! { h1 { "Not found" } section { p { (what) } p { a href="/" { "To the overview" } } } };
    respond(StatusCode::NOT_FOUND, page("Not found", None, &body))
}

/// A page that says why there is none.
fn failed(error: &ApiError) -> Response {
    let body = html! { h1 { "Not available" } section { p { (error.message) } p { a href="/" { "To the overview" } } } };
    respond(error.status, page("Not available", Some(10), &body))
}

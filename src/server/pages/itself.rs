//! The page about the daemon itself: whether its memory, descriptors and threads stay as they are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::Parts;
use super::super::api::itself::trends;
use super::parts::{badge, prose};
use super::{failed, page, respond};
use crate::model::analysed::TrendFound;

pub(in super::super) async fn itself(State(parts): State<Parts>) -> Response {
    match trends(&parts).await {
        Ok(trends) => respond(StatusCode::OK, page("Plimsoll itself", None, &whole(&trends))),
        Err(error) => failed(&error),
    }
}

fn whole(trends: &[TrendFound]) -> Markup {
    html! {
        h1 { "Plimsoll itself" }
        section {
            p.muted { "Its own memory, descriptors and threads are read every minute and judged like those of a target under constant load." }
            @if trends.is_empty() { p { "There are readings of less than half a day: nothing can be said yet." } } @else {
                div.scroll { table {
                    thead { tr { th { "Verdict" } th { "Resource" } th { "Process on" } th { "In words" } } }
                    tbody { @for trend in trends { tr {
                        td { (badge(trend.verdict.as_str())) }
                        td { (trend.resource.as_str()) }
                        td { (trend.probe.as_deref().unwrap_or("-")) }
                        td.wide { (prose(&trend.title)) }
                    } } }
                } }
            }
        }
    }
}

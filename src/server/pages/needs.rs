//! The sizes that the pools of a target would need for the load of a run, beside what they had and what the rule of thumb says.

use maud::{Markup, html};

use crate::model::analysed::NeedFound;
use crate::model::threshold::{Unit, show_unit};
use crate::model::units::trim_decimal;

pub(super) fn needs(needs: &[NeedFound]) -> Markup {
    let whole = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| trim_decimal(value, 0));
    let time = |seconds: f64| show_unit(Unit::Time, (seconds * 1e4).round() / 1e4);
    html! { @if !needs.is_empty() { section { h2 { "Pool sizes" } div.scroll { table {
        thead { tr {
            th { "Pool" } th { "Probe" } th.number { "Had" } th.number { "Needed" } th.number { "95 % interval" } th.number { "Requests/s due" }
            th.number { "Held p95" } th.number { "In line" } th.number { "Rule of thumb" } th.number { "All pools of the server's" }
        } }
        tbody { @for need in needs { tr {
            td { (need.pool) } td { (need.probe) } td.number { (whole(need.limit)) } td.number { strong { (whole(Some(need.connections.value))) } }
            td.number { (whole(Some(need.connections.low))) " to " (whole(need.connections.high)) }
            td.number { (trim_decimal(need.per_second, 1)) } td.number { (time(need.hold_p95_s)) } td.number { (whole(need.in_line)) }
            td.number { (whole(need.rule_of_thumb)) }
            td.number { @match need.together.zip(need.server) {
                Some((together, server)) => { (whole(Some(together))) " of " (whole(Some(server))) }
                None => { "-" }
            } }
        } } }
    } }
    p.muted { "Needed by Little's law: requests a second that were due × seconds that a request holds a connection, so that 19 of 20 seconds have enough. \
        Users of closed loops are taken to ask as often as they would without waiting for the pool. \
        The rule of thumb, (VUs × 1.5 + requests/s ÷ 10) + 20 %, knows nothing of how long a connection is held." } } } }
}

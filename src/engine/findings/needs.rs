//! The size that a pool would need for the load of a run, from its seconds: `analysis::pool_need` asked, and told. Pure.

use super::pools::Pools;
use super::reasons::{Load, Reasons};
use crate::analysis::pool::PoolSecond;
use crate::analysis::pool_need::{Fits, Held, need, rule_of_thumb};
use crate::model::analysed::{NeedFound, Ranged};
use crate::model::finding::Evidence;
use crate::model::units::trim_decimal;

/// What a pool would need; `span` are the seconds in which it was full. `None`: too little got through to say.
pub(super) fn of(reasons: &Reasons, pools: &Pools, key: &(String, String), span: Option<(u32, u32)>) -> Option<NeedFound> {
    let seconds = pools.of(key)?;
    // Around the time it was full the load was what it had to bear; of a few seconds the whole run has to do.
    let inside = |second: u32| span.is_none_or(|(from, to)| (from..=to).contains(&second));
    let mut held: Vec<Held> = seconds.iter().filter(|one| inside(one.second)).filter_map(|one| of_second(reasons, one)).collect();
    let full = |one: &&PoolSecond| one.in_use.is_some();
    if held.len() < 5 {
        held = seconds.iter().filter(full).filter_map(|one| of_second(reasons, one)).collect();
    }
    let most = |value: fn(&Load) -> f64| reasons.seconds.iter().map(value).fold(0.0, f64::max);
    let (closed, open) = (most(|load| load.closed as f64), most(|load| load.open));
    let callers = (closed > 0.0).then_some((closed, open));
    let found = need(&held, callers)?;
    let vus = reasons.seconds.iter().map(|load| load.vus).max().unwrap_or(0) as f64;
    let limit = seconds.iter().filter_map(|one| one.limit).filter(|limit| *limit > 0.0).reduce(f64::max);
    let server = pools.server().filter(|(server, _)| *server != key);
    let fits = server.and_then(|(server, allows)| {
        let others = pools.all().filter(|(other, _)| *other != key && *other != server && pools.is_client_of_a_server(other));
        Fits::new(&found, others.filter_map(|(_, seconds)| seconds.iter().filter_map(|one| one.limit).reduce(f64::max)).sum(), allows)
    });
    Some(NeedFound {
        probe: key.0.clone(),
        pool: key.1.clone(),
        limit,
        connections: Ranged { value: f64::from(found.connections), low: f64::from(found.low), high: Some(f64::from(found.high)) },
        busy: found.busy,
        per_second: found.per_second,
        hold_s: found.hold_s,
        hold_p95_s: found.hold_p95_s,
        in_line: found.in_line,
        callers: callers.filter(|(_, open)| *open <= 0.0).map(|(vus, _)| vus),
        rule_of_thumb: rule_of_thumb(vus, found.per_second).map(f64::from),
        together: fits.map(|fits| fits.together),
        server: fits.map(|fits| fits.server),
        seconds: found.seconds as u32,
    })
}

/// A second in which both the pool and the load were measured.
fn of_second(reasons: &Reasons, one: &PoolSecond) -> Option<Held> {
    let at = reasons.seconds.binary_search_by_key(&one.second, |load| load.second).ok()?;
    let load = reasons.seconds.get(at)?;
    let served = load.requests.saturating_sub(load.failed) as f64;
    Some(Held { in_use: one.in_use?, waiting: one.waiting, served, due: load.due })
}

/// "Needed at this load: about 160 connections (140 to 170; Little's law, p95 hold time 0.9 s)."
pub(super) fn sentence(need: &NeedFound) -> String {
    let whole = |value: f64| trim_decimal(value, 0);
    let range = match need.connections.high {
        Some(high) if high > need.connections.low => format!("{} to {}; ", whole(need.connections.low), whole(high)),
        Some(_) | None => String::new(),
    };
    let what = if need.callers.is_some_and(|callers| callers <= need.connections.value) { ", no more than there are users" } else { "" };
    let mut text = format!(
        "Needed at this load: about {} connections ({range}Little's law, p95 hold time {}{what}).",
        whole(need.connections.value),
        seconds(need.hold_p95_s)
    );
    if let (Some(together), Some(server)) = (need.together, need.server)
        && together > server
    {
        text.push_str(&format!(" The server allows {} in all, this and the other pools would take {}.", whole(server), whole(together)));
    }
    text
}

/// The figures behind it, and the rule of thumb beside it.
pub(super) fn evidence(need: &NeedFound) -> Vec<Evidence> {
    let figure = |name: &str, value: String| Evidence { name: name.into(), value };
    let mut told = vec![figure(
        "need by Little's law",
        format!(
            "{} requests/s due × {} held on average = {} busy; by the p95 of {} seconds: {}",
            trim_decimal(need.per_second, 1),
            seconds(need.hold_s),
            trim_decimal(need.busy, 1),
            need.seconds,
            seconds(need.hold_p95_s)
        ),
    )];
    told.extend(need.in_line.map(|line| figure("in use and waiting together", trim_decimal(line, 0))));
    told.extend(need.rule_of_thumb.map(|rule| {
        figure("rule of thumb", format!("{} (VUs × 1.5 + requests/s ÷ 10, + 20 %): knows nothing of hold times", trim_decimal(rule, 0)))
    }));
    if let (Some(together), Some(server)) = (need.together, need.server) {
        told.push(figure("server", format!("{} connections of all pools, {} allowed", trim_decimal(together, 0), trim_decimal(server, 0))));
    }
    told
}

fn seconds(value: f64) -> String {
    use crate::model::threshold::{Unit, show_unit};
    let digits = 10.0_f64.powi(2 - value.abs().max(1e-9).log10().floor() as i32);
    show_unit(Unit::Time, (value * digits).round() / digits)
}

//! The size that a pool would need for the load of a run, from its seconds: `analysis::pool_need` asked, and told. Pure.

use super::pools::Pools;
use super::reasons::Reasons;
use crate::analysis::pool::PoolSecond;
use crate::analysis::pool_need::{Fits, Held, Loops, Other, need, rule_of_thumb};
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
    let found = need(&held, &quiet(reasons, seconds))?;
    let vus = reasons.seconds.iter().map(|load| load.vus).max().unwrap_or(0) as f64;
    let opened = held.iter().any(|one| one.due > 0.0);
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
        callers: found.cycle.filter(|_| !opened).map(|cycle| cycle.users),
        measured: found.cycle.map(|cycle| cycle.measured),
        other_s: found.cycle.filter(|cycle| cycle.other != Other::Unknown).map(|cycle| cycle.other_s),
        between_s: found.cycle.map(|cycle| cycle.between_s),
        rule_of_thumb: rule_of_thumb(vus, found.per_second - found.cycle.map_or(0.0, |cycle| cycle.per_second() - cycle.measured))
            .map(f64::from),
        together: fits.map(|fits| fits.together),
        server: fits.map(|fits| fits.server),
        seconds: found.seconds as u32,
    })
}

/// Seconds after a full one in which answers may still have waited.
const AFTER: u32 = 2;

/// Seconds in which nobody waited for the pool, nor just before.
fn quiet(reasons: &Reasons, seconds: &[PoolSecond]) -> Vec<Held> {
    let mut quiet = Vec::new();
    let mut full: Option<u32> = None;
    for one in seconds {
        if one.is_exhausted() {
            full = Some(one.second);
        } else if full.is_none_or(|full| one.second > full + AFTER) {
            quiet.extend(of_second(reasons, one));
        }
    }
    quiet
}

/// A second in which both the pool and the load were measured.
fn of_second(reasons: &Reasons, one: &PoolSecond) -> Option<Held> {
    let at = reasons.seconds.binary_search_by_key(&one.second, |load| load.second).ok()?;
    let load = reasons.seconds.get(at)?;
    let served = load.requests.saturating_sub(load.failed) as f64;
    let loops = Loops { users: load.closed as f64, asked: load.asked as f64, answer_s: load.answer_s };
    Some(Held { in_use: one.in_use?, waiting: one.waiting, served, due: load.open, loops })
}

/// "Needed at this load: about 160 connections (140 to 170; Little's law, p95 hold time 0.9 s)."
pub(super) fn sentence(need: &NeedFound) -> String {
    let whole = |value: f64| trim_decimal(value, 0);
    let range = match need.connections.high {
        Some(high) if high > need.connections.low => format!("{} to {}; ", whole(need.connections.low), whole(high)),
        Some(_) | None => String::new(),
    };
    let what = match need.callers {
        Some(callers) if callers <= need.connections.value => ", no more than there are users".to_owned(),
        Some(callers) => format!(", {} users who no longer wait", whole(callers)),
        None => String::new(),
    };
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
    told.extend(closed_loop(need));
    told.extend(need.in_line.map(|line| figure("in use and waiting together", trim_decimal(line, 0))));
    told.extend(need.rule_of_thumb.map(|rule| {
        figure("rule of thumb", format!("{} (VUs × 1.5 + requests/s ÷ 10, + 20 %): knows nothing of hold times", trim_decimal(rule, 0)))
    }));
    if let (Some(together), Some(server)) = (need.together, need.server) {
        told.push(figure("server", format!("{} connections of all pools, {} allowed", trim_decimal(together, 0), trim_decimal(server, 0))));
    }
    told
}

/// What is assumed of closed loops, whose users ask more when they wait less.
fn closed_loop(need: &NeedFound) -> Option<Evidence> {
    let (measured, between) = (need.measured?, need.between_s?);
    let other = match need.other_s {
        Some(other) => format!("{} for the rest of the answer", seconds(other)),
        None => "nothing for the rest of the answer, which could not be measured".to_owned(),
    };
    let value = format!(
        "{} requests/s of users who wait for their answers were measured; with no wait for the pool each takes {} with a connection, {other} and {} until \
         the next. Holds if nothing else gives way first",
        trim_decimal(measured, 1),
        seconds(need.hold_s),
        seconds(between)
    );
    Some(Evidence { name: "closed loop".into(), value })
}

fn seconds(value: f64) -> String {
    use crate::model::threshold::{Unit, show_unit};
    let digits = 10.0_f64.powi(2 - value.abs().max(1e-9).log10().floor() as i32);
    show_unit(Unit::Time, (value * digits).round() / digits)
}

#[cfg(test)]
mod tests {
    use super::super::Looked;
    use super::super::testing::{catalog, phase, reading, run, second};
    use super::super::{Asked, Observed};
    use crate::model::histogram::LatencyHistogram;
    use crate::model::series::Point;
    use crate::model::units::Timestamp;

    /// As the demo: 5 users, then 60 with pauses of 50 ms, on a pool of 20 whose connections are held for 63 ms. With `open`, so many requests
    /// a second besides.
    fn rush(open: u64) -> Looked {
        let mut catalog = catalog(&[phase("rush", 0, 60, false)]);
        let mut beside = (catalog.scenarios[0].clone(), catalog.steps[0].clone());
        (beside.0.name, beside.1.scenario) = ("beside".into(), 1);
        catalog.scenarios[0].open = false;
        catalog.scenarios.push(beside.0);
        catalog.steps.push(beside.1);
        let mut observed = Observed::default();
        for at in 0..60 {
            let full = (20..40).contains(&at);
            let (users, requests, ms, in_use) = if full { (60, 317 - open, 139, 20.0) } else { (5, 44, 65, 2.8) };
            let mut interval = second(at, requests, 0, ms * 1000);
            interval.steps.get_mut(&0).unwrap().service_ok = LatencyHistogram::from_us((0..requests).map(|_| ms * 1000));
            interval.scenarios.get_mut(&0).unwrap().vus = users;
            if open > 0 && full {
                let more = second(at, open, 0, ms * 1000);
                interval.steps.insert(1, crate::model::measure::StepInterval { step: 1, ..more.steps[&0].clone() });
                interval.scenarios.insert(1, crate::model::measure::ScenarioInterval { scenario: 1, ..more.scenarios[&0].clone() });
            }
            observed.interval(&catalog, &[], &interval);
            let point = |metric: &str, value| Point::new(metric, value).with("pool", "main");
            observed.reading(&reading(
                at,
                vec![point("pool_in_use", in_use), point("pool_limit", 20.0), point("pool_utilization", in_use / 20.0)],
            ));
        }
        observed.look(&run(catalog), &Asked::default(), Timestamp(0))
    }

    #[test]
    fn users_who_wait_would_ask_more_of_a_larger_pool() {
        let looked = rush(0);
        let [need] = &looked.analysed.needs[..] else { panic!("{:#?}", looked.analysed) };
        // 60 users, each 63 ms of 115 ms with a connection: 33 busy, 39 at times.
        assert!((need.busy - 33.0).abs() < 1.0 && (38.0..=40.0).contains(&need.connections.value), "{need:?}");
        assert!((need.measured.unwrap() - 317.0).abs() < 1e-6 && need.per_second > 500.0 && need.callers == Some(60.0), "{need:?}");
        let [finding] = &looked.findings[..] else { panic!("{:#?}", looked.findings) };
        assert!(finding.title.contains("p95 hold time 63.1ms, 60 users who no longer wait)."), "{}", finding.title);
        let told = finding.evidence.iter().find(|one| one.name == "closed loop").unwrap_or_else(|| panic!("{finding:#?}"));
        assert!(told.value.starts_with("317 requests/s of users who wait for their answers were measured"), "{}", told.value);
    }

    #[test]
    fn an_open_load_beside_them_is_added() {
        let looked = rush(100);
        let [need] = &looked.analysed.needs[..] else { panic!("{:#?}", looked.analysed) };
        // The users are as fast as they get through; 100 requests a second of 63 ms come on top.
        assert!((need.measured.unwrap() - 217.0).abs() < 1e-6 && need.callers.is_none(), "{need:?}");
        assert!(need.per_second > 317.0 && need.busy > 20.0 && need.connections.value < 66.3, "{need:?}");
    }
}

//! Pools as the configuration names them (a preset, or selectors of one's own), and their figures read off a page.
//! Counters become rates against the former reading; a counter that went down began anew. Definitions: docs/probes.md.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use serde_json::Value as Json;
use tokio::time::Instant;

use super::ProbeError;
use super::exposition::Page;
use super::presets::{self, PRESETS, Preset};
use super::selector::{Group, Selector};
use crate::model::series::Point;
use crate::registry::{Context, Decode, Named, Node, Value, suggest};
use crate::settings;

/// A limit as written: a number, or where the page shows it.
#[derive(Debug, Clone, PartialEq)]
enum Limit {
    Number(f64),
    Selector(Selector),
    /// The label of `in_use` that holds it.
    Label(&'static str),
}

impl Decode for Limit {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(node.value, Value::Number(..)) {
            return u32::decode(node, cx).map(|number| Self::Number(f64::from(number)));
        }
        Selector::decode(node, cx).map(Self::Selector)
    }
    fn schema() -> Json {
        serde_json::json!({"anyOf": [u32::schema(), Selector::schema()]})
    }
}

settings! {
    /// One pool of the page.
    struct PoolKeys titled "the pool" {
        /// Name of a preset: `go-sql`, `hikaricp`, `otel`, `node-postgres` … (all in docs/probes.md).
        preset: optional String,
        /// The pool's name in figures and alerts; the page's own label when not given.
        name: optional String,
        /// Only the pools whose labels have these values.
        matching as "match": default Named<String>,
        /// Connections checked out. Needed without a preset.
        in_use: optional Selector,
        /// Open connections that are not checked out.
        idle: optional Selector,
        /// Configured maximum: a number, or a selector.
        limit: optional Limit,
        /// Callers that wait for a connection now.
        waiting: optional Selector,
        /// Counter of waits for a connection.
        waits: optional Selector,
        /// Counter of the seconds waited.
        wait_time: optional Selector,
        /// Counter of waits that ended without a connection.
        timeouts: optional Selector,
    }
}

/// A pool of a page: where its figures stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// What it is called in messages: the preset or the name.
    pub title: String,
    /// Its page is that of an exporter beside the database.
    pub exporter: bool,
    name: Option<String>,
    labels: Vec<String>,
    wanted: Group,
    in_use: Selector,
    idle: Option<Selector>,
    limit: Option<Limit>,
    waiting: Option<Selector>,
    waits: Option<Selector>,
    wait_seconds: Option<Selector>,
    acquires: Option<Selector>,
    timeouts: Option<Selector>,
}

impl Pool {
    /// A preset as it stands in the table.
    pub(super) fn from_preset(preset: &'static Preset) -> Option<Self> {
        let selector = |text: &str| Selector::parse(text).ok();
        let limit = match preset.limit_label {
            "" => selector(preset.limit).map(Limit::Selector),
            label => Some(Limit::Label(label)),
        };
        Some(Self {
            title: preset.name.into(),
            exporter: preset.exporter,
            name: None,
            labels: preset.labels.iter().map(|&label| label.to_owned()).collect(),
            wanted: Group::new(),
            in_use: selector(preset.in_use)?,
            idle: selector(preset.idle),
            limit,
            waiting: selector(preset.waiting),
            waits: selector(preset.waits),
            wait_seconds: selector(preset.wait_seconds),
            acquires: selector(preset.acquires),
            timeouts: selector(preset.timeouts),
        })
    }

    /// Whether the page has it.
    pub(super) fn is_on(&self, page: &Page<'_>) -> bool {
        self.in_use.is_on(page)
    }

    /// What the pool of `group` is called.
    fn name_of(&self, group: &[(String, String)], only_one: bool) -> String {
        let label = group.iter().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty()).collect::<Vec<_>>().join("/");
        match (&self.name, label.as_str()) {
            (Some(name), "") => name.clone(),
            (Some(name), _) if only_one => name.clone(),
            (Some(name), label) => format!("{name}/{label}"),
            (None, "") => self.title.clone(),
            (None, _) => label,
        }
    }

    fn limit_of(&self, page: &Page<'_>, group: &[(String, String)]) -> Option<f64> {
        match self.limit.as_ref()? {
            Limit::Number(number) => Some(*number),
            Limit::Selector(selector) => selector.value(page, group),
            Limit::Label(label) => {
                let groups = self.in_use.groups(page, &[(*label).to_owned()], group);
                groups.first()?.first()?.1.parse().ok().filter(|limit: &f64| limit.is_finite() && *limit >= 0.0)
            }
        }
    }
}

impl Decode for Pool {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = PoolKeys::decode(node, cx)?;
        let wanted: Group = keys.matching.iter().map(|(label, value)| (label.value.clone(), value.clone())).collect();
        let mut pool = match (&keys.preset, keys.in_use.clone()) {
            (Some(name), _) => {
                let Some(preset) = presets::find(name) else {
                    let span = node.get("preset").map_or(node.span, |preset| preset.span);
                    let hint = suggest(name, PRESETS.iter().map(|preset| preset.name));
                    cx.diagnostics.push("unknown-preset", span, format!("`{name}` is not a preset"), hint);
                    return None;
                };
                Self::from_preset(preset)?
            }
            (None, Some(in_use)) => Self {
                title: keys.name.clone().unwrap_or_else(|| in_use.text().into()),
                exporter: false,
                name: None,
                labels: Vec::new(),
                wanted: Group::new(),
                in_use,
                idle: None,
                limit: None,
                waiting: None,
                waits: None,
                wait_seconds: None,
                acquires: None,
                timeouts: None,
            },
            (None, None) => {
                let hint = "add `preset: go-sql` (or another), or `name:` and `in_use:` with a selector";
                cx.diagnostics.push("missing-key", node.span, "the pool lacks the key `preset` or `in_use`", hint);
                return None;
            }
        };
        pool.name = keys.name;
        pool.wanted = wanted;
        pool.in_use = keys.in_use.unwrap_or(pool.in_use);
        pool.idle = keys.idle.or(pool.idle);
        pool.limit = keys.limit.or(pool.limit);
        pool.waiting = keys.waiting.or(pool.waiting);
        if keys.waits.is_some() {
            pool.acquires = None;
        }
        pool.waits = keys.waits.or(pool.waits);
        pool.wait_seconds = keys.wait_time.or(pool.wait_seconds);
        pool.timeouts = keys.timeouts.or(pool.timeouts);
        if pool.limit.is_none() {
            let hint = "add `limit:` with the configured maximum of the pool, or a selector for it";
            cx.diagnostics.push("missing-key", node.span, format!("the pool `{}` lacks the key `limit`", pool.title), hint);
            return None;
        }
        Some(pool)
    }

    fn schema() -> Json {
        PoolKeys::schema()
    }
}

/// Every preset that may be looked for without being asked.
static AUTO: LazyLock<Vec<Pool>> = LazyLock::new(|| PRESETS.iter().filter(|preset| preset.auto).filter_map(Pool::from_preset).collect());

/// Counters of one pool at the former reading.
#[derive(Debug, Clone, Copy)]
struct Counters {
    at: Instant,
    waits: Option<f64>,
    timeouts: Option<f64>,
    /// Waits (or acquisitions) and seconds waited when a mean was last told.
    mean_from: (Option<f64>, Option<f64>),
}

/// How much a counter grew. One that went down was reset (the process began anew): it grew by what it shows now.
pub(super) fn increase(former: Option<f64>, now: Option<f64>) -> Option<f64> {
    let (former, now) = (former?, now?);
    Some(if now < former { now } else { now - former })
}

/// Reads the pools of one page again and again.
#[derive(Debug)]
pub struct PoolReader {
    /// As configured; `None`: those that are found.
    configured: Option<Vec<Pool>>,
    /// Titles of presets that were found once and must stay.
    found: BTreeSet<String>,
    former: HashMap<String, Counters>,
}

/// The pools of one page.
#[derive(Debug, Default)]
pub struct PoolReading {
    /// Their figures.
    pub points: Vec<Point>,
    /// Whether the page is that of an exporter.
    pub exporter: bool,
}

impl PoolReader {
    /// A reader of these pools, or of whatever presets are found.
    pub fn new(configured: Option<Vec<Pool>>) -> Self {
        Self { configured, found: BTreeSet::new(), former: HashMap::new() }
    }

    /// The figures of all pools; an error when one that was asked for, or was there before, is not on the page.
    pub fn read(&mut self, page: &Page<'_>, at: Instant) -> Result<PoolReading, ProbeError> {
        let mut reading = PoolReading::default();
        let mut names = BTreeSet::new();
        let pools: Vec<Pool> = match &self.configured {
            Some(pools) => pools.clone(),
            None => AUTO.iter().filter(|pool| pool.is_on(page) || self.found.contains(&pool.title)).cloned().collect(),
        };
        for pool in &pools {
            self.read_pool(pool, page, at, &mut names, &mut reading.points)?;
            reading.exporter |= pool.exporter;
            self.found.insert(pool.title.clone());
        }
        self.former.retain(|name, _| names.contains(name));
        Ok(reading)
    }

    fn read_pool(
        &mut self,
        pool: &Pool,
        page: &Page<'_>,
        at: Instant,
        names: &mut BTreeSet<String>,
        points: &mut Vec<Point>,
    ) -> Result<(), ProbeError> {
        let groups = pool.in_use.groups(page, &pool.labels, &pool.wanted);
        let only_one = groups.len() == 1;
        let mut any = false;
        for group in groups {
            let name = pool.name_of(&group, only_one);
            let mut all = pool.wanted.clone();
            all.extend(group);
            let Some(in_use) = pool.in_use.value(page, &all) else { continue };
            any = true;
            // A pool that two presets show (an agent beside a library) counts once: the first that names it.
            if names.insert(name.clone()) {
                gauges(pool, page, &all, in_use, &name, points);
                self.rates(pool, page, &all, at, &name, points);
            }
        }
        if any {
            return Ok(());
        }
        let detail = format!("the page has no finite number for `{}` (pool `{}`)", pool.in_use.text(), pool.title);
        Err(ProbeError { reason: "missing", detail })
    }

    fn rates(&mut self, pool: &Pool, page: &Page<'_>, group: &[(String, String)], at: Instant, name: &str, points: &mut Vec<Point>) {
        let read = |selector: &Option<Selector>| selector.as_ref().and_then(|selector| selector.value(page, group));
        let (waits, timeouts, waited) = (read(&pool.waits), read(&pool.timeouts), read(&pool.wait_seconds));
        let count = waits.or_else(|| read(&pool.acquires));
        let now = Counters { at, waits, timeouts, mean_from: (count, waited) };
        let Some(former) = self.former.insert(name.to_owned(), now) else { return };
        let seconds = at.saturating_duration_since(former.at).as_secs_f64();
        let mut push = |metric: &str, value: f64| points.push(Point::new(metric, value).with("pool", name));
        if let Some(waits) = increase(former.waits, waits).filter(|_| seconds > 0.0) {
            push("pool_waits", waits / seconds);
        }
        // Libraries count a wait when it begins and its time when it ends, often in different readings: the mean is over all
        // that came since the last mean, and there is none before both have grown.
        match (increase(former.mean_from.0, count), increase(former.mean_from.1, waited)) {
            (Some(count), Some(waited)) if count > 0.0 && waited > 0.0 => push("pool_wait_time", waited / count),
            (Some(_), Some(_)) => {
                if let Some(kept) = self.former.get_mut(name) {
                    kept.mean_from = former.mean_from;
                }
            }
            (None, _) | (_, None) => {}
        }
        if let Some(timeouts) = increase(former.timeouts, timeouts).filter(|_| seconds > 0.0) {
            push("pool_timeouts", timeouts / seconds);
        }
    }
}

/// The figures that need no former reading. A limit of 0 means "without limit": it is shown, and there is no utilization.
fn gauges(pool: &Pool, page: &Page<'_>, group: &[(String, String)], in_use: f64, name: &str, points: &mut Vec<Point>) {
    let mut push = |metric: &str, value: f64| points.push(Point::new(metric, value).with("pool", name));
    let limit = pool.limit_of(page, group);
    if let Some(limit) = limit.filter(|&limit| limit > 0.0) {
        push("pool_utilization", in_use / limit);
    }
    push("pool_in_use", in_use);
    if let Some(idle) = pool.idle.as_ref().and_then(|selector| selector.value(page, group)) {
        push("pool_idle", idle);
    }
    if let Some(limit) = limit {
        push("pool_limit", limit);
    }
    if let Some(waiting) = pool.waiting.as_ref().and_then(|selector| selector.value(page, group)) {
        push("pool_waiting", waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::probe::tests::{decode, diagnostics};

    fn pool(keys: &Json) -> Pool {
        decode(keys)
    }

    /// What a reader makes of pages that were read a second apart: the figures of the last one.
    fn read(reader: &mut PoolReader, pages: &[&str]) -> Result<Vec<String>, ProbeError> {
        let start = Instant::now();
        let mut last = Ok(Vec::new());
        for (second, page) in (0_u64..).zip(pages) {
            let page = Page::parse(page).unwrap();
            last = reader.read(&page, start + Duration::from_secs(second)).map(|reading| {
                let shown = reading.points.iter().map(|point| format!("{} {} {}", point.metric, point.labels["pool"], point.value));
                shown.collect()
            });
        }
        last
    }

    fn go(in_use: f64, limit: f64, waits: f64, waited: f64) -> String {
        format!(
            "go_sql_in_use_connections{{db_name=\"main\"}} {in_use}\ngo_sql_max_open_connections{{db_name=\"main\"}} {limit}\n\
             go_sql_wait_count_total{{db_name=\"main\"}} {waits}\ngo_sql_wait_duration_seconds_total{{db_name=\"main\"}} {waited}\n"
        )
    }

    #[test]
    fn counters_become_rates_and_the_first_reading_has_none() {
        let (first, second) = (go(3.0, 4.0, 10.0, 1.0), go(4.0, 4.0, 16.0, 2.5));
        let gauges = ["pool_utilization main 0.75", "pool_in_use main 3", "pool_limit main 4"];
        assert_eq!(read(&mut PoolReader::new(None), &[&first]).unwrap(), gauges);
        let both = read(&mut PoolReader::new(None), &[&first, &second]).unwrap();
        assert_eq!(both[3..], ["pool_waits main 6", "pool_wait_time main 0.25"]);
    }

    #[test]
    fn a_counter_that_went_down_began_anew() {
        let restarted = read(&mut PoolReader::new(None), &[&go(1.0, 4.0, 900.0, 50.0), &go(1.0, 4.0, 2.0, 0.5)]).unwrap();
        assert_eq!(restarted[3..], ["pool_waits main 2", "pool_wait_time main 0.25"]);
    }

    #[test]
    fn nobody_waited_is_a_rate_of_0_and_no_mean() {
        let quiet = read(&mut PoolReader::new(None), &[&go(1.0, 4.0, 9.0, 1.0), &go(1.0, 4.0, 9.0, 1.0)]).unwrap();
        assert_eq!(quiet[3..], ["pool_waits main 0"]);
    }

    #[test]
    fn waits_that_end_in_a_later_reading_are_not_lost() {
        let pages = [go(1.0, 4.0, 0.0, 0.0), go(4.0, 4.0, 10.0, 0.0), go(1.0, 4.0, 10.0, 5.0)];
        let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
        let mut reader = PoolReader::new(None);
        assert_eq!(read(&mut reader, &pages[..2]).unwrap()[3..], ["pool_waits main 10"]);
        assert_eq!(read(&mut PoolReader::new(None), &pages).unwrap()[3..], ["pool_waits main 0", "pool_wait_time main 0.5"]);
    }

    #[test]
    fn a_pool_without_limit_shows_that_and_has_no_utilization() {
        let unbounded = read(&mut PoolReader::new(None), &[&go(7.0, 0.0, 0.0, 0.0)]).unwrap();
        assert_eq!(unbounded, ["pool_in_use main 7", "pool_limit main 0"]);
    }

    #[test]
    fn what_is_not_a_number_is_absent() {
        let page = "a 3\nb NaN\n";
        let keys = json!({"name": "x", "in_use": "a", "idle": "b", "limit": 6, "waiting": "gone"});
        let figures = read(&mut PoolReader::new(Some(vec![pool(&keys)])), &[page]).unwrap();
        assert_eq!(figures, ["pool_utilization x 0.5", "pool_in_use x 3", "pool_limit x 6"]);
    }

    #[test]
    fn a_pool_that_was_asked_for_or_was_there_must_be_there() {
        let error = read(&mut PoolReader::new(Some(vec![pool(&json!({"preset": "hikaricp"}))])), &["up 1\n"]).unwrap_err();
        assert_eq!(error.to_string(), "missing: the page has no finite number for `hikaricp_connections_active` (pool `hikaricp`)");
        let error = read(&mut PoolReader::new(None), &[&go(1.0, 2.0, 0.0, 0.0), "up 1\n"]).unwrap_err();
        assert_eq!(error.reason, "missing");
        assert_eq!(read(&mut PoolReader::new(None), &["up 1\n"]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn pools_are_named_by_label_or_by_hand_and_chosen_by_label() {
        let page = "pgxpool_acquired_conns{db_name=\"a\"} 1\npgxpool_acquired_conns{db_name=\"b\"} 2\n\
                    pgxpool_max_conns{db_name=\"a\"} 10\npgxpool_max_conns{db_name=\"b\"} 10\n";
        for (keys, names) in [
            (json!({"preset": "pgxpool"}), vec!["a", "b"]),
            (json!({"preset": "pgxpool", "name": "main"}), vec!["main/a", "main/b"]),
            (json!({"preset": "pgxpool", "name": "main", "match": {"db_name": "b"}}), vec!["main"]),
            (json!({"preset": "pgxpool", "match": {"db_name": "b"}, "limit": 4}), vec!["b"]),
        ] {
            let figures = read(&mut PoolReader::new(Some(vec![pool(&keys)])), &[page]).unwrap();
            let of: Vec<&str> = figures.iter().filter_map(|line| line.strip_prefix("pool_in_use ")?.split(' ').next()).collect();
            assert_eq!(of, names, "{keys}");
        }
    }

    #[test]
    fn one_pool_shown_twice_counts_once() {
        let page = "hikaricp_connections_active{pool=\"p\"} 2\nhikaricp_connections_max{pool=\"p\"} 4\n\
                    hikaricp_active_connections{pool=\"p\"} 3\nhikaricp_max_connections{pool=\"p\"} 4\n";
        let figures = read(&mut PoolReader::new(None), &[page]).unwrap();
        assert_eq!(figures, ["pool_utilization p 0.5", "pool_in_use p 2", "pool_limit p 4"]);
    }

    #[test]
    fn a_limit_may_stand_in_a_label() {
        let page = "vertx_pool_in_use{pool_type=\"datasource\",pool_name=\"x\",max_pool_size=\"16\"} 4\n";
        let figures = read(&mut PoolReader::new(None), &[page]).unwrap();
        assert_eq!(figures[0], "pool_utilization datasource/x 0.25");
    }

    #[test]
    fn mistakes_in_the_settings_are_named() {
        for (keys, found) in [
            (json!({"preset": "hikarcp"}), "unknown-preset: `hikarcp` is not a preset (did you mean `hikaricp`?)"),
            (
                json!({"name": "x"}),
                "missing-key: the pool lacks the key `preset` or `in_use` (add `preset: go-sql` (or another), or `name:` and `in_use:` with a selector)",
            ),
            (
                json!({"preset": "prisma"}),
                "missing-key: the pool `prisma` lacks the key `limit` (add `limit:` with the configured maximum of the pool, or a selector for it)",
            ),
            (
                json!({"in_use": "a{", "limit": 3}),
                "bad-selector: `a{` is not a selector: a label name expected before `` \
                 (write `metric{label=\"value\"}`, several joined by `+` or `-`, and `* 0.001` or `/ 1000` for another unit)",
            ),
        ] {
            assert_eq!(diagnostics::<Pool>(&keys)[0], found, "{keys}");
        }
    }
}

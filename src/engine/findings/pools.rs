//! When the pools of the target were full, and how many of the failures fall into these seconds. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::pool::{FullPool, PoolSecond, full_pool};
use crate::model::alerting::Severity;
use crate::model::finding::{Evidence, Finding};
use crate::model::measure::{Interval, StepInterval};
use crate::model::run::RunId;
use crate::model::series::Reading;
use crate::model::units::{Timestamp, format_percent, trim_decimal};

/// Name and version of the method.
pub(super) const METHOD: &str = "pool-full/2";
/// The same of what pools may open together.
pub(super) const METHOD_SUM: &str = "pool-sum/1";

/// What was seen of the pools so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Pools {
    failures: Vec<(u32, u64)>,
    read: BTreeMap<(String, String), Vec<PoolSecond>>,
    /// Probes that ask a database: the pool that they tell of is what the server allows.
    servers: BTreeSet<String>,
    /// Probes whose pools are not of that database: of Redis, of a pooler.
    others: BTreeSet<String>,
    /// A pooler stands between.
    pooler: bool,
}

impl Pools {
    /// Adds one second.
    pub(super) fn interval(&mut self, interval: &Interval) {
        let failed: u64 = interval.steps.values().map(StepInterval::failed).sum();
        if failed > 0 {
            self.failures.push((interval.second, failed));
        }
    }

    /// Adds one reading.
    pub(super) fn reading(&mut self, reading: &Reading) {
        let (Ok(points), Some(second)) = (&reading.points, reading.second) else { return };
        if points.iter().any(|point| point.metric.starts_with("pg_") || point.metric.starts_with("mysql_")) {
            self.servers.insert(reading.probe.clone());
        }
        let pooler = points.iter().any(|point| point.metric.starts_with("pgbouncer_"));
        self.pooler |= pooler;
        if pooler || points.iter().any(|point| point.metric.starts_with("redis_")) {
            self.others.insert(reading.probe.clone());
        }
        let mut pools: BTreeMap<&str, PoolSecond> = BTreeMap::new();
        for point in points {
            let Some(pool) = point.labels.get("pool") else { continue };
            let seen = pools.entry(pool).or_insert(PoolSecond { second, ..PoolSecond::default() });
            match point.metric.as_str() {
                "pool_utilization" => seen.utilization = Some(point.value),
                "pool_in_use" => seen.in_use = Some(point.value),
                "pool_limit" => seen.limit = Some(point.value),
                "pool_waiting" => seen.waiting = Some(point.value),
                // Not every library counts both.
                "pool_waits" | "pool_timeouts" => seen.waits = Some(seen.waits.unwrap_or(0.0).max(point.value)),
                _ => {}
            }
        }
        let tells = |seen: &PoolSecond| seen.utilization.or(seen.waiting).or(seen.waits).is_some();
        for (pool, seen) in pools.into_iter().filter(|(_, seen)| tells(seen)) {
            self.read.entry((reading.probe.clone(), pool.into())).or_default().push(seen);
        }
    }

    /// All pools, by probe and name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&(String, String), &[PoolSecond])> {
        self.read.iter().map(|(key, seconds)| (key, seconds.as_slice()))
    }

    /// What was read of a pool.
    pub(super) fn of(&self, key: &(String, String)) -> Option<&[PoolSecond]> {
        self.read.get(key).map(Vec::as_slice)
    }

    /// The connections that a database server allows, when one is read; of several nobody knows which pool belongs to which.
    pub(super) fn server(&self) -> Option<(&(String, String), f64)> {
        let mut servers = self.all().filter(|((probe, _), _)| self.servers.contains(probe));
        let (key, seconds) = servers.next()?;
        let allows = seconds.iter().filter_map(|second| second.limit).reduce(f64::max)?;
        servers.next().is_none().then_some((key, allows))
    }

    /// A pool of an application, which opens connections to a server.
    pub(super) fn is_client_of_a_server(&self, key: &(String, String)) -> bool {
        !self.servers.contains(&key.0) && !self.others.contains(&key.0)
    }

    /// The pools of the application, of all replicas, may open more connections together than the server allows: told before it happens, and
    /// whether or not it did. Through a pooler they do not reach the server.
    fn beyond_the_server(&self, run: &RunId, at: Timestamp) -> Option<Finding> {
        let (_, allows) = self.server().filter(|_| !self.pooler)?;
        let limit = |seconds: &[PoolSecond]| seconds.iter().filter_map(|second| second.limit).filter(|limit| *limit > 0.0).reduce(f64::max);
        let clients = self.all().filter(|(key, _)| self.is_client_of_a_server(key));
        let pools: Vec<(&str, f64)> = clients.filter_map(|((_, pool), seconds)| Some((pool.as_str(), limit(seconds)?))).collect();
        let together: f64 = pools.iter().map(|(_, limit)| limit).sum();
        if together <= allows {
            return None;
        }
        let number = |value: f64| trim_decimal(value, 0);
        let title =
            format!("The pools that were read may open {} connections together; the server allows {}.", number(together), number(allows));
        let evidence =
            pools.iter().map(|(pool, limit)| Evidence { name: format!("pool `{pool}`"), value: format!("at most {}", number(*limit)) });
        Some(Finding {
            kind: "pools_beyond_server".into(),
            run: run.clone(),
            severity: Severity::Medium,
            title,
            evidence: evidence.collect(),
            method: METHOD_SUM.into(),
            at,
        })
    }

    /// When a pool was full in the whole run, whatever came of it.
    pub(super) fn full(&self, key: &(String, String)) -> Option<FullPool> {
        full_pool(self.of(key)?, &self.failures)
    }

    /// What analysis finds of the pools that are not `told` of already.
    pub(super) fn findings(&self, run: &RunId, at: Timestamp, told: &BTreeSet<(String, String)>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ((probe, pool), seconds) in self.read.iter().filter(|(key, _)| !told.contains(*key)) {
            if let Some(full) = full_pool(seconds, &self.failures) {
                findings.push(pool_finding(run, at, probe, pool, &full));
            }
        }
        findings.extend(self.beyond_the_server(run, at));
        findings
    }
}

fn pool_finding(run: &RunId, at: Timestamp, probe: &str, pool: &str, full: &FullPool) -> Finding {
    let number = |value: Option<f64>| value.map_or_else(|| "?".into(), |value| trim_decimal(value, 0));
    let size = format!("{} of {}", number(full.in_use), number(full.limit));
    let mut title = if full.seen_full {
        format!("From second {} to {} pool `{pool}` was full ({size}", full.from, full.to)
    } else {
        format!(
            "From second {} to {} callers had to wait for a connection of pool `{pool}` (at most {size} seen in use",
            full.from, full.to
        )
    };
    if let Some(waiting) = full.waiting.filter(|waiting| *waiting > 0.0) {
        title.push_str(&format!(", {} waiting", trim_decimal(waiting, 0)));
    }
    title.push_str(").");
    let mut evidence = vec![
        Evidence { name: "probe".into(), value: probe.into() },
        Evidence { name: "seconds exhausted".into(), value: format!("{} of {} readings", full.seconds, full.readings) },
    ];
    if let Some(share) = full.failures_share {
        title.push_str(&format!(" {} of all failures fall into these seconds.", format_percent((share * 100.0).round() / 100.0)));
        evidence.push(Evidence { name: "failures in exhausted seconds".into(), value: format_percent(share) });
    }
    let severity = if full.failures_share.is_some_and(|share| share > 0.5) { Severity::High } else { Severity::Medium };
    Finding { kind: "pool_exhausted".into(), run: run.clone(), severity, title, evidence, method: METHOD.into(), at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Reason;
    use crate::model::measure::StepInterval;
    use crate::model::series::Point;

    /// One reading a second of the pool `main` with 20 connections: (in use, waits a second).
    fn found(seconds: &[(f64, f64)], failed: &[u32]) -> Vec<Finding> {
        let mut pools = Pools::default();
        for (second, (in_use, waits)) in seconds.iter().enumerate() {
            let point = |metric: &str, value| Point::new(metric, value).with("pool", "main");
            let points = vec![
                point("pool_in_use", *in_use),
                point("pool_limit", 20.0),
                point("pool_utilization", in_use / 20.0),
                point("pool_waits", *waits),
                Point::new("process_open_fds", 9.0),
            ];
            let at = Timestamp(0);
            pools.reading(&Reading { target: "t".into(), probe: "app".into(), at, second: Some(second as u32), points: Ok(points) });
        }
        for second in failed {
            let step = StepInterval { failures: [(Reason::Status(503), 4)].into(), ..StepInterval::default() };
            pools.interval(&Interval { second: *second, steps: [(0, step)].into(), ..Interval::default() });
        }
        pools.findings(&RunId("r".into()), Timestamp(0), &BTreeSet::new())
    }

    #[test]
    fn a_full_pool_that_explains_the_failures_is_a_grave_finding() {
        let found = found(&[(5.0, 0.0), (20.0, 9.0), (20.0, 9.0), (20.0, 9.0), (4.0, 0.0)], &[1, 2, 3, 4]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].title, "From second 1 to 3 pool `main` was full (20 of 20). 100 % of all failures fall into these seconds.");
        assert_eq!(found[0].severity, Severity::High);
    }

    #[test]
    fn pools_that_may_open_more_than_the_server_allows_are_told_before_it_happens() {
        let told = |replicas: f64, more: &[(&str, Vec<Point>)]| {
            let mut pools = Pools::default();
            let pool = |name: &str, limit: f64| {
                let point = |metric: &str, value| Point::new(metric, value).with("pool", name);
                vec![point("pool_in_use", 1.0), point("pool_limit", limit), point("pool_utilization", 1.0 / limit)]
            };
            let server = [pool("postgres", 97.0), vec![Point::new("pg_commits", 1.0)]].concat();
            let read = [("app", pool("main", 20.0 * replicas)), ("jobs", pool("jobs", 40.0)), ("db", server)];
            for second in 0..6 {
                for (probe, points) in read.iter().chain(more) {
                    let (at, points) = (Timestamp(0), Ok(points.clone()));
                    pools.reading(&Reading { target: "t".into(), probe: (*probe).into(), at, second: Some(second), points });
                }
            }
            pools.findings(&RunId("r".into()), Timestamp(0), &BTreeSet::new())
        };
        assert!(told(2.0, &[]).is_empty(), "80 of 97 have room");
        let found = told(12.0, &[]);
        assert_eq!(found[0].title, "The pools that were read may open 280 connections together; the server allows 97.");
        assert_eq!((found.len(), found[0].evidence[0].value.as_str()), (1, "at most 240"));
        // Clients of Redis do not count; behind a pooler nothing is said.
        let redis = [Point::new("pool_limit", 9000.0).with("pool", "redis"), Point::new("pool_utilization", 0.1).with("pool", "redis")];
        assert!(told(2.0, &[("cache", [redis.to_vec(), vec![Point::new("redis_memory", 1.0)]].concat())]).is_empty());
        assert!(told(12.0, &[("pooler", vec![Point::new("pgbouncer_queries", 1.0)])]).is_empty());
    }

    #[test]
    fn waits_alone_are_told_as_what_they_are() {
        let found = found(&[(5.0, 0.0), (19.0, 9.0), (18.0, 4.0), (5.0, 0.0), (4.0, 0.0)], &[]);
        assert_eq!(
            found[0].title,
            "From second 1 to 2 callers had to wait for a connection of pool `main` (at most 19 of 20 seen in use)."
        );
        assert_eq!(found[0].severity, Severity::Medium);
        assert!(super::tests::found(&[(5.0, 0.0); 8], &[0, 1]).is_empty());
    }
}

//! The dashboards: rules of good dashboards ported from Grafana's dashboard-linter, every metric against the declared ones, and
//! every query against a real Prometheus that scrapes a real `/metrics`. No Grafana server takes part.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod lint;

use std::collections::BTreeMap;
use std::time::Duration;

use lint::{Dashboard, dashboards, expressions};
use plimsoll::metrics::{Known, Metrics};
use plimsoll::model::alerting::Severity;
use plimsoll::model::profile::Profile;
use plimsoll::model::schedule::{Tick, TickOutcome};
use plimsoll::model::threshold::{Threshold, parse_series};

use crate::server::fake::{Served, setup};
use crate::server::sample;
use crate::servers::prometheus::Prometheus;

/// Longest time until every panel has data.
const PATIENCE: Duration = Duration::from_secs(120);

fn profiles() -> BTreeMap<String, Profile> {
    let threshold = |text: &str| Threshold {
        text: text.into(),
        series: parse_series(text).unwrap(),
        abort_on_fail: false,
        delay_abort_eval: Duration::ZERO,
        exclude_ramp: false,
        severity: Severity::High,
    };
    let mut profiles = setup().profiles;
    let profile = profiles.get_mut("checkout").unwrap();
    profile.thresholds = vec![threshold("http_req_duration: p(95) < 300ms"), threshold("pool_utilization{pool:main}: max < 80%")];
    profiles
}

/// What happens once: a former run, alerts, messages, a skipped instant.
fn seed(metrics: &Metrics) {
    let configured = setup();
    metrics.seed(&Known {
        profiles: &profiles(),
        schedules: &configured.schedules,
        rules: &[],
        probes: &configured.probe_names(),
        channels: &["mail".into()],
    });
    metrics.run_started(&sample::running());
    metrics.run_ended(&sample::finished());
    metrics.run_started(&sample::running());
    metrics.alerts(&[sample::alert()]);
    metrics.outbox(1, Some(sample::START));
    metrics.config_reload(true, sample::START);
}

/// What happens every second.
fn second(metrics: &Metrics, second: u32) {
    metrics.run_second(&sample::running(), &sample::interval(second), &sample::progress(second));
    for reading in sample::readings(second) {
        metrics.reading(&reading);
    }
    metrics.probe_duration("shop", "metrics", Duration::from_millis(3));
    metrics.notification("mail", "sent", "");
    metrics.scheduler_lag(Duration::from_millis(2));
    metrics.tick(&Tick {
        schedule: "nightly".into(),
        profile: "checkout".into(),
        due: sample::START,
        decided: sample::START,
        outcome: TickOutcome::Skipped,
        reason: "shop is being loaded".into(),
        run: None,
    });
}

/// The variables as Grafana would fill them.
fn filled(expr: &str) -> String {
    let mut expr = expr.replace("$__rate_interval", "5s").replace("$__range", "60s");
    for name in ["job", "instance", "profile", "target"] {
        expr = expr.replace(&format!("${name}"), ".+");
    }
    assert!(!expr.contains('$'), "a variable that the test does not know: {expr}");
    expr
}

/// Queries without a finite value yet.
pub(crate) async fn empty(prometheus: &Prometheus, all: &[(String, String)]) -> Vec<String> {
    let mut empty = Vec::new();
    for (place, expr) in all {
        let series = prometheus.query(&filled(expr)).await;
        if !series.iter().any(|one| one.value.is_finite()) {
            empty.push(format!("{place}: {expr}"));
        }
    }
    empty
}

/// Every query of the dashboards, with the panel it belongs to.
pub(crate) fn all_expressions() -> Vec<(String, String)> {
    dashboards().iter().flat_map(expressions).collect()
}

#[tokio::test]
async fn every_panel_has_data_in_a_real_prometheus() {
    let served = Served::start().await;
    seed(&served.metrics);
    let prometheus = Prometheus::scraping(served.address).await;
    let all: Vec<(String, String)> = dashboards().iter().flat_map(expressions).collect();
    assert!(all.len() > 50, "the dashboards have only {} queries", all.len());
    let began = tokio::time::Instant::now();
    let mut now = 13;
    let missing = loop {
        second(&served.metrics, now);
        now = if now == 30 { 13 } else { now + 1 };
        let missing = empty(&prometheus, &all).await;
        if missing.is_empty() || began.elapsed() > PATIENCE {
            break missing;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(missing.is_empty(), "no data for {} queries:\n{}", missing.len(), missing.join("\n"));
    ratios_are_ratios(&prometheus, &dashboards()).await;
    assert_eq!(prometheus.value("max(plimsoll_pool_utilization_ratio)").await, Some(1.0));
    served.metrics.run_ended(&sample::finished());
    loop {
        // A gauge that was removed is stale at the next scrape, not minutes later.
        if prometheus.query("plimsoll_run_active_vus").await.is_empty() {
            break;
        }
        assert!(began.elapsed() < PATIENCE * 2, "the live gauge is still there");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(prometheus.query("plimsoll_last_run_info").await.len(), 1, "the last run stays");
    let span = Duration::from_secs(30);
    let seen = prometheus.query_range("plimsoll_run_active_vus", span, Duration::from_secs(1)).await;
    assert!(seen.iter().any(|series| series.values.iter().any(|(_, vus)| *vus >= 50.0)), "the load is in the history: {seen:?}");
}

/// Panels in percent show numbers between 0 and 1.
async fn ratios_are_ratios(prometheus: &Prometheus, dashboards: &[Dashboard]) {
    for dashboard in dashboards {
        for panel in dashboard.panels().filter(|panel| panel["fieldConfig"]["defaults"]["unit"] == "percentunit") {
            for target in panel["targets"].as_array().unwrap() {
                for one in prometheus.query(&filled(target["expr"].as_str().unwrap())).await {
                    assert!((0.0..=1.0).contains(&one.value) || one.value.is_nan(), "{}: {one:?}", panel["title"]);
                }
            }
        }
    }
}

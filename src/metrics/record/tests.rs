//! Tests of the module above; what people read is held by snapshots.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::metrics::{Known, definitions};
use crate::model::sample;
use crate::model::schedule::TickOutcome;

/// A page as it is at second `second` of the sample run.
fn metrics_at(second: u32) -> Metrics {
    let metrics = Metrics::new();
    let run = sample::running();
    metrics.run_started(&run);
    for second in 0..=second {
        metrics.run_second(&run, &sample::interval(second), &sample::progress(second));
        for reading in sample::readings(second) {
            metrics.reading(&reading);
        }
    }
    metrics
}

fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn every_family_can_be_registered() {
    let page = Metrics::new().render();
    assert_eq!(value(&page, "plimsoll_outbox_pending"), Some(0.0));
    let mut names: Vec<&str> = definitions().map(|definition| definition.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name is declared twice");
}

#[test]
fn live_gauges_vanish_and_the_last_run_stays() {
    let metrics = metrics_at(sample::SECONDS - 1);
    let live = [
        "plimsoll_run_active_vus",
        "plimsoll_run_requests_per_second",
        "plimsoll_run_request_duration_p95_seconds",
        "plimsoll_run_elapsed",
    ];
    let page = metrics.render();
    for name in live {
        assert!(page.contains(name), "{name} is missing while the run is going on");
    }
    let run = sample::finished();
    metrics.run_ended(&run);
    let page = metrics.render();
    for name in live {
        assert!(!page.contains(name), "{name} is still there after the end");
    }
    assert_eq!(value(&page, "plimsoll_last_run_verdict{profile=\"checkout\",verdict=\"fail\"}"), Some(1.0));
    assert_eq!(value(&page, "plimsoll_last_run_verdict{profile=\"checkout\",verdict=\"pass\"}"), Some(0.0));
    assert_eq!(
        value(&page, "plimsoll_last_run_pool_utilization_peak_ratio{pool=\"main\",probe=\"metrics\",profile=\"checkout\"}"),
        Some(1.0)
    );
    assert_eq!(value(&page, "plimsoll_runs_active{profile=\"checkout\"}"), Some(0.0));
    let summary = run.summary.unwrap();
    assert_eq!(value(&page, "plimsoll_last_run_requests{profile=\"checkout\"}"), Some(summary.total.requests as f64));
    let failed = summary.total.reasons[&crate::model::failure::Reason::Status(503)];
    let series = "plimsoll_requests_failed_total{profile=\"checkout\",reason=\"status_5xx\",scenario=\"shoppers\",step=\"buy\"}";
    assert_eq!(value(&page, series), Some(failed as f64));
    let answered = summary.steps[0].duration.unwrap().count;
    let series = "plimsoll_request_duration_seconds_count{profile=\"checkout\",scenario=\"shoppers\",step=\"browse\"}";
    assert_eq!(value(&page, series), Some(answered as f64));
}

#[test]
fn a_new_run_replaces_the_identity_of_the_last() {
    let metrics = Metrics::new();
    let mut run = sample::finished();
    metrics.run_ended(&run);
    run.id = crate::model::run::RunId("20261122-020000-checkout-aaaa".into());
    run.summary = None;
    metrics.run_ended(&run);
    let page = metrics.render();
    let infos: Vec<&str> = page.lines().filter(|line| line.starts_with("plimsoll_last_run_info{")).collect();
    assert_eq!(infos.len(), 1, "{infos:?}");
    assert!(infos[0].contains("aaaa"));
    assert!(!page.contains("plimsoll_last_run_request_duration_p95_seconds{"), "a percentile that was not measured is shown");
    assert!(!page.contains("plimsoll_last_run_requests{"));
}

#[test]
fn a_failed_reading_takes_its_numbers_away() {
    let metrics = metrics_at(20);
    assert_eq!(value(&metrics.render(), "plimsoll_pool_utilization_ratio{pool=\"main\",probe=\"metrics\",target=\"shop\"}"), Some(1.0));
    let mut reading = sample::readings(21).remove(0);
    reading.points = Err("timeout: no answer within 1s".into());
    metrics.reading(&reading);
    reading.points = Err("something new: never heard".into());
    metrics.reading(&reading);
    let page = metrics.render();
    assert!(!page.contains("plimsoll_pool_utilization_ratio{"));
    assert!(page.contains("plimsoll_target_process_threads{"), "the other probe keeps its numbers");
    assert_eq!(value(&page, "plimsoll_probe_up{probe=\"metrics\",target=\"shop\"}"), Some(0.0));
    for reason in ["timeout", "other"] {
        let series = format!("plimsoll_probe_errors_total{{probe=\"metrics\",reason=\"{reason}\",target=\"shop\"}}");
        assert_eq!(value(&page, &series), Some(1.0), "{series}");
    }
    metrics.forget_target("shop");
    assert!(!metrics.render().contains("target=\"shop\""));
}

#[test]
fn too_many_steps_are_counted_as_other() {
    let metrics = Metrics::new();
    for n in 0..MAX_STEP_SERIES + 5 {
        metrics.step_labels("p", "s", &format!("step-{n}"));
    }
    assert_eq!(metrics.step_labels("p", "s", "one more")[2], OTHER);
    assert_eq!(metrics.step_labels("p", "s", "step-7")[2], "step-7");
    assert_eq!(value(&metrics.render(), "plimsoll_series_overflow_total"), Some(6.0));
}

#[test]
fn an_alert_that_is_over_counts_zero() {
    let metrics = Metrics::new();
    metrics.alerts(&[sample::alert()]);
    let series = "plimsoll_alerts{rule=\"pool-nearly-full\",severity=\"high\",state=\"firing\"}";
    assert_eq!(value(&metrics.render(), series), Some(1.0));
    metrics.alerts(&[]);
    assert_eq!(value(&metrics.render(), series), Some(0.0));
}

#[test]
fn what_a_reload_removes_is_forgotten() {
    let metrics = metrics_at(3);
    metrics.run_ended(&sample::finished());
    let nothing = Known { profiles: &BTreeMap::new(), schedules: &BTreeMap::new(), rules: &[], probes: &[], channels: &["mail".into()] };
    metrics.probe_duration("shop", "metrics", Duration::from_millis(3));
    metrics.seed(&nothing);
    let page = metrics.render();
    assert!(!page.contains("profile=\"checkout\""), "{page}");
    assert!(!page.contains("target=\"shop\""), "{page}");
    assert_eq!(value(&page, "plimsoll_notifications_sent_total{channel=\"mail\"}"), Some(0.0));
}

#[test]
fn promtool_finds_no_fault_with_a_full_page() {
    let metrics = metrics_at(10);
    metrics.run_ended(&sample::finished());
    metrics.run_started(&sample::running());
    metrics.run_second(&sample::running(), &sample::interval(0), &sample::progress(0));
    metrics.alerts(&[sample::alert()]);
    metrics.probe_duration("shop", "metrics", Duration::from_millis(3));
    metrics.notification("mail", "sent", "");
    metrics.notification("mail", "failed", "network");
    metrics.notification("slack", "dropped", "unheard of");
    metrics.outbox(2, Some(sample::START));
    metrics.config_reload(true, sample::START);
    metrics.storage_error("append");
    metrics.intervals_lost(3);
    metrics.scheduler_lag(Duration::from_millis(2));
    metrics.tick(&Tick {
        schedule: "nightly".into(),
        profile: "checkout".into(),
        due: sample::START,
        decided: sample::START,
        outcome: TickOutcome::Started,
        reason: "due".into(),
        run: None,
    });
    let page = metrics.render();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: prometheus)");
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{page}");
}

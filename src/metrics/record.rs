//! Records what happens: one method for each thing that the engine tells. Locks are held for single updates only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{GaugeVec, IntCounterVec};

use super::{MAX_STEP_SERIES, Metrics, OTHER, locked};
use crate::model::alerting::{AlertInstance, AlertState};
use crate::model::measure::{Accounting, CheckCount, Interval, ScenarioInterval, StepInterval};
use crate::model::progress::Progress;
use crate::model::run::{LatencySummary, Run, StepSummary, Summary, Verdict};
use crate::model::schedule::Tick;
use crate::model::series::Reading;
use crate::model::units::Timestamp;

/// Classes of probe errors.
pub(super) const PROBE_CLASSES: &[&str] = &["connect", "timeout", "status", "parse", "missing", "permission", OTHER];
/// Classes of failed notifications.
pub(super) const NOTIFICATION_CLASSES: &[&str] = &["network", "timeout", "rate_limited", "server_error", "client_error", "auth", OTHER];
/// Classes of failed requests that appear before they happen; others appear with the first failure.
pub(super) const FAILURE_CLASSES: &[&str] = &["status_4xx", "status_5xx", "timeout", "connect_refused", "reset", "check"];

impl Metrics {
    /// A run began.
    pub fn run_started(&self, run: &Run) {
        let families = &self.families;
        let profile = [run.profile.as_str()];
        families.runs_started.with_label_values(&profile).inc();
        families.runs_active.with_label_values(&profile).set(1.0);
        families.last_run_start.with_label_values(&profile).set(run.started_at.as_seconds());
    }

    /// One second of a running run is complete.
    pub fn run_second(&self, run: &Run, interval: &Interval, progress: &Progress) {
        for (index, step) in &interval.steps {
            let Some(meta) = run.catalog.steps.get(usize::from(*index)) else { continue };
            let Some(scenario) = run.catalog.scenarios.get(usize::from(meta.scenario)) else { continue };
            let labels = self.step_labels(&run.profile, &scenario.name, &meta.name);
            self.step_second(&labels, step, scenario.open);
        }
        let (mut vus, mut busy) = (Vec::new(), Vec::new());
        for (index, figures) in &interval.scenarios {
            let Some(scenario) = run.catalog.scenarios.get(usize::from(*index)) else { continue };
            let labels = vec![run.profile.clone(), scenario.name.clone()];
            self.scenario_second(&labels, figures);
            if scenario.open
                && let Some((_, step)) = run.catalog.first_step(*index)
            {
                // What a dropped start would have sent first is what had to wait.
                self.durations.add(&self.step_labels(&run.profile, &scenario.name, &step.name), &figures.dropped_wait);
            }
            busy.push((labels.clone(), figures.vus_busy as f64));
            vus.push((labels, figures.vus as f64));
        }
        let of_run = [("profile", run.profile.as_str())];
        let families = &self.families;
        replace(&families.run_active_vus, &of_run, &vus);
        replace(&families.run_busy_vus, &of_run, &busy);
        if let Some(cpu) = interval.generator_cpu.filter(|cpu| cpu.is_finite() && *cpu >= 0.0) {
            families.generator_cpu.with_label_values::<&str>(&[]).inc_by(cpu);
        }
        let profile = [run.profile.as_str()];
        families.generator_stall.with_label_values(&profile).set(interval.generator_stall.as_secs_f64());
        families.run_requests_per_second.with_label_values(&profile).set(progress.requests as f64);
        families.run_failed_requests_per_second.with_label_values(&profile).set(progress.failed as f64);
        families.run_elapsed.with_label_values(&profile).set(f64::from(progress.second) + 1.0);
        families.run_planned.with_label_values(&profile).set(f64::from(progress.total_seconds));
        set_or_remove(&families.run_request_duration_p95, &run.profile, progress.p95_us.map(|us| us as f64 / 1e6));
    }

    fn step_second(&self, labels: &[String; 3], step: &StepInterval, open: bool) {
        let families = &self.families;
        families.requests.with_label_values(labels).inc_by(step.requests());
        for (reason, count) in &step.failures {
            families.requests_failed.with_label_values(&[&labels[0], &labels[1], &labels[2], reason.class()]).inc_by(*count);
        }
        let checks = step
            .checks
            .iter()
            .fold(CheckCount::default(), |sum, check| CheckCount { passed: sum.passed + check.passed, failed: sum.failed + check.failed });
        families.checks.with_label_values(labels).inc_by(checks.passed + checks.failed);
        families.checks_failed.with_label_values(labels).inc_by(checks.failed);
        families.sent_bytes.with_label_values(labels).inc_by(step.bytes_sent);
        families.received_bytes.with_label_values(labels).inc_by(step.bytes_received);
        families.connections_opened.with_label_values(labels).inc_by(step.connections);
        families.requests_resent.with_label_values(labels).inc_by(step.resent);
        families.messages_unheard.with_label_values(labels).inc_by(step.unheard);
        families.closings_unanswered.with_label_values(labels).inc_by(step.unanswered);
        let parts = if open { [&step.response_ok, &step.response_failed] } else { [&step.service_ok, &step.service_failed] };
        for part in parts {
            self.durations.add(labels, part);
        }
    }

    fn scenario_second(&self, labels: &[String], figures: &ScenarioInterval) {
        let Accounting { scheduled, started, completed, failed, interrupted, dropped, unsent } = figures.counts;
        for (family, count) in self.accounting().iter().zip([scheduled, started, completed, failed, interrupted, dropped, unsent]) {
            family.with_label_values(labels).inc_by(count);
        }
        self.families.iterations_with_failed_check.with_label_values(labels).inc_by(figures.with_failed_check);
    }

    /// A run ended: its live figures vanish, its last figures stay until the next run of the profile ends.
    pub fn run_ended(&self, run: &Run) {
        let families = &self.families;
        let profile = [run.profile.as_str()];
        for family in self.live() {
            remove_where(family, &[("profile", &run.profile)]);
        }
        families.runs_active.with_label_values(&profile).set(0.0);
        let verdict = run.verdict.map_or("none", Verdict::as_str);
        families.runs_ended.with_label_values(&[run.profile.as_str(), verdict]).inc();
        families.last_run_start.with_label_values(&profile).set(run.started_at.as_seconds());
        set_or_remove(&families.last_run_end, &run.profile, run.ended_at.map(Timestamp::as_seconds));
        let info = vec![run.profile.clone(), run.target.clone(), run.id.0.clone(), verdict.to_owned()];
        replace(&families.last_run_info, &[("profile", &run.profile)], &[(info, 1.0)]);
        for word in Verdict::ALL.iter().map(|verdict| verdict.as_str()).chain(["none"]) {
            families.last_run_verdict.with_label_values(&[run.profile.as_str(), word]).set(f64::from(u8::from(word == verdict)));
        }
        let failed = run.thresholds.iter().filter(|threshold| threshold.verdict == Verdict::Fail).count();
        families.last_run_thresholds.with_label_values(&profile).set(run.thresholds.len() as f64);
        families.last_run_thresholds_failed.with_label_values(&profile).set(failed as f64);
        self.last_run_figures(&run.profile, run.summary.as_ref());
        self.last_run_steps(&run.profile, run.summary.as_ref());
        self.last_run_pools(&run.profile, run.summary.as_ref());
        if let Some(summary) = &run.summary {
            self.trends(run, &summary.analysed.trends);
            self.capacity(run, summary.analysed.capacity.as_ref());
        }
    }

    fn last_run_figures(&self, profile: &str, summary: Option<&Summary>) {
        let families = &self.families;
        let total = summary.map(|summary| &summary.total);
        let seconds = |pick: fn(&LatencySummary) -> u64| total.and_then(|total| total.duration.as_ref()).map(|d| pick(d) as f64 / 1e6);
        let (made, not_held) = total.map_or((0, 0), checks_of);
        let sums = summary.map(|summary| {
            summary.scenarios.iter().fold((0, 0, 0), |(dropped, ended, failed), one| {
                (dropped + one.counts.dropped, ended + one.counts.completed + one.counts.failed, failed + one.with_failed_check)
            })
        });
        for (family, value) in [
            (&families.last_run_seconds, summary.map(|summary| summary.seconds)),
            (&families.last_run_requests, total.map(|total| total.requests as f64)),
            (&families.last_run_rate, total.map(|total| total.per_second)),
            (&families.last_run_failed_ratio, total.and_then(|total| ratio(total.failed, total.requests))),
            (&families.last_run_checks_failed_ratio, ratio(not_held, made)),
            (&families.last_run_iterations_failed_check_ratio, sums.and_then(|(_, ended, failed)| ratio(failed, ended))),
            (&families.last_run_dropped, sums.map(|(dropped, ..)| dropped as f64)),
            (&families.last_run_p50, seconds(|d| d.p50_us)),
            (&families.last_run_p95, seconds(|d| d.p95_us)),
            (&families.last_run_p99, seconds(|d| d.p99_us)),
        ] {
            set_or_remove(family, profile, value.filter(|value| value.is_finite()));
        }
    }

    fn last_run_steps(&self, profile: &str, summary: Option<&Summary>) {
        let steps = summary.map_or(&[][..], |summary| &summary.steps);
        let families = &self.families;
        let figures = |pick: &dyn Fn(&StepSummary) -> Option<f64>| -> Vec<(Vec<String>, f64)> {
            steps
                .iter()
                .filter_map(|step| Some((self.step_labels(profile, &step.scenario, &step.step).to_vec(), pick(step)?)))
                .filter(|(labels, _)| labels.last().is_some_and(|step| step != OTHER))
                .collect()
        };
        let of_profile = [("profile", profile)];
        replace(&families.last_run_step_requests, &of_profile, &figures(&|step| Some(step.requests as f64)));
        replace(&families.last_run_step_failed_ratio, &of_profile, &figures(&|step| ratio(step.failed, step.requests)));
        replace(&families.last_run_step_p50, &of_profile, &figures(&|step| step.duration.map(|d| d.p50_us as f64 / 1e6)));
        replace(&families.last_run_step_p95, &of_profile, &figures(&|step| step.duration.map(|d| d.p95_us as f64 / 1e6)));
        replace(&families.last_run_step_p99, &of_profile, &figures(&|step| step.duration.map(|d| d.p99_us as f64 / 1e6)));
    }

    fn last_run_pools(&self, profile: &str, summary: Option<&Summary>) {
        let series = summary.map_or(&[][..], |summary| &summary.series);
        let mut peaks = BTreeMap::new();
        for one in series.iter().filter(|one| one.metric == "pool_utilization" && one.max.is_finite()) {
            let pool = one.labels.get("pool").cloned().unwrap_or_default();
            let entry = peaks.entry(vec![profile.to_owned(), one.probe.clone(), pool]).or_insert((0.0_f64, 0));
            *entry = (entry.0.max(one.max), entry.1.max(one.saturated));
        }
        let of_profile = [("profile", profile)];
        let peak: Vec<_> = peaks.iter().map(|(labels, (peak, _))| (labels.clone(), *peak)).collect();
        replace(&self.families.last_run_pool_peak, &of_profile, &peak);
        let saturated: Vec<_> = peaks.into_iter().map(|(labels, (_, saturated))| (labels, saturated as f64)).collect();
        replace(&self.families.last_run_pool_saturated, &of_profile, &saturated);
    }

    /// A probe was read. A failed reading takes its former numbers away.
    pub fn reading(&self, reading: &Reading) {
        let labels = [reading.target.as_str(), reading.probe.as_str()];
        self.families.probe_up.with_label_values(&labels).set(f64::from(u8::from(reading.points.is_ok())));
        match &reading.points {
            Ok(points) => {
                let beyond = self.readings.replace(&reading.target, &reading.probe, points);
                self.families.series_overflow.with_label_values::<&str>(&[]).inc_by(beyond as u64);
            }
            Err(error) => {
                self.readings.remove(&reading.target, &reading.probe);
                let class = error.split(':').next().unwrap_or_default();
                let reason = known_class(class, PROBE_CLASSES);
                self.families.probe_errors.with_label_values(&[labels[0], labels[1], reason]).inc();
            }
        }
    }

    /// How long a reading of a probe took, successful or not.
    pub fn probe_duration(&self, target: &str, probe: &str, took: Duration) {
        self.families.probe_duration.with_label_values(&[target, probe]).observe(took.as_secs_f64());
    }

    /// Forgets a target that is not configured any more.
    pub fn forget_target(&self, name: &str) {
        self.readings.forget_target(name);
        let of_target = [("target", name)];
        remove_where(&self.families.probe_up, &of_target);
        remove_where(&self.families.probe_errors, &of_target);
        remove_where(&self.families.probe_duration, &of_target);
    }

    /// Forgets a probe that a target no longer has.
    pub(super) fn forget_probe(&self, target: &str, probe: &str) {
        self.readings.forget_probe(target, probe);
        let of_probe = [("target", target), ("probe", probe)];
        remove_where(&self.families.probe_up, &of_probe);
        remove_where(&self.families.probe_errors, &of_probe);
        remove_where(&self.families.probe_duration, &of_probe);
    }

    /// Forgets a profile that is not configured any more.
    pub(super) fn forget_profile(&self, name: &str) {
        let of_profile = [("profile", name)];
        self.durations.forget_profile(name);
        self.forget_history(name);
        locked(&self.steps).retain(|labels| labels[0] != name);
        let families = &self.families;
        remove_where(&families.requests_failed, &of_profile);
        remove_where(&families.runs_started, &of_profile);
        remove_where(&families.runs_ended, &of_profile);
        remove_where(&families.iterations_with_failed_check, &of_profile);
        for family in self.accounting().into_iter().chain(self.step_counters()) {
            remove_where(family, &of_profile);
        }
        for family in self.live().into_iter().chain(self.last()).chain(self.analysis()) {
            remove_where(family, &of_profile);
        }
    }

    /// An instant of a schedule was decided.
    pub fn tick(&self, tick: &Tick) {
        self.families.schedule_ticks.with_label_values(&[tick.schedule.as_str(), tick.outcome.as_str()]).inc();
        self.families.schedule_last_due.with_label_values(&[&tick.schedule]).set(tick.due.as_seconds());
    }

    /// How late the scheduler woke up.
    pub fn scheduler_lag(&self, lag: Duration) {
        self.families.scheduler_lag.with_label_values::<&str>(&[]).observe(lag.as_secs_f64());
    }

    /// The alerts as they are now; those that are not among them count 0.
    pub fn alerts(&self, alerts: &[AlertInstance]) {
        let mut counts: BTreeMap<Vec<String>, f64> = BTreeMap::new();
        for alert in alerts.iter().filter(|alert| alert.state != AlertState::Inactive) {
            let severity = alert.labels.get("severity").cloned().unwrap_or_default();
            *counts.entry(vec![alert.rule.clone(), severity, alert.state.as_str().to_owned()]).or_default() += 1.0;
        }
        for labels in label_sets(&self.families.alerts, &["rule", "severity", "state"]) {
            counts.entry(labels).or_default();
        }
        for (labels, count) in counts {
            self.families.alerts.with_label_values(&labels).set(count);
        }
    }

    /// One attempt to send: `outcome` is `sent`, `failed` (to be tried again) or `dropped`; `reason` a class of `notify::Delivery`.
    pub fn notification(&self, channel: &str, outcome: &str, reason: &str) {
        let reason = known_class(reason, NOTIFICATION_CLASSES);
        match outcome {
            "sent" => self.families.notifications_sent.with_label_values(&[channel]).inc(),
            "dropped" => self.families.notifications_dropped.with_label_values(&[channel, reason]).inc(),
            _ => self.families.notifications_failed.with_label_values(&[channel, reason]).inc(),
        }
    }

    /// How many messages wait, and since when the oldest of them.
    pub fn outbox(&self, waiting: u64, oldest: Option<Timestamp>) {
        self.families.outbox_pending.with_label_values::<&str>(&[]).set(waiting as f64);
        match oldest {
            Some(at) => self.families.outbox_oldest.with_label_values::<&str>(&[]).set(at.as_seconds()),
            None => remove_where(&self.families.outbox_oldest, &[]),
        }
    }

    /// The configuration was read, or could not be.
    pub fn config_reload(&self, ok: bool, at: Timestamp) {
        self.families.config_successful.with_label_values::<&str>(&[]).set(f64::from(u8::from(ok)));
        if ok {
            self.families.config_success_at.with_label_values::<&str>(&[]).set(at.as_seconds());
        }
    }

    /// A call of the store failed; `operation` is the name of the call.
    pub fn storage_error(&self, operation: &str) {
        self.families.storage_errors.with_label_values(&[operation]).inc();
    }

    /// What waits in the spool.
    pub fn spooled(&self, records: u64, bytes: u64) {
        self.families.spool_records.with_label_values::<&str>(&[]).set(records as f64);
        self.families.spool_bytes.with_label_values::<&str>(&[]).set(bytes as f64);
    }

    /// Whether this daemon is in charge of the database.
    pub fn in_charge(&self, in_charge: bool) {
        self.families.in_charge.with_label_values::<&str>(&[]).set(f64::from(u8::from(in_charge)));
    }

    /// Labels of a step, or `other` when there are too many different ones.
    pub(super) fn step_labels(&self, profile: &str, scenario: &str, step: &str) -> [String; 3] {
        let labels = [profile.to_owned(), scenario.to_owned(), step.to_owned()];
        let mut known = locked(&self.steps);
        if known.contains(&labels) {
            return labels;
        }
        if known.len() >= MAX_STEP_SERIES {
            self.families.series_overflow.with_label_values::<&str>(&[]).inc();
            return [labels[0].clone(), OTHER.to_owned(), OTHER.to_owned()];
        }
        known.insert(labels.clone());
        labels
    }

    /// In the order of `Accounting`'s fields.
    pub(super) fn accounting(&self) -> [&IntCounterVec; 7] {
        let families = &self.families;
        [
            &families.iterations_scheduled,
            &families.iterations_started,
            &families.iterations_completed,
            &families.iterations_failed,
            &families.iterations_interrupted,
            &families.iterations_dropped,
            &families.iterations_unsent,
        ]
    }

    /// Counters with the labels of a step.
    pub(super) fn step_counters(&self) -> [&IntCounterVec; 9] {
        let families = &self.families;
        [
            &families.requests,
            &families.checks,
            &families.checks_failed,
            &families.sent_bytes,
            &families.received_bytes,
            &families.connections_opened,
            &families.requests_resent,
            &families.messages_unheard,
            &families.closings_unanswered,
        ]
    }

    /// Gauges that exist only while a run is going on.
    fn live(&self) -> [&GaugeVec; 8] {
        let families = &self.families;
        [
            &families.run_active_vus,
            &families.run_busy_vus,
            &families.run_requests_per_second,
            &families.run_failed_requests_per_second,
            &families.run_request_duration_p95,
            &families.run_elapsed,
            &families.run_planned,
            &families.generator_stall,
        ]
    }

    /// Gauges about profiles that outlive runs.
    fn last(&self) -> Vec<&GaugeVec> {
        let families = &self.families;
        vec![
            &families.runs_active,
            &families.last_run_info,
            &families.last_run_start,
            &families.last_run_end,
            &families.last_run_seconds,
            &families.last_run_verdict,
            &families.last_run_thresholds,
            &families.last_run_thresholds_failed,
            &families.last_run_requests,
            &families.last_run_rate,
            &families.last_run_failed_ratio,
            &families.last_run_checks_failed_ratio,
            &families.last_run_iterations_failed_check_ratio,
            &families.last_run_p50,
            &families.last_run_p95,
            &families.last_run_p99,
            &families.last_run_step_requests,
            &families.last_run_step_failed_ratio,
            &families.last_run_step_p50,
            &families.last_run_step_p95,
            &families.last_run_step_p99,
            &families.last_run_dropped,
            &families.last_run_pool_peak,
            &families.last_run_pool_saturated,
            &families.threshold_seconds,
            &families.threshold_ratio,
        ]
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Checks made and checks that did not hold.
fn checks_of(total: &StepSummary) -> (u64, u64) {
    total.checks.values().fold((0, 0), |(made, failed), check| (made + check.passed + check.failed, failed + check.failed))
}

fn known_class(class: &str, known: &'static [&'static str]) -> &'static str {
    known.iter().find(|one| **one == class).copied().unwrap_or(OTHER)
}

fn set_or_remove(family: &GaugeVec, profile: &str, value: Option<f64>) {
    match value {
        Some(value) => family.with_label_values(&[profile]).set(value),
        None => remove_where(family, &[("profile", profile)]),
    }
}

/// Values of one label over all series of a family.
pub(super) fn labels_of<T: MetricVecBuilder>(family: &MetricVec<T>, label: &str) -> BTreeSet<String> {
    label_sets(family, &[label]).into_iter().flatten().collect()
}

/// Values of these labels, in this order, of all series of a family.
fn label_sets<T: MetricVecBuilder>(family: &MetricVec<T>, labels: &[&str]) -> Vec<Vec<String>> {
    let sets = family.collect();
    let metrics = sets.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    metrics
        .map(|metric| {
            let value = |label: &&str| metric.get_label().iter().find(|pair| pair.name() == *label).map(|pair| pair.value().to_owned());
            labels.iter().filter_map(value).collect()
        })
        .collect()
}

/// Removes every series of which all `wanted` labels are equal.
pub(super) fn remove_where<T: MetricVecBuilder>(family: &MetricVec<T>, wanted: &[(&str, &str)]) {
    remove_matching(family, wanted, |_| true);
}

fn remove_matching<T: MetricVecBuilder>(family: &MetricVec<T>, wanted: &[(&str, &str)], also: impl Fn(&HashMap<&str, &str>) -> bool) {
    for set in family.collect() {
        for metric in set.get_metric() {
            let labels: HashMap<&str, &str> = metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            if wanted.iter().all(|(name, value)| labels.get(name) == Some(value)) && also(&labels) {
                // An error means that somebody else removed it in between: the wish is fulfilled.
                let _ = family.remove(&labels);
            }
        }
    }
}

/// Sets the series of which the `wanted` labels are equal to exactly `values`; new ones appear before old ones vanish.
pub(super) fn replace(family: &GaugeVec, wanted: &[(&str, &str)], values: &[(Vec<String>, f64)]) {
    for (labels, value) in values {
        family.with_label_values(labels).set(*value);
    }
    let order: Vec<String> = family.desc().iter().flat_map(|desc| desc.variable_labels.clone()).collect();
    let kept: BTreeSet<Vec<&str>> = values.iter().map(|(labels, _)| labels.iter().map(String::as_str).collect()).collect();
    remove_matching(family, wanted, |labels| {
        let present: Vec<&str> = order.iter().filter_map(|name| labels.get(name.as_str()).copied()).collect();
        !kept.contains(&present)
    });
}

#[cfg(test)]
mod tests;

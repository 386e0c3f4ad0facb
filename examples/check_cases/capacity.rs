//! Cases of the kind `capacity`: load steps of a simulated system whose capacity is known. From the steps up to 70 % of it, the capacity must
//! come out within 5 %, the bottleneck right; from all steps, the size that a pool needs.

use plimsoll::analysis::capacity::{Kind, Level, LoadLine, Plan, Used, load_line};
use serde_json::Value;

use super::case::Case;
use super::check::Check;

const WITHIN: f64 = 0.05;
/// Share of the capacity up to which steps are looked at.
const UP_TO: f64 = 0.7;
/// Seconds of a step of the simulator.
const SECONDS: f64 = 35.0;

/// Compares a load line.
pub(crate) fn check(case: &Case) -> Result<Vec<Check>, String> {
    let levels = levels(case)?;
    let truth = case.truth("/capacity_rps").and_then(Value::as_f64).ok_or("no capacity")?;
    let bottleneck = case.truth("/bottleneck").and_then(Value::as_str).ok_or("no bottleneck")?;
    let lower: Vec<Level> = levels.iter().filter(|level| level.load <= (UP_TO + 1e-9) * truth).cloned().collect();
    let line = load_line(&lower, &Plan::default());
    let named = line.first().map_or("none", |first| first.resource.as_str());
    let mut checks = vec![
        Check::number("capacity", line.capacity(), truth, WITHIN, 0.0),
        Check::new("bottleneck", named, bottleneck, named == bottleneck),
    ];
    checks.extend(pool(case, &load_line(&levels, &Plan::default())));
    let products = case.expected("/littles_law_N_equals_X_times_R").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (level, expected) in levels.iter().zip(products) {
        let ours = level.mean_s.map(|mean_s| level.throughput * mean_s);
        checks.push(Check::number(&format!("X times R at {}", level.load), ours, expected.as_f64().unwrap_or(f64::NAN), 1e-5, 0.0));
    }
    Ok(checks)
}

fn pool(case: &Case, line: &LoadLine) -> Option<Check> {
    let target = case.number("/pool_size_needed/target_rps")?;
    let expected = case.number("/pool_size_needed/at_utilisation_0_8")?;
    let size = line.pool_for("pool", target, None).map(|(size, _)| size.servers as f64);
    Some(Check::number("pool size needed", size, expected, 0.0, 0.0))
}

fn levels(case: &Case) -> Result<Vec<Level>, String> {
    let column =
        |name: &str| -> Result<Vec<f64>, String> { Ok(case.column(name)?.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect()) };
    let (offered, throughput, errors) = (column("offered_rps")?, column("throughput_rps")?, column("error_rate")?);
    let (mean, p95, pool, size) = (column("mean_ms")?, column("p95_ms")?, column("pool_busy_mean")?, column("pool_size")?);
    let (cpu, cores) = (column("cpu_util")?, column("cores")?);
    let used = |resource: &str, used: f64, limit: f64| Used { resource: resource.into(), kind: Kind::Servers, used, limit };
    let level = |at: usize| {
        let requests = offered[at] * SECONDS;
        Level {
            load: offered[at],
            seconds: SECONDS,
            offered: Some(offered[at]),
            requests: requests as u64,
            failed: (requests * errors[at]) as u64,
            throughput: throughput[at],
            p95_s: Some(p95[at] / 1e3),
            mean_s: Some(mean[at] / 1e3),
            resources: vec![used("pool", pool[at], size[at]), used("cpu", cpu[at] * cores[at], cores[at])],
            ..Level::default()
        }
    };
    Ok((0..offered.len()).map(level).collect())
}

//! Several replicas of one service as one: sums, and the worst where a sum says nothing. Pure. A sum is told only when every replica that
//! has the pool (or, of other figures, every replica) told its part: a total with a part missing would look like less load.

use std::collections::BTreeMap;

use crate::model::Labels;
use crate::model::series::Point;

/// How the figures of replicas become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fold {
    Sum,
    Worst,
}

/// Figures that are not added up: means, ages and shares. The utilization of a pool is made of the sums.
fn fold_of(metric: &str) -> Fold {
    match metric {
        "pool_utilization" | "pool_wait_time" | "pool_wait_longest" | "process_descriptors_ratio" => Fold::Worst,
        _ => Fold::Sum,
    }
}

/// The figures of all replicas together.
pub(super) fn combine(readings: &[Vec<Point>]) -> Vec<Point> {
    let mut series: BTreeMap<(&str, &Labels), Vec<f64>> = BTreeMap::new();
    for point in readings.iter().flatten() {
        series.entry((&point.metric, &point.labels)).or_default().push(point.value);
    }
    let with_pool = |labels: &Labels| series.get(&("pool_in_use", labels)).map_or(readings.len(), Vec::len);
    let mut points = Vec::new();
    for (&(metric, labels), values) in &series {
        let complete = values.len() >= with_pool(labels);
        let value = match fold_of(metric) {
            Fold::Sum if !complete => continue,
            // A pool without limit has no limit together with others.
            Fold::Sum if metric == "pool_limit" && values.iter().any(|limit| *limit <= 0.0) => 0.0,
            Fold::Sum => values.iter().sum(),
            Fold::Worst => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        };
        let metric = if metric == "pool_utilization" { "pool_utilization_worst" } else { metric };
        points.push(Point { metric: metric.into(), labels: labels.clone(), value });
    }
    let figure = |metric: &str, labels: &Labels| points.iter().find(|point| point.metric == metric && point.labels == *labels);
    let utilization = |limit: &Point| {
        let in_use = figure("pool_in_use", &limit.labels)?;
        Some(Point { metric: "pool_utilization".into(), labels: limit.labels.clone(), value: in_use.value / limit.value })
    };
    let together: Vec<Point> =
        points.iter().filter(|point| point.metric == "pool_limit" && point.value > 0.0).filter_map(utilization).collect();
    points.extend(together);
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(in_use: f64, limit: f64) -> Vec<Point> {
        let of = |metric: &str, value: f64| Point::new(metric, value).with("pool", "main");
        let mut points = vec![of("pool_in_use", in_use), of("pool_limit", limit)];
        if limit > 0.0 {
            points.push(of("pool_utilization", in_use / limit));
        }
        points
    }

    fn value(points: &[Point], metric: &str) -> Option<f64> {
        points.iter().find(|point| point.metric == metric).map(|point| point.value)
    }

    #[test]
    fn one_full_pool_of_three_shows_in_the_worst_and_not_in_the_sum() {
        let points = combine(&[pool(10.0, 10.0), pool(1.0, 10.0), pool(1.0, 10.0)]);
        assert_eq!(value(&points, "pool_in_use"), Some(12.0));
        assert_eq!(value(&points, "pool_limit"), Some(30.0));
        assert_eq!(value(&points, "pool_utilization"), Some(0.4));
        assert_eq!(value(&points, "pool_utilization_worst"), Some(1.0));
    }

    #[test]
    fn a_sum_with_a_part_missing_is_absent() {
        let mut with_rate = pool(1.0, 10.0);
        with_rate.push(Point::new("pool_waits", 5.0).with("pool", "main"));
        let points = combine(&[with_rate.clone(), pool(1.0, 10.0)]);
        assert_eq!(value(&points, "pool_waits"), None, "one replica just began anew");
        assert_eq!(value(&combine(&[with_rate.clone(), with_rate]), "pool_waits"), Some(10.0));
        // A pool that one replica does not have at all is that of the other.
        let other = vec![Point::new("process_memory", 5.0)];
        let points = combine(&[pool(3.0, 10.0), other]);
        assert_eq!((value(&points, "pool_in_use"), value(&points, "process_memory")), (Some(3.0), None));
    }

    #[test]
    fn an_unbounded_pool_makes_the_sum_unbounded() {
        let points = combine(&[pool(10.0, 0.0), pool(1.0, 10.0)]);
        assert_eq!((value(&points, "pool_limit"), value(&points, "pool_utilization")), (Some(0.0), None));
        assert_eq!(value(&points, "pool_utilization_worst"), Some(0.1));
    }
}

//! The daemon's latest reading of itself, as it is stored and judged. (`process_*` are those of this moment, as Prometheus names them.)

use super::Metrics;
use crate::model::series::Point;

impl Metrics {
    /// Shows the daemon's reading of itself; what was not measured is left as it was.
    pub fn own_reading(&self, points: &[Point]) {
        for point in points.iter().filter(|point| point.value.is_finite()) {
            let gauge = match point.metric.as_str() {
                "process_memory" => &self.families.own_memory,
                "process_cpu" => &self.families.own_cpu,
                "process_descriptors" => &self.families.own_descriptors,
                "process_threads" => &self.families.own_threads,
                _ => continue,
            };
            gauge.with_label_values::<&str>(&[]).set(point.value);
        }
    }
}

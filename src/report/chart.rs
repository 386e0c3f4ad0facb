//! One drawing of numbers over the seconds of a run, as an SVG that needs nothing from outside.
//! Where nothing was measured there is a gap, never a line through it. Long runs are drawn by the least and greatest value of each
//! column, so that a peak of one second is seen.

use std::fmt::Write;

use crate::model::threshold::{Unit, show_unit};
use crate::model::units::trim_decimal;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 26.0;
/// Most columns drawn; beyond that several seconds share one.
const MAX_COLUMNS: usize = 480;
/// Told apart also by people who do not see red and green alike (Okabe and Ito), readable on white and on near-black.
const COLOURS: [&str; 6] = ["#0f83c9", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#6a6ad8"];

/// How numbers of a chart are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// A unit of the threshold grammar.
    Unit(Unit),
    /// Events a second.
    PerSecond,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// One value per second from the chart's first second on; `None` where nothing was measured.
    pub values: Vec<Option<f64>>,
}

impl Line {
    /// A line called `name`.
    pub fn new(name: impl Into<String>, values: Vec<Option<f64>>) -> Self {
        Self { name: name.into(), values }
    }
}

/// A chart of values over seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// How numbers are written.
    pub scale: Scale,
    /// Second of the first value.
    pub first_second: u32,
    /// The lines, drawn in this order.
    pub lines: Vec<Line>,
    /// Horizontal lines with a label: what was asked for.
    pub limits: Vec<(f64, String)>,
}

impl Chart {
    /// A chart from second 0 on.
    pub fn new(title: impl Into<String>, scale: Scale, lines: Vec<Line>) -> Self {
        Self { title: title.into(), scale, first_second: 0, lines, limits: Vec::new() }
    }

    /// The same with a horizontal line.
    #[must_use]
    pub fn with_limit(mut self, value: f64, label: impl Into<String>) -> Self {
        self.limits.push((value, label.into()));
        self
    }

    /// The chart as `<svg>`; texts take the colour of their surroundings. Without any value it says so.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}" font-family="system-ui, sans-serif" font-size="11" fill="currentColor">"#,
            escape(&self.title)
        );
        let _ = write!(svg, r#"<text x="0" y="12" font-size="13" font-weight="600">{}</text>"#, escape(&self.title));
        let values = || self.lines.iter().flat_map(|line| line.values.iter().flatten().copied()).filter(|value| value.is_finite());
        let seconds = self.lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
        let Some(greatest) = values().reduce(f64::max) else {
            let _ = write!(
                svg,
                r#"<text x="{}" y="{}" text-anchor="middle" opacity="0.6">nothing was measured</text></svg>"#,
                WIDTH / 2.0,
                HEIGHT / 2.0
            );
            return svg;
        };
        let least = values().fold(0.0, f64::min);
        // A limit far above everything measured would flatten the lines: then it is not drawn.
        let limits: Vec<&(f64, String)> = self.limits.iter().filter(|(limit, _)| *limit <= greatest * 3.0 || greatest <= 0.0).collect();
        let top = limits.iter().map(|(limit, _)| *limit).fold(greatest, f64::max);
        let axis = Axis::new(least, top, self.scale);
        self.draw_axes(&mut svg, &axis, seconds);
        self.draw_legend(&mut svg);
        for (limit, label) in limits {
            let y = axis.y(*limit);
            let _ = write!(
                svg,
                r##"<line x1="{LEFT}" x2="{}" y1="{y:.1}" y2="{y:.1}" stroke="#dd5544" stroke-dasharray="5 4"/><text x="{}" y="{:.1}" fill="#dd5544">{}</text>"##,
                WIDTH - RIGHT,
                LEFT + 4.0,
                y - 4.0,
                escape(label)
            );
        }
        for (index, line) in self.lines.iter().enumerate() {
            draw_line(&mut svg, &axis, seconds, &line.values, COLOURS[index % COLOURS.len()]);
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw_axes(&self, svg: &mut String, axis: &Axis, seconds: usize) {
        for tick in &axis.ticks {
            let y = axis.y(*tick);
            let _ = write!(
                svg,
                r#"<line x1="{LEFT}" x2="{}" y1="{y:.1}" y2="{y:.1}" stroke="currentColor" stroke-opacity="0.15"/><text x="{}" y="{:.1}" text-anchor="end" opacity="0.75">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                escape(&shown(self.scale, *tick))
            );
        }
        let step = time_step(seconds);
        let mut second = self.first_second.next_multiple_of(step);
        while (second - self.first_second) as usize <= seconds {
            let x = x(f64::from(second - self.first_second), seconds);
            let _ = write!(
                svg,
                r#"<line x1="{x:.1}" x2="{x:.1}" y1="{}" y2="{}" stroke="currentColor" stroke-opacity="0.4"/><text x="{x:.1}" y="{}" text-anchor="middle" opacity="0.75">{}</text>"#,
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 4.0,
                HEIGHT - BOTTOM + 17.0,
                shown(Scale::Unit(Unit::Time), f64::from(second))
            );
            second += step;
        }
    }

    fn draw_legend(&self, svg: &mut String) {
        let mut right = WIDTH - RIGHT;
        for (index, line) in self.lines.iter().enumerate().rev() {
            let name: String = line.name.chars().take(40).collect();
            let width = name.chars().count() as f64 * 6.2 + 22.0;
            right -= width;
            let colour = COLOURS[index % COLOURS.len()];
            let _ = write!(
                svg,
                r#"<rect x="{right:.1}" y="5" width="10" height="10" rx="2" fill="{colour}"/><text x="{:.1}" y="14">{}</text>"#,
                right + 14.0,
                escape(&name)
            );
        }
    }
}

/// The vertical axis.
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(least: f64, greatest: f64, scale: Scale) -> Self {
        let span = if greatest - least > 0.0 { greatest - least } else { 1.0 };
        let step = nice_step(span / 4.0, scale);
        let first = (least / step).floor() as i64;
        let last = (greatest / step - 1e-9).ceil().max(1.0) as i64;
        let ticks: Vec<f64> = (first..=last).map(|n| n as f64 * step).collect();
        Self { low: first as f64 * step, high: last as f64 * step, ticks }
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - (value - self.low) / (self.high - self.low))
    }
}

/// 1, 2, 2.5 or 5 times a power of ten (a power of two for bytes), at least `rough`.
pub(super) fn nice_step(rough: f64, scale: Scale) -> f64 {
    if scale == Scale::Unit(Unit::Bytes) {
        return 2_f64.powf(rough.max(1.0).log2().ceil());
    }
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999).unwrap_or(10.0);
    factor * power
}

pub(super) fn shown(scale: Scale, value: f64) -> String {
    match scale {
        Scale::Unit(unit) => show_unit(unit, value),
        Scale::PerSecond => format!("{}/s", trim_decimal(value, 2)),
    }
}

/// Seconds between marks of the time axis, for at most eight marks.
fn time_step(seconds: usize) -> u32 {
    const STEPS: [u32; 15] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600];
    STEPS.into_iter().find(|step| seconds as u32 / step <= 7).unwrap_or(86_400)
}

fn x(second: f64, seconds: usize) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * second / seconds.max(1) as f64
}

fn draw_line(svg: &mut String, axis: &Axis, seconds: usize, values: &[Option<f64>], colour: &str) {
    let column = seconds.div_ceil(MAX_COLUMNS).max(1);
    let mut parts: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (index, chunk) in values.chunks(column).enumerate() {
        let present = || chunk.iter().flatten().copied().filter(|value| value.is_finite());
        let middle = x(index as f64 * column as f64 + chunk.len() as f64 / 2.0, seconds);
        let (Some(least), Some(greatest)) = (present().reduce(f64::min), present().reduce(f64::max)) else {
            parts.push(Vec::new());
            continue;
        };
        let Some(part) = parts.last_mut() else { continue };
        part.push((middle, axis.y(least)));
        if column > 1 && greatest > least {
            part.push((middle, axis.y(greatest)));
        }
    }
    for part in parts {
        if let [(x, y)] = part.as_slice() {
            let _ = write!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="2" fill="{colour}"/>"#);
        } else if !part.is_empty() {
            let points: Vec<String> = part.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = write!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>"#,
                points.join(" ")
            );
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: Vec<Option<f64>>) -> Chart {
        Chart::new("p95 <of> \"steps\"", Scale::Unit(Unit::Time), vec![Line::new("p95", values)])
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_lonely_value_is_a_dot() {
        let svg = chart(vec![Some(0.1), Some(0.2), None, Some(0.3), None, Some(0.1), Some(0.1)]).svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 1);
    }

    #[test]
    fn nothing_measured_is_said_and_names_are_escaped() {
        let svg = chart(vec![None, None, Some(f64::NAN)]).svg();
        assert!(svg.contains("nothing was measured") && !svg.contains("<polyline"));
        assert!(svg.contains("p95 &lt;of&gt; &quot;steps&quot;"));
    }

    #[test]
    fn a_peak_of_one_second_survives_in_a_long_run() {
        let mut values = vec![Some(0.1); 20_000];
        values[13_337] = Some(5.0);
        let svg = chart(values).svg();
        let heights = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap().split_whitespace();
        let heights: Vec<f64> = heights.map(|point| point.split(',').nth(1).unwrap().parse().unwrap()).collect();
        assert_eq!(heights.iter().filter(|y| **y < HEIGHT / 2.0).count(), 1, "the peak is drawn, once");
        assert!(svg.len() < 60_000, "{}", svg.len());
    }

    #[test]
    fn axes_have_round_numbers() {
        for (least, greatest, scale, ticks) in [
            (0.0, 0.19, Scale::Unit(Unit::Time), vec!["0s", "50ms", "100ms", "150ms", "200ms"]),
            (0.0, 1.0, Scale::Unit(Unit::Ratio), vec!["0 %", "25 %", "50 %", "75 %", "100 %"]),
            (0.0, 700.0, Scale::PerSecond, vec!["0/s", "200/s", "400/s", "600/s", "800/s"]),
            (0.0, 3.2e9, Scale::Unit(Unit::Bytes), vec!["0 B", "1 GiB", "2 GiB", "3 GiB"]),
            (0.0, 0.0, Scale::Unit(Unit::Count), vec!["0", "0.25"]),
        ] {
            let shown: Vec<String> = Axis::new(least, greatest, scale).ticks.iter().map(|tick| shown(scale, *tick)).collect();
            assert_eq!(shown, ticks);
        }
    }

    #[test]
    fn a_whole_chart() {
        let values = (0..40).map(|n| if n == 20 { None } else { Some(f64::from(n % 15) / 100.0) }).collect();
        insta::assert_snapshot!(chart(values).with_limit(0.12, "p(95) < 120ms").svg().replace("><", ">\n<"));
    }
}

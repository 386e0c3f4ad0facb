//! The chart of an incident as a picture for mails and Slack: what a rule looked at, its limit, and the moment at which it was crossed.
//! Where nothing was measured there is a gap. Long spans are drawn by the least and greatest value of each column.

use super::canvas::{Align, Canvas, Rgb};
use super::chart::{Scale, nice_step, shown};
use crate::model::units::Timestamp;

const WIDTH: f32 = 600.0;
const HEIGHT: f32 = 240.0;
const LEFT: f32 = 62.0;
const RIGHT: f32 = 16.0;
const TOP: f32 = 44.0;
const BOTTOM: f32 = 30.0;
/// Columns of the drawing; beyond that several values share one.
const COLUMNS: f64 = 520.0;

const GROUND: Rgb = [255, 255, 255];
const FRAME: Rgb = [208, 215, 222];
const GRID: Rgb = [232, 235, 239];
const INK: Rgb = [31, 35, 40];
const FAINT: Rgb = [87, 96, 106];
const CURVE: Rgb = [15, 131, 201];
const LIMIT: Rgb = [200, 50, 30];
const BEYOND: Rgb = [253, 236, 232];

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// What is shown: "pool_utilization max".
    pub title: String,
    /// Of what: "pool `main` of shop".
    pub place: String,
    /// How numbers are written.
    pub scale: Scale,
    /// Beginning of the time axis.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// Values in the order of time; `None` where something should have been measured and was not.
    pub values: Vec<(Timestamp, Option<f64>)>,
    /// Where the rule draws its line, and how it is written: "> 80 %".
    pub limit: (f64, String),
    /// Between these moments the value was beyond the limit; the second is `None` while it is.
    pub beyond: Option<(Timestamp, Option<Timestamp>)>,
}

impl Picture {
    /// The picture as PNG. `Err`: why there is none; nothing measured is one reason.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let Some((least, greatest)) = self.range() else { return Err("nothing was measured in that time".into()) };
        let mut canvas = Canvas::new(WIDTH, HEIGHT, GROUND)?;
        let frame = [(0.5, 0.5), (WIDTH - 0.5, 0.5), (WIDTH - 0.5, HEIGHT - 0.5), (0.5, HEIGHT - 0.5), (0.5, 0.5)];
        let axis = Axis::new(least.min(self.limit.0), greatest.max(self.limit.0), self.scale);
        self.draw_beyond(&mut canvas);
        self.draw_axes(&mut canvas, &axis);
        self.draw_limit(&mut canvas, &axis);
        self.draw_curve(&mut canvas, &axis);
        self.draw_crossing(&mut canvas);
        canvas.line(&frame, 1.0, FRAME, None);
        canvas.text((12.0, 20.0), 13.0, Align::Left, INK, &self.title);
        let place = shortened(&canvas, &self.place, WIDTH - 36.0 - canvas.width_of(13.0, &self.title));
        canvas.text((WIDTH - 12.0, 20.0), 11.0, Align::Right, FAINT, &place);
        canvas.png()
    }

    /// What the picture shows, for those who do not see it.
    pub fn alt(&self) -> String {
        let Some((least, greatest)) = self.range() else { return format!("No chart of {}: nothing was measured", self.title) };
        let last = self.values.iter().rev().find_map(|(_, value)| *value).unwrap_or(greatest);
        let show = |value| shown(self.scale, value);
        let crossed = match &self.beyond {
            Some((from, Some(to))) => format!("; beyond it from {} to {}", clock(*from), clock(*to)),
            Some((from, None)) => format!("; beyond it since {}", clock(*from)),
            None => String::new(),
        };
        format!(
            "Chart of {}, {}, from {} to {} UTC: least {}, greatest {}, last {}. The limit is {}{crossed}.",
            self.title,
            self.place,
            clock(self.from),
            clock(self.to),
            show(least),
            show(greatest),
            show(last),
            self.limit.1
        )
    }

    /// Least and greatest value; least is 0 at most.
    fn range(&self) -> Option<(f64, f64)> {
        let values = || self.values.iter().filter_map(|(_, value)| *value).filter(|value| value.is_finite());
        Some((values().reduce(f64::min)?.min(0.0), values().reduce(f64::max)?))
    }

    fn x(&self, at: Timestamp) -> f32 {
        let share = at.since(self.from).as_secs_f64() / self.to.since(self.from).as_secs_f64().max(1e-6);
        LEFT + (WIDTH - LEFT - RIGHT) * share.clamp(0.0, 1.0) as f32
    }

    fn draw_beyond(&self, canvas: &mut Canvas) {
        if let Some((from, to)) = self.beyond {
            canvas.area((self.x(from), TOP), (self.x(to.unwrap_or(self.to)), HEIGHT - BOTTOM), BEYOND);
        }
    }

    fn draw_axes(&self, canvas: &mut Canvas, axis: &Axis) {
        for tick in &axis.ticks {
            let y = axis.y(*tick);
            canvas.line(&[(LEFT, y), (WIDTH - RIGHT, y)], 1.0, GRID, None);
            canvas.text((LEFT - 7.0, y + 4.0), 11.0, Align::Right, FAINT, &shown(self.scale, *tick));
        }
        let span = self.to.since(self.from).as_secs_f64();
        let step = time_step(span);
        let mut second = (self.from.as_seconds() / step).ceil() * step;
        while second <= self.to.as_seconds() {
            let at = Timestamp((second * 1e6) as i64);
            let x = self.x(at);
            canvas.line(&[(x, HEIGHT - BOTTOM), (x, HEIGHT - BOTTOM + 4.0)], 1.0, FAINT, None);
            let word = if step < 60.0 { clock(at) } else { at.to_utc().format("%H:%M").to_string() };
            if x < WIDTH - RIGHT - 34.0 {
                canvas.text((x, HEIGHT - BOTTOM + 17.0), 11.0, Align::Middle, FAINT, &word);
            }
            second += step;
        }
        canvas.text((WIDTH - 12.0, HEIGHT - BOTTOM + 17.0), 11.0, Align::Right, FAINT, "UTC");
    }

    fn draw_limit(&self, canvas: &mut Canvas, axis: &Axis) {
        let y = axis.y(self.limit.0);
        canvas.line(&[(LEFT, y), (WIDTH - RIGHT, y)], 1.4, LIMIT, Some([6.0, 4.0]));
        let label = format!("limit {}", self.limit.1);
        canvas.text((LEFT + 5.0, if y > TOP + 18.0 { y - 5.0 } else { y + 14.0 }), 11.0, Align::Left, LIMIT, &label);
    }

    fn draw_curve(&self, canvas: &mut Canvas, axis: &Axis) {
        let mut part: Vec<(f32, f32)> = Vec::new();
        for column in self.columns() {
            match column {
                Some((at, least, greatest)) => {
                    part.push((self.x(at), axis.y(least)));
                    if greatest > least {
                        part.push((self.x(at), axis.y(greatest)));
                    }
                }
                None => stroke(canvas, &std::mem::take(&mut part)),
            }
        }
        stroke(canvas, &part);
    }

    /// Time, least and greatest value of each column; `None` for a gap.
    fn columns(&self) -> Vec<Option<(Timestamp, f64, f64)>> {
        let span = self.to.since(self.from).as_secs_f64().max(1e-6);
        let mut columns: Vec<Option<(Timestamp, f64, f64)>> = Vec::new();
        let mut last = None;
        for (at, value) in self.values.iter().filter(|(at, _)| *at >= self.from && *at <= self.to) {
            let Some(value) = value.filter(|value| value.is_finite()) else {
                columns.push(None);
                last = None;
                continue;
            };
            let number = (at.since(self.from).as_secs_f64() / span * COLUMNS) as u32;
            match columns.last_mut() {
                Some(Some((_, least, greatest))) if last == Some(number) => {
                    (*least, *greatest) = (least.min(value), greatest.max(value));
                }
                Some(_) | None => columns.push(Some((*at, value, value))),
            }
            last = Some(number);
        }
        columns
    }

    fn draw_crossing(&self, canvas: &mut Canvas) {
        let Some((from, to)) = self.beyond else { return };
        let mut mark = |at: Timestamp, words: &str, taken: Option<f32>| {
            let x = self.x(at);
            canvas.line(&[(x, TOP - 4.0), (x, HEIGHT - BOTTOM)], 1.2, INK, Some([2.0, 3.0]));
            let text = format!("{words} {}", clock(at));
            let width = canvas.width_of(11.0, &text);
            let left = (x - width / 2.0).clamp(LEFT, WIDTH - RIGHT - width);
            if taken.is_none_or(|taken| left > taken + 10.0) {
                canvas.text((left, TOP - 8.0), 11.0, Align::Left, INK, &text);
            }
            left + width
        };
        let end = mark(from, "crossed", None);
        if let Some(to) = to {
            mark(to, "back", Some(end));
        }
    }
}

fn stroke(canvas: &mut Canvas, part: &[(f32, f32)]) {
    match part {
        [] => {}
        [point] => canvas.dot(*point, 2.2, CURVE),
        _ => canvas.line(part, 1.8, CURVE, None),
    }
}

/// `02:03:12`.
fn clock(at: Timestamp) -> String {
    at.to_utc().format("%H:%M:%S").to_string()
}

/// The text, or so much of it as fits with `…` behind.
fn shortened(canvas: &Canvas, text: &str, width: f32) -> String {
    let mut short: String = text.to_owned();
    while canvas.width_of(11.0, &short) > width && !short.is_empty() {
        let shorter: String = short.trim_end_matches('…').chars().rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect();
        short = if shorter.is_empty() { shorter } else { format!("{shorter}…") };
    }
    short
}

/// Seconds between marks of the time axis, for at most seven marks.
fn time_step(span: f64) -> f64 {
    const STEPS: [f64; 14] = [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0, 43_200.0];
    STEPS.into_iter().find(|step| span / step <= 7.0).unwrap_or(86_400.0)
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
        let last = (greatest / step - 1e-9).ceil().max(first as f64 + 1.0) as i64;
        Self { low: first as f64 * step, high: last as f64 * step, ticks: (first..=last).map(|n| n as f64 * step).collect() }
    }

    fn y(&self, value: f64) -> f32 {
        let share = (value - self.low) / (self.high - self.low);
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share.clamp(0.0, 1.0) as f32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::threshold::Unit;

    fn at(second: u64) -> Timestamp {
        Timestamp::parse("2026-11-21T02:00:00Z").unwrap().plus(Duration::from_secs(second))
    }

    fn picture(values: Vec<(Timestamp, Option<f64>)>) -> Picture {
        Picture {
            title: "pool_utilization max".into(),
            place: "pool `main` of shöp (probe app)".into(),
            scale: Scale::Unit(Unit::Ratio),
            from: at(0),
            to: at(600),
            values,
            limit: (0.8, "> 80 %".into()),
            beyond: Some((at(192), None)),
        }
    }

    /// What is at a point, in units of the canvas.
    fn pixel(png: &[u8], x: f32, y: f32) -> Rgb {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut buffer = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut buffer).unwrap();
        assert_eq!((info.width, info.height), (1200, 480));
        let offset = ((y * 2.0) as usize * 1200 + (x * 2.0) as usize) * 3;
        [buffer[offset], buffer[offset + 1], buffer[offset + 2]]
    }

    fn is_curve(colour: Rgb) -> bool {
        colour[2] > 150 && colour[0] < 100
    }

    #[test]
    fn the_curve_the_limit_and_the_time_beyond_it_are_drawn() {
        let values = (0..600).map(|second| (at(second), Some(if second < 192 { 0.4 } else { 1.0 }))).collect();
        let picture = picture(values);
        let png = picture.png().unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() < 20_000, "{}", png.len());
        let axis = Axis::new(0.0, 1.0, picture.scale);
        assert!(is_curve(pixel(&png, picture.x(at(100)), axis.y(0.4))));
        assert!(is_curve(pixel(&png, picture.x(at(400)), axis.y(1.0))));
        assert_eq!(pixel(&png, picture.x(at(400)), axis.y(0.6)), BEYOND);
        assert_eq!(pixel(&png, picture.x(at(100)), axis.y(0.6)), GROUND);
        assert_eq!(pixel(&png, LEFT + 1.0, axis.y(0.8)), LIMIT);
        assert_eq!(
            picture.alt(),
            "Chart of pool_utilization max, pool `main` of shöp (probe app), from 02:00:00 to 02:10:00 UTC: least 0 %, greatest 100 %, \
             last 100 %. The limit is > 80 %; beyond it since 02:03:12."
        );
    }

    #[test]
    fn a_gap_is_a_gap_and_not_a_zero() {
        let value = |second: u64| if (200..400).contains(&second) { None } else { Some(0.4) };
        let picture = picture((0..600).map(|second| (at(second), value(second))).collect());
        let png = picture.png().unwrap();
        let axis = Axis::new(0.0, 0.8, picture.scale);
        for y in [0.4, 0.0] {
            assert!(!is_curve(pixel(&png, picture.x(at(300)), axis.y(y))), "{y}");
        }
        assert!(is_curve(pixel(&png, picture.x(at(100)), axis.y(0.4))));
    }

    #[test]
    fn nothing_measured_is_no_picture_and_much_is_a_small_one() {
        assert_eq!(picture(vec![(at(1), None), (at(2), Some(f64::NAN))]).png(), Err("nothing was measured in that time".into()));
        let wild = |n: u64| ((n * 7919) % 1000) as f64 / 1000.0;
        let mut long = picture((0..100_000).map(|n| (at(n), Some(wild(n)))).collect());
        long.to = at(100_000);
        long.title = "grpc_req_duration p(99)".into();
        long.place = "very long ".repeat(30);
        let png = long.png().unwrap();
        assert!(png.len() < 40_000, "{}", png.len());
    }

    #[test]
    fn a_peak_of_one_second_and_a_single_value_are_seen() {
        let mut values: Vec<_> = (0..36_000).map(|n| (at(n), Some(0.1))).collect();
        values[18_000].1 = Some(1.0);
        let mut peak = picture(values);
        peak.to = at(36_000);
        let greatest = peak.columns().into_iter().flatten().map(|(_, _, greatest)| greatest).fold(0.0, f64::max);
        assert!((greatest - 1.0).abs() < 1e-9);
        let single = picture(vec![(at(300), Some(0.5))]);
        let axis = Axis::new(0.0, 0.8, single.scale);
        assert!(is_curve(pixel(&single.png().unwrap(), single.x(at(300)), axis.y(0.5))));
    }
}

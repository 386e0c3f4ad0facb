//! Quantities as people write them (`30s`, `2GiB`, `80%`, `50/s`) and as the program keeps them.
//! A bare number where a unit is needed is refused; every refusal says what to write instead.
//! Pure: parsing and printing only.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the wall clock: microseconds since 1970-01-01 UTC, as all stores keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The moment `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time passed since `earlier`; zero when `earlier` is later (the clock went backwards).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Seconds since the epoch, for Prometheus.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The same moment as chrono's type; the epoch when out of chrono's range.
    pub fn to_utc(self) -> chrono::DateTime<chrono::Utc> {
        chrono::DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// From chrono's type, cut to microseconds.
    pub fn from_utc(at: chrono::DateTime<chrono::Utc>) -> Self {
        Self(at.timestamp_micros())
    }

    /// From an RFC 3339 text such as `2026-11-21T02:00:00Z`.
    pub fn parse(text: &str) -> Option<Self> {
        chrono::DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_micros()))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-21T02:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_utc().to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not an RFC 3339 time: {text}")))
    }
}

/// Why a quantity could not be read, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// Stable code: `missing-unit`, `unknown-unit`, `not-a-number`, `out-of-range`.
    pub code: &'static str,
    /// What is wrong: "a time needs a unit".
    pub message: String,
    /// What to do: "write `200ms` or `200s`".
    pub hint: String,
}

impl UnitError {
    fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.hint)
    }
}

impl std::error::Error for UnitError {}

/// Splits `1.5GiB` into (`1.5`, `GiB`).
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn number(text: &str, whole: &str, example: &str) -> Result<f64, UnitError> {
    let value: f64 = text
        .replace('_', "")
        .parse()
        .map_err(|_| UnitError::new("not-a-number", format!("`{whole}` does not start with a number"), format!("write {example}")))?;
    Ok(value)
}

/// Reads a length of time: `250ms`, `30s`, `1m30s`, `2h`, `1d`, `0s`. `0` alone is accepted, as nothing needs a unit to be none.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let whole = text.trim();
    if whole == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = whole;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(UnitError::new("not-a-number", "a time is empty", "write a time such as `30s`"));
    }
    while !rest.is_empty() {
        let (digits, tail) = split_number(rest);
        let value = number(digits, whole, "a time such as `30s`, `250ms` or `1m30s`")?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(tail.len());
        let unit = &tail[..end];
        let factor = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "" => {
                return Err(UnitError::new("missing-unit", "a time needs a unit", format!("write `{whole}ms` or `{whole}s`")));
            }
            other => {
                return Err(UnitError::new("unknown-unit", format!("`{other}` is not a unit of time"), "use us, ms, s, m, h, d or w"));
            }
        };
        seconds += value * factor;
        rest = tail[end..].trim_start();
    }
    Duration::try_from_secs_f64((seconds * 1e9).round() / 1e9)
        .map_err(|_| UnitError::new("out-of-range", format!("`{whole}` is too long"), "write a shorter time"))
}

/// Prints a length of time the way people write it: `250ms`, `12s`, `1m30s`, `2h5m`.
pub fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros == 0 {
        return "0s".into();
    }
    if micros < 1_000 {
        return format!("{micros}us");
    }
    if micros < 1_000_000 {
        return format!("{}ms", trim_decimal(micros as f64 / 1e3, 2));
    }
    if micros < 60_000_000 {
        return format!("{}s", trim_decimal(micros as f64 / 1e6, 2));
    }
    let total = (micros + 500_000) / 1_000_000;
    let (days, hours, minutes, seconds) = (total / 86_400, total / 3600 % 24, total / 60 % 60, total % 60);
    let mut text = String::new();
    for (value, unit) in [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")] {
        if value > 0 {
            text.push_str(&format!("{value}{unit}"));
        }
    }
    text
}

/// A number with at most `digits` decimals and no trailing zeros.
pub fn trim_decimal(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Reads a share: `80%` is 0.8. A bare number is refused: nobody knows whether `1` is all or one in a hundred.
pub fn parse_percent(text: &str) -> Result<f64, UnitError> {
    let whole = text.trim();
    let (digits, unit) = split_number(whole);
    let value = number(digits, whole, "a percentage such as `80%`")?;
    match unit {
        "%" => Ok(value / 100.0),
        "" => Err(UnitError::new("missing-unit", "a share needs a unit", format!("write `{whole}%`"))),
        other => Err(UnitError::new("unknown-unit", format!("`{other}` is not a unit of a share"), format!("write `{digits}%`"))),
    }
}

/// Prints a ratio as a percentage: 0.0712 is `7.12 %`.
pub fn format_percent(ratio: f64) -> String {
    format!("{} %", trim_decimal(ratio * 100.0, 2))
}

/// Reads a size: `512MiB`, `2GiB`, `10kB`, `100B`.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let whole = text.trim();
    let (digits, unit) = split_number(whole);
    let value = number(digits, whole, "a size such as `2GiB`")?;
    let factor = match unit {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        "" => return Err(UnitError::new("missing-unit", "a size needs a unit", format!("write `{whole}MiB` or `{whole}GiB`"))),
        other => {
            return Err(UnitError::new("unknown-unit", format!("`{other}` is not a unit of size"), "use B, kB, MB, GB, KiB, MiB or GiB"));
        }
    };
    Ok((value * factor).round() as u64)
}

/// Prints a size in binary units: `1.5 GiB`.
pub fn format_bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            // Three figures or four: what is near 1 would lose what tells it from its neighbours.
            let decimals = if unit == "B" { 0 } else { 1 + usize::from(value.abs() < 9.995) };
            return format!("{} {unit}", trim_decimal(value, decimals));
        }
        value /= 1024.0;
    }
    format!("{} TiB", trim_decimal(value, 2))
}

/// How often: `count` events in `per`. Kept as two numbers so that start times are exact.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Events in one `per`.
    pub count: f64,
    /// The span that `count` speaks of.
    #[serde(with = "duration_micros")]
    pub per: Duration,
}

impl Rate {
    /// `count` events a second.
    pub fn per_second(count: f64) -> Self {
        Self { count, per: Duration::from_secs(1) }
    }

    /// Events per second.
    pub fn as_per_second(self) -> f64 {
        self.count / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_millis() {
            1_000 => "s".to_owned(),
            60_000 => "min".to_owned(),
            3_600_000 => "h".to_owned(),
            _ => format_duration(self.per),
        };
        write!(f, "{}/{unit}", trim_decimal(self.count, 3))
    }
}

/// Reads a rate: `50/s`, `200/min`, `3/h`, `5/250ms`.
pub fn parse_rate(text: &str) -> Result<Rate, UnitError> {
    let whole = text.trim();
    let Some((count, per)) = whole.split_once('/') else {
        let bare = whole.parse::<f64>().is_ok();
        let hint = if bare { format!("write `{whole}/s` or `{whole}/min`") } else { "write a rate such as `50/s`".into() };
        let message = if bare { "a rate needs a unit".to_owned() } else { format!("`{whole}` is not a rate") };
        return Err(UnitError::new(if bare { "missing-unit" } else { "not-a-number" }, message, hint));
    };
    let count = number(count.trim(), whole, "a rate such as `50/s`")?;
    let per = per.trim();
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) { parse_duration(per)? } else { parse_duration(&format!("1{per}"))? };
    if per.is_zero() {
        return Err(UnitError::new("out-of-range", "a rate cannot be per nothing", "write a rate such as `50/s`"));
    }
    Ok(Rate { count, per })
}

/// serde: a `Duration` as whole microseconds.
pub mod duration_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes microseconds.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    /// Reads microseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

/// serde: an optional `Duration` as whole microseconds.
pub mod opt_duration_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes microseconds or null.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration_micros::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads microseconds or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_durations() {
        for (text, micros, printed) in [
            ("250ms", 250_000, "250ms"),
            ("30s", 30_000_000, "30s"),
            ("1m30s", 90_000_000, "1m30s"),
            ("1.5h", 5_400_000_000, "1h30m"),
            ("2h 5m", 7_500_000_000, "2h5m"),
            ("700us", 700, "700us"),
            ("0", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!((duration.as_micros(), format_duration(duration).as_str()), (micros, printed), "{text}");
        }
    }

    #[test]
    fn a_bare_number_says_what_to_write() {
        assert_eq!(parse_duration("200").unwrap_err().hint, "write `200ms` or `200s`");
        assert_eq!(parse_percent("80").unwrap_err().hint, "write `80%`");
        assert_eq!(parse_bytes("2").unwrap_err().hint, "write `2MiB` or `2GiB`");
        assert_eq!(parse_rate("50").unwrap_err().hint, "write `50/s` or `50/min`");
        assert_eq!(parse_duration("3 fortnights").unwrap_err().code, "unknown-unit");
    }

    #[test]
    fn reads_sizes_shares_and_rates() {
        assert_eq!(parse_bytes("2GiB").unwrap(), 2_147_483_648);
        assert!((parse_percent("7.5%").unwrap() - 0.075).abs() < 1e-12);
        assert!((parse_rate("200/min").unwrap().as_per_second() - 200.0 / 60.0).abs() < 1e-12);
        assert_eq!(parse_rate("5/250ms").unwrap().to_string(), "5/250ms");
        assert_eq!(format_bytes(1_610_612_736.0), "1.5 GiB");
        assert_eq!(format_percent(0.0712), "7.12 %");
    }

    #[test]
    fn a_timestamp_survives_its_text() {
        let at = Timestamp::parse("2026-11-21T02:00:00.123456Z").unwrap();
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
        assert_eq!(at.to_string(), "2026-11-21T02:00:00.123Z");
    }
}

//! What keeps alerts quiet, and what is told of incidents meanwhile: matchers, silences, acknowledgements, inhibitions, windows, and the
//! threads in which messages stand. Logic is in `alert/`.

use std::fmt;
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Labels;
use super::alerting::AlertInstance;
use super::units::Timestamp;

/// How a label is compared.
#[derive(Debug, Clone)]
enum Compared {
    Equal,
    NotEqual,
    /// The pattern is matched against the whole value.
    Like(Regex),
    NotLike(Regex),
}

/// A comparison of one label, written as Prometheus does: `team=shop`, `team!=shop`, `pool=~"a|b"`, `pool!~"test.*"`. A label that is
/// absent counts as empty. Patterns match the whole value.
#[derive(Debug, Clone)]
pub struct Matcher {
    label: String,
    value: String,
    compared: Compared,
}

impl Matcher {
    /// Label `label` is `value`.
    pub fn equal(label: impl Into<String>, value: impl Into<String>) -> Self {
        Self { label: label.into(), value: value.into(), compared: Compared::Equal }
    }

    /// The value of `label` is one of these; none of them fits nothing.
    pub fn one_of<'a>(label: &str, values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let values: Vec<String> = values.map(regex::escape).collect();
        (!values.is_empty()).then(|| Self::parse(&format!("{label}=~\"{}\"", values.join("|"))).ok()).flatten()
    }

    /// Reads one matcher. `Err` says what is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let operators = ["=~", "!~", "!=", "="];
        let at = text.find(['=', '!']).ok_or_else(|| format!("`{text}` compares nothing: write `label=value`, `!=`, `=~` or `!~`"))?;
        let (label, rest) = (text[..at].trim(), &text[at..]);
        let Some(operator) = operators.into_iter().find(|operator| rest.starts_with(operator)) else {
            return Err(format!("`{text}` has no comparison: use `=`, `!=`, `=~` or `!~`"));
        };
        if label.is_empty() || !label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Err(format!("`{label}` is not the name of a label"));
        }
        let value = unquoted(rest[operator.len()..].trim())?;
        let pattern = || Regex::new(&format!("^(?:{value})$")).map_err(|_| format!("`{value}` is not a regular expression"));
        let compared = match operator {
            "=~" => Compared::Like(pattern()?),
            "!~" => Compared::NotLike(pattern()?),
            "!=" => Compared::NotEqual,
            _ => Compared::Equal,
        };
        Ok(Self { label: label.into(), value, compared })
    }

    /// Whether it fits these labels.
    pub fn fits(&self, labels: &Labels) -> bool {
        let found = labels.get(&self.label).map_or("", String::as_str);
        match &self.compared {
            Compared::Equal => found == self.value,
            Compared::NotEqual => found != self.value,
            Compared::Like(pattern) => pattern.is_match(found),
            Compared::NotLike(pattern) => !pattern.is_match(found),
        }
    }

    /// The label that is looked at.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The one value that it accepts, when there is only one.
    pub fn only_value(&self) -> Option<&str> {
        matches!(self.compared, Compared::Equal).then_some(self.value.as_str())
    }
}

/// A value without the quotes around it.
fn unquoted(text: &str) -> Result<String, String> {
    let Some(rest) = text.strip_prefix('"') else { return Ok(text.to_owned()) };
    let inner = rest.strip_suffix('"').ok_or_else(|| format!("the quote in `{text}` is not closed"))?;
    Ok(inner.replace("\\\"", "\"").replace("\\\\", "\\"))
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.compared {
            Compared::Equal => "=",
            Compared::NotEqual => "!=",
            Compared::Like(_) => "=~",
            Compared::NotLike(_) => "!~",
        };
        write!(f, "{}{operator}\"{}\"", self.label, self.value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Whether every matcher fits; without matchers everything does.
pub fn all_fit(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.fits(labels))
}

/// Matchers for people: `target="shop", pool=~"a|b"`.
pub fn show_matchers(matchers: &[Matcher]) -> String {
    matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Somebody's wish to hear nothing of some alerts for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Identity: eight letters and digits.
    pub id: String,
    /// Which alerts: all of these must fit; never empty.
    pub matchers: Vec<Matcher>,
    /// Who wants it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on.
    pub starts_at: Timestamp,
    /// Until then.
    pub ends_at: Timestamp,
    /// Who ended it early; `ends_at` is when.
    pub ended_by: Option<String>,
}

impl Silence {
    /// Whether it holds at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// Whether it can be made at `now`; `Err` says what to write instead.
    pub fn check(&self, now: Timestamp) -> Result<(), String> {
        let says = |text: &str| Err(text.to_owned());
        if self.matchers.is_empty() || all_fit(&self.matchers, &Labels::new()) {
            return says("a silence needs a matcher that names something, such as `target=shop`: this one would silence everything");
        }
        if self.ends_at <= now {
            return Err(format!(
                "a silence until {} is in the past, it is {now}: give an end in the future, such as `--for 2h`",
                self.ends_at
            ));
        }
        if self.ends_at <= self.starts_at {
            return Err(format!("a silence from {} until {} ends before it begins", self.starts_at, self.ends_at));
        }
        if self.comment.trim().is_empty() {
            return says("a silence needs a comment: say why, for those who wonder at three in the morning");
        }
        if self.author.trim().is_empty() {
            return says("a silence needs an author");
        }
        Ok(())
    }

    /// `pending`, `active` or `expired`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if now >= self.ends_at {
            "expired"
        } else if self.starts_at <= now {
            "active"
        } else {
            "pending"
        }
    }
}

/// Somebody takes care of an incident: it is not repeated any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What they say; may be empty.
    pub comment: String,
}

/// Alerts that say nothing new while others fire.
#[derive(Debug, Clone, PartialEq)]
pub struct Inhibit {
    /// Name in the configuration.
    pub name: String,
    /// Alerts that mute others while their incident is open.
    pub source: Vec<Matcher>,
    /// Alerts that are muted.
    pub target: Vec<Matcher>,
    /// Only where these labels of both are equal.
    pub equal: Vec<String>,
}

/// When a window is open.
#[derive(Debug, Clone, PartialEq)]
pub enum WindowTime {
    /// From each instant of a cron text on, for so long.
    Recurring {
        /// Five or six fields.
        cron: String,
        /// Its time zone.
        timezone: chrono_tz::Tz,
        /// How long it is open.
        duration: Duration,
    },
    /// Once.
    Once {
        /// From then on.
        from: Timestamp,
        /// Until then.
        to: Timestamp,
    },
}

/// A time in which nobody wants to be told: maintenance, or a mute timing of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct MuteWindow {
    /// Name in the configuration.
    pub name: String,
    /// When.
    pub time: WindowTime,
    /// Which alerts and schedules; none: all.
    pub matchers: Vec<Matcher>,
    /// Whether schedules stand still too.
    pub pause_schedules: bool,
}

/// One incident within a thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadMember {
    /// The incident.
    pub incident: String,
    /// The alert when the incident opened, or when it closed.
    pub instance: AlertInstance,
    /// Why it fired, or why it is over.
    pub reason: String,
    /// Its fire was written.
    pub told: bool,
    /// When it was over; told with the next message.
    pub ended_at: Option<Timestamp>,
    /// Why it is not told of at present.
    pub muted: Option<String>,
    /// Why it was muted before; said with the next message, which follows when it is no longer muted.
    #[serde(default)]
    pub owed: Option<String>,
    /// Its acknowledgement was written.
    #[serde(default)]
    pub ack_told: bool,
}

/// A row of messages to the same channels: of one incident, or of a group of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertThread {
    /// Key.
    pub id: String,
    /// What its messages stand under: the incident, or the group's own id.
    pub incident: String,
    /// Of a group: which (route and labels), to find it again.
    pub group: Option<String>,
    /// Of a group: the labels that its members share by the route's `group_by`.
    pub labels: Labels,
    /// Where its messages go.
    pub channels: Vec<String>,
    /// When its first incident opened.
    pub opened_at: Timestamp,
    /// Messages written.
    pub messages: u32,
    /// When the last one was written.
    pub last_message: Option<Timestamp>,
    /// Incidents that are open, or over and not yet told so.
    pub members: Vec<ThreadMember>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_compared_and_written() {
        let labels: Labels = [("pool", "main"), ("team", "a \"b\"")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        for (text, fits, shown) in [
            ("pool=main", true, "pool=\"main\""),
            (" pool = \"main\" ", true, "pool=\"main\""),
            ("pool!=main", false, "pool!=\"main\""),
            ("pool=~ma.*|x", true, "pool=~\"ma.*|x\""),
            ("pool=~ai", false, "pool=~\"ai\""),
            ("pool!~\"a|b\"", true, "pool!~\"a|b\""),
            ("absent=", true, "absent=\"\""),
            ("absent!=x", true, "absent!=\"x\""),
            (r#"team="a \"b\"""#, true, r#"team="a \"b\"""#),
        ] {
            let matcher = Matcher::parse(text).unwrap();
            assert_eq!(matcher.fits(&labels), fits, "{text}");
            assert_eq!(matcher.to_string(), shown, "{text}");
            assert_eq!(Matcher::parse(&matcher.to_string()).unwrap(), matcher, "{text}");
        }
        assert!(Matcher::one_of("pool", ["x", "main"].into_iter()).unwrap().fits(&labels));
        assert!(Matcher::one_of("pool", ["ma.n"].into_iter()).is_some_and(|matcher| !matcher.fits(&labels)), "values are no patterns");
        assert_eq!(Matcher::one_of("pool", std::iter::empty()), None);
    }

    #[test]
    fn what_is_no_matcher_is_refused() {
        for (text, said) in [
            ("pool", "compares nothing"),
            ("pool!main", "no comparison"),
            ("=x", "not the name"),
            ("a b=x", "not the name"),
            ("pool=\"x", "not closed"),
            ("pool=~(", "not a regular expression"),
        ] {
            let error = Matcher::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_silence_holds_from_its_start_to_its_end() {
        let at = |second: i64| Timestamp(second * 1_000_000);
        let silence = Silence {
            id: "3f9a2c1d".into(),
            matchers: vec![Matcher::equal("pool", "main")],
            author: "ann".into(),
            comment: "deploy".into(),
            created_at: at(0),
            starts_at: at(10),
            ends_at: at(20),
            ended_by: None,
        };
        let states: Vec<&str> = [9, 10, 19, 20].into_iter().map(|second| silence.state(at(second))).collect();
        assert_eq!(states, ["pending", "active", "active", "expired"]);
        let refused = |change: &dyn Fn(&mut Silence), now: i64| {
            let mut silence = silence.clone();
            change(&mut silence);
            silence.check(at(now)).unwrap_err()
        };
        assert_eq!(silence.check(at(0)), Ok(()));
        assert!(refused(&|_| (), 20).contains("is in the past"));
        assert!(refused(&|silence| silence.starts_at = at(30), 0).contains("ends before it begins"));
        assert!(refused(&|silence| silence.matchers.clear(), 0).contains("silence everything"));
        assert!(refused(&|silence| silence.matchers = vec![Matcher::parse("pool=~.*").unwrap()], 0).contains("silence everything"));
        assert!(refused(&|silence| silence.comment = " ".into(), 0).contains("needs a comment"));
        let text = serde_json::to_string(&silence).unwrap();
        assert_eq!(serde_json::from_str::<Silence>(&text).unwrap(), silence);
    }
}

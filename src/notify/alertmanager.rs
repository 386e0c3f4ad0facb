//! Alertmanager: the alerts are pushed to `/api/v2/alerts` of every peer, so that its own routes, silences and receivers go on working.
//! As Prometheus does, what is firing is told again every minute and holds for four times as long: docs/alerting.md.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value as Json, json};
use url::Url;

use super::http::{Post, place};
use super::webhook::{decode_headers, description};
use super::{ChannelSettings, Delivery, Notifier, NotifyParts};
use crate::clock::SharedClock;
use crate::model::Labels;
use crate::model::alerting::{Message, MessageAlert, MessageKind, Outgoing};
use crate::model::units::Timestamp;
use crate::registry::{Context, Decode, Kind, Named, Node, Secret, Spanned, WebUrl};

/// How long Alertmanager shows what is over already, or is a test: it tells nobody of what is over when it first hears of it.
const BRIEFLY: Duration = Duration::from_secs(5 * 60);
/// An alert holds for so many times the interval in which it is told again: three of them may be missed.
const HOLDS: u32 = 4;
/// Shortest and longest interval.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(60);

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> =
    Kind { name: "alertmanager", summary: "Alertmanager, all its peers.", decode, keys: AlertmanagerSettings::keys };

crate::settings! {
    /// Alertmanager, all its peers.
    pub struct AlertmanagerSettings titled "the Alertmanager channel" {
        /// Address of every peer, `http://alertmanager-0:9093`; never a load balancer, because peers do not pass alerts on to each other.
        urls: required Vec<Spanned<WebUrl>>,
        /// Headers to add, such as `Authorization`.
        headers: default Named<Secret>,
        /// How often it is told again what is firing; 5 s to a minute. What it is not told any more it takes for over after four times that.
        every: default Duration = Duration::from_secs(60),
        /// Whether resolves are sent too; without them Alertmanager takes an alert for over after four times `every`.
        send_resolved: default bool = true,
        /// Longest time for one attempt.
        timeout: default Duration = Duration::from_secs(10),
    }
}

/// The settings, checked.
#[derive(Clone)]
struct Alertmanager {
    /// The endpoint of each peer.
    peers: Vec<Url>,
    headers: HeaderMap,
    every: Duration,
    send_resolved: bool,
    timeout: Duration,
}

impl std::fmt::Debug for Alertmanager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&HeaderName> = self.headers.keys().collect();
        f.debug_struct("Alertmanager").field("peers", &self.places()).field("headers", &headers).finish_non_exhaustive()
    }
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    let settings = AlertmanagerSettings::decode(node, cx)?;
    let headers = decode_headers(&settings.headers, cx);
    if settings.urls.is_empty() {
        let hint = "write `urls: [\"http://alertmanager:9093\"]`";
        cx.diagnostics.push("missing-value", node.span, "the Alertmanager channel has no address", hint);
        return None;
    }
    let peers: Vec<Option<Url>> = settings.urls.iter().map(|url| endpoint(url, cx)).collect();
    let every = decode_every(node, settings.every, cx);
    let (peers, headers, every) = (peers.into_iter().collect::<Option<Vec<Url>>>()?, headers?, every?);
    Some(Arc::new(Alertmanager { peers, headers, every, send_resolved: settings.send_resolved, timeout: settings.timeout }))
}

fn decode_every(node: &Node, every: Duration, cx: &mut Context<'_>) -> Option<Duration> {
    if INTERVALS.contains(&every) {
        return Some(every);
    }
    let span = node.get("every").map_or(node.span, |every| every.span);
    cx.diagnostics.push("out-of-range", span, "Alertmanager is told again every 5 seconds to every minute", "write `1m`");
    None
}

/// Where a peer takes alerts: below its own path, if it has one.
fn endpoint(base: &Spanned<WebUrl>, cx: &mut Context<'_>) -> Option<Url> {
    let mut url = base.value.0.clone();
    if url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none() {
        let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        return Some(url);
    }
    let hint = "write `http://alertmanager:9093`; a login belongs into `headers`, as `Authorization`";
    cx.diagnostics.push("bad-url", base.span, "the address of an Alertmanager has neither user nor query", hint);
    None
}

impl Alertmanager {
    fn places(&self) -> String {
        self.peers.iter().map(place).collect::<Vec<_>>().join(", ")
    }
}

impl ChannelSettings for Alertmanager {
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        Ok(Arc::new(AlertmanagerNotifier { settings: self.clone(), client: parts.http.clone(), clock: parts.clock.clone() }))
    }

    fn takes_digests(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("Alertmanager at {}", self.places())
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn tell_again(&self) -> Option<Duration> {
        Some(self.every)
    }
}

struct AlertmanagerNotifier {
    settings: Alertmanager,
    client: reqwest::Client,
    clock: SharedClock,
}

#[async_trait]
impl Notifier for AlertmanagerNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        if outgoing.message.kind == MessageKind::Digest {
            return Delivery::GiveUp { class: "client_error", reason: "Alertmanager takes alerts, and a digest is none".into() };
        }
        let now = self.clock.now();
        let body = Json::from(payload(&outgoing.message, now, self.settings.every * HOLDS)).to_string().into_bytes();
        let mut headers = self.settings.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let timeout = self.settings.timeout;
        let posts = self.settings.peers.iter().map(|url| {
            let secrets = self.settings.headers.values().filter_map(|value| value.to_str().ok()).collect();
            let post = Post { client: &self.client, url, headers: headers.clone(), body: body.clone(), timeout, secrets };
            post.send("Alertmanager", now)
        });
        together(join_all(posts).await)
    }
}

/// What became of it at all peers. One that took it is enough: a peer that is gone must not hold back the resolve for the others, and
/// the next message about the incident tells it again.
fn together(results: Vec<Delivery>) -> Delivery {
    let (mut took, mut missed) = (Vec::new(), Vec::new());
    let mut verdict = None;
    for result in results {
        match &result {
            Delivery::Delivered(place) => took.push(place.clone()),
            Delivery::Retry { reason, after, .. } => {
                missed.push(reason.clone());
                let longest = matches!(&verdict, Some(Delivery::Retry { after: other, .. }) if other >= after);
                if !longest {
                    verdict = Some(result);
                }
            }
            Delivery::GiveUp { reason, .. } => {
                missed.push(reason.clone());
                verdict = verdict.or(Some(result));
            }
        }
    }
    let missed = missed.join("; ");
    if !took.is_empty() {
        let but = if missed.is_empty() { String::new() } else { format!("; but {missed}") };
        return Delivery::Delivered(format!("{}{but}", took.join(", ")));
    }
    match verdict {
        Some(Delivery::Retry { class, after, .. }) => Delivery::Retry { class, reason: missed, after },
        Some(Delivery::GiveUp { class, .. }) => Delivery::GiveUp { class, reason: missed },
        Some(Delivery::Delivered(_)) | None => {
            Delivery::GiveUp { class: "client_error", reason: "there is no Alertmanager to tell".into() }
        }
    }
}

/// The alerts of a message: one, or those of a group.
fn payload(message: &Message, now: Timestamp, hold: Duration) -> Vec<Json> {
    if message.alerts.is_empty() {
        let mut annotations = json!({
            "summary": message.headline,
            "description": description(message),
            "incident": message.incident,
        });
        if let Some(runbook) = &message.runbook {
            annotations["runbook_url"] = runbook.as_str().into();
        }
        let ends_at = ends_at(message.kind, message.ended_at, now, hold);
        return vec![alert(&message.labels, &annotations, (message.started_at, ends_at), message.link.as_deref())];
    }
    let one = |member: &MessageAlert| {
        let annotations = json!({"summary": member.subject, "description": member.said, "incident": member.incident});
        // An alert of a group that opened and closed before anybody was told is held briefly as well.
        let ends_at = ends_at(member.kind, member.ended_at, now, hold);
        alert(&member.labels, &annotations, (member.started_at, ends_at), member.link.as_deref())
    };
    message.alerts.iter().map(one).collect()
}

fn alert(labels: &Labels, annotations: &Json, (start, end): (Timestamp, Timestamp), link: Option<&str>) -> Json {
    let labels: serde_json::Map<String, Json> =
        labels.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (label(name), value.as_str().into())).collect();
    json!({
        "labels": labels,
        "annotations": annotations,
        "startsAt": start.to_string(),
        "endsAt": end.to_string(),
        "generatorURL": link.filter(|link| Url::parse(link).is_ok()).unwrap_or_default(),
    })
}

/// Until when Alertmanager takes an alert for firing.
fn ends_at(kind: MessageKind, ended_at: Option<Timestamp>, now: Timestamp, hold: Duration) -> Timestamp {
    match kind {
        // The true end. Without one, it is over now.
        MessageKind::Resolved => ended_at.unwrap_or(now),
        MessageKind::FiredAndResolved | MessageKind::Digest | MessageKind::Test => now.plus(BRIEFLY),
        MessageKind::Fired | MessageKind::Reminder | MessageKind::Acknowledged | MessageKind::Changed => {
            ended_at.unwrap_or_else(|| now.plus(hold))
        }
    }
}

/// A label's name as every version of Alertmanager takes it: letters, digits and `_`, no digit first.
fn label(name: &str) -> String {
    let mut label: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;

    const HOLD: Duration = Duration::from_secs(3600);

    fn now() -> Timestamp {
        Timestamp::parse("2026-11-21T03:00:00Z").unwrap()
    }

    #[test]
    fn the_alerts_of_every_kind() {
        insta::assert_json_snapshot!("alertmanager_fired", payload(&sample(MessageKind::Fired).message, now(), HOLD));
        for (kind, end) in [
            (MessageKind::Fired, "2026-11-21T04:00:00.000Z"),
            (MessageKind::Reminder, "2026-11-21T04:00:00.000Z"),
            (MessageKind::Acknowledged, "2026-11-21T04:00:00.000Z"),
            (MessageKind::Changed, "2026-11-21T04:00:00.000Z"),
            (MessageKind::Resolved, "2026-11-21T02:06:24.000Z"),
            (MessageKind::FiredAndResolved, "2026-11-21T03:05:00.000Z"),
            (MessageKind::Test, "2026-11-21T03:05:00.000Z"),
        ] {
            let message = sample(kind).message;
            let alerts = payload(&message, now(), HOLD);
            assert_eq!((alerts.len(), alerts[0]["endsAt"].as_str()), (1, Some(end)), "{kind}");
            assert_eq!(alerts[0]["labels"], payload(&sample(MessageKind::Fired).message, now(), HOLD)[0]["labels"], "the identity");
        }
    }

    #[test]
    fn each_alert_of_a_group_stands_for_itself() {
        let mut message = sample(MessageKind::Changed).message;
        let member = |kind: MessageKind, pool: &str| {
            let one = sample(kind).message;
            MessageAlert {
                incident: format!("i-{pool}"),
                kind,
                rule: one.rule,
                severity: one.severity,
                subject: one.subject,
                said: one.headline,
                labels: [("alertname".to_owned(), "full".to_owned()), ("pool".to_owned(), pool.to_owned())].into(),
                started_at: one.started_at,
                ended_at: one.ended_at,
                link: None,
                run: None,
            }
        };
        message.alerts = vec![member(MessageKind::Resolved, "a"), member(MessageKind::Reminder, "b")];
        let ends: Vec<(Json, Json)> =
            payload(&message, now(), HOLD).into_iter().map(|alert| (alert["labels"]["pool"].clone(), alert["endsAt"].clone())).collect();
        let expected = [(json!("a"), json!("2026-11-21T02:06:24.000Z")), (json!("b"), json!("2026-11-21T04:00:00.000Z"))];
        assert_eq!(ends, expected);
    }

    #[test]
    fn labels_have_names_that_every_version_takes() {
        for (name, expected) in [("team", "team"), ("cost-centre", "cost_centre"), ("2nd", "_2nd"), ("größe", "gr__e")] {
            assert_eq!(label(name), expected);
        }
    }

    #[test]
    fn one_peer_that_took_it_is_enough() {
        let took = || Delivery::Delivered("a".into());
        let later = |seconds: u64| Delivery::Retry { class: "rate_limited", reason: "b".into(), after: Some(Duration::from_secs(seconds)) };
        let never = || Delivery::GiveUp { class: "client_error", reason: "c".into() };
        for (results, expected) in [
            (vec![took(), took()], Delivery::Delivered("a, a".into())),
            (vec![later(1), took(), never()], Delivery::Delivered("a; but b; c".into())),
            (
                vec![never(), later(1)],
                Delivery::Retry { class: "rate_limited", reason: "c; b".into(), after: Some(Duration::from_secs(1)) },
            ),
            (
                vec![later(7), later(1), never()],
                Delivery::Retry { class: "rate_limited", reason: "b; b; c".into(), after: Some(Duration::from_secs(7)) },
            ),
            (vec![never()], never()),
        ] {
            assert_eq!(together(results), expected);
        }
    }
}

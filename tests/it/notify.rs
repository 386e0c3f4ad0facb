//! Channels against real servers: an SMTP server that demands STARTTLS and login, an HTTP endpoint, and Alertmanager; payloads are
//! judged by the receivers' own libraries.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

mod chart;
mod slack;
mod words;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use plimsoll::alert::{Alerts, Channel, Policy, outgoing, test_message};
use plimsoll::clock::{Clock, SystemClock};
use plimsoll::model::alerting::{MessageKind, NoData, Outgoing, Rule, Severity};
use plimsoll::model::series::Point;
use plimsoll::model::threshold::parse_condition;
use plimsoll::model::units::Timestamp;
use plimsoll::notify::{ChannelSettings, Delivery, KINDS, Notifier, NotifyParts, check_timeout};
use plimsoll::registry::{Context, Entry, Node, Span, Surroundings, Value, decode_kind};
use serde_json::{Value as Json, json};

use crate::servers::hook::HookSink;
use crate::servers::smtp::{PASSWORD, SmtpSink, USER};
use crate::servers::{Child, closed_port, free_port, program, python, temp_dir, wait_for_port};

struct Files;

impl Surroundings for Files {
    fn read_secret_file(&self, path: &str) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|error| error.to_string())
    }
    fn resolve_path(&self, path: &str) -> String {
        path.into()
    }
}

fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Number(number.as_f64().unwrap(), number.to_string()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(map) => {
            Value::Map(map.iter().map(|(key, value)| Entry { key: key.clone(), span: Span::default(), node: node(value) }).collect())
        }
    };
    Node { span: Span::default(), value }
}

/// The channel that a configuration means, or the codes of its mistakes.
fn settings(json: &Json) -> Result<Arc<dyn ChannelSettings>, Vec<&'static str>> {
    let mut cx = Context::new(&Files);
    let found = decode_kind(&node(json), "channel", KINDS, &mut cx);
    check_timeout(&node(json), &mut cx);
    let codes: Vec<&str> = cx.diagnostics.0.iter().map(|mistake| mistake.code).collect();
    found.map(|(_, settings)| settings).filter(|_| codes.is_empty()).ok_or(codes)
}

fn parts(data_dir: &Path) -> NotifyParts {
    // Somebody else in this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    NotifyParts { http, clock: Arc::new(SystemClock), hostname: "plimsoll.test".into(), data_dir: data_dir.into() }
}

/// The channel, with more patience than its default where the test does not say.
fn channel(json: &Json) -> Arc<dyn Notifier> {
    let mut json = json.clone();
    if json.get("timeout").is_none() && json["type"] != "email" {
        json["timeout"] = "55s".into();
    }
    settings(&json).unwrap().connect(&parts(Path::new("/nowhere"))).unwrap()
}

fn mail_to(sink: &SmtpSink, to: &[&str], smtp: &Json) -> Arc<dyn Notifier> {
    let mut all = json!({
        "host": "127.0.0.1", "port": sink.port, "user": USER, "password": PASSWORD,
        "ca_file": sink.ca_file().display().to_string(), "timeout": "30s",
    });
    for (key, value) in smtp.as_object().unwrap() {
        all[key] = value.clone();
    }
    channel(&json!({"type": "email", "to": to, "smtp": all}))
}

/// A fire and its resolve, as alerting writes them for the channel `ops`.
fn incident() -> [Outgoing; 2] {
    let rule = Rule {
        name: "pool-nearly-full".into(),
        when: parse_condition("pool_utilization: max > 80%").unwrap(),
        recover: None,
        severity: Severity::High,
        runbook: Some("https://wiki.example.org/pools".into()),
        labels: [("team".to_owned(), "shop & <co>".to_owned())].into(),
        keep_firing_for: Duration::ZERO,
        no_data: NoData::Keep,
        no_data_after: Duration::from_secs(60),
    };
    let channels = vec![Channel { name: "ops".into(), send_resolved: true }];
    let mut alerts = Alerts::new(vec![rule], Vec::new(), Policy { channels, ..Policy::default() });
    let mut now = SystemClock.now();
    let mut rows = Vec::new();
    for value in [1.0, 0.2] {
        now = now.plus(Duration::from_secs(12));
        alerts.observe_points("shöp", &[Point::new("pool_utilization", value).with("pool", "main").with("probe", "app")], now);
        rows.extend(outgoing(&alerts.judge(now), now, &|_| Some("http://127.0.0.1:9611/runs/r1?a=1&b=2".into())));
    }
    rows.try_into().unwrap()
}

fn class(delivery: &Delivery) -> &'static str {
    match delivery {
        Delivery::Delivered(_) => "delivered",
        Delivery::Retry { class, .. } | Delivery::GiveUp { class, .. } => class,
    }
}

#[track_caller]
fn assert_retry(delivery: &Delivery, expected: &str, says: &str) {
    let Delivery::Retry { class, reason, .. } = delivery else { panic!("{delivery:?}") };
    assert_eq!(*class, expected, "{reason}");
    assert!(reason.contains(says), "{reason}");
}

#[track_caller]
fn assert_gives_up(delivery: &Delivery, expected: &str, says: &str) {
    let Delivery::GiveUp { class, reason } = delivery else { panic!("{delivery:?}") };
    assert_eq!(*class, expected, "{reason}");
    assert!(reason.contains(says), "{reason}");
}

#[tokio::test]
async fn a_fire_and_its_resolve_arrive_as_one_thread_over_starttls_with_login() {
    let sink = SmtpSink::start(&[]).await;
    let mail = mail_to(&sink, &["ops@example.org"], &json!({}));
    let [fire, resolve] = incident();
    let delivered = mail.send(&fire).await;
    assert_eq!(delivered, Delivery::Delivered(format!("mail to ops@example.org via 127.0.0.1:{}", sink.port)));
    assert_eq!(class(&mail.send(&resolve).await), "delivered");
    let [fired, resolved]: [Json; 2] = sink.wait_for(2).await.try_into().unwrap();
    for mail in [&fired, &resolved] {
        assert_eq!((&mail["tls"], &mail["user"], &mail["defects"]), (&json!(true), &json!(USER), &json!([])));
        let kinds: Vec<&String> = mail["parts"].as_object().unwrap().keys().collect();
        assert_eq!(kinds, ["text/plain", "text/html"]);
        assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");
    }
    let header = |mail: &Json, name: &str| mail["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(header(&fired, "Message-ID"), format!("<{}@plimsoll.test>", fire.id));
    assert_eq!(header(&fired, "In-Reply-To"), "");
    assert_eq!(header(&resolved, "In-Reply-To"), header(&fired, "Message-ID"));
    assert_eq!(header(&resolved, "References"), header(&fired, "Message-ID"));
    assert_eq!(header(&fired, "Subject"), "pool-nearly-full: pool `main` of shöp (probe app)");
    assert_eq!(header(&resolved, "Subject"), format!("Re: {}", header(&fired, "Subject")));
    assert_eq!((header(&fired, "X-Plimsoll-State"), header(&resolved, "X-Plimsoll-State")), ("firing".into(), "resolved".into()));
    let first_line = |mail: &Json| mail["parts"]["text/plain"].as_str().unwrap().lines().next().unwrap().to_owned();
    assert_eq!(first_line(&fired), "Fired: pool `main` of shöp at 100 %");
    assert_eq!(first_line(&resolved), "Resolved after 12s: pool `main` of shöp at 20 %");
}

#[tokio::test]
async fn other_ways_to_log_in_and_encrypt() {
    for (options, smtp) in [(&["--only-login"][..], json!({})), (&["--implicit-tls"], json!({"tls": "tls"}))] {
        let sink = SmtpSink::start(options).await;
        let delivered = mail_to(&sink, &["ops@example.org"], &smtp).send(&incident()[0]).await;
        assert_eq!(class(&delivered), "delivered", "{options:?} {delivered:?}");
        assert_eq!((sink.mails()[0]["tls"].clone(), sink.mails()[0]["user"].clone()), (json!(true), json!(USER)));
    }
    let sink = SmtpSink::start(&["--plain"]).await;
    let smtp = json!({"host": "127.0.0.1", "port": sink.port, "tls": "none"});
    let plain = channel(&json!({"type": "email", "to": "ops@example.org", "from": "Plimsoll <load@example.org>", "smtp": smtp}));
    assert_eq!(class(&plain.send(&incident()[0]).await), "delivered");
    assert_eq!(sink.mails()[0]["from"], "load@example.org");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_one() {
    // The authority's file is given by the sink itself.
    let sink = SmtpSink::start(&["--implicit-tls", "--client-ca"]).await;
    let without = mail_to(&sink, &["ops@example.org"], &json!({"tls": "tls"})).send(&incident()[0]).await;
    assert!(matches!(without, Delivery::Retry { class: "network", .. }), "{without:?}");
    let [cert, key] = sink.client_files().map(|path| path.display().to_string());
    let shown = json!({"tls": "tls", "cert_file": cert, "key_file": key});
    assert_eq!(class(&mail_to(&sink, &["ops@example.org"], &shown).send(&incident()[0]).await), "delivered");
    assert_eq!(sink.mails().len(), 1);
    // Not a key: said when the channel is made, without what stands in the file.
    let smtp = json!({"host": "127.0.0.1", "cert_file": cert, "key_file": sink.ca_file().display().to_string()});
    let unusable =
        settings(&json!({"type": "email", "to": "ops@example.org", "smtp": smtp})).unwrap().connect(&parts(Path::new("/nowhere")));
    assert!(unusable.is_err_and(|why| why.contains("are no certificate and private key")));
}

#[tokio::test]
async fn a_wrong_password_is_an_auth_failure_and_is_not_told() {
    let sink = SmtpSink::start(&[]).await;
    let delivery = mail_to(&sink, &["ops@example.org"], &json!({"password": "hunter2"})).send(&incident()[0]).await;
    assert_gives_up(&delivery, "auth", "refused the login");
    assert!(!format!("{delivery:?}").contains("hunter2"));
    assert!(sink.mails().is_empty());
}

#[tokio::test]
async fn without_starttls_or_under_a_strange_certificate_nothing_is_sent() {
    let sink = SmtpSink::start(&["--plain"]).await;
    let delivery = mail_to(&sink, &["ops@example.org"], &json!({})).send(&incident()[0]).await;
    assert_retry(&delivery, "network", "STARTTLS, which is required");
    let sink = SmtpSink::start(&[]).await;
    let other = SmtpSink::start(&[]).await;
    let strange = json!({"ca_file": other.ca_file().display().to_string()});
    assert_retry(&mail_to(&sink, &["ops@example.org"], &strange).send(&incident()[0]).await, "network", "certificate");
    let misnamed = json!({"server_name": "mail.example.org"});
    assert_retry(&mail_to(&sink, &["ops@example.org"], &misnamed).send(&incident()[0]).await, "network", "certificate");
    assert!(sink.mails().is_empty());
}

#[tokio::test]
async fn a_server_that_is_silent_or_gone_may_come_back() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let smtp = |port: u16, timeout: &str| json!({"host": "127.0.0.1", "port": port, "timeout": timeout});
    let port = silent.local_addr().unwrap().port();
    let mail = channel(&json!({"type": "email", "to": "ops@example.org", "smtp": smtp(port, "1s")}));
    assert_retry(&mail.send(&incident()[0]).await, "timeout", "did not take the message within 1s");
    let closed = closed_port();
    let mail = channel(&json!({"type": "email", "to": "ops@example.org", "smtp": smtp(closed.port, "50s")}));
    assert_retry(&mail.send(&incident()[0]).await, "network", "refused");
}

#[tokio::test]
async fn a_message_that_is_put_off_is_taken_later_and_one_that_is_refused_never() {
    let sink = SmtpSink::start(&["--fail-first", "1", "451 try later"]).await;
    let mail = mail_to(&sink, &["ops@example.org"], &json!({}));
    let [fire, _] = incident();
    assert_retry(&mail.send(&fire).await, "server_error", "try later");
    assert_eq!(class(&mail.send(&fire).await), "delivered");
    assert_eq!(sink.mails().len(), 1);
    let sink = SmtpSink::start(&["--fail-first", "1", "554 no such thing here"]).await;
    assert_gives_up(&mail_to(&sink, &["ops@example.org"], &json!({})).send(&fire).await, "client_error", "no such thing here");
}

#[tokio::test]
async fn one_recipient_does_not_fail_the_others() {
    let sink = SmtpSink::start(&["--refuse", "gone@example.org", "550 unknown", "--delay", "full@example.org", "452 mailbox full"]).await;
    let mail = mail_to(&sink, &["gone@example.org", "ops@example.org", "full@example.org"], &json!({}));
    let [fire, _] = incident();
    assert_retry(&mail.send(&fire).await, "server_error", "mailbox full");
    assert_eq!(sink.mails()[0]["to"], json!(["ops@example.org"]), "whoever could be reached has it at once");
    let Delivery::Delivered(detail) = mail.send(&fire).await else { panic!() };
    assert!(detail.starts_with("mail to full@example.org, ops@example.org") && detail.contains("not to gone@example.org"), "{detail}");
    assert_eq!(sink.mails()[1]["to"], json!(["full@example.org"]), "nobody gets it twice");
    let nobody = mail_to(&sink, &["gone@example.org"], &json!({}));
    assert_gives_up(&nobody.send(&fire).await, "client_error", "unknown");
}

/// Runs tests/tools/validate.py.
fn validate(arguments: &[&str], input: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/validate.py");
    let mut child = Command::new(python())
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}\n{input}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("fine"));
}

/// A message that is longer than any receiver takes.
fn long(message: &Outgoing) -> Outgoing {
    let mut long = message.clone();
    long.message.subject = "x<&>ä".repeat(100);
    long.message.lines = (0..12).map(|n| (format!("key {n}"), "value & <more> ".repeat(400))).collect();
    long
}

/// The message as one of each kind.
fn every_kind(message: &Outgoing) -> Vec<Outgoing> {
    let of_kind = |kind: &MessageKind| {
        let mut other = message.clone();
        other.message = if *kind == MessageKind::Test { test_message("ops", SystemClock.now()) } else { other.message };
        other.message.kind = *kind;
        other
    };
    MessageKind::ALL.iter().map(of_kind).collect()
}

/// Those that are about an alert. A digest is none: what takes only alerts gives it up.
async fn every_alert(notifier: &dyn Notifier, message: &Outgoing) -> Vec<Outgoing> {
    let (digests, alerts): (Vec<_>, Vec<_>) =
        every_kind(message).into_iter().partition(|message| message.message.kind == MessageKind::Digest);
    for digest in &digests {
        assert_eq!(class(&notifier.send(digest).await), "client_error");
    }
    assert_eq!(digests.len(), 1);
    alerts
}

#[tokio::test]
async fn slack_takes_every_kind_of_message() {
    let sink = HookSink::start(&[]).await;
    let slack = channel(&json!({"type": "slack", "webhook_url": sink.url("/services/T0/B0/xyz")}));
    let mut messages: Vec<Outgoing> = incident().into();
    messages.push(long(&messages[0]));
    messages.extend(every_kind(&messages[0]));
    for message in &messages {
        let delivered = slack.send(message).await;
        assert_eq!(delivered, Delivery::Delivered(format!("Slack at 127.0.0.1:{}", sink.port)));
    }
    let requests = sink.wait_for(messages.len()).await;
    for request in requests {
        assert_eq!(
            (request["path"].as_str(), request["headers"]["content-type"].as_str()),
            (Some("/services/T0/B0/xyz"), Some("application/json"))
        );
        validate(&["slack"], request["body"].as_str().unwrap());
    }
}

#[tokio::test]
async fn slack_says_whether_to_try_again_and_never_where() {
    let soon = "Fri, 31 Dec 9999 23:59:59 GMT";
    for (options, expected, says, after) in [
        (&["--fail-first", "1", "429", "--retry-after", "7"][..], ("retry", "rate_limited"), "429", Some(Duration::from_secs(7))),
        (&["--fail-first", "1", "429", "--retry-after", soon], ("retry", "rate_limited"), "429", Some(Duration::MAX)),
        (&["--fail-first", "1", "500", "--body", "rollback_error"], ("retry", "server_error"), "rollback_error", None),
        (&["--close-first", "1"], ("retry", "network"), "cannot be reached", None),
        (&["--fail-first", "1", "404", "--body", "no_service"], ("give up", "client_error"), "no_service", None),
        (
            &["--fail-first", "1", "403", "--body", "action_prohibited for /services/T0/B0/xyz"],
            ("give up", "auth"),
            "action_prohibited",
            None,
        ),
        (&["--fail-first", "1", "410", "--body", "channel_is_archived"], ("give up", "client_error"), "channel_is_archived", None),
        (&["--fail-first", "1", "400", "--body", "invalid_payload"], ("give up", "client_error"), "invalid_payload", None),
        (&["--fail-first", "1", "302"], ("give up", "client_error"), "redirects are not followed", None),
    ] {
        let sink = HookSink::start(options).await;
        let slack = channel(&json!({"type": "slack", "webhook_url": sink.url("/services/T0/B0/xyz")}));
        let delivery = slack.send(&incident()[0]).await;
        let (found, reason, wish) = match &delivery {
            Delivery::Retry { class, reason, after } => (("retry", *class), reason, *after),
            Delivery::GiveUp { class, reason } => (("give up", *class), reason, None),
            Delivery::Delivered(_) => panic!("{options:?}"),
        };
        assert_eq!(found, expected, "{reason}");
        assert!(reason.contains(says) && !reason.contains("xyz"), "{reason}");
        match after {
            Some(Duration::MAX) => assert!(wish.unwrap() > Duration::from_secs(1_000_000), "a date far away: {wish:?}"),
            after => assert_eq!(wish, after),
        }
        assert_eq!(sink.requests().len(), 1, "no attempt of its own, no redirect followed");
        assert_eq!(class(&slack.send(&incident()[0]).await), "delivered", "the next attempt succeeds");
    }
    let nobody = closed_port();
    let slack = channel(&json!({"type": "slack", "webhook_url": format!("http://127.0.0.1:{}/services/T0/B0/xyz", nobody.port)}));
    let delivery = slack.send(&incident()[0]).await;
    assert_retry(&delivery, "network", "cannot be reached");
    assert!(!format!("{delivery:?}").contains("xyz"));
}

#[tokio::test]
async fn a_webhook_is_signed_so_that_the_standard_library_accepts_it() {
    let sink = HookSink::start(&[]).await;
    let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    let hook = channel(&json!({
        "type": "webhook", "url": sink.url("/hook"), "secret": format!("{new} {old}"), "headers": {"Authorization": "Bearer hunter2"},
    }));
    for message in incident() {
        assert_eq!(class(&hook.send(&message).await), "delivered");
    }
    let requests = sink.wait_for(2).await;
    for (request, status) in requests.iter().zip(["firing", "resolved"]) {
        assert_eq!(request["headers"]["authorization"], "Bearer hunter2");
        let body: Json = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        assert_eq!((&body["version"], &body["status"], &body["alerts"][0]["status"]), (&json!("4"), &json!(status), &json!(status)));
        assert_eq!(body["plimsoll"]["id"], request["headers"]["webhook-id"]);
        for secret in [old, new] {
            validate(&["webhook", secret], &request.to_string());
        }
    }
}

#[tokio::test]
async fn pagerduty_gets_events_under_one_key_and_its_answers_are_understood() {
    let key = "hunter2hunter2hunter2hunter2hunt";
    let pager = |sink: &HookSink| channel(&json!({"type": "pagerduty", "routing_key": key, "url": sink.url("/v2/enqueue")}));
    let sink = HookSink::start(&[]).await;
    let [fire, resolve] = incident();
    let mut over = fire.clone();
    over.message.kind = MessageKind::FiredAndResolved;
    for message in [&fire, &resolve, &over] {
        assert_eq!(pager(&sink).send(message).await, Delivery::Delivered(format!("PagerDuty at 127.0.0.1:{}", sink.port)));
    }
    let bodies: Vec<Json> =
        sink.wait_for(4).await.iter().map(|request| serde_json::from_str(request["body"].as_str().unwrap()).unwrap()).collect();
    let actions: Vec<&str> = bodies.iter().map(|body| body["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve", "trigger", "resolve"]);
    assert!(bodies.iter().all(|body| body["dedup_key"] == fire.message.incident && body["routing_key"] == key));
    let mut messages = every_alert(pager(&sink).as_ref(), &fire).await;
    messages.push(long(&fire));
    for message in &messages {
        assert_eq!(class(&pager(&sink).send(message).await), "delivered");
    }
    // All are there before the last one is answered.
    for request in sink.wait_for(4 + messages.len()).await {
        validate(&["pagerduty"], request["body"].as_str().unwrap());
    }

    let sink = HookSink::start(&["--fail-first", "1", "429", "--retry-after", "7"]).await;
    let Delivery::Retry { class, after, .. } = pager(&sink).send(&fire).await else { panic!() };
    assert_eq!((class, after), ("rate_limited", Some(Duration::from_secs(7))));
    let sink = HookSink::start(&["--fail-first", "1", "503"]).await;
    assert_retry(&pager(&sink).send(&fire).await, "server_error", "503");
    let sink = HookSink::start(&["--fail-first", "1", "400", "--body", "unknown key hunter2hunter2hunter2hunter2hunt"]).await;
    let delivery = pager(&sink).send(&fire).await;
    assert_gives_up(&delivery, "client_error", "unknown key <secret>");
}

#[tokio::test]
async fn teams_gets_a_card_and_its_signature_is_not_told() {
    let path = "/workflows/hunter2/triggers/manual/paths/invoke?api-version=2016-06-01&sig=hunter2-hunter2-hunter2";
    let sink = HookSink::start(&["--fail-first", "1", "401", "--body", "sig hunter2-hunter2-hunter2 is wrong"]).await;
    let teams = channel(&json!({"type": "teams", "webhook_url": sink.url(path)}));
    let [fire, _] = incident();
    let refused = teams.send(&fire).await;
    assert_gives_up(&refused, "auth", "sig <secret> is wrong");
    assert_eq!(teams.send(&fire).await, Delivery::Delivered(format!("Teams at 127.0.0.1:{}", sink.port)));
    let request = sink.wait_for(2).await.pop().unwrap();
    let body: Json = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    let mut messages = every_kind(&fire);
    messages.push(long(&fire));
    for message in &messages {
        assert_eq!(class(&teams.send(message).await), "delivered");
    }
    let requests = sink.wait_for(2 + messages.len()).await;
    assert!(requests.iter().all(|request| request["body"].as_str().unwrap().len() < 28_000));
    for request in requests {
        validate(&["teams"], request["body"].as_str().unwrap());
    }
}

#[tokio::test]
async fn alertmanager_tells_of_what_it_is_told_to_its_own_receivers() {
    let (folder, sink, port, closed) = (temp_dir(), HookSink::start(&[]).await, free_port(), closed_port());
    let gone = closed.port;
    let file = folder.path().join("alertmanager.yml");
    let config = format!(
        "route: {{ receiver: hook, group_by: ['...'], group_wait: 1s, group_interval: 1s, repeat_interval: 1h }}\nreceivers: [{{ name: hook, webhook_configs: [{{ url: '{}' }}] }}]\n",
        sink.url("/hook")
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(program("prometheus-alertmanager"));
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=");
    let _alertmanager = Child::spawn("alertmanager", folder.path(), &mut command);
    wait_for_port("Alertmanager", port).await;
    let push = channel(&json!({"type": "alertmanager", "urls": [format!("http://127.0.0.1:{gone}"), format!("http://127.0.0.1:{port}/")]}));
    // The times that alerting wrote lie ahead, and what ends later is not over.
    let now = SystemClock.now();
    let [mut fire, mut resolve] = incident();
    for message in [&mut fire.message, &mut resolve.message] {
        message.started_at = now.minus(Duration::from_secs(60));
    }
    resolve.message.ended_at = Some(now.minus(Duration::from_secs(10)));
    let mut over = resolve.clone();
    over.message.kind = MessageKind::FiredAndResolved;
    over.message.labels.insert("team".into(), "another".into());
    let told = async |message: &Outgoing, count: usize| {
        let Delivery::Delivered(detail) = push.send(message).await else { panic!() };
        assert!(detail.starts_with(&format!("Alertmanager at 127.0.0.1:{port}; but ")) && detail.contains(&gone.to_string()), "{detail}");
        let request = sink.wait_for(count).await.pop().unwrap();
        let body: Json = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        (body["status"].as_str().unwrap().to_owned(), body["alerts"][0].clone())
    };
    let (status, alert) = told(&fire, 1).await;
    assert_eq!((status.as_str(), &alert["labels"]), ("firing", &json!(fire.message.labels)));
    assert_eq!(alert["annotations"]["summary"], fire.message.headline);
    let (status, alert) = told(&resolve, 2).await;
    let end = alert["endsAt"].as_str().and_then(Timestamp::parse);
    let milliseconds = |at: Timestamp| at.0 / 1000;
    assert_eq!((status.as_str(), end.map(milliseconds)), ("resolved", resolve.message.ended_at.map(milliseconds)), "the true end");
    let (status, alert) = told(&over, 3).await;
    assert_eq!((status.as_str(), alert["labels"]["team"].as_str()), ("firing", Some("another")), "what is over already is told of as well");

    // Its own API judges every kind, and what is far too long.
    for message in every_alert(push.as_ref(), &fire).await.iter().chain([&long(&fire)]) {
        assert_eq!(class(&push.send(message).await), "delivered", "{:?}", message.message.kind);
    }

    let nobody = channel(&json!({"type": "alertmanager", "urls": format!("http://127.0.0.1:{gone}")}));
    assert_retry(&nobody.send(&fire).await, "network", "cannot be reached");
}

#[tokio::test]
async fn a_file_mailbox_lies_in_the_data_folder() {
    let dir = temp_dir();
    let mailbox = settings(&json!({"type": "file"})).unwrap().connect(&parts(dir.path())).unwrap();
    let [fire, _] = incident();
    assert_eq!(class(&mailbox.send(&fire).await), "delivered");
    assert!(dir.path().join(format!("mailbox/{}.eml", fire.id)).is_file());
}

#[test]
fn mistakes_are_found_when_the_configuration_is_read() {
    let mail = |smtp: Json| json!({"type": "email", "to": "ops@example.org", "smtp": smtp});
    for (sentence, json, expected) in [
        ("no such kind", json!({"type": "fax"}), vec!["unknown-kind"]),
        ("no recipient", json!({"type": "email", "to": [], "smtp": {"host": "x"}}), vec!["missing-value"]),
        ("no address", json!({"type": "email", "to": ["ops"], "smtp": {"host": "x"}}), vec!["bad-address"]),
        ("a header in an address", json!({"type": "email", "to": ["a@b.org\r\nBcc: c@d.org"], "smtp": {"host": "x"}}), vec!["bad-address"]),
        ("no host", mail(json!({})), vec!["missing-key"]),
        ("half a login", mail(json!({"host": "x", "user": "u"})), vec!["missing-key"]),
        ("half a certificate", mail(json!({"host": "x", "cert_file": "c.pem"})), vec!["missing-key"]),
        ("never opportunistic", mail(json!({"host": "x", "tls": "opportunistic"})), vec!["unknown-word"]),
        ("a slack channel without its secret", json!({"type": "slack"}), vec!["missing-key"]),
        ("a secret that cannot be read", json!({"type": "slack", "webhook_url_file": "/does/not/exist"}), vec!["unreadable-secret"]),
        ("not an address", json!({"type": "slack", "webhook_url": "hooks.slack.com/x"}), vec!["bad-url"]),
        ("a secret that is no key", json!({"type": "webhook", "url": "http://x", "secret": "päss"}), vec!["bad-secret"]),
        ("a header of ours", json!({"type": "webhook", "url": "http://x", "headers": {"webhook-id": "1"}}), vec!["bad-header"]),
        ("a pager without its key", json!({"type": "pagerduty"}), vec!["missing-key"]),
        ("a key that is none", json!({"type": "pagerduty", "routing_key": "short"}), vec!["bad-secret"]),
        ("a Teams channel without its secret", json!({"type": "teams"}), vec!["missing-key"]),
        ("no Alertmanager", json!({"type": "alertmanager", "urls": []}), vec!["missing-value"]),
        ("a login in an address", json!({"type": "alertmanager", "urls": "http://u:p@x"}), vec!["bad-url"]),
        ("too seldom", json!({"type": "alertmanager", "urls": "http://x", "every": "61s"}), vec!["out-of-range"]),
        ("no program", json!({"type": "exec", "command": []}), vec!["missing-value"]),
        ("longer than a lease", json!({"type": "exec", "command": "page", "timeout": "61s"}), vec!["out-of-range"]),
        ("no time at all", json!({"type": "webhook", "url": "http://x", "timeout": "0s"}), vec!["out-of-range"]),
        ("a mail server that may take for ever", mail(json!({"host": "x", "timeout": "2m"})), vec!["out-of-range"]),
        ("no time", json!({"type": "webhook", "url": "http://x", "timeout": "soon"}), vec!["not-a-number"]),
        ("an unknown key", json!({"type": "file", "pth": "x"}), vec!["unknown-key"]),
    ] {
        assert_eq!(settings(&json).map(|_| ()).unwrap_err(), expected, "{sentence}");
    }
}

#[test]
fn what_a_channel_shows_of_itself_has_no_secret() {
    for json in [
        json!({"type": "email", "to": "ops@example.org", "smtp": {"host": "mail", "user": "u", "password": "hunter2"}}),
        json!({"type": "slack", "webhook_url": "https://hooks.slack.com/services/hunter2"}),
        json!({"type": "webhook", "url": "https://u:hunter2@x/hunter2", "secret": "aHVudGVyMg==", "headers": {"Authorization": "hunter2"}}),
        json!({"type": "pagerduty", "routing_key": "hunter2hunter2hunter2hunter2hunt"}),
        json!({"type": "teams", "webhook_url": "https://flow.example.org/hunter2?sig=hunter2"}),
        json!({"type": "alertmanager", "urls": "http://x", "headers": {"Authorization": "hunter2"}}),
        json!({"type": "exec", "command": ["page", "--key", "hunter2"]}),
    ] {
        let settings = settings(&json).unwrap();
        let shown = format!("{settings:?} {}", settings.describe());
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    }
}

//! Mail over SMTP: plain text and HTML, threaded by Message-ID and an unchanging subject, TLS required unless switched off on purpose.
//! Each recipient has a result of its own; the whole attempt is bounded in time. The only file that names lettre. Method: docs/alerting.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, Mailboxes, MultiPart, SinglePart, header};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, Identity, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::render::{Shown, one_line, state, worded_document, worded_text};
use super::template::Words;
use super::{ChannelSettings, Chart, Delivery, Extras, Notifier, NotifyParts};
use crate::choice;
use crate::model::alerting::{Message, MessageKind, Outgoing};
use crate::model::units::format_duration;
use crate::registry::{Context, Decode, FilePath, Kind, Node, Secret};

/// Messages whose recipients are remembered between attempts.
const REMEMBERED: usize = 1000;
/// How long a server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The line in the table of kinds.
pub(super) const KIND: Kind<dyn ChannelSettings> = Kind { name: "email", summary: "Mail over SMTP.", decode, keys: EmailSettings::keys };

choice! {
    /// How the connection is encrypted. There is no "if the server offers it": that could be switched off by anybody in between.
    pub enum SmtpTls {
        /// STARTTLS, required: without it nothing is sent.
        Starttls = "starttls",
        /// TLS from the first byte (SMTPS).
        Tls = "tls",
        /// Not at all: only for a relay on the same machine.
        None = "none",
    }
}

crate::settings! {
    /// Mail over SMTP.
    pub struct EmailSettings titled "the email channel" {
        /// Recipients.
        to: required Recipients,
        /// Sender; `plimsoll@` and the host's name when absent.
        from: optional MailAddress,
        /// The mail server.
        smtp: required SmtpSettings,
        /// Whether resolves are sent too.
        send_resolved: default bool = true,
    }
}

crate::settings! {
    /// A mail server.
    pub struct SmtpSettings titled "the mail server" {
        /// Host name or address.
        host: required String,
        /// Port; 587 with `starttls`, 465 with `tls`, 25 with `none` when absent.
        port: optional u16,
        /// `starttls` (required, never "if offered"), `tls` (from the first byte) or `none`.
        tls: default SmtpTls = SmtpTls::Starttls,
        /// User, when the server asks for a login.
        user: optional String,
        /// Password of the user.
        password: secret Secret,
        /// Certificates (PEM) to trust beside the public ones.
        ca_file: optional FilePath,
        /// Name that the server's certificate must have; `host` when absent.
        server_name: optional String,
        /// Certificate (PEM) to show to the server, with `key_file`.
        cert_file: optional FilePath,
        /// Private key (PEM) of `cert_file`.
        key_file: optional FilePath,
        /// Longest time for one whole attempt.
        timeout: default Duration = Duration::from_secs(30),
    }
}

/// An address such as `ops@example.org`, or `Operations <ops@example.org>`.
#[derive(Debug, Clone, PartialEq)]
pub struct MailAddress(Mailbox);

impl Decode for MailAddress {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let text = String::decode(node, cx)?;
        // Anything beyond ASCII would need SMTPUTF8 on every server on the way.
        match text.parse::<Mailbox>() {
            Ok(mailbox) if text.chars().all(|c| c.is_ascii() && !c.is_ascii_control()) => Some(Self(mailbox)),
            Ok(_) | Err(_) => {
                let hint = "write it as `ops@example.org`";
                cx.diagnostics.push("bad-address", node.span, format!("`{text}` is not a mail address"), hint);
                None
            }
        }
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({"type": "string", "pattern": "@"})
    }
}

/// At least one address.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipients(Vec<MailAddress>);

impl Decode for Recipients {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let list = Vec::<MailAddress>::decode(node, cx)?;
        if list.is_empty() {
            cx.diagnostics.push("missing-value", node.span, "a mail needs at least one recipient", "write `to: [ops@example.org]`");
            return None;
        }
        Some(Self(list))
    }

    fn schema() -> serde_json::Value {
        Vec::<MailAddress>::schema()
    }
}

impl fmt::Display for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.0.iter().map(|address| address.0.email.to_string()).collect();
        f.write_str(&list.join(", "))
    }
}

fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Arc<dyn ChannelSettings>> {
    let settings = EmailSettings::decode(node, cx)?;
    let smtp = node.get("smtp");
    let given = |key: &str| smtp.is_some_and(|smtp| smtp.get(key).is_some());
    let password = given("password") || given("password_file");
    if settings.smtp.user.is_some() != password {
        let (has, lacks) = if password { ("password", "user") } else { ("user", "password") };
        let span = smtp.map_or(node.span, |smtp| smtp.span);
        cx.diagnostics.push("missing-key", span, format!("the mail server has a `{has}` but no `{lacks}`"), format!("add `{lacks}:`"));
        return None;
    }
    if settings.smtp.cert_file.is_some() != settings.smtp.key_file.is_some() {
        let lacks = if settings.smtp.cert_file.is_some() { "key_file" } else { "cert_file" };
        let span = smtp.map_or(node.span, |smtp| smtp.span);
        cx.diagnostics.push("missing-key", span, "a client certificate and its private key go together", format!("add `{lacks}:`"));
        return None;
    }
    Some(Arc::new(settings))
}

impl SmtpSettings {
    fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        })
    }

    fn place(&self) -> String {
        format!("{}:{}", self.host, self.port())
    }

    fn tls_parameters(&self) -> Result<TlsParameters, String> {
        let name = self.server_name.clone().unwrap_or_else(|| self.host.clone());
        let mut tls = TlsParameters::builder(name);
        if let Some(FilePath(path)) = &self.ca_file {
            let pem = std::fs::read(path).map_err(|error| format!("the certificates in {path} cannot be read: {error}"))?;
            if !pem.windows(11).any(|window| window == b"-----BEGIN ") {
                return Err(format!("{path} holds no certificate in PEM form"));
            }
            let certificate = Certificate::from_pem(&pem).map_err(|error| format!("the certificates in {path} are unusable: {error}"))?;
            tls = tls.add_root_certificate(certificate);
        }
        if let (Some(FilePath(cert)), Some(FilePath(key))) = (&self.cert_file, &self.key_file) {
            let read = |path: &str| std::fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"));
            // What is wrong with a key is not told: it could be quoted.
            let unusable = format!("{cert} and {key} are no certificate and private key in PEM form");
            let shown = CertificateDer::from_pem_slice(&read(cert)?).map_err(|_| unusable.clone())?;
            // lettre takes the bytes of one certificate here, whatever the function is called.
            let identity = Identity::from_pem(&shown, &read(key)?).map_err(|_| unusable)?;
            tls = tls.identify_with(identity);
        }
        tls.build().map_err(|error| format!("TLS for the mail server cannot be set up: {error}"))
    }
}

impl ChannelSettings for EmailSettings {
    fn connect(&self, parts: &NotifyParts) -> Result<Arc<dyn Notifier>, String> {
        let hostname = domain(&parts.hostname);
        let from = match &self.from {
            Some(from) => from.0.clone(),
            None => Mailbox::new(
                Some("Plimsoll".into()),
                Address::new("plimsoll", &hostname).map_err(|_| format!("`plimsoll@{hostname}` is no address: set `from`"))?,
            ),
        };
        let tls = if self.smtp.tls == SmtpTls::None { None } else { Some(self.smtp.tls_parameters()?) };
        let login = match (&self.smtp.user, &self.smtp.password) {
            (Some(user), Some(password)) => Some(Credentials::new(user.clone(), password.expose().to_owned())),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err("the mail server's login is incomplete".into()),
        };
        // With a sender given, its domain names the messages: a container's host name changes, and a thread must not break with it.
        let hostname = self.from.as_ref().map_or(hostname, |from| domain(from.0.email.domain()));
        Ok(Arc::new(EmailNotifier { settings: self.clone(), from, hostname, tls, login, reached: Mutex::default() }))
    }

    fn describe(&self) -> String {
        format!("mail to {} via {}", self.to, self.smtp.place())
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }
}

/// The host's name as it may stand behind an `@`.
fn domain(hostname: &str) -> String {
    let name: String = hostname.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "localhost".into() } else { name.into() }
}

struct EmailNotifier {
    settings: EmailSettings,
    from: Mailbox,
    hostname: String,
    tls: Option<TlsParameters>,
    login: Option<Credentials>,
    /// Recipients that have a message already, while others are still tried.
    reached: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

#[async_trait]
impl Notifier for EmailNotifier {
    async fn send(&self, outgoing: &Outgoing) -> Delivery {
        self.send_with(outgoing, &Extras::default()).await
    }

    fn takes_charts(&self) -> bool {
        true
    }

    async fn send_with(&self, outgoing: &Outgoing, extras: &Extras) -> Delivery {
        let (place, patience) = (self.settings.smtp.place(), self.settings.smtp.timeout);
        match tokio::time::timeout(patience, self.attempt(outgoing, extras)).await {
            Ok(Ok(delivery) | Err(delivery)) => delivery,
            Err(_) => {
                let reason = format!("the mail server {place} did not take the message within {}", format_duration(patience));
                Delivery::Retry { class: "timeout", reason, after: None }
            }
        }
    }
}

impl EmailNotifier {
    async fn attempt(&self, outgoing: &Outgoing, extras: &Extras) -> Result<Delivery, Delivery> {
        let mail = compose(outgoing, (&extras.chart, &extras.words), &self.from, &self.settings.to, &self.hostname)
            .map_err(|error| Delivery::GiveUp { class: "client_error", reason: format!("the mail cannot be written: {error}") })?;
        let mut connection = self.connect().await?;
        let done = self.reached_by(&outgoing.id);
        let open = self.settings.to.0.iter().map(|to| &to.0.email).filter(|to| !done.contains(&to.to_string()));
        let fail = |error| self.failure("the sender", &error);
        connection.command(Mail::new(Some(self.from.email.clone()), Vec::new())).await.map_err(fail)?;
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for to in open {
            match connection.command(Rcpt::new(to.clone(), Vec::new())).await {
                Ok(_) => taken.push(to.to_string()),
                Err(error) if error.status().is_some() => refused.push((to.to_string(), self.failure(to.as_ref(), &error))),
                Err(error) => return Err(self.failure("a recipient", &error)),
            }
        }
        if !taken.is_empty() {
            connection.command(Data).await.map_err(|error| self.failure("the message", &error))?;
            connection.message(&mail).await.map_err(|error| self.failure("the message", &error))?;
        }
        // It is delivered now, whatever becomes of the connection.
        let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
        Ok(self.outcome(&outgoing.id, done, taken, refused))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Delivery> {
        let smtp = &self.settings.smtp;
        let hello = ClientId::Domain(self.hostname.clone());
        let wrapped = if smtp.tls == SmtpTls::Tls { self.tls.clone() } else { None };
        let address = (smtp.host.as_str(), smtp.port());
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, None, &hello, wrapped, None)
            .await
            .map_err(|error| self.failure("the connection", &error))?;
        if let (SmtpTls::Starttls, Some(tls)) = (smtp.tls, &self.tls) {
            connection.starttls(tls.clone(), &hello).await.map_err(|error| self.failure("STARTTLS, which is required", &error))?;
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(|error| self.refused_login(&error))?;
        }
        Ok(connection)
    }

    /// What an error during `what` means: 4xx and everything on the way may pass, 5xx will not.
    fn failure(&self, what: &str, error: &lettre::transport::smtp::Error) -> Delivery {
        let reason = format!("the mail server {} refused {what}: {}", self.settings.smtp.place(), one_line(&error.to_string()));
        if error.is_permanent() {
            return Delivery::GiveUp { class: "client_error", reason };
        }
        if error.is_transient() {
            return Delivery::Retry { class: "server_error", reason, after: None };
        }
        let reason = format!("the mail server {} failed at {what}: {}", self.settings.smtp.place(), one_line(&error.to_string()));
        Delivery::Retry { class: if error.is_timeout() { "timeout" } else { "network" }, reason, after: None }
    }

    fn refused_login(&self, error: &lettre::transport::smtp::Error) -> Delivery {
        match self.failure("the login", error) {
            Delivery::GiveUp { reason, .. } => Delivery::GiveUp { class: "auth", reason },
            Delivery::Retry { reason, after, .. } if error.is_transient() || error.is_client() => {
                Delivery::Retry { class: "auth", reason, after }
            }
            other @ (Delivery::Delivered(_) | Delivery::Retry { .. }) => other,
        }
    }

    /// The result over all recipients: those that may still work are tried again, alone.
    fn outcome(&self, id: &str, mut done: BTreeSet<String>, taken: Vec<String>, refused: Vec<(String, Delivery)>) -> Delivery {
        done.extend(taken);
        let again = refused.iter().find(|(_, delivery)| matches!(delivery, Delivery::Retry { .. }));
        if let Some((_, delivery)) = again {
            self.remember(id, done);
            return delivery.clone();
        }
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if done.is_empty() {
            return refused
                .into_iter()
                .next()
                .map_or_else(|| Delivery::GiveUp { class: "client_error", reason: "nobody to send to".into() }, |(_, delivery)| delivery);
        }
        let list: Vec<String> = done.into_iter().collect();
        let lost: Vec<String> = refused
            .into_iter()
            .map(|(to, delivery)| match delivery {
                Delivery::GiveUp { reason, .. } | Delivery::Retry { reason, .. } => format!("; not to {to}: {reason}"),
                Delivery::Delivered(_) => String::new(),
            })
            .collect();
        Delivery::Delivered(format!("mail to {} via {}{}", list.join(", "), self.settings.smtp.place(), lost.concat()))
    }

    /// Who has the message already.
    fn reached_by(&self, id: &str) -> BTreeSet<String> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }

    fn remember(&self, id: &str, done: BTreeSet<String>) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        while reached.len() >= REMEMBERED {
            // Ids begin with the time of their incident: the first is the oldest.
            reached.pop_first();
        }
        reached.insert(id.to_owned(), done);
    }
}

/// The mail as bytes, the same in every attempt that has the same chart.
fn compose(
    outgoing: &Outgoing,
    (chart, words): (&Chart, &Words),
    from: &Mailbox,
    to: &Recipients,
    hostname: &str,
) -> Result<Vec<u8>, lettre::error::Error> {
    let message = &outgoing.message;
    let follows = message.seq > 1 && !matches!(message.kind, MessageKind::Digest | MessageKind::Test | MessageKind::FiredAndResolved);
    let subject = one_line(&message.subject);
    let mut builder = lettre::Message::builder()
        .header(header::Date::new(message.at.to_utc().into()))
        .from(from.clone())
        .mailbox(header::To::from(to.0.iter().map(|address| address.0.clone()).collect::<Mailboxes>()))
        .subject(if follows { format!("Re: {subject}") } else { subject })
        .message_id(Some(message_id(&outgoing.id, hostname)));
    if follows {
        let fire = message_id(&format!("{}-1-{}", message.incident, outgoing.channel), hostname);
        builder = builder.in_reply_to(fire.clone()).references(fire);
    }
    for (name, value) in headers(message, hostname) {
        builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), one_line(&value)));
    }
    Ok(builder.multipart(body(outgoing, (chart, words), hostname))?.formatted())
}

/// Plain text, and HTML with the chart beside it: RFC 2046 (5.1.4), RFC 2387, and RFC 2392 for the `cid:` by which one names the other.
fn body(outgoing: &Outgoing, (chart, words): (&Chart, &Words), hostname: &str) -> MultiPart {
    let message = &outgoing.message;
    let part = |content_type, content: String| {
        let encoding = header::ContentTransferEncoding::QuotedPrintable;
        let body = Body::new_with_encoding(content, encoding).unwrap_or_else(Body::new);
        SinglePart::builder().header(content_type).body(body)
    };
    // Boundaries of our own keep the bytes the same in every attempt.
    let id: String = safe(&outgoing.id).chars().take(50).collect();
    let missing = if let Chart::Missing(why) = chart { Some(why.as_str()) } else { None };
    let parts = MultiPart::alternative().boundary(format!("plimsoll-{id}"));
    let parts = parts.singlepart(part(header::ContentType::TEXT_PLAIN, worded_text(message, words, missing)));
    let Chart::Drawn(image) = chart else {
        let shown = missing.map_or(Shown::Nothing, Shown::Missing);
        return parts.singlepart(part(header::ContentType::TEXT_HTML, worded_document(message, words, &shown)));
    };
    let name = format!("chart-{}@{hostname}", safe(&outgoing.id));
    let html = worded_document(message, words, &Shown::Image { source: &format!("cid:{name}"), alt: &image.alt });
    let picture = Attachment::new_inline_with_name(name, "chart.png".into());
    let related = MultiPart::related().boundary(format!("plimsoll-chart-{id}"));
    let related = related.singlepart(part(header::ContentType::TEXT_HTML, html));
    let picture = picture.body(image.png.clone(), header::ContentType::parse("image/png").unwrap_or(header::ContentType::TEXT_PLAIN));
    parts.multipart(related.singlepart(picture))
}

/// Headers that say what this is to machines.
fn headers(message: &Message, hostname: &str) -> [(&'static str, String); 6] {
    [
        ("List-Id", format!("<alerts.plimsoll.{hostname}>")),
        ("Auto-Submitted", "auto-generated".into()),
        ("X-Auto-Response-Suppress", "All".into()),
        ("X-Plimsoll-State", state(message.kind).into()),
        ("X-Plimsoll-Incident", safe(&message.incident)),
        ("X-Plimsoll-Severity", message.severity.as_str().into()),
    ]
}

/// `<id@host>`.
fn message_id(id: &str, hostname: &str) -> String {
    format!("<{}@{hostname}>", safe(id))
}

/// The text with everything but letters, digits, dot and dash replaced: fit for a Message-ID.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' }).collect()
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;

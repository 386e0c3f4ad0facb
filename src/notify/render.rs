//! A message as plain text and as HTML, for channels that carry documents. Every value is escaped; styles are inline, because mail
//! programs drop the rest. Slack and webhooks render for themselves.

use maud::{DOCTYPE, html};

use super::template::Words;
use crate::model::alerting::{Message, MessageKind, Severity};

/// `firing`, `resolved`, `digest` or `test`: the state that a message leaves its incident in.
pub(super) fn state(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Fired | MessageKind::Reminder | MessageKind::Acknowledged | MessageKind::Changed => "firing",
        MessageKind::Resolved | MessageKind::FiredAndResolved => "resolved",
        MessageKind::Digest => "digest",
        MessageKind::Test => "test",
    }
}

/// Red for what is bad, yellow for what can wait, green for what is over, blue for tests.
pub(super) fn colour(message: &Message) -> &'static str {
    match (state(message.kind), message.severity) {
        ("resolved", _) => "#2eb886",
        ("test" | "digest", _) => "#439fe0",
        (_, Severity::Low | Severity::Medium) => "#ecb22e",
        (_, Severity::High | Severity::Critical) => "#e01e5a",
    }
}

/// Lines and links of a message, ten at most.
pub(super) fn facts(message: &Message) -> Vec<(&str, &str)> {
    let lines = message.lines.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let links = [("Page", message.link.as_deref()), ("Runbook", message.runbook.as_deref())];
    lines.take(10).chain(links.into_iter().filter_map(|(key, url)| url.map(|url| (key, url)))).collect()
}

/// What a document shows beside the words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shown<'a> {
    /// Nothing.
    Nothing,
    /// A chart, by its address.
    Image { source: &'a str, alt: &'a str },
    /// No chart, and why.
    Missing(&'a str),
}

/// The message as plain text; its first line has the state. `missing`: why its chart could not be drawn.
pub(super) fn text(message: &Message, missing: Option<&str>) -> String {
    let facts = facts(message);
    let width = facts.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0) + 1;
    let mut text = format!("{}\n\n", one_line(&message.headline));
    for (key, value) in facts {
        text.push_str(&format!("{:<width$} {}\n", format!("{key}:"), one_line(value)));
    }
    if let Some(why) = missing {
        text.push_str(&format!("\nThere is no chart: {}\n", one_line(why)));
    }
    text.push_str(&signature(message));
    text
}

/// The message in words of its own, as plain text.
pub(super) fn worded_text(message: &Message, words: &Words, missing: Option<&str>) -> String {
    let Some(own) = &words.text else { return text(message, missing) };
    let missing = missing.map(|why| format!("\n\nThere is no chart: {}", one_line(why))).unwrap_or_default();
    format!("{}\n\n{own}{missing}\n{}", one_line(&message.headline), signature(message))
}

/// The same as an HTML document. Into HTML of the user's own the chart is put at its end.
pub(super) fn worded_document(message: &Message, words: &Words, shown: &Shown<'_>) -> String {
    let Some(own) = &words.html else { return page(message, words.text.as_deref(), shown) };
    let beside = picture(shown).into_string();
    match own.rfind("</body>") {
        Some(end) => format!("{}{beside}{}", &own[..end], &own[end..]),
        None => format!("{own}{beside}"),
    }
}

fn signature(message: &Message) -> String {
    format!("\n-- \nPlimsoll, incident {}, message {}\n", message.incident, message.seq)
}

fn picture(shown: &Shown<'_>) -> maud::Markup {
    html! {
        @match shown {
            Shown::Nothing => {}
            Shown::Image { source, alt } => {
                img src=(source) alt=(alt) width="600" style="display:block;width:100%;max-width:600px;height:auto;margin:14px 0 0;border:0";
            }
            Shown::Missing(why) => {
                p style="margin:12px 0 0;color:#616061" { "There is no chart: " (why) }
            }
        }
    }
}

/// The document; `own`: text in the place of the lines.
fn page(message: &Message, own: Option<&str>, shown: &Shown<'_>) -> String {
    let state = state(message.kind);
    let bar = format!("border-left:6px solid {};padding:12px 16px", colour(message));
    let badge = format!(
        "display:inline-block;background:{};color:#ffffff;border-radius:3px;padding:2px 8px;font-size:12px;font-weight:bold",
        colour(message)
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (message.subject) }
            }
            body style="margin:0;padding:16px;background:#f4f5f7;color:#1d1c1d;font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:14px;line-height:1.5" {
                table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:640px;margin:0 auto;background:#ffffff;border:1px solid #dfe1e6" {
                    tr { td style=(bar) {
                        div { span style=(badge) { (state.to_uppercase()) } " " span style="color:#616061" { (message.severity) } }
                        h1 style="font-size:18px;line-height:1.3;margin:8px 0 4px" { (message.subject) }
                        p style="margin:0 0 12px" { (message.headline) }
                        @if let Some(own) = own {
                            p style="margin:0;white-space:pre-wrap" { (own) }
                        } @else { table role="presentation" cellpadding="0" cellspacing="0" style="border-collapse:collapse" {
                            @for (key, value) in facts(message) {
                                tr {
                                    td style="padding:3px 16px 3px 0;color:#616061;vertical-align:top;white-space:nowrap" { (key) }
                                    td style="padding:3px 0;vertical-align:top" {
                                        @if value.starts_with("https://") || value.starts_with("http://") {
                                            a href=(value) style="color:#1264a3" { (value) }
                                        } @else { (value) }
                                    }
                                }
                            }
                        } }
                        (picture(shown))
                    } }
                }
                p style="max-width:640px;margin:8px auto 0;color:#616061;font-size:12px" {
                    "Plimsoll, incident " (message.incident) ", message " (message.seq)
                }
            }
        }
    };
    page.into_string()
}

/// The text without line breaks and other control characters.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most `limit` characters, the last one being `…` when something was cut.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
}

/// A message as it would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Subject of a mail, header of a card.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML document.
    pub html: String,
}

/// What people get, in these words.
pub fn preview(message: &Message, words: &Words) -> Preview {
    let (text, html) = (worded_text(message, words, None), worded_document(message, words, &Shown::Nothing));
    Preview { subject: one_line(&message.subject), text, html }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::alerting::{OutboxState, Outgoing};
    use crate::model::units::Timestamp;

    /// A message of every kind, as alerting writes it, with characters that need escaping.
    pub(crate) fn sample(kind: MessageKind) -> Outgoing {
        let started_at = Timestamp::parse("2026-11-21T02:03:12Z").unwrap();
        let resolved = state(kind) == "resolved";
        let at = if kind == MessageKind::Fired { started_at } else { started_at.plus(std::time::Duration::from_secs(192)) };
        let seq = if matches!(kind, MessageKind::Fired | MessageKind::Digest | MessageKind::Test) { 1 } else { 2 };
        let incident = "20261121T020312-pool-nearly-full-3f9a";
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        let message = Message {
            incident: incident.into(),
            kind,
            seq,
            severity: Severity::High,
            rule: "pool-nearly-full".into(),
            subject: "pool-nearly-full: pool `main` of shöp (probe app)".into(),
            headline: format!("{kind}: pool_utilization max 100 % > 80 % for 12s & <more>"),
            lines: pairs(&[
                ("Value", "100 %"),
                ("Limit", "> 80 % for 10s, until < 70 %"),
                ("Since", "2026-11-21 02:03:12 UTC"),
                ("Run", "r1"),
            ]),
            labels: pairs(&[("alertname", "pool-nearly-full"), ("pool", "main"), ("severity", "high"), ("target", "shöp")])
                .into_iter()
                .collect(),
            started_at,
            at,
            ended_at: resolved.then_some(at),
            link: Some("http://127.0.0.1:9611/runs/r1?a=1&b=2".into()),
            runbook: Some("https://wiki/pools".into()),
            run: None,
            alerts: Vec::new(),
        };
        Outgoing {
            id: format!("{incident}-{seq}-ops"),
            channel: "ops".into(),
            message,
            state: OutboxState::Waiting,
            attempts: 0,
            created_at: at,
            not_before: at,
            leased_until: None,
            done_at: None,
            detail: String::new(),
        }
    }

    #[test]
    fn every_kind_renders() {
        for kind in MessageKind::ALL {
            let outgoing = sample(*kind);
            assert!(text(&outgoing.message, None).starts_with(kind.as_str()));
            assert!(worded_document(&outgoing.message, &Words::default(), &Shown::Nothing).contains("&amp; &lt;more&gt;"), "{kind}");
        }
        insta::assert_snapshot!(text(&sample(MessageKind::Fired).message, None));
        insta::assert_snapshot!(
            worded_document(&sample(MessageKind::Resolved).message, &Words::default(), &Shown::Nothing).replace("><", ">\n<")
        );
    }

    #[test]
    fn a_value_cannot_break_out_of_its_line() {
        let mut message = sample(MessageKind::Fired).message;
        message.lines = vec![("Value".into(), "x\nRunbook: http://evil".into())];
        assert_eq!(text(&message, None).lines().filter(|line| line.starts_with("Runbook")).count(), 1);
    }
}

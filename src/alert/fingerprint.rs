//! Identity of an alert (rule and labels in one text) and of an incident (readable, unique). Pure text, stable across versions:
//! stored alerts and threads of mails hang on it.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::model::Labels;
use crate::model::units::Timestamp;

/// The key of an alert: `pool-nearly-full{pool="main",target="shop"}`. Severity and a rule's own labels are not part of it, so that
/// changing them keeps an open incident.
pub fn fingerprint(rule: &str, labels: &Labels) -> String {
    let mut text = rule.to_owned();
    text.push('{');
    for (index, (key, value)) in labels.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{key}=\"{value}\"");
    }
    text.push('}');
    text
}

/// The labels in a fingerprint: what tells this alert from others of its rule.
pub fn group_labels(fingerprint: &str, rule: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = fingerprint.strip_prefix(rule).unwrap_or(fingerprint).trim_start_matches('{');
    while let Some((key, tail)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = tail.char_indices();
        let mut end = tail.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => {}
                },
                '"' => {
                    end = at + 1;
                    break;
                }
                other => value.push(other),
            }
        }
        labels.insert(key.to_owned(), value);
        rest = tail[end..].trim_start_matches(',');
    }
    labels
}

/// A new incident's id, `20261121T020312-pool-nearly-full-3f9a`: when, what, and four or more digits that tell it from those for
/// which `taken` says yes.
pub(super) fn incident_id(fingerprint: &str, rule: &str, now: Timestamp, taken: impl Fn(&str) -> bool) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(format!("{fingerprint}\n{}", now.0)) {
        let _ = write!(hex, "{byte:02x}");
    }
    let head = format!("{}-{}", now.to_utc().format("%Y%m%dT%H%M%S"), slug(rule));
    (4..=hex.len()).map(|digits| format!("{head}-{}", &hex[..digits])).find(|id| !taken(id)).unwrap_or_else(|| format!("{head}-{hex}"))
}

/// Letters, digits and dashes only, at most 40 of them: it becomes part of Message-IDs and file names.
fn slug(text: &str) -> String {
    let slug: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(40).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "alert".into() } else { slug.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn labels_survive_their_text(labels in proptest::collection::btree_map("[a-z_]{1,6}", "[ -~\n\\\\\"=,{}]{0,12}", 0..5)) {
            prop_assert_eq!(group_labels(&fingerprint("a-rule", &labels), "a-rule"), labels);
        }
    }

    #[test]
    fn an_incident_reads_as_when_and_what_and_never_twice_the_same() {
        let now = Timestamp::parse("2026-11-21T02:03:12.5Z").unwrap();
        let first = incident_id("Pool nearly full{}", "Pool nearly full", now, |_| false);
        assert!(first.starts_with("20261121T020312-pool-nearly-full-"), "{first}");
        let second = incident_id("Pool nearly full{}", "Pool nearly full", now, |id| id == first);
        assert_eq!(second.len(), first.len() + 1);
    }
}

//! What was said of failures: messages without their changing parts (numbers, ids, addresses, quoted values), so that those that say the
//! same count as one, with one example each. The number kept is bounded; what goes beyond is counted. Every failure is counted once, also
//! one of which nothing was said: its fingerprint is empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Different fingerprints of one step, reason and second that one load thread keeps.
pub const MOST_AT_ONCE: usize = 8;
/// Different fingerprints of one step and reason that are kept when seconds or threads are put together.
pub const MOST_TOGETHER: usize = 32;
/// Longest fingerprint, in characters.
const LONGEST: usize = 200;
/// Longest text between quotes that is taken for a value.
const QUOTED: usize = 120;
/// Keys of JSON whose values are what the server says.
const SPEAKING: [&str; 10] =
    ["message", "error", "error_description", "detail", "details", "title", "reason", "msg", "description", "cause"];

/// How often something was said, with an example.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, String)", into = "(u64, String)")]
pub struct Said {
    /// Failures.
    pub count: u64,
    /// The message of one of them, secrets redacted.
    pub sample: String,
}

impl From<(u64, String)> for Said {
    fn from((count, sample): (u64, String)) -> Self {
        Self { count, sample }
    }
}

impl From<Said> for (u64, String) {
    fn from(said: Said) -> Self {
        (said.count, said.sample)
    }
}

/// What was said of the failures of one step for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Messages {
    /// By fingerprint.
    pub by: BTreeMap<String, Said>,
    /// Failures that said something else than these.
    #[serde(skip_serializing_if = "is_zero")]
    pub beyond: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Messages {
    /// These examples alone; how often they were said is not known.
    pub fn example(sample: impl Into<String>) -> Self {
        let sample = sample.into();
        Self { by: [(fingerprint(&sample), Said { count: 0, sample })].into(), beyond: 0 }
    }

    /// Counts a failure.
    pub fn add(&mut self, message: Option<&str>) {
        let print = message.map(fingerprint).unwrap_or_default();
        if let Some(said) = self.by.get_mut(&print) {
            said.count += 1;
        } else if self.by.len() < MOST_AT_ONCE {
            self.by.insert(print, Said { count: 1, sample: message.unwrap_or_default().into() });
        } else {
            self.beyond += 1;
        }
    }

    /// Adds what another thread or second has counted. The counts are exact; of too many fingerprints those that were there first stay.
    pub fn merge(&mut self, other: &Self) {
        self.beyond += other.beyond;
        for (print, said) in &other.by {
            if let Some(mine) = self.by.get_mut(print) {
                mine.count += said.count;
            } else if self.by.len() < MOST_TOGETHER {
                self.by.insert(print.clone(), said.clone());
            } else {
                self.beyond += said.count;
            }
        }
    }

    /// Failures counted.
    pub fn count(&self) -> u64 {
        self.beyond + self.by.values().map(|said| said.count).sum::<u64>()
    }

    /// The example of what was said most often; `None` when nothing was said.
    pub fn most(&self) -> Option<&str> {
        let said = self.by.values().filter(|said| !said.sample.is_empty());
        // Of equals the first.
        said.rev().max_by_key(|said| said.count).map(|said| said.sample.as_str())
    }
}

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// As it is written, and the one example that earlier versions kept.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Example(String),
            Counted {
                by: BTreeMap<String, Said>,
                #[serde(default)]
                beyond: u64,
            },
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Example(sample) => Self::example(sample),
            Form::Counted { by, beyond } => Self { by, beyond },
        })
    }
}

/// The message without what changes from one failure to the next: numbers become `#`, ids `<id>`, addresses `<address>`, quoted values
/// `…`. Of JSON the keys stay, and what stands behind those that speak (`message`, `error` …); an HTTP status in front stays.
pub fn fingerprint(message: &str) -> String {
    let mut print = String::with_capacity(message.len().min(LONGEST));
    let status = message.bytes().take_while(u8::is_ascii_digit).count();
    let rest = if status == 3 && message[3..].starts_with([' ', ':']) {
        print.push_str(&message[..3]);
        &message[3..]
    } else {
        message
    };
    write_print(rest, &mut print, true);
    match print.char_indices().nth(LONGEST) {
        Some((end, _)) => print[..end].to_owned(),
        None => print,
    }
}

fn write_print(text: &str, print: &mut String, quotes: bool) {
    let mut rest = text;
    let mut key = "";
    while let Some(first) = rest.chars().next() {
        if quotes && let Some(quoted) = Quoted::at(rest, print) {
            let after = &rest[quoted.end..];
            if after.trim_start().starts_with(':') && quoted.mark.ends_with('"') {
                key = quoted.inner;
                print.push_str(&rest[..quoted.end]);
            } else {
                print.push_str(quoted.mark);
                if print.trim_end_matches(quoted.mark).trim_end().ends_with(':') && SPEAKING.contains(&key) {
                    write_print(quoted.inner, print, false);
                } else {
                    print.push('…');
                }
                print.push_str(quoted.mark);
            }
            rest = after;
        } else if first.is_alphanumeric() || first == '/' || first == '[' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "-_.:/@%+=[]".contains(c))).unwrap_or(rest.len()).max(first.len_utf8());
            let word = rest[..end].trim_end_matches(['.', ':', ']', '/']);
            let end = word.len().max(first.len_utf8());
            write_word(&rest[..end], print);
            rest = &rest[end..];
        } else {
            print.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
}

/// Text between quotes at the beginning of a text.
struct Quoted<'t> {
    mark: &'t str,
    inner: &'t str,
    /// Where it ends, the mark included.
    end: usize,
}

impl<'t> Quoted<'t> {
    fn at(text: &'t str, before: &str) -> Option<Self> {
        let mark = ["\\\"", "\"", "'", "`"].into_iter().find(|mark| text.starts_with(mark))?;
        let mark = &text[..mark.len()];
        // An apostrophe within a word is no quote.
        if mark == "'" && before.ends_with(char::is_alphanumeric) {
            return None;
        }
        let inside = &text[mark.len()..];
        let ends = |at: &usize| match mark {
            "'" => !inside[at + 1..].starts_with(char::is_alphanumeric),
            "\"" => !inside[..*at].ends_with('\\'),
            _ => true,
        };
        let end = inside.match_indices(mark).map(|(at, _)| at).find(ends)?;
        let speaks = before.trim_end().ends_with(':');
        (speaks || inside[..end].chars().count() <= QUOTED).then(|| Self { mark, inner: &inside[..end], end: mark.len() * 2 + end })
    }
}

fn write_word(word: &str, print: &mut String) {
    let digits = word.bytes().any(|byte| byte.is_ascii_digit());
    if word.contains("://") || word.contains('@') || (digits && is_address(word)) {
        print.push_str("<address>");
    } else if digits && is_id(word) {
        print.push_str("<id>");
    } else if digits {
        write_numbers(word, print);
    } else {
        print.push_str(word);
    }
}

/// An IPv4 or IPv6 address, or a host with a port.
fn is_address(word: &str) -> bool {
    if let Some((host, port)) = word.rsplit_once(':')
        && !host.is_empty()
        && !port.is_empty()
        && port.len() <= 5
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && (host.contains(['.', ':']) || host.ends_with(|c: char| c.is_alphabetic() || c == ']'))
    {
        return !host.contains('=');
    }
    let word = word.trim_matches(['[', ']']);
    word.parse::<std::net::IpAddr>().is_ok()
}

/// A UUID, a long hexadecimal number, or a long mixture of letters and digits.
fn is_id(word: &str) -> bool {
    let word = word.strip_prefix("0x").unwrap_or(word);
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = || word.split('-');
    if parts().map(str::len).eq([8, 4, 4, 4, 12]) && parts().all(hex) {
        return true;
    }
    let letters = word.bytes().any(|byte| byte.is_ascii_alphabetic());
    let changes = word.as_bytes().windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    letters && ((word.len() >= 8 && hex(word)) || (word.len() >= 20 && changes >= 4 && !word.contains(['.', '/', ':'])))
}

/// Every number becomes `#`, with its decimals and thousands.
fn write_numbers(word: &str, print: &mut String) {
    let mut chars = word.chars().peekable();
    while let Some(one) = chars.next() {
        if !one.is_ascii_digit() {
            print.push(one);
            continue;
        }
        while chars.next_if(|next| next.is_ascii_digit() || *next == '.').is_some() {}
        if !print.ends_with('#') {
            print.push('#');
        }
    }
}

/// What a message says, without status line and JSON around it: for a sentence. At most 120 characters.
pub fn essence(message: &str) -> String {
    let said = SPEAKING.iter().find_map(|key| value_of(message, key));
    let said = said.unwrap_or_else(|| {
        let status = message.split_once(": ").filter(|(head, _)| {
            let head = head.strip_prefix("status ").unwrap_or(head);
            head.bytes().take_while(u8::is_ascii_digit).count() > 0
        });
        status.map_or(message, |(_, said)| said)
    });
    let said = said.trim();
    match said.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said.to_owned(),
    }
}

/// The text behind a key of JSON, also of JSON that is cut off or stands in a text.
fn value_of<'m>(message: &'m str, key: &str) -> Option<&'m str> {
    message.match_indices(key).find_map(|(at, _)| {
        if !message[..at].ends_with('"') {
            return None;
        }
        let after = message[at + key.len()..].trim_start_matches('\\').strip_prefix('"')?.trim_start().strip_prefix(':')?;
        let value = after.trim_start().trim_start_matches('\\').strip_prefix('"')?;
        let end = value.find(['"', '\\']).unwrap_or(value.len());
        Some(&value[..end]).filter(|value| !value.trim().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_changes_is_taken_out() {
        for (message, print) in [
            (
                "500 Internal Server Error: {\"error\": \"sorry, too many clients already\"}",
                "500 Internal Server Error: {\"error\": \"sorry, too many clients already\"}",
            ),
            ("503 Service Unavailable: no connection within 1000ms", "503 Service Unavailable: no connection within #ms"),
            ("no answer within 2.5 s", "no answer within # s"),
            ("user 4711 not found, try user47", "user # not found, try user#"),
            ("status 14 (UNAVAILABLE): pool of 20 is full", "status # (UNAVAILABLE): pool of # is full"),
            ("duplicate key value \"abc\" in 'it''s' and `x`", "duplicate key value \"…\" in '…''…' and `…`"),
            ("can't connect, the pool's gone", "can't connect, the pool's gone"),
            ("order 123e4567-e89b-12d3-a456-426614174000 is gone", "order <id> is gone"),
            ("object 0xdeadbeef01 at 5f3a9c1b2d is gone", "object <id> at <id> is gone"),
            ("session a8Fk29dLs0dkK2lsmQ93x1 expired", "session <id> expired"),
            ("dial tcp 10.0.0.7:5432: connection refused", "dial tcp <address>: connection refused"),
            ("dial tcp [::1]:5432: refused by db-3.internal:5432", "dial tcp <address>: refused by <address>"),
            ("cannot reach http://shop:8080/a?b=1, ask ops@shop.example", "cannot reach <address>?b=#, ask <address>"),
            (
                r#"400 Bad Request: {"code":"E17","message":"limit of 5 \"x\" reached","user":"anna","n":17}"#,
                r#"400 Bad Request: {"code":"…","message":"limit of # \"x\" reached","user":"…","n":#}"#,
            ),
            ("2026-11-21T02:00:00Z failed", "#-#-#T#:#:#Z failed"),
            ("", ""),
            ("404", "#"),
        ] {
            assert_eq!(fingerprint(message), print, "{message}");
        }
        assert_eq!(fingerprint(&"wörter ".repeat(100)).chars().count(), LONGEST);
    }

    #[test]
    fn a_sentence_gets_what_the_server_says() {
        for (message, said) in [
            ("500 Internal Server Error: {\"error\": \"sorry, too many clients already\"}", "sorry, too many clients already"),
            ("503 Service Unavailable: pool exhausted", "pool exhausted"),
            ("status 14 (UNAVAILABLE): no connection", "no connection"),
            ("{\\\"message\\\": \\\"cut off in the mid", "cut off in the mid"),
            ("no answer within 2s", "no answer within 2s"),
            ("could not connect: refused", "could not connect: refused"),
            (r#"{"error": {"code": 5, "message": "gone"}}"#, "gone"),
            (r#"{"error": true}"#, r#"{"error": true}"#),
        ] {
            assert_eq!(essence(message), said, "{message}");
        }
    }

    #[test]
    fn one_example_is_what_earlier_versions_wrote() {
        let read: Messages = serde_json::from_str("\"no answer within 2s\"").unwrap();
        assert_eq!((read.count(), read.most()), (0, Some("no answer within 2s")));
        let mut counted = Messages::default();
        counted.add(Some("no answer within 2s"));
        counted.add(None);
        let text = serde_json::to_string(&counted).unwrap();
        assert_eq!(text, r#"{"by":{"":[1,""],"no answer within #s":[1,"no answer within 2s"]}}"#);
        assert_eq!(serde_json::from_str::<Messages>(&text).unwrap(), counted);
        assert_eq!(counted.most(), Some("no answer within 2s"));
    }

    proptest! {
        #[test]
        fn every_failure_is_counted_once_however_many_messages_there_are(
            seconds in prop::collection::vec(prop::collection::vec(prop::option::of("[a-z]{1,2}"), 0..60), 1..8)
        ) {
            let mut all = Messages::default();
            let mut failures = 0;
            for second in &seconds {
                let mut one = Messages::default();
                for message in second {
                    one.add(message.as_deref());
                }
                prop_assert_eq!(one.count(), second.len() as u64);
                prop_assert!(one.by.len() <= MOST_AT_ONCE);
                failures += second.len() as u64;
                all.merge(&one);
            }
            prop_assert_eq!(all.count(), failures);
            prop_assert!(all.by.len() <= MOST_TOGETHER);
        }

        #[test]
        fn any_text_has_a_fingerprint_that_is_its_own(text in "\\PC{0,300}") {
            let print = fingerprint(&text);
            prop_assert!(print.chars().count() <= LONGEST);
            prop_assert!(essence(&text).chars().count() <= 121);
        }

        #[test]
        fn numbers_and_ids_do_not_matter(one in 0_u64..u64::MAX, other in 0_u64..u64::MAX) {
            let text = |n: u64| format!("order {n} of user-{n}@shop.example waited {}.{} s at 10.0.{}.7:{}", n % 90, n % 7, n % 250, 1000 + n % 60_000);
            prop_assert_eq!(fingerprint(&text(one)), fingerprint(&text(other)));
        }
    }
}

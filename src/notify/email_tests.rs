//! The mail itself, byte for byte; sending is tested against a real server in tests/it/notify.rs.

use super::super::render::tests::sample;
use super::*;

fn written(outgoing: &Outgoing) -> String {
    let from = "Plimsoll <plimsoll@plimsoll.test>".parse().unwrap();
    let to = Recipients(["ops@example.org", "Boss <boss@example.org>"].map(|text| MailAddress(text.parse().unwrap())).into());
    String::from_utf8(compose(outgoing, &from, &to, "plimsoll.test").unwrap()).unwrap()
}

fn head(mail: &str) -> String {
    mail.split("\r\n\r\n").next().unwrap().replace("\r\n", "\n")
}

#[test]
fn fire_and_resolve_are_one_thread() {
    insta::assert_snapshot!("fired", head(&written(&sample(MessageKind::Fired))));
    insta::assert_snapshot!("resolved", head(&written(&sample(MessageKind::Resolved))));
}

#[test]
fn every_attempt_sends_the_same_bytes_in_ascii_lines_of_bounded_length() {
    for kind in MessageKind::ALL {
        let mail = written(&sample(*kind));
        assert_eq!(mail, written(&sample(*kind)));
        assert!(mail.is_ascii() && mail.lines().all(|line| line.len() <= 998), "{kind}");
        assert!(mail.contains("text/plain") && mail.contains("text/html"));
    }
}

#[test]
fn no_value_can_add_a_header() {
    let mut outgoing = sample(MessageKind::Resolved);
    let evil = "x\r\nBcc: evil@example.org\r\n\r\nbody";
    outgoing.id = evil.into();
    outgoing.channel = evil.into();
    outgoing.message.subject = evil.into();
    outgoing.message.incident = evil.into();
    outgoing.message.rule = evil.into();
    let names: Vec<String> = head(&written(&outgoing))
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    let clean: Vec<String> = head(&written(&sample(MessageKind::Resolved)))
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(names, clean);
}

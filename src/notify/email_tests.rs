//! The mail itself, byte for byte; sending is tested against a real server in tests/it/notify.rs.

use super::super::Image;
use super::super::render::tests::sample;
use super::*;

fn written(outgoing: &Outgoing) -> String {
    written_with(outgoing, &Chart::None)
}

fn written_with(outgoing: &Outgoing, chart: &Chart) -> String {
    let from = "Plimsoll <plimsoll@plimsoll.test>".parse().unwrap();
    let to = Recipients(["ops@example.org", "Boss <boss@example.org>"].map(|text| MailAddress(text.parse().unwrap())).into());
    String::from_utf8(compose(outgoing, (chart, &Words::default()), &from, &to, "plimsoll.test").unwrap()).unwrap()
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

#[test]
fn a_chart_stands_beside_the_html_under_its_own_id() {
    let image = Image { png: vec![0x89, b'P', b'N', b'G', 0, 255], alt: "Chart of <pool> \"main\"".into() };
    let mail = written_with(&sample(MessageKind::Fired), &Chart::Drawn(Arc::new(image)));
    let id = "chart-20261121T020312-pool-nearly-full-3f9a-1-ops@plimsoll.test";
    assert!(mail.contains(&format!("Content-ID: <{id}>")) && mail.contains("Content-Disposition: inline"), "{mail}");
    let flat = mail.replace("=\r\n", "");
    assert!(flat.contains(&format!("src=3D\"cid:{id}\" alt=3D\"Chart of &lt;pool&gt; &quot;main&quot;\"")), "{flat}");
    // Plain text first, then HTML together with its picture.
    let order: Vec<usize> =
        ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"].map(|part| mail.find(part).unwrap()).into();
    assert!(order.is_sorted(), "{order:?}");
    assert!(mail.contains("iVBORwD/"), "the picture in base64: {mail}");
}

#[test]
fn a_chart_that_cannot_be_drawn_is_missed_in_words() {
    let mail = written_with(&sample(MessageKind::Fired), &Chart::Missing("nothing was measured in that time".into())).replace("=\r\n", "");
    assert_eq!(mail.matches("There is no chart: nothing was measured in that time").count(), 2, "{mail}");
    assert!(!mail.contains("image/png"));
}

#[test]
fn words_of_the_users_own_stand_in_the_place_of_the_lines_and_keep_the_chart() {
    let from = "Plimsoll <plimsoll@plimsoll.test>".parse().unwrap();
    let to = Recipients(vec![MailAddress("ops@example.org".parse().unwrap())]);
    let chart = Chart::Drawn(Arc::new(Image { png: vec![1], alt: "Chart".into() }));
    let written = |words: &Words| {
        let mail = compose(&sample(MessageKind::Fired), (&chart, words), &from, &to, "plimsoll.test").unwrap();
        String::from_utf8(mail).unwrap().replace("=\r\n", "")
    };
    let text = written(&Words { text: Some("one\ntwo <b>".into()), html: None });
    assert!(text.contains("one\r\ntwo <b>\r\n") && text.contains("one\r\ntwo &lt;b&gt;</p>"), "{text}");
    assert!(!text.contains("Limit") && text.contains("img src=3D\"cid:chart-"), "{text}");
    let html = written(&Words { text: None, html: Some("<html><body><p>mine</p></body></html>".into()) });
    assert!(html.contains("<p>mine</p><img src=3D\"cid:chart-") && html.contains("Limit:"), "the text stays as it is built in: {html}");
}

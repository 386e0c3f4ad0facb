//! A chart in a mail, as a mail program reads it.

use plimsoll::notify::{Chart, Extras, Image};

use super::*;

#[tokio::test]
async fn a_chart_comes_with_the_mail_and_the_html_shows_it() {
    let sink = SmtpSink::start(&[]).await;
    let mail = mail_to(&sink, &["ops@example.org"], &json!({}));
    assert!(mail.takes_charts());
    let [fire, _] = incident();
    let image = Image { png: b"\x89PNG\r\n\x1a\nand so on".to_vec(), alt: "Chart of pool_utilization max".into() };
    let extras = Extras { chart: Chart::Drawn(Arc::new(image)), ..Extras::default() };
    assert_eq!(class(&mail.send_with(&fire, &extras).await), "delivered");
    let mails = sink.wait_for(1).await;
    let parts = &mails[0]["parts"];
    assert_eq!(mails[0]["defects"], json!([]));
    let picture = &parts["image/png"];
    assert_eq!((picture["begins"].as_str(), picture["bytes"].as_u64()), (Some("89504e470d0a1a0a"), Some(17)));
    let id = picture["Content-ID"].as_str().unwrap().trim_matches(['<', '>']);
    assert!(picture["Content-Disposition"].as_str().unwrap().starts_with("inline"), "{picture}");
    let html = parts["text/html"].as_str().unwrap();
    assert!(html.contains(&format!("src=\"cid:{id}\"")) && html.contains("alt=\"Chart of pool_utilization max\""), "{html}");
    let kinds: Vec<&String> = parts.as_object().unwrap().keys().collect();
    assert_eq!(kinds.first().map(|kind| kind.as_str()), Some("text/plain"), "what every program can show stands first: {kinds:?}");
}

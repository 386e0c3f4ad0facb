//! Slack by the token of a bot, against its Web API: one message an incident, what follows in its thread, over restarts and failures.

use std::sync::Mutex;

use async_trait::async_trait;
use plimsoll::notify::{Chart, Extras, Image, Memory};

use super::*;
use crate::servers::slack::SlackSink;

/// What a channel remembers, in the place of the store.
#[derive(Default)]
struct Kept {
    text: Mutex<Option<String>>,
    gone: bool,
}

#[async_trait]
impl Memory for Kept {
    async fn recall(&self) -> Result<Option<String>, String> {
        if self.gone { Err("the database is away".into()) } else { Ok(self.text.lock().unwrap().clone()) }
    }
    async fn keep(&self, text: &str) -> Result<(), String> {
        if self.gone {
            return Err("the database is away".into());
        }
        *self.text.lock().unwrap() = Some(text.to_owned());
        Ok(())
    }
}

fn bot(sink: &SlackSink) -> Arc<dyn Notifier> {
    channel(&json!({"type": "slack", "token": "xoxb-test", "channel": "#ops", "api_url": sink.url(), "timeout": "30s"}))
}

fn chart() -> Chart {
    let png = b"\x89PNG\r\n\x1a\nrest".to_vec();
    Chart::Drawn(Arc::new(Image { png, alt: "Chart of pool_utilization max".into() }))
}

fn with(memory: &Arc<Kept>, chart: Chart) -> Extras {
    Extras { chart, memory: Some(memory.clone()), ..Extras::default() }
}

/// A fire, its reminder and its resolve.
fn story() -> [Outgoing; 3] {
    let [fire, mut resolve] = incident();
    let mut reminder = fire.clone();
    reminder.message.kind = MessageKind::Reminder;
    (reminder.message.seq, resolve.message.seq) = (2, 3);
    reminder.id = fire.id.replace("-1-ops", "-2-ops");
    resolve.id = fire.id.replace("-1-ops", "-3-ops");
    [fire, reminder, resolve]
}

#[tokio::test]
async fn an_incident_is_one_message_with_a_thread_also_over_a_restart() {
    let sink = SlackSink::start(&[]).await;
    let memory = Arc::new(Kept::default());
    let [fire, reminder, resolve] = story();
    assert_eq!(bot(&sink).send_with(&fire, &with(&memory, chart())).await, Delivery::Delivered("Slack #ops (C0OPS)".into()));
    // A notifier that was made anew knows nothing but what was kept.
    assert_eq!(class(&bot(&sink).send_with(&reminder, &with(&memory, Chart::Missing("no data".into()))).await), "delivered");
    assert_eq!(class(&bot(&sink).send_with(&resolve, &with(&memory, chart())).await), "delivered");
    let upload = ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"];
    let expected: Vec<&str> =
        [&["chat.postMessage"][..], &upload, &["chat.postMessage", "chat.postMessage"], &upload, &["chat.update"]].concat();
    assert_eq!(sink.methods(), expected);
    let calls = sink.calls();
    assert!(calls.iter().all(|call| call["answer"]["ok"] != json!(false)), "{calls:#?}");
    let given = |index: usize| &calls[index]["given"];
    let parent = calls[0]["answer"]["ts"].clone();
    assert_eq!(given(0)["metadata"]["event_payload"]["id"], json!(fire.id));
    for reply in [4, 5] {
        assert_eq!((&given(reply)["thread_ts"], &given(reply)["channel"]), (&parent, &json!("C0OPS")));
    }
    assert_eq!((&given(4)["reply_broadcast"], &given(5)["reply_broadcast"]), (&Json::Null, &json!(true)));
    assert_eq!(given(9)["ts"], parent, "the first message is the one that changes");
    assert_eq!(
        (given(0)["attachments"][0]["color"].as_str(), given(9)["attachments"][0]["color"].as_str()),
        (Some("#e01e5a"), Some("#2eb886"))
    );
    let upload = given(2);
    assert_eq!((&upload["png"], &upload["authorization"]), (&json!(true), &Json::Null), "the token stays with the API");
    assert_eq!((&given(3)["thread_ts"], &given(3)["channel_id"]), (&parent, &json!("C0OPS")));
    for index in [0, 4, 5, 9] {
        validate(&["slack"], &given(index).to_string());
    }
}

#[tokio::test]
async fn an_attempt_that_broke_off_goes_on_where_it_was() {
    let sink = SlackSink::start(&["--fail", "chat.update", "1", "internal_error"]).await;
    let memory = Arc::new(Kept::default());
    let [fire, _, resolve] = story();
    let slack = bot(&sink);
    assert_eq!(class(&slack.send_with(&fire, &with(&memory, Chart::None)).await), "delivered");
    assert_retry(&slack.send_with(&resolve, &with(&memory, Chart::None)).await, "server_error", "internal_error");
    assert_eq!(class(&bot(&sink).send_with(&resolve, &with(&memory, Chart::None)).await), "delivered");
    assert_eq!(sink.methods(), ["chat.postMessage", "chat.postMessage", "chat.update", "chat.update"], "nothing is said twice");
}

#[tokio::test]
async fn what_cannot_be_changed_or_drawn_does_not_take_the_message_back() {
    let sink = SlackSink::start(&[
        "--fail",
        "files.getUploadURLExternal",
        "9",
        "missing_scope",
        "--fail",
        "chat.update",
        "9",
        "cant_update_message",
    ])
    .await;
    let memory = Arc::new(Kept::default());
    let [fire, _, resolve] = story();
    let Delivery::Delivered(detail) = bot(&sink).send_with(&fire, &with(&memory, chart())).await else { panic!() };
    assert!(detail.contains("without its chart") && detail.contains("missing_scope"), "{detail}");
    let Delivery::Delivered(detail) = bot(&sink).send_with(&resolve, &with(&memory, Chart::None)).await else { panic!() };
    assert!(detail.contains("its first message stays as it was") && detail.contains("cant_update_message"), "{detail}");
}

#[tokio::test]
async fn a_first_message_that_was_deleted_is_begun_anew() {
    let (first, second) = (SlackSink::start(&[]).await, SlackSink::start(&[]).await);
    let memory = Arc::new(Kept::default());
    let [fire, _, resolve] = story();
    assert_eq!(class(&bot(&first).send_with(&fire, &with(&memory, Chart::None)).await), "delivered");
    // The other one has never heard of the thread.
    assert_eq!(class(&bot(&second).send_with(&resolve, &with(&memory, Chart::None)).await), "delivered");
    let said: Vec<String> = second.calls().iter().map(|call| call["answer"]["error"].as_str().unwrap_or("ok").to_owned()).collect();
    assert_eq!(said, ["thread_not_found", "ok", "ok"]);
}

#[tokio::test]
async fn slack_says_no_with_200_and_the_answer_decides() {
    let [fire, ..] = story();
    for (error, retry, says) in [
        ("429", Some("rate_limited"), "429"),
        ("ratelimited", Some("rate_limited"), "ratelimited"),
        ("service_unavailable", Some("server_error"), "service_unavailable"),
        ("invalid_auth", None, "invalid_auth"),
        ("not_in_channel", None, "invite the app"),
    ] {
        let sink = SlackSink::start(&["--fail", "chat.postMessage", "1", error, "--retry-after", "7"]).await;
        let slack = bot(&sink);
        let delivery = slack.send(&fire).await;
        match retry {
            Some(expected) => {
                assert_retry(&delivery, expected, says);
                let Delivery::Retry { after, .. } = delivery else { panic!() };
                assert_eq!(after, Some(Duration::from_secs(7)), "{error}");
            }
            None => assert_gives_up(&delivery, if error == "invalid_auth" { "auth" } else { "client_error" }, says),
        }
        assert_eq!(class(&slack.send(&fire).await), "delivered", "the next attempt succeeds");
    }
    let broken = SlackSink::start(&["--close", "chat.postMessage"]).await;
    assert_retry(&bot(&broken).send(&fire).await, "network", "broke off");
    let strange = HookSink::start(&["--fail-first", "1", "200", "--body", "<html>"]).await;
    let api = json!({"type": "slack", "token": "xoxb-hunter2", "channel": "#ops", "api_url": strange.url("/api")});
    let delivery = channel(&api).send(&fire).await;
    assert!(!format!("{delivery:?}").contains("hunter2"), "{delivery:?}");
    assert_retry(&delivery, "server_error", "not Slack's");
}

#[tokio::test]
async fn a_store_that_is_away_neither_loses_the_thread_nor_the_message() {
    let sink = SlackSink::start(&[]).await;
    let [fire, _, resolve] = story();
    let away = Arc::new(Kept { gone: true, ..Kept::default() });
    let slack = bot(&sink);
    // Whether there is a thread already is not known: better later than beside it.
    assert_retry(&slack.send_with(&fire, &with(&away, Chart::None)).await, "server_error", "the database is away");
    assert_eq!(sink.methods(), Vec::<String>::new());
    assert_eq!(class(&slack.send_with(&fire, &with(&Arc::default(), Chart::None)).await), "delivered");
    assert_eq!(class(&slack.send_with(&resolve, &with(&away, Chart::None)).await), "delivered", "this process knows the thread");
    assert_eq!(sink.calls()[1]["given"]["thread_ts"], sink.calls()[0]["answer"]["ts"]);
}

#[test]
fn mistakes_in_a_slack_channel_are_found() {
    let codes = |json: Json| settings(&json).map(|_| ()).unwrap_err();
    assert_eq!(codes(json!({"type": "slack", "token": "xoxb-1"})), ["missing-key"]);
    assert_eq!(codes(json!({"type": "slack", "token": "hunter2", "channel": "#ops"})), ["bad-secret"]);
    assert_eq!(codes(json!({"type": "slack", "token": "xoxb-1", "channel": "#ops", "webhook_url": "https://x"})), ["conflicting-keys"]);
    assert_eq!(codes(json!({"type": "slack", "channel": "#ops", "webhook_url": "https://x"})), ["conflicting-keys"]);
    assert_eq!(codes(json!({"type": "slack", "token": "xoxb-1", "channel": "#ops", "api_url": "slack"})), ["bad-url"]);
    let fine = settings(&json!({"type": "slack", "token": "xoxb-hunter2", "channel": "#ops"})).unwrap();
    assert_eq!(fine.describe(), "Slack #ops at slack.com");
    assert!(!format!("{fine:?}").contains("hunter2"));
}

/// The library of Slack speaks to the same API, so that it is known to have Slack's manners.
#[tokio::test]
async fn the_library_of_slack_takes_the_api_for_slack() {
    let sink = SlackSink::start(&[]).await;
    let program = "
import sys
from slack_sdk import WebClient
client = WebClient(token='xoxb-test', base_url=sys.argv[1])
parent = client.chat_postMessage(channel='#ops', text='one')
client.chat_postMessage(channel=parent['channel'], text='two', thread_ts=parent['ts'])
client.chat_update(channel=parent['channel'], ts=parent['ts'], text='three')
client.files_upload_v2(channel=parent['channel'], thread_ts=parent['ts'], content=b'\\x89PNG\\r\\n\\x1a\\n', filename='chart.png')
";
    let done = Command::new(python()).args(["-c", program, &sink.url()]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let expected = ["chat.postMessage", "chat.postMessage", "chat.update"];
    assert_eq!(sink.methods()[..3], expected);
    assert_eq!(sink.methods()[3..], ["files.getUploadURLExternal", "upload", "files.completeUploadExternal"]);
}

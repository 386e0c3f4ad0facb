//! trio, every night: fifteen nights in the store of which the last three are a third slower. The daemon that starts on them says so on
//! `/metrics` and by its rule, from the configuration to the message. What gates, flaky profiles and comparisons come to is the same
//! on the API, the pages and the command line.

use plimsoll::clock::{Clock as _, SystemClock};
use plimsoll::model::run::Verdict;

use super::mailbox;
use crate::history::made::{DAY_US, Night, noise, start_of};
use crate::servers::bed::{Bed, LONG, errors, finish, metric, printed, profile};
use crate::servers::daemon::plimsoll;
use crate::servers::wait_until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_regression_is_shown_and_told() {
    let bed = Bed::new().await;
    let store = bed.store().await;
    // Recent enough to be kept.
    let today = (SystemClock.now().0 - start_of(0).0) / DAY_US;
    for night in 0..15 {
        let level = if night < 12 { 20_000.0 * (1.0 + noise(night)) } else { 27_000.0 };
        Night { day: today - 15 + night, level, ..Night::default() }.write(store.as_ref()).await;
    }
    let rules = r#"
alerts:
  channels: { box: { type: file, path: box.jsonl, format: json } }
  rules:
    slower: { when: "regression(p95){profile:soak} > 10%", severity: high }
    fatter: { when: "regression(memory_peak) > 5%", severity: high }
"#;
    bed.configure(&format!("profiles:{}{rules}", profile("soak", "shop", "5s")));
    let daemon = bed.serve().await;
    let headline = wait_until("the alert", LONG, async || mailbox::fired(bed.folder.path(), "slower")).await;
    assert!(headline.starts_with("Fired: regression value 3"), "{headline}");
    let ratio = "plimsoll_regression_ratio{metric=\"p95\",of=\"\",profile=\"soak\"}";
    let shown = wait_until("the regression on /metrics", LONG, async || metric(&daemon, ratio).await).await;
    assert!((shown - 0.35).abs() < 0.03, "{shown}");
    assert_eq!(mailbox::fired(bed.folder.path(), "fatter"), None, "what did not change is not told");
    let firing = daemon.api("/alerts").await;
    let of = |alert: &serde_json::Value| alert["rule"] == "slower" && alert["state"] == "firing";
    assert!(firing["alerts"].as_array().unwrap().iter().any(of), "{firing}");
    bed.target.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gates_flaky_profiles_and_phases_are_told_everywhere() {
    let bed = Bed::new().await;
    let store = bed.store().await;
    let today = (SystemClock.now().0 - start_of(0).0) / DAY_US;
    let mut last = None;
    for night in 0..8 {
        let day = today - 8 + night;
        last = Some(Night { day, warm: 0.5, ..Night::default() }.write(store.as_ref()).await);
        let verdict = if night % 3 == 2 { Verdict::Fail } else { Verdict::Pass };
        Night { day, profile: "wavering", verdict, ..Night::default() }.write(store.as_ref()).await;
    }
    let profiles = [profile("soak", "shop", "5s"), profile("wavering", "shop", "5s")].concat();
    let gates = "gates:\n  release: { profile: soak, passes: 3 }\n  beta: { profile: wavering, passes: 3 }\n";
    let config = bed.configure(&format!("profiles:{profiles}{gates}"));
    let daemon = bed.serve().await;
    let found = daemon.api("/gates").await;
    let gate = |name: &str| found["gates"].as_array().unwrap().iter().find(|gate| gate["gate"] == name).unwrap().clone();
    assert_eq!((&gate("release")["verdict"], &gate("release")["row"]), (&"pass".into(), &8.into()), "{found}");
    assert_eq!((&gate("beta")["verdict"], &gate("beta")["row"]), (&"no_data".into(), &2.into()), "{found}");
    assert!(gate("beta")["sentence"].as_str().unwrap().contains("Its verdict is flaky: it flipped 4 times in 7 pairs"), "{found}");
    for (profile, flaky) in [("soak", false), ("wavering", true)] {
        let history = daemon.api(&format!("/profiles/{profile}/history")).await;
        assert_eq!(history["flaky"], flaky, "{history}");
        let page = daemon.try_get(&format!("/profiles/{profile}")).await.unwrap();
        assert_eq!((page.status, page.body.contains("flaky")), (200, flaky), "{}", page.body);
    }
    // Two phases of one run: half the response time when warm, with its interval, on all three ways.
    let id = last.unwrap().id;
    let compared = daemon.api(&format!("/compare?a={id}:cold&b={id}:warm")).await;
    let rows = compared["rows"].as_array().unwrap_or_else(|| panic!("{compared}"));
    let p95 = rows.iter().find(|row| row["figure"] == "p95" && row["subject"].is_null()).unwrap_or_else(|| panic!("{compared}"));
    let ratio = |end: &str| p95["ratio"][end].as_f64().unwrap_or_else(|| panic!("{p95}"));
    assert_eq!((&compared["outcome"], &p95["outcome"]), (&"better".into(), &"better".into()), "{compared}");
    assert!((ratio("value") - 0.5).abs() < 0.05 && ratio("low") <= ratio("value") && ratio("value") <= ratio("high"), "{p95}");
    let page = daemon.try_get(&format!("/compare?a={id}:cold&b={id}:warm")).await.unwrap();
    assert!(page.status == 200 && page.body.contains("better") && page.body.contains("p95"), "{}", page.body);
    let (a, b, config) = (format!("{id}:cold"), format!("{id}:warm"), config.to_str().unwrap().to_owned());
    let output = finish(plimsoll(&["compare", &a, &b, "--config", &config])).await;
    let said = printed(&output);
    assert!(output.status.code() == Some(0) && said.contains("better") && said.contains("p95"), "{said}{}", errors(&output));
    bed.target.stop().await;
}

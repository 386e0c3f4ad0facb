//! CPU profiles and the others of a real Go program: Debian's Prometheus serves `/debug/pprof`. Go refuses a second CPU profile while one is
//! taken, so that two captures that overlap both succeed only when they wait for each other.

use std::time::Duration;

use crate::demo::client;
use crate::servers::bed::{Bed, LONG};
use crate::servers::daemon::plimsoll;
use crate::servers::prometheus::Prometheus;
use crate::servers::{Child, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn profiles_of_a_go_program_are_captured_and_never_two_of_its_cpu_at_once() {
    let bed = Bed::new().await;
    let go = Prometheus::scraping(bed.target.addr).await;
    let port = go.address.port();
    // Go itself, without our care: of two at a time one is refused.
    let http = client();
    let ask = async || http.get(format!("http://{}/debug/pprof/profile?seconds=3", go.address)).send().await.unwrap().status().as_u16();
    let (one, other) = tokio::join!(ask(), ask());
    let mut statuses = [one, other];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500], "if Go allowed two at once this test would prove nothing");

    let capture =
        |name: &str, at: &str, host: &str, more: &str| format!("      - {{ name: {name}, {at}, pprof: \"http://{host}:{port}\"{more} }}\n");
    let mut captures = String::new();
    // Two at set times that overlap, and one by a rule that is broken from the first second on; one calls the machine by another name.
    captures += &capture("one", "at: 1s", "127.0.0.1", ", length: 3s");
    captures += &capture("two", "at: 2s", "localhost", ", length: 3s");
    captures += &capture("three", "when: first breach", "127.0.0.1", ", length: 3s");
    for profile in ["heap", "goroutine", "mutex", "block"] {
        captures += &capture(profile, "at: 1s", "127.0.0.1", &format!(", profile: {profile}"));
    }
    bed.configure(&format!(
        r#"
    allow: ["127.0.0.1:{port}", "localhost:{port}"]
profiles:
  visits:
    target: shop
    captures:
{captures}
    thresholds: ["requests: count < 1"]
    scenarios:
      users:
        executor: constant-vus
        vus: 1
        duration: 30s
        flow: [{{ step: balance, get: /api/v1/wallet/balance }}, {{ pause: 100ms }}]
"#
    ));
    let config = bed.config();
    let mut command = plimsoll(&["run", "visits", "--config", config.to_str().unwrap()]);
    let mut child = Child::spawn("run", bed.folder.path(), command.current_dir(bed.folder.path()));
    wait_until("the end of the run", LONG, async || child.status()).await;
    let store = bed.store().await;
    let run = store.run("last").await.unwrap().unwrap_or_else(|| panic!("{}", child.output()));
    let captures = store.captures(&run.id).await.unwrap();
    assert_eq!(captures.len(), 7, "{captures:#?}");
    for captured in &captures {
        assert_eq!(captured.error, None, "{captures:#?}");
        let (_, content) = store.capture(&run.id, captured.number).await.unwrap().unwrap();
        assert_eq!(content[..2], [0x1f, 0x8b], "a profile is packed: {captured:#?}");
    }
    // Three of three seconds, one after the other: the last one was done nine seconds after the first had begun, or later.
    let cpu: Vec<_> = captures.iter().filter(|captured| captured.what.starts_with("cpu")).collect();
    let begun = cpu.iter().map(|captured| captured.at).min().unwrap();
    let done = cpu.iter().map(|captured| captured.at.plus(Duration::from_millis(captured.took_ms))).max().unwrap();
    assert!(cpu.len() == 3 && done.since(begun) >= Duration::from_secs(9), "{cpu:#?}");
}

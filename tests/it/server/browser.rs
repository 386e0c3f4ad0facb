//! The pages as a real browser sees them: Chromium without a window, a fresh profile each time.
//! With PLIMSOLL_SCREENSHOTS=FOLDER the test also leaves pictures of the pages, light and dark, in that folder.

use std::process::Stdio;
use std::time::Duration;

use super::fake::Served;

/// The document after Chromium built it; with `screenshot`, also a picture.
pub(super) async fn dump(address: &str, screenshot: Option<&std::path::Path>, dark: bool) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = tokio::process::Command::new("chromium");
    chromium.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--hide-scrollbars",
        "--window-size=1200,1750",
    ]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    if dark {
        chromium.arg("--blink-settings=preferredColorScheme=0");
    }
    match screenshot {
        Some(path) => chromium.arg(format!("--screenshot={}", path.display())),
        None => chromium.arg("--dump-dom"),
    };
    chromium.arg(address).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(120), chromium.output()).await;
    let output = output.expect("Chromium answers within two minutes").expect("chromium is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_browser_shows_the_pages() {
    let served = Served::start().await;
    let home = dump(&format!("http://{}/", served.address), None, false).await;
    for text in ["<title>Overview – Plimsoll</title>", "pool-nearly-full", "20 of 20 in use", "in 22h59m15s", "Last runs", "staging"] {
        assert!(home.contains(text), "{text} is missing:\n{home}");
    }
    let run = dump(&format!("http://{}/runs/20261121-020000-checkout-7k3f", served.address), None, false).await;
    for text in
        ["was exhausted from second 12", "503 Service Unavailable", "Pool utilization", "<polyline", "Iterations with a failed check"]
    {
        assert!(run.contains(text), "{text} is missing:\n{run}");
    }
    assert_eq!(run.matches("<svg").count(), 6, "a chart is missing");
    if let Some(folder) = std::env::var_os("PLIMSOLL_SCREENSHOTS") {
        for (path, name, dark) in
            [("", "home", false), ("runs/last", "run", false), ("", "home-dark", true), ("runs/last", "run-dark", true)]
        {
            let file = std::path::Path::new(&folder).join(format!("{name}.png"));
            dump(&format!("http://{}/{path}", served.address), Some(&file), dark).await;
        }
    }
}

//! Messages in the user's own words, and digests: what the program prints of them before anything is sent.

use crate::servers::bed::finish;
use crate::servers::daemon::plimsoll;
use crate::servers::temp_dir;

const CHANNELS: &str = "
targets: { shop: { base_url: \"http://127.0.0.1:1\" } }
alerts:
  channels:
    ops: { type: file, path: mailbox }
    chat: { type: slack, webhook_url: \"https://hooks.slack.com/services/T0/B0/hunter2\" }
  rules:
    full: { when: \"pool_utilization: max > 90%\", severity: critical, runbook: \"https://wiki/full\", labels: { team: payments } }
  digests:
    morning: { every: daily, at: \"08:00\", timezone: Europe/Berlin, send: [ops] }
  templates:
    short:
      channels: [chat]
      headline: \"{{ labels.team }}: {{ headline }}\"
      text: |
        {% for line in lines %}{{ line.key }} is {{ line.value }}
        {% endfor %}
";

/// What a command prints, and the folder of its configuration.
async fn printed(arguments: &[&str]) -> (bool, String, tempfile::TempDir) {
    let folder = temp_dir();
    let file = folder.path().join("plimsoll.yaml");
    let storage = format!("storage: {{ url: \"sqlite://{0}/plimsoll.db\", data_dir: \"{0}\" }}", folder.path().display());
    std::fs::write(&file, format!("{storage}{CHANNELS}")).unwrap();
    let html = folder.path().join("html").display().to_string();
    let config = file.display().to_string();
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--config", &config, "--html", &html]).collect();
    let done = finish(plimsoll(&arguments)).await;
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(!said.contains("hunter2"), "{said}");
    (done.status.success(), said, folder)
}

#[tokio::test]
async fn a_preview_shows_each_channel_in_its_own_words() {
    let (fine, said, folder) = printed(&["alerts", "preview", "--rule", "full"]).await;
    assert!(fine, "{said}");
    assert_eq!(said.matches("Subject: full: pool `main` of shop (probe app)").count(), 4, "two channels, fire and resolve: {said}");
    assert!(said.contains("=== chat (Slack webhook at hooks.slack.com): fired") && said.contains("payments: Fired: "), "{said}");
    assert!(said.contains("Limit is > 90 %") && said.contains("Limit:        > 90 %"), "{said}");
    let html = std::fs::read_to_string(folder.path().join("html/ops-resolved-2.html")).unwrap();
    assert!(html.contains("RESOLVED") && html.contains("https://wiki/full"));
}

#[tokio::test]
async fn a_template_that_needs_a_label_that_is_not_there_says_so() {
    // The example without a rule has no label `team`.
    let (fine, said, _folder) = printed(&["alerts", "preview", "--channel", "chat"]).await;
    assert!(fine && said.contains("template `short` could not be filled in (headline: undefined value"), "{said}");
    assert!(said.contains("Fired: pool `main` of shop at 100 % of 20"), "the built-in words are shown: {said}");
}

#[tokio::test]
async fn a_digest_of_nothing_has_no_zeros() {
    let (fine, said, folder) = printed(&["digest"]).await;
    assert!(fine, "{said}");
    assert!(said.contains("Daily digest: nothing ran") && said.contains("Runs:      none"), "{said}");
    assert!(!said.contains("Headroom") && !said.contains("Capacity"), "{said}");
    assert!(folder.path().join("html/ops-digest-1.html").is_file());
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    for (arguments, says) in [
        (&["alerts", "preview", "--channel", "chatt"][..], "did you mean `chat`?"),
        (&["alerts", "preview", "--rule", "ful"], "did you mean `full`?"),
        (&["alerts", "preview", "--incident", "last"], "nothing was told of an incident `last`"),
        (&["digest", "mornin"], "did you mean `morning`?"),
    ] {
        let (fine, said, _folder) = printed(arguments).await;
        assert!(!fine && said.contains(says), "{arguments:?}: {said}");
    }
}

//! Every mistake that a configuration can have, one a file, named after the code that it must lead to; what people then read is
//! held by snapshots. A folder is one configuration of several files.

use std::path::{Path, PathBuf};

use plimsoll::config::{CODES, Kinds, check, load_with};
use plimsoll::{notify, probe};

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What the file's name promises: `unknown-key` of `unknown-key.profile.yaml`.
fn code_of(path: &Path) -> String {
    let name = name_of(path);
    name.split_once('.').map_or(name.clone(), |(code, _)| code.to_owned())
}

fn cases() -> Vec<PathBuf> {
    // Relative, so that messages and snapshots do not depend on where the project lies; cargo runs tests in its folder.
    let folder = std::fs::read_dir("tests/it/bad_config").expect("the folder lies beside this file");
    let mut found: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        path.extension().is_some_and(|extension| extension == "yaml")
            || (path.is_dir() && !["tokens", "snapshots", "files"].iter().any(|kept| path.ends_with(kept)))
    });
    found.sort();
    found
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let cases = cases();
    assert!(cases.len() > 60, "{cases:?}");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("bad_config/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut wrong = Vec::new();
    for path in cases {
        let kinds = Kinds { probes: probe::KINDS, channels: notify::KINDS };
        let now = plimsoll::model::units::Timestamp::parse("2026-11-21T02:00:00Z").expect("a time");
        // Only what is over by now is a mistake for `check` alone.
        let over = code_of(&path) == "window-over";
        let loaded = if over { check(&path, &kinds, now) } else { load_with(&path, &kinds, &|_| None) };
        let Err(report) = loaded else { panic!("{} was accepted", path.display()) };
        let code = code_of(&path);
        let found: Vec<&str> = report.mistakes().iter().map(|mistake| mistake.code).collect();
        let expected = if code == "two-mistakes" { vec!["unknown-key", "missing-unit"] } else { vec![code.as_str()] };
        if found != expected {
            wrong.push(format!("{} should lead to {expected:?} alone:\n{report}", path.display()));
        }
        assert!(!report.to_string().contains("hunter2"), "secrets stay out of messages: {report}");
        let name = name_of(&path).trim_end_matches(".yaml").replace('.', "-");
        settings.bind(|| insta::assert_snapshot!(name, report.to_string().replace(env!("CARGO_MANIFEST_DIR"), "…")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_file() {
    let tried: Vec<String> = cases().iter().map(|path| code_of(path)).collect();
    let unknown: Vec<&String> =
        tried.iter().filter(|tried| *tried != "two-mistakes" && !CODES.iter().any(|(code, _)| code == *tried)).collect();
    assert!(unknown.is_empty(), "files named after codes that do not exist: {unknown:?}");
    let missing: Vec<&str> = CODES.iter().map(|(code, _)| *code).filter(|code| !tried.iter().any(|tried| tried == code)).collect();
    assert!(missing.is_empty(), "no file under tests/it/bad_config for {missing:?}");
}

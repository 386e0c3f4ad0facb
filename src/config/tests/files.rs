//! The files made from the declarations are fresh, and those written by hand can be loaded.
//! `PLIMSOLL_BLESS=1 cargo test --lib config::` writes the made ones anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::kinds;
use crate::config::reference::TABLES;
use crate::config::{CODES, load_with, reference, schema};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a made file with what it would be made as today.
fn fresh(name: &str, made: &str) {
    let path = root().join(name);
    if std::env::var_os("PLIMSOLL_BLESS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "{name} is stale: run `PLIMSOLL_BLESS=1 cargo test --lib config::`");
}

/// The default file and every example: files, and folders with more than one.
fn examples() -> Vec<PathBuf> {
    let mut found = vec![root().join("config/plimsoll.yaml")];
    let folders = std::fs::read_dir(root().join("config/examples")).unwrap();
    found.extend(folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
    found.sort();
    assert!(found.len() >= 6, "{found:?}");
    found
}

fn yaml_files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml")).collect()
}

#[test]
fn the_default_and_every_example_can_be_loaded() {
    for path in examples().into_iter().chain([root().join("deploy/plimsoll.yaml")]) {
        if let Err(report) = load_with(&path, &kinds(), &|_| Some("https://filled.example.org/in".into())) {
            panic!("{report}");
        }
    }
}

#[test]
fn the_default_and_every_example_satisfy_the_schema() {
    let validator = jsonschema::validator_for(&schema(&kinds())).unwrap();
    for file in examples().iter().flat_map(|path| yaml_files(path)) {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut diagnostics = crate::registry::Diagnostics::default();
        let json = crate::config::yaml::parse(0, &text, &mut diagnostics).unwrap().to_json();
        let errors: Vec<String> =
            validator.iter_errors(&json).map(|error| format!("{}: {}: {error}", file.display(), error.instance_path)).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
        assert!(text.starts_with("# yaml-language-server: $schema="), "{} does not name the schema", file.display());
    }
}

#[test]
fn the_schema_refuses_what_the_loader_refuses() {
    let validator = jsonschema::validator_for(&schema(&kinds())).unwrap();
    for (text, fine) in [
        ("{\"log\": {\"format\": \"json\"}}", true),
        ("{\"log\": {\"format\": \"xml\"}}", false),
        ("{\"lgo\": {}}", false),
        ("{\"targets\": {\"t\": {\"limits\": {\"rate\": \"5/s\", \"duration\": \"1m30s\"}}}}", true),
        ("{\"targets\": {\"t\": {\"limits\": {\"rate\": 5}}}}", false),
        ("{\"targets\": {\"t\": {\"probes\": {\"p\": {\"type\": \"process\", \"port\": 1}}}}}", true),
        ("{\"targets\": {\"t\": {\"probes\": {\"p\": {\"type\": \"nothing\"}}}}}", false),
    ] {
        assert_eq!(validator.is_valid(&serde_json::from_str(text).unwrap()), fine, "{text}");
    }
}

#[test]
fn the_schema_file_is_fresh() {
    let made = format!("{}\n", serde_json::to_string_pretty(&schema(&kinds())).unwrap());
    fresh("config/plimsoll.schema.json", &made);
}

#[test]
fn the_reference_is_fresh_and_complete() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    fresh("docs/configuration.md", &reference(&page, &kinds()));
    let on_page: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("<!-- table ")?.strip_suffix(" -->")).collect();
    assert_eq!(on_page, TABLES.into_iter().collect(), "every table stands on the page, and no other");
}

#[test]
fn every_code_is_listed_once_in_order() {
    let listed: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
    assert!(listed.is_sorted(), "sorted, so that people find them");
    let pattern =
        Regex::new(r#"(?:push|push_pair|mistake|fail|UnitError::new|known)\(\s*(?:if bare \{ )?"([a-z]+(?:-[a-z]+)+)"|code: "([a-z-]+)""#)
            .unwrap();
    let mut used = BTreeSet::new();
    for folder in ["config", "registry", "model", "probe", "notify"] {
        for file in sources(&root().join("src").join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            used.extend(pattern.captures_iter(text).filter_map(|found| found.get(1).or(found.get(2))).map(|code| code.as_str().to_owned()));
        }
    }
    assert!(used.len() > 30, "{used:?}");
    let missing: Vec<&String> = used.iter().filter(|code| !listed.contains(&code.as_str())).collect();
    assert!(missing.is_empty(), "not listed in CODES: {missing:?}");
}

/// What stands in the documents as YAML can be read: a piece of a configuration is put where it belongs. Names that only the text around
/// it explains, and files that are not there, are no mistakes of a document.
#[test]
fn yaml_in_the_documents_can_be_read() {
    let accepted = [
        "unknown-variable",
        "unreadable-file",
        "unreadable-secret",
        "unset-variable",
        "host-not-allowed",
        "unknown-target",
        "bad-grpc",
        "bad-certificate",
    ];
    let mut read = 0;
    let documents = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for document in documents.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&document).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let Some(whole) = placed(block) else { continue };
            read += 1;
            let Err(report) = crate::config::load_text("document.yaml", &whole, &root(), &kinds()) else { continue };
            let mistakes: Vec<&str> =
                report.mistakes().iter().map(|mistake| mistake.code).filter(|code| !accepted.contains(code)).collect();
            assert!(mistakes.is_empty(), "{}:\n{report}", document.display());
        }
    }
    assert!(read > 15, "{read}");
}

/// A whole configuration around a piece of one; `None` when it is a piece of something else.
fn placed(block: &str) -> Option<String> {
    let indented = |spaces: usize| block.lines().map(|line| format!("{}{line}\n", " ".repeat(spaces))).collect::<Vec<_>>().concat();
    let target = "targets: { shop: { base_url: \"http://shop.internal\", allow: [\"grpc.internal:9090\"], identities: { admin: { bearer: x } } } }\n";
    let scenario = "profiles:\n  p:\n    target: shop\n    scenarios:\n      s:\n        executor: constant-vus\n        vus: 1\n        duration: 1s\n";
    let step = "        flow:\n          - step: a\n            get: /\n";
    let first = block.split([':', ' ', '\n']).next()?;
    Some(match first {
        "targets" => block.to_owned(),
        "profiles" => format!("{target}{block}"),
        "flow" | "data" | "http" => {
            let flow = if first == "flow" { "" } else { "        flow: [{ step: a, get: / }]\n" };
            format!("{target}{scenario}{}{flow}", indented(8))
        }
        "extract" | "check" => format!("{target}{scenario}{step}{}", indented(12)),
        "-" => format!("{target}{scenario}        flow:\n{}          - {{ step: last, get: / }}\n", indented(10)),
        "auth" => format!("targets:\n  shop:\n    base_url: http://shop.internal\n{}", indented(4)),
        _ => return None,
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

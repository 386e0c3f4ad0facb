//! Keeps the walls of the house: layers, outside libraries, lengths, lint exemptions, migrations, metrics, kinds, documents.
//! Each rule is one test; its message says what to do. The table of layers is the one in ARCHITECTURE.md.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use source::{Source, before_unit_tests, code_only, files, module_of, pattern, read, references, root, sources};

/// The layer of every module. A module may name those of lower layers; in layers 0 and 5 also its equals.
const LAYERS: &[(&str, u8)] = &[
    ("model", 0),
    ("registry", 0),
    ("clock", 0),
    ("analysis", 1),
    ("alert", 1),
    ("executor::schedule", 1),
    ("executor", 2),
    ("flow", 2),
    ("protocol", 2),
    ("probe", 2),
    ("notify", 2),
    ("store", 2),
    ("metrics", 2),
    ("report", 2),
    ("demo", 2),
    ("engine", 3),
    ("config", 4),
    ("server", 4),
    ("app", 5),
    ("cli", 5),
    ("main", 5),
];

/// Outside crates that only some places may name: files whose path begins so.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("sqlx", &["src/store/", "src/demo/", "src/probe/postgres", "src/probe/pgbouncer", "src/probe/mysql"]),
    ("lettre", &["src/notify/email"]),
    ("minijinja", &["src/notify/template.rs"]),
    ("tiny_skia", &["src/report/canvas.rs"]),
    ("axum", &["src/server/", "src/demo/"]),
    ("tokio_cron_scheduler", &["src/engine/scheduler.rs"]),
    ("croner", &["src/engine/", "src/config/"]),
];

/// Most lines of a source file, unit tests not counted.
const MOST_LINES: usize = 500;

/// Fails with every breach and what to do about them.
fn check(breaches: &[String], what_to_do: &str) {
    assert!(breaches.is_empty(), "{what_to_do}\n  {}", breaches.join("\n  "));
}

/// The entry of the table of layers that a path from the crate's root belongs to.
fn layer_of(path: &[String]) -> Option<(&'static str, u8)> {
    let joined = path.join("::");
    let belongs = |name: &str| joined == name || joined.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
    LAYERS.iter().filter(|(name, _)| belongs(name)).max_by_key(|(name, _)| name.len()).copied()
}

fn may_name(from: (&str, u8), to: (&str, u8)) -> bool {
    from.0 == to.0 || to.1 < from.1 || (from.1 == to.1 && matches!(from.1, 0 | 5))
}

/// The module that defines each macro exported at the crate's root.
fn exported_macros(sources: &[Source]) -> BTreeMap<String, Vec<String>> {
    let exported = pattern(r"#\[macro_export\]\s*macro_rules!\s+(\w+)");
    let of = |source: &Source| {
        let module = module_of(&source.path);
        exported.captures_iter(&source.code).map(|hit| (hit[1].to_owned(), module.clone())).collect::<Vec<_>>()
    };
    sources.iter().flat_map(of).collect()
}

fn layer_breaches(sources: &[Source]) -> Vec<String> {
    let macros = exported_macros(sources);
    let mut breaches = Vec::new();
    for source in sources.iter().filter(|source| source.path != "src/lib.rs") {
        let module = module_of(&source.path);
        let Some(from) = layer_of(&module) else {
            breaches.push(format!("{} is in no layer: add its module to the table", source.path));
            continue;
        };
        for (line, path) in references(&module, &source.code) {
            let path = path.first().and_then(|first| macros.get(first)).unwrap_or(&path);
            if let Some(to) = layer_of(path)
                && !may_name(from, to)
            {
                breaches.push(format!("{}:{line}: `{}` (layer {}) names `{}` (layer {})", source.path, from.0, from.1, to.0, to.1));
            }
        }
    }
    breaches
}

#[test]
fn modules_name_only_lower_layers() {
    let sources = sources();
    assert!(exported_macros(&sources).contains_key("settings"), "the macro `settings!` is not found any more");
    let what_to_do = "A module names only modules of lower layers (ARCHITECTURE.md). Move the shared type down into `model`, or let \
                      a higher layer put the two together.";
    check(&layer_breaches(&sources), what_to_do);
}

#[test]
fn the_rule_of_layers_bites() {
    let breach = |path: &str, code: &str| {
        let macros =
            Source { path: "src/registry/decode.rs".into(), text: String::new(), code: "#[macro_export]\nmacro_rules! settings {".into() };
        let source = Source { path: path.into(), text: String::new(), code: code.into() };
        layer_breaches(&[macros, source])
    };
    for (path, code) in [
        ("src/model/run.rs", "use crate::engine::Setup;"),
        ("src/store/sqlite.rs", "use crate::probe::Probe;"),
        ("src/store/mod.rs", "use super::engine::handle;"),
        ("src/analysis/leak.rs", "use crate::alert::judge;"),
        ("src/executor/schedule.rs", "use super::open::Driver;"),
        ("src/engine/runner.rs", "let x = crate::config::load();"),
        ("src/server/mod.rs", "use crate::{app, model};"),
        ("src/unheard/of.rs", ""),
    ] {
        assert_eq!(breach(path, code).len(), 1, "{path}: {code}");
    }
    for (path, code) in [
        ("src/model/run.rs", "use crate::clock::Clock; crate::settings! {}"),
        ("src/executor/open.rs", "use super::schedule::Starts;"),
        ("src/config/mod.rs", "use crate::{engine::setup, probe, registry};"),
        ("src/cli/run.rs", "use crate::app; use super::Options;"),
    ] {
        assert_eq!(breach(path, code), Vec::<String>::new(), "{path}: {code}");
    }
}

#[test]
fn every_top_level_module_has_a_layer() {
    let declared = pattern(r"(?m)^pub mod (\w+);");
    let lib = read("src/lib.rs");
    let modules: Vec<String> = declared.captures_iter(&lib).map(|hit| hit[1].to_owned()).collect();
    assert!(modules.len() > 10, "the modules of src/lib.rs are not found any more");
    let homeless: Vec<String> = modules.into_iter().filter(|name| layer_of(std::slice::from_ref(name)).is_none()).collect();
    check(&homeless, "Add the module to the table of layers here and in ARCHITECTURE.md:");
}

#[test]
fn outside_libraries_stay_in_their_rooms() {
    let manifest = read("Cargo.toml");
    let sources = sources();
    let mut breaches = Vec::new();
    for (library, rooms) in OUTSIDE {
        assert!(manifest.contains(&library.replace('_', "-")), "{library} is no dependency any more: drop its line from the table");
        let named = pattern(&format!(r"\b{library}\s*(::|;|\sas\s)"));
        for source in &sources {
            if named.is_match(&source.code) && !rooms.iter().any(|room| source.path.starts_with(room)) {
                breaches.push(format!("{} names {library}, which is for {}", source.path, rooms.join(", ")));
            }
        }
    }
    let named = pattern(r"\breqwest\s*(::|;|\sas\s)");
    for source in sources.iter().filter(|source| source.path.starts_with("src/engine/") && named.is_match(&source.code)) {
        breaches.push(format!("{} names reqwest; the engine knows probes and notifiers through their traits", source.path));
    }
    check(&breaches, "An outside library is named in one room only, so that it can be replaced there. Put a function there and call it:");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = sources().into_iter().filter(|source| !source.text.starts_with("//! ")).map(|source| source.path).collect();
    check(&silent, "Open the file with `//!`: two to six lines on what it is for and what it may not do:");
}

#[test]
fn no_file_is_long() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.code.is_empty())
        .map(|source| (before_unit_tests(&source.text).lines().count(), source.path))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    check(&long, &format!("A file is one idea: at most {MOST_LINES} lines before its unit tests. Split it:"));
}

#[test]
fn lints_are_exempted_by_expect_with_a_reason() {
    let mut breaches = Vec::new();
    for source in sources() {
        let code = code_only(&source.text);
        let code = if source.path.starts_with("src/registry/") { without_macros(&code) } else { code };
        breaches.extend(exemptions(&code).map(|line| format!("{}:{line}", source.path)));
    }
    for path in files("tests", ".rs") {
        breaches.extend(exemptions(&code_only(&read(&path))).map(|line| format!("{path}:{line}")));
    }
    check(&breaches, "Write `#[expect(the_lint, reason = \"why it must be\")]` instead of `#[allow(…)]`:");
}

/// Lines with an `allow` attribute.
fn exemptions(code: &str) -> impl Iterator<Item = usize> + '_ {
    code.lines().enumerate().filter(|(_, line)| line.contains("[allow(")).map(|(at, _)| at + 1)
}

/// The code with the bodies of macro definitions blanked: what they expand to cannot know which exemption is needed.
fn without_macros(code: &str) -> String {
    let definition = pattern(r"macro_rules!\s*\w+\s*\{");
    let mut kept = String::new();
    let mut rest = code;
    while let Some(found) = definition.find(rest) {
        kept.push_str(&rest[..found.end()]);
        let mut depth = 1_i32;
        let body = &rest[found.end()..];
        let end = body.char_indices().find(|(_, letter)| {
            depth += i32::from(*letter == '{') - i32::from(*letter == '}');
            depth == 0
        });
        let end = end.map_or(body.len(), |(at, _)| at);
        kept.extend(body[..end].chars().filter(|letter| *letter == '\n'));
        rest = &body[end..];
    }
    kept + rest
}

#[test]
fn exemptions_are_seen_outside_macros_only() {
    let code = "#[allow(dead_code)]\nmacro_rules! m { ($x:ident) => {\n#[allow(unused_mut)] {} } }\n#![allow(missing_docs)]";
    assert_eq!(exemptions(code).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(exemptions(&without_macros(code)).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> Vec<String> {
        let folder = format!("migrations/{database}/");
        files(&folder, ".sql").into_iter().map(|path| path.trim_start_matches(folder.as_str()).to_owned()).collect()
    };
    let sqlite = names("sqlite");
    assert_eq!(sqlite, names("postgres"), "every migration is written for both databases, under the same name");
    for (at, name) in sqlite.iter().enumerate() {
        let number = format!("{:04}_", at + 1);
        assert!(name.starts_with(&number), "migrations are numbered without gaps: `{name}` should begin with {number}");
    }
}

#[test]
fn dashboards_and_rules_name_metrics_that_exist() {
    let name = pattern(r"\bplimsoll_[a-z0-9_]+");
    let code: String = sources().into_iter().filter(|source| source.path.starts_with("src/metrics")).map(|source| source.text).collect();
    let known: BTreeSet<&str> = name.find_iter(&code).map(|found| found.as_str()).collect();
    assert!(known.len() > 5, "the names of metrics are not found in src/metrics any more");
    let exists = |metric: &str| {
        known.contains(metric)
            || ["_bucket", "_sum", "_count"].iter().any(|end| metric.strip_suffix(end).is_some_and(|base| known.contains(base)))
    };
    let mut breaches = Vec::new();
    for path in files("grafana/dashboards", ".json").into_iter().chain(files("deploy/prometheus", ".yml")) {
        let text = read(&path);
        let used: BTreeSet<&str> = name.find_iter(&text).map(|found| found.as_str()).collect();
        breaches.extend(used.into_iter().filter(|metric| !exists(metric)).map(|metric| format!("{path}: {metric}")));
    }
    check(&breaches, "No metric of this name is in src/metrics; correct the query, or add the metric:");
}

/// The names of a module's kinds, by its source text: every `Kind { name: "…"`.
fn kinds_of(module: &str) -> Vec<String> {
    let name = pattern(r#"\bKind\s*\{\s*name:\s*"([a-z0-9_-]+)""#);
    let mut found = BTreeSet::new();
    for path in files(&format!("src/{module}"), ".rs") {
        let text = read(path);
        found.extend(name.captures_iter(before_unit_tests(&text)).map(|hit| hit[1].to_owned()));
    }
    assert!(!found.is_empty(), "no kind is found in src/{module}/: each is written `Kind {{ name: \"…\", …`");
    found.into_iter().collect()
}

/// The names of the executors, as `Executor::name` says them.
fn executors() -> Vec<String> {
    let arm = pattern(r#"Self::\w+ \{ \.\. \} => "([a-z-]+)""#);
    let text = read("src/model/profile.rs");
    let found: Vec<String> = arm.captures_iter(&text).map(|hit| hit[1].to_owned()).collect();
    assert!(found.len() >= 4, "the executors are not found in src/model/profile.rs any more");
    found
}

#[test]
fn every_kind_has_an_example_and_a_line_in_the_reference() {
    let examples: String = files("config/examples", ".yaml").into_iter().map(read).collect();
    let reference = read("docs/configuration.md");
    let kinds = [("probe", "type"), ("notify", "type")]
        .into_iter()
        .flat_map(|(module, key)| kinds_of(module).into_iter().map(move |kind| (key, kind)));
    let mut breaches = Vec::new();
    for (key, kind) in kinds.chain(executors().into_iter().map(|name| ("executor", name))) {
        if !pattern(&format!(r#"\b{key}:\s*"?{kind}\b"#)).is_match(&examples) {
            breaches.push(format!("`{key}: {kind}` is in no file under config/examples/"));
        }
        if !reference.contains(&format!("`{kind}`")) {
            breaches.push(format!("`{kind}` is not in docs/configuration.md"));
        }
    }
    check(&breaches, "Whatever can be configured has an example that parses, and a line in the reference:");
}

/// The files of the repository: those that git knows, and new ones that it does not ignore.
fn repository() -> Vec<String> {
    let listed = std::process::Command::new("git").args(["ls-files", "-z", "-co", "--exclude-standard"]).current_dir(root()).output();
    let listed = listed.expect("git lists the files of the repository");
    let paths: Vec<String> =
        String::from_utf8_lossy(&listed.stdout).split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    assert!(paths.iter().any(|path| path == "Cargo.toml"), "git does not list the repository: {}", String::from_utf8_lossy(&listed.stderr));
    paths.into_iter().filter(|path| root().join(path).is_file()).collect()
}

/// A path that only one machine has. Put together from pieces, so that this file does not hold one.
fn machine_path() -> Regex {
    pattern(&format!(r"(?:^|[^\w./-])(?:/(?:{}/|{}/\w+/|{}/|{}/)|\.\./{})", "root", "home", "tmp/wt", "work/(?:shared|main)", "shared/"))
}

#[test]
fn paths_of_one_machine_are_seen() {
    let bad = ["at /ROOT/x", "\"/HOME/ann/x", "(/TMP/wt/x)", "/WORK/main/x", "see ../SHARED/x"];
    for bad in bad.map(str::to_lowercase) {
        assert!(machine_path().is_match(&bad), "{bad}");
    }
    for fine in ["https://example.org/root/x", "get: /work", "/home", "src/../shared", "/tmp/x"] {
        assert!(!machine_path().is_match(fine), "{fine}");
    }
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let places = machine_path();
    let mut breaches = Vec::new();
    for path in repository() {
        let Ok(text) = String::from_utf8(std::fs::read(root().join(&path)).expect("a file of the repository")) else { continue };
        let hits = text.lines().enumerate().filter(|(_, line)| places.is_match(line));
        breaches.extend(hits.map(|(at, line)| format!("{path}:{}: {}", at + 1, line.trim())));
    }
    check(&breaches, "A path of one machine means nothing on another; make it relative, or redact it in the snapshot:");
}

#[test]
fn the_map_names_every_room() {
    let map = read("ARCHITECTURE.md");
    let rooms: BTreeSet<String> = sources().iter().filter_map(|source| module_of(&source.path).into_iter().next()).collect();
    assert!(rooms.len() > 10, "the modules of src/ are not found any more");
    let unnamed: Vec<String> = rooms.into_iter().filter(|room| !pattern(&format!(r"\b{room}\b(/|\.rs|`)")).is_match(&map)).collect();
    check(&unnamed, "ARCHITECTURE.md is the map of the house; add the module and what it is for:");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let link = pattern(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)");
    let documents: Vec<String> =
        repository().into_iter().filter(|path| Path::new(path).extension().is_some_and(|end| end == "md")).collect();
    let mut breaches = Vec::new();
    let mut linked = BTreeSet::new();
    for path in &documents {
        let folder = root().join(path).parent().expect("the folder of a file").to_owned();
        for hit in link.captures_iter(&read(path)) {
            let to = &hit[1];
            if to.contains("://") || to.starts_with("mailto:") {
                continue;
            }
            match folder.join(to).canonicalize() {
                Ok(found) => _ = linked.insert(found),
                Err(_) => breaches.push(format!("{path}: `{to}` does not exist")),
            }
        }
    }
    let lost = |path: &&String| path.starts_with("docs/") && !linked.contains(&root().join(path).canonicalize().unwrap_or_default());
    breaches.extend(documents.iter().filter(lost).map(|path| format!("{path} is linked from nowhere")));
    check(&breaches, "Documents are found by their links; correct them:");
}

#[test]
fn what_compose_mounts_exists() {
    let mount = pattern(r"(?m)^\s*-\s+(\.[^:\s]*):");
    let text = read("deploy/compose.yaml");
    let mounted: Vec<String> = mount.captures_iter(&text).map(|hit| hit[1].to_owned()).collect();
    assert!(mounted.len() >= 3, "the mounted files are not found in deploy/compose.yaml any more");
    let missing: Vec<String> = mounted.into_iter().filter(|path| !root().join("deploy").join(path).exists()).collect();
    check(&missing, "Docker would make an empty folder where a mounted file is missing; correct deploy/compose.yaml:");
}

//! Reads the source tree for the rules of the house: files, code without comments and texts, and the paths that code names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// One source file under `src/`.
pub(super) struct Source {
    /// Path from the root of the repository: `src/engine/runner.rs`.
    pub(super) path: String,
    /// Everything.
    pub(super) text: String,
    /// Without comments and the contents of texts, line by line as in the file, up to the module of unit tests.
    pub(super) code: String,
}

/// A pattern that is written in a test.
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

static UNIT_TESTS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?m)^\s*#\[cfg\(test\)\]\s*(#\[[^\n]*\]\s*)*(pub(\([a-z]+\))?\s+)?mod\s+\w+\s*\{"));

static TEST_FILES: LazyLock<Regex> = LazyLock::new(|| pattern(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))?\s+)?mod\s+(\w+)\s*;"));

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?xs)
        //[^\n]* | /\*.*?\*/                                                # comments
        | \b(?:b|c)?r\#\#".*?"\#\# | \b(?:b|c)?r\#".*?"\#  | \b(?:b|c)?r".*?" # raw texts
        | "(?:\\.|[^"\\])*"                                                 # texts
        | '(?:\\.[^']*|[^'\\])'                                             # characters
        "#,
    )
});

static PATH: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(crate|plimsoll|(?:self::)?super(?:\s*::\s*super)*)\s*::\s*"));

/// The root of the repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository; panics with its name when it is missing.
pub(super) fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
}

/// Files below `folder` whose name ends with `ending`, sorted, as paths from the root. Never none: an empty list would pass every rule.
pub(super) fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{} cannot be read: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry of a folder").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(relative(&path));
            }
        }
    }
    assert!(!found.is_empty(), "there is no file *{ending} under {folder}/, so the rule would hold of nothing");
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root()).expect("a path below the root").into();
    path.to_string_lossy().into_owned()
}

/// Every Rust file under `src/`. Files that only tests have (`#[cfg(test)] mod tests;`) are without code: they may name what they like.
pub(super) fn sources() -> Vec<Source> {
    let load = |path: String| {
        let text = read(&path);
        let code = code_only(before_unit_tests(&text));
        Source { path, text, code }
    };
    let mut sources: Vec<Source> = files("src", ".rs").into_iter().map(load).collect();
    let tests: BTreeSet<Vec<String>> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let module = module_of(&source.path);
        if (1..=module.len()).any(|depth| tests.contains(&module[..depth])) {
            source.code.clear();
        }
    }
    assert!(sources.iter().filter(|source| source.code.is_empty()).count() * 2 < sources.len(), "most files count as tests");
    sources
}

/// The modules in files of their own that a file has for tests only.
fn test_modules(source: &Source) -> Vec<Vec<String>> {
    let declared = TEST_FILES.captures_iter(&source.code);
    declared.map(|hit| module_of(&source.path).into_iter().chain([hit[1].to_owned()]).collect()).collect()
}

/// The part of a file before its inline module of unit tests.
pub(super) fn before_unit_tests(text: &str) -> &str {
    UNIT_TESTS.find(text).map_or(text, |found| &text[..found.start()])
}

/// The code with comments and the contents of texts blanked; line breaks stay.
pub(super) fn code_only(text: &str) -> String {
    let blank = |found: &regex::Captures<'_>| -> String { found[0].chars().filter(|letter| *letter == '\n').collect() };
    TOKEN.replace_all(text, blank).into_owned()
}

/// The module that a file is: `src/engine/runner.rs` → `["engine", "runner"]`; the crate's root for `lib.rs`.
pub(super) fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    if parts == ["lib"] { Vec::new() } else { parts }
}

/// The paths from the crate's root that the code of a module names, with their line: `crate::`, `plimsoll::` and `super::`, also in
/// groups (`use crate::{clock, model::run}`), two segments deep.
pub(super) fn references(module: &[String], code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for hit in PATH.captures_iter(code) {
        let (Some(whole), Some(word)) = (hit.get(0), hit.get(1)) else { continue };
        let line = code[..whole.start()].lines().count().max(1);
        let ups = word.as_str().matches("super").count();
        let base = match (ups, module.len().checked_sub(ups)) {
            (0, _) => &[][..],
            (_, Some(depth)) => &module[..depth],
            (_, None) => continue,
        };
        for tail in tails(&code[whole.end()..], 2) {
            found.push((line, base.iter().cloned().chain(tail).collect()));
        }
    }
    found
}

/// The paths that `text` begins with, groups spread out, at most `depth` segments each.
fn tails(text: &str, depth: usize) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if depth == 0 {
        return vec![Vec::new()];
    }
    if let Some(group) = text.strip_prefix('{') {
        return members(group).into_iter().flat_map(|member| tails(member, depth)).collect();
    }
    let end = text.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if word.is_empty() {
        return vec![Vec::new()];
    }
    let below = rest.trim_start().strip_prefix("::").map_or_else(|| vec![Vec::new()], |rest| tails(rest, depth - 1));
    below.into_iter().map(|tail| std::iter::once(word.to_owned()).chain(tail).collect()).collect()
}

/// The members of a group whose opening brace was just read.
fn members(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_u32, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&text[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|member| !member.trim().is_empty());
    found
}

#[test]
fn comments_texts_and_unit_tests_are_not_code() {
    let text = "use a; // crate::x\n/* crate::y\n */ let s = \"crate::z \\\" //\"; let c = '\"'; r#\"crate::w\"#;\n#[cfg(test)]\nmod tests { crate::v }";
    assert_eq!(code_only(before_unit_tests(text)), "use a; \n\n let s = ; let c = ; ;\n");
    let with_file = "#[cfg(test)]\nmod testing;\nuse a;";
    assert_eq!(before_unit_tests(with_file), with_file);
    let source = Source { path: "src/report/mod.rs".into(), text: String::new(), code: with_file.into() };
    assert_eq!(test_modules(&source), [["report", "testing"]]);
}

#[test]
fn every_way_to_name_a_module_is_seen() {
    let found = |module: &[&str], code: &str| -> Vec<String> {
        let module: Vec<String> = module.iter().map(|&part| part.to_owned()).collect();
        references(&module, code).into_iter().map(|(line, path)| format!("{line} {}", path.join("::"))).collect()
    };
    for (module, code, expected) in [
        (&["store", "sqlite"][..], "use crate::engine;", &["1 engine"][..]),
        (&["store"], "\n fn f() -> crate::model::run::Run {", &["2 model::run"]),
        (&["store"], "use crate::{clock, model::{run, units::X}, app::Y};", &["1 clock", "1 model::run", "1 model::units", "1 app::Y"]),
        (&["store"], "use super::engine::Z;", &["1 engine::Z"]),
        (&["store", "sqlite"], "use super::sql; use super::super::engine;", &["1 store::sql", "1 engine"]),
        (&["main"], "plimsoll::cli::run()", &["1 cli::run"]),
        (&["engine"], "pub(crate) fn f() {}", &[]),
    ] {
        assert_eq!(found(module, code), expected, "{code}");
    }
}

//! The reference cases of tests/data/cases agree with the project's functions, by the program that `scripts/check-cases` runs.

use std::path::{Path, PathBuf};

#[expect(dead_code, reason = "its own `main` reads the command line")]
#[path = "../../examples/check_cases/main.rs"]
mod check_cases;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cases")
}

/// Whether all cases of a folder agree, and what is printed.
fn run(folder: &Path) -> Result<(bool, String), String> {
    let mut printed = Vec::new();
    let agree = check_cases::run(folder, &mut printed)?;
    Ok((agree, String::from_utf8(printed).expect("text")))
}

#[test]
fn all_cases_agree() {
    let (agree, printed) = run(&folder()).unwrap();
    assert!(agree, "{printed}");
    let tables = std::fs::read_dir(folder())
        .unwrap()
        .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|end| end == "csv")));
    let checked = printed.lines().filter(|line| line.contains(" agrees ")).count();
    assert_eq!(tables.count(), checked, "every table is in the index: {printed}");
}

#[test]
fn a_disagreement_is_seen() {
    let copy = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(copy.path().join(name), text).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
    write("index.json", r#"[{"case": "trend_white", "kind": "trend"}]"#);
    write("trend_white.csv", &read("trend_white.csv"));
    let expected = read("trend_white.json");
    write("trend_white.json", &expected);
    assert!(run(copy.path()).unwrap().0);
    // One figure in the millionth part.
    let mut changed: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let slope = &mut changed["expected"]["theil_sen_95"]["slope_per_s"];
    *slope = (slope.as_f64().unwrap() * 1.000_01).into();
    write("trend_white.json", &changed.to_string());
    let (agree, printed) = run(copy.path()).unwrap();
    assert!(!agree && printed.contains("theil_sen_95/slope_per_s: ours"), "{printed}");
    // A leak that is none.
    let mut leak: serde_json::Value = serde_json::from_str(&read("trend_linear_leak.json")).unwrap();
    leak["truth"]["leak"] = false.into();
    write("trend_white.json", &leak.to_string());
    write("trend_white.csv", &read("trend_linear_leak.csv"));
    let (agree, printed) = run(copy.path()).unwrap();
    assert!(!agree && printed.contains("verdict: ours Leak, expected no leak"), "{printed}");
    // A kind that nobody checks, a table that is not there, a folder that is none.
    write("index.json", r#"[{"case": "trend_white", "kind": "horoscope"}]"#);
    assert!(!run(copy.path()).unwrap().0);
    write("index.json", r#"[{"case": "elsewhere", "kind": "trend"}]"#);
    assert!(!run(copy.path()).unwrap().0);
    assert!(run(&copy.path().join("nowhere")).is_err());
}

//! Rules for dashboards that work at once for everybody: one file for import and provisioning, every panel explained and with a
//! unit, every query bound to job and instance, rates over `$__rate_interval`, no averaged percentiles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plimsoll::metrics::definitions;
use regex::Regex;
use serde_json::Value;

/// A dashboard with the name of its file.
pub(super) struct Dashboard {
    pub(super) file: String,
    pub(super) json: Value,
}

impl Dashboard {
    /// Panels that show something.
    pub(super) fn panels(&self) -> impl Iterator<Item = &Value> {
        self.json["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
    }

    fn variables(&self) -> &Vec<Value> {
        self.json["templating"]["list"].as_array().unwrap()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// All dashboards, by file name.
pub(super) fn dashboards() -> Vec<Dashboard> {
    let mut all: Vec<Dashboard> = std::fs::read_dir(folder().join("dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| Dashboard {
            file: path.file_name().unwrap().to_string_lossy().into_owned(),
            json: serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap(),
        })
        .collect();
    all.sort_by(|a, b| a.file.cmp(&b.file));
    assert_eq!(all.iter().map(|dashboard| dashboard.file.as_str()).collect::<Vec<_>>(), ["runs.json", "targets.json"]);
    all
}

/// Every query with its place: panels and annotations.
pub(super) fn expressions(dashboard: &Dashboard) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for panel in dashboard.panels() {
        for target in panel["targets"].as_array().unwrap() {
            all.push((format!("{}, {}", dashboard.file, panel["title"]), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for annotation in dashboard.json["annotations"]["list"].as_array().unwrap() {
        all.push((format!("{}, annotation {}", dashboard.file, annotation["name"]), annotation["expr"].as_str().unwrap().to_owned()));
    }
    all
}

/// Metric names in a query, without the parts of a histogram.
fn names(expr: &str) -> Vec<String> {
    let name = Regex::new(r"\b(plimsoll|process)_[a-z0-9_]+").unwrap();
    name.find_iter(expr).map(|found| found.as_str().to_owned()).collect()
}

fn kind_of(name: &str) -> Option<&'static str> {
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let known = |name: &str| definitions().find(|definition| definition.name == name).map(|definition| definition.kind);
    known(name).or_else(|| base.and_then(known).filter(|kind| *kind == "histogram"))
}

/// What is wrong with a query.
fn faults(expr: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for name in names(expr) {
        let Some(kind) = kind_of(&name) else {
            faults.push(format!("{name} is not declared in src/metrics.rs"));
            continue;
        };
        let selector = format!("{name}{{job=~\"$job\", instance=~\"$instance\"");
        if expr.matches(name.as_str()).count() > expr.matches(&selector).count() {
            faults.push(format!("{name} is not bound to $job and $instance"));
        }
        let rated = ["rate(", "increase("].iter().any(|function| expr.contains(&format!("{function}{name}{{")));
        if (kind == "counter" || name.ends_with("_bucket")) != rated {
            faults.push(format!("{name} is a {kind}: counters and only counters take rate or increase"));
        }
    }
    let ranges = Regex::new(r"\[([^\]]*)\]").unwrap();
    // A `[` inside a quoted matcher is part of a regular expression.
    let unquoted = Regex::new("\"[^\"]*\"").unwrap().replace_all(expr, "\"\"");
    for range in ranges.captures_iter(&unquoted).filter(|range| &range[1] != "$__rate_interval") {
        faults.push(format!("a range of {} instead of $__rate_interval", &range[1]));
    }
    if Regex::new(r"(avg|sum)( by \([^)]*\))? ?\([^()]*_p\d\d_seconds").unwrap().is_match(expr) {
        faults.push("percentiles of several series are not averaged or added".into());
    }
    if expr.contains("irate(") {
        faults.push("irate shows two samples only".into());
    }
    if expr.contains("histogram_quantile") && !Regex::new(r"sum by \([a-z, ]*\ble\)").unwrap().is_match(expr) {
        faults.push("a quantile needs `sum by (…, le)`".into());
    }
    faults
}

#[test]
fn the_rules_themselves_find_faults() {
    for (expr, says) in [
        ("plimsoll_nonsense{job=~\"$job\", instance=~\"$instance\"}", "not declared"),
        ("plimsoll_outbox_pending", "not bound"),
        ("plimsoll_requests_total{job=~\"$job\", instance=~\"$instance\"}", "counters and only counters"),
        ("rate(plimsoll_outbox_pending{job=~\"$job\", instance=~\"$instance\"}[$__rate_interval])", "counters and only counters"),
        ("rate(plimsoll_requests_total{job=~\"$job\", instance=~\"$instance\"}[5m])", "a range of 5m"),
        ("avg by (profile) (plimsoll_last_run_request_duration_p99_seconds{job=~\"$job\", instance=~\"$instance\"})", "averaged"),
    ] {
        let faults = faults(expr).join("; ");
        assert!(faults.contains(says), "{expr}: {faults}");
    }
}

#[test]
fn every_query_follows_the_rules() {
    for dashboard in dashboards() {
        for (place, expr) in expressions(&dashboard) {
            let faults = faults(&expr);
            assert!(faults.is_empty(), "{place}: {faults:?}\n{expr}");
        }
        for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query") {
            let query = variable["definition"].as_str().unwrap();
            assert!(!names(query).is_empty() && names(query).iter().all(|name| kind_of(name).is_some()), "{}: {query}", dashboard.file);
        }
    }
}

#[test]
fn every_dashboard_can_be_provisioned_and_imported() {
    let mut uids = BTreeSet::new();
    for dashboard in dashboards() {
        let Dashboard { file, json } = &dashboard;
        assert!(json["id"].is_null(), "{file}: id");
        assert_eq!(json["editable"], false, "{file}: editable");
        let uid = json["uid"].as_str().unwrap();
        assert!(uid == format!("plimsoll-{}", file.trim_end_matches(".json")) && uid.len() <= 40, "{file}: uid {uid}");
        assert!(uids.insert(uid.to_owned()));
        assert!((39..=41).contains(&json["schemaVersion"].as_u64().unwrap()), "{file}: schemaVersion");
        assert!(json.get("__inputs").is_none() && json.get("__requires").is_none(), "{file}: exported for sharing");
        assert!(json["tags"].as_array().unwrap().contains(&"plimsoll".into()), "{file}: tags");
        let variables: BTreeMap<&str, &Value> =
            dashboard.variables().iter().map(|variable| (variable["name"].as_str().unwrap(), variable)).collect();
        assert_eq!(variables["datasource"]["type"], "datasource", "{file}");
        assert_eq!(dashboard.variables().iter().filter(|variable| variable["type"] == "datasource").count(), 1, "{file}");
        for name in ["job", "instance"] {
            assert!(variables.contains_key(name), "{file}: variable {name}");
        }
        for variable in dashboard.variables().iter().filter(|variable| variable["type"] == "query") {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{file}: {}", variable["name"]);
            assert_eq!(variable["refresh"], 2, "{file}: {} follows the time range", variable["name"]);
        }
        let annotations = json["annotations"]["list"].as_array().unwrap();
        assert!(annotations.iter().any(|one| one["name"] == "Run starts" && one["useValueForTime"] == true), "{file}: run starts");
        assert!(annotations.iter().all(|one| one["datasource"]["uid"] == "${datasource}"), "{file}: annotations");
    }
}

#[test]
fn every_panel_is_explained_and_has_a_unit() {
    for dashboard in dashboards() {
        let file = &dashboard.file;
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in dashboard.json["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}, {title}: id twice");
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{file}, {title}: wider than the page");
            for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{file}, {title}: overlaps at {cell:?}");
            }
            if panel["type"] == "row" {
                continue;
            }
            assert!(
                !title.is_empty() && panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{file}, {title}: description"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}, {title}: data source");
            assert!(panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{file}, {title}: unit");
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{file}, {title}: no query");
            let refs: BTreeSet<&str> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
            assert_eq!(refs.len(), targets.len(), "{file}, {title}: refId twice");
            for target in targets {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}, {title}: data source of a query");
                assert_ne!(target["instant"], target["range"], "{file}, {title}: instant or range");
            }
        }
    }
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(folder().join(path)).unwrap()).unwrap()
}

#[test]
fn provisioning_files_name_the_data_source_and_the_folder() {
    let datasources = yaml("provisioning/datasources/prometheus.yaml");
    assert_eq!((&datasources["apiVersion"], &datasources["datasources"][0]["type"]), (&1.into(), &"prometheus".into()));
    let dashboards = yaml("provisioning/dashboards/plimsoll.yaml");
    let provider = &dashboards["providers"][0];
    assert_eq!((&provider["type"], &provider["allowUiUpdates"]), (&"file".into(), &false.into()));
    assert_eq!(provider["options"]["path"], "/var/lib/grafana/dashboards");
}

/// docs/metrics.md has one row per metric; `PLIMSOLL_UPDATE=1` writes it anew.
#[test]
fn the_reference_lists_every_metric() {
    let mut rows = String::from("| metric | kind | labels | what |\n| --- | --- | --- | --- |\n");
    for definition in definitions() {
        let labels: Vec<String> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
        rows.push_str(&format!("| `{}` | {} | {} | {} |\n", definition.name, definition.kind, labels.join(" "), definition.help));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- metrics: kept by a test -->\n").expect("the start mark");
    let (_, after) = rest.split_once("<!-- end of metrics -->\n").expect("the end mark");
    let fresh = format!("{before}<!-- metrics: kept by a test -->\n{rows}<!-- end of metrics -->\n{after}");
    if std::env::var_os("PLIMSOLL_UPDATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    assert!(
        text == fresh || std::env::var_os("PLIMSOLL_UPDATE").is_some(),
        "docs/metrics.md is stale: run this test with PLIMSOLL_UPDATE=1"
    );
}

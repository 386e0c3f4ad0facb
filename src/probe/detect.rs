//! What can be read off an address: the presets whose figures are on a metrics page, or the kind of server behind a database's URL.
//! For people who write a configuration (`plimsoll probe detect`): the outcome is settings as they would write them.

use std::time::Duration;

use tokio::time::Instant;

use super::exposition::Page;
use super::fetch::{Fetch, PageUrl};
use super::pools::{Pool, PoolReader};
use super::presets::{Checked, PRESETS, Preset};
use super::prometheus::process_points;
use super::{ProbeError, ProbeParts};
use crate::model::series::Point;
use crate::registry::ByteSize;

/// A preset that is on a page.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub preset: &'static Preset,
    /// What it reads at present.
    pub points: Vec<Point>,
}

impl Found {
    /// Whether the page does not show the limit, so that it must be given.
    pub fn needs_limit(&self) -> bool {
        self.preset.limit.is_empty() && self.preset.limit_label.is_empty()
    }

    /// What should be known before it is used; empty when there is nothing.
    pub fn doubts(&self) -> Vec<&'static str> {
        let mut doubts = Vec::new();
        if self.preset.checked == Checked::Reported {
            doubts.push("its names were not verified against the library");
        }
        if !self.preset.auto {
            doubts.push("its names say little, or stand for a pool that is shown under other names as well: is it the right one?");
        }
        if self.needs_limit() {
            doubts.push("the page does not show the configured maximum: give `limit`");
        }
        doubts
    }
}

/// What is on a page.
#[derive(Debug, Clone, Default)]
pub struct Detected {
    /// Presets, in the order of the reference.
    pub presets: Vec<Found>,
    /// Figures of the process behind the page.
    pub process: Vec<Point>,
    /// Names of metrics that look like those of a pool, when no preset was found.
    pub hints: Vec<String>,
}

/// The text of the page at an address; an address without a path means its `/metrics`.
pub async fn fetch_page(parts: &ProbeParts, url: &url::Url) -> Result<String, ProbeError> {
    let headers = http::HeaderMap::new();
    let fetch = Fetch { http: parts.http.clone(), headers, timeout: Duration::from_secs(5), max_size: ByteSize(16 << 20) };
    fetch.text(&PageUrl::new(page_of(url))).await
}

/// The address of the page: `/metrics` when there is no path.
pub fn page_of(url: &url::Url) -> url::Url {
    let mut page = url.clone();
    if page.path() == "/" {
        page.set_path("/metrics");
    }
    page
}

/// Words that stand in the names of pools' metrics.
const WORDS: [&str; 5] = ["pool", "connection", "conns", "in_use", "idle"];
/// Most hints.
const MOST_HINTS: usize = 20;

/// Looks for every preset, also those that are read only when they are named.
pub fn detect(text: &str) -> Result<Detected, ProbeError> {
    let page = Page::parse(text).map_err(|error| ProbeError { reason: "parse", detail: format!("this is not a metrics page: {error}") })?;
    let mut detected = Detected { process: process_points(&page, Instant::now(), &mut None), ..Detected::default() };
    for preset in PRESETS {
        let Some(pool) = Pool::from_preset(preset).filter(|pool| pool.is_on(&page)) else { continue };
        // A preset whose name is there but not its numbers is not found.
        if let Ok(reading) = PoolReader::new(Some(vec![pool])).read(&page, Instant::now()) {
            detected.presets.push(Found { preset, points: reading.points });
        }
    }
    if detected.presets.is_empty() {
        let like_a_pool = |name: &&str| WORDS.iter().any(|word| name.contains(word));
        let mut hints: Vec<String> =
            page.samples().iter().map(|sample| sample.name.as_ref()).filter(like_a_pool).map(str::to_owned).collect();
        hints.dedup();
        hints.truncate(MOST_HINTS);
        detected.hints = hints;
    }
    Ok(detected)
}

/// The kind of probe for an address, by its scheme; PgBouncer by its port or by the name of its console.
pub fn kind_of(url: &url::Url) -> Option<&'static str> {
    match url.scheme() {
        "http" | "https" => Some("prometheus"),
        "postgres" | "postgresql" if url.port() == Some(6432) || url.path() == "/pgbouncer" => Some("pgbouncer"),
        "postgres" | "postgresql" => Some("postgres"),
        "mysql" | "mariadb" => Some("mysql"),
        "redis" => Some("redis"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_with_their_doubts() {
        let page = "go_sql_in_use_connections{db_name=\"main\"} 3\ngo_sql_max_open_connections{db_name=\"main\"} 4\n\
                    prisma_pool_connections_busy 2\nprocess_resident_memory_bytes 5e6\n";
        let detected = detect(page).unwrap();
        let names: Vec<&str> = detected.presets.iter().map(|found| found.preset.name).collect();
        assert_eq!(names, ["go-sql", "prisma"]);
        assert!(detected.presets[0].doubts().is_empty() && detected.presets[1].needs_limit());
        assert_eq!((detected.process.len(), detected.hints.len()), (1, 0));
        assert_eq!(detected.presets[0].points[0], Point::new("pool_utilization", 0.75).with("pool", "main"));
    }

    #[test]
    fn without_a_preset_there_are_names_to_look_at() {
        let detected = detect("http_requests_total 3\nmy_pool_size 4\nmy_pool_size{a=\"b\"} 5\nmy_conns_open 1\n").unwrap();
        assert_eq!(detected.hints, ["my_pool_size", "my_conns_open"]);
        assert!(detect("<html>").is_err());
    }

    #[test]
    fn addresses_tell_their_kind() {
        let kind = |text: &str| kind_of(&url::Url::parse(text).unwrap());
        assert_eq!(kind("http://a/metrics"), Some("prometheus"));
        assert_eq!(kind("postgres://a:5432/shop"), Some("postgres"));
        assert_eq!(kind("postgres://a:6432/shop"), Some("pgbouncer"));
        assert_eq!(kind("postgres://a/pgbouncer"), Some("pgbouncer"));
        assert_eq!(kind("mysql://a"), Some("mysql"));
        assert_eq!(kind("ftp://a"), None);
    }
}

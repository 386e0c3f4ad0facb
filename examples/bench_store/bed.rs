//! A store on a SQLite file of its own, and what the process uses meanwhile (Linux).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll::store::{Store, open};
use tempfile::TempDir;

/// A store in a temporary folder.
pub(crate) struct Bed {
    folder: TempDir,
    pub(crate) store: Arc<dyn Store>,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&url(&folder)).await.unwrap();
        Self { folder, store }
    }

    /// Bytes of the file when everything is in it: closes the store and opens it again.
    pub(crate) async fn bytes(&mut self) -> u64 {
        self.store.close().await;
        let bytes = std::fs::metadata(file(&self.folder)).unwrap().len();
        self.store = open(&url(&self.folder)).await.unwrap();
        bytes
    }

    pub(crate) async fn roll_up_all(&self) {
        while self.store.roll_up(40).await.unwrap() == 40 {}
    }
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("plimsoll.db")
}

fn url(folder: &TempDir) -> String {
    format!("sqlite://{}", file(folder).display())
}

/// CPU time of this process so far.
pub(crate) fn cpu() -> Duration {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).unwrap();
    Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// The most memory that this process has had since its mark was taken back.
pub(crate) struct Peak(u64);

impl Peak {
    /// Takes the mark back to what is used now.
    pub(crate) fn mark() -> Self {
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        Self(status("VmRSS:"))
    }

    /// Megabytes above the mark.
    pub(crate) fn megabytes(&self) -> f64 {
        status("VmHWM:").saturating_sub(self.0) as f64 / 1e3
    }
}

/// A line of `/proc/self/status` in kilobytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

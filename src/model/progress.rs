//! One second of a run that is going on, as progress lines, the page and live metrics show it.
//! Pure figures: made by the engine each second, never stored.

use serde::Serialize;

/// One second of a running run, for progress lines and the page.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Second of the run.
    pub second: u32,
    /// Regular length in seconds.
    pub total_seconds: u32,
    /// Current stage of the first scenario.
    pub phase: String,
    /// VUs that exist.
    pub vus: u64,
    /// Requests that ended in this second.
    pub requests: u64,
    /// Of them failed.
    pub failed: u64,
    /// 95th percentile of `http_req_duration` over the last 5 s, microseconds; `None` when nothing was answered.
    pub p95_us: Option<u64>,
    /// Requests since the start.
    pub requests_total: u64,
    /// Of them failed.
    pub failed_total: u64,
    /// Starts dropped since the start.
    pub dropped_total: u64,
    /// Pools by the latest reading.
    pub pools: Vec<PoolNow>,
}

/// A pool at the latest reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolNow {
    /// Pool's name.
    pub pool: String,
    /// Checked out.
    pub in_use: Option<f64>,
    /// Configured maximum.
    pub limit: Option<f64>,
    /// Waiting callers.
    pub waiting: Option<f64>,
}

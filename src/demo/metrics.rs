//! The `/metrics` page of the demo target: the pool in the names of Go's DBStats collector, requests, and the process.
//! Takes no connection of the pool, so that it answers while the pool is exhausted.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::pool::PoolSnapshot;

/// Value of `db_name`: what the pool is called in probes.
pub const POOL_NAME: &str = "main";

/// Counters that the request path feeds.
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    /// Requests being answered.
    pub(super) in_flight: IntGauge,
    /// WebSockets that are open.
    pub(super) sockets_open: IntGauge,
    /// Messages that came by WebSockets.
    pub(super) socket_messages: IntCounter,
}

impl Metrics {
    /// All at zero.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let opts = Opts::new("http_requests_total", "Requests that were answered, by route and status.");
        let requests = IntCounterVec::new(opts, &["method", "path", "code"])?;
        let in_flight = IntGauge::new("http_requests_in_flight", "Requests being answered.")?;
        let sockets_open = IntGauge::new("demo_websockets_open", "WebSockets that are open.")?;
        let socket_messages = IntCounter::new("demo_websocket_messages_total", "Messages that came by WebSockets.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(sockets_open.clone()))?;
        registry.register(Box::new(socket_messages.clone()))?;
        Ok(Self { registry, requests, in_flight, sockets_open, socket_messages })
    }

    /// Counts an answer. `route` is one of the routes that exist, never a path that somebody made up.
    pub(super) fn answered(&self, method: &str, route: &str, status: u16) {
        self.requests.with_label_values(&[method, route, status.to_string().as_str()]).inc();
    }

    /// The page.
    pub(super) fn page(&self, pool: PoolSnapshot, leaked_bytes: u64) -> Result<Vec<u8>, prometheus::Error> {
        let mut families = self.registry.gather();
        families.extend(pool_families(pool)?);
        families.extend(gauge("demo_leaked_bytes", "Bytes kept by the memory leak.", leaked_bytes as f64, false)?);
        // A process that cannot be read has no figures, rather than zeros.
        if let Ok(process) = process_figures() {
            for (name, help, value, total) in process {
                families.extend(if total { counter(name, help, value, false)? } else { gauge(name, help, value, false)? });
            }
        }
        let mut page = Vec::new();
        TextEncoder::new().encode(&families, &mut page)?;
        Ok(page)
    }
}

fn options(name: &str, help: &str, pool: bool) -> Opts {
    let opts = Opts::new(name, help);
    if pool { opts.const_label("db_name", POOL_NAME) } else { opts }
}

fn gauge(name: &str, help: &str, value: f64, pool: bool) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let gauge = Gauge::with_opts(options(name, help, pool))?;
    gauge.set(value);
    Ok(gauge.collect())
}

fn counter(name: &str, help: &str, value: f64, pool: bool) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let counter = Counter::with_opts(options(name, help, pool))?;
    counter.inc_by(value);
    Ok(counter.collect())
}

fn pool_families(pool: PoolSnapshot) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let mut families = Vec::new();
    for (name, help, value) in [
        ("go_sql_max_open_connections", "Maximum number of open connections to the database.", f64::from(pool.limit)),
        ("go_sql_open_connections", "The number of established connections both in use and idle.", pool.open as f64),
        ("go_sql_in_use_connections", "The number of connections currently in use.", pool.in_use as f64),
        ("go_sql_idle_connections", "The number of idle connections.", pool.idle as f64),
        ("demo_pool_waiting", "Requests that wait for a connection now.", pool.waiting as f64),
        ("demo_pool_leaked_connections", "Connections that were never given back.", pool.leaked as f64),
    ] {
        families.extend(gauge(name, help, value, true)?);
    }
    for (name, help, value) in [
        ("go_sql_wait_count_total", "The total number of connections waited for.", pool.waits as f64),
        ("go_sql_wait_duration_seconds_total", "The total time blocked waiting for a new connection.", pool.waited.as_secs_f64()),
        ("go_sql_max_idle_closed_total", "The total number of connections closed due to SetMaxIdleConns.", 0.0),
        ("go_sql_max_idle_time_closed_total", "The total number of connections closed due to SetConnMaxIdleTime.", 0.0),
        ("go_sql_max_lifetime_closed_total", "The total number of connections closed due to SetConnMaxLifetime.", 0.0),
        ("demo_pool_timeouts_total", "Waits for a connection that ended without one.", pool.timeouts as f64),
    ] {
        families.extend(counter(name, help, value, true)?);
    }
    Ok(families)
}

type Figure = (&'static str, &'static str, f64, bool);

/// The figures of this process in the names of the official client libraries. Our own rather than the prometheus crate's collector,
/// which cuts CPU time to whole seconds and so cannot be read once a second.
fn process_figures() -> Result<Vec<Figure>, procfs::ProcError> {
    use procfs::WithCurrentSystemInfo as _;
    let process = procfs::process::Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let started = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks;
    let used = (stat.utime + stat.stime) as f64 / ticks;
    let mut figures = vec![
        ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", used, true),
        ("process_resident_memory_bytes", "Resident memory size in bytes.", stat.rss_bytes().get() as f64, false),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", stat.vsize as f64, false),
        ("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", started, false),
        ("process_open_fds", "Number of open file descriptors.", process.fd_count()? as f64, false),
        ("process_threads", "Number of OS threads in the process.", stat.num_threads as f64, false),
    ];
    if let procfs::process::LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        figures.push(("process_max_fds", "Maximum number of open file descriptors.", most as f64, false));
    }
    Ok(figures)
}

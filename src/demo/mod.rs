//! The built-in system under test: a real HTTP and gRPC service with a real bounded connection pool over a real database, and faults that
//! can be switched on. Honest on purpose: its pool blocks, its leaks grow. Knows nothing of the rest of Plimsoll. See docs/probes.md.

mod account;
mod api;
mod dependency;
mod faults;
mod front;
mod metrics;
mod pool;
mod rpc;
mod settings;
mod shapes;
mod social;
mod socket;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use faults::{ErrorFault, Faults};
pub use metrics::POOL_NAME;
pub use pool::PoolSnapshot;
pub use rpc::SchemaError;
pub use settings::Settings;

use api::App;
use faults::Switchboard;

/// Longest time that requests in flight may take at the end.
const GRACE: Duration = Duration::from_secs(5);

/// Why the demo target could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No folder for the database.
    #[error("cannot make a temporary folder: {0}")]
    Folder(std::io::Error),
    /// The database cannot be made.
    #[error("cannot make the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The metrics cannot be made.
    #[error("cannot make the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The gRPC side cannot be offered.
    #[error("cannot offer gRPC: {0}")]
    Rpc(#[from] rpc::SchemaError),
}

/// A demo target that runs. Dropping it ends it at once; [`Running::stop`] ends it properly.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    app: Arc<App>,
    tasks: JoinSet<()>,
    stop: DropGuard,
    _folder: tempfile::TempDir,
}

/// Starts a demo target; it answers when this returns.
pub async fn start(settings: Settings) -> Result<Running, StartError> {
    let listen_error = |source| StartError::Listen { address: settings.listen, source };
    let listener = TcpListener::bind(settings.listen).await.map_err(listen_error)?;
    let addr = listener.local_addr().map_err(listen_error)?;
    let backend = dependency::bind().await.map_err(listen_error)?;
    let backend_addr = backend.local_addr().map_err(listen_error)?;
    let folder = tempfile::Builder::new().prefix("plimsoll-demo-").tempdir().map_err(StartError::Folder)?;
    let database = pool::Database::create(folder.path(), settings.pool, settings.users, settings.acquire_timeout).await?;

    let stop = CancellationToken::new();
    let board = Switchboard::new(settings.leak_limit);
    let mut tasks = JoinSet::new();
    let backend = dependency::serve(backend, backend_addr, board.dependency_down());
    let ends = stop.clone();
    tasks.spawn(async move {
        ends.run_until_cancelled_owned(backend).await;
    });
    let app = Arc::new(App::new(settings, database, board, metrics::Metrics::new()?, backend_addr, stop.clone()));
    let service = api::router(app.clone(), rpc::router()?).into_make_service_with_connect_info::<wire::Wire>();
    let server = axum::serve(wire::Cuttable(listener), service).with_graceful_shutdown(stop.clone().cancelled_owned());
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the demo target ended");
        }
    });
    Ok(Running { addr, app, tasks, stop: stop.drop_guard(), _folder: folder })
}

impl Running {
    /// The address of a path: `url("/metrics")`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The pool now.
    pub fn pool(&self) -> PoolSnapshot {
        self.app.database.snapshot()
    }

    /// Stops accepting, lets requests in flight end (holds, stalls and waits are cut short), closes the database.
    pub async fn stop(mut self) {
        self.stop.disarm().cancel();
        let drain = async {
            while self.tasks.join_next().await.is_some() {}
            self.app.sockets.close();
            self.app.sockets.wait().await;
            self.app.database.close().await;
        };
        if tokio::time::timeout(GRACE, drain).await.is_err() {
            tracing::warn!("the demo target did not drain in time");
        }
        self.tasks.shutdown().await;
    }
}

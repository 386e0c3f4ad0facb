//! What the demo target is told at its start. Faults are switched while it runs (`faults.rs`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How the demo target is built.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Connections that the pool may open, at least 1.
    pub pool: u32,
    /// How long a request holds its connection beside its query.
    pub hold: Duration,
    /// How long a request waits for a connection before it is answered with 503.
    pub acquire_timeout: Duration,
    /// Users in the database, at least 1; each has a wallet, a card, a bot and ten transactions.
    pub users: u32,
    /// What the header `X-Version` says.
    pub version: String,
    /// The memory leak stops growing here, so that the machine of whoever tries it survives, bytes.
    pub leak_limit: u64,
    /// The OAuth client that `/oauth/token` knows.
    pub client_id: String,
    /// Its secret: no secret at all, it stands in the documentation.
    pub client_secret: String,
    /// How long a token of `/oauth/token` is good.
    pub token_life: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            pool: 20,
            hold: Duration::from_millis(20),
            acquire_timeout: Duration::from_secs(1),
            users: 200,
            version: env!("CARGO_PKG_VERSION").into(),
            leak_limit: 2 << 30,
            client_id: "demo".into(),
            client_secret: "demo-secret".into(),
            token_life: Duration::from_secs(300),
        }
    }
}

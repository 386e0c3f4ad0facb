//! What the program takes from where it runs: addresses, folders, the machine's name, random numbers.

use std::net::SocketAddr;
use std::path::PathBuf;

use rand::{Rng, SeedableRng};

use crate::engine::setup::Setup;
use crate::engine::spool::SpoolPlace;
use crate::store;

/// How people reach the pages, for links in messages.
pub(super) fn link_base(setup: &Setup, address: Option<SocketAddr>) -> Option<String> {
    setup.server.external_url.as_ref().map(ToString::to_string).or_else(|| address.map(|address| format!("http://{address}")))
}

/// Folder for the files of the daemon.
pub(super) fn data_dir(setup: &Setup) -> PathBuf {
    setup.storage.data_dir.clone()
}

/// Where this process keeps what the database does not take; nowhere when the database ends with the process.
pub(super) fn spool_of(setup: &Setup, name: &str) -> Option<SpoolPlace> {
    let storage = &setup.storage;
    let database = store::name_of(storage.url.expose())?;
    Some(SpoolPlace { folder: storage.spool.clone(), limit: storage.spool_limit, database, name: name.into() })
}

/// Name of this machine.
pub(super) fn hostname() -> String {
    std::fs::read_to_string("/etc/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".into())
}

/// Who asks by a command on this machine, for the audit log.
pub(crate) fn command_line() -> String {
    format!("the command line on {}", hostname())
}

/// The next random number.
pub(super) type RandomNumbers = Box<dyn FnMut() -> u64 + Send>;

/// Random numbers that differ from start to start.
pub(super) fn random_numbers() -> RandomNumbers {
    #[expect(clippy::disallowed_methods, reason = "the root of all random numbers of the program")]
    let mut random = rand::rngs::SmallRng::from_rng(&mut rand::rng());
    Box::new(move || random.next_u64())
}

//! Who shares connections: nobody, the VUs of a load thread, or not even two requests of one VU. What the VUs of a scenario have in
//! common on one load thread lies here as well: the dialer, and the buffer that all of them read into.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::Mutex;

use super::http1::Http1;
use super::http2::Http2;
use crate::model::request::{Connections, Cookies, HttpOptions, HttpVersion};
use crate::protocol::dial::{Dialer, Origin};

/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// What the VUs of one scenario share on one load thread.
pub struct HttpPool {
    pub(super) dialer: Dialer,
    pub(super) version: HttpVersion,
    pub(super) connections: Connections,
    pub(super) cookies: bool,
    /// Where bytes are read into; they are taken out before anybody else has a turn.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// What all VUs share, if they do.
    pub(super) lanes: Lanes,
}

/// Connections that several clients share: the VUs of a load thread, or what one VU does at the same time.
#[derive(Default)]
pub(super) struct Lanes(RefCell<HashMap<Origin, Lane>>);

/// The shared connections to one origin.
#[derive(Default)]
struct Lane {
    /// Idle ones, the one that was used last on top.
    #[expect(clippy::vec_box, reason = "connections come and go as boxes; copying them costs more")]
    one: Vec<Box<Http1>>,
    two: Vec<Rc<Http2>>,
    /// Held by who opens a connection that others may share.
    gate: Rc<Mutex<()>>,
    /// The server does not speak HTTP/2.
    only_one: bool,
}

/// A connection of either kind.
pub(super) enum Connection {
    One(Box<Http1>),
    Two(Rc<Http2>),
}

impl Connection {
    /// Whether a request can be sent on it.
    pub(super) fn is_usable(&mut self) -> bool {
        match self {
            Self::One(connection) => connection.is_fresh(),
            Self::Two(connection) => connection.is_open(),
        }
    }
}

impl HttpPool {
    /// For the VUs of a scenario that connects like this.
    pub fn new(dialer: &Dialer, options: &HttpOptions) -> Rc<Self> {
        Rc::new(Self {
            dialer: dialer.clone().with_dns_ttl(options.dns_ttl),
            version: options.version,
            connections: options.connections,
            cookies: options.cookies != Cookies::None,
            scratch: RefCell::new(vec![0; READ].into_boxed_slice()),
            lanes: Lanes::default(),
        })
    }

    /// The protocols that are offered by ALPN.
    pub(super) fn alpn(&self) -> &'static [&'static str] {
        match self.version {
            HttpVersion::Auto => &["h2", "http/1.1"],
            HttpVersion::Http1 => &["http/1.1"],
            HttpVersion::Http2 => &["h2"],
        }
    }

    /// Whether a connection to this origin may turn out to be HTTP/2.
    pub(super) fn may_be_two(&self, origin: &Origin) -> bool {
        match self.version {
            HttpVersion::Auto => origin.tls,
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
        }
    }
}

impl Lanes {
    /// Forgets all connections; what runs on them ends there.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// A connection on which a request can be sent now.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut lanes = self.0.borrow_mut();
        let lane = lanes.get_mut(origin)?;
        lane.two.retain(|connection| connection.is_open());
        if let Some(connection) = lane.two.iter().find(|connection| connection.has_room()) {
            return Some(Connection::Two(connection.clone()));
        }
        while let Some(mut connection) = lane.one.pop() {
            if connection.is_fresh() {
                return Some(Connection::One(connection));
            }
        }
        None
    }

    /// Gives a connection to all.
    pub(super) fn put(&self, origin: &Origin, connection: Connection) {
        let mut lanes = self.0.borrow_mut();
        if !lanes.contains_key(origin) {
            lanes.insert(origin.clone(), Lane::default());
        }
        let Some(lane) = lanes.get_mut(origin) else { return };
        match connection {
            Connection::One(connection) => {
                lane.only_one = true;
                lane.one.push(connection);
            }
            Connection::Two(connection) if lane.two.iter().any(|known| Rc::ptr_eq(known, &connection)) => {}
            Connection::Two(connection) => lane.two.push(connection),
        }
    }

    /// Notes that a server does not speak HTTP/2, so that nobody waits for a connection to share.
    pub(super) fn only_one(&self, origin: &Origin) {
        self.0.borrow_mut().entry(origin.clone()).or_default().only_one = true;
    }

    /// What to hold while a connection is opened that others may share; `None` when the server is known not to have such.
    pub(super) fn gate(&self, origin: &Origin) -> Option<Rc<Mutex<()>>> {
        let mut lanes = self.0.borrow_mut();
        let lane = lanes.entry(origin.clone()).or_default();
        (!lane.only_one).then(|| lane.gate.clone())
    }
}

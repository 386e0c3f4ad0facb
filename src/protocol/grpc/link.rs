//! HTTP/2 connections and who shares them: a pool of one VU, or of all VUs of a load thread. A connection whose server said goodbye
//! takes no new calls; those that are running end on it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::talk::broken_by;
use crate::model::failure::Reason;
use crate::model::measure::Outcome;
use crate::protocol::dial::{Broken, Course, Dialer, Origin};
use crate::protocol::stream::{Meter, Metering};

/// How much a server may send of one answer before it is read. It is read at once; the window only has to cover the way.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all answers of a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A connection.
pub(super) struct Link {
    pub(super) sender: SendRequest<Bytes>,
    meter: Rc<Meter>,
    /// Bytes that calls have been told of: sent, received.
    told: Cell<(u64, u64)>,
    state: Rc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    closed: Cell<bool>,
    /// How it ended, when that is known.
    end: RefCell<Option<Broken>>,
    calls: Cell<usize>,
    waiting: Cell<usize>,
    freed: Notify,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One call's place on a connection, given back when it is dropped.
pub(super) struct Place(Rc<State>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
        self.0.freed.notify_one();
    }
}

/// Counts a call that waits for its place, also when it is given up in between.
struct Queued<'a>(&'a State);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

impl Link {
    /// Opens a connection. The caller limits the time.
    async fn open(dialer: &Dialer, origin: &Origin, course: &mut Course, outcome: &mut Outcome) -> Result<Self, Broken> {
        let dialed = dialer.dial(origin, &["h2"], course, outcome).await?;
        if origin.tls && dialed.alpn.as_deref() != Some(b"h2") {
            return Err(Broken(Reason::Protocol, "the server does not speak HTTP/2: it did not choose `h2` by ALPN".into()));
        }
        let (io, meter) = Metering::new(dialed.transport);
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(io).await.map_err(|error| broken_by(&error))?;
        let state = Rc::new(State::default());
        let end = state.clone();
        let task = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                end.end.replace(Some(broken_by(&error)));
            }
            end.closed.set(true);
            end.freed.notify_waiters();
        });
        Ok(Self { sender, meter, told: Cell::default(), state, task })
    }

    /// Whether it takes new calls.
    async fn is_open(&self) -> bool {
        let mut sender = self.sender.clone();
        !self.state.closed.get() && std::future::poll_fn(|cx| sender.poll_ready(cx)).await.is_ok()
    }

    /// A place among the calls that the server takes at the same time; how long that took is added to `blocked`. `Err` when the
    /// connection ended meanwhile.
    pub(super) async fn place(&self, blocked: &mut Duration) -> Result<Place, Broken> {
        let state = &self.state;
        // Who came first goes first: a new call does not pass those that wait.
        if state.waiting.get() > 0 || state.calls.get() >= self.sender.current_max_send_streams() {
            let began = Instant::now();
            state.waiting.set(state.waiting.get() + 1);
            let _queued = Queued(state);
            loop {
                state.freed.notified().await;
                if state.closed.get() || state.calls.get() < self.sender.current_max_send_streams() {
                    break;
                }
            }
            *blocked += began.elapsed();
        }
        if state.closed.get() {
            return Err(Broken(Reason::ClosedEarly, "the server closed the connection before the call".into()));
        }
        state.calls.set(state.calls.get() + 1);
        Ok(Place(state.clone()))
    }

    /// Bytes written so far.
    pub(super) fn sent(&self) -> u64 {
        self.meter.read().sent
    }

    /// Bytes read so far.
    pub(super) fn received(&self) -> u64 {
        self.meter.read().received
    }

    /// Adds the bytes sent and received that no call has been told of. Of calls at the same time the one that ends first gets them:
    /// their sum is exact.
    pub(super) fn tell(&self, outcome: &mut Outcome) {
        let (now, before) = (self.meter.read(), self.told.get());
        self.told.set((now.sent, now.received));
        outcome.bytes_sent += now.sent - before.0;
        outcome.bytes_received += now.received - before.1;
    }

    /// The reason behind the error of a call; when it ended with its connection, that one's.
    pub(super) fn broken_by(&self, error: &h2::Error) -> Broken {
        let end = if error.is_io() { self.state.end.borrow().clone() } else { None };
        end.unwrap_or_else(|| broken_by(error))
    }
}

/// The connections of one VU or of all VUs of a load thread, at most one per origin. Cloning shares it.
#[derive(Clone, Default)]
pub struct GrpcPool(Rc<RefCell<Vec<Rc<Slot>>>>);

struct Slot {
    origin: Origin,
    link: RefCell<Option<Rc<Link>>>,
    /// Held while a connection is opened: others wait for that one.
    opening: Mutex<()>,
}

/// A connection for a call.
pub(super) struct Linked {
    pub(super) link: Rc<Link>,
    /// It has carried calls before.
    pub(super) reused: bool,
}

impl GrpcPool {
    fn slot(&self, origin: &Origin) -> Rc<Slot> {
        let mut slots = self.0.borrow_mut();
        if let Some(slot) = slots.iter().find(|slot| slot.origin == *origin) {
            return slot.clone();
        }
        let slot = Rc::new(Slot { origin: origin.clone(), link: RefCell::default(), opening: Mutex::default() });
        slots.push(slot.clone());
        slot
    }

    /// The connection to `origin`; opened when there is none that takes calls. Waiting for another VU's attempt counts as `blocked`.
    pub(super) async fn link(
        &self,
        dialer: &Dialer,
        origin: &Origin,
        course: &mut Course,
        outcome: &mut Outcome,
    ) -> Result<Linked, Broken> {
        let slot = self.slot(origin);
        if let Some(link) = slot.open_link().await {
            return Ok(Linked { link, reused: true });
        }
        let began = Instant::now();
        let _alone = slot.opening.lock().await;
        if let Some(link) = slot.open_link().await {
            outcome.phases.blocked += began.elapsed();
            return Ok(Linked { link, reused: true });
        }
        outcome.phases.blocked += began.elapsed();
        // Connecting needs a lot of room, and is rare: it does not lie in every VU's memory.
        let link = Rc::new(Box::pin(Link::open(dialer, origin, course, outcome)).await?);
        slot.link.replace(Some(link.clone()));
        Ok(Linked { link, reused: false })
    }

    /// Forgets a connection: calls that run on it end there, no new one begins.
    pub(super) fn forget(&self, link: &Rc<Link>) {
        for slot in self.0.borrow().iter() {
            let held = slot.link.borrow().as_ref().is_some_and(|held| Rc::ptr_eq(held, link));
            if held {
                slot.link.replace(None);
            }
        }
    }
}

impl Slot {
    async fn open_link(&self) -> Option<Rc<Link>> {
        let link = self.link.borrow().clone()?;
        if link.is_open().await {
            return Some(link);
        }
        let mut held = self.link.borrow_mut();
        if held.as_ref().is_some_and(|held| Rc::ptr_eq(held, &link)) {
            *held = None;
        }
        None
    }
}

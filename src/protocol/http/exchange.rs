//! What a request came to, and what of an answer is kept: the same for HTTP/1.1 and HTTP/2, which both hand over headers and pieces
//! of the body as they come. What nobody asked for is counted and forgotten.

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::coding::Coding;
use crate::model::failure::Reason;
use crate::model::measure::Outcome;
use crate::protocol::dial::Broken;
use crate::protocol::redact::LOOKED_AT;

/// The same while it is compressed.
const PACKED_LOOKED_AT: usize = 4096;

/// What the caller wants of an answer besides its status.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// The body, up to the scenario's limit; otherwise only the first bytes of a failed answer's.
    pub body: bool,
    /// Which headers.
    pub headers: Headers,
}

/// Headers of an answer that are kept. Few are cheaper than all.
#[derive(Debug, Clone, Default)]
pub enum Headers {
    /// None.
    #[default]
    None,
    /// Those of these names.
    Named(Vec<HeaderName>),
    /// All.
    All,
}

impl Headers {
    fn wants(&self, name: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Named(names) => names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted.as_str().as_bytes())),
            Self::All => true,
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Exchange {
    /// Figures of the last request; `failure` is set only when there is no complete answer.
    pub outcome: Outcome,
    /// Figures of the redirects before it, in order.
    pub hops: Vec<Outcome>,
    /// When everything was over.
    pub ended: Instant,
    /// Status, when there is a complete answer.
    pub status: Option<u16>,
    /// The headers that were asked for.
    pub headers: HeaderMap,
    /// Body, decompressed, when it was asked for; else the first bytes of it when the status is 400 or more.
    pub body: Vec<u8>,
    /// `Set-Cookie` of the redirects before the answer, in order, when that header was asked for; the answer's own are in `headers`.
    pub set_cookies: Vec<HeaderValue>,
    /// `Location`, when redirects are followed.
    pub(super) location: Option<String>,
    /// `Set-Cookie` of the answer, for the jar.
    pub(super) for_jar: Vec<String>,
    /// How the body is compressed.
    pub(super) coding: Option<Coding>,
}

impl Exchange {
    /// An empty one that began at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            outcome: Outcome::default(),
            hops: Vec::new(),
            ended: now,
            status: None,
            headers: HeaderMap::new(),
            body: Vec::new(),
            set_cookies: Vec::new(),
            location: None,
            for_jar: Vec::new(),
            coding: None,
        }
    }

    /// Lays the figures of a redirect aside, and what has to be known of its answer.
    pub(super) fn hop(&mut self) {
        self.hops.push(std::mem::take(&mut self.outcome));
        if let http::header::Entry::Occupied(cookies) = self.headers.entry(http::header::SET_COOKIE) {
            self.set_cookies.extend(cookies.remove_entry_mult().1);
        }
        self.forget_answer();
    }

    /// Forgets the answer, so that another request can be made; what hops left behind stays.
    pub(super) fn forget_answer(&mut self) {
        self.status = None;
        self.headers.clear();
        self.body.clear();
        self.location = None;
        self.for_jar.clear();
        self.coding = None;
    }
}

/// What is kept of the answers to a request.
#[derive(Debug, Clone)]
pub(super) struct Interest {
    pub(super) body: bool,
    /// Largest body that is kept, before and after decompression.
    pub(super) body_limit: usize,
    pub(super) headers: Headers,
    /// There is a jar for cookies.
    pub(super) for_jar: bool,
    pub(super) location: bool,
}

impl Interest {
    /// Takes note of a header of the answer.
    pub(super) fn header(&self, name: &[u8], value: &[u8], exchange: &mut Exchange) {
        // By length first: most headers are none of these.
        match name.len() {
            8 if self.location && exchange.location.is_none() && name.eq_ignore_ascii_case(b"location") => {
                exchange.location = Some(String::from_utf8_lossy(value).into_owned());
            }
            10 if self.for_jar && name.eq_ignore_ascii_case(b"set-cookie") => {
                exchange.for_jar.push(String::from_utf8_lossy(value).into_owned());
            }
            16 if name.eq_ignore_ascii_case(b"content-encoding") => exchange.coding = Coding::named(value),
            _ => {}
        }
        if self.headers.wants(name)
            && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            exchange.headers.append(name, value);
        }
    }

    /// Keeps what is wanted of a piece of the body of an answer with this status; fails when the body is larger than its limit.
    pub(super) fn body(&self, status: u16, piece: &[u8], exchange: &mut Exchange) -> Result<(), Broken> {
        if self.body {
            if piece.len() > self.body_limit.saturating_sub(exchange.body.len()) {
                return Err(too_large(self.body_limit));
            }
            exchange.body.extend_from_slice(piece);
        } else if status >= 400 {
            let limit = if exchange.coding.is_some() { PACKED_LOOKED_AT } else { LOOKED_AT };
            let room = limit.saturating_sub(exchange.body.len());
            exchange.body.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        Ok(())
    }
}

/// The failure of a body that is larger than `limit`.
pub(super) fn too_large(limit: usize) -> Broken {
    Broken(Reason::BodyTooLarge, format!("the body is larger than {limit} bytes"))
}

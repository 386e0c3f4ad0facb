//! One VU's HTTP client without the rest of the program: asks real servers and shows what every request came to.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll::model::failure::Reason;
use plimsoll::model::request::{HttpOptions, TlsOptions};
use plimsoll::protocol::dial::Dialer;
use plimsoll::protocol::dns::Dns;
use plimsoll::protocol::guard::Guard;
use plimsoll::protocol::http::{Call, Exchange, HttpClient, HttpPool, Keep, Outline, Prepared};
use plimsoll::protocol::tls::Tls;

/// Time enough on a busy machine for whatever answers at all.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// How clients connect, and where they may.
#[derive(Clone, Default)]
pub(crate) struct Ways {
    pub(crate) options: HttpOptions,
    pub(crate) tls: TlsOptions,
    pub(crate) dns: Dns,
}

impl Ways {
    /// A pool for clients that may reach these, given as `host:port`.
    pub(crate) fn pool(&self, allow: &[String]) -> Rc<HttpPool> {
        let tls = Tls::new(&self.tls).unwrap();
        HttpPool::new(&Dialer::new(Arc::new(Guard::new(allow, None)), tls, self.dns.clone()), &self.options)
    }
}

/// A request.
#[derive(Clone)]
pub(crate) struct Ask {
    method: &'static str,
    url: url::Url,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) keep: Keep,
    pub(crate) redirects: u32,
    pub(crate) timeout: Duration,
    options: HttpOptions,
}

impl Ask {
    /// Without headers and body; the answer's body is kept, redirects are not followed.
    pub(crate) fn new(method: &'static str, url: &str, ways: &Ways) -> Self {
        let keep = Keep { body: true, ..Keep::default() };
        let (headers, body, options) = (Vec::new(), Bytes::new(), ways.options.clone());
        Self { method, url: url.parse().unwrap(), headers, body, keep, redirects: 0, timeout: AMPLE, options }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn prepare(&self) -> Prepared {
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let outline = Outline {
            method: self.method,
            origin: &self.url,
            path: Some(path),
            headers: &self.headers,
            rendered: &[],
            body: self.body.clone(),
            keep: self.keep.clone(),
            redirects: self.redirects,
            timeout: self.timeout,
            options: &self.options,
        };
        Prepared::new(outline).unwrap()
    }

    /// Sends it.
    pub(crate) async fn by(&self, client: &mut HttpClient) -> Exchange {
        Box::pin(client.send(&self.prepare(), Call::default())).await
    }
}

/// Runs what a load thread would run.
pub(crate) async fn on_a_load_thread<T>(work: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(work).await
}

/// Why an exchange failed, and what people read about it.
pub(crate) fn failure(exchange: &Exchange) -> (Option<Reason>, String) {
    let outcome = &exchange.outcome;
    assert_eq!(outcome.failure.is_some(), outcome.message.is_some(), "{exchange:?}");
    (outcome.failure.clone(), outcome.message.clone().unwrap_or_default())
}

/// The status and the body of an exchange that succeeded.
pub(crate) fn answer(exchange: &Exchange) -> (u16, String) {
    assert_eq!(exchange.outcome.failure, None, "{exchange:?}");
    (exchange.status.unwrap(), String::from_utf8_lossy(&exchange.body).into_owned())
}

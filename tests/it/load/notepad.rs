//! A well-behaved HTTP/1.1 server that notes every request and answers by a function.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that failed")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Noted {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) type Answer = http::Response<Full<Bytes>>;

/// The server; it ends when this is dropped.
pub(crate) struct Notepad {
    pub(crate) address: SocketAddr,
    noted: Arc<Mutex<Vec<Noted>>>,
    connections: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Notepad {
    /// On a free port of 127.0.0.1.
    pub(crate) async fn start(answer: impl Fn(&Noted) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on(([127, 0, 0, 1], 0).into(), answer).await
    }

    pub(crate) async fn start_on(address: SocketAddr, answer: impl Fn(&Noted) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (noted, connections) = (Arc::<Mutex<Vec<Noted>>>::default(), Arc::<AtomicU64>::default());
        let (notes, count, answer) = (noted.clone(), connections.clone(), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let (notes, answer) = (notes.clone(), answer.clone());
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (notes, answer) = (notes.clone(), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let path = head.uri.path_and_query().unwrap().to_string();
                        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                        let noted = Noted { method: head.method.to_string(), path, headers: head.headers, body };
                        let answer = answer(&noted);
                        notes.lock().unwrap().push(noted);
                        Ok::<_, Infallible>(answer)
                    }
                });
                open.spawn(
                    async move { _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await },
                );
                while open.try_join_next().is_some() {}
            }
        });
        Self { address, noted, connections, _tasks: tasks }
    }

    /// `http://HOST:PORT` and a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `HOST:PORT`, for allow lists.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The requests that have arrived since the last call.
    pub(crate) fn take(&self) -> Vec<Noted> {
        std::mem::take(&mut self.noted.lock().unwrap())
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// An answer with a text.
pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Answer {
    http::Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

/// The same with headers.
pub(crate) fn with(mut answer: Answer, headers: &[(&'static str, &str)]) -> Answer {
    for (name, value) in headers {
        answer.headers_mut().append(*name, value.parse().unwrap());
    }
    answer
}

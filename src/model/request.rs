//! What a step sends, per protocol, with templates not yet filled in; and how a scenario connects.
//! The protocols get it rendered: they know no templates.

use std::path::PathBuf;
use std::time::Duration;

use super::template::{Encoding, Template};
use crate::choice;

/// Something that must not be shown: its Debug output does not.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden<T>(pub T);

impl<T> std::fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

/// What a step sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// An HTTP request.
    Http(HttpRequest),
    /// A gRPC call.
    Grpc(GrpcRequest),
    /// Opens a WebSocket.
    Connect(SocketRequest),
    /// Says and hears something on the WebSocket that is open.
    Exchange(SocketExchange),
    /// Ends the WebSocket that is open, or waits for its end.
    Part(SocketParting),
}

impl Request {
    /// `http`, `grpc`, `websocket` (opening one) or `message` (on an open one).
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
            Self::Connect(_) => "websocket",
            Self::Exchange(_) | Self::Part(_) => "message",
        }
    }

    /// What is asked for, for people: `GET /items/${item.id}`, `events.v1.Events/Record`.
    pub fn title(&self) -> String {
        match self {
            Self::Http(request) => format!("{} {}", request.method, request.address.title()),
            Self::Grpc(request) => format!("{}/{}", request.service, request.method),
            Self::Connect(request) => format!("connect {}", request.address.title()),
            Self::Exchange(exchange) => match (&exchange.send, &exchange.expect) {
                (Some(_), Some(_)) => "send and expect".into(),
                (Some(_), None) => "send".into(),
                (None, _) => "expect".into(),
            },
            Self::Part(SocketParting::Close { .. }) => "close".into(),
            Self::Part(SocketParting::Closed { send: Some(_), .. }) => "send and closed".into(),
            Self::Part(SocketParting::Closed { send: None, .. }) => "closed".into(),
        }
    }
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// Upper-case method.
    pub method: String,
    /// Where to.
    pub address: Address,
    /// Names and values; `authorization` of an [`Auth`] is not among them.
    pub headers: Vec<(String, Template)>,
    /// What is sent along.
    pub body: Body,
    /// How it proves who asks; `None`: not at all.
    pub auth: Option<Auth>,
    /// Redirects that are followed; 0 = a 3xx is the answer. `None`: the scenario's.
    pub redirects: Option<u32>,
}

impl HttpRequest {
    /// A plain request to a whole address, without headers and body.
    pub fn new(method: &str, url: &url::Url) -> Self {
        let path = Template::literal(&url[url::Position::BeforePath..url::Position::AfterQuery], Encoding::Url);
        let address = Address { origin: url.clone(), path };
        Self { method: method.into(), address, headers: Vec::new(), body: Body::Empty, auth: None, redirects: None }
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// Scheme, host and port, checked against the allow list when the configuration was read.
    pub origin: url::Url,
    /// Path and query. When it begins with a placeholder (`${next}`), its value may be a whole address, which the guard sees.
    pub path: Template,
}

impl Address {
    /// For people: the path as written, without its query.
    pub fn title(&self) -> String {
        self.path.source().split('?').next().unwrap_or_default().to_owned()
    }
}

/// The body of an HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// A text, JSON or form (`application/x-www-form-urlencoded`, already put together).
    Text(Template),
    /// Bytes of a file, read when the configuration was.
    Bytes(bytes::Bytes),
    /// `multipart/form-data`.
    Multipart(Vec<FormPart>),
}

/// A part of a multipart form.
#[derive(Debug, Clone, PartialEq)]
pub struct FormPart {
    /// Name of the field.
    pub name: String,
    /// Name of the file, if it is one.
    pub file_name: Option<String>,
    /// Media type, if told.
    pub content_type: Option<String>,
    /// What it holds.
    pub content: FormContent,
}

/// What a part of a form holds.
#[derive(Debug, Clone, PartialEq)]
pub enum FormContent {
    /// A text.
    Text(Template),
    /// Bytes of a file, read when the configuration was.
    Bytes(bytes::Bytes),
}

/// How a request proves who asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// User and password (RFC 7617).
    Basic(Template, Hidden<Template>),
    /// A token (RFC 6750).
    Bearer(Hidden<Template>),
    /// The token of the run's token source of this index ([`TokenSource`]), obtained once and shared by all VUs.
    Shared(u16),
}

/// Where a token comes from that all VUs of a run share.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenSource {
    /// OAuth 2 client credentials (RFC 6749, 4.4); got again before it expires.
    ClientCredentials {
        /// Where the token is asked for; must be allowed.
        token_url: url::Url,
        /// Client.
        client_id: String,
        /// Its secret.
        client_secret: Hidden<String>,
        /// Scopes asked for.
        scope: Option<String>,
        /// Audience asked for.
        audience: Option<String>,
        /// Id and secret in the form instead of basic authentication.
        in_body: bool,
    },
    /// A login flow of one's own, walked once by a VU of its own; `token` is rendered after it.
    Login {
        /// Its requests; counted apart from the run's figures.
        flow: Vec<super::flow::FlowNode>,
        /// The token: `${token}`.
        token: Template,
        /// Again after so long; `None`: once per run.
        refresh: Option<Duration>,
    },
}

/// A gRPC call.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpcRequest {
    /// Scheme (`http` = plaintext, `https` = TLS), host and port, checked against the allow list.
    pub origin: url::Url,
    /// Full name of the service: `events.v1.Events`.
    pub service: String,
    /// Method: `Record`.
    pub method: String,
    /// Where the schema comes from.
    pub schema: GrpcSchema,
    /// Messages as JSON documents, in order; more than one only where the client streams.
    pub messages: Vec<Template>,
    /// Metadata.
    pub metadata: Vec<(String, Template)>,
    /// How it proves who asks.
    pub auth: Option<Auth>,
    /// How its streams go.
    pub stream: GrpcStream,
}

/// How the streams of a call go: by default everything is sent as fast as the server takes it, and read to the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrpcStream {
    /// After so many messages of the answer the call is over, and a success.
    pub take: Option<u64>,
    /// After so long the call is over, and a success if the server has answered at all.
    pub lasting: Option<Duration>,
    /// From the begin of one message to the begin of the next.
    pub every: Option<Duration>,
}

/// Where the schema of a service comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum GrpcSchema {
    /// `.proto` files and the folders in which their imports are looked for.
    Files(Vec<PathBuf>, Vec<PathBuf>),
    /// Server reflection, asked once when the run starts.
    Reflection,
}

/// Opens a WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketRequest {
    /// Where to; the scheme of the origin is `http` or `https` (written `ws`, `wss`).
    pub address: Address,
    /// Names and values.
    pub headers: Vec<(String, Template)>,
    /// Subprotocols offered.
    pub subprotocols: Vec<String>,
    /// How it proves who asks.
    pub auth: Option<Auth>,
}

/// Says and hears something on an open WebSocket: a message out, then messages in until one is the expected one.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketExchange {
    /// What is sent, if anything.
    pub send: Option<Message>,
    /// Waits for a message for which all of these hold (others are passed over); `None`: waits for nothing.
    pub expect: Option<Vec<super::flow::CheckKind>>,
}

/// The end of an open WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub enum SocketParting {
    /// We close it, and wait for the server to do so.
    Close {
        /// Status code (RFC 6455, 7.4): 1000, or 3000 to 4999.
        code: u16,
        /// Reason, at most 123 bytes.
        reason: Template,
    },
    /// The server closes it.
    Closed {
        /// What is sent, if anything.
        send: Option<Message>,
        /// The codes with which it may; none: any.
        codes: Vec<u16>,
    },
}

/// A WebSocket message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Text.
    Text(Template),
    /// Binary.
    Binary(bytes::Bytes),
}

/// How the VUs of a scenario connect.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpOptions {
    /// Which HTTP.
    pub version: HttpVersion,
    /// Who shares connections.
    pub connections: Connections,
    /// Redirects followed per request.
    pub redirects: u32,
    /// How long an address that was looked up is used; zero = looked up for every connection.
    pub dns_ttl: Duration,
    /// Largest body, in bytes after decompression, that is kept for checks and extractions.
    pub max_body: u64,
    /// Ask for compressed answers and undo the compression.
    pub compression: bool,
    /// How long a VU keeps cookies.
    pub cookies: Cookies,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            version: HttpVersion::Auto,
            connections: Connections::PerVu,
            redirects: 10,
            dns_ttl: Duration::from_secs(300),
            max_body: 8 * 1024 * 1024,
            compression: false,
            cookies: Cookies::PerIteration,
        }
    }
}

choice! {
    /// How long a VU keeps the cookies that servers set.
    pub enum Cookies {
        /// Until its iteration ends: each one is the visit of a new user.
        PerIteration = "per-iteration",
        /// For all its iterations.
        PerVu = "per-vu",
        /// Not at all.
        None = "none",
    }
}

choice! {
    /// Which HTTP is spoken.
    pub enum HttpVersion {
        /// HTTP/2 where the server agrees by ALPN, else HTTP/1.1; without TLS HTTP/1.1.
        Auto = "auto",
        /// HTTP/1.1 only.
        Http1 = "1.1",
        /// HTTP/2 only; without TLS by prior knowledge.
        Http2 = "2",
    }
}

choice! {
    /// Who shares connections.
    pub enum Connections {
        /// Each VU keeps its own, as a browser does.
        PerVu = "per-vu",
        /// Each VU has its own, new ones in each iteration, as a visitor who comes for the first time.
        PerIteration = "per-iteration",
        /// The VUs of a load thread share a pool, as a backend does.
        Shared = "shared",
        /// A new one for every request.
        PerRequest = "per-request",
    }
}

/// TLS towards a target.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsOptions {
    /// Certificates of authorities in PEM that are trusted instead of the public ones; empty: the public ones.
    pub ca: Vec<Vec<u8>>,
    /// Client certificate chain and private key, both PEM.
    pub identity: Option<Hidden<(Vec<u8>, Vec<u8>)>>,
    /// Name that the server's certificate must carry, and SNI, instead of the host's.
    pub server_name: Option<String>,
    /// TLS 1.3 only.
    pub only_tls13: bool,
    /// Verify the server's certificate.
    pub verify: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { ca: Vec::new(), identity: None, server_name: None, only_tls13: false, verify: true }
    }
}

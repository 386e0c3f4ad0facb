//! A step as written: its name, and one key that says what is sent, which decides what other keys it has. Keys of another kind of
//! request are refused by saying whose they are.

use std::time::Duration;

use serde_json::Value as Json;

use super::RawNodes;
use super::check::{RawCheck, RawChecks, RawExpect};
use super::extract::RawExtract;
use super::parting::{RawClose, RawClosed};
use crate::config::raw::Attempt;
use crate::config::raw::auth::{RawAuth, RawBasic, RawWay};
use crate::config::raw::text::{Fillable, Fixed, RawSecret, SecretFile};
use crate::protocol::grpc::settings::GrpcKeys;
use crate::registry::{Context, Decode, Entry, FilePath, KeyDoc, Named, Node, Secret, Spanned, Value, suggest};
use crate::settings;

/// Keys of a step that name the method of HTTP.
pub(crate) const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];
/// Keys of a step that say what is sent otherwise.
pub(crate) const TALK: [&str; 7] = ["grpc", "websocket", "send", "send_file", "expect", "close", "closed"];

settings! {
    /// An HTTP request. Exactly one of the method keys says what is requested.
    pub(crate) struct HttpStep titled "step" {
        /// Name for figures and thresholds.
        step: required Spanned<Fixed>,
        /// Address to GET: a path below the target's `base_url`, or a whole address.
        get: optional Spanned<Attempt<Fillable>>,
        /// Address to POST to.
        post: optional Spanned<Attempt<Fillable>>,
        /// Address to PUT to.
        put: optional Spanned<Attempt<Fillable>>,
        /// Address to PATCH.
        patch: optional Spanned<Attempt<Fillable>>,
        /// Address to DELETE.
        delete: optional Spanned<Attempt<Fillable>>,
        /// Address to ask by HEAD.
        head: optional Spanned<Attempt<Fillable>>,
        /// Address to ask by OPTIONS.
        options: optional Spanned<Attempt<Fillable>>,
        /// Headers, by name.
        headers: default Named<Spanned<Fillable>>,
        /// Body, sent as JSON with `content-type: application/json`. A value that is one `${…}` alone keeps its type.
        json: optional Spanned<Node>,
        /// Body, sent as it stands with `content-type: text/plain`.
        body: optional Spanned<Fillable>,
        /// Body, sent as `application/x-www-form-urlencoded`: names and values.
        form: optional Spanned<Named<Spanned<Fillable>>>,
        /// Body, sent as `multipart/form-data`: its parts.
        multipart: optional Spanned<Vec<PartKeys>>,
        /// Body: the bytes of a file, read when the configuration is, sent as `application/octet-stream`.
        file: optional Spanned<FilePath>,
        /// Token, sent as `authorization: Bearer TOKEN`.
        bearer: optional Spanned<Secret>,
        /// File that holds `bearer`.
        bearer_file: optional Spanned<SecretFile>,
        /// User and password, sent as `authorization: Basic …`.
        basic: optional Spanned<RawBasic>,
        /// How it proves who asks, instead of what the scenario or the target say: `none`, a name from the target's `identities`, or a mapping.
        auth: optional Spanned<RawAuth>,
        /// Redirects that are followed; `0`: a 3xx is the answer. Without it: the scenario's.
        redirects: optional u32,
        /// What must hold of the answer.
        check: default RawChecks,
        /// What is taken from the answer into variables, by name. What is not found fails the request.
        extract: default Named<Spanned<RawExtract>>,
        /// Longest time for the whole request.
        timeout: default Duration = Duration::from_secs(60),
    }
}

settings! {
    /// A part of a multipart form.
    pub(crate) struct PartKeys titled "the part" {
        /// Name of the field.
        name: required Spanned<Fixed>,
        /// Its text.
        value: optional Spanned<Fillable>,
        /// A file whose bytes it is, read when the configuration is.
        file: optional Spanned<FilePath>,
        /// Name of the file that is told. Without it: that of `file`.
        file_name: optional Fixed,
        /// Media type: `image/png`.
        media_type as "type": optional Spanned<Fixed>,
    }
}

settings! {
    /// A gRPC call.
    pub(crate) struct GrpcStep titled "step" {
        /// Name for figures and thresholds.
        step: required Spanned<Fixed>,
        /// What is called, and with what.
        grpc: required Spanned<GrpcKeys>,
        /// Token, sent as `authorization: Bearer TOKEN`.
        bearer: optional Spanned<Secret>,
        /// File that holds `bearer`.
        bearer_file: optional Spanned<SecretFile>,
        /// User and password, sent as `authorization: Basic …`.
        basic: optional Spanned<RawBasic>,
        /// How it proves who asks, instead of what the scenario or the target say.
        auth: optional Spanned<RawAuth>,
        /// What must hold of the answer. Without a check of `grpc_status`: `OK`.
        check: default RawChecks,
        /// What is taken from the answer into variables, by name.
        extract: default Named<Spanned<RawExtract>>,
        /// Longest time for the whole call; sent to the server as its deadline.
        timeout: default Duration = Duration::from_secs(60),
    }
}

settings! {
    /// A WebSocket session: opened, used by the nodes under `do`, closed.
    pub(crate) struct SocketStep titled "step" {
        /// Name for figures and thresholds; they are those of opening it.
        step: required Spanned<Fixed>,
        /// Address: a path below the target's `base_url`, or a whole address with `ws://` or `wss://`.
        websocket: required Spanned<Fillable>,
        /// Headers of the opening request, by name.
        headers: default Named<Spanned<Fillable>>,
        /// Subprotocols that are offered.
        subprotocols: default Vec<Spanned<Fixed>>,
        /// Token, sent as `authorization: Bearer TOKEN`.
        bearer: optional Spanned<Secret>,
        /// File that holds `bearer`.
        bearer_file: optional Spanned<SecretFile>,
        /// User and password, sent as `authorization: Basic …`.
        basic: optional Spanned<RawBasic>,
        /// How it proves who asks, instead of what the scenario or the target say.
        auth: optional Spanned<RawAuth>,
        /// What must hold of the answer to the opening request.
        check: default RawChecks,
        /// What is taken from the headers of the answer into variables, by name.
        extract: default Named<Spanned<RawExtract>>,
        /// Longest time for opening it.
        timeout: default Duration = Duration::from_secs(60),
        /// What is done while it is open; it is closed afterwards.
        flow as "do": default RawNodes,
    }
}

settings! {
    /// Says something on the open WebSocket, waits for an answer, or both; or ends it.
    pub(crate) struct ExchangeStep titled "step" {
        /// Name for figures and thresholds.
        step: required Spanned<Fixed>,
        /// Message to send: a text, or a mapping that is sent as JSON.
        send: optional Spanned<Node>,
        /// File whose bytes are sent as a binary message.
        send_file: optional Spanned<FilePath>,
        /// Message to wait for, passing over others: the checks that must hold of it, or `any`.
        expect: optional Spanned<RawExpect>,
        /// Closes the socket and waits for the server to do so, too: a code such as `1000`, or a mapping.
        close: optional Spanned<RawClose>,
        /// Waits until the server closes the socket, passing over messages: the code with which it must, a list of them, or `any`.
        closed: optional Spanned<RawClosed>,
        /// What must hold of the message that came.
        check: default RawChecks,
        /// What is taken from the message that came into variables, by name.
        extract: default Named<Spanned<RawExtract>>,
        /// Longest time for sending, and until the message, or the server's closing, has come.
        timeout: default Duration = Duration::from_secs(60),
    }
}

/// A step, by what it sends.
#[derive(Debug, Clone)]
pub(crate) enum RawStep {
    /// An HTTP request.
    Http(Box<HttpStep>),
    /// A gRPC call.
    Grpc(Box<GrpcStep>),
    /// A WebSocket session.
    Socket(Box<SocketStep>),
    /// A word on the open WebSocket.
    Exchange(Box<ExchangeStep>),
}

/// What is sent, as the keys say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sends {
    Http,
    Grpc,
    Socket,
    Exchange,
}

impl Sends {
    const ALL: [Self; 4] = [Self::Http, Self::Grpc, Self::Socket, Self::Exchange];

    /// By the first key that says so; a step without one is taken for HTTP, which then lacks its method.
    fn of(entries: &[Entry]) -> Self {
        let by_key = |key: &str| match key {
            "grpc" => Some(Self::Grpc),
            "websocket" => Some(Self::Socket),
            "send" | "send_file" | "expect" | "close" | "closed" => Some(Self::Exchange),
            _ => METHODS.contains(&key).then_some(Self::Http),
        };
        entries.iter().find_map(|entry| by_key(&entry.key)).unwrap_or(Self::Http)
    }

    fn keys(self) -> Vec<KeyDoc> {
        match self {
            Self::Http => HttpStep::keys(),
            Self::Grpc => GrpcStep::keys(),
            Self::Socket => SocketStep::keys(),
            Self::Exchange => ExchangeStep::keys(),
        }
    }

    /// For people.
    fn title(self) -> &'static str {
        match self {
            Self::Http => "an HTTP request",
            Self::Grpc => "a gRPC call",
            Self::Socket => "a WebSocket session",
            Self::Exchange => "a message on a WebSocket",
        }
    }
}

impl RawStep {
    /// Reads a node whose key `step` is `name`.
    pub(crate) fn decode_named(name: &Entry, node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let sends = Sends::of(node.entries());
        let node = own_keys(name, node, sends, cx);
        cx.name = name.node.scalar();
        Some(match sends {
            Sends::Http => Self::Http(Box::new(HttpStep::decode(&node, cx)?)),
            Sends::Grpc => Self::Grpc(Box::new(GrpcStep::decode(&node, cx)?)),
            Sends::Socket => Self::Socket(Box::new(SocketStep::decode(&node, cx)?)),
            Sends::Exchange => Self::Exchange(Box::new(ExchangeStep::decode(&node, cx)?)),
        })
    }

    /// Its name.
    pub(crate) fn name(&self) -> Spanned<String> {
        Fixed::spanned(match self {
            Self::Http(keys) => &keys.step,
            Self::Grpc(keys) => &keys.step,
            Self::Socket(keys) => &keys.step,
            Self::Exchange(keys) => &keys.step,
        })
    }

    /// What must hold of its answer.
    pub(crate) fn checks(&self) -> &[RawCheck] {
        match self {
            Self::Http(keys) => &keys.check.0,
            Self::Grpc(keys) => &keys.check.0,
            Self::Socket(keys) => &keys.check.0,
            Self::Exchange(keys) => &keys.check.0,
        }
    }

    /// What is taken from its answer.
    pub(crate) fn extracts(&self) -> &Named<Spanned<RawExtract>> {
        match self {
            Self::Http(keys) => &keys.extract,
            Self::Grpc(keys) => &keys.extract,
            Self::Socket(keys) => &keys.extract,
            Self::Exchange(keys) => &keys.extract,
        }
    }

    /// Longest time for it.
    pub(crate) fn timeout(&self) -> Duration {
        match self {
            Self::Http(keys) => keys.timeout,
            Self::Grpc(keys) => keys.timeout,
            Self::Socket(keys) => keys.timeout,
            Self::Exchange(keys) => keys.timeout,
        }
    }

    /// What it says of how it proves who asks, by key; more than one is a mistake. A message on a WebSocket says nothing.
    pub(crate) fn proof(&self) -> Vec<(&'static str, Spanned<RawAuth>)> {
        let (bearer, bearer_file, basic, auth) = match self {
            Self::Http(keys) => (&keys.bearer, &keys.bearer_file, &keys.basic, &keys.auth),
            Self::Grpc(keys) => (&keys.bearer, &keys.bearer_file, &keys.basic, &keys.auth),
            Self::Socket(keys) => (&keys.bearer, &keys.bearer_file, &keys.basic, &keys.auth),
            Self::Exchange(_) => return Vec::new(),
        };
        let way = |way: RawWay, span| Spanned { value: RawAuth::Way(Box::new(way)), span };
        let token = |secret, span| way(RawWay::Bearer(Spanned { value: secret, span }), span);
        let bearer = bearer.iter().map(|given| ("bearer", token(RawSecret::Written(given.value.clone()), given.span)));
        let file = bearer_file.iter().map(|given| ("bearer_file", token(RawSecret::Kept(given.value.0.clone()), given.span)));
        let basic = basic.iter().map(|given| ("basic", way(RawWay::Basic(given.clone()), given.span)));
        let auth = auth.iter().map(|given| ("auth", given.clone()));
        bearer.chain(file).chain(basic).chain(auth).collect()
    }

    /// The schemas of all kinds of steps.
    pub(crate) fn schemas() -> Vec<Json> {
        vec![HttpStep::schema(), GrpcStep::schema(), SocketStep::schema(), ExchangeStep::schema()]
    }
}

/// The node without keys that steps of this kind do not have, each of which is reported.
fn own_keys(name: &Entry, node: &Node, sends: Sends, cx: &mut Context<'_>) -> Node {
    let known: Vec<&str> = sends.keys().iter().map(|key| key.key).collect();
    let step = name.node.scalar().map_or_else(|| "the step".to_owned(), |name| format!("step `{name}`"));
    let (own, foreign): (Vec<Entry>, Vec<Entry>) = node.entries().iter().cloned().partition(|entry| known.contains(&entry.key.as_str()));
    for entry in foreign {
        let has = |other: &&Sends| other.keys().iter().any(|key| key.key == entry.key);
        let owners: Vec<&str> = Sends::ALL.iter().filter(has).map(|other| other.title()).collect();
        if METHODS.contains(&entry.key.as_str()) || TALK.contains(&entry.key.as_str()) {
            let message = format!("{step} is {}, and `{}` asks for another", sends.title(), entry.key);
            cx.diagnostics.push("conflicting-keys", entry.span, message, "a step is one request: begin a new one with `-`");
        } else if owners.is_empty() {
            let message = format!("unknown key `{}` in {step}", entry.key);
            cx.diagnostics.push("unknown-key", entry.span, message, suggest(&entry.key, known.iter().copied()));
        } else {
            let message = format!("{step} is {}, which has no key `{}`", sends.title(), entry.key);
            cx.diagnostics.push("key-of-another-request", entry.span, message, format!("it belongs to {}", owners.join(" and ")));
        }
    }
    Node { span: node.span, value: Value::Map(own) }
}

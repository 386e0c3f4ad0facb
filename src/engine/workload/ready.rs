//! Steps made ready, once per load thread: what never changes is encoded, schemas are looked up, checks are compiled. What is left for
//! each request are the templates that have something to be filled in.

use std::time::Duration;

use bytes::Bytes;

use super::super::ground::Ground;
use crate::flow::answer::{Expectation, Judge};
use crate::model::flow::{CheckKind, ExtractFrom, FlowNode, Step, steps_of};
use crate::model::request::{
    Address, Auth, Body, FormContent, FormPart, GrpcRequest, Hidden, HttpOptions, HttpRequest, Message, Request, SocketExchange,
    SocketParting, SocketRequest,
};
use crate::model::template::{Part, Place, Template};
use crate::protocol::dial::Origin;
use crate::protocol::grpc::Ready;
use crate::protocol::http::{Headers, Keep, Outline, Prepared, form};

/// A step that is ready to be sent again and again.
pub(super) enum ReadyStep {
    Http(Box<ReadyHttp>),
    Grpc(Box<ReadyGrpc>),
    Connect(Box<ReadyConnect>),
    Exchange(Box<ReadyExchange>),
    Part(Box<ReadyParting>),
}

/// An HTTP step.
pub(super) struct ReadyHttp {
    pub(super) prepared: Prepared,
    pub(super) judge: Judge,
    /// The path, when it has something to be filled in.
    pub(super) path: Option<Template>,
    /// The path may turn out to be a whole address.
    pub(super) anywhere: bool,
    /// Headers that have something to be filled in.
    pub(super) headers: Vec<(String, Template)>,
    pub(super) body: ReadyBody,
    pub(super) auth: Option<ReadyAuth>,
}

impl ReadyHttp {
    /// Nothing has to be filled in.
    pub(super) fn is_constant(&self) -> bool {
        self.path.is_none() && self.headers.is_empty() && self.auth.is_none() && matches!(self.body, ReadyBody::Constant)
    }
}

/// The body of an HTTP step.
pub(super) enum ReadyBody {
    /// Prepared with the request.
    Constant,
    Text(Template),
    Multipart(Vec<FormPart>),
}

/// What has to be filled in to prove who asks.
pub(super) enum ReadyAuth {
    Basic(Template, Template),
    Bearer(Template),
    Shared(u16),
}

/// A gRPC step.
pub(super) struct ReadyGrpc {
    pub(super) ready: Ready,
    pub(super) judge: Judge,
    pub(super) messages: Vec<Template>,
    pub(super) metadata: Vec<Template>,
    pub(super) auth: Option<ReadyAuth>,
}

/// A step that opens a WebSocket.
pub(super) struct ReadyConnect {
    pub(super) origin: Origin,
    pub(super) path: Template,
    /// The path may turn out to be a whole address.
    pub(super) anywhere: bool,
    pub(super) headers: Vec<(String, Template)>,
    pub(super) subprotocols: Vec<String>,
    pub(super) auth: Option<ReadyAuth>,
    pub(super) judge: Judge,
    pub(super) timeout: Duration,
}

/// A step that speaks on an open WebSocket.
pub(super) struct ReadyExchange {
    pub(super) send: Option<Message>,
    pub(super) expect: Option<Expectation>,
    pub(super) judge: Judge,
    pub(super) timeout: Duration,
}

/// A step that ends an open WebSocket, or waits for its end.
pub(super) struct ReadyParting {
    /// Name of the step.
    pub(super) name: String,
    pub(super) parting: SocketParting,
    pub(super) judge: Judge,
    pub(super) timeout: Duration,
}

/// The steps of a flow in the order of their numbers; `Err` says which cannot be sent.
pub(super) fn ready_steps(flow: &[FlowNode], options: &HttpOptions, ground: &Ground) -> Result<Vec<ReadyStep>, String> {
    let ready = |step: &Step| ready_step(step, options, ground).map_err(|error| format!("step `{}` cannot be sent: {error}", step.name));
    steps_of(flow).into_iter().map(ready).collect()
}

fn ready_step(step: &Step, options: &HttpOptions, ground: &Ground) -> Result<ReadyStep, String> {
    let judge = Judge::new(&step.checks, &step.extracts)?;
    Ok(match &step.request {
        Request::Http(request) => ReadyStep::Http(Box::new(ready_http(step, request, judge, options)?)),
        Request::Grpc(request) => ReadyStep::Grpc(Box::new(ready_grpc(step, request, judge, options, ground)?)),
        Request::Connect(request) => ReadyStep::Connect(Box::new(ready_connect(step, request, judge)?)),
        Request::Exchange(exchange) => ReadyStep::Exchange(Box::new(ready_exchange(step, exchange, judge)?)),
        Request::Part(parting) => {
            ReadyStep::Part(Box::new(ReadyParting { name: step.name.clone(), parting: parting.clone(), judge, timeout: step.timeout }))
        }
    })
}

fn ready_http(step: &Step, request: &HttpRequest, judge: Judge, options: &HttpOptions) -> Result<ReadyHttp, String> {
    let (mut constant, mut headers) = (Vec::new(), Vec::new());
    for (name, value) in &request.headers {
        match value.constant() {
            Some(text) => constant.push((name.clone(), text.to_owned())),
            None => headers.push((name.clone(), value.clone())),
        }
    }
    let mut rendered: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let (authorization, auth) = ready_auth(request.auth.as_ref());
    constant.extend(authorization.map(|text| ("authorization".to_owned(), text)));
    rendered.extend(auth.is_some().then_some("authorization"));
    let (bytes, body, kind) = ready_body(&request.body);
    if matches!(body, ReadyBody::Multipart(_)) {
        rendered.push("content-type");
    }
    constant.extend(kind.map(|kind| ("content-type".to_owned(), kind)));
    let keep = Keep { body: judge.needs_body(), headers: headers_of(step)? };
    let outline = Outline {
        method: &request.method,
        origin: &request.address.origin,
        path: request.address.path.constant(),
        headers: &constant,
        rendered: &rendered,
        body: bytes,
        keep,
        redirects: request.redirects.unwrap_or(options.redirects),
        timeout: step.timeout,
        options,
    };
    let path = request.address.path.constant().is_none().then(|| request.address.path.clone());
    Ok(ReadyHttp { prepared: Prepared::new(outline)?, judge, anywhere: is_anywhere(&request.address), path, headers, body, auth })
}

/// Whether a path begins with a placeholder, whose value may be a whole address.
fn is_anywhere(address: &Address) -> bool {
    matches!(address.path.parts().first(), Some(Part::Value(_, Place::Address)))
}

/// The names of the headers that checks and extractions look at.
fn headers_of(step: &Step) -> Result<Headers, String> {
    let mut names = Vec::new();
    for check in &step.checks {
        if let CheckKind::Header(name, _) = &check.kind {
            names.push(name);
        }
    }
    for extract in &step.extracts {
        if let ExtractFrom::Header(name) = &extract.from {
            names.push(name);
        }
    }
    let mut headers = Vec::with_capacity(names.len());
    for name in names {
        headers.push(name.parse().map_err(|_| format!("`{name}` is not the name of a header"))?);
    }
    if step.extracts.iter().any(|extract| matches!(extract.from, ExtractFrom::Cookie(_))) {
        headers.push(http::header::SET_COOKIE);
    }
    Ok(if headers.is_empty() { Headers::None } else { Headers::Named(headers) })
}

/// The `authorization` that is always the same, or what has to be filled in.
fn ready_auth(auth: Option<&Auth>) -> (Option<String>, Option<ReadyAuth>) {
    match auth {
        None => (None, None),
        Some(Auth::Basic(user, Hidden(password))) => match (user.constant(), password.constant()) {
            (Some(user), Some(password)) => (Some(form::basic(user, password)), None),
            _ => (None, Some(ReadyAuth::Basic(user.clone(), password.clone()))),
        },
        Some(Auth::Bearer(Hidden(token))) => match token.constant() {
            Some(token) => (Some(format!("Bearer {token}")), None),
            None => (None, Some(ReadyAuth::Bearer(token.clone()))),
        },
        Some(Auth::Shared(source)) => (None, Some(ReadyAuth::Shared(*source))),
    }
}

/// The bytes of a body that is always the same, what has to be filled in otherwise, and the media type of a constant form.
fn ready_body(body: &Body) -> (Bytes, ReadyBody, Option<String>) {
    match body {
        Body::Empty => (Bytes::new(), ReadyBody::Constant, None),
        Body::Bytes(bytes) => (bytes.clone(), ReadyBody::Constant, None),
        Body::Text(text) => match text.constant() {
            Some(constant) => (Bytes::from(constant.to_owned()), ReadyBody::Constant, None),
            None => (Bytes::new(), ReadyBody::Text(text.clone()), None),
        },
        Body::Multipart(parts) => {
            let constant = |part: &FormPart| match &part.content {
                FormContent::Text(text) => text.constant().map(|text| Bytes::from(text.to_owned())),
                FormContent::Bytes(bytes) => Some(bytes.clone()),
            };
            let Some(contents) = parts.iter().map(constant).collect::<Option<Vec<Bytes>>>() else {
                return (Bytes::new(), ReadyBody::Multipart(parts.clone()), None);
            };
            let parts: Vec<form::Part<'_>> = parts.iter().zip(&contents).map(|(part, content)| form_part(part, content)).collect();
            let mut bytes = Vec::new();
            let boundary = form::multipart(&parts, &mut bytes);
            (bytes.into(), ReadyBody::Constant, Some(form::multipart_type(&boundary)))
        }
    }
}

/// A part of a form with its content.
pub(super) fn form_part<'a>(part: &'a FormPart, content: &'a [u8]) -> form::Part<'a> {
    form::Part { name: &part.name, file_name: part.file_name.as_deref(), content_type: part.content_type.as_deref(), content }
}

fn ready_grpc(step: &Step, request: &GrpcRequest, judge: Judge, options: &HttpOptions, ground: &Ground) -> Result<ReadyGrpc, String> {
    let method = ground.methods.find(request).ok_or("its schema is not there")?;
    let ready = Ready::new(request, method, options, step.timeout, judge.needs_body())?;
    let messages = ready.open_messages().filter_map(|index| request.messages.get(index).cloned()).collect();
    let metadata = ready.open_metadata().filter_map(|index| request.metadata.get(index).map(|(_, value)| value.clone())).collect();
    let auth = if ready.wants_authorization() { ready_auth(request.auth.as_ref()).1 } else { None };
    Ok(ReadyGrpc { ready, judge, messages, metadata, auth })
}

fn ready_connect(step: &Step, request: &SocketRequest, judge: Judge) -> Result<ReadyConnect, String> {
    let (authorization, auth) = ready_auth(request.auth.as_ref());
    let mut headers = request.headers.clone();
    headers
        .extend(authorization.map(|text| ("authorization".to_owned(), Template::literal(text, crate::model::template::Encoding::Header))));
    Ok(ReadyConnect {
        origin: Origin::of(&request.address.origin).ok_or("the address has no host")?,
        path: request.address.path.clone(),
        anywhere: is_anywhere(&request.address),
        headers,
        subprotocols: request.subprotocols.clone(),
        auth,
        judge,
        timeout: step.timeout,
    })
}

fn ready_exchange(step: &Step, exchange: &SocketExchange, judge: Judge) -> Result<ReadyExchange, String> {
    let expect = exchange.expect.as_deref().map(Expectation::new).transpose()?;
    Ok(ReadyExchange { send: exchange.send.clone(), expect, judge, timeout: step.timeout })
}

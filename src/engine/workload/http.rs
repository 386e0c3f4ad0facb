//! HTTP steps: fills in what has to be, sends, and lets the answer land. A step in which nothing has to be filled in goes straight out.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;
use tokio::time::Instant;

use super::flight::{Flight, Landing};
use super::ready::{ReadyAuth, ReadyBody, ReadyHttp, ReadyStep, form_part};
use super::{FlowVu, FlowWorkload};
use crate::engine::ground::Tokens;
use crate::flow::Script;
use crate::flow::answer::Answer;
use crate::flow::scope::Scope;
use crate::model::request::FormContent;
use crate::protocol::dial::Origin;
use crate::protocol::http::{Call, Exchange, HttpClient, address, form};

/// What was filled in for one request; its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    origin: Option<Origin>,
    path: String,
    /// Values of headers, in the order of the step's.
    values: Vec<String>,
    authorization: String,
    content_type: String,
    text: String,
    bytes: Vec<u8>,
}

impl Rendered {
    /// Fills in everything of a step.
    fn fill(&mut self, step: &ReadyHttp, scope: &mut Scope, tokens: &Tokens) -> Result<(), Script> {
        self.origin = None;
        if let Some(path) = &step.path {
            self.path.clear();
            scope.render(path, &mut self.path)?;
            if step.anywhere {
                let (origin, path) = address(&self.path).map_err(Script)?;
                (self.origin, self.path) = (origin, path);
            }
        }
        if self.values.len() < step.headers.len() {
            self.values.resize_with(step.headers.len(), String::new);
        }
        for ((_, template), value) in step.headers.iter().zip(&mut self.values) {
            value.clear();
            scope.render(template, value)?;
        }
        if let Some(auth) = &step.auth {
            authorize(auth, scope, tokens, &mut self.authorization)?;
        }
        match &step.body {
            ReadyBody::Constant => {}
            ReadyBody::Text(template) => {
                self.text.clear();
                scope.render(template, &mut self.text)?;
            }
            ReadyBody::Multipart(parts) => {
                let mut contents = Vec::with_capacity(parts.len());
                for part in parts {
                    contents.push(match &part.content {
                        FormContent::Bytes(bytes) => bytes.to_vec(),
                        FormContent::Text(template) => {
                            let mut text = String::new();
                            scope.render(template, &mut text)?;
                            text.into_bytes()
                        }
                    });
                }
                let filled: Vec<form::Part<'_>> = parts.iter().zip(&contents).map(|(part, content)| form_part(part, content)).collect();
                self.content_type = form::multipart_type(&form::multipart(&filled, &mut self.bytes));
            }
        }
        Ok(())
    }

    /// The headers that were filled in.
    fn headers<'a>(&'a self, step: &'a ReadyHttp, into: &mut Vec<(&'a str, &'a str)>) {
        into.extend(step.headers.iter().zip(&self.values).map(|((name, _), value)| (name.as_str(), value.as_str())));
        if step.auth.is_some() {
            into.push(("authorization", &self.authorization));
        }
        if matches!(step.body, ReadyBody::Multipart(_)) {
            into.push(("content-type", &self.content_type));
        }
    }

    fn call<'a>(&'a self, step: &'a ReadyHttp, headers: &'a [(&'a str, &'a str)], now: Instant) -> Call<'a> {
        let body = match step.body {
            ReadyBody::Constant => None,
            ReadyBody::Text(_) => Some(self.text.as_bytes()),
            ReadyBody::Multipart(_) => Some(self.bytes.as_slice()),
        };
        let path = step.path.as_ref().map(|_| self.path.as_str());
        Call { now: Some(now), origin: self.origin.as_ref(), path, headers, body }
    }
}

/// Fills in the value of `authorization`.
pub(super) fn authorize(auth: &ReadyAuth, scope: &mut Scope, tokens: &Tokens, into: &mut String) -> Result<(), Script> {
    into.clear();
    match auth {
        ReadyAuth::Basic(user, password) => {
            let (mut name, mut secret) = (String::new(), String::new());
            scope.render(user, &mut name)?;
            scope.render(password, &mut secret)?;
            into.push_str(&form::basic(&name, &secret));
        }
        ReadyAuth::Bearer(token) => {
            into.push_str("Bearer ");
            scope.render(token, into)?;
        }
        ReadyAuth::Shared(source) => {
            let token = tokens.current(*source).ok_or_else(|| Script("there is no token".into()))?;
            into.push_str("Bearer ");
            into.push_str(&token);
        }
    }
    Ok(())
}

impl FlowWorkload {
    /// Sends the request of an HTTP step.
    pub(super) async fn http(&self, vu: &mut FlowVu, index: u16, step: &ReadyHttp, intended: Instant) -> Landing {
        let mut flight = Flight::new(self, index, &step.judge, intended);
        if let Err(script) = flight.expect(&mut vu.scope) {
            return flight.not_sent(script);
        }
        if step.is_constant() {
            let call = Call { now: (!self.open).then_some(intended), ..Call::default() };
            let exchange = vu.http.send(&step.prepared, call).await;
            return land(flight, step, exchange, &call, &mut vu.http, &mut vu.scope);
        }
        let FlowVu { http, scope, rendered, .. } = vu;
        if let Err(script) = rendered.fill(step, scope, &self.tokens) {
            return flight.not_sent(script);
        }
        let mut headers = Vec::new();
        rendered.headers(step, &mut headers);
        let call = rendered.call(step, &headers, Instant::now());
        let exchange = http.send(&step.prepared, call).await;
        land(flight, step, exchange, &call, http, scope)
    }
}

/// Judges and counts an exchange, and gives its memory back.
fn land(
    flight: Flight<'_>,
    step: &ReadyHttp,
    mut exchange: Exchange,
    call: &Call<'_>,
    client: &mut HttpClient,
    scope: &mut Scope,
) -> Landing {
    let outcome = std::mem::take(&mut exchange.outcome);
    let ended = exchange.ended;
    for (number, hop) in exchange.hops.iter().enumerate() {
        let phases = &hop.phases;
        let whole = phases.blocked + phases.dns + phases.connecting + phases.tls + phases.service_time();
        let late = call.now.filter(|_| number == 0).map(|now| now.saturating_duration_since(flight.intended()));
        flight.hop(hop, whole + late.unwrap_or_default());
        if let Some(cap) = flight.cap() {
            cap.sent();
        }
    }
    let Some(status) = exchange.status.filter(|_| outcome.failure.is_none()) else {
        let landing = flight.crash(&outcome, ended);
        client.recycle(exchange);
        return landing;
    };
    let answer = Answer {
        status: Some(status),
        grpc_status: None,
        duration: outcome.phases.service_time(),
        headers: &exchange.headers,
        set_cookies: &exchange.set_cookies,
        body: &exchange.body,
    };
    let landing = flight.land(outcome, ended, &answer, scope, || Some(step.prepared.message_of(status, &exchange.body, call)));
    client.recycle(exchange);
    landing
}

/// No headers: what a message of a WebSocket has.
pub(super) fn no_headers() -> HeaderMap {
    HeaderMap::new()
}

/// HTTP steps that are sent at the same time.
pub(super) struct Parallel<'w> {
    pub(super) workload: &'w FlowWorkload,
    /// Number of the first step.
    pub(super) first: u16,
    pub(super) count: u16,
    pub(super) intended: Instant,
}

impl Parallel<'_> {
    /// Fills all of them in, sends them over connections of their own, and is over when the last has landed.
    pub(super) async fn send(&self, vu: &mut FlowVu) -> Landing {
        let workload = self.workload;
        while vu.siblings.len() < usize::from(self.count) {
            vu.siblings.push(vu.http.sibling());
        }
        let now = Instant::now();
        let mut all = Landing { failed: false, broke: false, ended: now };
        let mut flights = Vec::with_capacity(usize::from(self.count));
        for index in self.first..self.first + self.count {
            let Some(ReadyStep::Http(step)) = workload.steps.get(usize::from(index)) else { return Landing::lost() };
            let mut flight = Flight::new(workload, index, &step.judge, self.intended);
            let mut rendered = Rendered::default();
            match flight.expect(&mut vu.scope).and_then(|()| rendered.fill(step, &mut vu.scope, &workload.tokens)) {
                Ok(()) => flights.push((flight, step, rendered)),
                Err(script) => all = all.and(flight.not_sent(script)),
            }
        }
        let mut going: FuturesUnordered<_> = flights
            .into_iter()
            .zip(&mut vu.siblings)
            .map(|((mut flight, step, rendered), client)| async move {
                let mut now = now;
                if workload.is_held_back().await {
                    now = Instant::now();
                    if !workload.open {
                        flight.due_at(now);
                    }
                }
                let mut headers = Vec::new();
                rendered.headers(step, &mut headers);
                let exchange = client.send(&step.prepared, rendered.call(step, &headers, now)).await;
                drop(headers);
                (flight, step, rendered, client, exchange, now)
            })
            .collect();
        while let Some((flight, step, rendered, client, exchange, now)) = going.next().await {
            let mut headers = Vec::new();
            rendered.headers(step, &mut headers);
            let call = rendered.call(step, &headers, now);
            all = all.and(land(flight, step, exchange, &call, client, &mut vu.scope));
        }
        all
    }
}

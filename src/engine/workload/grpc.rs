//! gRPC steps: fills in messages and metadata, calls, and lets the answer land.

use tokio::time::Instant;

use super::flight::{Flight, Landing};
use super::http::authorize;
use super::ready::ReadyGrpc;
use super::{FlowVu, FlowWorkload};
use crate::flow::Script;
use crate::flow::answer::Answer;
use crate::flow::scope::Scope;
use crate::model::template::Template;
use crate::protocol::grpc::{Call, GrpcClient};

impl FlowWorkload {
    /// Makes the call of a gRPC step.
    pub(super) async fn grpc(&self, vu: &mut FlowVu, index: u16, step: &ReadyGrpc, intended: Instant) -> Landing {
        let mut flight = Flight::new(self, index, &step.judge, intended);
        let FlowVu { grpc, scope, .. } = vu;
        let client = grpc.get_or_insert_with(|| GrpcClient::new(self.dialer.clone(), &self.options, &self.grpc));
        let mut authorization = String::new();
        let filled = flight.expect(scope).and_then(|()| {
            let messages = filled(&step.messages, scope)?;
            let metadata = filled(&step.metadata, scope)?;
            if let Some(auth) = &step.auth {
                authorize(auth, scope, &self.tokens, &mut authorization)?;
            }
            Ok((messages, metadata))
        });
        let (messages, metadata) = match filled {
            Ok(filled) => filled,
            Err(script) => return flight.not_sent(script),
        };
        let authorization = step.auth.is_some().then_some(authorization.as_str());
        let mut exchange = client.call(&step.ready, Call { messages: &messages, metadata: &metadata, authorization }).await;
        let ended = exchange.ended;
        let outcome = std::mem::take(&mut exchange.outcome);
        let Some(status) = exchange.status else { return flight.crash(&outcome, ended) };
        if step.judge.needs_headers() {
            for (name, value) in &exchange.trailers {
                exchange.headers.append(name, value.clone());
            }
        }
        let answer = Answer {
            status: None,
            grpc_status: Some(status),
            duration: outcome.phases.service_time(),
            headers: &exchange.headers,
            set_cookies: &[],
            body: &exchange.body,
        };
        flight.land(outcome, ended, &answer, scope, || Some(format!("status {status}")))
    }
}

fn filled(templates: &[Template], scope: &mut Scope) -> Result<Vec<String>, Script> {
    templates
        .iter()
        .map(|template| {
            let mut text = String::new();
            scope.render(template, &mut text).map(|()| text)
        })
        .collect()
}

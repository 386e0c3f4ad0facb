//! Flows: nodes with their parts looked up, in the order in which they are walked, so that every `${…}` is held against what is set
//! before it. The kinds of requests have files of their own.

mod address;
mod check;
mod grpc;
mod http;
mod names;
mod socket;
mod template;

use super::Resolver;
use super::auth::ReadyAuth;
use crate::config::raw::flow::step::RawStep;
use crate::config::raw::flow::{Branch, IfKeys, ParallelKeys, RawFlow, RawNodes, RepeatKeys, SetKeys, WhileKeys};
use crate::config::raw::text::Fixed;
use crate::model::flow::{FlowNode, Session, Step};
use crate::model::profile::Target;
use crate::model::request::{Request, TokenSource};
use crate::model::template::{Encoding, is_reserved};
use crate::registry::Spanned;

pub(super) use grpc::Schemas;
pub(super) use names::{Known, Names, set_by};
pub(super) use socket::Line;
pub(super) use template::sendable;

/// Where a flow stands, and what is known at the place that is being read.
pub(super) struct Scope<'t> {
    /// Whose flow it is, for messages: "scenario `users`".
    pub(super) owner: String,
    /// `None` when the target is unknown or wrong, so that addresses cannot be judged.
    pub(super) target: Option<&'t Target>,
    /// How its requests prove who asks, unless they say otherwise.
    pub(super) auth: Option<ReadyAuth>,
    /// Redirects that its requests follow, unless they say otherwise.
    pub(super) redirects: u32,
    /// Names that templates may use.
    pub(super) names: Names,
    /// The shared tokens of the profile; `None` within a login, which cannot wait for another.
    pub(super) tokens: Option<&'t mut Vec<TokenSource>>,
    /// The WebSocket that is open here.
    pub(super) socket: Line,
}

impl Resolver<'_> {
    /// A whole flow. `None` when a mistake was told in it.
    pub(super) fn flow(&mut self, raw: &Spanned<RawNodes>, scope: &mut Scope<'_>) -> Option<Vec<FlowNode>> {
        let (mut steps, mut groups) = (Vec::new(), Vec::new());
        named_nodes(&raw.value, &mut steps, &mut groups);
        self.check_unique("step", steps.iter());
        self.check_unique("group", groups.iter());
        for name in set_by(&raw.value) {
            self.check_variable(name, &scope.names);
        }
        let flow = self.nodes(&raw.value, scope);
        flow.filter(|_| !raw.value.flawed)
    }

    /// Reports a flow without a request.
    pub(super) fn check_requests(&mut self, raw: &Spanned<RawNodes>, scope: &Scope<'_>) {
        let (mut steps, mut groups) = (Vec::new(), Vec::new());
        named_nodes(&raw.value, &mut steps, &mut groups);
        if steps.is_empty() && !raw.value.flawed {
            let message = format!("the flow of {} makes no request", scope.owner);
            self.mistake("missing-key", raw.span, message, "add a node such as `{ step: home, get: / }`");
        }
    }

    fn nodes(&mut self, raw: &RawNodes, scope: &mut Scope<'_>) -> Option<Vec<FlowNode>> {
        let nodes: Vec<Option<FlowNode>> = raw.nodes.iter().map(|node| self.node(&node.value, scope)).collect();
        nodes.into_iter().collect()
    }

    fn node(&mut self, raw: &RawFlow, scope: &mut Scope<'_>) -> Option<FlowNode> {
        Some(match raw {
            RawFlow::Step(step) => self.step(step, scope)?,
            RawFlow::Sequence(keys) => FlowNode::Sequence(self.nodes(&keys.sequence, scope)?),
            RawFlow::Choose(keys) => self.choose(&keys.choose, scope)?,
            RawFlow::Repeat(keys) => self.repeat(keys, scope)?,
            RawFlow::While(keys) => self.while_holds(keys, scope)?,
            RawFlow::If(keys) => self.if_holds(keys, scope)?,
            RawFlow::Group(keys) => {
                let name = Fixed::spanned(&keys.group);
                self.check_label(&name, "group");
                FlowNode::Group { name: name.value, flow: self.nodes(&keys.flow, scope)? }
            }
            RawFlow::Parallel(keys) => self.parallel(keys, scope)?,
            RawFlow::Set(keys) => self.set(keys, scope)?,
            RawFlow::Pause(keys) => FlowNode::Pause(keys.pause.0.clone()),
            RawFlow::Pace(keys) => {
                if keys.pace.value.is_zero() {
                    self.mistake("out-of-range", keys.pace.span, "a pace of no time paces nothing", "write a time such as `30s`");
                    return None;
                }
                FlowNode::Pace(keys.pace.value)
            }
        })
    }

    fn step(&mut self, raw: &RawStep, scope: &mut Scope<'_>) -> Option<FlowNode> {
        let name = raw.name();
        self.check_label(&name, "step");
        if raw.timeout().is_zero() {
            let message = format!("step `{}` has no time to answer", name.value);
            self.mistake("out-of-range", name.span, message, "write `timeout: 60s`");
        }
        let fits = self.check_fit(raw, scope);
        let request = match raw {
            RawStep::Http(keys) => self.http_request(raw, keys, scope).map(Request::Http),
            RawStep::Grpc(keys) => self.grpc_request(raw, keys, scope).map(Request::Grpc),
            RawStep::Socket(keys) => self.connect(raw, keys, scope).map(Request::Connect),
            RawStep::Exchange(keys) => self.on_socket(keys, scope),
        };
        scope.names.variables.extend(raw.extracts().iter().map(|(name, _)| name.value.clone()));
        // The flow of a session sees what opening it has set.
        let session = if let RawStep::Socket(keys) = raw { Some(self.session(keys, scope)) } else { None };
        let step = Step {
            name: name.value,
            request: request.filter(|_| fits)?,
            checks: raw.checks().iter().map(|check| check.check.clone()).collect(),
            extracts: raw.extracts().iter().map(|(name, extract)| extract.value.named(&name.value)).collect(),
            timeout: raw.timeout(),
        };
        Some(match session {
            Some(flow) => FlowNode::Session(Box::new(Session { connect: step, flow: flow? })),
            None => FlowNode::Step(Box::new(step)),
        })
    }

    fn choose(&mut self, branches: &Spanned<Vec<Branch>>, scope: &mut Scope<'_>) -> Option<FlowNode> {
        if branches.value.is_empty() {
            self.mistake("missing-key", branches.span, "there is nothing to choose from", "add `- { weight: 1, do: [...] }`");
            return None;
        }
        let before = scope.names.variables.clone();
        let mut after = before.clone();
        let mut read = Vec::new();
        for branch in &branches.value {
            let weight = branch.weight.value;
            if weight <= 0.0 {
                self.mistake("out-of-range", branch.weight.span, "a weight must be above 0", "remove the choice, or write 1 or more");
            }
            scope.names.variables.clone_from(&before);
            read.push(self.perhaps(&branch.flow, scope).filter(|_| weight > 0.0).map(|flow| (weight, flow)));
            after.append(&mut scope.names.variables);
        }
        scope.names.variables = after;
        read.into_iter().collect::<Option<_>>().map(FlowNode::Choose)
    }

    fn repeat(&mut self, keys: &RepeatKeys, scope: &mut Scope<'_>) -> Option<FlowNode> {
        let times = match keys.repeat.value[..] {
            [times] if times > 0 => Some((times, times)),
            [from, to] if from <= to && to > 0 => Some((from, to)),
            _ => {
                let message = "a repetition is a number above 0, or a least and a greatest number";
                self.mistake("out-of-range", keys.repeat.span, message, "write `repeat: 3` or `repeat: [1, 5]`");
                None
            }
        };
        let flow = self.rounds(&keys.flow, scope);
        Some(FlowNode::Repeat { times: times?, flow: flow? })
    }

    fn while_holds(&mut self, keys: &WhileKeys, scope: &mut Scope<'_>) -> Option<FlowNode> {
        // A round sees what the one before it has set.
        scope.names.variables.extend(set_by(&keys.flow).into_iter().map(|name| name.value.clone()));
        let condition = self.flow_condition(&keys.condition, scope);
        let flow = self.rounds(&keys.flow, scope);
        if keys.at_most == 0 {
            self.mistake("out-of-range", keys.condition.span, "`at_most: 0` allows no round", "write 1 or more");
        }
        Some(FlowNode::While { condition: condition?, at_most: keys.at_most, flow: flow? })
    }

    /// The body of a loop.
    fn rounds(&mut self, flow: &RawNodes, scope: &mut Scope<'_>) -> Option<Vec<FlowNode>> {
        scope.names.variables.extend(set_by(flow).into_iter().map(|name| name.value.clone()));
        self.perhaps(flow, scope)
    }

    /// Nodes that may be done or not: whether they close the socket is not known afterwards.
    fn perhaps(&mut self, flow: &RawNodes, scope: &mut Scope<'_>) -> Option<Vec<FlowNode>> {
        let line = scope.socket.clone();
        let read = self.nodes(flow, scope);
        scope.socket = line;
        read
    }

    fn if_holds(&mut self, keys: &IfKeys, scope: &mut Scope<'_>) -> Option<FlowNode> {
        let condition = self.flow_condition(&keys.condition, scope);
        let before = scope.names.variables.clone();
        let then = self.perhaps(&keys.flow, scope);
        let mut after = std::mem::replace(&mut scope.names.variables, before);
        let otherwise = self.perhaps(&keys.otherwise, scope);
        scope.names.variables.append(&mut after);
        Some(FlowNode::If { condition: condition?, then: then?, otherwise: otherwise? })
    }

    fn parallel(&mut self, keys: &ParallelKeys, scope: &mut Scope<'_>) -> Option<FlowNode> {
        if keys.parallel.value.nodes.is_empty() && !keys.parallel.value.flawed {
            self.mistake(
                "missing-key",
                keys.parallel.span,
                "there is nothing to do at the same time",
                "add `- { step: NAME, get: /path }`",
            );
            return None;
        }
        let before = scope.names.variables.clone();
        let mut after = before.clone();
        let mut steps = Vec::new();
        for node in &keys.parallel.value.nodes {
            scope.names.variables.clone_from(&before);
            if let RawFlow::Step(step) = &node.value
                && matches!(step, RawStep::Http(_))
            {
                let read = self.step(step, scope);
                steps.push(read.and_then(|node| if let FlowNode::Step(step) = node { Some(*step) } else { None }));
            } else {
                let message = "only HTTP requests can be made at the same time";
                self.mistake("wrong-type", node.span, message, "put it before or after `parallel`");
                steps.push(None);
            }
            after.append(&mut scope.names.variables);
        }
        scope.names.variables = after;
        steps.into_iter().collect::<Option<_>>().map(FlowNode::Parallel)
    }

    fn set(&mut self, keys: &SetKeys, scope: &mut Scope<'_>) -> Option<FlowNode> {
        if keys.set.value.0.is_empty() {
            self.mistake("missing-key", keys.set.span, "nothing is set", "write `set: { page: 1 }`");
        }
        let mut variables = Vec::new();
        for (name, value) in keys.set.value.iter() {
            variables.push(self.fill(value, Encoding::Plain, scope).map(|value| (name.value.clone(), value)));
            scope.names.variables.insert(name.value.clone());
        }
        variables.into_iter().collect::<Option<_>>().map(FlowNode::Set)
    }

    /// Names of variables are those that `${…}` can reach.
    fn check_variable(&mut self, name: &Spanned<String>, names: &Names) {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let text = name.value.as_str();
        if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !text.chars().all(fine) {
            let message = format!("`{text}` cannot be the name of a variable");
            self.mistake("bad-name", name.span, message, "use letters, digits, `_` and `-`, a letter or `_` first");
        } else if text.chars().all(|c| !c.is_ascii_lowercase()) {
            let message = format!("`${{{text}}}` is an environment variable");
            self.mistake("bad-name", name.span, message, format!("write `{}`", text.to_lowercase()));
        } else if is_reserved(text) {
            let message = format!("`{text}` cannot be the name of a variable: `${{{text}}}` has a meaning of its own");
            self.mistake("bad-name", name.span, message, format!("write `my_{text}`, for example"));
        } else if names.data.contains_key(text) {
            let message = format!("`{text}` is the name of the scenario's data already");
            self.mistake("bad-name", name.span, message, format!("write `my_{text}`, for example"));
        }
    }
}

/// The names of steps and groups of a flow, depth first.
fn named_nodes(flow: &RawNodes, steps: &mut Vec<Spanned<String>>, groups: &mut Vec<Spanned<String>>) {
    for node in &flow.nodes {
        match &node.value {
            RawFlow::Step(step) => {
                steps.push(step.name());
                if let RawStep::Socket(keys) = step {
                    named_nodes(&keys.flow, steps, groups);
                }
            }
            RawFlow::Sequence(keys) => named_nodes(&keys.sequence, steps, groups),
            RawFlow::Choose(keys) => keys.choose.value.iter().for_each(|branch| named_nodes(&branch.flow, steps, groups)),
            RawFlow::Repeat(keys) => named_nodes(&keys.flow, steps, groups),
            RawFlow::While(keys) => named_nodes(&keys.flow, steps, groups),
            RawFlow::If(keys) => {
                named_nodes(&keys.flow, steps, groups);
                named_nodes(&keys.otherwise, steps, groups);
            }
            RawFlow::Group(keys) => {
                groups.push(Fixed::spanned(&keys.group));
                named_nodes(&keys.flow, steps, groups);
            }
            RawFlow::Parallel(keys) => named_nodes(&keys.parallel.value, steps, groups),
            RawFlow::Set(_) | RawFlow::Pause(_) | RawFlow::Pace(_) => {}
        }
    }
}

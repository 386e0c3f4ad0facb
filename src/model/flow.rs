//! What one iteration does: a tree of steps, choices, loops, conditions, groups and pauses, with templates not yet filled in.
//! Made by `config`, walked by `flow`, carried out by the engine with the protocols.

mod condition;

use std::time::Duration;

use super::request::{HttpRequest, Request};
use super::template::Template;
use crate::choice;

/// A node of an iteration's flow.
#[derive(Debug, Clone, PartialEq)]
pub enum FlowNode {
    /// One request.
    Step(Box<Step>),
    /// One after the other.
    Sequence(Vec<FlowNode>),
    /// One of several flows, drawn by weight.
    Choose(Vec<(f64, Vec<FlowNode>)>),
    /// The same again and again.
    Repeat {
        /// How often: one number, or evenly between two.
        times: (u64, u64),
        /// What.
        flow: Vec<FlowNode>,
    },
    /// As long as a condition holds.
    While {
        /// The condition, asked before each round.
        condition: Condition,
        /// Rounds after which it is a failure, not patience.
        at_most: u64,
        /// What.
        flow: Vec<FlowNode>,
    },
    /// If a condition holds.
    If {
        /// The condition.
        condition: Condition,
        /// What then.
        then: Vec<FlowNode>,
        /// What else.
        otherwise: Vec<FlowNode>,
    },
    /// Timed as a whole.
    Group {
        /// Name for figures.
        name: String,
        /// What.
        flow: Vec<FlowNode>,
    },
    /// HTTP requests at the same time, over connections of their own; it is over when the last has ended.
    Parallel(Vec<Step>),
    /// A WebSocket session: connect, what is done on the open socket, close.
    Session(Box<Session>),
    /// Sets variables of the iteration.
    Set(Vec<(String, Template)>),
    /// Think time.
    Pause(Pause),
    /// Waits until so long after the iteration's beginning.
    Pace(Duration),
}

impl FlowNode {
    /// The flows inside, in the order of the file.
    pub fn children(&self) -> Vec<&[FlowNode]> {
        match self {
            Self::Sequence(flow) | Self::Repeat { flow, .. } | Self::While { flow, .. } | Self::Group { flow, .. } => vec![flow],
            Self::Choose(branches) => branches.iter().map(|(_, flow)| flow.as_slice()).collect(),
            Self::If { then, otherwise, .. } => vec![then, otherwise],
            Self::Session(session) => vec![&session.flow],
            Self::Step(_) | Self::Parallel(_) | Self::Set(_) | Self::Pause(_) | Self::Pace(_) => Vec::new(),
        }
    }

    /// The flows inside, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Vec<FlowNode>> {
        match self {
            Self::Sequence(flow) | Self::Repeat { flow, .. } | Self::While { flow, .. } | Self::Group { flow, .. } => vec![flow],
            Self::Choose(branches) => branches.iter_mut().map(|(_, flow)| flow).collect(),
            Self::If { then, otherwise, .. } => vec![then, otherwise],
            Self::Session(session) => vec![&mut session.flow],
            Self::Step(_) | Self::Parallel(_) | Self::Set(_) | Self::Pause(_) | Self::Pace(_) => Vec::new(),
        }
    }

    /// The steps of the node itself, without those of the flows inside.
    pub fn own_steps(&self) -> Vec<&Step> {
        match self {
            Self::Step(step) => vec![step],
            Self::Parallel(steps) => steps.iter().collect(),
            Self::Session(session) => vec![&session.connect],
            Self::Sequence(_)
            | Self::Choose(_)
            | Self::Repeat { .. }
            | Self::While { .. }
            | Self::If { .. }
            | Self::Group { .. }
            | Self::Set(_)
            | Self::Pause(_)
            | Self::Pace(_) => Vec::new(),
        }
    }
}

/// The steps of a flow depth first: the order in which they are numbered.
pub fn steps_of(flow: &[FlowNode]) -> Vec<&Step> {
    let mut steps = Vec::new();
    for node in flow {
        steps.extend(node.own_steps());
        node.children().into_iter().for_each(|flow| steps.extend(steps_of(flow)));
    }
    steps
}

/// The names of the groups of a flow depth first: the order in which they are numbered.
pub fn groups_of(flow: &[FlowNode]) -> Vec<&str> {
    let mut groups = Vec::new();
    for node in flow {
        if let FlowNode::Group { name, .. } = node {
            groups.push(name.as_str());
        }
        node.children().into_iter().for_each(|flow| groups.extend(groups_of(flow)));
    }
    groups
}

/// A WebSocket session.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Opens the socket; its request is a [`Request::Connect`].
    pub connect: Step,
    /// What is done meanwhile; steps with [`Request::Exchange`] speak on this socket, one with [`Request::Part`] ends it.
    pub flow: Vec<FlowNode>,
}

/// Think time.
#[derive(Debug, Clone, PartialEq)]
pub enum Pause {
    /// Always the same.
    Fixed(Duration),
    /// Evenly between two bounds.
    Uniform(Duration, Duration),
    /// Around a mean, with a standard deviation, never below zero.
    Normal(Duration, Duration),
    /// Exponential with a mean: a Poisson process of its own.
    Exponential(Duration),
}

/// One request of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name for figures.
    pub name: String,
    /// What is sent.
    pub request: Request,
    /// What must hold of the answer.
    pub checks: Vec<Check>,
    /// What is taken from the answer into variables.
    pub extracts: Vec<Extract>,
    /// Longest time for the whole request.
    pub timeout: Duration,
}

impl Step {
    /// Its HTTP request, if it is one.
    pub fn http(&self) -> Option<&HttpRequest> {
        match &self.request {
            Request::Http(request) => Some(request),
            Request::Grpc(_) | Request::Connect(_) | Request::Exchange(_) | Request::Part(_) => None,
        }
    }
}

/// Takes something from an answer into a variable; finding nothing fails the request, unless there is a default.
#[derive(Debug, Clone, PartialEq)]
pub struct Extract {
    /// Name of the variable.
    pub variable: String,
    /// Where from.
    pub from: ExtractFrom,
    /// Value when nothing is found.
    pub default: Option<serde_json::Value>,
}

/// Where an extraction looks.
#[derive(Debug, Clone, PartialEq)]
pub enum ExtractFrom {
    /// A JSON path (RFC 9535); the first node that it finds, with its type.
    Json(String),
    /// A response header or gRPC metadata, the first of the name.
    Header(String),
    /// A cookie that the answer sets.
    Cookie(String),
    /// A regular expression over the body: its first group, or all of it.
    Regex(String),
}

/// A comparison of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `contains`
    Contains,
    /// `matches`, a regular expression.
    Matches,
}

/// What `if` and `while` ask: a comparison, or whether a value is there (neither absent, empty, `false`, `0` nor `null`).
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Left, how, right.
    Compare(Template, Operator, Template),
    /// Is there something?
    Truthy(Template),
    /// The opposite.
    Not(Box<Condition>),
    /// All of these.
    All(Vec<Condition>),
    /// Any of these.
    Any(Vec<Condition>),
}

/// Something that must hold of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Name for figures and reasons: `status is 200`.
    pub name: String,
    /// What is compared.
    pub kind: CheckKind,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckKind {
    /// The status is one of these. A failed status check is reported as the status itself.
    Status(Vec<u16>),
    /// The gRPC status is one of these; reported as the status itself.
    GrpcStatus(Vec<u16>),
    /// `http_req_duration` is below this.
    DurationBelow(Duration),
    /// The body is valid JSON.
    BodyIsJson,
    /// A JSON path finds something.
    JsonExists(String),
    /// A JSON path finds a value for which the comparison with this JSON document holds.
    Json(String, Operator, Template),
    /// The body contains this text.
    BodyContains(Template),
    /// The body matches this regular expression.
    BodyMatches(String),
    /// Bytes of the body (decompressed).
    BodySize(Operator, u64),
    /// A header is there; with a comparison, its first value must hold.
    Header(String, Option<(Operator, Template)>),
}

impl CheckKind {
    /// True when the check needs the body.
    pub fn needs_body(&self) -> bool {
        match self {
            Self::BodyIsJson | Self::JsonExists(_) | Self::Json(..) | Self::BodyContains(_) | Self::BodyMatches(_) | Self::BodySize(..) => {
                true
            }
            Self::Status(_) | Self::GrpcStatus(_) | Self::DurationBelow(_) | Self::Header(..) => false,
        }
    }

    /// What is compared with, where it may hold placeholders.
    pub fn right_side(&self) -> Option<&Template> {
        match self {
            Self::Json(_, _, right) | Self::BodyContains(right) | Self::Header(_, Some((_, right))) => Some(right),
            Self::Status(_)
            | Self::GrpcStatus(_)
            | Self::DurationBelow(_)
            | Self::BodyIsJson
            | Self::JsonExists(_)
            | Self::BodyMatches(_)
            | Self::BodySize(..)
            | Self::Header(_, None) => None,
        }
    }

    /// True when the check needs response headers.
    pub fn needs_headers(&self) -> bool {
        matches!(self, Self::Header(..))
    }
}

/// Rows that iterations take values from: `${NAME.COLUMN}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Feeder {
    /// Name in the scenario's `data`.
    pub name: String,
    /// Column names, in the order of the rows' values.
    pub columns: Vec<String>,
    /// All rows, read when the configuration was.
    pub rows: std::sync::Arc<Vec<Vec<serde_json::Value>>>,
    /// Which row comes next.
    pub pick: Pick,
    /// What comes after the last row.
    pub at_end: AtEnd,
    /// With [`Pick::Unique`]: the row of the scenario's first VU. Those before it belong to VUs of other scenarios that take from the same rows.
    pub first: u64,
}

choice! {
    /// Which row an iteration gets.
    pub enum Pick {
        /// One after the other, shared by all VUs.
        Sequential = "sequential",
        /// Any, with repetition.
        Random = "random",
        /// Every row once per round, in an order shuffled with the run's seed, shared by all VUs.
        Shuffled = "shuffled",
        /// One row per VU, kept for all its iterations; no two VUs of the run share one.
        Unique = "unique",
    }
}

choice! {
    /// What comes after the last row (for `unique`: what a VU beyond the last row gets).
    pub enum AtEnd {
        /// From the beginning again.
        Recycle = "recycle",
        /// Nothing: the VU that needs one ends, and starts that find none are dropped.
        Stop = "stop",
    }
}

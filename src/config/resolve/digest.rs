//! The digest of a profile: equal digests mean that two runs asked for the same load, so that their figures can be compared.
//! It covers executors, timing, connections, data and requests, setup and teardown included; not names of people's choosing,
//! thresholds and checks, nor secrets and certificates, which rotate. The text is written out field by field, so that a digest only
//! changes when the load does.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::flow::{CheckKind, Extract, ExtractFrom, Feeder, FlowNode, Pause, Step};
use crate::model::profile::{Executor, Scenario, Spacing, Stage, VuPool, WhenBusy};
use crate::model::request::{
    Auth, Body, Cookies, FormContent, FormPart, GrpcSchema, HttpOptions, HttpRequest, Message, Request, SocketExchange, SocketParting,
    TlsOptions, TokenSource,
};
use crate::model::staircase::{StairUnit, Staircase};
use crate::model::template::Template;
use crate::model::units::Rate;

/// Headers whose values change without the load changing, and which are secret.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// What a run of a profile sends.
pub(super) struct Load<'p> {
    pub(super) scenarios: &'p [Scenario],
    pub(super) setup: &'p [FlowNode],
    pub(super) teardown: &'p [FlowNode],
    pub(super) tokens: &'p [TokenSource],
    pub(super) tls: &'p TlsOptions,
}

/// SHA-256 over the canonical text, in hex.
pub(super) fn digest(load: &Load<'_>) -> String {
    let mut text = String::from("plimsoll load 2\n");
    for scenario in load.scenarios {
        render(scenario, &mut text);
    }
    for (name, nodes) in [("setup", load.setup), ("teardown", load.teardown)] {
        text.push_str(&format!("{name}\n"));
        flow(nodes, 1, &mut text);
    }
    load.tokens.iter().for_each(|source| token(source, &mut text));
    let TlsOptions { ca: _, identity, server_name, only_tls13, verify } = load.tls;
    text.push_str(&format!("tls 1.3 {only_tls13} verified {verify} as {server_name:?} mutual {}\n", identity.is_some()));
    hex(&Sha256::digest(text.as_bytes()))
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn render(scenario: &Scenario, text: &mut String) {
    let pace = scenario.pace.map_or_else(|| "none".to_owned(), |pace| pace.as_micros().to_string());
    text.push_str(&format!(
        "scenario {:?} start {} stop {} pace {pace} {}\n",
        scenario.name,
        scenario.start_time.as_micros(),
        scenario.graceful_stop.as_micros(),
        executor(&scenario.executor)
    ));
    // Only what is not as by default, so that digests from before these keys still hold.
    if let Some(after) = scenario.start_after {
        text.push_str(&format!(" after {after}\n"));
    }
    if let Spacing::Poisson { seed } = scenario.spacing {
        text.push_str(&format!(" poisson {seed}\n"));
    }
    if scenario.when_busy == WhenBusy::Queue {
        text.push_str(" queue\n");
    }
    text.push_str(&format!(" {}\n", connections(&scenario.http)));
    for Feeder { name, columns, rows, pick, at_end, first: _ } in &scenario.data {
        let mut hash = Sha256::new();
        for value in rows.iter().flatten() {
            hash.update(value.to_string());
            hash.update("\n");
        }
        text.push_str(&format!(" data {name:?} {columns:?} {pick} {at_end} {}\n", hex(&hash.finalize())));
    }
    flow(&scenario.flow, 1, text);
}

fn connections(http: &HttpOptions) -> String {
    let HttpOptions { version, connections, redirects, dns_ttl, max_body: _, compression, cookies } = http;
    let dns = dns_ttl.as_micros();
    // The words that stood here before there were three ways, so that digests still hold.
    let cookies = match cookies {
        Cookies::PerIteration => "true",
        Cookies::PerVu => "per-vu",
        Cookies::None => "false",
    };
    format!("http {version} {connections} redirects {redirects} dns {dns} compression {compression} cookies {cookies}")
}

fn token(source: &TokenSource, text: &mut String) {
    match source {
        TokenSource::ClientCredentials { token_url, client_id, client_secret: _, scope, audience, in_body } => {
            text.push_str(&format!("token of {token_url} {client_id:?} {scope:?} {audience:?} in body {in_body}\n"));
        }
        TokenSource::Login { flow: nodes, token, refresh } => {
            let refresh = refresh.map_or_else(|| "never".to_owned(), |refresh| refresh.as_micros().to_string());
            text.push_str(&format!("token of a login {:?} again after {refresh}\n", token.source()));
            flow(nodes, 1, text);
        }
    }
}

fn executor(executor: &Executor) -> String {
    let name = executor.name();
    match executor {
        Executor::ConstantVus { vus, duration } => format!("{name} vus {vus} for {}", duration.as_micros()),
        Executor::RampingVus { start_vus, stages: list, graceful_ramp_down } => {
            format!("{name} from {start_vus} {} down {}", stages(list), graceful_ramp_down.as_micros())
        }
        Executor::ConstantArrivalRate { rate: every, duration, vus } => {
            format!("{name} {} for {} {}", rate(*every), duration.as_micros(), pool(*vus))
        }
        Executor::RampingArrivalRate { start_rate, stages: list, vus } => {
            format!("{name} from {} {} {}", rate(*start_rate), stages(list), pool(*vus))
        }
        Executor::PerVuIterations { vus, iterations, max_duration } | Executor::SharedIterations { vus, iterations, max_duration } => {
            format!("{name} vus {vus} iterations {iterations} within {}", max_duration.as_micros())
        }
        Executor::ExternallyControlled { vus, max_vus, duration } => {
            format!("{name} vus {vus} to {max_vus} for {}", duration.as_micros())
        }
        Executor::Staircase(stairs) => staircase(name, stairs),
    }
}

/// The gate belongs to it, because the load goes no higher than it lets it.
fn staircase(name: &str, stairs: &Staircase) -> String {
    let unit = match stairs.unit {
        StairUnit::Vus => "vus".to_owned(),
        StairUnit::Rate { per, vus } => format!("per {} {}", per.as_micros(), pool(vus)),
    };
    let gate: Vec<&str> = stairs.gate.iter().map(|threshold| threshold.text.as_str()).collect();
    format!(
        "{name} {unit} {:?} hold {} ramp {} rest {} gate {gate:?} stop {} resolution {:?}",
        stairs.levels,
        stairs.hold.as_micros(),
        stairs.ramp.as_micros(),
        stairs.rest.as_micros(),
        stairs.stop_on_fail,
        stairs.resolution
    )
}

fn stages(stages: &[Stage]) -> String {
    let list: Vec<String> = stages.iter().map(|stage| format!("{}:{}", stage.duration.as_micros(), stage.target)).collect();
    format!("[{}]", list.join(" "))
}

fn rate(rate: Rate) -> String {
    format!("{}/{}", rate.count, rate.per.as_micros())
}

fn pool(pool: VuPool) -> String {
    format!("vus {}-{}", pool.pre_allocated, pool.max)
}

fn flow(nodes: &[FlowNode], depth: usize, text: &mut String) {
    let indent = " ".repeat(depth);
    for node in nodes {
        match node {
            FlowNode::Step(keys) => step(keys, &indent, text),
            FlowNode::Choose(branches) => {
                for (weight, nodes) in branches {
                    text.push_str(&format!("{indent}choose {weight}\n"));
                    flow(nodes, depth + 1, text);
                }
                continue;
            }
            FlowNode::Pause(pause) => text.push_str(&format!("{indent}pause {}\n", times(pause))),
            FlowNode::Pace(time) => text.push_str(&format!("{indent}pace {}\n", time.as_micros())),
            FlowNode::Sequence(_) => {}
            FlowNode::Repeat { times: (least, most), .. } => text.push_str(&format!("{indent}repeat {least}-{most}\n")),
            FlowNode::While { condition, at_most, .. } => text.push_str(&format!("{indent}while {condition} at most {at_most}\n")),
            FlowNode::If { condition, then, otherwise } => {
                text.push_str(&format!("{indent}if {condition}\n"));
                flow(then, depth + 1, text);
                text.push_str(&format!("{indent}else\n"));
                flow(otherwise, depth + 1, text);
                continue;
            }
            FlowNode::Group { .. } => text.push_str(&format!("{indent}group\n")),
            FlowNode::Parallel(steps) => {
                text.push_str(&format!("{indent}parallel\n"));
                for keys in steps {
                    step(keys, &format!("{indent} "), text);
                }
            }
            FlowNode::Session(session) => step(&session.connect, &indent, text),
            FlowNode::Set(variables) => {
                for (name, value) in variables {
                    text.push_str(&format!("{indent}set {name:?} {:?}\n", value.source()));
                }
            }
        }
        node.children().into_iter().for_each(|nodes| flow(nodes, depth + 1, text));
    }
}

fn times(pause: &Pause) -> String {
    match pause {
        Pause::Fixed(time) => time.as_micros().to_string(),
        Pause::Uniform(from, to) => format!("{}-{}", from.as_micros(), to.as_micros()),
        Pause::Normal(mean, deviation) => format!("normal {} {}", mean.as_micros(), deviation.as_micros()),
        Pause::Exponential(mean) => format!("exponential {}", mean.as_micros()),
    }
}

fn step(step: &Step, indent: &str, text: &mut String) {
    let timeout = step.timeout.as_micros();
    text.push_str(&format!("{indent}step {:?} timeout {timeout}\n", step.name));
    for Extract { variable, from, default } in &step.extracts {
        let (kind, place) = match from {
            ExtractFrom::Json(path) => ("json", path),
            ExtractFrom::Header(name) => ("header", name),
            ExtractFrom::Cookie(name) => ("cookie", name),
            ExtractFrom::Regex(pattern) => ("regex", pattern),
        };
        let default = default.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        text.push_str(&format!("{indent} takes {variable} from {kind} {place:?} else {default}\n"));
    }
    match &step.request {
        Request::Http(request) => http(request, indent, text),
        Request::Grpc(request) => {
            let schema = matches!(request.schema, GrpcSchema::Reflection);
            text.push_str(&format!("{indent} grpc {} {}/{} reflection {schema}\n", request.origin, request.service, request.method));
            headers(&request.metadata, indent, text);
            auth(request.auth.as_ref(), indent, text);
            request.messages.iter().for_each(|message| text.push_str(&format!("{indent} message {:?}\n", message.source())));
        }
        Request::Connect(request) => {
            let origin = &request.address.origin;
            text.push_str(&format!("{indent} connect {origin} {:?} {:?}\n", request.address.path.source(), request.subprotocols));
            headers(&request.headers, indent, text);
            auth(request.auth.as_ref(), indent, text);
        }
        Request::Exchange(SocketExchange { send, expect }) => {
            said(send.as_ref(), indent, text);
            // What is waited for decides how long the exchange takes, unlike a check.
            for kind in expect.iter().flatten() {
                text.push_str(&format!("{indent} expect {}\n", expected(kind)));
            }
        }
        Request::Part(SocketParting::Close { code, reason }) => {
            text.push_str(&format!("{indent} close {code} {:?}\n", reason.source()));
        }
        Request::Part(SocketParting::Closed { send, codes }) => {
            said(send.as_ref(), indent, text);
            text.push_str(&format!("{indent} closed {codes:?}\n"));
        }
    }
}

fn said(message: Option<&Message>, indent: &str, text: &mut String) {
    match message {
        Some(Message::Text(message)) => text.push_str(&format!("{indent} send {:?}\n", message.source())),
        Some(Message::Binary(message)) => text.push_str(&format!("{indent} send bytes {}\n", hex(&Sha256::digest(message)))),
        None => {}
    }
}

fn expected(kind: &CheckKind) -> String {
    match kind {
        CheckKind::BodyIsJson => "json".into(),
        CheckKind::JsonExists(path) => format!("json {path:?}"),
        CheckKind::Json(path, operator, value) => format!("json {path:?} {operator} {}", value.source()),
        CheckKind::BodyContains(part) => format!("contains {:?}", part.source()),
        CheckKind::BodyMatches(pattern) => format!("matches {pattern:?}"),
        CheckKind::BodySize(operator, bytes) => format!("size {operator} {bytes}"),
        // A message has none of these.
        CheckKind::Status(_) | CheckKind::GrpcStatus(_) | CheckKind::DurationBelow(_) | CheckKind::Header(..) => String::new(),
    }
}

/// Without what is secret in it.
fn auth(auth: Option<&Auth>, indent: &str, text: &mut String) {
    match auth {
        None => {}
        Some(Auth::Basic(user, _)) => text.push_str(&format!("{indent} basic {:?}\n", user.source())),
        Some(Auth::Bearer(_)) => text.push_str(&format!("{indent} bearer\n")),
        Some(Auth::Shared(index)) => text.push_str(&format!("{indent} token {index}\n")),
    }
}

fn http(request: &HttpRequest, indent: &str, text: &mut String) {
    let (origin, path) = (&request.address.origin, request.address.path.source());
    text.push_str(&format!("{indent} {} {origin} {path:?} redirects {:?}\n", request.method, request.redirects));
    headers(&request.headers, indent, text);
    auth(request.auth.as_ref(), indent, text);
    match &request.body {
        Body::Empty => {}
        Body::Text(body) => text.push_str(&format!("{indent} body {}\n", hex(&Sha256::digest(body.source())))),
        Body::Bytes(body) => text.push_str(&format!("{indent} bytes {}\n", hex(&Sha256::digest(body)))),
        Body::Multipart(parts) => parts.iter().for_each(|part| form_part(part, indent, text)),
    }
}

fn form_part(part: &FormPart, indent: &str, text: &mut String) {
    let content = match &part.content {
        FormContent::Text(content) => hex(&Sha256::digest(content.source())),
        FormContent::Bytes(content) => hex(&Sha256::digest(content)),
    };
    text.push_str(&format!("{indent} part {:?} {:?} {:?} {content}\n", part.name, part.file_name, part.content_type));
}

fn headers(headers: &[(String, Template)], indent: &str, text: &mut String) {
    for (name, value) in headers {
        let secret = SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        text.push_str(&format!("{indent} {} {:?}\n", name.to_ascii_lowercase(), if secret { String::new() } else { value.source() }));
    }
}

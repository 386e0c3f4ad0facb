//! The digest of a profile: equal digests mean that two runs asked for the same load, so that their figures can be compared.
//! It covers executors, timing and requests; not names of people's choosing, thresholds and checks, nor tokens, which rotate.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::flow::{FlowNode, Pause, Step};
use crate::model::profile::{Executor, Scenario, Stage, VuPool};
use crate::model::request::{Body, GrpcSchema, HttpRequest, Request};
use crate::model::template::Template;
use crate::model::units::Rate;

/// Headers whose values change without the load changing, and which are secret.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// SHA-256 over the canonical text, in hex.
pub(super) fn digest(scenarios: &[Scenario]) -> String {
    let mut text = String::from("plimsoll load 2\n");
    for scenario in scenarios {
        render(scenario, &mut text);
    }
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
    text.push_str(&format!(" {:?}\n", scenario.http));
    for feeder in &scenario.data {
        let rows = hex(&Sha256::digest(format!("{:?}", feeder.rows)));
        text.push_str(&format!(" data {:?} {:?} {:?} {:?} {rows}\n", feeder.name, feeder.columns, feeder.pick, feeder.at_end));
    }
    flow(&scenario.flow, 1, text);
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
    }
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
            FlowNode::While { condition, at_most, .. } => text.push_str(&format!("{indent}while {condition:?} at most {at_most}\n")),
            FlowNode::If { condition, then, otherwise } => {
                text.push_str(&format!("{indent}if {condition:?}\n"));
                flow(then, depth + 1, text);
                text.push_str(&format!("{indent}else\n"));
                flow(otherwise, depth + 1, text);
                continue;
            }
            FlowNode::Group { .. } => text.push_str(&format!("{indent}group\n")),
            FlowNode::Parallel(steps) => {
                text.push_str(&format!("{indent}parallel\n"));
                steps.iter().for_each(|keys| step(keys, &format!("{indent} "), text));
            }
            FlowNode::Session(session) => step(&session.connect, &indent, text),
            FlowNode::Set(variables) => {
                variables.iter().for_each(|(name, value)| text.push_str(&format!("{indent}set {name:?} {:?}\n", value.source())));
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
    let extracts: Vec<&str> = step.extracts.iter().map(|extract| extract.variable.as_str()).collect();
    text.push_str(&format!("{indent}step {:?} timeout {timeout} takes {extracts:?}\n", step.name));
    match &step.request {
        Request::Http(request) => http(request, indent, text),
        Request::Grpc(request) => {
            let schema = matches!(request.schema, GrpcSchema::Reflection);
            text.push_str(&format!("{indent} grpc {} {}/{} reflection {schema}\n", request.origin, request.service, request.method));
            headers(&request.metadata, indent, text);
            request.messages.iter().for_each(|message| text.push_str(&format!("{indent} message {:?}\n", message.source())));
        }
        Request::Connect(request) => {
            let origin = &request.address.origin;
            text.push_str(&format!("{indent} connect {origin} {:?} {:?}\n", request.address.path.source(), request.subprotocols));
            headers(&request.headers, indent, text);
        }
        Request::Exchange(exchange) => text.push_str(&format!("{indent} exchange {exchange:?}\n")),
    }
}

fn http(request: &HttpRequest, indent: &str, text: &mut String) {
    let (origin, path) = (&request.address.origin, request.address.path.source());
    text.push_str(&format!("{indent} {} {origin} {path:?} redirects {:?}\n", request.method, request.redirects));
    headers(&request.headers, indent, text);
    match &request.body {
        Body::Empty => {}
        Body::Text(body) => text.push_str(&format!("{indent} body {}\n", hex(&Sha256::digest(body.source())))),
        Body::Bytes(body) => text.push_str(&format!("{indent} bytes {}\n", hex(&Sha256::digest(body)))),
        Body::Multipart(parts) => text.push_str(&format!("{indent} parts {}\n", hex(&Sha256::digest(format!("{parts:?}"))))),
    }
}

fn headers(headers: &[(String, Template)], indent: &str, text: &mut String) {
    for (name, value) in headers {
        let secret = SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        text.push_str(&format!("{indent} {} {:?}\n", name.to_ascii_lowercase(), if secret { String::new() } else { value.source() }));
    }
}

//! The digest of a profile: equal digests mean that two runs asked for the same load, so that their figures can be compared.
//! It covers executors, timing and requests; not names of people's choosing, thresholds and checks, nor tokens, which rotate.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::profile::{Executor, FlowNode, Pause, Scenario, Stage, Step, VuPool};
use crate::model::units::Rate;

/// Headers whose values change without the load changing, and which are secret.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// SHA-256 over the canonical text, in hex.
pub(super) fn digest(scenarios: &[Scenario]) -> String {
    let mut text = String::from("plimsoll load 1\n");
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
            }
            FlowNode::Pause(Pause::Fixed(time)) => text.push_str(&format!("{indent}pause {}\n", time.as_micros())),
            FlowNode::Pause(Pause::Uniform(from, to)) => {
                text.push_str(&format!("{indent}pause {}-{}\n", from.as_micros(), to.as_micros()));
            }
        }
    }
}

fn step(step: &Step, indent: &str, text: &mut String) {
    let request = &step.request;
    let timeout = step.timeout.as_micros();
    text.push_str(&format!("{indent}step {:?} {} {} timeout {timeout}\n", step.name, request.method, request.url));
    for (name, value) in &request.headers {
        let secret = SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        text.push_str(&format!("{indent} {} {:?}\n", name.to_ascii_lowercase(), if secret { "" } else { value.as_str() }));
    }
    if let Some(body) = &request.body {
        text.push_str(&format!("{indent} body {}\n", hex(&Sha256::digest(body))));
    }
}

//! Walks the nodes of a flow: draws choices and pauses from the VU's own random numbers, and says what is next.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::model::flow::{FlowNode, Pause, Step};

/// What an iteration does next.
#[derive(Debug)]
pub enum Next<'f> {
    /// Send this step's request. The number is the step's place in the scenario, depth first, from 0.
    Step(u16, &'f Step),
    /// Think for so long.
    Pause(Duration),
}

/// Flow nodes with their steps numbered.
#[derive(Debug)]
pub struct NumberedFlow {
    nodes: Vec<Numbered>,
}

#[derive(Debug)]
enum Numbered {
    Step(u16, Box<Step>),
    Choose(f64, Vec<(f64, Vec<Numbered>)>),
    Pause(Pause),
}

impl NumberedFlow {
    /// Numbers the steps of a flow depth first.
    pub fn new(flow: &[FlowNode]) -> Self {
        let mut next = 0;
        Self { nodes: number(flow, &mut next) }
    }

    /// A walk through one iteration.
    pub fn walk(&self) -> Walk<'_> {
        Walk { stack: vec![self.nodes.iter()] }
    }
}

fn number(flow: &[FlowNode], next: &mut u16) -> Vec<Numbered> {
    flow.iter()
        .map(|node| match node {
            FlowNode::Step(step) => {
                *next += 1;
                Numbered::Step(*next - 1, step.clone())
            }
            FlowNode::Choose(branches) => {
                let total = branches.iter().map(|(weight, _)| weight).sum();
                Numbered::Choose(total, branches.iter().map(|(weight, nodes)| (*weight, number(nodes, next))).collect())
            }
            FlowNode::Pause(pause) => Numbered::Pause(pause.clone()),
            FlowNode::Sequence(_)
            | FlowNode::Repeat { .. }
            | FlowNode::While { .. }
            | FlowNode::If { .. }
            | FlowNode::Group { .. }
            | FlowNode::Parallel(_)
            | FlowNode::Session(_)
            | FlowNode::Set(_)
            | FlowNode::Pace(_) => Numbered::Pause(Pause::Fixed(Duration::ZERO)),
        })
        .collect()
}

/// One iteration on its way through a flow.
pub struct Walk<'f> {
    stack: Vec<std::slice::Iter<'f, Numbered>>,
}

impl<'f> Walk<'f> {
    /// The next thing to do; `None` at the end of the iteration.
    pub fn next(&mut self, random: &mut impl Rng) -> Option<Next<'f>> {
        while let Some(level) = self.stack.last_mut() {
            match level.next() {
                None => {
                    self.stack.pop();
                }
                Some(Numbered::Step(index, step)) => return Some(Next::Step(*index, step)),
                Some(Numbered::Pause(Pause::Fixed(time) | Pause::Normal(time, _) | Pause::Exponential(time))) => {
                    return Some(Next::Pause(*time));
                }
                Some(Numbered::Pause(Pause::Uniform(from, to))) => {
                    return Some(Next::Pause(from.saturating_add(to.saturating_sub(*from).mul_f64(random.random()))));
                }
                Some(Numbered::Choose(total, branches)) => {
                    let mut drawn = random.random::<f64>() * total;
                    let chosen = branches.iter().find(|(weight, _)| {
                        drawn -= weight;
                        drawn < 0.0
                    });
                    if let Some((_, nodes)) = chosen.or(branches.last()) {
                        self.stack.push(nodes.iter());
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::model::flow::steps_of;
    use crate::model::request::{HttpRequest, Request};

    fn step(name: &str) -> FlowNode {
        let url = url::Url::parse("http://127.0.0.1/").unwrap();
        let request = HttpRequest::new("GET", &url);
        let (checks, extracts, timeout) = (vec![], vec![], Duration::from_secs(1));
        FlowNode::Step(Box::new(Step { name: name.into(), request: Request::Http(request), checks, extracts, timeout }))
    }

    fn walk(flow: &NumberedFlow, random: &mut SmallRng) -> Vec<String> {
        let mut walk = flow.walk();
        let mut seen = Vec::new();
        while let Some(next) = walk.next(random) {
            seen.push(match next {
                Next::Step(index, step) => format!("{index}:{}", step.name),
                Next::Pause(time) => format!("{}ms", time.as_millis()),
            });
        }
        seen
    }

    #[test]
    fn walks_in_order_and_draws_by_weight() {
        let flow = [
            step("login"),
            FlowNode::Choose(vec![(80.0, vec![step("read")]), (20.0, vec![step("write"), step("confirm")])]),
            FlowNode::Pause(Pause::Fixed(Duration::from_millis(5))),
        ];
        assert_eq!(steps_of(&flow).iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["login", "read", "write", "confirm"]);
        let flow = NumberedFlow::new(&flow);
        let mut random = SmallRng::seed_from_u64(7);
        let mut writes = 0;
        for _ in 0..10_000 {
            let seen = walk(&flow, &mut random);
            if seen == ["0:login", "2:write", "3:confirm", "5ms"] {
                writes += 1;
            } else {
                assert_eq!(seen, ["0:login", "1:read", "5ms"]);
            }
        }
        assert!((1_800..2_200).contains(&writes), "{writes}");
    }

    #[test]
    fn a_uniform_pause_stays_in_its_bounds() {
        let flow = NumberedFlow::new(&[FlowNode::Pause(Pause::Uniform(Duration::from_millis(500), Duration::from_secs(2)))]);
        let mut random = SmallRng::seed_from_u64(7);
        for _ in 0..1_000 {
            let Some(Next::Pause(time)) = flow.walk().next(&mut random) else { panic!("no pause") };
            assert!((Duration::from_millis(500)..=Duration::from_secs(2)).contains(&time));
        }
    }
}

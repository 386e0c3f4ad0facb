//! Walks a flow: says what an iteration does next, and draws choices, repetitions and pauses from the VU's own random numbers. The tree is
//! laid out as a list of instructions beforehand, so that a walk is a position in it: no recursion, and nothing to allocate on the way.

use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp1, StandardNormal};

use super::Script;
use super::condition::Test;
use super::scope::Scope;
use crate::model::flow::{FlowNode, Pause, Step};
use crate::model::template::Template;

/// What an iteration does next.
#[derive(Debug)]
pub enum Next<'f> {
    /// Send this step's request. The number is the step's place in the scenario, depth first, from 0.
    Step(u16, &'f Step),
    /// Send these at the same time; the number is the first one's.
    Parallel(u16, &'f [Step]),
    /// Open a WebSocket with this step. When it cannot be opened: [`Walk::skip_session`].
    Connect(u16, &'f Step),
    /// Close the WebSocket that this step opened. Comes also after [`Walk::abandon`] and after a failure of the walk itself.
    Close(u16),
    /// Think for so long. Zero means: let others run.
    Pause(Duration),
    /// Wait until so long after the iteration's beginning.
    PaceUntil(Duration),
    /// The group of this number begins (depth first, from 0).
    GroupBegin(u16),
    /// It is over, and went through: a group that breaks off has no end, and so no time.
    GroupEnd(u16),
}

/// A flow laid out for walking, its steps and groups numbered depth first.
#[derive(Debug)]
pub struct NumberedFlow {
    code: Vec<Instruction>,
    /// Where each session connects and closes, outer ones first.
    sessions: Vec<(usize, usize)>,
    groups: u16,
}

/// One instruction; places are indices into the list.
#[derive(Debug)]
enum Instruction {
    Step(u16, Box<Step>),
    Parallel(u16, Vec<Step>),
    Connect(u16, Box<Step>),
    Close(u16),
    Pause(Pause),
    Pace(Duration),
    GroupBegin(u16),
    GroupEnd(u16),
    Set(Vec<(String, Template)>),
    Jump(usize),
    /// Goes to the first branch whose bound is above a number drawn below the last bound.
    Choose(Vec<(f64, usize)>),
    /// Draws how often, into the loop's count; goes to the place when it is 0.
    Repeat(usize, (u64, u64), usize),
    /// Counts down; goes to the place while rounds are left.
    Again(usize, usize),
    /// Sets the loop's count to 0.
    Begin(usize),
    /// Goes to the place unless the condition holds; otherwise counts the round.
    While {
        count: usize,
        test: Test,
        at_most: u64,
        out: usize,
        failure: String,
    },
    /// Goes to the place unless the condition holds.
    Unless(Test, usize),
}

/// Instructions that a walk takes in one go, before it lets others run: a loop in which nothing is sent must not hold up a thread.
const STRIDE: u32 = 10_000;

impl NumberedFlow {
    /// Lays out a flow; `Err` names a condition that cannot be asked (configuration has refused it before).
    pub fn new(flow: &[FlowNode]) -> Result<Self, String> {
        let mut layout = Layout::default();
        layout.flow(flow)?;
        Ok(Self { code: layout.code, sessions: layout.sessions, groups: layout.groups })
    }

    /// Number of its groups.
    pub fn groups(&self) -> usize {
        usize::from(self.groups)
    }

    /// A walk through one iteration.
    pub fn walk(&self) -> Walk<'_> {
        Walk { flow: self, place: 0, abandoned: false }
    }

    /// The innermost session that is open at a place.
    fn session_at(&self, place: usize) -> Option<(usize, usize)> {
        self.sessions.iter().rev().find(|(connect, close)| (connect + 1..=*close).contains(&place)).copied()
    }
}

#[derive(Default)]
struct Layout {
    code: Vec<Instruction>,
    sessions: Vec<(usize, usize)>,
    steps: u16,
    groups: u16,
    loops: usize,
}

impl Layout {
    fn flow(&mut self, flow: &[FlowNode]) -> Result<(), String> {
        flow.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &FlowNode) -> Result<(), String> {
        match node {
            FlowNode::Step(step) => {
                let number = self.number(1);
                self.code.push(Instruction::Step(number, step.clone()));
            }
            FlowNode::Parallel(steps) => {
                let number = self.number(steps.len() as u16);
                self.code.push(Instruction::Parallel(number, steps.clone()));
            }
            FlowNode::Pause(pause) => self.code.push(Instruction::Pause(pause.clone())),
            FlowNode::Pace(time) => self.code.push(Instruction::Pace(*time)),
            FlowNode::Set(variables) => self.code.push(Instruction::Set(variables.clone())),
            FlowNode::Sequence(flow) => self.flow(flow)?,
            FlowNode::Session(session) => {
                let (number, at) = (self.number(1), self.code.len());
                self.code.push(Instruction::Connect(number, Box::new(session.connect.clone())));
                let own = self.sessions.len();
                self.sessions.push((at, at));
                self.flow(&session.flow)?;
                self.sessions[own].1 = self.code.len();
                self.code.push(Instruction::Close(number));
            }
            FlowNode::Group { flow, .. } => {
                let number = self.groups;
                self.groups += 1;
                self.code.push(Instruction::GroupBegin(number));
                self.flow(flow)?;
                self.code.push(Instruction::GroupEnd(number));
            }
            FlowNode::If { condition, then, otherwise } => {
                let test = self.hole();
                self.flow(then)?;
                let jump = self.hole();
                self.code[test] = Instruction::Unless(Test::new(condition)?, self.code.len());
                self.flow(otherwise)?;
                self.code[jump] = Instruction::Jump(self.code.len());
            }
            FlowNode::Choose(branches) => self.choose(branches)?,
            FlowNode::Repeat { times, flow } => {
                let (count, begin) = (self.count(), self.hole());
                self.flow(flow)?;
                self.code.push(Instruction::Again(count, begin + 1));
                self.code[begin] = Instruction::Repeat(count, *times, self.code.len());
            }
            FlowNode::While { condition, at_most, flow } => {
                let count = self.count();
                self.code.push(Instruction::Begin(count));
                let again = self.hole();
                self.flow(flow)?;
                self.code.push(Instruction::Jump(again));
                let failure = format!("`while {condition}` still holds after {at_most} rounds");
                let test = Test::new(condition)?;
                self.code[again] = Instruction::While { count, test, at_most: *at_most, out: self.code.len(), failure };
            }
        }
        Ok(())
    }

    fn choose(&mut self, branches: &[(f64, Vec<FlowNode>)]) -> Result<(), String> {
        let draw = self.hole();
        let (mut bound, mut bounds, mut jumps) = (0.0, Vec::new(), Vec::new());
        for (weight, flow) in branches {
            bound += weight;
            bounds.push((bound, self.code.len()));
            self.flow(flow)?;
            jumps.push(self.hole());
        }
        let out = self.code.len();
        for jump in jumps {
            self.code[jump] = Instruction::Jump(out);
        }
        if !bounds.is_empty() {
            self.code[draw] = Instruction::Choose(bounds);
        }
        Ok(())
    }

    /// A place whose instruction is not known yet.
    fn hole(&mut self) -> usize {
        self.code.push(Instruction::Jump(self.code.len() + 1));
        self.code.len() - 1
    }

    fn number(&mut self, steps: u16) -> u16 {
        self.steps += steps;
        self.steps - steps
    }

    fn count(&mut self) -> usize {
        self.loops += 1;
        self.loops - 1
    }
}

/// One iteration on its way through a flow.
#[derive(Debug)]
pub struct Walk<'f> {
    flow: &'f NumberedFlow,
    place: usize,
    abandoned: bool,
}

impl<'f> Walk<'f> {
    /// The next thing to do; `None` at the end of the iteration. After an error the walk is abandoned: what comes then closes the open
    /// sessions.
    pub fn next(&mut self, scope: &mut Scope) -> Result<Option<Next<'f>>, Script> {
        let next = self.advance(scope);
        if next.is_err() {
            self.abandon();
        }
        next
    }

    /// Goes nowhere else: closes the open sessions, and is at its end.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// The session that was to be opened is not: goes on behind it.
    pub fn skip_session(&mut self) {
        if let Some((_, close)) = self.flow.session_at(self.place) {
            self.place = close + 1;
        }
    }

    fn advance(&mut self, scope: &mut Scope) -> Result<Option<Next<'f>>, Script> {
        if self.abandoned {
            self.place = self.flow.session_at(self.place).map_or(self.flow.code.len(), |(_, close)| close);
        }
        for _ in 0..STRIDE {
            let Some(instruction) = self.flow.code.get(self.place) else { return Ok(None) };
            self.place += 1;
            return Ok(Some(match instruction {
                Instruction::Step(number, step) => Next::Step(*number, step),
                Instruction::Parallel(first, steps) => Next::Parallel(*first, steps),
                Instruction::Connect(number, step) => Next::Connect(*number, step),
                Instruction::Close(number) => Next::Close(*number),
                Instruction::Pause(pause) => Next::Pause(pause_time(pause, &mut scope.random)),
                Instruction::Pace(time) => Next::PaceUntil(*time),
                Instruction::GroupBegin(number) => Next::GroupBegin(*number),
                Instruction::GroupEnd(number) => Next::GroupEnd(*number),
                Instruction::Set(variables) => {
                    variables.iter().try_for_each(|(name, template)| scope.assign(name, template))?;
                    continue;
                }
                Instruction::Jump(_)
                | Instruction::Choose(_)
                | Instruction::Repeat(..)
                | Instruction::Again(..)
                | Instruction::Begin(_)
                | Instruction::While { .. }
                | Instruction::Unless(..) => {
                    if let Some(place) = branch(instruction, scope)? {
                        self.place = place;
                    }
                    continue;
                }
            }));
        }
        Ok(Some(Next::Pause(Duration::ZERO)))
    }
}

/// Where an instruction leads; `None`: to the one behind it.
fn branch(instruction: &Instruction, scope: &mut Scope) -> Result<Option<usize>, Script> {
    Ok(match instruction {
        Instruction::Jump(to) => Some(*to),
        Instruction::Choose(bounds) => {
            let drawn = scope.random.random::<f64>() * bounds.last().map_or(0.0, |(total, _)| *total);
            bounds.iter().find(|(bound, _)| drawn < *bound).or(bounds.last()).map(|(_, to)| *to)
        }
        Instruction::Repeat(count, (least, most), out) => {
            let times = if least < most { scope.random.random_range(*least..=*most) } else { *least };
            *scope.rounds(*count) = times;
            (times == 0).then_some(*out)
        }
        Instruction::Again(count, begin) => {
            let left = scope.rounds(*count);
            *left = left.saturating_sub(1);
            (*left > 0).then_some(*begin)
        }
        Instruction::Begin(count) => {
            *scope.rounds(*count) = 0;
            None
        }
        Instruction::While { count, test, at_most, out, failure } => {
            if !test.holds(scope)? {
                return Ok(Some(*out));
            }
            let rounds = scope.rounds(*count);
            if *rounds >= *at_most {
                return Err(Script(failure.clone()));
            }
            *rounds += 1;
            None
        }
        Instruction::Unless(test, out) => (!test.holds(scope)?).then_some(*out),
        Instruction::Step(..)
        | Instruction::Parallel(..)
        | Instruction::Connect(..)
        | Instruction::Close(_)
        | Instruction::Pause(_)
        | Instruction::Pace(_)
        | Instruction::GroupBegin(_)
        | Instruction::GroupEnd(_)
        | Instruction::Set(_) => None,
    })
}

/// Draws a think time. The normal distribution is cut off at zero: what would be below is drawn again.
fn pause_time(pause: &Pause, random: &mut impl Rng) -> Duration {
    match pause {
        Pause::Fixed(time) => *time,
        Pause::Uniform(from, to) => from.saturating_add(to.saturating_sub(*from).mul_f64(random.random())),
        Pause::Normal(mean, deviation) => {
            let draw = || {
                let normal: f64 = StandardNormal.sample(random);
                Duration::try_from_secs_f64(mean.as_secs_f64() + normal * deviation.as_secs_f64()).ok()
            };
            // At least every second draw is not below zero.
            std::iter::repeat_with(draw).take(64).flatten().next().unwrap_or(*mean)
        }
        Pause::Exponential(mean) => {
            let times: f64 = Exp1.sample(random);
            Duration::try_from_secs_f64(mean.as_secs_f64() * times).unwrap_or(*mean)
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use serde_json::json;

    use super::*;
    use crate::flow::testing::{scope, step, template, title};
    use crate::model::flow::{Condition, Session, groups_of, steps_of};
    use crate::model::template::Encoding;

    fn node(name: &str) -> FlowNode {
        FlowNode::Step(Box::new(step(name)))
    }

    fn group(name: &str, flow: Vec<FlowNode>) -> FlowNode {
        FlowNode::Group { name: name.into(), flow }
    }

    fn session(name: &str, flow: Vec<FlowNode>) -> FlowNode {
        FlowNode::Session(Box::new(Session { connect: step(name), flow }))
    }

    fn set(name: &str, text: &str) -> FlowNode {
        FlowNode::Set(vec![(name.into(), template(text, Encoding::Plain))])
    }

    fn condition(text: &str) -> Condition {
        Condition::parse(text).unwrap()
    }

    /// What a walk does, up to its end; `react` may interfere.
    fn walked(flow: &[FlowNode], scope: &mut Scope, mut react: impl FnMut(&str, &mut Walk<'_>, &mut Scope)) -> Vec<String> {
        let flow = NumberedFlow::new(flow).unwrap();
        let mut walk = flow.walk();
        let mut seen = Vec::new();
        loop {
            let next = match walk.next(scope) {
                Ok(Some(next)) => title(&next),
                Ok(None) => return seen,
                Err(script) => format!("failed: {script}"),
            };
            react(&next, &mut walk, scope);
            seen.push(next);
        }
    }

    fn plainly(flow: &[FlowNode]) -> Vec<String> {
        walked(flow, &mut scope(), |_, _, _| {})
    }

    #[test]
    fn steps_and_groups_are_numbered_depth_first() {
        let flow = [
            node("a"),
            FlowNode::Choose(vec![(1.0, vec![group("g0", vec![node("b")])]), (0.0, vec![node("c")])]),
            FlowNode::Parallel(vec![step("d"), step("e")]),
            session("f", vec![group("g1", vec![node("g")])]),
            FlowNode::Pace(Duration::from_secs(1)),
            node("h"),
        ];
        let names: Vec<_> = steps_of(&flow).iter().map(|step| step.name.clone()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e", "f", "g", "h"]);
        assert_eq!(groups_of(&flow), ["g0", "g1"]);
        let seen = ["0:a", "begin 0", "1:b", "end 0", "3:d+e", "connect 5:f", "begin 1", "6:g", "end 1", "close 5", "pace 1s", "7:h"];
        assert_eq!(plainly(&flow), seen);
    }

    #[test]
    fn draws_by_weight() {
        let flow =
            NumberedFlow::new(&[FlowNode::Choose(vec![(80.0, vec![node("read")]), (20.0, vec![node("write"), node("confirm")])])]).unwrap();
        let mut scope = scope();
        let mut writes = 0;
        for number in 0..10_000 {
            scope.begin_iteration(number);
            let mut walk = flow.walk();
            let seen: Vec<String> = std::iter::from_fn(|| walk.next(&mut scope).unwrap().map(|next| title(&next))).collect();
            if seen == ["1:write", "2:confirm"] {
                writes += 1;
            } else {
                assert_eq!(seen, ["0:read"]);
            }
        }
        assert!((1_800..2_200).contains(&writes), "{writes}");
    }

    #[test]
    fn repeats_also_within_repetitions() {
        let twice = |flow| FlowNode::Repeat { times: (2, 2), flow };
        assert_eq!(plainly(&[twice(vec![node("a"), twice(vec![node("b")])])]), ["0:a", "1:b", "1:b", "0:a", "1:b", "1:b"]);
        assert_eq!(plainly(&[FlowNode::Repeat { times: (0, 0), flow: vec![node("a")] }, node("b")]), ["1:b"]);
        let some = NumberedFlow::new(&[FlowNode::Repeat { times: (1, 3), flow: vec![node("a")] }]).unwrap();
        let mut scope = scope();
        let mut counts = [0; 4];
        for number in 0..600 {
            scope.begin_iteration(number);
            let mut walk = some.walk();
            counts[std::iter::from_fn(|| walk.next(&mut scope).unwrap()).count()] += 1;
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }

    #[test]
    fn asks_before_each_round_and_gives_up_after_the_last() {
        let flow = |at_most| {
            let next = FlowNode::While { condition: condition("${next}"), at_most, flow: vec![node("page")] };
            [set("next", "1"), next, node("after")]
        };
        // Each page says whether there is one more.
        let pages = |flow: &[FlowNode]| {
            let mut left = 3;
            walked(flow, &mut scope(), |seen, _, scope| {
                if seen == "0:page" {
                    left -= 1;
                    scope.set("next", json!(left));
                }
            })
        };
        assert_eq!(pages(&flow(3)), ["0:page", "0:page", "0:page", "1:after"]);
        assert_eq!(pages(&flow(2)), ["0:page", "0:page", "failed: `while ${next}` still holds after 2 rounds"]);
        assert_eq!(plainly(&[FlowNode::While { condition: condition("${next}"), at_most: 1, flow: vec![node("page")] }]), [""; 0]);
    }

    #[test]
    fn takes_the_branch_that_the_condition_says() {
        let branch = |text| FlowNode::If { condition: condition(text), then: vec![node("then")], otherwise: vec![node("else")] };
        assert_eq!(plainly(&[set("n", "5"), branch("${n} > 4")]), ["0:then"]);
        assert_eq!(plainly(&[set("n", "5"), branch("${n} > 5"), node("z")]), ["1:else", "2:z"]);
        assert_eq!(plainly(&[branch("${n} > 5"), node("z")]), ["failed: `${n}` is not set"]);
        let neither = FlowNode::If { condition: condition("${gone}"), then: vec![node("then")], otherwise: vec![] };
        assert_eq!(plainly(&[neither]), [""; 0]);
    }

    #[test]
    fn what_breaks_off_closes_its_sessions_and_ends_no_group() {
        let broken = set("x", "${gone}");
        let flow = [group("g", vec![session("outer", vec![node("a"), session("inner", vec![broken, node("b")])])]), node("z")];
        let seen = ["begin 0", "connect 0:outer", "1:a", "connect 2:inner", "failed: `${gone}` is not set", "close 2", "close 0"];
        assert_eq!(plainly(&flow), seen);
        let flow = [group("g", vec![session("outer", vec![node("a"), node("b")]), node("c")])];
        let abandon_at = |place: &str| {
            walked(&flow, &mut scope(), |seen, walk, _| {
                if seen == place {
                    walk.abandon();
                }
            })
        };
        assert_eq!(abandon_at("1:a"), ["begin 0", "connect 0:outer", "1:a", "close 0"]);
        assert_eq!(abandon_at("2:b"), ["begin 0", "connect 0:outer", "1:a", "2:b", "close 0"]);
        assert_eq!(abandon_at("connect 0:outer"), ["begin 0", "connect 0:outer", "close 0"]);
        assert_eq!(abandon_at("close 0"), ["begin 0", "connect 0:outer", "1:a", "2:b", "close 0"]);
        assert_eq!(abandon_at("begin 0"), ["begin 0"]);
    }

    #[test]
    fn a_session_that_is_not_opened_is_passed_over() {
        let flow = [session("outer", vec![session("inner", vec![node("a")]), node("b")]), node("z")];
        let skip_at = |place: &str| {
            walked(&flow, &mut scope(), |seen, walk, _| {
                if seen == place {
                    walk.skip_session();
                }
            })
        };
        assert_eq!(skip_at("connect 0:outer"), ["connect 0:outer", "4:z"]);
        assert_eq!(skip_at("connect 1:inner"), ["connect 0:outer", "connect 1:inner", "3:b", "close 0", "4:z"]);
    }

    #[test]
    fn a_loop_in_which_nothing_is_sent_lets_others_run() {
        let idle = FlowNode::Repeat { times: (30_000, 30_000), flow: vec![set("x", "1")] };
        let seen = plainly(&[idle, node("a")]);
        assert_eq!((seen.first().unwrap().as_str(), seen.last().unwrap().as_str()), ("pause 0ns", "0:a"));
        assert!((6..=8).contains(&seen.len()), "{seen:?}");
    }

    /// Mean and standard deviation of a pause, in milliseconds.
    fn times(pause: &Pause) -> (f64, f64) {
        let mut random = SmallRng::seed_from_u64(7);
        let drawn: Vec<f64> = (0..20_000).map(|_| pause_time(pause, &mut random).as_secs_f64() * 1e3).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        (mean, (drawn.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / drawn.len() as f64).sqrt())
    }

    #[test]
    fn pauses_have_the_distribution_that_they_are_named_after() {
        let ms = Duration::from_millis;
        let close = |pause, mean: f64, deviation: f64| {
            let found = times(&pause);
            assert!((found.0 - mean).abs() < mean * 0.03 && (found.1 - deviation).abs() < deviation * 0.03 + 1e-6, "{pause:?}: {found:?}");
        };
        close(Pause::Fixed(ms(5)), 5.0, 0.0);
        close(Pause::Uniform(ms(500), ms(2_000)), 1_250.0, 1_500.0 / 12_f64.sqrt());
        close(Pause::Normal(ms(1_000), ms(100)), 1_000.0, 100.0);
        close(Pause::Exponential(ms(300)), 300.0, 300.0);
        // Cut off at zero, a normal distribution around zero is a half-normal one.
        close(
            Pause::Normal(ms(0), ms(100)),
            100.0 * (2.0 / std::f64::consts::PI).sqrt(),
            100.0 * (1.0 - 2.0 / std::f64::consts::PI).sqrt(),
        );
        close(Pause::Normal(ms(7), ms(0)), 7.0, 0.0);
        let mut random = SmallRng::seed_from_u64(7);
        for _ in 0..1_000 {
            let time = pause_time(&Pause::Uniform(ms(500), ms(2_000)), &mut random);
            assert!((ms(500)..=ms(2_000)).contains(&time));
        }
    }
}

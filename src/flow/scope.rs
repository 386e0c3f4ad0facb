//! What one VU knows while it walks a flow: its variables, its rows of the feeders, its random numbers. Everything a template refers to
//! is looked up here; what is not there is a failure with its reason, never an empty text. Buffers are kept from iteration to iteration.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::condition::Sides;
use super::data::ScenarioData;
use super::render::Given;
use super::{Script, generate};
use crate::model::flow::{AtEnd, Feeder, Pick};
use crate::model::template::{Encoding, Expression, Generator, Member, Origin, Part, Template};
use crate::model::units::Timestamp;

/// What one VU knows.
#[derive(Debug)]
pub struct Scope {
    scenario: Arc<ScenarioData>,
    /// Index of the VU within its scenario, from 0.
    vu: u64,
    /// Iterations that this VU has begun.
    begun: u64,
    /// Number of the iteration within the scenario, from 0.
    number: u64,
    pub(super) random: SmallRng,
    variables: Variables,
    /// Per feeder, the row of this iteration.
    rows: Vec<Taken>,
    /// Counts by name that this VU has met.
    counts: Vec<(String, Arc<AtomicU64>)>,
    /// Rounds of the loops of the flow, by their numbers.
    loops: Vec<u64>,
    /// Buffers of conditions.
    pub(super) sides: Sides,
    made: String,
    spare: String,
}

/// A feeder's row in an iteration: taken when something first refers to it.
#[derive(Debug, Clone, Copy)]
enum Taken {
    NotYet,
    /// Set aside for the iteration that begins, or for the next one where that needs none.
    Aside(usize),
    Row(usize),
    NoneLeft,
}

impl Scope {
    /// What the VU with this index (from 0, over all threads) knows before its first iteration.
    pub fn new(scenario: Arc<ScenarioData>, vu: u64) -> Self {
        let rows = vec![Taken::NotYet; scenario.feeders.len()];
        let random = SmallRng::seed_from_u64(scenario.seed_of(vu, 0, 0));
        Self {
            scenario,
            vu,
            begun: 0,
            number: 0,
            random,
            variables: Variables::default(),
            rows,
            counts: Vec::new(),
            loops: Vec::new(),
            sides: Sides::default(),
            made: String::new(),
            spare: String::new(),
        }
    }

    /// Begins an iteration: its variables are not set, it has no rows yet, and its random values follow from the run's seed, the scenario
    /// and either the VU with its own count of iterations or, in an open scenario, the iteration's `number` in the scenario (from 0).
    pub fn begin_iteration(&mut self, number: u64) {
        self.random = SmallRng::seed_from_u64(self.scenario.seed_of(self.vu, self.begun, number));
        self.number = number;
        self.begun += 1;
        self.variables.clear();
        self.rows.iter_mut().filter(|taken| !matches!(taken, Taken::Aside(_))).for_each(|taken| *taken = Taken::NotYet);
    }

    /// Sets a row aside of all data that come to an end, so that no iteration begins which would find none; `false` when there is none
    /// left: nothing that needs these data can be done any more. What is not needed is kept for the next iteration.
    pub fn set_rows_aside(&mut self) -> bool {
        let Self { scenario, rows, random, vu, .. } = self;
        for (shared, taken) in scenario.feeders.iter().zip(rows) {
            if shared.feeder.at_end == AtEnd::Recycle || shared.feeder.pick == Pick::Random || matches!(taken, Taken::Aside(_)) {
                continue;
            }
            let Some(row) = shared.take(*vu, |rows| random.random_range(0..rows)) else {
                scenario.has_ended(shared);
                return false;
            };
            *taken = Taken::Aside(row);
        }
        true
    }

    /// Appends the template, filled in, to `out`. When something is missing or cannot stand where it would, `out` is as it was.
    pub fn render(&mut self, template: &Template, out: &mut String) -> Result<(), Script> {
        let start = out.len();
        for part in template.parts() {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(expression, place) => {
                    if let Err(script) = self.given(expression).and_then(|given| given.write(expression, *place, out)) {
                        out.truncate(start);
                        return Err(script);
                    }
                }
            }
        }
        Ok(())
    }

    /// The template as a value: a JSON document as what it says, one placeholder with its own type, anything else as a text.
    pub fn value(&mut self, template: &Template) -> Result<Value, Script> {
        if let Some(expression) = template.single() {
            return self.given(expression).map(Given::to_value);
        }
        let mut text = String::new();
        self.render(template, &mut text)?;
        match template.encoding() {
            Encoding::Json => serde_json::from_str(&text).map_err(|error| Script(format!("`{}` is no JSON: {error}", template.source()))),
            Encoding::Plain | Encoding::Url | Encoding::Header => Ok(Value::String(text)),
        }
    }

    /// Sets a variable to what the template gives.
    pub fn assign(&mut self, name: &str, template: &Template) -> Result<(), Script> {
        if template.single().is_some() || template.encoding() == Encoding::Json {
            let value = self.value(template)?;
            self.set(name, value);
            return Ok(());
        }
        let mut text = std::mem::take(&mut self.spare);
        text.clear();
        let rendered = self.render(template, &mut text);
        if rendered.is_ok() {
            self.set_text(name, &text);
        }
        self.spare = text;
        rendered
    }

    /// Sets a variable of this iteration.
    pub fn set(&mut self, name: &str, value: Value) {
        *self.variables.slot(name) = value;
    }

    /// Sets a variable of this iteration to a text, in the memory that its last text had.
    pub fn set_text(&mut self, name: &str, text: &str) {
        let slot = self.variables.slot(name);
        if let Value::String(old) = slot {
            old.clear();
            old.push_str(text);
        } else {
            *slot = Value::String(text.into());
        }
    }

    /// Makes a variable not set.
    pub fn unset(&mut self, name: &str) {
        self.variables.unset(name);
    }

    /// A variable, if it is set.
    pub fn variable(&self, name: &str) -> Option<&Value> {
        self.variables.place(name).map(|place| self.variables.at(place))
    }

    /// All variables that are set.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.variables.slots.iter().filter(|slot| slot.set).map(|slot| (slot.name.as_str(), &slot.value))
    }

    /// The value of a placeholder, with its type.
    pub fn given<'s>(&'s mut self, expression: &'s Expression) -> Result<Given<'s>, Script> {
        self.find(expression).map_err(|gap| gap.explain(expression))
    }

    /// The value of a placeholder, or why there is none.
    pub(super) fn find<'s>(&'s mut self, expression: &'s Expression) -> Result<Given<'s>, Gap<'s>> {
        let (value, members) = match &expression.origin {
            Origin::Generator(generator) => return Ok(self.make(generator)),
            Origin::Setup(name, members) => (self.scenario.run.setup(name), members.as_slice()),
            Origin::Name(name, members) => match self.variables.place(name) {
                Some(place) => (Some(self.variables.at(place)), members.as_slice()),
                None => self.cell(name, members)?,
            },
        };
        below(value.ok_or(Gap::NotSet)?, members).map(Given::Json)
    }

    /// Now, on the clock of the run.
    pub(super) fn now(&self) -> Timestamp {
        self.scenario.run.clock().now()
    }

    /// The rounds of a loop of the flow, by its number.
    pub(super) fn rounds(&mut self, number: usize) -> &mut u64 {
        if self.loops.len() <= number {
            self.loops.resize(number + 1, 0);
        }
        &mut self.loops[number]
    }

    /// The cell of a feeder's row that members point to, and the members behind the column; nothing if there is no such feeder.
    fn cell<'s>(&'s mut self, name: &str, members: &'s [Member]) -> Result<(Option<&'s Value>, &'s [Member]), Gap<'s>> {
        let scenario = &*self.scenario;
        let Some(at) = scenario.feeders.iter().position(|shared| shared.feeder.name == name) else { return Ok((None, members)) };
        let (shared, taken) = (&scenario.feeders[at], &mut self.rows[at]);
        if let Taken::NotYet = taken {
            let random = &mut self.random;
            let row = shared.take(self.vu, |rows| random.random_range(0..rows));
            *taken = row.map_or(Taken::NoneLeft, Taken::Row);
        }
        if let Taken::Aside(row) = *taken {
            *taken = Taken::Row(row);
        }
        let Taken::Row(row) = *taken else { return Err(Gap::NoRow(&shared.feeder)) };
        let Some((column, members)) = members.split_first() else { return Ok((None, members)) };
        let column = shared.feeder.columns.iter().position(|known| *known == column.name);
        Ok((column.and_then(|column| shared.feeder.rows.get(row)?.get(column)), members))
    }

    fn make<'s>(&'s mut self, generator: &'s Generator) -> Given<'s> {
        if let Generator::Seq(Some(name)) = generator {
            return Given::Whole(self.next_of(name));
        }
        let (random, text) = (&mut self.random, &mut self.made);
        text.clear();
        match generator {
            Generator::Seq(_) => return Given::Whole(self.scenario.run.next() as i64),
            Generator::Int(from, to) => return Given::Whole(random.random_range(*from..=*to)),
            Generator::Float(from, to) => return Given::Number(from + (to - from) * random.random::<f64>()),
            Generator::Choice(list) => return Given::Json(&list[random.random_range(0..list.len())]),
            Generator::Vu => return Given::Whole(self.vu as i64 + 1),
            Generator::Iteration => return Given::Whole(self.number as i64),
            Generator::IterationOfVu => return Given::Whole(self.begun.saturating_sub(1) as i64),
            Generator::Now => return Given::Whole(self.scenario.run.clock().now().0.div_euclid(1_000)),
            Generator::NowSeconds => return Given::Whole(self.scenario.run.clock().now().0.div_euclid(1_000_000)),
            Generator::NowIso => _ = write!(text, "{}", self.scenario.run.clock().now()),
            Generator::Uuid => generate::uuid(random, text),
            Generator::Hex(length) => generate::hex(random, *length, text),
            Generator::Alnum(length) => generate::alnum(random, *length, text),
            Generator::Email => generate::email(random, text),
            Generator::Name => generate::name(random, text),
            Generator::FirstName => generate::first_name(random, text),
            Generator::LastName => generate::last_name(random, text),
        }
        Given::Text(text)
    }

    fn next_of(&mut self, name: &str) -> i64 {
        let known = self.counts.iter().position(|(known, _)| known == name);
        let at = known.unwrap_or_else(|| {
            self.counts.push((name.to_owned(), self.scenario.run.count(name)));
            self.counts.len() - 1
        });
        self.counts[at].1.fetch_add(1, Ordering::Relaxed) as i64 + 1
    }
}

/// Why a placeholder has no value.
#[derive(Debug)]
pub(super) enum Gap<'a> {
    /// No variable, setup variable or column of this name.
    NotSet,
    /// The value has no such member.
    NoMember(&'a Member),
    /// The feeder has no row for this iteration.
    NoRow(&'a Feeder),
}

impl Gap<'_> {
    pub(super) fn explain(&self, expression: &Expression) -> Script {
        let source = &expression.source;
        Script(match self {
            Self::NotSet => format!("`${{{source}}}` is not set"),
            Self::NoMember(member) => format!("`${{{source}}}` is not set: there is no `{}`", member.name),
            Self::NoRow(feeder) => format!("`{}` has no row left: it has {}", feeder.name, feeder.rows.len()),
        })
    }
}

/// Steps into a value.
fn below<'a>(value: &'a Value, members: &'a [Member]) -> Result<&'a Value, Gap<'a>> {
    members.iter().try_fold(value, |value, member| {
        match value {
            Value::Object(map) => map.get(&member.name),
            Value::Array(items) => member.index.and_then(|index| items.get(index)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
        .ok_or(Gap::NoMember(member))
    })
}

/// Variables by name. There are few, so that they are looked for one by one; what is not set keeps its memory.
#[derive(Debug, Default)]
struct Variables {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    name: String,
    value: Value,
    set: bool,
}

impl Variables {
    fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.set = false);
    }

    fn unset(&mut self, name: &str) {
        if let Some(place) = self.place(name) {
            self.slots[place].set = false;
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.set && slot.name == name)
    }

    fn at(&self, place: usize) -> &Value {
        &self.slots[place].value
    }

    /// The place of a variable, which is set from now on.
    fn slot(&mut self, name: &str) -> &mut Value {
        let place = self.slots.iter().position(|slot| slot.name == name).unwrap_or_else(|| {
            self.slots.push(Slot { name: name.to_owned(), value: Value::Null, set: false });
            self.slots.len() - 1
        });
        self.slots[place].set = true;
        &mut self.slots[place].value
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow::testing::{feeder, rendered, run, scope, scope_with, template};
    use crate::model::template::GENERATORS;

    fn plain(scope: &mut Scope, text: &str) -> Result<String, String> {
        rendered(scope, text, Encoding::Plain)
    }

    #[test]
    fn fills_in_variables_and_their_members() {
        let mut scope = scope();
        scope.set_text("token", "abc");
        scope.set("user", json!({"id": 7, "tags": ["x", {"y": null}], "0": "zero"}));
        for (text, wanted) in [
            ("Bearer ${token}", Ok("Bearer abc")),
            ("${user.id}/${user.tags.0}/${user.0}", Ok("7/x/zero")),
            ("${user.tags}", Ok(r#"["x",{"y":null}]"#)),
            ("${user.tags.1.y}", Ok("null")),
            ("", Ok("")),
            ("$${token}", Ok("${token}")),
            ("a ${gone}", Err("`${gone}` is not set")),
            ("${user.name.first}", Err("`${user.name.first}` is not set: there is no `name`")),
            ("${user.tags.2}", Err("`${user.tags.2}` is not set: there is no `2`")),
            ("${user.tags.x}", Err("`${user.tags.x}` is not set: there is no `x`")),
            ("${token.x}", Err("`${token.x}` is not set: there is no `x`")),
            ("${setup.key}", Err("`${setup.key}` is not set")),
        ] {
            assert_eq!(plain(&mut scope, text), wanted.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        let mut out = String::from("before ");
        assert!(scope.render(&template("${token} ${gone}", Encoding::Plain), &mut out).is_err());
        assert_eq!(out, "before ");
    }

    #[test]
    fn variables_belong_to_an_iteration() {
        let mut scope = scope();
        scope.set_text("token", "abc");
        scope.begin_iteration(1);
        assert_eq!((scope.variable("token"), scope.variables().count()), (None, 0));
        scope.set("token", json!(1));
        scope.set_text("token", "new");
        assert_eq!(scope.variable("token"), Some(&json!("new")));
        scope.unset("token");
        scope.unset("never");
        assert_eq!(plain(&mut scope, "${token}"), Err("`${token}` is not set".into()));
    }

    #[test]
    fn assigning_keeps_the_type_of_a_single_placeholder() {
        let mut scope = scope();
        scope.set("n", json!([1]));
        for (name, text, value) in
            [("a", "${n}", json!([1])), ("b", "x${n.0}", json!("x1")), ("c", "5", json!("5")), ("n", "${n.0}", json!(1))]
        {
            scope.assign(name, &template(text, Encoding::Plain)).unwrap();
            assert_eq!(scope.variable(name), Some(&value), "{text}");
        }
        assert!(scope.assign("a", &template("${gone}", Encoding::Plain)).is_err());
        assert!(scope.assign("a", &template("x${gone}", Encoding::Plain)).is_err());
        assert_eq!(scope.value(&template("n is ${n}", Encoding::Plain)), Ok(json!("n is 1")));
        scope.assign("d", &template(r#"{"page": 1, "n": "${n}", "text": "n=${n}"}"#, Encoding::Json)).unwrap();
        assert_eq!(scope.variable("d"), Some(&json!({"page": 1, "n": 1, "text": "n=1"})));
        scope.assign("e", &Template::of_json(&json!(1.5)).unwrap()).unwrap();
        assert_eq!(scope.variable("e"), Some(&json!(1.5)));
    }

    #[test]
    fn an_iteration_takes_a_row_at_first_need_and_keeps_it() {
        let users = feeder("users", "name", vec![json!("ann"), json!({"first": "bob"})], Pick::Sequential, AtEnd::Stop);
        let mut scope = scope_with(&[users]);
        assert_eq!(plain(&mut scope, "${users.name} ${users.name}"), Ok("ann ann".into()));
        scope.begin_iteration(1);
        scope.begin_iteration(2);
        assert_eq!(plain(&mut scope, "${users.name.first}"), Ok("bob".into()));
        assert_eq!(plain(&mut scope, "${users.age}"), Err("`${users.age}` is not set".into()));
        assert_eq!(plain(&mut scope, "${users}"), Err("`${users}` is not set".into()));
        scope.begin_iteration(3);
        assert_eq!(plain(&mut scope, "${users.name}"), Err("`users` has no row left: it has 2".into()));
    }

    #[test]
    fn vus_of_a_unique_feeder_keep_their_own_row() {
        let users = feeder("users", "id", vec![json!(10), json!(11)], Pick::Unique, AtEnd::Stop);
        let data = ScenarioData::new(run(1), "test", false, &[users]);
        for (vu, wanted) in [(0, Ok("10".to_owned())), (1, Ok("11".into())), (2, Err("`users` has no row left: it has 2".into()))] {
            let mut scope = Scope::new(data.clone(), vu);
            for iteration in 0..3 {
                scope.begin_iteration(iteration);
                assert_eq!(plain(&mut scope, "${users.id}"), wanted);
            }
        }
    }

    #[test]
    fn rows_that_end_are_set_aside_before_an_iteration_begins() {
        let rows = |pick| feeder("users", "id", (0..3).map(|id| json!(id)).collect(), pick, AtEnd::Stop);
        let run = run(1);
        let data = ScenarioData::new(run.clone(), "test", false, &[rows(Pick::Sequential)]);
        let (mut ann, mut bob) = (Scope::new(data.clone(), 0), Scope::new(data, 1));
        let iterate = |scope: &mut Scope, text: &str| {
            let may = scope.set_rows_aside();
            scope.begin_iteration(0);
            may.then(|| plain(scope, text).unwrap())
        };
        assert_eq!(iterate(&mut ann, "${users.id} ${users.id}"), Some("0 0".into()));
        assert_eq!(iterate(&mut bob, "no need"), Some("no need".into()));
        assert_eq!(iterate(&mut ann, "${users.id}"), Some("2".into()));
        assert!(run.ended().is_empty());
        // None is left but the one that nobody needed yet: it is not lost.
        assert_eq!(iterate(&mut ann, "${users.id}"), None);
        assert_eq!(iterate(&mut bob, "${users.id}"), Some("1".into()));
        assert_eq!((iterate(&mut bob, ""), iterate(&mut ann, "")), (None, None));
        let ended = run.ended();
        assert_eq!((ended.len(), ended[0].data.as_str(), ended[0].rows), (1, "users", 3), "told once");
        let again = feeder("users", "id", vec![json!(1)], Pick::Sequential, AtEnd::Recycle);
        let mut scope = Scope::new(ScenarioData::new(run, "again", false, &[again]), 0);
        assert!((0..5).all(|_| iterate(&mut scope, "${users.id}") == Some("1".into())));
    }

    #[test]
    fn setup_variables_are_shared_by_all() {
        let run = run(1);
        let mut scope = Scope::new(ScenarioData::new(run.clone(), "test", false, &[]), 0);
        run.set_setup([("key".to_owned(), json!({"id": 3}))]);
        run.set_setup([("key".to_owned(), json!(0))]);
        assert_eq!(plain(&mut scope, "${setup.key.id}"), Ok("3".into()));
    }

    #[test]
    fn numbers_and_times_say_where_and_when() {
        let run = run(1);
        let data = ScenarioData::new(run.clone(), "test", false, &[]);
        let mut scope = Scope::new(data.clone(), 4);
        scope.begin_iteration(100);
        scope.begin_iteration(117);
        assert_eq!(plain(&mut scope, "${vu} ${iteration} ${iteration.vu}"), Ok("5 117 1".into()));
        assert_eq!(plain(&mut scope, "${now} ${now.s} ${now.iso}"), Ok("1795226400123 1795226400 2026-11-21T02:00:00.123Z".into()));
        let mut other = Scope::new(ScenarioData::new(run, "other", false, &[]), 0);
        let mut seen = String::new();
        for text in ["${seq}", "${seq(a)}", "${seq(a)}", "${seq(b)}"] {
            seen.push_str(&format!("{} {}, ", plain(&mut scope, text).unwrap(), plain(&mut other, text).unwrap()));
        }
        assert_eq!(seen, "1 2, 1 2, 3 4, 1 2, ");
    }

    #[test]
    fn random_numbers_stay_in_their_bounds() {
        let mut scope = scope();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            seen.insert(plain(&mut scope, "${rand.int(-2, 2)}").unwrap().parse::<i64>().unwrap());
            let float: f64 = plain(&mut scope, "${rand.float(0.5, 0.75)}").unwrap().parse().unwrap();
            assert!((0.5..0.75).contains(&float));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        assert_eq!(plain(&mut scope, "${rand.int(-9223372036854775808, -9223372036854775808)}"), Ok(i64::MIN.to_string()));
        assert_eq!(plain(&mut scope, "${rand.float(2, 2)}"), Ok("2".into()));
        let chosen = scope.value(&template("${rand.choice(null, 1, '1')}", Encoding::Plain)).unwrap();
        assert!([json!(null), json!(1), json!("1")].contains(&chosen), "{chosen}");
    }

    /// Every generator that draws at random, in one text.
    fn drawn(scope: &mut Scope) -> String {
        let random = GENERATORS.iter().filter(|(name, ..)| !["seq", "now", "vu", "iteration"].contains(&name.split('.').next().unwrap()));
        let text: Vec<String> = random.map(|(_, form, _)| format!("${{{form}}}")).collect();
        plain(scope, &text.join(" ")).unwrap()
    }

    #[test]
    fn seed_vu_and_iteration_decide_what_is_drawn() {
        let of = |seed, scenario: &str, open, vu, numbers: &[u64]| {
            let mut scope = Scope::new(ScenarioData::new(run(seed), scenario, open, &[]), vu);
            for number in numbers {
                scope.begin_iteration(*number);
            }
            drawn(&mut scope)
        };
        let base = of(1, "a", false, 2, &[5, 9]);
        assert_eq!(base, of(1, "a", false, 2, &[6, 30]), "closed: only the VU's own count matters");
        let open = of(1, "a", true, 2, &[5, 9]);
        assert_eq!(open, of(1, "a", true, 7, &[9]), "open: only the iteration's number matters");
        let others = [
            of(2, "a", false, 2, &[5, 9]),
            of(1, "b", false, 2, &[5, 9]),
            of(1, "a", false, 3, &[5, 9]),
            of(1, "a", false, 2, &[5]),
            of(1, "a", true, 2, &[5]),
            open,
        ];
        assert!(!others.contains(&base));
    }

    #[test]
    fn threads_draw_what_one_thread_draws() {
        let draw = |threads: u64| {
            let data = ScenarioData::new(run(11), "a", false, &[]);
            let part = |thread: u64| {
                let mut scopes: Vec<Scope> = (thread..12).step_by(threads as usize).map(|vu| Scope::new(data.clone(), vu)).collect();
                let mut seen = Vec::new();
                for number in 0..5 {
                    for scope in &mut scopes {
                        scope.begin_iteration(number);
                        seen.push((scope.vu, number, drawn(scope)));
                    }
                }
                seen
            };
            let part = &part;
            let mut seen: Vec<_> = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
                workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
            });
            seen.sort();
            seen
        };
        assert_eq!(draw(1), draw(4));
    }
}

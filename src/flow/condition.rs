//! Asks the conditions of `if` and `while`. A variable that is not set is an answer to `${x}` (no), and a failure in a comparison.

use super::Script;
use super::compare::{Comparison, texts};
use super::render::Given;
use super::scope::{Gap, Scope};
use crate::model::flow::{Condition, Operator};
use crate::model::template::Template;

/// A condition, its regular expressions compiled.
#[derive(Debug)]
pub(super) enum Test {
    Compare(Template, Operator, Template),
    Matches(Template, Comparison<String>),
    Truthy(Template),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
}

/// Buffers for the two sides of a comparison.
#[derive(Debug, Default)]
pub(super) struct Sides {
    left: String,
    right: String,
}

impl Test {
    /// Prepares a condition; `Err` names a regular expression that is none (configuration has refused it before).
    pub(super) fn new(condition: &Condition) -> Result<Self, String> {
        let list = |list: &[Condition]| list.iter().map(Self::new).collect::<Result<Vec<_>, _>>();
        Ok(match condition {
            Condition::Compare(left, Operator::Matches, right) => {
                let pattern = right.constant().ok_or("a regular expression cannot hold a placeholder")?;
                Self::Matches(left.clone(), Comparison::text(Operator::Matches, pattern)?)
            }
            Condition::Compare(left, operator, right) => Self::Compare(left.clone(), *operator, right.clone()),
            Condition::Truthy(value) => Self::Truthy(value.clone()),
            Condition::Not(inner) => Self::Not(Box::new(Self::new(inner)?)),
            Condition::All(all) => Self::All(list(all)?),
            Condition::Any(any) => Self::Any(list(any)?),
        })
    }

    /// Whether it holds now.
    pub(super) fn holds(&self, scope: &mut Scope) -> Result<bool, Script> {
        match self {
            Self::Truthy(value) => truthy(value, scope),
            Self::Not(inner) => inner.holds(scope).map(|holds| !holds),
            Self::All(all) => {
                for test in all {
                    if !test.holds(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(any) => {
                for test in any {
                    if test.holds(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Matches(..) | Self::Compare(..) => {
                let mut sides = std::mem::take(&mut scope.sides);
                let holds = self.compare(&mut sides, scope);
                scope.sides = sides;
                holds
            }
        }
    }

    fn compare(&self, sides: &mut Sides, scope: &mut Scope) -> Result<bool, Script> {
        sides.left.clear();
        sides.right.clear();
        match self {
            Self::Matches(left, pattern) => {
                scope.render(left, &mut sides.left)?;
                Ok(pattern.holds(&sides.left))
            }
            Self::Compare(left, operator, right) => {
                scope.render(right, &mut sides.right)?;
                if let (Operator::Contains, Some(expression)) = (operator, left.single())
                    && let Given::Json(serde_json::Value::Array(items)) = scope.given(expression)?
                {
                    return Ok(items.iter().any(|item| is_text(item, &sides.right)));
                }
                scope.render(left, &mut sides.left)?;
                Ok(texts(&sides.left, *operator, &sides.right))
            }
            Self::Truthy(_) | Self::Not(_) | Self::All(_) | Self::Any(_) => Ok(false),
        }
    }
}

fn is_text(item: &serde_json::Value, wanted: &str) -> bool {
    match item.as_str() {
        Some(text) => texts(text, Operator::Equal, wanted),
        None => texts(&item.to_string(), Operator::Equal, wanted),
    }
}

fn truthy(value: &Template, scope: &mut Scope) -> Result<bool, Script> {
    let Some(expression) = value.single() else {
        let mut text = String::new();
        return scope.render(value, &mut text).map(|()| Given::Text(&text).is_truthy());
    };
    match scope.find(expression) {
        Ok(given) => Ok(given.is_truthy()),
        Err(Gap::NotSet | Gap::NoMember(_)) => Ok(false),
        // Also here: the iteration lacks its data.
        Err(gap @ Gap::NoRow(_)) => Err(gap.explain(expression)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::flow::testing::{feeder, scope, scope_with};
    use crate::model::flow::{AtEnd, Pick};

    fn ask(text: &str, scope: &mut Scope) -> Result<bool, String> {
        Test::new(&Condition::parse(text).unwrap()).unwrap().holds(scope).map_err(|script| script.0)
    }

    #[test]
    fn conditions_hold_or_not() {
        let mut scope = scope();
        scope.set_text("plan", "pro");
        scope.set_text("n", "10");
        scope.set("m", json!(9));
        scope.set("tags", json!(["a", 10]));
        scope.set("next", json!(null));
        for (text, holds) in [
            ("${plan} == pro", true),
            ("${plan} != 'pro'", false),
            ("${n} > ${m}", true),
            ("${n} > 9a", false),
            ("${m} == 9.0", true),
            ("not ${next}", true),
            ("${gone}", false),
            ("not ${plan.x}", true),
            ("${plan} and ${gone}", false),
            ("${gone} or ${plan}", true),
            ("${gone} and ${gone} == 1", false),
            ("not (${plan} == free or ${n} < 5)", true),
            ("${plan} contains r", true),
            ("${tags} contains a", true),
            ("${tags} contains 10.0", true),
            ("${tags} contains 1", false),
            ("${plan} matches '^p(ro|lus)$'", true),
            ("${plan} matches free", false),
            ("${next} == null", true),
            ("x${plan}", true),
        ] {
            assert_eq!(ask(text, &mut scope), Ok(holds), "{text}");
        }
    }

    #[test]
    fn what_is_not_set_cannot_be_compared() {
        let mut scope = scope();
        for text in ["${gone} == 1", "1 < ${gone}", "${gone} contains x", "${gone} matches x", "not ${gone} == 1", "x${gone}"] {
            assert_eq!(ask(text, &mut scope), Err("`${gone}` is not set".into()), "{text}");
        }
        let spent = feeder("users", "id", vec![], Pick::Sequential, AtEnd::Stop);
        assert_eq!(ask("${users.id}", &mut scope_with(&[spent])), Err("`users` has no row left: it has 0".into()));
    }
}

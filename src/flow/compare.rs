//! Comparisons, by one rule per place. Texts (conditions, headers): as numbers when both sides are numbers, else character by character.
//! JSON: types count, a text is never equal to a number; an order exists between two numbers and between two texts only.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::Value;

use crate::model::flow::Operator;

/// An operator with its right side, ready to be asked.
#[derive(Debug, Clone)]
pub(super) enum Comparison<T> {
    /// Compares.
    With(Operator, T),
    /// A regular expression, compiled once.
    Matches(Regex),
}

impl Comparison<String> {
    /// `Err` when `matches` has no regular expression behind it.
    pub(super) fn text(operator: Operator, right: &str) -> Result<Self, String> {
        match operator {
            Operator::Matches => pattern(right).map(Self::Matches),
            Operator::Equal
            | Operator::NotEqual
            | Operator::Below
            | Operator::AtMost
            | Operator::Above
            | Operator::AtLeast
            | Operator::Contains => Ok(Self::With(operator, right.into())),
        }
    }

    pub(super) fn holds(&self, left: &str) -> bool {
        match self {
            Self::With(operator, right) => texts(left, *operator, right),
            Self::Matches(pattern) => pattern.is_match(left),
        }
    }
}

impl Comparison<Value> {
    /// `Err` when `matches` has no regular expression behind it.
    pub(super) fn json(operator: Operator, right: Value) -> Result<Self, String> {
        match (operator, right) {
            (Operator::Matches, Value::String(text)) => pattern(&text).map(Self::Matches),
            (Operator::Matches, right) => Err(format!("`matches` needs a regular expression, not {right}")),
            (_, right) => Ok(Self::With(operator, right)),
        }
    }

    pub(super) fn holds(&self, left: &Value) -> bool {
        match (self, left) {
            (Self::With(operator, right), _) => values(left, *operator, right),
            (Self::Matches(pattern), Value::String(text)) => pattern.is_match(text),
            (Self::Matches(pattern), Value::Number(_) | Value::Bool(_)) => pattern.is_match(&left.to_string()),
            (Self::Matches(_), Value::Null | Value::Array(_) | Value::Object(_)) => false,
        }
    }
}

/// Compiles a regular expression; the error names it.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("`{text}` is not a regular expression: {error}"))
}

/// What an operator demands of the order of its two sides; `None` when it asks something else.
fn holds_for(operator: Operator, order: Option<Ordering>) -> Option<bool> {
    match operator {
        Operator::Equal => Some(order == Some(Ordering::Equal)),
        Operator::NotEqual => Some(order != Some(Ordering::Equal)),
        Operator::Below => Some(order == Some(Ordering::Less)),
        Operator::AtMost => Some(order.is_some_and(Ordering::is_le)),
        Operator::Above => Some(order == Some(Ordering::Greater)),
        Operator::AtLeast => Some(order.is_some_and(Ordering::is_ge)),
        Operator::Contains | Operator::Matches => None,
    }
}

/// Compares texts: as numbers when both are such. `matches` compiles its expression anew; prepare it with `Comparison` instead.
pub fn texts(left: &str, operator: Operator, right: &str) -> bool {
    let order = || numbers(left, right).unwrap_or_else(|| left.cmp(right));
    match operator {
        Operator::Contains => left.contains(right),
        Operator::Matches => Regex::new(right).is_ok_and(|pattern| pattern.is_match(left)),
        Operator::Equal if left == right => true,
        Operator::Equal | Operator::NotEqual | Operator::Below | Operator::AtMost | Operator::Above | Operator::AtLeast => {
            holds_for(operator, Some(order())).unwrap_or(false)
        }
    }
}

/// The order of two texts that are numbers; whole ones are compared exactly.
fn numbers(left: &str, right: &str) -> Option<Ordering> {
    if let (Ok(left), Ok(right)) = (left.parse::<i128>(), right.parse::<i128>()) {
        return Some(left.cmp(&right));
    }
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    number(left)?.partial_cmp(&number(right)?)
}

/// Compares JSON values. `contains` asks for a part of a text, an element of an array or a member of an object.
pub fn values(left: &Value, operator: Operator, right: &Value) -> bool {
    if let Some(holds) = holds_for(operator, order(left, right)) {
        return holds;
    }
    match (operator, left, right) {
        (Operator::Contains, Value::String(left), Value::String(right)) => left.contains(right.as_str()),
        (Operator::Contains, Value::Array(items), _) => items.iter().any(|item| equal(item, right)),
        (Operator::Contains, Value::Object(members), Value::String(name)) => members.contains_key(name),
        (Operator::Matches, Value::String(left), Value::String(right)) => texts(left, operator, right),
        _ => false,
    }
}

/// Compares what was found with a value that was filled in. The cells of a CSV file are texts, and an address gives nothing else: so a
/// text and a number or truth value are compared as texts are, as numbers where both are such; only numbers have an order then.
/// Between values of one kind it is as ever.
pub(super) fn filled_in(left: &Value, operator: Operator, right: &Value) -> bool {
    let is_order = matches!(operator, Operator::Below | Operator::AtMost | Operator::Above | Operator::AtLeast);
    let mixed = |left: &str, right: &str| {
        let fits = !is_order || numbers(left, right).is_some();
        fits && texts(left, operator, right)
    };
    match (left, right) {
        (Value::Array(items), _) if operator == Operator::Contains => items.iter().any(|item| filled_in(item, Operator::Equal, right)),
        (Value::String(left), Value::Number(_) | Value::Bool(_)) => mixed(left, &right.to_string()),
        (Value::Number(_) | Value::Bool(_), Value::String(right)) if operator != Operator::Contains => mixed(&left.to_string(), right),
        _ => values(left, operator, right),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            let exact = a.as_i64().zip(b.as_i64()).map(|(a, b)| a.cmp(&b)).or_else(|| a.as_u64().zip(b.as_u64()).map(|(a, b)| a.cmp(&b)));
            exact.or_else(|| a.as_f64()?.partial_cmp(&b.as_f64()?))
        }
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => equal(left, right).then_some(Ordering::Equal),
    }
}

/// Equality of JSON values: `1` and `1.0` are the same number, also inside of arrays and objects; the order of members is of no matter.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => order(left, right) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b))),
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_are_numbers_are_compared_as_such() {
        for (left, operator, right, holds) in [
            ("10", Operator::Above, "9", true),
            ("10", Operator::Above, "9a", false),
            ("1.50", Operator::Equal, "1.5", true),
            ("007", Operator::Equal, "7", true),
            ("9007199254740993", Operator::Equal, "9007199254740992", false),
            ("-1", Operator::Below, "0.5", true),
            ("inf", Operator::Above, "5", true),
            ("b", Operator::AtLeast, "b", true),
            ("b", Operator::AtMost, "a", false),
            ("pro", Operator::NotEqual, "free", true),
            ("", Operator::Equal, "", true),
            ("premium", Operator::Contains, "mi", true),
            ("10", Operator::Contains, "1", true),
        ] {
            assert_eq!(texts(left, operator, right), holds, "{left} {operator} {right}");
        }
        let matches = Comparison::text(Operator::Matches, "^a+$").unwrap();
        assert!(matches.holds("aaa") && !matches.holds("ab"));
        assert!(Comparison::text(Operator::Matches, "[").is_err());
    }

    #[test]
    fn json_values_keep_their_types() {
        for (left, operator, right, holds) in [
            (json!(5), Operator::Equal, json!(5.0), true),
            (json!("5"), Operator::Equal, json!(5), false),
            (json!("5"), Operator::NotEqual, json!(5), true),
            (json!("5"), Operator::Above, json!(4), false),
            (json!(true), Operator::Equal, json!("true"), false),
            (json!(null), Operator::Equal, json!(null), true),
            (json!(null), Operator::AtMost, json!(1), false),
            (json!(2), Operator::AtMost, json!(2), true),
            (json!(2.5), Operator::Below, json!(3), true),
            (json!(u64::MAX), Operator::Above, json!(u64::MAX - 1), true),
            (json!(-1), Operator::Below, json!(u64::MAX), true),
            (json!("2026-11-22"), Operator::Above, json!("2026-11-21"), true),
            (json!({"a": 1, "b": [1]}), Operator::Equal, json!({"b": [1.0], "a": 1}), true),
            (json!(["a", 2]), Operator::Contains, json!(2), true),
            (json!(["a", 2]), Operator::Contains, json!("2"), false),
            (json!({"a": 1}), Operator::Contains, json!("a"), true),
            (json!("abc"), Operator::Contains, json!("bc"), true),
            (json!(123), Operator::Contains, json!("2"), false),
        ] {
            assert_eq!(values(&left, operator, &right), holds, "{left} {operator} {right}");
        }
        let matches = Comparison::json(Operator::Matches, json!("^[0-9]+$")).unwrap();
        assert!(matches.holds(&json!("12")) && matches.holds(&json!(12)) && !matches.holds(&json!(["12"])));
        assert!(Comparison::json(Operator::Matches, json!(5)).is_err());
    }

    #[test]
    fn a_text_that_was_filled_in_is_compared_with_a_number_as_a_number() {
        for (left, operator, right, holds) in [
            (json!(7), Operator::Equal, json!("7"), true),
            (json!(7), Operator::Equal, json!("07"), true),
            (json!(7), Operator::NotEqual, json!("7"), false),
            (json!("7"), Operator::Equal, json!(7), true),
            (json!("7"), Operator::Equal, json!("07"), false),
            (json!("abc"), Operator::Equal, json!(7), false),
            (json!(10), Operator::Above, json!("9"), true),
            (json!(5), Operator::Below, json!("abc"), false),
            (json!("abc"), Operator::Above, json!(5), false),
            (json!(true), Operator::Equal, json!("true"), true),
            (json!("false"), Operator::Equal, json!(true), false),
            (json!(null), Operator::Equal, json!("null"), false),
            (json!(null), Operator::Equal, json!(null), true),
            (json!([1, 2]), Operator::Contains, json!("2"), true),
            (json!([1, 2]), Operator::Contains, json!("3"), false),
            (json!("order 17"), Operator::Contains, json!(17), true),
            (json!(123), Operator::Contains, json!("2"), false),
            (json!({"id": 1}), Operator::Equal, json!({"id": "1"}), false),
        ] {
            assert_eq!(filled_in(&left, operator, &right), holds, "{left} {operator} {right}");
        }
    }
}

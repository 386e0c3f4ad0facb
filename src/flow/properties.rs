//! Properties of flows: a walk visits what the tree says; no value changes what it is put into.

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::scope::Scope;
use super::testing::{scope, step, template, title};
use super::walk::NumberedFlow;
use crate::model::flow::{Condition, FlowNode, Pause, Session, groups_of, steps_of};
use crate::model::template::{Encoding, Template};

/// A tree whose conditions ask for `yes`, which is set, or for `no`, which is not.
fn trees() -> impl Strategy<Value = Vec<FlowNode>> {
    let leaf = prop_oneof![
        4 => Just(FlowNode::Step(Box::new(step("step")))),
        1 => (1_u64..4).prop_map(|ms| FlowNode::Pause(Pause::Fixed(Duration::from_millis(ms)))),
        1 => Just(FlowNode::Pace(Duration::from_secs(1))),
        1 => (1_usize..3).prop_map(|count| FlowNode::Parallel(vec![step("part"); count])),
        1 => Just(FlowNode::Set(vec![("x".into(), template("${yes}", Encoding::Plain))])),
    ];
    let node = leaf.prop_recursive(4, 24, 3, |node| {
        let flow = prop::collection::vec(node, 0..3);
        let condition = prop::sample::select(vec!["${yes}", "not ${yes}"]).prop_map(|text| Condition::parse(text).unwrap());
        prop_oneof![
            flow.clone().prop_map(FlowNode::Sequence),
            flow.clone().prop_map(|flow| FlowNode::Group { name: "group".into(), flow }),
            prop::collection::vec((0_u8..3, flow.clone()), 1..3)
                .prop_map(|list| FlowNode::Choose(list.into_iter().map(|(weight, flow)| (f64::from(weight) + 0.5, flow)).collect())),
            (0_u64..3, 0_u64..2, flow.clone()).prop_map(|(least, more, flow)| FlowNode::Repeat { times: (least, least + more), flow }),
            (condition, flow.clone(), flow.clone()).prop_map(|(condition, then, otherwise)| FlowNode::If { condition, then, otherwise }),
            flow.clone().prop_map(|flow| FlowNode::While { condition: Condition::parse("not ${yes}").unwrap(), at_most: 1, flow }),
            flow.prop_map(|flow| FlowNode::Session(Box::new(Session { connect: step("socket"), flow }))),
        ]
    });
    prop::collection::vec(node, 0..4)
}

/// Reads a tree beside what a walk said, number by number.
struct Reading<'s> {
    seen: &'s [String],
}

impl Reading<'_> {
    /// Where the walk may stand after the flow, if it stood at one of `places` before; `step` and `group` are the flow's first numbers.
    fn flow(&self, flow: &[FlowNode], mut places: BTreeSet<usize>, mut step: usize, mut group: usize) -> BTreeSet<usize> {
        for node in flow {
            places = self.node(node, places, step, group);
            step += steps_of(std::slice::from_ref(node)).len();
            group += groups_of(std::slice::from_ref(node)).len();
        }
        places
    }

    fn word(&self, places: BTreeSet<usize>, word: &str) -> BTreeSet<usize> {
        places.into_iter().filter(|place| self.seen.get(*place).is_some_and(|seen| seen == word)).map(|place| place + 1).collect()
    }

    fn node(&self, node: &FlowNode, places: BTreeSet<usize>, step: usize, group: usize) -> BTreeSet<usize> {
        match node {
            FlowNode::Step(_) => self.word(places, &format!("{step}:step")),
            FlowNode::Parallel(steps) => self.word(places, &format!("{step}:{}", vec!["part"; steps.len()].join("+"))),
            FlowNode::Pause(Pause::Fixed(time)) => self.word(places, &format!("pause {time:?}")),
            FlowNode::Pace(time) => self.word(places, &format!("pace {time:?}")),
            FlowNode::Set(_) | FlowNode::While { .. } => places,
            FlowNode::Sequence(flow) => self.flow(flow, places, step, group),
            FlowNode::Group { flow, .. } => {
                let begun = self.word(places, &format!("begin {group}"));
                self.word(self.flow(flow, begun, step, group + 1), &format!("end {group}"))
            }
            FlowNode::Session(session) => {
                let open = self.word(places, &format!("connect {step}:socket"));
                self.word(self.flow(&session.flow, open, step + 1, group), &format!("close {step}"))
            }
            FlowNode::Choose(branches) => {
                let (mut after, mut step, mut group) = (BTreeSet::new(), step, group);
                for (_, flow) in branches {
                    after.extend(self.flow(flow, places.clone(), step, group));
                    step += steps_of(flow).len();
                    group += groups_of(flow).len();
                }
                after
            }
            FlowNode::If { condition, then, otherwise } => {
                if matches!(condition, Condition::Truthy(_)) {
                    return self.flow(then, places, step, group);
                }
                self.flow(otherwise, places, step + steps_of(then).len(), group + groups_of(then).len())
            }
            FlowNode::Repeat { times: (least, most), flow } => {
                let mut after = if *least == 0 { places.clone() } else { BTreeSet::new() };
                let mut places = places;
                for round in 1..=*most {
                    places = self.flow(flow, places, step, group);
                    if round >= *least {
                        after.extend(&places);
                    }
                }
                after
            }
            FlowNode::Pause(_) => panic!("there is no such pause in these trees"),
        }
    }
}

/// What a walk says, to its end.
fn walked(flow: &NumberedFlow, scope: &mut Scope) -> Vec<String> {
    let mut walk = flow.walk();
    std::iter::from_fn(|| walk.next(scope).unwrap().map(|next| title(&next))).collect()
}

/// Any JSON value; its texts have everything in them that could break out of where they stand.
fn values() -> impl Strategy<Value = Value> {
    let nasty =
        prop::sample::select(vec!["\"", "\\", "\r\n", "x: y\r\n\r\n", "\0", "\u{7f}", "${x}", "%0d", "é", "&a=b", "\",\"admin\":true,\""]);
    let text = prop::collection::vec(prop_oneof![nasty.prop_map(str::to_owned), ".{0,3}"], 0..4).prop_map(|parts| parts.concat());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        text.clone().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, move |inner| {
        let members = prop::collection::vec((text.clone(), inner.clone()), 0..3);
        let object = members.prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![prop::collection::vec(inner, 0..3).prop_map(Value::Array), object]
    })
}

/// A document with placeholders.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!("${x}")),
        Just(json!("a ${x} b \" ${x}")),
        Just(json!("plain \" \\ text")),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let members = prop::collection::vec(("[a-c\"\\\\]{1,2}", inner.clone()), 0..3);
        let object = members.prop_map(|members| Value::Object(members.into_iter().collect()));
        prop_oneof![prop::collection::vec(inner, 0..3).prop_map(Value::Array), object]
    })
}

/// The document with `value` in the place of its placeholders; a text in texts.
fn filled(document: &Value, value: &Value) -> Value {
    match document {
        Value::String(text) if text == "${x}" => value.clone(),
        Value::String(text) => {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Value::String(text.replace("${x}", &shown))
        }
        Value::Array(items) => items.iter().map(|item| filled(item, value)).collect(),
        Value::Object(members) => Value::Object(members.iter().map(|(name, member)| (name.clone(), filled(member, value))).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => document.clone(),
    }
}

fn render(template: &Template, value: &Value) -> Option<String> {
    let mut scope = scope();
    scope.set("x", value.clone());
    let mut out = String::new();
    scope.render(template, &mut out).ok().map(|()| out)
}

proptest! {
    #[test]
    fn a_walk_visits_what_the_tree_says(tree in trees(), iterations in 1_u64..4) {
        let flow = NumberedFlow::new(&tree).unwrap();
        let mut scope = scope();
        for number in 0..iterations {
            scope.begin_iteration(number);
            scope.set("yes", json!(1));
            let seen = walked(&flow, &mut scope);
            let ends = Reading { seen: &seen }.flow(&tree, BTreeSet::from([0]), 0, 0);
            prop_assert!(ends.contains(&seen.len()), "{seen:?} is no walk through {tree:?}");
        }
    }

    #[test]
    fn no_value_changes_the_shape_of_a_json_document(document in documents(), value in values()) {
        let template = Template::of_json(&document).unwrap();
        // `null` within a text is a failure; what is rendered is exactly what was meant.
        if let Some(text) = render(&template, &value) {
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read, filled(&document, &value), "{}", text);
        } else {
            let within_text = document.to_string().contains("a ${x}");
            prop_assert!(value.is_null() && within_text);
        }
    }

    #[test]
    fn no_value_adds_a_header(value in values()) {
        if let Some(text) = render(&template("before ${x}", Encoding::Header), &value) {
            prop_assert!(!text.contains(['\r', '\n', '\0']));
            prop_assert!(HeaderValue::from_bytes(text.as_bytes()).is_ok(), "{:?}", text);
        } else {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            prop_assert!(value.is_null() || shown.contains(|c: char| c.is_ascii_control() && c != '\t'), "{}", value);
        }
    }

    #[test]
    fn a_value_in_an_address_is_read_back_and_stays_in_its_place(value in values().prop_filter("null", |value| !value.is_null())) {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let path = render(&template("/items/${x}?q=${x}#${x}", Encoding::Url), &value).unwrap();
        let url = url::Url::parse("http://127.0.0.1").unwrap().join(&path).unwrap();
        prop_assume!(shown != "." && shown != ".." && !shown.is_empty());
        let segments: Vec<&str> = url.path_segments().unwrap().collect();
        prop_assert_eq!(segments.len(), 2);
        let query: Vec<_> = url.query_pairs().collect();
        prop_assert_eq!(query.len(), 1);
        prop_assert_eq!(&query[0].1, &shown);
        let form = render(&Template::of_form([("a b&", "${x}"), ("c", "1")]).unwrap(), &value).unwrap();
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        prop_assert_eq!(fields, vec![("a b&".to_owned(), shown), ("c".to_owned(), "1".to_owned())]);
        let whole = render(&template("${x}", Encoding::Url), &value).unwrap();
        prop_assert!(whole.bytes().all(|byte| byte.is_ascii_graphic()), "{:?}", whole);
    }
}

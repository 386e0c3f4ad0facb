//! A flow as written: a list of nodes. The first key of a node says what it is, what belongs to it stands beside it, and nodes
//! inside it stand under `do`. Addresses, templates and names are looked at in resolve.

pub(crate) mod check;
pub(crate) mod extract;
pub(crate) mod parting;
pub(crate) mod pause;
pub(crate) mod step;

use std::time::Duration;

use serde_json::{Value as Json, json};

use self::pause::PauseKeys;
use self::step::{METHODS, RawStep, TALK};
use super::text::{Fillable, Fixed};
use crate::registry::{Context, Decode, Entry, Named, Node, Span, Spanned, Value, suggest};
use crate::settings;

/// A node of a flow.
#[derive(Debug, Clone)]
pub(crate) enum RawFlow {
    /// One request.
    Step(RawStep),
    /// One after the other.
    Sequence(SequenceKeys),
    /// One of several flows.
    Choose(ChooseKeys),
    /// Again and again.
    Repeat(RepeatKeys),
    /// As long as a condition holds.
    While(WhileKeys),
    /// If a condition holds.
    If(Box<IfKeys>),
    /// Timed as a whole.
    Group(GroupKeys),
    /// HTTP requests at the same time.
    Parallel(ParallelKeys),
    /// Variables.
    Set(SetKeys),
    /// Think time.
    Pause(PauseKeys),
    /// Waits until so long after the iteration's beginning.
    Pace(PaceKeys),
}

/// The nodes of a flow that could be read, and whether others could not.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawNodes {
    /// Those without mistakes of shape.
    pub(crate) nodes: Vec<Spanned<RawFlow>>,
    /// A mistake was told in one of them: what it would have set or sent is not known.
    pub(crate) flawed: bool,
}

settings! {
    /// Nodes one after the other: a part of a flow that is written once and used in several places by a YAML anchor.
    pub(crate) struct SequenceKeys titled "`sequence`" {
        /// The nodes.
        sequence: required RawNodes,
    }
}

settings! {
    /// One of several flows, drawn by weight, anew in each iteration.
    pub(crate) struct ChooseKeys titled "`choose`" {
        /// The flows to choose from.
        choose: required Spanned<Vec<Branch>>,
    }
}

settings! {
    /// A flow to choose.
    pub(crate) struct Branch titled "the choice" {
        /// How often, compared with the others.
        weight: required Spanned<f64>,
        /// What then happens.
        flow as "do": required RawNodes,
    }
}

settings! {
    /// The same again and again.
    pub(crate) struct RepeatKeys titled "`repeat`" {
        /// How often: `3`, or `[1, 5]` for a number drawn evenly between two.
        repeat: required Spanned<Vec<u64>>,
        /// What.
        flow as "do": required RawNodes,
    }
}

settings! {
    /// The same as long as a condition holds, which is asked before each round.
    pub(crate) struct WhileKeys titled "`while`" {
        /// The condition: `${next}`, or `${page} < 5`.
        condition as "while": required Spanned<Fillable>,
        /// Rounds after which it is a failure, not patience.
        at_most: default u64 = 100,
        /// What.
        flow as "do": required RawNodes,
    }
}

settings! {
    /// One thing if a condition holds, else nothing or another.
    pub(crate) struct IfKeys titled "`if`" {
        /// The condition: `${token}`, or `${status} == open`.
        condition as "if": required Spanned<Fillable>,
        /// What happens when it holds.
        flow as "do": required RawNodes,
        /// What happens when it does not.
        otherwise as "else": default RawNodes,
    }
}

settings! {
    /// Nodes that are timed as a whole, pauses included.
    pub(crate) struct GroupKeys titled "group" {
        /// Name for figures and thresholds.
        group: required Spanned<Fixed>,
        /// What belongs to it.
        flow as "do": required RawNodes,
    }
}

settings! {
    /// HTTP requests at the same time, over connections of their own; it is over when the last has ended.
    pub(crate) struct ParallelKeys titled "`parallel`" {
        /// The steps.
        parallel: required Spanned<RawNodes>,
    }
}

settings! {
    /// Sets variables of the iteration.
    pub(crate) struct SetKeys titled "`set`" {
        /// Names and values: `{ page: 1, user: "${users.name}" }`.
        set: required Spanned<Named<Spanned<Fillable>>>,
    }
}

settings! {
    /// Waits until so long after the iteration's beginning.
    pub(crate) struct PaceKeys titled "`pace`" {
        /// How long after it; nothing when the iteration has taken longer already.
        pace: required Spanned<Duration>,
    }
}

/// What a node of a flow can be, by the key that says so.
const NODES: [&str; 11] = ["step", "sequence", "choose", "repeat", "while", "if", "group", "parallel", "set", "pause", "pace"];

impl Decode for RawFlow {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return cx.wrong_type(node, "a mapping such as `{ step: home, get: / }`") };
        let found: Vec<&Entry> = entries.iter().filter(|entry| NODES.contains(&entry.key.as_str())).collect();
        match found[..] {
            [one] => Self::of_kind(&one.key, one, node, cx),
            [] => {
                no_node(entries, node.span, cx);
                None
            }
            [first, second, ..] => {
                let message = format!("`{}` and `{}` cannot stand in one node of a flow", first.key, second.key);
                cx.diagnostics.push("conflicting-keys", second.span, message, "begin a new node with `-`");
                None
            }
        }
    }
    fn schema() -> Json {
        json!({"$ref": "#/$defs/flow"})
    }
}

fn no_node(entries: &[Entry], span: Span, cx: &mut Context<'_>) {
    let requests = |entry: &&Entry| METHODS.contains(&entry.key.as_str()) || TALK.contains(&entry.key.as_str());
    let near = |entry: &&Entry| !requests(entry) && crate::registry::nearest(&entry.key, NODES).is_some();
    if let Some(entry) = entries.iter().find(near) {
        let message = format!("unknown key `{}` in a flow", entry.key);
        cx.diagnostics.push("unknown-key", entry.span, message, suggest(&entry.key, NODES));
    } else if entries.iter().any(|entry| requests(&entry)) {
        cx.diagnostics.push("missing-key", span, "a request lacks its name", "add `step: NAME`");
    } else {
        let kinds: Vec<String> = NODES.iter().map(|node| format!("`{node}:`")).collect();
        cx.diagnostics.push("missing-key", span, "a node of a flow says what it is", format!("begin it with one of {}", kinds.join(" ")));
    }
}

impl RawFlow {
    fn of_kind(kind: &str, entry: &Entry, node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        Some(match kind {
            "step" => Self::Step(RawStep::decode_named(entry, node, cx)?),
            "sequence" => Self::Sequence(SequenceKeys::decode(node, cx)?),
            "choose" => Self::Choose(ChooseKeys::decode(node, cx)?),
            "repeat" => Self::Repeat(RepeatKeys::decode(node, cx)?),
            "while" => Self::While(WhileKeys::decode(node, cx)?),
            "if" => Self::If(Box::new(IfKeys::decode(node, cx)?)),
            "group" => {
                cx.name = entry.node.scalar();
                Self::Group(GroupKeys::decode(node, cx)?)
            }
            "parallel" => Self::Parallel(ParallelKeys::decode(node, cx)?),
            "set" => Self::Set(SetKeys::decode(node, cx)?),
            "pause" => Self::Pause(PauseKeys::decode(node, cx)?),
            _ => Self::Pace(PaceKeys::decode(node, cx)?),
        })
    }

    /// The schema that `$defs/flow` holds; flows contain flows.
    pub(crate) fn definition() -> Json {
        let mut variants = RawStep::schemas();
        variants.extend([
            SequenceKeys::schema(),
            ChooseKeys::schema(),
            RepeatKeys::schema(),
            WhileKeys::schema(),
            IfKeys::schema(),
            GroupKeys::schema(),
            ParallelKeys::schema(),
            SetKeys::schema(),
            PauseKeys::schema(),
            PaceKeys::schema(),
        ]);
        json!({"oneOf": variants})
    }
}

impl Decode for RawNodes {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let before = cx.diagnostics.0.len();
        let nodes = match &node.value {
            // Every node is read, so that all mistakes are told.
            Value::List(items) => items.iter().filter_map(|item| Spanned::decode(item, cx)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(..) | Value::Text(_) | Value::Map(_) => {
                Spanned::decode(node, cx).into_iter().collect()
            }
        };
        Some(Self { nodes, flawed: cx.diagnostics.0.len() > before })
    }
    fn schema() -> Json {
        Vec::<RawFlow>::schema()
    }
}

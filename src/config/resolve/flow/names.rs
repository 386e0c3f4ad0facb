//! What `${…}` may refer to at some place of a flow: variables that a node before it sets, columns of the scenario's data, variables
//! of the setup. Generous where the order is not known before it runs: what a loop sets is known in all of it, what one branch sets
//! is known after them all.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::raw::flow::step::RawStep;
use crate::config::raw::flow::{RawFlow, RawNodes};
use crate::model::template::{Expression, Origin, known_generators};
use crate::registry::{Spanned, nearest};

/// The names that are known at a place.
#[derive(Debug, Clone, Default)]
pub(in crate::config::resolve) struct Names {
    /// Data of the scenario: columns, or `None` when its rows could not be read.
    pub(in crate::config::resolve) data: BTreeMap<String, Option<Vec<String>>>,
    /// Variables that the profile's setup leaves.
    pub(in crate::config::resolve) setup: Known,
    /// Variables of the flow, set so far.
    pub(in crate::config::resolve) variables: BTreeSet<String>,
    /// Variables that any node of the flow sets.
    pub(in crate::config::resolve) anywhere: BTreeSet<String>,
    /// A part of the flow could not be read, so that it may set more.
    pub(in crate::config::resolve) uncertain: bool,
}

/// A set of names that may be incomplete.
#[derive(Debug, Clone, Default)]
pub(in crate::config::resolve) struct Known {
    pub(in crate::config::resolve) names: BTreeSet<String>,
    /// There may be more.
    pub(in crate::config::resolve) uncertain: bool,
}

/// Why a name cannot be used: what is wrong, and what to do.
pub(in crate::config::resolve) type Unknown = (String, String);

impl Names {
    /// Names at the beginning of a flow.
    pub(in crate::config::resolve) fn at_start_of(flow: &RawNodes, setup: Known) -> Self {
        let anywhere: BTreeSet<String> = set_by(flow).into_iter().map(|name| name.value.clone()).collect();
        Self { setup, anywhere, uncertain: flow.flawed, ..Self::default() }
    }

    /// Whether the expression refers to something that is there.
    pub(in crate::config::resolve) fn check(&self, expression: &Expression) -> Result<(), Unknown> {
        match &expression.origin {
            Origin::Generator(_) => Ok(()),
            Origin::Setup(name, _) if self.setup.uncertain || self.setup.names.contains(name) => Ok(()),
            Origin::Setup(name, _) => Err(self.not_in_setup(name)),
            Origin::Name(head, members) => match self.data.get(head) {
                Some(columns) => column(head, columns.as_deref(), members.first().map(|member| member.name.as_str())),
                None if self.uncertain || self.variables.contains(head) => Ok(()),
                None => Err(self.not_set(head)),
            },
        }
    }

    fn not_in_setup(&self, name: &str) -> Unknown {
        let message = format!("the setup of the profile sets no `{name}`");
        let hint = match nearest(name, self.setup.names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `setup.{near}`?"),
            None if self.variables.contains(name) => format!("write `${{{name}}}`"),
            None => format!("take it from an answer there: `extract: {{ {name}: $.{name} }}`"),
        };
        (message, hint)
    }

    fn not_set(&self, name: &str) -> Unknown {
        if self.anywhere.contains(name) {
            let hint = "a later node sets it: move that before this one, or begin with `- set: { … }`";
            return (format!("`{name}` is not set yet"), hint.into());
        }
        let columns = self.data.iter().flat_map(|(name, columns)| columns.iter().flatten().map(move |column| format!("{name}.{column}")));
        let setup = self.setup.names.iter().map(|name| format!("setup.{name}"));
        let own: Vec<String> = self.variables.iter().cloned().chain(columns).chain(setup).collect();
        let generators = known_generators().map(|generator| generator as &str);
        let candidates = own.iter().map(String::as_str).chain(self.data.keys().map(String::as_str)).chain(generators);
        let hint = match nearest(name, candidates) {
            Some(near) => format!("did you mean `{near}`?"),
            None if own.is_empty() => format!("take it from an answer before (`extract: {{ {name}: $.{name} }}`), or `set` it"),
            None => format!("known here: {}, and generators such as `uuid`", listed(&own)),
        };
        (format!("nothing sets `{name}`"), hint)
    }
}

fn column(data: &str, columns: Option<&[String]>, column: Option<&str>) -> Result<(), Unknown> {
    let Some(columns) = columns else { return Ok(()) };
    let first = columns.first().map_or("COLUMN", String::as_str);
    match column {
        None => Err((format!("`{data}` is a row: a column of it can be used"), format!("write `${{{data}.{first}}}`"))),
        Some(column) if columns.iter().any(|known| known == column) => Ok(()),
        Some(column) => {
            let hint = match nearest(column, columns.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{data}.{near}`?"),
                None => format!("its columns are {}", listed(columns)),
            };
            Err((format!("the data `{data}` have no column `{column}`"), hint))
        }
    }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The variables that the nodes of a flow set, in order, with their places.
pub(in crate::config::resolve) fn set_by(flow: &RawNodes) -> Vec<&Spanned<String>> {
    flow.nodes.iter().flat_map(|node| set_by_node(&node.value)).collect()
}

fn set_by_node(node: &RawFlow) -> Vec<&Spanned<String>> {
    match node {
        RawFlow::Step(step) => set_by_step(step),
        RawFlow::Sequence(keys) => set_by(&keys.sequence),
        RawFlow::Choose(keys) => keys.choose.value.iter().flat_map(|branch| set_by(&branch.flow)).collect(),
        RawFlow::Repeat(keys) => set_by(&keys.flow),
        RawFlow::While(keys) => set_by(&keys.flow),
        RawFlow::If(keys) => set_by(&keys.flow).into_iter().chain(set_by(&keys.otherwise)).collect(),
        RawFlow::Group(keys) => set_by(&keys.flow),
        RawFlow::Parallel(keys) => set_by(&keys.parallel.value),
        RawFlow::Set(keys) => keys.set.value.iter().map(|(name, _)| name).collect(),
        RawFlow::Pause(_) | RawFlow::Pace(_) => Vec::new(),
    }
}

fn set_by_step(step: &RawStep) -> Vec<&Spanned<String>> {
    let inside = match step {
        RawStep::Socket(keys) => set_by(&keys.flow),
        RawStep::Http(_) | RawStep::Grpc(_) | RawStep::Exchange(_) => Vec::new(),
    };
    step.extracts().iter().map(|(name, _)| name).chain(inside).collect()
}

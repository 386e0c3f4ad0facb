//! Counts of a step in a row that are nearly always 0: one JSON text for all of them, NULL when none is more, so that rows do not grow with
//! what hardly ever happens. What an older program wrote has none.

use serde::{Deserialize, Serialize};

use super::StoreResult;
use super::shared::json;
use crate::model::measure::StepInterval;

/// The column `rare`; what is 0 is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rare {
    #[serde(skip_serializing_if = "is_zero")]
    resent: u64,
    #[serde(skip_serializing_if = "is_zero")]
    unheard: u64,
    #[serde(skip_serializing_if = "is_zero")]
    unanswered: u64,
}

fn is_zero<N: Default + PartialEq>(count: &N) -> bool {
    *count == N::default()
}

impl Rare {
    /// The column's value.
    pub(super) fn text(step: &StepInterval) -> StoreResult<Option<String>> {
        let rare = Self { resent: step.resent, unheard: step.unheard, unanswered: step.unanswered };
        (rare != Self::default()).then(|| json(&rare)).transpose()
    }

    /// Puts what the column held where it belongs.
    pub(super) fn fill(self, step: &mut StepInterval) {
        (step.resent, step.unheard, step.unanswered) = (self.resent, self.unheard, self.unanswered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_0_takes_no_room_and_nothing_of_the_one_before_is_left() {
        let with = |resent, unheard, unanswered| StepInterval { resent, unheard, unanswered, ..StepInterval::default() };
        for (step, text) in [
            (with(0, 0, 0), None),
            (with(2, 0, 0), Some(r#"{"resent":2}"#)),
            (with(0, 340, 0), Some(r#"{"unheard":340}"#)),
            (with(1, u64::MAX, 0), Some(r#"{"resent":1,"unheard":18446744073709551615}"#)),
            (with(0, 0, 3), Some(r#"{"unanswered":3}"#)),
        ] {
            let written = Rare::text(&step).unwrap();
            assert_eq!(written.as_deref(), text);
            let mut read = with(7, 7, 7);
            written.map_or_else(Rare::default, |text| serde_json::from_str(&text).unwrap()).fill(&mut read);
            assert_eq!(read, step);
        }
    }
}

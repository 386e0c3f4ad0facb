//! What happened to a run's requests that hardly ever does, in a sentence each: nothing where it did not.

use super::text::{count, plain};
use crate::model::run::{StepSummary, Summary};

/// Steps that are named.
const NAMED: usize = 3;

/// "12 requests were sent again on another connection: 8 in checkout, 4 in pay".
pub fn rare(summary: &Summary) -> Vec<String> {
    let resent = |one: &StepSummary| one.resent;
    let unheard = |one: &StepSummary| one.unheard;
    let unanswered = |one: &StepSummary| one.unanswered;
    [
        sentence(summary, resent, ["request was sent again on another connection", "requests were sent again on another connection"]),
        sentence(summary, unheard, ["message was not heard", "messages were not heard"]),
        sentence(summary, unanswered, ["good-bye of a socket was not answered", "good-byes of sockets were not answered"]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn sentence(summary: &Summary, number: fn(&StepSummary) -> u64, [one, several]: [&str; 2]) -> Option<String> {
    let all = Some(number(&summary.total)).filter(|all| *all > 0)?;
    let mut text = format!("{} {}", count(all), if all == 1 { one } else { several });
    let mut of: Vec<_> = summary.steps.iter().map(|step| (number(step), &step.step)).filter(|(number, _)| *number > 0).collect();
    if summary.steps.len() > 1 {
        of.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let named: Vec<String> = of.iter().take(NAMED).map(|(number, step)| format!("{} in {}", count(*number), plain(step, 40))).collect();
        let others = of.len().saturating_sub(NAMED);
        let others = if others > 0 { format!(", the others in {others} more") } else { String::new() };
        text.push_str(&format!(": {}{others}", named.join(", ")));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(steps: &[(&str, u64, u64)]) -> Summary {
        let step = |(name, resent, unheard): &(&str, u64, u64)| StepSummary {
            step: (*name).into(),
            resent: *resent,
            unheard: *unheard,
            ..StepSummary::default()
        };
        let total = step(&("", steps.iter().map(|one| one.1).sum(), steps.iter().map(|one| one.2).sum()));
        Summary { total, steps: steps.iter().map(step).collect(), ..Summary::default() }
    }

    #[test]
    fn good_byes_without_an_answer_are_told_by_their_step() {
        let mut run = summary(&[("chat", 0, 0), ("list", 0, 0)]);
        (run.total.unanswered, run.steps[0].unanswered) = (3, 3);
        assert_eq!(rare(&run), ["3 good-byes of sockets were not answered: 3 in chat"]);
    }

    #[test]
    fn what_did_not_happen_is_not_told() {
        for (steps, told) in [
            (vec![("list", 0, 0), ("pay", 0, 0)], vec![]),
            (vec![("pay", 1, 0)], vec!["1 request was sent again on another connection"]),
            (vec![("list", 0, 1)], vec!["1 message was not heard"]),
            (
                vec![("list", 4, 0), ("pay", 1008, 340)],
                vec![
                    "1,012 requests were sent again on another connection: 1,008 in pay, 4 in list",
                    "340 messages were not heard: 340 in pay",
                ],
            ),
            (
                vec![("a", 1, 0), ("b", 2, 0), ("c", 3, 0), ("d", 4, 0), ("e", 0, 0), ("f", 1, 0)],
                vec!["11 requests were sent again on another connection: 4 in d, 3 in c, 2 in b, the others in 2 more"],
            ),
        ] {
            assert_eq!(rare(&summary(&steps)), told);
        }
    }
}

//! The state machine of one alert: what an input does in each state. Nothing else changes a state.
//! Pure: time is an argument. Sentences are written by `reason`, messages by `message`; the method is explained in docs/alerting.md.

use std::time::Duration;

use crate::model::alerting::{AlertInstance, AlertState, NoData, Rule};
use crate::model::threshold::Condition;
use crate::model::units::Timestamp;

/// What one observation, or the passing of time, means for an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Measured: the condition holds.
    Bad,
    /// Measured: the condition does not hold, but the recovery bound does not hold either.
    Between,
    /// Measured: it does not hold, and it counts as recovered.
    Good,
    /// Nothing new, and not for long enough to matter.
    Quiet,
    /// Nothing was measured for as long as `no_data_after` allows.
    Missing,
    /// A run began or ended: what has not held for long enough by then has to begin anew.
    RunBreak,
    /// The rule, or what it watched, is no longer configured.
    Gone,
}

/// Why a state changed; `reason` makes the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The condition holds, for so long.
    Holds(Duration),
    /// It no longer holds, for so long.
    Ended(Duration),
    /// Nothing was measured.
    NoData,
    /// Nothing was measured, which counts as fine.
    NoDataIsFine,
    /// Measured again, and bad.
    BackAndBad,
    /// Measured again, and fine.
    BackAndFine,
    /// The run ended before it had held for long enough.
    RunBroke(Duration),
    /// No longer configured.
    Gone,
}

/// What a change does to the incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incident {
    /// Nothing.
    Same,
    /// It opens: people are told.
    Opens,
    /// It closes: people are told.
    Closes,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Before.
    pub(super) from: AlertState,
    /// After.
    pub(super) to: AlertState,
    /// Why.
    pub(super) why: Why,
    /// What it does to the incident.
    pub(super) incident: Incident,
}

/// How long the condition must hold before an incident opens.
pub(super) fn hold(rule: &Rule) -> Duration {
    match &rule.when {
        Condition::Series(series) => series.hold.unwrap_or_default(),
        Condition::Verdict { .. } | Condition::Found(_) => Duration::ZERO,
    }
}

// An incident is open exactly in `firing` and `no_data`. "told only of missing data" is an incident with no `active_since`.
//
// |            | inactive             | pending                      | firing (incident open)        | no_data (incident open)                          |
// |------------|----------------------|------------------------------|-------------------------------|--------------------------------------------------|
// | Bad        | firing when `for` is | firing once it has held for  | stays; clearing is forgotten  | firing, the same incident                        |
// |            | 0, else pending      | `for` without a gap          |                               |                                                  |
// | Between    | stays                | inactive                     | stays; clearing is forgotten  | firing; inactive when told only of missing data  |
// | Good       | stays                | inactive                     | inactive once it has been     | as in firing; inactive at once when told only of |
// |            |                      |                              | clear for `keep_firing_for`   | missing data                                     |
// | Quiet      | stays                | stays; time without data     | inactive once it has been     | stays                                            |
// |            |                      | does not count towards `for` | clear for `keep_firing_for`   |                                                  |
// | Missing,   | no_data, opens       | no_data, opens               | no_data, the same incident    | stays                                            |
// |  alert     |                      |                              |                               |                                                  |
// | Missing,   | stays                | stays                        | as Quiet                      | stays                                            |
// |  keep      |                      |                              |                               |                                                  |
// | Missing, ok| stays                | inactive                     | inactive                      | inactive                                         |
// | RunBreak   | stays                | inactive                     | stays                         | stays                                            |
// | Gone       | stays (forgotten)    | inactive (forgotten)         | inactive (forgotten)          | inactive (forgotten)                             |
//
// Leaving `firing` or `no_data` for `inactive` closes the incident, so every incident that opens is resolved exactly once.

/// Applies `input` to the alert at `now`; `None` when the state stays. Bookkeeping of the incident itself is the caller's.
/// `rule` may be `None` only for `Gone`.
pub(super) fn advance(alert: &mut AlertInstance, rule: Option<&Rule>, input: Input, now: Timestamp) -> Option<Turn> {
    let Some(rule) = rule.filter(|_| input != Input::Gone) else {
        return turn(alert, AlertState::Inactive, Why::Gone, now);
    };
    match (alert.state, input) {
        (AlertState::Inactive | AlertState::Pending, Input::Bad) => bad(alert, rule, now),
        (AlertState::Firing, Input::Bad | Input::Between) => {
            alert.clear_since = None;
            alert.active_since.get_or_insert(now);
            None
        }
        (AlertState::NoData, Input::Bad) => {
            alert.clear_since = None;
            alert.active_since.get_or_insert(now);
            turn(alert, AlertState::Firing, Why::BackAndBad, now)
        }
        (AlertState::NoData, Input::Between | Input::Good) if alert.active_since.is_none() => {
            turn(alert, AlertState::Inactive, Why::BackAndFine, now)
        }
        (AlertState::NoData, Input::Between) => {
            alert.clear_since = None;
            turn(alert, AlertState::Firing, Why::BackAndBad, now)
        }
        (AlertState::Firing | AlertState::NoData, Input::Good) => good(alert, rule, now),
        (AlertState::Firing, Input::Quiet) => still_clear(alert, rule, now),
        (AlertState::Firing, Input::Missing) if rule.no_data == NoData::Keep => still_clear(alert, rule, now),
        (AlertState::Pending, Input::Between | Input::Good) => turn(alert, AlertState::Inactive, Why::Ended(Duration::ZERO), now),
        (AlertState::Pending, Input::RunBreak) => {
            let held = alert.active_since.map_or(Duration::ZERO, |since| now.since(since));
            turn(alert, AlertState::Inactive, Why::RunBroke(held), now)
        }
        (state, Input::Missing) => match rule.no_data {
            NoData::Alert if state == AlertState::NoData => None,
            NoData::Alert => {
                if state != AlertState::Firing {
                    alert.active_since = None;
                }
                turn(alert, AlertState::NoData, Why::NoData, now)
            }
            NoData::Keep => None,
            NoData::Ok => turn(alert, AlertState::Inactive, Why::NoDataIsFine, now),
        },
        (AlertState::Inactive, Input::Between | Input::Good | Input::Quiet | Input::RunBreak)
        | (AlertState::Pending | AlertState::NoData, Input::Quiet)
        | (AlertState::Firing | AlertState::NoData, Input::RunBreak)
        | (_, Input::Gone) => None,
    }
}

/// Inactive or pending, and the condition holds.
fn bad(alert: &mut AlertInstance, rule: &Rule, now: Timestamp) -> Option<Turn> {
    // After a gap nobody knows whether it held in between: the wait begins anew.
    let gap = alert.last_data.is_some_and(|last| now.since(last) > rule.no_data_after);
    let since = alert.active_since.filter(|_| alert.state == AlertState::Pending && !gap).unwrap_or(now);
    alert.active_since = Some(since);
    let held = now.since(since);
    if held >= hold(rule) {
        return turn(alert, AlertState::Firing, Why::Holds(held), now);
    }
    if alert.state == AlertState::Pending { None } else { turn(alert, AlertState::Pending, Why::Holds(held), now) }
}

/// An incident is open, and what was measured is fine.
fn good(alert: &mut AlertInstance, rule: &Rule, now: Timestamp) -> Option<Turn> {
    alert.clear_since.get_or_insert(now);
    still_clear(alert, rule, now)
        .or_else(|| (alert.state == AlertState::NoData).then(|| turn(alert, AlertState::Firing, Why::BackAndFine, now)).flatten())
}

/// Closes the incident once it has been clear for long enough.
fn still_clear(alert: &mut AlertInstance, rule: &Rule, now: Timestamp) -> Option<Turn> {
    let clear = now.since(alert.clear_since?);
    if clear < rule.keep_firing_for {
        return None;
    }
    turn(alert, AlertState::Inactive, Why::Ended(clear), now)
}

/// Moves to `to`; `None` when it is there already.
fn turn(alert: &mut AlertInstance, to: AlertState, why: Why, now: Timestamp) -> Option<Turn> {
    let from = alert.state;
    if from == to {
        return None;
    }
    let open = |state| matches!(state, AlertState::Firing | AlertState::NoData);
    let incident = match (open(from), open(to)) {
        (false, true) => Incident::Opens,
        (true, false) => Incident::Closes,
        (true, true) | (false, false) => Incident::Same,
    };
    alert.state = to;
    alert.since = now;
    if to == AlertState::Inactive {
        alert.active_since = None;
        alert.clear_since = None;
    }
    Some(Turn { from, to, why, incident })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::group::Group;
    use crate::alert::properties::rule;
    use crate::model::Labels;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    /// An alert in `state`; with `held`, its condition has held for so long.
    fn alert(rule: &Rule, state: AlertState, held: Option<u64>) -> AlertInstance {
        let mut alert = Group::new(rule, &Labels::new()).instance;
        alert.state = state;
        alert.active_since = held.map(|seconds| NOW.minus(Duration::from_secs(seconds)));
        alert.last_data = Some(NOW.minus(Duration::from_secs(1)));
        alert
    }

    #[test]
    fn the_table() {
        use AlertState::{Firing, Inactive, NoData as Silent, Pending};
        use Input::{Bad, Between, Gone, Good, Missing, Quiet, RunBreak};
        let rule = rule("pool_utilization: max > 80% for 10s");
        for (sentence, state, held, input, expected) in [
            ("begins to hold", Inactive, None, Bad, Some(Pending)),
            ("fine stays fine", Inactive, None, Between, None),
            ("fine stays fine", Inactive, None, Good, None),
            ("nothing new", Inactive, None, Quiet, None),
            ("silence is told", Inactive, None, Missing, Some(Silent)),
            ("nothing to break", Inactive, None, RunBreak, None),
            ("nothing to close", Inactive, None, Gone, None),
            ("not yet long enough", Pending, Some(9), Bad, None),
            ("long enough", Pending, Some(10), Bad, Some(Firing)),
            ("ended in time", Pending, Some(9), Between, Some(Inactive)),
            ("ended in time", Pending, Some(9), Good, Some(Inactive)),
            ("time without data does not count", Pending, Some(60), Quiet, None),
            ("silence is told", Pending, Some(9), Missing, Some(Silent)),
            ("a run does not continue another", Pending, Some(9), RunBreak, Some(Inactive)),
            ("the rule is gone", Pending, Some(9), Gone, Some(Inactive)),
            ("still bad", Firing, Some(60), Bad, None),
            ("not yet recovered", Firing, Some(60), Between, None),
            ("recovered", Firing, Some(60), Good, Some(Inactive)),
            ("held", Firing, Some(60), Quiet, None),
            ("silence within an incident", Firing, Some(60), Missing, Some(Silent)),
            ("held between runs", Firing, Some(60), RunBreak, None),
            ("the rule is gone", Firing, Some(60), Gone, Some(Inactive)),
            ("data, and bad", Silent, None, Bad, Some(Firing)),
            ("data, and never was bad", Silent, None, Between, Some(Inactive)),
            ("data, and bad as before", Silent, Some(60), Between, Some(Firing)),
            ("data, and fine", Silent, None, Good, Some(Inactive)),
            ("data, and fine", Silent, Some(60), Good, Some(Inactive)),
            ("still nothing", Silent, None, Quiet, None),
            ("still nothing", Silent, None, Missing, None),
            ("held between runs", Silent, None, RunBreak, None),
            ("the rule is gone", Silent, None, Gone, Some(Inactive)),
        ] {
            let mut alert = alert(&rule, state, held);
            let turn = advance(&mut alert, Some(&rule), input, NOW);
            assert_eq!(turn.map(|turn| turn.to), expected, "{sentence}: {state:?} {input:?}");
            assert_eq!(alert.state, expected.unwrap_or(state), "{sentence}");
            let open = |state: AlertState| matches!(state, Firing | Silent);
            let incident = match (open(state), open(alert.state)) {
                (false, true) => Some(Incident::Opens),
                (true, false) => Some(Incident::Closes),
                (true, true) | (false, false) => turn.map(|_| Incident::Same),
            };
            assert_eq!(turn.map(|turn| turn.incident), incident, "{sentence}");
        }
    }

    #[test]
    fn silence_can_keep_the_state_or_count_as_fine() {
        for (no_data, state, expected) in [
            (NoData::Keep, AlertState::Inactive, None),
            (NoData::Keep, AlertState::Pending, None),
            (NoData::Keep, AlertState::Firing, None),
            (NoData::Ok, AlertState::Inactive, None),
            (NoData::Ok, AlertState::Pending, Some(AlertState::Inactive)),
            (NoData::Ok, AlertState::Firing, Some(AlertState::Inactive)),
            (NoData::Ok, AlertState::NoData, Some(AlertState::Inactive)),
        ] {
            let rule = Rule { no_data, ..rule("pool_utilization: max > 80%") };
            let mut alert = alert(&rule, state, Some(5));
            assert_eq!(advance(&mut alert, Some(&rule), Input::Missing, NOW).map(|turn| turn.to), expected, "{no_data} {state}");
        }
    }

    #[test]
    fn it_stays_firing_until_it_has_been_clear_for_long_enough() {
        let rule = Rule { keep_firing_for: Duration::from_secs(30), ..rule("pool_utilization: max > 80%") };
        let mut alert = alert(&rule, AlertState::Firing, Some(5));
        let at = |seconds| NOW.plus(Duration::from_secs(seconds));
        assert_eq!(advance(&mut alert, Some(&rule), Input::Good, at(0)), None);
        assert_eq!(advance(&mut alert, Some(&rule), Input::Bad, at(20)), None, "bad again: clearing begins anew");
        assert_eq!(advance(&mut alert, Some(&rule), Input::Good, at(25)), None);
        assert_eq!(advance(&mut alert, Some(&rule), Input::Quiet, at(54)), None);
        let turn = advance(&mut alert, Some(&rule), Input::Quiet, at(55)).unwrap();
        assert_eq!((turn.to, turn.why), (AlertState::Inactive, Why::Ended(Duration::from_secs(30))));
    }

    #[test]
    fn a_gap_in_the_data_breaks_the_wait() {
        let rule = rule("pool_utilization: max > 80% for 10s");
        let mut alert = alert(&rule, AlertState::Pending, Some(3600));
        alert.last_data = Some(NOW.minus(Duration::from_secs(3600)));
        assert_eq!(advance(&mut alert, Some(&rule), Input::Bad, NOW), None);
        assert_eq!(alert.active_since, Some(NOW));
    }
}

//! What speaks against comparing two sides, each as a sentence. Grave is what makes figures mean different things or nothing.

use super::Warning;
use super::side::{INDEPENDENT_S, Side};
use crate::model::run::{EndedBy, Verdict};

/// Difference of the load, as a share, from which on it is told.
const OTHER_LOAD: f64 = 0.05;

pub(super) fn warnings(first: &Side, second: &Side) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |grave: bool, kind: &'static str, text: String| found.push(Warning { kind, text, grave });
    if first.target != second.target {
        warn(true, "other_target", format!("they loaded different targets, `{}` and `{}`", first.target, second.target));
    }
    if first.profile != second.profile {
        warn(false, "other_profile", format!("they are of different profiles, `{}` and `{}`", first.profile, second.profile));
    } else if first.digest != second.digest {
        warn(false, "other_profile", format!("the profile `{}` was changed between the two", first.profile));
    }
    let both = [("first", first), ("second", second)];
    for (name, side) in both.into_iter().take(if first.run == second.run { 1 } else { 2 }) {
        match side.verdict {
            Some(Verdict::Invalid) => {
                warn(
                    true,
                    "generator_unfit",
                    format!("in the {name} ({}) the load generator was late or the load was not delivered", side.run),
                );
            }
            Some(Verdict::NoData) if side.seconds() == 0 => {}
            Some(Verdict::Pass | Verdict::Fail | Verdict::NoData) | None => {}
        }
        match side.ended_by {
            Some(EndedBy::Completed) => {}
            Some(by) => warn(false, "cut_short", format!("the {name} ({}) did not come to its end ({by})", side.run)),
            None => warn(false, "not_ended", format!("the {name} ({}) has not ended", side.run)),
        }
        if side.lost > 0 {
            warn(false, "seconds_lost", format!("{} seconds of the {name} ({}) could not be stored", side.lost, side.run));
        }
    }
    for (name, side) in both {
        if side.total.requests() == 0 {
            warn(true, "nothing_measured", format!("the {name} has no requests"));
        } else if side.measured_s.iter().filter(|seconds| **seconds > 0).count() < super::draw::FEWEST {
            warn(false, "too_short", format!("the {name} is too short ({} s) to know how sure its figures are", side.seconds()));
        } else if side.block_s < INDEPENDENT_S {
            let text = format!(
                "the {name} is short ({} s): neighbouring blocks depend on each other, intervals are rather too narrow",
                side.seconds()
            );
            warn(false, "short", text);
        }
    }
    for (what, of) in [("VUs", (|side| side.vus) as fn(&Side) -> u64), ("starts a second", |side| side.scheduled)] {
        let per_second = |side: &Side| of(side) as f64 / f64::from(side.seconds().max(1));
        let (a, b) = (per_second(first), per_second(second));
        if a > 0.0 && b > 0.0 && (b / a - 1.0).abs() > OTHER_LOAD {
            let number = |value: f64| crate::model::units::trim_decimal(value, 1);
            warn(false, "other_load", format!("the load was not the same: {} and {} {what} on average", number(a), number(b)));
            break;
        }
    }
    found
}

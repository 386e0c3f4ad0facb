//! When iterations start, as pure functions of the profile and of what was decided about it since: k6's rules, computed exactly,
//! never by adding up rounded periods. Nothing here knows clocks, VUs or threads; several machines asking for the same start get
//! the same answer. `starts` and `steps` are what a profile says, `course` what becomes of it when it is steered.
//! Rules and golden vectors: docs/methods.md ("Executors"), after k6's `lib/executor` and vegeta's pacer.

mod arrivals;
mod climb;
mod course;
mod starts;
mod steps;
mod windows;

pub use arrivals::Arrivals;
pub use climb::{Climb, Leaving, stages_to};
pub use course::{Change, Course, Mode};
pub use starts::Starts;
pub use steps::VuSteps;

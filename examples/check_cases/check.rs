//! One comparison of one figure, with the tolerance that it has to meet.

/// What was compared, and whether it agrees.
#[derive(Debug)]
pub(crate) struct Check {
    /// Name of the figure.
    pub(crate) what: String,
    /// What the project's function says.
    pub(crate) ours: String,
    /// What the case says.
    pub(crate) expected: String,
    /// True when the two are within the tolerance.
    pub(crate) agrees: bool,
    /// True when it is printed although it agrees.
    pub(crate) noted: bool,
}

impl Check {
    /// A comparison by a rule of the caller's own.
    pub(crate) fn new(what: &str, ours: &str, expected: &str, agrees: bool) -> Self {
        Self { what: what.into(), ours: ours.into(), expected: expected.into(), agrees, noted: false }
    }

    /// A difference that no tolerance is set for: printed, and not counted against the project.
    pub(crate) fn noted(what: &str, ours: &str, expected: &str) -> Self {
        Self { noted: true, ..Self::new(what, ours, expected, true) }
    }

    /// A comparison that failed before there was a figure.
    pub(crate) fn fails(what: &str, ours: &str, expected: &str) -> Self {
        Self::new(what, ours, expected, false)
    }

    /// Two numbers within `relative` of the expected one, or within `absolute` when that is more. No number of ours never agrees.
    pub(crate) fn number(what: &str, ours: Option<f64>, expected: f64, relative: f64, absolute: f64) -> Self {
        let agrees = ours.is_some_and(|ours| (ours - expected).abs() <= (relative * expected.abs()).max(absolute));
        let ours = ours.map_or_else(|| "none".into(), |ours| format!("{ours:e}"));
        Self { what: what.into(), ours, expected: format!("{expected:e}"), agrees, noted: false }
    }
}

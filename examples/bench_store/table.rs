//! The table of what was measured, with goals beside.

/// A line: what, how much, and the goals where there are any.
struct Line {
    what: String,
    measured: f64,
    unit: &'static str,
    goals: Option<(f64, f64)>,
}

/// Everything measured so far.
pub(crate) struct Table {
    judged: bool,
    lines: Vec<Line>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(judged: bool) -> Self {
        Self { judged, lines: Vec::new(), notes: Vec::new() }
    }

    /// Adds a number without a goal.
    pub(crate) fn tell(&mut self, what: impl Into<String>, measured: f64, unit: &'static str) {
        self.lines.push(Line { what: what.into(), measured, unit, goals: None });
    }

    /// Adds a number that must not exceed `must`, and should not exceed `aim`.
    pub(crate) fn judge(&mut self, what: impl Into<String>, measured: f64, unit: &'static str, must: f64, aim: f64) {
        self.lines.push(Line { what: what.into(), measured, unit, goals: Some((must, aim)) });
    }

    /// Adds what has to be known to read the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// False when a goal that must hold does not.
    pub(crate) fn holds(&self) -> bool {
        !self.judged || self.lines.iter().all(|line| line.goals.is_none_or(|(must, _)| line.measured <= must))
    }

    pub(crate) fn print(&self) {
        println!("| what | measured | must | aim | |\n| --- | --- | --- | --- | --- |");
        for Line { what, measured, unit, goals } in &self.lines {
            let Some((must, aim)) = goals else {
                println!("| {what} | {} {unit} | | | |", shown(*measured));
                continue;
            };
            let word = match (self.judged, measured <= must, measured <= aim) {
                (false, ..) => "",
                (_, false, _) => "MISSED",
                (_, true, false) => "holds",
                (_, true, true) => "aim reached",
            };
            println!("| {what} | {} {unit} | <= {must} | <= {aim} | {word} |", shown(*measured));
        }
        println!();
        for note in &self.notes {
            println!("- {note}");
        }
    }
}

fn shown(number: f64) -> String {
    if number < 10.0 { format!("{number:.3}") } else { format!("{number:.1}") }
}

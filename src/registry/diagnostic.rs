//! Mistakes in a configuration, gathered: each with its place, a stable code, what is wrong and what to do.
//! Rendering with the source line is config/diagnostics.rs.

use super::node::Span;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, such as `unknown-key`; listed in docs/configuration.md.
    pub code: &'static str,
    /// What is wrong: "unknown key `thersholds` in profile `soak`".
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do, printed under the offending text: "did you mean `thresholds`?".
    pub hint: String,
    /// A second place that belongs to the mistake ("first defined here").
    pub other: Option<(Span, String)>,
}

/// All mistakes found so far.
#[derive(Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a mistake.
    pub fn push(&mut self, code: &'static str, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Diagnostic { code, message: message.into(), span, hint: hint.into(), other: None });
    }

    /// Adds a mistake that concerns two places.
    pub fn push_pair(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<String>,
        other: (Span, String),
    ) {
        self.0.push(Diagnostic { code, message: message.into(), span, hint: hint.into(), other: Some(other) });
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The candidate that a person most likely meant: the least Damerau-Levenshtein distance, at most a third of the word's length (and at least 1).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?" when something is near, else the list of what is known.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let list: Vec<String> = known.into_iter().map(|name| format!("`{name}`")).collect();
            if list.is_empty() { "there is none to choose from".into() } else { format!("known: {}", list.join(", ")) }
        }
    }
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let known = ["thresholds", "scenarios", "target", "stages"];
        assert_eq!(nearest("thersholds", known), Some("thresholds"));
        assert_eq!(nearest("Target", known), Some("target"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(suggest("tagret", known), "did you mean `target`?");
        assert_eq!(suggest("x", ["aaa", "bbb"]), "known: `aaa`, `bbb`");
    }
}

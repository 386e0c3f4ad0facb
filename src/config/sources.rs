//! The files of a configuration: one file or a folder, read, parsed and merged by top-level key into one tree, with the texts
//! kept for messages. The same name twice is an error that shows both places. Knows no meaning of keys, except which mappings merge.

use std::path::{Path, PathBuf};

use super::yaml;
use crate::registry::{Diagnostics, Entry, Node, Span, Value};

/// A file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As shown in messages: the path as it was given.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Line `number` (from 1), without its end.
    pub(crate) fn line(&self, number: usize) -> Option<&str> {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        number.checked_sub(1).and_then(|index| text.lines().nth(index))
    }

    /// The rest of the text from the start of `span`.
    fn from(&self, span: Span) -> Option<&str> {
        let text = self.text.strip_prefix('\u{feff}').unwrap_or(&self.text);
        let line_start = match span.line.checked_sub(1)? {
            0 => 0,
            lines => text.match_indices('\n').nth(lines - 1)?.0 + 1,
        };
        let column = span.column.checked_sub(1)?;
        let (offset, _) = text[line_start..].char_indices().chain([(text.len() - line_start, ' ')]).nth(column)?;
        text.get(line_start + offset..)
    }

    /// What stands at `span`, as written.
    pub(crate) fn written(&self, span: Span) -> Option<&str> {
        let rest = self.from(span)?;
        let end = rest.char_indices().nth(span.len).map_or(rest.len(), |(end, _)| end);
        rest.get(..end)
    }

    /// The place of the `nth` (from 0) occurrence of `part` within what stands at `span`; `span` itself when it is not found there.
    pub(crate) fn find(&self, span: Span, part: &str, nth: usize) -> Span {
        let Some(written) = self.written(span) else { return span };
        let Some((offset, _)) = written.match_indices(part).nth(nth) else { return span };
        let before = &written[..offset];
        let len = part.chars().count().max(1);
        match before.rsplit_once('\n') {
            None => Span { column: span.column + before.chars().count(), len, ..span },
            Some((lines, last)) => {
                Span { line: span.line + lines.matches('\n').count() + 1, column: last.chars().count() + 1, len, ..span }
            }
        }
    }

    /// The place of the characters `at..at + len` of the scalar `text` that stands at `span`; `span` itself when the scalar was
    /// written with escapes or over several lines, so that the place cannot be told.
    pub(crate) fn within(&self, span: Span, text: &str, at: usize, len: usize) -> Span {
        let place = self.find(span, text, 0);
        let found = self.written(span).is_some_and(|written| written.contains(text)) && !text.contains('\n');
        if found { Span { column: place.column + at, len: len.max(1), ..place } } else { span }
    }
}

/// All files, and the tree that they make together.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// In the order in which they were read; spans index them.
    pub(crate) files: Vec<Source>,
    /// Folder that relative paths start from.
    pub(crate) folder: PathBuf,
}

impl Sources {
    /// The file of a place.
    pub(crate) fn file(&self, span: Span) -> Option<&Source> {
        self.files.get(span.file)
    }

    /// See [`Source::find`].
    pub(crate) fn find(&self, span: Span, part: &str, nth: usize) -> Span {
        self.file(span).map_or(span, |source| source.find(span, part, nth))
    }

    /// See [`Source::within`].
    pub(crate) fn within(&self, span: Span, text: &str, at: usize, len: usize) -> Span {
        self.file(span).map_or(span, |source| source.within(span, text, at, len))
    }

    /// Adds a text under a name and parses it.
    pub(crate) fn add(&mut self, name: String, text: String, diagnostics: &mut Diagnostics) -> Option<Node> {
        let node = yaml::parse(self.files.len(), &text, diagnostics);
        self.files.push(Source { name, text });
        node
    }

    /// Reads and parses one file. What cannot be read is a mistake at `asked` (the place that named the file) or without a place.
    pub(crate) fn read(&mut self, path: &Path, asked: Option<Span>, diagnostics: &mut Diagnostics) -> Option<Node> {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add(path.display().to_string(), text, diagnostics),
            Err(error) => {
                let span = asked.unwrap_or_else(|| {
                    self.files.push(Source { name: path.display().to_string(), text: String::new() });
                    Span { file: self.files.len() - 1, ..Span::default() }
                });
                diagnostics.push(
                    "unreadable-file",
                    span,
                    format!("{} cannot be read: {}", path.display(), reason(&error)),
                    "check the path and its permissions",
                );
                None
            }
        }
    }

    /// Reads a file, or all `*.yaml` and `*.yml` files of a folder in the order of their names, and merges them.
    pub(crate) fn load(path: &Path, diagnostics: &mut Diagnostics) -> (Self, Option<Node>) {
        if !path.is_dir() {
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let mut sources = Self { folder: folder.to_path_buf(), ..Self::default() };
            let node = sources.read(path, None, diagnostics);
            return (sources, node);
        }
        let mut sources = Self { folder: path.to_path_buf(), ..Self::default() };
        let files = match yaml_files(path) {
            Ok(files) if !files.is_empty() => files,
            outcome => {
                let why = outcome.err().map_or_else(|| "it holds no *.yaml or *.yml file".to_owned(), |error| reason(&error));
                sources.files.push(Source { name: path.display().to_string(), text: String::new() });
                let message = format!("the folder {} cannot be used: {why}", path.display());
                diagnostics.push("unreadable-file", Span::default(), message, "give a file, or a folder with at least one");
                return (sources, None);
            }
        };
        let trees: Vec<(PathBuf, Option<Node>)> =
            files.into_iter().map(|file| (file.clone(), sources.read(&file, None, diagnostics))).collect();
        let complete = trees.iter().all(|(_, tree)| tree.is_some());
        let tokens: Vec<PathBuf> = trees
            .iter()
            .filter_map(|(_, tree)| tree.as_ref()?.get("server")?.get("tokens_file")?.scalar())
            .map(|name| path.join(name))
            .collect();
        let mut merged = Node { span: Span { line: 1, column: 1, len: 1, file: 0 }, value: Value::Map(Vec::new()) };
        for (file, tree) in trees {
            // The tokens may lie beside the configuration; they are no part of it.
            if let Some(tree) = tree
                && !tokens.contains(&file)
            {
                merge(&mut merged, tree, "", diagnostics);
            }
        }
        // Half a configuration would only yield mistakes about what stands in the other half.
        (sources, complete.then_some(merged))
    }
}

/// An error of the operating system, without its number.
fn reason(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let known = [
        (ErrorKind::NotFound, "there is no such file"),
        (ErrorKind::PermissionDenied, "permission denied"),
        (ErrorKind::IsADirectory, "it is a folder"),
        (ErrorKind::InvalidData, "it is not UTF-8 text"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    found.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

/// Reads a secret: the same words as for files of the configuration.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| reason(&error))
}

/// Reads a file that a configuration names: the same words again.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| reason(&error))
}

fn yaml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if yaml && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Adds the entries of `other` to `whole`. Mappings of the first level are merged name by name, those of `alerts` one level deeper.
fn merge(whole: &mut Node, other: Node, path: &str, diagnostics: &mut Diagnostics) {
    let span = other.span;
    let Value::Map(added) = other.value else {
        if other.value != Value::Null {
            diagnostics.push("wrong-type", span, "a configuration file is a mapping", "write `targets:`, `profiles:` …");
        }
        return;
    };
    let Value::Map(entries) = &mut whole.value else { return };
    for entry in added {
        let Some(first) = entries.iter_mut().find(|known| known.key == entry.key) else {
            entries.push(entry);
            continue;
        };
        let mergeable = path.is_empty() || path == "alerts";
        if mergeable && matches!((&first.node.value, &entry.node.value), (Value::Map(_), Value::Map(_) | Value::Null)) {
            let below = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            merge(&mut first.node, entry.node, &below, diagnostics);
        } else if first.node.value == Value::Null {
            *first = entry;
        } else {
            twice(first, &entry, path, diagnostics);
        }
    }
}

fn twice(first: &Entry, second: &Entry, path: &str, diagnostics: &mut Diagnostics) {
    let what = match path {
        "" => format!("the key `{}` is given in two files", second.key),
        "targets" | "profiles" | "schedules" => format!("the {} `{}` is defined twice", path.trim_end_matches('s'), second.key),
        _ => format!("`{}` in `{path}` is given twice", second.key),
    };
    diagnostics.push_pair("duplicate-name", second.span, what, "rename or remove one of them", (first.span, "first given here".into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Sources, Option<Node>, Diagnostics) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut diagnostics = Diagnostics::default();
        let (sources, node) = Sources::load(dir.path(), &mut diagnostics);
        (dir, sources, node, diagnostics)
    }

    #[test]
    fn files_of_a_folder_are_merged_by_top_level_key_and_name() {
        let (_dir, sources, node, diagnostics) = folder(&[
            ("b.yml", "profiles:\n  y: { target: t }\nalerts:\n  rules: { two: {} }\n"),
            ("a.yaml", "profiles:\n  x: { target: t }\nalerts:\n  rules: { one: {} }\nserver: { tokens_file: tokens.yaml }\n"),
            ("tokens.yaml", "ci: abc\n"),
            (".hidden.yaml", "nonsense: 1\n"),
            ("notes.txt", "- x"),
        ]);
        assert!(diagnostics.is_empty(), "{:?}", diagnostics.0);
        let node = node.unwrap();
        let names = |node: &Node| node.entries().iter().map(|entry| entry.key.clone()).collect::<Vec<_>>();
        assert_eq!(names(&node), ["profiles", "alerts", "server"]);
        assert_eq!(names(node.get("profiles").unwrap()), ["x", "y"]);
        assert_eq!(names(node.get("alerts").unwrap().get("rules").unwrap()), ["one", "two"]);
        assert!(sources.files[node.get("profiles").unwrap().entries()[1].span.file].name.ends_with("b.yml"));
    }

    #[test]
    fn the_same_name_twice_shows_both_places() {
        let (_dir, _, _, diagnostics) = folder(&[("a.yaml", "profiles:\n  x: 1\n"), ("b.yaml", "\nprofiles:\n  x: 2\n")]);
        let mistake = &diagnostics.0[0];
        assert_eq!((mistake.code, mistake.span.file, mistake.span.line), ("duplicate-name", 1, 3));
        assert_eq!(mistake.other.as_ref().map(|(span, _)| (span.file, span.line)), Some((0, 2)));
    }

    #[test]
    fn a_folder_without_files_and_a_missing_file_are_mistakes() {
        assert_eq!(folder(&[]).3.0[0].code, "unreadable-file");
        let mut diagnostics = Diagnostics::default();
        let (_, node) = Sources::load(Path::new("no/such.yaml"), &mut diagnostics);
        assert!(node.is_none());
        assert_eq!(diagnostics.0[0].message, "no/such.yaml cannot be read: there is no such file");
    }

    #[test]
    fn finds_a_part_of_a_scalar_in_the_file() {
        let source = Source { name: String::new(), text: "é: \"p(95) < 200\"\nk: |\n  one ${A}\n  two ${A}\n".into() };
        let span = Span { file: 0, line: 1, column: 4, len: 13 };
        assert_eq!(source.written(span), Some("\"p(95) < 200\""));
        assert_eq!(source.within(span, "p(95) < 200", 8, 3), Span { column: 13, len: 3, ..span });
        assert_eq!(source.within(span, "something else", 8, 3), span);
        let block = Span { file: 0, line: 2, column: 4, len: 30 };
        assert_eq!(source.find(block, "${A}", 1), Span { file: 0, line: 4, column: 7, len: 4 });
    }
}

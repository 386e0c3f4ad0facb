//! The configuration: files of YAML in, `engine::setup::Setup` out, or a report of every mistake at once. The only part that
//! reads the environment. text -> `yaml` -> `sources` (merge) -> `environment` -> `raw` (mirror) -> `resolve` -> setup.
//! Schema and reference are made from the same declarations; see docs/configuration.md.

mod diagnostics;
mod environment;
mod raw;
mod reference;
mod resolve;
mod rule_tests;
mod schema;
mod sources;
#[cfg(test)]
mod tests;
mod yaml;

use std::path::{Path, PathBuf};

use crate::engine::fail_point::FailPoint;
use crate::engine::setup::Setup;
use crate::model::units::Timestamp;
use crate::notify::ChannelSettings;
use crate::probe::ProbeSettings;
use crate::registry::{Diagnostics, Kind, Node, Surroundings};

pub use diagnostics::{CODES, Report};
pub use reference::reference;
pub use rule_tests::{RuleTests, rule_tests};
pub use schema::schema;

use environment::Lookup;
use sources::Sources;

/// The tables of kinds that `type:` chooses from.
#[derive(Clone, Copy)]
pub struct Kinds {
    /// Kinds of probes.
    pub probes: &'static [Kind<dyn ProbeSettings>],
    /// Kinds of channels.
    pub channels: &'static [Kind<dyn ChannelSettings>],
}

/// Loads a file, or all `*.yaml` and `*.yml` files of a folder. `Err` holds every mistake, with its place.
pub fn load(path: &Path, kinds: &Kinds) -> Result<Setup, Report> {
    load_with(path, kinds, &environment_variable)
}

/// Like [`load`], for somebody who asks whether a configuration is right at `now`: what is over by then is a mistake, too.
pub fn check(path: &Path, kinds: &Kinds, now: Timestamp) -> Result<Setup, Report> {
    let mut diagnostics = Diagnostics::default();
    let (sources, root) = Sources::load(path, &mut diagnostics);
    finish(sources, root, diagnostics, kinds, &environment_variable, Some(now))
}

/// Like [`load`], with the environment variables that `lookup` knows.
pub fn load_with(path: &Path, kinds: &Kinds, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Setup, Report> {
    let mut diagnostics = Diagnostics::default();
    let (sources, root) = Sources::load(path, &mut diagnostics);
    finish(sources, root, diagnostics, kinds, lookup, None)
}

/// Loads a text that is not in a file, such as the configuration of the demo. `name` stands in messages; relative paths start in `folder`.
pub fn load_text(name: &str, text: &str, folder: &Path, kinds: &Kinds) -> Result<Setup, Report> {
    let mut diagnostics = Diagnostics::default();
    let mut sources = Sources { folder: folder.to_path_buf(), ..Sources::default() };
    let root = sources.add(name.to_owned(), text.to_owned(), &mut diagnostics);
    finish(sources, root, diagnostics, kinds, &environment_variable, None)
}

fn finish(
    mut sources: Sources,
    root: Option<Node>,
    mut diagnostics: Diagnostics,
    kinds: &Kinds,
    lookup: Lookup<'_>,
    now: Option<Timestamp>,
) -> Result<Setup, Report> {
    let Some(mut root) = root else { return Err(Report::new(diagnostics.0, sources.files)) };
    let substituted = environment::substitute(&mut root, lookup, &sources, &mut diagnostics);
    let files = Files { folder: sources.folder.clone() };
    let (setup, mistakes) = resolve::resolve(&root, &mut sources, kinds, &files, now);
    diagnostics.0.extend(mistakes.0.into_iter().filter(|mistake| !substituted.explains(mistake)));
    if diagnostics.is_empty() {
        return Ok(setup);
    }
    for mistake in &mut diagnostics.0 {
        mistake.message = substituted.hide(&mistake.message);
        mistake.hint = substituted.hide(&mistake.hint);
    }
    Err(Report::new(diagnostics.0, sources.files))
}

/// Where a test lets the process die; nowhere, in a release build whatever the environment says.
pub fn fail_point() -> FailPoint {
    #[cfg(debug_assertions)]
    return environment_variable("PLIMSOLL_FAIL_POINT").map(|text| FailPoint::parse(&text)).unwrap_or_default();
    #[cfg(not(debug_assertions))]
    FailPoint::default()
}

/// Whether the environment has a variable of this name, whatever it holds.
pub fn is_in_environment(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Secret files and paths, relative to the folder of the configuration.
struct Files {
    folder: PathBuf,
}

impl Surroundings for Files {
    fn read_secret_file(&self, path: &str) -> Result<String, String> {
        sources::read_text(&self.folder.join(path))
    }
    fn resolve_path(&self, path: &str) -> String {
        let joined = self.folder.join(path);
        std::path::absolute(&joined).unwrap_or(joined).display().to_string()
    }
}

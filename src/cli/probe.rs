//! `plimsoll probe detect URL`: what can be read there, as settings to paste. `plimsoll probe test TARGET`: a reading of every probe of
//! a target, with every figure, and how long it took. Nothing is stored, no load is sent.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::terminal::{say, say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::app;
use crate::clock::SystemClock;
use crate::model::series::Point;
use crate::model::units::format_duration;
use crate::probe::detect::{self, Detected, Found};
use crate::probe::fetch::PageUrl;
use crate::probe::{KINDS, Probe, ProbeError, ProbeParts, ProbeSpec, describe_points};
use crate::registry::{Context, Entry, Node, Span, Surroundings, Value, decode_kind, suggest};

/// Longest time for one reading, as in the daemon.
const LONGEST_READING: Duration = Duration::from_secs(10);
/// Time between the two readings: rates need two.
const BETWEEN: Duration = Duration::from_secs(1);

/// Arguments of `probe`.
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArguments {
    #[command(subcommand)]
    command: ProbeCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ProbeCommand {
    /// Say what can be read at an address, as settings to paste
    Detect(DetectArguments),
    /// Read every probe of a target twice, and show all figures and how long it took
    Test(TestArguments),
}

#[derive(Debug, clap::Args)]
struct DetectArguments {
    /// A metrics page (`http://host:port`, its path `/metrics` if none is given), or the URL of a PostgreSQL, PgBouncer, MySQL or Redis server
    url: String,
}

#[derive(Debug, clap::Args)]
struct TestArguments {
    /// Name of the target
    target: String,
    /// Only this probe of it
    #[arg(long, value_name = "NAME")]
    probe: Option<String>,
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) async fn probe(arguments: ProbeArguments) -> Outcome {
    match arguments.command {
        ProbeCommand::Detect(arguments) => detect(&arguments).await,
        ProbeCommand::Test(arguments) => test(&arguments).await,
    }
}

fn parts() -> Result<ProbeParts, Failure> {
    Ok(ProbeParts { http: app::http_client()?, clock: Arc::new(SystemClock) })
}

fn failed(message: &str) -> Failure {
    warn_line!("error: {message}");
    Failure::Exit(Exit::Failed)
}

async fn detect(arguments: &DetectArguments) -> Outcome {
    // The address may hold a password: it is never repeated.
    let url = url::Url::parse(&arguments.url).ok().filter(url::Url::has_host);
    let url = url.ok_or_else(|| {
        failed("this is not an address; write it whole: `http://host:port/metrics`, `postgres://user:password@host/database`")
    })?;
    let Some(kind) = detect::kind_of(&url) else {
        return Err(failed(&format!("nothing is known that speaks `{}://`", url.scheme())));
    };
    if kind != "prometheus" {
        return server(kind, &arguments.url).await;
    }
    let page = detect::fetch_page(&parts()?, &url).await.map_err(|error| failed(&error.to_string()))?;
    let detected = detect::detect(&page).map_err(|error| failed(&error.to_string()))?;
    say!("{}", page_settings(&PageUrl::new(detect::page_of(&url)), &detected));
    Ok(if detected.presets.is_empty() && detected.process.is_empty() { Exit::Failed } else { Exit::Passed })
}

/// Figures as comments below what they belong to.
fn commented(text: &mut String, indent: &str, points: &[Point]) {
    for line in describe_points(points).lines() {
        let _ = writeln!(text, "{indent}# {line}");
    }
}

/// Settings for what is on a page.
fn page_settings(url: &PageUrl, detected: &Detected) -> String {
    let mut text = String::new();
    if detected.presets.is_empty() {
        text.push_str("# No known pool is on this page. Pools of your own are read by selectors: docs/probes.md.\n");
        if !detected.hints.is_empty() {
            let _ = writeln!(text, "# These names may belong to one: {}", detected.hints.join(", "));
        }
    }
    let _ = writeln!(text, "metrics:\n  type: prometheus\n  url: \"{url}\"");
    if !detected.presets.is_empty() {
        text.push_str("  pools:\n");
    }
    for Found { preset, points } in &detected.presets {
        let found = Found { preset, points: points.clone() };
        let _ = writeln!(text, "    # {} ({})", preset.of, preset.checked.as_str());
        for doubt in found.doubts() {
            let _ = writeln!(text, "    # note: {doubt}");
        }
        let limit = if found.needs_limit() { ", limit: 0000" } else { "" };
        let _ = writeln!(text, "    - {{ preset: {}{limit} }}", preset.name);
        commented(&mut text, "    ", points);
    }
    if !detected.process.is_empty() {
        text.push_str("  # the process behind the page:\n");
        commented(&mut text, "  ", &detected.process);
    }
    text
}

/// Files are not read here: everything stands in the address.
struct NoFiles;

impl Surroundings for NoFiles {
    fn read_secret_file(&self, _path: &str) -> Result<String, String> {
        Err("no file is read here".into())
    }
    fn resolve_path(&self, path: &str) -> String {
        path.to_owned()
    }
}

/// Reads a server, and says how it is configured.
async fn server(kind: &str, url: &str) -> Outcome {
    let text = |value: &str| Node { span: Span::default(), value: Value::Text(value.to_owned()) };
    let entry = |key: &str, value: &str| Entry { key: key.to_owned(), span: Span::default(), node: text(value) };
    let node = Node { span: Span::default(), value: Value::Map(vec![entry("type", kind), entry("url", url)]) };
    let mut cx = Context::new(&NoFiles);
    let Some((_, settings)) = decode_kind(&node, "probe", KINDS, &mut cx) else {
        let mistakes: Vec<String> = cx.diagnostics.0.iter().map(|mistake| format!("{}; {}", mistake.message, mistake.hint)).collect();
        return Err(failed(&mistakes.join("; ")));
    };
    let mut probe = settings.open(&parts()?);
    let readings = twice(&mut *probe).await;
    let points = readings.last.map_err(|error| failed(&error.to_string()))?;
    let mut text = format!("# {}: put the address, with its password, into the file\n", settings.describe());
    let _ = writeln!(text, "database:\n  type: {kind}\n  url_file: secrets/database-url");
    commented(&mut text, "  ", &points);
    say!("{text}");
    Ok(Exit::Passed)
}

/// Two readings: how long each took, and what the last one that was made came to.
struct Readings {
    took: Vec<Duration>,
    last: Result<Vec<Point>, ProbeError>,
}

async fn timed(probe: &mut dyn Probe) -> (Duration, Result<Vec<Point>, ProbeError>) {
    let began = Instant::now();
    let read = timeout(LONGEST_READING, probe.read()).await.unwrap_or_else(|_| {
        Err(ProbeError { reason: "timeout", detail: format!("no reading within {}", format_duration(LONGEST_READING)) })
    });
    (began.elapsed(), read)
}

async fn twice(probe: &mut dyn Probe) -> Readings {
    let (first, read) = timed(probe).await;
    if read.is_err() {
        return Readings { took: vec![first], last: read };
    }
    sleep(BETWEEN).await;
    let (second, last) = timed(probe).await;
    Readings { took: vec![first, second], last }
}

async fn test(arguments: &TestArguments) -> Outcome {
    let setup = load(&arguments.config.config)?;
    let Some(target) = setup.targets.get(&arguments.target) else {
        let hint = suggest(&arguments.target, setup.targets.keys().map(String::as_str));
        return Err(failed(&format!("there is no target `{}` ({hint})", arguments.target)));
    };
    let wanted = |spec: &&ProbeSpec| arguments.probe.as_ref().is_none_or(|name| *name == spec.name);
    let specs: Vec<&ProbeSpec> = target.probes.iter().filter(wanted).collect();
    if specs.is_empty() {
        let hint = suggest(arguments.probe.as_deref().unwrap_or_default(), target.probes.iter().map(|spec| spec.name.as_str()));
        return Err(failed(&format!("the target `{}` has no such probe ({hint})", arguments.target)));
    }
    let parts = parts()?;
    let mut all_read = true;
    for spec in specs {
        let mut probe = spec.settings.open(&parts);
        let readings = twice(&mut *probe).await;
        let took: Vec<String> = readings.took.iter().map(|took| format_duration(Duration::from_micros(took.as_micros() as u64))).collect();
        say_line!("{}  {}  {}  took {}", spec.name, spec.kind, spec.settings.describe(), took.join(", then "));
        match readings.last {
            Ok(points) if points.is_empty() => say_line!("  nothing yet: every figure needs a former reading"),
            Ok(points) => describe_points(&points).lines().for_each(|line| say_line!("  {line}")),
            Err(error) => {
                all_read = false;
                say_line!("  no reading: {error}");
            }
        }
    }
    Ok(if all_read { Exit::Passed } else { Exit::Failed })
}

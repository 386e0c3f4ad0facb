//! The command line: one file per command. What is printed here is for people; exit codes are in `exit`.

mod alerts;
mod analyse;
mod arena;
mod audit;
mod captures;
mod check;
mod compare;
mod control;
mod db;
mod demo;
mod exit;
mod healthcheck;
mod history;
mod logging;
mod muting;
mod preview;
mod probe;
mod run;
mod runs;
mod serve;
mod signals;
mod suite;
mod terminal;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::config;
use crate::engine::setup::Setup;
pub use exit::Exit;
use terminal::{complain, warn_line};

/// Where the configuration is looked for.
const DEFAULT_CONFIG: &str = "config/plimsoll.yaml";

/// Plimsoll finds the load line of your services: it runs scheduled load, watches pools and resources on the same clock, and says when the line moves.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  plimsoll demo                            a target, a schedule, an alert: see it work
  plimsoll check config/plimsoll.yaml      every mistake, each with its place
  plimsoll run surge                       one run now; the exit code is its verdict
  plimsoll serve --config /etc/plimsoll    the daemon
  plimsoll control last scale 50%          half the load of a run that is going on
  plimsoll stop --all                      the kill switch
  plimsoll runs                            the last runs
  plimsoll show last                       the last run in full

Exit codes of `run`:
  0 passed; 98 invalid or no data; 99 thresholds failed; 104 configuration invalid;
  105 interrupted; 108 ended by a guard or abortOnFail without a failed threshold;
  1 anything else";

/// What stands below the help of each command.
mod examples {
    pub(super) const DEMO: &str = "Examples:
  plimsoll demo                      until Ctrl-C
  plimsoll demo --once               one run; ends with its exit code
  plimsoll demo --data demo-data     keeps the database and the mailbox";
    pub(super) const SERVE: &str = "Examples:
  plimsoll serve --config plimsoll.yaml
  plimsoll serve --config /etc/plimsoll    a folder of files is one configuration

SIGTERM ends it when running iterations have ended, a second one at once.
SIGHUP reads the configuration again; an invalid one changes nothing.";
    pub(super) const RUN: &str = "Examples:
  plimsoll run surge --config config/plimsoll.yaml
  plimsoll run surge --json > run.json

Exit codes:
  0 passed; 98 invalid or no data; 99 thresholds failed; 104 configuration invalid;
  105 interrupted; 108 ended by a guard or abortOnFail without a failed threshold;
  1 anything else";
    pub(super) const CONTROL: &str = "Examples:
  plimsoll control last pause
  plimsoll control last resume
  plimsoll control 7k3f scale 50% --scenario users
  plimsoll control 7k3f scale 200/s
  PLIMSOLL_TOKEN=$(cat token) plimsoll control last hold --server http://127.0.0.1:9611

A pause lets nothing start, a hold keeps the present level; in both the clock of the profile
stands still. A scale counts from the profile: 100% is the profile again.

Exit codes: 0 done, 1 refused or no answer";
    pub(super) const STOP: &str = "Examples:
  plimsoll stop last
  plimsoll stop --all
  plimsoll stop --all --hold               and nothing starts until `plimsoll resume`
  plimsoll stop --all --config FILE        by way of the database, if no daemon can be asked

Exit codes: 0 done, 1 refused or no answer, or a run has not ended";
    pub(super) const RESUME: &str = "Examples:
  plimsoll resume
  plimsoll resume --config FILE            by way of the database, if no daemon can be asked

Exit codes: 0 done, 1 refused or no answer";
    pub(super) const CHECK: &str = "Examples:
  plimsoll check config/plimsoll.yaml
  plimsoll check /etc/plimsoll             a folder of files is one configuration

Exit codes: 0 valid, 104 invalid";
    pub(super) const PROBE: &str = "Examples:
  plimsoll probe detect http://shop.internal:8080/metrics
  plimsoll probe detect postgres://plimsoll:…@db:5432/shop
  plimsoll probe test shop --config /etc/plimsoll
  plimsoll probe test shop --probe database

Exit codes: 0 everything was read, 1 not, 104 configuration invalid";
    pub(super) const RUNS: &str = "Examples:
  plimsoll runs --limit 5
  plimsoll runs --profile surge --verdict fail
  plimsoll runs pin 7k3f                   keeps a run whatever its age
  plimsoll runs pin 7k3f --baseline        because others are compared with it
  plimsoll runs unpin 7k3f
  plimsoll runs --json";
    pub(super) const SHOW: &str = "Examples:
  plimsoll show last
  plimsoll show 7k3f                       the end of an id is enough
  plimsoll show last --json";
    pub(super) const ANALYSE: &str = "Examples:
  plimsoll analyse last
  plimsoll analyse 7k3f --json

What is found replaces what older versions of the methods said of this run.";
    pub(super) const CAPTURES: &str = "Examples:
  plimsoll captures last
  plimsoll captures 7k3f --get 1           into a file of its name
  plimsoll captures 7k3f --get 1 --to cpu.pb.gz && go tool pprof cpu.pb.gz";
    pub(super) const COMPARE: &str = "Examples:
  plimsoll compare 7k3f last               the last run against an older one
  plimsoll compare last:cold last:warm     two phases of one run
  plimsoll compare last baseline           against the pinned run of its profile
  plimsoll compare last last-7             against the seven runs before it
  plimsoll compare 7k3f last --json

Each figure comes with its ratio and interval, and one word: worse, better, same, can't tell.";
    pub(super) const HISTORY: &str = "Examples:
  plimsoll history soak                    what its runs say, metric by metric, and which are left out";
    pub(super) const SUITE: &str = "Examples:
  plimsoll suite battery                   the latest runs against what is asked of each
  plimsoll suite battery --run             runs its profiles first, here and now
  plimsoll suite battery --json

Exit codes: 0 passed, 98 tests without data, 99 failed";
    pub(super) const DEPLOY: &str = "Examples:
  plimsoll deploy shop 1.5.0
  plimsoll deploy shop 3f2c1aa --at 2026-11-21T01:30:00Z

Exit codes: 0 done, 1 refused or no answer";
    pub(super) const BASELINE: &str = "Examples:
  plimsoll baseline set soak 7k3f
  plimsoll baseline clear soak
  plimsoll compare last baseline

Exit codes: 0 done, 1 refused or no answer";
    pub(super) const SILENCE: &str = "Examples:
  plimsoll silence add target=shop --for 2h --comment 'deploy of the database'
  plimsoll silence add alertname=pool-nearly-full 'pool=~main|side' --until 2026-11-21T06:00:00Z --comment known
  plimsoll silence list
  plimsoll silence expire 3f9a2c1d

State and history go on; what still fires when the silence ends is told then.

Exit codes: 0 done, 1 refused or no answer";
    pub(super) const ACK: &str = "Examples:
  plimsoll ack 20261121T020312-pool-nearly-full-3f9a --comment 'on it'
  plimsoll ack 3f9a                        the end of an id is enough

Exit codes: 0 done, 1 refused or no answer";
    pub(super) const ALERTS: &str = "Examples:
  plimsoll alerts test alerts.test.yaml
  plimsoll alerts test alerts.test.yaml --config /etc/plimsoll
  plimsoll alerts preview --channel ops --rule pool-nearly-full
  plimsoll alerts preview --channel ops --incident last --html folder

Exit codes: 0 passed, 1 failed, 104 configuration invalid";
    pub(super) const DIGEST: &str = "Examples:
  plimsoll digest                          every digest, since its last instant
  plimsoll digest morning --html folder

Nothing is sent.

Exit codes: 0 done, 1 not, 104 configuration invalid";
    pub(super) const NOTIFY: &str = "Examples:
  plimsoll notify test ops --config /etc/plimsoll

Exit codes: 0 delivered, 1 not, 104 configuration invalid";
    pub(super) const AUDIT: &str = "Examples:
  plimsoll audit --config /etc/plimsoll
  plimsoll audit --limit 1000 --json

Lists what people asked of the daemon, done or refused: runs, steering, stops, silences, acknowledgements, reloads.";
    pub(super) const DEMO_TARGET: &str = "Examples:
  plimsoll demo-target --port 8080 --pool 20
  curl http://127.0.0.1:8080/metrics
  curl -X POST http://127.0.0.1:8080/faults -d '{\"slow_ms\": 500}'";
    pub(super) const SCHEMA: &str = "Examples:
  plimsoll schema > plimsoll.schema.json   for editors that know JSON Schema";
    pub(super) const MIGRATE: &str = "Examples:
  plimsoll migrate --config /etc/plimsoll

The daemon does the same when it starts. An SQLite file is copied to FILE.backup-vN first; a
database that a newer program wrote is refused.

Exit codes: 0 up to date, 1 not, 104 configuration invalid";
    pub(super) const DB: &str = "Examples:
  plimsoll db check
  plimsoll db retain --dry-run             what is too old by now, and would go
  plimsoll db retain --compact             removes it, and writes a SQLite file anew, as small as can be
  plimsoll db backup --to /backups/plimsoll.db
  plimsoll db restore /backups/plimsoll.db
  plimsoll db export plimsoll.jsonl.gz
  plimsoll db import plimsoll.jsonl.gz --config postgres.yaml

check, retain, backup and export work while the daemon runs; restore and import refuse then.

Exit codes: 0 done, 1 not, 104 configuration invalid";
    pub(super) const HEALTHCHECK: &str = "Examples:
  plimsoll healthcheck
  plimsoll healthcheck --url http://127.0.0.1:9700

Exit codes: 0 ready, 1 not ready or no answer";
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show Plimsoll at work: starts a built-in target and runs load against it every minute
    #[command(after_help = examples::DEMO)]
    Demo(demo::DemoArguments),
    /// Start the daemon: schedules, probes, alerts, API and pages
    #[command(after_help = examples::SERVE)]
    Serve(ConfigArguments),
    /// Run one profile now and exit with its verdict
    #[command(after_help = examples::RUN)]
    Run(run::RunArguments),
    /// Check a configuration and report every mistake at once
    #[command(after_help = examples::CHECK)]
    Check(check::CheckArguments),
    /// Steer a run of the daemon: pause, hold, resume, scale, stop
    #[command(after_help = examples::CONTROL)]
    Control(control::ControlArguments),
    /// Stop a run of the daemon, or everything at once
    #[command(after_help = examples::STOP)]
    Stop(control::StopArguments),
    /// Let load start again after `stop --all --hold`
    #[command(after_help = examples::RESUME)]
    Resume(control::ResumeArguments),
    /// Try probes: what is on a page or server, and one reading of each probe of a target
    #[command(after_help = examples::PROBE)]
    Probe(probe::ProbeArguments),
    /// List runs
    #[command(after_help = examples::RUNS)]
    Runs(runs::RunsArguments),
    /// Show one run in full
    #[command(after_help = examples::SHOW)]
    Show(runs::ShowArguments),
    /// Analyse a stored run again: causes of failures, leaks, load line, recovery
    #[command(after_help = examples::ANALYSE)]
    Analyse(analyse::AnalyseArguments),
    /// List what was captured during a run: profiles, pages, snapshots of databases; and write one into a file
    #[command(after_help = examples::CAPTURES)]
    Captures(captures::CapturesArguments),
    /// Compare two runs, or two phases, figure by figure
    #[command(after_help = examples::COMPARE)]
    Compare(compare::CompareArguments),
    /// Show what the runs of a profile say together
    #[command(after_help = examples::HISTORY)]
    History(history::HistoryArguments),
    /// Judge the latest runs of several profiles as one suite
    #[command(after_help = examples::SUITE)]
    Suite(suite::SuiteArguments),
    /// Tell the daemon of a deploy, so that changes can be tied to it
    #[command(after_help = examples::DEPLOY)]
    Deploy(history::DeployArguments),
    /// Pin the run that a profile is compared with
    #[command(after_help = examples::BASELINE)]
    Baseline(history::BaselineArguments),
    /// Silence alerts of the daemon for a while
    #[command(after_help = examples::SILENCE)]
    Silence(muting::SilenceArguments),
    /// Take care of an incident: it is not repeated any more
    #[command(after_help = examples::ACK)]
    Ack(muting::AckArguments),
    /// Put alert rules to the test, and look at messages before they are sent
    #[command(after_help = examples::ALERTS)]
    Alerts(alerts::AlertsArguments),
    /// Print what a digest would say now
    #[command(after_help = examples::DIGEST)]
    Digest(preview::DigestArguments),
    /// Try a channel
    #[command(after_help = examples::NOTIFY)]
    Notify(muting::NotifyArguments),
    /// List who did what to the daemon
    #[command(after_help = examples::AUDIT)]
    Audit(audit::AuditArguments),
    /// Start the built-in system under test alone
    #[command(after_help = examples::DEMO_TARGET)]
    DemoTarget(demo::TargetArguments),
    /// Print the JSON Schema of the configuration
    #[command(after_help = examples::SCHEMA)]
    Schema,
    /// Bring the database to the version of this program
    #[command(after_help = examples::MIGRATE)]
    Migrate(ConfigArguments),
    /// Care for the database: check, retain, backup, restore, export, import
    #[command(after_help = examples::DB)]
    Db(db::DbArguments),
    /// Ask a running daemon whether it is ready; for containers
    #[command(after_help = examples::HEALTHCHECK)]
    Healthcheck(healthcheck::HealthArguments),
}

/// Which configuration.
#[derive(Debug, clap::Args)]
struct ConfigArguments {
    /// Configuration: a file, or a folder of files
    #[arg(short, long, value_name = "PATH", default_value = DEFAULT_CONFIG, env = "PLIMSOLL_CONFIG", hide_env_values = true)]
    config: PathBuf,
}

/// Why a command ended without doing what was asked, already explained to the user or about to be.
enum Failure {
    /// Explained already.
    Exit(Exit),
    /// To be explained.
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

type Outcome = Result<Exit, Failure>;

/// Runs the program with the process's arguments.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    if matches!(arguments.command, Command::Demo(_) | Command::Serve(_) | Command::Run(_)) {
        arena::settle();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            warn_line!("error: the runtime cannot be started: {error}");
            return ExitCode::from(Exit::Failed.code());
        }
    };
    let outcome = runtime.block_on(dispatch(arguments.command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    let exit = match outcome {
        Ok(exit) | Err(Failure::Exit(exit)) => exit,
        Err(Failure::Error(error)) => {
            warn_line!("error: {error:#}");
            Exit::Failed
        }
    };
    ExitCode::from(exit.code())
}

async fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Demo(arguments) => demo::demo(arguments).await,
        Command::Serve(arguments) => serve::serve(&arguments.config).await,
        Command::Run(arguments) => run::run(arguments).await,
        Command::Check(arguments) => check::check(&arguments),
        Command::Control(arguments) => control::control(arguments).await,
        Command::Stop(arguments) => control::stop(arguments).await,
        Command::Resume(arguments) => control::resume(arguments).await,
        Command::Probe(arguments) => probe::probe(arguments).await,
        Command::Runs(arguments) => runs::runs(arguments).await,
        Command::Show(arguments) => runs::show(arguments).await,
        Command::Analyse(arguments) => analyse::analyse(arguments).await,
        Command::Captures(arguments) => captures::captures(arguments).await,
        Command::Compare(arguments) => compare::compare(arguments).await,
        Command::History(arguments) => history::history(arguments).await,
        Command::Suite(arguments) => suite::suite(arguments).await,
        Command::Deploy(arguments) => history::deploy(arguments).await,
        Command::Baseline(arguments) => history::baseline(arguments).await,
        Command::Silence(arguments) => muting::silence(arguments).await,
        Command::Ack(arguments) => muting::ack(arguments).await,
        Command::Alerts(arguments) => alerts::alerts(arguments).await,
        Command::Digest(arguments) => preview::digest(arguments).await,
        Command::Notify(arguments) => muting::notify(arguments).await,
        Command::Audit(arguments) => audit::audit(arguments).await,
        Command::DemoTarget(arguments) => demo::target(arguments).await,
        Command::Schema => check::schema(),
        Command::Migrate(arguments) => db::migrate(arguments).await,
        Command::Db(arguments) => db::db(arguments).await,
        Command::Healthcheck(arguments) => healthcheck::healthcheck(arguments).await,
    }
}

/// Loads a configuration and looks at it more closely than a start would; every mistake is printed.
fn checked(path: &Path) -> Result<Setup, Failure> {
    config::check(path, &app::KINDS, SystemClock.now()).map_err(|report| {
        complain(format_args!("{report}"), "");
        Failure::Exit(Exit::ConfigurationInvalid)
    })
}

/// Loads a configuration; every mistake is printed.
fn load(path: &Path) -> Result<Setup, Failure> {
    config::load(path, &app::KINDS).map_err(|report| {
        complain(format_args!("{report}"), "");
        Failure::Exit(Exit::ConfigurationInvalid)
    })
}

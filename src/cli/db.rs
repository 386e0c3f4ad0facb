//! `plimsoll migrate` and `plimsoll db …`: the care of the database, apart from the daemon.

mod retain;

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::terminal::{say_line, warn_line};
use super::{ConfigArguments, Exit, Failure, Outcome, load};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::engine::owner::{is_gone, life_of};
use crate::engine::setup::Setup;
use crate::store::{Counts, care};

/// First bytes of a compressed file (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Arguments of `db`.
#[derive(Debug, clap::Args)]
pub(super) struct DbArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Remove what is older than `retention:` says; the daemon does so every hour
    Retain(retain::RetainArguments),
    /// Read the whole database and say whether it is whole; exit code 1 if not
    Check(ConfigArguments),
    /// Write a copy: an SQLite file, or an export where the database is PostgreSQL
    Backup {
        /// The new file; without it, one with the time in its name beside the database's other files
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Put a copy in the place of the database; the former one is kept where it is a file
    Restore {
        /// What `backup` or `export` has written
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Write everything as compressed lines of JSON, for another database
    Export {
        /// The new file; `-` writes to standard output
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArguments,
    },
    /// Read an export into an empty database
    Import {
        /// The export; `-` reads standard input
        file: PathBuf,
        /// Empty the database first: what is there is lost
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        config: ConfigArguments,
    },
}

pub(super) async fn migrate(arguments: ConfigArguments) -> Outcome {
    let setup = load(&arguments.config)?;
    app::install_crypto();
    let url = setup.storage.url.expose();
    let before = care::versions(url).await.map_err(anyhow::Error::from)?;
    app::open_store(&setup).await?.close().await;
    match before.found {
        found if found == before.known => say_line!("the database has version {found} already"),
        0 => say_line!("a new database of version {} was made", before.known),
        found => {
            say_line!("the database was brought from version {found} to {}", before.known);
            if let Some(path) = sqlite_file(&setup) {
                say_line!("a copy of the former one is {}.backup-v{found}", path.display());
            }
        }
    }
    Ok(Exit::Passed)
}

pub(super) async fn db(arguments: DbArguments) -> Outcome {
    app::install_crypto();
    match arguments.what {
        What::Retain(arguments) => retain::retain(arguments).await,
        What::Check(config) => check(&load(&config.config)?).await,
        What::Backup { to, config } => backup(&load(&config.config)?, to).await,
        What::Restore { file, config } => restore(&load(&config.config)?, &file).await,
        What::Export { file, config } => {
            let setup = existing(&load(&config.config)?).await?;
            let counts = export(&setup, &file).await?;
            report(&counts, &format!("written to {}", file.display()), file.as_os_str() == "-");
            Ok(Exit::Passed)
        }
        What::Import { file, replace, config } => {
            let setup = load(&config.config)?;
            import(&setup, &file, replace).await
        }
    }
}

/// The setup, when its database is there and has a version that this program may read.
async fn existing(setup: &Setup) -> Result<Setup, Failure> {
    let versions = care::versions(setup.storage.url.expose()).await.map_err(anyhow::Error::from)?;
    if versions.found == 0 {
        return Err(anyhow::anyhow!("there is no database yet; `plimsoll migrate` makes one").into());
    }
    Ok(setup.clone())
}

async fn check(setup: &Setup) -> Outcome {
    let setup = existing(setup).await?;
    let url = setup.storage.url.expose();
    let versions = care::versions(url).await.map_err(anyhow::Error::from)?;
    let checked = care::check(url).await.map_err(anyhow::Error::from)?;
    for damage in &checked.damage {
        warn_line!("error: {damage}");
    }
    if !checked.damage.is_empty() {
        warn_line!("the database is damaged: restore a backup, or save what can be read with `plimsoll db export`");
        return Err(Failure::Exit(Exit::Failed));
    }
    report(&checked.rows, &format!("the database is whole, version {}", versions.known), false);
    Ok(Exit::Passed)
}

async fn backup(setup: &Setup, to: Option<PathBuf>) -> Outcome {
    let setup = existing(setup).await?;
    let now = SystemClock.now().to_utc().format("%Y%m%d-%H%M%S");
    let file = sqlite_file(&setup);
    let suffix = if file.is_some() { "db" } else { "jsonl.gz" };
    let to = to.unwrap_or_else(|| setup.storage.data_dir.join(format!("plimsoll-backup-{now}.{suffix}")));
    match file {
        Some(file) => {
            refuse_existing(&to)?;
            care::copy_sqlite(&file, &to).await.map_err(anyhow::Error::from)?;
        }
        None => {
            export(&setup, &to).await?;
        }
    }
    say_line!("{}", to.display());
    Ok(Exit::Passed)
}

async fn restore(setup: &Setup, from: &Path) -> Outcome {
    nobody_works(setup).await?;
    if is_compressed(from)? {
        return import(setup, from, true).await;
    }
    let Some(file) = sqlite_file(setup) else {
        return Err(anyhow::anyhow!(
            "{} is not an export, and the database is PostgreSQL: restore what `plimsoll db backup` wrote",
            from.display()
        )
        .into());
    };
    let former = care::put_back_sqlite(&file, from).await.map_err(anyhow::Error::from)?;
    // An older copy is brought up to date at once, so that a mistake shows now.
    app::open_store(setup).await?.close().await;
    say_line!("{} is restored from {}", file.display(), from.display());
    if let Some(former) = former {
        say_line!("the former database is {}", former.display());
    }
    Ok(Exit::Passed)
}

async fn export(setup: &Setup, to: &Path) -> Result<Counts, Failure> {
    let failed = |error: std::io::Error| anyhow::anyhow!("{} cannot be written: {error}", to.display());
    let url = setup.storage.url.expose();
    if to.as_os_str() == "-" {
        let mut out = GzEncoder::new(BufWriter::new(std::io::stdout()), Compression::default());
        let counts = care::export(url, &mut out).await.map_err(anyhow::Error::from)?;
        out.finish().and_then(|mut out| out.flush()).map_err(failed)?;
        return Ok(counts);
    }
    refuse_existing(to)?;
    // A file that is not whole never has the name that was asked for.
    let partial = PathBuf::from(format!("{}.partial", to.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&partial).map_err(failed)?;
    let mut out = GzEncoder::new(BufWriter::new(file), Compression::default());
    let counts = match care::export(url, &mut out).await {
        Ok(counts) => counts,
        Err(error) => {
            let _ = std::fs::remove_file(&partial);
            return Err(anyhow::Error::from(error).into());
        }
    };
    let file = out.finish().and_then(|out| out.into_inner().map_err(std::io::IntoInnerError::into_error)).map_err(failed)?;
    file.sync_all().and_then(|()| std::fs::rename(&partial, to)).map_err(failed)?;
    Ok(counts)
}

async fn import(setup: &Setup, from: &Path, replace: bool) -> Outcome {
    nobody_works(setup).await?;
    let failed = |error: std::io::Error| anyhow::anyhow!("{} cannot be read: {error}", from.display());
    let input: Box<dyn Read + Send> =
        if from.as_os_str() == "-" { Box::new(std::io::stdin()) } else { Box::new(File::open(from).map_err(failed)?) };
    let mut input = BufReader::new(MultiGzDecoder::new(BufReader::new(input)));
    let counts = care::import(setup.storage.url.expose(), &mut input, replace).await.map_err(anyhow::Error::from)?;
    report(&counts, &format!("read from {}", from.display()), false);
    Ok(Exit::Passed)
}

/// Refuses while a process works on the database: it would not notice, and write on.
async fn nobody_works(setup: &Setup) -> Result<(), Failure> {
    let versions = care::versions(setup.storage.url.expose()).await;
    // A database that is not there, is damaged or is empty: nobody works on it.
    if !versions.is_ok_and(|versions| versions.found == versions.known) {
        return Ok(());
    }
    let Ok(store) = app::open_store(setup).await else { return Ok(()) };
    let owners = store.owners().await.map_err(anyhow::Error::from)?;
    store.close().await;
    match owners.iter().find(|seen| !is_gone(seen, life_of(&seen.owner))) {
        None => Ok(()),
        Some(seen) => {
            let (host, pid) = (&seen.owner.host, seen.owner.pid);
            Err(anyhow::anyhow!("process {pid} on {host} works on this database: stop it first").into())
        }
    }
}

fn sqlite_file(setup: &Setup) -> Option<PathBuf> {
    let rest = setup.storage.url.expose().strip_prefix("sqlite:")?;
    Some(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))
}

fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if path.exists() { Err(anyhow::anyhow!("{} exists already: name a new file", path.display()).into()) } else { Ok(()) }
}

fn is_compressed(path: &Path) -> Result<bool, Failure> {
    let mut start = Vec::new();
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    file.take(GZIP.len() as u64).read_to_end(&mut start).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(start == GZIP)
}

fn report(counts: &Counts, what: &str, on_error: bool) {
    let rows: u64 = counts.values().sum();
    let runs = counts.get("runs").copied().unwrap_or(0);
    let line = format!("{what}: {} tables, {rows} rows, {runs} runs", counts.len());
    if on_error { warn_line!("{line}") } else { say_line!("{line}") }
}

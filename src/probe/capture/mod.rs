//! Takes something of a target as it is at one moment: a pprof profile, a page, a snapshot of a PostgreSQL server, what a program says.
//! Bounded in time and in bytes; what went wrong is told, and never more than one connection is used.

mod command;
mod http;

use std::time::Duration;

use crate::choice;
use crate::model::capture::Moment;
use crate::registry::Secret;

choice! {
    /// A profile that Go's `net/http/pprof` gives, and what speaks like it.
    pub enum Profile {
        /// Where CPU time goes, over some seconds.
        Cpu = "cpu",
        /// What is allocated.
        Heap = "heap",
        /// What every goroutine does.
        Goroutine = "goroutine",
        /// Who holds locks that others wait for.
        Mutex = "mutex",
        /// Where goroutines wait.
        Block = "block",
    }
}

/// What is captured.
#[derive(Debug, Clone)]
pub enum Source {
    /// A profile; the address is that of the process: `http://shop:6060`.
    Pprof {
        /// Address.
        base: url::Url,
        /// Which.
        profile: Profile,
        /// How long a CPU profile listens.
        length: Duration,
    },
    /// A page.
    Url(url::Url),
    /// Sessions, locks and top statements of a PostgreSQL server.
    Postgres(Secret),
    /// What a program writes.
    Command(Vec<String>),
}

/// A capture, as it is configured.
#[derive(Debug, Clone)]
pub struct CaptureSpec {
    /// Name.
    pub name: String,
    /// When.
    pub moment: Moment,
    /// What.
    pub source: Source,
    /// Longest time it may take.
    pub timeout: Duration,
    /// Most bytes.
    pub limit: u64,
}

/// What was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Media type.
    pub content_type: String,
    /// End of a file's name: `pb.gz`.
    pub extension: &'static str,
    /// The content, as it came.
    pub data: Vec<u8>,
}

impl CaptureSpec {
    /// The kind, as the configuration names it.
    pub fn kind(&self) -> &'static str {
        match self.source {
            Source::Pprof { .. } => "pprof",
            Source::Url(_) => "url",
            Source::Postgres(_) => "postgres",
            Source::Command(_) => "command",
        }
    }

    /// What is asked, without secrets.
    pub fn describe(&self) -> String {
        match &self.source {
            Source::Pprof { base, profile, length } => match profile {
                Profile::Cpu => format!("cpu profile of {} over {}", shown(base), crate::model::units::format_duration(*length)),
                Profile::Heap | Profile::Goroutine | Profile::Mutex | Profile::Block => {
                    format!("{} profile of {}", profile.as_str(), shown(base))
                }
            },
            Source::Url(url) => shown(url),
            Source::Postgres(url) => super::postgres_snapshot::describe(url.expose()),
            Source::Command(words) => words.first().cloned().unwrap_or_default(),
        }
    }

    /// The process of which only one CPU profile can be taken at a time.
    pub fn exclusive(&self) -> Option<String> {
        match &self.source {
            Source::Pprof { base, profile: Profile::Cpu, .. } => {
                // The names of this machine for itself are one process.
                let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
                let own = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
                Some(format!("{}:{}", if own { "localhost" } else { host }, base.port_or_known_default().unwrap_or(0)))
            }
            Source::Pprof { .. } | Source::Url(_) | Source::Postgres(_) | Source::Command(_) => None,
        }
    }

    /// Takes it. `Err` says what went wrong, without secrets.
    pub async fn take(&self, client: &reqwest::Client) -> Result<Taken, String> {
        let taking = async {
            match &self.source {
                Source::Pprof { base, profile, length } => http::pprof(client, self, base, *profile, *length).await,
                Source::Url(url) => http::page(client, self, url).await,
                Source::Postgres(url) => super::postgres_snapshot::take(url.expose(), self.limit).await,
                Source::Command(words) => command::output(words, self.limit).await,
            }
        };
        let late = || format!("not done within {}", crate::model::units::format_duration(self.longest()));
        tokio::time::timeout(self.longest(), taking).await.unwrap_or_else(|_| Err(late()))
    }

    /// Its longest time, with that in which a profile listens.
    fn longest(&self) -> Duration {
        match &self.source {
            Source::Pprof { profile: Profile::Cpu, length, .. } => self.timeout + *length,
            Source::Pprof { .. } | Source::Url(_) | Source::Postgres(_) | Source::Command(_) => self.timeout,
        }
    }
}

/// An address without user, password and query.
fn shown(url: &url::Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path().trim_end_matches('/'))
}

fn too_large(limit: u64) -> String {
    format!("it is larger than {}", crate::model::units::format_bytes(limit as f64))
}

/// What captures need of the program, for unit tests.
#[cfg(test)]
pub(crate) fn test_parts() -> super::ProbeParts {
    let tls = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let http = reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap();
    super::ProbeParts { http, clock: std::sync::Arc::new(crate::clock::SystemClock) }
}

//! Probe `redis`: asks a Redis server by `INFO` (and `SLOWLOG LEN`, where it is allowed) over one connection: clients of their limit,
//! memory of its limit, commands, hits, evictions. A server that refuses us because it is full has answered: it is full.

mod resp;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::resp::{Connection, Reply};
use super::address::Address;
use super::one_connection::{Failed, Link, OneConnection, Opened};
use super::rates::{Rates, push};
use super::{Probe, ProbeError, ProbeParts, ProbeSettings};
use crate::model::series::Point;
use crate::registry::{Context, Decode, KeyDoc, Kind, Node, Secret};
use crate::settings;

/// The line of this kind in the table of probes.
pub(super) const KIND: Kind<dyn ProbeSettings> = Kind {
    name: "redis",
    summary: "Asks a Redis server: clients and memory of their limits, commands, hits, evictions.",
    decode: |node, cx| RedisSettings::decode(node, cx).map(|settings| Arc::new(settings) as Arc<dyn ProbeSettings>),
    keys: RedisSettings::keys,
};

settings! {
    /// Asks a Redis server.
    struct RedisKeys titled "the probe" {
        /// Address: `redis://user:password@host:6379`; user and password may be left out.
        url: secret Secret,
        /// Time for a whole reading.
        timeout: default Duration = Duration::from_secs(2),
    }
}

/// The settings, read.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    address: Address,
    timeout: Duration,
}

impl RedisSettings {
    /// The keys of the settings, for the schema and the reference.
    pub fn keys() -> Vec<KeyDoc> {
        RedisKeys::keys()
    }
}

impl Decode for RedisSettings {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let keys = RedisKeys::decode(node, cx)?;
        let address = Address::decode(node, keys.url, &["redis"], "redis://user:password@host:6379", cx)?;
        Some(Self { address, timeout: keys.timeout })
    }

    fn schema() -> Json {
        RedisKeys::schema()
    }
}

impl ProbeSettings for RedisSettings {
    fn open(&self, _parts: &ProbeParts) -> Box<dyn Probe> {
        let line = OneConnection::new(Server { address: self.address.clone() }, self.timeout);
        Box::new(RedisProbe { line, rates: Rates::default() })
    }

    fn describe(&self) -> String {
        self.address.to_string()
    }
}

/// An open probe.
struct RedisProbe {
    line: OneConnection<Server>,
    rates: Rates,
}

/// What the server answers.
enum Answer {
    /// The text of `INFO`, and the length of the log of slow commands.
    Info(String, Option<i64>),
    /// It takes no more clients.
    Full,
}

#[async_trait]
impl Probe for RedisProbe {
    async fn read(&mut self) -> Result<Vec<Point>, ProbeError> {
        match self.line.ask(()).await? {
            Answer::Info(info, slow) => points(&info, slow, &mut self.rates, Instant::now()),
            Answer::Full => Ok(vec![Point::new("pool_utilization", 1.0).with("pool", "redis")]),
        }
    }
}

/// How the server is talked to.
struct Server {
    address: Address,
}

impl Server {
    /// What a refusal means.
    fn refused(&self, said: &str) -> ProbeError {
        let word = said.split(' ').next().unwrap_or_default();
        let reason = match word {
            "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => "permission",
            "LOADING" | "MASTERDOWN" => "connect",
            _ if said.contains("AUTH") || said.contains("password") => "permission",
            _ => "parse",
        };
        let hint = if word == "NOPERM" { "; allow it with: ACL SETUSER plimsoll +info +slowlog|len" } else { "" };
        ProbeError { reason, detail: format!("{}: {said}{hint}", self.address) }
    }

    fn io(&self, error: &io::Error) -> ProbeError {
        let reason = if error.kind() == io::ErrorKind::InvalidData { "parse" } else { "connect" };
        ProbeError { reason, detail: format!("{}: {error}", self.address) }
    }

    fn is_full(said: &str) -> bool {
        said.contains("max number of clients")
    }
}

#[async_trait]
impl Link for Server {
    type Connection = Connection;
    type Question = ();
    type Answer = Answer;

    async fn connect(&self) -> Result<Opened<Connection, Answer>, ProbeError> {
        let url = self.address.url();
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, url.port().unwrap_or(6379))).await.map_err(|error| self.io(&error))?;
        let mut connection = Connection::new(stream);
        let (user, password) = self.address.user_and_password();
        if !password.expose().is_empty() {
            let words = ["AUTH", &user, password.expose()];
            // Servers before 6 know no users.
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            match connection.ask(&words).await.map_err(|error| self.io(&error))? {
                Reply::Refused(said) if Self::is_full(&said) => return Ok(Opened::Answer(Answer::Full)),
                Reply::Refused(said) => return Err(self.refused(&said)),
                Reply::Text(_) | Reply::Number(_) => {}
            }
        }
        // Who may not, may not; it only names us in the list of clients.
        match connection.ask(&["CLIENT", "SETNAME", "plimsoll"]).await.map_err(|error| self.io(&error))? {
            Reply::Refused(said) if Self::is_full(&said) => Ok(Opened::Answer(Answer::Full)),
            Reply::Refused(_) | Reply::Text(_) | Reply::Number(_) => Ok(Opened::Connection(connection)),
        }
    }

    async fn ask(&self, connection: &mut Connection, (): ()) -> Result<Answer, Failed> {
        let broken = |error: io::Error| Failed::broken(self.io(&error));
        let info = match connection.ask(&["INFO"]).await.map_err(broken)? {
            Reply::Text(info) => info,
            Reply::Refused(said) => return Err(Failed::kept(self.refused(&said))),
            Reply::Number(_) => return Err(Failed::broken(self.refused("INFO is answered with a number"))),
        };
        let slow = match connection.ask(&["SLOWLOG", "LEN"]).await.map_err(broken)? {
            Reply::Number(length) => Some(length),
            Reply::Text(_) | Reply::Refused(_) => None,
        };
        Ok(Answer::Info(info, slow))
    }
}

/// The figures of one reading.
fn points(info: &str, slow: Option<i64>, rates: &mut Rates, at: Instant) -> Result<Vec<Point>, ProbeError> {
    let fields: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim().split_once(':')).collect();
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
    let Some(clients) = number("connected_clients") else {
        return Err(ProbeError { reason: "parse", detail: "INFO has no `connected_clients`: is this Redis?".into() });
    };
    let limit = number("maxclients").filter(|limit| *limit > 0.0);
    let mut points = Vec::new();
    let mut pool = |metric: &str, value: Option<f64>| points.extend(value.map(|value| Point::new(metric, value).with("pool", "redis")));
    pool("pool_utilization", limit.map(|limit| clients / limit));
    pool("pool_in_use", Some(clients));
    pool("pool_limit", limit);
    pool("pool_timeouts", rates.rate("rejected", at, number("rejected_connections")));
    push(&mut points, "redis_blocked", number("blocked_clients"));
    let memory = number("used_memory");
    push(&mut points, "redis_memory", memory);
    // 0 means without limit.
    let most = number("maxmemory").filter(|most| *most > 0.0);
    push(&mut points, "redis_memory_ratio", memory.zip(most).map(|(memory, most)| memory / most));
    push(&mut points, "process_memory", number("used_memory_rss"));
    let cpu = number("used_cpu_sys").zip(number("used_cpu_user")).map(|(system, user)| system + user);
    push(&mut points, "process_cpu", rates.rate("cpu", at, cpu));
    push(&mut points, "redis_commands", rates.rate("commands", at, number("total_commands_processed")));
    push(&mut points, "redis_evictions", rates.rate("evictions", at, number("evicted_keys")));
    push(&mut points, "redis_hits", rates.share("hits", at, number("keyspace_hits"), number("keyspace_misses")));
    push(&mut points, "redis_slow_commands", slow.map(|length| length as f64));
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_set_are_absent() {
        let info = "# Clients\r\nconnected_clients:3\r\nused_memory:100\r\nmaxmemory:0\r\n";
        let read = points(info, None, &mut Rates::default(), Instant::now()).unwrap();
        let names: Vec<&str> = read.iter().map(|point| point.metric.as_str()).collect();
        assert_eq!(names, ["pool_in_use", "redis_memory"]);
        let info = "connected_clients:3\r\nmaxclients:10\r\nused_memory:100\r\nmaxmemory:200\r\n";
        let read = points(info, Some(2), &mut Rates::default(), Instant::now()).unwrap();
        assert!(read.contains(&Point::new("redis_memory_ratio", 0.5)) && read.contains(&Point::new("redis_slow_commands", 2.0)));
        assert_eq!(points("hello", None, &mut Rates::default(), Instant::now()).unwrap_err().reason, "parse");
    }
}

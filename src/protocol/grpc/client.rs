//! The gRPC side of one VU: makes calls, within their time, and says of each what became of it. HTTP/2 comes from `h2` itself: hyper
//! would put a channel and a task switch between a call and its stream, and hide resets and goodbyes that decide about the reason.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::answers::Answers;
use super::link::{GrpcPool, Link};
use super::ready::{Call, Ready, TIMEOUT, post, timeout_value};
use super::status::{self, Shown};
use super::talk::{Answer, Failed, Marks, talk};
use crate::model::failure::{Phase, Reason};
use crate::model::measure::Outcome;
use crate::model::request::{Connections, GrpcStream, HttpOptions};
use crate::protocol::dial::{Broken, Course, Dialer, Origin};
use crate::protocol::ending::{BREATH, TRIES};

/// The gRPC side of one VU.
pub struct GrpcClient {
    dialer: Dialer,
    connections: Connections,
    pool: GrpcPool,
}

/// What became of a call, with what checks need.
#[derive(Debug)]
pub struct GrpcExchange {
    /// When everything was over; what was made of the messages afterwards is not the server's time.
    pub ended: Instant,
    /// Figures. `failure` is why there is no status, or [`Reason::GrpcStatus`] when the status is not OK; checks that expect another
    /// status overrule the latter, by `status`.
    pub outcome: Outcome,
    /// The status, when the server told one.
    pub status: Option<u16>,
    /// What the server said about it.
    pub message: String,
    /// Initial metadata.
    pub headers: HeaderMap,
    /// Trailing metadata.
    pub trailers: HeaderMap,
    /// The answer as JSON, when it was asked for: a message, or where the server streams a list of messages.
    pub body: Vec<u8>,
    /// Messages that came.
    pub received: u64,
}

/// A call with everything filled in.
pub(super) struct Outgoing<'a> {
    pub(super) origin: &'a Origin,
    pub(super) uri: Uri,
    pub(super) headers: Cow<'a, HeaderMap>,
    pub(super) frames: Cow<'a, [Bytes]>,
    pub(super) timeout: Duration,
    pub(super) keep: bool,
    pub(super) max_message: u64,
    pub(super) stream: GrpcStream,
}

/// What came back, before anybody looks into the messages.
pub(super) struct Returned {
    pub(super) outcome: Outcome,
    pub(super) answer: Result<Answer, Broken>,
    pub(super) answers: Answers,
    pub(super) ended: Instant,
}

impl GrpcExchange {
    fn new(ended: Instant, outcome: Outcome, received: u64) -> Self {
        let (headers, trailers) = (HeaderMap::new(), HeaderMap::new());
        Self { ended, outcome, status: None, message: String::new(), headers, trailers, body: Vec::new(), received }
    }

    /// All metadata of the answer, initial before trailing, for checks and extractions by name. Leaves none behind.
    pub fn take_metadata(&mut self) -> HeaderMap {
        let mut all = std::mem::take(&mut self.headers);
        let mut last = None;
        for (name, value) in std::mem::take(&mut self.trailers) {
            last = name.or(last);
            if let Some(name) = &last {
                all.append(name, value);
            }
        }
        all
    }

    fn fail(&mut self, Broken(reason, message): Broken) {
        self.outcome.failure = Some(reason);
        self.outcome.message = Some(message);
    }
}

/// How far a call has come; read when its time is up.
struct Progress {
    course: Course,
    marks: Marks,
    /// The connection that it was given to, and how much had come from there before.
    link: Option<(Rc<Link>, u64)>,
}

impl GrpcClient {
    /// A client for one VU. `shared` is the pool of its load thread, used when the options say that connections are shared.
    pub fn new(dialer: Dialer, options: &HttpOptions, shared: &GrpcPool) -> Self {
        let pool = if options.connections == Connections::Shared { shared.clone() } else { GrpcPool::default() };
        Self { dialer: dialer.with_dns_ttl(options.dns_ttl), connections: options.connections, pool }
    }

    /// Makes a call. Runs on a `LocalSet`, where the connection's own task lives.
    pub async fn call(&mut self, ready: &Ready, call: Call<'_>) -> GrpcExchange {
        let outgoing = match prepare(ready, &call) {
            Ok(outgoing) => outgoing,
            Err((what, message)) => {
                let mut exchange = GrpcExchange::new(Instant::now(), Outcome::default(), 0);
                exchange.fail(Broken(Reason::Script(what.into()), ready.shown(&message, &call)));
                return exchange;
            }
        };
        let Returned { outcome, answer, answers, ended } = self.make(outgoing).await;
        let mut exchange = GrpcExchange::new(ended, outcome, answers.count);
        match answer.and_then(|answer| understood(ready, answer, &answers)) {
            Ok((answer, body)) => {
                if answer.status != status::OK {
                    let text = format!("status {}: {}", Shown(answer.status), answer.message);
                    let text = ready.shown(text.trim_end_matches(": "), &call);
                    exchange.fail(Broken(Reason::GrpcStatus(answer.status), text));
                }
                exchange.status = Some(answer.status);
                (exchange.message, exchange.headers) = (answer.message, answer.headers);
                (exchange.trailers, exchange.body) = (answer.trailers, body);
            }
            Err(Broken(reason, message)) => exchange.fail(Broken(reason, ready.shown(&message, &call))),
        }
        exchange
    }

    /// Makes a call and measures it.
    pub(super) async fn make(&mut self, outgoing: Outgoing<'_>) -> Returned {
        let mut answers = Answers::new(outgoing.keep, outgoing.max_message);
        let mut outcome = Outcome::default();
        let mut progress = Progress { course: Course(Phase::Connecting), marks: Marks::default(), link: None };
        let began = Instant::now();
        let deadline = began + outgoing.timeout;
        let attempt = self.attempt(&outgoing, deadline, &mut answers, &mut outcome, &mut progress);
        let answer = timeout_at(deadline, attempt).await;
        progress.marks.measure(&mut outcome.phases);
        if let Some((link, _)) = &progress.link {
            link.tell(&mut outcome);
        }
        let ended = Instant::now();
        let late = ended >= deadline;
        let answer = match answer {
            // The server was told of the deadline and may be the first to act on it: one cause, one reason.
            Ok(Err(_)) if late => Err(self.timed_out(&outgoing, &progress)),
            Ok(Ok(answer)) if late && answer.status == status::DEADLINE_EXCEEDED => Err(self.timed_out(&outgoing, &progress)),
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(&outgoing, &progress)),
        };
        if self.connections == Connections::PerRequest {
            self.pool = GrpcPool::default();
        }
        Returned { outcome, answer, answers, ended }
    }

    async fn attempt(
        &self,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
        answers: &mut Answers,
        outcome: &mut Outcome,
        progress: &mut Progress,
    ) -> Result<Answer, Broken> {
        let mut tries = 0;
        loop {
            let linked = self.pool.link(&self.dialer, outgoing.origin, &mut progress.course, outcome).await?;
            let link = linked.link;
            progress.course = Course(Phase::Sending);
            tries += 1;
            // A server may say goodbye at any time: that alone is no failure. A new connection has no such excuse.
            let may_try_again = linked.reused && tries < TRIES;
            let broken = match link.place(&mut outcome.phases.blocked).await {
                Ok(_place) => {
                    progress.link = Some((link.clone(), link.received()));
                    progress.marks = Marks::default();
                    let mut headers = HeaderMap::clone(&outgoing.headers);
                    if outcome.connected {
                        // Connecting has taken some of the time that the header says.
                        headers.insert(TIMEOUT, timeout_value(deadline.saturating_duration_since(Instant::now())));
                    }
                    let request = post(outgoing.uri.clone(), headers);
                    match talk(&link, request, (&outgoing.frames, outgoing.stream), answers, &progress.marks).await {
                        Ok(answer) => return Ok(answer),
                        Err(Failed::Broken(broken)) => return Err(broken),
                        Err(Failed::Unseen(broken)) => {
                            self.pool.forget(&link);
                            broken
                        }
                        // The server may still be busy with the end of an earlier call that it has answered.
                        Err(Failed::Refused(broken)) => {
                            if may_try_again {
                                tokio::time::sleep(BREATH).await;
                                outcome.phases.blocked += BREATH;
                            }
                            broken
                        }
                    }
                }
                Err(broken) => {
                    self.pool.forget(&link);
                    broken
                }
            };
            if !may_try_again {
                return Err(broken);
            }
            // What this attempt took and carried is the call's, too.
            std::mem::take(&mut progress.marks).measure(&mut outcome.phases);
            if let Some((link, _)) = progress.link.take() {
                link.tell(outcome);
            }
            outcome.resent += 1;
        }
    }

    /// The reason of a call whose time is up. A connection from which nothing at all came meanwhile may be dead: the next call opens
    /// another.
    fn timed_out(&self, outgoing: &Outgoing<'_>, progress: &Progress) -> Broken {
        if let Some((link, received)) = &progress.link
            && link.received() == *received
        {
            self.pool.forget(link);
        }
        let reason = match progress.marks.phase() {
            Some(phase) => Reason::Timeout(phase),
            None => progress.course.timed_out(),
        };
        Broken(reason, format!("no answer within {} ms", outgoing.timeout.as_millis()))
    }
}

/// Fills a call in; `Err` names what could not be, and why.
fn prepare<'a>(ready: &'a Ready, call: &Call<'_>) -> Result<Outgoing<'a>, (&'static str, String)> {
    Ok(Outgoing {
        origin: &ready.origin,
        uri: ready.uri.clone(),
        headers: ready.headers(call).map_err(|error| ("metadata", error))?,
        frames: ready.frames(call).map_err(|error| ("message", error))?,
        timeout: ready.timeout,
        keep: ready.keep_body,
        max_message: ready.max_message,
        stream: ready.stream,
    })
}

/// The answer, and its messages as JSON if they are wanted. An answer that says OK must have as many messages as the method returns.
fn understood(ready: &Ready, answer: Answer, answers: &Answers) -> Result<(Answer, Vec<u8>), Broken> {
    let method = ready.method();
    if answer.status == status::OK && !method.server_streams() && answers.count != 1 {
        let text = format!("the status is OK, but {} messages came, not one", answers.count);
        return Err(Broken(Reason::Protocol, text));
    }
    if !ready.keep_body {
        return Ok((answer, Vec::new()));
    }
    let json = answers.kept.iter().map(|message| method.to_json(message)).collect::<Result<Vec<Value>, _>>();
    let mut json = json.map_err(|error| Broken(Reason::Protocol, format!("the answer does not fit the schema: {error}")))?;
    let body = match (method.server_streams(), json.pop()) {
        (true, last) => Value::Array(json.into_iter().chain(last).collect()),
        (false, Some(only)) => only,
        (false, None) => return Ok((answer, Vec::new())),
    };
    Ok((answer, body.to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::request::TlsOptions;
    use crate::protocol::dns::Dns;
    use crate::protocol::grpc::ready::tests::{ready, request};
    use crate::protocol::guard::Guard;
    use crate::protocol::tls::Tls;

    #[test]
    fn a_call_needs_little_room_in_the_memory_of_each_vu() {
        let dialer = Dialer::new(Arc::new(Guard::new(&[], None)), Tls::new(&TlsOptions::default()).unwrap(), Dns::default());
        let mut client = GrpcClient::new(dialer, &HttpOptions::default(), &GrpcPool::default());
        let ready = ready("C", &request(&["{}"], &[], None)).unwrap();
        let size = size_of_val(&client.call(&ready, Call::default()));
        assert!(size <= 3072, "{size} bytes");
    }
}

//! `captures:` of a profile as written: what is captured of the target during its runs, and when.

use std::time::Duration;

use crate::probe::capture::Profile;
use crate::registry::{ByteSize, Secret, Spanned, WebUrl};
use crate::{choice, settings};

choice! {
    /// A moment of a run that is not a time.
    pub(crate) enum RawMoment {
        /// When a threshold is broken, or the condition of a guard holds, for the first time.
        FirstBreach = "first breach",
        /// When the load is highest.
        Peak = "peak",
    }
}

settings! {
    /// Something that is captured of the target during a run, once, and kept with it. One of `pprof`, `url`, `postgres` and `command` says what, one of
    /// `at` and `when` at which moment.
    pub(crate) struct RawCapture titled "the capture" {
        /// Name in lists and files; by default its kind and number.
        name: optional Spanned<String>,
        /// At this time of the run: `15m`.
        at: optional Spanned<Duration>,
        /// `first breach` of a threshold or guard, or `peak` of the load.
        when: optional Spanned<RawMoment>,
        /// Address of a process that serves Go's `net/http/pprof`: `http://shop:6060` (below `/debug/pprof`, unless it has a path).
        pprof: optional Spanned<WebUrl>,
        /// Which of its profiles.
        profile: optional Spanned<Profile>,
        /// How long a CPU profile listens.
        length: default Spanned<Duration> = Spanned { value: Duration::from_secs(10), span: crate::registry::NOWHERE },
        /// Any page.
        url: optional Spanned<WebUrl>,
        /// Address of a PostgreSQL server: its sessions, who waits for whose lock, its top statements. The user needs the role `pg_monitor`.
        postgres: secret Secret,
        /// A program with its arguments; what it writes is kept. Only with `allow_commands: true`.
        command: optional Spanned<Vec<String>>,
        /// Longest time, besides that in which a CPU profile listens.
        timeout: default Duration = Duration::from_secs(30),
        /// Most bytes; what is larger is a failed capture.
        limit: default Spanned<ByteSize> = Spanned { value: ByteSize(8 << 20), span: crate::registry::NOWHERE },
    }
}

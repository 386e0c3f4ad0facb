-- Runs, series, findings, ticks, alerts and outgoing messages. docs/storage.md explains every table.
-- Times are microseconds since 1970 UTC; histograms are in HDR's V2 encoding, NULL when empty; JSON is kept as text.

PRAGMA application_id = 1347176781; -- "PLIM": tells our files from those of other programs

CREATE TABLE store_meta (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    pings  INTEGER NOT NULL
) STRICT;
INSERT INTO store_meta (id, pings) VALUES (1, 0);

CREATE TABLE runs (
    num            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT    NOT NULL UNIQUE,
    profile        TEXT    NOT NULL,
    target         TEXT    NOT NULL,
    trigger_by     TEXT    NOT NULL,
    trigger_name   TEXT,
    digest         TEXT    NOT NULL,
    target_version TEXT,
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    status         TEXT    NOT NULL,
    ended_by       TEXT,
    verdict        TEXT,
    reasons        TEXT    NOT NULL,
    catalog        TEXT    NOT NULL,
    summary        TEXT,
    thresholds     TEXT    NOT NULL
) STRICT;
CREATE INDEX runs_by_start   ON runs (started_at, num);
CREATE INDEX runs_by_profile ON runs (profile, started_at);
CREATE INDEX runs_by_target  ON runs (target, started_at);
CREATE INDEX runs_running    ON runs (num) WHERE status = 'running';

-- One row per second of a run; `at` is the start of the second.
CREATE TABLE intervals (
    run      INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at       INTEGER NOT NULL,
    second   INTEGER NOT NULL,
    stall_us INTEGER NOT NULL,
    cpu      REAL,
    shards   INTEGER NOT NULL,
    PRIMARY KEY (run, at)
) STRICT, WITHOUT ROWID;

-- With a rowid, because rows with histograms are large: a WITHOUT ROWID table would spill most of them to overflow pages.
CREATE TABLE step_intervals (
    run             INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at              INTEGER NOT NULL,
    second          INTEGER NOT NULL,
    step            INTEGER NOT NULL,
    ok              INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    failures        TEXT,
    messages        TEXT,
    response_ok     BLOB,
    response_failed BLOB,
    service_ok      BLOB,
    service_failed  BLOB,
    waiting         BLOB,
    blocked_us      INTEGER NOT NULL,
    dns_us          INTEGER NOT NULL,
    connecting_us   INTEGER NOT NULL,
    tls_us          INTEGER NOT NULL,
    sending_us      INTEGER NOT NULL,
    waiting_us      INTEGER NOT NULL,
    receiving_us    INTEGER NOT NULL,
    bytes_sent      INTEGER NOT NULL,
    bytes_received  INTEGER NOT NULL,
    connections     INTEGER NOT NULL,
    checks          TEXT,
    PRIMARY KEY (run, at, step)
) STRICT;

CREATE TABLE scenario_intervals (
    run                INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at                 INTEGER NOT NULL,
    second             INTEGER NOT NULL,
    scenario           INTEGER NOT NULL,
    scheduled          INTEGER NOT NULL,
    started            INTEGER NOT NULL,
    completed          INTEGER NOT NULL,
    failed             INTEGER NOT NULL,
    interrupted        INTEGER NOT NULL,
    dropped            INTEGER NOT NULL,
    unsent             INTEGER NOT NULL,
    vus                INTEGER NOT NULL,
    vus_busy           INTEGER NOT NULL,
    with_failed_check  INTEGER NOT NULL,
    iteration_duration BLOB,
    dropped_wait       BLOB,
    start_lag          BLOB,
    PRIMARY KEY (run, at, scenario)
) STRICT;

CREATE TABLE probes (
    num    INTEGER PRIMARY KEY,
    target TEXT NOT NULL,
    name   TEXT NOT NULL,
    UNIQUE (target, name)
) STRICT;

-- What a number in `readings.points` belongs to.
CREATE TABLE series (
    num    INTEGER PRIMARY KEY,
    probe  INTEGER NOT NULL REFERENCES probes (num),
    metric TEXT NOT NULL,
    labels TEXT NOT NULL,
    UNIQUE (probe, metric, labels)
) STRICT;

-- One row per reading; `points` is [[series, value], …], `error` says why there are none.
CREATE TABLE readings (
    probe  INTEGER NOT NULL REFERENCES probes (num),
    at     INTEGER NOT NULL,
    run    INTEGER REFERENCES runs (num) ON DELETE CASCADE,
    second INTEGER,
    points TEXT,
    error  TEXT,
    PRIMARY KEY (probe, at)
) STRICT;
CREATE INDEX readings_by_run ON readings (run, at) WHERE run IS NOT NULL;

CREATE TABLE findings (
    num      INTEGER PRIMARY KEY AUTOINCREMENT,
    run      INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    kind     TEXT    NOT NULL,
    severity TEXT    NOT NULL,
    title    TEXT    NOT NULL,
    evidence TEXT    NOT NULL,
    method   TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;
CREATE INDEX findings_by_run ON findings (run, method);
CREATE INDEX findings_by_time ON findings (at);

CREATE TABLE ticks (
    schedule TEXT    NOT NULL,
    due      INTEGER NOT NULL,
    profile  TEXT    NOT NULL,
    decided  INTEGER NOT NULL,
    outcome  TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    run      TEXT,
    PRIMARY KEY (schedule, due)
) STRICT, WITHOUT ROWID;
CREATE INDEX ticks_by_time ON ticks (due);

CREATE TABLE alert_instances (
    fingerprint  TEXT PRIMARY KEY,
    rule         TEXT    NOT NULL,
    labels       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    since        INTEGER NOT NULL,
    active_since INTEGER,
    clear_since  INTEGER,
    last_data    INTEGER,
    value        REAL,
    shown        TEXT    NOT NULL,
    incident     TEXT,
    opened_at    INTEGER,
    told         TEXT    NOT NULL,
    messages     INTEGER NOT NULL,
    last_message INTEGER,
    run          TEXT
) STRICT;

CREATE TABLE alert_transitions (
    num         INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT    NOT NULL,
    rule        TEXT    NOT NULL,
    incident    TEXT,
    from_state  TEXT    NOT NULL,
    to_state    TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    value       REAL
) STRICT;
CREATE INDEX alert_transitions_by_time ON alert_transitions (at, num);
CREATE INDEX alert_transitions_by_alert ON alert_transitions (fingerprint, at);

CREATE TABLE outbox (
    num          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    channel      TEXT    NOT NULL,
    incident     TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    message      TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    not_before   INTEGER NOT NULL,
    leased_until INTEGER,
    done_at      INTEGER,
    detail       TEXT    NOT NULL
) STRICT;
CREATE INDEX outbox_waiting ON outbox (incident, channel, seq, num) WHERE state = 'waiting';
CREATE INDEX outbox_by_time ON outbox (created_at, num);

-- Runs, series, findings, ticks, alerts and outgoing messages. docs/storage.md explains every table.
-- Times are microseconds since 1970 UTC; histograms are in HDR's V2 encoding, NULL when empty; JSON is kept as text.
-- Series are partitioned by time; the default partition holds what no other partition was made for.

CREATE TABLE store_meta (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    pings  BIGINT NOT NULL
);
INSERT INTO store_meta (id, pings) VALUES (1, 0);

CREATE TABLE runs (
    num            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    profile        TEXT    NOT NULL,
    target         TEXT    NOT NULL,
    trigger_by     TEXT    NOT NULL,
    trigger_name   TEXT,
    digest         TEXT    NOT NULL,
    target_version TEXT,
    started_at     BIGINT NOT NULL,
    ended_at       BIGINT,
    status         TEXT    NOT NULL,
    ended_by       TEXT,
    verdict        TEXT,
    reasons        TEXT    NOT NULL,
    catalog        TEXT    NOT NULL,
    summary        TEXT,
    thresholds     TEXT    NOT NULL
);
CREATE INDEX runs_by_start   ON runs (started_at, num);
CREATE INDEX runs_by_profile ON runs (profile, started_at);
CREATE INDEX runs_by_target  ON runs (target, started_at);
CREATE INDEX runs_running    ON runs (num) WHERE status = 'running';

-- One row per second of a run; `at` is the start of the second.
CREATE TABLE intervals (
    run      BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at       BIGINT NOT NULL,
    second   BIGINT NOT NULL,
    stall_us BIGINT NOT NULL,
    cpu      DOUBLE PRECISION,
    shards   BIGINT NOT NULL,
    PRIMARY KEY (run, at)
) PARTITION BY RANGE (at);
CREATE TABLE intervals_rest PARTITION OF intervals DEFAULT;

CREATE TABLE step_intervals (
    run             BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at              BIGINT NOT NULL,
    second          BIGINT NOT NULL,
    step            BIGINT NOT NULL,
    ok              BIGINT NOT NULL,
    failed          BIGINT NOT NULL,
    failures        TEXT,
    messages        TEXT,
    response_ok     BYTEA,
    response_failed BYTEA,
    service_ok      BYTEA,
    service_failed  BYTEA,
    waiting         BYTEA,
    blocked_us      BIGINT NOT NULL,
    dns_us          BIGINT NOT NULL,
    connecting_us   BIGINT NOT NULL,
    tls_us          BIGINT NOT NULL,
    sending_us      BIGINT NOT NULL,
    waiting_us      BIGINT NOT NULL,
    receiving_us    BIGINT NOT NULL,
    bytes_sent      BIGINT NOT NULL,
    bytes_received  BIGINT NOT NULL,
    connections     BIGINT NOT NULL,
    checks          TEXT,
    PRIMARY KEY (run, at, step)
) PARTITION BY RANGE (at);
CREATE TABLE step_intervals_rest PARTITION OF step_intervals DEFAULT;

CREATE TABLE scenario_intervals (
    run                BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at                 BIGINT NOT NULL,
    second             BIGINT NOT NULL,
    scenario           BIGINT NOT NULL,
    scheduled          BIGINT NOT NULL,
    started            BIGINT NOT NULL,
    completed          BIGINT NOT NULL,
    failed             BIGINT NOT NULL,
    interrupted        BIGINT NOT NULL,
    dropped            BIGINT NOT NULL,
    unsent             BIGINT NOT NULL,
    vus                BIGINT NOT NULL,
    vus_busy           BIGINT NOT NULL,
    with_failed_check  BIGINT NOT NULL,
    iteration_duration BYTEA,
    dropped_wait       BYTEA,
    start_lag          BYTEA,
    PRIMARY KEY (run, at, scenario)
) PARTITION BY RANGE (at);
CREATE TABLE scenario_intervals_rest PARTITION OF scenario_intervals DEFAULT;

CREATE TABLE probes (
    num    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target TEXT NOT NULL,
    name   TEXT NOT NULL,
    UNIQUE (target, name)
);

-- What a number in `readings.points` belongs to.
CREATE TABLE series (
    num    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    probe  BIGINT NOT NULL REFERENCES probes (num),
    metric TEXT NOT NULL,
    labels TEXT NOT NULL,
    UNIQUE (probe, metric, labels)
);

-- One row per reading; `points` is [[series, value], …], `error` says why there are none.
CREATE TABLE readings (
    probe  BIGINT NOT NULL REFERENCES probes (num),
    at     BIGINT NOT NULL,
    run    BIGINT REFERENCES runs (num) ON DELETE CASCADE,
    second BIGINT,
    points TEXT,
    error  TEXT,
    PRIMARY KEY (probe, at)
) PARTITION BY RANGE (at);
CREATE TABLE readings_rest PARTITION OF readings DEFAULT;
CREATE INDEX readings_by_run ON readings (run, at) WHERE run IS NOT NULL;

CREATE TABLE findings (
    num      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run      BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    kind     TEXT    NOT NULL,
    severity TEXT    NOT NULL,
    title    TEXT    NOT NULL,
    evidence TEXT    NOT NULL,
    method   TEXT    NOT NULL,
    at       BIGINT NOT NULL
);
CREATE INDEX findings_by_run ON findings (run, method);
CREATE INDEX findings_by_time ON findings (at);

CREATE TABLE ticks (
    schedule TEXT    NOT NULL,
    due      BIGINT NOT NULL,
    profile  TEXT    NOT NULL,
    decided  BIGINT NOT NULL,
    outcome  TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    run      TEXT,
    PRIMARY KEY (schedule, due)
);
CREATE INDEX ticks_by_time ON ticks (due);

CREATE TABLE alert_instances (
    fingerprint  TEXT PRIMARY KEY,
    rule         TEXT    NOT NULL,
    labels       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    since        BIGINT NOT NULL,
    active_since BIGINT,
    clear_since  BIGINT,
    last_data    BIGINT,
    value        DOUBLE PRECISION,
    shown        TEXT    NOT NULL,
    incident     TEXT,
    opened_at    BIGINT,
    told         TEXT    NOT NULL,
    messages     BIGINT NOT NULL,
    last_message BIGINT,
    run          TEXT
);

CREATE TABLE alert_transitions (
    num         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint TEXT    NOT NULL,
    rule        TEXT    NOT NULL,
    incident    TEXT,
    from_state  TEXT    NOT NULL,
    to_state    TEXT    NOT NULL,
    at          BIGINT NOT NULL,
    reason      TEXT    NOT NULL,
    value       DOUBLE PRECISION
);
CREATE INDEX alert_transitions_by_time ON alert_transitions (at, num);
CREATE INDEX alert_transitions_by_alert ON alert_transitions (fingerprint, at);

CREATE TABLE outbox (
    num          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    channel      TEXT    NOT NULL,
    incident     TEXT    NOT NULL,
    seq          BIGINT NOT NULL,
    message      TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    attempts     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    not_before   BIGINT NOT NULL,
    leased_until BIGINT,
    done_at      BIGINT,
    detail       TEXT    NOT NULL
);
CREATE INDEX outbox_waiting ON outbox (incident, channel, seq, num) WHERE state = 'waiting';
CREATE INDEX outbox_by_time ON outbox (created_at, num);

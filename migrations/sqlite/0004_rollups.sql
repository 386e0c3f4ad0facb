-- Roll-ups: seconds added up to 10 s, 1 min and 1 h, exactly (histograms merge without loss); what the upkeep has done; and views for
-- people with an SQL client, equal on both databases. Percentiles are those of `duration` (docs/storage.md).

-- What the upkeep has done: seconds of the run that are rolled up, whether that is all of them, the finest resolution that is still
-- kept (in seconds, 0 = none), and why the run is kept whatever its age (`pinned`, `baseline`).
ALTER TABLE runs ADD COLUMN rolled_seconds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN rolled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN finest INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN pinned TEXT;
CREATE INDEX runs_unrolled ON runs (num) WHERE rolled = 0;

-- Readings between runs: rolled up before `rolled_until`, removed before `kept_since` (microseconds).
ALTER TABLE probes ADD COLUMN rolled_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE probes ADD COLUMN kept_since INTEGER NOT NULL DEFAULT 0;

-- One row per 10, 60 or 3600 seconds of a run (`resolution`); `seconds` of them are stored. `vus` is the most at one time.
CREATE TABLE rollups (
    run        INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    second     INTEGER NOT NULL,
    seconds    INTEGER NOT NULL,
    stall_us   INTEGER NOT NULL,
    cpu        REAL,
    shards     INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    vus        INTEGER NOT NULL,
    dropped    INTEGER NOT NULL,
    p50_us     INTEGER,
    p95_us     INTEGER,
    p99_us     INTEGER,
    PRIMARY KEY (run, resolution, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE step_rollups (
    run             INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution      INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    second          INTEGER NOT NULL,
    step            INTEGER NOT NULL,
    ok              INTEGER NOT NULL,
    failed          INTEGER NOT NULL,
    p50_us          INTEGER,
    p95_us          INTEGER,
    p99_us          INTEGER,
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
    PRIMARY KEY (run, resolution, at, step)
) STRICT;

-- `vus` and `vus_busy` are the most at the end of a second.
CREATE TABLE scenario_rollups (
    run                INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution         INTEGER NOT NULL,
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
    broke_off          TEXT,
    iteration_duration BLOB,
    dropped_wait       BLOB,
    start_lag          BLOB,
    PRIMARY KEY (run, resolution, at, scenario)
) STRICT;

CREATE TABLE group_rollups (
    run         INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution  INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    second      INTEGER NOT NULL,
    group_index INTEGER NOT NULL,
    duration    BLOB,
    PRIMARY KEY (run, resolution, at, group_index)
) STRICT;

-- Readings of a run on its clock; readings between runs (run 0) on the wall clock, from 60 seconds on.
CREATE TABLE reading_rollups (
    series     INTEGER NOT NULL REFERENCES series (num),
    resolution INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    run        INTEGER NOT NULL,
    samples    INTEGER NOT NULL,
    min_value  REAL NOT NULL,
    max_value  REAL NOT NULL,
    sum_value  REAL NOT NULL,
    last_value REAL NOT NULL,
    PRIMARY KEY (series, resolution, at, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX reading_rollups_by_run ON reading_rollups (run, resolution, at);
CREATE INDEX readings_by_second ON readings (run, second) WHERE run IS NOT NULL;

CREATE VIEW v_runs AS
SELECT r.id AS run, r.profile, r.target, r.trigger_by, r.trigger_name, r.target_version, r.started_at / 1000000.0 AS started_at,
    r.ended_at / 1000000.0 AS ended_at, r.status, r.ended_by, r.verdict, r.pinned,
    CAST(json_extract(r.summary, '$.seconds') AS REAL) AS seconds,
    json_extract(r.summary, '$.total.requests') AS requests,
    json_extract(r.summary, '$.total.failed') AS failed,
    CAST(json_extract(r.summary, '$.total.per_second') AS REAL) AS requests_per_second,
    json_extract(r.summary, '$.total.duration.p50_us') / 1000.0 AS p50_ms,
    json_extract(r.summary, '$.total.duration.p95_us') / 1000.0 AS p95_ms,
    json_extract(r.summary, '$.total.duration.p99_us') / 1000.0 AS p99_ms,
    json_extract(r.summary, '$.total.duration.max_us') / 1000.0 AS max_ms,
    (SELECT count(*) FROM findings f WHERE f.run = r.num) AS findings
FROM runs r;

CREATE VIEW v_run_metrics AS
WITH of_requests (metric, stat, unit, path, divisor) AS (VALUES
    ('requests', 'count', '1', '$.requests', 1.0),
    ('requests', 'rate', '1/s', '$.per_second', 1.0),
    ('requests_failed', 'count', '1', '$.failed', 1.0),
    ('bytes_sent', 'count', 'bytes', '$.bytes_sent', 1.0),
    ('bytes_received', 'count', 'bytes', '$.bytes_received', 1.0),
    ('connections', 'count', '1', '$.connections', 1.0),
    ('duration', 'count', '1', '$.duration.count', 1.0),
    ('duration', 'min', 'ms', '$.duration.min_us', 1000.0),
    ('duration', 'mean', 'ms', '$.duration.mean_us', 1000.0),
    ('duration', 'p50', 'ms', '$.duration.p50_us', 1000.0),
    ('duration', 'p75', 'ms', '$.duration.p75_us', 1000.0),
    ('duration', 'p90', 'ms', '$.duration.p90_us', 1000.0),
    ('duration', 'p95', 'ms', '$.duration.p95_us', 1000.0),
    ('duration', 'p99', 'ms', '$.duration.p99_us', 1000.0),
    ('duration', 'max', 'ms', '$.duration.max_us', 1000.0),
    ('response', 'count', '1', '$.response.count', 1.0),
    ('response', 'min', 'ms', '$.response.min_us', 1000.0),
    ('response', 'mean', 'ms', '$.response.mean_us', 1000.0),
    ('response', 'p50', 'ms', '$.response.p50_us', 1000.0),
    ('response', 'p75', 'ms', '$.response.p75_us', 1000.0),
    ('response', 'p90', 'ms', '$.response.p90_us', 1000.0),
    ('response', 'p95', 'ms', '$.response.p95_us', 1000.0),
    ('response', 'p99', 'ms', '$.response.p99_us', 1000.0),
    ('response', 'max', 'ms', '$.response.max_us', 1000.0),
    ('service', 'count', '1', '$.service.count', 1.0),
    ('service', 'min', 'ms', '$.service.min_us', 1000.0),
    ('service', 'mean', 'ms', '$.service.mean_us', 1000.0),
    ('service', 'p50', 'ms', '$.service.p50_us', 1000.0),
    ('service', 'p75', 'ms', '$.service.p75_us', 1000.0),
    ('service', 'p90', 'ms', '$.service.p90_us', 1000.0),
    ('service', 'p95', 'ms', '$.service.p95_us', 1000.0),
    ('service', 'p99', 'ms', '$.service.p99_us', 1000.0),
    ('service', 'max', 'ms', '$.service.max_us', 1000.0),
    ('waiting', 'count', '1', '$.waiting.count', 1.0),
    ('waiting', 'min', 'ms', '$.waiting.min_us', 1000.0),
    ('waiting', 'mean', 'ms', '$.waiting.mean_us', 1000.0),
    ('waiting', 'p50', 'ms', '$.waiting.p50_us', 1000.0),
    ('waiting', 'p75', 'ms', '$.waiting.p75_us', 1000.0),
    ('waiting', 'p90', 'ms', '$.waiting.p90_us', 1000.0),
    ('waiting', 'p95', 'ms', '$.waiting.p95_us', 1000.0),
    ('waiting', 'p99', 'ms', '$.waiting.p99_us', 1000.0),
    ('waiting', 'max', 'ms', '$.waiting.max_us', 1000.0)
), of_scenarios (metric, stat, unit, path, divisor) AS (VALUES
    ('iterations_scheduled', 'count', '1', '$.counts.scheduled', 1.0),
    ('iterations_started', 'count', '1', '$.counts.started', 1.0),
    ('iterations_completed', 'count', '1', '$.counts.completed', 1.0),
    ('iterations_failed', 'count', '1', '$.counts.failed', 1.0),
    ('iterations_interrupted', 'count', '1', '$.counts.interrupted', 1.0),
    ('iterations_dropped', 'count', '1', '$.counts.dropped', 1.0),
    ('iterations_unsent', 'count', '1', '$.counts.unsent', 1.0),
    ('vus', 'max', '1', '$.vus_max', 1.0)
), stats (stat) AS (VALUES ('min'), ('mean'), ('p95'), ('max'), ('last')),
parts AS (
    SELECT num, '' AS scenario, '' AS step, json_extract(summary, '$.total') AS part FROM runs WHERE summary IS NOT NULL
    UNION ALL
    SELECT r.num, json_extract(s.value, '$.scenario'), json_extract(s.value, '$.step'), s.value
    FROM runs r, json_each(r.summary, '$.steps') s WHERE r.summary IS NOT NULL
), measured AS (
    SELECT p.num, p.scenario, p.step, '' AS probe, '' AS labels, m.metric, m.stat, m.unit,
        json_extract(p.part, m.path) / m.divisor AS value FROM parts p CROSS JOIN of_requests m
    UNION ALL
    SELECT r.num, json_extract(s.value, '$.scenario'), '', '', '', m.metric, m.stat, m.unit, json_extract(s.value, m.path) / m.divisor
    FROM runs r, json_each(r.summary, '$.scenarios') s CROSS JOIN of_scenarios m WHERE r.summary IS NOT NULL
    UNION ALL
    SELECT r.num, '', '', json_extract(s.value, '$.probe'), json_extract(s.value, '$.labels'), json_extract(s.value, '$.metric'), t.stat,
        'base', json_extract(s.value, '$.' || t.stat) / 1.0
    FROM runs r, json_each(r.summary, '$.series') s CROSS JOIN stats t WHERE r.summary IS NOT NULL
)
SELECT r.id AS run, r.profile, r.target, r.target_version, r.started_at / 1000000.0 AS started_at, r.verdict, m.scenario, m.step, m.probe,
    m.labels, m.metric, m.stat, m.unit, m.value
FROM measured m JOIN runs r ON r.num = m.num WHERE m.value IS NOT NULL;

CREATE VIEW v_intervals AS
SELECT r.id AS run, r.profile, r.target, i.resolution AS resolution_s, i.at / 1000000.0 AS time, i.second, i.seconds, '' AS scenario,
    '' AS step, i.requests, i.failed, i.requests / (i.seconds * 1.0) AS requests_per_second, i.p50_us / 1000.0 AS p50_ms,
    i.p95_us / 1000.0 AS p95_ms, i.p99_us / 1000.0 AS p99_ms, i.vus, i.dropped
FROM rollups i JOIN runs r ON r.num = i.run
UNION ALL
SELECT r.id, r.profile, r.target, i.resolution, i.at / 1000000.0, i.second, h.seconds,
    json_extract(r.catalog, '$.scenarios[' || json_extract(r.catalog, '$.steps[' || i.step || '].scenario') || '].name'),
    json_extract(r.catalog, '$.steps[' || i.step || '].name'), i.ok + i.failed, i.failed, (i.ok + i.failed) / (h.seconds * 1.0),
    i.p50_us / 1000.0, i.p95_us / 1000.0, i.p99_us / 1000.0, NULL, NULL
FROM step_rollups i JOIN runs r ON r.num = i.run JOIN rollups h ON h.run = i.run AND h.resolution = i.resolution AND h.at = i.at;

CREATE VIEW v_pool AS
SELECT (SELECT r.id FROM runs r WHERE r.num = i.run) AS run, p.target, p.name AS probe, s.metric,
    COALESCE(json_extract(s.labels, '$.pool'), '') AS pool, s.labels, i.resolution AS resolution_s, i.at / 1000000.0 AS time, i.samples,
    i.min_value, i.sum_value / i.samples AS mean_value, i.max_value, i.last_value
FROM reading_rollups i JOIN series s ON s.num = i.series JOIN probes p ON p.num = s.probe WHERE s.metric LIKE 'pool!_%' ESCAPE '!';

CREATE VIEW v_findings AS
SELECT r.id AS run, r.profile, r.target, f.at / 1000000.0 AS time, f.kind, f.severity, f.title, f.method, f.evidence
FROM findings f JOIN runs r ON r.num = f.run;

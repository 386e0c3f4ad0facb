-- Roll-ups: seconds added up to 10 s, 1 min and 1 h, exactly (histograms merge without loss); what the upkeep has done; and views for
-- people with an SQL client, equal on both databases. Percentiles are those of `duration` (docs/storage.md).

-- What the upkeep has done: seconds of the run that are rolled up, whether that is all of them, the finest resolution that is still
-- kept (in seconds, 0 = none), and why the run is kept whatever its age (`pinned`, `baseline`).
ALTER TABLE runs ADD COLUMN rolled_seconds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN rolled BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN finest BIGINT NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN pinned TEXT;
CREATE INDEX runs_unrolled ON runs (num) WHERE rolled = 0;

-- Readings between runs: rolled up before `rolled_until`, removed before `kept_since` (microseconds).
ALTER TABLE probes ADD COLUMN rolled_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE probes ADD COLUMN kept_since BIGINT NOT NULL DEFAULT 0;

-- One row per 10, 60 or 3600 seconds of a run (`resolution`); `seconds` of them are stored. `vus` is the most at one time.
CREATE TABLE rollups (
    run        BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    second     BIGINT NOT NULL,
    seconds    BIGINT NOT NULL,
    stall_us   BIGINT NOT NULL,
    cpu        DOUBLE PRECISION,
    shards     BIGINT NOT NULL,
    requests   BIGINT NOT NULL,
    failed     BIGINT NOT NULL,
    vus        BIGINT NOT NULL,
    dropped    BIGINT NOT NULL,
    p50_us     BIGINT,
    p95_us     BIGINT,
    p99_us     BIGINT,
    PRIMARY KEY (run, resolution, at)
);

CREATE TABLE step_rollups (
    run             BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution      BIGINT NOT NULL,
    at              BIGINT NOT NULL,
    second          BIGINT NOT NULL,
    step            BIGINT NOT NULL,
    ok              BIGINT NOT NULL,
    failed          BIGINT NOT NULL,
    p50_us          BIGINT,
    p95_us          BIGINT,
    p99_us          BIGINT,
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
    PRIMARY KEY (run, resolution, at, step)
);

-- `vus` and `vus_busy` are the most at the end of a second.
CREATE TABLE scenario_rollups (
    run                BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution         BIGINT NOT NULL,
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
    broke_off          TEXT,
    iteration_duration BYTEA,
    dropped_wait       BYTEA,
    start_lag          BYTEA,
    PRIMARY KEY (run, resolution, at, scenario)
);

CREATE TABLE group_rollups (
    run         BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    resolution  BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    second      BIGINT NOT NULL,
    group_index BIGINT NOT NULL,
    duration    BYTEA,
    PRIMARY KEY (run, resolution, at, group_index)
);

-- Readings of a run on its clock; readings between runs (run 0) on the wall clock, from 60 seconds on.
CREATE TABLE reading_rollups (
    series     BIGINT NOT NULL REFERENCES series (num),
    resolution BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    run        BIGINT NOT NULL,
    samples    BIGINT NOT NULL,
    min_value  DOUBLE PRECISION NOT NULL,
    max_value  DOUBLE PRECISION NOT NULL,
    sum_value  DOUBLE PRECISION NOT NULL,
    last_value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (series, resolution, at, run)
);
CREATE INDEX reading_rollups_by_run ON reading_rollups (run, resolution, at);
CREATE INDEX readings_by_second ON readings (run, second) WHERE run IS NOT NULL;

CREATE VIEW v_runs AS
SELECT r.id AS run, r.profile, r.target, r.trigger_by, r.trigger_name, r.target_version, r.started_at / 1000000.0::double precision AS started_at,
    r.ended_at / 1000000.0::double precision AS ended_at, r.status, r.ended_by, r.verdict, r.pinned,
    (r.summary::json #>> '{seconds}')::double precision AS seconds,
    (r.summary::json #>> '{total,requests}')::bigint AS requests,
    (r.summary::json #>> '{total,failed}')::bigint AS failed,
    (r.summary::json #>> '{total,per_second}')::double precision AS requests_per_second,
    (r.summary::json #>> '{total,duration,p50_us}')::double precision / 1000.0::double precision AS p50_ms,
    (r.summary::json #>> '{total,duration,p95_us}')::double precision / 1000.0::double precision AS p95_ms,
    (r.summary::json #>> '{total,duration,p99_us}')::double precision / 1000.0::double precision AS p99_ms,
    (r.summary::json #>> '{total,duration,max_us}')::double precision / 1000.0::double precision AS max_ms,
    (SELECT count(*) FROM findings f WHERE f.run = r.num) AS findings
FROM runs r;

CREATE VIEW v_run_metrics AS
WITH of_requests (metric, stat, unit, path, divisor) AS (VALUES
    ('requests', 'count', '1', '{requests}', 1.0),
    ('requests', 'rate', '1/s', '{per_second}', 1.0),
    ('requests_failed', 'count', '1', '{failed}', 1.0),
    ('bytes_sent', 'count', 'bytes', '{bytes_sent}', 1.0),
    ('bytes_received', 'count', 'bytes', '{bytes_received}', 1.0),
    ('connections', 'count', '1', '{connections}', 1.0),
    ('duration', 'count', '1', '{duration,count}', 1.0),
    ('duration', 'min', 'ms', '{duration,min_us}', 1000.0),
    ('duration', 'mean', 'ms', '{duration,mean_us}', 1000.0),
    ('duration', 'p50', 'ms', '{duration,p50_us}', 1000.0),
    ('duration', 'p75', 'ms', '{duration,p75_us}', 1000.0),
    ('duration', 'p90', 'ms', '{duration,p90_us}', 1000.0),
    ('duration', 'p95', 'ms', '{duration,p95_us}', 1000.0),
    ('duration', 'p99', 'ms', '{duration,p99_us}', 1000.0),
    ('duration', 'max', 'ms', '{duration,max_us}', 1000.0),
    ('response', 'count', '1', '{response,count}', 1.0),
    ('response', 'min', 'ms', '{response,min_us}', 1000.0),
    ('response', 'mean', 'ms', '{response,mean_us}', 1000.0),
    ('response', 'p50', 'ms', '{response,p50_us}', 1000.0),
    ('response', 'p75', 'ms', '{response,p75_us}', 1000.0),
    ('response', 'p90', 'ms', '{response,p90_us}', 1000.0),
    ('response', 'p95', 'ms', '{response,p95_us}', 1000.0),
    ('response', 'p99', 'ms', '{response,p99_us}', 1000.0),
    ('response', 'max', 'ms', '{response,max_us}', 1000.0),
    ('service', 'count', '1', '{service,count}', 1.0),
    ('service', 'min', 'ms', '{service,min_us}', 1000.0),
    ('service', 'mean', 'ms', '{service,mean_us}', 1000.0),
    ('service', 'p50', 'ms', '{service,p50_us}', 1000.0),
    ('service', 'p75', 'ms', '{service,p75_us}', 1000.0),
    ('service', 'p90', 'ms', '{service,p90_us}', 1000.0),
    ('service', 'p95', 'ms', '{service,p95_us}', 1000.0),
    ('service', 'p99', 'ms', '{service,p99_us}', 1000.0),
    ('service', 'max', 'ms', '{service,max_us}', 1000.0),
    ('waiting', 'count', '1', '{waiting,count}', 1.0),
    ('waiting', 'min', 'ms', '{waiting,min_us}', 1000.0),
    ('waiting', 'mean', 'ms', '{waiting,mean_us}', 1000.0),
    ('waiting', 'p50', 'ms', '{waiting,p50_us}', 1000.0),
    ('waiting', 'p75', 'ms', '{waiting,p75_us}', 1000.0),
    ('waiting', 'p90', 'ms', '{waiting,p90_us}', 1000.0),
    ('waiting', 'p95', 'ms', '{waiting,p95_us}', 1000.0),
    ('waiting', 'p99', 'ms', '{waiting,p99_us}', 1000.0),
    ('waiting', 'max', 'ms', '{waiting,max_us}', 1000.0)
), of_scenarios (metric, stat, unit, path, divisor) AS (VALUES
    ('iterations_scheduled', 'count', '1', '{counts,scheduled}', 1.0),
    ('iterations_started', 'count', '1', '{counts,started}', 1.0),
    ('iterations_completed', 'count', '1', '{counts,completed}', 1.0),
    ('iterations_failed', 'count', '1', '{counts,failed}', 1.0),
    ('iterations_interrupted', 'count', '1', '{counts,interrupted}', 1.0),
    ('iterations_dropped', 'count', '1', '{counts,dropped}', 1.0),
    ('iterations_unsent', 'count', '1', '{counts,unsent}', 1.0),
    ('vus', 'max', '1', '{vus_max}', 1.0)
), stats (stat) AS (VALUES ('min'), ('mean'), ('p95'), ('max'), ('last')),
parts AS (
    SELECT num, '' AS scenario, '' AS step, summary::json -> 'total' AS part FROM runs WHERE summary IS NOT NULL
    UNION ALL
    SELECT r.num, s.value ->> 'scenario', s.value ->> 'step', s.value
    FROM runs r CROSS JOIN LATERAL json_array_elements(r.summary::json -> 'steps') s WHERE r.summary IS NOT NULL
), measured AS (
    SELECT p.num, p.scenario, p.step, '' AS probe, '' AS labels, m.metric, m.stat, m.unit,
        (p.part #>> m.path::text[])::double precision / m.divisor::double precision AS value FROM parts p CROSS JOIN of_requests m
    UNION ALL
    SELECT r.num, s.value ->> 'scenario', '', '', '', m.metric, m.stat, m.unit, (s.value #>> m.path::text[])::double precision / m.divisor::double precision
    FROM runs r CROSS JOIN LATERAL json_array_elements(r.summary::json -> 'scenarios') s CROSS JOIN of_scenarios m WHERE r.summary IS NOT NULL
    UNION ALL
    SELECT r.num, '', '', s.value ->> 'probe', (s.value -> 'labels')::text, s.value ->> 'metric', t.stat, 'base',
        (s.value ->> t.stat)::double precision
    FROM runs r CROSS JOIN LATERAL json_array_elements(r.summary::json -> 'series') s CROSS JOIN stats t WHERE r.summary IS NOT NULL
)
SELECT r.id AS run, r.profile, r.target, r.target_version, r.started_at / 1000000.0::double precision AS started_at, r.verdict, m.scenario, m.step, m.probe,
    m.labels, m.metric, m.stat, m.unit, m.value
FROM measured m JOIN runs r ON r.num = m.num WHERE m.value IS NOT NULL;

-- The names of a run's steps are taken from its catalog once, not once a row.
CREATE VIEW v_intervals AS
SELECT r.id AS run, r.profile, r.target, i.resolution AS resolution_s, i.at / 1000000.0::double precision AS time, i.second, i.seconds, '' AS scenario,
    '' AS step, i.requests, i.failed, i.requests / (i.seconds * 1.0::double precision) AS requests_per_second, i.p50_us / 1000.0::double precision AS p50_ms,
    i.p95_us / 1000.0::double precision AS p95_ms, i.p99_us / 1000.0::double precision AS p99_ms, i.vus, i.dropped
FROM rollups i JOIN runs r ON r.num = i.run
UNION ALL
SELECT r.id, r.profile, r.target, i.resolution, i.at / 1000000.0::double precision, i.second, h.seconds, s.scenario, s.name, i.ok + i.failed, i.failed,
    (i.ok + i.failed) / (h.seconds * 1.0::double precision), i.p50_us / 1000.0::double precision, i.p95_us / 1000.0::double precision, i.p99_us / 1000.0::double precision, NULL, NULL
FROM runs r CROSS JOIN LATERAL (
    SELECT o.n - 1 AS step, o.v ->> 'name' AS name, c.j #>> ARRAY['scenarios', o.v ->> 'scenario', 'name'] AS scenario
    FROM (SELECT r.catalog::jsonb AS j) c CROSS JOIN LATERAL jsonb_array_elements(c.j -> 'steps') WITH ORDINALITY o (v, n)
) s JOIN step_rollups i ON i.run = r.num AND i.step = s.step
JOIN rollups h ON h.run = i.run AND h.resolution = i.resolution AND h.at = i.at;

CREATE VIEW v_pool AS
SELECT (SELECT r.id FROM runs r WHERE r.num = i.run) AS run, p.target, p.name AS probe, s.metric,
    COALESCE(s.labels::json ->> 'pool', '') AS pool, s.labels, i.resolution AS resolution_s, i.at / 1000000.0::double precision AS time, i.samples,
    i.min_value, i.sum_value / i.samples AS mean_value, i.max_value, i.last_value
FROM reading_rollups i JOIN series s ON s.num = i.series JOIN probes p ON p.num = s.probe WHERE s.metric LIKE 'pool!_%' ESCAPE '!';

CREATE VIEW v_findings AS
SELECT r.id AS run, r.profile, r.target, f.at / 1000000.0::double precision AS time, f.kind, f.severity, f.title, f.method, f.evidence
FROM findings f JOIN runs r ON r.num = f.run;

-- Partitions, one per week from Monday 00:00 UTC (345600 s after 1970). The first function makes one and moves into it what fell into the
-- default partition meanwhile; the second makes those of the coming weeks and of whatever stands in the default partition; both run under
-- a lock, so that two daemons do not do it at once. Only the owner of the tables can call them with effect.
CREATE FUNCTION plimsoll_partition(parent TEXT, starts BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    ends BIGINT := starts + 604800000000;
    rest TEXT := parent || '_rest';
    named TEXT := parent || '_' || to_char(to_timestamp(starts / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD');
BEGIN
    IF to_regclass(quote_ident(named)) IS NOT NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', named, parent);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE at >= %s AND at < %s RETURNING *) INSERT INTO %I SELECT * FROM moved',
        rest, starts, ends, named);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', parent, named, starts, ends);
    RETURN 1;
END $$;

CREATE FUNCTION plimsoll_partition_ahead(now_us BIGINT, weeks BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    parent TEXT;
    starts BIGINT;
    made BIGINT := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(5786925001);
    FOREACH parent IN ARRAY ARRAY['intervals', 'step_intervals', 'scenario_intervals', 'group_intervals', 'readings'] LOOP
        FOR starts IN EXECUTE format('SELECT DISTINCT (at - 345600000000) / 604800000000 * 604800000000 + 345600000000 FROM %I '
            'WHERE at >= 345600000000 LIMIT 100', parent || '_rest')
        LOOP
            made := made + plimsoll_partition(parent, starts);
        END LOOP;
        FOR week IN 0..weeks LOOP
            made := made + plimsoll_partition(parent,
                ((now_us - 345600000000) / 604800000000 + week) * 604800000000 + 345600000000);
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

CREATE FUNCTION plimsoll_drop_partition(parent TEXT, named TEXT) RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', parent, named);
    EXECUTE format('DROP TABLE %I', named);
    RETURN 1;
END $$;

CREATE VIEW series_partitions AS
SELECT p.relname::text AS parent, c.relname::text AS named,
    substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''?(\d+)')::bigint AS starts,
    substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''?(\d+)')::bigint AS ends
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
WHERE p.relnamespace = current_schema()::regnamespace AND pg_get_expr(c.relpartbound, c.oid) LIKE 'FOR VALUES%'
    AND p.relname IN ('intervals', 'step_intervals', 'scenario_intervals', 'group_intervals', 'readings');

SELECT plimsoll_partition_ahead((extract(epoch FROM now()) * 1000000)::bigint, 4);

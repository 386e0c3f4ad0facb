-- What lists of runs show of their summaries, so that they need not read all of them; and `v_intervals` from the second on. (Rows from
-- before hold histograms in the older forms: they are read as they are.)
CREATE TABLE headlines (
    run        BIGINT PRIMARY KEY REFERENCES runs (num) ON DELETE CASCADE,
    seconds    DOUBLE PRECISION NOT NULL,
    requests   BIGINT NOT NULL,
    failed     BIGINT NOT NULL,
    per_second DOUBLE PRECISION NOT NULL,
    p95_us     BIGINT,
    pool_peak  DOUBLE PRECISION
);

INSERT INTO headlines (run, seconds, requests, failed, per_second, p95_us, pool_peak)
SELECT num, (summary::json #>> '{seconds}')::double precision, (summary::json #>> '{total,requests}')::bigint,
    (summary::json #>> '{total,failed}')::bigint, (summary::json #>> '{total,per_second}')::double precision,
    (summary::json #>> '{total,duration,p95_us}')::bigint,
    (SELECT max((s.value ->> 'max')::double precision) FROM json_array_elements(r.summary::json -> 'series') s
     WHERE s.value ->> 'metric' = 'pool_utilization')
FROM runs r WHERE summary IS NOT NULL;

CREATE INDEX runs_kept ON runs (num, id, profile, started_at, ended_at, status, rolled, finest, pinned);

CREATE OR REPLACE VIEW v_intervals AS
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
JOIN rollups h ON h.run = i.run AND h.resolution = i.resolution AND h.at = i.at
UNION ALL
SELECT s.id, s.profile, s.target, 1::bigint, s.at / 1000000.0::double precision, s.second, 1::bigint, '', '', s.requests, s.failed,
    s.requests * 1.0::double precision, NULL, NULL, NULL, s.vus, s.dropped
FROM (
    SELECT r.id, r.profile, r.target, i.at, i.second,
        (SELECT COALESCE(sum(t.ok + t.failed), 0)::bigint FROM step_intervals t WHERE t.run = i.run AND t.at = i.at) AS requests,
        (SELECT COALESCE(sum(t.failed), 0)::bigint FROM step_intervals t WHERE t.run = i.run AND t.at = i.at) AS failed,
        (SELECT COALESCE(sum(c.vus), 0)::bigint FROM scenario_intervals c WHERE c.run = i.run AND c.at = i.at) AS vus,
        (SELECT COALESCE(sum(c.dropped), 0)::bigint FROM scenario_intervals c WHERE c.run = i.run AND c.at = i.at) AS dropped
    FROM intervals i JOIN runs r ON r.num = i.run
) s
UNION ALL
SELECT r.id, r.profile, r.target, 1::bigint, i.at / 1000000.0::double precision, i.second, 1::bigint, s.scenario, s.name, i.ok + i.failed, i.failed,
    (i.ok + i.failed) * 1.0::double precision, NULL, NULL, NULL, NULL, NULL
FROM runs r CROSS JOIN LATERAL (
    SELECT o.n - 1 AS step, o.v ->> 'name' AS name, c.j #>> ARRAY['scenarios', o.v ->> 'scenario', 'name'] AS scenario
    FROM (SELECT r.catalog::jsonb AS j) c CROSS JOIN LATERAL jsonb_array_elements(c.j -> 'steps') WITH ORDINALITY o (v, n)
) s JOIN step_intervals i ON i.run = r.num AND i.step = s.step;

-- What lists of runs show of their summaries, so that they need not read all of them; runs as retention sees them, in one index; and
-- `v_intervals` from the second on. (Rows from before hold histograms in the older forms: they are read as they are.)
CREATE TABLE headlines (
    run        INTEGER PRIMARY KEY REFERENCES runs (num) ON DELETE CASCADE,
    seconds    REAL    NOT NULL,
    requests   INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    per_second REAL    NOT NULL,
    p95_us     INTEGER,
    pool_peak  REAL
) STRICT;

INSERT INTO headlines (run, seconds, requests, failed, per_second, p95_us, pool_peak)
SELECT num, CAST(json_extract(summary, '$.seconds') AS REAL), json_extract(summary, '$.total.requests'),
    json_extract(summary, '$.total.failed'), CAST(json_extract(summary, '$.total.per_second') AS REAL),
    json_extract(summary, '$.total.duration.p95_us'),
    (SELECT CAST(max(json_extract(s.value, '$.max')) AS REAL) FROM json_each(r.summary, '$.series') s
     WHERE json_extract(s.value, '$.metric') = 'pool_utilization')
FROM runs r WHERE summary IS NOT NULL;

CREATE INDEX runs_kept ON runs (num, id, profile, started_at, ended_at, status, rolled, finest, pinned);

DROP VIEW v_intervals;
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
FROM step_rollups i JOIN runs r ON r.num = i.run JOIN rollups h ON h.run = i.run AND h.resolution = i.resolution AND h.at = i.at
UNION ALL
SELECT s.id, s.profile, s.target, 1, s.at / 1000000.0, s.second, 1, '', '', s.requests, s.failed, s.requests * 1.0, NULL, NULL, NULL,
    s.vus, s.dropped
FROM (
    SELECT r.id, r.profile, r.target, i.at, i.second,
        (SELECT COALESCE(sum(t.ok + t.failed), 0) FROM step_intervals t WHERE t.run = i.run AND t.at = i.at) AS requests,
        (SELECT COALESCE(sum(t.failed), 0) FROM step_intervals t WHERE t.run = i.run AND t.at = i.at) AS failed,
        (SELECT COALESCE(sum(c.vus), 0) FROM scenario_intervals c WHERE c.run = i.run AND c.at = i.at) AS vus,
        (SELECT COALESCE(sum(c.dropped), 0) FROM scenario_intervals c WHERE c.run = i.run AND c.at = i.at) AS dropped
    FROM intervals i JOIN runs r ON r.num = i.run
) s
UNION ALL
SELECT r.id, r.profile, r.target, 1, i.at / 1000000.0, i.second, 1,
    json_extract(r.catalog, '$.scenarios[' || json_extract(r.catalog, '$.steps[' || i.step || '].scenario') || '].name'),
    json_extract(r.catalog, '$.steps[' || i.step || '].name'), i.ok + i.failed, i.failed, (i.ok + i.failed) * 1.0,
    NULL, NULL, NULL, NULL, NULL
FROM step_intervals i JOIN runs r ON r.num = i.run;

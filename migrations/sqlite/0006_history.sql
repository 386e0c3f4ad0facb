-- What a profile's runs are remembered by, from run to run: one set of numbers per run (JSON: {subject: {metric: number}}), deploys of
-- targets, and the run that a profile is compared with.
CREATE TABLE nights (
    run     INTEGER PRIMARY KEY REFERENCES runs (num) ON DELETE CASCADE,
    method  TEXT NOT NULL,
    numbers TEXT NOT NULL
) STRICT;

CREATE TABLE deploys (
    num     INTEGER PRIMARY KEY AUTOINCREMENT,
    target  TEXT    NOT NULL,
    version TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    by_whom TEXT    NOT NULL
) STRICT;
CREATE INDEX deploys_by_target ON deploys (target, at);

CREATE TABLE baselines (
    profile TEXT PRIMARY KEY,
    run     TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    by_whom TEXT    NOT NULL
) STRICT;

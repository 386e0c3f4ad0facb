-- One row per group of a flow and second in which somebody went through it.
CREATE TABLE group_intervals (
    run         INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at          INTEGER NOT NULL,
    second      INTEGER NOT NULL,
    group_index INTEGER NOT NULL,
    duration    BLOB,
    PRIMARY KEY (run, at, group_index)
) STRICT;

-- Why iterations broke off between requests: {reason: count}; what broke off at a request is that request's failure.
ALTER TABLE scenario_intervals ADD COLUMN broke_off TEXT;

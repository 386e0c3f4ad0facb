-- One row per group of a flow and second in which somebody went through it.
CREATE TABLE group_intervals (
    run         INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at          INTEGER NOT NULL,
    second      INTEGER NOT NULL,
    group_index INTEGER NOT NULL,
    duration    BLOB,
    PRIMARY KEY (run, at, group_index)
) STRICT;

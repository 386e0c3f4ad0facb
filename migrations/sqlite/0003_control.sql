-- Steering: what was done to each run while it was going on (JSON, as all lists of a run), and whether all load stands still.

ALTER TABLE runs ADD COLUMN controls TEXT NOT NULL DEFAULT '[]';

CREATE TABLE standstill (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    at      INTEGER NOT NULL,
    by_whom TEXT    NOT NULL
) STRICT;

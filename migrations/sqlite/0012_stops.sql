-- When everything was stopped last, and by whom: read every second by all processes that run load, each of which ends its own runs then.

CREATE TABLE stops (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    at      INTEGER NOT NULL,
    by_whom TEXT    NOT NULL
) STRICT;

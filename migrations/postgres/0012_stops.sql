-- When everything was stopped last, and by whom: read every second by all processes that run load, each of which ends its own runs then.

CREATE TABLE stops (
    id      BIGINT PRIMARY KEY CHECK (id = 1),
    at      BIGINT NOT NULL,
    by_whom TEXT   NOT NULL
);

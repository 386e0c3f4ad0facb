-- Who works on this database at present, who of them is in charge, and to whom runs and messages on their way belong.

CREATE TABLE owners (
    id         TEXT    PRIMARY KEY,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    process    TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    heartbeat  INTEGER NOT NULL
) STRICT;

CREATE TABLE leases (
    name  TEXT    PRIMARY KEY,
    owner TEXT    NOT NULL,
    since INTEGER NOT NULL
) STRICT;

ALTER TABLE runs ADD COLUMN owner TEXT;
ALTER TABLE outbox ADD COLUMN owner TEXT;

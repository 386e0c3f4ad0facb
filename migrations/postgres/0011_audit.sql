-- Who did what, done or refused: only ever added to. And how the channels of messages fare, so that a restart knows which ones fail.
CREATE TABLE deeds (
    num      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       BIGINT NOT NULL,
    by_whom  TEXT    NOT NULL,
    what     TEXT    NOT NULL,
    object   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    refused  TEXT,
    UNIQUE (at, by_whom, what, object)
);

CREATE TABLE channel_health (
    channel TEXT PRIMARY KEY,
    health  TEXT NOT NULL
);

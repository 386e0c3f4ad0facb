-- What is told of incidents and when: threads of messages (JSON), silences, who took over an incident, and why it is not told of.
CREATE TABLE silences (
    id         TEXT PRIMARY KEY,
    matchers   TEXT    NOT NULL,
    author     TEXT    NOT NULL,
    comment    TEXT    NOT NULL,
    created_at BIGINT NOT NULL,
    starts_at  BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL,
    ended_by   TEXT
);
CREATE INDEX silences_by_end ON silences (ends_at);

CREATE TABLE alert_threads (
    id     TEXT PRIMARY KEY,
    thread TEXT NOT NULL
);

ALTER TABLE alert_instances ADD COLUMN muted TEXT;
ALTER TABLE alert_instances ADD COLUMN acked TEXT;

CREATE INDEX outbox_by_channel ON outbox (channel, not_before) WHERE state = 'waiting';

-- What a channel remembers of an incident between its messages: where it stands at the receiver (a thread, a first message).
CREATE TABLE posted (
    channel  TEXT    NOT NULL,
    incident TEXT    NOT NULL,
    kept     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (channel, incident)
) STRICT;
CREATE INDEX posted_by_time ON posted (at);

-- What was captured of a target during a run: what it is (JSON), and its content as it came.
CREATE TABLE captures (
    run     INTEGER NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    number  INTEGER NOT NULL,
    about   TEXT    NOT NULL,
    content BLOB,
    PRIMARY KEY (run, number)
) STRICT;

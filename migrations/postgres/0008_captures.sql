-- What was captured of a target during a run: what it is (JSON), and its content as it came.
CREATE TABLE captures (
    run     BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    number  BIGINT NOT NULL,
    about   TEXT   NOT NULL,
    content BYTEA,
    PRIMARY KEY (run, number)
);

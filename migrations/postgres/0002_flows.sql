-- One row per group of a flow and second in which somebody went through it.
CREATE TABLE group_intervals (
    run         BIGINT NOT NULL REFERENCES runs (num) ON DELETE CASCADE,
    at          BIGINT NOT NULL,
    second      BIGINT NOT NULL,
    group_index BIGINT NOT NULL,
    duration    BYTEA,
    PRIMARY KEY (run, at, group_index)
) PARTITION BY RANGE (at);
CREATE TABLE group_intervals_rest PARTITION OF group_intervals DEFAULT;

-- Why iterations broke off between requests: {reason: count}; what broke off at a request is that request's failure.
ALTER TABLE scenario_intervals ADD COLUMN broke_off TEXT;

-- Counts of a step that are nearly always 0, as JSON: {"resent": 2, "unheard": 340}. What is 0 is left out, NULL says that all are: that
-- costs a byte of a row on SQLite and none on PostgreSQL.
ALTER TABLE step_intervals ADD COLUMN rare TEXT;
ALTER TABLE step_rollups ADD COLUMN rare TEXT;

-- What people say of runs, the latest metrics of each run in one place, points in chunks, and what
-- attempts used.

-- What people say of a run. Several runs may share a name. The times say since when; NULL: not.
ALTER TABLE runs ADD COLUMN name TEXT;
ALTER TABLE runs ADD COLUMN note TEXT;
ALTER TABLE runs ADD COLUMN starred INTEGER;
ALTER TABLE runs ADD COLUMN archived INTEGER;
ALTER TABLE runs ADD COLUMN deleted INTEGER;
-- What differed from the commit in the working tree: kept as the texts of pipelines are.
ALTER TABLE runs ADD COLUMN git_diff_id INTEGER REFERENCES pipeline_texts (id);
CREATE INDEX runs_by_name ON runs (name) WHERE name IS NOT NULL;

CREATE TABLE tags (
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_value ON tags (key, value);

-- The latest value of each metric of each stage of each run: what lists show and searches ask.
-- Those of a cached stage are copied when it is cached; those of an attempt give way to the next
-- attempt's; a stage that is requeued has none. NaN is a row whose value is NULL.
CREATE TABLE run_metrics (
    run_id   INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    key_id   INTEGER NOT NULL,
    value    REAL,
    PRIMARY KEY (run_id, position, key_id)
) STRICT, WITHOUT ROWID;
INSERT INTO run_metrics (run_id, position, key_id, value)
    SELECT s.run_id, s.position, m.key_id, m.value
    FROM stages s CROSS JOIN metrics m
        ON m.run_id = s.source_run_id AND m.position = s.source_position
        AND m.attempt = s.source_attempt;
CREATE INDEX run_metrics_by_value ON run_metrics (key_id, value, run_id);
DROP INDEX metrics_by_value;

-- Points of a series that are packed, many a row; `place` is that of the first. The first `sealed`
-- points of a series lie here, the others, which came lately, in `metric_points`.
CREATE TABLE metric_chunks (
    metric_id INTEGER NOT NULL REFERENCES metrics (id) ON DELETE CASCADE,
    place     INTEGER NOT NULL,
    points    INTEGER NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (metric_id, place)
) STRICT;
ALTER TABLE metrics ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;

-- When an attempt could have begun, and what it used; NULL: not known.
ALTER TABLE attempts ADD COLUMN queued INTEGER;
ALTER TABLE attempts ADD COLUMN read_bytes INTEGER;
ALTER TABLE attempts ADD COLUMN written_bytes INTEGER;
ALTER TABLE attempts ADD COLUMN energy_joules REAL;
ALTER TABLE attempts ADD COLUMN energy_source TEXT
    CHECK (energy_source IN ('rapl', 'nvml', 'rapl+nvml', 'estimate'));
ALTER TABLE attempts ADD COLUMN co2_grams REAL;
ALTER TABLE attempts ADD COLUMN gpu_memory_bytes INTEGER;
ALTER TABLE attempts ADD COLUMN gpu_busy_micros INTEGER;

-- Who took outputs from a run.
CREATE INDEX stages_by_source ON stages (source_run_id) WHERE source_run_id <> run_id;

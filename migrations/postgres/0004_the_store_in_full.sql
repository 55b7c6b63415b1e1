-- What people say of runs, the latest metrics of each run in one place, points in chunks, and what
-- attempts used.

-- What people say of a run. Several runs may share a name. The times say since when; NULL: not.
ALTER TABLE runs
    ADD COLUMN name     TEXT COLLATE "C",
    ADD COLUMN note     TEXT,
    ADD COLUMN starred  BIGINT,
    ADD COLUMN archived BIGINT,
    ADD COLUMN deleted  BIGINT,
    -- What differed from the commit in the working tree: kept as the texts of pipelines are.
    ADD COLUMN git_diff_id BIGINT REFERENCES pipeline_texts (id);
CREATE INDEX runs_by_name ON runs (name) WHERE name IS NOT NULL;

CREATE TABLE tags (
    run_id BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key    TEXT COLLATE "C" NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
);
-- An entry of an index has a bound that a value can pass.
CREATE INDEX tags_by_value ON tags (key, md5(value));

-- The latest value of each metric of each stage of each run: what lists show and searches ask.
-- Those of a cached stage are copied when it is cached; those of an attempt give way to the next
-- attempt's; a stage that is requeued has none.
CREATE TABLE run_metrics (
    run_id   BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    key_id   BIGINT NOT NULL,
    value    DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (run_id, position, key_id)
);
INSERT INTO run_metrics (run_id, position, key_id, value)
    SELECT s.run_id, s.position, m.key_id, m.value
    FROM stages s JOIN metrics m
        ON m.run_id = s.source_run_id AND m.position = s.source_position
        AND m.attempt = s.source_attempt;
CREATE INDEX run_metrics_by_value ON run_metrics (key_id, value, run_id);
DROP INDEX metrics_by_value;

-- Points of a series that are packed, many a row; `place` is that of the first. The first `sealed`
-- points of a series lie here, the others, which came lately, in `metric_points`.
--
-- Each point's step is `step + stride * n`, or stands in `steps`; its time is `time + delays[n]`, or
-- stands in `times` where the points lie too far apart. No foreign key, here and for points: both
-- are only written together with their series, and a look for it would cost as much as the row.
CREATE TABLE metric_chunks (
    metric_id BIGINT NOT NULL,
    place     BIGINT NOT NULL,
    points    BIGINT NOT NULL,
    step      BIGINT NOT NULL,
    stride    BIGINT NOT NULL,
    steps     BIGINT[],
    time      BIGINT NOT NULL,
    delays    INTEGER[],
    times     BIGINT[],
    "values"  DOUBLE PRECISION[] NOT NULL,
    PRIMARY KEY (metric_id, place)
);
ALTER TABLE metrics ADD COLUMN sealed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE metric_points DROP CONSTRAINT metric_points_metric_id_fkey;

-- When an attempt could have begun, and what it used; NULL: not known.
ALTER TABLE attempts
    ADD COLUMN queued           BIGINT,
    ADD COLUMN read_bytes       BIGINT,
    ADD COLUMN written_bytes    BIGINT,
    ADD COLUMN energy_joules    DOUBLE PRECISION,
    ADD COLUMN energy_source    TEXT
        CHECK (energy_source IN ('rapl', 'nvml', 'rapl+nvml', 'estimate')),
    ADD COLUMN co2_grams        DOUBLE PRECISION,
    ADD COLUMN gpu_memory_bytes BIGINT,
    ADD COLUMN gpu_busy_micros  BIGINT;

-- Who took outputs from a run.
CREATE INDEX stages_by_source ON stages (source_run_id) WHERE source_run_id <> run_id;

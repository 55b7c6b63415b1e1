-- The experiment store.
--
-- Times are microseconds since 1970 in UTC. Digests are 32 bytes. States are the words that
-- users see. JSON is text. `public_id` is the id that people know a run by; everything else
-- refers to runs by a small integer, and to a stage by the run and its place in the plan: so a
-- run's rows are found together, in the order in which they are shown.
--
-- The tables are those of SQLite, in the types of Postgres. Texts that are sorted or searched by
-- prefix are compared by their bytes, whatever the database's language.

CREATE TABLE experiments (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    TEXT COLLATE "C" NOT NULL UNIQUE,
    created BIGINT NOT NULL
);

-- Runs of an unchanged pipeline share its text.
CREATE TABLE pipeline_texts (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest BYTEA NOT NULL UNIQUE,
    text   TEXT NOT NULL
);

CREATE TABLE runs (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id        TEXT COLLATE "C" NOT NULL UNIQUE,
    experiment_id    BIGINT NOT NULL REFERENCES experiments (id),
    pipeline         TEXT NOT NULL,
    pipeline_path    TEXT NOT NULL,
    pipeline_text_id BIGINT NOT NULL REFERENCES pipeline_texts (id),
    parent_id        BIGINT REFERENCES runs (id) ON DELETE SET NULL,
    environment      TEXT NOT NULL,
    plan             BYTEA NOT NULL,
    state            TEXT NOT NULL
        CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled', 'interrupted')),
    started          BIGINT NOT NULL,
    finished         BIGINT
);
CREATE INDEX runs_by_experiment ON runs (experiment_id);
CREATE INDEX runs_by_state ON runs (state);
CREATE INDEX runs_by_parent ON runs (parent_id) WHERE parent_id IS NOT NULL;

-- Who drives which run. A run without a row here is driven by nobody.
CREATE TABLE leases (
    run_id           BIGINT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    token            BIGINT NOT NULL,
    host             TEXT NOT NULL,
    pid              BIGINT NOT NULL,
    process_start    BIGINT NOT NULL,
    expires          BIGINT NOT NULL,
    cancel_requested BIGINT
);

CREATE TABLE params (
    run_id     BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name       TEXT COLLATE "C" NOT NULL,
    value      TEXT NOT NULL, -- JSON
    number     DOUBLE PRECISION,          -- the value, where it is a number: for filters
    overridden BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, name)
);
CREATE INDEX params_by_number ON params (name, number) WHERE number IS NOT NULL;
-- An entry of an index has a bound that a list as a param can pass.
CREATE INDEX params_by_value ON params (name, md5(value));

-- `source_*` names the attempt whose outputs and metrics are this stage's: its own latest, or
-- that of the run in which a cached stage was computed. No foreign key: the history of a run
-- outlives the run that it took an output from.
CREATE TABLE stages (
    run_id          BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    name            TEXT NOT NULL,
    kind            TEXT NOT NULL,
    state           TEXT NOT NULL
        CHECK (state IN ('queued', 'running', 'succeeded', 'cached', 'failed', 'cancelled',
                         'skipped', 'lost')),
    fingerprint     BYTEA,
    attempts        BIGINT NOT NULL DEFAULT 0,
    source_run_id   BIGINT,
    source_position BIGINT,
    source_attempt  BIGINT,
    because         TEXT,
    started         BIGINT,
    finished        BIGINT,
    failure         TEXT, -- JSON
    PRIMARY KEY (run_id, position)
);

-- What went into a stage's fingerprint. Apart from `stages`, which lists are made of.
CREATE TABLE stage_parts (
    run_id   BIGINT NOT NULL,
    position BIGINT NOT NULL,
    parts    TEXT NOT NULL, -- JSON
    PRIMARY KEY (run_id, position),
    FOREIGN KEY (run_id, position) REFERENCES stages (run_id, position) ON DELETE CASCADE
);

CREATE TABLE attempts (
    run_id        BIGINT NOT NULL,
    position      BIGINT NOT NULL,
    attempt       BIGINT NOT NULL,
    state         TEXT NOT NULL
        CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled', 'lost')),
    token         BIGINT NOT NULL,
    fingerprint   BYTEA NOT NULL,
    pid           BIGINT,
    started       BIGINT NOT NULL,
    finished      BIGINT,
    wall_micros   BIGINT,
    cpu_micros    BIGINT,
    max_rss_bytes BIGINT,
    failure       TEXT, -- JSON
    effects       TEXT, -- JSON, NULL for none
    PRIMARY KEY (run_id, position, attempt),
    FOREIGN KEY (run_id, position) REFERENCES stages (run_id, position) ON DELETE CASCADE
);

-- The newest successful attempt of each fingerprint: the cache. Only a way to find attempts;
-- an entry whose attempt is gone means nothing.
CREATE TABLE fingerprints (
    fingerprint BYTEA PRIMARY KEY,
    run_id      BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    attempt     BIGINT NOT NULL
);

-- The edges of a run as they were used. A stage reads the same ports in every attempt; the
-- latest stands here, earlier ones in the events.
CREATE TABLE inputs (
    run_id      BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    port        TEXT NOT NULL,
    from_stage  TEXT NOT NULL,
    from_output TEXT NOT NULL,
    digest      BYTEA NOT NULL,
    place       BIGINT NOT NULL,
    PRIMARY KEY (run_id, position, port),
    FOREIGN KEY (run_id, position) REFERENCES stages (run_id, position) ON DELETE CASCADE
);
CREATE INDEX inputs_by_digest ON inputs (digest);

CREATE TABLE outputs (
    run_id   BIGINT NOT NULL,
    position BIGINT NOT NULL,
    attempt  BIGINT NOT NULL,
    place    BIGINT NOT NULL,
    port     TEXT NOT NULL,
    type     TEXT NOT NULL,
    digest   BYTEA NOT NULL,
    bytes    BIGINT NOT NULL,
    meta     TEXT NOT NULL, -- JSON
    PRIMARY KEY (run_id, position, attempt, place),
    FOREIGN KEY (run_id, position, attempt) REFERENCES attempts (run_id, position, attempt)
        ON DELETE CASCADE
);
CREATE INDEX outputs_by_digest ON outputs (digest);

CREATE TABLE metric_keys (
    id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE
);

-- One row for each series, with what is asked most: its latest point, kept while points are
-- appended.
CREATE TABLE metrics (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id   BIGINT NOT NULL,
    position BIGINT NOT NULL,
    attempt  BIGINT NOT NULL,
    key_id   BIGINT NOT NULL REFERENCES metric_keys (id),
    points   BIGINT NOT NULL,
    step     BIGINT NOT NULL,
    time     BIGINT NOT NULL,
    value    DOUBLE PRECISION,
    min      DOUBLE PRECISION,
    max      DOUBLE PRECISION,
    UNIQUE (run_id, position, attempt, key_id),
    FOREIGN KEY (run_id, position, attempt) REFERENCES attempts (run_id, position, attempt)
        ON DELETE CASCADE
);
CREATE INDEX metrics_by_value ON metrics (key_id, value);

-- `place` is the order in which the points of a series came, from 0.
CREATE TABLE metric_points (
    metric_id BIGINT NOT NULL REFERENCES metrics (id) ON DELETE CASCADE,
    place     BIGINT NOT NULL,
    step      BIGINT NOT NULL,
    time      BIGINT NOT NULL,
    value     DOUBLE PRECISION,
    PRIMARY KEY (metric_id, place)
);

CREATE TABLE events (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id BIGINT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    time   BIGINT NOT NULL,
    body   TEXT NOT NULL -- JSON
);
CREATE INDEX events_by_run ON events (run_id);

CREATE TABLE models (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL UNIQUE,
    description TEXT,
    created     BIGINT NOT NULL
);

-- A version outlives the run that registered it.
CREATE TABLE model_versions (
    model_id BIGINT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    version  BIGINT NOT NULL,
    digest   BYTEA NOT NULL,
    run_id   BIGINT REFERENCES runs (id) ON DELETE SET NULL,
    stage    TEXT,
    created  BIGINT NOT NULL,
    tags     TEXT NOT NULL, -- JSON: pairs
    PRIMARY KEY (model_id, version),
    UNIQUE (model_id, digest)
);
CREATE INDEX model_versions_by_run ON model_versions (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE model_aliases (
    model_id BIGINT NOT NULL,
    alias    TEXT COLLATE "C" NOT NULL,
    version  BIGINT NOT NULL,
    changed  BIGINT NOT NULL,
    PRIMARY KEY (model_id, alias),
    FOREIGN KEY (model_id, version) REFERENCES model_versions (model_id, version)
        ON DELETE CASCADE
);

-- Digests of files outside the store, so that an unchanged file is not read again.
CREATE TABLE source_stamps (
    path        TEXT COLLATE "C" PRIMARY KEY,
    size        BIGINT NOT NULL,
    modified_ns BIGINT NOT NULL,
    inode       BIGINT NOT NULL,
    digest      BYTEA NOT NULL
);

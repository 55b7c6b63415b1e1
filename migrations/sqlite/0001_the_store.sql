-- The experiment store.
--
-- Times are microseconds since 1970 in UTC. Digests are 32 bytes. States are the words that
-- users see. JSON is text. `public_id` is the id that people know a run by; everything else
-- refers to runs by a small integer, and to a stage by the run and its place in the plan: so a
-- run's rows lie side by side, in the order in which they are shown.

PRAGMA application_id = 1464419147; -- "WICK"

CREATE TABLE experiments (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

-- Runs of an unchanged pipeline share its text.
CREATE TABLE pipeline_texts (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    text   TEXT NOT NULL
) STRICT;

-- AUTOINCREMENT: ids are never used again, so the order of ids is the order of creation.
CREATE TABLE runs (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    public_id        TEXT NOT NULL UNIQUE,
    experiment_id    INTEGER NOT NULL REFERENCES experiments (id),
    pipeline         TEXT NOT NULL,
    pipeline_path    TEXT NOT NULL,
    pipeline_text_id INTEGER NOT NULL REFERENCES pipeline_texts (id),
    parent_id        INTEGER REFERENCES runs (id) ON DELETE SET NULL,
    environment      TEXT NOT NULL,
    plan             BLOB NOT NULL,
    state            TEXT NOT NULL
        CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled', 'interrupted')),
    started          INTEGER NOT NULL,
    finished         INTEGER
) STRICT;
CREATE INDEX runs_by_experiment ON runs (experiment_id);
CREATE INDEX runs_by_state ON runs (state);
CREATE INDEX runs_by_parent ON runs (parent_id) WHERE parent_id IS NOT NULL;

-- Who drives which run. A run without a row here is driven by nobody.
CREATE TABLE leases (
    run_id           INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    token            INTEGER NOT NULL,
    host             TEXT NOT NULL,
    pid              INTEGER NOT NULL,
    process_start    INTEGER NOT NULL,
    expires          INTEGER NOT NULL,
    cancel_requested INTEGER
) STRICT;

CREATE TABLE params (
    run_id     INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    value      TEXT NOT NULL, -- JSON
    number     REAL,          -- the value, where it is a number: for filters
    overridden INTEGER NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX params_by_number ON params (name, number) WHERE number IS NOT NULL;
CREATE INDEX params_by_value ON params (name, value);

-- `source_*` names the attempt whose outputs and metrics are this stage's: its own latest, or
-- that of the run in which a cached stage was computed. No foreign key: the history of a run
-- outlives the run that it took an output from.
CREATE TABLE stages (
    run_id          INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    name            TEXT NOT NULL,
    kind            TEXT NOT NULL,
    state           TEXT NOT NULL
        CHECK (state IN ('queued', 'running', 'succeeded', 'cached', 'failed', 'cancelled',
                         'skipped', 'lost')),
    fingerprint     BLOB,
    attempts        INTEGER NOT NULL DEFAULT 0,
    source_run_id   INTEGER,
    source_position INTEGER,
    source_attempt  INTEGER,
    because         TEXT,
    started         INTEGER,
    finished        INTEGER,
    failure         TEXT, -- JSON
    PRIMARY KEY (run_id, position)
) STRICT, WITHOUT ROWID;

-- What went into a stage's fingerprint. Apart from `stages`, which lists are made of.
CREATE TABLE stage_parts (
    run_id   INTEGER NOT NULL,
    position INTEGER NOT NULL,
    parts    TEXT NOT NULL, -- JSON
    PRIMARY KEY (run_id, position),
    FOREIGN KEY (run_id, position) REFERENCES stages (run_id, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    run_id        INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    state         TEXT NOT NULL
        CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled', 'lost')),
    token         INTEGER NOT NULL,
    fingerprint   BLOB NOT NULL,
    pid           INTEGER,
    started       INTEGER NOT NULL,
    finished      INTEGER,
    wall_micros   INTEGER,
    cpu_micros    INTEGER,
    max_rss_bytes INTEGER,
    failure       TEXT, -- JSON
    effects       TEXT, -- JSON, NULL for none
    PRIMARY KEY (run_id, position, attempt),
    FOREIGN KEY (run_id, position) REFERENCES stages (run_id, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- The newest successful attempt of each fingerprint: the cache. Only a way to find attempts;
-- an entry whose attempt is gone means nothing.
CREATE TABLE fingerprints (
    fingerprint BLOB PRIMARY KEY,
    run_id      INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    attempt     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The edges of a run as they were used. A stage reads the same ports in every attempt; the
-- latest stands here, earlier ones in the events.
CREATE TABLE inputs (
    run_id      INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    port        TEXT NOT NULL,
    from_stage  TEXT NOT NULL,
    from_output TEXT NOT NULL,
    digest      BLOB NOT NULL,
    place       INTEGER NOT NULL,
    PRIMARY KEY (run_id, position, port),
    FOREIGN KEY (run_id, position) REFERENCES stages (run_id, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX inputs_by_digest ON inputs (digest);

CREATE TABLE outputs (
    run_id   INTEGER NOT NULL,
    position INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    place    INTEGER NOT NULL,
    port     TEXT NOT NULL,
    type     TEXT NOT NULL,
    digest   BLOB NOT NULL,
    bytes    INTEGER NOT NULL,
    meta     TEXT NOT NULL, -- JSON
    PRIMARY KEY (run_id, position, attempt, place),
    FOREIGN KEY (run_id, position, attempt) REFERENCES attempts (run_id, position, attempt)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX outputs_by_digest ON outputs (digest);

CREATE TABLE metric_keys (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- One row for each series, with what is asked most: its latest point, kept while points are
-- appended. SQLite keeps NaN as NULL, and -0 as 0.
CREATE TABLE metrics (
    id       INTEGER PRIMARY KEY,
    run_id   INTEGER NOT NULL,
    position INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    key_id   INTEGER NOT NULL REFERENCES metric_keys (id),
    points   INTEGER NOT NULL,
    step     INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    value    REAL,
    min      REAL,
    max      REAL,
    UNIQUE (run_id, position, attempt, key_id),
    FOREIGN KEY (run_id, position, attempt) REFERENCES attempts (run_id, position, attempt)
        ON DELETE CASCADE
) STRICT;
CREATE INDEX metrics_by_value ON metrics (key_id, value);

-- `place` is the order in which the points of a series came, from 0.
CREATE TABLE metric_points (
    metric_id INTEGER NOT NULL REFERENCES metrics (id) ON DELETE CASCADE,
    place     INTEGER NOT NULL,
    step      INTEGER NOT NULL,
    time      INTEGER NOT NULL,
    value     REAL,
    PRIMARY KEY (metric_id, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    time   INTEGER NOT NULL,
    body   TEXT NOT NULL -- JSON
) STRICT;
CREATE INDEX events_by_run ON events (run_id);

CREATE TABLE models (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    description TEXT,
    created     INTEGER NOT NULL
) STRICT;

-- A version outlives the run that registered it.
CREATE TABLE model_versions (
    model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    version  INTEGER NOT NULL,
    digest   BLOB NOT NULL,
    run_id   INTEGER REFERENCES runs (id) ON DELETE SET NULL,
    stage    TEXT,
    created  INTEGER NOT NULL,
    tags     TEXT NOT NULL, -- JSON: pairs
    PRIMARY KEY (model_id, version),
    UNIQUE (model_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_versions_by_run ON model_versions (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE model_aliases (
    model_id INTEGER NOT NULL,
    alias    TEXT NOT NULL,
    version  INTEGER NOT NULL,
    changed  INTEGER NOT NULL,
    PRIMARY KEY (model_id, alias),
    FOREIGN KEY (model_id, version) REFERENCES model_versions (model_id, version)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Digests of files outside the store, so that an unchanged file is not read again.
CREATE TABLE source_stamps (
    path        TEXT PRIMARY KEY,
    size        INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    digest      BLOB NOT NULL
) STRICT, WITHOUT ROWID;

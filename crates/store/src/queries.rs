//! Queries that read alike on both databases. What differs between them (types, arrays, the way a
//! batch is written) stays with each.

/// The stages of the run with a public id, if there is such a run.
pub(crate) const STAGES_OF_RUN_BY_ID: &str = "
    SELECT r.id, s.name FROM runs r LEFT JOIN stages s ON s.run_id = r.id
    WHERE r.public_id = $1 ORDER BY s.position";

/// The newest run that is not thrown away.
pub(crate) const LAST_RUN: &str = "
    SELECT 0 AS sort, public_id FROM runs WHERE deleted IS NULL ORDER BY id DESC LIMIT 1";

/// The runs that a text names: by their id, by a name that people gave them, by the start of their
/// id (`$2` follows all that start so); the sorts apart, and of each the newest first.
pub(crate) const RUNS_BY_TEXT: &str = "
    SELECT sort, public_id FROM (
        SELECT 0 AS sort, id, public_id FROM runs WHERE public_id = $1
        UNION ALL
        SELECT * FROM (SELECT 1 AS sort, id, public_id FROM runs
                       WHERE name = $1 AND deleted IS NULL ORDER BY id DESC LIMIT $3) AS named
        UNION ALL
        SELECT * FROM (SELECT 2 AS sort, id, public_id FROM runs
                       WHERE public_id > $1 AND public_id < $2 ORDER BY id DESC LIMIT $3) AS begun
    ) AS found
    ORDER BY sort, id DESC";

/// The tags of a run, by key.
pub(crate) const TAGS: &str = "
    SELECT key, value FROM tags
    WHERE run_id = (SELECT id FROM runs WHERE public_id = $1) ORDER BY key";

/// One run.
pub(crate) const RUN: &str = "
    SELECT r.public_id, e.name AS experiment, r.pipeline, r.pipeline_path,
    t.text AS pipeline_text, p.public_id AS parent, r.environment, d.text AS git_diff, r.plan,
    r.state, r.started, r.finished, r.name, r.note, r.starred, r.archived, r.deleted
    FROM runs r JOIN experiments e ON e.id = r.experiment_id
    JOIN pipeline_texts t ON t.id = r.pipeline_text_id
    LEFT JOIN pipeline_texts d ON d.id = r.git_diff_id
    LEFT JOIN runs p ON p.id = r.parent_id
    WHERE r.public_id = $1";

/// The params of a run, by name.
pub(crate) const PARAMS: &str = "
    SELECT name, value FROM params
    WHERE run_id = (SELECT id FROM runs WHERE public_id = $1) ORDER BY name";

/// The stages of a run, in the plan's order, instances after the stage that they were made from;
/// of a cached one, where its outputs came from.
pub(crate) const STAGES: &str = "
    SELECT s.name, s.kind, s.state, s.fingerprint, s.attempts, s.because, s.started,
    s.finished, s.failure, r.public_id AS origin_run, o.name AS origin_stage,
    CASE WHEN r.id IS NOT NULL THEN s.source_attempt END AS origin_attempt,
    t.name AS template
    FROM stages s
    LEFT JOIN stages t ON t.run_id = s.run_id AND t.position = s.template
    LEFT JOIN runs r ON s.state = 'cached' AND r.id = s.source_run_id
    LEFT JOIN stages o ON o.run_id = r.id AND o.position = s.source_position
    WHERE s.run_id = (SELECT id FROM runs WHERE public_id = $1)
    ORDER BY coalesce(s.template, s.position), s.position";

/// The attempts of a run, by stage, then by number.
pub(crate) const ATTEMPTS: &str = "
    SELECT s.name AS stage, a.attempt, a.state, a.fingerprint, a.pid, a.queued, a.started,
    a.finished, a.wall_micros, a.cpu_micros, a.max_rss_bytes, a.read_bytes, a.written_bytes,
    a.energy_joules, a.energy_source, a.co2_grams, a.gpu_memory_bytes, a.gpu_busy_micros, a.failure
    FROM attempts a JOIN stages s ON s.run_id = a.run_id AND s.position = a.position
    WHERE a.run_id = (SELECT id FROM runs WHERE public_id = $1)
    ORDER BY coalesce(s.template, s.position), s.position, a.attempt";

/// The latest values of an attempt's metrics.
pub(crate) const METRICS_OF: &str = "
    SELECT k.name, m.value
    FROM runs r JOIN stages s ON s.run_id = r.id
    JOIN metrics m ON m.run_id = s.run_id AND m.position = s.position
    JOIN metric_keys k ON k.id = m.key_id
    WHERE r.public_id = $1 AND s.name = $2 AND m.attempt = $3 ORDER BY k.name";

/// The parts of the fingerprints of a run's stages.
pub(crate) const STAGE_PARTS: &str = "
    SELECT s.name, p.parts
    FROM stages s JOIN fingerprint_parts p ON p.fingerprint = s.fingerprint
    WHERE s.run_id = (SELECT id FROM runs WHERE public_id = $1) 
    ORDER BY coalesce(s.template, s.position), s.position";

/// What the stages of a run made; of a cached one, what its origin made.
pub(crate) const ARTIFACTS: &str = "
    SELECT s.name AS stage, o.port, o.type AS port_type, o.digest, o.bytes, o.meta
    FROM stages s JOIN outputs o ON o.run_id = s.source_run_id
    AND o.position = s.source_position AND o.attempt = s.source_attempt
    WHERE s.run_id = (SELECT id FROM runs WHERE public_id = $1)
    ORDER BY coalesce(s.template, s.position), s.position, o.place";

/// What the stages of a run read.
pub(crate) const INPUTS: &str = "
    SELECT s.name AS stage, i.port, i.item, i.from_stage, i.from_output, i.digest
    FROM inputs i JOIN stages s ON s.run_id = i.run_id AND s.position = i.position
    WHERE i.run_id = (SELECT id FROM runs WHERE public_id = $1)
    ORDER BY coalesce(s.template, s.position), s.position, i.place";

/// The kept events of a run after one of them.
pub(crate) const EVENTS: &str = "
    SELECT id, time, body FROM events
    WHERE run_id = (SELECT id FROM runs WHERE public_id = $1) AND id > $2 ORDER BY id";

/// Runs after one of them, oldest first.
pub(crate) const RUN_IDS: &str = "
    SELECT public_id FROM runs
    WHERE id > coalesce((SELECT id FROM runs WHERE public_id = $1), 0)
    ORDER BY id LIMIT $2";

/// What attempts made, in the order of the digests.
pub(crate) const MADE: &str = "
    SELECT digest, min(type), max(bytes) FROM outputs WHERE digest > $1
    GROUP BY digest ORDER BY digest LIMIT $2";

/// The artifacts of models, in the order of the digests.
pub(crate) const REGISTERED: &str = "
    SELECT DISTINCT digest FROM model_versions WHERE digest > $1 ORDER BY digest LIMIT $2";

//! A long history, filled in past the store: what searches go through.
//!
//! Each run has two stages, ten params, ten metrics and at times tags. Values are spread as if by
//! chance and are the same each time.

/// So many runs have the SQL below; any other number takes its place.
const RUNS: &str = "99999";

/// For SQLite.
const SQLITE: &str = "
    CREATE TEMP TABLE n AS
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        SELECT i FROM n;
    INSERT INTO experiments (name, created)
        WITH RECURSIVE e (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM e WHERE i < 99)
        SELECT 'experiment_' || i, 0 FROM e;
    INSERT INTO pipeline_texts (digest, text) VALUES (x'00', 'pipeline: many');
    INSERT INTO metric_keys (name)
        SELECT 'm' || value FROM json_each('[0,1,2,3,4,5,6,7,8,9]') ORDER BY value;
    INSERT INTO runs (public_id, experiment_id, pipeline, pipeline_path, pipeline_text_id,
                      environment, plan, state, started, finished)
        SELECT format('%012d', i * 7919 % 1000003), 1 + i % 100, 'many', '/many.yaml', 1,
               '{\"host\":\"here\",\"user\":\"user_' || (i % 10) || '\"}', zeroblob(32),
               CASE WHEN i % 50 = 0 THEN 'failed' ELSE 'succeeded' END,
               1700000000000000 + i * 60000000,
               1700000000000000 + i * 60000000 + i * 7907 % 100003 * 1000
        FROM n;
    INSERT INTO stages (run_id, position, name, kind, state, attempts, source_run_id,
                        source_position, source_attempt, started, finished)
        SELECT r.id, s.value ->> 0, s.value ->> 1, 'command', 'succeeded', 1, r.id, s.value ->> 0,
               1, r.started, r.finished
        FROM runs r, json_each('[[0,\"train\"],[1,\"evaluate\"]]') s;
    INSERT INTO params (run_id, name, value, number, overridden)
        SELECT r.id, 'p' || p.value, (r.id * (7919 + p.value * 2) % 100003) / 100003.0,
               (r.id * (7919 + p.value * 2) % 100003) / 100003.0, 0
        FROM runs r, json_each('[0,1,2,3,4,5,6,7]') p
        UNION ALL SELECT r.id, 'optimizer', '\"optimizer_' || (r.id * 31 % 8) || '\"', NULL, 0 FROM runs r
        UNION ALL SELECT r.id, 'dataset', '\"dataset_' || (r.id * 31 % 997) || '\"', NULL, 0 FROM runs r;
    INSERT INTO run_metrics (run_id, position, key_id, value)
        SELECT r.id, k.id / 6, k.id, (r.id * (7901 + k.id * 2) % 100003) / 100003.0
        FROM runs r, metric_keys k;
    INSERT INTO tags (run_id, key, value)
        SELECT id, 'team', 'team_' || (id * 17 % 5) FROM runs
        UNION ALL SELECT id, 'ticket', 'T-' || (id * 13 % 2003) FROM runs WHERE id % 3 = 0;
    DROP TABLE n;";

/// For Postgres.
const POSTGRES: &str = "
    INSERT INTO experiments (name, created)
        SELECT 'experiment_' || i, 0 FROM generate_series(0, 99) i;
    INSERT INTO pipeline_texts (digest, text) VALUES ('\\x00', 'pipeline: many');
    INSERT INTO metric_keys (name) SELECT 'm' || i FROM generate_series(0, 9) i ORDER BY i;
    INSERT INTO runs (public_id, experiment_id, pipeline, pipeline_path, pipeline_text_id,
                      environment, plan, state, started, finished)
        SELECT lpad((i * 7919 % 1000003)::text, 12, '0'), 1 + i % 100, 'many', '/many.yaml', 1,
               '{\"host\":\"here\",\"user\":\"user_' || (i % 10) || '\"}', decode(repeat('00', 32), 'hex'),
               CASE WHEN i % 50 = 0 THEN 'failed' ELSE 'succeeded' END,
               1700000000000000 + i * 60000000,
               1700000000000000 + i * 60000000 + i * 7907 % 100003 * 1000
        FROM generate_series(0::bigint, 99999) i ORDER BY i;
    INSERT INTO stages (run_id, position, name, kind, state, attempts, source_run_id,
                        source_position, source_attempt, started, finished)
        SELECT r.id, s.place, s.name, 'command', 'succeeded', 1, r.id, s.place, 1, r.started,
               r.finished
        FROM runs r, (VALUES (0, 'train'), (1, 'evaluate')) AS s (place, name) ORDER BY r.id;
    INSERT INTO params (run_id, name, value, number, overridden)
        SELECT r.id, 'p' || p, ((r.id * (7919 + p * 2) % 100003) / 100003.0::float8)::text,
               (r.id * (7919 + p * 2) % 100003) / 100003.0::float8, false
        FROM runs r, generate_series(0, 7) p
        UNION ALL SELECT r.id, 'optimizer', '\"optimizer_' || (r.id * 31 % 8) || '\"', NULL, false
            FROM runs r
        UNION ALL SELECT r.id, 'dataset', '\"dataset_' || (r.id * 31 % 997) || '\"', NULL, false
            FROM runs r
        ORDER BY 1;
    INSERT INTO run_metrics (run_id, position, key_id, value)
        SELECT r.id, k.id / 6, k.id, (r.id * (7901 + k.id * 2) % 100003) / 100003.0::float8
        FROM runs r, metric_keys k ORDER BY 1;
    INSERT INTO tags (run_id, key, value)
        SELECT id, 'team', 'team_' || (id * 17 % 5) FROM runs
        UNION ALL SELECT id, 'ticket', 'T-' || (id * 13 % 2003) FROM runs WHERE id % 3 = 0
        ORDER BY 1;";

/// The SQL of a history of `runs` runs, for the store at `location`.
pub fn sql(location: &str, runs: u32) -> String {
    let sql = if location.starts_with("postgres") { POSTGRES } else { SQLITE };
    sql.replace(RUNS, &(runs - 1).to_string())
}

/// What is asked of it: a name, a filter and an order. Each is an everyday question.
pub const SHAPES: [(&str, &str, &str); 16] = [
    ("newest", "", ""),
    ("metric, unselective, by metric", "metrics.m3 > 0.2", "metrics.m4 desc"),
    ("metric, selective, by metric", "metrics.m3 > 0.999", "metrics.m4 desc"),
    ("metric by itself", "metrics.m3 > 0.5", "metrics.m3 desc"),
    ("metric of a stage by metric", "metrics.train.m3 > 0.9", "metrics.train.m4"),
    ("param by metric", "params.p3 < 0.3", "metrics.m5 desc"),
    ("param, selective, by metric", "params.p3 between 0.1 and 0.101", "metrics.m5 desc"),
    ("param as a text by metric", "params.optimizer = 'optimizer_3'", "metrics.m5 desc"),
    ("rare text param by metric", "params.dataset = 'dataset_3'", "metrics.m5"),
    ("tag by start", "tags.team = 'team_2'", "started desc"),
    ("rare tag by start", "tags.ticket = 'T-77'", "started"),
    ("two that are common", "metrics.m3 > 0.9 and params.p4 < 0.1", "metrics.m5 desc"),
    ("or", "metrics.m3 > 0.999 or params.p4 < 0.001", "metrics.m5 desc"),
    ("or of the common", "metrics.m3 > 0.5 or tags.team = 'team_1'", "metrics.m5 desc"),
    ("state and experiment", "state = 'failed' and experiment = 'experiment_0'", "started desc"),
    ("not", "not (params.p3 < 0.3 or state = 'failed')", "duration desc"),
];

-- What went into a fingerprint is the same wherever the fingerprint turns up: it is kept once, not
-- with every stage of every run.

CREATE TABLE fingerprint_parts (
    fingerprint BYTEA PRIMARY KEY,
    parts       TEXT NOT NULL -- JSON
);

INSERT INTO fingerprint_parts (fingerprint, parts)
    SELECT s.fingerprint, p.parts
    FROM stage_parts p JOIN stages s ON s.run_id = p.run_id AND s.position = p.position
    WHERE s.fingerprint IS NOT NULL
    ON CONFLICT (fingerprint) DO NOTHING;

DROP TABLE stage_parts;

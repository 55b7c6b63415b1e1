-- Which fingerprints a file outside the store went into: what was made of it can be found by its
-- bytes, without reading the parts of every fingerprint.

CREATE TABLE fingerprint_sources (
    fingerprint BYTEA NOT NULL REFERENCES fingerprint_parts (fingerprint) ON DELETE CASCADE,
    digest      BYTEA NOT NULL,
    path        TEXT NOT NULL, -- as the stage names it, from the pipeline's folder
    PRIMARY KEY (fingerprint, digest, path)
);
CREATE INDEX fingerprint_sources_by_digest ON fingerprint_sources (digest);

CREATE FUNCTION keep_fingerprint_sources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fingerprint_sources (fingerprint, digest, path)
        SELECT new.fingerprint, decode(part ->> 'digest', 'hex'), part ->> 'name'
        FROM json_array_elements(new.parts::json -> 'parts') AS part
        WHERE part ->> 'section' = 'source'
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

-- Most stages have no source; their parts are not read.
CREATE TRIGGER fingerprint_sources_follow AFTER INSERT ON fingerprint_parts
    FOR EACH ROW WHEN (position('"source"' IN new.parts) > 0)
    EXECUTE FUNCTION keep_fingerprint_sources();

INSERT INTO fingerprint_sources (fingerprint, digest, path)
    SELECT p.fingerprint, decode(part ->> 'digest', 'hex'), part ->> 'name'
    FROM fingerprint_parts p, json_array_elements(p.parts::json -> 'parts') AS part
    WHERE position('"source"' IN p.parts) > 0 AND part ->> 'section' = 'source'
    ON CONFLICT DO NOTHING;

-- Which fingerprints a file outside the store went into: what was made of it can be found by its
-- bytes, without reading the parts of every fingerprint.

CREATE TABLE fingerprint_sources (
    fingerprint BLOB NOT NULL REFERENCES fingerprint_parts (fingerprint) ON DELETE CASCADE,
    digest      BLOB NOT NULL,
    path        TEXT NOT NULL, -- as the stage names it, from the pipeline's folder
    PRIMARY KEY (fingerprint, digest, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX fingerprint_sources_by_digest ON fingerprint_sources (digest);

-- Most stages have no source; their parts are not read.
CREATE TRIGGER fingerprint_sources_follow AFTER INSERT ON fingerprint_parts
WHEN instr(new.parts, '"source"') > 0
BEGIN
    INSERT OR IGNORE INTO fingerprint_sources (fingerprint, digest, path)
        SELECT new.fingerprint, unhex(part.value ->> 'digest'), part.value ->> 'name'
        FROM json_each(new.parts, '$.parts') AS part
        WHERE part.value ->> 'section' = 'source';
END;

INSERT OR IGNORE INTO fingerprint_sources (fingerprint, digest, path)
    SELECT p.fingerprint, unhex(part.value ->> 'digest'), part.value ->> 'name'
    FROM fingerprint_parts p, json_each(p.parts, '$.parts') AS part
    WHERE instr(p.parts, '"source"') > 0 AND part.value ->> 'section' = 'source';

-- Stages that are written once for each item of a list: their instances are stages of the run, too.

-- The place of the stage that an instance was made from. Instances come after all stages of the
-- plan, in the order in which they became known.
ALTER TABLE stages ADD COLUMN template INTEGER;

-- A port that gathers reads one artifact of each instance: `item` is the instance's label, and
-- empty for any other port. The rows of a stage are those of its latest attempt.
CREATE TABLE new_inputs (
    run_id      INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    port        TEXT NOT NULL,
    item        TEXT NOT NULL,
    from_stage  TEXT NOT NULL,
    from_output TEXT NOT NULL,
    digest      BLOB NOT NULL,
    place       INTEGER NOT NULL,
    PRIMARY KEY (run_id, position, port, item),
    FOREIGN KEY (run_id, position) REFERENCES stages (run_id, position) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO new_inputs (run_id, position, port, item, from_stage, from_output, digest, place)
    SELECT run_id, position, port, '', from_stage, from_output, digest, place FROM inputs;
DROP TABLE inputs;
ALTER TABLE new_inputs RENAME TO inputs;
CREATE INDEX inputs_by_digest ON inputs (digest);

-- Stages that are written once for each item of a list: their instances are stages of the run, too.

-- The place of the stage that an instance was made from. Instances come after all stages of the
-- plan, in the order in which they became known.
ALTER TABLE stages ADD COLUMN template bigint;

-- A port that gathers reads one artifact of each instance: `item` is the instance's label, and
-- empty for any other port. The rows of a stage are those of its latest attempt.
ALTER TABLE inputs ADD COLUMN item text NOT NULL DEFAULT '';
ALTER TABLE inputs DROP CONSTRAINT inputs_pkey;
ALTER TABLE inputs ADD PRIMARY KEY (run_id, position, port, item);

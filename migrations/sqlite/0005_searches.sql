-- The orders and conditions by which runs are searched. All of them on runs, which are written
-- twice each; stages are written too often for an index that only searches need.

CREATE INDEX runs_by_start ON runs (started);
CREATE INDEX runs_by_finish ON runs (finished) WHERE finished IS NOT NULL;
CREATE INDEX runs_by_duration ON runs ((finished - started));
CREATE INDEX runs_by_star ON runs (starred) WHERE starred IS NOT NULL;
CREATE INDEX runs_by_archiving ON runs (archived) WHERE archived IS NOT NULL;
CREATE INDEX runs_by_deletion ON runs (deleted) WHERE deleted IS NOT NULL;

-- What lists show: nearly all runs, each in a few bytes, so that a late page is found quickly.
CREATE INDEX runs_on_view ON runs (id, archived, deleted)
    WHERE archived IS NULL AND deleted IS NULL;

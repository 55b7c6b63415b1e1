-- What is cleared away is found by what refers to it, without reading whole tables: the texts of
-- runs that are gone, and the runs that models came from.

CREATE INDEX runs_by_text ON runs (pipeline_text_id);
CREATE INDEX runs_by_diff ON runs (git_diff_id) WHERE git_diff_id IS NOT NULL;
CREATE INDEX model_versions_by_digest ON model_versions (digest);

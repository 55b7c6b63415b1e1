//! Where the values of a field are found. `r` is the row of the run, in `runs`.

use super::condition::{exists, exists_end};
use super::fragment::{Arg, Dialect, Fragment};
use super::{Context, MetricMeaning};
use crate::filter::{ArtifactField, DatasetField, Field, MetricName, RunField, StageField};

/// Where the values of a field are found.
pub(crate) enum Source {
    /// In any number of rows of other tables: what follows FROM, up to a condition, and the
    /// expression of a value.
    Rows(Fragment, &'static str),
    /// In the run itself: an expression, which may be NULL.
    Run(&'static str),
}

/// The text of a param: of a text what it says, of anything else its JSON. Postgres has no zero
/// byte in any text, so neither database shows one here.
pub(crate) const fn param_text(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "(CASE json_type(p.value) WHEN 'text' \
             THEN replace(p.value, '\\u0000', '\\ufffd') ->> '$' ELSE p.value END)"
        }
        Dialect::Postgres => {
            "(CASE WHEN p.value LIKE '\"%' \
             THEN replace(p.value, '\\u0000', '\\ufffd')::json #>> '{}' ELSE p.value END)"
        }
    }
}

/// Where `field` is found. Of a param, where its number is.
pub(crate) fn source(context: &Context, field: &Field) -> Source {
    let dialect = context.dialect;
    match field {
        Field::Metric(name) => Source::Rows(metric_rows(context, name), "m.value"),
        Field::Param(name) => {
            let mut rows = Fragment::new("params p WHERE p.run_id = r.id AND p.name = ");
            rows.text(name);
            Source::Rows(rows, "p.number")
        }
        Field::Tag(key) => {
            let mut rows = Fragment::new("tags t WHERE t.run_id = r.id AND t.key = ");
            rows.text(key);
            Source::Rows(rows, "t.value")
        }
        Field::Stage { stage, field } => {
            let mut rows = Fragment::new("stages s WHERE s.run_id = r.id AND ");
            is_stage(&mut rows, dialect, stage);
            let value = match field {
                StageField::Status => "s.state",
                StageField::Duration => "(s.finished - s.started)",
                StageField::Attempts => "s.attempts",
                StageField::Kind => "s.kind",
            };
            Source::Rows(rows, value)
        }
        Field::Artifact { stage, port, field } => {
            let mut rows = Fragment::new(
                "stages s JOIN outputs o ON o.run_id = s.source_run_id \
                 AND o.position = s.source_position AND o.attempt = s.source_attempt \
                 WHERE s.run_id = r.id AND ",
            );
            is_stage(&mut rows, dialect, stage);
            if let Some(port) = port {
                rows.push(" AND o.port = ").text(port);
            }
            let value = match (field, dialect) {
                (ArtifactField::Bytes, _) => "o.bytes",
                (ArtifactField::Type, _) => "o.type",
                (ArtifactField::Digest, Dialect::Sqlite) => "lower(hex(o.digest))",
                (ArtifactField::Digest, Dialect::Postgres) => "encode(o.digest, 'hex')",
            };
            Source::Rows(rows, value)
        }
        Field::Dataset(field) => {
            let rows = Fragment::new(
                "inputs i WHERE i.run_id = r.id AND EXISTS (SELECT 1 FROM outputs o \
                 WHERE o.digest = i.digest AND o.type = 'dataset')",
            );
            let value = match (field, dialect) {
                (DatasetField::Name, _) => "i.from_stage",
                (DatasetField::Context, _) => "i.port",
                (DatasetField::Digest, Dialect::Sqlite) => "lower(hex(i.digest))",
                (DatasetField::Digest, Dialect::Postgres) => "encode(i.digest, 'hex')",
            };
            Source::Rows(rows, value)
        }
        Field::Run(field) => Source::Run(run_value(dialect, *field)),
    }
}

fn run_value(dialect: Dialect, field: RunField) -> &'static str {
    /// A text in the run's environment.
    macro_rules! environment {
        ($sqlite:literal, $postgres:literal) => {
            match dialect {
                Dialect::Sqlite => concat!("(r.environment ->> '", $sqlite, "')"),
                Dialect::Postgres => concat!(
                    "(replace(r.environment, '\\u0000', '\\ufffd')::json #>> '",
                    $postgres,
                    "')"
                ),
            }
        };
    }
    match field {
        RunField::Id => "r.public_id",
        RunField::Name => "r.name",
        RunField::Experiment => "(SELECT e.name FROM experiments e WHERE e.id = r.experiment_id)",
        RunField::Pipeline => "r.pipeline",
        RunField::State => "r.state",
        RunField::Started => "r.started",
        RunField::Finished => "r.finished",
        RunField::Duration => "(r.finished - r.started)",
        RunField::Parent => "(SELECT q.public_id FROM runs q WHERE q.id = r.parent_id)",
        RunField::Starred => "r.starred",
        RunField::Archived => "r.archived",
        RunField::Deleted => "r.deleted",
        RunField::Note => "r.note",
        RunField::User => environment!("$.user", "{user}"),
        RunField::Host => environment!("$.host", "{host}"),
        RunField::Commit => environment!("$.git.commit", "{git,commit}"),
        RunField::Branch => environment!("$.git.branch", "{git,branch}"),
        // SQLite reads true as 1.
        RunField::Dirty => match dialect {
            Dialect::Sqlite => {
                "(CASE r.environment ->> '$.git.dirty' \
                 WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)"
            }
            Dialect::Postgres => {
                "(replace(r.environment, '\\u0000', '\\ufffd')::json #>> '{git,dirty}')"
            }
        },
    }
}

/// The rows of a metric of the run, in `run_metrics m`.
fn metric_rows(context: &Context, name: &MetricName) -> Fragment {
    let meanings = context.meanings(name);
    if meanings.is_empty() {
        return Fragment::new("run_metrics m WHERE false");
    }
    let mut rows = Fragment::new("run_metrics m WHERE m.run_id = r.id AND (");
    for (place, meaning) in meanings.iter().enumerate() {
        if place > 0 {
            rows.push(" OR ");
        }
        rows.push(key_of_run(context.dialect)).push("m.key_id = ").int(meaning.key);
        of_stage(&mut rows, context.dialect, meaning, "m");
    }
    rows.push(")");
    rows
}

/// Before a key, where the rows of one run are looked for: without statistics SQLite would take the
/// index by key, and go through the whole history for each run.
pub(crate) const fn key_of_run(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "+",
        Dialect::Postgres => "",
    }
}

/// ` AND` the metric row `row` is of the stage that is meant, if one is.
pub(crate) fn of_stage(
    sql: &mut Fragment,
    dialect: Dialect,
    meaning: &MetricMeaning,
    row: &'static str,
) {
    let Some(stage) = &meaning.stage else { return };
    sql.push(" AND ").push(exists(dialect)).push("stages s WHERE s.run_id = ").push(row);
    sql.push(".run_id AND s.position = ").push(row).push(".position AND ");
    is_stage(sql, dialect, stage);
    sql.push(exists_end(dialect));
}

/// Whether `s.name` is `stage`, an instance of it, or a stage of the sub-pipeline that it is.
fn is_stage(sql: &mut Fragment, dialect: Dialect, stage: &str) {
    let starts = ["[", "/"].map(|mark| format!("{stage}{mark}"));
    sql.push("(s.name = ").text(stage);
    match dialect {
        Dialect::Sqlite => {
            let length = i64::try_from(stage.chars().count() + 1).unwrap_or(i64::MAX);
            sql.push(" OR substr(s.name, 1, ").int(length).push(") IN ");
            sql.list(starts.map(Arg::Text));
        }
        Dialect::Postgres => {
            for start in &starts {
                sql.push(" OR starts_with(s.name, ").text(start).push(")");
            }
        }
    }
    sql.push(")");
}

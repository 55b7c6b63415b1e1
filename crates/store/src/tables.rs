//! Whole tables, row after row: how much is written at once, in either database.
//!
//! A table here is its columns, each a list. SQLite gets its rows as values, bound one by one, for
//! it does not read every number in a text back to the same bits; Postgres gets one array for each
//! column.

use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use crate::batches::{batches, unnamed_values};

/// The most rows of one statement.
const MOST: usize = 512;

/// Declares tables: for each column a list's name, the column's name, its type here and in
/// Postgres. The text after the table's name stands at the end of the statement.
macro_rules! tables {
    ($($name:ident $table:literal $conflict:literal {
        $($field:ident $column:literal $type:ty as $word:literal,)*
    })*) => {$(
        #[doc = concat!("Rows of `", $table, "`.")]
        #[derive(Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: Vec<$type>,)*
        }

        impl $name {
            const COLUMNS: &[&str] = &[$($column),*];

            #[allow(clippy::too_many_arguments, reason = "one for each column")]
            pub(crate) fn push(&mut self, $($field: $type,)*) {
                $(self.$field.push($field);)*
            }

            pub(crate) fn len(&self) -> usize {
                let lengths = [$(self.$field.len()),*];
                lengths[0]
            }

            pub(crate) async fn insert_into_sqlite(
                &self,
                connection: &mut SqliteConnection,
            ) -> Result<(), sqlx::Error> {
                let places: Vec<usize> = (0..self.len()).collect();
                for batch in batches(&places, MOST) {
                    let sql = format!(
                        "INSERT INTO {} ({}) VALUES {} {}",
                        $table,
                        Self::COLUMNS.join(", "),
                        unnamed_values(Self::COLUMNS.len(), batch.len()),
                        $conflict
                    );
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for place in batch {
                        $(query = query.bind(&self.$field[*place]);)*
                    }
                    query.execute(&mut *connection).await?;
                }
                Ok(())
            }

            pub(crate) async fn insert_into_postgres(
                &self,
                connection: &mut PgConnection,
            ) -> Result<(), sqlx::Error> {
                if self.len() == 0 {
                    return Ok(());
                }
                let words = [$($word),*];
                let arrays = words.iter().zip(1..).map(|(word, place)| format!("${place}::{word}[]"));
                let sql = format!(
                    "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT * FROM unnest({}) {}",
                    $table,
                    Self::COLUMNS.join(", "),
                    arrays.collect::<Vec<_>>().join(", "),
                    $conflict
                );
                let query = sqlx::query(AssertSqlSafe(sql));
                query$(.bind(&self.$field))*.execute(connection).await?;
                Ok(())
            }
        }
    )*};
}

tables! {
    Experiments "experiments" "ON CONFLICT (name) DO NOTHING" {
        name "name" String as "text",
        created "created" i64 as "bigint",
    }
    Texts "pipeline_texts" "ON CONFLICT (digest) DO NOTHING" {
        digest "digest" Vec<u8> as "bytea",
        text "text" String as "text",
    }
    Keys "metric_keys" "ON CONFLICT (name) DO NOTHING" {
        name "name" String as "text",
    }
    // A run that has come further keeps its number: what refers to it still does.
    Runs "runs" "ON CONFLICT (id) DO UPDATE
            SET experiment_id = excluded.experiment_id, pipeline = excluded.pipeline,
                pipeline_path = excluded.pipeline_path,
                pipeline_text_id = excluded.pipeline_text_id, parent_id = excluded.parent_id,
                environment = excluded.environment, plan = excluded.plan, state = excluded.state,
                started = excluded.started, finished = excluded.finished, name = excluded.name,
                note = excluded.note, starred = excluded.starred, archived = excluded.archived,
                deleted = excluded.deleted, git_diff_id = excluded.git_diff_id" {
        id "id" i64 as "bigint",
        public_id "public_id" String as "text",
        experiment "experiment_id" i64 as "bigint",
        pipeline "pipeline" String as "text",
        path "pipeline_path" String as "text",
        text "pipeline_text_id" i64 as "bigint",
        parent "parent_id" Option<i64> as "bigint",
        environment "environment" String as "text",
        plan "plan" Vec<u8> as "bytea",
        state "state" &'static str as "text",
        started "started" i64 as "bigint",
        finished "finished" Option<i64> as "bigint",
        name "name" Option<String> as "text",
        note "note" Option<String> as "text",
        starred "starred" Option<i64> as "bigint",
        archived "archived" Option<i64> as "bigint",
        deleted "deleted" Option<i64> as "bigint",
        diff "git_diff_id" Option<i64> as "bigint",
    }
    Tags "tags" "" {
        run "run_id" i64 as "bigint",
        key "key" String as "text",
        value "value" String as "text",
    }
    Params "params" "" {
        run "run_id" i64 as "bigint",
        name "name" String as "text",
        value "value" String as "text",
        number "number" Option<f64> as "double precision",
        overridden "overridden" bool as "boolean",
    }
    Stages "stages" "" {
        run "run_id" i64 as "bigint",
        position "position" i64 as "bigint",
        name "name" String as "text",
        kind "kind" String as "text",
        state "state" &'static str as "text",
        fingerprint "fingerprint" Option<Vec<u8>> as "bytea",
        attempts "attempts" i64 as "bigint",
        source_run "source_run_id" Option<i64> as "bigint",
        source_position "source_position" Option<i64> as "bigint",
        source_attempt "source_attempt" Option<i64> as "bigint",
        because "because" Option<String> as "text",
        started "started" Option<i64> as "bigint",
        finished "finished" Option<i64> as "bigint",
        failure "failure" Option<String> as "text",
        template "template" Option<i64> as "bigint",
    }
    Attempts "attempts" "" {
        run "run_id" i64 as "bigint",
        position "position" i64 as "bigint",
        attempt "attempt" i64 as "bigint",
        state "state" &'static str as "text",
        token "token" i64 as "bigint",
        fingerprint "fingerprint" Vec<u8> as "bytea",
        pid "pid" Option<i64> as "bigint",
        queued "queued" Option<i64> as "bigint",
        started "started" i64 as "bigint",
        finished "finished" Option<i64> as "bigint",
        wall "wall_micros" Option<i64> as "bigint",
        cpu "cpu_micros" Option<i64> as "bigint",
        rss "max_rss_bytes" Option<i64> as "bigint",
        read "read_bytes" Option<i64> as "bigint",
        written "written_bytes" Option<i64> as "bigint",
        joules "energy_joules" Option<f64> as "double precision",
        energy "energy_source" Option<&'static str> as "text",
        co2 "co2_grams" Option<f64> as "double precision",
        gpu_memory "gpu_memory_bytes" Option<i64> as "bigint",
        gpu_busy "gpu_busy_micros" Option<i64> as "bigint",
        failure "failure" Option<String> as "text",
        effects "effects" Option<String> as "text",
    }
    Inputs "inputs" "" {
        run "run_id" i64 as "bigint",
        position "position" i64 as "bigint",
        port "port" String as "text",
        item "item" String as "text",
        from_stage "from_stage" String as "text",
        from_output "from_output" String as "text",
        digest "digest" Vec<u8> as "bytea",
        place "place" i64 as "bigint",
    }
    Outputs "outputs" "" {
        run "run_id" i64 as "bigint",
        position "position" i64 as "bigint",
        attempt "attempt" i64 as "bigint",
        place "place" i64 as "bigint",
        port "port" String as "text",
        kind "type" &'static str as "text",
        digest "digest" Vec<u8> as "bytea",
        bytes "bytes" i64 as "bigint",
        meta "meta" String as "text",
    }
    Metrics "metrics" "" {
        id "id" i64 as "bigint",
        run "run_id" i64 as "bigint",
        position "position" i64 as "bigint",
        attempt "attempt" i64 as "bigint",
        key "key_id" i64 as "bigint",
        points "points" i64 as "bigint",
        step "step" i64 as "bigint",
        time "time" i64 as "bigint",
        value "value" f64 as "double precision",
        min "min" Option<f64> as "double precision",
        max "max" Option<f64> as "double precision",
        sealed "sealed" i64 as "bigint",
    }
    RunMetrics "run_metrics" "ON CONFLICT (run_id, position, key_id) DO NOTHING" {
        run "run_id" i64 as "bigint",
        position "position" i64 as "bigint",
        key "key_id" i64 as "bigint",
        value "value" f64 as "double precision",
    }
    Tail "metric_points" "" {
        metric "metric_id" i64 as "bigint",
        place "place" i64 as "bigint",
        step "step" i64 as "bigint",
        time "time" i64 as "bigint",
        value "value" f64 as "double precision",
    }
    Events "events" "" {
        run "run_id" i64 as "bigint",
        time "time" i64 as "bigint",
        body "body" String as "text",
    }
    Parts "fingerprint_parts" "ON CONFLICT (fingerprint) DO NOTHING" {
        fingerprint "fingerprint" Vec<u8> as "bytea",
        parts "parts" String as "text",
    }
    // The newest success counts, as it does where runs are driven.
    Fingerprints "fingerprints" "ON CONFLICT (fingerprint) DO UPDATE
            SET run_id = excluded.run_id, position = excluded.position, attempt = excluded.attempt
            WHERE coalesce((SELECT a.finished FROM attempts a
                            WHERE a.run_id = fingerprints.run_id
                              AND a.position = fingerprints.position
                              AND a.attempt = fingerprints.attempt), 0)
               <= (SELECT a.finished FROM attempts a
                   WHERE a.run_id = excluded.run_id AND a.position = excluded.position
                     AND a.attempt = excluded.attempt)" {
        fingerprint "fingerprint" Vec<u8> as "bytea",
        run "run_id" i64 as "bigint",
        position "position" i64 as "bigint",
        attempt "attempt" i64 as "bigint",
    }
}

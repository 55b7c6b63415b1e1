//! The documented views: what a question in SQL can name.
//!
//! They have the same columns, types and rows on both databases. Runs go by the ids that people
//! know; times are texts in UTC that sort as they follow each other; digests and fingerprints are
//! hexadecimal; what is true or false is 1 or 0. What SQLite cannot hold, a NaN, is NULL in both.
//! Runs that were deleted, and all that belongs to them, are in none of them.
//!
//! A view is a list of columns and where they come from; how an expression reads in each database
//! is decided here, once for all views.

use wick_core::RunId;

/// A documented view.
#[derive(Debug)]
pub struct View {
    /// Its name.
    pub name: &'static str,
    /// What a row of it is.
    pub about: &'static str,
    /// Its columns.
    pub columns: &'static [ViewColumn],
    /// Tables, joined; `@` stands before the name of each, `&` before what is none in one of the
    /// databases.
    from: &'static str,
    /// Which rows.
    only: &'static str,
    /// What tells the run of a row, for exports of some runs; the runs themselves where it is none.
    run: Option<&'static str>,
    /// The order of an export.
    order: &'static str,
}

/// A column of a view.
#[derive(Debug)]
pub struct ViewColumn {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    /// Of which type it is.
    pub kind: ColumnType,
    /// Whether NULL stands for NaN, rather than for nothing.
    pub null_is_nan: bool,
    expression: Expression,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Real,
    /// A moment: `2026-03-01 12:30:05.000000`, in UTC.
    Time,
    /// 1 or 0.
    Flag,
}

impl ColumnType {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ColumnType::Text => "text",
            ColumnType::Integer => "integer",
            ColumnType::Real => "real",
            ColumnType::Time => "time",
            ColumnType::Flag => "flag",
        }
    }
}

/// Which database's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Database {
    Sqlite,
    Postgres,
}

/// Where a column comes from.
#[derive(Debug)]
enum Expression {
    /// A column as it is.
    Plain(&'static str),
    /// A column of floats: NaN is NULL.
    Number(&'static str),
    /// Microseconds, as seconds.
    Seconds(&'static str),
    /// Bytes in hexadecimal.
    Hex(&'static str),
    /// A field of a column of JSON, by its path.
    Field(&'static str, &'static [&'static str]),
    /// The same, of a field that is true or false.
    FlagField(&'static str, &'static [&'static str]),
    /// A column of JSON, as text; a text without its quotes.
    Json(&'static str),
    /// Words of each database: SQLite's, Postgres'.
    Each(&'static str, &'static str),
}

use ColumnType::*;
use Expression::*;

const fn column(
    name: &'static str,
    kind: ColumnType,
    expression: Expression,
    about: &'static str,
) -> ViewColumn {
    ViewColumn { name, about, kind, null_is_nan: false, expression }
}

/// A measured value: always there, but perhaps a NaN, which SQLite cannot hold.
const fn measured(name: &'static str, sql: &'static str, about: &'static str) -> ViewColumn {
    ViewColumn { name, about, kind: Real, null_is_nan: true, expression: Number(sql) }
}

const RUN: ViewColumn = column("run", Text, Plain("r.public_id"), "the run's id");
const STAGE: ViewColumn = column("stage", Text, Plain("s.name"), "the stage");

/// Runs that were not deleted.
const LIVE: &str = "r.deleted IS NULL";

/// The views, in the order in which they are told.
pub const VIEWS: &[View] = &[
    View {
        name: "runs",
        about: "one row for each run",
        columns: &[
            RUN,
            column("name", Text, Plain("r.name"), "the name that a person gave it"),
            column("experiment", Text, Plain("e.name"), "its experiment"),
            column("pipeline", Text, Plain("r.pipeline"), "the pipeline's name"),
            column(
                "state",
                Text,
                Plain("r.state"),
                "running, succeeded, failed, cancelled, interrupted",
            ),
            column("started", Time, Plain("r.started"), "when it was started first"),
            column("finished", Time, Plain("r.finished"), "when it ended last"),
            column(
                "duration",
                Real,
                Seconds("r.finished - r.started"),
                "seconds from one to the other",
            ),
            column("parent", Text, Plain("p.public_id"), "the run that it repeats"),
            column("note", Text, Plain("r.note"), "what a person noted"),
            column("starred", Time, Plain("r.starred"), "since when it has a star"),
            column("archived", Time, Plain("r.archived"), "since when it is archived"),
            column("user", Text, Field("r.environment", &["user"]), "who ran it"),
            column("host", Text, Field("r.environment", &["host"]), "the machine"),
            column(
                "git_commit",
                Text,
                Field("r.environment", &["git", "commit"]),
                "the code's version",
            ),
            column("git_branch", Text, Field("r.environment", &["git", "branch"]), "the branch"),
            column(
                "git_dirty",
                Flag,
                FlagField("r.environment", &["git", "dirty"]),
                "whether files differed from the commit",
            ),
        ],
        from: "@runs r JOIN @experiments e ON e.id = r.experiment_id
               LEFT JOIN @runs p ON p.id = r.parent_id",
        only: LIVE,
        run: Some("r.public_id"),
        order: "r.id",
    },
    View {
        name: "stages",
        about: "one row for each stage of each run",
        columns: &[
            RUN,
            STAGE,
            column("kind", Text, Plain("s.kind"), "what it does: train, command, …"),
            column(
                "state",
                Text,
                Plain("s.state"),
                "queued, running, succeeded, cached, failed, cancelled, skipped, lost",
            ),
            column("attempts", Integer, Plain("s.attempts"), "how many it had in this run"),
            column("template", Text, Plain("t.name"), "the stage that it is an instance of"),
            column(
                "fingerprint",
                Text,
                Hex("s.fingerprint"),
                "the hash of all that decides its outputs",
            ),
            column(
                "origin_run",
                Text,
                Plain("o.public_id"),
                "the run that its outputs were taken from, if it is cached",
            ),
            column(
                "started",
                Time,
                Plain("s.started"),
                "when its first attempt of the latest round began",
            ),
            column("finished", Time, Plain("s.finished"), "when it came to where it stands"),
            column(
                "duration",
                Real,
                Seconds("s.finished - s.started"),
                "seconds from one to the other",
            ),
            column(
                "failure",
                Text,
                Field("s.failure", &["message"]),
                "why its last attempt failed",
            ),
            column(
                "failure_cause",
                Text,
                Field("s.failure", &["cause"]),
                "exit, signal, out_of_memory, timeout, gate, data, config, …",
            ),
        ],
        from: "@stages s JOIN @runs r ON r.id = s.run_id
               LEFT JOIN @stages t ON t.run_id = s.run_id AND t.position = s.template
               LEFT JOIN @runs o ON s.state = 'cached' AND o.id = s.source_run_id",
        only: LIVE,
        run: Some("r.public_id"),
        order: "s.run_id, s.position",
    },
    View {
        name: "attempts",
        about: "one row for each try of a stage",
        columns: &[
            RUN,
            STAGE,
            column("attempt", Integer, Plain("a.attempt"), "which try, from 1"),
            column("state", Text, Plain("a.state"), "running, succeeded, failed, cancelled, lost"),
            column("queued", Time, Plain("a.queued"), "when it could have begun"),
            column("started", Time, Plain("a.started"), "when it began"),
            column("finished", Time, Plain("a.finished"), "when it ended"),
            column("duration", Real, Seconds("a.wall_micros"), "seconds that it took"),
            column("cpu_seconds", Real, Seconds("a.cpu_micros"), "processor time"),
            column("max_memory_bytes", Integer, Plain("a.max_rss_bytes"), "its largest memory"),
            column("read_bytes", Integer, Plain("a.read_bytes"), "read from disks"),
            column("written_bytes", Integer, Plain("a.written_bytes"), "written to disks"),
            column("gpu_seconds", Real, Seconds("a.gpu_busy_micros"), "time that GPUs were busy"),
            column(
                "gpu_memory_bytes",
                Integer,
                Plain("a.gpu_memory_bytes"),
                "its largest memory on GPUs",
            ),
            column("energy_joules", Real, Number("a.energy_joules"), "energy"),
            column(
                "energy_source",
                Text,
                Plain("a.energy_source"),
                "rapl, nvml, rapl+nvml, or estimate",
            ),
            column(
                "co2_grams",
                Real,
                Number("a.co2_grams"),
                "carbon dioxide, by the factor of wick.yaml",
            ),
            column("failure", Text, Field("a.failure", &["message"]), "why it failed"),
            column("failure_cause", Text, Field("a.failure", &["cause"]), "what sort of failure"),
        ],
        from: "@attempts a JOIN @runs r ON r.id = a.run_id
               JOIN @stages s ON s.run_id = a.run_id AND s.position = a.position",
        only: LIVE,
        run: Some("r.public_id"),
        order: "a.run_id, a.position, a.attempt",
    },
    View {
        name: "params",
        about: "one row for each param of each run",
        columns: &[
            RUN,
            column("name", Text, Plain("p.name"), "its name"),
            column("value", Text, Json("p.value"), "its value; lists and objects as JSON"),
            column("number", Real, Number("p.number"), "its value, where it is a number"),
            column(
                "overridden",
                Flag,
                Each("p.overridden", "(p.overridden)::int"),
                "whether it was given on the command line",
            ),
        ],
        from: "@params p JOIN @runs r ON r.id = p.run_id",
        only: LIVE,
        run: Some("r.public_id"),
        order: "p.run_id, p.name",
    },
    View {
        name: "metrics",
        about: "one row for each point that an attempt measured",
        columns: &[
            RUN,
            STAGE,
            column("attempt", Integer, Plain("m.attempt"), "the attempt that measured it"),
            column("key", Text, Plain("k.name"), "the metric"),
            column("step", Integer, Plain("x.step"), "its place in the series: an epoch, a batch"),
            column("time", Time, Plain("x.time"), "when it was measured"),
            measured("value", "x.value", "the value; NULL where it is NaN"),
        ],
        from: "@metrics m JOIN @runs r ON r.id = m.run_id
               JOIN @stages s ON s.run_id = m.run_id AND s.position = m.position
               JOIN @metric_keys k ON k.id = m.key_id
               JOIN &points x ON x.metric_id = m.id",
        only: LIVE,
        run: Some("r.public_id"),
        order: "m.run_id, m.position, m.attempt, k.name, x.place",
    },
    View {
        name: "latest_metrics",
        about: "one row for each metric of each stage of each run, also of cached stages",
        columns: &[
            RUN,
            STAGE,
            column("key", Text, Plain("k.name"), "the metric"),
            measured("value", "l.value", "its latest value; NULL where it is NaN"),
            column("step", Integer, Plain("m.step"), "the latest point's step"),
            column("points", Integer, Plain("m.points"), "how many points the series has"),
            column("min", Real, Number("m.min"), "the smallest value"),
            column("max", Real, Number("m.max"), "the largest value"),
        ],
        from: "@run_metrics l JOIN @runs r ON r.id = l.run_id
               JOIN @stages s ON s.run_id = l.run_id AND s.position = l.position
               JOIN @metric_keys k ON k.id = l.key_id
               LEFT JOIN @metrics m ON m.run_id = s.source_run_id
                    AND m.position = s.source_position AND m.attempt = s.source_attempt
                    AND m.key_id = l.key_id",
        only: LIVE,
        run: Some("r.public_id"),
        order: "l.run_id, l.position, k.name",
    },
    View {
        name: "artifacts",
        about: "one row for each output of each stage, also of cached stages",
        columns: &[
            RUN,
            STAGE,
            column("output", Text, Plain("o.port"), "the output"),
            column(
                "type",
                Text,
                Plain("o.type"),
                "dataset, transform, model, report, file, folder, value",
            ),
            column("digest", Text, Hex("o.digest"), "the hash of its bytes"),
            column("bytes", Integer, Plain("o.bytes"), "its size"),
            column("meta", Text, Plain("o.meta"), "what is known of it, as JSON"),
        ],
        from: "@stages s JOIN @runs r ON r.id = s.run_id
               JOIN @outputs o ON o.run_id = s.source_run_id AND o.position = s.source_position
                    AND o.attempt = s.source_attempt",
        only: LIVE,
        run: Some("r.public_id"),
        order: "s.run_id, s.position, o.place",
    },
    View {
        name: "lineage",
        about: "one row for each input of a stage and each output that it made",
        columns: &[
            RUN,
            STAGE,
            column("port", Text, Plain("i.port"), "the input; NULL of a stage that reads none"),
            column(
                "item",
                Text,
                Plain("nullif(i.item, '')"),
                "the label of the instance that made it, where the port gathers them",
            ),
            column("from_stage", Text, Plain("i.from_stage"), "the stage that made it"),
            column("from_output", Text, Plain("i.from_output"), "the output of that stage"),
            column("digest", Text, Hex("i.digest"), "what was read"),
            column("output", Text, Plain("o.port"), "an output; NULL of a stage that made none"),
            column("output_digest", Text, Hex("o.digest"), "what was made"),
        ],
        from: "@stages s JOIN @runs r ON r.id = s.run_id
               LEFT JOIN @inputs i ON i.run_id = s.run_id AND i.position = s.position
               LEFT JOIN @outputs o ON o.run_id = s.source_run_id AND o.position = s.source_position
                    AND o.attempt = s.source_attempt",
        only: "r.deleted IS NULL AND (i.port IS NOT NULL OR o.port IS NOT NULL)",
        run: Some("r.public_id"),
        order: "s.run_id, s.position, i.place, o.place",
    },
    View {
        name: "models",
        about: "one row for each version of each registered model",
        columns: &[
            column("name", Text, Plain("m.name"), "the model"),
            column("version", Integer, Plain("v.version"), "from 1"),
            column("digest", Text, Hex("v.digest"), "the artifact"),
            column("run", Text, Plain("r.public_id"), "the run that registered it first"),
            column("stage", Text, Plain("v.stage"), "the stage that did"),
            column("created", Time, Plain("v.created"), "when"),
            column(
                "aliases",
                Text,
                Each(
                    "(SELECT group_concat(a.alias, ',' ORDER BY a.alias) FROM @model_aliases a
                  WHERE a.model_id = v.model_id AND a.version = v.version)",
                    "(SELECT string_agg(a.alias, ',' ORDER BY a.alias) FROM @model_aliases a
                  WHERE a.model_id = v.model_id AND a.version = v.version)",
                ),
                "the names that mean it now, with commas between them",
            ),
            column("description", Text, Plain("m.description"), "what the model is"),
            column("tags", Text, Plain("v.tags"), "free words, as JSON"),
        ],
        from: "@model_versions v JOIN @models m ON m.id = v.model_id
               LEFT JOIN @runs r ON r.id = v.run_id AND r.deleted IS NULL",
        only: "1 = 1",
        run: None,
        order: "m.name, v.version",
    },
    View {
        name: "tags",
        about: "one row for each tag of each run",
        columns: &[
            RUN,
            column("key", Text, Plain("t.key"), "the tag"),
            column("value", Text, Plain("t.value"), "its value"),
        ],
        from: "@tags t JOIN @runs r ON r.id = t.run_id",
        only: LIVE,
        run: Some("r.public_id"),
        order: "t.run_id, t.key",
    },
];

/// The points of the series `m`, unpacked; in SQLite a table of ours does it.
const POSTGRES_POINTS: &str = "LATERAL (
    SELECT c.metric_id, c.place + u.number - 1 AS place,
           coalesce(u.step, c.step + c.stride * (u.number - 1)) AS step,
           coalesce(c.time + u.delay, u.time) AS time, u.value
    FROM @metric_chunks c
         CROSS JOIN unnest(c.values, c.steps, c.delays, c.times)
                    WITH ORDINALITY AS u (value, step, delay, time, number)
    WHERE c.metric_id = m.id
    UNION ALL
    SELECT p.metric_id, p.place, p.step, p.time, p.value FROM @metric_points p
    WHERE p.metric_id = m.id)";

/// The rows of so many runs are sorted at once.
const RUNS_AT_ONCE: usize = 500;

impl View {
    /// Whether its rows are of runs: some of them can be exported.
    pub fn is_of_runs(&self) -> bool {
        self.run.is_some()
    }

    /// The query that the view is. `schema` stands before the names of tables.
    pub(super) fn query(&self, database: Database, schema: &str) -> String {
        self.select(database, schema, false, "")
    }

    /// The queries that give an export, one after the other: of some of the runs each, for a sort
    /// of all points of a store would need its disk twice.
    pub(super) fn exports(
        &self,
        database: Database,
        schema: &str,
        runs: Option<&[RunId]>,
    ) -> Vec<String> {
        match runs {
            Some(runs) if self.is_of_runs() && runs.len() > RUNS_AT_ONCE => runs
                .chunks(RUNS_AT_ONCE)
                .map(|some| self.export(database, schema, Some(some)))
                .collect(),
            runs => vec![self.export(database, schema, runs)],
        }
    }

    /// The query that gives an export: times as microseconds, in order.
    fn export(&self, database: Database, schema: &str, runs: Option<&[RunId]>) -> String {
        let mut tail = String::new();
        if let (Some(runs), Some(run)) = (runs, self.run) {
            // An id of a run is letters and digits: nothing in it can end the text.
            let ids: Vec<String> = runs.iter().map(|run| format!("'{run}'")).collect();
            let ids = if ids.is_empty() { "NULL".to_owned() } else { ids.join(", ") };
            tail = format!(" AND {run} IN ({ids})");
        }
        tail.push_str(&format!(" ORDER BY {}", self.order));
        self.select(database, schema, true, &tail)
    }

    fn select(&self, database: Database, schema: &str, raw_times: bool, tail: &str) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{} AS \"{}\"", column.sql(database, raw_times), column.name))
            .collect();
        let Self { from, only, .. } = self;
        let sql = format!("SELECT {} FROM {from} WHERE {only}{tail}", columns.join(", "));
        let points = match database {
            Database::Sqlite => "wick_points",
            Database::Postgres => POSTGRES_POINTS,
        };
        sql.replace("&points", points).replace('@', schema)
    }
}

impl ViewColumn {
    fn sql(&self, database: Database, raw_times: bool) -> String {
        use Database::*;
        let sql = match (&self.expression, database) {
            (Plain(sql), _) if self.kind == Time && !raw_times => time(sql, database),
            (Plain(sql) | Number(sql), Sqlite) | (Each(sql, _), Sqlite) => (*sql).to_owned(),
            (Plain(sql) | Each(_, sql), Postgres) => (*sql).to_owned(),
            (Number(sql), Postgres) => format!("nullif({sql}, 'NaN'::float8)"),
            (Seconds(sql), _) => format!("CAST({sql} AS DOUBLE PRECISION) / 1e6"),
            (Hex(sql), Sqlite) => format!("CASE WHEN {sql} IS NOT NULL THEN lower(hex({sql})) END"),
            (Hex(sql), Postgres) => format!("encode({sql}, 'hex')"),
            (Field(sql, path), Sqlite) => {
                format!("CAST({sql} ->> '$.{}' AS TEXT)", path.join("."))
            }
            (Field(sql, path), Postgres) => format!("{sql}::json #>> '{{{}}}'", path.join(",")),
            (FlagField(sql, path), Sqlite) => {
                // JSON's true and false are 1 and 0 to SQLite.
                format!("CAST({sql} ->> '$.{}' AS INTEGER)", path.join("."))
            }
            (FlagField(sql, path), Postgres) => {
                format!("({sql}::json #>> '{{{}}}')::boolean::int", path.join(","))
            }
            (Json(sql), _) => unquoted(sql, database),
        };
        // Texts sort by their bytes, as they do in SQLite, whatever language the server speaks.
        let is_text = matches!(self.kind, Text) || (self.kind == Time && !raw_times);
        if database == Postgres && is_text { format!("({sql}) COLLATE \"C\"") } else { sql }
    }
}

/// Microseconds since 1970 as a text that sorts.
fn time(micros: &str, database: Database) -> String {
    match database {
        Database::Sqlite => {
            // Rounded down, also before 1970.
            let rest = format!("(({micros} % 1000000 + 1000000) % 1000000)");
            format!(
                "strftime('%Y-%m-%d %H:%M:%S', ({micros} - {rest}) / 1000000, 'unixepoch')
                 || printf('.%06d', {rest})"
            )
        }
        Database::Postgres => format!(
            "to_char(timestamp '1970-01-01' + {micros} * interval '1 microsecond',
                     'YYYY-MM-DD HH24:MI:SS.US')"
        ),
    }
}

/// JSON as text; a text itself, unless it holds a zero byte, which no database can show.
fn unquoted(json: &str, database: Database) -> String {
    let (find, text) = match database {
        Database::Sqlite => ("instr", format!("{json} ->> '$'")),
        Database::Postgres => ("strpos", format!("{json}::json #>> '{{}}'")),
    };
    format!(
        "CASE WHEN {json} LIKE '\"%' AND {find}({json}, '\\u0000') = 0 THEN {text} ELSE {json} END"
    )
}

/// The statements that make the views for one connection.
pub(super) fn sqlite_views() -> String {
    VIEWS
        .iter()
        .map(|view| {
            let query = view.query(Database::Sqlite, "main.");
            format!("CREATE TEMP VIEW \"{}\" AS {query};\n", view.name)
        })
        .collect()
}

/// The views that `text` may name, as they stand after WITH; empty if it can name none.
pub(super) fn postgres_views(text: &str, schema: &str) -> String {
    let text = text.to_lowercase();
    VIEWS
        .iter()
        .filter(|view| text.contains(view.name))
        .map(|view| {
            let query = view.query(Database::Postgres, schema);
            format!("\"{}\" AS NOT MATERIALIZED ({query})", view.name)
        })
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_everything_is_told() {
        let views: HashSet<&str> = VIEWS.iter().map(|view| view.name).collect();
        assert_eq!(views.len(), VIEWS.len());
        for view in VIEWS {
            let names: HashSet<&str> = view.columns.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), view.columns.len(), "{}", view.name);
            assert!(!view.about.is_empty() && view.columns.iter().all(|c| !c.about.is_empty()));
        }
    }

    #[test]
    fn postgres_gets_what_is_named() {
        assert_eq!(postgres_views("SELECT 1", "s."), "");
        let views = postgres_views("SELECT * FROM Tags", "s.");
        assert!(views.starts_with("\"tags\" AS NOT MATERIALIZED (SELECT"), "{views}");
        assert!(views.contains("FROM s.tags t JOIN s.runs r"), "{views}");
    }

    #[test]
    fn an_export_of_no_run_is_empty() {
        let sql = VIEWS[0].export(Database::Sqlite, "main.", Some(&[]));
        assert!(sql.contains("IN (NULL)"), "{sql}");
    }
}

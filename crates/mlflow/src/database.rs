//! MLflow's SQLite database, which is only read.

use std::path::Path;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Row};

use crate::{
    ForeignRun, ForeignSeries, Listed, Listing, MAX_ENTRIES, MAX_KEY, MAX_POINTS, MAX_TEXT,
    MlflowError, MlflowResult, Skipped, Status, is_id, known, unbounded,
};

/// A database of MLflow's.
pub struct Database {
    connection: SqliteConnection,
}

impl Database {
    pub(crate) async fn open(path: &Path) -> MlflowResult<Self> {
        std::fs::metadata(path).map_err(|error| MlflowError::read(path.display(), error))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .pragma("query_only", "on")
            .disable_statement_logging();
        let not_mlflow = |why: &str| {
            MlflowError::Place(format!("{} is not MLflow's database: {why}", path.display()))
        };
        let mut connection =
            options.connect().await.map_err(|error| not_mlflow(&error.to_string()))?;
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN
                 ('experiments', 'runs', 'metrics', 'params', 'tags')",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(|error| not_mlflow(&error.to_string()))?;
        if tables != 5 {
            return Err(not_mlflow("it has no tables of experiments, runs, metrics, params, tags"));
        }
        Ok(Self { connection })
    }

    pub(crate) async fn list(&mut self) -> MlflowResult<Listing> {
        let mut listing = Listing::default();
        let mut rows = sqlx::query(
            "SELECT CAST(substr(r.run_uuid, 1, 100) AS TEXT),
                    CAST(substr(e.name, 1, 1000) AS TEXT),
                    CAST(r.start_time AS INTEGER),
                    r.lifecycle_stage = 'deleted' OR e.lifecycle_stage = 'deleted'
             FROM runs r LEFT JOIN experiments e ON e.experiment_id = r.experiment_id",
        )
        .fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await? {
            let id: Option<String> = row.try_get(0)?;
            let id = id.unwrap_or_default();
            let experiment: Option<String> = row.try_get(1)?;
            let deleted: Option<bool> = row.try_get(3)?;
            let skipped = match (&experiment, is_id(&id)) {
                (_, false) => "its id is not one of MLflow's",
                (None, _) => "its experiment is not there",
                _ if deleted == Some(true) => "it was deleted",
                _ => "",
            };
            if !skipped.is_empty() {
                listing.skipped.push(Skipped::new(format!("run {id}"), skipped));
                continue;
            }
            listing.runs.push(Listed {
                id,
                experiment: experiment.unwrap_or_default(),
                started: row.try_get::<Option<i64>, _>(2)?.unwrap_or_default(),
                within: String::new(),
            });
        }
        Ok(listing)
    }

    pub(crate) async fn run(&mut self, listed: &Listed) -> MlflowResult<ForeignRun> {
        self.whole(listed).await.map_err(|error| match error {
            // A value that is not what it should be is this run's alone.
            MlflowError::Database(
                error @ (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)),
            ) => MlflowError::run(error),
            error => error,
        })
    }

    async fn whole(&mut self, listed: &Listed) -> MlflowResult<ForeignRun> {
        let row = sqlx::query(
            "SELECT CAST(substr(name, 1, 1000) AS TEXT), CAST(substr(user_id, 1, 1000) AS TEXT),
                    CAST(substr(status, 1, 20) AS TEXT), CAST(start_time AS INTEGER),
                    CAST(end_time AS INTEGER), CAST(substr(artifact_uri, 1, 1000) AS TEXT)
             FROM runs WHERE run_uuid = $1",
        )
        .bind(&listed.id)
        .fetch_optional(&mut self.connection)
        .await?
        .ok_or_else(|| MlflowError::run("it is gone"))?;
        let text = |place: usize| -> MlflowResult<Option<String>> {
            Ok(row.try_get::<Option<String>, _>(place)?.filter(|text| !text.is_empty()))
        };
        let status = text(2)?.and_then(|text| Status::parse(&text));
        let started: Option<i64> = row.try_get(3)?;
        Ok(ForeignRun {
            id: listed.id.clone(),
            experiment: listed.experiment.clone(),
            name: text(0)?,
            user: known(text(1)?),
            status: status.ok_or_else(|| MlflowError::run("its status is unknown"))?,
            started: started.ok_or_else(|| MlflowError::run("it has no start time"))?,
            finished: row.try_get(4)?,
            artifacts: text(5)?,
            params: self.texts(PARAMS, &listed.id).await?,
            tags: self.texts(TAGS, &listed.id).await?,
            series: self.series(&listed.id).await?,
        })
    }

    async fn texts(&mut self, sql: &'static str, run: &str) -> MlflowResult<Vec<(String, String)>> {
        let mut rows = sqlx::query(sql).bind(run).fetch(&mut self.connection);
        let mut texts = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let (key, text): (Option<String>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
            let (key, text) = (key.unwrap_or_default(), text.unwrap_or_default());
            if key.len() > MAX_KEY || text.len() > MAX_TEXT || texts.len() >= MAX_ENTRIES {
                return Err(MlflowError::run("it has too many params or tags, or too long ones"));
            }
            texts.push((key, text));
        }
        Ok(texts)
    }

    async fn series(&mut self, run: &str) -> MlflowResult<Vec<ForeignSeries>> {
        let mut rows = sqlx::query(POINTS).bind(run).fetch(&mut self.connection);
        let mut all: Vec<ForeignSeries> = Vec::new();
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            let (key, point) = point(&row)?;
            count += 1;
            if key.len() > MAX_KEY || all.len() > MAX_ENTRIES || count > MAX_POINTS {
                return Err(MlflowError::run("it has more points than can be read at once"));
            }
            match all.last_mut().filter(|series| series.key == key) {
                Some(series) => series.points.push(point),
                None => all.push(ForeignSeries { key, points: vec![point] }),
            }
        }
        Ok(all)
    }
}

// One more than may be, so that it is seen that there is more.
const PARAMS: &str = "
    SELECT CAST(substr(key, 1, 1025) AS TEXT), CAST(substr(value, 1, 1048577) AS TEXT)
    FROM params WHERE run_uuid = $1 ORDER BY key";
const TAGS: &str = "
    SELECT CAST(substr(key, 1, 1025) AS TEXT), CAST(substr(value, 1, 1048577) AS TEXT)
    FROM tags WHERE run_uuid = $1 ORDER BY key";

/// As they came, as far as MLflow knows it: their order is not kept.
const POINTS: &str = "
    SELECT CAST(substr(key, 1, 1025) AS TEXT), CAST(step AS INTEGER), CAST(timestamp AS INTEGER),
           CAST(value AS REAL), CAST(is_nan AS INTEGER)
    FROM metrics WHERE run_uuid = $1 ORDER BY key, timestamp, step, rowid";

fn point(row: &SqliteRow) -> MlflowResult<(String, (i64, i64, f64))> {
    let key: Option<String> = row.try_get(0)?;
    let step: Option<i64> = row.try_get(1)?;
    let time: Option<i64> = row.try_get(2)?;
    let value: Option<f64> = row.try_get(3)?;
    let is_nan: Option<i64> = row.try_get(4)?;
    let value = match (value, is_nan) {
        (_, Some(1)) | (None, _) => f64::NAN,
        (Some(value), _) => unbounded(value),
    };
    Ok((key.unwrap_or_default(), (step.unwrap_or_default(), time.unwrap_or_default(), value)))
}

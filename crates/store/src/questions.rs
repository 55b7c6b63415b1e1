//! What is asked over many runs: how a stage did in each of them, and where bytes came from and
//! went. The types of the answers, the SQL that both databases share, and what its rows mean.

use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;
use wick_core::{
    AttemptState, Digest, ExperimentName, Failure, KindName, PortName, PortType, RunId, RunState,
    StageOrigin, Timestamp,
};

use crate::error::StoreResult;
use crate::records::StageRecord;
use crate::rows::{StageRow, corrupt, count, digest, json, port_type, size, text};

/// How many artifacts a prefix of a digest brings at most.
pub(crate) const MAX_FOUND_ARTIFACTS: i64 = 20;

/// Of which stage the history is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StageQuery {
    /// The stage's name; of a stage with instances, all of them are meant.
    pub stage: String,
    /// Only in runs of this experiment.
    pub experiment: Option<ExperimentName>,
    /// At most so many; 0 for all.
    pub limit: u32,
    /// After leaving out so many.
    pub offset: u32,
}

/// A stage in one of the runs that had it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageInRun {
    /// The run.
    pub run: RunId,
    /// The run's experiment.
    pub experiment: ExperimentName,
    /// Where the run stands.
    pub run_state: RunState,
    /// When the run was first started.
    pub run_started: Timestamp,
    /// The stage.
    pub stage: StageRecord,
    /// Its attempts in this run.
    pub attempts: Vec<StageAttempt>,
    /// The latest value of each of its metrics, by key; of a cached stage, those of its origin.
    pub metrics: Vec<(String, f64)>,
}

/// An attempt, as the history of a stage shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageAttempt {
    /// Which try, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub state: AttemptState,
    /// When it started.
    pub started: Timestamp,
    /// How long it took.
    pub wall_micros: Option<u64>,
    /// What its processes computed.
    pub cpu_micros: Option<u64>,
    /// The most memory that it held.
    pub max_rss_bytes: Option<u64>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// An artifact and the attempt that made it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MadeArtifact {
    /// The attempt.
    pub by: StageOrigin,
    /// The kind of its stage.
    pub kind: KindName,
    /// The port.
    pub port: PortName,
    /// Its type.
    #[serde(rename = "type")]
    pub port_type: PortType,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Facts noted of it.
    pub meta: Value,
}

/// An attempt that read some bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reader {
    /// What was read.
    pub digest: Digest,
    /// How.
    pub read_as: ReadAs,
    /// The attempt: of a stage that was cached, the one that computed.
    pub by: StageOrigin,
    /// The kind of its stage.
    pub kind: KindName,
    /// How the attempt stands.
    pub state: AttemptState,
    /// When it started.
    pub started: Timestamp,
    /// In how many runs its outputs stand, where that is known: its own, and those in which it was
    /// cached.
    pub runs: Option<u64>,
    /// The environment of the run that computed.
    pub environment: serde_json::Value,
    /// What went into its fingerprint, if that was told.
    pub parts: Option<serde_json::Value>,
    /// What it made.
    pub outputs: Vec<MadeArtifact>,
}

/// How an attempt came to some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadAs {
    /// As the artifact of another stage.
    Input {
        /// The port that read.
        port: PortName,
        /// Where the port gathers instances: the label of the one that made it.
        item: Option<String>,
    },
    /// As a file or folder outside the store.
    Source {
        /// Its path from the pipeline's folder.
        path: String,
    },
}

/// The digests that begin with some hexadecimal digits: the first and the last of them. `None` if
/// the text is no such beginning.
pub(crate) fn digests_between(prefix: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_digit) {
        return None;
    }
    let filled = |with: char| {
        let digits: String = prefix.chars().chain(std::iter::repeat(with)).take(64).collect();
        digits.parse::<Digest>().ok().map(|digest| digest.as_bytes().to_vec())
    };
    Some((filled('0')?, filled('f')?))
}

/// Artifacts between two digests, each once.
pub(crate) const ARTIFACTS_BETWEEN: &str = "
    SELECT DISTINCT digest FROM outputs WHERE digest >= $1 AND digest <= $2
    ORDER BY digest LIMIT $3";

/// The columns of a stage, with the page of stages `page` (run_id, position, …) it is found by.
pub(crate) const STAGES_OF_PAGE: &str = "
    SELECT page.run_id, page.position, page.run, e.name AS experiment, page.run_state,
    page.run_started, s.name, s.kind, s.state, s.fingerprint, s.attempts, s.because, s.started,
    s.finished, s.failure, r.public_id AS origin_run, o.name AS origin_stage,
    CASE WHEN r.id IS NOT NULL THEN s.source_attempt END AS origin_attempt,
    t.name AS template, s.source_run_id, s.source_position, s.source_attempt
    FROM page
    JOIN experiments e ON e.id = page.experiment_id
    JOIN stages s ON s.run_id = page.run_id AND s.position = page.position
    LEFT JOIN stages t ON t.run_id = s.run_id AND t.position = s.template
    LEFT JOIN runs r ON s.state = 'cached' AND r.id = s.source_run_id
    LEFT JOIN stages o ON o.run_id = r.id AND o.position = s.source_position
    ORDER BY page.run_id DESC, page.position";

/// What was never begun is no history, and what was put away is left out.
pub(crate) const IS_TOLD: &str = "r.deleted IS NULL AND r.archived IS NULL AND s.state <> 'queued'";

/// The makers of artifacts; `$from` brings the digests as `o.digest`.
macro_rules! makers {
    ($from:literal) => {
        concat!(
            "SELECT o.digest, r.public_id AS run, s.name AS stage, o.attempt, s.kind, o.port,
                    o.type AS port_type, o.bytes, o.meta ",
            $from,
            " JOIN stages s ON s.run_id = o.run_id AND s.position = o.position
              JOIN runs r ON r.id = o.run_id
              ORDER BY o.run_id, o.position, o.attempt, o.place LIMIT $2"
        )
    };
}

/// The readers of artifacts; `$from` brings the rows of `inputs` as `i` and their stages as `s`.
/// Readers come together by the attempt that computed, with all that it made, newest first. Those
/// of deleted runs do not count, but for what living runs took from them.
macro_rules! readers {
    ($from:literal) => {
        concat!(
            "WITH reader AS (
                 SELECT i.digest, i.port, i.item, s.kind,
                        coalesce(s.source_run_id, s.run_id) AS by_run,
                        coalesce(s.source_position, s.position) AS by_position,
                        coalesce(s.source_attempt, s.attempts) AS by_attempt,
                        count(*) AS runs, max(i.run_id) AS newest ",
            $from,
            " JOIN runs live ON live.id = i.run_id AND live.deleted IS NULL
              GROUP BY i.digest, i.port, i.item, s.kind, coalesce(s.source_run_id, s.run_id),
                       coalesce(s.source_position, s.position),
                       coalesce(s.source_attempt, s.attempts)
              ORDER BY newest DESC, by_position LIMIT $2)
              SELECT reader.digest, reader.port, reader.item, reader.kind, reader.runs,
                     r.public_id AS run, s.name AS stage, a.attempt, a.state, a.started,
                     r.environment, p.parts, o.port AS made_port, o.type AS made_type, o.digest AS made_digest,
                     o.bytes AS made_bytes, o.meta AS made_meta
              FROM reader
              JOIN runs r ON r.id = reader.by_run
              JOIN stages s ON s.run_id = reader.by_run AND s.position = reader.by_position
              JOIN attempts a ON a.run_id = reader.by_run AND a.position = reader.by_position
                             AND a.attempt = reader.by_attempt
              LEFT JOIN fingerprint_parts p ON p.fingerprint = a.fingerprint
              LEFT JOIN outputs o ON o.run_id = a.run_id AND o.position = a.position
                                 AND o.attempt = a.attempt
              ORDER BY reader.newest DESC, reader.by_run, reader.by_position, reader.digest,
                       reader.port, reader.item, o.place"
        )
    };
}

/// The readers of sources; `$from` brings the rows of `fingerprint_sources` as `i`. Of equal
/// fingerprints the newest attempt that succeeded stands for all.
macro_rules! source_readers {
    ($from:literal) => {
        concat!(
            "WITH reader AS (
                 SELECT i.digest, i.path, f.run_id, f.position, f.attempt ",
            $from,
            " JOIN fingerprints f ON f.fingerprint = i.fingerprint
              ORDER BY f.run_id DESC, f.position LIMIT $2)
              SELECT reader.digest, reader.path AS port, '' AS item, s.kind,
                     CAST(NULL AS BIGINT) AS runs,
                     r.public_id AS run, s.name AS stage, a.attempt, a.state, a.started,
                     r.environment, p.parts, o.port AS made_port, o.type AS made_type, o.digest AS made_digest,
                     o.bytes AS made_bytes, o.meta AS made_meta
              FROM reader
              JOIN runs r ON r.id = reader.run_id
              JOIN stages s ON s.run_id = reader.run_id AND s.position = reader.position
              JOIN attempts a ON a.run_id = reader.run_id AND a.position = reader.position
                             AND a.attempt = reader.attempt
              LEFT JOIN fingerprint_parts p ON p.fingerprint = a.fingerprint
              LEFT JOIN outputs o ON o.run_id = a.run_id AND o.position = a.position
                                 AND o.attempt = a.attempt
              ORDER BY reader.run_id DESC, reader.position, reader.digest, reader.path, o.place"
        )
    };
}

pub(crate) use {makers, readers, source_readers};

/// A stage of a page.
#[derive(Debug, FromRow)]
pub(crate) struct PageRow {
    pub(crate) run_id: i64,
    pub(crate) position: i64,
    run: String,
    experiment: String,
    run_state: String,
    run_started: i64,
    pub(crate) source_run_id: Option<i64>,
    pub(crate) source_position: Option<i64>,
    pub(crate) source_attempt: Option<i64>,
    #[sqlx(flatten)]
    stage: StageRow,
}

/// An attempt of a stage of a page.
#[derive(Debug, FromRow)]
pub(crate) struct PageAttemptRow {
    pub(crate) run_id: i64,
    pub(crate) position: i64,
    attempt: i64,
    state: String,
    started: i64,
    wall_micros: Option<i64>,
    cpu_micros: Option<i64>,
    max_rss_bytes: Option<i64>,
    failure: Option<String>,
}

/// A metric of an attempt: its run, its place there, its number, the key, the value.
pub(crate) type PageMetricRow = (i64, i64, i64, String, Option<f64>);

impl PageRow {
    fn record(self) -> StoreResult<StageInRun> {
        Ok(StageInRun {
            run: text("a run id", &self.run)?,
            experiment: text("an experiment", &self.experiment)?,
            run_state: text("a state", &self.run_state)?,
            run_started: Timestamp(self.run_started),
            stage: self.stage.record()?,
            attempts: Vec::new(),
            metrics: Vec::new(),
        })
    }
}

impl PageAttemptRow {
    fn record(&self) -> StoreResult<StageAttempt> {
        Ok(StageAttempt {
            attempt: count(self.attempt)?,
            state: text("a state", &self.state)?,
            started: Timestamp(self.started),
            wall_micros: self.wall_micros.map(size).transpose()?,
            cpu_micros: self.cpu_micros.map(size).transpose()?,
            max_rss_bytes: self.max_rss_bytes.map(size).transpose()?,
            failure: self.failure.as_deref().map(|text| json("a failure", text)).transpose()?,
        })
    }
}

/// Puts what was read of a page together.
pub(crate) fn page(
    rows: Vec<PageRow>,
    attempts: &[PageAttemptRow],
    metrics: Vec<PageMetricRow>,
) -> StoreResult<Vec<StageInRun>> {
    use std::collections::HashMap;
    let mut own: HashMap<(i64, i64), Vec<&PageAttemptRow>> = HashMap::new();
    for row in attempts {
        own.entry((row.run_id, row.position)).or_default().push(row);
    }
    let mut measured: HashMap<(i64, i64, i64), Vec<(String, f64)>> = HashMap::new();
    for (run, position, attempt, key, value) in metrics {
        // A database may keep what is no number as NULL.
        let metric = (key, value.unwrap_or(f64::NAN));
        measured.entry((run, position, attempt)).or_default().push(metric);
    }
    rows.into_iter()
        .map(|row| {
            let place = (row.run_id, row.position);
            let source = (row.source_run_id, row.source_position, row.source_attempt);
            let mut record = row.record()?;
            let attempts = own.get(&place).into_iter().flatten();
            record.attempts = attempts.map(|row| row.record()).collect::<StoreResult<_>>()?;
            if let (Some(run), Some(position), Some(attempt)) = source {
                // Several stages of a page may be cached from one.
                record.metrics =
                    measured.get(&(run, position, attempt)).cloned().unwrap_or_default();
            }
            Ok(record)
        })
        .collect()
}

#[derive(Debug, FromRow)]
pub(crate) struct MadeRow {
    digest: Vec<u8>,
    run: String,
    stage: String,
    attempt: i64,
    kind: String,
    port: String,
    port_type: String,
    bytes: i64,
    meta: String,
}

impl MadeRow {
    pub(crate) fn record(self) -> StoreResult<MadeArtifact> {
        Ok(MadeArtifact {
            by: origin(&self.run, &self.stage, self.attempt)?,
            kind: text("a kind", &self.kind)?,
            port: text("a port", &self.port)?,
            port_type: port_type(&self.port_type)?,
            digest: digest(&self.digest)?,
            bytes: size(self.bytes)?,
            meta: json("an artifact's meta", &self.meta)?,
        })
    }
}

fn origin(run: &str, stage: &str, attempt: i64) -> StoreResult<StageOrigin> {
    Ok(StageOrigin {
        run: text("a run id", run)?,
        stage: text("a stage", stage)?,
        attempt: count(attempt)?,
    })
}

/// A reader with one of its outputs, if it has any.
#[derive(Debug, FromRow)]
pub(crate) struct ReaderRow {
    digest: Vec<u8>,
    port: String,
    item: String,
    kind: String,
    runs: Option<i64>,
    run: String,
    stage: String,
    attempt: i64,
    state: String,
    started: i64,
    environment: String,
    parts: Option<String>,
    made_port: Option<String>,
    made_type: Option<String>,
    made_digest: Option<Vec<u8>>,
    made_bytes: Option<i64>,
    made_meta: Option<String>,
}

impl ReaderRow {
    /// The readers of artifacts that the rows tell of; the rows of one lie together.
    pub(crate) fn of_artifacts(rows: &[Self]) -> StoreResult<Vec<Reader>> {
        Self::readers(rows, |row| {
            let item = Some(row.item.clone()).filter(|item| !item.is_empty());
            Ok(ReadAs::Input { port: text("a port", &row.port)?, item })
        })
    }

    /// The readers of sources that the rows tell of.
    pub(crate) fn of_sources(rows: &[Self]) -> StoreResult<Vec<Reader>> {
        Self::readers(rows, |row| Ok(ReadAs::Source { path: row.port.clone() }))
    }

    fn readers(
        rows: &[Self],
        read_as: impl Fn(&Self) -> StoreResult<ReadAs>,
    ) -> StoreResult<Vec<Reader>> {
        let mut readers: Vec<Reader> = Vec::new();
        let mut last: Option<&Self> = None;
        for row in rows {
            let is_same = last.is_some_and(|last| {
                (&last.digest, &last.port, &last.item) == (&row.digest, &row.port, &row.item)
                    && (&last.run, &last.stage, last.attempt) == (&row.run, &row.stage, row.attempt)
            });
            if !is_same {
                readers.push(row.reader(read_as(row)?)?);
            }
            last = Some(row);
            if let (Some(reader), Some(made)) = (readers.last_mut(), row.made()?) {
                reader.outputs.push(made);
            }
        }
        Ok(readers)
    }

    fn reader(&self, read_as: ReadAs) -> StoreResult<Reader> {
        Ok(Reader {
            digest: digest(&self.digest)?,
            read_as,
            by: origin(&self.run, &self.stage, self.attempt)?,
            kind: text("a kind", &self.kind)?,
            state: text("a state", &self.state)?,
            started: Timestamp(self.started),
            runs: self.runs.map(size).transpose()?,
            environment: json("an environment", &self.environment)?,
            parts: self.parts.as_deref().map(|parts| json("parts", parts)).transpose()?,
            outputs: Vec::new(),
        })
    }

    fn made(&self) -> StoreResult<Option<MadeArtifact>> {
        let Some(port) = &self.made_port else { return Ok(None) };
        let missing = || corrupt("an output", port);
        Ok(Some(MadeArtifact {
            by: origin(&self.run, &self.stage, self.attempt)?,
            kind: text("a kind", &self.kind)?,
            port: text("a port", port)?,
            port_type: port_type(self.made_type.as_deref().ok_or_else(missing)?)?,
            digest: digest(self.made_digest.as_deref().ok_or_else(missing)?)?,
            bytes: size(self.made_bytes.ok_or_else(missing)?)?,
            meta: json("an artifact's meta", self.made_meta.as_deref().ok_or_else(missing)?)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_digits_spans_the_digests_that_begin_so() {
        let (low, high) = digests_between("ab3").expect("digits");
        assert_eq!((low[0], low[1], low[31]), (0xab, 0x30, 0));
        assert_eq!((high[0], high[1], high[31]), (0xab, 0x3f, 0xff));
        let whole = "f".repeat(64);
        let (low, high) = digests_between(&whole).expect("digits");
        assert_eq!(low, high);
        for text in ["", "xyz", "AB", "é", &"a".repeat(65)] {
            assert!(digests_between(text).is_none(), "{text}");
        }
    }
}

//! What a run of MLflow's is to us: a run of one stage, called `mlflow`.

use serde_json::{Map, Value, json};
use wick_core::{
    AttemptState, Digest, ExperimentName, Failure, FailureCause, Fingerprint, KindName, RunId,
    RunState, StageName, StageOrigin, Timestamp, Usage, id,
};
use wick_store::dump::{
    AttemptDump, DUMP_VERSION, Json, ParamDump, RunDump, SeriesDump, StageDump,
};
use wick_store::{Marks, StoreError, StoreResult};

use crate::{ForeignRun, Status, printable};

/// The stage and its kind.
pub const STAGE: &str = "mlflow";

/// The longest key of a tag and name of a run, in bytes, that a store takes.
const MAX_MARK: usize = wick_store::MAX_MARK_LENGTH;

/// The id that a run of MLflow's has with us: the same whenever and wherever it is imported.
pub fn run_id(id: &str) -> RunId {
    let digest = Digest::of(format!("mlflow run {id}").as_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&digest.as_bytes()[..8]);
    RunId::from_random(u64::from_le_bytes(low))
}

/// The run as it can be loaded.
///
/// # Errors
/// If something in it cannot be written as JSON.
pub fn of(run: &ForeignRun) -> StoreResult<RunDump> {
    let id = run_id(&run.id);
    let stage = name::<StageName>(STAGE)?;
    let kind = name::<KindName>(STAGE)?;
    let fingerprint = Fingerprint(Digest::of(format!("mlflow fingerprint {}", run.id).as_bytes()));
    let (state, of_stage) = match run.status {
        Status::Finished => (RunState::Succeeded, AttemptState::Succeeded),
        Status::Failed => (RunState::Failed, AttemptState::Failed),
        Status::Killed => (RunState::Cancelled, AttemptState::Cancelled),
        // Nobody drives it here.
        Status::Running => (RunState::Interrupted, AttemptState::Lost),
    };
    let started = micros(run.started);
    let finished = Some(micros(run.finished.unwrap_or_else(|| last_seen(run))));
    let failure = (run.status == Status::Failed).then(|| Failure {
        cause: FailureCause::Exit,
        message: "the run failed, says MLflow".to_owned(),
        chain: Vec::new(),
        help: None,
        exit: None,
    });
    let wall = finished.map_or(0, |end: Timestamp| end.micros_since(started).max(0)) as u64;
    Ok(RunDump {
        version: DUMP_VERSION,
        id: id.clone(),
        experiment: experiment(&run.experiment)?,
        pipeline: STAGE.to_owned(),
        pipeline_path: String::new(),
        pipeline_text: "# A run of MLflow, imported.\n".to_owned(),
        parent: tag(run, "mlflow.parentRunId").map(run_id).filter(|parent| *parent != id),
        environment: Json::of(&environment(run))?,
        git_diff: None,
        plan: Digest::of(b"mlflow"),
        state,
        started,
        finished,
        marks: marks(run),
        params: params(run)?,
        stages: vec![StageDump {
            stage: stage.clone(),
            template: None,
            kind,
            state: of_stage,
            fingerprint: Some(fingerprint),
            attempts: 1,
            source: Some(StageOrigin { run: id, stage: stage.clone(), attempt: 1 }),
            because: None,
            started: Some(started),
            finished,
            failure: failure.clone(),
            inputs: Vec::new(),
            metrics: Vec::new(),
        }],
        attempts: vec![AttemptDump {
            stage: stage.clone(),
            attempt: 1,
            state: of_stage,
            fingerprint,
            pid: None,
            queued: None,
            started,
            finished,
            usage: Some(Usage { wall_micros: wall, ..Usage::default() }),
            failure,
            effects: None,
            outputs: Vec::new(),
        }],
        series: series(run, &stage),
        parts: Vec::new(),
        events: Vec::new(),
    })
}

fn name<T: std::str::FromStr>(text: &str) -> StoreResult<T> {
    text.parse().map_err(|_| StoreError::Refused(format!("`{text}` is not a name")))
}

/// Milliseconds as the store keeps time.
fn micros(millis: i64) -> Timestamp {
    Timestamp(millis.saturating_mul(1000))
}

/// The last sign of life of a run that has not ended, in milliseconds.
fn last_seen(run: &ForeignRun) -> i64 {
    let points = run.series.iter().flat_map(|series| &series.points);
    points.map(|point| point.1).max().unwrap_or(run.started).max(run.started)
}

fn tag<'a>(run: &'a ForeignRun, key: &str) -> Option<&'a str> {
    run.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// An experiment's name in our letters: MLflow allows any. What was changed gets a few characters
/// of a hash, so that two experiments never become one.
fn experiment(given: &str) -> StoreResult<ExperimentName> {
    if let Ok(name) = ExperimentName::new(given) {
        return Ok(name);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: Vec<&str> = given.split(|c| !fits(c)).filter(|word| !word.is_empty()).collect();
    let mut plain = words.join("-");
    if !plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        plain.insert_str(0, if plain.is_empty() { "experiment" } else { "experiment-" });
    }
    // What is left is ASCII.
    plain.truncate(id::MAX_NAME_LENGTH - 7);
    let hash = Digest::of(given.as_bytes()).short();
    name(&format!("{plain}-{}", &hash[..6]))
}

fn environment(run: &ForeignRun) -> Value {
    let mut environment = Map::new();
    environment.insert("version".to_owned(), 1.into());
    let user = run.user.as_deref().or_else(|| tag(run, "mlflow.user"));
    environment.insert("user".to_owned(), user.map(printable).into());
    if let Some(commit) = tag(run, "mlflow.source.git.commit") {
        let branch = tag(run, "mlflow.source.git.branch").map(printable);
        let git = json!({"commit": printable(commit), "branch": branch});
        environment.insert("git".to_owned(), git);
    }
    let mlflow = json!({
        "run": run.id,
        "experiment": run.experiment,
        "source": tag(run, "mlflow.source.name").map(printable),
        "artifacts": run.artifacts.as_deref().map(printable),
    });
    environment.insert("mlflow".to_owned(), mlflow);
    environment.into()
}

fn marks(run: &ForeignRun) -> Marks {
    // These have places of their own.
    const ELSEWHERE: [&str; 3] = ["mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"];
    let name = run.name.as_deref().or_else(|| tag(run, "mlflow.runName"));
    let mut tags: Vec<(String, String)> = run
        .tags
        .iter()
        .filter(|(key, _)| !ELSEWHERE.contains(&key.as_str()))
        .filter_map(|(key, value)| Some((mark(key)?, value.clone())))
        .collect();
    tags.push(("mlflow.run_id".to_owned(), run.id.clone()));
    tags.sort();
    tags.dedup_by(|a, b| a.0 == b.0);
    Marks {
        name: name.and_then(mark),
        note: tag(run, "mlflow.note.content").filter(|note| !note.is_empty()).map(str::to_owned),
        tags,
        ..Marks::default()
    }
}

/// A text that a run can be called, or a tag: one line, not too long; `None` if nothing is left.
fn mark(text: &str) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim().trim_start_matches('@').trim_start();
    let text = &text[..text.floor_char_boundary(MAX_MARK)];
    (!text.is_empty()).then(|| text.to_owned())
}

/// The params, by name. MLflow keeps texts; what is a number becomes one, so that it can be
/// compared as one.
fn params(run: &ForeignRun) -> StoreResult<Vec<ParamDump>> {
    let mut params: Vec<ParamDump> = run
        .params
        .iter()
        .map(|(name, value)| {
            let value = match number(value) {
                Some(number) => number,
                None => Json::of(value)?,
            };
            Ok(ParamDump { name: name.clone(), value, overridden: false })
        })
        .collect::<StoreResult<_>>()?;
    params.sort_by(|a, b| a.name.cmp(&b.name));
    params.dedup_by(|a, b| a.name == b.name);
    Ok(params)
}

/// The number that a text is, as it is written.
fn number(text: &str) -> Option<Json> {
    let looks_so = text.len() <= 40 && text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let json: Json = looks_so.then(|| serde_json::from_str(text).ok())??;
    // A space before or after it would not come back.
    (json.as_str() == text && json.number().is_some_and(f64::is_finite)).then_some(json)
}

/// The metrics, by key.
fn series(run: &ForeignRun, stage: &StageName) -> Vec<SeriesDump> {
    let mut all: Vec<SeriesDump> = run
        .series
        .iter()
        .filter(|series| !series.points.is_empty())
        .map(|series| SeriesDump {
            stage: stage.clone(),
            attempt: 1,
            key: series.key.clone(),
            steps: series.points.iter().map(|point| point.0).collect(),
            times: series.points.iter().map(|point| micros(point.1).0).collect(),
            values: series.points.iter().map(|point| point.2).collect(),
        })
        .collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all.dedup_by(|a, b| a.key == b.key);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ForeignSeries;

    fn run() -> ForeignRun {
        ForeignRun {
            id: "2ba6dd20ce3d4a329cc1bd873c3f284e".to_owned(),
            experiment: "digits".to_owned(),
            name: None,
            user: None,
            status: Status::Finished,
            started: 1_700_000_000_000,
            finished: Some(1_700_000_060_000),
            artifacts: None,
            params: Vec::new(),
            tags: Vec::new(),
            series: Vec::new(),
        }
    }

    #[test]
    fn an_id_is_always_the_same() {
        let id = run_id("2ba6dd20ce3d4a329cc1bd873c3f284e");
        assert_eq!(id, run_id("2ba6dd20ce3d4a329cc1bd873c3f284e"));
        assert_ne!(id, run_id("2ba6dd20ce3d4a329cc1bd873c3f284f"));
        assert_eq!(of(&run()).expect("a dump").id, id);
        assert_eq!(of(&run()).expect("a dump"), of(&run()).expect("a dump"));
    }

    #[test]
    fn experiments_get_names_that_are_ours() {
        let named = |text: &str| experiment(text).expect("a name").as_str().to_owned();
        assert_eq!(named("digits_2-a"), "digits_2-a");
        assert!(named("digits & more").starts_with("digits-more-"), "{}", named("digits & more"));
        assert_ne!(named("digits & more"), named("digits + more"));
        for odd in ["", "été", "2024", "/Users/ann@x/exp", "..", &"long ".repeat(100), "日本"] {
            assert!(named(odd).len() <= id::MAX_NAME_LENGTH, "{odd}");
        }
    }

    #[test]
    fn numbers_stay_as_they_are_written() {
        for text in ["0.01", "1e-3", "-5", "12345678901234567890", "0.10"] {
            assert_eq!(number(text).expect(text).as_str(), text);
        }
        for text in ["", "1e999", "01", "1.", ".5", "NaN", "inf", " 1", "0x10", "1_000", "True"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn marks_are_such_as_a_store_takes() {
        let mut odd = run();
        odd.name = Some("@@ two\nlines".to_owned());
        odd.tags = vec![
            ("a\tb".to_owned(), "x".to_owned()),
            ("@".to_owned(), "gone".to_owned()),
            ("é".repeat(300), "long".to_owned()),
            ("mlflow.note.content".to_owned(), "a *note*".to_owned()),
        ];
        let marks = of(&odd).expect("a dump").marks;
        assert_eq!(marks.name.as_deref(), Some("two lines"));
        assert_eq!(marks.note.as_deref(), Some("a *note*"));
        let keys: Vec<&str> = marks.tags.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a b", "mlflow.run_id", &"é".repeat(128)]);
    }

    #[test]
    fn a_run_that_goes_on_ends_with_its_last_sign_of_life() {
        let mut running = run();
        (running.status, running.finished) = (Status::Running, None);
        let points = vec![(0, 1_700_000_005_000, 1.0), (1, 1_700_000_004_000, 2.0)];
        running.series = vec![ForeignSeries { key: "loss".to_owned(), points }];
        let dump = of(&running).expect("a dump");
        assert_eq!(dump.state, RunState::Interrupted);
        assert_eq!(dump.finished, Some(Timestamp(1_700_000_005_000_000)));
        assert_eq!(dump.stages[0].state, AttemptState::Lost);
    }
}

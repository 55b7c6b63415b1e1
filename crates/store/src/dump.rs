//! Runs and models as plain data, to be loaded into another store or read by other programs.
//!
//! A dump knows nothing of the database that it came from: it names runs, stages and metrics as
//! people do. Equal runs have equal dumps, byte for byte. JSON that a store holds stays the text
//! that it is, for a number that is read and written again need not come out the same.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wick_core::{
    AttemptState, Digest, ExperimentName, Failure, Fingerprint, Input, KindName, ModelName,
    PortName, PortType, RunId, RunState, SkipReason, StageName, StageOrigin, Timestamp, Usage,
    metric,
};

use crate::error::{StoreError, StoreResult};
use crate::marks::Marks;

/// The version of the form in which dumps are written.
pub const DUMP_VERSION: u32 = 1;

/// A text that is JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// The JSON of `value`.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn of(value: &(impl Serialize + ?Sized)) -> StoreResult<Self> {
        serde_json::value::to_raw_value(value).map(Self).map_err(|error| {
            StoreError::Refused(format!("something cannot be written as JSON: {error}"))
        })
    }

    /// Takes a text that a store holds.
    pub(crate) fn from_text(what: &str, text: String) -> StoreResult<Self> {
        RawValue::from_string(text)
            .map(Self)
            .map_err(|error| StoreError::Corrupt(format!("a text is not {what}: {error}")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        metric::number(self.as_str()).filter(|number| number.is_finite())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A run, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDump {
    /// [`DUMP_VERSION`].
    pub version: u32,
    /// Its id.
    pub id: RunId,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline file's absolute path.
    pub pipeline_path: String,
    /// The pipeline file as it was run.
    pub pipeline_text: String,
    /// The run that this one repeats.
    pub parent: Option<RunId>,
    /// Machine, versions, git: an object.
    pub environment: Json,
    /// How the working tree differed from the commit, where it did.
    pub git_diff: Option<String>,
    /// The digest of the resolved plan.
    pub plan: Digest,
    /// Where it stands.
    pub state: RunState,
    /// When it was first started.
    pub started: Timestamp,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// What people say of it.
    pub marks: Marks,
    /// Its params, by name.
    pub params: Vec<ParamDump>,
    /// Its stages: those of the plan in its order, then the instances of lists.
    pub stages: Vec<StageDump>,
    /// Its attempts, in the order of the stages, then by number.
    pub attempts: Vec<AttemptDump>,
    /// What its attempts measured, in the order of the attempts, then by key.
    pub series: Vec<SeriesDump>,
    /// What went into the fingerprints of its stages, as far as that was told; by fingerprint.
    pub parts: Vec<PartsDump>,
    /// What happened, oldest first.
    pub events: Vec<EventDump>,
}

/// A param.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParamDump {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Json,
    /// Whether it was given on the command line.
    pub overridden: bool,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageDump {
    /// Its name.
    pub stage: StageName,
    /// If it is an instance: the stage that stands for it.
    pub template: Option<StageName>,
    /// What does its work.
    pub kind: KindName,
    /// Where it stands.
    pub state: AttemptState,
    /// Its fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// How many attempts it had.
    pub attempts: u32,
    /// The attempt whose outputs and metrics are the stage's, one of its own or of another stage.
    /// `None` where there is none, or where the run that had it is gone.
    pub source: Option<StageOrigin>,
    /// Why it was skipped, if it was.
    pub because: Option<SkipReason>,
    /// When its first attempt of the latest round started.
    pub started: Option<Timestamp>,
    /// When it came to where it stands.
    pub finished: Option<Timestamp>,
    /// Why its last attempt failed.
    pub failure: Option<Failure>,
    /// What it read.
    pub inputs: Vec<Input>,
    /// The latest values of its metrics, by key, where they are those of another stage's attempt.
    pub metrics: Vec<MetricDump>,
}

/// The latest value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricDump {
    /// Which.
    pub key: String,
    /// Its value.
    #[serde(with = "metric::float")]
    pub value: f64,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptDump {
    /// The stage.
    pub stage: StageName,
    /// Which try, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub state: AttemptState,
    /// The stage's fingerprint.
    pub fingerprint: Fingerprint,
    /// Its process.
    pub pid: Option<u32>,
    /// Since when it could have been started, as far as it was told.
    pub queued: Option<Timestamp>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it used.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What it asked of the store: a list, if it asked anything.
    pub effects: Option<Json>,
    /// What it made.
    pub outputs: Vec<OutputDump>,
}

impl AttemptDump {
    /// Whether nothing is known of what went into it: no other attempt is like it.
    pub(crate) fn is_without_fingerprint(&self) -> bool {
        self.fingerprint.0 == Digest::from_bytes([0; 32])
    }
}

/// What an attempt made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputDump {
    /// The port.
    pub port: PortName,
    /// Its type.
    #[serde(rename = "type")]
    pub port_type: PortType,
    /// The artifact.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Facts noted of it: an object.
    pub meta: Json,
}

/// The points of a metric, as they came: three columns of one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesDump {
    /// The stage that measured it.
    pub stage: StageName,
    /// The attempt that measured it.
    pub attempt: u32,
    /// The metric.
    pub key: String,
    /// The place of each point in the series.
    pub steps: Vec<i64>,
    /// When each was measured, in microseconds since 1970.
    pub times: Vec<i64>,
    /// What was measured.
    #[serde(with = "floats")]
    pub values: Vec<f64>,
}

/// What went into a fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartsDump {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// What went into it.
    pub parts: Json,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventDump {
    /// When.
    pub time: Timestamp,
    /// What: a [`wick_core::EventBody`].
    pub body: Json,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelDump {
    /// [`DUMP_VERSION`].
    pub version: u32,
    /// Its name.
    pub name: ModelName,
    /// What it is.
    pub description: Option<String>,
    /// When it was first registered.
    pub created: Timestamp,
    /// Its versions, oldest first.
    pub versions: Vec<ModelVersionDump>,
    /// Its aliases, by name.
    pub aliases: Vec<AliasDump>,
}

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersionDump {
    /// From 1.
    pub version: u32,
    /// The artifact.
    pub digest: Digest,
    /// The run that registered it first.
    pub run: Option<RunId>,
    /// The stage that registered it first.
    pub stage: Option<StageName>,
    /// When.
    pub created: Timestamp,
    /// Free words.
    pub tags: Vec<(String, String)>,
}

/// A name for a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AliasDump {
    /// The name.
    pub alias: String,
    /// The version that it names.
    pub version: u32,
    /// Since when.
    pub changed: Timestamp,
}

/// What became of a run that was to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loaded {
    /// It was not there, and is.
    New,
    /// It was there, less far: it stands now as the dump says.
    Further,
    /// It was there, and just as far or further: it was left as it is.
    Kept,
}

impl RunDump {
    /// The digest of its written form: equal for equal runs.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn digest(&self) -> StoreResult<Digest> {
        Ok(Digest::of(Json::of(self)?.as_str().as_bytes()))
    }

    /// How many points its series have.
    pub(crate) fn points(&self) -> i64 {
        self.series.iter().map(|series| series.values.len() as i64).sum()
    }

    /// Whether an engine drove it when it was dumped.
    pub fn is_under_way(&self) -> bool {
        self.state == RunState::Running
    }

    /// Brings a run to rest that was under way: where it is loaded no engine drives it.
    pub(crate) fn settle(&mut self) {
        let last = self.events.last().map_or(self.started, |event| event.time);
        (self.state, self.finished) = (RunState::Interrupted, Some(last));
        for attempt in &mut self.attempts {
            if attempt.state == AttemptState::Running {
                (attempt.state, attempt.finished) = (AttemptState::Lost, Some(last));
            }
        }
        for stage in &mut self.stages {
            if stage.state == AttemptState::Running {
                (stage.state, stage.finished) = (AttemptState::Lost, Some(last));
            }
        }
    }
}

/// Numbers in JSON.
mod floats {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Float(#[serde(with = "wick_core::metric::float")] f64);

    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| Float(*value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Float>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| value.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_json() {
        let mut values = vec![0.1, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN];
        // Numbers of seventeen digits, a part of which a quick reader rounds otherwise.
        values.extend((1..2_000).map(|n| (f64::from(n) * 0.618_033_988_749_894_9).sin()));
        let series = SeriesDump {
            stage: StageName::new("train").expect("a name"),
            attempt: 1,
            key: "loss".to_owned(),
            steps: vec![0; values.len()],
            times: vec![0; values.len()],
            values,
        };
        let text = serde_json::to_string(&series).expect("it is JSON");
        let back: SeriesDump = serde_json::from_str(&text).expect("its own JSON");
        let bits = |series: &SeriesDump| -> Vec<u64> {
            series.values.iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!(bits(&back), bits(&series));
    }

    #[test]
    fn numbers_are_told_from_other_json() {
        #[track_caller]
        fn check(text: &str, expect: Option<f64>) {
            let json = Json::from_text("JSON", text.to_owned()).expect("it is");
            assert_eq!(json.number(), expect, "{text}");
        }
        check("0.1", Some(0.1));
        check("-3", Some(-3.0));
        check("1e-7", Some(1e-7));
        check("18446744073709551615", Some(18_446_744_073_709_551_615.0));
        check("\"1\"", None);
        check("true", None);
        check("[1]", None);
        check("null", None);
        assert!(Json::from_text("JSON", "nan".to_owned()).is_err());
    }
}

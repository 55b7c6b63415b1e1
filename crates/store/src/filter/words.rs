//! The closed sets of words of the language.

use wick_core::{AttemptState, RunState};

use super::expr::{ArtifactField, DatasetField, RunField, StageField};

/// What a path begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entity {
    Metric,
    Param,
    Tag,
    Attribute,
    Git,
    Stage,
    Artifact,
    Dataset,
}

/// Entities by their names: ours first, then those of MLflow.
pub(super) const ENTITIES: [(&str, Entity); 19] = [
    ("metrics", Entity::Metric),
    ("metric", Entity::Metric),
    ("params", Entity::Param),
    ("param", Entity::Param),
    ("parameters", Entity::Param),
    ("parameter", Entity::Param),
    ("tags", Entity::Tag),
    ("tag", Entity::Tag),
    ("attributes", Entity::Attribute),
    ("attribute", Entity::Attribute),
    ("attr", Entity::Attribute),
    ("run", Entity::Attribute),
    ("git", Entity::Git),
    ("stage", Entity::Stage),
    ("stages", Entity::Stage),
    ("artifact", Entity::Artifact),
    ("artifacts", Entity::Artifact),
    ("dataset", Entity::Dataset),
    ("datasets", Entity::Dataset),
];

/// Attributes of a run by their names: the first of each is how it is written.
pub(super) const ATTRIBUTES: [(&str, RunField); 26] = [
    ("run_id", RunField::Id),
    ("id", RunField::Id),
    ("name", RunField::Name),
    ("run_name", RunField::Name),
    ("run name", RunField::Name),
    ("experiment", RunField::Experiment),
    ("pipeline", RunField::Pipeline),
    ("state", RunField::State),
    ("status", RunField::State),
    ("started", RunField::Started),
    ("start_time", RunField::Started),
    ("created", RunField::Started),
    ("finished", RunField::Finished),
    ("end_time", RunField::Finished),
    ("duration", RunField::Duration),
    ("parent", RunField::Parent),
    ("starred", RunField::Starred),
    ("archived", RunField::Archived),
    ("deleted", RunField::Deleted),
    ("note", RunField::Note),
    ("user", RunField::User),
    ("user_id", RunField::User),
    ("host", RunField::Host),
    ("git.commit", RunField::Commit),
    ("git.branch", RunField::Branch),
    ("git.dirty", RunField::Dirty),
];

pub(super) const STAGE_FIELDS: [(&str, StageField); 5] = [
    ("status", StageField::Status),
    ("state", StageField::Status),
    ("duration", StageField::Duration),
    ("attempts", StageField::Attempts),
    ("kind", StageField::Kind),
];

pub(super) const ARTIFACT_FIELDS: [(&str, ArtifactField); 3] = [
    ("digest", ArtifactField::Digest),
    ("bytes", ArtifactField::Bytes),
    ("type", ArtifactField::Type),
];

pub(super) const DATASET_FIELDS: [(&str, DatasetField); 3] = [
    ("name", DatasetField::Name),
    ("digest", DatasetField::Digest),
    ("context", DatasetField::Context),
];

/// The tag that keeps what MLflow calls a run's artifact_uri, of runs that were imported.
pub(super) const ARTIFACT_URI: &str = "mlflow.artifact_uri";

/// What `table` has for `name`, in any case.
pub(super) fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, what)| *what)
}

/// How `table` writes `what`.
pub(super) fn name_of<T: PartialEq>(table: &[(&'static str, T)], what: &T) -> &'static str {
    table.iter().find(|(_, known)| known == what).map_or("", |(name, _)| name)
}

/// The words for a state: the one that is stored, and that of MLflow.
pub(super) type StateWords = (&'static str, Option<&'static str>);

/// The states of runs. MLflow's KILLED is a run that somebody or something ended.
pub(super) const RUN_STATES: [StateWords; 5] = [
    (RunState::Running.as_str(), Some("RUNNING")),
    (RunState::Succeeded.as_str(), Some("FINISHED")),
    (RunState::Failed.as_str(), Some("FAILED")),
    (RunState::Cancelled.as_str(), Some("KILLED")),
    (RunState::Interrupted.as_str(), Some("KILLED")),
];

/// The states of stages.
pub(super) const STAGE_STATES: [StateWords; 8] = [
    (AttemptState::Queued.as_str(), Some("SCHEDULED")),
    (AttemptState::Running.as_str(), Some("RUNNING")),
    (AttemptState::Succeeded.as_str(), Some("FINISHED")),
    (AttemptState::Cached.as_str(), Some("FINISHED")),
    (AttemptState::Failed.as_str(), Some("FAILED")),
    (AttemptState::Cancelled.as_str(), Some("KILLED")),
    (AttemptState::Skipped.as_str(), None),
    (AttemptState::Lost.as_str(), Some("KILLED")),
];

/// A word of MLflow that no run of this store is in.
pub(super) const SCHEDULED: &str = "SCHEDULED";

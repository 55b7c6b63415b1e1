//! Asks the store for runs by the names that people type, and for all that is known of one.

use std::collections::{HashMap, HashSet};

use wick_core::metric::is_system;
use wick_core::{AttemptState, RunId, StageName};
use wick_store::{
    ArtifactRecord, AttemptRecord, MetricSummary, ParamRecord, RunRecord, StageRecord, Store,
};

use crate::error::{CommandError, CommandResult};
use crate::render::human;

/// How many candidates an ambiguous prefix lists.
const MAX_CANDIDATES: usize = 8;

/// The one run that `text` names: an id, a unique prefix of one, or `@last`.
pub async fn find_run(store: &dyn Store, text: &str) -> CommandResult<RunId> {
    let found = store.find_runs(text).await?;
    match found.as_slice() {
        [run] => Ok(run.clone()),
        [] if text == "@last" => Err(CommandError::invalid("there is no run yet")
            .hint(format!("this is the store at {}", store.location()))
            .hint("`wick run FILE` makes the first one")),
        [] => Err(CommandError::invalid(format!("no run is called `{text}`"))
            .hint("`wick runs` lists the runs there are; @last is the newest")),
        several => {
            let mut error = CommandError::invalid(format!(
                "`{text}` could be any of {}",
                human::plural(several.len(), "run")
            ));
            let now = human::now();
            for run in several.iter().take(MAX_CANDIDATES) {
                if let Some(record) = store.run(run).await? {
                    error = error.hint(format!(
                        "{run}  {}, {}, {}",
                        record.pipeline,
                        record.state,
                        human::ago(record.started, now)
                    ));
                }
            }
            if several.len() > MAX_CANDIDATES {
                error = error.hint(format!("… and {} more", several.len() - MAX_CANDIDATES));
            }
            Err(error)
        }
    }
}

/// The error for a metric that no run has, with the one of the last run that may be meant.
pub async fn no_such_metric(store: &dyn Store, name: &str) -> CommandResult<CommandError> {
    let error = CommandError::invalid(format!("no run has the metric `{name}`"));
    let mut known = Vec::new();
    if let [last] = store.find_runs("@last").await?.as_slice() {
        for metric in store.latest_metrics(last).await? {
            known.push(format!("{}.{}", metric.stage, metric.key));
            known.push(metric.key.to_string());
        }
    }
    known.sort();
    known.dedup();
    Ok(match wick_pipeline::suggest::nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error
            .hint("`wick metrics` lists those of the last run")
            .hint("it is called `key`, for any stage, or `stage.key`"),
    })
}

/// The run and the name in it that were typed. A name alone is looked for in the last run:
/// `wick logs train` is what people type first.
pub async fn find_run_and_name(
    store: &dyn Store,
    run: &str,
    name: Option<&str>,
) -> CommandResult<(RunId, Option<String>)> {
    if name.is_none()
        && let [last] = store.find_runs("@last").await?.as_slice()
    {
        // `train`, `train.loss`, `train[lr=0.1].loss`: of the dots in a label none is the one.
        let means = |stage: &StageName| {
            run.match_indices('.')
                .map(|(dot, _)| &run[..dot])
                .chain([run])
                .any(|name| stage.is_meant_by(name))
        };
        if store.stages(last).await?.iter().any(|record| means(&record.stage)) {
            return Ok((last.clone(), Some(run.to_owned())));
        }
    }
    Ok((find_run(store, run).await?, name.map(str::to_owned)))
}

/// All that the views of a run show.
pub struct RunHistory {
    /// The run.
    pub run: RunRecord,
    /// Its params, by name.
    pub params: Vec<ParamRecord>,
    /// Its stages, in the plan's order.
    pub stages: Vec<StageRecord>,
    /// Its attempts, by stage.
    pub attempts: Vec<AttemptRecord>,
    /// The latest value of every metric.
    pub metrics: Vec<MetricSummary>,
    /// What its stages made.
    pub artifacts: Vec<ArtifactRecord>,
    /// Where in the lists each stage's own stand: a run may have ten thousand stages.
    places: HashMap<StageName, Places>,
}

/// Where what belongs to one stage stands.
#[derive(Default)]
struct Places {
    stage: Option<usize>,
    attempts: Vec<usize>,
    metrics: Vec<usize>,
    artifacts: Vec<usize>,
}

impl RunHistory {
    /// Reads all of it.
    pub async fn load(store: &dyn Store, id: &RunId) -> CommandResult<Self> {
        let run = store
            .run(id)
            .await?
            .ok_or_else(|| CommandError::from(wick_store::StoreError::NoRun(id.clone())))?;
        let mut history = Self {
            run,
            params: store.params(id).await?,
            stages: store.stages(id).await?,
            attempts: store.attempts(id).await?,
            metrics: store.latest_metrics(id).await?,
            artifacts: store.artifacts(id).await?,
            places: HashMap::new(),
        };
        let mut places: HashMap<StageName, Places> = HashMap::new();
        for (place, stage) in history.stages.iter().enumerate() {
            places.entry(stage.stage.clone()).or_default().stage = Some(place);
        }
        for (place, attempt) in history.attempts.iter().enumerate() {
            places.entry(attempt.stage.clone()).or_default().attempts.push(place);
        }
        for (place, metric) in history.metrics.iter().enumerate() {
            places.entry(metric.stage.clone()).or_default().metrics.push(place);
        }
        for (place, artifact) in history.artifacts.iter().enumerate() {
            places.entry(artifact.stage.clone()).or_default().artifacts.push(place);
        }
        history.places = places;
        Ok(history)
    }

    /// The stage of this name.
    pub fn stage(&self, stage: &str) -> Option<&StageRecord> {
        self.places.get(stage)?.stage.map(|place| &self.stages[place])
    }

    /// The attempts of a stage in this run.
    pub fn attempts_of(&self, stage: &str) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
        let places = self.places.get(stage).map(|places| places.attempts.as_slice());
        places.unwrap_or_default().iter().map(|place| &self.attempts[*place])
    }

    /// The latest values of a stage's metrics, without those of the machine.
    pub fn metrics_of(&self, stage: &str) -> impl Iterator<Item = &MetricSummary> {
        let places = self.places.get(stage).map(|places| places.metrics.as_slice());
        let metrics = places.unwrap_or_default().iter().map(|place| &self.metrics[*place]);
        metrics.filter(|metric| !is_system(&metric.key))
    }

    /// What a stage made.
    pub fn artifacts_of(&self, stage: &str) -> impl Iterator<Item = &ArtifactRecord> {
        let places = self.places.get(stage).map(|places| places.artifacts.as_slice());
        places.unwrap_or_default().iter().map(|place| &self.artifacts[*place])
    }

    /// The last attempt of a stage in this run.
    pub fn last_attempt(&self, stage: &str) -> Option<&AttemptRecord> {
        self.attempts_of(stage).next_back()
    }

    /// The stages in this state. Of a stage for each item of a list its instances are told of, not
    /// what stands for them.
    pub fn stages_in(&self, state: AttemptState) -> impl Iterator<Item = &StageRecord> {
        let lists: HashSet<&StageName> =
            self.stages.iter().filter_map(|stage| stage.template.as_ref()).collect();
        self.stages
            .iter()
            .filter(move |stage| stage.state == state && !lists.contains(&stage.stage))
    }

    /// How many stages stand where: `3 succeeded, 4 cached`.
    pub fn counts(&self) -> String {
        let counts: Vec<String> = AttemptState::ALL
            .into_iter()
            .filter_map(|state| {
                let number = self.stages_in(state).count();
                (number > 0).then(|| format!("{} {state}", human::count(number as u64)))
            })
            .collect();
        counts.join(", ")
    }
}

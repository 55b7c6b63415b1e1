//! Which runs may go.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use wick_core::{RunId, RunState, Timestamp};
use wick_store::{RunSummary, Search, Store, Visible};

use crate::args::GcArgs;
use crate::error::CommandResult;
use crate::project::{Retention, Rule};

/// The tag that keeps a run, whatever its value is.
const KEEP: &str = "keep";

/// So many runs are looked at at a time.
const PAGE: u32 = 500;

/// Why a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody deleted it.
    Deleted,
    /// A rule says so.
    Retention,
}

/// A run that may go, if nothing that stays needs it.
#[derive(Debug, Clone, Serialize)]
pub struct Leaving {
    /// The run.
    pub id: RunId,
    /// Its experiment.
    pub experiment: String,
    /// When it began.
    pub started: Timestamp,
    /// Why.
    pub why: Why,
}

/// What may go, and what does not go on account of a model.
#[derive(Debug, Default)]
pub struct Found {
    /// The runs that may go, newest first.
    pub leaving: Vec<Leaving>,
    /// The models that deleted runs registered: the runs stay, for they tell where those came
    /// from.
    pub models: Vec<String>,
    /// How many such runs there are.
    pub models_runs: usize,
}

/// The rules that hold: those that were typed in the place of those of the project.
pub fn rules(args: &GcArgs, project: &Retention) -> Retention {
    let typed = Rule { older_than: args.older_than, keep_last: args.keep_last };
    if typed.is_empty() {
        project.clone()
    } else {
        Retention { rule: typed, experiments: Vec::new() }
    }
}

/// The runs that may go.
pub async fn leaving(
    store: &dyn Store,
    args: &GcArgs,
    rules: &Retention,
    now: Timestamp,
) -> CommandResult<Found> {
    let mut makers: BTreeMap<RunId, Vec<String>> = BTreeMap::new();
    for version in store.models().await?.into_iter().flat_map(|model| model.versions) {
        let name = format!("{}:{}", version.name, version.version);
        if let Some(run) = version.run {
            makers.entry(run).or_default().push(name);
        }
    }
    // Without rules only deleted runs can go: the others need not be looked at.
    let visible = if rules.is_empty() { Visible::Deleted } else { Visible::All };
    let mut seen = HashSet::new();
    let mut newer: HashMap<String, u32> = HashMap::new();
    let mut found = Found::default();
    let mut offset = 0;
    loop {
        let query = Search { limit: PAGE, offset, visible, ..Search::default() };
        let page = store.search(&query).await?;
        offset += PAGE;
        for run in page.runs {
            // Runs that begin meanwhile move the pages.
            if seen.insert(run.id.clone())
                && let Some(why) = why(&run, args, rules, &makers, &mut newer, now)
            {
                if let Some(models) = makers.remove(&run.id) {
                    found.models.extend(models);
                    found.models_runs += 1;
                    continue;
                }
                let experiment = run.experiment.to_string();
                let started = run.started;
                found.leaving.push(Leaving { id: run.id, experiment, started, why });
            }
        }
        if !page.more {
            return Ok(found);
        }
    }
}

fn why(
    run: &RunSummary,
    args: &GcArgs,
    rules: &Retention,
    makers: &BTreeMap<RunId, Vec<String>>,
    newer: &mut HashMap<String, u32>,
    now: Timestamp,
) -> Option<Why> {
    if args.experiment.as_ref().is_some_and(|only| *only != run.experiment)
        || run.state == RunState::Running
    {
        return None;
    }
    if run.marks.deleted.is_some() {
        return Some(Why::Deleted);
    }
    let experiment = run.experiment.as_str();
    let newer = newer.entry(experiment.to_owned()).or_default();
    let age = u64::try_from(now.0.saturating_sub(run.started.0)).unwrap_or(0);
    let lets_go = rules.of(experiment).lets_go(Duration::from_micros(age), *newer);
    *newer += 1;
    let is_kept = run.marks.starred.is_some()
        || run.marks.tags.iter().any(|(key, _)| key == KEEP)
        // Where a model came from is told as long as there is the model.
        || makers.contains_key(&run.id);
    (lets_go && !is_kept).then_some(Why::Retention)
}

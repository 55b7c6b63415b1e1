//! Asks the real store what it thinks of the simulated one: the calls that were made of the
//! database in a course are made of SQLite, and must be answered alike.

use std::sync::Arc;

use wick_core::{Event, RunId, StageName, StageOrigin, Timestamp};
use wick_store::{EngineId, Lease, NewRun, Store, StoreError, StoreResult};

use crate::database::Tables;

/// A call of the database, in the order in which it answered.
#[derive(Debug, Clone)]
pub enum Call {
    Create(Box<NewRun>, EngineId, Timestamp),
    Take(RunId, Vec<StageName>, EngineId, Timestamp),
    Renew(Lease, Timestamp),
    Append(Lease, Vec<Event>),
    Interrupt(Timestamp),
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Done,
    Leased,
    LeaseLost,
    /// What was told does not fit. A batch can fail to for several reasons at once; which of them
    /// is named is left to the database.
    Unfit,
    NoRun,
    Other,
}

impl Answer {
    pub fn of<T>(result: &StoreResult<T>) -> Self {
        match result {
            Ok(_) => Answer::Done,
            Err(StoreError::Leased { .. }) => Answer::Leased,
            Err(StoreError::LeaseLost(_)) => Answer::LeaseLost,
            Err(
                StoreError::StaleToken { .. }
                | StoreError::Refused(_)
                | StoreError::Database { .. },
            ) => Answer::Unfit,
            Err(StoreError::NoRun(_)) => Answer::NoRun,
            Err(_) => Answer::Other,
        }
    }
}

/// Makes the calls of `store` and compares; `tables` is how the simulated database ended.
pub async fn compare(
    store: &Arc<dyn Store>,
    calls: &[(Call, Answer)],
    tables: &Tables,
) -> Result<(), String> {
    for (number, (call, expected)) in calls.iter().enumerate() {
        let answer = match call.clone() {
            Call::Create(run, engine, now) => {
                Answer::of(&store.create_run(&run, &engine, now).await)
            }
            Call::Take(run, left, engine, now) => {
                Answer::of(&store.take_run(&run, &left, &engine, now).await)
            }
            Call::Renew(lease, now) => Answer::of(&store.renew_lease(&lease, now).await),
            Call::Append(lease, events) => Answer::of(&store.append(&lease, &events).await),
            Call::Interrupt(now) => Answer::of(&store.interrupt_dead_runs(now).await),
        };
        if answer != *expected {
            return Err(format!("call {number}, {call:?}: {answer:?} and not {expected:?}"));
        }
    }
    for run in &tables.runs {
        let id = &run.new.id;
        let told = |error: StoreError| error.to_string();
        let record = store.run(id).await.map_err(told)?.ok_or("the run is missing")?;
        same("the run", &record.state, &run.state)?;
        let standing = |stages: Vec<wick_store::StageRecord>| -> Vec<_> {
            let stages = stages.into_iter();
            stages
                .map(|row| {
                    let stands = (row.state, row.because, row.attempts);
                    (row.stage, row.template, stands, row.fingerprint)
                })
                .collect()
        };
        let stages = standing(store.stages(id).await.map_err(told)?);
        same("the stages", &stages, &standing(run.stage_records()))?;
        let artifacts = store.artifacts(id).await.map_err(told)?;
        same("the artifacts", &artifacts, &tables.artifacts(id))?;
        let bodies = |event: &Event| (event.time, std::mem::discriminant(&event.body));
        let events = store.events(id, None).await.map_err(told)?;
        let events: Vec<_> = events.iter().map(|record| bodies(&record.event)).collect();
        let simulated: Vec<_> = run.events.values().map(|event| bodies(event)).collect();
        same("the events", &events, &simulated)?;
        for (place, attempt) in run.attempts.keys() {
            let stage = run.stages[*place].name.clone();
            let origin = StageOrigin { run: id.clone(), stage, attempt: *attempt };
            let metrics = store.metrics_of(&origin).await.map_err(told)?;
            // As text: what is no number is not equal to itself.
            let simulated = tables.metrics_of(&origin, false);
            same("what was measured", &format!("{metrics:?}"), &format!("{simulated:?}"))?;
        }
        for stage in run.stage_records() {
            let Some(fingerprint) = stage.fingerprint else { continue };
            let cached = store.find_cached(&[fingerprint]).await.map_err(told)?;
            same("what is cached", &cached, &vec![tables.find_cached(&fingerprint)])?;
        }
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: &T, simulated: &T) -> Result<(), String> {
    if real == simulated {
        return Ok(());
    }
    Err(format!("{what}: {real:?} in the real store, {simulated:?} in the simulated one"))
}

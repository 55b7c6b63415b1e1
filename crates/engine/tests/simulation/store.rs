//! The store as a process has it, at the end of its [way](crate::way) to the database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use wick_core::{
    AttemptState, Digest, Effect, Event, EventBody, Fingerprint, ModelName, PortType, RunId,
    StageName, StageOrigin, Timestamp,
};
use wick_store::{
    ArtifactRecord, AttemptRecord, CachedOutputs, EngineId, EventRecord, InputRecord, Lease,
    Loaded, MadeArtifact, Mark, MetricSummary, ModelDump, ModelRecord, ModelVersion, NewRun,
    ParamRecord, Reader, RunDump, RunPage, RunRecord, Search, Series, SourceStamp, StageInRun,
    StageQuery, StageRecord, Store, StoreResult,
};

use crate::bugs::Bug;
use crate::database::{Tables, is_replaceable};
use crate::lab::Lab;
use crate::replay::Call;
use crate::scheduler::DATABASE;
use crate::way::SimulatedStore;

impl SimulatedStore {
    async fn append_as_told(&self, lease: &Lease, batch: Vec<Event>) -> StoreResult<()> {
        let (flushed, work) = self.appending(lease, batch);
        self.write(flushed, work).await
    }

    /// Appends when it has been acknowledged already: a planted bug.
    fn append_later(&self, lease: &Lease, batch: Vec<Event>) {
        let (lab, (flushed, work)) = (self.lab.clone(), self.appending(lease, batch));
        let wait = Duration::from_millis(20);
        self.lab.later(DATABASE, wait, move |_| drop(lab.commit(flushed, work)));
    }

    /// What appending a batch means, and whether it is flushed.
    fn appending(
        &self,
        lease: &Lease,
        batch: Vec<Event>,
    ) -> (bool, impl FnOnce(&Lab, &mut Tables) -> StoreResult<()> + Send + use<>) {
        let (lease, process, flushed) = (lease.clone(), self.process, !is_replaceable(&batch));
        let work = move |lab: &Lab, tables: &mut Tables| {
            let done = lab.append(process, tables, &lease, &batch);
            lab.log(&done, || Call::Append(lease.clone(), batch.clone()));
            lab.note(|| {
                let said = match &done {
                    Ok(()) => "recorded".to_owned(),
                    Err(error) => format!("refused ({error})"),
                };
                let bodies: Vec<String> = batch.iter().map(|event| brief(&event.body)).collect();
                format!("{process:?} {said}: {}", bodies.join(", "))
            });
            done
        };
        (flushed, work)
    }
}

#[async_trait]
impl Store for SimulatedStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn create_run(
        &self,
        run: &NewRun,
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease> {
        let (run, engine, process) = (run.clone(), engine.clone(), self.process);
        self.write(true, move |lab, tables| {
            let made = tables.create_run(run.clone(), &engine, now);
            lab.log(&made, || Call::Create(Box::new(run), engine, now));
            let lease = made?;
            lab.note(|| format!("{process:?} creates run {}", lease.run));
            lab.judge().run_taken(&lease, tables);
            Ok(lease)
        })
        .await
    }

    async fn take_run(
        &self,
        run: &RunId,
        left: &[StageName],
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease> {
        let (run, left) = (run.clone(), left.to_vec());
        let (engine, process) = (engine.clone(), self.process);
        self.write(true, move |lab, tables| {
            let alive = |engine: &EngineId| Self::is_alive(lab, process, engine);
            let taken = tables.take_run(&run, &left, &engine, now, alive);
            lab.log(&taken, || Call::Take(run.clone(), left, engine, now));
            let lease = taken?;
            if lab.has_bug(Bug::RunsFinishedAgain) {
                tables.forget_finished(&run);
            }
            lab.note(|| format!("{process:?} takes up run {run}"));
            lab.judge().run_taken(&lease, tables);
            Ok(lease)
        })
        .await
    }

    async fn engine_of(&self, run: &RunId) -> StoreResult<Option<EngineId>> {
        self.read(|tables| Some(tables.run(run)?.lease.as_ref()?.engine.clone())).await
    }

    async fn renew_lease(&self, lease: &Lease, now: Timestamp) -> StoreResult<()> {
        let lease = lease.clone();
        self.write(false, move |lab, tables| {
            let renewed = tables.renew_lease(&lease, now);
            lab.log(&renewed, || Call::Renew(lease, now));
            renewed
        })
        .await
    }

    async fn append(&self, lease: &Lease, events: &[Event]) -> StoreResult<()> {
        if events.is_empty() {
            return Ok(());
        }
        if self.lab.has_bug(Bug::StartsBeforeInputs) {
            let (ends, rest) = events.iter().cloned().partition(|event| {
                matches!(&event.body, EventBody::AttemptFinished { state, .. }
                    if *state == AttemptState::Succeeded)
            });
            self.append_later(lease, ends);
            return self.append_as_told(lease, rest).await;
        }
        let gathers = |event: &Event| matches!(event.body, EventBody::StageGathered { .. });
        if events.iter().any(gathers) && self.lab.has_bug(Bug::GathersEarly) {
            let (ends, rest) = events
                .iter()
                .cloned()
                .partition(|event| matches!(&event.body, EventBody::AttemptFinished { .. }));
            self.append_later(lease, ends);
            return self.append_as_told(lease, rest).await;
        }
        if self.lab.has_bug(Bug::LaunchesUnrecorded) {
            self.append_later(lease, events.to_vec());
            return Ok(());
        }
        self.append_as_told(lease, events.to_vec()).await
    }

    async fn interrupt_dead_runs(&self, now: Timestamp) -> StoreResult<Vec<RunId>> {
        let process = self.process;
        self.write(true, move |lab, tables| {
            let alive = |engine: &EngineId| Self::is_alive(lab, process, engine);
            let interrupted = tables.interrupt_dead_runs(now, alive);
            lab.log(&Ok(()), || Call::Interrupt(now));
            for run in &interrupted {
                lab.note(|| format!("{process:?} finds run {run} interrupted"));
                lab.judge().run_interrupted(run);
            }
            Ok(interrupted)
        })
        .await
    }

    async fn request_cancel(&self, run: &RunId, _: Timestamp) -> StoreResult<()> {
        let run = run.clone();
        self.write(true, move |_, tables| tables.request_cancel(&run)).await
    }

    async fn cancel_requested(&self, run: &RunId) -> StoreResult<bool> {
        self.read(|tables| {
            let held = tables.run(run).and_then(|run| run.lease.as_ref());
            held.is_some_and(|held| held.cancel_requested)
        })
        .await
    }

    async fn find_cached(
        &self,
        fingerprints: &[Fingerprint],
    ) -> StoreResult<Vec<Option<CachedOutputs>>> {
        self.read(|tables| fingerprints.iter().map(|print| tables.find_cached(print)).collect())
            .await
    }

    async fn source_stamps(&self, paths: &[String]) -> StoreResult<Vec<Option<SourceStamp>>> {
        self.read(|tables| paths.iter().map(|path| tables.stamps.get(path).cloned()).collect())
            .await
    }

    async fn keep_source_stamps(&self, stamps: &[SourceStamp]) -> StoreResult<()> {
        let stamps = stamps.to_vec();
        self.write(true, move |_, tables| {
            let kept = Arc::make_mut(&mut tables.stamps);
            kept.extend(stamps.into_iter().map(|stamp| (stamp.path.clone(), stamp)));
            Ok(())
        })
        .await
    }

    async fn find_runs(&self, _: &str) -> StoreResult<Vec<RunId>> {
        Ok(Vec::new())
    }

    async fn search(&self, query: &Search) -> StoreResult<RunPage> {
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        self.read(|tables| RunPage {
            runs: tables.runs.iter().rev().take(limit).map(|run| run.summary()).collect(),
            ..RunPage::default()
        })
        .await
    }

    async fn run(&self, run: &RunId) -> StoreResult<Option<RunRecord>> {
        self.read(|tables| tables.run(run).map(|run| run.record())).await
    }

    async fn params(&self, _: &RunId) -> StoreResult<Vec<ParamRecord>> {
        Ok(Vec::new())
    }

    async fn stages(&self, run: &RunId) -> StoreResult<Vec<StageRecord>> {
        self.read(|tables| tables.run(run).map(|run| run.stage_records()).unwrap_or_default()).await
    }

    async fn attempts(&self, _: &RunId) -> StoreResult<Vec<AttemptRecord>> {
        Ok(Vec::new())
    }

    async fn latest_metrics(&self, _: &RunId) -> StoreResult<Vec<MetricSummary>> {
        Ok(Vec::new())
    }

    async fn metrics_of(&self, attempt: &StageOrigin) -> StoreResult<Vec<(String, f64)>> {
        let first = self.lab.has_bug(Bug::TellsOldMetrics);
        self.read(|tables| tables.metrics_of(attempt, first)).await
    }

    async fn series(&self, _: &RunId, _: Option<&str>) -> StoreResult<Vec<Series>> {
        Ok(Vec::new())
    }

    async fn curves(&self, _: &RunId, _: Option<&str>, _: usize) -> StoreResult<Vec<Series>> {
        Ok(Vec::new())
    }

    async fn stage_parts(&self, _: &RunId) -> StoreResult<Vec<(StageName, Value)>> {
        Ok(Vec::new())
    }

    async fn artifacts(&self, run: &RunId) -> StoreResult<Vec<ArtifactRecord>> {
        self.read(|tables| tables.artifacts(run)).await
    }

    async fn inputs(&self, run: &RunId) -> StoreResult<Vec<InputRecord>> {
        self.read(|tables| tables.inputs(run)).await
    }

    async fn events(&self, run: &RunId, after: Option<i64>) -> StoreResult<Vec<EventRecord>> {
        self.read(|tables| {
            let events = tables.run(run).map(|run| &run.events).into_iter().flatten();
            events
                .filter(|(sequence, _)| after.is_none_or(|after| **sequence > after))
                .map(|(sequence, event)| EventRecord {
                    sequence: *sequence,
                    event: (**event).clone(),
                })
                .collect()
        })
        .await
    }

    async fn stage_history(&self, _: &StageQuery) -> StoreResult<Vec<StageInRun>> {
        Ok(Vec::new())
    }

    async fn find_artifacts(&self, _: &str) -> StoreResult<Vec<Digest>> {
        Ok(Vec::new())
    }

    async fn makers(&self, _: &[Digest], _: u32) -> StoreResult<Vec<MadeArtifact>> {
        Ok(Vec::new())
    }

    async fn readers(&self, _: &[Digest], _: u32) -> StoreResult<Vec<Reader>> {
        Ok(Vec::new())
    }

    async fn source_readers(&self, _: &[Digest], _: u32) -> StoreResult<Vec<Reader>> {
        Ok(Vec::new())
    }

    async fn mark_runs(&self, _: &[RunId], _: &[Mark], _: Timestamp) -> StoreResult<()> {
        Ok(())
    }

    async fn dump_runs(&self, runs: &[RunId]) -> StoreResult<Vec<Option<RunDump>>> {
        Ok(runs.iter().map(|_| None).collect())
    }

    async fn load_runs(&self, _: &[RunDump]) -> StoreResult<Vec<Loaded>> {
        Ok(Vec::new())
    }

    async fn dump_models(&self) -> StoreResult<Vec<ModelDump>> {
        Ok(Vec::new())
    }

    async fn load_models(&self, _: &[ModelDump]) -> StoreResult<()> {
        Ok(())
    }

    async fn run_ids(&self, _: Option<&RunId>, _: u32) -> StoreResult<Vec<RunId>> {
        Ok(Vec::new())
    }

    async fn purge_runs(&self, _: &[RunId]) -> StoreResult<Vec<RunId>> {
        Ok(Vec::new())
    }

    async fn clear_unused(&self) -> StoreResult<u64> {
        Ok(0)
    }

    async fn preview_purge(&self, _: &[RunId]) -> StoreResult<wick_store::PurgePreview> {
        Ok(wick_store::PurgePreview::default())
    }

    async fn referenced_artifacts(
        &self,
        _: Option<Digest>,
        _: u32,
    ) -> StoreResult<Vec<(Digest, PortType, u64)>> {
        Ok(Vec::new())
    }

    async fn models(&self) -> StoreResult<Vec<ModelRecord>> {
        Ok(Vec::new())
    }

    async fn model_version(
        &self,
        _: &ModelName,
        _: Option<&str>,
    ) -> StoreResult<Option<ModelVersion>> {
        Ok(None)
    }

    async fn apply_effect(&self, _: &Effect, _: Timestamp) -> StoreResult<()> {
        Ok(())
    }

    async fn close(&self) {}
}

/// An event in a few words.
pub fn brief(body: &EventBody) -> String {
    use EventBody::*;
    match body {
        AttemptStarted { stage, attempt, token, .. } => {
            format!("{stage}/{attempt} starts ({:x})", token.0 & 0xffff)
        }
        AttemptFinished { stage, attempt, state, token, .. } => {
            format!("{stage}/{attempt} {state} ({:x})", token.0 & 0xffff)
        }
        StageCached { stage, origin, .. } => format!("{stage} cached from {}", origin.run),
        StageSkipped { stage, .. } => format!("{stage} skipped"),
        StageCancelled { stage } => format!("{stage} cancelled"),
        RetryScheduled { stage, .. } => format!("{stage} is to be tried again"),
        RunFinished { state } => format!("the run {state}"),
        RunStarted { .. } => "the run starts".to_owned(),
        AttemptSpawned { stage, .. } => format!("{stage} spawned"),
        Metrics { stage, .. } => format!("{stage} measured"),
        Progress { stage, .. } => format!("{stage} came further"),
        StageRequeued { stage } => format!("{stage} is to be done again"),
        StageExpanded { stage, instances } => format!("{stage} has {} instances", instances.len()),
        StageGathered { stage, state } => format!("{stage} gathered: {state}"),
    }
}

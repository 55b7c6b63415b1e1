//! Any life of a run keeps the books: rows, events and attempts agree whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use wick_core::{AttemptState, EventBody, RunState, Timestamp, Token};
use wick_store::{LEASE_MICROS, Store};

use crate::world::*;

const STAGES: [&str; 4] = ["a", "b", "c", "d"];

/// What may happen next to a stage; what does not apply where it stands is left out.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start(usize),
    Measure(usize, u8),
    Finish(usize, AttemptState),
    Retry(usize),
    Skip(usize),
    Cancel(usize),
    Requeue(usize),
    /// Sends what has gathered.
    Send,
    /// The engine dies and another takes the run up.
    TakeOver,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stage = 0..STAGES.len();
    let ends = prop_oneof![
        Just(AttemptState::Succeeded),
        Just(AttemptState::Failed),
        Just(AttemptState::Cancelled),
        Just(AttemptState::Lost),
    ];
    let step = prop_oneof![
        4 => stage.clone().prop_map(Step::Start),
        3 => (stage.clone(), 1_u8..4).prop_map(|(stage, points)| Step::Measure(stage, points)),
        4 => (stage.clone(), ends).prop_map(|(stage, end)| Step::Finish(stage, end)),
        2 => stage.clone().prop_map(Step::Retry),
        1 => stage.clone().prop_map(Step::Skip),
        1 => stage.clone().prop_map(Step::Cancel),
        2 => stage.prop_map(Step::Requeue),
        3 => Just(Step::Send),
        1 => Just(Step::TakeOver),
    ];
    prop::collection::vec(step, 1..40)
}

/// What the test itself knows of a stage.
#[derive(Debug, Clone)]
struct Model {
    state: AttemptState,
    attempts: Vec<(AttemptState, Token)>,
    /// Points of the last attempt.
    points: u64,
}

pub async fn any_life_of_a_run_keeps_the_books(store: &dyn Store) {
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..24 {
        let steps = steps().new_tree(&mut runner).expect("steps").current();
        live(store, &steps).await;
    }
}

async fn live(store: &dyn Store, steps: &[Step]) {
    let mut driven = Driven::new(store, &STAGES).await;
    let queued = Model { state: AttemptState::Queued, attempts: Vec::new(), points: 0 };
    let mut model = vec![queued; STAGES.len()];
    let mut batch = Vec::new();
    let mut kept = 0;
    // Each engine lives longer than the one before.
    let mut later = now();
    for step in steps {
        match *step {
            Step::Send => {
                kept += batch.iter().filter(|body: &&EventBody| body.is_kept()).count();
                driven.tell(std::mem::take(&mut batch)).await;
                check(&driven, &model, kept, steps).await;
            }
            Step::TakeOver => {
                driven
                    .tell(std::mem::take(&mut batch).into_iter().inspect(|body| {
                        kept += usize::from(body.is_kept());
                    }))
                    .await;
                later = Timestamp(later.0 + 2 * LEASE_MICROS);
                let engine = engine();
                let lease =
                    store.take_run(&driven.run, &[], &engine, later).await.expect("it ran out");
                driven = Driven { store, run: driven.run, lease, engine };
                for stage in &mut model {
                    if stage.state == AttemptState::Running {
                        stage.attempts.last_mut().expect("it runs").0 = AttemptState::Lost;
                        kept += 1;
                    }
                    if !stage.state.has_outputs() {
                        stage.state = AttemptState::Queued;
                    }
                }
                check(&driven, &model, kept, steps).await;
            }
            step => batch.extend(body(&mut model, step)),
        }
    }
    kept += batch.iter().filter(|body| body.is_kept()).count();
    driven.tell(batch).await;
    driven.end(RunState::Interrupted).await;
    check(&driven, &model, kept + 1, steps).await;
}

/// The event of a step, if it applies.
fn body(model: &mut [Model], step: Step) -> Option<EventBody> {
    use AttemptState::{Cancelled, Failed, Lost, Queued, Running, Skipped};
    match step {
        Step::Start(place) if model[place].state == Queued => {
            let token = Token(number());
            let stage = &mut model[place];
            stage.attempts.push((Running, token));
            stage.state = Running;
            stage.points = 0;
            Some(started(STAGES[place], stage.attempts.len() as u32, token, STAGES[place]))
        }
        Step::Measure(place, count) if model[place].state == Running => {
            let stage = &mut model[place];
            let told: Vec<_> =
                (0..i64::from(count)).map(|step| ("loss", step, step as f64)).collect();
            stage.points += u64::from(count);
            Some(points(STAGES[place], stage.attempts.len() as u32, &told))
        }
        Step::Finish(place, end) if model[place].state == Running => {
            let stage = &mut model[place];
            let attempt = stage.attempts.len() as u32;
            let last = stage.attempts.last_mut().expect("it runs");
            last.0 = end;
            stage.state = end;
            Some(finished(STAGES[place], attempt, last.1, end))
        }
        Step::Retry(place) if matches!(model[place].state, Failed | Lost) => {
            model[place].state = Queued;
            Some(retry(STAGES[place], model[place].attempts.len() as u32))
        }
        Step::Skip(place) if model[place].state == Queued => {
            model[place].state = Skipped;
            Some(skipped(STAGES[place], STAGES[0]))
        }
        Step::Requeue(place) if model[place].state.is_final() => {
            model[place].state = Queued;
            model[place].points = 0;
            Some(EventBody::StageRequeued { stage: stage(STAGES[place]) })
        }
        Step::Cancel(place) if model[place].state == Queued => {
            model[place].state = Cancelled;
            Some(EventBody::StageCancelled { stage: stage(STAGES[place]) })
        }
        _ => None,
    }
}

async fn check(driven: &Driven<'_>, model: &[Model], kept: usize, steps: &[Step]) {
    let store = driven.store;
    let stages = store.stages(&driven.run).await.expect("stages");
    let attempts = store.attempts(&driven.run).await.expect("attempts");
    let mut by_stage = BTreeMap::<_, Vec<_>>::new();
    for attempt in &attempts {
        assert_eq!(attempt.finished.is_some(), attempt.state.is_final(), "{steps:?}");
        by_stage.entry(attempt.stage.as_str()).or_default().push(attempt.state);
    }
    for (record, model) in stages.iter().zip(model) {
        assert_eq!(record.state, model.state, "{} {steps:?}", record.stage);
        assert_eq!(record.attempts as usize, model.attempts.len(), "{steps:?}");
        assert_eq!(record.finished.is_some(), record.state.is_final(), "{steps:?}");
        assert_eq!(record.because.is_some(), record.state == AttemptState::Skipped, "{steps:?}");
        let states = by_stage.remove(record.stage.as_str()).unwrap_or_default();
        let expect: Vec<_> = model.attempts.iter().map(|attempt| attempt.0).collect();
        assert_eq!(states, expect, "{} {steps:?}", record.stage);
    }
    let succeeded = model.iter().filter(|m| m.state == AttemptState::Succeeded).count();
    let artifacts = store.artifacts(&driven.run).await.expect("artifacts");
    assert_eq!(artifacts.len(), 2 * succeeded, "{steps:?}");
    let latest = store.latest_metrics(&driven.run).await.expect("metrics");
    let measured: Vec<_> =
        latest.iter().map(|metric| (metric.stage.as_str(), metric.points)).collect();
    let expect: Vec<_> = STAGES
        .iter()
        .zip(model)
        .filter(|(_, model)| model.points > 0)
        .map(|(name, model)| (*name, model.points))
        .collect();
    assert_eq!(measured, expect, "{steps:?}");
    let series = store.series(&driven.run, None).await.expect("series");
    assert!(series.iter().zip(&latest).all(|(s, m)| s.points.len() as u64 == m.points));
    let events = store.events(&driven.run, None).await.expect("events");
    assert_eq!(events.len(), kept, "{steps:?}");
}

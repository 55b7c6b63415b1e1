//! Driving runs: what engines write.

use serde_json::json;
use wick_core::{
    AttemptState, Digest, Effect, EventBody, Input, RunState, SkipReason, StageOrigin, Timestamp,
    Token,
};
use wick_store::{LEASE_MICROS, Search, SourceStamp, Store, StoreError, this_engine};

use crate::world::*;

pub async fn a_new_run_stands_as_it_was_told(store: &dyn Store) {
    let mut first = new_run(&["load", "train"]);
    first.parent = None;
    store.create_run(&first, &engine(), now()).await.expect("a new run");
    let mut second = new_run(&["load", "train"]);
    second.parent = Some(first.id.clone());
    second.git_diff = Some("--- a\n+++ b\n".repeat(1_000));
    let started = now();
    store.create_run(&second, &engine(), started).await.expect("a new run");

    let record = store.run(&second.id).await.expect("an answer").expect("the run");
    assert_eq!(record.id, second.id);
    assert_eq!(record.experiment, second.experiment);
    assert_eq!(record.pipeline, second.pipeline);
    assert_eq!(record.pipeline_path, second.pipeline_path);
    assert_eq!(record.pipeline_text, second.pipeline_text);
    assert_eq!(record.parent, Some(first.id.clone()));
    assert_eq!(record.overridden, second.overridden);
    assert_eq!(record.environment, second.environment);
    assert_eq!(record.git_diff, second.git_diff);
    let first_record = store.run(&first.id).await.expect("an answer").expect("the run");
    assert_eq!(first_record.git_diff, None);
    assert_eq!(record.plan, second.plan);
    assert_eq!(record.state, RunState::Running);
    assert_eq!((record.started, record.finished), (started, None));

    let params = store.params(&second.id).await.expect("params");
    let params: Vec<_> = params.into_iter().map(|param| (param.name, param.value)).collect();
    let expect = [
        ("epochs".to_owned(), json!(10)),
        ("layers".to_owned(), json!([32, "relu"])),
        ("learning_rate".to_owned(), json!(0.001)),
    ];
    assert_eq!(params, expect, "by name");

    let stages = store.stages(&second.id).await.expect("stages");
    assert_eq!(stages.len(), 2);
    assert_eq!(stages[1].stage, "train");
    assert_eq!(stages[1].kind, "command");
    assert_eq!(stages[1].state, AttemptState::Queued);
    assert_eq!((stages[1].attempts, stages[1].started), (0, None));
    assert!(store.run(&new_run(&[]).id).await.expect("an answer").is_none());
}

pub async fn ids_and_names_are_unique(store: &dyn Store) {
    let run = new_run(&["a"]);
    store.create_run(&run, &engine(), now()).await.expect("a new run");
    let again = store.create_run(&run, &engine(), now()).await;
    assert!(matches!(again, Err(StoreError::Database { .. })), "{again:?}");
    let twice = store.create_run(&new_run(&["a", "b", "a"]), &engine(), now()).await;
    assert!(matches!(twice, Err(StoreError::Refused(_))), "{twice:?}");
    store.create_run(&new_run(&[]), &engine(), now()).await.expect("an empty run is a run");
}

pub async fn attempts_leave_rows_and_events(store: &dyn Store) {
    let driven = Driven::new(store, &["load", "train"]).await;
    let token = Token(number());
    let mut start = started("load", 1, token, "one");
    let waited_since = now();
    if let EventBody::AttemptStarted { queued, .. } = &mut start {
        *queued = Some(waited_since);
    }
    driven.tell([EventBody::RunStarted { host: "here".to_owned(), pid: 5 }, start]).await;
    assert_eq!(driven.states().await, [AttemptState::Running, AttemptState::Queued]);
    let pid = 4_000_000_000;
    driven
        .tell([EventBody::AttemptSpawned { stage: stage("load"), attempt: 1, pid, started: 9 }])
        .await;
    driven.tell([finished("load", 1, token, AttemptState::Succeeded)]).await;
    let second = Token(number());
    let mut start = started("train", 1, second, "two");
    if let EventBody::AttemptStarted { inputs, .. } = &mut start {
        *inputs = vec![input("train", "load", "load"), input("extra", "load", "load")];
    }
    driven.tell([start]).await;
    driven.tell([finished("train", 1, second, AttemptState::Failed)]).await;
    driven.end(RunState::Failed).await;

    assert_eq!(driven.states().await, [AttemptState::Succeeded, AttemptState::Failed]);
    assert_eq!(driven.state().await, RunState::Failed);
    let stages = store.stages(&driven.run).await.expect("stages");
    assert_eq!(stages[0].fingerprint, Some(fingerprint("one")));
    assert!(stages[0].started.is_some() && stages[0].finished > stages[0].started);
    assert_eq!(stages[1].failure, Some(failure()));

    let attempts = store.attempts(&driven.run).await.expect("attempts");
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0].pid, Some(pid));
    assert_eq!((attempts[0].queued, attempts[1].queued), (Some(waited_since), None));
    assert_eq!(attempts[0].state, AttemptState::Succeeded);
    assert_eq!(attempts[0].usage, Some(usage()));
    assert_eq!(attempts[0].failure, None);
    assert_eq!(attempts[1].stage, "train");
    assert_eq!(attempts[1].failure, Some(failure()));

    let artifacts = store.artifacts(&driven.run).await.expect("artifacts");
    let made: Vec<_> = artifacts.iter().map(|made| (&made.stage, &made.port)).collect();
    assert_eq!(made, [(&stage("load"), &port("data")), (&stage("load"), &port("again"))]);
    assert_eq!(artifacts[0].digest, Digest::of(b"load"));
    assert_eq!(artifacts[0].meta, output("data", "load").meta);
    let inputs = store.inputs(&driven.run).await.expect("inputs");
    let read: Vec<_> = inputs.iter().map(|read| (&read.stage, &read.port)).collect();
    assert_eq!(read, [(&stage("train"), &port("train")), (&stage("train"), &port("extra"))]);
    assert_eq!(inputs[0].from_stage, "load");

    let events = store.events(&driven.run, None).await.expect("events");
    assert_eq!(events.len(), 7);
    assert!(events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(events[6].event.body, EventBody::RunFinished { state: RunState::Failed });
}

pub async fn a_whole_life_in_one_batch(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b", "c", "d"]).await;
    let tokens = [Token(number()), Token(number()), Token(number())];
    driven
        .tell([
            EventBody::RunStarted { host: "here".to_owned(), pid: 5 },
            started("a", 1, tokens[0], "a"),
            EventBody::AttemptSpawned { stage: stage("a"), attempt: 1, pid: 7, started: 9 },
            points("a", 1, &[("loss", 0, 1.0)]),
            finished("a", 1, tokens[0], AttemptState::Failed),
            retry("a", 1),
            started("a", 2, tokens[1], "a"),
            finished("a", 2, tokens[1], AttemptState::Succeeded),
            started("b", 1, tokens[2], "b"),
            finished("b", 1, tokens[2], AttemptState::Cancelled),
            skipped("c", "b"),
            EventBody::StageCancelled { stage: stage("d") },
            EventBody::RunFinished { state: RunState::Cancelled },
        ])
        .await;
    use AttemptState::{Cancelled, Skipped, Succeeded};
    assert_eq!(driven.states().await, [Succeeded, Cancelled, Skipped, Cancelled]);
    assert_eq!(driven.state().await, RunState::Cancelled);
    let stages = store.stages(&driven.run).await.expect("stages");
    assert_eq!(stages[0].attempts, 2);
    assert_eq!(stages[0].failure, None, "the last attempt did well");
    assert_eq!(stages[2].because, Some(SkipReason::Need(stage("b"))));
    let attempts = store.attempts(&driven.run).await.expect("attempts");
    assert_eq!(attempts.len(), 3);
    assert_eq!(attempts[0].pid, Some(7));
    assert_eq!(attempts[0].failure, Some(failure()));
    assert_eq!(store.artifacts(&driven.run).await.expect("artifacts").len(), 2);
    let late = driven.try_tell([skipped("c", "b")]).await;
    assert!(matches!(late, Err(StoreError::LeaseLost(_))), "{late:?}");
}

pub async fn a_stage_is_tried_again(store: &dyn Store) {
    let driven = Driven::new(store, &["a"]).await;
    let token = Token(number());
    driven.tell([started("a", 1, token, "a")]).await;
    driven.tell([finished("a", 1, token, AttemptState::Failed)]).await;
    driven.tell([retry("a", 1)]).await;
    assert_eq!(driven.states().await, [AttemptState::Queued]);
    let stages = store.stages(&driven.run).await.expect("stages");
    assert_eq!(stages[0].failure, Some(failure()), "still the last attempt's");
    assert_eq!(stages[0].finished, None);
    let first_start = stages[0].started;
    let token = Token(number());
    driven.tell([started("a", 2, token, "a")]).await;
    driven.tell([finished("a", 2, token, AttemptState::Succeeded)]).await;
    let stages = store.stages(&driven.run).await.expect("stages");
    assert_eq!((stages[0].attempts, stages[0].started), (2, first_start));
    assert_eq!(stages[0].failure, None);
}

pub async fn a_stale_token_publishes_nothing(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b"]).await;
    let (old, new) = (Token(number()), Token(number()));
    driven.tell([started("a", 1, old, "a")]).await;
    let other = Token(number());
    // A batch is refused whole: the good half of it is not there either.
    let stale = driven
        .try_tell([
            started("b", 1, other, "b"),
            finished("a", 1, Token(number()), AttemptState::Succeeded),
        ])
        .await;
    assert!(
        matches!(&stale, Err(StoreError::StaleToken { stage, attempt: 1 }) if *stage == "a"),
        "{stale:?}"
    );
    assert_eq!(driven.states().await, [AttemptState::Running, AttemptState::Queued]);
    assert!(store.artifacts(&driven.run).await.expect("artifacts").is_empty());
    assert_eq!(store.find_cached(&[fingerprint("a")]).await.expect("an answer"), [None]);

    // Lost and started again: the first attempt comes too late, with the token it had.
    driven.tell([finished("a", 1, old, AttemptState::Failed), retry("a", 1)]).await;
    driven.tell([started("a", 2, new, "a")]).await;
    for attempt in [1, 2] {
        let late = driven.try_tell([finished("a", attempt, old, AttemptState::Succeeded)]).await;
        assert!(matches!(late, Err(StoreError::StaleToken { .. })), "{late:?}");
    }
    driven.tell([finished("a", 2, new, AttemptState::Succeeded)]).await;
    let doubled = driven.try_tell([finished("a", 2, new, AttemptState::Succeeded)]).await;
    assert!(matches!(doubled, Err(StoreError::StaleToken { .. })), "{doubled:?}");
    assert_eq!(store.artifacts(&driven.run).await.expect("artifacts").len(), 2);
}

pub async fn what_does_not_fit_is_refused_whole(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b"]).await;
    driven.succeed("a", "a").await;
    let before = store.events(&driven.run, None).await.expect("events");
    let token = Token(number());
    let wrong = [
        vec![started("a", 2, token, "a")],
        vec![skipped("a", "b")],
        vec![retry("a", 1)],
        vec![started("b", 1, token, "b"), EventBody::StageCancelled { stage: stage("b") }],
        vec![started("b", 1, token, "b"), started("b", 2, token, "b")],
        vec![started("b", 1, token, "b"), started("none", 1, token, "b")],
        vec![EventBody::RunFinished { state: RunState::Running }],
    ];
    for bodies in wrong {
        let told = driven.try_tell(bodies.clone()).await;
        assert!(matches!(told, Err(StoreError::Refused(_))), "{bodies:?}: {told:?}");
    }
    assert_eq!(driven.states().await, [AttemptState::Succeeded, AttemptState::Queued]);
    assert_eq!(store.events(&driven.run, None).await.expect("events"), before);
    driven.succeed("b", "b").await;
}

pub async fn a_lease_is_held_by_one_engine(store: &dyn Store) {
    let driven = Driven::new(store, &["a"]).await;
    let other = engine();
    let taken = store.take_run(&driven.run, &[], &other, now()).await;
    assert!(
        matches!(&taken, Err(StoreError::Leased { host, pid: 17, .. }) if host == "elsewhere"),
        "{taken:?}"
    );
    let again = store.take_run(&driven.run, &[], &driven.engine, now()).await.expect("its own");
    assert_eq!(again, driven.lease);
    store.renew_lease(&driven.lease, now()).await.expect("it holds");

    let later = Timestamp(now().0 + LEASE_MICROS + 1_000_000);
    let lease = store.take_run(&driven.run, &[], &other, later).await.expect("it ran out");
    let lost = store.renew_lease(&driven.lease, later).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost(_))), "{lost:?}");
    let lost = driven.try_tell([skipped("a", "a")]).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost(_))), "{lost:?}");
    let lost = driven.try_tell([points("a", 1, &[("loss", 0, 1.0)])]).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost(_))), "{lost:?}");
    store.renew_lease(&lease, later).await.expect("the new one holds");
    let nobody = store.take_run(&new_run(&[]).id, &[], &other, now()).await;
    assert!(matches!(nobody, Err(StoreError::NoRun(_))), "{nobody:?}");
}

pub async fn a_dead_engine_leaves_an_interrupted_run(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b"]).await;
    let token = Token(number());
    driven.tell([started("a", 1, token, "a")]).await;
    assert!(store.interrupt_dead_runs(now()).await.expect("an answer").is_empty());
    // A run of this very process is alive; one of a process of this machine that never was is
    // dead long before its lease ends.
    let alive = new_run(&["a"]);
    store.create_run(&alive, &this_engine(Token(number())), now()).await.expect("a new run");
    let mut gone = this_engine(Token(number()));
    gone.process_start += 1;
    let dead = new_run(&["a"]);
    store.create_run(&dead, &gone, now()).await.expect("a new run");
    assert_eq!(store.interrupt_dead_runs(now()).await.expect("an answer"), [dead.id]);
    assert!(store.interrupt_dead_runs(now()).await.expect("an answer").is_empty());

    let later = Timestamp(now().0 + LEASE_MICROS + 1);
    store
        .renew_lease(&wick_store::Lease { run: alive.id.clone(), engine: Token(0) }, later)
        .await
        .expect_err("not the one");
    let interrupted = store.interrupt_dead_runs(later).await.expect("an answer");
    assert!(interrupted.contains(&driven.run), "its lease ran out");
    assert_eq!(driven.state().await, RunState::Interrupted);
    assert_eq!(driven.states().await, [AttemptState::Lost, AttemptState::Queued]);
    let attempts = store.attempts(&driven.run).await.expect("attempts");
    assert_eq!((attempts[0].state, attempts[0].finished), (AttemptState::Lost, Some(later)));
    let events = store.events(&driven.run, None).await.expect("events");
    let last = events.last().map(|event| &event.event.body);
    assert_eq!(last, Some(&EventBody::RunFinished { state: RunState::Interrupted }));
    let late = driven.try_tell([finished("a", 1, token, AttemptState::Succeeded)]).await;
    assert!(matches!(late, Err(StoreError::LeaseLost(_))), "{late:?}");
}

/// A stage that stands for instances runs, too, without an attempt that could be lost.
pub async fn a_dead_engine_leaves_no_list_under_way(store: &dyn Store) {
    use AttemptState::{Lost, Queued, Succeeded};
    let driven = Driven::new(store, &["fit", "last"]).await;
    driven.tell([expanded("fit", &["fit[x=0]", "fit[x=1]"])]).await;
    driven.succeed("fit[x=0]", "zero").await;
    let events = store.events(&driven.run, None).await.expect("events").len();
    let later = Timestamp(now().0 + LEASE_MICROS + 1);
    let interrupted = store.interrupt_dead_runs(later).await.expect("an answer");
    assert!(interrupted.contains(&driven.run), "its lease ran out");
    assert_eq!(driven.states().await, [Lost, Succeeded, Queued, Queued]);
    let stages = store.stages(&driven.run).await.expect("stages");
    assert_eq!(stages[0].finished, Some(later));
    let told = store.events(&driven.run, None).await.expect("events");
    assert_eq!(told.len(), events + 1, "the end of the run, and of no attempt");

    // Another engine takes it up, and dies in the same way before anybody has interrupted it.
    let mut engine = engine();
    engine.token = Token(number());
    let lease = store.take_run(&driven.run, &[], &engine, later).await.expect("nobody has it");
    let taken = Driven { store, run: driven.run.clone(), lease, engine };
    assert_eq!(taken.states().await, [Queued, Succeeded, Queued, Queued]);
    taken.tell([expanded("fit", &["fit[x=0]", "fit[x=1]"])]).await;
    let after = Timestamp(later.0 + LEASE_MICROS + 1);
    let mut third = taken.engine.clone();
    third.token = Token(number());
    store.take_run(&driven.run, &[stage("fit")], &third, after).await.expect("it ran out");
    assert_eq!(driven.states().await, [Lost, Succeeded, Queued, Queued], "it is left as it is");
}

pub async fn a_run_is_taken_up(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b", "c", "d"]).await;
    driven.succeed("a", "a").await;
    let (token, failed) = (Token(number()), Token(number()));
    driven
        .tell([
            started("b", 1, token, "b"),
            started("c", 1, failed, "c"),
            finished("c", 1, failed, AttemptState::Failed),
            skipped("d", "c"),
        ])
        .await;
    let later = Timestamp(now().0 + LEASE_MICROS + 1_000_000);
    let engine = engine();
    let lease = store.take_run(&driven.run, &[], &engine, later).await.expect("it ran out");
    let taken = Driven { store, run: driven.run.clone(), lease, engine };
    use AttemptState::{Failed, Lost, Queued, Succeeded};
    assert_eq!(taken.states().await, [Succeeded, Queued, Queued, Queued]);
    let stages = store.stages(&driven.run).await.expect("stages");
    assert_eq!((stages[2].failure.as_ref(), stages[2].started), (None, None));
    assert_eq!(stages[3].because, None);
    assert_eq!(stages[1].attempts, 1, "the next attempt is the second");
    let attempts = store.attempts(&driven.run).await.expect("attempts");
    let states: Vec<_> = attempts.iter().map(|attempt| attempt.state).collect();
    assert_eq!(states, [Succeeded, Lost, Failed]);
    let late = taken.try_tell([finished("b", 1, token, Succeeded)]).await;
    assert!(matches!(late, Err(StoreError::StaleToken { .. })), "{late:?}");
    let token = Token(number());
    taken.tell([started("b", 2, token, "b"), finished("b", 2, token, Succeeded)]).await;
    assert_eq!(taken.states().await, [Succeeded, Succeeded, Queued, Queued]);
}

pub async fn a_run_that_ended_can_be_taken_up(store: &dyn Store) {
    use AttemptState::{Failed, Queued, Succeeded};
    for state in [RunState::Failed, RunState::Cancelled, RunState::Interrupted, RunState::Succeeded]
    {
        let driven = Driven::new(store, &["a", "b", "c"]).await;
        driven.succeed("a", "a").await;
        for name in ["b", "c"] {
            let token = Token(number());
            driven.tell([started(name, 1, token, name), finished(name, 1, token, Failed)]).await;
        }
        driven.end(state).await;
        assert_eq!(driven.state().await, state);
        let left = [stage("c")];
        store.take_run(&driven.run, &left, &engine(), now()).await.expect("nobody drives it");
        let record = store.run(&driven.run).await.expect("an answer").expect("the run");
        assert_eq!((record.state, record.finished), (RunState::Running, None));
        assert_eq!(driven.states().await, [Succeeded, Queued, Failed], "what is left stays");
    }
}

pub async fn a_stage_that_succeeded_is_done_again(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b", "c"]).await;
    let token = Token(number());
    let mut start = started("a", 1, token, "old");
    if let EventBody::AttemptStarted { inputs, .. } = &mut start {
        *inputs = vec![input("data", "elsewhere", "old"), input("more", "elsewhere", "old")];
    }
    driven.tell([start, finished("a", 1, token, AttemptState::Succeeded)]).await;
    driven.tell([points("a", 1, &[("m", 0, 1.0)])]).await;
    driven.succeed("b", "b").await;
    driven.end(RunState::Succeeded).await;
    let again = |name: &str| EventBody::StageRequeued { stage: stage(name) };
    let engine = engine();
    let lease = store.take_run(&driven.run, &[], &engine, now()).await.expect("nobody drives it");
    let taken = Driven { store, run: driven.run.clone(), lease, engine };
    let first_start = store.stages(&taken.run).await.expect("stages")[0].started;

    // Until it is requeued, it stands.
    let token = Token(number());
    let early = taken.try_tell([started("a", 2, token, "new")]).await;
    assert!(matches!(early, Err(StoreError::Refused(_))), "{early:?}");
    let waiting = taken.try_tell([again("c")]).await;
    assert!(matches!(waiting, Err(StoreError::Refused(_))), "{waiting:?}");
    assert_eq!(store.artifacts(&taken.run).await.expect("artifacts").len(), 4);
    let mut start = started("a", 2, token, "new");
    if let EventBody::AttemptStarted { inputs, .. } = &mut start {
        *inputs = vec![input("data", "elsewhere", "new")];
    }
    taken.tell([again("a"), start]).await;
    let made = store.artifacts(&taken.run).await.expect("artifacts");
    assert_eq!(made.len(), 2, "what it made before is no longer the run's");
    assert!(store.latest_metrics(&taken.run).await.expect("metrics").is_empty());
    let inputs = store.inputs(&taken.run).await.expect("inputs");
    assert_eq!((inputs.len(), inputs[0].digest), (1, Digest::of(b"new")));
    let stages = store.stages(&taken.run).await.expect("stages");
    assert_eq!((stages[0].state, stages[0].attempts), (AttemptState::Running, 2));
    assert!(stages[0].started > first_start);
    let running = taken.try_tell([again("a")]).await;
    assert!(matches!(running, Err(StoreError::Refused(_))), "{running:?}");
    taken.tell([finished("a", 2, token, AttemptState::Succeeded)]).await;

    // Requeued, it may come to any other end, and then nothing of it is left.
    taken.tell([again("b")]).await;
    taken.tell([skipped("b", "a")]).await;
    let stages = store.stages(&taken.run).await.expect("stages");
    assert_eq!((stages[1].state, stages[1].fingerprint), (AttemptState::Skipped, None));
    let made = store.artifacts(&taken.run).await.expect("artifacts");
    assert!(made.len() == 2 && made.iter().all(|made| made.stage == "a"));
    // The attempts stay in the history, and what they made in the cache.
    assert_eq!(store.attempts(&taken.run).await.expect("attempts").len(), 3);
    let prints = [fingerprint("old"), fingerprint("new"), fingerprint("b")];
    let found = store.find_cached(&prints).await.expect("an answer");
    assert!(found.iter().all(Option::is_some), "{found:?}");
}

fn expanded(name: &str, instances: &[&str]) -> EventBody {
    let kind: wick_core::KindName = "command".parse().expect("a name");
    EventBody::StageExpanded {
        stage: stage(name),
        instances: instances.iter().map(|name| (stage(name), kind.clone())).collect(),
    }
}

fn gathered(name: &str, state: AttemptState) -> EventBody {
    EventBody::StageGathered { stage: stage(name), state }
}

pub async fn a_list_brings_instances(store: &dyn Store) {
    use AttemptState::{Failed, Queued, Running, Succeeded};
    let driven = Driven::new(store, &["fit", "last"]).await;
    let token = Token(number());
    // The first instance starts in the batch that names it.
    driven
        .tell([
            expanded("fit", &["fit[x=0]", "fit[x=1]"]),
            started("fit[x=0]", 1, token, "zero"),
            points("fit[x=0]", 1, &[("m", 0, 1.0)]),
        ])
        .await;
    let stages = store.stages(&driven.run).await.expect("stages");
    let names: Vec<_> = stages.iter().map(|stage| stage.stage.as_str()).collect();
    assert_eq!(names, ["fit", "fit[x=0]", "fit[x=1]", "last"], "after the stage itself");
    assert_eq!(stages[1].template, Some(stage("fit")));
    assert_eq!((stages[0].template.as_ref(), stages[0].attempts), (None, 0));
    assert!(stages[0].started.is_some());
    assert_eq!(driven.states().await, [Running, Running, Queued, Queued]);
    driven.tell([finished("fit[x=0]", 1, token, Succeeded)]).await;
    let other = Token(number());
    driven
        .tell([started("fit[x=1]", 1, other, "one"), finished("fit[x=1]", 1, other, Failed)])
        .await;
    driven.tell([gathered("fit", Failed), skipped("last", "fit")]).await;
    driven.end(RunState::Failed).await;
    let late = driven.try_tell([gathered("fit", Failed)]).await;
    assert!(late.is_err(), "{late:?}");

    // Another engine, with a list of its own: one item has gone, one is new.
    let engine = engine();
    let lease = store.take_run(&driven.run, &[], &engine, now()).await.expect("nobody drives it");
    let taken = Driven { store, run: driven.run.clone(), lease, engine };
    assert_eq!(taken.states().await, [Queued, Succeeded, Failed, Queued], "they wait for the list");
    taken.tell([expanded("fit", &["fit[x=0]", "fit[x=2]"])]).await;
    let stages = store.stages(&taken.run).await.expect("stages");
    let shown: Vec<_> = stages.iter().map(|record| (record.stage.as_str(), record.state)).collect();
    assert_eq!(
        shown,
        [
            ("fit", Running),
            ("fit[x=0]", Succeeded),
            ("fit[x=1]", AttemptState::Skipped),
            ("fit[x=2]", Queued),
            ("last", Queued)
        ]
    );
    assert_eq!(stages[2].because, Some(SkipReason::NoItem));
    let token = Token(number());
    let mut last = started("last", 1, token, "last");
    if let EventBody::AttemptStarted { inputs, .. } = &mut last {
        let item = |label: &str, from: &str| Input {
            item: Some(label.to_owned()),
            ..input("models", from, label)
        };
        *inputs = vec![item("x=2", "fit[x=2]"), item("x=0", "fit[x=0]")];
    }
    taken.succeed("fit[x=2]", "two").await;
    taken.tell([points("fit[x=2]", 1, &[("m", 0, 2.0)])]).await;
    let shown = async || {
        let listed = store.search(&Search::newest(1)).await;
        listed.expect("a list").runs.swap_remove(0).metrics
    };
    let metric = |name: &str, value| (format!("{name}.m"), value);
    assert_eq!(shown().await, [metric("fit[x=0]", 1.0), metric("fit[x=2]", 2.0)]);
    taken.tell([gathered("fit", Succeeded), last]).await;
    let inputs = store.inputs(&taken.run).await.expect("inputs");
    let read: Vec<_> =
        inputs.iter().map(|read| (read.item.as_deref(), read.from_stage.as_str())).collect();
    assert_eq!(read, [(Some("x=2"), "fit[x=2]"), (Some("x=0"), "fit[x=0]")]);
    taken.tell([finished("last", 1, token, Succeeded)]).await;
    taken.end(RunState::Succeeded).await;

    // The list as it was, once more: what is there again is queued again.
    let engine = self::engine();
    let lease = store.take_run(&driven.run, &[], &engine, now()).await.expect("nobody drives it");
    let taken = Driven { store, run: driven.run.clone(), lease, engine };
    let again = EventBody::StageRequeued { stage: stage("fit") };
    taken.tell([again, expanded("fit", &["fit[x=1]", "fit[x=0]"])]).await;
    let states = taken.states().await;
    assert_eq!(states, [Running, Succeeded, Queued, AttemptState::Skipped, Succeeded]);
    let made = store.artifacts(&taken.run).await.expect("artifacts");
    assert!(made.iter().all(|made| made.stage != "fit[x=2]"), "that is no longer the run's");
    assert_eq!(shown().await, [metric("fit[x=0]", 1.0)]);
    let stray = taken.try_tell([gathered("fit", Succeeded), expanded("last", &["fit[x=0]"])]).await;
    assert!(matches!(stray, Err(StoreError::Refused(_))), "{stray:?}");
    let found = store.find_cached(&[fingerprint("two")]).await.expect("an answer");
    let origin = found[0].as_ref().expect("it is there").origin.clone();
    // Its outputs can be reused elsewhere, although they came with a list.
    let second = Driven::new(store, &["b"]).await;
    second.tell([cached("b", "two", origin, Vec::new())]).await;
    assert_eq!(store.artifacts(&second.run).await.expect("artifacts").len(), 2);
}

pub async fn a_cancel_reaches_the_engine(store: &dyn Store) {
    let driven = Driven::new(store, &["a"]).await;
    assert!(!store.cancel_requested(&driven.run).await.expect("an answer"));
    let held = store.engine_of(&driven.run).await.expect("an answer");
    assert_eq!(held, Some(driven.engine.clone()));
    store.request_cancel(&driven.run, now()).await.expect("a request");
    assert!(store.cancel_requested(&driven.run).await.expect("an answer"));
    driven.end(RunState::Cancelled).await;
    assert_eq!(store.engine_of(&driven.run).await.expect("an answer"), None);
    assert!(!store.cancel_requested(&driven.run).await.expect("an answer"));
    store.request_cancel(&driven.run, now()).await.expect("nobody hears it");
    store.take_run(&driven.run, &[], &engine(), now()).await.expect("nobody drives it");
    assert!(!store.cancel_requested(&driven.run).await.expect("an answer"), "that is over");
    let nobody = store.request_cancel(&new_run(&[]).id, now()).await;
    assert!(matches!(nobody, Err(StoreError::NoRun(_))), "{nobody:?}");
}

pub async fn fingerprints_find_the_newest_success(store: &dyn Store) {
    assert!(store.find_cached(&[]).await.expect("an answer").is_empty());
    let first = Driven::new(store, &["x", "a"]).await;
    first.succeed("a", "same").await;
    let second = Driven::new(store, &["b"]).await;
    let token = Token(number());
    let effects = vec![Effect::RegisterModel {
        name: "m".parse().expect("a name"),
        digest: Digest::of(b"b"),
        description: None,
        tags: vec![("team".to_owned(), "vision".to_owned())],
    }];
    let mut end = finished("b", 1, token, AttemptState::Succeeded);
    if let EventBody::AttemptFinished { effects: asked, .. } = &mut end {
        asked.clone_from(&effects);
    }
    second.tell([started("b", 1, token, "same")]).await;
    let asked = [fingerprint("none"), fingerprint("same"), fingerprint("same")];
    let found = store.find_cached(&asked).await.expect("an answer");
    assert_eq!(found[0], None);
    let origin = StageOrigin { run: first.run.clone(), stage: stage("a"), attempt: 1 };
    assert_eq!(found[1].as_ref().map(|found| &found.origin), Some(&origin));
    assert_eq!(found[1], found[2]);
    second.tell([end]).await;
    let found = store.find_cached(&asked).await.expect("an answer");
    let found = found[1].as_ref().expect("it is there");
    let origin = StageOrigin { run: second.run.clone(), stage: stage("b"), attempt: 1 };
    assert_eq!(found.origin, origin);
    assert_eq!(found.outputs, [output("data", "b"), output("again", "b")]);
    assert_eq!(found.effects, effects);
}

pub async fn source_stamps_are_replaced(store: &dyn Store) {
    let stamp = |path: &str, size: u64| SourceStamp {
        path: path.to_owned(),
        size,
        modified_ns: i64::MAX - 1,
        inode: u64::MAX - 1,
        digest: Digest::of(&size.to_le_bytes()),
    };
    store.keep_source_stamps(&[]).await.expect("nothing to do");
    store.keep_source_stamps(&[stamp("/a", 1), stamp("/b'\"", 2)]).await.expect("kept");
    store.keep_source_stamps(&[stamp("/a", 3)]).await.expect("kept");
    let paths = ["/b'\"", "/none", "/a"].map(str::to_owned);
    let found = store.source_stamps(&paths).await.expect("an answer");
    assert_eq!(found, [Some(stamp("/b'\"", 2)), None, Some(stamp("/a", 3))]);
}

pub async fn many_writers_wait_for_each_other(store: &dyn Store) {
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(Driven::new(store, &["a", "b", "c"]).await);
    }
    let drive = async |driven: &Driven<'_>| {
        for name in ["a", "b", "c"] {
            let token = Token(number());
            driven.tell([started(name, 1, token, name)]).await;
            driven.tell([points(name, 1, &[("shared.key", 0, 1.0)])]).await;
            driven.tell([finished(name, 1, token, AttemptState::Succeeded)]).await;
        }
        driven.end(RunState::Succeeded).await;
    };
    futures_util::future::join_all(all.iter().map(drive)).await;
    for driven in &all {
        assert_eq!(driven.states().await, [AttemptState::Succeeded; 3]);
        assert_eq!(store.latest_metrics(&driven.run).await.expect("metrics").len(), 3);
    }
}

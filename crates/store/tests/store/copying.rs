//! Dumps: what goes from one store to another, and what comes back.

use serde_json::json;
use tempfile::TempDir;
use wick_core::{AttemptState, Digest, Effect, EventBody, RunState, StageOrigin, Token};
use wick_store::copy::{Copied, Step, backup, copy};
use wick_store::sqlite::SqliteStore;
use wick_store::{Loaded, Mark, ModelDump, RunDump, Store};

use crate::world::*;

/// A SQLite store in a folder that lives as long.
async fn other() -> (TempDir, SqliteStore) {
    let folder = TempDir::new().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("other.db")).await.expect("a store");
    (folder, store)
}

/// Runs with a bit of everything, and models.
async fn fill(store: &dyn Store) {
    let mut first = new_run(&["load", "train", "list", "late"]);
    first.params.push(("tiny".to_owned(), json!(0.123_456_789_012_345_67)));
    first.params.push(("text".to_owned(), json!("it's \"odd\" é")));
    first.environment = json!({"host": "here", "share": 0.707_106_781_186_547_3});
    first.git_diff = Some("--- a\n+++ b\n".to_owned());
    let first = Driven::of(store, first).await;
    let kind: wick_core::KindName = "command".parse().expect("a name");
    let (token, again) = (Token(number()), Token(number()));
    let mut start = started("load", 1, token, "load");
    if let EventBody::AttemptStarted { parts, queued, inputs, .. } = &mut start {
        *parts = Some(json!({"kind": "command", "with": {"x": 0.1}}).to_string());
        *queued = Some(now());
        *inputs = vec![input("data", "elsewhere", "source")];
    }
    let mut end = finished("load", 1, token, AttemptState::Succeeded);
    let register = Effect::RegisterModel {
        name: "digits".parse().expect("a name"),
        digest: Digest::of(b"load"),
        description: Some("small".to_owned()),
        tags: vec![("team".to_owned(), "vision".to_owned())],
    };
    let alias = Effect::SetAlias {
        name: "digits".parse().expect("a name"),
        alias: "production".to_owned(),
        digest: Digest::of(b"load"),
    };
    if let EventBody::AttemptFinished { effects, outputs, .. } = &mut end {
        *effects = vec![register, alias];
        outputs[0].meta = json!({"mean": 0.333_333_333_333_333_37, "rows": 7});
    }
    first.tell([EventBody::RunStarted { host: "here".to_owned(), pid: 5 }, start, end]).await;
    first.tell([started("train", 1, again, "train")]).await;
    let loss: Vec<_> = (0..700)
        .map(|n| ("loss", n, if n == 9 { f64::NAN } else { 1.0 / (1.0 + n as f64) }))
        .collect();
    first.tell([points("train", 1, &loss[..600]), points("train", 1, &[("lr", 0, -0.0)])]).await;
    first.tell([points("train", 1, &loss[600..]), points("train", 1, &[("k", 5, 2.5)])]).await;
    first.tell([finished("train", 1, again, AttemptState::Failed), retry("train", 1)]).await;
    let third = Token(number());
    first.tell([started("train", 2, third, "train"), points("train", 2, &loss[..3])]).await;
    first.tell([finished("train", 2, third, AttemptState::Succeeded)]).await;
    let instances = vec![(stage("list[x=1]"), kind)];
    first.tell([EventBody::StageExpanded { stage: stage("list"), instances }]).await;
    first.succeed("list[x=1]", "one").await;
    let state = AttemptState::Succeeded;
    first.tell([EventBody::StageGathered { stage: stage("list"), state }]).await;
    first.tell([skipped("late", "train")]).await;
    first.end(RunState::Succeeded).await;
    let marks = [
        Mark::Name(Some("baseline".to_owned())),
        Mark::Note(Some("a note\nof two lines".to_owned())),
        Mark::Star(true),
        Mark::Tag { key: "team".to_owned(), value: "vision".to_owned() },
        Mark::Tag { key: "a".to_owned(), value: String::new() },
    ];
    store.mark_runs(std::slice::from_ref(&first.run), &marks, now()).await.expect("marked");

    let mut second = new_run(&["fit", "same"]);
    second.parent = Some(first.run.clone());
    let second = Driven::of(store, second).await;
    let origin = StageOrigin { run: first.run.clone(), stage: stage("train"), attempt: 2 };
    second.tell([cached("fit", "train", origin, Vec::new())]).await;
    second.succeed("same", "load").await;
    second.end(RunState::Failed).await;
    let deleted = [Mark::Delete(true), Mark::Archive(true)];
    store.mark_runs(std::slice::from_ref(&second.run), &deleted, now()).await.expect("marked");
}

async fn dumps(store: &dyn Store) -> (Vec<RunDump>, Vec<ModelDump>) {
    let mut runs = Vec::new();
    for id in store.run_ids(None, 100).await.expect("ids") {
        runs.push(store.dump_run(&id).await.expect("an answer").expect("the run"));
    }
    (runs, store.dump_models().await.expect("models"))
}

/// In JSON, for NaN equals nothing.
fn text(dumps: &(Vec<RunDump>, Vec<ModelDump>)) -> String {
    serde_json::to_string(dumps).expect("it is JSON")
}

async fn load(store: &dyn Store, dumps: &(Vec<RunDump>, Vec<ModelDump>)) -> Vec<Loaded> {
    let loaded = store.load_runs(&dumps.0).await.expect("loaded");
    store.load_models(&dumps.1).await.expect("loaded");
    loaded
}

pub async fn dumps_go_there_and_back(store: &dyn Store) {
    let (_folder, source) = other().await;
    fill(&source).await;
    let told = dumps(&source).await;
    assert_eq!(load(store, &told).await, [Loaded::New, Loaded::New]);
    let here = dumps(store).await;
    assert_eq!(text(&here), text(&told));
    for (here, told) in here.0.iter().zip(&told.0) {
        assert_eq!(here.digest().expect("a digest"), told.digest().expect("a digest"));
    }
    let (_folder, back) = other().await;
    load(&back, &here).await;
    assert_eq!(text(&dumps(&back).await), text(&told));
    assert_eq!(load(store, &told).await, [Loaded::Kept, Loaded::Kept]);
    assert_eq!(text(&dumps(store).await), text(&told), "nothing came twice");
    // Read again from its text, it is the same.
    let again: Vec<RunDump> =
        serde_json::from_str(&serde_json::to_string(&told.0).expect("JSON")).expect("JSON");
    assert_eq!(text(&(again, told.1.clone())), text(&told));

    // It is a run like any other: to be shown, to be found, to be reused, to be gone on with.
    let ids = store.run_ids(None, 10).await.expect("ids");
    for id in &ids {
        let shown = async |of: &dyn Store| {
            let latest = of.latest_metrics(id).await.expect("metrics");
            let series = of.series(id, None).await.expect("series");
            let artifacts = of.artifacts(id).await.expect("artifacts");
            let stages = of.stages(id).await.expect("stages");
            format!("{latest:?} {series:?} {artifacts:?} {stages:?}")
        };
        assert_eq!(shown(store).await, shown(&source).await);
        assert_eq!(
            format!("{:?}", store.run(id).await.expect("an answer")),
            format!("{:?}", source.run(id).await.expect("an answer"))
        );
    }
    let prints = [fingerprint("load"), fingerprint("train"), fingerprint("one")];
    let found = store.find_cached(&prints).await.expect("an answer");
    assert_eq!(found, source.find_cached(&prints).await.expect("an answer"));
    let models = store.models().await.expect("models");
    assert_eq!(models, source.models().await.expect("models"));
    let engine = engine();
    let lease = store.take_run(&ids[0], &[], &engine, now()).await.expect("nobody drives it");
    let taken = Driven { store, run: ids[0].clone(), lease, engine };
    taken.succeed("late", "late").await;
    taken.end(RunState::Succeeded).await;
    assert!(store.dump_run(&new_run(&[]).id).await.expect("an answer").is_none());
}

pub async fn many_runs_are_dumped_as_each_alone(store: &dyn Store) {
    fill(store).await;
    fill(store).await;
    let mut ids = store.run_ids(None, 10).await.expect("ids");
    let mut expect = Vec::new();
    for id in &ids {
        expect.push(store.dump_run(id).await.expect("an answer"));
    }
    assert!(expect.len() > 3 && expect.iter().all(Option::is_some));
    // In the order in which they are asked for, one that is not there among them.
    ids.reverse();
    expect.reverse();
    ids.insert(1, new_run(&[]).id);
    expect.insert(1, None);
    let dumps = store.dump_runs(&ids).await.expect("dumps");
    // As texts: a NaN is not equal to itself.
    let text = |dumps: &[Option<RunDump>]| serde_json::to_string(dumps).expect("it is JSON");
    assert!(text(&dumps) == text(&expect), "dumped together, a run is another");
    assert!(store.dump_runs(&[]).await.expect("dumps").is_empty());
}

pub async fn a_run_that_came_further_takes_its_place(store: &dyn Store) {
    let (_folder, source) = other().await;
    let driven = Driven::new(&source, &["a", "b"]).await;
    let token = Token(number());
    driven.tell([started("a", 1, token, "a")]).await;
    let early = dumps(&source).await;
    assert_eq!(load(store, &early).await, [Loaded::New]);
    let record = store.run(&driven.run).await.expect("an answer").expect("the run");
    assert_eq!(record.state, RunState::Interrupted, "nobody drives it here");
    let attempts = store.attempts(&driven.run).await.expect("attempts");
    assert_eq!(attempts[0].state, AttemptState::Lost);
    assert_eq!(load(store, &early).await, [Loaded::Kept]);

    // Another run refers to it meanwhile.
    let mut child = new_run(&["c"]);
    child.parent = Some(driven.run.clone());
    let child = Driven::of(store, child).await;
    let told: Vec<_> = (0..40).map(|step| ("loss", step, step as f64)).collect();
    driven.tell([points("a", 1, &told), finished("a", 1, token, AttemptState::Succeeded)]).await;
    driven.succeed("b", "b").await;
    driven.end(RunState::Succeeded).await;
    let late = dumps(&source).await;
    assert_eq!(load(store, &late).await, [Loaded::Further]);
    let here = store.dump_run(&driven.run).await.expect("an answer").expect("the run");
    assert_eq!(here, late.0[0]);
    let record = store.run(&child.run).await.expect("an answer").expect("the run");
    assert_eq!(record.parent, Some(driven.run.clone()));
    assert_eq!(load(store, &early).await, [Loaded::Kept], "it never goes back");

    // Nor is a run touched that an engine drives.
    let mut further = store.dump_run(&child.run).await.expect("an answer").expect("the run");
    further.events.extend(late.0[0].events.clone());
    assert_eq!(store.load_runs(&[further]).await.expect("loaded"), [Loaded::Kept]);
}

pub async fn wrong_dumps_are_refused_whole(store: &dyn Store) {
    let (_folder, source) = other().await;
    fill(&source).await;
    let (runs, _) = dumps(&source).await;
    let wrong = |change: fn(&mut RunDump)| {
        let mut runs = runs.clone();
        change(&mut runs[0]);
        runs
    };
    let wrongs = [
        wrong(|run| run.version = 99),
        wrong(|run| run.stages[1].stage = run.stages[0].stage.clone()),
        wrong(|run| run.attempts[0].stage = stage("none")),
        wrong(|run| run.series[0].steps.clear()),
    ];
    for wrong in wrongs {
        let loaded = store.load_runs(&[runs[1].clone(), wrong[0].clone()]).await;
        assert!(matches!(loaded, Err(wick_store::StoreError::Refused(_))), "{loaded:?}");
    }
    assert!(store.run_ids(None, 10).await.expect("ids").is_empty(), "nothing was written");
}

pub async fn models_are_joined(store: &dyn Store) {
    let register = |content: &str| Effect::RegisterModel {
        name: "digits".parse().expect("a name"),
        digest: Digest::of(content.as_bytes()),
        description: None,
        tags: Vec::new(),
    };
    let alias = |content: &str| Effect::SetAlias {
        name: "digits".parse().expect("a name"),
        alias: "production".to_owned(),
        digest: Digest::of(content.as_bytes()),
    };
    let (_folder, source) = other().await;
    for effect in [register("theirs"), register("both"), alias("theirs")] {
        source.apply_effect(&effect, now()).await.expect("applied");
    }
    for effect in [register("ours"), register("both"), alias("ours")] {
        store.apply_effect(&effect, now()).await.expect("applied");
    }
    let theirs = source.dump_models().await.expect("models");
    store.load_models(&theirs).await.expect("loaded");
    let models = store.models().await.expect("models");
    let versions: Vec<_> =
        models[0].versions.iter().map(|version| (version.version, version.digest)).collect();
    let digest = |content: &str| Digest::of(content.as_bytes());
    assert_eq!(versions, [(1, digest("ours")), (2, digest("both")), (3, digest("theirs"))]);
    assert_eq!(models[0].versions[0].aliases, ["production"], "it was said later");
    source.apply_effect(&alias("both"), now()).await.expect("applied");
    store.load_models(&source.dump_models().await.expect("models")).await.expect("loaded");
    let models = store.models().await.expect("models");
    assert_eq!(models[0].versions[1].aliases, ["production"]);
}

pub async fn a_store_is_copied_and_gone_on_with(store: &dyn Store) {
    let (_folder, source) = other().await;
    fill(&source).await;
    let driven = Driven::new(&source, &["a"]).await;
    let mut steps = Vec::new();
    let copied = copy(&source, store, &mut |step| steps.push(step)).await.expect("copied");
    let expect = Copied { new: 3, under_way: 1, models: 1, ..Copied::default() };
    assert_eq!(copied, expect);
    assert_eq!(steps, [Step::Copied(3), Step::Compared(2)]);
    driven.succeed("a", "a").await;
    driven.end(RunState::Succeeded).await;
    let copied = copy(&source, store, &mut |_| {}).await.expect("copied");
    let expect = Copied { further: 1, kept: 2, models: 1, ..Copied::default() };
    assert_eq!(copied, expect);
    assert_eq!(text(&dumps(store).await), text(&dumps(&source).await));
    let (_folder, back) = other().await;
    copy(store, &back, &mut |_| {}).await.expect("copied");
    assert_eq!(text(&dumps(&back).await), text(&dumps(&source).await));
    // What is not the same is told, and nothing is lost over it.
    let star = [Mark::Star(true)];
    source.mark_runs(std::slice::from_ref(&driven.run), &star, now()).await.expect("marked");
    let copied = copy(&source, store, &mut |_| {}).await.expect("copied");
    assert_eq!(copied.different, [driven.run]);
}

pub async fn a_backup_is_a_store(store: &dyn Store, location: &str) {
    fill(store).await;
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("backup.db");
    backup(location, &file, &mut |_| {}).await.expect("a backup");
    let there: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
    assert_eq!(there.len(), 1, "{there:?}");
    let again = backup(location, &file, &mut |_| {}).await;
    assert!(matches!(again, Err(wick_store::StoreError::Location { .. })), "{again:?}");
    let copied = SqliteStore::open(&file).await.expect("a store");
    assert_eq!(text(&dumps(&copied).await), text(&dumps(store).await));
    Driven::new(&copied, &["a"]).await.succeed("a", "a").await;
    copied.close().await;
}

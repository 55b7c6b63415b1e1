//! Removing runs.

use wick_core::{Digest, Effect, EventBody, PortType, RunState, StageOrigin, Token};
use wick_store::{Mark, PurgePreview, Store};

use crate::world::*;

async fn delete(store: &dyn Store, run: &Driven<'_>) {
    let marked = store.mark_runs(std::slice::from_ref(&run.run), &[Mark::Delete(true)], now());
    marked.await.expect("marked");
}

pub async fn runs_are_told_oldest_first(store: &dyn Store) {
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(Driven::new(store, &["a"]).await.run);
    }
    let page = async |after, limit| store.run_ids(after, limit).await.expect("ids");
    assert_eq!(page(None, 10).await, runs);
    assert_eq!(page(None, 1).await, runs[..1]);
    assert_eq!(page(Some(&runs[0]), 10).await, runs[1..]);
    assert!(page(Some(&runs[2]), 10).await.is_empty());
}

pub async fn purged_runs_leave_nothing(store: &dyn Store) {
    let kept = Driven::new(store, &["a"]).await;
    kept.succeed("a", "kept").await;
    kept.end(RunState::Succeeded).await;
    let before = store.run_ids(None, 10).await.expect("ids");

    let run = Driven::new(store, &["a", "b"]).await;
    let token = Token(number());
    let end = finished("a", 1, token, wick_core::AttemptState::Succeeded);
    run.tell([started("a", 1, token, "gone")]).await;
    let told: Vec<_> = (0..1_000).map(|step| ("loss", step, step as f64)).collect();
    run.tell([points("a", 1, &told), points("a", 1, &[("m", 0, 1.0)]), end]).await;
    let again = std::slice::from_ref(&run.run);
    assert!(store.purge_runs(again).await.expect("an answer").is_empty(), "not deleted");
    delete(store, &run).await;
    assert!(store.purge_runs(again).await.expect("an answer").is_empty(), "it is driven");
    run.end(RunState::Succeeded).await;
    assert_eq!(store.purge_runs(again).await.expect("an answer"), again);
    assert!(store.purge_runs(again).await.expect("an answer").is_empty(), "gone already");

    assert_eq!(store.run_ids(None, 10).await.expect("ids"), before);
    assert!(store.run(&run.run).await.expect("an answer").is_none());
    assert!(store.stages(&run.run).await.expect("stages").is_empty());
    assert!(store.events(&run.run, None).await.expect("events").is_empty());
    assert_eq!(store.find_cached(&[fingerprint("gone")]).await.expect("an answer"), [None]);
    let found = store.find_cached(&[fingerprint("kept")]).await.expect("an answer");
    assert!(found[0].is_some(), "what others made stays in the cache");
}

fn register(content: &[u8]) -> Effect {
    Effect::RegisterModel {
        name: "digits".parse().expect("a name"),
        digest: Digest::of(content),
        description: None,
        tags: Vec::new(),
    }
}

pub async fn a_run_from_which_a_model_came_stays(store: &dyn Store) {
    // One registers what it makes, of the other somebody does; a third is just deleted.
    let registers = Driven::new(store, &["a"]).await;
    let token = Token(number());
    let mut end = finished("a", 1, token, wick_core::AttemptState::Succeeded);
    if let EventBody::AttemptFinished { effects, .. } = &mut end {
        effects.push(register(b"elsewhere"));
    }
    registers.tell([started("a", 1, token, "one"), end]).await;
    let made = Driven::new(store, &["chosen"]).await;
    made.succeed("chosen", "chosen").await;
    store.apply_effect(&register(b"chosen"), now()).await.expect("registered");
    let other = Driven::new(store, &["other"]).await;
    other.succeed("other", "other").await;
    let mut all = Vec::new();
    for run in [registers, made, other] {
        run.end(RunState::Succeeded).await;
        delete(store, &run).await;
        all.push(run.run.clone());
    }
    let preview = store.preview_purge(&all).await.expect("an answer");
    assert_eq!(preview.runs, all[2..]);
    assert_eq!(store.purge_runs(&all).await.expect("an answer"), all[2..]);
    assert_eq!(store.run_ids(None, 10).await.expect("ids"), all[..2]);
    let models = store.models().await.expect("models");
    assert_eq!(models[0].versions[0].run.as_ref(), Some(&all[0]), "it tells where it came from");
}

pub async fn what_runs_shared_goes_with_the_last_of_them(store: &dyn Store) {
    let with = async |text: &str, diff: &str, print: &str| {
        let mut run = new_run(&["a"]);
        run.pipeline_text = text.to_owned();
        run.git_diff = Some(diff.to_owned());
        let run = Driven::of(store, run).await;
        let token = Token(number());
        let mut start = started("a", 1, token, print);
        if let EventBody::AttemptStarted { parts, .. } = &mut start {
            *parts = Some(format!("{{\"parts\": [], \"of\": \"{print}\"}}"));
        }
        run.tell([start, finished("a", 1, token, wick_core::AttemptState::Succeeded)]).await;
        run.end(RunState::Succeeded).await;
        run
    };
    let kept = with("shared", "a diff", "shared").await;
    let gone = with("shared", "a diff", "shared").await;
    // The text of one run may be the diff of another: both are kept alike.
    let own = with("a diff", "its own diff", "its own").await;
    let before = store.dump_run(&kept.run).await.expect("an answer");
    assert_eq!(store.clear_unused().await.expect("cleared"), 0);
    for run in [&gone, &own] {
        delete(store, run).await;
        let run = std::slice::from_ref(&run.run);
        assert_eq!(store.purge_runs(run).await.expect("an answer"), run);
    }
    assert_eq!(store.clear_unused().await.expect("cleared"), 2, "a diff, and parts");
    assert_eq!(store.clear_unused().await.expect("cleared"), 0);
    assert_eq!(store.dump_run(&kept.run).await.expect("an answer"), before);
    // What is gone can come again.
    let again = with("a diff", "its own diff", "its own").await;
    let parts = store.stage_parts(&again.run).await.expect("parts");
    assert_eq!(parts[0].1["of"], "its own");
}

pub async fn a_run_of_which_another_took_outputs_stays(store: &dyn Store) {
    let first = Driven::new(store, &["a"]).await;
    first.succeed("a", "a").await;
    first.end(RunState::Succeeded).await;
    let second = Driven::new(store, &["a"]).await;
    let origin = StageOrigin { run: first.run.clone(), stage: stage("a"), attempt: 1 };
    second.tell([cached("a", "a", origin, Vec::new())]).await;
    second.end(RunState::Succeeded).await;
    delete(store, &first).await;
    let both = [first.run.clone(), second.run.clone()];
    assert!(store.purge_runs(&both).await.expect("an answer").is_empty());
    assert_eq!(store.artifacts(&second.run).await.expect("artifacts").len(), 2);
    // Told beforehand: alone the first cannot go, and both go with what only they have made.
    let alone = store.preview_purge(&both[..1]).await.expect("an answer");
    assert_eq!(alone, PurgePreview::default());
    let preview = store.preview_purge(&both).await.expect("an answer");
    let (mut told, mut expected) = (preview.runs, both.to_vec());
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let made = store.referenced_artifacts(None, 10).await.expect("an answer");
    let made: Vec<_> = made.into_iter().map(|(digest, _, bytes)| (digest, bytes)).collect();
    assert!(!made.is_empty());
    assert_eq!(preview.artifacts, made);
    delete(store, &second).await;
    assert_eq!(store.purge_runs(&both).await.expect("an answer").len(), 2);
}

pub async fn what_is_referenced_is_told_in_pages(store: &dyn Store) {
    assert!(store.referenced_artifacts(None, 10).await.expect("an answer").is_empty());
    let names: Vec<String> = (0..5).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..2 {
        let driven = Driven::new(store, &names).await;
        for name in &names {
            driven.succeed(name, name).await;
        }
    }
    for content in ["s1", "only a model"] {
        let effect = Effect::RegisterModel {
            name: "digits".parse().expect("a name"),
            digest: Digest::of(content.as_bytes()),
            description: None,
            tags: Vec::new(),
        };
        store.apply_effect(&effect, now()).await.expect("registered");
    }
    let mut expect: Vec<_> =
        names.iter().map(|name| (Digest::of(name.as_bytes()), PortType::Dataset, 2)).collect();
    expect.push((Digest::of(b"only a model"), PortType::Model, 0));
    expect.sort_by_key(|row| row.0);
    let mut told = Vec::new();
    loop {
        let after = told.last().map(|row: &(Digest, PortType, u64)| row.0);
        let page = store.referenced_artifacts(after, 2).await.expect("an answer");
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        told.extend(page);
    }
    assert_eq!(told, expect);
}

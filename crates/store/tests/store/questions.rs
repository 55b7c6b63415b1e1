//! Questions over many runs.

use serde_json::json;
use wick_core::{AttemptState, Digest, EventBody, RunState, StageOrigin, Token};
use wick_store::{Mark, ReadAs, StageQuery, Store};

use crate::world::*;

fn of(stage: &str) -> StageQuery {
    StageQuery { stage: stage.to_owned(), ..StageQuery::default() }
}

/// Runs `name`, which reads `inputs` (port, stage that made it, content) and makes `content`.
async fn make(driven: &Driven<'_>, name: &str, inputs: &[(&str, &str, &str)], content: &str) {
    let token = Token(number());
    let mut start = started(name, 1, token, &format!("{name} {content} {inputs:?}"));
    if let EventBody::AttemptStarted { inputs: read, parts, .. } = &mut start {
        *parts = Some(format!("{{\"of\": \"{name}\", \"parts\": []}}"));
        *read = inputs.iter().map(|(port, from, content)| input(port, from, content)).collect();
    }
    let mut end = finished(name, 1, token, AttemptState::Succeeded);
    if let EventBody::AttemptFinished { outputs, .. } = &mut end {
        *outputs = vec![output("data", content)];
    }
    driven.tell([start, end]).await;
}

pub async fn a_stage_is_followed_through_its_runs(store: &dyn Store) {
    let first = Driven::new(store, &["load", "train"]).await;
    let token = Token(number());
    first.tell([started("train", 1, token, "one")]).await;
    first.tell([finished("train", 1, token, AttemptState::Failed), retry("train", 1)]).await;
    let token = Token(number());
    first.tell([started("train", 2, token, "one")]).await;
    first.tell([points("train", 2, &[("loss", 0, 0.5), ("loss", 1, 0.25)])]).await;
    first.tell([finished("train", 2, token, AttemptState::Succeeded)]).await;
    first.end(RunState::Succeeded).await;
    let second = Driven::new(store, &["train", "trainer"]).await;
    let origin = StageOrigin { run: first.run.clone(), stage: stage("train"), attempt: 2 };
    second.tell([cached("train", "one", origin.clone(), Vec::new())]).await;
    second.succeed("trainer", "another").await;
    let mut third = new_run(&["other", "train"]);
    third.experiment = "letters".parse().expect("a name");
    let third = Driven::of(store, third).await;
    third.succeed("train", "two").await;
    // Queued, it has no history yet.
    Driven::new(store, &["train"]).await;

    let all = store.stage_history(&of("train")).await.expect("a history");
    let runs: Vec<_> = all.iter().map(|row| row.run.clone()).collect();
    assert_eq!(runs, [third.run.clone(), second.run.clone(), first.run.clone()]);
    assert_eq!(all[1].stage.state, AttemptState::Cached);
    assert_eq!(all[1].stage.origin, Some(origin));
    assert_eq!(all[1].metrics, [("loss".to_owned(), 0.25)], "those of its origin");
    assert!(all[1].attempts.is_empty());
    assert_eq!((all[2].run_state, all[0].run_state), (RunState::Succeeded, RunState::Running));
    let attempts: Vec<_> = all[2].attempts.iter().map(|one| (one.attempt, one.state)).collect();
    assert_eq!(attempts, [(1, AttemptState::Failed), (2, AttemptState::Succeeded)]);
    assert_eq!(all[2].attempts[0].failure, Some(failure()));
    assert_eq!(all[2].attempts[1].wall_micros, Some(usage().wall_micros));
    assert_eq!(all[2].metrics, [("loss".to_owned(), 0.25)]);

    let experiment = Some("letters".parse().expect("a name"));
    let letters = StageQuery { experiment, ..of("train") };
    let letters = store.stage_history(&letters).await.expect("a history");
    assert_eq!((letters.len(), &letters[0].run), (1, &third.run));
    let page = StageQuery { limit: 1, offset: 1, ..of("train") };
    let page = store.stage_history(&page).await.expect("a history");
    assert_eq!((page.len(), &page[0].run), (1, &second.run));
    // What was put away is left out.
    let hide = [Mark::Archive(true), Mark::Delete(true)];
    for (run, mark) in [(&third.run, &hide[0]), (&first.run, &hide[1])] {
        let run = std::slice::from_ref(run);
        store.mark_runs(run, std::slice::from_ref(mark), now()).await.expect("marked");
    }
    let left = store.stage_history(&of("train")).await.expect("a history");
    assert_eq!((left.len(), &left[0].run), (1, &second.run));
    for name in ["trai", "%", "", "train'"] {
        assert!(store.stage_history(&of(name)).await.expect("an answer").is_empty(), "{name}");
    }
}

pub async fn instances_are_followed_together(store: &dyn Store) {
    let names = ["train[lr=0.1]", "train[lr=0.01]", "trainer"];
    let driven = Driven::new(store, &names).await;
    for name in names {
        driven.succeed(name, name).await;
    }
    let stages = async |name: &str| -> Vec<String> {
        let rows = store.stage_history(&of(name)).await.expect("a history");
        rows.iter().map(|row| row.stage.stage.to_string()).collect()
    };
    assert_eq!(stages("train").await, names[..2]);
    assert_eq!(stages("train[lr=0.1]").await, names[..1]);
}

pub async fn artifacts_are_followed_to_makers_and_readers(store: &dyn Store) {
    let first = Driven::new(store, &["load", "train", "test"]).await;
    make(&first, "load", &[], "rows").await;
    make(&first, "train", &[("data", "load", "rows")], "model").await;
    make(&first, "test", &[("model", "train", "model"), ("data", "load", "rows")], "report").await;
    let second = Driven::new(store, &["load", "train"]).await;
    make(&second, "load", &[], "rows").await;
    let origin = StageOrigin { run: first.run.clone(), stage: stage("train"), attempt: 1 };
    let mut taken = cached("train", "x", origin.clone(), Vec::new());
    if let EventBody::StageCached { inputs, .. } = &mut taken {
        *inputs = vec![input("data", "load", "rows")];
    }
    second.tell([taken]).await;

    let rows = Digest::of(b"rows");
    let makers = store.makers(&[rows], 10).await.expect("makers");
    let runs: Vec<_> = makers.iter().map(|made| made.by.run.clone()).collect();
    assert_eq!(runs, [first.run.clone(), second.run.clone()], "the oldest first");
    assert_eq!((makers[0].port.as_str(), makers[0].by.stage.as_str()), ("data", "load"));
    assert_eq!(makers[0].bytes, 4);
    assert_eq!(store.makers(&[rows], 1).await.expect("makers").len(), 1);

    let readers = store.readers(&[rows], 10).await.expect("readers");
    let told: Vec<_> = readers.iter().map(|one| (one.by.stage.as_str(), one.runs)).collect();
    assert_eq!(told, [("train", Some(2)), ("test", Some(1))]);
    assert_eq!(readers[0].read_as, ReadAs::Input { port: port("data"), item: None });
    assert_eq!(readers[0].by, origin.clone(), "of a cached stage the attempt that computed");
    assert_eq!(readers[0].outputs[0].digest, Digest::of(b"model"));
    let parts = readers[0].parts.as_ref().expect("they were told");
    assert_eq!((&parts["of"], &readers[0].environment["host"]), (&"train".into(), &"here".into()));
    let of_two = store.readers(&[Digest::of(b"model"), rows], 10).await.expect("readers");
    assert_eq!(of_two.len(), 3, "a row for each that is read");
    assert!(store.readers(&[Digest::of(b"report")], 10).await.expect("readers").is_empty());
    assert!(store.readers(&[], 10).await.expect("readers").is_empty());

    // Of a deleted run only what a living one took from it is left.
    let gone = std::slice::from_ref(&first.run);
    store.mark_runs(gone, &[Mark::Delete(true)], now()).await.expect("marked");
    let left = store.readers(&[rows], 10).await.expect("readers");
    let told: Vec<_> = left.iter().map(|one| (one.by.clone(), one.runs)).collect();
    assert_eq!(told, [(origin, Some(1))]);

    let text = rows.to_string();
    for prefix in [&text[..7], &text[..8], &text] {
        assert_eq!(store.find_artifacts(prefix).await.expect("digests"), [rows], "{prefix}");
    }
    let all = store.find_artifacts("").await.expect("an answer");
    assert!(all.is_empty(), "nothing is no beginning");
}

pub async fn sources_are_followed_to_their_readers(store: &dyn Store) {
    let file = Digest::of(b"file");
    let parts = |path: &str| {
        let part = |section: &str, name: &str, digest: Digest| json!({"section": section, "name": name, "digest": digest, "shown": null});
        let kind = part("kind", "", Digest::of(b"kind"));
        json!({"version": 1, "parts": [kind, part("source", path, file)]}).to_string()
    };
    let driven = Driven::new(store, &["load", "other", "failed"]).await;
    for (name, path) in [("load", "data/it's.csv"), ("failed", "x")] {
        let token = Token(number());
        let mut start = started(name, 1, token, name);
        if let EventBody::AttemptStarted { parts: told, .. } = &mut start {
            *told = Some(parts(path));
        }
        let state = if name == "failed" { AttemptState::Failed } else { AttemptState::Succeeded };
        driven.tell([start, finished(name, 1, token, state)]).await;
    }
    driven.succeed("other", "other").await;
    let readers = store.source_readers(&[file], 10).await.expect("readers");
    let told: Vec<_> = readers.iter().map(|one| one.by.stage.as_str()).collect();
    assert_eq!(told, ["load"]);
    assert_eq!(readers[0].read_as, ReadAs::Source { path: "data/it's.csv".to_owned() });
    assert_eq!((readers[0].digest, readers[0].outputs.len()), (file, 2));
    assert!(store.source_readers(&[Digest::of(b"x")], 10).await.expect("readers").is_empty());
}

//! Reading what was written.

use serde_json::json;
use wick_core::{AttemptState, EventBody, RunState, StageOrigin, Token};
use wick_store::filter::Filter;
use wick_store::{Search, Store};

use crate::world::*;

pub async fn runs_are_found_by_prefix(store: &dyn Store) {
    assert!(store.find_runs("@last").await.expect("an answer").is_empty());
    let mut first = new_run(&["a"]);
    first.id = "abc000000001".parse().expect("an id");
    let mut second = new_run(&["a"]);
    second.id = "abc000000002".parse().expect("an id");
    for run in [&first, &second] {
        store.create_run(run, &engine(), now()).await.expect("a new run");
    }
    let find = async |text: &str| store.find_runs(text).await.expect("an answer");
    assert_eq!(find("@last").await, [second.id.clone()]);
    assert_eq!(find("abc000000001").await, [first.id.clone()]);
    assert_eq!(find("abc").await, [second.id.clone(), first.id.clone()]);
    for text in ["", "abd", "abc0000000010", "%", "a%", "ABC", "@first", "abc'", "é"] {
        assert!(find(text).await.is_empty(), "{text}");
    }
}

pub async fn runs_are_listed_newest_first(store: &dyn Store) {
    let mut ids = Vec::new();
    for place in 0..5 {
        let mut run = new_run(&["a", "b", "c"]);
        if place == 3 {
            run.experiment = "other".parse().expect("a name");
        }
        let driven = Driven::of(store, run).await;
        driven.succeed("a", "a").await;
        driven.tell([points("a", 1, &[("accuracy", 0, f64::from(place))])]).await;
        if place == 4 {
            driven.end(RunState::Failed).await;
        }
        ids.push(driven.run);
    }
    let list = async |query: Search| store.search(&query).await.expect("a list").runs;
    let all = list(Search::default()).await;
    let listed: Vec<_> = all.iter().rev().map(|run| run.id.clone()).collect();
    assert_eq!(listed, ids);
    assert_eq!(all[0].state, RunState::Failed);
    assert!(all[0].finished.is_some());
    assert_eq!(all[0].stages, [(AttemptState::Queued, 2), (AttemptState::Succeeded, 1)]);
    assert_eq!(all[0].metrics, [("a.accuracy".to_owned(), 4.0)]);
    assert_eq!(all[4].metrics, [("a.accuracy".to_owned(), 0.0)]);

    let page = list(Search { limit: 2, offset: 1, ..Search::default() }).await;
    let page: Vec<_> = page.into_iter().map(|run| run.id).collect();
    assert_eq!(page, [ids[3].clone(), ids[2].clone()]);
    let offset = list(Search { offset: 4, ..Search::default() }).await;
    assert_eq!(offset.len(), 1);
    let filter = Some(Filter::of_experiment(&"other".parse().expect("a name")));
    let other = list(Search { filter, ..Search::default() }).await;
    assert_eq!((other.len(), &other[0].id), (1, &ids[3]));
    let failed =
        list(Search { filter: Some(Filter::in_state(RunState::Failed)), ..Search::default() })
            .await;
    assert_eq!((failed.len(), &failed[0].id), (1, &ids[4]));
    let filter = Some(Filter::of_experiment(&"none".parse().expect("a name")));
    assert!(list(Search { filter, ..Search::default() }).await.is_empty());
}

pub async fn metrics_keep_every_bit(store: &dyn Store) {
    let values = [
        0.1,
        1.0 / 3.0,
        0.986_399_999_999_999_9,
        5e-324,
        f64::MAX,
        1.797_693_134_862_315_5e308,
        2.225_073_858_507_201e-308,
        9_007_199_254_740_993.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        1.0,
    ];
    let driven = Driven::new(store, &["a"]).await;
    driven.tell([started("a", 1, Token(number()), "a")]).await;
    let told: Vec<_> = values.iter().zip(0..).map(|(value, step)| ("loss", step, *value)).collect();
    driven.tell([points("a", 1, &told[..3])]).await;
    driven.tell([points("a", 1, &told[3..]), points("a", 1, &[("only_nan", 0, f64::NAN)])]).await;
    let series = store.series(&driven.run, None).await.expect("series");
    let bits: Vec<_> = series[0].points.iter().map(|point| point.value.to_bits()).collect();
    let expect: Vec<_> = values.iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, expect);
    assert_eq!(series[0].points[2].step, 2);
    let latest = store.latest_metrics(&driven.run).await.expect("metrics");
    assert_eq!(latest[0].key, "loss");
    assert_eq!((latest[0].points, latest[0].step, latest[0].value), (13, 12, 1.0));
    assert_eq!((latest[0].min, latest[0].max), (f64::NEG_INFINITY, f64::INFINITY));
    assert!(latest[1].value.is_nan() && latest[1].min.is_nan() && latest[1].max.is_nan());
}

pub async fn the_latest_point_has_the_highest_step(store: &dyn Store) {
    let driven = Driven::new(store, &["a"]).await;
    driven.tell([started("a", 1, Token(number()), "a")]).await;
    let check = async |told: &[(&str, i64, f64)], step: i64, value: f64| {
        driven.tell([points("a", 1, told)]).await;
        let latest = store.latest_metrics(&driven.run).await.expect("metrics");
        assert_eq!((latest[0].step, latest[0].value), (step, value));
    };
    check(&[("m", 5, 1.0), ("m", 3, 2.0)], 5, 1.0).await;
    check(&[("m", 4, 3.0)], 5, 1.0).await;
    check(&[("m", 5, 4.0), ("m", 5, 0.5)], 5, 0.5).await;
    check(&[("m", 6, f64::INFINITY)], 6, f64::INFINITY).await;
    let latest = store.latest_metrics(&driven.run).await.expect("metrics");
    assert_eq!((latest[0].points, latest[0].min), (6, 0.5));
    let series = store.series(&driven.run, Some("m")).await.expect("series");
    let read: Vec<_> = series[0].points.iter().map(|point| (point.step, point.value)).collect();
    let inf = f64::INFINITY;
    assert_eq!(read, [(3, 2.0), (4, 3.0), (5, 1.0), (5, 4.0), (5, 0.5), (6, inf)]);
}

pub async fn a_long_series_is_read_whole(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b"]).await;
    driven.tell([started("a", 1, Token(number()), "a")]).await;
    driven.tell([started("b", 1, Token(number()), "b")]).await;
    for batch in 0..3_i64 {
        let told: Vec<_> = (batch * 1_000..(batch + 1) * 1_000)
            .flat_map(|step| [("loss", step, step as f64), ("val.loss", step, -step as f64)])
            .collect();
        driven.tell([points("a", 1, &told), points("b", 1, &told[..2])]).await;
    }
    let all = store.series(&driven.run, None).await.expect("series");
    let shape: Vec<_> =
        all.iter().map(|s| (s.stage.as_str(), s.key.as_str(), s.points.len())).collect();
    assert_eq!(
        shape,
        [("a", "loss", 3_000), ("a", "val.loss", 3_000), ("b", "loss", 3), ("b", "val.loss", 3)]
    );
    assert!(all[1].points.iter().zip(0..).all(|(p, n)| p.step == n && p.value == -(n as f64)));
    let count = async |key: &str| store.series(&driven.run, Some(key)).await.expect("series").len();
    assert_eq!(count("loss").await, 2);
    assert_eq!(count("b.loss").await, 1);
    assert_eq!(count("a.val.loss").await, 1);
    assert_eq!(count("accuracy").await, 0);
}

/// However points come, in rows, chunks or both, they are read as they came.
pub async fn points_are_sealed_unseen(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b"]).await;
    let token = Token(number());
    driven.tell([started("a", 1, token, "a"), started("b", 1, Token(number()), "b")]).await;
    let mut expect: Vec<(i64, u64)> = Vec::new();
    let check = async |expect: &[(i64, u64)]| {
        let all = store.series(&driven.run, Some("a.loss")).await.expect("series");
        let read: Vec<_> =
            all[0].points.iter().map(|point| (point.step, point.value.to_bits())).collect();
        assert_eq!(read, expect);
    };
    // Short and long ones, irregular steps, and what a row would not keep.
    for count in [1, 1, 30, 200, 1, 40, 300, 7, 5_000, 2, 255, 1, 3] {
        let start = expect.len() as i64;
        let told: Vec<_> = (start..start + count)
            .map(|n| {
                let value = if n % 97 == 7 { -0.0 } else { (n as f64).sqrt() };
                ("loss", n * 2 + i64::from(n % 3 == 0), value)
            })
            .collect();
        expect.extend(told.iter().map(|point| (point.1, point.2.to_bits())));
        driven.tell([points("a", 1, &told), points("b", 1, &told[..1])]).await;
        check(&expect).await;
    }
    let late: Vec<(&str, i64, f64)> = (0..20).map(|n| ("loss", 100_000 + n, 0.5)).collect();
    expect.extend(late.iter().map(|point| (point.1, point.2.to_bits())));
    driven.tell([points("a", 1, &late)]).await;
    driven.tell([finished("a", 1, token, AttemptState::Succeeded)]).await;
    check(&expect).await;
    let latest = store.latest_metrics(&driven.run).await.expect("metrics");
    assert_eq!(latest[0].points, expect.len() as u64);
    assert_eq!((latest[1].stage.as_str(), latest[1].points), ("b", 13));
}

pub async fn a_curve_has_few_points(store: &dyn Store) {
    let driven = Driven::new(store, &["a"]).await;
    driven.tell([started("a", 1, Token(number()), "a")]).await;
    let mut told: Vec<_> = (0..5_000).map(|n| ("loss", n, n as f64)).collect();
    told[1_234].2 = -1e9;
    driven.tell([points("a", 1, &told), points("a", 1, &[("one", 3, 0.5)])]).await;
    let curves = store.curves(&driven.run, None, 100).await.expect("curves");
    assert_eq!((curves.len(), curves[0].key.as_str()), (2, "loss"));
    assert!((80..=100).contains(&curves[0].points.len()), "{}", curves[0].points.len());
    let lowest = curves[0].points.iter().find(|point| point.value == -1e9);
    assert_eq!(lowest.map(|point| point.step), Some(1_234));
    assert_eq!(curves[1].points.len(), 1);
    let none = store.curves(&driven.run, Some("a.none"), 100).await.expect("curves");
    assert!(none.is_empty());
}

pub async fn cached_stages_show_their_origin(store: &dyn Store) {
    let first = Driven::new(store, &["x", "a"]).await;
    first.succeed("a", "a").await;
    first.tell([points("a", 1, &[("accuracy", 0, 0.9)])]).await;
    let second = Driven::new(store, &["b", "c"]).await;
    let found = store.find_cached(&[fingerprint("a")]).await.expect("an answer");
    let origin = found[0].as_ref().expect("it is there").origin.clone();
    second.tell([cached("b", "a", origin.clone(), Vec::new())]).await;

    let stages = store.stages(&second.run).await.expect("stages");
    assert_eq!(stages[0].state, AttemptState::Cached);
    assert_eq!(stages[0].origin, Some(origin.clone()));
    assert_eq!(stages[0].fingerprint, Some(fingerprint("a")));
    assert_eq!((stages[0].attempts, stages[0].started), (0, None));
    assert!(stages[0].finished.is_some());
    assert_eq!(stages[1].origin, None);
    let own = store.stages(&first.run).await.expect("stages");
    assert_eq!(own[1].origin, None, "what it made itself comes from nowhere else");

    let latest = store.latest_metrics(&second.run).await.expect("metrics");
    assert_eq!((latest.len(), latest[0].value), (1, 0.9));
    let measured = store.metrics_of(&origin).await.expect("metrics");
    assert_eq!(measured, [("accuracy".to_owned(), 0.9)]);
    let later = StageOrigin { attempt: 2, ..origin.clone() };
    assert!(store.metrics_of(&later).await.expect("metrics").is_empty());
    assert_eq!(latest[0].stage, "b", "under its name in this run");
    let series = store.series(&second.run, Some("b.accuracy")).await.expect("series");
    assert_eq!(series[0].points.len(), 1);
    let artifacts = store.artifacts(&second.run).await.expect("artifacts");
    assert_eq!((artifacts.len(), artifacts[0].stage.as_str()), (2, "b"));
    assert_eq!(store.inputs(&second.run).await.expect("inputs").len(), 1);
    let listed = store.search(&Search::newest(1)).await.expect("a list").runs;
    assert_eq!(listed[0].metrics, [("b.accuracy".to_owned(), 0.9)]);

    // What came out of the cache leads to where it was made, not to where it was found.
    let found = store.find_cached(&[fingerprint("a")]).await.expect("an answer");
    assert_eq!(found[0].as_ref().map(|found| &found.origin), Some(&origin));
    let nowhere = StageOrigin { run: first.run.clone(), stage: stage("none"), attempt: 1 };
    let told = second.try_tell([cached("c", "c", nowhere, Vec::new())]).await;
    assert!(matches!(told, Err(wick_store::StoreError::Refused(_))), "{told:?}");
}

/// `run_metrics` says at any time what the attempts that count have measured last.
pub async fn lists_show_the_metrics_that_count(store: &dyn Store) {
    use AttemptState::{Failed, Succeeded};
    let driven = Driven::new(store, &["a", "b"]).await;
    let shown = async || {
        let listed = store.search(&Search::newest(1)).await;
        let shown = listed.expect("a list").runs.swap_remove(0).metrics;
        let latest = store.latest_metrics(&driven.run).await.expect("metrics");
        let latest: Vec<_> =
            latest.into_iter().map(|m| (format!("{}.{}", m.stage, m.key), m.value)).collect();
        assert_eq!(format!("{shown:?}"), format!("{latest:?}"), "both tell the same");
        shown.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
    };
    let tokens = [Token(number()), Token(number()), Token(number())];
    driven.tell([started("a", 1, tokens[0], "a")]).await;
    driven.tell([points("a", 1, &[("m", 0, 1.0), ("n", 0, f64::NAN)])]).await;
    assert_eq!(shown().await, ["a.m=1", "a.n=NaN"]);
    driven.tell([points("a", 1, &[("m", 5, 2.0)])]).await;
    driven.tell([points("a", 1, &[("m", 3, 9.0)])]).await;
    assert_eq!(shown().await, ["a.m=2", "a.n=NaN"], "of the highest step");
    driven.tell([finished("a", 1, tokens[0], Failed), retry("a", 1)]).await;
    assert_eq!(shown().await, ["a.m=2", "a.n=NaN"], "until the next attempt");
    driven.tell([started("a", 2, tokens[1], "a")]).await;
    assert!(shown().await.is_empty());
    driven.tell([points("a", 1, &[("m", 9, 9.0)])]).await;
    assert!(shown().await.is_empty(), "too late");
    driven.tell([points("a", 2, &[("m", 1, 3.0)]), finished("a", 2, tokens[1], Succeeded)]).await;
    assert_eq!(shown().await, ["a.m=3"]);
    let origin = StageOrigin { run: driven.run.clone(), stage: stage("a"), attempt: 2 };
    driven.tell([cached("b", "a", origin, Vec::new())]).await;
    assert_eq!(shown().await, ["a.m=3", "b.m=3"], "those of a cached stage too");
    let again = |name: &str| EventBody::StageRequeued { stage: stage(name) };
    driven.tell([again("b")]).await;
    assert_eq!(shown().await, ["a.m=3"]);
    driven.tell([again("a"), started("a", 3, tokens[2], "a")]).await;
    assert!(shown().await.is_empty());
    driven.tell([points("a", 3, &[("k", 0, -1.5)])]).await;
    assert_eq!(shown().await, ["a.k=-1.5"]);
    driven.tell([points("a", 3, &[("system.cpu", 1, 1.0), ("systems", 0, 2.0)])]).await;
    let listed = store.search(&Search::newest(1)).await.expect("a list");
    let keys: Vec<&str> = listed.runs[0].metrics.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a.k", "a.systems"], "those of the machine have no place in lists");
}

pub async fn parts_are_kept_with_the_stage(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b", "c"]).await;
    let parts = json!({"kind": "command", "with": {"run": "it's 1e400 \"x\""}});
    let token = Token(number());
    let mut start = started("b", 1, token, "b");
    if let EventBody::AttemptStarted { parts: told, .. } = &mut start {
        *told = Some(parts.to_string());
    }
    driven.tell([started("a", 1, Token(number()), "a"), start]).await;
    let kept = store.stage_parts(&driven.run).await.expect("parts");
    assert_eq!(kept, [(stage("b"), parts.clone())]);
    // Wherever the fingerprint turns up.
    driven.tell([finished("b", 1, token, AttemptState::Succeeded)]).await;
    let again = Driven::new(store, &["x"]).await;
    let origin = StageOrigin { run: driven.run.clone(), stage: stage("b"), attempt: 1 };
    again.tell([cached("x", "b", origin, Vec::new())]).await;
    let kept = store.stage_parts(&again.run).await.expect("parts");
    assert_eq!(kept, [(stage("x"), parts)]);
}

pub async fn events_are_read_from_where_one_left_off(store: &dyn Store) {
    let driven = Driven::new(store, &["a", "b"]).await;
    let other = Driven::new(store, &["a"]).await;
    driven.succeed("a", "a").await;
    other.succeed("a", "a").await;
    driven.tell([points("a", 1, &[("m", 0, 1.0)])]).await;
    let progress =
        wick_core::Progress { unit: "epoch".to_owned(), done: 1.0, total: None, note: None };
    driven.tell([EventBody::Progress { stage: stage("a"), attempt: 1, progress }]).await;
    let events = store.events(&driven.run, None).await.expect("events");
    assert_eq!(events.len(), 2, "metrics and progress are no events of the list");
    driven.tell([skipped("b", "a")]).await;
    let after = events.last().map(|event| event.sequence);
    let more = store.events(&driven.run, after).await.expect("events");
    assert_eq!(more.len(), 1);
    assert_eq!(more[0].event.body, skipped("b", "a"));
    let none = store.events(&driven.run, Some(more[0].sequence)).await.expect("events");
    assert!(none.is_empty());
}

pub async fn odd_texts_survive(store: &dyn Store) {
    let odd = "it's \"odd\" \\ \n\t $1 ? % é 🕯 \u{1} \u{fffd}";
    let mut run = new_run(&["a"]);
    run.pipeline = odd.to_owned();
    run.pipeline_text = odd.repeat(100);
    run.params =
        vec![("odd".to_owned(), json!({odd: [odd, null, 1e-7, 18446744073709551615_u64]}))];
    run.environment = json!({"odd": odd});
    let expect = run.clone();
    let driven = Driven::of(store, run).await;
    let record = store.run(&driven.run).await.expect("an answer").expect("the run");
    assert_eq!(record.pipeline, odd);
    assert_eq!(record.pipeline_text, expect.pipeline_text);
    assert_eq!(record.environment, expect.environment);
    let params = store.params(&driven.run).await.expect("params");
    assert_eq!(params[0].value, expect.params[0].1);
    let token = Token(number());
    let mut end = finished("a", 1, token, AttemptState::Failed);
    if let EventBody::AttemptFinished { failure: Some(failure), .. } = &mut end {
        failure.message = odd.to_owned();
    }
    driven.tell([started("a", 1, token, "a"), end.clone()]).await;
    driven.tell([points("a", 1, &[(odd, 0, 1.0)])]).await;
    let stages = store.stages(&driven.run).await.expect("stages");
    assert_eq!(stages[0].failure.as_ref().map(|f| f.message.as_str()), Some(odd));
    let events = store.events(&driven.run, None).await.expect("events");
    assert_eq!(events[1].event.body, end);
    let latest = store.latest_metrics(&driven.run).await.expect("metrics");
    assert_eq!(latest[0].key, odd);
}

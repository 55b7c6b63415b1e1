//! Finding runs by filters and in orders.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use wick_core::{AttemptState, EventBody, RunId, RunState, Timestamp, Token};
use wick_store::{ColumnValue, Mark, Search, Store, Visible, Way, filter};

use crate::naive::{Field, Known, Literal, Node, Test, order};
use crate::world::*;

fn parsed(text: &str) -> filter::Filter {
    filter::parse(text, Timestamp(1_700_000_000_000_000))
        .unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// What `text` finds, oldest first, by the places of the runs in `all`.
async fn places(store: &dyn Store, all: &[RunId], text: &str) -> Vec<usize> {
    let query = Search { filter: Some(parsed(text)), ..Search::default() };
    let page = store.search(&query).await.expect("an answer");
    let mut places: Vec<_> = page
        .runs
        .iter()
        .map(|run| all.iter().position(|id| *id == run.id).expect("one of ours"))
        .collect();
    places.sort_unstable();
    places
}

/// Three runs: a good one, a bad one, and one that goes on.
async fn three(store: &dyn Store) -> Vec<RunId> {
    let mut ids = Vec::new();
    for place in 0..3_usize {
        let mut run = new_run(&["train", "evaluate", "fit[x=0.1]"]);
        run.params = vec![
            ("lr".to_owned(), [json!(0.1), json!(0.001), json!("auto")][place].clone()),
            ("optimizer".to_owned(), json!(["adam", "sgd", "Adam W"][place])),
            ("nesterov".to_owned(), json!(place == 1)),
        ];
        if place == 1 {
            run.experiment = "other".parse().expect("a name");
            run.parent = ids.first().cloned();
            run.environment = json!({"host": "b", "user": "anna", "git": {
                "commit": "abcdef", "branch": "main", "dirty": true}});
        }
        let driven = Driven::of(store, run).await;
        let token = Token(number());
        driven.tell([started("train", 1, token, &format!("train {place}"))]).await;
        let value = [0.5, 0.25, f64::NAN][place];
        driven
            .tell([points("train", 1, &[("loss", 0, value), ("validation.loss", 0, 2.0 * value)])])
            .await;
        if place < 2 {
            driven.tell([finished("train", 1, token, AttemptState::Succeeded)]).await;
            let token = Token(number());
            driven.tell([started("evaluate", 1, token, &format!("evaluate {place}"))]).await;
            driven
                .tell([points("evaluate", 1, &[("accuracy", 0, 0.9 + place as f64 / 20.0)])])
                .await;
            let end = [AttemptState::Succeeded, AttemptState::Failed][place];
            driven.tell([finished("evaluate", 1, token, end)]).await;
            driven.end([RunState::Succeeded, RunState::Failed][place]).await;
        } else {
            let token = Token(number());
            driven.tell([started("fit[x=0.1]", 1, token, "fit")]).await;
            driven.tell([points("fit[x=0.1]", 1, &[("loss", 0, 7.0)])]).await;
        }
        ids.push(driven.run);
    }
    let tag = |key: &str, value: &str| Mark::Tag { key: key.into(), value: value.into() };
    let marks = [tag("team", "vision"), tag("a b", "50%"), Mark::Name(Some("base".into()))];
    store.mark_runs(&ids[..1], &marks, now()).await.expect("marked");
    let marks = [tag("team", "Text"), Mark::Star(true), Mark::Note(Some("it's a note".into()))];
    store.mark_runs(&ids[1..2], &marks, now()).await.expect("marked");
    ids
}

pub async fn filters_find_what_they_say(store: &dyn Store) {
    let ids = three(store).await;
    let check = async |text: &str, expect: &[usize]| {
        assert_eq!(places(store, &ids, text).await, expect, "{text}");
    };
    // Metrics: of any stage, of one, of an instance; NaN and missing are two things.
    check("metrics.accuracy > 0.92", &[1]).await;
    check("metrics.evaluate.accuracy > 0.5", &[0, 1]).await;
    check("metrics.train.accuracy > 0.5", &[]).await;
    check("metrics.nothing > 0.5", &[]).await;
    check("metrics.nothing is null", &[0, 1, 2]).await;
    check("metrics.validation.loss = 1", &[0]).await;
    check("metrics.train.validation.loss = 1", &[0]).await;
    check("metrics.loss = 7", &[2]).await;
    check("metrics.fit.loss = 7", &[2]).await;
    check("metrics.fit[x=0.1].loss = 7", &[2]).await;
    check("metrics.fit[x=0.2].loss = 7", &[]).await;
    check("metrics.train.loss is nan", &[2]).await;
    check("metrics.loss is not nan", &[0, 1, 2]).await;
    check("metrics.train.loss is not nan", &[0, 1]).await;
    check("metrics.train.loss != 0.5", &[1, 2]).await;
    check("metrics.train.loss > 0 or metrics.train.loss <= 0", &[0, 1]).await;
    check("metrics.accuracy is not null", &[0, 1]).await;
    check("metrics.accuracy != 0.9", &[1]).await;
    check("not metrics.accuracy = 0.9", &[1, 2]).await;
    check("metrics.accuracy not in (0.9, 1)", &[1]).await;
    check("metrics.accuracy between 0.9 and 0.91", &[0]).await;
    // Params: numbers with numbers, texts with texts.
    check("params.lr < 0.05", &[1]).await;
    check("params.lr = 0.1", &[0]).await;
    check("params.lr = '0.1'", &[0]).await;
    check("params.lr = '0.10'", &[]).await;
    check("params.lr != 0.1", &[1, 2]).await;
    check("params.lr in (0.1, 'auto')", &[0, 2]).await;
    check("params.lr not in (0.1, 'auto')", &[1]).await;
    check("params.lr like '0.%'", &[0, 1]).await;
    check("params.optimizer like 'adam%'", &[0]).await;
    check("params.optimizer ilike 'adam%'", &[0, 2]).await;
    check("params.optimizer not ilike '%a%'", &[1]).await;
    check("params.optimizer < 'b'", &[0, 2]).await;
    check("params.nesterov = true", &[1]).await;
    check("params.nesterov = 'false'", &[0, 2]).await;
    check("params.momentum is null", &[0, 1, 2]).await;
    // Tags, names, notes, stars.
    check("tags.team = 'vision'", &[0]).await;
    check("tags.team != 'vision'", &[1]).await;
    check("tags.team ilike '%T%'", &[1]).await;
    check("tags.`a b` like '%\\%'", &[0]).await;
    check("tags.team is null", &[2]).await;
    check("name = 'base' or starred", &[0, 1]).await;
    check("note like 'it''s%'", &[1]).await;
    // The run itself.
    check("status = 'FINISHED'", &[0]).await;
    check("state != 'running'", &[0, 1]).await;
    check("experiment = 'other' and pipeline = 'digits'", &[1]).await;
    check("finished is null", &[2]).await;
    check("duration >= 0", &[0, 1]).await;
    check("started >= '2023-11-14' and started < '2123-11-14'", &[0, 1, 2]).await;
    check("started < '2023-11-14'", &[]).await;
    check(&format!("parent = '{}'", ids[0]), &[1]).await;
    check("parent is not null", &[1]).await;
    check(&format!("run_id in ('{}', 'x')", ids[2]), &[2]).await;
    check("user = 'anna' and host != 'a'", &[1]).await;
    check("git.commit like 'abc%'", &[0, 1, 2]).await;
    check("git.branch = 'main'", &[1]).await;
    check("git.dirty = true", &[1]).await;
    check("git.dirty != true", &[0, 2]).await;
    // Stages and artifacts.
    check("stage.evaluate.status = 'failed'", &[1]).await;
    check("stage.evaluate.status != 'failed'", &[0, 2]).await;
    check("stage.fit.attempts = 1", &[2]).await;
    check("stage.none.status is null", &[0, 1, 2]).await;
    check("stage.train.duration < '1h'", &[0, 1]).await;
    check("stage.train.kind = 'command'", &[0, 1, 2]).await;
    check("artifact.evaluate.bytes > 1", &[0]).await;
    check("artifact.train.data.type = 'dataset'", &[0, 1]).await;
    let digest = wick_core::Digest::of(b"train").to_string();
    check(&format!("artifact.train.digest = '{}'", digest.to_uppercase()), &[0, 1]).await;
    check(&format!("artifact.train.again.digest like '{}%'", &digest[..8]), &[0, 1]).await;
    // Together.
    check("metrics.accuracy > 0.5 and (params.lr < 0.01 or tags.team = 'vision')", &[0, 1]).await;
    check("not (state = 'failed' or params.lr = 'auto')", &[0]).await;
    check("true", &[0, 1, 2]).await;
    check("false or status = 'SCHEDULED'", &[]).await;
    let injected = "tags.team = 'x''; DROP TABLE runs; --' or params.`' OR 1=1 --` = '$1'";
    check(injected, &[]).await;
    check("run_id is not null", &[0, 1, 2]).await;
}

pub async fn pages_follow_each_other(store: &dyn Store) {
    let ids = three(store).await;
    let find = async |order: &str, limit: u32, offset: u32| {
        let order = filter::parse_order(order).expect("an order");
        let columns = filter::parse_columns("metrics.train.loss, params.lr, tags.team, duration")
            .expect("columns");
        let query = Search { order, columns, limit, offset, ..Search::default() };
        store.search(&query).await.expect("an answer")
    };
    let check = async |order: &str, expect: &[usize]| {
        let all = find(order, 0, 0).await;
        assert!(!all.more);
        let expect: Vec<_> = expect.iter().map(|place| ids[*place].clone()).collect();
        let found: Vec<_> = all.runs.iter().map(|run| run.id.clone()).collect();
        assert_eq!(found, expect, "{order}");
        let page = find(order, 1, 1).await;
        assert_eq!((&page.runs[0].id, page.more), (&expect[1], true), "{order}");
        let last = find(order, 2, 2).await;
        assert_eq!((last.runs.len(), &last.runs[0].id, last.more), (1, &expect[2], false));
    };
    check("started", &[0, 1, 2]).await;
    check("started desc", &[2, 1, 0]).await;
    check("metrics.train.loss", &[1, 0, 2]).await;
    check("metrics.train.loss desc", &[0, 1, 2]).await;
    check("metrics.loss desc", &[2, 0, 1]).await;
    check("metrics.accuracy desc", &[1, 0, 2]).await;
    check("params.lr", &[1, 0, 2]).await;
    check("params.lr desc", &[0, 1, 2]).await;
    check("tags.team", &[1, 0, 2]).await;
    check("params.nesterov, started", &[0, 2, 1]).await;
    check("experiment desc", &[1, 2, 0]).await;
    check("state, name", &[1, 2, 0]).await;

    let page = find("started", 0, 0).await;
    let duration = page.columns[0][3].clone();
    assert!(matches!(duration, Some(ColumnValue::Duration(1..))), "{duration:?}");
    let text = |text: &str| Some(ColumnValue::Text(text.to_owned()));
    let lr = |value: Value| Some(ColumnValue::Json(value));
    assert_eq!(
        page.columns[0][..3],
        [Some(ColumnValue::Number(0.5)), lr(json!(0.1)), text("vision")]
    );
    assert_eq!(page.columns[1][1..3], [lr(json!(0.001)), text("Text")]);
    assert_eq!(page.columns[2][1..], [lr(json!("auto")), None, None]);
    let nan = &page.columns[2][0];
    assert!(matches!(nan, Some(ColumnValue::Number(number)) if number.is_nan()), "{nan:?}");
}

pub async fn what_was_put_away_is_asked_for(store: &dyn Store) {
    let ids = three(store).await;
    let both = [Mark::Archive(true), Mark::Delete(true)];
    store.mark_runs(&ids[..1], &both[..1], now()).await.expect("marked");
    store.mark_runs(&ids[1..2], &both, now()).await.expect("marked");
    let find = async |visible: Visible, text: Option<&str>| {
        let filter = text.map(parsed);
        let page = store.search(&Search { filter, visible, ..Search::default() }).await;
        page.expect("an answer").runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(find(Visible::Live, None).await, [ids[2].clone()]);
    assert_eq!(find(Visible::Archived, None).await, [ids[0].clone()]);
    assert_eq!(find(Visible::Deleted, None).await, [ids[1].clone()]);
    assert_eq!(find(Visible::All, None).await.len(), 3);
    assert_eq!(find(Visible::Live, Some("metrics.accuracy > 0")).await, []);
    assert_eq!(find(Visible::All, Some("deleted and metrics.accuracy > 0")).await.len(), 1);
}

const STAGES: [&str; 4] = ["a", "b", "b[x=0.5]", "sub/b"];
const FIELDS: [&str; 34] = [
    "metrics.m",
    "metrics.a.m",
    "metrics.b.m",
    "metrics.a.n",
    "metrics.n",
    "metrics.b[x=0.5].m",
    "metrics.none",
    "metrics.sub.m",
    "params.p",
    "params.q",
    "params.none",
    "tags.t",
    "tags.u",
    "run_id",
    "name",
    "note",
    "experiment",
    "pipeline",
    "state",
    "started",
    "finished",
    "starred",
    "archived",
    "duration",
    "parent",
    "user",
    "host",
    "git.branch",
    "stage.a.status",
    "stage.b.attempts",
    "stage.b.duration",
    "artifact.a.bytes",
    "artifact.b.data.type",
    "artifact.sub.digest",
];
const WORDS: [&str; 10] = ["x", "X", "xy", "", "é", "1", "0.5", "it's", "true", "50%"];
const NUMBERS: [f64; 7] = [-1.0, 0.0, 0.5, 1.0, 2.0, f64::INFINITY, 1e-3];

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(&WORDS[..]).prop_map(str::to_owned)
}

/// A value to compare `field` with: one that runs have, at times.
fn literal(field: &'static str, runs: &[Known]) -> BoxedStrategy<Literal> {
    let text = |words: Vec<String>| prop::sample::select(words).prop_map(Literal::Text).boxed();
    let number = prop::sample::select(&NUMBERS[..]).prop_map(Literal::Number);
    let had: Vec<Literal> = runs
        .iter()
        .flat_map(|known| Field(field).values(known))
        .filter_map(|found| match (found.number, found.text) {
            (Some(number), _) if !number.is_nan() => Some(Literal::Number(number)),
            (_, Some(text)) => Some(Literal::Text(text)),
            _ => None,
        })
        .collect();
    match field.split('.').next().unwrap_or_default() {
        "metrics" => number.boxed(),
        "params" => prop_oneof![number, word().prop_map(Literal::Text)].boxed(),
        "state" => text(RunState::ALL.map(|state| state.to_string()).to_vec()),
        _ if field.ends_with("status") => {
            text(AttemptState::ALL.map(|state| state.to_string()).to_vec())
        }
        "tags" | "name" | "note" => word().prop_map(Literal::Text).boxed(),
        _ if field.ends_with("attempts") || field.ends_with("bytes") => {
            prop::sample::select(vec![0.0, 1.0, 2.0, 4.0]).prop_map(Literal::Number).boxed()
        }
        _ if !had.is_empty() => prop::sample::select(had).boxed(),
        "duration" | "started" | "finished" | "starred" | "archived" => {
            Just(Literal::Number(1_700_000_000_000.0)).boxed()
        }
        _ if field.ends_with("duration") => Just(Literal::Number(1.0)).boxed(),
        _ if field.ends_with("digest") => {
            Just(Literal::Text(wick_core::Digest::of(b"?").to_string())).boxed()
        }
        _ => word().prop_map(Literal::Text).boxed(),
    }
}

fn leaf(field: &'static str, runs: &[Known]) -> BoxedStrategy<Node> {
    let literal = || literal(field, runs);
    let is_state = field == "state" || field.ends_with("status");
    let is_text = matches!(
        field.split('.').next().unwrap_or_default(),
        "params" | "tags" | "name" | "note" | "experiment" | "user" | "git" | "run_id"
    );
    // Digests are compared whole: that is checked elsewhere.
    let is_digest = field.ends_with("digest");
    let operators: &[&str] =
        if is_state || is_digest { &["=", "!="] } else { &["=", "!=", "<", "<=", ">", ">="] };
    let compare = (prop::sample::select(operators), literal())
        .prop_map(|(operator, literal)| Test::Compare(operator, literal));
    let list = (prop::collection::vec(literal(), 1..4), any::<bool>())
        .prop_map(|(all, negated)| Test::In(all, negated));
    let null = any::<bool>().prop_map(Test::Null);
    let between = (literal(), literal(), any::<bool>())
        .prop_filter("two of a kind", |(low, high, _)| {
            std::mem::discriminant(low) == std::mem::discriminant(high)
        })
        .prop_map(|(low, high, negated)| Test::Between(low, high, negated));
    let pattern = prop::sample::select(vec!["x%", "%", "_", "%y", "X_", "%5%", "", "é", "[x]*"]);
    let like =
        (pattern, any::<bool>(), any::<bool>()).prop_map(|(pattern, ignore_case, negated)| {
            Test::Like(pattern.into(), ignore_case, negated)
        });
    let nan = any::<bool>().prop_map(Test::Nan);
    let test = match () {
        () if is_state || is_digest => prop_oneof![3 => compare, 2 => list, 1 => null].boxed(),
        () if field.starts_with("metrics") => {
            prop_oneof![5 => compare, 1 => list, 1 => null, 2 => between, 1 => nan].boxed()
        }
        () if is_text => {
            prop_oneof![3 => compare, 2 => list, 1 => null, 1 => between, 2 => like].boxed()
        }
        () => prop_oneof![4 => compare, 2 => list, 1 => null, 1 => between].boxed(),
    };
    test.prop_map(move |test| Node::Leaf(Field(field), test)).boxed()
}

fn nodes(runs: &[Known]) -> impl Strategy<Value = Node> {
    let leaves: Vec<BoxedStrategy<Node>> = FIELDS.iter().map(|field| leaf(field, runs)).collect();
    let leaf = proptest::strategy::Union::new(leaves);
    leaf.prop_recursive(3, 10, 3, |inner| {
        let several = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            several().prop_map(Node::And),
            several().prop_map(Node::Or),
            inner.prop_map(|inner| Node::Not(Box::new(inner))),
        ]
    })
}

/// A run as chance has it, up to where it stands.
async fn random_run(store: &dyn Store, runner: &mut TestRunner, before: &[RunId]) -> RunId {
    fn draw<T: std::fmt::Debug>(runner: &mut TestRunner, from: impl Strategy<Value = T>) -> T {
        from.new_tree(runner).expect("a value").current()
    }
    let mut run = new_run(&STAGES);
    let experiments = prop::sample::select(vec!["digits", "other"]);
    run.experiment = draw(runner, experiments).parse().expect("a name");
    run.pipeline = draw(runner, prop::sample::select(vec!["digits", "x", "X"])).to_owned();
    let value = || {
        prop_oneof![
            prop::sample::select(&NUMBERS[..5]).prop_map(|number| json!(number)),
            word().prop_map(|word| json!(word)),
            any::<bool>().prop_map(|bool| json!(bool)),
            Just(json!([1, "x"])),
            Just(json!("a\u{0}b")),
            Just(json!(null)),
        ]
    };
    run.params.clear();
    for name in ["p", "q"] {
        if draw(runner, prop::bool::weighted(0.8)) {
            run.params.push((name.to_owned(), draw(runner, value())));
        }
    }
    run.overridden.clear();
    if !before.is_empty() && draw(runner, any::<bool>()) {
        run.parent = Some(draw(runner, prop::sample::select(before.to_vec())));
    }
    run.environment = json!({"host": draw(runner, word())});
    if draw(runner, any::<bool>()) {
        run.environment["user"] = json!(draw(runner, word()));
        run.environment["git"] = json!({"branch": draw(runner, word()), "dirty": true});
    }
    let driven = Driven::of(store, run).await;
    for name in STAGES {
        if draw(runner, prop::bool::weighted(0.3)) {
            continue;
        }
        let token = Token(number());
        driven.tell([started(name, 1, token, &format!("{} {name}", driven.run))]).await;
        for key in ["m", "n", "a.m"] {
            if draw(runner, prop::bool::weighted(0.5)) {
                let values = [&NUMBERS[..], &[f64::NAN]].concat();
                let value = draw(runner, prop::sample::select(values));
                driven.tell([points(name, 1, &[(key, 0, value)])]).await;
            }
        }
        if draw(runner, prop::bool::weighted(0.8)) {
            let ends = vec![AttemptState::Succeeded, AttemptState::Failed];
            let mut end = finished(name, 1, token, draw(runner, prop::sample::select(ends)));
            if let EventBody::AttemptFinished { outputs, .. } = &mut end {
                for output in outputs {
                    output.bytes = draw(runner, 0..5_u64);
                }
            }
            driven.tell([end]).await;
        }
    }
    if draw(runner, prop::bool::weighted(0.8)) {
        let ends = vec![RunState::Succeeded, RunState::Failed, RunState::Cancelled];
        driven.end(draw(runner, prop::sample::select(ends))).await;
    }
    let mut marks = Vec::new();
    for key in ["t", "u"] {
        if draw(runner, any::<bool>()) {
            marks.push(Mark::Tag { key: key.to_owned(), value: draw(runner, word()) });
        }
    }
    if draw(runner, any::<bool>()) {
        marks.push(Mark::Note(Some(draw(runner, prop::sample::select(vec!["x", "it's"])).into())));
        marks.push(Mark::Star(draw(runner, any::<bool>())));
        marks.push(Mark::Name(Some(draw(runner, prop::sample::select(vec!["x", "xy"])).into())));
    }
    marks.push(Mark::Archive(draw(runner, prop::bool::weighted(0.2))));
    marks.push(Mark::Delete(draw(runner, prop::bool::weighted(0.1))));
    let run = driven.run.clone();
    store.mark_runs(std::slice::from_ref(&run), &marks, now()).await.expect("marked");
    run
}

pub async fn any_filter_finds_what_a_naive_reader_finds(store: &dyn Store) {
    // The same histories and filters each time: what fails once fails again.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[17; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut ids = Vec::new();
    for _ in 0..40 {
        let run = random_run(store, &mut runner, &ids).await;
        ids.push(run);
    }
    let mut runs = Vec::new();
    for id in &ids {
        runs.push(Known::read(store, id).await);
    }
    let orders = (
        prop::collection::vec((prop::sample::select(&FIELDS[..]), any::<bool>()), 0..3),
        prop::sample::select(vec![0_u32, 1, 5, 100]),
        prop::sample::select(vec![0_u32, 1, 7]),
        prop::sample::select(vec![
            Visible::Live,
            Visible::Live,
            Visible::Archived,
            Visible::Deleted,
            Visible::All,
        ]),
        prop::sample::select(vec![Way::Quickest, Way::Drive, Way::Walk]),
    );
    let questions = (prop::option::weighted(0.95, nodes(&runs)), orders);
    let (mut found_some, mut found_not_all) = (0, 0);
    for _ in 0..600 {
        let (node, (order_by, limit, offset, visible, way)) =
            questions.new_tree(&mut runner).expect("a question").current();
        let mut expect: Vec<&Known> = runs
            .iter()
            .rev()
            .filter(|known| {
                let marks = &known.run.marks;
                match visible {
                    Visible::Live => marks.archived.is_none() && marks.deleted.is_none(),
                    Visible::Archived => marks.archived.is_some() && marks.deleted.is_none(),
                    Visible::Deleted => marks.deleted.is_some(),
                    Visible::All => true,
                }
            })
            .filter(|known| node.as_ref().is_none_or(|node| node.holds(known)))
            .collect();
        found_some += usize::from(!expect.is_empty());
        found_not_all += usize::from(expect.len() < runs.len() / 2);
        // Stable: among equals the newest stay first.
        expect.sort_by(|a, b| {
            order_by.iter().fold(std::cmp::Ordering::Equal, |so_far, (field, descending)| {
                so_far.then_with(|| order(Field(field), *descending, a, b))
            })
        });
        let most = if limit == 0 { usize::MAX } else { limit as usize };
        let more = expect.len().saturating_sub(offset as usize) > most;
        let expect: Vec<&RunId> =
            expect.iter().skip(offset as usize).take(most).map(|known| &known.run.id).collect();

        let text = node.as_ref().map(Node::written);
        let written: Vec<String> = order_by
            .iter()
            .map(|(field, descending)| format!("{field}{}", if *descending { " DESC" } else { "" }))
            .collect();
        let order = if written.is_empty() {
            Vec::new()
        } else {
            filter::parse_order(&written.join(", ")).expect("an order")
        };
        let filter = text.as_deref().map(parsed);
        let query = Search { filter, order, limit, offset, visible, way, ..Search::default() };
        let page = store.search(&query).await.expect("an answer");
        let found: Vec<&RunId> = page.runs.iter().map(|run| &run.id).collect();
        assert_eq!(found, expect, "{text:?} by {written:?} {visible:?} {way:?} {limit}+{offset}");
        assert_eq!(page.more, more, "{text:?} {limit}+{offset}");
    }
    assert!(found_some > 300 && found_not_all > 200, "{found_some} {found_not_all}: too easy");
}

//! The language: what parses, as what, and what is said of what does not.

use proptest::prelude::*;
use wick_core::Timestamp;

use super::*;

/// 2026-11-23 12:30:05 UTC.
const NOW: Timestamp = Timestamp(1_795_437_005_000_000);

/// Parses `text`, which is printed as `expect`; what is printed means the same.
#[track_caller]
fn check(text: &str, expect: &str) {
    let filter = parse(text, NOW).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    assert_eq!(filter.to_string(), expect, "{text}");
    assert_eq!(parse(expect, NOW).as_ref(), Ok(&filter), "{text}");
}

#[test]
fn all_that_mlflow_takes_parses() {
    check("metrics.accuracy > 0.97", "metrics.accuracy > 0.97");
    check("metric.`val loss` <= 1e-3", "metrics.`val loss` <= 0.001");
    check("metrics.\"top 5\" != -2", "metrics.`top 5` != -2.0");
    check(
        "params.model = 'LR' AND params.lr != \"0.1\"",
        "params.model = 'LR' and params.lr != '0.1'",
    );
    check("parameter.a LIKE '%x%'", "params.a like '%x%'");
    check("parameters.a ILIKE 'X_'", "params.a ilike 'X_'");
    check("tags.mlflow.source.name = 'a.py'", "tags.`mlflow.source.name` = 'a.py'");
    check("tags.`mlflow.parentRunId` IS NOT NULL", "tags.`mlflow.parentRunId` is not null");
    check("params.a IS NULL", "params.a is null");
    check("attributes.run_id IN ('a', \"b\")", "run_id in ('a', 'b')");
    check("run_id NOT IN ('a')", "run_id not in ('a')");
    check("attribute.status = 'FINISHED'", "state in ('succeeded')");
    check("attr.run_name ilike 'a%'", "name ilike 'a%'");
    check("run.`run name` = 'a'", "name = 'a'");
    check("status != 'KILLED'", "state in ('running', 'succeeded', 'failed')");
    check("status = 'SCHEDULED'", "false");
    check("status LIKE 'FIN%'", "state in ('succeeded')");
    check("status ILIKE 'f%'", "state in ('succeeded', 'failed')");
    check("start_time >= 1664067852747", "started >= '2022-09-25 01:04:12.747000'");
    check("end_time > 1664067852747", "finished > '2022-09-25 01:04:12.747999'");
    check("user_id = 'anna'", "user = 'anna'");
    check("artifact_uri LIKE 's3:%'", "tags.`mlflow.artifact_uri` like 's3:%'");
    check("dataset.name = 'iris'", "dataset.name = 'iris'");
    check("datasets.context IN ('train')", "dataset.context in ('train')");
}

#[test]
fn the_language_goes_beyond() {
    check("a.b = 1".replace('a', "params").as_str(), "params.b = 1.0");
    check(
        "params.a = 1 OR NOT (params.b < 2 and tags.c = 'x')",
        "params.a = 1.0 or not (params.b < 2.0 and tags.c = 'x')",
    );
    check(
        "params.a = 1 or params.b = 2 and params.c = 3",
        "params.a = 1.0 or (params.b = 2.0 and params.c = 3.0)",
    );
    check(
        "(params.a = 1 and (params.b = 2 and params.c = 3))",
        "params.a = 1.0 and params.b = 2.0 and params.c = 3.0",
    );
    check("params.lr between 0.1 and 1 and true", "params.lr between 0.1 and 1.0 and true");
    check("params.lr not between 'a' and 'b'", "params.lr not between 'a' and 'b'");
    check("params.on == true", "params.on = 'true'");
    check("params.a not like 'x''y'", "params.a not like 'x''y'");
    check("metrics.train[lr=0.1].loss is nan", "metrics.`train[lr=0.1].loss` is nan");
    check("metrics.loss is not NaN", "metrics.loss is not nan");
    check(
        "metrics.loss < -inf or metrics.loss > infinity",
        "metrics.loss < -inf or metrics.loss > inf",
    );
    check("metrics.loss in (1, 2)", "metrics.loss in (1.0, 2.0)");
    check("stage.train.status = 'FINISHED'", "stage.train.status in ('succeeded', 'cached')");
    check("stage.features/encode.duration > '1h30m'", "stage.`features/encode`.duration > '90m'");
    check("stage.`a[x=1.5]`.attempts >= 2", "stage.`a[x=1.5]`.attempts >= 2.0");
    check("stage.train.kind = 'command'", "stage.train.kind = 'command'");
    check("artifact.train.bytes > 1000", "artifact.train.bytes > 1000.0");
    check("artifact.train.model.type = 'model'", "artifact.train.model.type = 'model'");
    check("artifact.train.model.digest like 'AB%'", "artifact.train.model.digest like 'AB%'");
    check("duration > 90", "duration > '90s'");
    check("started > '2 days ago'", "started > '2026-11-21 12:30:05.000000'");
    check(
        "started = 'yesterday'",
        "started between '2026-11-22 00:00:00.000000' and '2026-11-22 23:59:59.999999'",
    );
    check("started <= '2026-11-01'", "started <= '2026-11-01 23:59:59.999999'");
    check("started < '2026-11-01'", "started < '2026-11-01 00:00:00.000000'");
    check("starred", "starred is not null");
    check("not archived and git.dirty", "not archived is not null and git.dirty = 'true'");
    check("starred = false or git.dirty != true", "starred is null or git.dirty = 'false'");
    check(
        "git.commit like 'abc%' and git.branch = 'main'",
        "git.commit like 'abc%' and git.branch = 'main'",
    );
    check("parent is null and host = 'a'", "parent is null and host = 'a'");
    check("tags.größe = 'ü'", "tags.`größe` = 'ü'");
}

/// What is said of `text`: the place in it, the message and the mend.
#[track_caller]
fn refused(text: &str, place: &str, message: &str, help: &str) {
    let error = parse(text, NOW).expect_err(text);
    assert_eq!(&text[error.span.clone()], place, "{text}: {error:?}");
    assert_eq!(error.message, message, "{text}");
    let help = (!help.is_empty()).then(|| help.to_owned());
    assert_eq!(error.help, help, "{text}");
}

#[test]
fn mistakes_are_told_with_their_mend() {
    refused(
        "",
        "",
        "there is no condition",
        "such as metrics.accuracy > 0.97, or state = 'failed'",
    );
    refused(
        "tags.team = vision",
        "vision",
        "`vision` is not a value",
        "texts stand in quotes: 'vision'",
    );
    refused("run_id = 7h2k", "7h2k", "`7h2k` is not a value", "texts stand in quotes: '7h2k'");
    refused(
        "metics.a > 1",
        "metics",
        "there is nothing called `metics`",
        "did you mean `metrics.a`?",
    );
    refused(
        "accuracy > 1",
        "accuracy",
        "a run has no attribute `accuracy`",
        "a metric is called `metrics.accuracy`, a param `params.accuracy`, a tag `tags.accuracy`",
    );
    refused(
        "expriment = 'a'",
        "expriment",
        "a run has no attribute `expriment`",
        "did you mean `experiment`?",
    );
    refused("metrics > 1", "metrics", "a key is missing here", "a key follows a dot: metrics.KEY");
    refused(
        "metrics. > 1",
        ".",
        "a key is missing here",
        "a key follows the dot: metrics.accuracy",
    );
    refused("state = 'faild'", "'faild'", "`faild` is not a state", "did you mean 'failed'?");
    refused(
        "state < 'failed'",
        "state",
        "a state is neither less nor greater than another",
        "write `=`, `!=` or `in`",
    );
    refused(
        "metrics.a = '0.5'",
        "'0.5'",
        "a metric is compared with a number",
        "without the quotes: 0.5",
    );
    refused(
        "metrics.a like 'x'",
        "metrics.a",
        "a metric has no pattern",
        "`like` is for texts; write `between … and …` for a range",
    );
    refused("tags.a = 5", "5", "a tag is compared with a text", "texts stand in quotes: '5'");
    refused("params.a <> 5", "<>", "`<>` is not an operator", "write `!=`");
    refused("params.a => 5", "=>", "`=>` is not an operator", "write `>=`");
    refused(
        "params.a = 5 && params.b = 1",
        "&",
        "`&` means nothing here",
        "conditions are joined with `and` and `or`",
    );
    refused(
        "params.a = 5 params.b = 1",
        "params.b",
        "another condition begins here",
        "join them with `and` or `or`",
    );
    refused("(params.a = 5", "", "a `)` is missing here", "the `(` at character 1 is not closed");
    refused("params.a = 5)", ")", "this parenthesis closes nothing", "");
    refused(
        "params.a = 'x",
        "'x",
        "this quote is never closed",
        "end the text with '; a quote in a text is written twice",
    );
    refused(
        "params.a",
        "",
        "a comparison is missing here",
        "such as > 0.97, = 'vision', in ('a', 'b'), is not null",
    );
    refused("params.a lke 'x'", "lke", "a comparison is missing here", "did you mean `like`?");
    refused("params.a in 'x'", "'x'", "a list stands in parentheses", "write in ('a', 'b')");
    refused("params.a in ()", ")", "a value is missing here", "a number, or a text in quotes");
    refused("params.a = null", "null", "nothing equals null", "write `is null` or `is not null`");
    refused(
        "params.a is 5",
        "5",
        "after `is` comes `null`, `not null` or `nan`",
        "to compare with a value write `=`",
    );
    refused("metrics.a = nan", "nan", "nothing equals NaN, and nothing is less", "write `is nan`");
    refused("params.a is nan", "params.a", "only a metric can be NaN", "");
    refused(
        "params.a between 1 or 2",
        "or",
        "`and` is missing here",
        "write `between LOW and HIGH`; both are included",
    );
    refused(
        "params.a between 1 and 'b'",
        "1 and 'b'",
        "a number and a text are no two ends of one range",
        "",
    );
    refused(
        "duration > '90'",
        "'90'",
        "`90` is not a duration",
        "write '90s', '1h30m' or '2 days'; a number is seconds",
    );
    refused("stage.train.stat = 'x'", "stat", "a stage has no `stat`", "did you mean `state`?");
    refused(
        "stage.train = 'x'",
        "stage.train",
        "this does not name what is asked of a stage",
        "write `stage.NAME.status`, or `duration`, `attempts`, `kind`",
    );
    refused(
        "artifact.a.digest = 'ab12'",
        "'ab12'",
        "this is not a whole digest",
        "find it by its beginning: like 'ab12%'",
    );
    refused(
        "0.5 < metrics.a",
        "0.5",
        "a comparison begins with what is compared",
        "such as metrics.accuracy > 0.97",
    );
    refused(
        "tags.a = ‘x’",
        "‘",
        "`‘` is not a quote that a filter knows",
        "texts stand in plain quotes: 'vision'",
    );
    refused("tags.a = `x`", "`x`", "backquotes are for keys", "texts stand in quotes: 'x'");
    let error = parse("started > 'soon'", NOW).expect_err("no time");
    assert_eq!(error.message, "this is not a time");
}

#[test]
fn filters_are_bounded() {
    let deep = format!("{}starred{}", "(".repeat(65), ")".repeat(65));
    assert_eq!(parse(&deep, NOW).expect_err("deep").message, "this is nested more than 64 deep");
    assert!(parse(&deep[1..deep.len() - 1], NOW).is_ok());
    let nots = format!("{} starred", "not ".repeat(65));
    assert!(parse(&nots, NOW).is_err());
    let many = vec!["starred"; 1_001].join(" or ");
    assert!(parse(&many, NOW).expect_err("many").message.starts_with("this has more than"));
    let long = format!("tags.a = '{}'", "é".repeat(MAX_LENGTH));
    assert!(parse(&long, NOW).expect_err("long").message.starts_with("this is longer than"));
}

#[test]
fn orders_and_columns_are_lists_of_fields() {
    let order = parse_order("metrics.evaluate.accuracy DESC, started asc,name").expect("an order");
    let shown: Vec<String> = order.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["metrics.`evaluate.accuracy` desc", "started", "name"]);
    assert_eq!(parse_order("started dsc").expect_err("a word").message, "this is not a direction");
    assert_eq!(parse_order("started,").expect_err("a comma").span, 8..8);
    for nothing in ["", "name,"] {
        let error = parse_columns(nothing).expect_err("no name");
        assert_eq!(
            (error.message.as_str(), error.span.start),
            ("a name is missing here", nothing.len())
        );
    }
    let columns = parse_columns("params.lr , run.name").expect("columns");
    let names: Vec<&str> = columns.iter().map(Column::name).collect();
    assert_eq!(names, ["params.lr", "run.name"]);
    assert_eq!(
        parse_columns("a b").expect_err("no field").help.as_deref(),
        Some("a metric is called `metrics.a`, a param `params.a`, a tag `tags.a`")
    );
}

#[test]
fn a_dotted_metric_may_name_a_stage() {
    let name = |text| MetricName::new(text);
    assert_eq!(name("evaluate.accuracy").stage_and_key(), Some(("evaluate", "accuracy")));
    assert_eq!(name("train[lr=0.1].val.loss").stage_and_key(), Some(("train[lr=0.1]", "val.loss")));
    assert_eq!(name("a/b.loss").stage_and_key(), Some(("a/b", "loss")));
    assert_eq!(name("accuracy").stage_and_key(), None);
    assert_eq!(name("top 5.loss").stage_and_key(), None);
    assert_eq!(name("loss.").stage_and_key(), None);
}

/// Words and pieces that filters are made of, and some that they are not.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("metrics.a"),
        Just("params."),
        Just("tags.`x y`"),
        Just("stage.a.status"),
        Just("state"),
        Just("started"),
        Just("duration"),
        Just("and"),
        Just("or"),
        Just("not"),
        Just("("),
        Just(")"),
        Just("="),
        Just("!="),
        Just("<"),
        Just(">="),
        Just("in"),
        Just("like"),
        Just("between"),
        Just("is"),
        Just("null"),
        Just("nan"),
        Just("'a'"),
        Just("'2 days ago'"),
        Just("'90s'"),
        Just("0.5"),
        Just("-"),
        Just("1e"),
        Just("."),
        Just(","),
        Just("[x"),
        Just("é"),
        Just("'"),
        Just("\""),
        Just("`"),
        Just("\\"),
        Just("%"),
        Just("true"),
        Just("inf"),
        Just("'failed'"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

fn values(kind: u8) -> BoxedStrategy<Value> {
    match kind {
        0 => any::<f64>()
            .prop_filter("a number", |number| !number.is_nan())
            .prop_map(Value::Number)
            .boxed(),
        1 => any::<String>().prop_map(Value::Text).boxed(),
        2 => (0..253_402_300_799_999_999_i64).prop_map(Value::Moment).boxed(),
        _ => (-9_000_000_000_000_000..9_000_000_000_000_000_i64).prop_map(Value::Duration).boxed(),
    }
}

fn conditions() -> impl Strategy<Value = Expr> {
    let keys = || "[^\\PC]{1,8}|[a-z.]{1,6}";
    let field = prop_oneof![
        keys().prop_map(|key| (Field::Metric(MetricName::new(key)), 0)),
        (keys(), 0..2_u8).prop_map(|(key, kind)| (Field::Param(key), kind)),
        keys().prop_map(|key| (Field::Tag(key), 1)),
        Just((Field::Run(RunField::Started), 2)),
        Just((Field::Run(RunField::Duration), 3)),
        Just((Field::Run(RunField::Branch), 1)),
        Just((Field::Stage { stage: "a[x=0.1]/b".into(), field: StageField::Attempts }, 0)),
        ("[a-z]{1,4}").prop_map(|port| {
            let (stage, field) = ("train".to_owned(), ArtifactField::Type);
            (Field::Artifact { stage, port: Some(port), field }, 1)
        }),
    ];
    field.prop_flat_map(|(field, kind)| {
        let operator = prop_oneof![
            Just(Comparison::Equal),
            Just(Comparison::NotEqual),
            Just(Comparison::Less),
            Just(Comparison::LessOrEqual),
            Just(Comparison::Greater),
            Just(Comparison::GreaterOrEqual),
        ];
        let compare =
            (operator, values(kind)).prop_map(|(operator, value)| Test::Compare(operator, value));
        let between = (values(kind), values(kind), any::<bool>())
            .prop_map(|(low, high, negated)| Test::Between { low, high, negated });
        let list = (prop::collection::vec(values(kind), 1..4), any::<bool>())
            .prop_map(|(values, negated)| Test::In { values, negated });
        let like = (any::<String>(), any::<bool>(), any::<bool>()).prop_map(
            |(pattern, ignore_case, negated)| Test::Like { pattern, ignore_case, negated },
        );
        let null = prop_oneof![Just(Test::Missing), Just(Test::Present)];
        let test = match kind {
            1 => prop_oneof![compare, between, list, like, null].boxed(),
            2 => prop_oneof![compare, between, null].boxed(),
            _ => prop_oneof![compare, between, list, null].boxed(),
        };
        test.prop_map(move |test| Expr::Is(Condition { field: field.clone(), test }))
    })
}

/// Filters as the parser makes them: nothing stands beside its like in parentheses.
fn filters() -> impl Strategy<Value = Filter> {
    let leaf = prop_oneof![9 => conditions(), 1 => any::<bool>().prop_map(Expr::Always)];
    let expr = leaf.prop_recursive(4, 24, 4, |inner| {
        let several = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            several().prop_map(|all| Expr::And(
                all.into_iter()
                    .flat_map(|e| if let Expr::And(inner) = e { inner } else { vec![e] })
                    .collect()
            )),
            several().prop_map(|all| Expr::Or(
                all.into_iter()
                    .flat_map(|e| if let Expr::Or(inner) = e { inner } else { vec![e] })
                    .collect()
            )),
            inner.prop_map(|inner| Expr::Not(Box::new(inner))),
        ]
    });
    expr.prop_map(Filter)
}

proptest! {
    #[test]
    fn no_text_panics(text in prop_oneof![any::<String>(), soup()]) {
        for error in [parse(&text, NOW).err(), parse_order(&text).err(), parse_columns(&text).err()]
            .into_iter()
            .flatten()
        {
            // Whoever draws a caret cuts the text there.
            prop_assert!(text.get(error.span.clone()).is_some(), "{error:?}");
        }
        if let Ok(filter) = parse(&text, NOW) {
            prop_assert_eq!(parse(&filter.to_string(), NOW), Ok(filter));
        }
    }

    #[test]
    fn what_is_printed_is_read_the_same(filter in filters()) {
        let text = filter.to_string();
        prop_assert_eq!(parse(&text, NOW), Ok(filter), "{}", text);
    }
}

//! `preprocess`: makes features of columns.

use std::collections::HashSet;

use wick_core::PortType;
use wick_stage::{
    Checked, Column, ColumnType, Context, DatasetFacts, Documentation, Example, Issues, Known,
    PathSegment, PortFacts, Ports, StageError, StageResult, TypedKind,
};

use super::{check_column, open_input, port, port_facts, write_output};
use crate::error::DataError;
use crate::transform::config::{Bins, ColumnConfig, Constant, Encode, FeatureType, Impute};
use crate::transform::{PreprocessConfig, Transform, Wanted, feature_type, sees, wanted};

/// See [`PreprocessConfig`].
pub struct Preprocess;

impl TypedKind for Preprocess {
    type Config = PreprocessConfig;
    const NAME: &'static str = "preprocess";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Makes features of columns: fills in, scales, encodes; fitted on one input only",
            description: "\
Learns from one input (`fit`, by default the one called `train`) and treats all inputs the same.
Each input is also an output of that name; the fitted treatment is the output `transform`. It
travels with the datasets, and with every model trained on them, so that a served model sees the
same features as it did in training.

What is done to a column, in order: outliers (clipped, or treated as missing), missing values
(`impute`, `indicator`), then for numbers `scale` or `bins`, for categories `encode`, for dates
`parts` and `cycles`. Features are 32-bit floats. Statistics follow scikit-learn: the deviation of
`zscore` is that of the population, quantiles are linear between neighbours, a constant column
scales to 0.

A category that was not seen in fitting falls into the bucket `other` if there is one
(`most_common`, or missing values without `impute`); otherwise all columns of its one-hot encoding
are 0. Say `unknown: error` to refuse it.

`encode: target` learns from the very rows that it is applied to: with few rows in a category the
model sees its own answers. Keep `smoothing` high, or prefer `onehot`.",
            examples: &[
                Example {
                    title: "The Titanic's passengers",
                    yaml: "\
uses: preprocess
inputs: {train: parts.train, test: parts.test}
with:
  target: survived
  drop: [name]
  columns:
    age: {impute: median, indicator: true, scale: zscore}
    sex: {encode: onehot}
    class: {encode: ordinal}
",
                },
                Example {
                    title: "The same for all columns of a type",
                    yaml: "\
uses: preprocess
inputs: {train: parts.train, validation: parts.validation}
with:
  target: arr_delay
  numeric: {impute: mean, outlier_strategy: clip, scale: zscore}
  category: {impute: mode, encode: onehot, most_common: 50}
  date: {parts: [month, weekday], cycles: [hour]}
",
                },
            ],
        }
    }

    fn ports(&self, config: &PreprocessConfig, issues: &mut Issues) -> Ports {
        for (name, column) in &config.columns {
            let seen = feature_type(column);
            check_keys(issues, &["columns", name], column, seen, config.target.as_deref());
        }
        let groups = [
            ("numeric", &config.numeric, FeatureType::Number),
            ("category", &config.category, FeatureType::Category),
            ("date", &config.date, FeatureType::Date),
        ];
        for (key, group, seen) in groups {
            if let Some(group) = group {
                check_keys(issues, &[key], group, Some(seen), config.target.as_deref());
            }
        }
        for name in &config.drop {
            if config.keep.contains(name) || config.columns.contains_key(name) {
                let what = if config.keep.contains(name) { "kept" } else { "treated" };
                issues.with(
                    ["drop"],
                    format!("column `{name}` is both dropped and {what}"),
                    "decide for one of them",
                );
            }
        }
        Ports::new()
            .any_input([PortType::Dataset], 1)
            .output("transform", PortType::Transform)
            .output_for_each_input()
    }

    fn check(&self, config: &PreprocessConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked { metrics: Some(Vec::new()), ..Checked::default() };
        let names: Vec<&str> = known.inputs.keys().map(|name| name.as_str()).collect();
        if names.contains(&"transform") {
            let help = "call the input otherwise: `train`, `test`";
            checked.issues.input("transform", "the output of that name is the transform", help);
        }
        let fit = match fit_input(config, &names) {
            Ok(fit) => fit,
            Err((message, help)) => {
                checked.issues.with(["fit"], message, help);
                return checked;
            }
        };
        let facts =
            known.inputs.get(fit).and_then(|facts| facts.dataset.clone()).unwrap_or_default();
        check_columns(config, &facts, &mut checked.issues);
        check_others(config, fit, &facts, known, &mut checked.issues);
        let raw_columns = raw_columns(config, &facts);
        let columns = produced_columns(config, &facts);
        let name_starts = name_starts(config, &facts);
        for (name, input) in known.inputs {
            let rows = input.dataset.as_ref().and_then(|facts| facts.rows);
            let facts = DatasetFacts {
                columns: columns.clone(),
                rows: rows.filter(|_| !drops_rows(config)),
                transformed: true,
                raw_columns: raw_columns.clone(),
                name_starts: name_starts.clone(),
            };
            checked.outputs.insert(name.clone(), port_facts(facts));
        }
        if let Ok(transform) = port("transform") {
            checked.outputs.insert(transform, PortFacts::unknown(PortType::Transform));
        }
        checked
    }

    fn run(&self, config: PreprocessConfig, context: &mut Context<'_>) -> StageResult {
        let names: Vec<_> = context.inputs().map(|(name, _)| name.clone()).collect();
        let texts: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let fit = fit_input(&config, &texts)
            .map_err(|(message, help)| StageError::config(message).help(help))?;
        let dataset = open_input(context, fit)?;
        let fitted = Transform::fit(&config, &dataset.frame()?)?;
        // What a model needs begins with the raw columns, before any earlier transform.
        let whole = match dataset.transform()? {
            Some(earlier) => earlier.then(&fitted),
            None => fitted.clone(),
        };
        drop(dataset);
        for name in &names {
            let dataset = open_input(context, name.as_str())?;
            let mut frame = fitted
                .apply_dropping(&dataset.frame()?)
                .map_err(|error| in_input(name.as_str(), error))?;
            let known = &dataset.info().columns;
            let info = write_output(context, name, &mut frame, Some(&whole), known)?;
            context.log(format!("{name}: {} rows, {} columns", info.rows, info.columns.len()));
        }
        whole.write(&context.output("transform")?)?;
        let features: usize =
            whole.raw_columns().iter().map(|column| whole.produced(&column.name).len()).sum();
        context.describe_output(
            &port("transform")?,
            serde_json::json!({ "raw_columns": whole.raw_columns().len(), "columns": features }),
        );
        Ok(())
    }
}

/// Says in which input something was wrong.
fn in_input(input: &str, error: DataError) -> StageError {
    let failure = StageError::new(error.cause(), format!("input `{input}`: {error}"));
    match error.mend() {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// The input to fit on; or what is wrong, and the mend.
fn fit_input<'a>(
    config: &PreprocessConfig,
    names: &[&'a str],
) -> Result<&'a str, (String, String)> {
    let find = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    let listed = || names.join("`, `");
    match (&config.fit, names) {
        (Some(fit), _) => find(fit).ok_or_else(|| {
            (format!("there is no input `{fit}`"), format!("the inputs are `{}`", listed()))
        }),
        (None, [only]) => Ok(only),
        (None, _) => find("train").ok_or_else(|| {
            (
                "it is not said which input to fit on".to_owned(),
                format!(
                    "write `fit: {}`, or call an input `train`",
                    names.first().unwrap_or(&"train")
                ),
            )
        }),
    }
}

/// Whether some rows may be left out.
fn drops_rows(config: &PreprocessConfig) -> bool {
    let groups = [&config.numeric, &config.category, &config.date];
    config
        .columns
        .values()
        .chain(groups.into_iter().flatten())
        .any(|column| column.impute == Some(Impute::DropRow))
}

/// Keys of a treatment that do not go together. `seen` is how it sees its column, if its keys
/// tell.
fn check_keys(
    issues: &mut Issues,
    path: &[&str],
    column: &ColumnConfig,
    seen: Option<FeatureType>,
    target: Option<&str>,
) {
    let mut report = |key: &str, message: String, help: &str| {
        issues.with(path.iter().copied().chain([key]), message, help);
    };
    let number = [
        ("scale", !column.scale.0.is_empty()),
        ("bins", column.bins.is_some()),
        ("outlier_strategy", column.outlier_strategy.is_some()),
    ];
    let category = [
        ("most_common", column.most_common.is_some()),
        ("categories", column.categories.is_some()),
        ("buckets", column.buckets.is_some()),
        ("smoothing", column.smoothing.is_some()),
    ];
    let date = [("parts", !column.parts.is_empty()), ("cycles", !column.cycles.is_empty())];
    let binned = column.bins.is_some() && column.encode == Some(Encode::Onehot);
    let (kind, wrong): (&str, Vec<&str>) = match seen {
        Some(FeatureType::Number) => {
            let encode = [("encode", column.encode.is_some() && !binned)];
            ("numbers", given(&[&category, &date, &encode]))
        }
        Some(FeatureType::Category) => {
            // A category that becomes one number can be scaled like any other.
            let one_number =
                matches!(column.encode, Some(Encode::Ordinal | Encode::Target | Encode::Frequency));
            ("categories", given(&[&number[usize::from(one_number)..], &date]))
        }
        // The parts of a date are numbers, and can be scaled.
        Some(FeatureType::Date) => {
            ("dates", given(&[&number[1..], &category, &[("encode", column.encode.is_some())]]))
        }
        None => ("", Vec::new()),
    };
    for key in wrong {
        let help = if key == "encode" && column.bins.is_some() {
            "bins can be `encode: onehot`"
        } else {
            "leave it out, or say how to see the column: `type: number`, `category` or `date`"
        };
        report(key, format!("`{key}` is not for {kind}"), help);
    }
    if column.encode.is_none() && seen != Some(FeatureType::Number) {
        for key in given(&[&category]) {
            report(key, format!("`{key}` wants an encoding"), "write `encode: onehot`");
        }
    }
    if column.outlier_threshold.is_some() && column.outlier_strategy.is_none() {
        let help = "write `outlier_strategy: clip`";
        report("outlier_threshold", "a threshold wants a strategy".to_owned(), help);
    }
    if let Some(part) = column.cycles.iter().find(|part| part.cycle().is_none()) {
        let message = format!("`{}` does not come round again", part.as_str());
        report("cycles", message, "take it under `parts`");
    }
    if let Some(Bins::Edges(edges)) = &column.bins
        && (edges.is_empty() || !edges.is_sorted_by(|left, right| left < right))
    {
        report("bins", "the edges must rise".to_owned(), "write `bins: {edges: [0, 18, 65]}`");
    }
    match (&column.impute, seen) {
        (Some(Impute::Mean | Impute::Median), Some(FeatureType::Category)) => {
            let help = "use `impute: mode` or `impute: {constant: unknown}`";
            report("impute", "categories have no mean or median".to_owned(), help);
        }
        (Some(Impute::Constant(Constant::Text(text))), Some(FeatureType::Number)) => {
            let help = "write `impute: {constant: 0}`";
            report("impute", format!("`{text}` is not a number"), help);
        }
        (Some(Impute::Constant(_)), Some(FeatureType::Date)) => {
            let help = "use `median`, `mode`, `ffill` or `bfill`";
            report("impute", "a date cannot be filled in with a constant".to_owned(), help);
        }
        _ => {}
    }
    if column.encode == Some(Encode::Target) && target.is_none() {
        let help = "name it: `target: COLUMN`";
        report("encode", "`encode: target` needs to know the target".to_owned(), help);
    }
}

/// The keys that are given.
fn given<'a>(groups: &[&[(&'a str, bool)]]) -> Vec<&'a str> {
    let all = groups.iter().flat_map(|group| group.iter());
    all.filter(|(_, given)| *given).map(|(key, _)| *key).collect()
}

/// Every name in the configuration is a column, and can be seen so.
fn check_columns(config: &PreprocessConfig, facts: &DatasetFacts, issues: &mut Issues) {
    for name in config.columns.keys() {
        check_column(issues, facts, ["columns", name], name);
    }
    for (key, names) in [("drop", &config.drop), ("keep", &config.keep)] {
        for (place, name) in names.iter().enumerate() {
            let path = [PathSegment::from(key), PathSegment::from(place)];
            check_column(issues, facts, path, name);
        }
    }
    if let Some(target) = &config.target {
        check_column(issues, facts, ["target"], target);
    }
    for column in facts.columns.iter().flatten() {
        let Wanted::Treat(treatment, seen) = wanted(config, column) else { continue };
        let path: Vec<&str> = match config.columns.contains_key(&column.name) {
            true => vec!["columns", &column.name],
            false => vec![match seen {
                FeatureType::Number => "numeric",
                FeatureType::Category => "category",
                FeatureType::Date => "date",
            }],
        };
        if let Err(help) = sees(&column.column_type, seen) {
            let message = format!("column `{}` holds {}", column.name, column.column_type);
            issues.with(path, message, help.replace("COLUMN", &column.name));
        } else if seen == FeatureType::Date
            && treatment.parts.is_empty()
            && treatment.cycles.is_empty()
        {
            let message = format!("column `{}` holds dates, and no parts are named", column.name);
            issues.with(path, message, "write `parts: [year, month, weekday]`");
        } else if feature_type(treatment).is_none() {
            // Only now is it known how the column is seen.
            let path: Vec<&str> = path;
            check_keys(issues, &path, treatment, Some(seen), config.target.as_deref());
        }
    }
}

/// The other inputs have the columns that the fitted one has.
fn check_others(
    config: &PreprocessConfig,
    fit: &str,
    facts: &DatasetFacts,
    known: &Known<'_>,
    issues: &mut Issues,
) {
    for (name, other) in known.inputs {
        let Some(other) = other.dataset.as_ref().filter(|_| name.as_str() != fit) else { continue };
        let lacking = facts.columns.iter().flatten().find(|column| {
            matches!(wanted(config, column), Wanted::Treat(..))
                && config.target.as_ref() != Some(&column.name)
                && other.lacks(&column.name)
        });
        if let Some(column) = lacking {
            issues.input(
                name.as_str(),
                format!("it has no column `{}`, which `{fit}` has", column.name),
                "give it the same columns as the input to fit on",
            );
        }
    }
}

/// What a user of a model will have to give.
fn raw_columns(config: &PreprocessConfig, facts: &DatasetFacts) -> Option<Vec<Column>> {
    if facts.transformed {
        // What this stage drops cannot be told apart in the columns before the first transform.
        return facts.raw_columns.clone();
    }
    let columns = facts.columns.as_ref()?;
    let used = columns.iter().filter(|column| !matches!(wanted(config, column), Wanted::Drop));
    Some(used.cloned().collect())
}

/// How the names of the outputs' columns begin: with that of the column that they are made of.
fn name_starts(config: &PreprocessConfig, facts: &DatasetFacts) -> Option<Vec<String>> {
    let columns = facts.columns.as_ref()?.iter();
    let made = columns.filter(|column| !matches!(wanted(config, column), Wanted::Drop));
    Some(made.map(|column| column.name.clone()).collect())
}

/// The columns of the outputs, if none of them depends on the data.
fn produced_columns(config: &PreprocessConfig, facts: &DatasetFacts) -> Option<Vec<Column>> {
    let mut produced = Vec::new();
    let mut names = HashSet::new();
    for column in facts.columns.as_ref()? {
        let float = |name: String| Column { name, column_type: ColumnType::Float };
        let name = &column.name;
        let (treatment, seen) = match wanted(config, column) {
            Wanted::Drop => continue,
            Wanted::Keep => {
                produced.push(column.clone());
                continue;
            }
            Wanted::Treat(treatment, seen) => (treatment, seen),
        };
        match (seen, treatment.encode) {
            (_, Some(Encode::Onehot)) => return None,
            (FeatureType::Category, None) => {
                produced.push(Column { name: name.clone(), column_type: ColumnType::Text });
            }
            (FeatureType::Category, Some(Encode::Hash)) => {
                let buckets = treatment.buckets.unwrap_or(32);
                produced.extend((0..buckets).map(|bucket| float(format!("{name}_hash_{bucket}"))));
            }
            (FeatureType::Date, _) => {
                let parts = treatment.parts.iter().map(|part| format!("{name}_{}", part.as_str()));
                produced.extend(parts.map(float));
                for part in &treatment.cycles {
                    let part = part.as_str();
                    produced.push(float(format!("{name}_{part}_sin")));
                    produced.push(float(format!("{name}_{part}_cos")));
                }
            }
            _ => produced.push(float(name.clone())),
        }
        if treatment.indicator || treatment.impute == Some(Impute::Indicator) {
            produced.push(float(format!("{name}_missing")));
        }
    }
    produced.iter().all(|column| names.insert(column.name.clone())).then_some(produced)
}

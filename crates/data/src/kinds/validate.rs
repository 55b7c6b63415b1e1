//! `validate`: lets data pass that keeps its rules.

use polars::prelude::{DataFrame, DataType};
use regex::Regex;
use wick_core::PortType;
use wick_report::{Cell, Report, Table};
use wick_stage::{
    Checked, ColumnType, Context, Documentation, Example, Issues, Known, PortFacts, Ports,
    StageError, StageResult, TypedKind,
};

use super::{check_column, facts_of, open_input, port, port_facts, write_output};
use crate::columns::columns_of_frame;
use crate::error::DataResult;
use crate::rules::{Outcome, RulesConfig, evaluate};
use crate::transform::config::Constant;
use crate::transform::values_of;
use crate::values::find;

/// See [`RulesConfig`].
pub struct Validate;

impl TypedKind for Validate {
    type Config = RulesConfig;
    const NAME: &'static str = "validate";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Lets data pass only if it keeps its rules",
            description: "\
Looks at every rule: columns and their types, missing values, ranges, allowed values, patterns,
keys, the number of rows. If one is broken the stage fails, and names each broken rule with the
number of rows and the first of them. Otherwise the data passes unchanged as the output `data`; the
output `report` has the rules and a profile of every column.

A missing value breaks only `nullable: false` and `max_missing`, no other rule.",
            examples: &[Example {
                title: "The Titanic's passengers",
                yaml: "\
uses: validate
inputs: {data: passengers}
with:
  rows: {min: 1000}
  columns:
    class: {allowed: [1st, 2nd, 3rd], nullable: false}
    age: {type: number, min: 0, max: 110, max_missing: 0.5}
    name: {pattern: ', '}
    survived: {allowed: [0, 1], nullable: false}
",
            }],
        }
    }

    fn ports(&self, config: &RulesConfig, issues: &mut Issues) -> Ports {
        for (name, rules) in &config.columns {
            if let Some(Err(error)) = rules.pattern.as_deref().map(Regex::new) {
                let message = error.to_string();
                let reason = message.lines().last().unwrap_or_default().trim();
                issues.with(
                    ["columns", name, "pattern"],
                    format!(
                        "this is no regular expression: {}",
                        reason.trim_start_matches("error: ")
                    ),
                    "a character with a meaning of its own is written with a backslash: `\\.`",
                );
            }
            if rules.nullable == Some(false) && rules.max_missing.is_some_and(|share| share > 0.0) {
                let message = "`nullable: false` allows no missing values at all";
                issues.with(["columns", name, "max_missing"], message, "leave one of them out");
            }
            if let (Some(Constant::Number(min)), Some(Constant::Number(max))) =
                (&rules.min, &rules.max)
                && min > max
            {
                let message = format!("no value is at least {min} and at most {max}");
                issues.with(["columns", name, "min"], message, "exchange `min` and `max`");
            }
        }
        Ports::new()
            .input("data", PortType::Dataset)
            .primary_output("data", PortType::Dataset)
            .output("report", PortType::Report)
    }

    fn check(&self, config: &RulesConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked::default();
        let facts = facts_of(known, "data");
        for (name, rules) in &config.columns {
            if !rules.optional {
                check_column(&mut checked.issues, &facts, ["columns", name], name);
            }
            let Some(column) = facts.column(name) else { continue };
            let held = &column.column_type;
            if let Some(wanted) = rules.column_type.filter(|wanted| !wanted.takes(held)) {
                checked.issues.with(
                    ["columns", name, "type"],
                    format!("column `{name}` holds {held}, not {}", wanted.as_str()),
                    format!("load it so: `types: {{{name}: {}}}`", wanted.as_str()),
                );
            }
            let ordered =
                held.is_numeric() || matches!(held, ColumnType::Date | ColumnType::Datetime);
            for (key, limit) in [("min", &rules.min), ("max", &rules.max)] {
                if limit.is_some() && !ordered {
                    let message = format!("column `{name}` holds {held}, which has no order");
                    checked.issues.with(
                        ["columns", name, key],
                        message,
                        format!("leave out `{key}`"),
                    );
                }
            }
        }
        for name in config.unique.0.iter().flatten() {
            check_column(&mut checked.issues, &facts, ["unique"], name);
        }
        checked.metrics = Some(["rows", "columns", "rules", "missing"].map(str::to_owned).to_vec());
        if let (Ok(data), Ok(report)) = (port("data"), port("report")) {
            checked.outputs.insert(data, port_facts(facts));
            checked.outputs.insert(report, PortFacts::unknown(PortType::Report));
        }
        checked
    }

    fn run(&self, config: RulesConfig, context: &mut Context<'_>) -> StageResult {
        let dataset = open_input(context, "data")?;
        let mut frame = dataset.frame()?;
        let outcomes = evaluate(&config, &frame)?;
        for outcome in &outcomes {
            let mark = if outcome.broken > 0 { "broken" } else { "kept  " };
            context.log(format!("{mark} {}", describe(outcome)));
        }
        refuse(&outcomes)?;
        let report = report_of(&frame, &outcomes)?;
        for (key, value) in &report.metrics {
            context.metric(key.as_str(), *value)?;
        }
        let folder = context.output("report")?;
        report.write(&folder).map_err(|error| {
            StageError::new(wick_core::FailureCause::Io, error.to_string()).because(error)
        })?;
        let transform = dataset.transform()?;
        let known = &dataset.info().columns;
        write_output(context, &port("data")?, &mut frame, transform.as_ref(), known)?;
        context.describe_output(&port("report")?, serde_json::json!({ "rules": outcomes.len() }));
        Ok(())
    }
}

fn describe(outcome: &Outcome) -> String {
    if outcome.broken > 0 {
        outcome.explain()
    } else {
        match &outcome.column {
            Some(column) => format!("`{column}`: {}", outcome.rule),
            None => outcome.rule.clone(),
        }
    }
}

/// Fails if a rule is broken.
fn refuse(outcomes: &[Outcome]) -> StageResult {
    let broken: Vec<String> =
        outcomes.iter().filter(|outcome| outcome.broken > 0).map(Outcome::explain).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let noun = if outcomes.len() == 1 { "rule" } else { "rules" };
    Err(StageError::data(format!(
        "the data breaks {} of {} {noun}:\n  {}",
        broken.len(),
        outcomes.len(),
        broken.join("\n  ")
    ))
    .help("mend the data where it comes from, treat it with `sql` before this stage, or change the rule"))
}

/// The rules, and a profile of every column.
fn report_of(frame: &DataFrame, outcomes: &[Outcome]) -> DataResult<Report> {
    let mut report = Report::new("Validation");
    let missing: usize = frame.columns().iter().map(|column| column.null_count()).sum();
    report.add_metric("rows", frame.height() as f64);
    report.add_metric("columns", frame.width() as f64);
    report.add_metric("rules", outcomes.len() as f64);
    report.add_metric("missing", missing as f64);
    let mut rules = Table::new("rules", "Rules", ["column", "rule", "rows that break it"]);
    for outcome in outcomes {
        let column = outcome.column.clone().unwrap_or_default();
        rules.push([column.into(), outcome.rule.as_str().into(), outcome.broken.into()]);
    }
    report.add_table(rules);
    report.add_table(profile(frame)?);
    Ok(report)
}

fn profile(frame: &DataFrame) -> DataResult<Table> {
    let heads = ["column", "type", "missing", "distinct", "smallest", "mean", "largest"];
    let mut table = Table::new("columns", "Columns", heads);
    for column in columns_of_frame(frame) {
        let series = find(frame, &column.name)?;
        let mut row: Vec<Cell> = vec![
            column.name.as_str().into(),
            column.column_type.to_string().into(),
            series.null_count().into(),
        ];
        if !series.dtype().is_nested() {
            row.push(series.n_unique().ok().into());
        }
        if column.column_type.is_numeric() && series.dtype() != &DataType::Boolean {
            let mut values = values_of(&series)?;
            values.retain(|value| !value.is_nan());
            if !values.is_empty() {
                let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
                let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                row.extend([smallest, mean, largest].map(Cell::from));
            }
        }
        table.push(row);
    }
    Ok(table)
}

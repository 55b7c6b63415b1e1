//! `wick trend`: how a metric went from run to run.

use serde_json::{Value, json};
use wick_core::ExperimentName;
use wick_store::filter::{Column, Filter, Order};
use wick_store::{ColumnValue, RunSummary, Search, Store};

use super::best::mode_of;
use crate::args::{GlobalArgs, Mode, TableFormat, TrendArgs};
use crate::error::{CommandResult, ExitCode};
use crate::filter;
use crate::history::no_such_metric;
use crate::render::style::run_paint;
use crate::render::{Cell, Paint, Table, Ui, csv, human, plot};
use crate::session::Session;

/// The height of the plot in lines.
const PLOT_HEIGHT: usize = 10;

pub async fn trend(args: &TrendArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let typed = args.filter.as_deref().map(|text| filter::parse(text, ui)).transpose()?;
    let is_filtered = typed.is_some() || args.experiment.is_some();
    let session = Session::here(global, ui).await?;
    let experiment = match (&args.experiment, args.all) {
        (Some(experiment), _) => Some(experiment.clone()),
        (None, true) => None,
        (None, false) => experiment_of(&*session.store, &args.metric, typed.as_ref()).await?,
    };
    let all = [
        Some(Filter::with_metric(&args.metric)),
        experiment.as_ref().map(Filter::of_experiment),
        typed,
    ];
    let query = Search {
        filter: Filter::all(all.into_iter().flatten()),
        order: vec![Order::by_start(true)],
        columns: vec![Column::metric(&args.metric)],
        limit: args.limit,
        offset: args.limit.saturating_mul(args.page - 1),
        ..Search::default()
    };
    let page = session.store.search(&query).await?;
    if page.runs.is_empty() && !is_filtered && args.page == 1 {
        return Err(no_such_metric(&*session.store, &args.metric).await?);
    }
    let mode = args.mode.or_else(|| mode_of(&args.metric));
    let mut values = Vec::with_capacity(page.runs.len());
    for columns in &page.columns {
        values.push(match columns.first() {
            Some(Some(ColumnValue::Number(value))) => *value,
            _ => f64::NAN,
        });
    }
    let steps = steps(&values, mode);
    let course = Course { args, experiment, mode, runs: &page.runs, steps, more: page.more };
    match args.output {
        TableFormat::Json => ui.json(&course.to_json())?,
        TableFormat::Csv => ui.write(course.to_csv().as_bytes()),
        TableFormat::Table if page.runs.is_empty() => ui.note("no run is like that"),
        TableFormat::Table => course.print(ui),
    }
    Ok(ExitCode::Success)
}

/// The experiment of the newest run that is meant: a metric of the same name in another one
/// measures something else.
async fn experiment_of(
    store: &dyn Store,
    metric: &str,
    typed: Option<&Filter>,
) -> CommandResult<Option<ExperimentName>> {
    let all = [Some(Filter::with_metric(metric)), typed.cloned()];
    let newest = Search {
        filter: Filter::all(all.into_iter().flatten()),
        order: vec![Order::by_start(true)],
        limit: 1,
        ..Search::default()
    };
    let page = store.search(&newest).await?;
    Ok(page.runs.into_iter().next().map(|run| run.experiment))
}

/// The value of a run, and how it stands to those before it.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    value: f64,
    /// Since the run before; `None` for the first.
    change: Option<f64>,
    /// The best value of this run and those before it, where it is known which is best.
    best: Option<f64>,
    /// Whether it is better than all before it.
    is_record: bool,
}

/// What there is to say of each of `values`, which come newest first, as the steps do.
fn steps(values: &[f64], mode: Option<Mode>) -> Vec<Step> {
    let mut steps = Vec::with_capacity(values.len());
    let (mut before, mut best): (Option<f64>, Option<f64>) = (None, None);
    for &value in values.iter().rev() {
        let is_better = |than: f64| match mode {
            Some(Mode::Max) => value > than,
            Some(Mode::Min) => value < than,
            None => false,
        };
        let is_record = match best {
            _ if mode.is_none() || value.is_nan() => false,
            None => true,
            Some(best) => is_better(best),
        };
        if is_record {
            best = Some(value);
        }
        let change = before.map(|before| value - before).filter(|change| change.is_finite());
        steps.push(Step { value, change, best, is_record });
        before = Some(value);
    }
    steps.reverse();
    steps
}

/// The values of a metric with the runs they belong to, newest first.
struct Course<'a> {
    args: &'a TrendArgs,
    experiment: Option<ExperimentName>,
    mode: Option<Mode>,
    runs: &'a [RunSummary],
    steps: Vec<Step>,
    more: bool,
}

impl Course<'_> {
    fn print(&self, ui: &Ui) {
        ui.print(self.headline(ui));
        let points: Vec<(f64, f64)> = self
            .steps
            .iter()
            .rev()
            .enumerate()
            .map(|(place, step)| ((place + 1) as f64, step.value))
            .collect();
        if points.len() > 2 {
            let width = usize::from(ui.width.unwrap_or(80)).min(120);
            for line in plot::plot(&points, width, PLOT_HEIGHT) {
                ui.print(ui.out.paint(Paint::Calm, line));
            }
        }
        ui.print(format_args!("\n{}", self.table(ui)));
        if self.more {
            let page = self.args.page + 1;
            let text = format!("there are more: --page {page} shows the next, -n N more at once");
            ui.note(ui.err.paint(Paint::Faint, text));
        }
    }

    fn headline(&self, ui: &Ui) -> String {
        let place = match &self.experiment {
            Some(experiment) => format!("experiment {experiment}"),
            None => "every experiment".to_owned(),
        };
        let mut words = Vec::new();
        if let Some(last) = self.steps.first() {
            words.push(format!("last {}", human::number(last.value)));
        }
        let best = self.steps.iter().zip(self.runs).find(|(step, _)| step.is_record);
        if let Some((step, run)) = best {
            words.push(format!("best {} in run {}", human::number(step.value), run.id));
        }
        format!(
            "{} of {place}, {}: {}",
            ui.out.paint(Paint::Strong, &self.args.metric),
            human::plural(self.runs.len(), "run"),
            words.join(", ")
        )
    }

    fn table(&self, ui: &Ui) -> String {
        let now = human::now();
        let mut header = vec!["run", "started", "state", "value", "change"];
        let knows_best = self.mode.is_some();
        if knows_best {
            header.push("best so far");
        }
        let mut table = Table::new(ui, &header);
        for (run, step) in self.runs.iter().zip(&self.steps) {
            let change = match step.change {
                Some(0.0) => "=".to_owned(),
                Some(change) if change > 0.0 => format!("+{}", human::number(change)),
                Some(change) => human::number(change),
                None => String::new(),
            };
            let name = match &run.marks.name {
                Some(name) => format!("{} {name}", run.id),
                None => run.id.to_string(),
            };
            let mut cells = vec![
                Cell::painted(Paint::Strong, name),
                Cell::new(human::ago(run.started, now)),
                Cell::painted(run_paint(run.state), run.state),
                Cell::number(human::number(step.value)),
                Cell::number(change),
            ];
            if knows_best {
                let star = if step.is_record { " *" } else { "  " };
                let best = step.best.map(human::number).unwrap_or_default();
                cells.push(Cell::number(format!("{best}{star}")));
            }
            table.row(cells);
        }
        table.keep_whole(&[1, 2, 3, 4]);
        table.render()
    }

    fn to_json(&self) -> Value {
        let runs = self.runs.iter().zip(&self.steps).map(|(run, step)| {
            json!({
                "run": run.id,
                "experiment": run.experiment,
                "started": run.started,
                "state": run.state,
                "value": human::json_number(step.value),
                "change": step.change,
                "best": step.best.map(human::json_number),
                "record": step.is_record,
            })
        });
        json!({
            "version": 1,
            "metric": self.args.metric,
            "experiment": self.experiment,
            "mode": self.mode.map(|mode| if mode == Mode::Max { "max" } else { "min" }),
            "runs": runs.collect::<Vec<_>>(),
            "more": self.more,
        })
    }

    fn to_csv(&self) -> String {
        let mut sheet = String::from("run,experiment,started_us,state,value\n");
        for (run, step) in self.runs.iter().zip(&self.steps) {
            sheet.push_str(&csv::line([
                run.id.as_str(),
                run.experiment.as_str(),
                &run.started.0.to_string(),
                run.state.as_str(),
                &step.value.to_string(),
            ]));
        }
        sheet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_from_the_oldest() {
        let of = |mode| {
            let steps = steps(&[0.9, 0.7, f64::NAN, 0.8, 0.5], mode);
            let records = steps.iter().map(|step| step.is_record).collect::<Vec<_>>();
            (records, steps.iter().map(|step| step.best).collect::<Vec<_>>())
        };
        let (records, best) = of(Some(Mode::Max));
        assert_eq!(records, [true, false, false, true, true]);
        assert_eq!(best, [Some(0.9), Some(0.8), Some(0.8), Some(0.8), Some(0.5)]);
        assert_eq!(of(Some(Mode::Min)).0, [false, false, false, false, true]);
        assert_eq!(of(None), (vec![false; 5], vec![None; 5]));
        let changes: Vec<_> = steps(&[3.0, 1.0], None).iter().map(|step| step.change).collect();
        assert_eq!(changes, [Some(2.0), None]);
    }
}

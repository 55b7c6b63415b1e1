//! `wick runs`: runs by a filter, in an order, with columns that are asked for.

use serde_json::{Map, Value, json};
use wick_core::AttemptState;
use wick_store::filter::{Column, Filter};
use wick_store::{ColumnValue, RunPage, RunSummary, Search, Visible};

use crate::args::{GlobalArgs, RunsArgs, RunsFormat};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::filter;
use crate::render::style::run_paint;
use crate::render::{Cell, Paint, Table, Ui, human, run_view};
use crate::session::Session;

pub async fn runs(args: &RunsArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    // What is typed wrong is told before anything is opened.
    let query = search(args, ui)?;
    let session = Session::here(global, ui).await?;
    let page = session.store.search(&query).await?;
    match args.output {
        RunsFormat::Json => ui.json(&to_json(&page, &query.columns))?,
        RunsFormat::Csv => ui.write(to_csv(&page, &query.columns).as_bytes()),
        RunsFormat::Table if page.runs.is_empty() => ui.note(nothing(args)),
        RunsFormat::Table => {
            ui.print(table(ui, &page, &query.columns, args.columns.is_some()));
            if page.more {
                let more = format!(
                    "there are more: --page {} shows the next, --limit {} more at once",
                    args.page.saturating_add(1),
                    args.limit.saturating_mul(5)
                );
                ui.note(ui.err.paint(Paint::Faint, more));
            }
        }
    }
    Ok(ExitCode::Success)
}

/// What was asked for.
fn search(args: &RunsArgs, ui: &Ui) -> CommandResult<Search> {
    if args.limit == 0 && args.page > 1 {
        return Err(CommandError::invalid("without a limit there is one page only")
            .hint("--limit says how many runs a page has"));
    }
    let filters = [
        args.experiment.as_ref().map(Filter::of_experiment),
        args.state.map(Filter::in_state),
        args.filter.as_deref().map(|text| filter::parse(text, ui)).transpose()?,
    ];
    let order = args.sort.as_deref().map(|text| filter::parse_order(text, ui)).transpose()?;
    let order = order.unwrap_or_default();
    let columns =
        args.columns.as_deref().map(|text| filter::parse_columns(text, ui)).transpose()?;
    let columns = columns.unwrap_or_else(|| {
        // What a list is sorted by is seen in it.
        order.iter().filter_map(|order| order.column()).collect()
    });
    let visible = match (args.archived, args.deleted, args.all) {
        (true, ..) => Visible::Archived,
        (_, true, _) => Visible::Deleted,
        (.., true) => Visible::All,
        _ => Visible::Live,
    };
    Ok(Search {
        filter: Filter::all(filters.into_iter().flatten()),
        order,
        columns,
        limit: args.limit,
        offset: args.limit.saturating_mul(args.page - 1),
        visible,
        ..Search::default()
    })
}

/// What to say where there is no run to show.
fn nothing(args: &RunsArgs) -> &'static str {
    let is_filtered = args.filter.is_some() || args.experiment.is_some() || args.state.is_some();
    match (is_filtered, args.page) {
        (_, 2..) => "there are not so many pages",
        (true, _) => "no run is like that",
        _ if args.archived => "no run is archived",
        _ if args.deleted => "no deleted run is left",
        _ => "there is no run yet",
    }
}

/// On a terminal narrower than this the stages are left out: the state says most of them.
const WIDE: u16 = 100;

/// The runs as a table. Columns that were asked for stand in the place of what is shown else.
fn table(ui: &Ui, page: &RunPage, columns: &[Column], asked: bool) -> String {
    let has_names = page.runs.iter().any(|run| called(run).is_some());
    let mut header = vec!["run"];
    header.extend(has_names.then_some("name"));
    header.extend(["experiment", "state", "started", "time"]);
    let has_stages = !asked && ui.width.is_none_or(|width| width >= WIDE);
    header.extend(has_stages.then_some("stages"));
    header.extend((!asked).then_some("metrics"));
    header.extend(columns.iter().map(Column::name));
    let now = human::now();
    let mut table = Table::new(ui, &header);
    for (place, run) in page.runs.iter().enumerate() {
        let time = run
            .finished
            .map(|end| human::micros(end.micros_since(run.started)))
            .unwrap_or_default();
        let mut row = vec![Cell::painted(Paint::Strong, &run.id)];
        row.extend(has_names.then(|| Cell::new(called(run).unwrap_or_default())));
        row.extend([
            Cell::new(&run.experiment),
            Cell::painted(run_paint(run.state), run.state),
            Cell::new(human::ago(run.started, now)),
            Cell::number(time),
        ]);
        row.extend(has_stages.then(|| Cell::new(stages(run))));
        row.extend((!asked).then(|| Cell::new(metrics(run))));
        let values = page.columns.get(place).map(Vec::as_slice).unwrap_or_default();
        row.extend(values.iter().map(|value| cell(value.as_ref())));
        table.row(row);
    }
    let named = usize::from(has_names);
    table.keep_whole(&[0, 2 + named, 3 + named, 4 + named]);
    table.render()
}

/// The name of a run, with a star where it has one.
fn called(run: &RunSummary) -> Option<String> {
    match (&run.marks.name, run.marks.starred) {
        (Some(name), Some(_)) => Some(format!("★ {name}")),
        (Some(name), None) => Some(name.clone()),
        (None, Some(_)) => Some("★".to_owned()),
        (None, None) => None,
    }
}

/// A value of a column, for people.
pub(super) fn cell(value: Option<&ColumnValue>) -> Cell {
    match value {
        None => Cell::new(""),
        Some(ColumnValue::Number(number)) => Cell::number(human::number(*number)),
        Some(ColumnValue::Json(Value::Number(number))) => Cell::number(number),
        Some(ColumnValue::Json(value)) => Cell::new(human::value(value)),
        Some(ColumnValue::Text(text)) => Cell::new(text.lines().next().unwrap_or_default()),
        Some(ColumnValue::Moment(moment)) => Cell::new(moment),
        Some(ColumnValue::Duration(micros)) => Cell::number(human::micros(*micros)),
    }
}

/// `5 of 7`, and what is not routine.
fn stages(run: &RunSummary) -> String {
    let total: u32 = run.stages.iter().map(|(_, number)| number).sum();
    let number = |wanted: AttemptState| {
        run.stages
            .iter()
            .filter(|(state, _)| *state == wanted)
            .map(|(_, number)| number)
            .sum::<u32>()
    };
    let (succeeded, cached) = (number(AttemptState::Succeeded), number(AttemptState::Cached));
    let mut text = format!("{} of {total}", succeeded + cached);
    if cached > 0 {
        text.push_str(&format!(", {cached} cached"));
    }
    let failed = number(AttemptState::Failed) + number(AttemptState::Lost);
    if failed > 0 {
        text.push_str(&format!(", {failed} failed"));
    }
    text
}

/// The most telling metrics of the run.
fn metrics(run: &RunSummary) -> String {
    let mut metrics: Vec<&(String, f64)> = run.metrics.iter().collect();
    // The key follows the first dot that is not in the label of an instance.
    let key = |name: &str| {
        let dot = match (name.find('['), name.find('.')) {
            (Some(label), Some(dot)) if label < dot => name.find("].").map(|end| end + 1),
            (_, dot) => dot,
        };
        dot.map_or(0, |dot| dot + 1)
    };
    metrics.sort_by_key(|(name, _)| run_view::telling_rank(&name[key(name)..]));
    let words: Vec<String> = metrics
        .iter()
        .take(2)
        .map(|(name, value)| format!("{name} {}", human::number(*value)))
        .collect();
    words.join("  ")
}

/// A value of a column, for programs.
pub(super) fn value_json(value: Option<&ColumnValue>) -> Value {
    match value {
        None => Value::Null,
        Some(ColumnValue::Number(number)) => human::json_number(*number),
        Some(ColumnValue::Json(value)) => value.clone(),
        Some(ColumnValue::Text(text)) => json!(text),
        Some(ColumnValue::Moment(moment)) => json!(moment),
        Some(ColumnValue::Duration(micros)) => json!(micros),
    }
}

fn to_json(page: &RunPage, columns: &[Column]) -> Value {
    let runs = page.runs.iter().enumerate().map(|(place, run)| {
        let mut json = run_json(run);
        if !columns.is_empty() {
            let values = page.columns.get(place).map(Vec::as_slice).unwrap_or_default();
            let values = columns.iter().zip(values);
            json["columns"] = values
                .map(|(column, value)| (column.name().to_owned(), value_json(value.as_ref())))
                .collect::<Map<_, _>>()
                .into();
        }
        json
    });
    json!({"version": 1, "runs": runs.collect::<Vec<_>>(), "more": page.more})
}

/// A run of a list, for programs.
fn run_json(run: &RunSummary) -> Value {
    let stages: Map<String, Value> =
        run.stages.iter().map(|(state, number)| (state.to_string(), json!(number))).collect();
    let metrics: Map<String, Value> = run
        .metrics
        .iter()
        .map(|(name, value)| (name.clone(), human::json_number(*value)))
        .collect();
    let tags: Map<String, Value> =
        run.marks.tags.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "id": run.id,
        "name": run.marks.name,
        "experiment": run.experiment,
        "pipeline": run.pipeline,
        "state": run.state,
        "started": run.started,
        "finished": run.finished,
        "parent": run.parent,
        "note": run.marks.note,
        "starred": run.marks.starred,
        "archived": run.marks.archived,
        "deleted": run.marks.deleted,
        "tags": tags,
        "stages": stages,
        "metrics": metrics,
    })
}

/// One line a run. Without columns that were asked for, the metrics that the runs have.
fn to_csv(page: &RunPage, columns: &[Column]) -> String {
    let mut keys: Vec<&str> = Vec::new();
    if columns.is_empty() {
        keys = page.runs.iter().flat_map(|run| &run.metrics).map(|(key, _)| &**key).collect();
        keys.sort_unstable();
        keys.dedup();
    }
    let mut csv = String::from("run,name,experiment,pipeline,state,started_us,finished_us,parent");
    let named = columns.iter().map(|column| column.name().to_owned());
    for name in named.chain(keys.iter().map(|key| format!("metrics.{key}"))) {
        csv.push(',');
        csv.push_str(&csv_word(&name));
    }
    csv.push('\n');
    for (place, run) in page.runs.iter().enumerate() {
        let text = |text: Option<String>| text.unwrap_or_default();
        let mut words = vec![
            run.id.to_string(),
            text(run.marks.name.clone()),
            run.experiment.to_string(),
            run.pipeline.clone(),
            run.state.to_string(),
            run.started.0.to_string(),
            text(run.finished.map(|time| time.0.to_string())),
            text(run.parent.as_ref().map(ToString::to_string)),
        ];
        let values = page.columns.get(place).map(Vec::as_slice).unwrap_or_default();
        words.extend(values.iter().map(|value| csv_value(value.as_ref())));
        words.extend(keys.iter().map(|key| {
            let own = run.metrics.iter().find(|(own, _)| own == key);
            own.map(|(_, value)| value.to_string()).unwrap_or_default()
        }));
        let words: Vec<String> = words.iter().map(|word| csv_word(word)).collect();
        csv.push_str(&words.join(","));
        csv.push('\n');
    }
    csv
}

fn csv_value(value: Option<&ColumnValue>) -> String {
    match value {
        None => String::new(),
        Some(ColumnValue::Number(number)) => number.to_string(),
        Some(ColumnValue::Json(value)) => human::value(value),
        Some(ColumnValue::Text(text)) => text.clone(),
        Some(ColumnValue::Moment(moment)) => moment.0.to_string(),
        Some(ColumnValue::Duration(micros)) => micros.to_string(),
    }
}

/// A field of a CSV file (RFC 4180).
fn csv_word(word: &str) -> String {
    if word.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", word.replace('"', "\"\""))
    } else {
        word.to_owned()
    }
}

//! `wick sql`: questions in SQL over the documented views.

use std::fmt::Write as _;
use std::io::Read;

use serde_json::{Value, json};
use wick_store::sql::{Answer, Cell as SqlCell, ColumnType, MAX_SQL, Question, Row, VIEWS, ask};
use wick_store::{StoreError, sql::SqlError};

use crate::args::{GlobalArgs, SqlArgs, SqlFormat};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::render::{Cell, Paint, Table, Ui, human, place};
use crate::session::Session;

/// Of a cell so many characters are shown in a table; the other formats have all of it.
const TABLE_CELL: usize = 200;

/// What is kept in memory for a table, which is printed when it is whole.
const MAX_TABLE: usize = 64 * 1024 * 1024;

pub async fn sql(args: &SqlArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    if args.schema {
        return schema(args, ui);
    }
    let text = query(args)?;
    let session = Session::here(global, ui).await?;
    let mut question = Question::query(&text).timeout(args.timeout);
    if args.limit > 0 {
        question = question.max_rows(args.limit);
    }
    if args.explain {
        question = question.explained();
    }
    let location = session.project.store_location()?;
    let told = |error: StoreError| match error {
        StoreError::Sql(error) => explained(&text, &error),
        error => error.into(),
    };
    let mut answer = ask(&location, &question).await.map_err(told)?;
    let names = answer.columns().to_vec();
    let mut printer: Box<dyn Printer> = match args.output {
        SqlFormat::Table => Box::new(AsTable::new(ui, &names)),
        SqlFormat::Json => Box::new(AsJson::new(ui, &names)),
        SqlFormat::Csv => Box::new(AsCsv::new(ui, &names)),
    };
    let mut shown = 0;
    let mut full = false;
    while let Some(rows) = answer.next().await.map_err(told)? {
        for row in rows {
            shown += 1;
            if !printer.row(row) {
                full = true;
                break;
            }
        }
        printer.flush();
        // Nobody reads on: `wick sql … | head`.
        if full || ui.is_closed() {
            break;
        }
    }
    let more = answer.is_cut() || full;
    printer.end(more);
    tell_what_is_missing(&answer, shown, more, args, ui);
    Ok(ExitCode::Success)
}

fn tell_what_is_missing(answer: &Answer, shown: u64, more: bool, args: &SqlArgs, ui: &Ui) {
    if more {
        let hint = if args.limit > 0 && shown >= args.limit {
            "--limit 0 shows all"
        } else {
            "-o csv or -o json print more than a table can hold"
        };
        ui.note(ui.err.paint(
            Paint::Faint,
            format_args!("only the first {}: {hint}", human::plural(shown as usize, "row")),
        ));
    }
    let cut = answer.cut_cells();
    if cut > 0 {
        ui.warn(format_args!(
            "{} longer than 256 KiB and cut",
            if cut == 1 { "one cell is".to_owned() } else { format!("{cut} cells are") }
        ));
    }
}

/// The text of the query.
fn query(args: &SqlArgs) -> CommandResult<String> {
    let text = match (&args.query, &args.file) {
        (Some(query), _) if query == "-" => {
            read_some(std::io::stdin().lock()).or_invalid("cannot read the standard input")?
        }
        (Some(query), _) => query.clone(),
        (None, Some(path)) => std::fs::File::open(path)
            .and_then(read_some)
            .or_invalid(format!("cannot read {}", path.display()))?,
        (None, None) => String::new(),
    };
    if text.len() > MAX_SQL {
        return Err(CommandError::invalid("the query is longer than 1 MiB"));
    }
    Ok(text)
}

/// As much as a query may be, and a bit more, which tells that it is longer.
fn read_some(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(MAX_SQL as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// An error with its place in the query.
fn explained(text: &str, error: &SqlError) -> CommandError {
    let mut message = error.message.clone();
    if let Some(at) = error.place {
        // Indented under the first line, which begins with `error: `.
        for line in place::caret(text, at).lines() {
            // Writing to a String cannot fail.
            let _ = write!(message, "\n  {line}");
        }
    }
    let mut told = CommandError::invalid(message);
    told.hints.extend(error.help.clone());
    // What is wrong with a place may be a name.
    if error.place.is_some() {
        told = told.hint("`wick sql --schema` shows the views and their columns");
    }
    told
}

/// The views and their columns.
fn schema(args: &SqlArgs, ui: &Ui) -> CommandResult {
    match args.output {
        SqlFormat::Json => {
            let views: Vec<Value> = VIEWS
                .iter()
                .map(|view| {
                    let columns: Vec<Value> = view
                        .columns
                        .iter()
                        .map(|column| {
                            json!({
                                "name": column.name,
                                "type": column.kind.as_str(),
                                "about": column.about,
                            })
                        })
                        .collect();
                    json!({"name": view.name, "about": view.about, "columns": columns})
                })
                .collect();
            ui.json(&json!({"version": 1, "views": views}))?;
        }
        SqlFormat::Csv => {
            let mut csv = String::from("view,column,type,about\n");
            for view in VIEWS {
                for column in view.columns {
                    let cells = [view.name, column.name, column.kind.as_str(), column.about];
                    csv.push_str(&cells.map(quoted).join(","));
                    csv.push('\n');
                }
            }
            ui.write(csv.as_bytes());
        }
        SqlFormat::Table => {
            for (place, view) in VIEWS.iter().enumerate() {
                if place > 0 {
                    ui.print("");
                }
                ui.print(format_args!(
                    "{}  {}",
                    ui.out.paint(Paint::Strong, view.name),
                    view.about
                ));
                let mut table = Table::new(ui, &[]);
                for column in view.columns {
                    table.row([
                        Cell::new(format!("  {}", column.name)),
                        Cell::painted(Paint::Faint, type_words(column.kind)),
                        Cell::new(column.about),
                    ]);
                }
                table.keep_whole(&[0, 1]);
                ui.print(table.render());
            }
        }
    }
    Ok(ExitCode::Success)
}

const fn type_words(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Time => "time, as text in UTC",
        ColumnType::Flag => "1 or 0",
        other => other.as_str(),
    }
}

/// Prints rows as they come.
trait Printer {
    /// Takes a row; false if no more can be taken.
    fn row(&mut self, row: Row) -> bool;
    /// Prints what has come so far, if rows are printed before the last has come.
    fn flush(&mut self) {}
    /// The end of the rows, though there may be more in the store.
    fn end(self: Box<Self>, more: bool);
}

struct AsTable<'a> {
    ui: &'a Ui,
    table: Table,
    names: Vec<String>,
    weight: usize,
    rows: u64,
}

impl<'a> AsTable<'a> {
    fn new(ui: &'a Ui, names: &[String]) -> Self {
        let names: Vec<String> = names.iter().map(|name| printable(name)).collect();
        let header: Vec<&str> = names.iter().map(String::as_str).collect();
        Self { ui, table: Table::new(ui, &header), names, weight: 0, rows: 0 }
    }
}

impl Printer for AsTable<'_> {
    fn row(&mut self, row: Row) -> bool {
        let cells: Vec<Cell> = row
            .iter()
            .map(|cell| match cell {
                SqlCell::Null => Cell::painted(Paint::Faint, "null"),
                SqlCell::Boolean(truth) => Cell::new(truth),
                SqlCell::Integer(number) => Cell::number(number),
                SqlCell::Real(number) => Cell::number(real(*number)),
                SqlCell::Text(text) => Cell::new(printable(text)),
                SqlCell::Bytes(bytes) => Cell::new(printable(&hex(bytes))),
            })
            .collect();
        self.weight += cells.iter().map(Cell::weight).sum::<usize>();
        self.rows += 1;
        self.table.row(cells);
        self.weight < MAX_TABLE
    }

    fn end(self: Box<Self>, _more: bool) {
        if self.rows == 0 {
            self.ui.note(format_args!("no rows ({})", self.names.join(", ")));
        } else {
            self.ui.print(self.table.render());
        }
    }
}

struct AsJson<'a> {
    ui: &'a Ui,
    names: Vec<String>,
    first: bool,
    text: String,
}

impl<'a> AsJson<'a> {
    fn new(ui: &'a Ui, names: &[String]) -> Self {
        let names = unique(names);
        let columns = Value::from(names.clone());
        ui.write(
            format!("{{\n  \"version\": 1,\n  \"columns\": {columns},\n  \"rows\": [").as_bytes(),
        );
        Self { ui, names, first: true, text: String::new() }
    }
}

impl Printer for AsJson<'_> {
    fn row(&mut self, row: Row) -> bool {
        let object: serde_json::Map<String, Value> =
            self.names.iter().cloned().zip(row.into_iter().map(to_json)).collect();
        let comma = if self.first { "" } else { "," };
        self.first = false;
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{comma}\n    {}", Value::Object(object));
        true
    }

    fn flush(&mut self) {
        self.ui.write(std::mem::take(&mut self.text).as_bytes());
    }

    fn end(mut self: Box<Self>, more: bool) {
        self.flush();
        let close = if self.first { "]" } else { "\n  ]" };
        self.ui.print(format_args!("{close},\n  \"more\": {more}\n}}"));
    }
}

/// Names that an object can have: of equal ones all but the first get a number.
fn unique(names: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    names
        .iter()
        .map(|name| {
            let numbered = (2..).map(|number| format!("{name}_{number}"));
            let free =
                std::iter::once(name.clone()).chain(numbered).find(|name| !seen.contains(name));
            let free = free.unwrap_or_default();
            seen.insert(free.clone());
            free
        })
        .collect()
}

fn to_json(cell: SqlCell) -> Value {
    match cell {
        SqlCell::Null => Value::Null,
        SqlCell::Boolean(truth) => truth.into(),
        SqlCell::Integer(number) => number.into(),
        SqlCell::Real(number) => human::json_number(number),
        SqlCell::Text(text) => text.into(),
        SqlCell::Bytes(bytes) => hex(&bytes).into(),
    }
}

struct AsCsv<'a> {
    ui: &'a Ui,
    text: String,
}

impl<'a> AsCsv<'a> {
    fn new(ui: &'a Ui, names: &[String]) -> Self {
        let header: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        ui.print(header.join(","));
        Self { ui, text: String::new() }
    }
}

impl Printer for AsCsv<'_> {
    fn row(&mut self, row: Row) -> bool {
        let cells: Vec<String> = row
            .into_iter()
            .map(|cell| match cell {
                SqlCell::Null => String::new(),
                SqlCell::Boolean(truth) => truth.to_string(),
                SqlCell::Integer(number) => number.to_string(),
                SqlCell::Real(number) => real(number),
                // An empty text is not the same as none.
                SqlCell::Text(text) if text.is_empty() => "\"\"".to_owned(),
                SqlCell::Text(text) => quoted(&text),
                SqlCell::Bytes(bytes) => hex(&bytes),
            })
            .collect();
        self.text.push_str(&cells.join(","));
        self.text.push('\n');
        true
    }

    fn flush(&mut self) {
        self.ui.write(std::mem::take(&mut self.text).as_bytes());
    }

    fn end(mut self: Box<Self>, _more: bool) {
        self.flush();
    }
}

/// A cell of CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// A number so that it can be read back to the same bits.
fn real(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else if number != 0.0 && !(1e-5..1e16).contains(&number.abs()) {
        format!("{number:e}")
    } else {
        format!("{number:?}")
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A text on one line, without anything that a terminal would obey, and not longer than a table
/// can bear.
fn printable(text: &str) -> String {
    let mut shown: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TABLE_CELL).collect();
    if text.chars().nth(TABLE_CELL).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back_to_the_same_bits() {
        for number in [0.1, -2.0, 1e300, 5e-324, 123_456_789.25, 0.0, -0.0, f64::MAX] {
            let text = real(number);
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(number.to_bits()), "{text}");
        }
        assert_eq!(real(2.0), "2.0");
        assert_eq!(real(1e-7), "1e-7");
        assert_eq!(real(f64::NEG_INFINITY), "-Infinity");
    }

    #[test]
    fn a_terminal_obeys_no_cell() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a [31mb c");
        assert_eq!(printable(&"é".repeat(300)).chars().count(), TABLE_CELL + 1);
    }

    #[test]
    fn equal_columns_get_numbers() {
        let names = ["a", "a", "a_2", "a"].map(str::to_owned);
        assert_eq!(unique(&names), ["a", "a_2", "a_2_2", "a_3"]);
    }
}

//! `sql`: a query over the inputs.

use polars::prelude::{DataFrame, IntoLazy, LazyFrame, PolarsError, Schema, SortMultipleOptions};
use polars::sql::SQLContext;
use schemars::JsonSchema;
use serde::Deserialize;
use wick_core::PortType;
use wick_stage::{
    Checked, Column, ColumnType, Context, DatasetFacts, Documentation, Example, Issues, Known,
    Ports, StageError, StageResult, TypedKind,
};

use super::{port, port_facts, write_output};
use crate::columns::{columns_of, data_type};
use crate::dataset::Dataset;
use crate::error::{DataError, DataResult, closest, column_help, polars_message};

/// Makes a table by a query over the inputs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlConfig {
    /// One `SELECT` statement. The tables in it are the inputs, by their names.
    query: String,
}

/// See [`SqlConfig`].
pub struct Sql;

impl TypedKind for Sql {
    type Config = SqlConfig;
    const NAME: &'static str = "sql";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Makes a table by a SQL query over the inputs",
            description: "\
Runs a `SELECT` statement with polars. The tables are the stage's inputs, by the names that you
give them; files cannot be read from within a query, because their content would not be part of
the fingerprint. The result is the output `data`.

The query is checked before anything runs: its syntax, and every column against the columns of the
inputs. SQL promises no order without `ORDER BY`; so that equal inputs give equal outputs, the rows
of a query that groups or joins without one are sorted by all columns.

A transform that made an input is not handed on: no one could say what the query did to its
features. Put `sql` before `preprocess`.",
            examples: &[
                Example {
                    title: "Some rows and columns",
                    yaml: "\
uses: sql
inputs: {flights: flights}
with:
  query: SELECT carrier, distance, arr_delay FROM flights WHERE arr_delay IS NOT NULL
",
                },
                Example {
                    title: "A join",
                    yaml: "\
uses: sql
inputs: {flights: flights, weather: weather}
with:
  query: |
    SELECT f.*, w.wind_speed
    FROM flights f LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour
",
                },
            ],
        }
    }

    fn ports(&self, config: &SqlConfig, issues: &mut Issues) -> Ports {
        if config.query.trim().is_empty() {
            issues.with(["query"], "the query is empty", "write `query: SELECT * FROM INPUT`");
        } else if let Some(function) = file_function(&config.query) {
            issues.with(
                ["query"],
                format!("a query cannot read files: `{function}`"),
                "load the file in a stage of its own, and name it as an input",
            );
        }
        // Polars would also delete rows and list tables.
        let first = words(&config.query).into_iter().find(|word| word != "(");
        if let Some(first) = first.filter(|word| word != "select" && word != "with") {
            issues.with(
                ["query"],
                format!("a query is one SELECT statement, and this begins with `{first}`"),
                "write `query: SELECT * FROM INPUT`",
            );
        }
        Ports::new().any_input([PortType::Dataset], 1).output("data", PortType::Dataset)
    }

    fn check(&self, config: &SqlConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked { metrics: Some(Vec::new()), ..Checked::default() };
        let mut facts = DatasetFacts::default();
        match check_query(&config.query, known) {
            Ok(columns) => facts.columns = columns,
            Err((message, help)) => checked.issues.with(["query"], message, help),
        }
        if let Ok(data) = port("data") {
            checked.outputs.insert(data, port_facts(facts));
        }
        checked
    }

    fn run(&self, config: SqlConfig, context: &mut Context<'_>) -> StageResult {
        let mut tables = Vec::new();
        let mut shapes: Vec<Column> = Vec::new();
        for (name, input) in context.inputs() {
            let dataset = Dataset::open(&input.path)?;
            shapes.extend(dataset.info().columns.iter().cloned());
            tables.push((name.as_str(), dataset.lazy()));
        }
        let mut frame =
            query(&config.query, tables).and_then(LazyFrame::collect).map_err(|error| {
                StageError::data(format!("the query failed: {}", polars_message(&error)))
            })?;
        if !keeps_order(&config.query) {
            frame = sort(&frame)?;
        }
        let info = write_output(context, &port("data")?, &mut frame, None, &shapes)?;
        context.log(format!("{} rows, {} columns", info.rows, info.columns.len()));
        Ok(())
    }
}

/// The result of `text`, not yet computed.
fn query<'a>(
    text: &str,
    tables: impl IntoIterator<Item = (&'a str, LazyFrame)>,
) -> Result<LazyFrame, PolarsError> {
    let mut context = SQLContext::new();
    for (name, table) in tables {
        context.register(name, table);
    }
    context.execute(text)
}

/// The columns of the result, found on empty tables with the inputs' columns; `None` where an
/// input's columns are not all known.
fn check_query(text: &str, known: &Known<'_>) -> Result<Option<Vec<Column>>, (String, String)> {
    let tables: Vec<&str> = known.inputs.keys().map(|name| name.as_str()).collect();
    let named = polars::sql::extract_table_identifiers(text, false, true)
        .map_err(|error| (explain(&error), syntax_help(&error)))?;
    let own = common_tables(text);
    for table in &named {
        if !tables.contains(&table.as_str()) && !own.contains(&table.to_lowercase()) {
            let help = match closest(table, &tables) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the tables are the inputs: `{}`", tables.join("`, `")),
            };
            return Err((format!("there is no input `{table}`"), help));
        }
    }
    // With empty tables a type that the vocabulary only names roughly could mislead.
    let mut exact = true;
    let mut frames = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (name, facts) in known.inputs {
        let Some(columns) = facts.dataset.as_ref().and_then(|facts| facts.columns.as_ref()) else {
            return Ok(None);
        };
        exact &= !columns.iter().any(|column| rough(&column.column_type));
        let schema: Option<Schema> = columns
            .iter()
            .map(|column| Some((column.name.as_str().into(), data_type(&column.column_type)?)))
            .collect();
        let Some(schema) = schema else { return Ok(None) };
        names.extend(columns.iter().map(|column| column.name.clone()));
        frames.push((name.as_str(), DataFrame::empty_with_schema(&schema).lazy()));
    }
    let found = query(text, frames).and_then(|mut result| result.collect_schema());
    match found {
        Ok(schema) => Ok(Some(columns_of(&schema))),
        Err(error) => match missing_column(&error) {
            Some(column) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Err((format!("there is no column `{column}`"), column_help(&column, &names)))
            }
            None if exact || is_sql(&error) => Err((explain(&error), syntax_help(&error))),
            None => Ok(None),
        },
    }
}

/// Whether empty tables show the column with perhaps another type than it will have.
fn rough(column_type: &ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::Time
            | ColumnType::Category
            | ColumnType::Datetime
            | ColumnType::Vector { .. }
            | ColumnType::Bytes { .. }
    )
}

fn explain(error: &PolarsError) -> String {
    let message = polars_message(error);
    let message = message.trim_start_matches("sql parser error: ");
    format!("the query cannot work: {message}")
}

/// Whether something is wrong with the query as such, whatever the types of its columns.
fn is_sql(error: &PolarsError) -> bool {
    matches!(error, PolarsError::SQLSyntax(_) | PolarsError::SQLInterface(_))
}

fn syntax_help(error: &PolarsError) -> String {
    if is_sql(error) {
        "polars knows most of PostgreSQL's SELECT: \
         https://docs.pola.rs/api/python/stable/reference/sql"
            .to_owned()
    } else {
        String::new()
    }
}

/// The column that polars did not find, if that is what is wrong.
fn missing_column(error: &PolarsError) -> Option<String> {
    match error {
        PolarsError::Context { error, .. } | PolarsError::ExprContext { error, .. } => {
            return missing_column(error);
        }
        PolarsError::ColumnNotFound(_) | PolarsError::SchemaFieldNotFound(_) => {}
        PolarsError::SQLInterface(text) | PolarsError::SQLSyntax(text)
            if text.contains("no column named") => {}
        _ => return None,
    }
    let message = polars_message(error);
    // The first name in quotes; else the whole message is the name.
    for quote in ['"', '\'', '`'] {
        if let Some(name) = message.split(quote).nth(1) {
            return Some(name.to_owned());
        }
    }
    let first = message.split([';', ' ', '\n']).next()?;
    Some(first.to_owned())
}

/// The words of a query in lower case, without texts, quoted names and comments; brackets are
/// words of their own.
fn words(query: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut characters = query.chars().peekable();
    while let Some(character) = characters.next() {
        if character.is_alphanumeric() || character == '_' {
            word.extend(character.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        match character {
            '\'' | '"' | '`' => {
                // A doubled quote ends one text and begins the next, which comes to the same.
                characters.by_ref().find(|next| *next == character);
            }
            '-' if characters.peek() == Some(&'-') => {
                characters.by_ref().find(|next| *next == '\n');
            }
            '/' if characters.peek() == Some(&'*') => {
                let mut last = ' ';
                characters.by_ref().find(|next| {
                    let ends = last == '*' && *next == '/';
                    last = *next;
                    ends
                });
            }
            '(' | ')' => words.push(character.to_string()),
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A function in the query that would read a file.
fn file_function(query: &str) -> Option<String> {
    const FUNCTIONS: [&str; 5] =
        ["read_csv", "read_parquet", "read_ipc", "read_json", "read_ndjson"];
    let words = words(query);
    words
        .windows(2)
        .find(|pair| FUNCTIONS.contains(&pair[0].as_str()) && pair[1] == "(")
        .map(|pair| pair[0].clone())
}

/// The names that `WITH name AS (…)` gives to tables of the query itself.
fn common_tables(query: &str) -> Vec<String> {
    let words = words(query);
    words
        .windows(3)
        .filter(|three| three[1] == "as" && three[2] == "(")
        .map(|three| three[0].clone())
        .collect()
}

/// Whether the order of the result follows from the query and the order of its inputs.
fn keeps_order(query: &str) -> bool {
    const MIXES: [&str; 6] = ["group", "distinct", "join", "union", "except", "intersect"];
    let words = words(query);
    if !words.iter().any(|word| MIXES.contains(&word.as_str())) {
        return true;
    }
    // An order inside brackets is that of a window or a subquery.
    let mut depth = 0;
    words.windows(2).any(|pair| {
        match pair[0].as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        depth == 0 && pair[0] == "order" && pair[1] == "by"
    })
}

/// Sorts by every column that has an order.
fn sort(frame: &DataFrame) -> DataResult<DataFrame> {
    let names: Vec<_> = frame
        .columns()
        .iter()
        .filter(|column| !column.dtype().is_nested())
        .map(|column| column.name().clone())
        .collect();
    if names.is_empty() {
        return Ok(frame.clone());
    }
    let options = SortMultipleOptions::default().with_maintain_order(true);
    frame.sort(names, options).map_err(|error| DataError::polars("sort the result", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_looked_through() {
        assert_eq!(file_function("SELECT * FROM READ_CSV ('a')"), Some("read_csv".to_owned()));
        assert_eq!(file_function("SELECT 'read_csv(' FROM t -- read_csv('x')"), None);
        assert_eq!(file_function("SELECT read_csv FROM t"), None);
        assert_eq!(common_tables("WITH a AS (SELECT 1), b AS (SELECT 2) SELECT 3"), ["a", "b"]);
        assert!(keeps_order("SELECT a FROM t WHERE b > 1"));
        assert!(!keeps_order("SELECT a, count(*) FROM t GROUP BY a"));
        assert!(keeps_order("SELECT a, count(*) FROM t GROUP BY a ORDER BY a"));
        assert!(!keeps_order("SELECT a, rank() OVER (ORDER BY b) FROM t GROUP BY a"));
        assert!(keeps_order("SELECT a /* join */ FROM t WHERE b = 'it''s a join'"));
    }
}

//! Filters, orders and columns as they are typed: what is wrong with one is drawn with a caret
//! under its place.

use wick_pipeline::Diagnostic;
use wick_pipeline::files::Sources;
use wick_pipeline::span::{FileId, Span};
use wick_store::filter::{self, Column, Filter, FilterError, Order};

use crate::error::{CommandError, CommandResult};
use crate::pipeline::rendered;
use crate::render::{Ui, human};

/// The filter that was typed.
pub fn parse(text: &str, ui: &Ui) -> CommandResult<Filter> {
    filter::parse(text, human::now()).map_err(|error| refused("filter", text, &error, ui))
}

/// The order that was typed.
pub fn parse_order(text: &str, ui: &Ui) -> CommandResult<Vec<Order>> {
    filter::parse_order(text).map_err(|error| refused("sort", text, &error, ui))
}

/// The columns that were typed.
pub fn parse_columns(text: &str, ui: &Ui) -> CommandResult<Vec<Column>> {
    filter::parse_columns(text).map_err(|error| refused("columns", text, &error, ui))
}

/// Shows what is wrong with `text`.
fn refused(what: &'static str, text: &str, error: &FilterError, ui: &Ui) -> CommandError {
    let sources = Sources::of_one(what, text.as_bytes());
    let span = Span::new(FileId::MAIN, error.span.start, error.span.end);
    let diagnostic = Diagnostic::error(what, span, &*error.message).maybe_help(error.help.clone());
    ui.say(rendered(&[diagnostic], &sources, ui, false));
    CommandError::invalid(match what {
        "filter" => "the filter cannot be understood".to_owned(),
        other => format!("--{other} cannot be understood"),
    })
    .hint("`wick runs --help` explains the language")
}

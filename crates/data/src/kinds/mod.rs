//! The kinds: thin layers that turn a pipeline's configuration into calls of this crate.

mod load;
mod preprocess;
mod profile;
mod split;
mod sql;
mod validate;

use polars::prelude::DataFrame;
use wick_core::{PortName, PortType};
use wick_stage::{
    Column, Context, DatasetFacts, Issues, Kind, Known, PathSegment, PortFacts, StageError,
    StageResult, Typed,
};

use crate::dataset::{Dataset, DatasetInfo};
use crate::error::{DataError, column_help};
use crate::transform::Transform;

/// The kinds of this crate: `load`, `sql`, `split`, `preprocess`, `validate`,
/// `profile`.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![
        Typed::boxed(load::Load),
        Typed::boxed(sql::Sql),
        Typed::boxed(split::Split),
        Typed::boxed(preprocess::Preprocess),
        Typed::boxed(validate::Validate),
        Typed::boxed(profile::ProfileKind),
    ]
}

/// Opens the dataset at an input.
fn open_input(context: &Context<'_>, port: &str) -> StageResult<Dataset> {
    Ok(Dataset::open(&context.input(port)?.path)?)
}

/// Writes a dataset to an output, and notes its rows and columns.
fn write_output(
    context: &mut Context<'_>,
    port: &PortName,
    frame: &mut DataFrame,
    transform: Option<&Transform>,
    known: &[Column],
) -> StageResult<DatasetInfo> {
    let folder = context.output(port.as_str())?;
    let info = Dataset::write_shaped(folder, frame, transform, known)?;
    context.describe_output(port, info.meta());
    Ok(info)
}

/// A port name written in code.
fn port(name: &'static str) -> StageResult<PortName> {
    PortName::new(name).map_err(|error| StageError::internal(format!("`{name}`: {error}")))
}

/// What is known of a connected dataset; nothing if nothing is connected.
fn facts_of(known: &Known<'_>, port: &str) -> DatasetFacts {
    known.input(port).and_then(|facts| facts.dataset.clone()).unwrap_or_default()
}

/// The facts of a dataset as those of a port.
fn port_facts(facts: DatasetFacts) -> PortFacts {
    PortFacts { port_type: PortType::Dataset, ..PortFacts::dataset(facts) }
}

/// Reports an error found in a check at its place in `with`.
fn issue_at<S: Into<PathSegment>>(
    issues: &mut Issues,
    path: impl IntoIterator<Item = S>,
    error: &DataError,
) {
    issues.with(path, error.to_string(), error.mend().unwrap_or_default());
}

/// Reports a column that is known not to exist.
fn check_column<S: Into<PathSegment>>(
    issues: &mut Issues,
    facts: &DatasetFacts,
    path: impl IntoIterator<Item = S>,
    name: &str,
) {
    if facts.lacks(name) {
        let names: Vec<&str> =
            facts.columns.iter().flatten().map(|column| column.name.as_str()).collect();
        let path: Vec<PathSegment> = path.into_iter().map(Into::into).collect();
        // A column named by a key rather than a value is wrong at the key.
        let at_key = path.last() == Some(&PathSegment::Key(name.to_owned()));
        let mut whole = vec![PathSegment::from("with")];
        whole.extend(path);
        issues.push(wick_stage::Issue {
            path: whole,
            at_key,
            message: format!("there is no column `{name}`"),
            help: Some(column_help(name, &names)),
        });
    }
}

//! The files of a `load` stage: what is known of them beforehand, and reading them.

use std::path::{Path, PathBuf};

use polars::prelude::{DataFrame, DataType};
use wick_stage::Column;

use crate::columns::columns_of;
use crate::error::{DataError, DataResult};
use crate::read::idx::{self, IdxHeader};
use crate::read::table::{self, TableFormat, TableOptions};

/// Columns, and rows where they are known.
pub(super) type Found = (Vec<Column>, Option<u64>);

/// The columns of all files together, and their rows where they are known.
pub(super) fn check_tables(
    files: &[(PathBuf, TableFormat)],
    options: &TableOptions,
) -> DataResult<Found> {
    let mut all: Option<polars::prelude::Schema> = None;
    let mut rows = Some(0);
    for (path, format) in files {
        let (schema, count) = table::schema(path, *format, options)?;
        rows = rows.zip(count).map(|(rows, count)| rows + count);
        match &mut all {
            None => all = Some(schema.as_ref().clone()),
            Some(all) => unite(all, &schema, path, &files[0].0)?,
        }
    }
    Ok((columns_of(&all.unwrap_or_default()), rows))
}

/// Makes `all` take `schema` too: equal names in equal order; numbers may differ in type.
fn unite(
    all: &mut polars::prelude::Schema,
    schema: &polars::prelude::Schema,
    path: &Path,
    first: &Path,
) -> DataResult {
    if !all.iter_names().eq(schema.iter_names()) {
        let difference = schema
            .iter_names()
            .find(|name| !all.contains(name))
            .map(|name| format!("only it has the column `{name}`"))
            .or_else(|| {
                let missing = all.iter_names().find(|name| !schema.contains(name))?;
                Some(format!("it lacks the column `{missing}`"))
            })
            .unwrap_or_else(|| "its columns are in another order".to_owned());
        return Err(DataError::file(
            path,
            format!("differs from {}: {difference}", first.display()),
        )
        .help("load the files in stages of their own and put them together with `sql`"));
    }
    let mut wider = Vec::new();
    for ((name, one), (_, other)) in all.iter().zip(schema.iter()) {
        if one == other || *other == DataType::Null {
            continue;
        }
        if *one == DataType::Null {
            wider.push((name.clone(), other.clone()));
        } else if one.is_primitive_numeric() && other.is_primitive_numeric() {
            wider.push((name.clone(), DataType::Float64));
        } else {
            return Err(DataError::file(
                path,
                format!("column `{name}` holds {other}, and {one} in {}", first.display()),
            )
            .help(format!("name its type: `types: {{{name}: text}}`")));
        }
    }
    for (name, data_type) in wider {
        all.set_dtype(&name, data_type);
    }
    Ok(())
}

pub(super) fn read_tables(
    files: &[(PathBuf, TableFormat)],
    options: &TableOptions,
) -> DataResult<DataFrame> {
    let frames = files
        .iter()
        .map(|(path, format)| table::read(path, *format, options))
        .collect::<DataResult<Vec<_>>>()?;
    let mut frames = frames.into_iter();
    let Some(mut all) = frames.next() else {
        return Err(DataError::config("there is nothing to load").help("write `path: FILE`"));
    };
    for (mut next, (path, _)) in frames.zip(&files[1..]) {
        let mut schema = all.schema().as_ref().clone();
        unite(&mut schema, next.schema(), path, &files[0].0)?;
        for frame in [&mut all, &mut next] {
            widen(frame, &schema).map_err(|error| DataError::reading(path, error))?;
        }
        all.vstack_mut(&next).map_err(|error| DataError::reading(path, error))?;
    }
    all.rechunk_mut();
    Ok(all)
}

fn widen(
    frame: &mut DataFrame,
    schema: &polars::prelude::Schema,
) -> Result<(), polars::prelude::PolarsError> {
    for (name, data_type) in schema.iter() {
        if frame.column(name)?.dtype() != data_type {
            let column = frame.column(name)?.cast(data_type)?;
            frame.with_column(column)?;
        }
    }
    Ok(())
}

pub(super) fn check_idx(files: &[(String, PathBuf)]) -> DataResult<Found> {
    let mut columns = Vec::new();
    let mut rows: Option<(u64, &Path)> = None;
    for (name, path) in files {
        let header = IdxHeader::read(path)?;
        columns.push(header.column(name));
        match rows {
            Some((rows, first)) if rows != header.rows => {
                return Err(DataError::file(
                    path,
                    format!("has {} rows, and {} has {rows}", header.rows, first.display()),
                )
                .help("name files that belong together"));
            }
            _ => rows = Some((header.rows, path)),
        }
    }
    Ok((columns, rows.map(|(rows, _)| rows)))
}

pub(super) fn read_idx(files: &[(String, PathBuf)]) -> DataResult<(DataFrame, Vec<Column>)> {
    let (columns, rows) = check_idx(files)?;
    let read =
        files.iter().map(|(name, path)| idx::read(path, name)).collect::<DataResult<Vec<_>>>()?;
    let rows = rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(0);
    let frame = DataFrame::new(rows, read)
        .map_err(|error| DataError::polars("put the files together", error))?;
    Ok((frame, columns))
}

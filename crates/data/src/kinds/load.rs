//! `load`: reads a data set from files.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use polars::prelude::{DataFrame, DataType};
use schemars::JsonSchema;
use serde::Deserialize;
use wick_core::PortType;
use wick_stage::{
    Checked, Column, Context, DatasetFacts, Documentation, Example, Issues, Known, Ports,
    StageResult, TypedKind,
};

use super::{issue_at, port, port_facts, write_output};
use crate::columns::columns_of;
use crate::error::{DataError, DataResult, column_help};
use crate::read::csv::{CsvOptions, NULL_VALUES};
use crate::read::files::expand;
use crate::read::idx::{self, IdxHeader};
use crate::read::images::{Color, ImageFolder};
use crate::read::table::{self, ReadType, TableFormat, TableOptions};
use crate::transform::config::OneOrMany;

/// Reads a data set from files.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadConfig {
    /// The format of the files; by default what their extension says.
    #[serde(default)]
    format: Option<Format>,
    /// A file, or a list of files with equal columns; `*` and `?` stand for any text and any
    /// character. With `format: images` the folder that holds a folder for each class.
    /// Meant from the pipeline file's folder.
    #[serde(default)]
    path: OneOrMany<String>,
    /// With `format: idx` the file of each column: `{image: FILE, label: FILE}`.
    #[serde(default)]
    files: IndexMap<String, String>,
    /// The columns to take: a list of names, or `{NEW: OLD}` to rename them.
    #[serde(default)]
    columns: ColumnChoice,
    /// Take only the first so many rows.
    #[serde(default)]
    #[schemars(range(min = 1))]
    limit: Option<u64>,
    /// The types of columns that shall not be inferred, by their names in the file.
    #[serde(default)]
    types: IndexMap<String, ReadType>,
    /// CSV: what stands between two fields, one character; `,` by default, a tab for `.tsv`.
    #[serde(default)]
    delimiter: Option<String>,
    /// CSV: whether the first line names the columns. Without, they are called `column_1`,
    /// `column_2`, …
    #[serde(default = "yes")]
    header: bool,
    /// CSV: texts that mean a missing value. By default `NA`, `N/A`, `NaN`, `nan`, `null` and
    /// `NULL`; an empty field always does.
    #[serde(default)]
    null_values: Option<Vec<String>>,
    /// CSV: whether texts that look like dates become dates.
    #[serde(default)]
    try_parse_dates: bool,
    /// Images: the height and width to bring all images to. By default they must all have the
    /// size of the first.
    #[serde(default)]
    size: Option<[usize; 2]>,
    /// Images: how many channels to keep.
    #[serde(default)]
    color: Color,
}

const fn yes() -> bool {
    true
}

/// The format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Comma-separated values.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC (Feather).
    Arrow,
    /// One JSON object a line.
    Jsonl,
    /// IDX, the format of MNIST; also gzipped.
    Idx,
    /// A folder of PNG and JPEG images, one subfolder for each class.
    Images,
}

/// Columns by name, perhaps renamed.
#[derive(Debug, Clone, Default)]
struct ColumnChoice(Option<Vec<(String, String)>>);

impl<'de> Deserialize<'de> for ColumnChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = ColumnChoice;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of columns or a mapping of new names to old")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut sequence: A,
            ) -> Result<ColumnChoice, A::Error> {
                let mut choice = Vec::new();
                while let Some(name) = sequence.next_element::<String>()? {
                    choice.push((name.clone(), name));
                }
                Ok(ColumnChoice(Some(choice)))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<ColumnChoice, A::Error> {
                let mut choice = Vec::new();
                while let Some(entry) = map.next_entry::<String, String>()? {
                    choice.push(entry);
                }
                Ok(ColumnChoice(Some(choice)))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ColumnChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ColumnChoice".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [
            { "type": "array", "items": { "type": "string" } },
            { "type": "object", "additionalProperties": { "type": "string" } }
        ] })
    }
}

/// See [`LoadConfig`].
pub struct Load;

/// What a configuration says to read, once its paths are found.
enum Source {
    Tables(Vec<(PathBuf, TableFormat)>, TableOptions),
    Idx(Vec<(String, PathBuf)>),
    Images(PathBuf),
}

impl LoadConfig {
    /// Finds the files. The path of the error's place in `with` comes with it.
    fn source(&self, base: &Path) -> Result<Source, (Vec<&'static str>, DataError)> {
        match self.format {
            Some(Format::Idx) => {
                let mut files = Vec::new();
                for (column, file) in &self.files {
                    let found = expand(base, file).map_err(|error| (vec!["files"], error))?;
                    files.extend(found.into_iter().take(1).map(|path| (column.clone(), path)));
                }
                Ok(Source::Idx(files))
            }
            Some(Format::Images) => {
                let folder = self.path.0.first().map_or(base.to_owned(), |path| base.join(path));
                if !folder.is_dir() {
                    let error = DataError::file(folder, "there is no such folder")
                        .help("folders are meant from the pipeline file's folder");
                    return Err((vec!["path"], error));
                }
                Ok(Source::Images(folder))
            }
            format => {
                let mut tables = Vec::new();
                for pattern in &self.path.0 {
                    let found = expand(base, pattern).map_err(|error| (vec!["path"], error))?;
                    for path in found {
                        let format = match format {
                            Some(format) => table_format(format),
                            None => TableFormat::of(&path),
                        };
                        let format =
                            format.ok_or_else(|| (vec!["path"], table::unknown_format(&path)))?;
                        tables.push((path, format));
                    }
                }
                Ok(Source::Tables(tables, self.options()))
            }
        }
    }

    fn options(&self) -> TableOptions {
        let nulls = || NULL_VALUES.map(str::to_owned).to_vec();
        TableOptions {
            csv: CsvOptions {
                delimiter: self.delimiter().unwrap_or(b','),
                header: self.header,
                null_values: self.null_values.clone().unwrap_or_else(nulls),
                types: IndexMap::new(),
                parse_dates: self.try_parse_dates,
            },
            types: self.types.clone(),
        }
    }

    /// The delimiter, if one is given and can be one.
    fn delimiter(&self) -> Option<u8> {
        match self.delimiter.as_deref().map(str::as_bytes) {
            Some([byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
            _ => None,
        }
    }

    /// The columns of the result, of those that the files have.
    fn choose(&self, columns: Vec<Column>) -> DataResult<Vec<Column>> {
        let Some(choice) = &self.columns.0 else { return Ok(columns) };
        choice
            .iter()
            .map(|(new, old)| {
                let names = || columns.iter().map(|column| column.name.as_str());
                let column = columns
                    .iter()
                    .find(|column| column.name == *old)
                    .ok_or_else(|| DataError::no_column(old, names()))?;
                Ok(Column { name: new.clone(), column_type: column.column_type.clone() })
            })
            .collect()
    }

    /// Selects and renames columns, and takes the first rows.
    fn cut(&self, mut frame: DataFrame) -> DataResult<DataFrame> {
        if let Some(limit) = self.limit {
            frame = frame.head(Some(usize::try_from(limit).unwrap_or(usize::MAX)));
        }
        let Some(choice) = &self.columns.0 else { return Ok(frame) };
        let columns = choice
            .iter()
            .map(|(new, old)| {
                let mut column = crate::values::find(&frame, old)?;
                column.rename(new.as_str().into());
                Ok(column.into())
            })
            .collect::<DataResult<Vec<_>>>()?;
        DataFrame::new(frame.height(), columns)
            .map_err(|error| DataError::polars("select the columns", error))
    }
}

const fn table_format(format: Format) -> Option<TableFormat> {
    match format {
        Format::Csv => Some(TableFormat::Csv),
        Format::Parquet => Some(TableFormat::Parquet),
        Format::Arrow => Some(TableFormat::Arrow),
        Format::Jsonl => Some(TableFormat::Jsonl),
        Format::Idx | Format::Images => None,
    }
}

impl TypedKind for Load {
    type Config = LoadConfig;
    const NAME: &'static str = "load";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Reads a data set from files: CSV, Parquet, Arrow, JSON lines, IDX, images",
            description: "\
Reads files into a dataset, the output `data`. The content of the files is part of the stage's
fingerprint: when a file changes, the stage runs again.

Columns and types are known before anything runs: from the header of Parquet, Arrow and IDX files,
and from the first 8 MiB of CSV and JSON lines. Name the type of a column under `types` where the
first rows do not show it. Several files must have equal columns; integers and floats under one
name become floats.

Images become a column `image` of bytes (height, width, channels), with the class's folder as
`label` and the path as `file`. IDX files become a column each; images in them get one channel.

Nothing that is read can run code, and no file can take more memory than it has reason to.",
            examples: &[
                Example {
                    title: "A CSV file",
                    yaml: "uses: load\nwith: {path: data/titanic.csv}\n",
                },
                Example {
                    title: "MNIST",
                    yaml: "\
uses: load
with:
  format: idx
  files: {image: data/train-images-idx3-ubyte.gz, label: data/train-labels-idx1-ubyte.gz}
",
                },
                Example {
                    title: "Some columns of several CSV files, one of them renamed",
                    yaml: "\
uses: load
with:
  path: measurements/*.csv
  delimiter: ';'
  null_values: ['-']
  types: {sensor: text}
  columns: {sensor: sensor, celsius: temp_c}
",
                },
                Example {
                    title: "Photographs in a folder for each class",
                    yaml: "uses: load\nwith: {format: images, path: photos, size: [64, 64]}\n",
                },
            ],
        }
    }

    fn ports(&self, config: &LoadConfig, issues: &mut Issues) -> Ports {
        let is_idx = config.format == Some(Format::Idx);
        if is_idx && config.files.is_empty() {
            issues.with(
                ["format"],
                "`format: idx` wants the file of each column",
                "write `files: {image: FILE, label: FILE}`",
            );
        }
        if is_idx && !config.path.0.is_empty() {
            issues.with(["path"], "`format: idx` has no `path`", "write `files: {COLUMN: FILE}`");
        }
        if !is_idx && !config.files.is_empty() {
            issues.with(
                ["files"],
                "`files` is for `format: idx`",
                "write `path:` with a file or a list of files",
            );
        } else if !is_idx && config.path.0.is_empty() {
            issues.with(["path"], "there is nothing to load", "write `path: FILE`");
        }
        if config.format == Some(Format::Images) && config.path.0.len() > 1 {
            issues.with(["path"], "`format: images` reads one folder", "name one folder");
        }
        if config.delimiter.is_some() && config.delimiter().is_none() {
            issues.with(
                ["delimiter"],
                "a delimiter is one ASCII character",
                "for a tab write `delimiter: \"\\t\"`",
            );
        }
        if config.size.is_some_and(|size| size.contains(&0) || size.iter().any(|s| *s > 8192)) {
            issues.with(["size"], "a side is 1 to 8192 pixels", "write `size: [HEIGHT, WIDTH]`");
        }
        Ports::new().output("data", PortType::Dataset)
    }

    fn check(&self, config: &LoadConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked { metrics: Some(Vec::new()), ..Checked::default() };
        let source = match config.source(known.base) {
            Ok(source) => source,
            Err((path, error)) => {
                issue_at(&mut checked.issues, path, &error);
                return checked;
            }
        };
        let found = match &source {
            Source::Tables(files, options) => {
                checked.sources.extend(files.iter().map(|(path, _)| path.clone()));
                check_tables(files, options).map_err(|error| (vec!["path"], error))
            }
            Source::Idx(files) => {
                checked.sources.extend(files.iter().map(|(_, path)| path.clone()));
                check_idx(files).map_err(|error| (vec!["files"], error))
            }
            Source::Images(folder) => {
                checked.sources.push(folder.clone());
                ImageFolder::list(folder, config.size, config.color)
                    .map(|images| (images.columns(), Some(images.rows())))
                    .map_err(|error| (vec!["path"], error))
            }
        };
        // Where the files lie does not matter, only what they hold.
        let places = config.files.keys().map(|column| vec!["files", column.as_str()]);
        for place in places.chain((!config.path.0.is_empty()).then(|| vec!["path"])) {
            let path = std::iter::once("with").chain(place).map(Into::into).collect();
            checked.source_fields.push(path);
        }
        match found {
            Ok((columns, rows)) => {
                check_choice(config, &columns, &mut checked.issues);
                let rows = rows.map(|rows| config.limit.map_or(rows, |limit| rows.min(limit)));
                let facts = DatasetFacts {
                    columns: config.choose(columns).ok(),
                    rows,
                    ..DatasetFacts::default()
                };
                if let Ok(data) = port("data") {
                    checked.outputs.insert(data, port_facts(facts));
                }
            }
            Err((_, error @ DataError::Config { .. })) => {
                issue_at(&mut checked.issues, ["types"], &error);
            }
            Err((path, error)) => issue_at(&mut checked.issues, path, &error),
        }
        checked
    }

    fn run(&self, config: LoadConfig, context: &mut Context<'_>) -> StageResult {
        let source = config.source(&context.assignment().base).map_err(|(_, error)| error)?;
        let (frame, known) = match source {
            Source::Tables(files, options) => (read_tables(&files, &options)?, Vec::new()),
            Source::Idx(files) => read_idx(&files)?,
            Source::Images(folder) => {
                let mut images = ImageFolder::list(&folder, config.size, config.color)?;
                if let Some(limit) = config.limit {
                    images.limit(limit);
                }
                (images.read(context.cpus(), config.size.is_some())?, images.columns())
            }
        };
        let mut frame = config.cut(frame)?;
        let known = if known.is_empty() { known } else { config.choose(known)? };
        let info = write_output(context, &port("data")?, &mut frame, None, &known)?;
        context.log(format!("{} rows, {} columns", info.rows, info.columns.len()));
        Ok(())
    }
}

type Found = (Vec<Column>, Option<u64>);

/// Columns under `columns` that no file has.
fn check_choice(config: &LoadConfig, columns: &[Column], issues: &mut Issues) {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    for (new, old) in config.columns.0.iter().flatten() {
        if !names.contains(&old.as_str()) {
            let help = column_help(old, &names);
            issues.with(["columns", new], format!("there is no column `{old}`"), help);
        }
    }
}

/// The columns of all files together, and their rows where they are known.
fn check_tables(files: &[(PathBuf, TableFormat)], options: &TableOptions) -> DataResult<Found> {
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

fn read_tables(files: &[(PathBuf, TableFormat)], options: &TableOptions) -> DataResult<DataFrame> {
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

fn check_idx(files: &[(String, PathBuf)]) -> DataResult<Found> {
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

fn read_idx(files: &[(String, PathBuf)]) -> DataResult<(DataFrame, Vec<Column>)> {
    let (columns, rows) = check_idx(files)?;
    let read =
        files.iter().map(|(name, path)| idx::read(path, name)).collect::<DataResult<Vec<_>>>()?;
    let rows = rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(0);
    let frame = DataFrame::new(rows, read)
        .map_err(|error| DataError::polars("put the files together", error))?;
    Ok((frame, columns))
}

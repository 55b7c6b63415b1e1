//! What a user says to `load`, and the files that it means.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use polars::prelude::DataFrame;
use schemars::JsonSchema;
use serde::Deserialize;
use wick_stage::Column;

use crate::error::{DataError, DataResult};
use crate::read::csv::{CsvOptions, NULL_VALUES};
use crate::read::files::expand;
use crate::read::images::Color;
use crate::read::table::{self, ReadType, TableFormat, TableOptions};
use crate::transform::config::OneOrMany;

/// Reads a data set from files.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadConfig {
    /// The format of the files; by default what their extension says.
    #[serde(default)]
    pub(super) format: Option<Format>,
    /// A file, or a list of files with equal columns; `*` and `?` stand for any text and any
    /// character. With `format: images` the folder that holds a folder for each class.
    /// Meant from the pipeline file's folder.
    #[serde(default)]
    pub(super) path: OneOrMany<String>,
    /// With `format: idx` the file of each column: `{image: FILE, label: FILE}`.
    #[serde(default)]
    pub(super) files: IndexMap<String, String>,
    /// The columns to take: a list of names, or `{NEW: OLD}` to rename them.
    #[serde(default)]
    pub(super) columns: ColumnChoice,
    /// Take only the first so many rows.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(super) limit: Option<u64>,
    /// The types of columns that shall not be inferred, by their names in the file.
    #[serde(default)]
    pub(super) types: IndexMap<String, ReadType>,
    /// CSV: what stands between two fields, one character; `,` by default, a tab for `.tsv`.
    #[serde(default)]
    pub(super) delimiter: Option<String>,
    /// CSV: whether the first line names the columns. Without, they are called `column_1`,
    /// `column_2`, …
    #[serde(default = "yes")]
    pub(super) header: bool,
    /// CSV: texts that mean a missing value. By default `NA`, `N/A`, `NaN`, `nan`, `null` and
    /// `NULL`; an empty field always does.
    #[serde(default)]
    pub(super) null_values: Option<Vec<String>>,
    /// CSV: whether texts that look like dates become dates.
    #[serde(default)]
    pub(super) try_parse_dates: bool,
    /// Images: the height and width to bring all images to. By default they must all have the
    /// size of the first.
    #[serde(default)]
    pub(super) size: Option<[usize; 2]>,
    /// Images: how many channels to keep.
    #[serde(default)]
    pub(super) color: Color,
}

const fn yes() -> bool {
    true
}

/// The format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
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
pub(super) struct ColumnChoice(pub(super) Option<Vec<(String, String)>>);

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

/// What a configuration says to read, once its paths are found.
pub(super) enum Source {
    Tables(Vec<(PathBuf, TableFormat)>, TableOptions),
    Idx(Vec<(String, PathBuf)>),
    Images(PathBuf),
}

impl LoadConfig {
    /// Finds the files. The path of the error's place in `with` comes with it.
    pub(super) fn source(&self, base: &Path) -> Result<Source, (Vec<&'static str>, DataError)> {
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
    pub(super) fn delimiter(&self) -> Option<u8> {
        match self.delimiter.as_deref().map(str::as_bytes) {
            Some([byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Some(*byte),
            _ => None,
        }
    }

    /// The columns of the result, of those that the files have.
    pub(super) fn choose(&self, columns: Vec<Column>) -> DataResult<Vec<Column>> {
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
    pub(super) fn cut(&self, mut frame: DataFrame) -> DataResult<DataFrame> {
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

//! Tables that others wrote: CSV, Parquet, Arrow IPC, JSON lines.

use std::io::{BufRead, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use indexmap::IndexMap;
use polars::prelude::{
    DataFrame, DataType, IpcReader, JsonFormat, JsonReader, ParquetReader, Schema, SchemaExt,
    SchemaRef, SerReader, TimeUnit,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::csv::{self, CsvOptions};
use super::files::{open, read_all, read_head};
use crate::error::{DataError, DataResult, column_help};

/// Types are inferred from so many bytes at the start of JSON lines.
const HEAD: u64 = 8 << 20;

/// The format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated values, or separated by something else.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow IPC (Feather).
    Arrow,
    /// One JSON object a line.
    Jsonl,
}

impl TableFormat {
    /// The format that the extension of `path` says, a final `.gz` apart.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" | "tsv" | "txt" => Some(TableFormat::Csv),
            "parquet" | "pq" => Some(TableFormat::Parquet),
            "arrow" | "feather" | "ipc" => Some(TableFormat::Arrow),
            "jsonl" | "ndjson" => Some(TableFormat::Jsonl),
            _ => None,
        }
    }
}

/// The type to read a column as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadType {
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// Text, whatever it looks like.
    Text,
    /// A day.
    Date,
    /// A moment.
    Datetime,
}

impl ReadType {
    /// As polars has it.
    pub const fn data_type(self) -> DataType {
        match self {
            ReadType::Boolean => DataType::Boolean,
            ReadType::Integer => DataType::Int64,
            ReadType::Float => DataType::Float64,
            ReadType::Text => DataType::String,
            ReadType::Date => DataType::Date,
            ReadType::Datetime => DataType::Datetime(TimeUnit::Microseconds, None),
        }
    }
}

/// How to read tables.
#[derive(Debug, Clone, Default)]
pub struct TableOptions {
    /// How CSV is written. Its types are set from `types`.
    pub csv: CsvOptions,
    /// The types of columns that are not to be inferred.
    pub types: IndexMap<String, ReadType>,
}

impl TableOptions {
    fn csv(&self, path: &Path) -> CsvOptions {
        let mut csv = self.csv.clone();
        // A file called so is separated by tabs, unless the user says otherwise.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if csv.delimiter == b',' && name.trim_end_matches(".gz").ends_with(".tsv") {
            csv.delimiter = b'\t';
        }
        csv.types =
            self.types.iter().map(|(name, read)| (name.clone(), read.data_type())).collect();
        csv
    }
}

/// Reads the table in `path`, of the format that its extension says: `.csv`, `.tsv`, `.parquet`,
/// `.arrow`, `.jsonl`, also with `.gz` where it is text.
///
/// # Errors
/// If the file cannot be read, or is not of that format.
pub fn read_table(path: impl AsRef<Path>) -> DataResult<DataFrame> {
    let path = path.as_ref();
    let format = TableFormat::of(path).ok_or_else(|| unknown_format(path))?;
    read(path, format, &TableOptions::default())
}

/// That the extension of a file does not tell its format.
pub fn unknown_format(path: &Path) -> DataError {
    DataError::file(path, "the extension does not tell the format")
        .help("call it `.csv`, `.parquet`, `.arrow` or `.jsonl`, or say `format: csv`")
}

/// Reads a table.
///
/// # Errors
/// If the file cannot be read, or is not of that format.
pub fn read(path: &Path, format: TableFormat, options: &TableOptions) -> DataResult<DataFrame> {
    guarded(path, || read_unguarded(path, format, options))
}

/// Calls `read`. Polars trusts some of what a file says of itself, and panics where that is
/// wrong; to whoever named the file that is an error like any other.
fn guarded<T>(path: &Path, read: impl FnOnce() -> DataResult<T>) -> DataResult<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(DataError::file(path, "is damaged: its reader gave up").help("write the file again"))
    })
}

fn read_unguarded(
    path: &Path,
    format: TableFormat,
    options: &TableOptions,
) -> DataResult<DataFrame> {
    let (file, _) = open(path)?;
    let frame = match format {
        TableFormat::Csv => return csv::read(path, &options.csv(path)),
        TableFormat::Parquet => ParquetReader::new(file).finish(),
        TableFormat::Arrow => IpcReader::new(file).finish(),
        TableFormat::Jsonl => {
            let (head, whole) = read_head(path, HEAD)?;
            let schema = jsonl_schema(path, &head, whole, options)?;
            drop(head);
            return read_jsonl(path, &read_all(path)?, Some(schema));
        }
    };
    let frame = frame.map_err(|error| DataError::reading(path, error))?;
    cast(path, frame, &options.types)
}

/// The schema of a table, and the number of its rows if that costs no data.
///
/// # Errors
/// If the file cannot be read, or is not of that format.
pub fn schema(
    path: &Path,
    format: TableFormat,
    options: &TableOptions,
) -> DataResult<(SchemaRef, Option<u64>)> {
    guarded(path, || schema_unguarded(path, format, options))
}

fn schema_unguarded(
    path: &Path,
    format: TableFormat,
    options: &TableOptions,
) -> DataResult<(SchemaRef, Option<u64>)> {
    let reading = |error| DataError::reading(path, error);
    let (file, _) = open(path)?;
    let (schema, rows) = match format {
        TableFormat::Csv => return csv::schema(path, &options.csv(path)),
        TableFormat::Parquet => {
            let mut reader = ParquetReader::new(file);
            let rows = reader.num_rows().map_err(reading)?;
            (Schema::from_arrow_schema(&*reader.schema().map_err(reading)?), Some(rows as u64))
        }
        TableFormat::Arrow => {
            let mut reader = IpcReader::new(file);
            (Schema::from_arrow_schema(&*reader.schema().map_err(reading)?), None)
        }
        TableFormat::Jsonl => {
            let (head, whole) = read_head(path, HEAD)?;
            let schema = jsonl_schema(path, &head, whole, options)?;
            let rows = head.split(|byte| *byte == b'\n').filter(|line| !blank(line)).count();
            return Ok((schema, whole.then_some(rows as u64)));
        }
    };
    let mut schema = schema;
    set_types(path, &mut schema, &options.types)?;
    Ok((schema.into(), rows))
}

fn set_types(path: &Path, schema: &mut Schema, types: &IndexMap<String, ReadType>) -> DataResult {
    for (name, read) in types {
        if schema.set_dtype(name, read.data_type()).is_none() {
            let names: Vec<&str> = schema.iter_names().map(|name| name.as_str()).collect();
            return Err(DataError::config(format!(
                "`types` names `{name}`, and {} has no such column",
                path.display()
            ))
            .help(column_help(name, &names)));
        }
    }
    Ok(())
}

/// Changes the types of columns; a value that does not fit its new type is an error.
fn cast(
    path: &Path,
    mut frame: DataFrame,
    types: &IndexMap<String, ReadType>,
) -> DataResult<DataFrame> {
    set_types(path, &mut Schema::clone(frame.schema()), types)?;
    for (name, read) in types {
        let cast = frame
            .column(name)
            .and_then(|column| column.strict_cast(&read.data_type()))
            .and_then(|column| frame.with_column(column).map(|_| ()));
        cast.map_err(|error| {
            DataError::reading(path, error).help(format!("choose another type for `{name}`"))
        })?;
    }
    Ok(frame)
}

fn blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// The schema by the complete lines of the head.
fn jsonl_schema(
    path: &Path,
    head: &[u8],
    whole: bool,
    options: &TableOptions,
) -> DataResult<SchemaRef> {
    let end = match head.iter().rposition(|byte| *byte == b'\n') {
        _ if whole => head.len(),
        Some(last) => last + 1,
        None => {
            return Err(DataError::file(path, "its first line is longer than 8 MiB")
                .help("JSON lines are one object a line"));
        }
    };
    let frame = read_jsonl(path, &head[..end], None)?;
    let mut schema = Schema::clone(frame.schema());
    set_types(path, &mut schema, &options.types)?;
    Ok(schema.into())
}

fn read_jsonl(path: &Path, bytes: &[u8], schema: Option<SchemaRef>) -> DataResult<DataFrame> {
    if blank(bytes) {
        return Err(DataError::file(path, "is empty").help("JSON lines are one object a line"));
    }
    let mut reader = JsonReader::new(Cursor::new(bytes))
        .with_json_format(JsonFormat::JsonLines)
        .infer_schema_len(None);
    if let Some(schema) = schema {
        reader = reader.with_schema(schema);
    }
    reader.finish().map_err(|error| match wrong_line(bytes) {
        // Polars does not tell the line.
        Some((line, what)) => {
            DataError::file(path, format!("line {line} is not a JSON object: {what}"))
                .help("JSON lines are one object a line")
        }
        None => {
            DataError::reading(path, error).help("give the column's type: `types: {COLUMN: text}`")
        }
    })
}

/// The first line that is not a JSON object.
fn wrong_line(bytes: &[u8]) -> Option<(usize, String)> {
    for (place, line) in Cursor::new(bytes).split(b'\n').enumerate() {
        let line = line.ok()?;
        if blank(&line) {
            continue;
        }
        if let Err(error) = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&line) {
            return Some((place + 1, error.to_string()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use polars::prelude::{IpcWriter, ParquetWriter, SerWriter, df};

    use super::*;

    #[test]
    fn every_format_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut frame = df!("a" => [1i64, 2], "b" => [Some("x"), None]).expect("a table");
        let path = |name: &str| folder.path().join(name);
        let create = |name: &str| std::fs::File::create(path(name)).expect("made");
        ParquetWriter::new(create("t.parquet")).finish(&mut frame).expect("written");
        IpcWriter::new(create("t.arrow")).finish(&mut frame).expect("written");
        std::fs::write(path("t.csv"), "a,b\n1,x\n2,\n").expect("written");
        std::fs::write(path("t.tsv"), "a\tb\n1\tx\n2\t\n").expect("written");
        std::fs::write(path("t.jsonl"), "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n")
            .expect("written");
        for name in ["t.parquet", "t.arrow", "t.csv", "t.tsv", "t.jsonl"] {
            let read = read_table(path(name)).expect(name);
            assert!(read.equals_missing(&frame), "{name}: {read}");
            let format = TableFormat::of(&path(name)).expect("known");
            let (schema, rows) = schema(&path(name), format, &TableOptions::default()).expect(name);
            assert_eq!(&schema, frame.schema(), "{name}");
            assert!(matches!(rows, None | Some(2)), "{name}");
        }
        assert!(read_table(path("t.xlsx")).is_err());
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]
        #[test]
        fn no_bytes_make_a_reader_panic(
            text in "[a-c,;\"\n\r 0-9.{}:\\[\\]\\-]{0,80}",
            flips in proptest::collection::vec((0usize..4096, 0u8..=255), 0..8),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let mut frame = df!("a" => [1i64, 2], "b" => ["x", "y"]).expect("a table");
            let mut parquet = Vec::new();
            ParquetWriter::new(&mut parquet).finish(&mut frame).expect("written");
            let mut arrow = Vec::new();
            IpcWriter::new(&mut arrow).finish(&mut frame).expect("written");
            for bytes in [&mut parquet, &mut arrow] {
                for (place, byte) in &flips {
                    let length = bytes.len();
                    bytes[place % length] = *byte;
                }
            }
            // Either way is right, as long as there is a way.
            for name in ["a.csv", "a.jsonl"] {
                let path = folder.path().join(name);
                std::fs::write(&path, &text).expect("written");
                let _ = read_table(&path);
            }
            // Only what a check reads in its own process: polars does not guard itself against
            // every damaged page of a binary file, and may end the process that decodes it. That
            // process is a stage's worker, and the attempt fails.
            for (name, format, bytes) in [
                ("a.parquet", TableFormat::Parquet, &parquet),
                ("a.arrow", TableFormat::Arrow, &arrow),
            ] {
                let path = folder.path().join(name);
                std::fs::write(&path, bytes).expect("written");
                let _ = schema(&path, format, &TableOptions::default());
            }
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        #[track_caller]
        fn check(folder: &Path, name: &str, bytes: &[u8], expect: &str) {
            let path = folder.join(name);
            std::fs::write(&path, bytes).expect("written");
            let error = read_table(&path).expect_err("refused").to_string();
            assert!(error.contains(expect), "{error}");
        }
        check(folder.path(), "a.parquet", b"", "a.parquet");
        check(folder.path(), "b.parquet", b"PAR1\0\0\0\0\xff\xff\xff\x7fPAR1", "b.parquet");
        check(folder.path(), "a.arrow", b"ARROW1", "a.arrow");
        check(folder.path(), "a.jsonl", b"{\"a\":1}\n{\"a\"", "line 2 is not a JSON object");
        check(folder.path(), "b.jsonl", b"\n", "is empty");
    }
}

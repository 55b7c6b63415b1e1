//! Reads tables that others wrote: CSV, Parquet, Arrow IPC, JSON lines.

use std::fs::File;
use std::path::Path;

use polars::prelude::{
    CsvReadOptions, DataFrame, IpcReader, JsonFormat, JsonReader, ParquetReader, SerReader,
};

use crate::error::{DataError, DataResult};

/// Reads the table in `path`, of the format that its extension says: `.csv`, `.tsv`, `.parquet`,
/// `.arrow`, `.feather`, `.ipc`, `.jsonl`, `.ndjson`.
///
/// # Errors
/// If the file cannot be read, or is not of that format.
pub fn read_table(path: impl AsRef<Path>) -> DataResult<DataFrame> {
    let path = path.as_ref();
    let open = || File::open(path).map_err(|error| DataError::io("read", path, error));
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    let frame = match extension.as_str() {
        "csv" => CsvReadOptions::default()
            .with_infer_schema_length(None)
            .into_reader_with_file_handle(open()?)
            .finish(),
        "parquet" => ParquetReader::new(open()?).finish(),
        "arrow" | "feather" | "ipc" => IpcReader::new(open()?).finish(),
        "jsonl" | "ndjson" => {
            JsonReader::new(open()?).with_json_format(JsonFormat::JsonLines).finish()
        }
        _ => {
            return Err(DataError::file(path, "the extension does not tell the format")
                .help("name the file `.csv`, `.parquet`, `.arrow` or `.jsonl`"));
        }
    };
    frame.map_err(|error| DataError::reading(path, error))
}

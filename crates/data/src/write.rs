//! Tables as files for people: where predictions go.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use polars::prelude::{
    CsvWriter, DataFrame, IpcWriter, JsonFormat, JsonWriter, ParquetWriter, PolarsResult, SerWriter,
};

use crate::error::{DataError, DataResult};
use crate::read::table::TableFormat;

/// Writes a table to `path` in the format that its extension says: `.csv`, `.parquet`,
/// `.arrow`, `.jsonl` and what else [`TableFormat::of`] knows. What is there is replaced.
///
/// # Errors
/// If the extension says no format, or the file cannot be written.
pub fn write_table(path: impl AsRef<Path>, frame: &mut DataFrame) -> DataResult {
    let path = path.as_ref();
    let format = TableFormat::of(path).ok_or_else(|| {
        DataError::file(path, "its ending says no format that tables are written in")
            .help("name a file that ends in .csv, .parquet, .arrow or .jsonl")
    })?;
    let io = |error| DataError::io("write", path, error);
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    write_as(format, &mut file, frame)
        .map_err(|error| DataError::polars(format_args!("write {}", path.display()), error))?;
    file.flush().map_err(io)
}

/// A table as the text of a CSV file.
///
/// # Errors
/// If a column cannot be written as text: images and vectors cannot.
pub fn csv_text(frame: &mut DataFrame) -> DataResult<Vec<u8>> {
    let mut text = Vec::new();
    write_as(TableFormat::Csv, &mut text, frame)
        .map_err(|error| DataError::polars("write the table as CSV", error))?;
    Ok(text)
}

fn write_as(
    format: TableFormat,
    target: &mut impl Write,
    frame: &mut DataFrame,
) -> PolarsResult<()> {
    match format {
        TableFormat::Csv => CsvWriter::new(target).finish(frame),
        TableFormat::Parquet => ParquetWriter::new(target).finish(frame).map(|_| ()),
        TableFormat::Arrow => IpcWriter::new(target).finish(frame),
        TableFormat::Jsonl => {
            JsonWriter::new(target).with_json_format(JsonFormat::JsonLines).finish(frame)
        }
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;
    use crate::read_table;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut frame = df!("name" => ["a", "b"], "size" => [1.5, 2.5]).expect("a frame");
        for name in ["t.csv", "t.parquet", "t.arrow", "t.jsonl"] {
            let path = folder.path().join(name);
            write_table(&path, &mut frame).expect(name);
            assert!(read_table(&path).expect(name).equals(&frame), "{name}");
        }
        assert!(write_table(folder.path().join("t.xyz"), &mut frame).is_err());
        let text = csv_text(&mut frame).expect("CSV");
        assert_eq!(String::from_utf8_lossy(&text), "name,size\na,1.5\nb,2.5\n");
    }
}

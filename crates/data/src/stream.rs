//! Tables that are written while their rows come: never more of them in memory than one group of
//! rows.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::io::parquet::write::BatchedWriter;
use polars::prelude::{
    Column, DataFrame, DataType, Field, IntoColumn, NamedFrom, ParquetWriter, PlSmallStr, Schema,
    Series, TimeUnit,
};

use crate::error::{DataError, DataResult};

/// Rows of a group: what DuckDB and polars read best.
const GROUP_ROWS: usize = 122_880;

/// The texts of a group weigh about so much at most.
const GROUP_BYTES: usize = 64 * 1024 * 1024;

/// The type of a column that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamType {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Real,
    /// A moment in UTC, given as microseconds since 1970.
    Time,
    /// True or false, given as a number.
    Flag,
}

impl StreamType {
    fn data_type(self) -> DataType {
        match self {
            StreamType::Text => DataType::String,
            StreamType::Integer => DataType::Int64,
            StreamType::Real => DataType::Float64,
            StreamType::Time => DataType::Datetime(TimeUnit::Microseconds, None),
            StreamType::Flag => DataType::Boolean,
        }
    }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamValue {
    /// Nothing.
    Null,
    /// A whole number, a moment, or true and false as 1 and 0.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Text.
    Text(String),
}

/// The values of a column that are not written yet.
enum Values {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Flag(Vec<Option<bool>>),
}

struct StreamColumn {
    name: PlSmallStr,
    kind: StreamType,
    values: Values,
}

impl StreamColumn {
    fn new(name: &str, kind: StreamType) -> Self {
        let values = match kind {
            StreamType::Text => Values::Text(Vec::new()),
            StreamType::Integer | StreamType::Time => Values::Integer(Vec::new()),
            StreamType::Real => Values::Real(Vec::new()),
            StreamType::Flag => Values::Flag(Vec::new()),
        };
        Self { name: name.into(), kind, values }
    }

    /// Takes a value; `None` if it is not of the column's type.
    fn push(&mut self, value: StreamValue) -> Option<()> {
        use StreamValue::*;
        match (&mut self.values, value) {
            (Values::Text(values), Text(text)) => values.push(Some(text)),
            (Values::Text(values), Null) => values.push(None),
            (Values::Integer(values), Integer(number)) => values.push(Some(number)),
            (Values::Integer(values), Null) => values.push(None),
            (Values::Real(values), Real(number)) => values.push(Some(number)),
            // Databases tell a number that is whole as what it is.
            (Values::Real(values), Integer(number)) => values.push(Some(number as f64)),
            (Values::Real(values), Null) => values.push(None),
            (Values::Flag(values), Integer(number)) => values.push(Some(number != 0)),
            (Values::Flag(values), Null) => values.push(None),
            _ => return None,
        }
        Some(())
    }

    /// What has come so far, as a column of a group.
    fn take(&mut self) -> DataResult<Column> {
        let name = self.name.clone();
        let series = match &mut self.values {
            Values::Text(values) => Series::new(name, std::mem::take(values)),
            Values::Integer(values) => Series::new(name, std::mem::take(values)),
            Values::Real(values) => Series::new(name, std::mem::take(values)),
            Values::Flag(values) => Series::new(name, std::mem::take(values)),
        };
        let cast = series.cast(&self.kind.data_type());
        Ok(cast
            .map_err(|error| DataError::polars(format_args!("write `{}`", self.name), error))?
            .into_column())
    }
}

/// A Parquet file that is being written.
pub struct ParquetStream {
    path: PathBuf,
    writer: BatchedWriter<File>,
    file: File,
    columns: Vec<StreamColumn>,
    rows: usize,
    bytes: usize,
    written: u64,
}

impl ParquetStream {
    /// Makes the file, which must not be there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path, columns: &[(&str, StreamType)]) -> DataResult<Self> {
        let io = |error| DataError::io("make", path, error);
        let file = File::create_new(path).map_err(io)?;
        let target = file.try_clone().map_err(io)?;
        let fields =
            columns.iter().map(|(name, kind)| Field::new((*name).into(), kind.data_type()));
        let schema: Schema = fields.collect();
        let writer = ParquetWriter::new(target)
            .batched(&schema)
            .map_err(|error| DataError::polars(format_args!("make {}", path.display()), error))?;
        let columns = columns.iter().map(|(name, kind)| StreamColumn::new(name, *kind)).collect();
        let path = path.to_owned();
        Ok(Self { path, writer, file, columns, rows: 0, bytes: 0, written: 0 })
    }

    /// Adds a row: a value for each column.
    ///
    /// # Errors
    /// If a value is not of its column's type, or a group cannot be written.
    pub fn row(&mut self, values: impl IntoIterator<Item = StreamValue>) -> DataResult {
        let mut values = values.into_iter();
        for column in &mut self.columns {
            let value = values.next().unwrap_or(StreamValue::Null);
            if let StreamValue::Text(text) = &value {
                self.bytes += text.len();
            }
            column.push(value).ok_or_else(|| {
                DataError::column(&*column.name, format!("cannot hold this: not {:?}", column.kind))
            })?;
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes a group of rows.
    fn flush(&mut self) -> DataResult {
        if self.rows == 0 {
            return Ok(());
        }
        let columns: Vec<Column> =
            self.columns.iter_mut().map(StreamColumn::take).collect::<DataResult<_>>()?;
        let failed =
            |error| DataError::polars(format_args!("write {}", self.path.display()), error);
        let frame = DataFrame::new(self.rows, columns).map_err(failed)?;
        self.writer.write_batch(&frame).map_err(failed)?;
        self.written += self.rows as u64;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Writes what is left, and the end of the file. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> DataResult<u64> {
        self.flush()?;
        let failed =
            |error| DataError::polars(format_args!("write {}", self.path.display()), error);
        self.writer.finish().map_err(failed)?;
        let io = |error| DataError::io("write", &self.path, error);
        self.file.sync_all().map_err(io)?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::AnyValue;

    use super::*;
    use crate::read_table;

    const COLUMNS: [(&str, StreamType); 5] = [
        ("text", StreamType::Text),
        ("integer", StreamType::Integer),
        ("real", StreamType::Real),
        ("time", StreamType::Time),
        ("flag", StreamType::Flag),
    ];

    #[test]
    fn rows_are_read_as_they_came() {
        use StreamValue::*;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.parquet");
        let mut stream = ParquetStream::create(&path, &COLUMNS).expect("made");
        let rows = GROUP_ROWS + 3;
        for n in 0..rows as i64 {
            let row = [Text(format!("é{n}")), Integer(n), Real(0.5), Integer(n), Integer(n % 2)];
            stream.row(row).expect("written");
        }
        stream.row([Null, Null, Null, Null, Null]).expect("written");
        stream.row([Null, Null, Integer(7), Null, Null]).expect("written");
        assert_eq!(stream.finish().expect("written"), rows as u64 + 2);
        let frame = read_table(&path).expect("it is read");
        assert_eq!(frame.height(), rows + 2);
        let types: Vec<DataType> = COLUMNS.iter().map(|(_, kind)| kind.data_type()).collect();
        assert_eq!(frame.dtypes(), types);
        let row = frame.get(rows - 1).expect("a row");
        assert_eq!(row[1], AnyValue::Int64(rows as i64 - 1));
        assert_eq!(row[0].get_str(), Some(format!("é{}", rows - 1).as_str()));
        assert!(frame.get(rows).expect("a row").iter().all(AnyValue::is_null));
        assert_eq!(frame.get(rows + 1).expect("a row")[2], AnyValue::Float64(7.0));
    }

    #[test]
    fn a_table_without_rows_has_its_columns() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.parquet");
        let stream = ParquetStream::create(&path, &COLUMNS).expect("made");
        assert_eq!(stream.finish().expect("written"), 0);
        let frame = read_table(&path).expect("it is read");
        assert_eq!((frame.height(), frame.width()), (0, 5));
        assert!(ParquetStream::create(&path, &COLUMNS).is_err(), "nothing is overwritten");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.parquet");
        let mut stream = ParquetStream::create(&path, &COLUMNS).expect("made");
        let error = stream.row([StreamValue::Integer(1)]).expect_err("it is no text");
        assert!(error.to_string().contains("`text`"), "{error}");
    }
}

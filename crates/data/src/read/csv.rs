//! CSV. Polars parses; the shape is checked here first, because polars fills short rows up with
//! missing values and cannot say where a file is ragged.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::Path;

use indexmap::IndexMap;
use polars::prelude::{
    CsvParseOptions, CsvReadOptions, DataFrame, DataType, NullValues, Schema, SchemaRef, SerReader,
};

use super::files::{read_all, read_head};
use crate::error::{DataError, DataResult, column_help};

/// Types are inferred from so many bytes at the start of a file.
const HEAD: u64 = 8 << 20;

/// Texts that mean a missing value, unless the user says otherwise: those that R and pandas
/// write. An empty field always is one.
pub const NULL_VALUES: [&str; 6] = ["NA", "N/A", "NaN", "nan", "null", "NULL"];

/// How a CSV file is written.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    /// What stands between two fields.
    pub delimiter: u8,
    /// Whether the first row names the columns.
    pub header: bool,
    /// Texts that mean a missing value.
    pub null_values: Vec<String>,
    /// The types of columns that are not to be inferred.
    pub types: IndexMap<String, DataType>,
    /// Whether texts that look like dates are dates.
    pub parse_dates: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            header: true,
            null_values: NULL_VALUES.map(str::to_owned).to_vec(),
            types: IndexMap::new(),
            parse_dates: false,
        }
    }
}

/// The schema of a file by its first rows, and the number of its rows where the head is all of
/// it.
pub fn schema(path: &Path, options: &CsvOptions) -> DataResult<(SchemaRef, Option<u64>)> {
    let (head, whole) = read_head(path, HEAD)?;
    let (schema, records) = infer(path, &head, whole, options)?;
    Ok((schema, whole.then_some(records)))
}

/// Reads a file.
pub fn read(path: &Path, options: &CsvOptions) -> DataResult<DataFrame> {
    // The same head as a check saw, so the same types.
    let (head, whole) = read_head(path, HEAD)?;
    let (schema, _) = infer(path, &head, whole, options)?;
    drop(head);
    let bytes = read_all(path)?;
    let shape = Shape::of(path, &bytes, true, options)?;
    parse(path, &bytes[..shape.end], Some(schema), options)
}

fn infer(
    path: &Path,
    head: &[u8],
    whole: bool,
    options: &CsvOptions,
) -> DataResult<(SchemaRef, u64)> {
    let shape = Shape::of(path, head, whole, options)?;
    let frame = parse(path, &head[..shape.end], None, options)?;
    let mut schema = Schema::clone(frame.schema());
    for (name, data_type) in &options.types {
        if schema.set_dtype(name, data_type.clone()).is_none() {
            let names: Vec<&str> = schema.iter_names().map(|name| name.as_str()).collect();
            return Err(DataError::config(format!(
                "`types` names `{name}`, and {} has no such column",
                path.display()
            ))
            .help(column_help(name, &names)));
        }
    }
    Ok((schema.into(), shape.rows))
}

fn parse(
    path: &Path,
    bytes: &[u8],
    schema: Option<SchemaRef>,
    options: &CsvOptions,
) -> DataResult<DataFrame> {
    let nulls: Vec<_> = options.null_values.iter().map(|text| text.as_str().into()).collect();
    let known: Schema = options
        .types
        .iter()
        .map(|(name, data_type)| (name.as_str().into(), data_type.clone()))
        .collect();
    let overwrite = (schema.is_none() && !known.is_empty()).then(|| known.into());
    let parsing = CsvParseOptions::default()
        .with_separator(options.delimiter)
        .with_null_values((!nulls.is_empty()).then_some(NullValues::AllColumns(nulls)))
        .with_try_parse_dates(options.parse_dates);
    CsvReadOptions::default()
        .with_has_header(options.header)
        .with_parse_options(parsing)
        .with_infer_schema_length(None)
        .with_schema(schema)
        .with_schema_overwrite(overwrite)
        .into_reader_with_file_handle(Cursor::new(bytes))
        .finish()
        .map_err(|error| {
            DataError::reading(path, error).help(
                "give the column's type: `types: {COLUMN: text}`, or say which texts mean a \
                 missing value: `null_values: [\"-\"]`",
            )
        })
}

/// The shape of a CSV text.
#[derive(Debug)]
struct Shape {
    /// Where the last complete record ends; trailing blank lines are left out.
    end: usize,
    /// How many records there are below the header.
    rows: u64,
}

impl Shape {
    /// Looks at every record: each must have as many fields as the first.
    fn of(path: &Path, bytes: &[u8], whole: bool, options: &CsvOptions) -> DataResult<Self> {
        let ragged =
            |line: u64, message: String| DataError::file(path, format!("line {line} {message}"));
        let text_start = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut start = text_start;
        let mut line = 1;
        let mut width = 0;
        let mut shape = Shape { end: start, rows: 0 };
        // Blank lines at the end are usual; in between they are a damaged file.
        let mut blank = None;
        while start < bytes.len() {
            let record = Record::read(&bytes[start..], options.delimiter);
            if !record.complete && !whole {
                break;
            }
            if record.stray_quote {
                return Err(ragged(line, "has a quote within a field".to_owned()).help(
                    "put the whole field into quotes, and double those within: `\"5\"\" pipe\"`",
                ));
            }
            if record.open_quote {
                return Err(ragged(line, "opens a quote that never closes".to_owned())
                    .help("double a quote that is part of a text: `\"\"`"));
            }
            let text = &bytes[start..start + record.length];
            if text.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
                && (width != 1 || options.header && shape.end == text_start)
            {
                blank = blank.or(Some(line));
            } else if let Some(blank) = blank.filter(|_| width > 0) {
                return Err(ragged(blank, "is blank".to_owned()).help("remove it"));
            } else if width == 0 {
                width = record.fields;
                if options.header {
                    check_header(path, text, options.delimiter)?;
                } else {
                    shape.rows = 1;
                }
                shape.end = start + record.length;
            } else if record.fields != width {
                let what = if options.header { "the header" } else { "the first line" };
                return Err(ragged(
                    line,
                    format!("has {} fields, {what} has {width}", record.fields),
                )
                .help(
                    "put texts with the delimiter in them into quotes, or name another \
                         `delimiter`",
                ));
            } else {
                shape.rows += 1;
                shape.end = start + record.length;
            }
            start += record.length;
            line += record.lines;
        }
        if width == 0 {
            let message = if bytes.is_empty() { "is empty" } else { "holds no complete record" };
            return Err(DataError::file(path, message).help("a CSV file has at least a header"));
        }
        Ok(shape)
    }
}

/// One record: usually a line; a quoted field may hold line breaks.
struct Record {
    length: usize,
    lines: u64,
    fields: usize,
    /// Whether it ends with a line break.
    complete: bool,
    open_quote: bool,
    /// Whether a quote stands within a field that has none around it, or text behind the quote
    /// that closes a field. Polars counts such quotes where it looks for the ends of lines, and
    /// then reads beyond its fields.
    stray_quote: bool,
}

impl Record {
    fn read(bytes: &[u8], delimiter: u8) -> Self {
        let mut record = Record {
            length: bytes.len(),
            lines: 0,
            fields: 1,
            complete: false,
            open_quote: false,
            stray_quote: false,
        };
        // Inside quotes; and whether the field began with one: only then are later ones special.
        let (mut quoted, mut quoted_field, mut at_start) = (false, false, true);
        for (place, byte) in bytes.iter().enumerate() {
            if *byte == b'"' && at_start {
                (quoted, quoted_field) = (true, true);
            } else if *byte == b'"' && quoted_field {
                // The second of two doubled quotes opens again what the first closed.
                quoted = !quoted;
            } else if *byte == b'"' {
                record.stray_quote = true;
            } else if *byte == b'\n' {
                record.lines += 1;
                if !quoted {
                    record.length = place + 1;
                    record.complete = true;
                    return record;
                }
            } else if *byte == delimiter && !quoted {
                record.fields += 1;
                (quoted_field, at_start) = (false, true);
                continue;
            } else if quoted_field && !quoted && *byte != b'\r' {
                record.stray_quote = true;
            }
            at_start = false;
        }
        record.open_quote = quoted;
        record.lines += 1;
        record
    }
}

/// Every column must have a name of its own.
fn check_header(path: &Path, header: &[u8], delimiter: u8) -> DataResult {
    let Ok(header) = std::str::from_utf8(header) else {
        return Err(not_utf8(path));
    };
    // Names with a delimiter in quotes are rare enough to leave to polars.
    if header.contains('"') {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for name in header.trim_end_matches(['\r', '\n']).split(delimiter as char) {
        if !seen.insert(name) {
            return Err(DataError::file(path, format!("two columns are called `{name}`"))
                .help("rename one of them in the header"));
        }
    }
    Ok(())
}

fn not_utf8(path: &Path) -> DataError {
    DataError::file(path, "is not UTF-8").help("convert it: `iconv -f latin1 -t utf-8`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    #[track_caller]
    fn refused(text: &[u8], expect: &str) {
        let file = file(text);
        let error = read(file.path(), &CsvOptions::default()).expect_err("refused").to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn types_are_inferred_and_overridden() {
        let file = file(
            b"\xef\xbb\xbfid,age,name,day\n1,,\"a,\"\"b\"\"\nc\",2024-02-29\n2,NA,d,2024-03-01\n\n",
        );
        let mut options = CsvOptions { parse_dates: true, ..CsvOptions::default() };
        options.types.insert("age".to_owned(), DataType::Float64);
        let frame = read(file.path(), &options).expect("read");
        assert_eq!(
            frame.dtypes(),
            [DataType::Int64, DataType::Float64, DataType::String, DataType::Date]
        );
        assert_eq!(frame.height(), 2);
        assert_eq!(frame.column("age").map(|c| c.null_count()).ok(), Some(2));
        let (schema, rows) = schema(file.path(), &options).expect("schema");
        assert_eq!((schema.as_ref(), rows), (frame.schema().as_ref(), Some(2)));
    }

    #[test]
    fn hostile_files_are_refused_with_their_place() {
        refused(b"", "is empty");
        refused(b"\n\n", "holds no complete record");
        refused(b"a,b\n1,2\n3\n", "line 3 has 1 fields, the header has 2");
        refused(b"a,b\n1,2,3\n", "line 2 has 3 fields, the header has 2");
        refused(b"a,b\n\n1,2\n", "line 2 is blank");
        refused(b"a,a\n1,2\n", "two columns are called `a`");
        refused(b"a,b\n1,5\" pipe\n", "line 2 has a quote within a field");
        refused(b"a,b\n1,\"5\"x\n", "line 2 has a quote within a field");
        refused(b"a,b\n\"1,2\n3,4\n", "line 2 opens a quote that never closes");
    }

    #[test]
    fn a_header_alone_is_a_table_without_rows() {
        let file = file(b"a,b\n");
        assert_eq!(read(file.path(), &CsvOptions::default()).expect("read").shape(), (0, 2));
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        let file = file(b"a\n1\nx\n");
        let mut options = CsvOptions::default();
        options.types.insert("a".to_owned(), DataType::Int64);
        let error = read(file.path(), &options).expect_err("refused");
        assert!(error.to_string().contains("`x`"), "{error}");
        assert!(error.mend().is_some());
    }
}

//! IDX, the format of MNIST: a header with a type and dimensions, then the values, big-endian.
//! <http://yann.lecun.com/exdb/mnist/>

use std::path::Path;

use flate2::read::MultiGzDecoder;
use polars::prelude::{
    Column as TableColumn, Float32Chunked, Float64Chunked, Int8Chunked, Int16Chunked, Int32Chunked,
    IntoColumn, IntoSeries, NewChunkedArray, Series, UInt8Chunked,
};
use wick_stage::{Column, ColumnType};

use super::files::{DEFLATE_LIMIT, is_gzip, open, read_head, read_up_to};
use crate::error::{DataError, DataResult};
use crate::rows::blocks;

/// More dimensions than any data set has.
const MOST_DIMENSIONS: usize = 8;

/// What the values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdxType {
    /// Unsigned bytes.
    U8,
    /// Signed bytes.
    I8,
    /// 16-bit integers.
    I16,
    /// 32-bit integers.
    I32,
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
}

impl IdxType {
    const fn of(code: u8) -> Option<Self> {
        Some(match code {
            0x08 => IdxType::U8,
            0x09 => IdxType::I8,
            0x0b => IdxType::I16,
            0x0c => IdxType::I32,
            0x0d => IdxType::F32,
            0x0e => IdxType::F64,
            _ => return None,
        })
    }

    const fn size(self) -> u64 {
        match self {
            IdxType::U8 | IdxType::I8 => 1,
            IdxType::I16 => 2,
            IdxType::I32 | IdxType::F32 => 4,
            IdxType::F64 => 8,
        }
    }
}

/// What the header of an IDX file says. Checked against the file's size: a file cannot claim
/// more than it can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdxHeader {
    /// What the values are.
    pub value: IdxType,
    /// How many rows.
    pub rows: u64,
    /// The dimensions of a row: none for one value a row.
    pub shape: Vec<usize>,
    /// How long the header is.
    length: u64,
    /// How many bytes of values there are.
    bytes: u64,
}

impl IdxHeader {
    /// Reads the header of `path`, plain or gzip.
    ///
    /// # Errors
    /// If it is not an IDX file, or claims more than it can hold.
    pub fn read(path: &Path) -> DataResult<Self> {
        let (_, size) = open(path)?;
        if size == 0 {
            return Err(DataError::file(path, "is empty").help("fetch the file again"));
        }
        let (head, _) = read_head(path, 4 + 4 * MOST_DIMENSIONS as u64)?;
        let not_idx = |message: String| {
            DataError::file(path, message)
                .help("an IDX file is one such as `train-images-idx3-ubyte.gz`")
        };
        let [0, 0, code, dimensions, rest @ ..] = head.as_slice() else {
            return Err(not_idx("is not an IDX file: it does not begin with two zeros".to_owned()));
        };
        let value = IdxType::of(*code)
            .ok_or_else(|| not_idx(format!("holds values of the unknown type 0x{code:02x}")))?;
        let dimensions = usize::from(*dimensions);
        if dimensions == 0 || dimensions > MOST_DIMENSIONS {
            return Err(not_idx(format!("has {dimensions} dimensions")));
        }
        let sizes: Vec<u64> = rest
            .chunks_exact(4)
            .take(dimensions)
            .map(|bytes| u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
            .collect();
        if sizes.len() < dimensions {
            return Err(not_idx("ends inside its header".to_owned()));
        }
        let bytes = sizes.iter().try_fold(value.size(), |all, size| all.checked_mul(*size));
        let bytes =
            bytes.ok_or_else(|| not_idx(format!("claims the impossible dimensions {sizes:?}")))?;
        if sizes[1..].contains(&0) {
            return Err(not_idx(format!("claims the empty dimensions {sizes:?}")));
        }
        let length = 4 + 4 * dimensions as u64;
        check_size(path, size, length + bytes)?;
        let shape = sizes[1..].iter().map(|size| *size as usize).collect();
        Ok(Self { value, rows: sizes[0], shape, length, bytes })
    }

    /// The column that the file becomes. Images get their one channel; other values than bytes
    /// become vectors.
    pub fn column(&self, name: &str) -> Column {
        let column_type = match (self.value, self.shape.as_slice()) {
            (IdxType::F32 | IdxType::F64, []) => ColumnType::Float,
            (_, []) => ColumnType::Integer,
            (IdxType::U8, [height, width]) => ColumnType::Bytes { shape: vec![*height, *width, 1] },
            (IdxType::U8, shape) => ColumnType::Bytes { shape: shape.to_vec() },
            (_, shape) => ColumnType::Vector { width: shape.iter().product() },
        };
        Column { name: name.to_owned(), column_type }
    }
}

/// The file's size must be what the header says; a compressed file's can be.
fn check_size(path: &Path, size: u64, expected: u64) -> DataResult {
    let message = if is_gzip(path)? {
        if expected <= size.saturating_mul(DEFLATE_LIMIT) {
            return Ok(());
        }
        format!("claims {expected} bytes, more than {size} compressed bytes can hold")
    } else {
        match size.cmp(&expected) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => format!("is cut short: {size} of {expected} bytes"),
            std::cmp::Ordering::Greater => {
                format!("is {size} bytes, {} more than its header says", size - expected)
            }
        }
    };
    Err(DataError::file(path, message).help("the file is damaged: fetch it again"))
}

/// Reads an IDX file, plain or gzip, as the column `name`.
///
/// # Errors
/// If it is not an IDX file, or is cut short or longer than its header says.
pub fn read(path: &Path, name: &str) -> DataResult<TableColumn> {
    let header = IdxHeader::read(path)?;
    let (file, _) = open(path)?;
    let whole = header.length + header.bytes;
    let (bytes, ends) = if is_gzip(path)? {
        read_up_to(path, MultiGzDecoder::new(file), whole)?
    } else {
        read_up_to(path, file, whole)?
    };
    if !ends || bytes.len() as u64 != whole {
        let how = if ends { "is cut short" } else { "is longer than its header says" };
        return Err(DataError::file(path, how).help("the file is damaged: fetch it again"));
    }
    let values = &bytes[header.length as usize..];
    let series = series(name, header.value, values);
    if header.shape.is_empty() {
        return Ok(series.into_column());
    }
    let width = header.shape.iter().product();
    match header.value {
        IdxType::U8 => blocks(series, width),
        _ => {
            let floats = series
                .cast(&polars::prelude::DataType::Float32)
                .map_err(|error| DataError::reading(path, error))?;
            blocks(floats, width)
        }
    }
}

fn series(name: &str, value: IdxType, bytes: &[u8]) -> Series {
    let name = name.into();
    macro_rules! big_endian {
        ($array:ty, $number:ty) => {{
            let (values, _) = bytes.as_chunks::<{ size_of::<$number>() }>();
            <$array>::from_iter_values(name, values.iter().map(|v| <$number>::from_be_bytes(*v)))
                .into_series()
        }};
    }
    match value {
        IdxType::U8 => UInt8Chunked::from_slice(name, bytes).into_series(),
        IdxType::I8 => big_endian!(Int8Chunked, i8),
        IdxType::I16 => big_endian!(Int16Chunked, i16),
        IdxType::I32 => big_endian!(Int32Chunked, i32),
        IdxType::F32 => big_endian!(Float32Chunked, f32),
        IdxType::F64 => big_endian!(Float64Chunked, f64),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn idx(code: u8, sizes: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, code, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).expect("compressed");
        gzip.finish().expect("compressed")
    }

    #[test]
    fn every_type_is_read() {
        let check = |bytes: Vec<u8>, expect: &[f64]| {
            let column = read(file(&bytes).path(), "x").expect("read");
            let values = column.cast(&polars::prelude::DataType::Float64).expect("numbers");
            let values: Vec<f64> = values.f64().expect("numbers").iter().flatten().collect();
            assert_eq!(values, expect);
        };
        check(idx(0x08, &[2], &[1, 255]), &[1.0, 255.0]);
        check(idx(0x09, &[2], &[1, 255]), &[1.0, -1.0]);
        check(idx(0x0b, &[1], &[1, 0]), &[256.0]);
        check(idx(0x0c, &[1], &[0, 0, 1, 0]), &[256.0]);
        check(idx(0x0d, &[1], &1.5f32.to_be_bytes()), &[1.5]);
        check(idx(0x0e, &[1], &(-0.25f64).to_be_bytes()), &[-0.25]);
        check(gzip(&idx(0x08, &[2], &[1, 255])), &[1.0, 255.0]);
    }

    #[test]
    fn images_are_blocks() {
        let file = file(&idx(0x08, &[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]));
        let header = IdxHeader::read(file.path()).expect("a header");
        assert_eq!(header.rows, 2);
        assert_eq!(header.column("x").column_type, ColumnType::Bytes { shape: vec![2, 2, 1] });
        assert_eq!(read(file.path(), "x").expect("read").len(), 2);
    }

    #[test]
    fn hostile_files_are_refused() {
        #[track_caller]
        fn check(bytes: &[u8], expect: &str) {
            let error = read(file(bytes).path(), "x").expect_err("refused").to_string();
            assert!(error.contains(expect), "{error}");
        }
        check(b"", "is empty");
        check(b"\x89PNG\r\n", "does not begin with two zeros");
        check(&idx(0x0a, &[1], &[1]), "unknown type 0x0a");
        check(&idx(0x08, &[], &[]), "has 0 dimensions");
        check(&[0, 0, 8, 3, 0, 0], "ends inside its header");
        check(&idx(0x08, &[3], &[1, 2]), "cut short: 10 of 11 bytes");
        check(&idx(0x08, &[1], &[1, 2]), "1 more than its header says");
        check(&idx(0x08, &[2, 0], &[]), "empty dimensions");
        check(&idx(0x0e, &[u32::MAX; 4], &[]), "impossible dimensions");
        check(&idx(0x08, &[u32::MAX, u32::MAX], &[]), "cut short");
        check(&gzip(&idx(0x08, &[u32::MAX, 28, 28], &[])), "compressed bytes can hold");
        check(&gzip(&idx(0x08, &[3], &[1, 2])), "cut short");
        check(&gzip(&idx(0x08, &[1], &[0; 4096])), "longer than its header says");
        let mut damaged = gzip(&idx(0x08, &[200], &[7; 200]));
        damaged.truncate(damaged.len() - 9);
        check(&damaged, "not valid gzip");
    }
}

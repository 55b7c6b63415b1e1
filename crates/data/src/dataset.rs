//! The dataset: a folder with one table, what it holds, and the transform that made it.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use polars::polars_utils::pl_path::PlRefPath;
use polars::prelude::{
    DataFrame, IntoLazy, IpcCompression, IpcReader, IpcWriter, LazyFrame, ParquetCompression,
    ParquetWriter, ScanArgsParquet, SerReader, SerWriter, len,
};
use serde::{Deserialize, Serialize};
use wick_stage::{Column, DatasetFacts, layout};

use crate::columns::{columns_of, columns_of_frame, is_block, with_shapes};
use crate::error::{DataError, DataResult};
use crate::profile::{PROFILE_VERSION, Profile};
use crate::read::csv::{self, CsvOptions};
use crate::transform::Transform;

/// The version of `dataset.json`.
pub const DATASET_VERSION: u32 = 1;

/// What a dataset holds: `dataset.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// The version of this format.
    pub version: u32,
    /// How many rows.
    pub rows: u64,
    /// The columns in order.
    pub columns: Vec<Column>,
}

impl DatasetInfo {
    /// The column called `name`.
    ///
    /// # Errors
    /// If there is none; the message suggests the nearest.
    pub fn column(&self, name: &str) -> DataResult<&Column> {
        self.columns.iter().find(|column| column.name == name).ok_or_else(|| {
            DataError::no_column(name, self.columns.iter().map(|column| column.name.as_str()))
        })
    }

    /// As it is shown and recorded with an output.
    pub fn meta(&self) -> serde_json::Value {
        serde_json::json!({ "rows": self.rows, "columns": self.columns.len() })
    }

    /// What a check would have known.
    pub fn facts(&self) -> DatasetFacts {
        DatasetFacts {
            columns: Some(self.columns.clone()),
            rows: Some(self.rows),
            ..DatasetFacts::default()
        }
    }
}

/// A dataset on disk. Opening reads its schema, not its rows.
pub struct Dataset {
    folder: PathBuf,
    table: PathBuf,
    info: DatasetInfo,
    lazy: LazyFrame,
    // An Arrow table is memory-mapped once; its columns are views into the file.
    mapped: Option<DataFrame>,
}

impl Dataset {
    /// Opens the dataset in `folder`.
    ///
    /// # Errors
    /// If there is no table, or several, or one that cannot be read.
    pub fn open(folder: impl AsRef<Path>) -> DataResult<Self> {
        let folder = folder.as_ref();
        let table = find_table(folder)?;
        let mut mapped = None;
        let mut lazy = match table.extension().and_then(|extension| extension.to_str()) {
            Some("arrow") => mapped.insert(map_arrow(&table)?).clone().lazy(),
            Some("parquet") => {
                let arguments = ScanArgsParquet { glob: false, ..ScanArgsParquet::default() };
                LazyFrame::scan_parquet(scan_path(&table)?, arguments)
                    .map_err(|error| DataError::reading(&table, error))?
            }
            // Only a program outside writes a dataset as CSV.
            _ => mapped.insert(csv::read(&table, &CsvOptions::default())?).clone().lazy(),
        };
        let info = match read_info(folder)? {
            Some(info) => info,
            None => infer_info(&table, &mut lazy, mapped.as_ref())?,
        };
        Ok(Self { folder: folder.to_owned(), table, info, lazy, mapped })
    }

    /// What it holds.
    pub fn info(&self) -> &DatasetInfo {
        &self.info
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The table's file.
    pub fn table(&self) -> &Path {
        &self.table
    }

    /// The table, not yet read.
    pub fn lazy(&self) -> LazyFrame {
        self.lazy.clone()
    }

    /// The whole table in memory (memory-mapped where it is Arrow).
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn frame(&self) -> DataResult<DataFrame> {
        match &self.mapped {
            Some(frame) => Ok(frame.clone()),
            None => self.lazy().collect().map_err(|error| DataError::reading(&self.table, error)),
        }
    }

    /// Some columns of the table, in the order asked for.
    ///
    /// # Errors
    /// If a column does not exist, or the table cannot be read.
    pub fn frame_of(&self, columns: &[&str]) -> DataResult<DataFrame> {
        for name in columns {
            self.info.column(name)?;
        }
        if let Some(frame) = &self.mapped {
            return frame
                .select(columns.iter().copied())
                .map_err(|error| DataError::reading(&self.table, error));
        }
        let selection: Vec<_> = columns.iter().map(|name| polars::prelude::col(*name)).collect();
        self.lazy()
            .select(selection)
            .collect()
            .map_err(|error| DataError::reading(&self.table, error))
    }

    /// How its values are distributed: as it was noted when a native stage wrote it, else found
    /// out now.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub fn profile(&self) -> DataResult<Profile> {
        match read_profile(&self.folder)? {
            Some(profile) => Ok(profile),
            None => Ok(Profile::of(&self.frame()?, &self.info.columns)),
        }
    }

    /// The transform that made it, if one did.
    ///
    /// # Errors
    /// If `transform.json` is there and cannot be read.
    pub fn transform(&self) -> DataResult<Option<Transform>> {
        let path = self.folder.join(layout::TRANSFORM);
        if path.try_exists().map_err(|error| DataError::io("read", &path, error))? {
            Transform::read(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Writes `frame` as a dataset into the existing `folder`: Parquet, or Arrow where a column
    /// is a fixed-size block.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(
        folder: impl AsRef<Path>,
        frame: &mut DataFrame,
        transform: Option<&Transform>,
    ) -> DataResult<DatasetInfo> {
        Self::write_shaped(folder, frame, transform, &[])
    }

    /// Like [`Dataset::write`], for a table whose blocks have shapes: `known` are columns of
    /// which it takes them, by name.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_shaped(
        folder: impl AsRef<Path>,
        frame: &mut DataFrame,
        transform: Option<&Transform>,
        known: &[Column],
    ) -> DataResult<DatasetInfo> {
        let folder = folder.as_ref();
        let info = DatasetInfo {
            version: DATASET_VERSION,
            rows: frame.height() as u64,
            columns: with_shapes(columns_of_frame(frame), known),
        };
        if frame.columns().iter().any(|column| is_block(column.dtype())) {
            write_arrow(&folder.join(layout::DATASET_ARROW), frame)?;
        } else {
            write_parquet(&folder.join(layout::DATASET_PARQUET), frame)?;
        }
        let profile = Profile::of(frame, &info.columns);
        let described =
            Described { version: info.version, rows: info.rows, columns: &info.columns, profile };
        write_json(&folder.join(layout::DATASET_INFO), &described)?;
        if let Some(transform) = transform {
            transform.write(&folder.join(layout::TRANSFORM))?;
        }
        Ok(info)
    }
}

/// `dataset.json` as it is written: with the profile, which only those read who ask for it.
#[derive(Serialize)]
struct Described<'a> {
    version: u32,
    rows: u64,
    columns: &'a [Column],
    profile: Profile,
}

/// The profile in a dataset's description; none where a program outside wrote it, or another
/// version of `wick`.
fn read_profile(folder: &Path) -> DataResult<Option<Profile>> {
    #[derive(Deserialize)]
    struct Profiled {
        #[serde(default)]
        profile: serde_json::Value,
    }
    let path = folder.join(layout::DATASET_INFO);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataError::io("read", path, error)),
    };
    let Ok(Profiled { profile }) = serde_json::from_slice(&bytes) else { return Ok(None) };
    let profile: Option<Profile> = serde_json::from_value(profile).ok();
    Ok(profile.filter(|profile| profile.version == PROFILE_VERSION))
}

/// The one table of a dataset.
fn find_table(folder: &Path) -> DataResult<PathBuf> {
    let mut tables = Vec::new();
    for name in layout::DATASET_TABLES {
        let path = folder.join(name);
        if path.try_exists().map_err(|error| DataError::io("read", &path, error))? {
            tables.push(path);
        }
    }
    let names = layout::DATASET_TABLES.join("`, `");
    match tables.len() {
        1 => Ok(tables.remove(0)),
        0 => Err(DataError::file(folder, "is not a dataset: it holds no table")
            .help(format!("a dataset is a folder with one of `{names}`"))),
        _ => Err(DataError::file(folder, "is not a dataset: it holds several tables")
            .help(format!("leave exactly one of `{names}`"))),
    }
}

fn read_info(folder: &Path) -> DataResult<Option<DatasetInfo>> {
    let path = folder.join(layout::DATASET_INFO);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DataError::io("read", path, error)),
    };
    let info: DatasetInfo = serde_json::from_slice(&bytes).map_err(|error| {
        DataError::file(&path, format!("is not a dataset's description: {error}"))
    })?;
    if info.version != DATASET_VERSION {
        return Err(DataError::file(&path, format!("has the version {}", info.version))
            .help(format!("this wick reads version {DATASET_VERSION}")));
    }
    Ok(Some(info))
}

fn infer_info(
    table: &Path,
    lazy: &mut LazyFrame,
    frame: Option<&DataFrame>,
) -> DataResult<DatasetInfo> {
    let reading = |error| DataError::reading(table, error);
    let columns = columns_of(lazy.collect_schema().map_err(reading)?.as_ref());
    let rows = match frame {
        Some(frame) => frame.height() as u64,
        None => {
            let count = lazy.clone().select([len()]).collect().map_err(reading)?;
            let count = count.columns().first().map(|column| column.get(0)).transpose();
            count.map_err(reading)?.and_then(|value| value.extract::<u64>()).unwrap_or(0)
        }
    };
    Ok(DatasetInfo { version: DATASET_VERSION, rows, columns })
}

/// A path as polars wants it.
pub(crate) fn scan_path(path: &Path) -> DataResult<PlRefPath> {
    path.to_str().map(PlRefPath::new).ok_or_else(|| {
        DataError::file(path, "the path is not UTF-8").help("rename the file or its folder")
    })
}

fn map_arrow(path: &Path) -> DataResult<DataFrame> {
    let open = || File::open(path).map_err(|error| DataError::io("read", path, error));
    // SAFETY: the file must not change while it is mapped. Datasets are artifacts: written
    // once, renamed into place and read-only from then on.
    let mapped = unsafe { IpcReader::new(open()?).memory_mapped(Some(path.to_owned())) };
    match mapped.finish() {
        Ok(frame) => Ok(frame),
        // A program outside may have written it compressed, which cannot be mapped.
        Err(_) => IpcReader::new(open()?).finish().map_err(|error| DataError::reading(path, error)),
    }
}

fn write_arrow(path: &Path, frame: &mut DataFrame) -> DataResult {
    let file = File::create(path).map_err(|error| DataError::io("write", path, error))?;
    // Uncompressed, so that it can be memory-mapped.
    IpcWriter::new(BufWriter::new(file))
        .with_compression(None::<IpcCompression>)
        .finish(frame)
        .map_err(|error| writing(path, error))
}

fn write_parquet(path: &Path, frame: &mut DataFrame) -> DataResult {
    let file = File::create(path).map_err(|error| DataError::io("write", path, error))?;
    ParquetWriter::new(BufWriter::new(file))
        .with_compression(ParquetCompression::Zstd(None))
        .finish(frame)
        .map(|_| ())
        .map_err(|error| writing(path, error))
}

fn writing(path: &Path, error: polars::prelude::PolarsError) -> DataError {
    DataError::io("write", path, std::io::Error::other(crate::error::polars_message(&error)))
}

/// Writes `value` as JSON that a person can read.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> DataResult {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| DataError::io("write", path, error.into()))?;
    bytes.push(b'\n');
    fs::write(path, bytes).map_err(|error| DataError::io("write", path, error))
}

#[cfg(test)]
mod tests {
    use polars::prelude::{IntoColumn, NamedFrom, ReshapeDimension, Series, df};
    use wick_stage::ColumnType;

    use super::*;

    #[test]
    fn a_plain_table_is_parquet_and_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut frame = df!("a" => [1i64, 2, 3], "b" => ["x", "y", "z"]).expect("a table");
        let info = Dataset::write(folder.path(), &mut frame, None).expect("written");
        assert_eq!((info.rows, info.columns.len()), (3, 2));
        assert!(folder.path().join("data.parquet").exists());
        let dataset = Dataset::open(folder.path()).expect("open");
        assert_eq!(dataset.info(), &info);
        assert!(dataset.frame().expect("read").equals(&frame));
        assert!(dataset.transform().expect("none").is_none());
        let noted = read_profile(folder.path()).expect("read").expect("it is noted");
        assert_eq!(noted, dataset.profile().expect("read"));
        assert_eq!(noted.columns[0].numbers.as_ref().map(|numbers| numbers.mean), Some(2.0));
        let error = dataset.frame_of(&["bb"]).expect_err("no such column");
        assert_eq!(error.mend(), Some("did you mean `b`?"));
        fs::remove_file(folder.path().join("dataset.json")).expect("removed");
        let dataset = Dataset::open(folder.path()).expect("open");
        assert_eq!(dataset.info(), &info);
        assert_eq!(dataset.profile().expect("found out"), noted);
    }

    #[test]
    fn blocks_are_mapped_arrow_and_keep_their_shape() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = Series::new("image".into(), (0..24u8).collect::<Vec<_>>())
            .reshape_array(&[ReshapeDimension::Infer, ReshapeDimension::new(12)])
            .expect("blocks");
        let label = Series::new("label".into(), [3u8, 4]);
        let mut frame = DataFrame::new_infer_height(vec![image.into_column(), label.into_column()])
            .expect("a table");
        let shape = Column {
            name: "image".to_owned(),
            column_type: ColumnType::Bytes { shape: vec![3, 4, 1] },
        };
        Dataset::write_shaped(folder.path(), &mut frame, None, std::slice::from_ref(&shape))
            .expect("written");
        let dataset = Dataset::open(folder.path()).expect("open");
        assert_eq!(dataset.info().columns[0], shape);
        let blocks = crate::byte_blocks(&dataset.frame().expect("read"), "image").expect("bytes");
        assert_eq!((blocks.rows, blocks.shape), (2, vec![12]));
        assert_eq!(blocks.values, (0..24u8).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_a_dataset_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let message = |folder: &Path| match Dataset::open(folder) {
            Ok(_) => panic!("opened"),
            Err(error) => error.to_string(),
        };
        assert!(message(folder.path()).ends_with("holds no table"));
        fs::write(folder.path().join("data.parquet"), b"PAR1 no").expect("written");
        assert!(message(folder.path()).contains("data.parquet"));
        fs::write(folder.path().join("data.csv"), b"a\n1\n").expect("written");
        assert!(message(folder.path()).ends_with("several tables"));
    }
}

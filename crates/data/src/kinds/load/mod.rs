//! `load`: reads a data set from files.

mod config;
mod files;

use wick_core::PortType;
use wick_stage::{
    Checked, Column, Context, DatasetFacts, Documentation, Example, Issues, Known, Ports,
    StageResult, TypedKind,
};

use self::config::{Format, LoadConfig, Source};
use self::files::{check_idx, check_tables, read_idx, read_tables};
use super::{issue_at, port, port_facts, write_output};
use crate::error::{DataError, column_help};
use crate::read::images::ImageFolder;

/// See [`LoadConfig`].
pub struct Load;

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
        let mut checked = Checked {
            metrics: Some(Vec::new()),
            // The table's columns are in this order.
            ordered_fields: vec![vec!["files".into()], vec!["columns".into()]],
            ..Checked::default()
        };
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
            checked.source_fields.push(place.into_iter().map(Into::into).collect());
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

//! `wick export`: the history as files that other programs read.
//!
//! A folder is filled under another name beside its own and renamed when it is whole, so that
//! nobody reads half of an export.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::FlockOperation;
use serde::Serialize;
use serde_json::json;
use wick_core::RunId;
use wick_data::stream::{ParquetStream, StreamType, StreamValue};
use wick_store::filter::Filter;
use wick_store::sql::{Cell, ColumnType, Question, VIEWS, View, ask};
use wick_store::{Search, Store, Visible};

use crate::args::{ExportArgs, ExportFormat, GlobalArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::filter;
use crate::project::Project;
use crate::render::{Ui, human};
use crate::session::Session;

/// The file that says what a folder holds, and that it is an export.
const NOTE: &str = "export.json";

/// Runs that a search gives at once.
const PAGE: u32 = 2000;

/// Runs that are dumped at once.
const RUNS_AT_ONCE: usize = 500;

pub async fn export(args: &ExportArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let location = session.project.store_location()?;
    let mut runs = all_runs(&location).await?;
    if let Some(text) = &args.filter {
        let found = found_runs(&*session.store, filter::parse(text, ui)?).await?;
        runs.retain(|run| found.contains(run));
    }
    let folder = Folder::new(&args.output, args.force)?;
    let tables = match args.output_format {
        ExportFormat::Parquet => parquet(&location, &runs, &folder.hidden, ui).await?,
        ExportFormat::Json => lines(&*session.store, &runs, &folder.hidden, ui).await?,
    };
    let rows: serde_json::Map<String, serde_json::Value> =
        tables.iter().map(|(name, rows)| ((*name).to_owned(), json!(rows))).collect();
    let note = json!({
        "version": 1,
        "wick": env!("CARGO_PKG_VERSION"),
        "store": session.store.location(),
        "exported": human::now(),
        "format": args.output_format.as_str(),
        "runs": runs.len(),
        "rows": rows,
    });
    folder.finish(&note)?;
    let total: u64 = tables.iter().map(|(_, rows)| rows).sum();
    let what = match args.output_format {
        ExportFormat::Parquet => human::plural(total as usize, "row"),
        ExportFormat::Json => human::plural(total as usize, "line"),
    };
    let (runs, place) = (human::plural(runs.len(), "run"), Project::shown(&args.output));
    ui.note(format_args!("{runs}, {what} in {place}"));
    Ok(ExitCode::Success)
}

/// The ids of all runs, oldest first.
async fn all_runs(location: &str) -> CommandResult<Vec<RunId>> {
    let mut answer =
        ask(location, &Question::query("SELECT run FROM runs ORDER BY started, run")).await?;
    let mut runs = Vec::new();
    while let Some(rows) = answer.next().await? {
        for row in rows {
            if let [Cell::Text(id)] = &row[..] {
                runs.push(id.parse().or_internal("the store holds a run without an id")?);
            }
        }
    }
    Ok(runs)
}

/// The ids of the runs that a filter finds, those among them that were put away.
async fn found_runs(store: &dyn Store, filter: Filter) -> CommandResult<HashSet<RunId>> {
    let mut found = HashSet::new();
    let mut search =
        Search { filter: Some(filter), limit: PAGE, visible: Visible::All, ..Search::default() };
    loop {
        let page = store.search(&search).await?;
        found.extend(page.runs.into_iter().map(|run| run.id));
        if !page.more {
            return Ok(found);
        }
        search.offset = search.offset.saturating_add(PAGE);
    }
}

/// Writes each run, and each model, as a line of JSON with all that is known of it.
async fn lines(
    store: &dyn Store,
    runs: &[RunId],
    folder: &Path,
    ui: &Ui,
) -> CommandResult<Vec<(&'static str, u64)>> {
    let bar = progress(ui, "exporting", runs.len() as u64);
    bar.set_message("runs");
    let mut file = Lines::create(folder.join("runs.jsonl"))?;
    let mut rest = runs;
    while !rest.is_empty() {
        let dumps = store.dump_runs(&rest[..rest.len().min(RUNS_AT_ONCE)]).await?;
        rest = &rest[dumps.len()..];
        bar.inc(dumps.len() as u64);
        // One that was removed meanwhile is no loss.
        for run in dumps.iter().flatten() {
            file.write(run)?;
        }
    }
    let written = file.finish()?;
    let mut file = Lines::create(folder.join("models.jsonl"))?;
    for model in store.dump_models().await? {
        file.write(&model)?;
    }
    bar.finish_and_clear();
    Ok(vec![("runs", written), ("models", file.finish()?)])
}

/// A file of lines of JSON.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
    count: u64,
}

impl Lines {
    fn create(path: PathBuf) -> CommandResult<Self> {
        let file =
            File::create_new(&path).or_internal(format!("cannot make {}", path.display()))?;
        Ok(Self { path, file: BufWriter::new(file), count: 0 })
    }

    fn write(&mut self, value: &impl Serialize) -> CommandResult<()> {
        let failed = || format!("cannot write {}", self.path.display());
        serde_json::to_writer(&mut self.file, value).or_internal(failed())?;
        self.file.write_all(b"\n").or_internal(failed())?;
        self.count += 1;
        Ok(())
    }

    /// It is on the disk when this returns.
    fn finish(self) -> CommandResult<u64> {
        let failed = || format!("cannot write {}", self.path.display());
        let file = self.file.into_inner().or_internal(failed())?;
        file.sync_all().or_internal(failed())?;
        Ok(self.count)
    }
}

/// Writes each view to a file of its own.
async fn parquet(
    location: &str,
    runs: &[RunId],
    folder: &Path,
    ui: &Ui,
) -> CommandResult<Vec<(&'static str, u64)>> {
    let bar = progress(ui, "exporting", VIEWS.len() as u64);
    let mut tables = Vec::new();
    for view in VIEWS {
        bar.set_message(view.name);
        let columns: Vec<(&str, StreamType)> =
            view.columns.iter().map(|column| (column.name, stream_type(column.kind))).collect();
        let path = folder.join(format!("{}.parquet", view.name));
        let mut stream = ParquetStream::create(&path, &columns).or_internal("cannot export")?;
        let of = view.is_of_runs().then_some(runs);
        write_rows(location, view, of, &mut stream, ui).await?;
        bar.inc(1);
        tables.push((view.name, stream.finish().or_internal("cannot export")?));
    }
    bar.finish_and_clear();
    Ok(tables)
}

async fn write_rows(
    location: &str,
    view: &'static View,
    runs: Option<&[RunId]>,
    stream: &mut ParquetStream,
    ui: &Ui,
) -> CommandResult<()> {
    let question = Question::view(view, runs.map(<[RunId]>::to_vec));
    let mut answer = ask(location, &question).await?;
    while let Some(rows) = answer.next().await? {
        for row in rows {
            let values = row.into_iter().zip(view.columns).map(|(cell, column)| match cell {
                // The store has a row for a NaN; nothing else is NULL there.
                Cell::Null if column.null_is_nan => StreamValue::Real(f64::NAN),
                Cell::Null => StreamValue::Null,
                Cell::Boolean(truth) => StreamValue::Integer(truth.into()),
                Cell::Integer(number) => StreamValue::Integer(number),
                Cell::Real(number) => StreamValue::Real(number),
                Cell::Text(text) => StreamValue::Text(text),
                Cell::Bytes(bytes) => {
                    StreamValue::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
                }
            });
            stream.row(values).or_internal("cannot export")?;
        }
    }
    let cut = answer.cut_cells();
    if cut > 0 {
        ui.warn(format_args!(
            "{} of `{}` longer than 256 KiB, and cut",
            if cut == 1 { "one text is".to_owned() } else { format!("{cut} texts are") },
            view.name
        ));
    }
    Ok(())
}

const fn stream_type(kind: ColumnType) -> StreamType {
    match kind {
        ColumnType::Text => StreamType::Text,
        ColumnType::Integer => StreamType::Integer,
        ColumnType::Real => StreamType::Real,
        ColumnType::Time => StreamType::Time,
        ColumnType::Flag => StreamType::Flag,
    }
}

/// A bar on a terminal; nothing elsewhere.
pub(super) fn progress(ui: &Ui, doing: &'static str, steps: u64) -> ProgressBar {
    let target = if ui.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(steps), target).with_prefix(doing);
    match ProgressStyle::with_template("{prefix} {msg} {bar:30} {percent} %") {
        Ok(style) => bar.with_style(style),
        // The template is a constant; the bar's own look would do.
        Err(_) => bar,
    }
}

/// What stands between the name of an export and the process that makes it.
const PART: &str = ".part-";

/// The folder of an export while it is made.
struct Folder {
    place: PathBuf,
    /// Where it is filled.
    hidden: PathBuf,
    done: bool,
    /// The hidden folder, locked: the system drops the lock when the process ends, however it
    /// ends, and the next export clears what it has left.
    _lock: File,
}

impl Folder {
    /// A hidden folder beside `place`, which must be free: not there, or empty, or, with `force`,
    /// an earlier export.
    fn new(place: &Path, force: bool) -> CommandResult<Self> {
        if let Ok(mut entries) = fs::read_dir(place) {
            let is_empty = entries.next().is_none();
            let is_export = place.join(NOTE).is_file();
            if !(is_empty || force && is_export) {
                let error = CommandError::invalid(format!("{} exists already", place.display()));
                return Err(error.hint(if is_export {
                    "--force replaces this export; or choose another folder with -o"
                } else {
                    "choose another folder with -o"
                }));
            }
        } else if place.symlink_metadata().is_ok() {
            return Err(CommandError::invalid(format!("{} is not a folder", place.display())));
        }
        let name = place.file_name().ok_or_else(|| {
            CommandError::invalid(format!("{} does not name a folder", place.display()))
        })?;
        let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).or_invalid(format!("cannot make {}", parent.display()))?;
        let mut start = OsString::from(".");
        start.push(name);
        start.push(PART);
        clear_abandoned(parent, &start);
        let mut hidden = start;
        hidden.push(std::process::id().to_string());
        let hidden = parent.join(hidden);
        let failed = || format!("cannot make {}", hidden.display());
        fs::create_dir(&hidden).or_invalid(failed())?;
        let lock = File::open(&hidden).or_invalid(failed())?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).or_invalid(failed())?;
        Ok(Self { place: place.to_owned(), hidden, done: false, _lock: lock })
    }

    /// Gives the folder its name.
    fn finish(mut self, note: &serde_json::Value) -> CommandResult<()> {
        let failed = || format!("cannot export to {}", self.place.display());
        let text = serde_json::to_vec_pretty(note).or_internal(failed())?;
        fs::write(self.hidden.join(NOTE), text).or_internal(failed())?;
        // What an earlier export left goes aside first: a folder that is not empty cannot be
        // replaced in one step.
        let mut old = None;
        if self.place.join(NOTE).is_file() {
            let mut aside = self.hidden.clone().into_os_string();
            aside.push("-old");
            fs::rename(&self.place, &aside).or_internal(failed())?;
            old = Some(aside);
        }
        fs::rename(&self.hidden, &self.place).or_internal(failed())?;
        self.done = true;
        let parent = self.place.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .or_internal(failed())?;
        if let Some(old) = old {
            fs::remove_dir_all(&old)
                .or_internal("the export is whole, but the one before it cannot be removed")?;
        }
        Ok(())
    }
}

/// Removes what exports to the same place have left beside it that died.
fn clear_abandoned(parent: &Path, start: &OsStr) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(start.as_encoded_bytes()) {
            continue;
        }
        let lock = FlockOperation::NonBlockingLockExclusive;
        let is_left =
            File::open(entry.path()).is_ok_and(|file| rustix::fs::flock(&file, lock).is_ok());
        if is_left {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.done {
            // What is left of an export that failed is of no use; that it stays is no harm.
            let _ = fs::remove_dir_all(&self.hidden);
        }
    }
}

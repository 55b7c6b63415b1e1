//! `wick import`: the history of other programs becomes ours.
//!
//! A run is loaded whole, in one transaction, or not at all. Its id is made of the id that it had,
//! so that a second import adds only what is new.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;
use wick_core::{PortName, PortType, RunState};
use wick_mlflow::{Credentials, Listed, MlflowError, Place, Skipped, Source, dump};
use wick_store::dump::{Json, OutputDump};
use wick_store::{Loaded, RunDump, Store};

use super::export::progress;
use crate::args::{GlobalArgs, ImportArgs, ImportFrom, MlflowArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::project::Project;
use crate::render::{Ui, human};
use crate::session::Session;

/// Runs that are loaded in one transaction, at most.
const RUNS_AT_ONCE: usize = 50;

/// Points of them, about.
const POINTS_AT_ONCE: usize = 500_000;

/// How many of the runs that are left out are told, unless more is asked for.
const TOLD: usize = 10;

pub async fn import(args: &ImportArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    match &args.from {
        ImportFrom::Mlflow(args) => mlflow(args, global, ui).await,
    }
}

/// What became of the runs.
#[derive(Default)]
struct Counts {
    new: usize,
    further: usize,
    kept: usize,
    points: usize,
}

async fn mlflow(args: &MlflowArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let place = Place::parse(&args.place).map_err(told)?;
    // What can be wrong with the place is found out before a project is made.
    let mut source = Source::open(&place, credentials()).await.map_err(told)?;
    let listing = source.list().await.map_err(told)?;
    if args.artifacts && !matches!(place, Place::Folder(_)) {
        return Err(CommandError::invalid("--artifacts works with a folder of MLflow's only")
            .hint("a database and a server only say where the files are; import without it"));
    }
    let session = Session::open(Project::here_or_new(global, ui)?, ui).await?;
    let mut skipped = listing.skipped;
    let mut counts = Counts::default();
    let mut import = Import { session: &session, waiting: Vec::new(), points: 0 };
    let bar = progress(ui, "importing", listing.runs.len() as u64);
    for listed in &listing.runs {
        bar.inc(1);
        if is_done(&*session.store, listed).await? {
            counts.kept += 1;
            continue;
        }
        match read(&mut source, listed, args, &session, &bar, ui).await? {
            Ok(run) => import.take(run, &mut counts).await?,
            Err(why) => skipped
                .push(Skipped { what: format!("run {} of {}", listed.id, listed.experiment), why }),
        }
    }
    import.load(&mut counts).await?;
    bar.finish_and_clear();
    if args.output.is_json() {
        let skipped: Vec<_> =
            skipped.iter().map(|one| json!({"what": one.what, "why": one.why})).collect();
        ui.json(&json!({
            "version": 1,
            "imported": counts.new,
            "updated": counts.further,
            "kept": counts.kept,
            "points": counts.points,
            "skipped": skipped,
        }))?;
    } else {
        tell(&counts, &skipped, ui);
    }
    Ok(ExitCode::Success)
}

fn tell(counts: &Counts, skipped: &[Skipped], ui: &Ui) {
    let Counts { new, further, kept, points } = counts;
    let mut text = format!("{} imported", human::plural(*new, "run"));
    if *further > 0 {
        text.push_str(&format!(", {} that had gone on", human::plural(*further, "run")));
    }
    text.push_str(&format!(", with {}", human::plural(*points, "point")));
    if *kept > 0 {
        text.push_str(&format!("; {} had been before", human::plural(*kept, "run")));
    }
    ui.print(text);
    let shown = if ui.verbosity > 0 { skipped.len() } else { TOLD };
    for one in skipped.iter().take(shown) {
        ui.warn(format_args!("left out {}: {}", one.what, one.why));
    }
    if skipped.len() > shown {
        ui.warn(format_args!("and {} more: -v tells of all", skipped.len() - shown));
    }
    if *new > 0 {
        ui.note("`wick runs` lists them; their metrics are those of the stage `mlflow`");
    }
}

/// What MLflow's own clients send to a server.
fn credentials() -> Credentials {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    Credentials {
        user: variable("MLFLOW_TRACKING_USERNAME"),
        password: variable("MLFLOW_TRACKING_PASSWORD"),
        token: variable("MLFLOW_TRACKING_TOKEN"),
    }
}

/// Whether the run is here already, and cannot have gone on since.
async fn is_done(store: &dyn Store, listed: &Listed) -> CommandResult<bool> {
    let run = store.run(&dump::run_id(&listed.id)).await?;
    Ok(run.is_some_and(|run| !matches!(run.state, RunState::Running | RunState::Interrupted)))
}

/// The run as it is to be loaded; or why it is left out.
async fn read(
    source: &mut Source,
    listed: &Listed,
    args: &MlflowArgs,
    session: &Session,
    bar: &ProgressBar,
    ui: &Ui,
) -> CommandResult<Result<RunDump, String>> {
    let run = match source.run(listed).await {
        Ok(run) => run,
        Err(MlflowError::Run(why)) => return Ok(Err(why)),
        // A file or a folder that cannot be read is one run's.
        Err(error @ MlflowError::Read { .. }) => {
            return Ok(Err(format!("{:#}", anyhow::Error::from(error))));
        }
        Err(error) => return Err(told(error)),
    };
    let mut run = dump::of(&run)?;
    if args.artifacts
        && let Some(folder) = source.artifacts(listed)
    {
        match keep_artifacts(session, &folder) {
            Ok(output) => run.attempts[0].outputs.push(output),
            Err(error) => bar.suspend(|| {
                let why = error.error;
                ui.warn(format_args!("run {} comes without its files: {why:#}", listed.id));
            }),
        }
    }
    Ok(Ok(run))
}

/// Copies the files of a run into the artifact store.
fn keep_artifacts(session: &Session, folder: &Path) -> CommandResult<OutputDump> {
    let store = session.artifacts()?;
    // What is put is moved: a copy, on the same disk.
    let copy: PathBuf =
        session.project.state_folder().join(format!("import-{}", std::process::id()));
    let failed = || format!("cannot copy {}", folder.display());
    let copied = copy_plain(folder, &copy).or_internal(failed());
    let stored = copied.and_then(|()| store.put(&copy, PortType::Folder).or_internal(failed()));
    // After a good end there is nothing; what a bad one leaves is of no use.
    let _ = std::fs::remove_dir_all(&copy);
    let stored = stored?;
    Ok(OutputDump {
        port: PortName::new("artifacts").or_internal("a port has no name")?,
        port_type: PortType::Folder,
        digest: stored.digest,
        bytes: stored.bytes,
        meta: Json::of(&json!({}))?,
    })
}

/// Copies folders and files, and nothing else: a link could lead to what is none of the run's.
fn copy_plain(source: &Path, target: &Path) -> std::io::Result<()> {
    std::fs::create_dir(target)?;
    for entry in std::fs::read_dir(source)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, target.join(entry.file_name()));
        if kind.is_dir() {
            copy_plain(&entry.path(), &to)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to)?;
        } else {
            let name = entry.path().display().to_string();
            return Err(std::io::Error::other(format!("{name} is neither a file nor a folder")));
        }
    }
    Ok(())
}

/// Runs that wait to be loaded together.
struct Import<'a> {
    session: &'a Session,
    waiting: Vec<RunDump>,
    points: usize,
}

impl Import<'_> {
    async fn take(&mut self, run: RunDump, counts: &mut Counts) -> CommandResult<()> {
        self.points += run.series.iter().map(|series| series.values.len()).sum::<usize>();
        self.waiting.push(run);
        if self.waiting.len() >= RUNS_AT_ONCE || self.points >= POINTS_AT_ONCE {
            self.load(counts).await?;
        }
        Ok(())
    }

    async fn load(&mut self, counts: &mut Counts) -> CommandResult<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        for (run, loaded) in
            self.waiting.iter().zip(self.session.store.load_runs(&self.waiting).await?)
        {
            match loaded {
                Loaded::New => counts.new += 1,
                Loaded::Further => counts.further += 1,
                Loaded::Kept => counts.kept += 1,
            }
            if loaded != Loaded::Kept {
                counts.points += run.series.iter().map(|series| series.values.len()).sum::<usize>();
            }
        }
        self.waiting.clear();
        self.points = 0;
        Ok(())
    }
}

/// Whose fault it is that MLflow's runs cannot be read.
fn told(error: MlflowError) -> CommandError {
    let hint = match &error {
        MlflowError::Server(_) => {
            "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN say who asks"
        }
        _ => "name a folder such as mlruns, a file such as mlflow.db, or a server's http address",
    };
    CommandError::blamed(error).context("cannot import from MLflow").hint(hint)
}

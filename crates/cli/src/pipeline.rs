//! Pipeline files as commands use them: read, checked, their mistakes shown.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use wick_engine::{Expander, Slots};
use wick_pipeline::{Diagnostic, Diagnostics, Given, Override, Pipeline, Severity, Sources, Style};
use wick_plan::{KnownList, Machine, Plan, Request, Schedule, Verdict};
use wick_stage::Registry;

use crate::args::{GlobalArgs, ParamArgs};
use crate::error::{CommandError, CommandResult, ResultExt};
use crate::project::{self, Project, pipelines};
use crate::registry::registry;
use crate::render::{Ui, human};

/// A pipeline file that was read.
#[derive(Clone)]
pub struct PipelineFile {
    /// Where it is, absolute.
    pub path: PathBuf,
    /// As it is shown.
    pub shown: String,
    /// Its bytes.
    pub source: Vec<u8>,
    /// The folder of its project: the files that it is made of lie in there.
    pub root: PathBuf,
    /// All files that it is made of, once it was planned.
    sources: Option<Sources>,
}

/// When runs of a pipeline begin.
pub struct Scheduled {
    /// The pipeline's name.
    pub name: String,
    /// The folder that its relative paths are meant from.
    pub base: PathBuf,
    /// Its schedule, if it declares one.
    pub schedule: Option<Schedule>,
    /// What else is wrong with the file.
    pub trouble: Option<CommandError>,
    /// All files that it is made of, as far as they could be read.
    pub files: Vec<PathBuf>,
}

impl PipelineFile {
    /// Reads the file.
    pub fn read(path: &Path) -> CommandResult<Self> {
        let shown = path.display().to_string();
        if path.is_dir() {
            return Err(CommandError::invalid(format!("{shown} is a folder, not a pipeline file"))
                .hint(near_files(&path.join("pipeline.yaml"))));
        }
        let source = std::fs::read(path)
            .or_invalid(format!("cannot read {shown}"))
            .map_err(|error| if path.exists() { error } else { error.hint(near_files(path)) })?;
        let path = project::absolute(path)?;
        let root = project::root_of(&path);
        Ok(Self { path, shown, source, root, sources: None })
    }

    /// Reads the file that `named` names, or the file of the project's pipeline that is called so.
    pub fn find(named: &Path, global: &GlobalArgs, ui: &Ui) -> CommandResult<Self> {
        let mut file = match pipelines::named(named, global, ui)? {
            Some(path) => {
                let mut file = Self::read(&path)?;
                file.shown = Project::shown(&path);
                file
            }
            None => Self::read(named)?,
        };
        if let Some(folder) = &global.project {
            file.belongs_to(&project::absolute(folder)?);
        }
        Ok(file)
    }

    /// Lets the files that it is made of lie in the project in `root`, if it does itself.
    pub fn belongs_to(&mut self, root: &Path) {
        if self.path.starts_with(root) {
            self.root = root.to_owned();
        }
    }

    /// The text as it is recorded with a run: of all files that the plan was made of.
    pub fn text(&self) -> String {
        match &self.sources {
            Some(sources) => sources.recorded(),
            None => String::from_utf8_lossy(&self.source).into_owned(),
        }
    }

    /// Checks it: a plan if nothing is wrong, and whatever is to be said.
    pub fn check(&self, overrides: &[Override], registry: &Registry, machine: Machine) -> Verdict {
        self.checked_with(wick_plan::check, overrides, registry, machine, &[])
    }

    /// Checks it as something that need not run by itself.
    pub fn check_part(
        &self,
        overrides: &[Override],
        registry: &Registry,
        machine: Machine,
    ) -> Verdict {
        self.checked_with(wick_plan::check_part, overrides, registry, machine, &[])
    }

    fn checked_with(
        &self,
        check: fn(&Request<'_>) -> Verdict,
        overrides: &[Override],
        registry: &Registry,
        machine: Machine,
        lists: &[KnownList],
    ) -> Verdict {
        check(&Request {
            source: &self.source,
            file: &self.path,
            name: &self.shown,
            root: &self.root,
            load: &load,
            overrides,
            registry,
            environment: &|name| std::env::var(name).ok(),
            machine,
            lists,
        })
    }

    /// Checks it again while it runs, with the lists that its run has made.
    pub fn expander(&self, overrides: Vec<Override>, machine: Machine) -> Expander {
        let file = self.clone();
        Expander::blocking(move |lists| {
            let check = wick_plan::check;
            let verdict = file.checked_with(check, &overrides, &registry(), machine.clone(), lists);
            let Verdict { plan, diagnostics, sources, .. } = verdict;
            plan.ok_or_else(|| {
                let style = Style { width: 100, color: false, unicode: true };
                wick_pipeline::render(&diagnostics, &sources, style)
            })
        })
    }

    /// What it is called, where its relative paths begin, and its schedule. A schedule counts even
    /// where other things are wrong: what stages read may come later.
    pub async fn schedule(&self) -> CommandResult<Scheduled> {
        let file = self.clone();
        let (verdict, parsed) = tokio::task::spawn_blocking(move || {
            // Whether stages fit in the machine is asked when a run begins.
            let verdict = file.check(&[], &registry(), Machine::UNLIMITED);
            let parsed = if verdict.plan.is_none() { file.parse(&[]) } else { None };
            (verdict, parsed)
        })
        .await
        .or_internal("checking the pipeline was cut short")?;
        let Verdict { plan, diagnostics, sources, .. } = verdict;
        let files = sources.iter().map(|file| file.path().to_owned()).collect();
        if let Some(plan) = plan {
            let (name, base, schedule) = (plan.pipeline, plan.base, plan.schedule);
            return Ok(Scheduled { name, base, schedule, trouble: None, files });
        }
        let trouble = CommandError::invalid(format!(
            "{} has {}",
            self.shown,
            wick_pipeline::summary(&diagnostics)
        ))
        .hint(format!("`wick check {}` shows them", human::shell_word(&self.shown)));
        match parsed.and_then(|parsed| Some((parsed.name.value, parsed.schedule?.value))) {
            Some((name, schedule)) => Ok(Scheduled {
                name,
                base: self.path.parent().unwrap_or(Path::new("/")).to_owned(),
                schedule: Some(schedule),
                trouble: Some(trouble),
                files,
            }),
            None => Err(trouble),
        }
    }

    /// As much as can be read of it without knowing kinds; what is wrong is told by
    /// [`check`](Self::check).
    pub fn parse(&self, overrides: &[Override]) -> Option<Pipeline> {
        let given = Given {
            overrides,
            environment: &|name| std::env::var(name).ok(),
            root: &self.root,
            load: &load,
            lists: &[],
            prefix: "",
        };
        let mut sources = Sources::new(&self.path, &self.shown, &self.source);
        wick_pipeline::parse(&mut sources, given, &mut Diagnostics::new())
    }

    /// The plan; everything wrong is shown first.
    pub async fn plan(
        &mut self,
        overrides: Vec<Override>,
        machine: Machine,
        ui: &Ui,
    ) -> CommandResult<Plan> {
        // A kind may ask polars for the columns of a table, which must not happen on a thread
        // of the runtime.
        let file = self.clone();
        let Verdict { plan, diagnostics, sources, .. } =
            tokio::task::spawn_blocking(move || file.check(&overrides, &registry(), machine))
                .await
                .or_internal("checking the pipeline was cut short")?;
        let broken = diagnostics.iter().any(|found| found.severity == Severity::Error);
        if broken || (!diagnostics.is_empty() && ui.verbosity >= 0) {
            ui.say(rendered(&diagnostics, &sources, ui, false));
        }
        self.sources = Some(sources);
        plan.ok_or_else(|| {
            CommandError::invalid(format!(
                "{} has {}; nothing was run",
                self.shown,
                wick_pipeline::summary(&diagnostics)
            ))
        })
    }
}

/// Diagnostics as they are shown on the standard output or the standard error.
pub fn rendered(diagnostics: &[Diagnostic], sources: &Sources, ui: &Ui, on_output: bool) -> String {
    let style = ui.diagnostics_style(on_output);
    wick_pipeline::render(diagnostics, sources, style).trim_end().to_owned() + "\n"
}

/// Reads a file that a pipeline is made of; one byte more than is allowed is enough to tell that
/// it is too large.
pub fn load(path: &Path) -> std::io::Result<Vec<u8>> {
    // A pipe that nobody writes to would be waited for.
    if std::fs::metadata(path).is_ok_and(|data| !data.is_file() && !data.is_dir()) {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    let limit = wick_pipeline::yaml::MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What to say of a file that is not there: which files of its folder may have been meant.
pub fn near_files(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .filter(|name| name != "wick.yaml")
        .collect();
    names.sort_unstable();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    match wick_pipeline::did_you_mean(&wanted, names.iter().map(String::as_str)) {
        Some(hint) => hint,
        None if names.is_empty() => "there is no .yaml there; `wick init` writes an example".into(),
        None => format!("there are {}", names[..names.len().min(8)].join(", ")),
    }
}

/// The params given on the command line: those of files first, then those of `-p`, which count.
pub fn overrides(args: &ParamArgs, ui: &Ui) -> CommandResult<Vec<Override>> {
    let mut overrides = Vec::new();
    for path in &args.param_files {
        let shown = path.display().to_string();
        let source = std::fs::read(path).or_invalid(format!("cannot read {shown}"))?;
        match Override::read_file(&shown, &source) {
            Ok(read) => overrides.extend(read),
            Err(diagnostics) => {
                let style = ui.diagnostics_style(false);
                let sources = Sources::of_one(&shown, &source);
                ui.say(wick_pipeline::render(&diagnostics, &sources, style));
                return Err(CommandError::invalid(format!(
                    "{shown} has {}",
                    wick_pipeline::summary(&diagnostics)
                )));
            }
        }
    }
    overrides.extend(args.params.iter().cloned());
    Ok(overrides)
}

/// What runs of the project may occupy: what `wick.yaml` says, else what the machine has.
pub fn slots(project: &Project) -> Slots {
    let machine = Slots::of_machine();
    let config = &project.config.slots;
    Slots {
        cpus: config.cpus.unwrap_or(machine.cpus),
        memory: config.memory.unwrap_or(machine.memory),
        gpus: config.gpus.unwrap_or(machine.gpus),
    }
}

/// What stages of the project have to fit in.
pub fn machine(slots: &Slots, project: &Project) -> Machine {
    Machine {
        cpus: slots.cpus,
        memory: Some(slots.memory),
        gpus: slots.gpus,
        named: named_slots(project),
    }
}

/// What the project counts by name.
pub fn named_slots(project: &Project) -> Option<BTreeMap<String, u32>> {
    Some(project.config.slots.named.iter().cloned().collect())
}

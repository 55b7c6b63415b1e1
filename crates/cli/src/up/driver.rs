//! The loop of `wick up`: looks at the clock, at files and at what was typed, and begins, cancels
//! and ends runs. Decides nothing of when: see [`agenda`](super::agenda).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::json;
use tokio::sync::mpsc;
use wick_core::{Digest, Event, RunId, RunState, StageName, Timestamp};
use wick_engine::{CancelHandle, CancelMode, Reporter, RunOutcome, Totals};
use wick_plan::{Missed, Plan, Schedule, Selection, Times};
use wick_store::hold::Hold;
use wick_store::slots::Obstacle;

use super::agenda::{Agenda, Cause, Deed};
use super::changes::{Look, Patterns, Watch};
use super::discover::scheduled_files;
use super::memory::{Entry, Memory};
use super::report::{Log, because, cause_to_json, from_now, times};
use crate::args::ExecuteArgs;
use crate::drive::{Execution, Surroundings, drive};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::hooks;
use crate::pipeline::{self, PipelineFile, Scheduled};
use crate::project::Project;
use crate::render::{Paint, Ui, human};
use crate::session::Session;

/// How often clock and files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looking at files takes at most this share of the time: many files are looked at less often.
const LOOK_SHARE: u32 = 10;

/// After so many looks the project is searched for new pipeline files.
const LOOKS_UNTIL_SEARCH: u32 = 30;

/// After so many looks the lock of the store is confirmed even if no run begins.
const LOOKS_UNTIL_CONFIRM: u32 = 30;

/// How many failed stages a line names.
const NAMED_FAILURES: usize = 3;

/// What all runs share.
pub struct Shared<'a> {
    /// The project with its store.
    pub session: &'a Session,
    /// Where diagnostics go.
    pub ui: &'a Ui,
    /// How runs are executed.
    pub execute: &'a ExecuteArgs,
    /// At most so many runs at once.
    pub runs: usize,
}

/// A pipeline file that has, or should have, a schedule.
pub struct Pipeline {
    path: PathBuf,
    /// The project's folder.
    root: PathBuf,
    /// Its path from the project's folder: what is remembered is kept under it.
    key: String,
    /// What lines call it.
    pub name: String,
    /// How the files that it is made of looked when they were read.
    stamps: Vec<(PathBuf, Stamp)>,
    /// What is wrong with the file although its schedule could be read.
    pub trouble: Option<CommandError>,
    /// Its schedule, once it could be read.
    pub active: Option<Active>,
    run: Option<Running>,
    /// Why a run is to begin as soon as there is room for one more.
    pending: Option<Cause>,
}

/// A schedule that counts.
pub struct Active {
    /// As it is declared.
    pub schedule: Schedule,
    /// Its cron expression.
    pub times: Option<Times>,
    digest: Digest,
    /// When runs begin.
    pub agenda: Agenda,
    patterns: Option<Patterns>,
    watch: Option<Watch>,
    /// How the files looked when an earlier process had dealt with them.
    looked: Option<Digest>,
    /// Whether they have changed since, and a run is to begin.
    changed_before: bool,
}

struct Running {
    cancel: CancelHandle,
    run: Option<RunId>,
    began: Instant,
    /// Why it begins, in words.
    why: String,
}

/// What a run tells while it goes on.
enum Told {
    /// Which it is.
    Begun(RunId),
    /// A stage waits for a slot that another run has.
    Waits(StageName, Obstacle),
}

/// A run that ended: of which pipeline, and how.
type Ended = (usize, Result<RunOutcome, CommandError>);

type Runs<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + 'a>>>;

/// The process that begins runs by schedule.
pub struct Up<'a> {
    shared: &'a Shared<'a>,
    log: Log<'a>,
    hold: Hold,
    memory: Memory,
    pipelines: Vec<Pipeline>,
    /// Whether the project is searched for further files.
    search: bool,
    runs: Runs<'a>,
    queue: VecDeque<usize>,
    /// What runs tell, by their pipelines' places.
    told: mpsc::UnboundedReceiver<(usize, Told)>,
    tells: mpsc::UnboundedSender<(usize, Told)>,
    stopping: bool,
    cut_short: bool,
}

/// Reads the pipelines at `paths` and what they declare; those that are broken are told and have
/// no schedule yet.
pub async fn read_all(
    paths: Vec<PathBuf>,
    project: &Project,
    ui: &Ui,
) -> CommandResult<Vec<Pipeline>> {
    let mut pipelines = Vec::new();
    for path in paths {
        let mut pipeline = Pipeline::new(path, project);
        let now = human::now();
        match pipeline.read(now).await {
            Ok(Some(_)) => {
                if let Some(trouble) = &pipeline.trouble {
                    ui.error(trouble);
                }
                pipelines.push(pipeline);
            }
            Ok(None) => {}
            Err(error) => {
                ui.error(&error);
                pipelines.push(pipeline);
            }
        }
    }
    Ok(pipelines)
}

impl Pipeline {
    fn new(path: PathBuf, project: &Project) -> Self {
        let key = path.strip_prefix(&project.root).unwrap_or(&path).display().to_string();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let root = project.root.clone();
        Self {
            path,
            root,
            key,
            name,
            stamps: Vec::new(),
            trouble: None,
            active: None,
            run: None,
            pending: None,
        }
    }

    /// Reads the file. `Some` with whether its schedule is another one than before; `None` if it
    /// declares none, and then nothing begins any more.
    async fn read(&mut self, now: Timestamp) -> CommandResult<Option<bool>> {
        // Of a file that cannot be read at all, itself is watched, and what it was made of.
        let path = self.path.clone();
        self.stamps.retain(|(known, _)| *known != path);
        self.stamps.push((path, stamp(&self.path)));
        self.stamps.iter_mut().for_each(|(path, seen)| *seen = stamp(path));
        let mut file = PipelineFile::read(&self.path)?;
        file.shown = Project::shown(&file.path);
        file.belongs_to(&self.root);
        let Scheduled { name, base, schedule, trouble, files } = file.schedule().await?;
        // What changed while it was read is read again.
        let seen = std::mem::take(&mut self.stamps);
        let before = |path: &PathBuf| seen.iter().find(|(known, _)| known == path);
        self.stamps = files
            .into_iter()
            .map(|path| {
                before(&path).cloned().unwrap_or_else(|| {
                    let now = stamp(&path);
                    (path, now)
                })
            })
            .collect();
        self.name = name;
        self.trouble = trouble;
        let Some(schedule) = schedule else {
            self.active = None;
            return Ok(None);
        };
        if self.active.as_ref().is_some_and(|active| active.schedule == schedule) {
            return Ok(Some(false));
        }
        let times = match &schedule.cron {
            Some(cron) => {
                Some(Times::parse(cron, schedule.timezone.as_deref()).map_err(|error| {
                    let help = error.help();
                    CommandError::invalid(error)
                        .context(format!("{} has a schedule that cannot be", self.key))
                        .hint(help)
                })?)
            }
            None => None,
        };
        let patterns = (!schedule.on_change.is_empty())
            .then(|| Patterns::new(&base, &schedule.on_change))
            .transpose()
            .or_invalid(format!("{} has a schedule that cannot be", self.key))?;
        let (missed, overlap) = (schedule.missed, schedule.overlap);
        let agenda = match &self.active {
            Some(active) => active.agenda.rescheduled(times.clone(), missed, overlap, now),
            None => Agenda::new(times.clone(), missed, overlap, None, now),
        };
        let digest = Digest::of(
            format!("{:?} {:?} {:?}", schedule.cron, schedule.timezone, schedule.on_change)
                .as_bytes(),
        );
        self.active = Some(Active {
            schedule,
            times,
            digest,
            agenda,
            patterns,
            watch: None,
            looked: None,
            changed_before: false,
        });
        Ok(Some(true))
    }

    /// Whether all files that it is made of look as they did when they were read.
    fn is_as_read(&self) -> bool {
        !self.stamps.is_empty() && self.stamps.iter().all(|(path, seen)| stamp(path) == *seen)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it will do next, in words.
    pub fn next(&self, now: Timestamp) -> String {
        let Some(active) = &self.active else { return "nothing until it is mended".to_owned() };
        let mut words = Vec::new();
        if let (Some(times), Some(next)) = (&active.times, active.agenda.next(now)) {
            words.push(format!("next {}, {}", times.shown(next), from_now(next, now)));
        }
        if !active.schedule.on_change.is_empty() {
            words.push(format!("when {} changes", active.schedule.on_change.join(", ")));
        }
        words.join("; ")
    }
}

impl<'a> Up<'a> {
    /// Begins with these pipelines. With `search` the project is searched for further ones.
    pub fn new(
        shared: &'a Shared<'a>,
        log: Log<'a>,
        hold: Hold,
        pipelines: Vec<Pipeline>,
        search: bool,
    ) -> Self {
        let (memory, trouble) = Memory::read(&shared.session.project.state_folder());
        if let Some(trouble) = trouble {
            shared.ui.warn(format_args!("{trouble}; times that were missed are not known"));
        }
        let (tells, told) = mpsc::unbounded_channel();
        Self {
            shared,
            log,
            hold,
            memory,
            pipelines,
            search,
            runs: FuturesUnordered::new(),
            queue: VecDeque::new(),
            told,
            tells,
            stopping: false,
            cut_short: false,
        }
    }

    /// Begins runs until it is asked to end.
    pub async fn until_stopped(mut self) -> CommandResult {
        use tokio::signal::unix::{SignalKind, signal};
        let cannot_listen = "cannot listen to signals";
        let mut interrupt = signal(SignalKind::interrupt()).or_internal(cannot_listen)?;
        let mut terminate = signal(SignalKind::terminate()).or_internal(cannot_listen)?;
        for index in 0..self.pipelines.len() {
            self.remember(index);
        }
        self.align();
        // What changes from the next line on is seen.
        self.first_look().await?;
        for index in 0..self.pipelines.len() {
            self.tell_next(index, "watching");
        }
        let mut looks = 0_u32;
        let mut pause = Duration::ZERO;
        loop {
            if self.stopping && self.runs.is_empty() {
                break;
            }
            tokio::select! {
                _ = interrupt.recv() => self.stop(false),
                _ = terminate.recv() => self.stop(true),
                Some((index, told)) = self.told.recv() => self.run_told(index, told),
                Some(ended) = self.runs.next(), if !self.runs.is_empty() => {
                    self.run_ended(ended).await?;
                }
                () = tokio::time::sleep(pause), if !self.stopping => {
                    let began = Instant::now();
                    self.reread().await;
                    if self.search && looks % LOOKS_UNTIL_SEARCH == LOOKS_UNTIL_SEARCH - 1 {
                        self.search().await;
                    }
                    if looks % LOOKS_UNTIL_CONFIRM == LOOKS_UNTIL_CONFIRM - 1 {
                        self.confirm().await?;
                    }
                    self.look().await?;
                    looks = looks.wrapping_add(1);
                    pause = LOOK.max(began.elapsed() * LOOK_SHARE);
                }
            }
        }
        Ok(if self.cut_short { ExitCode::Cancelled } else { ExitCode::Success })
    }

    /// Takes up what an earlier process remembered of a schedule.
    fn remember(&mut self, index: usize) {
        let pipeline = &mut self.pipelines[index];
        let Some(active) = &mut pipeline.active else { return };
        let Some(entry) = self.memory.of(&pipeline.key, active.digest) else { return };
        active.looked = entry.files;
        let (missed, overlap) = (active.schedule.missed, active.schedule.overlap);
        active.agenda =
            Agenda::new(active.times.clone(), missed, overlap, Some(entry.seen), human::now());
    }

    /// Makes the columns of the lines as wide as the names are.
    fn align(&mut self) {
        let widths = self.pipelines.iter().map(|pipeline| pipeline.name.chars().count());
        self.log.width = widths.max().unwrap_or(0);
    }

    fn tell_next(&self, index: usize, event: &str) {
        let pipeline = &self.pipelines[index];
        let now = human::now();
        let next = pipeline.active.as_ref().and_then(|active| active.agenda.next(now));
        let on_change = pipeline.active.as_ref().map(|active| &active.schedule.on_change);
        let details = json!({"file": pipeline.key, "next": next, "on_change": on_change});
        self.log.tell(&pipeline.name, event, Paint::Plain, &pipeline.next(now), details);
    }

    /// Ctrl-C, or a request of the system to end: the first lets running stages end, a second, or
    /// the system's, stops them.
    fn stop(&mut self, at_once: bool) {
        self.stopping = true;
        self.queue.clear();
        let mut running = 0;
        let mut killed = at_once;
        for run in self.pipelines.iter().filter_map(|pipeline| pipeline.run.as_ref()) {
            running += 1;
            if at_once {
                run.cancel.kill();
            } else {
                killed |= run.cancel.request() == CancelMode::Kill;
            }
        }
        self.cut_short |= running > 0;
        let text = match (running, killed) {
            (0, _) => "ended".to_owned(),
            (_, true) => "stopping the running stages".to_owned(),
            (running, false) => format!(
                "no run begins any more: waiting for the running stages of {} to end; Ctrl-C \
                 again stops them",
                human::plural(running, "run")
            ),
        };
        self.log.say("stopping", &text);
    }

    /// Reads the pipeline files that were changed.
    async fn reread(&mut self) {
        for index in 0..self.pipelines.len() {
            let pipeline = &mut self.pipelines[index];
            if pipeline.is_as_read() {
                continue;
            }
            match pipeline.read(human::now()).await {
                Ok(Some(changed)) => {
                    let trouble = pipeline.trouble.take();
                    if changed {
                        self.remember(index);
                        self.align();
                        self.tell_next(index, "rescheduled");
                    }
                    if let Some(trouble) = trouble {
                        self.tell_broken(index, "it cannot run as it is", &trouble);
                    }
                }
                Ok(None) => {
                    let (name, details) = (pipeline.name.clone(), json!({"file": pipeline.key}));
                    let text = "it has no schedule any more";
                    self.log.tell(&name, "unscheduled", Paint::Warning, text, details);
                }
                Err(error) => {
                    let kept = pipeline.active.is_some();
                    let text = if kept {
                        "it is broken; its schedule stays as it was"
                    } else {
                        "it is broken"
                    };
                    self.tell_broken(index, text, &error);
                }
            }
        }
    }

    fn tell_broken(&self, index: usize, text: &str, error: &CommandError) {
        let pipeline = &self.pipelines[index];
        let details = json!({"file": pipeline.key, "error": words(error)});
        self.log.tell(&pipeline.name, "broken", Paint::Bad, text, details);
        if !self.log.is_json() {
            self.shared.ui.error(error);
        }
    }

    /// Looks for pipeline files that were not there before.
    async fn search(&mut self) {
        let root = self.shared.session.project.root.clone();
        let Ok(paths) = tokio::task::spawn_blocking(move || scheduled_files(&root)).await else {
            return;
        };
        for path in paths {
            if self.pipelines.iter().any(|pipeline| pipeline.path == path) {
                continue;
            }
            // It is read with the files that were changed: nothing of it is known yet.
            self.pipelines.push(Pipeline::new(path, &self.shared.session.project));
        }
    }

    /// Another process must not begin the same runs.
    async fn confirm(&mut self) -> CommandResult<()> {
        match self.hold.confirm().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CommandError::internal(anyhow::anyhow!(
                "another wick begins runs by schedule in this store now; this one has stopped"
            ))
            .hint("let one `wick up` run for each store")),
            Err(error) => {
                // A server that is away for a while is no reason to end; no run can begin anyway.
                self.shared.ui.warn(format_args!("cannot reach the store: {error}"));
                Ok(())
            }
        }
    }

    /// Looks at the files for the first time, and remembers that somebody watches from now on.
    async fn first_look(&mut self) -> CommandResult<()> {
        let looks = self.look_at_files().await?;
        for (index, look) in looks.into_iter().enumerate() {
            let Some(active) = &mut self.pipelines[index].active else { continue };
            if let Some(look) = look {
                active.watch(look);
            }
            // What was missed is remembered as dealt with when it is.
            if !active.changed_before {
                self.keep(index)?;
            }
        }
        Ok(())
    }

    /// Looks at the clock and at files, and does what is due.
    async fn look(&mut self) -> CommandResult<()> {
        let looks = self.look_at_files().await?;
        let now = human::now();
        for (index, look) in looks.into_iter().enumerate() {
            let Some(active) = &mut self.pipelines[index].active else { continue };
            let mut deeds = active.agenda.look(now);
            let mut changed = Vec::new();
            if let Some(look) = look
                && let Some(found) = active.watch(look)
            {
                changed = found;
                deeds.push(active.agenda.changed());
            } else if std::mem::take(&mut active.changed_before) {
                deeds.push(active.agenda.changed());
            }
            for deed in deeds {
                self.carry_out(index, deed, &changed).await?;
            }
            self.keep(index)?;
        }
        Ok(())
    }

    /// How the files look that pipelines watch, by the pipelines' places.
    async fn look_at_files(&self) -> CommandResult<Vec<Option<Look>>> {
        let patterns: Vec<Option<Patterns>> = self
            .pipelines
            .iter()
            .map(|pipeline| pipeline.active.as_ref()?.patterns.clone())
            .collect();
        if patterns.iter().all(Option::is_none) {
            return Ok(patterns.iter().map(|_| None).collect());
        }
        // A file system may take its time; signals are heard meanwhile.
        tokio::task::spawn_blocking(move || {
            patterns.iter().map(|patterns| Some(patterns.as_ref()?.look())).collect()
        })
        .await
        .or_internal("looking at files was cut short")
    }

    /// Remembers up to when a pipeline was dealt with.
    fn keep(&mut self, index: usize) -> CommandResult<()> {
        let pipeline = &self.pipelines[index];
        let Some(active) = &pipeline.active else { return Ok(()) };
        let files = active.watch.as_ref().map(|watch| watch.dealt().digest());
        let known = self.memory.of(&pipeline.key, active.digest);
        // Between two times nothing is lost by a moment that is not quite the last.
        let seen = match known {
            Some(entry) if entry.files == files => {
                let last = entry.seen;
                let passed = active
                    .times
                    .as_ref()
                    .and_then(|times| times.next_after(last))
                    .is_some_and(|next| next <= active.agenda.seen());
                if passed || last > active.agenda.seen() { active.agenda.seen() } else { last }
            }
            _ => active.agenda.seen(),
        };
        let entry = Entry { schedule: active.digest, seen, files };
        let key = pipeline.key.clone();
        self.memory.keep(&key, entry)
    }

    /// Does what an agenda says.
    async fn carry_out(
        &mut self,
        index: usize,
        deed: Deed,
        changed: &[PathBuf],
    ) -> CommandResult<()> {
        let pipeline = &self.pipelines[index];
        let shown = |time| match pipeline.active.as_ref().and_then(|active| active.times.as_ref()) {
            Some(times) => times.shown(time),
            None => format!("{time} UTC"),
        };
        let why = |cause: Cause| match (cause, changed) {
            (Cause::Change, [first, others @ ..]) => {
                let first = first.strip_prefix(&self.shared.session.project.root).unwrap_or(first);
                match others.len() {
                    0 => format!("{} changed", first.display()),
                    more => format!("{} and {more} more changed", first.display()),
                }
            }
            (cause, _) => because(cause, shown),
        };
        let going = || match pipeline.run.as_ref().and_then(|run| run.run.as_ref()) {
            Some(run) => format!("run {run}"),
            None => "a run".to_owned(),
        };
        let (event, paint, text, cause) = match &deed {
            Deed::Begin(cause) => return self.begin(index, *cause, why(*cause)).await,
            Deed::Cancel(cause) => {
                let text = format!("{}: cancelling {}, which goes on", why(*cause), going());
                if let Some(run) = &pipeline.run {
                    run.cancel.kill();
                }
                ("cancelling", Paint::Warning, text, Some(*cause))
            }
            Deed::Wait(cause) => {
                let text = format!("{}: begins when {} has ended", why(*cause), going());
                ("waiting", Paint::Plain, text, Some(*cause))
            }
            Deed::Skip(cause) => {
                let text = format!("{}: skipped, {} goes on", why(*cause), going());
                ("skipped", Paint::Warning, text, Some(*cause))
            }
            Deed::Miss { count, last } => {
                let text = format!("{} missed, the last {}", times(*count), shown(*last));
                let cause = Cause::Missed { count: *count, last: *last };
                ("missed", Paint::Warning, text, Some(cause))
            }
            Deed::ClockSetBack => {
                let text = "the clock was set back: times count from now".to_owned();
                ("clock", Paint::Warning, text, None)
            }
        };
        let details = json!({"file": pipeline.key, "cause": cause.map(cause_to_json)});
        self.log.tell(&pipeline.name, event, paint, &text, details);
        Ok(())
    }

    /// Begins a run, or puts it off until there is room.
    async fn begin(&mut self, index: usize, cause: Cause, why: String) -> CommandResult<()> {
        if self.stopping {
            return Ok(());
        }
        self.confirm().await?;
        if self.runs.len() >= self.shared.runs {
            self.pipelines[index].pending = Some(cause);
            self.queue.push_back(index);
            let pipeline = &self.pipelines[index];
            let text = format!("{why}: begins when there is room, {} go on", self.runs.len());
            let details = json!({"file": pipeline.key, "cause": cause_to_json(cause)});
            self.log.tell(&pipeline.name, "waiting", Paint::Plain, &text, details);
            return Ok(());
        }
        let cancel = CancelHandle::default();
        let pipeline = &mut self.pipelines[index];
        let began = Instant::now();
        pipeline.run = Some(Running { cancel: cancel.clone(), run: None, began, why });
        let details = json!({"file": pipeline.key, "cause": cause_to_json(cause)});
        self.log.tell_programs(&pipeline.name, "begins", details);
        let (shared, path, tells) = (self.shared, pipeline.path.clone(), self.tells.clone());
        self.runs.push(Box::pin(async move {
            // A defect that shows in one run must not end the others.
            let run = std::panic::AssertUnwindSafe(run(shared, &path, cancel, index, tells));
            let ended = run.catch_unwind().await.unwrap_or_else(|_| {
                Err(CommandError::internal(anyhow::anyhow!("the run met a defect of wick")))
            });
            (index, ended)
        }));
        Ok(())
    }

    fn run_told(&mut self, index: usize, told: Told) {
        let pipeline = &mut self.pipelines[index];
        let run = match told {
            Told::Begun(run) => run,
            Told::Waits(stage, obstacle) => {
                let details = json!({
                    "file": pipeline.key,
                    "run": pipeline.run.as_ref().and_then(|running| running.run.as_ref()),
                    "stage": stage,
                    "for": obstacle.what,
                    "holder": obstacle.holder,
                });
                let text = format!("{stage} waits for {obstacle}");
                self.log.tell(&pipeline.name, "stage_waits", Paint::Plain, &text, details);
                return;
            }
        };
        let details = json!({"file": pipeline.key, "run": run});
        let why = pipeline.run.as_ref().map(|running| running.why.as_str()).unwrap_or_default();
        let text = format!("run {run} begins: {why}");
        self.log.tell(&pipeline.name, "begun", Paint::Calm, &text, details);
        if let Some(running) = &mut pipeline.run {
            running.run = Some(run);
        }
    }

    async fn run_ended(&mut self, (index, ended): Ended) -> CommandResult<()> {
        // What it told of its begin comes first.
        while let Ok((of, told)) = self.told.try_recv() {
            self.run_told(of, told);
        }
        let running = self.pipelines[index].run.take();
        self.tell_end(index, ended, running);
        let deed = self.pipelines[index].active.as_mut().and_then(|active| active.agenda.ended());
        match deed {
            Some(deed) => self.carry_out(index, deed, &[]).await?,
            None if !self.stopping => self.tell_next(index, "watching"),
            None => {}
        }
        while self.runs.len() < self.shared.runs
            && let Some(next) = self.queue.pop_front()
        {
            if let Some(cause) = self.pipelines[next].pending.take() {
                self.begin(next, cause, "there is room now".to_owned()).await?;
            }
        }
        Ok(())
    }

    /// One line of how a run ended, and what failed in it.
    fn tell_end(
        &self,
        index: usize,
        ended: Result<RunOutcome, CommandError>,
        running: Option<Running>,
    ) {
        let pipeline = &self.pipelines[index];
        match ended {
            Ok(outcome) => {
                let paint = crate::render::style::run_paint(outcome.state);
                let mut text = format!(
                    "run {} {} in {}",
                    outcome.run,
                    outcome.state,
                    human::micros(i64::try_from(outcome.wall.as_micros()).unwrap_or(i64::MAX)),
                );
                for failed in outcome.failed.iter().take(NAMED_FAILURES) {
                    let message = failed.failure.message.lines().next().unwrap_or_default();
                    text.push_str(&format!("; {}: {message}", failed.stage));
                }
                if outcome.failed.len() > NAMED_FAILURES {
                    let more = outcome.failed.len() - NAMED_FAILURES;
                    text.push_str(&format!("; and {more} more"));
                }
                if outcome.state == RunState::Failed {
                    let flag = self.shared.session.project.flag();
                    text.push_str(&format!("; `wick show {}{flag}`", outcome.run));
                }
                let failed: Vec<_> = outcome
                    .failed
                    .iter()
                    .map(|failed| json!({"stage": failed.stage, "message": failed.failure.message}))
                    .collect();
                let details = json!({
                    "file": pipeline.key,
                    "run": outcome.run,
                    "state": outcome.state,
                    "seconds": outcome.wall.as_secs_f64(),
                    "failed": failed,
                });
                self.log.tell(&pipeline.name, "ended", paint, &text, details);
            }
            Err(error) => {
                let seconds = running.map(|run| run.began.elapsed().as_secs_f64());
                let details = json!({
                    "file": pipeline.key, "error": words(&error), "seconds": seconds,
                });
                self.log.tell(&pipeline.name, "broken", Paint::Bad, "no run came of it", details);
                if !self.log.is_json() {
                    self.shared.ui.error(&error);
                }
            }
        }
    }
}

impl Active {
    /// The files look so now: those that have changed, once they are still.
    fn watch(&mut self, look: Look) -> Option<Vec<PathBuf>> {
        match &mut self.watch {
            Some(watch) => watch.look(look),
            None => {
                // What changed while nobody was there counts as times do that passed meanwhile.
                let changed = self.looked.take().is_some_and(|looked| looked != look.digest());
                self.changed_before |= changed && self.schedule.missed == Missed::RunOnce;
                self.watch = Some(Watch::new(look));
                None
            }
        }
    }
}

/// One run of the pipeline at `path`, which is read anew.
async fn run(
    shared: &Shared<'_>,
    path: &Path,
    cancel: CancelHandle,
    index: usize,
    tells: mpsc::UnboundedSender<(usize, Told)>,
) -> Result<RunOutcome, CommandError> {
    let mut file = PipelineFile::read(path)?;
    file.shown = Project::shown(&file.path);
    file.belongs_to(&shared.session.project.root);
    let slots = pipeline::slots(&shared.session.project);
    let machine = pipeline::machine(&slots, &shared.session.project);
    let plan = file.plan(Vec::new(), machine.clone(), shared.ui).await?;
    let selection = Selection::default();
    let expander = file.expander(Vec::new(), machine);
    let (plan, text) = (plan.into(), file.text());
    let execution = Execution { plan, text, rerun: None, selection, expander };
    let mut reporter = Teller { index, tells };
    let surroundings = Surroundings::of(&execution.plan);
    let Shared { execute, session, .. } = shared;
    let outcome = drive(&execution, surroundings, execute, session, cancel, &mut reporter).await?;
    hooks::after_run(&execution.plan, &outcome, shared.session, shared.ui).await;
    Ok(outcome)
}

/// Tells the loop what it says of a run.
struct Teller {
    index: usize,
    tells: mpsc::UnboundedSender<(usize, Told)>,
}

impl Teller {
    fn tell(&self, told: Told) {
        // The loop ends only after its runs.
        let _ = self.tells.send((self.index, told));
    }
}

impl Reporter for Teller {
    fn run_started(&mut self, run: &RunId, _plan: &Plan, _folder: &Path) {
        self.tell(Told::Begun(run.clone()));
    }

    fn stage_waits(&mut self, stage: &StageName, obstacle: &Obstacle) {
        self.tell(Told::Waits(stage.clone(), obstacle.clone()));
    }

    fn event(&mut self, _event: &Event, _totals: &Totals) {}
}

/// How a file looks: its size and when it was changed.
type Stamp = Option<(u64, i64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(path).ok()?;
    Some((data.len(), data.mtime() * 1_000_000_000 + data.mtime_nsec()))
}

/// An error with its causes, in one line.
fn words(error: &CommandError) -> String {
    format!("{:#}", error.error)
}

//! What came of an attempt whose process has ended.

use wick_core::{Exit, Failure, FailureCause, MetricPoint, Output, Usage};
use wick_plan::StageIndex;
use wick_stage::{StageError, layout};

use super::running::{Reports, Told};
use super::{LocalExecutor, Work, process_id, running};
use crate::cgroup::GroupUsage;
use crate::command::collect;
use crate::dispatcher::StopReason;
use crate::executor::{Change, End, Made};
use crate::memory::MemoryUse;
use crate::{failure, identity};

/// What a shell returns when a program that it ran was killed.
const SHELL_KILLED: i32 = 128 + libc::SIGKILL;

impl LocalExecutor {
    /// The attempt's process has ended.
    pub(super) fn exited(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        exit: Exit,
        usage: Usage,
        group: Option<GroupUsage>,
    ) {
        let Some(ended) = running(&mut self.running, stage, attempt) else { return };
        (ended.exit, ended.usage, ended.group) = (Some(exit), usage, group);
        // All that is left, in parts: each is handed on before the next is read.
        loop {
            let Some(ended) = running(&mut self.running, stage, attempt) else { return };
            let look = ended.reports.read(identity::now(), true);
            self.measured(stage, attempt, look.points);
            if !look.more {
                break;
            }
        }
        let Some(running) = running(&mut self.running, stage, attempt) else { return };
        running.warn();
        let stop = running.stop.filter(|_| exit != Exit::Code(0));
        let timeout = running.planned().timeout.unwrap_or_default();
        let told = match &mut running.reports {
            Reports::Native { told, .. } => Some(std::mem::take(told)),
            Reports::Command { .. } => None,
        };
        match (stop, told) {
            (Some(StopReason::Cancel | StopReason::RunTimeout), _) => {
                self.end(stage, attempt, usage, End::Cancelled)
            }
            (Some(StopReason::Timeout), _) => {
                self.fail(stage, attempt, failure::timed_out(timeout, Some(exit)), usage);
            }
            (None, Some(told)) => self.worker_ended(stage, attempt, exit, usage, told),
            (None, None) => self.program_ended(stage, attempt, exit, usage),
        }
    }

    /// A worker told itself what it made, and what went wrong.
    fn worker_ended(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        exit: Exit,
        usage: Usage,
        told: Told,
    ) {
        let Some(running) = running(&mut self.running, stage, attempt) else { return };
        let missing = told.missing(running.planned());
        if exit != Exit::Code(0) || told.failure.is_some() {
            let failure = self.why(stage, attempt, exit, "the worker", told.failure);
            self.fail(stage, attempt, failure, usage);
        } else if let Some(failure) = missing {
            self.fail(stage, attempt, failure, usage);
        } else {
            let made = Made { outputs: told.outputs, effects: told.effects };
            if self.artifacts.remote().is_some() && !made.outputs.is_empty() {
                self.share(stage, attempt, made);
            } else {
                self.end(stage, attempt, usage, End::Succeeded(made));
            }
        }
    }

    /// Brings what a worker has put into the folder to the remote, before anybody is told of it.
    /// So no worker needs credentials, or knows that there is a remote.
    fn share(&self, stage: StageIndex, attempt: u32, made: Made) {
        let (work, artifacts) = (self.work.clone(), self.artifacts.clone());
        tokio::task::spawn_blocking(move || {
            let share = |output: &Output| {
                artifacts.share(&output.digest, output.bytes).map_err(|error| {
                    let what = format!("cannot keep output `{}`", output.port);
                    StageError::new(FailureCause::Io, what).because(error).to_failure()
                })
            };
            let shared = made.outputs.iter().try_for_each(share);
            let shared = shared.map(|()| (made, Vec::new()));
            let _ = work.send(Work::Collected(stage, attempt, shared));
        });
    }

    /// What a program made is looked at, and put into the artifact store.
    fn program_ended(&mut self, stage: StageIndex, attempt: u32, exit: Exit, usage: Usage) {
        if exit != Exit::Code(0) {
            let failure = self.why(stage, attempt, exit, "the program", None);
            return self.fail(stage, attempt, failure, usage);
        }
        let Some(running) = running(&mut self.running, stage, attempt) else { return };
        let Reports::Command { config, .. } = &running.reports else { return };
        if config.outputs.is_empty() && config.metrics.is_none() {
            let made = Made { outputs: Vec::new(), effects: running.reported_params() };
            return self.end(stage, attempt, usage, End::Succeeded(made));
        }
        let (config, folder) = (config.clone(), running.folder.clone());
        let workdir = running.workdir(&config);
        let (work, artifacts) = (self.work.clone(), self.artifacts.clone());
        tokio::task::spawn_blocking(move || {
            let collected =
                collect::metrics(&config, &folder, &workdir, identity::now()).and_then(|points| {
                    let outputs = collect::outputs(&config, &folder, &workdir, &artifacts)?;
                    Ok((Made { outputs, effects: Vec::new() }, points))
                });
            let collected = collected.map_err(|error| error.to_failure());
            let _ = work.send(Work::Collected(stage, attempt, collected));
        });
    }

    /// What the attempt made lies in the artifact store, or could not be put there.
    pub(super) fn collected(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        collected: Result<(Made, Vec<MetricPoint>), Failure>,
    ) {
        let Some(running) = running(&mut self.running, stage, attempt) else { return };
        let (usage, exit) = (running.usage, running.exit);
        match collected {
            Ok((mut made, points)) => {
                running.masks().mask_outputs(&mut made.outputs);
                made.effects = running.reported_params();
                self.measured(stage, attempt, points);
                self.end(stage, attempt, usage, End::Succeeded(made));
            }
            Err(mut failure) => {
                failure.exit = exit;
                self.fail(stage, attempt, failure, usage);
            }
        }
    }

    /// Why an attempt failed, whose process, called `what`, ended so, and may have told why.
    fn why(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        exit: Exit,
        what: &str,
        told: Option<Failure>,
    ) -> Failure {
        let machine_ran_out = self.machine_ran_out(exit);
        let ended = failure::ended(exit, what);
        let Some(running) = running(&mut self.running, stage, attempt) else { return ended };
        let log = running.folder.join(layout::LOG);
        let memory = running.memory(&log);
        if memory.ran_out(Some(exit), told.as_ref()) {
            let mut failure = memory.failure(what, Some(exit));
            if let Some(told) = told {
                failure.chain = std::iter::once(told.message).chain(told.chain).collect();
            }
            return failure;
        }
        match told {
            Some(told) => Failure { exit: Some(exit), ..told },
            None if machine_ran_out => MemoryUse::default().failure(what, Some(exit)),
            None => ended,
        }
    }

    /// Whether the system has killed a process for memory since the last time.
    fn machine_ran_out(&mut self, exit: Exit) -> bool {
        if !matches!(exit, Exit::Signal(libc::SIGKILL) | Exit::Code(SHELL_KILLED)) {
            return false;
        }
        let kills = failure::out_of_memory_kills();
        kills > std::mem::replace(&mut self.memory_kills, kills)
    }

    fn measured(&mut self, stage: StageIndex, attempt: u32, mut points: Vec<MetricPoint>) {
        if !points.is_empty() {
            if let Some(running) = running(&mut self.running, stage, attempt) {
                running.make_harmless(&mut points);
            }
            self.tell(stage, attempt, Change::Measured(points));
        }
    }

    /// Ends an attempt as failed.
    pub(super) fn fail(&mut self, stage: StageIndex, attempt: u32, failure: Failure, usage: Usage) {
        let running = running(&mut self.running, stage, attempt);
        let masks = running.map(|running| running.masks()).unwrap_or_default();
        self.end(stage, attempt, usage, End::Failed(failure::recorded(failure, &masks)));
    }

    /// The last word on an attempt.
    pub(super) fn end(&mut self, stage: StageIndex, attempt: u32, usage: Usage, end: End) {
        if let Some(running) = self.running.remove(&stage) {
            if running.is_watched {
                self.sampler.forget(process_id(stage, attempt));
            }
            self.tell(stage, attempt, Change::Ended { usage, end });
        }
    }
}

//! What came of an attempt whose process has ended.

use wick_core::{Exit, Failure, MetricPoint, Usage};
use wick_plan::StageIndex;

use super::running::{Reports, Told};
use super::{LocalExecutor, Work, running};
use crate::command::collect;
use crate::dispatcher::StopReason;
use crate::executor::{Change, End, Made};
use crate::{failure, identity};

impl LocalExecutor {
    /// The attempt's process has ended.
    pub(super) fn exited(&mut self, stage: StageIndex, attempt: u32, exit: Exit, usage: Usage) {
        let Some(running) = running(&mut self.running, stage, attempt) else { return };
        (running.exit, running.usage) = (Some(exit), usage);
        let (points, _) = running.reports.read(identity::now());
        let stop = running.stop.filter(|_| exit != Exit::Code(0));
        let timeout = running.planned().timeout.unwrap_or_default();
        let told = match &mut running.reports {
            Reports::Native { told, .. } => Some(std::mem::take(told)),
            Reports::Command { .. } => None,
        };
        self.measured(stage, attempt, points);
        match (stop, told) {
            (Some(StopReason::Cancel), _) => self.end(stage, attempt, usage, End::Cancelled),
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
        if let Some(mut failure) = told.failure {
            failure.exit = Some(exit);
            self.fail(stage, attempt, failure, usage);
        } else if exit != Exit::Code(0) {
            let out_of_memory = self.memory_ran_out(exit);
            let failure = failure::ended(exit, "the worker", out_of_memory);
            self.fail(stage, attempt, failure, usage);
        } else if let Some(failure) = missing {
            self.fail(stage, attempt, failure, usage);
        } else {
            let made = Made { outputs: told.outputs, effects: told.effects };
            self.end(stage, attempt, usage, End::Succeeded(made));
        }
    }

    /// What a program made is looked at, and put into the artifact store.
    fn program_ended(&mut self, stage: StageIndex, attempt: u32, exit: Exit, usage: Usage) {
        if exit != Exit::Code(0) {
            let out_of_memory = self.memory_ran_out(exit);
            let failure = failure::ended(exit, "the program", out_of_memory);
            return self.fail(stage, attempt, failure, usage);
        }
        let Some(running) = running(&mut self.running, stage, attempt) else { return };
        let Reports::Command { config, .. } = &running.reports else { return };
        if config.outputs.is_empty() && config.metrics.is_none() {
            return self.end(stage, attempt, usage, End::Succeeded(Made::default()));
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
            Ok((made, points)) => {
                self.measured(stage, attempt, points);
                self.end(stage, attempt, usage, End::Succeeded(made));
            }
            Err(mut failure) => {
                failure.exit = exit;
                self.fail(stage, attempt, failure, usage);
            }
        }
    }

    /// Whether the system has killed a process for memory since the last time.
    fn memory_ran_out(&mut self, exit: Exit) -> bool {
        if exit != Exit::Signal(libc::SIGKILL) {
            return false;
        }
        let kills = failure::out_of_memory_kills();
        kills > std::mem::replace(&mut self.memory_kills, kills)
    }

    fn measured(&mut self, stage: StageIndex, attempt: u32, points: Vec<MetricPoint>) {
        if !points.is_empty() {
            self.tell(stage, attempt, Change::Measured(points));
        }
    }

    /// Ends an attempt as failed.
    pub(super) fn fail(&mut self, stage: StageIndex, attempt: u32, failure: Failure, usage: Usage) {
        self.end(stage, attempt, usage, End::Failed(failure));
    }

    /// The last word on an attempt.
    pub(super) fn end(&mut self, stage: StageIndex, attempt: u32, usage: Usage, end: End) {
        if self.running.remove(&stage).is_some() {
            self.tell(stage, attempt, Change::Ended { usage, end });
        }
    }
}

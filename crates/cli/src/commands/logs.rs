//! `wick logs`: what the stages of a run printed.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wick_core::{AttemptState, RunId, SkipReason, StageName};
use wick_engine::folder;
use wick_engine::log::printable;
use wick_stage::layout;
use wick_store::StageRecord;

use crate::args::{GlobalArgs, LogsArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::history::{RunHistory, find_run_and_name};
use crate::project::Project;
use crate::render::{Paint, Ui, human};
use crate::session::Session;

/// How often a followed log is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// How much of a log is read at a time.
const BLOCK: u64 = 64 * 1024;

pub async fn logs(args: &LogsArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let (run, name) = find_run_and_name(&*session.store, &args.run, args.stage.as_deref()).await?;
    let history = RunHistory::load(&*session.store, &run).await?;
    let Some(name) = &name else {
        if args.follow || args.attempt.is_some() {
            return Err(CommandError::invalid("it is not said of which stage")
                .hint(format!("name it: `wick logs {run} STAGE`")));
        }
        let stages: Vec<&StageRecord> = history.stages.iter().collect();
        return all(&session.project, &history, &stages, args.tail, ui);
    };
    let meant: Vec<&StageRecord> =
        history.stages.iter().filter(|stage| stage.stage.is_meant_by(name)).collect();
    let is_one = history.stages.iter().any(|stage| stage.stage == **name) || meant.len() < 2;
    if !is_one && !args.follow && args.attempt.is_none() {
        return all(&session.project, &history, &meant, args.tail, ui);
    }
    let stage = find_stage(&history, name)?;
    let (folder, of_run) = attempt_folder(&session.project, &history, stage, args.attempt)?;
    if of_run != run {
        ui.note(ui.err.paint(
            Paint::Faint,
            format_args!("stage {name} is cached; this is its log in run {of_run}"),
        ));
    }
    let mut read = print_log(&folder, args.tail, ui)?;
    while args.follow && !ui.is_closed() {
        let ended = has_ended(&session, &run, name).await?;
        read += print_from(&folder, read, ui)?;
        if ended {
            break;
        }
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
    Ok(ExitCode::Success)
}

/// Of these stages those that failed, or all that ran.
fn all(
    project: &Project,
    history: &RunHistory,
    stages: &[&StageRecord],
    tail: Option<usize>,
    ui: &Ui,
) -> CommandResult {
    let of = |is: fn(&StageRecord) -> bool| -> Vec<&StageRecord> {
        stages.iter().copied().filter(|stage| is(stage)).collect()
    };
    // What never had an attempt, such as a stage that stands for its instances, has no log.
    let failed = of(|stage| {
        matches!(stage.state, AttemptState::Failed | AttemptState::Lost) && stage.attempts > 0
    });
    let ran = || of(|stage| stage.attempts > 0);
    let chosen: Vec<&StageRecord> = if failed.is_empty() { ran() } else { failed };
    if chosen.is_empty() {
        ui.note("nothing ran in this run: `wick show` tells what was cached, and from which run");
    }
    for stage in chosen {
        let (folder, _) = attempt_folder(project, history, stage, None)?;
        let title = format!("── {} ({})", stage.stage, stage.state);
        ui.print(ui.out.paint(Paint::Strong, title));
        print_log(&folder, tail, ui)?;
    }
    Ok(ExitCode::Success)
}

fn find_stage<'a>(history: &'a RunHistory, name: &str) -> CommandResult<&'a StageRecord> {
    history.stages.iter().find(|stage| stage.stage == *name).ok_or_else(|| {
        let names: Vec<&str> = history.stages.iter().map(|stage| stage.stage.as_str()).collect();
        let error = CommandError::invalid(format!("run {} has no stage `{name}`", history.run.id));
        match wick_pipeline::did_you_mean(name, names) {
            Some(hint) => error.hint(hint),
            None => error.hint("`wick show` lists its stages"),
        }
    })
}

/// The folder of a stage's attempt, by default its last, and the run that it belongs to: of a
/// cached stage that in which it was computed.
fn attempt_folder(
    project: &Project,
    history: &RunHistory,
    stage: &StageRecord,
    attempt: Option<u32>,
) -> CommandResult<(PathBuf, RunId)> {
    if let (None, Some(origin)) = (attempt, &stage.origin) {
        let folder = folder_of(project, &origin.run, &origin.stage, origin.attempt);
        return Ok((folder, origin.run.clone()));
    }
    let last = history.last_attempt(stage.stage.as_str()).map(|attempt| attempt.attempt);
    let number = match (attempt, last) {
        (Some(number), Some(last)) if (1..=last).contains(&number) => number,
        (Some(number), last) => {
            return Err(CommandError::invalid(format!(
                "stage {} has no attempt {number} in this run",
                stage.stage
            ))
            .hint(match last {
                Some(last) => format!("it had attempts 1 to {last}"),
                None => "it never ran in it".to_owned(),
            }));
        }
        (None, Some(last)) => last,
        (None, None) => {
            let error =
                CommandError::invalid(format!("stage {} did not run in this run", stage.stage));
            return Err(match &stage.because {
                Some(SkipReason::Need(need)) => error.hint(format!(
                    "it needs {need}, which did not succeed: `wick logs {} {}`",
                    history.run.id,
                    human::shell_word(need.as_str())
                )),
                Some(reason) => error.hint(format!("it was skipped: {reason}")),
                None => error.hint(format!("it is {}", stage.state)),
            });
        }
    };
    Ok((folder_of(project, &history.run.id, &stage.stage, number), history.run.id.clone()))
}

/// Where an attempt's files lie.
pub fn folder_of(project: &Project, run: &RunId, stage: &StageName, attempt: u32) -> PathBuf {
    folder::attempt_folder(&folder::run_folder(&project.state_folder(), run), stage, attempt)
}

/// Prints a log, or its last lines; returns how far it was read.
fn print_log(folder: &Path, tail: Option<usize>, ui: &Ui) -> CommandResult<u64> {
    let path = folder.join(layout::LOG);
    let Some(mut file) = open(&path)? else {
        ui.note(format_args!("there is no log at {}", path.display()));
        return Ok(0);
    };
    let cannot_read = || format!("cannot read {}", path.display());
    if let Some(lines) = tail {
        let start = start_of_tail(&mut file, lines).or_internal(cannot_read())?;
        file.seek(SeekFrom::Start(start)).or_internal(cannot_read())?;
        return Ok(start + copy(&mut file, ui).or_internal(cannot_read())?);
    }
    copy(&mut file, ui).or_internal(cannot_read())
}

/// Prints what was added to a log after `read` bytes; returns how much that was.
fn print_from(folder: &Path, read: u64, ui: &Ui) -> CommandResult<u64> {
    let path = folder.join(layout::LOG);
    let Some(mut file) = open(&path)? else { return Ok(0) };
    let cannot_read = || format!("cannot read {}", path.display());
    file.seek(SeekFrom::Start(read)).or_internal(cannot_read())?;
    copy(&mut file, ui).or_internal(cannot_read())
}

fn open(path: &Path) -> CommandResult<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).or_internal(format!("cannot read {}", path.display())),
    }
}

/// Prints what is left of a file: to a file or a program as it is, to a terminal without what that
/// would obey.
fn copy(file: &mut File, ui: &Ui) -> io::Result<u64> {
    let is_terminal = io::stdout().is_terminal();
    let mut buffer = vec![0; BLOCK as usize];
    let mut unfinished = Vec::new();
    let mut copied = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 || ui.is_closed() {
            ui.write(for_terminal(&unfinished).as_bytes());
            return Ok(copied);
        }
        copied += read as u64;
        if !is_terminal {
            ui.write(&buffer[..read]);
            continue;
        }
        // A line is shown once it is whole, so that no escape sequence is cut; one that has no end
        // is not waited for.
        unfinished.extend_from_slice(&buffer[..read]);
        let whole = match unfinished.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if unfinished.len() as u64 >= BLOCK => unfinished.len(),
            None => 0,
        };
        let lines: Vec<u8> = unfinished.drain(..whole).collect();
        ui.write(for_terminal(&lines).as_bytes());
    }
}

/// Lines of a log without escape sequences and control characters; of a line that was written over
/// what was written last.
fn for_terminal(lines: &[u8]) -> String {
    let text = String::from_utf8_lossy(lines);
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let line = line.trim_end_matches('\r');
        shown.push_str(&printable(line.rsplit('\r').next().unwrap_or(line), usize::MAX));
        shown.push_str(end);
    }
    shown
}

/// Where the last `lines` lines begin. Reads backwards in blocks: a log may be gigabytes.
fn start_of_tail(file: &mut File, lines: usize) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut wanted = lines;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.read_exact(&mut block)?;
        for (place, byte) in block.iter().enumerate().rev() {
            let at = start + place as u64;
            // The line break at the very end closes the last line rather than beginning another.
            if *byte == b'\n' && at + 1 < length {
                if wanted <= 1 {
                    return Ok(if lines == 0 { length } else { at + 1 });
                }
                wanted -= 1;
            }
        }
        end = start;
    }
    Ok(if lines == 0 { length } else { 0 })
}

/// Whether nothing more will be printed by the stage.
async fn has_ended(session: &Session, run: &RunId, stage: &str) -> CommandResult<bool> {
    let stages = session.store.stages(run).await?;
    Ok(stages
        .iter()
        .find(|record| record.stage == *stage)
        .is_none_or(|record| record.state.is_final()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_nothing_that_it_would_obey() {
        let log = b"\x1b[31mred\x1b[0m \x1b]0;title\x07tail\r\n10%\r100%\n\xff\tend";
        assert_eq!(for_terminal(log), "red tail\n100%\n\u{fffd}    end");
        assert_eq!(for_terminal(b"\n\na\n"), "\n\na\n");
    }

    #[test]
    fn the_tail_begins_at_a_line() {
        #[track_caller]
        fn check(text: &str, lines: usize, expect: &str) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("log");
            std::fs::write(&path, text).expect("written");
            let mut file = File::open(&path).expect("opened");
            let start = start_of_tail(&mut file, lines).expect("read") as usize;
            assert_eq!(&text[start..], expect);
        }
        check("a\nb\nc\n", 2, "b\nc\n");
        check("a\nb\nc", 2, "b\nc");
        check("a\nb\n", 5, "a\nb\n");
        check("a\nb\n", 0, "");
        check("", 3, "");
        let long = "x".repeat(100_000) + "\nend\n";
        check(&long, 1, "end\n");
    }
}

//! `wick name`, `note`, `tag`, `star`, `archive`, `delete`, `restore`: what people say of runs.

mod editor;

use std::io::Read;

use serde_json::{Value, json};
use wick_core::{RunId, RunState};
use wick_store::{Mark, RunRecord, StoreError};

use crate::args::{
    ArchiveArgs, DeleteArgs, GlobalArgs, NameArgs, NoteArgs, OutputArgs, RestoreArgs, StarArgs,
    TagArgs,
};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::history::find_run;
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;

/// The longest note, in bytes: it is a remark, not a document.
const MAX_NOTE: usize = 64 * 1024;

pub async fn name(args: &NameArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let marked = Marked::find(global, ui, std::slice::from_ref(&args.run)).await?;
    if args.name.is_none() && !args.remove {
        return marked.tell(ui, &args.output, |run| run.marks.name.clone(), "it has no name").await;
    }
    let name = args.name.as_ref().map(|name| name.trim().to_owned());
    let done = match &name {
        Some(name) => format!("named {name}"),
        None => "took the name off".to_owned(),
    };
    if let Some(name) = &name {
        // Others may have it too, but then it finds none of them.
        let others = marked.session.store.find_runs(name).await?;
        if others.iter().any(|other| !marked.ids.contains(other)) {
            ui.warn(format_args!(
                "`{name}` also means {}: runs of one name are found by their ids",
                others.iter().map(RunId::as_str).collect::<Vec<_>>().join(", ")
            ));
        }
    }
    marked.say(ui, &args.output, &[Mark::Name(name)], &done).await
}

pub async fn note(args: &NoteArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let marked = Marked::find(global, ui, std::slice::from_ref(&args.run)).await?;
    let text = match args.text.as_deref() {
        _ if args.remove => String::new(),
        Some("-") => {
            let mut text = String::new();
            // One byte more than is taken tells that it is too long.
            let mut input = std::io::stdin().lock().take(MAX_NOTE as u64 + 1);
            input.read_to_string(&mut text).or_invalid("cannot read the standard input")?;
            text
        }
        Some(text) => text.to_owned(),
        None => {
            let before = marked.records().await?.into_iter().next();
            let before = before.and_then(|run| run.marks.note).unwrap_or_default();
            let folder = marked.session.project.state_folder();
            let after = editor::edit(&before, &folder, &marked.ids[0])?;
            if after.trim() == before.trim() {
                ui.note("the note is as it was");
                return Ok(ExitCode::Success);
            }
            after
        }
    };
    if text.len() > MAX_NOTE {
        return Err(CommandError::invalid("the note is longer than 64 KiB")
            .hint("keep the document beside the pipeline, and its name in the note"));
    }
    let text = text.trim();
    let note = (!text.is_empty()).then(|| text.to_owned());
    let done = if note.is_some() { "noted" } else { "took the note off" };
    marked.say(ui, &args.output, &[Mark::Note(note)], done).await
}

pub async fn tag(args: &TagArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let (tags, runs): (Vec<String>, Vec<String>) =
        args.words.iter().cloned().partition(|word| word.contains('='));
    if runs.is_empty() {
        return Err(CommandError::invalid("it is not said which run is to be tagged")
            .hint(format!("name it first: `wick tag @last {}`", args.words.join(" "))));
    }
    let mut marks = Vec::new();
    for tag in &tags {
        // Split at the first: a value may hold more of them.
        if let Some((key, value)) = tag.split_once('=') {
            marks.push(Mark::Tag { key: key.to_owned(), value: value.to_owned() });
        }
    }
    marks.extend(args.remove.iter().map(|key| Mark::Untag(key.clone())));
    let marked = Marked::find(global, ui, &runs).await.map_err(|error| match runs.as_slice() {
        [_, .., last] => error.hint(format!("a tag is KEY=VALUE: `{last}=…`?")),
        _ => error,
    })?;
    if marks.is_empty() {
        return marked.tell(ui, &args.output, tags_of, "it has no tags").await;
    }
    let done = |before: &RunRecord| {
        let has = |key: &&String| before.marks.tags.iter().any(|(known, _)| known == *key);
        let (removed, missing): (Vec<&String>, Vec<&String>) = args.remove.iter().partition(has);
        let words = [
            ("tagged ", tags.join(" "), ""),
            ("took ", list(&removed), " off"),
            ("it has no tag ", list(&missing), ""),
        ];
        let told = words.iter().filter(|(_, names, _)| !names.is_empty());
        told.map(|(before, names, after)| format!("{before}{names}{after}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    marked.say_of_each(ui, &args.output, &marks, done).await
}

fn list(names: &[&String]) -> String {
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn tags_of(run: &RunRecord) -> Option<String> {
    let tags = &run.marks.tags;
    let lines: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

pub async fn star(args: &StarArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let marked = Marked::find(global, ui, &args.runs).await?;
    let done = if args.remove { "took the star off" } else { "starred" };
    marked.say(ui, &args.output, &[Mark::Star(!args.remove)], done).await
}

pub async fn archive(args: &ArchiveArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let marked = Marked::find(global, ui, &args.runs).await?;
    marked.refuse_running("archived").await?;
    marked.say(ui, &args.output, &[Mark::Archive(true)], "archived").await
}

pub async fn delete(args: &DeleteArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let marked = Marked::find(global, ui, &args.runs).await?;
    marked.refuse_running("deleted").await?;
    let ids: Vec<&str> = marked.ids.iter().map(RunId::as_str).collect();
    let restore = format!("wick restore {}", ids.join(" "));
    let code = marked.say(ui, &args.output, &[Mark::Delete(true)], "deleted").await?;
    ui.note(ui.err.paint(
        Paint::Faint,
        format_args!("`{restore}` takes it back, until `wick gc` frees the bytes"),
    ));
    Ok(code)
}

pub async fn restore(args: &RestoreArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let marked = Marked::find(global, ui, &args.runs).await?;
    let marks = [Mark::Delete(false), Mark::Archive(false)];
    let done = |before: &RunRecord| match (before.marks.deleted, before.marks.archived) {
        (None, None) => "it was neither deleted nor archived".to_owned(),
        _ => "restored".to_owned(),
    };
    marked.say_of_each(ui, &args.output, &marks, done).await
}

/// The runs of which something is said.
struct Marked {
    session: Session,
    ids: Vec<RunId>,
}

impl Marked {
    /// Finds all of them before anything is said of one.
    async fn find(global: &GlobalArgs, ui: &Ui, names: &[String]) -> CommandResult<Self> {
        let session = Session::here(global, ui).await?;
        let mut ids: Vec<RunId> = Vec::new();
        for name in names {
            let id = find_run(&*session.store, name).await?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(Self { session, ids })
    }

    async fn records(&self) -> CommandResult<Vec<RunRecord>> {
        let mut records = Vec::with_capacity(self.ids.len());
        for id in &self.ids {
            let record = self.session.store.run(id).await?;
            records.push(record.ok_or_else(|| StoreError::NoRun(id.clone()))?);
        }
        Ok(records)
    }

    /// What is put away must not go on beneath the carpet.
    async fn refuse_running(&self, what: &str) -> CommandResult<()> {
        let records = self.records().await?;
        match records.iter().find(|run| run.state == RunState::Running) {
            Some(run) => Err(CommandError::invalid(format!(
                "run {} is running and cannot be {what}; nothing was changed",
                run.id
            ))
            .hint(format!("stop it first: wick cancel {}", run.id))),
            None => Ok(()),
        }
    }

    async fn say(&self, ui: &Ui, output: &OutputArgs, marks: &[Mark], done: &str) -> CommandResult {
        self.say_of_each(ui, output, marks, |_| done.to_owned()).await
    }

    /// Says `marks` of all runs; what that has done to each, `done` tells by what it was before.
    async fn say_of_each(
        &self,
        ui: &Ui,
        output: &OutputArgs,
        marks: &[Mark],
        done: impl Fn(&RunRecord) -> String,
    ) -> CommandResult {
        let store = &self.session.store;
        let before = self.records().await?;
        store.mark_runs(&self.ids, marks, human::now()).await.map_err(refused)?;
        if output.is_json() {
            ui.json(&to_json(&self.records().await?))?;
            return Ok(ExitCode::Success);
        }
        for run in &before {
            ui.print(format_args!("run {}: {}", ui.out.paint(Paint::Strong, &run.id), done(run)));
        }
        Ok(ExitCode::Success)
    }

    /// Tells what is said of the runs.
    async fn tell(
        &self,
        ui: &Ui,
        output: &OutputArgs,
        said: impl Fn(&RunRecord) -> Option<String>,
        nothing: &str,
    ) -> CommandResult {
        let records = self.records().await?;
        if output.is_json() {
            ui.json(&to_json(&records))?;
            return Ok(ExitCode::Success);
        }
        match records.as_slice() {
            [run] => match said(run) {
                Some(text) => ui.print(text),
                None => ui.note(nothing),
            },
            several => {
                let mut table = Table::new(ui, &["run", ""]);
                for run in several {
                    let text = said(run).unwrap_or_default().replace('\n', " ");
                    table.row([Cell::painted(Paint::Strong, &run.id), Cell::new(text)]);
                }
                ui.print(table.render());
            }
        }
        Ok(ExitCode::Success)
    }
}

/// What the store does not keep was typed by a person, not told by a defect.
fn refused(error: StoreError) -> CommandError {
    match error {
        StoreError::Refused(reason) => {
            CommandError::invalid(format!("this cannot be kept: {reason}"))
        }
        error => error.into(),
    }
}

fn to_json(records: &[RunRecord]) -> Value {
    let runs: Vec<Value> =
        records.iter().map(|run| json!({"id": run.id, "marks": run.marks})).collect();
    json!({"version": 1, "runs": runs})
}

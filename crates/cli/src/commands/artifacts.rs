//! `wick artifacts`: what the stages of a run made, listed or copied out.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use wick_artifact::ArtifactStore;
use wick_core::PortType;
use wick_store::ArtifactRecord;

use crate::args::{ArtifactsArgs, GlobalArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::history::find_run_and_name;
use crate::render::{Cell, Paint, Table, Ui, human, run_view};
use crate::session::Session;

pub async fn artifacts(args: &ArtifactsArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let (run, name) = find_run_and_name(&*session.store, &args.run, args.name.as_deref()).await?;
    let all = session.store.artifacts(&run).await?;
    let chosen: Vec<&ArtifactRecord> = all
        .iter()
        .filter(|artifact| name.as_deref().is_none_or(|name| is_called(artifact, name)))
        .collect();
    if let (true, Some(name)) = (chosen.is_empty(), &name) {
        return Err(CommandError::invalid(format!("no artifact of run {run} is called `{name}`"))
            .hint("`wick artifacts` without a name lists them"));
    }
    if let Some(folder) = &args.export {
        let store = session.artifacts()?;
        for artifact in &chosen {
            let held = store
                .hold(&artifact.digest)
                .or_internal(format!("cannot export {}.{}", artifact.stage, artifact.port))?;
            let target = folder.join(artifact.stage.as_str()).join(artifact.port.as_str());
            export(held.path(), &target, artifact.port_type)?;
            ui.note(format_args!("exported {}", target.display()));
        }
        return Ok(ExitCode::Success);
    }
    if args.output.is_json() {
        let store = session.artifacts()?;
        let list: Vec<_> = chosen
            .iter()
            .map(|artifact| {
                json!({
                    "stage": artifact.stage,
                    "port": artifact.port,
                    "type": artifact.port_type,
                    "digest": artifact.digest,
                    "bytes": artifact.bytes,
                    "meta": artifact.meta,
                    // Of one that lies in the object storage alone, nothing.
                    "path": path_here(&store, artifact),
                })
            })
            .collect();
        ui.json(&json!({"version": 1, "run": run, "artifacts": list}))?;
        return Ok(ExitCode::Success);
    }
    if chosen.is_empty() {
        ui.note("this run has made nothing");
        return Ok(ExitCode::Success);
    }
    let mut table = Table::new(ui, &["artifact", "type", "size", "digest", "facts"]);
    for artifact in &chosen {
        table.row([
            Cell::painted(Paint::Strong, format_args!("{}.{}", artifact.stage, artifact.port)),
            Cell::new(artifact.port_type),
            Cell::number(human::bytes(artifact.bytes)),
            Cell::painted(Paint::Faint, artifact.digest.short()),
            Cell::new(run_view::artifact_fact(artifact)),
        ]);
    }
    ui.print(table.render());
    if let ([only], true) = (chosen.as_slice(), args.name.is_some()) {
        let store = session.artifacts()?;
        match (path_here(&store, only), store.remote()) {
            (Some(path), _) => ui.print(path.display()),
            (None, Some(remote)) => ui.note(format_args!(
                "it lies in {} and is fetched when it is needed; --export DIR copies it",
                remote.place()
            )),
            (None, None) => {}
        }
    }
    Ok(ExitCode::Success)
}

/// Where the artifact lies on this machine, or would lie if it did at all.
fn path_here(store: &ArtifactStore, artifact: &ArtifactRecord) -> Option<PathBuf> {
    let is_here = store.remote().is_none() || store.contains(&artifact.digest);
    is_here.then(|| store.path(&artifact.digest))
}

/// Whether `name` is its stage, or its stage and port.
fn is_called(artifact: &ArtifactRecord, name: &str) -> bool {
    // The label of an instance may hold dots; a port does not.
    let of_port = |(stage, port): (&str, &str)| {
        artifact.port.as_str() == port && artifact.stage.is_meant_by(stage)
    };
    artifact.stage.is_meant_by(name) || name.rsplit_once('.').is_some_and(of_port)
}

/// Copies an artifact out of the store; the copy may be written to. What is there already is
/// never overwritten.
fn export(source: &Path, target: &Path, port_type: PortType) -> CommandResult<()> {
    if target.exists() {
        return Err(CommandError::invalid(format!("{} exists already", target.display()))
            .hint("export into another folder, or remove it first"));
    }
    let copied = if port_type.is_folder() {
        copy_folder(source, target)
    } else {
        target.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| copy_file(source, target))
    };
    copied.or_internal(format!("cannot export to {}", target.display()))
}

fn copy_folder(source: &Path, target: &Path) -> std::io::Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            copy_file(&entry.path(), &to)?;
        }
    }
    Ok(())
}

/// `fs::copy` would keep the store's read-only permissions.
fn copy_file(source: &Path, target: &Path) -> std::io::Result<()> {
    let mut from = fs::File::open(source)?;
    let mut to = fs::File::create_new(target)?;
    std::io::copy(&mut from, &mut to)?;
    Ok(())
}

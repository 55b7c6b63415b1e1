//! Which model is meant by what was typed, and where its files are.

use std::path::{Path, PathBuf};

use wick_artifact::Held;
use wick_core::{Digest, ModelName, PortType};
use wick_stage::layout;

use crate::args::GlobalArgs;
use crate::commands::no_such_model;
use crate::error::{CommandError, CommandResult, ResultExt};
use crate::history::find_run;
use crate::render::Ui;
use crate::session::Session;

/// The alias that is meant where only a model's name is given, if the model has it.
const DEFAULT_ALIAS: &str = "production";

/// A model, found.
pub struct FoundModel {
    /// What to call it.
    pub name: String,
    /// Its version, if it is registered.
    pub version: Option<u32>,
    /// Its artifact, if it is one.
    pub digest: Option<Digest>,
    /// Its files, verified where they are an artifact.
    pub folder: PathBuf,
    /// Keeps them there, where they are an artifact.
    _held: Option<Held>,
}

/// Finds the model that `text` means: `NAME`, `NAME@ALIAS`, `NAME@VERSION`, `RUN:STAGE.OUTPUT`
/// or a folder.
pub async fn find_model(text: &str, global: &GlobalArgs, ui: &Ui) -> CommandResult<FoundModel> {
    let is_path = text.contains('/') || text == "." || text == "..";
    // A folder of the same name, the project's for one, does not hide a registered model.
    let folder = Path::new(text);
    if folder.is_dir() && (is_path || folder.join(layout::MODEL_INFO).is_file()) {
        return in_folder(text);
    }
    // A run may be `@last`, so the colon tells before the at sign does.
    if let Some((run, output)) = text.split_once(':') {
        return of_run(&Session::here(global, ui).await?, run, output).await;
    }
    if is_path {
        return Err(CommandError::invalid(format!("there is no folder {text}")));
    }
    registered(&Session::here(global, ui).await?, text).await
}

fn in_folder(text: &str) -> CommandResult<FoundModel> {
    let folder = PathBuf::from(text);
    if !folder.join(layout::MODEL_INFO).is_file() {
        return Err(CommandError::invalid(format!(
            "{text} holds no model: it has no {}",
            layout::MODEL_INFO
        ))
        .hint("`wick artifacts RUN STAGE.model --export DIR` writes a model's folder"));
    }
    let name = folder
        .canonicalize()
        .ok()
        .and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| text.to_owned());
    Ok(FoundModel { name, version: None, digest: None, folder, _held: None })
}

async fn of_run(session: &Session, run: &str, output: &str) -> CommandResult<FoundModel> {
    let run = find_run(&*session.store, run).await?;
    let (stage, port) = match output.split_once('.') {
        Some((stage, port)) => (stage, Some(port)),
        None => (output, None),
    };
    let artifacts = session.store.artifacts(&run).await?;
    let found = artifacts.iter().find(|artifact| {
        artifact.port_type == PortType::Model
            && artifact.stage == *stage
            && port.is_none_or(|port| artifact.port == *port)
    });
    let Some(artifact) = found else {
        let error = CommandError::invalid(format!("run {run} has made no model called `{output}`"));
        let models: Vec<String> = artifacts
            .iter()
            .filter(|artifact| artifact.port_type == PortType::Model)
            .map(|artifact| format!("{run}:{}.{}", artifact.stage, artifact.port))
            .collect();
        return Err(match models.as_slice() {
            [] => error.hint("this run made no model at all"),
            models => error.hint(format!("it made {}", models.join(", "))),
        });
    };
    let name = format!("{}.{}", artifact.stage, artifact.port);
    verified(session, name, None, &artifact.digest)
}

async fn registered(session: &Session, text: &str) -> CommandResult<FoundModel> {
    let (name, reference) = match text.split_once('@') {
        Some((name, reference)) => (name, Some(reference)),
        None => (text, None),
    };
    let model_name = ModelName::new(name).or_invalid(format!("`{name}` names no model"))?;
    let store = &session.store;
    let version = match reference {
        Some(reference) => store.model_version(&model_name, Some(reference)).await?,
        None => match store.model_version(&model_name, Some(DEFAULT_ALIAS)).await? {
            Some(version) => Some(version),
            None => store.model_version(&model_name, None).await?,
        },
    };
    let Some(version) = version else {
        let models = store.models().await?;
        let Some(model) = models.iter().find(|model| model.name == model_name) else {
            let known: Vec<String> = models.iter().map(|model| model.name.to_string()).collect();
            return Err(no_such_model(name, &known));
        };
        let known: Vec<String> = model
            .versions
            .iter()
            .flat_map(|version| {
                std::iter::once(version.version.to_string()).chain(version.aliases.clone())
            })
            .collect();
        return Err(CommandError::invalid(format!(
            "model {name} has no version or alias `{}`",
            reference.unwrap_or_default()
        ))
        .hint(format!("it has {}", known.join(", "))));
    };
    verified(session, name.to_owned(), Some(version.version), &version.digest)
}

fn verified(
    session: &Session,
    name: String,
    version: Option<u32>,
    digest: &Digest,
) -> CommandResult<FoundModel> {
    let artifacts = session.artifacts()?;
    // Every byte, each time: what a model answers is believed, and a disk that loses a bit leaves
    // no trace in the file's time.
    let held = artifacts
        .hold(digest)
        .and_then(|held| artifacts.verify(digest).map(|_| held))
        .or_internal("cannot read the model's files")
        .map_err(|error| error.hint("running its pipeline again makes them anew"))?;
    let folder = held.path().to_owned();
    Ok(FoundModel { name, version, digest: Some(*digest), folder, _held: Some(held) })
}

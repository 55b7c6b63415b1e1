//! Which thing is meant by what was typed.

use std::path::Path;

use wick_core::{Digest, ModelName, RunId, StageName};
use wick_store::{ModelVersion, Store};

use crate::commands::no_such_model;
use crate::error::{CommandError, CommandResult, ResultExt};
use crate::history::find_run;
use crate::render::human;
use crate::session::Session;

/// The fewest digits that are taken for the beginning of a digest.
const LEAST_DIGITS: usize = 4;

/// Where a question begins.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A run with all that it made.
    Run(RunId),
    /// An output of a stage of a run; of the stage alone, all of its outputs.
    Output(RunId, StageName, Option<String>),
    /// Bytes, whoever made them.
    Artifact(Digest),
    /// A file outside the store that stages have read.
    Source(String, Digest),
    /// A version of a model.
    Model(Box<ModelVersion>),
}

/// Finds what `text` means: `MODEL`, `MODEL@ALIAS`, `MODEL:VERSION`, a run, `RUN:STAGE.OUTPUT`,
/// `STAGE.OUTPUT` of the last run, the beginning of a digest, or a file.
pub async fn find(session: &Session, text: &str) -> CommandResult<What> {
    let store = &*session.store;
    if let Some(what) = of_path(session, text).await? {
        return Ok(what);
    }
    if let Some((left, right)) = text.split_once(':') {
        if let Some(version) = version(store, left, Some(right)).await? {
            return Ok(What::Model(Box::new(version)));
        }
        // A run of that name may be meant; if there is none, the model's version was.
        if store.find_runs(left).await?.is_empty() && is_model(store, left).await? {
            return Err(no_version(store, left, right).await?);
        }
        let run = find_run(store, left).await?;
        return output(store, run, right).await;
    }
    // A run may be `@last`.
    if let Some((name, reference)) = text.split_once('@').filter(|(name, _)| !name.is_empty()) {
        return match version(store, name, Some(reference)).await? {
            Some(version) => Ok(What::Model(Box::new(version))),
            None => Err(no_version(store, name, reference).await?),
        };
    }
    if let Some(version) = version(store, text, None).await? {
        return Ok(What::Model(Box::new(version)));
    }
    if !store.find_runs(text).await?.is_empty() {
        return Ok(What::Run(find_run(store, text).await?));
    }
    if text.len() >= LEAST_DIGITS {
        match store.find_artifacts(text).await?.as_slice() {
            [] => {}
            [digest] => return Ok(What::Artifact(*digest)),
            several => return Err(ambiguous(text, several)),
        }
    }
    if let [last] = store.find_runs("@last").await?.as_slice()
        && let Ok(what) = output(store, last.clone(), text).await
    {
        return Ok(what);
    }
    let error = nothing(text);
    Err(match Path::new(text).exists() {
        true => {
            error.hint(format!("there is a file {text}, but no stage has made or read its bytes"))
        }
        false => error,
    })
}

fn nothing(text: &str) -> CommandError {
    CommandError::invalid(format!("nothing that is recorded is called `{text}`"))
        .hint("name a model (mnist, mnist@production, mnist:3), a run, RUN:STAGE.OUTPUT,")
        .hint("STAGE.OUTPUT of the last run, the first digits of a digest, or a file")
}

fn ambiguous(text: &str, found: &[Digest]) -> CommandError {
    let error = CommandError::invalid(format!(
        "`{text}` could be any of {}",
        human::plural(found.len(), "artifact")
    ));
    found.iter().take(8).fold(error, |error, digest| error.hint(digest.to_string()))
}

async fn version(
    store: &dyn Store,
    name: &str,
    reference: Option<&str>,
) -> CommandResult<Option<ModelVersion>> {
    let Ok(name) = ModelName::new(name) else { return Ok(None) };
    Ok(store.model_version(&name, reference).await?)
}

async fn is_model(store: &dyn Store, name: &str) -> CommandResult<bool> {
    Ok(store.models().await?.iter().any(|model| model.name == *name))
}

async fn no_version(store: &dyn Store, name: &str, reference: &str) -> CommandResult<CommandError> {
    let models = store.models().await?;
    let Some(model) = models.iter().find(|model| model.name == *name) else {
        let known: Vec<String> = models.iter().map(|model| model.name.to_string()).collect();
        return Ok(no_such_model(name, &known));
    };
    let aliases: Vec<String> =
        model.versions.iter().flat_map(|version| version.aliases.clone()).collect();
    let error =
        CommandError::invalid(format!("model {name} has no version or alias `{reference}`"));
    let error = error.hint(format!(
        "it has {}: `wick models {name}` lists them",
        human::plural(model.versions.len(), "version")
    ));
    Ok(match aliases.as_slice() {
        [] => error,
        aliases => error.hint(format!("its aliases are {}", aliases.join(", "))),
    })
}

/// `STAGE.OUTPUT` or `STAGE` of a run.
async fn output(store: &dyn Store, run: RunId, text: &str) -> CommandResult<What> {
    let stages = store.stages(&run).await?;
    // The label of an instance may hold dots; a port does not.
    let parted = text.rsplit_once('.').map(|(stage, port)| (stage, Some(port)));
    for (stage, port) in std::iter::once((text, None)).chain(parted) {
        let Some(found) = stages.iter().find(|record| record.stage == *stage) else { continue };
        if let Some(port) = port {
            let artifacts = store.artifacts(&run).await?;
            let own = || artifacts.iter().filter(|artifact| artifact.stage == found.stage);
            if !own().any(|artifact| artifact.port == *port) {
                let made: Vec<String> =
                    own().map(|artifact| format!("{stage}.{}", artifact.port)).collect();
                let error = CommandError::invalid(format!("run {run} has not made {text}"));
                return Err(match made.as_slice() {
                    [] => error.hint(format!("stage {stage} made nothing in it: {}", found.state)),
                    made => error.hint(format!("it made {}", made.join(", "))),
                });
            }
        }
        return Ok(What::Output(run, found.stage.clone(), port.map(str::to_owned)));
    }
    let error = CommandError::invalid(format!("run {run} has no stage `{text}`"));
    Err(match wick_pipeline::did_you_mean(text, stages.iter().map(|stage| stage.stage.as_str())) {
        Some(hint) => error.hint(hint),
        None => error.hint(format!("`wick artifacts {run}` lists what it made")),
    })
}

/// A file or folder, if there is one: an artifact by the bytes it has, or a file that stages read.
async fn of_path(session: &Session, text: &str) -> CommandResult<Option<What>> {
    let path = Path::new(text);
    let is_path = text.contains('/') || text == "." || text == "..";
    if !path.exists() {
        return match is_path && !text.contains([':', '[']) {
            true => Err(CommandError::invalid(format!("there is no file {text}"))),
            false => Ok(None),
        };
    }
    // A file that happens to be called like a run or a model is meant by `./NAME`.
    if !is_path && !path.is_file() {
        return Ok(None);
    }
    let store = &*session.store;
    // The artifact store calls files and folders by their digests.
    let by_name = path.file_name().and_then(|name| name.to_str()?.parse::<Digest>().ok());
    let digest = match by_name {
        Some(digest) => digest,
        None => {
            wick_artifact::source::digest_source(path).or_invalid(format!("cannot read {text}"))?
        }
    };
    // A file that stages have read is meant as such, even where a stage made the same bytes.
    if by_name.is_none() && !store.source_readers(&[digest], 1).await?.is_empty() {
        return Ok(Some(What::Source(text.to_owned(), digest)));
    }
    if !store.makers(&[digest], 1).await?.is_empty() {
        return Ok(Some(What::Artifact(digest)));
    }
    if !is_path {
        return Ok(None);
    }
    Err(CommandError::invalid(format!("no stage has made or read the bytes of {text}")).hint(
        format!("its digest is {digest}; if it was changed since, ask by the run that read it"),
    ))
}

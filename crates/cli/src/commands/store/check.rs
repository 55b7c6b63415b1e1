//! `wick store check`: whether everything is there that the store names.

use serde::Serialize;
use serde_json::json;
use wick_artifact::{ArtifactError, ArtifactStore, RemoteListing};
use wick_core::{Digest, PortType, RunId};
use wick_store::Store;

use crate::args::{GlobalArgs, StoreCheckArgs};
use crate::error::{CommandResult, ExitCode, ResultExt};
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;

/// So many names of artifacts are asked for at a time.
const PAGE: u32 = 1_000;

/// So many runs are told of each artifact.
const MAX_RUNS: u32 = 8;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    /// How many artifacts were looked at.
    checked: u64,
    /// How many bytes were read, or would have been.
    bytes: u64,
    wrong: Vec<Wrong>,
}

/// Something that is not as it should be.
#[derive(Debug, Serialize)]
struct Wrong {
    digest: Digest,
    #[serde(rename = "type")]
    port_type: PortType,
    /// What is the matter.
    what: String,
    /// `stage.output` of the runs that made it.
    made_by: Vec<Made>,
}

#[derive(Debug, Serialize)]
struct Made {
    run: RunId,
    output: String,
}

pub async fn check(args: &StoreCheckArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let store = &*session.store;
    let artifacts = session.artifacts()?;
    let listing = match artifacts.remote() {
        Some(remote) => Some(remote.list().or_internal("cannot list the artifacts")?),
        None => None,
    };
    let mut findings = Findings::default();
    let mut after = None;
    loop {
        let page = store.referenced_artifacts(after, PAGE).await?;
        let Some((last, ..)) = page.last() else { break };
        after = Some(*last);
        for (digest, port_type, bytes) in page {
            findings.checked += 1;
            findings.bytes += bytes;
            let look = Look { artifacts: &artifacts, listing: listing.as_ref(), deep: args.deep };
            if let Some(what) = look.at(&digest, bytes)? {
                let made_by = makers(store, &digest).await?;
                findings.wrong.push(Wrong { digest, port_type, what, made_by });
            }
        }
    }
    if args.output.is_json() {
        ui.json(&json!({
            "version": 1,
            "sound": findings.wrong.is_empty(),
            "deep": args.deep,
            "checked": findings.checked,
            "bytes": findings.bytes,
            "wrong": findings.wrong,
        }))?;
    } else {
        tell(&findings, args.deep, ui);
    }
    Ok(if findings.wrong.is_empty() { ExitCode::Success } else { ExitCode::Internal })
}

/// How artifacts are looked at.
struct Look<'a> {
    artifacts: &'a ArtifactStore,
    /// What lies in the object storage, if there is one: then it must be there.
    listing: Option<&'a RemoteListing>,
    deep: bool,
}

impl Look<'_> {
    /// What is the matter with an artifact that should have so many bytes, or 0 if nobody knows.
    fn at(&self, digest: &Digest, bytes: u64) -> CommandResult<Option<String>> {
        let here = self.here(digest, bytes)?;
        let (Some(listing), Some(remote)) = (self.listing, self.artifacts.remote()) else {
            return Ok(here);
        };
        // What is wrong here alone is fetched again when it is needed.
        let entry = listing.entries.get(digest).filter(|entry| entry.whole);
        let what = match entry {
            None => Some(format!("is not in {}", remote.place())),
            Some(entry) if entry.bytes < bytes => {
                Some(format!("has lost bytes in {}", remote.place()))
            }
            Some(_) if self.deep => told(remote.verify(digest).map(drop))?,
            Some(_) => None,
        };
        let is_here = self.artifacts.contains(digest) && here.is_none();
        Ok(what.map(|what| match is_here {
            true => format!("{what}, but is whole here: its next use brings it there"),
            false => what,
        }))
    }

    fn here(&self, digest: &Digest, bytes: u64) -> CommandResult<Option<String>> {
        if self.deep {
            return told(self.artifacts.verify_here(digest).map(drop));
        }
        let found = self.artifacts.size_here(digest).or_internal("cannot look at artifacts")?;
        Ok(match found {
            None => Some("is not there".to_owned()),
            Some(found) if bytes > 0 && found != bytes => {
                Some(format!("has {found} bytes, and had {bytes}"))
            }
            Some(_) => None,
        })
    }
}

/// Damage, in words; that it cannot be looked at is an error.
fn told(looked: Result<(), ArtifactError>) -> CommandResult<Option<String>> {
    match looked {
        Ok(()) => Ok(None),
        Err(ArtifactError::Missing { .. }) => Ok(Some("is not there".to_owned())),
        Err(ArtifactError::Damaged { moved_to, .. }) => {
            Ok(Some(format!("is damaged, and was moved to {}", moved_to.display())))
        }
        Err(ArtifactError::RemoteDamaged { url, what, .. }) => {
            Ok(Some(format!("is damaged at {url} ({what}), and was moved aside there")))
        }
        Err(error) => Err(error).or_internal("cannot check the artifacts"),
    }
}

async fn makers(store: &dyn Store, digest: &Digest) -> CommandResult<Vec<Made>> {
    let made = store.makers(std::slice::from_ref(digest), MAX_RUNS).await?;
    let told = |made: wick_store::questions::MadeArtifact| Made {
        run: made.by.run,
        output: format!("{}.{}", made.by.stage, made.port),
    };
    Ok(made.into_iter().map(told).collect())
}

fn tell(findings: &Findings, deep: bool, ui: &Ui) {
    if !findings.wrong.is_empty() {
        let mut table = Table::new(ui, &["artifact", "type", "made by", "what is wrong"]);
        for wrong in &findings.wrong {
            let made_by: Vec<String> =
                wrong.made_by.iter().map(|made| format!("{}:{}", made.run, made.output)).collect();
            table.row([
                Cell::painted(Paint::Bad, wrong.digest.short()),
                Cell::new(wrong.port_type),
                Cell::new(if made_by.is_empty() {
                    "a run that is gone".into()
                } else {
                    made_by.join(" ")
                }),
                Cell::new(&wrong.what),
            ]);
        }
        ui.print(table.render());
    }
    let how = if deep { "read" } else { "looked at" };
    ui.print(format_args!(
        "{how} {} of {}: {}",
        human::plural(usize::try_from(findings.checked).unwrap_or(usize::MAX), "artifact"),
        human::bytes(findings.bytes),
        match findings.wrong.len() {
            0 => "all are there".to_owned(),
            wrong => format!("{wrong} missing or damaged"),
        }
    ));
    if let Some(made) = findings.wrong.iter().rev().find_map(|wrong| wrong.made_by.last()) {
        ui.note(format_args!("`wick rerun {}` makes what is missing of that run anew", made.run));
    } else if !deep {
        ui.note("`--deep` also reads every byte");
    }
}

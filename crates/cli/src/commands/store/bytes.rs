//! The artifacts of a store that is copied.
//!
//! They go first, so that a run that is in the other store has what it made; and once more when
//! the runs are there, for those that came meanwhile.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wick_artifact::{ArtifactStore, Form, Remote};
use wick_core::Digest;
use wick_store::Store;

use crate::args::StoreCopyArgs;
use crate::error::{CommandResult, ResultExt};
use crate::project::{ArtifactsConfig, Project, absolute};
use crate::render::{Ui, human};
use crate::session::{Session, store_name};

/// So many names of artifacts are asked for at a time.
const PAGE: u32 = 1_000;

/// Of so many artifacts that cannot be copied each is told of.
const MAX_TOLD: u64 = 8;

/// The folder beside a store that no project has.
const BESIDE: &str = "artifacts";

/// What becomes of the artifacts.
pub enum Artifacts {
    /// They are left where they are, as was asked for.
    Left,
    /// Both stores have them in this place.
    Shared(ArtifactStore),
    /// They are copied.
    Copied(Box<Copying>),
}

/// Artifacts on their way.
pub struct Copying {
    from: ArtifactStore,
    to: ArtifactStore,
    /// Those that were looked at.
    seen: HashSet<Digest>,
    /// How many came to the other place.
    pub copied: u64,
    /// How many bytes these have.
    pub bytes: u64,
    /// How many were there.
    pub kept: u64,
    /// How many are missing or damaged, or were not taken by the other place.
    pub left: u64,
}

impl Artifacts {
    /// What becomes of the artifacts when the store is copied to `location`.
    pub fn of(
        args: &StoreCopyArgs,
        session: &Session,
        location: &str,
        ui: &Ui,
    ) -> CommandResult<Self> {
        if args.no_artifacts {
            return Ok(Self::Left);
        }
        let from = session.artifacts()?;
        let to = match &args.artifacts {
            Some(place) => Some(open_place(session, place)?),
            // A server has no folder: whoever uses it does so from a project, such as this one.
            None if location.contains("://") => None,
            None => Some(place_of_store(Path::new(location), ui)?),
        };
        let place = |store: &ArtifactStore| store.remote().map(|remote| remote.place().clone());
        Ok(match to {
            Some(to) if to.folder() != from.folder() || place(&to) != place(&from) => {
                Self::Copied(Box::new(Copying::new(from, to)?))
            }
            _ => Self::Shared(from),
        })
    }

    /// Copies what `store` names, and the other place does not have; not what was looked at
    /// before.
    pub async fn copy(&mut self, store: &dyn Store, ui: &Ui) -> CommandResult<()> {
        match self {
            Self::Copied(copying) => copying.copy(store, ui).await,
            Self::Left | Self::Shared(_) => Ok(()),
        }
    }

    /// Notes in the place that `store` names artifacts there, for whoever clears up in it.
    pub fn note_user(&self, store: &dyn Store) -> CommandResult<()> {
        let place = match self {
            Self::Left => return Ok(()),
            Self::Shared(place) => place,
            Self::Copied(copying) => &copying.to,
        };
        place
            .note_user(&store.location(), &store_name(store))
            .or_internal("cannot use the place of artifacts")
    }

    /// How many could not be copied.
    pub fn left(&self) -> u64 {
        match self {
            Self::Copied(copying) => copying.left,
            Self::Left | Self::Shared(_) => 0,
        }
    }

    /// Where the other store has them.
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Left => None,
            Self::Shared(place) => Some(shown(place)),
            Self::Copied(copying) => Some(shown(&copying.to)),
        }
    }

    /// What became of them, for people.
    pub fn words(&self, to: &str) -> String {
        let copying = match self {
            Self::Left => return "no artifacts were copied".to_owned(),
            Self::Shared(place) if to.contains("://") && place.remote().is_none() => {
                return format!(
                    "the artifacts stay in {}; where other machines see them too they come with \
                     --artifacts s3://…",
                    shown(place)
                );
            }
            Self::Shared(place) => {
                return format!("the artifacts stay in {}, which both stores use", shown(place));
            }
            Self::Copied(copying) => copying,
        };
        let mut words = format!(
            "{} of {} copied",
            human::plural(copying.copied as usize, "artifact"),
            human::bytes(copying.bytes)
        );
        if copying.kept > 0 {
            words.push_str(&format!(", {} there already", copying.kept));
        }
        format!("{words}, in {}", shown(&copying.to))
    }
}

impl Copying {
    fn new(from: ArtifactStore, to: ArtifactStore) -> CommandResult<Self> {
        // What a copy that was killed had half.
        to.sweep().or_internal("cannot clear away half copies")?;
        Ok(Self { from, to, seen: HashSet::new(), copied: 0, bytes: 0, kept: 0, left: 0 })
    }

    async fn copy(&mut self, store: &dyn Store, ui: &Ui) -> CommandResult<()> {
        let mut after = None;
        loop {
            let page = store.referenced_artifacts(after, PAGE).await?;
            let Some((last, ..)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let new: Vec<_> = page.into_iter().filter(|row| self.seen.insert(row.0)).collect();
            let digests: Vec<Digest> = new.iter().map(|row| row.0).collect();
            self.to.look_for(&digests).or_internal("cannot look for artifacts")?;
            for (digest, port_type, _) in new {
                if self.to.is_there(&digest).or_internal("cannot look for an artifact")? {
                    self.kept += 1;
                    continue;
                }
                match self.copy_one(&digest, port_type.into()) {
                    Ok(bytes) => {
                        self.copied += 1;
                        self.bytes += bytes;
                    }
                    // One that was removed or damaged is no reason to leave the others behind.
                    Err(error) => {
                        self.left += 1;
                        if self.left <= MAX_TOLD {
                            ui.warn(format_args!("artifact {}: {error:#}", digest.short()));
                        }
                    }
                }
            }
        }
    }

    /// Copies one artifact, verified on both sides; how many bytes it has.
    fn copy_one(&self, digest: &Digest, form: Form) -> anyhow::Result<u64> {
        let held = self.from.hold(digest)?;
        let put = self.to.put_copy(held.path(), form)?;
        anyhow::ensure!(put.digest == *digest, "it is not what its name says");
        Ok(put.bytes)
    }
}

/// What a place of artifacts is called.
fn shown(store: &ArtifactStore) -> String {
    match store.remote() {
        Some(remote) => remote.place().to_string(),
        None => Project::shown(store.folder()),
    }
}

/// Where the artifacts of the store in `file` are looked for.
fn place_of_store(file: &Path, ui: &Ui) -> CommandResult<ArtifactStore> {
    match Project::of_store(file, ui)? {
        Some(project) => project.artifacts(),
        None => open(file.with_file_name(BESIDE)),
    }
}

/// The artifacts at `place`: a folder, or the URL of an object storage, of which the cache is a
/// folder of this project.
fn open_place(session: &Session, place: &str) -> CommandResult<ArtifactStore> {
    let config = ArtifactsConfig::from_text(place)
        .or_invalid(format!("`{place}` is no place for artifacts"))?;
    Ok(match config {
        ArtifactsConfig::Folder(folder) => open(absolute(&folder)?)?,
        ArtifactsConfig::Remote { place, cache } => {
            let folder = session.project.state_folder().join("copied-artifacts");
            open(folder)?.with_remote(Arc::new(Remote::new(place)), cache)
        }
    })
}

fn open(folder: PathBuf) -> CommandResult<ArtifactStore> {
    ArtifactStore::open(&folder).or_internal(format!("no artifacts at {}", folder.display()))
}

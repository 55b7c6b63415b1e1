//! Which artifacts nobody needs.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use wick_artifact::{ArtifactStore, Aside, LocalEntry, NOTED_AFTER, RemoteEntry, User};
use wick_core::{Digest, RunState};
use wick_store::filter::Filter;
use wick_store::{Search, Store, Visible};

use crate::error::{CommandError, CommandResult, ResultExt};
use crate::session::store_name;

/// So many names of artifacts are asked for at a time.
const PAGE: u32 = 10_000;

/// What may go of a place of artifacts.
#[derive(Debug, Default)]
pub struct Garbage {
    /// In the folder.
    pub here: Vec<LocalEntry>,
    /// In the object storage.
    pub remote: Vec<RemoteEntry>,
    /// Needed artifacts that have bytes beside of uploads that came to nothing.
    pub strays: Vec<Digest>,
}

/// All artifacts that a store names.
pub async fn named(store: &dyn Store) -> CommandResult<HashSet<Digest>> {
    let mut named = HashSet::new();
    let mut after = None;
    loop {
        let page = store.referenced_artifacts(after, PAGE).await?;
        let Some((last, ..)) = page.last() else { return Ok(named) };
        after = Some(*last);
        named.extend(page.into_iter().map(|(digest, ..)| digest));
    }
}

/// For how long an artifact must not have been used to go. While runs go on it is longer than the
/// time for which a use may stay unnoted: what a run is about to name may be older.
pub async fn grace(store: &dyn Store, asked: Duration) -> CommandResult<Duration> {
    let filter = Some(Filter::in_state(RunState::Running));
    let query = Search { filter, limit: 1, visible: Visible::All, ..Search::default() };
    let is_busy = !store.search(&query).await?.runs.is_empty();
    Ok(if is_busy { asked.max(NOTED_AFTER * 2) } else { asked })
}

/// What lies in the place, was not used for `grace`, and is none of `needed`.
pub fn find(
    artifacts: &ArtifactStore,
    needed: &HashSet<Digest>,
    grace: Duration,
) -> CommandResult<Garbage> {
    let mut garbage = Garbage::default();
    let here = artifacts.entries().or_internal("cannot list the artifacts")?;
    let goes = |entry: &LocalEntry| !needed.contains(&entry.digest) && entry.unused() >= grace;
    garbage.here = here.into_iter().filter(goes).collect();
    if let Some(remote) = artifacts.remote() {
        let listing = remote.list().or_internal("cannot list the artifacts")?;
        for (digest, entry) in listing.entries {
            if !needed.contains(&digest) {
                garbage.remote.extend((entry.unused >= grace).then_some(entry));
            } else if entry.uploads > 1 {
                garbage.strays.push(digest);
            }
        }
    }
    Ok(garbage)
}

impl Garbage {
    /// Removes it, as far as nobody has used it meanwhile; what was removed is left in it.
    pub fn remove(&mut self, artifacts: &ArtifactStore, grace: Duration) -> CommandResult<()> {
        let mut failed = None;
        let mut note = |removed: wick_artifact::ArtifactResult<bool>| {
            removed.unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            })
        };
        // The remote first: whoever dies in between leaves a copy here, not a name without bytes.
        if let Some(remote) = artifacts.remote() {
            self.remote.retain(|entry| note(remote.remove(entry, grace)));
            let stray = |digest: &Digest| remote.remove_strays(digest, grace);
            self.strays.retain(|digest| note(stray(digest).map(|bytes| bytes > 0)));
        }
        self.here.retain(|entry| note(artifacts.remove_here(&entry.digest, grace)));
        match failed {
            None => Ok(()),
            Some(error) => Err(error).or_internal("some artifacts could not be removed"),
        }
    }
}

/// The stores that use the place, and that nobody called `known`: on this machine, and everywhere.
pub fn other_users(artifacts: &ArtifactStore, known: &[String]) -> CommandResult<Vec<User>> {
    let mut users = artifacts.users().or_internal("cannot tell who uses the artifacts")?;
    // A file of this machine that is not there any more needs nothing.
    users.retain(|user| user.name.contains("://") || Path::new(&user.name).exists());
    if let Some(remote) = artifacts.remote() {
        let here = format!("{}:", wick_store::this_host());
        let is_gone = |user: &User| {
            user.name.strip_prefix(&here).is_some_and(|path| !Path::new(path).exists())
        };
        let all = remote.users().or_internal("cannot tell who uses the artifacts")?;
        users.extend(all.into_iter().filter(|user| !is_gone(user)));
    }
    users.retain(|user| !known.contains(&user.name));
    Ok(users)
}

/// What a store is called: on this machine, and everywhere.
pub fn names(store: &dyn Store) -> [String; 2] {
    [store.location(), store_name(store)]
}

/// What the stores at these places need, and what they are called.
pub async fn needed_by(places: &[String]) -> CommandResult<(HashSet<Digest>, Vec<String>)> {
    let (mut needed, mut known) = (HashSet::new(), Vec::new());
    for place in places {
        if !place.contains("://") && !Path::new(place).exists() {
            return Err(CommandError::invalid(format!("there is no store {place}")));
        }
        let place = match place.contains("://") {
            true => place.clone(),
            false => crate::project::absolute(Path::new(place))?.display().to_string(),
        };
        let store = wick_store::open(&place).await?;
        needed.extend(named(&*store).await?);
        known.extend(names(&*store));
    }
    Ok((needed, known))
}

/// What was set aside as damaged longer ago than `age`; removed, if it is to be.
pub fn quarantined(
    artifacts: &ArtifactStore,
    age: Duration,
    remove: bool,
) -> CommandResult<Vec<Aside>> {
    let mut old = artifacts.set_aside().or_internal("cannot list what was set aside")?;
    old.retain(|aside| aside.age() >= age);
    if remove {
        old.iter()
            .try_for_each(|aside| artifacts.remove_aside(aside))
            .or_internal("cannot remove what was set aside")?;
    }
    Ok(old)
}

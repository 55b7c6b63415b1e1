//! What the engine itself asks of files: the digests of sources, and whether artifacts are there.
//! What attempts do with files is the [executor's](crate::executor).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use wick_artifact::ArtifactStore;
use wick_artifact::source::{SourceStat, digest_source, stat_source};
use wick_core::{Digest, Output, Timestamp};
use wick_store::SourceStamp;

use crate::error::{EngineError, EngineResult};

/// The largest `value` that a condition or a list is read from.
const MAX_VALUE_BYTES: u64 = 4 << 20;

/// The files that the engine looks at.
#[async_trait]
pub trait Files: Send + Sync {
    /// Of each of these lists, whether its artifacts are in the artifact store and nothing speaks
    /// against their bytes.
    ///
    /// # Errors
    /// If the artifact store does not tell.
    async fn are_there(&self, outputs: &[&[Output]]) -> EngineResult<Vec<bool>>;

    /// What lies in the artifact of a `value`.
    ///
    /// # Errors
    /// Why it cannot be told, as a sentence fragment: it is gone, too large, or no JSON.
    async fn value(&self, digest: &Digest) -> Result<serde_json::Value, String>;

    /// The value of an environment variable, if it is set.
    fn variable(&self, name: &str) -> Option<String>;

    /// Digests source files and folders. Each comes with what is remembered of it: where that
    /// still holds, nothing is read.
    ///
    /// # Errors
    /// If no file could be looked at at all; one that cannot be read has no digest.
    async fn digest(
        &self,
        sources: Vec<(PathBuf, Option<SourceStamp>)>,
        now: Timestamp,
    ) -> EngineResult<Vec<Digested>>;

    /// Begins to remove what engines that died have left half-made.
    fn sweep(&self);
}

/// A source that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digested {
    /// Where it lies.
    pub path: PathBuf,
    /// `None` if it cannot be read.
    pub digest: Option<Digest>,
    /// What is to be remembered of it, if that is new and worth it.
    pub fresh: Option<SourceStamp>,
}

/// The files of this machine.
#[derive(Debug, Clone)]
pub struct LocalFiles {
    artifacts: Arc<ArtifactStore>,
}

impl LocalFiles {
    /// The files of this machine, with the artifacts in `artifacts`.
    pub const fn new(artifacts: Arc<ArtifactStore>) -> Self {
        Self { artifacts }
    }

    /// Looks at artifacts: at once where they lie in a folder, on a thread of its own where a
    /// network may have to be waited for.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ArtifactStore) -> EngineResult<T> + Send + 'static,
    ) -> EngineResult<T> {
        if self.artifacts.remote().is_none() {
            return look(&self.artifacts);
        }
        let artifacts = self.artifacts.clone();
        tokio::task::spawn_blocking(move || look(&artifacts))
            .await
            .map_err(|error| EngineError::Internal(error.to_string()))?
    }
}

#[async_trait]
impl Files for LocalFiles {
    async fn are_there(&self, outputs: &[&[Output]]) -> EngineResult<Vec<bool>> {
        let digests = |outputs: &[Output]| outputs.iter().map(|output| output.digest).collect();
        let lists: Vec<Vec<Digest>> = outputs.iter().map(|outputs| digests(outputs)).collect();
        self.look(move |artifacts| {
            let all: Vec<Digest> = lists.iter().flatten().copied().collect();
            artifacts.look_for(&all)?;
            lists.iter().map(|list| Ok(artifacts.are_there(list)?)).collect()
        })
        .await
    }

    async fn value(&self, digest: &Digest) -> Result<serde_json::Value, String> {
        let digest = *digest;
        let read = self.look(move |artifacts| Ok(read_value(artifacts, &digest))).await;
        read.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    async fn digest(
        &self,
        sources: Vec<(PathBuf, Option<SourceStamp>)>,
        now: Timestamp,
    ) -> EngineResult<Vec<Digested>> {
        let now_ns = now.0.saturating_mul(1000);
        tokio::task::spawn_blocking(move || {
            let digest = |(path, stamp)| digest_with_stamp(path, stamp, now_ns);
            sources.into_iter().map(digest).collect()
        })
        .await
        .map_err(|error| EngineError::Internal(error.to_string()))
    }

    fn sweep(&self) {
        let artifacts = self.artifacts.clone();
        // What is left half-made is in nobody's way: that it cannot be removed now is no reason
        // not to run.
        tokio::task::spawn_blocking(move || drop(artifacts.sweep()));
    }
}

fn read_value(artifacts: &ArtifactStore, digest: &Digest) -> Result<serde_json::Value, String> {
    let held = artifacts.hold(digest).map_err(|error| error.to_string())?;
    let file = std::fs::File::open(held.path()).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells that there is more.
    file.take(MAX_VALUE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_VALUE_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_VALUE_BYTES >> 20));
    }
    serde_json::from_slice(&bytes).map_err(|error| format!("it is no JSON: {error}"))
}

fn digest_with_stamp(path: PathBuf, stamp: Option<SourceStamp>, now_ns: i64) -> Digested {
    let Ok(stat) = stat_source(&path) else {
        return Digested { path, digest: None, fresh: None };
    };
    if let Some(stamp) = stamp {
        let SourceStamp { size, modified_ns, inode, digest, .. } = stamp;
        if stat == (SourceStat { size, modified_ns, inode }) {
            return Digested { path, digest: Some(digest), fresh: None };
        }
    }
    let digest = digest_source(&path).ok();
    let fresh = digest.filter(|_| stat.is_settled(now_ns)).map(|digest| SourceStamp {
        path: path_text(&path),
        size: stat.size,
        modified_ns: stat.modified_ns,
        inode: stat.inode,
        digest,
    });
    Digested { path, digest, fresh }
}

/// A path as the store keeps it.
pub(crate) fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

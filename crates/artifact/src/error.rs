//! Why the artifact store could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use wick_core::Digest;

/// The result of asking the artifact store.
pub type ArtifactResult<T> = Result<T, ArtifactError>;

/// Why the artifact store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `rename`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file was expected and something else is there, or the other way round.
    #[error("{} is {found}, not {expected}", path.display())]
    Form {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// Something in a folder is neither a file nor a folder.
    #[error(
        "{} is {found}; an artifact holds only files and folders: copy what it stands for",
        path.display()
    )]
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A name cannot be written down portably.
    #[error("{} has a name that is not UTF-8: rename it", path.display())]
    Name {
        /// Where.
        path: PathBuf,
    },
    /// A folder is larger than the store takes.
    #[error("{} has {what}: pack it into an archive", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// Which bound it breaks.
        what: String,
    },
    /// No artifact has this digest.
    #[error("there is no artifact {}; `wick rerun` makes it again", digest.short())]
    Missing {
        /// What was asked for.
        digest: Digest,
    },
    /// The bytes are no longer what they were. The entry has been moved aside.
    #[error(
        "artifact {} is damaged (its bytes now hash to {}) and was moved to {}; `wick rerun` makes it again",
        digest.short(), found.short(), moved_to.display()
    )]
    Damaged {
        /// What was asked for.
        digest: Digest,
        /// What is there.
        found: Digest,
        /// Where it is now.
        moved_to: PathBuf,
    },
    /// The remote refused, or cannot be reached.
    #[error("cannot {action} {url}: {mend}")]
    Remote {
        /// What was tried: `read`, `write`, `list`.
        action: &'static str,
        /// On what. Holds no credentials.
        url: String,
        /// What to look at.
        mend: String,
        /// What the storage said. Holds no credentials either.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What lies in the remote is not the artifact of its name. It was moved aside there.
    #[error(
        "artifact {} is damaged at {url} ({what}) and was moved aside there; `wick rerun` makes it again",
        digest.short()
    )]
    RemoteDamaged {
        /// What was asked for.
        digest: Digest,
        /// The place.
        url: String,
        /// How it shows.
        what: String,
    },
    /// An artifact does not fit on the disk.
    #[error(
        "artifact {} has {bytes} bytes, and {} has room for {free}: make room, or let `cache` be smaller",
        digest.short(), path.display()
    )]
    NoRoom {
        /// What was asked for.
        digest: Digest,
        /// How large it is.
        bytes: u64,
        /// How much room there is.
        free: u64,
        /// The folder.
        path: PathBuf,
    },
}

impl ArtifactError {
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn os(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let wrap = Self::io(action, path);
        move |errno| wrap(errno.into())
    }
}

//! Content-addressed bytes: the artifacts that travel on the edges of a pipeline.
//!
//! An artifact is one file or one folder, named by its [`Digest`](wick_core::Digest), written
//! once and never changed. [`ArtifactStore`] keeps them in a folder of the local file system,
//! alone or as the cache of a [`Remote`], an object storage that several machines share.
//! [`source`] gives the digests of files that lie elsewhere.
//!
//! ```text
//! artifacts/
//!   3f/3f9a…        an artifact: a read-only file or folder
//!   tmp/            what is being put; swept when its process has died
//!   quarantine/     what no longer had the digest of its name, until it is cleared
//!   users/          which experiment stores name artifacts that lie here
//! ```
//!
//! **What it promises.** When [`ArtifactStore::put`] returns, the bytes are on the disk under
//! their name and survive a power cut. An entry is whole or absent: it is made under `tmp/`,
//! flushed, and renamed into place. [`ArtifactStore::open_verified`] never hands out bytes that
//! it has reason to doubt. With a remote, the bytes lie there too when `put` returns; what comes
//! from there is hashed before it gets its name. Without one, nothing here knows of networks.
//!
//! **What it does not know**: runs, stages, which artifacts are still wanted.

mod aside;
mod cache;
mod entries;
mod error;
mod fetch;
mod folder;
mod place;
mod remote;
mod seal;
pub mod source;
mod store;
mod take;
#[cfg(test)]
mod tests;
mod used;
mod users;
mod workspace;

pub use aside::Aside;
pub use entries::LocalEntry;
pub use error::{ArtifactError, ArtifactResult};
pub use fetch::Held;
pub use folder::{MAX_DEPTH, MAX_FILES};
pub use place::{PlaceError, RemotePlace, Scheme};
pub use remote::{Remote, RemoteEntry, RemoteListing};
pub use store::{ArtifactStore, Form, Stored};
pub use used::NOTED_AFTER;
pub use users::User;

//! Content-addressed bytes: the artifacts that travel on the edges of a pipeline.
//!
//! An artifact is one file or one folder, named by its [`Digest`](wick_core::Digest), written
//! once and never changed. [`ArtifactStore`] keeps them in a folder of the local file system;
//! [`source`] gives the digests of files that lie elsewhere.
//!
//! ```text
//! artifacts/
//!   3f/3f9a…        an artifact: a read-only file or folder
//!   tmp/            what is being put; swept when its process has died
//!   quarantine/     what no longer had the digest of its name
//! ```
//!
//! **What it promises.** When [`ArtifactStore::put`] returns, the bytes are on the disk under
//! their name and survive a power cut. An entry is whole or absent: it is made under `tmp/`,
//! flushed, and renamed into place. [`ArtifactStore::open_verified`] never hands out bytes that
//! it has reason to doubt.
//!
//! **What it does not know**: runs, stages, which artifacts are still wanted.

mod error;
mod folder;
mod seal;
pub mod source;
mod store;
#[cfg(test)]
mod tests;
mod workspace;

pub use error::{ArtifactError, ArtifactResult};
pub use folder::{MAX_DEPTH, MAX_FILES};
pub use store::{ArtifactStore, Form, Stored};

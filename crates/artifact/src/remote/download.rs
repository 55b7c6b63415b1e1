//! Artifacts on their way down.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{Error, ObjectStoreExt};
use tokio::sync::OwnedSemaphorePermit;
use wick_core::Digest;

use super::Client;
use super::manifest::{RemoteFile, RemoteManifest};
use super::parts::{FILES_AT_ONCE, Hashed, PARTS_AT_ONCE, blocking, part_size};
use crate::error::{ArtifactError, ArtifactResult};
use crate::seal::seal;
use crate::store::Form;

/// Why a file did not come.
enum Lost {
    /// It is not what the manifest says.
    Damaged(String),
    Failed(ArtifactError),
}

impl From<ArtifactError> for Lost {
    fn from(error: ArtifactError) -> Self {
        Lost::Failed(error)
    }
}

impl Client {
    /// Brings the files of an artifact to `target`, each sealed and flushed.
    pub(super) async fn download(
        &self,
        manifest: RemoteManifest,
        target: &Path,
    ) -> ArtifactResult<()> {
        if manifest.form() == Form::Folder {
            let folders = folders_of(&manifest, target);
            blocking(move || folders.iter().try_for_each(fs::create_dir_all))
                .await
                .map_err(ArtifactError::io("make folders in", target))?;
        }
        self.fetch_all(&manifest, Some(target)).await
    }

    /// Reads all files of an artifact, and keeps none; returns how many bytes they have.
    pub(super) async fn verify(&self, manifest: RemoteManifest) -> ArtifactResult<u64> {
        self.fetch_all(&manifest, None).await?;
        Ok(manifest.bytes)
    }

    async fn fetch_all(
        &self,
        manifest: &RemoteManifest,
        target: Option<&Path>,
    ) -> ArtifactResult<()> {
        let place = self.upload_key(&manifest.digest, &manifest.upload);
        let form = manifest.form();
        let fetched = stream::iter(manifest.files.clone().into_iter().enumerate())
            .map(|(n, file)| {
                let (client, key) = (self.clone(), place.clone().join(n.to_string()));
                // The manifest was checked: no path leads out of the folder.
                let target = target.map(|target| match form {
                    Form::File => target.to_owned(),
                    Form::Folder => target.join(&file.path),
                });
                async move { client.fetch(&file, &key, target).await }
            })
            .buffer_unordered(FILES_AT_ONCE)
            .try_collect::<()>()
            .await;
        match fetched {
            Ok(()) => Ok(()),
            Err(Lost::Failed(error)) => Err(error),
            Err(Lost::Damaged(what)) => {
                Err(self.set_aside(&manifest.digest, Some(manifest), what).await)
            }
        }
    }

    /// Brings one file to `target`, if there is one.
    async fn fetch(
        &self,
        wanted: &RemoteFile,
        key: &Key,
        target: Option<PathBuf>,
    ) -> Result<(), Lost> {
        // What a line has garbled is right the second time.
        let found = match self.fetch_once(wanted, key, target.clone()).await? {
            found if found == wanted.digest => found,
            _ => {
                if let Some(target) = &target {
                    fs::remove_file(target).map_err(ArtifactError::io("remove", target))?;
                }
                self.fetch_once(wanted, key, target).await?
            }
        };
        if found == wanted.digest {
            return Ok(());
        }
        let of = if wanted.path.is_empty() {
            "its bytes now hash".to_owned()
        } else {
            format!("the bytes of {} now hash", wanted.path)
        };
        Err(Lost::Damaged(format!("{of} to {}", found.short())))
    }

    async fn fetch_once(
        &self,
        wanted: &RemoteFile,
        key: &Key,
        target: Option<PathBuf>,
    ) -> Result<Digest, Lost> {
        let Some(target) = target else {
            let mut hasher = blake3::Hasher::new();
            let mut parts = self.ranges(wanted, key);
            while let Some(part) = parts.next().await {
                hasher.update(&part?.0);
            }
            return Ok(Digest::from_bytes(*hasher.finalize().as_bytes()));
        };
        let write = |error| Lost::Failed(ArtifactError::io("write", &target)(error));
        let path = target.clone();
        let made = blocking(move || File::create_new(&path).map(Hashed::new)).await;
        let mut file = made.map_err(write)?;
        let mut parts = self.ranges(wanted, key);
        while let Some(part) = parts.next().await {
            let (bytes, room) = part?;
            let written = blocking(move || {
                file.take(&bytes);
                file.file.write_all(&bytes).map(|()| file)
            });
            file = written.await.map_err(write)?;
            drop(room);
        }
        let (digest, _) = file.finish();
        if digest == wanted.digest {
            let path = target.clone();
            let sealed = blocking(move || seal(&file.file, &path).map_err(io::Error::other));
            sealed.await.map_err(write)?;
        }
        Ok(digest)
    }

    /// The parts of a file in their order, several on their way at a time. Each comes with the
    /// room that it takes.
    fn ranges(
        &self,
        wanted: &RemoteFile,
        key: &Key,
    ) -> BoxStream<'static, Result<(Bytes, Option<OwnedSemaphorePermit>), Lost>> {
        let (size, bytes) = (part_size(wanted.bytes), wanted.bytes);
        let (client, wanted, key) = (self.clone(), Arc::new(wanted.clone()), key.clone());
        stream::iter(0..bytes.div_ceil(size))
            .map(move |n| {
                let range = n * size..(n + 1).saturating_mul(size).min(bytes);
                let (client, wanted, key) = (client.clone(), wanted.clone(), key.clone());
                async move {
                    let room = client.room_for(range.end - range.start).await;
                    client.range(&wanted, &key, range).await.map(|bytes| (bytes, room))
                }
            })
            .buffered(PARTS_AT_ONCE)
            .boxed()
    }

    async fn range(
        &self,
        wanted: &RemoteFile,
        key: &Key,
        range: Range<u64>,
    ) -> Result<Bytes, Lost> {
        let of = if wanted.path.is_empty() { "its bytes" } else { wanted.path.as_str() };
        match self.store.get_range(key, range.clone()).await {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => Ok(bytes),
            Ok(_) => Err(Lost::Damaged(format!("{of}: some are missing"))),
            Err(Error::NotFound { .. }) => Err(Lost::Damaged(format!("{of}: not there"))),
            Err(error) => match self.store.head(key).await {
                // Servers have many ways to say that there is no such range.
                Ok(meta) if meta.size < wanted.bytes => {
                    Err(Lost::Damaged(format!("{of}: some are missing")))
                }
                _ => Err(self.failed("read", key)(error).into()),
            },
        }
    }
}

/// All folders that the files of an artifact lie in, the artifact's own first.
fn folders_of(manifest: &RemoteManifest, target: &Path) -> Vec<PathBuf> {
    let mut folders = vec![target.to_owned()];
    let mut last = "";
    for file in &manifest.files {
        let Some((folder, _)) = file.path.rsplit_once('/') else { continue };
        if folder != last {
            folders.push(target.join(folder));
            last = folder;
        }
    }
    folders
}

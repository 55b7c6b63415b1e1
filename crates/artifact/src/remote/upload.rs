//! Artifacts on their way up.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::task::JoinSet;
use wick_core::Digest;

use super::Client;
use super::manifest::{RemoteFile, RemoteManifest};
use super::parts::{FILES_AT_ONCE, Hashed, PART, PARTS_AT_ONCE, blocking, part_size};
use crate::error::{ArtifactError, ArtifactResult};
use crate::folder::{Links, walk};
use crate::store::Form;

impl Client {
    /// Uploads the artifact that lies at `path`: its files, and when all are there its manifest.
    pub(super) async fn upload(
        &self,
        digest: &Digest,
        path: &Path,
        form: Form,
    ) -> ArtifactResult<()> {
        let files = match form {
            Form::File => vec![(String::new(), path.to_owned())],
            Form::Folder => {
                let folder = path.to_owned();
                let found = tokio::task::spawn_blocking(move || walk(&folder, Links::Refuse)).await;
                let found = found.map_err(io::Error::other);
                let found = found.map_err(ArtifactError::io("list", path))??;
                found.files.into_iter().map(|file| (file.relative, file.path)).collect()
            }
        };
        let upload = upload_name();
        let place = self.upload_key(digest, &upload);
        let sent: Vec<RemoteFile> = stream::iter(files.into_iter().enumerate())
            .map(|(n, (relative, path))| {
                let (client, key) = (self.clone(), place.clone().join(n.to_string()));
                async move {
                    let (digest, bytes) = client.send(&path, &key).await?;
                    Ok(RemoteFile { path: relative, bytes, digest })
                }
            })
            // In order: it is that of the manifest.
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await?;
        let manifest = RemoteManifest::new(form, upload, sent);
        if manifest.digest != *digest {
            // What was sent counts for nothing without a manifest.
            return Err(changed(path));
        }
        self.write_manifest(&manifest).await
    }

    /// Sends one file; returns what its bytes are.
    async fn send(&self, path: &Path, key: &Key) -> ArtifactResult<(Digest, u64)> {
        let open = path.to_owned();
        let read = |error| ArtifactError::io("read", path)(error);
        let opened = blocking(move || {
            let file = File::open(&open)?;
            let bytes = file.metadata()?.len();
            Ok((Hashed::new(file), bytes))
        });
        let (mut file, bytes) = opened.await.map_err(read)?;
        if bytes == 0 {
            // The manifest says it all.
            return Ok(file.finish());
        }
        if bytes > PART {
            return self.send_parts(file, bytes, path, key).await;
        }
        let room = self.room_for(bytes).await;
        // One byte more than expected would tell that the file has grown.
        let (file, all) =
            blocking(move || file.read(bytes + 1).map(|all| (file, all))).await.map_err(read)?;
        if all.len() as u64 != bytes {
            return Err(changed(path));
        }
        self.store.put(key, all.into()).await.map_err(self.failed("write", key))?;
        drop(room);
        Ok(file.finish())
    }

    async fn send_parts(
        &self,
        file: Hashed,
        bytes: u64,
        path: &Path,
        key: &Key,
    ) -> ArtifactResult<(Digest, u64)> {
        let mut upload = self.store.put_multipart(key).await.map_err(self.failed("write", key))?;
        let sent = self.parts(upload.as_mut(), file, bytes, path, key).await;
        let done = match sent {
            Ok(content) if content.1 == bytes => match upload.complete().await {
                Ok(_) => return Ok(content),
                Err(error) => Err(self.failed("write", key)(error)),
            },
            Ok(_) => Err(changed(path)),
            Err(error) => Err(error),
        };
        // Servers keep the parts of an upload, and want money for them, until it is given up.
        let _ = upload.abort().await;
        done
    }

    async fn parts(
        &self,
        upload: &mut dyn MultipartUpload,
        mut file: Hashed,
        bytes: u64,
        path: &Path,
        key: &Key,
    ) -> ArtifactResult<(Digest, u64)> {
        let size = part_size(bytes);
        // Tasks of their own: they go on while this one waits for room.
        let mut sending = JoinSet::new();
        loop {
            let room = self.room_for(size).await;
            let (read, part) = blocking(move || file.read(size).map(|part| (file, part)))
                .await
                .map_err(ArtifactError::io("read", path))?;
            file = read;
            if part.is_empty() {
                break;
            }
            let part = upload.put_part(part.into());
            sending.spawn(async move {
                let sent = part.await;
                drop(room);
                sent
            });
            while sending.len() >= PARTS_AT_ONCE {
                self.part_sent(sending.join_next().await, key)?;
            }
        }
        while let Some(sent) = sending.join_next().await {
            self.part_sent(Some(sent), key)?;
        }
        Ok(file.finish())
    }

    fn part_sent(
        &self,
        sent: Option<Result<object_store::Result<()>, tokio::task::JoinError>>,
        key: &Key,
    ) -> ArtifactResult<()> {
        match sent {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(self.failed("write", key)(error)),
            Some(Err(error)) => Err(self.failed("write", key)(error.into())),
        }
    }
}

fn changed(path: &Path) -> ArtifactError {
    let error = io::Error::other("it was changed while it was uploaded");
    ArtifactError::io("upload", PathBuf::from(path))(error)
}

/// A name that no other upload has, on any machine.
fn upload_name() -> String {
    static UPLOADS: AtomicU64 = AtomicU64::new(0);
    let mut hasher = blake3::Hasher::new();
    // Its keys are drawn from the system's source of randomness.
    for _ in 0..2 {
        hasher.update(&RandomState::new().hash_one(std::process::id()).to_le_bytes());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    hasher.update(&now.map_or(0, |now| now.as_nanos()).to_le_bytes());
    hasher.update(&UPLOADS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

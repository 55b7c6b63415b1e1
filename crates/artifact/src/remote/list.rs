//! What lies in a place, and the removal of what nobody needs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{Error, ObjectMeta, ObjectStoreExt};
use wick_core::Digest;

use super::Client;
use crate::error::ArtifactResult;

/// How many removals travel at once.
const REMOVALS_AT_ONCE: usize = 32;

/// What lies in a place under the name of one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// Its name.
    pub digest: Digest,
    /// Whether it is an artifact: else it is what uploads have left that never came to an end.
    pub whole: bool,
    /// How many bytes lie there, of all uploads.
    pub bytes: u64,
    /// How many uploads have left bytes there: one, but where several machines uploaded at once,
    /// or one did not come to its end.
    pub uploads: usize,
    /// For how long it was not used, or not written to.
    pub unused: Duration,
}

/// Everything that lies in a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteListing {
    /// By digest.
    pub entries: BTreeMap<Digest, RemoteEntry>,
    /// How many objects were passed over because wick did not put them there.
    pub unknown: u64,
}

/// For how long an object was not written to. Of the future counts as just now.
pub(super) fn age(meta: &ObjectMeta) -> Duration {
    let written = u64::try_from(meta.last_modified.timestamp_micros()).unwrap_or(0);
    let written = SystemTime::UNIX_EPOCH + Duration::from_micros(written);
    SystemTime::now().duration_since(written).unwrap_or(Duration::ZERO)
}

/// What a key stands for.
enum Meaning {
    Manifest(Digest),
    /// Of this upload.
    Bytes(Digest, String),
    Own,
    Unknown,
}

impl Client {
    pub(super) async fn list(&self) -> ArtifactResult<RemoteListing> {
        let mut listing = RemoteListing::default();
        let mut uploads = HashSet::new();
        let mut objects = self.store.list(Some(&self.root));
        while let Some(object) = objects.next().await {
            let meta = object.map_err(self.failed("list", &self.root))?;
            let age = age(&meta);
            let (digest, whole, upload) = match self.meaning(&meta.location) {
                Meaning::Manifest(digest) => (digest, true, None),
                Meaning::Bytes(digest, upload) => (digest, false, Some(upload)),
                Meaning::Own => continue,
                Meaning::Unknown => {
                    listing.unknown += 1;
                    continue;
                }
            };
            let unused = Duration::MAX;
            let new = RemoteEntry { digest, whole: false, bytes: 0, uploads: 0, unused };
            let entry = listing.entries.entry(digest).or_insert(new);
            entry.whole |= whole;
            entry.uploads +=
                usize::from(upload.is_some_and(|upload| uploads.insert((digest, upload))));
            entry.bytes += meta.size;
            // The youngest tells: a manifest that was written again, or bytes of a new upload.
            entry.unused = entry.unused.min(age);
        }
        Ok(listing)
    }

    fn meaning(&self, key: &Key) -> Meaning {
        let Some(parts) = key.prefix_match(&self.root) else { return Meaning::Unknown };
        let parts: Vec<_> = parts.collect();
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        // Written as wick writes it, or it is none of ours.
        let digest = |prefix: &str, name: &str| {
            let digest: Digest = name.parse().ok()?;
            (digest.to_string() == name && name.starts_with(prefix) && prefix.len() == 2)
                .then_some(digest)
        };
        match parts.as_slice() {
            ["artifacts", prefix, file] => {
                let found = file.strip_suffix(".json").and_then(|name| digest(prefix, name));
                found.map_or(Meaning::Unknown, Meaning::Manifest)
            }
            ["bytes", prefix, name, upload, n] if n.parse::<u32>().is_ok() => {
                let found = digest(prefix, name);
                found.map_or(Meaning::Unknown, |found| Meaning::Bytes(found, upload.to_string()))
            }
            ["quarantine" | "probe" | "users", _] => Meaning::Own,
            _ => Meaning::Unknown,
        }
    }

    /// Removes an artifact that was not used for `unused`, its manifest first: whoever dies in the
    /// middle leaves bytes that count for nothing.
    pub(super) async fn remove(
        &self,
        entry: &RemoteEntry,
        unused: Duration,
    ) -> ArtifactResult<bool> {
        let digest = &entry.digest;
        // Once more, just before: it may have been used since it was listed.
        if let Some(age) = self.age(digest).await? {
            if age < unused {
                return Ok(false);
            }
            self.delete(&self.manifest_key(digest)).await?;
        }
        self.remove_strays(digest, unused).await?;
        Ok(true)
    }

    /// Removes the bytes of uploads that nobody has written to for `unused`, and that no manifest
    /// names. Returns how many bytes that were.
    pub(super) async fn remove_strays(
        &self,
        digest: &Digest,
        unused: Duration,
    ) -> ArtifactResult<u64> {
        let name = digest.to_string();
        let place = self.key(&["bytes", &name[..2], &name]);
        let objects: Vec<ObjectMeta> = self
            .store
            .list(Some(&place))
            .try_collect()
            .await
            .map_err(self.failed("list", &place))?;
        // An upload is as young as the youngest of its files: it may be under way.
        let mut young: BTreeSet<String> = BTreeSet::new();
        let mut old: Vec<(String, ObjectMeta)> = Vec::new();
        for meta in objects {
            if let Meaning::Bytes(_, upload) = self.meaning(&meta.location) {
                if age(&meta) < unused {
                    young.insert(upload.clone());
                }
                old.push((upload, meta));
            }
        }
        // What came back in the meantime needs its bytes.
        if let Some(manifest) = self.manifest(digest).await? {
            young.insert(manifest.upload);
        }
        old.retain(|(upload, _)| !young.contains(upload));
        let bytes = old.iter().map(|(_, meta)| meta.size).sum();
        stream::iter(old)
            .map(|(_, meta)| {
                let client = self.clone();
                async move { client.delete(&meta.location).await }
            })
            .buffer_unordered(REMOVALS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(bytes)
    }

    /// Removes an object that may be gone already.
    pub(super) async fn delete(&self, key: &Key) -> ArtifactResult<()> {
        match self.store.delete(key).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", key)(error)),
        }
    }
}

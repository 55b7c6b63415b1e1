//! Artifacts in an object storage, shared by any number of machines.
//!
//! ```text
//! artifacts/3f/3f9a….json              what the artifact 3f9a… is: form, files, digests
//! bytes/3f/3f9a…/<upload>/<n>          the bytes of its n-th file
//! users/<n>                            which experiment stores name artifacts that lie here
//! quarantine/3f9a…-<upload>.json       manifests of what turned out to be damaged
//! probe/<n>                            there for a moment, when `wick doctor` looks
//! ```
//!
//! **What it promises.** The manifest is written when all bytes are there, in one piece: half an
//! upload counts for nothing. Each upload has a name of its own, so uploads never meet. What
//! comes down is hashed on the way, and only what has the digest of its name is handed out.
//!
//! **What it costs.** Its client and threads are made at the first use. Large files travel in
//! parts, several at a time; all buffers together hold at most [`BUDGET`] bytes.

mod connect;
mod download;
mod error;
mod list;
pub(crate) mod manifest;
mod parts;
mod probe;
#[cfg(test)]
mod tests;
mod upload;
mod users;

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use object_store::path::Path as Key;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use wick_core::Digest;

pub use list::{RemoteEntry, RemoteListing};

use crate::error::{ArtifactError, ArtifactResult};
use crate::place::RemotePlace;
use crate::store::Form;
use crate::used::NOTED_AFTER;
use crate::users::User;
use error::Failed;
use manifest::{MAX_MANIFEST_BYTES, RemoteManifest};

/// What all buffers of one process hold together at most.
pub(crate) const BUDGET: usize = 64 << 20;

/// How long it is believed that an artifact is there after it was seen.
const BELIEVED: Duration = Duration::from_secs(600);

/// How many artifacts are looked for at once.
const LOOKS_AT_ONCE: usize = 32;

/// A manifest older than this is written again when its artifact is used, so that its age tells
/// how long nobody has used it.
const REFRESH_AFTER: Duration = NOTED_AFTER;

/// A place for artifacts in an object storage.
#[derive(Debug)]
pub struct Remote {
    place: RemotePlace,
    connection: Mutex<Option<Arc<Connection>>>,
    /// When artifacts were last seen there.
    seen: Mutex<HashMap<Digest, Instant>>,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    /// Taken when it ends.
    runtime: Option<Runtime>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whoever drops it may itself be driven by a runtime, which must not wait for another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the work on a place needs.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    store: Arc<dyn ObjectStore>,
    root: Key,
    place: Arc<RemotePlace>,
    /// A permit for each KiB that a buffer holds.
    budget: Arc<Semaphore>,
}

impl Remote {
    /// The place. Nothing is sent and nothing looked at yet.
    pub fn new(place: RemotePlace) -> Self {
        Self { place, connection: Mutex::new(None), seen: Mutex::new(HashMap::new()) }
    }

    /// Where it is.
    pub const fn place(&self) -> &RemotePlace {
        &self.place
    }

    /// Does `work` on threads of its own, and waits for it: callers may be anything.
    pub(crate) fn wait<T, W, F>(&self, work: W) -> ArtifactResult<T>
    where
        T: Send + 'static,
        F: Future<Output = ArtifactResult<T>> + Send + 'static,
        W: FnOnce(Client) -> F,
    {
        let connection = self.connection()?;
        let (tell, told) = mpsc::sync_channel(1);
        let work = work(connection.client.clone());
        if let Some(runtime) = &connection.runtime {
            runtime.spawn(async move { drop(tell.send(work.await)) });
        }
        told.recv().unwrap_or_else(|_| {
            let stopped = std::io::Error::other("the work was given up");
            Err(ArtifactError::Remote {
                action: "use",
                url: self.place.to_string(),
                mend: "this is a defect of wick: please report it".to_owned(),
                source: stopped.into(),
            })
        })
    }

    fn connection(&self) -> ArtifactResult<Arc<Connection>> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let made = self.connect(connect::connect(&self.place)?)?;
        *connection = Some(made.clone());
        Ok(made)
    }

    fn connect(&self, store: Arc<dyn ObjectStore>) -> ArtifactResult<Arc<Connection>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("wick-remote")
            .enable_all()
            .build()
            .map_err(ArtifactError::io("start threads for", self.place.to_string()))?;
        let client = Client {
            store,
            root: connect::root(&self.place),
            place: Arc::new(self.place.clone()),
            budget: Arc::new(Semaphore::new(BUDGET >> 10)),
        };
        Ok(Arc::new(Connection { client, runtime: Some(runtime) }))
    }

    /// The place, kept by a store that a test brings.
    #[cfg(test)]
    pub(crate) fn in_store(place: RemotePlace, store: Arc<dyn ObjectStore>) -> Self {
        let remote = Self::new(place);
        let connection = remote.connect(store).expect("threads start");
        *remote.connection.lock().expect("unused yet") = Some(connection);
        remote
    }

    /// Whether the artifact is there. Using it makes it young again.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn has(&self, digest: &Digest) -> ArtifactResult<bool> {
        if self.believes(digest) {
            return Ok(true);
        }
        let digest = *digest;
        let there = self.wait(move |client| async move { client.use_it(&digest).await })?;
        if there {
            self.saw(&digest);
        }
        Ok(there)
    }

    /// Looks for many artifacts at once, so that [`has`](Self::has) knows of those that are there.
    pub(crate) fn look_for(&self, digests: &[Digest]) -> ArtifactResult<()> {
        let unknown: Vec<Digest> =
            digests.iter().filter(|digest| !self.believes(digest)).copied().collect();
        if unknown.len() < 2 {
            return Ok(());
        }
        let there: Vec<Option<Digest>> = self.wait(|client| async move {
            let looks = stream::iter(unknown).map(|digest| {
                let client = client.clone();
                // What is wrong with one is told when that one is asked for.
                async move { client.use_it(&digest).await.ok().filter(|it| *it).map(|_| digest) }
            });
            Ok(looks.buffer_unordered(LOOKS_AT_ONCE).collect().await)
        })?;
        there.into_iter().flatten().for_each(|digest| self.saw(&digest));
        Ok(())
    }

    /// Whether the artifact is there at this moment. Its age stays as it is.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn holds(&self, digest: &Digest) -> ArtifactResult<bool> {
        let digest = *digest;
        self.wait(move |client| async move { Ok(client.age(&digest).await?.is_some()) })
    }

    /// Sees to it that the artifact, of which the bytes lie at `path`, is there.
    pub(crate) fn upload(&self, digest: &Digest, path: &Path, form: Form) -> ArtifactResult<()> {
        if self.has(digest)? {
            return Ok(());
        }
        let (wanted, path) = (*digest, path.to_owned());
        self.wait(move |client| async move { client.upload(&wanted, &path, form).await })?;
        self.saw(digest);
        Ok(())
    }

    /// What the remote says of the artifact; `None` if it is not there.
    pub(crate) fn manifest(&self, digest: &Digest) -> ArtifactResult<Option<RemoteManifest>> {
        let digest = *digest;
        self.wait(move |client| async move { client.manifest(&digest).await })
    }

    /// Brings the files of an artifact to `target`, which is not there yet, each hashed on its
    /// way, sealed and flushed. If they turn out to be damaged they are set aside in the remote.
    pub(crate) fn download(&self, manifest: RemoteManifest, target: &Path) -> ArtifactResult<()> {
        let (digest, target) = (manifest.digest, target.to_owned());
        let loaded =
            self.wait(move |client| async move { client.download(manifest, &target).await });
        match &loaded {
            Ok(()) => self.saw(&digest),
            Err(_) => self.forget(&digest),
        }
        loaded
    }

    /// Reads all bytes of an artifact and hashes them, but keeps none. Returns how many there
    /// are.
    ///
    /// # Errors
    /// [`ArtifactError::Missing`] if it is not there, [`ArtifactError::RemoteDamaged`] if it is
    /// not what its name says; or if it cannot be read.
    pub fn verify(&self, digest: &Digest) -> ArtifactResult<u64> {
        let digest = *digest;
        self.wait(move |client| async move {
            let manifest = client.manifest(&digest).await?;
            let manifest = manifest.ok_or(ArtifactError::Missing { digest })?;
            client.verify(manifest).await
        })
    }

    /// Writes, reads and removes something, and tells how long that took.
    ///
    /// # Errors
    /// At the first that cannot be done.
    pub fn probe(&self) -> ArtifactResult<Duration> {
        self.wait(|client| async move { client.probe().await })
    }

    /// Everything that lies there.
    ///
    /// # Errors
    /// If the remote does not tell.
    pub fn list(&self) -> ArtifactResult<RemoteListing> {
        self.wait(|client| async move { client.list().await })
    }

    /// Removes an artifact if it was not used for `unused`: first what makes it one, then its
    /// bytes. Returns whether it did.
    ///
    /// # Errors
    /// If the remote refuses.
    pub fn remove(&self, entry: &RemoteEntry, unused: Duration) -> ArtifactResult<bool> {
        self.forget(&entry.digest);
        let entry = entry.clone();
        self.wait(move |client| async move { client.remove(&entry, unused).await })
    }

    /// Removes what uploads of an artifact have left that never came to their end, if nobody wrote
    /// to it for `unused`. Returns how many bytes that were.
    ///
    /// # Errors
    /// If the remote refuses.
    pub fn remove_strays(&self, digest: &Digest, unused: Duration) -> ArtifactResult<u64> {
        let digest = *digest;
        self.wait(move |client| async move { client.remove_strays(&digest, unused).await })
    }

    /// Notes that the experiment store `name` uses the place.
    pub(crate) fn note_user(&self, name: &str) -> ArtifactResult<()> {
        let name = name.to_owned();
        self.wait(move |client| async move { client.note_user(&name).await })
    }

    /// The experiment stores that use the place.
    ///
    /// # Errors
    /// If the remote does not tell.
    pub fn users(&self) -> ArtifactResult<Vec<User>> {
        self.wait(|client| async move { client.users().await })
    }

    fn believes(&self, digest: &Digest) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).is_some_and(|seen| seen.elapsed() < BELIEVED)
    }

    fn saw(&self, digest: &Digest) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(*digest, Instant::now());
    }

    fn forget(&self, digest: &Digest) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}

impl Client {
    fn key(&self, parts: &[&str]) -> Key {
        parts.iter().fold(self.root.clone(), |key, part| key.join(*part))
    }

    fn manifest_key(&self, digest: &Digest) -> Key {
        let name = digest.to_string();
        self.key(&["artifacts", &name[..2], &format!("{name}.json")])
    }

    /// Where the files of an upload lie.
    fn upload_key(&self, digest: &Digest, upload: &str) -> Key {
        let name = digest.to_string();
        self.key(&["bytes", &name[..2], &name, upload])
    }

    fn failed(&self, action: &'static str, key: &Key) -> impl FnOnce(Error) -> ArtifactError {
        let place = self.place.clone();
        // As the place shows its own prefix, it is left out of the key.
        let key = key.as_ref().strip_prefix(self.root.as_ref()).unwrap_or(key.as_ref());
        let key = key.trim_start_matches('/').to_owned();
        move |error| Failed { place: &place, action, key: Some(&key) }.error(error)
    }

    /// For how long an artifact that is there was not used.
    async fn age(&self, digest: &Digest) -> ArtifactResult<Option<Duration>> {
        let key = self.manifest_key(digest);
        match self.store.head(&key).await {
            Ok(meta) => Ok(Some(list::age(&meta))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look for", &key)(error)),
        }
    }

    /// Whether the artifact is there, which counts as a use of it.
    async fn use_it(&self, digest: &Digest) -> ArtifactResult<bool> {
        match self.age(digest).await? {
            None => Ok(false),
            Some(age) if age > REFRESH_AFTER => self.refresh(digest).await,
            Some(_) => Ok(true),
        }
    }

    /// Writes the manifest once more, as it is. Returns whether it was there.
    async fn refresh(&self, digest: &Digest) -> ArtifactResult<bool> {
        let Some(manifest) = self.manifest(digest).await? else { return Ok(false) };
        self.write_manifest(&manifest).await?;
        Ok(true)
    }

    async fn manifest(&self, digest: &Digest) -> ArtifactResult<Option<RemoteManifest>> {
        let key = self.manifest_key(digest);
        let got = match self.store.get(&key).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed("read", &key)(error)),
        };
        if got.meta.size > MAX_MANIFEST_BYTES {
            let what = format!("its manifest has {} bytes", got.meta.size);
            return Err(self.set_aside(digest, None, what).await);
        }
        let json = got.bytes().await.map_err(self.failed("read", &key))?;
        match RemoteManifest::read(&json, digest) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(what) => Err(self.set_aside(digest, None, what).await),
        }
    }

    async fn write_manifest(&self, manifest: &RemoteManifest) -> ArtifactResult<()> {
        let key = self.manifest_key(&manifest.digest);
        let json = manifest.to_json().map_err(std::io::Error::other);
        let json = json.map_err(ArtifactError::io("write the manifest of", key.as_ref()))?;
        self.store.put(&key, json.into()).await.map_err(self.failed("write", &key))?;
        Ok(())
    }

    /// Takes from an artifact that is damaged what makes it one, so that it can be put again.
    async fn set_aside(
        &self,
        digest: &Digest,
        manifest: Option<&RemoteManifest>,
        what: String,
    ) -> ArtifactError {
        let key = self.manifest_key(digest);
        let upload = manifest.map_or("unread", |manifest| manifest.upload.as_str());
        let aside = self.key(&["quarantine", &format!("{digest}-{upload}.json")]);
        // Who may only read leaves it where it is: it is found to be damaged each time.
        if self.store.copy(&key, &aside).await.is_ok() {
            let _ = self.store.delete(&key).await;
        }
        ArtifactError::RemoteDamaged { digest: *digest, url: self.place.to_string(), what }
    }
}

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tempfile::TempDir;

use super::manifest::RemoteFile;
use super::*;
use crate::{ArtifactStore, Form};

/// An object storage that fails when it is told to.
#[derive(Debug)]
struct Bucket {
    objects: InMemory,
    /// So many writes are still taken.
    writes_left: Arc<AtomicI64>,
    /// Nothing answers.
    gone: AtomicBool,
    parts: Arc<AtomicU64>,
    aborted: Arc<AtomicU64>,
}

impl Bucket {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: InMemory::new(),
            writes_left: Arc::new(AtomicI64::new(i64::MAX)),
            gone: AtomicBool::new(false),
            parts: Arc::default(),
            aborted: Arc::default(),
        })
    }

    fn fails(&self) -> Result<()> {
        match self.gone.load(Ordering::SeqCst) {
            true => Err(refused()),
            false => Ok(()),
        }
    }
}

fn refused() -> Error {
    Error::Generic { store: "test", source: "refused".into() }
}

fn take_write(left: &AtomicI64) -> Result<()> {
    if left.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(refused()) }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bucket")
    }
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    writes_left: Arc<AtomicI64>,
    parts: Arc<AtomicU64>,
    aborted: Arc<AtomicU64>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = take_write(&self.writes_left) {
            return Box::pin(async move { Err(error) });
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, at: &Key, data: PutPayload, how: PutOptions) -> Result<PutResult> {
        self.fails()?;
        take_write(&self.writes_left)?;
        self.objects.put_opts(at, data, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Key,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.fails()?;
        let inner = self.objects.put_multipart_opts(at, how).await?;
        let (writes_left, parts) = (self.writes_left.clone(), self.parts.clone());
        Ok(Box::new(Upload { inner, writes_left, parts, aborted: self.aborted.clone() }))
    }

    async fn get_opts(&self, at: &Key, how: GetOptions) -> Result<GetResult> {
        self.fails()?;
        self.objects.get_opts(at, how).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Key>>,
    ) -> BoxStream<'static, Result<Key>> {
        self.objects.delete_stream(at)
    }

    fn list(&self, at: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(at)
    }

    async fn list_with_delimiter(&self, at: Option<&Key>) -> Result<ListResult> {
        self.objects.list_with_delimiter(at).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, how: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, how).await
    }
}

/// A machine with a cache of its own before the bucket.
struct Machine {
    dir: TempDir,
    store: ArtifactStore,
}

impl Machine {
    fn new(bucket: &Arc<Bucket>) -> Self {
        Self::with_cache(bucket, u64::MAX)
    }

    fn with_cache(bucket: &Arc<Bucket>, bytes: u64) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let store = ArtifactStore::open(dir.path().join("artifacts")).expect("a new store");
        let place = RemotePlace::parse("s3://bucket/some/prefix").expect("a place");
        let remote = Remote::in_store(place, bucket.clone());
        Self { dir, store: store.with_remote(Arc::new(remote), bytes) }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    /// A folder with three files, one of them empty, one in a folder of its own.
    fn folder(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}/a.txt"), b"alpha");
        self.file(&format!("{name}/empty"), b"");
        self.file(&format!("{name}/sub/b.txt"), b"beta");
        self.dir.path().join(name)
    }

    fn remote(&self) -> &Remote {
        self.store.remote().expect("it has one")
    }

    fn put(&self, content: &[u8]) -> Digest {
        self.store.put(&self.file("x", content), Form::File).expect("a put").digest
    }

    /// What lies in the bucket.
    fn keys(&self) -> Vec<String> {
        let keys = self.remote().wait(|client| async move {
            let keys: Vec<_> = client.store.list(None).collect().await;
            Ok(keys.into_iter().map(|meta| meta.expect("listed").location.to_string()).collect())
        });
        keys.expect("a listing")
    }

    fn write(&self, key: &str, content: &'static [u8]) {
        let key = Key::from(key);
        self.remote()
            .wait(|client| async move { Ok(client.store.put(&key, content.into()).await) })
            .expect("sent")
            .expect("written");
    }

    fn is_cached(&self, digest: &Digest) -> bool {
        self.store.contains(digest)
    }
}

#[test]
fn what_one_machine_puts_another_fetches() {
    let bucket = Bucket::new();
    let (here, there) = (Machine::new(&bucket), Machine::new(&bucket));
    let file = here.put(b"some bytes");
    let folder = here.store.put(&here.folder("y"), Form::Folder).expect("a put");
    let path = there.store.open_verified(&file).expect("fetched");
    assert_eq!(fs::read(&path).expect("readable"), b"some bytes");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o222, 0);
    let path = there.store.open_verified(&folder.digest).expect("fetched");
    assert_eq!(fs::read(path.join("sub/b.txt")).expect("readable"), b"beta");
    assert_eq!(fs::read(path.join("empty")).expect("readable"), b"");
    assert_eq!(there.store.verify_here(&folder.digest).expect("whole"), folder);
    let missing = there.store.open_verified(&Digest::of(b"none")).expect_err("nowhere");
    assert!(matches!(missing, ArtifactError::Missing { .. }), "{missing}");
    // What is in the cache is served without the bucket.
    bucket.gone.store(true, Ordering::SeqCst);
    there.store.open_verified(&file).expect("it is here");
    let error = Machine::new(&bucket).store.open_verified(&file).expect_err("unreachable");
    assert!(error.to_string().contains("s3://bucket/some/prefix/artifacts/"), "{error}");
}

#[test]
fn large_files_travel_in_parts() {
    let bucket = Bucket::new();
    let (here, there) = (Machine::new(&bucket), Machine::new(&bucket));
    let large: Vec<u8> = (0..20_u32 << 20).map(|n| (n ^ (n >> 11)) as u8).collect();
    let folder = here.folder("y");
    here.file("y/large", &large);
    let digest = here.store.put(&folder, Form::Folder).expect("a put").digest;
    assert_eq!(bucket.parts.load(Ordering::SeqCst), 3);
    let path = there.store.open_verified(&digest).expect("fetched");
    assert_eq!(fs::read(path.join("large")).expect("readable"), large);
    assert_eq!(there.remote().verify(&digest).expect("whole"), large.len() as u64 + 9);
    // All buffers are given back.
    let left = there.remote().wait(|client| async move { Ok(client.budget.available_permits()) });
    assert_eq!(left.expect("told") << 10, BUDGET);
}

#[test]
fn a_flipped_byte_in_the_bucket_is_never_served() {
    let bucket = Bucket::new();
    let (here, there) = (Machine::new(&bucket), Machine::new(&bucket));
    let file = here.put(b"some bytes");
    let folder = here.store.put(&here.folder("y"), Form::Folder).expect("a put").digest;
    for key in here.keys().iter().filter(|key| key.contains("/bytes/")) {
        let changed: &[u8] = match key.contains(&file.to_string()) {
            true => b"some Bytes",
            false => b"other",
        };
        here.write(key, changed);
    }
    for digest in [file, folder] {
        let error = there.store.open_verified(&digest).expect_err("it is damaged");
        assert!(matches!(error, ArtifactError::RemoteDamaged { .. }), "{error}");
        assert!(!there.is_cached(&digest));
        // It counts for nothing any more, and good bytes take its place.
        assert!(!there.store.is_there(&digest).expect("asked"));
    }
    there.put(b"some bytes");
    let third = Machine::new(&bucket);
    third.store.open_verified(&file).expect("it is whole again");
    assert_eq!(there.keys().iter().filter(|key| key.contains("/quarantine/")).count(), 2);
}

#[test]
fn bytes_that_are_missing_are_damage() {
    let bucket = Bucket::new();
    let (here, there) = (Machine::new(&bucket), Machine::new(&bucket));
    let (cut, gone) = (here.put(b"some bytes"), here.put(b"other bytes"));
    for key in here.keys().into_iter().filter(|key| key.contains("/bytes/")) {
        if key.contains(&cut.to_string()) {
            here.write(&key, b"some");
        } else {
            let key = Key::from(key);
            let delete = |client: Client| async move { client.delete(&key).await };
            here.remote().wait(delete).expect("deleted");
        }
    }
    for (digest, what) in [(cut, "some are missing"), (gone, "not there")] {
        let error = there.store.open_verified(&digest).expect_err("it is damaged").to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn an_upload_that_was_interrupted_counts_for_nothing() {
    let bucket = Bucket::new();
    let (here, there) = (Machine::new(&bucket), Machine::new(&bucket));
    let large = vec![7_u8; 20 << 20];
    for writes in 0..5 {
        bucket.writes_left.store(writes, Ordering::SeqCst);
        let folder = here.folder("y");
        here.file("y/large", &large);
        let error = here.store.put(&folder, Form::Folder).expect_err("it was interrupted");
        assert!(matches!(error, ArtifactError::Remote { action: "write", .. }), "{error}");
        assert!(here.keys().iter().all(|key| !key.contains("/artifacts/")));
    }
    assert!(bucket.aborted.load(Ordering::SeqCst) > 0, "its parts were given up");
    let [entry] = here.store.entries().expect("a listing").try_into().expect("kept here");
    assert!(!there.store.is_there(&entry.digest).expect("asked"));
    let left = there.remote().list().expect("a listing").entries[&entry.digest].clone();
    assert!(!left.whole && left.uploads > 0, "{left:?}");

    // The same again comes to its end; only what was left over is cleared away.
    bucket.writes_left.store(i64::MAX, Ordering::SeqCst);
    assert!(here.store.is_there(&entry.digest).expect("what is here alone is shared"));
    let strays = here.remote().remove_strays(&entry.digest, Duration::from_secs(3600));
    assert_eq!(strays.expect("asked"), 0, "they may still be under way");
    assert!(here.remote().remove_strays(&entry.digest, Duration::ZERO).expect("cleared") > 0);
    there.store.open_verified(&entry.digest).expect("whole");
    assert_eq!(there.remote().list().expect("a listing").entries[&entry.digest].uploads, 1);
}

#[test]
fn a_manifest_cannot_write_elsewhere() {
    let bucket = Bucket::new();
    let machine = Machine::new(&bucket);
    let upload = "0123456789abcdef0123456789abcdef";
    for path in ["../../../evil", "/tmp/evil", "a/../../evil"] {
        let file = RemoteFile { path: path.to_owned(), bytes: 4, digest: Digest::of(b"evil") };
        let manifest = RemoteManifest::new(Form::Folder, upload.to_owned(), vec![file]);
        let digest = manifest.digest;
        let name = digest.to_string();
        machine.write(&format!("some/prefix/bytes/{}/{name}/{upload}/0", &name[..2]), b"evil");
        machine
            .remote()
            .wait(|client| async move { client.write_manifest(&manifest).await })
            .expect("written");
        let error = machine.store.open_verified(&digest).expect_err("it is hostile");
        assert!(error.to_string().contains("holds the path"), "{error}");
    }
    let found = walkdir(machine.dir.path());
    assert!(found.iter().all(|path| !path.ends_with("evil")), "{found:?}");
}

fn walkdir(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => found.extend(walkdir(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

#[test]
fn machines_may_put_and_fetch_the_same_at_once() {
    let bucket = Bucket::new();
    let machines: Vec<Machine> = (0..4).map(|_| Machine::new(&bucket)).collect();
    let digests: Vec<Digest> = std::thread::scope(|scope| {
        let put = |machine: &Machine| {
            let digest = machine.store.put(&machine.folder("y"), Form::Folder);
            digest.expect("a put").digest
        };
        let threads: Vec<_> =
            machines.iter().map(|machine| scope.spawn(move || put(machine))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    let reader = Machine::new(&bucket);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| reader.store.hold(&digests[0]).expect("fetched"));
        }
    });
    reader.store.verify_here(&digests[0]).expect("whole");
    assert_eq!(reader.remote().verify(&digests[0]).expect("whole"), 9);
}

#[test]
fn what_is_damaged_here_is_fetched_again() {
    let bucket = Bucket::new();
    let machine = Machine::new(&bucket);
    let digest = machine.put(b"some bytes");
    let path = machine.store.path(&digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own file");
    fs::write(&path, "Some bytes").expect("changed");
    let path = machine.store.open_verified(&digest).expect("fetched again");
    assert_eq!(fs::read(path).expect("readable"), b"some bytes");
}

/// Makes an entry the one that was used last, whatever comes.
fn used_last(machine: &Machine, digest: &Digest) {
    let file = fs::File::open(machine.store.path(digest)).expect("it is here");
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    file.set_times(fs::FileTimes::new().set_accessed(later)).expect("our own file");
}

#[test]
fn a_cache_is_cleared_of_what_was_used_longest_ago() {
    let bucket = Bucket::new();
    let machine = Machine::with_cache(&bucket, 3000);
    let first = machine.put(&[1; 1000]);
    let second = machine.put(&[2; 1000]);
    used_last(&machine, &first);
    let third = machine.put(&[3; 1000]);
    assert!([first, second, third].iter().all(|digest| machine.is_cached(digest)));
    let fourth = machine.put(&[4; 1000]);
    assert!(!machine.is_cached(&second) && !machine.is_cached(&third), "used longest ago");
    assert!(machine.is_cached(&first), "it was used last");
    assert!(machine.is_cached(&fourth), "what has just come stays");
    machine.store.open_verified(&second).expect("fetched again");
}

#[test]
fn what_is_held_or_nowhere_else_is_never_cleared() {
    let bucket = Bucket::new();
    let machine = Machine::with_cache(&bucket, 2000);
    let held = machine.put(&[1; 1000]);
    let hold = machine.store.hold(&held).expect("held");
    bucket.writes_left.store(0, Ordering::SeqCst);
    let alone = Digest::of(&[2; 1000]);
    let failed = machine.store.put(&machine.file("y", &[2; 1000]), Form::File);
    failed.expect_err("the bucket takes nothing");
    bucket.writes_left.store(i64::MAX, Ordering::SeqCst);
    for n in 3..8 {
        machine.put(&[n; 1000]);
    }
    assert!(machine.is_cached(&held), "it is held");
    assert!(machine.is_cached(&alone), "it is nowhere else");
    assert_eq!(fs::read(hold.path()).expect("readable"), [1; 1000]);
    drop(hold);
    machine.put(&[9; 1000]);
    assert!(!machine.is_cached(&held), "nobody holds it any more");
    // An artifact larger than the cache can be held all the same.
    let small = Machine::with_cache(&bucket, 10);
    assert_eq!(fs::read(small.store.hold(&held).expect("held").path()).expect("read"), [1; 1000]);
}

#[test]
fn only_what_is_old_is_removed_and_nothing_unknown() {
    let bucket = Bucket::new();
    let (here, there) = (Machine::new(&bucket), Machine::new(&bucket));
    let digest = here.put(b"some bytes");
    let name = digest.to_string();
    let strange = [
        "some/prefix/notes.txt".to_owned(),
        format!("some/prefix/artifacts/{}/{}.json", &name[..2], name.to_uppercase()),
        format!("some/prefix/bytes/zz/{name}/x/0"),
        "elsewhere/file".to_owned(),
    ];
    for key in &strange {
        here.write(key, b"theirs");
    }
    let listing = here.remote().list().expect("a listing");
    assert_eq!(listing.unknown, 3, "what lies beside the place is not even seen");
    let entry = &listing.entries[&digest];
    assert!(entry.whole && entry.uploads == 1);
    assert!(!here.remote().remove(entry, Duration::from_secs(3600)).expect("asked"), "young");
    there.store.open_verified(&digest).expect("still there");
    assert!(here.remote().remove(entry, Duration::ZERO).expect("removed"));
    let mut left = here.keys();
    left.sort();
    let mut expected = strange.to_vec();
    expected.sort();
    assert_eq!(left, expected);
    let error = Machine::new(&bucket).store.open_verified(&digest).expect_err("it is gone");
    assert!(matches!(error, ArtifactError::Missing { .. }), "{error}");

    assert!(!here.store.remove_here(&digest, Duration::from_secs(60)).expect("asked"), "young");
    let hold = here.store.hold(&digest).expect("here");
    assert!(!here.store.remove_here(&digest, Duration::ZERO).expect("asked"), "held");
    drop(hold);
    assert!(here.store.remove_here(&digest, Duration::ZERO).expect("removed"));
    assert!(here.store.entries().expect("a listing").is_empty());
}

#[test]
fn a_probe_leaves_nothing() {
    let bucket = Bucket::new();
    let machine = Machine::new(&bucket);
    machine.remote().probe().expect("all can be done");
    assert!(machine.keys().is_empty());
    bucket.writes_left.store(0, Ordering::SeqCst);
    let error = machine.remote().probe().expect_err("nothing can be written");
    assert!(matches!(error, ArtifactError::Remote { action: "write", .. }), "{error}");
}

#[test]
fn who_uses_a_place_is_noted_once() {
    let bucket = Bucket::new();
    let (here, there) = (Machine::new(&bucket), Machine::new(&bucket));
    here.store.note_user("/p/store.db", "a:/p/store.db").expect("noted");
    there.store.note_user("/p/store.db", "b:/p/store.db").expect("noted");
    let names =
        |users: Vec<User>| -> Vec<String> { users.into_iter().map(|user| user.name).collect() };
    assert_eq!(names(here.store.users().expect("told")), ["/p/store.db"]);
    let all = ["a:/p/store.db", "b:/p/store.db"];
    assert_eq!(names(here.remote().users().expect("told")), all);
    assert!(here.remote().list().expect("a listing").entries.is_empty(), "notes are no artifacts");
    // Once is enough: nothing is sent any more.
    bucket.gone.store(true, Ordering::SeqCst);
    here.store.note_user("/p/store.db", "a:/p/store.db").expect("noted before");
}

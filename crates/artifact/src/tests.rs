use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wick_core::{Digest, PortType};

use crate::source::{digest_source, stat_source};
use crate::{ArtifactError, ArtifactStore, Form};

struct World {
    dir: TempDir,
    store: ArtifactStore,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let store = ArtifactStore::open(dir.path().join("artifacts")).expect("a new store");
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    /// A folder with two files, one of them in a folder of its own.
    fn folder(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}/a.txt"), "alpha");
        self.file(&format!("{name}/sub/b.txt"), "beta");
        self.path(name)
    }

    fn temporaries(&self) -> usize {
        let tmp = self.store.folder().join("tmp");
        let mut count = 0;
        for folder in fs::read_dir(tmp).expect("tmp") {
            let files = fs::read_dir(folder.expect("an entry").path()).expect("a workspace");
            count += files.filter(|f| f.as_ref().is_ok_and(|f| f.file_name() != "lock")).count();
        }
        count
    }
}

/// Writes to an entry as someone would who ignores that it is read-only.
fn tamper(path: &Path, content: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("our own file");
    let mut file = fs::OpenOptions::new().write(true).open(path).expect("it is writable now");
    file.write_all(content.as_bytes()).expect("a write");
}

#[test]
fn a_file_is_named_by_its_bytes() {
    let world = World::new();
    let path = world.file("x", "some bytes");
    let stored = world.store.put(&path, PortType::File).expect("a put");
    assert_eq!(stored.digest, Digest::of(b"some bytes"));
    assert_eq!(stored.bytes, 10);
    assert!(!path.exists(), "it was moved");
    let kept = world.store.open_verified(&stored.digest).expect("it is there");
    assert_eq!(fs::read(&kept).expect("readable"), b"some bytes");
    assert_eq!(fs::metadata(&kept).expect("there").permissions().mode() & 0o222, 0);
    assert_eq!(world.store.verify(&stored.digest).expect("whole"), stored);
    assert_eq!(world.temporaries(), 0);
}

#[test]
fn a_folder_is_named_by_its_files() {
    let world = World::new();
    let one = world.folder("one");
    let two = world.folder("two");
    fs::create_dir(two.join("empty")).expect("a folder");
    let outside = digest_source(&one).expect("a source");
    let one = world.store.put(&one, PortType::Folder).expect("a put");
    let two = world.store.put(&two, PortType::Folder).expect("a put");
    assert_eq!(one, two, "empty folders do not count");
    assert_eq!(one.digest, outside, "a source hashes as an artifact does");
    assert_eq!(one.bytes, 9);
    let kept = world.store.open_verified(&one.digest).expect("it is there");
    assert_eq!(fs::read_to_string(kept.join("sub/b.txt")).expect("readable"), "beta");
    assert_eq!(fs::metadata(&kept).expect("there").permissions().mode() & 0o222, 0);
    assert_eq!(world.temporaries(), 0);

    let renamed = world.folder("three");
    fs::rename(renamed.join("a.txt"), renamed.join("c.txt")).expect("a rename");
    let renamed = world.store.put(&renamed, PortType::Folder).expect("a put");
    assert_ne!(renamed.digest, one.digest, "names count");
}

#[test]
fn the_digest_of_a_folder_never_changes() {
    // Artifacts written by earlier versions must keep their names.
    let world = World::new();
    let digest = digest_source(&world.folder("one")).expect("a source");
    assert_eq!(
        digest.to_string(),
        "07ee3c65e600150f78a8465ac0144290ebff70cee067191af87f3a99962461b2"
    );
}

#[test]
fn equal_content_is_kept_once() {
    let world = World::new();
    for name in ["x", "y"] {
        let path = world.file(name, "same");
        let stored = world.store.put(&path, Form::File).expect("a put");
        assert_eq!(stored.digest, Digest::of(b"same"));
        assert!(!path.exists());
    }
    assert_eq!(world.temporaries(), 0);
}

#[test]
fn a_flipped_byte_is_found_and_moved_aside() {
    let world = World::new();
    let file = world.store.put(&world.file("x", "some bytes"), Form::File).expect("a put").digest;
    let folder = world.store.put(&world.folder("y"), Form::Folder).expect("a put").digest;
    tamper(&world.store.path(&file), "S");
    tamper(&world.store.path(&folder).join("sub/b.txt"), "BETA");
    for digest in [file, folder] {
        let error = world.store.open_verified(&digest).expect_err("it is damaged");
        let ArtifactError::Damaged { moved_to, .. } = &error else { panic!("{error}") };
        assert!(moved_to.exists());
        assert!(!world.store.contains(&digest));
        let error = world.store.open_verified(&digest).expect_err("it is gone");
        assert!(matches!(error, ArtifactError::Missing { .. }), "{error}");
    }
    // Good bytes can take the place again.
    world.store.put(&world.file("x", "some bytes"), Form::File).expect("a put");
    world.store.open_verified(&file).expect("it is whole again");
}

#[test]
fn a_put_replaces_a_damaged_entry() {
    let world = World::new();
    let digest = world.store.put(&world.folder("x"), Form::Folder).expect("a put").digest;
    tamper(&world.store.path(&digest).join("a.txt"), "ALPHA");
    world.store.put(&world.folder("x"), Form::Folder).expect("a put");
    let kept = world.store.open_verified(&digest).expect("it is whole again");
    assert_eq!(fs::read_to_string(kept.join("a.txt")).expect("readable"), "alpha");
}

#[test]
fn silent_damage_is_found_by_verify() {
    let world = World::new();
    let digest = world.store.put(&world.file("x", "some bytes"), Form::File).expect("a put").digest;
    let path = world.store.path(&digest);
    let before = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
    tamper(&path, "S");
    let file = fs::File::open(&path).expect("it is there");
    file.set_modified(before).expect("our own file");
    world.store.open_verified(&digest).expect("nothing shows");
    let error = world.store.verify(&digest).expect_err("the bytes tell");
    assert!(matches!(error, ArtifactError::Damaged { .. }), "{error}");
}

#[test]
fn a_file_added_to_a_folder_is_found() {
    let world = World::new();
    let digest = world.store.put(&world.folder("x"), Form::Folder).expect("a put").digest;
    let path = world.store.path(&digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own folder");
    symlink("/etc/hostname", path.join("link")).expect("a link");
    let error = world.store.open_verified(&digest).expect_err("it is damaged");
    assert!(matches!(error, ArtifactError::Damaged { .. }), "{error}");
}

#[test]
fn an_entry_that_lost_its_times_is_hashed_once() {
    let world = World::new();
    let digest = world.store.put(&world.file("x", "some bytes"), Form::File).expect("a put").digest;
    let path = world.store.path(&digest);
    let file = fs::File::open(&path).expect("it is there");
    file.set_modified(std::time::SystemTime::now()).expect("our own file");
    world.store.open_verified(&digest).expect("the bytes are right");
    let time = fs::metadata(&path).and_then(|m| m.modified()).expect("a time");
    assert!(time < std::time::SystemTime::now() - std::time::Duration::from_secs(3600), "resealed");
}

#[test]
fn what_cannot_be_an_artifact_is_refused_in_its_place() {
    let world = World::new();
    let file = world.file("x", "x");
    let error = world.store.put(&file, Form::Folder).expect_err("it is a file");
    assert!(error.to_string().ends_with("is a file, not a folder"), "{error}");
    let folder = world.folder("y");
    let error = world.store.put(&folder, Form::File).expect_err("it is a folder");
    assert!(error.to_string().ends_with("is a folder, not a file"), "{error}");
    symlink("a.txt", folder.join("link")).expect("a link");
    let error = world.store.put(&folder, Form::Folder).expect_err("it holds a link");
    assert!(matches!(error, ArtifactError::Special { .. }), "{error}");
    assert!(folder.join("a.txt").exists() && file.exists(), "nothing was moved");
    let link = world.path("z");
    symlink(&file, &link).expect("a link");
    let error = world.store.put(&link, Form::File).expect_err("it is a link");
    assert!(error.to_string().ends_with("is a symbolic link, not a file"), "{error}");
    let error = world.store.put(&world.path("none"), Form::File).expect_err("nothing is there");
    assert!(matches!(error, ArtifactError::Io { .. }), "{error}");
}

#[test]
fn a_file_with_two_names_is_copied() {
    let world = World::new();
    let original = world.file("original", "mine");
    let output = world.path("output");
    fs::hard_link(&original, &output).expect("a link");
    let digest = world.store.put(&output, Form::File).expect("a put").digest;
    fs::write(&original, "changed").expect("it is still writable");
    world.store.verify(&digest).expect("the store's bytes are its own");

    let folder = world.folder("folder");
    fs::hard_link(&original, folder.join("c")).expect("a link");
    let digest = world.store.put(&folder, Form::Folder).expect("a put").digest;
    fs::write(&original, "changed again").expect("it is still writable");
    world.store.verify(&digest).expect("the store's bytes are its own");
}

#[test]
fn what_a_dead_process_left_is_swept() {
    let world = World::new();
    world.store.put(&world.file("x", "x"), Form::File).expect("a put");
    // As after a crash between the move into tmp/ and the rename into place: the lock file is
    // there and nobody holds it.
    let left = world.store.folder().join("tmp/1-0");
    fs::create_dir_all(left.join("0")).expect("a folder");
    fs::write(left.join("0/data"), "half").expect("a file");
    fs::set_permissions(left.join("0"), fs::Permissions::from_mode(0o555)).expect("ours");
    fs::write(left.join("lock"), "").expect("a file");
    // Another, so young that its lock may be about to be made.
    fs::create_dir(world.store.folder().join("tmp/2-0")).expect("a folder");
    assert_eq!(world.store.sweep().expect("a sweep"), 1);
    assert!(!left.exists());
    assert!(world.store.folder().join("tmp/2-0").exists());
    assert_eq!(world.store.sweep().expect("a sweep"), 0, "the living keep theirs");
    world.store.put(&world.file("y", "y"), Form::File).expect("the workspace still works");
}

#[test]
fn a_read_only_folder_is_taken() {
    let world = World::new();
    let folder = world.folder("x");
    for folder in [folder.join("sub"), folder.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).expect("our own folder");
    }
    let digest = world.store.put(&folder, Form::Folder).expect("a put").digest;
    world.store.verify(&digest).expect("whole");
}

#[test]
fn many_may_put_the_same_at_once() {
    let world = World::new();
    let paths: Vec<_> = (0..8).map(|n| world.folder(&format!("f{n}"))).collect();
    let files: Vec<_> = (0..8).map(|n| world.file(&format!("x{n}"), "same")).collect();
    let stores: Vec<_> = (0..4)
        .map(|_| ArtifactStore::open(world.store.folder()).expect("the same store"))
        .collect();
    let digests: Vec<_> = std::thread::scope(|scope| {
        let put = |n: usize| {
            let store = &stores[n % stores.len()];
            let folder = store.put(&paths[n], Form::Folder).expect("a put");
            let file = store.put(&files[n], Form::File).expect("a put");
            (folder.digest, file.digest)
        };
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || put(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    world.store.verify(&digests[0].0).expect("whole");
    world.store.verify(&digests[0].1).expect("whole");
    assert_eq!(world.temporaries(), 0);
}

#[test]
fn the_stat_of_a_source_follows_its_changes() {
    let world = World::new();
    let folder = world.folder("data");
    let before = stat_source(&folder).expect("a source");
    assert_eq!(before, stat_source(&folder).expect("a source"));
    assert_eq!(before.size, 9);
    assert!(!before.is_settled(before.modified_ns + 1_000_000_000));
    assert!(before.is_settled(before.modified_ns + 3_000_000_000));
    world.file("data/sub/b.txt", "BETA");
    assert_ne!(before, stat_source(&folder).expect("a source"));
    symlink(&folder, world.path("link")).expect("a link");
    assert_eq!(
        digest_source(&world.path("link")).expect("links are followed"),
        digest_source(&folder).expect("a source")
    );
}

#[test]
fn what_was_set_aside_is_found_and_cleared() {
    let world = World::new();
    assert!(world.store.set_aside().expect("a list").is_empty());
    let file = world.store.put(&world.file("f", "as it was"), Form::File).expect("put").digest;
    let folder = world.store.put(&world.folder("d"), Form::Folder).expect("put").digest;
    tamper(&world.store.path(&file), "as it is not");
    // A link that somebody made makes it another folder, too.
    let place = world.store.path(&folder);
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("our own folder");
    symlink("/etc", place.join("link")).expect("a link");
    for digest in [&file, &folder] {
        let looked = world.store.verify(digest);
        assert!(matches!(looked, Err(ArtifactError::Damaged { .. })), "{looked:?}");
    }
    let strange = world.store.folder().join("quarantine/notes.txt");
    fs::write(&strange, "mine").expect("written");
    let aside = world.store.set_aside().expect("a list");
    let digests: Vec<_> = aside.iter().map(|aside| aside.digest).collect();
    assert_eq!(digests, [file, folder], "the oldest first, and nothing strange");
    assert_eq!(aside[0].bytes, 12);
    for aside in &aside {
        world.store.remove_aside(aside).expect("removed");
        world.store.remove_aside(aside).expect("gone already");
    }
    assert!(world.store.set_aside().expect("a list").is_empty() && strange.exists());
    assert!(Path::new("/etc").exists(), "links are not followed");
}

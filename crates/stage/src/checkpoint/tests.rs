use std::io::Write;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use wick_core::{Digest, Fingerprint, RunId, Token};

use super::file::{Damage, decode, encode};
use super::*;

fn fingerprint(of: &[u8]) -> Fingerprint {
    Fingerprint(Digest::of(of))
}

fn checkpoints(root: &Path, attempt: u32, line: Line) -> Checkpoints {
    let place = CheckpointPlace { root: root.to_owned(), fingerprint: fingerprint(b"stage"), line };
    let run = RunId::from_random(7);
    let folder = place.folder(&run);
    Checkpoints { place, folder, run, attempt, token: Token(attempt.into()) }
}

fn steps(of: &Checkpoints) -> Vec<Option<u64>> {
    of.saved().map(|found| found.ok().map(|checkpoint| checkpoint.step)).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("listed");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn the_newest_comes_first_and_two_are_kept() {
    let root = tempfile::tempdir().expect("a folder");
    let first = checkpoints(root.path(), 1, Line::Shared);
    assert!(first.saved().next().is_none());
    for step in [1, 2, 9, 10] {
        first.save(step, &[step as u8; 100]).expect("saved");
    }
    assert_eq!(names(&first.folder), ["10.ckpt", "9.ckpt"]);
    let second = checkpoints(root.path(), 2, Line::Shared);
    let found: Vec<Checkpoint> = second.saved().map(|found| found.expect("whole")).collect();
    let run = RunId::from_random(7);
    let expected = |step: u8| Checkpoint {
        step: step.into(),
        run: run.clone(),
        attempt: 1,
        state: vec![step; 100],
    };
    assert_eq!(found, [expected(10), expected(9)]);
}

#[test]
fn what_is_damaged_is_passed_over_and_never_pushes_out_what_is_whole() {
    let root = tempfile::tempdir().expect("a folder");
    let saving = checkpoints(root.path(), 1, Line::Shared);
    saving.save(50, b"fifty").expect("saved");
    saving.save(60, b"sixty").expect("saved");
    let newest = saving.folder.join("60.ckpt");
    let whole = fs::read(&newest).expect("read");
    fs::write(&newest, &whole[..whole.len() - 1]).expect("cut");
    assert_eq!(steps(&saving), [None, Some(50)]);
    let error = saving.saved().next().expect("one").expect_err("it is cut");
    assert!(error.to_string().contains("60.ckpt cannot be used"), "{error}");

    fs::write(saving.folder.join("50.ckpt"), b"").expect("emptied");
    assert_eq!(steps(&saving), [None, None]);
    // The computation that starts over keeps its own two, although theirs are further.
    for step in 1..4 {
        saving.save(step, b"anew").expect("saved");
    }
    assert_eq!(steps(&saving), [None, None, Some(3), Some(2)]);
    // And overwrites what was damaged when it comes there.
    saving.save(50, b"fifty").expect("saved");
    saving.save(60, b"sixty").expect("saved");
    assert_eq!(steps(&saving), [Some(60), Some(50)]);
}

#[test]
fn a_file_of_another_stage_step_or_version_is_none() {
    let root = tempfile::tempdir().expect("a folder");
    let saving = checkpoints(root.path(), 1, Line::Shared);
    saving.save(3, b"state").expect("saved");
    let path = saving.folder.join("3.ckpt");
    let bytes = fs::read(&path).expect("read");
    let mine = fingerprint(b"stage");
    let why = |bytes: &[u8], fingerprint: &Fingerprint, step| {
        decode(bytes.to_vec(), fingerprint, step).expect_err("refused")
    };
    assert_eq!(why(&bytes, &fingerprint(b"other"), 3), Damage::Fingerprint);
    assert_eq!(why(&bytes, &mine, 4), Damage::Step(3));
    assert_eq!(why(&bytes[..20], &mine, 3), Damage::Short);
    let mut later = bytes.clone();
    later[8] = 2;
    assert_eq!(why(&later, &mine, 3), Damage::Version(2));
    // What only looks like one is not even opened.
    fs::create_dir(saving.folder.join("9.ckpt")).expect("made");
    fs::write(saving.folder.join("007.ckpt"), &bytes).expect("written");
    fs::write(saving.folder.join("x.ckpt"), &bytes).expect("written");
    assert_eq!(steps(&saving), [None, Some(3)]);
}

#[test]
fn what_is_computed_anew_finds_only_its_own() {
    let root = tempfile::tempdir().expect("a folder");
    let open = |attempt, line| checkpoints(root.path(), attempt, line);
    open(1, Line::Shared).save(8, b"shared").expect("saved");
    open(3, Line::Since(3)).save(9, b"forced").expect("saved");
    // A retry of the same computation goes on; another one begins.
    assert_eq!(steps(&open(4, Line::Since(3))), [Some(9)]);
    assert_eq!(steps(&open(5, Line::Since(5))), []);
    // Without the cache, what the run itself computed may be used.
    assert_eq!(steps(&open(5, Line::Run)), [Some(9)]);
    open(5, Line::Run).save(10, b"the run's").expect("saved");
    assert_eq!(steps(&open(6, Line::Since(3))), [Some(9)]);
    // Whoever may use what others computed finds it all.
    assert_eq!(steps(&open(6, Line::Shared)), [Some(10), Some(9), Some(8)]);
    let mut elsewhere = open(1, Line::Run);
    elsewhere.run = RunId::from_random(8);
    elsewhere.folder = elsewhere.place.folder(&elsewhere.run);
    assert_eq!(steps(&elsewhere), []);
}

#[test]
fn a_dead_attempts_half_written_file_goes_and_a_living_ones_stays() {
    let root = tempfile::tempdir().expect("a folder");
    let saving = checkpoints(root.path(), 1, Line::Shared);
    saving.save(1, b"state").expect("saved");
    let old = SystemTime::now() - 2 * YOUNG;
    let half_written = |name: &str| {
        let file = fs::File::create(saving.folder.join(name)).expect("made");
        file.set_modified(old).expect("aged");
        file
    };
    drop(half_written("2.aa.partial"));
    let living = half_written("2.bb.partial");
    living.lock().expect("locked");
    // One that has just been made may not have its lock yet.
    fs::write(saving.folder.join("2.cc.partial"), b"").expect("made");
    saving.save(2, b"state").expect("saved");
    assert_eq!(names(&saving.folder), ["1.ckpt", "2.bb.partial", "2.cc.partial", "2.ckpt"]);
}

#[test]
fn two_attempts_at_once_do_each_other_no_harm() {
    let root = tempfile::tempdir().expect("a folder");
    let state = |step: u64| vec![step as u8; 5000 + step as usize];
    std::thread::scope(|scope| {
        for attempt in 1..=2 {
            let saving = checkpoints(root.path(), attempt, Line::Shared);
            scope.spawn(move || {
                for step in 1..=100 {
                    saving.save(step, &state(step)).expect("saved");
                    // What is found is whole, and as far as this attempt is, or further.
                    let found: Vec<Checkpoint> =
                        saving.saved().map(|found| found.expect("whole")).collect();
                    assert!(found.iter().any(|found| found.step >= step));
                    assert!(found.iter().all(|found| found.state == state(found.step)));
                }
            });
        }
    });
    let last = checkpoints(root.path(), 3, Line::Shared);
    assert_eq!(names(&last.folder), ["100.ckpt", "99.ckpt"]);
}

#[test]
fn what_cannot_be_saved_leaves_what_was() {
    let root = tempfile::tempdir().expect("a folder");
    let saving = checkpoints(root.path(), 1, Line::Shared);
    saving.save(1, b"state").expect("saved");
    // A folder stands where the file should be.
    fs::create_dir_all(saving.folder.join("2.ckpt/x")).expect("made");
    assert!(matches!(saving.save(2, b"state"), Err(CheckpointError::Io { .. })));
    assert_eq!(names(&saving.folder), ["1.ckpt", "2.ckpt"]);
    assert_eq!(steps(&saving), [None, Some(1)]);
}

#[test]
fn what_is_published_is_forgotten_and_what_is_old_is_swept() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().join("checkpoints");
    let day = Duration::from_secs(24 * 3600);
    let run = RunId::from_random(7);
    forget(&root, &fingerprint(b"stage"), &run).expect("nothing is there");
    assert_eq!(sweep(&root, day).expect("nothing is there"), 0);
    let saving = checkpoints(&root, 1, Line::Shared);
    saving.save(1, b"state").expect("saved");
    fs::create_dir(root.join("not-ours")).expect("made");

    let age = |path: &Path| {
        let old = SystemTime::now() - 3 * day;
        fs::File::open(path).and_then(|file| file.set_modified(old)).expect("aged");
    };
    age(&root.join("not-ours"));
    let lines = saving.place.all_lines();
    age(&lines);
    age(&saving.folder);
    // One young file keeps the rest.
    assert_eq!(sweep(&root, day).expect("swept"), 0);
    age(&saving.folder.join("1.ckpt"));
    assert_eq!(sweep(&root, day).expect("swept"), 1);
    assert_eq!(names(&root), ["not-ours"]);

    saving.save(1, b"state").expect("saved");
    checkpoints(&root, 1, Line::Run).save(1, b"state").expect("saved");
    checkpoints(&root, 2, Line::Since(2)).save(1, b"state").expect("saved");
    forget(&root, &fingerprint(b"stage"), &run).expect("forgotten");
    assert_eq!(names(&root), ["not-ours"]);
    // What another run computes anew is its own.
    checkpoints(&root, 1, Line::Run).save(1, b"state").expect("saved");
    forget(&root, &fingerprint(b"stage"), &RunId::from_random(8)).expect("forgotten");
    assert_eq!(steps(&checkpoints(&root, 2, Line::Run)), [Some(1)]);
    forget(&root, &fingerprint(b"stage"), &run).expect("forgotten");
    // Another attempt of the fingerprint that still runs makes its folder again.
    saving.save(2, b"state").expect("saved");
    assert_eq!(steps(&saving), [Some(2)]);
}

#[test]
fn a_run_that_is_gone_leaves_what_others_go_on_from() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    let (gone, kept) = (RunId::from_random(7), RunId::from_random(8));
    let folder = root.join(fingerprint(b"stage").to_string());
    let lines = ["shared".to_owned(), gone.to_string(), format!("{gone}-2"), kept.to_string()];
    for line in &lines {
        std::fs::create_dir_all(folder.join(line)).expect("made");
    }
    let alone = root.join(fingerprint(b"other").to_string());
    std::fs::create_dir_all(alone.join(gone.as_str())).expect("made");
    forget_run(root, &gone).expect("forgotten");
    let mut left = [lines[0].clone(), lines[3].clone()];
    left.sort();
    assert_eq!(names(&folder), left);
    assert!(!alone.exists(), "nothing is left of that stage");
    forget_run(&root.join("none"), &gone).expect("nothing is there");
}

fn encoded(state: &[u8]) -> Vec<u8> {
    let header = Header {
        fingerprint: fingerprint(b"stage"),
        step: 5,
        run: RunId::from_random(1),
        attempt: 2,
        bytes: state.len() as u64,
    };
    let mut bytes = Vec::new();
    encode(&mut bytes, &header, state).expect("a vector takes all");
    bytes
}

proptest! {
    #[test]
    fn a_state_survives_its_file(state in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let found = decode(encoded(&state), &fingerprint(b"stage"), 5).expect("whole");
        prop_assert_eq!(found.state, state);
        prop_assert_eq!((found.step, found.attempt), (5, 2));
    }

    /// Whatever happens to the bytes: the state comes out whole or not at all.
    #[test]
    fn no_damage_gives_wrong_bytes(
        state in proptest::collection::vec(any::<u8>(), 0..300),
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 0..4),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
        how in 0_u8..3,
    ) {
        let whole = encoded(&state);
        let mut bytes = whole.clone();
        match how {
            0 => bytes.truncate(cut.index(whole.len())),
            1 => bytes.write_all(&tail).expect("a vector takes all"),
            _ => {}
        }
        for (at, flip) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
        }
        let is_whole = bytes == whole;
        let found = decode(bytes, &fingerprint(b"stage"), 5);
        prop_assert_eq!(found.is_ok(), is_whole);
        prop_assert!(found.is_err() || found.is_ok_and(|found| found.state == state));
    }

    /// A hash that fits is not trusted further than the bytes under it make sense.
    #[test]
    fn no_bytes_make_it_panic(
        length in any::<u32>(),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = b"wickckpt\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&rest);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        prop_assert!(decode(bytes, &fingerprint(b"stage"), 5).is_err());
    }
}

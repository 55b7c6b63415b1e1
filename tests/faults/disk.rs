//! Disks that are full, and disks that fail when they are asked to keep what was written.

use std::io::Write as _;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use super::mixed::{Subject, mend};
use super::shim::{Fault, Faults, Role};
use crate::sandbox::{Ran, Sandbox, ended};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What there is before the run.
#[derive(Debug, Clone, Copy)]
enum Start {
    /// Nothing: the store is made by the run.
    Nothing,
    /// A store.
    Store,
}

impl Start {
    fn sandbox(self) -> Sandbox {
        let sandbox = Subject::Small.sandbox();
        if let Start::Store = self {
            sandbox.wick(&["runs"]).ends_with(0);
        }
        sandbox
    }
}

/// Runs the small pipeline with a fault at each of some points, then without, and hands what the
/// disturbed `wick` said to `check`.
fn at_points(
    start: Start,
    points: impl Fn(i64) -> Vec<i64>,
    prepare: impl Fn(Faults) -> Faults + Sync,
    fault: Fault,
    times: i64,
    check: impl Fn(&Ran, &str) + Sync,
) {
    Subject::Small.undisturbed();
    let counted = start.sandbox();
    let counting = prepare(Faults::under(&counted.path()));
    let mut command = counted.command(&["run", "pipeline.yaml"]);
    counting.arm(&mut command);
    assert!(command.output().expect("wick starts").status.success());
    let points = points(counting.calls());
    let next = AtomicI64::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(point) = points.get(place).copied() else { return };
                    let sandbox = start.sandbox();
                    let faults =
                        prepare(Faults::under(&sandbox.path())).happens(fault, point, times);
                    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let mut command = sandbox.command(&["run", "pipeline.yaml"]);
                        faults.arm(&mut command);
                        let ran = ended(sandbox.spawn_command(command), &["run"]);
                        let trace = faults.trace();
                        check(&ran, &trace);
                        mend(&sandbox, Subject::Small, point % 2 == 0);
                    }));
                    if tried.is_err() {
                        let trace = faults.trace();
                        let hit = trace.lines().find(|line| line.ends_with('!'));
                        let hit = hit.unwrap_or_default().to_owned();
                        failed.lock().expect("no panic").push(format!("{point}: {hit}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{fault:?} at these points was not borne: {failed:#?}");
}

/// A `wick` that met an error says so in words, and with a code that is meant.
fn is_told(ran: &Ran, trace: &str) {
    let hit = trace.lines().find(|line| line.ends_with('!')).unwrap_or_default();
    assert!(matches!(ran.code, 0 | 1 | 70), "{hit}: code {}\n{}", ran.code, ran.everything());
    assert!(!ran.stderr.contains("panicked"), "{hit}: {}", ran.everything());
    if ran.code != 0 {
        let all = ran.everything();
        let told = ["error", "No space left", "disk is full", "os error", "disk I/O"];
        assert!(told.iter().any(|word| all.contains(word)), "{hit}: {all}");
    }
}

fn all(points: i64) -> Vec<i64> {
    (1..=points).collect()
}

/// A few points, spread over all.
fn some(points: i64) -> Vec<i64> {
    (0..24).map(|part| 1 + part * (points - 1) / 23).collect()
}

#[test]
fn a_flush_that_fails_once_is_borne() {
    at_points(
        Start::Nothing,
        all,
        |faults| faults.at_calls(&["sync"]),
        Fault::Fail(EIO),
        1,
        is_told,
    );
}

/// The worst of it: what was said to have failed is on the disk.
#[test]
fn a_flush_that_fails_although_it_was_done_is_borne() {
    at_points(
        Start::Nothing,
        all,
        |faults| faults.at_calls(&["sync"]),
        Fault::FailAfter(EIO),
        1,
        is_told,
    );
}

#[test]
fn a_disk_that_flushes_nothing_any_more_ends_the_run_with_a_reason() {
    at_points(
        Start::Nothing,
        some,
        |faults| faults.at_calls(&["sync"]),
        Fault::FailAfter(EIO),
        0,
        is_told,
    );
}

/// A commit of the engine alone: it reads again what became of it, and goes on.
#[test]
fn a_commit_that_fails_once_does_not_end_the_run() {
    let only_commits = |faults: Faults| {
        faults.in_roles(&[Role::Engine]).at_calls(&["sync"]).at_paths("store.db-wal")
    };
    at_points(Start::Store, all, only_commits, Fault::FailAfter(EIO), 1, |ran, trace| {
        let hit = trace.lines().find(|line| line.ends_with('!')).unwrap_or_default();
        assert_eq!(ran.code, 0, "{hit}: {}", ran.everything());
    });
}

#[test]
fn a_disk_that_fills_up_is_borne() {
    let writes = |faults: Faults| faults.at_calls(&["write", "mkdir", "link", "truncate"]);
    at_points(Start::Nothing, some, writes, Fault::Fail(ENOSPC), 0, is_told);
}

#[test]
fn a_disk_that_is_full_for_a_moment_is_borne() {
    let writes = |faults: Faults| faults.at_calls(&["write", "mkdir", "link", "truncate"]);
    at_points(Start::Nothing, some, writes, Fault::Fail(ENOSPC), 1, is_told);
}

/// A real full disk: a small file system of memory, which only a user namespace needs. Where the
/// kernel gives none, `a_disk_that_fills_up_is_borne` is all there is.
#[test]
fn a_small_file_system_fills_up() {
    let sandbox = Subject::Mixed.sandbox();
    sandbox.write("small.sh", SMALL_DISK);
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "small.sh"])
        .arg(env!("CARGO_BIN_EXE_wick"))
        .current_dir(sandbox.path())
        .env_remove("WICK_STORE")
        .output();
    let refused = match &ran {
        Ok(output) if output.status.code() == Some(99) => "no tmpfs in a user namespace".to_owned(),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if said.contains("unshare:") { said } else { String::new() }
        }
        Err(error) => format!("cannot start unshare: {error}"),
    };
    if !refused.is_empty() {
        // Not by a macro: what passes must be heard, too.
        let told = writeln!(std::io::stderr(), "NOT TRIED on a small file system: {refused}");
        return told.expect("said");
    }
    let ran = Ran::new(&["on a small disk"], ran.expect("it ran"));
    ran.ends_with(0).says(&["met a full disk", "mended"]);
}

/// Fills the disk but for less and less, runs, makes room, reruns. Exits with 99 if the kernel
/// does not let it mount.
const SMALL_DISK: &str = r#"
wick=$1
mkdir disk
full=0
for left in 16 64 128 192 256 320 384 448 512 640; do
    mount -t tmpfs -o size=4m none disk || exit 99
    cp pipeline.yaml rows.csv wick.yaml disk/
    cd disk
    # All but so many kilobytes.
    head -c $((4096 * 1024 - left * 1024 - 16384)) /dev/zero > filler
    "$wick" run pipeline.yaml > ../said 2>&1
    code=$?
    case $code in
        0) ;;
        1|2|70) full=$((full + 1)) ;;
        *) echo "with $left kB left: code $code"; cat ../said; exit 1 ;;
    esac
    if grep -q panicked ../said; then echo "with $left kB left"; cat ../said; exit 1; fi
    if [ $code != 0 ] && ! grep -qiE 'space|full' ../said; then
        echo "with $left kB left: says nothing of a full disk"; cat ../said; exit 1
    fi
    # Whoever only looks is told something, too.
    "$wick" runs > ../said 2>&1
    case $? in
        0|70) ;;
        *) echo "with $left kB left, asked for runs: code $?"; cat ../said; exit 1 ;;
    esac
    if grep -q panicked ../said; then echo "with $left kB left, asked"; cat ../said; exit 1; fi
    rm filler
    if [ "$("$wick" runs -o json | grep -c '"id"')" -gt 0 ]; then
        "$wick" rerun > ../said 2>&1
    else
        "$wick" run pipeline.yaml > ../said 2>&1
    fi || { echo "with $left kB left, then with room:"; cat ../said; exit 1; }
    "$wick" show -o json | grep -q '"state": "succeeded"' || { "$wick" show; exit 1; }
    cd ..
    umount disk
done
[ $full -gt 2 ] && echo "met a full disk $full times"
echo mended
"#;

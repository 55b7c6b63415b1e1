//! What the engine costs: fans and a chain of stages that run `true`, with the whole history kept,
//! beside ninja (which keeps none) on the same graph in the same minute, and beside DVC where it
//! is installed; the same runs again with nothing to do; what a stage in a chain costs beside the
//! start of a process and a flush of the disk; memory; the start of the program.
//!
//! `cargo bench --bench engine` (needs `ninja`). Times of a busy machine vary, so only the ratios
//! are worth quoting; the sides take turns.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const WICK: &str = env!("CARGO_BIN_EXE_wick");

/// What a command took, its children included.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    /// The most that one process of it held, in bytes.
    memory: u64,
}

/// A graph of stages that do nothing.
#[derive(Clone, Copy)]
enum Shape {
    /// So many side by side, and one after all of them.
    Fan(usize),
    /// So many one after the other.
    Chain(usize),
}

impl Shape {
    const fn stages(self) -> usize {
        match self {
            Shape::Fan(width) => width + 1,
            Shape::Chain(length) => length,
        }
    }

    /// The stages that each one comes after.
    fn needs(self) -> Vec<Vec<usize>> {
        match self {
            Shape::Fan(width) => {
                let mut needs = vec![Vec::new(); width];
                needs.push((0..width).collect());
                needs
            }
            Shape::Chain(length) => {
                (0..length).map(|place| place.checked_sub(1).into_iter().collect()).collect()
            }
        }
    }

    fn write_wick(self, project: &Path) {
        let mut text = String::from("pipeline: nothing\nstages:\n");
        for (place, needs) in self.needs().into_iter().enumerate() {
            let after: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
            let after = after.join(", ");
            let _ = writeln!(
                text,
                "  s{place}: {{uses: command, after: [{after}], with: {{run: [\"true\"]}}}}"
            );
        }
        write(&project.join(".wick/.keep"), "");
        write(&project.join("pipeline.yaml"), &text);
    }

    fn write_ninja(self, project: &Path) {
        let mut text = String::from("rule run\n  command = true\n");
        for (place, needs) in self.needs().into_iter().enumerate() {
            let _ = write!(text, "build s{place}: run");
            for need in needs {
                let _ = write!(text, " s{need}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "default s{}", self.stages() - 1);
        write(&project.join("build.ninja"), &text);
    }

    fn write_dvc(self, project: &Path) {
        let mut text = String::from("stages:\n");
        for (place, needs) in self.needs().into_iter().enumerate() {
            let _ = writeln!(text, "  s{place}:\n    cmd: touch s{place}\n    outs: [s{place}]");
            if !needs.is_empty() {
                let deps: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
                let _ = writeln!(text, "    deps: [{}]", deps.join(", "));
            }
        }
        write(&project.join("dvc.yaml"), &text);
    }
}

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let has_ninja = is_installed("ninja");
    let has_dvc = is_installed("dvc");
    for (name, there) in [("ninja", has_ninja), ("dvc", has_dvc)] {
        if !there {
            say(&format!("{name} is not installed: wick is timed without it"));
        }
    }
    let [start, flush] = [process_start(), disk_flush(folder)];
    say(&format!(
        "here: {} processors, a process starts and ends in {:.3} ms, a flush takes {:.3} ms",
        processors(),
        millis(start),
        millis(flush)
    ));
    for (name, shape, rounds) in [
        ("fan of 1,000", Shape::Fan(1000), 7),
        ("fan of 10,000", Shape::Fan(10_000), 2),
        ("chain of 100", Shape::Chain(100), 7),
    ] {
        let wick = beside_ninja(folder, name, shape, rounds, has_ninja);
        if let Shape::Chain(length) = shape {
            let stage = wick.wall.div_f64(length as f64);
            say(&format!(
                "  a stage takes {:.3} ms; a process and 1.2 flushes take {:.3} ms",
                millis(stage),
                millis(start + flush.mul_f64(1.2))
            ));
            let (once, twice) = [length, 2 * length].map(|length| chain(folder, length)).into();
            say(&format!(
                "  of that {:.1} ms are for the start, the new store and the end, and {:.3} ms for \
                 each stage",
                millis((once * 2).saturating_sub(twice)),
                millis(twice.saturating_sub(once)) / length as f64
            ));
        }
    }
    if has_dvc {
        beside_dvc(folder, Shape::Chain(20));
    }
    let version = median((0..20).map(|_| run(wick(folder).arg("--version"))).collect());
    say(&format!("wick --version: {:.1} ms wall (at most 20 ms)", millis(version.wall)));
    ExitCode::SUCCESS
}

/// Times a graph, and the same again with nothing to do, on both sides in turns.
fn beside_ninja(folder: &Path, name: &str, shape: Shape, rounds: usize, has_ninja: bool) -> Cost {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut our_rest, mut again, mut their_rest) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let project = new_folder(folder);
        shape.write_wick(&project);
        let run_again = || run(wick(&project).args(["run", "-q", "pipeline.yaml"]));
        ours.push(run_again());
        our_rest.push(run(wick(&project).args(["rerun", "-q"])));
        again.push(run_again());
        if has_ninja {
            let project = new_folder(folder);
            shape.write_ninja(&project);
            let jobs = processors().to_string();
            let ninja = || {
                let mut ninja = Command::new("ninja");
                run(ninja.args(["--quiet", "-j", &jobs]).current_dir(&project))
            };
            theirs.push(ninja());
            // ninja looks at files: only where they are there it has nothing to do.
            for place in 0..shape.stages() {
                write(&project.join(format!("s{place}")), "");
            }
            ninja();
            their_rest.push(ninja());
        }
    }
    say(&format!("{name}, median of {rounds}, a stage:"));
    let stages = shape.stages() as f64;
    let show = |name: &str, cost: Cost| {
        let (wall, cpu) = (millis(cost.wall) / stages, millis(cost.cpu) / stages);
        let memory = cost.memory / 1_000_000;
        say(&format!("  {name:<6} {wall:>7.3} ms wall  {cpu:>7.3} ms CPU  {memory:>4} MB"));
    };
    let (ours, our_rest) = (median(ours), median(our_rest));
    show("wick", ours);
    if has_ninja {
        let theirs = median(theirs);
        show("ninja", theirs);
        let wall = ours.wall.as_secs_f64() / theirs.wall.as_secs_f64();
        let cpu = ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64();
        say(&format!("  ratio  {wall:>7.2} x wall   {cpu:>7.2} x CPU"));
    }
    let mut text = format!("  nothing to do: wick rerun {:.0} ms", millis(our_rest.wall));
    let again = median(again);
    let _ = write!(text, ", wick run, a new run of cached stages, {:.0} ms", millis(again.wall));
    let _ = write!(text, " ({} MB)", again.memory.max(our_rest.memory) / 1_000_000);
    if has_ninja {
        let _ = write!(text, ", ninja {:.0} ms", millis(median(their_rest).wall));
    }
    say(&text);
    ours
}

/// How long a chain takes in a new project. The difference between two tells what a stage takes, and
/// what the rest does.
fn chain(folder: &Path, length: usize) -> Duration {
    let times = (0..7).map(|_| {
        let project = new_folder(folder);
        Shape::Chain(length).write_wick(&project);
        run(wick(&project).args(["run", "-q", "pipeline.yaml"])).wall
    });
    middle(times.collect())
}

/// DVC takes a hundred times as long: a few stages tell enough.
fn beside_dvc(folder: &Path, shape: Shape) {
    let ours = new_folder(folder);
    shape.write_wick(&ours);
    let ours = run(wick(&ours).args(["run", "-q", "pipeline.yaml"]));
    let theirs = new_folder(folder);
    shape.write_dvc(&theirs);
    run(Command::new("dvc").args(["init", "--no-scm", "-q"]).current_dir(&theirs));
    let theirs = run(Command::new("dvc").args(["repro", "-q"]).current_dir(&theirs));
    let stages = shape.stages() as f64;
    say(&format!(
        "chain of {stages}, a stage: wick {:.2} ms, DVC {:.2} ms",
        millis(ours.wall) / stages,
        millis(theirs.wall) / stages
    ));
}

/// The least that a stage can take: a process that starts and ends.
fn process_start() -> Duration {
    let times = (0..200).map(|_| {
        let began = Instant::now();
        let status = Command::new("true").status().expect("`true` is there");
        assert!(status.success());
        began.elapsed()
    });
    middle(times.collect())
}

/// How long the disk takes to keep a page for good.
fn disk_flush(folder: &Path) -> Duration {
    let file = std::fs::File::create(folder.join("flushed")).expect("a file");
    let times = (0..100u64).map(|place| {
        let began = Instant::now();
        file.write_all_at(&[1; 4096], place * 4096).expect("written");
        file.sync_data().expect("flushed");
        began.elapsed()
    });
    middle(times.collect())
}

/// A folder of its own. None is removed before the end: a file system that has just forgotten
/// thousands of files is slow to make new ones, and only wick makes any.
fn new_folder(folder: &Path) -> PathBuf {
    tempfile::tempdir_in(folder).expect("a folder").keep()
}

fn is_installed(program: &str) -> bool {
    let status = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get())
}

fn say(text: &str) {
    // Who closed the pipe has read enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn write(file: &Path, text: &str) {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(file, text).expect("written");
}

fn wick(project: &Path) -> Command {
    let mut command = Command::new(WICK);
    command.current_dir(project);
    command
}

/// Runs a command to its end and tells what it cost.
#[expect(clippy::zombie_processes, reason = "it is waited for by `wait4`, which tells the cost")]
fn run(command: &mut Command) -> Cost {
    let began = Instant::now();
    let child = command.stdout(Stdio::null()).spawn().expect("the program starts");
    let mut status = 0;
    // SAFETY: a zeroed `rusage` is valid; both pointers live through the call, and the child is
    // ours and not waited for elsewhere.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage);
        assert_eq!(pid, child.id() as i32, "the child is waited for");
        usage
    };
    let wall = began.elapsed();
    assert_eq!(status, 0, "{command:?} ended with status {status}");
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Cost {
        wall,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        memory: usage.ru_maxrss as u64 * 1024,
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn median(costs: Vec<Cost>) -> Cost {
    Cost {
        wall: middle(costs.iter().map(|cost| cost.wall).collect()),
        cpu: middle(costs.iter().map(|cost| cost.cpu).collect()),
        memory: costs.iter().map(|cost| cost.memory).max().unwrap_or_default(),
    }
}

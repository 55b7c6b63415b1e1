//! What the engine costs: a fan of stages that run `true`, with a join and the whole history kept,
//! beside ninja on the same fan in the same minute; the same run again with nothing to do; and the
//! start of the program.
//!
//! `cargo bench --bench engine` (needs `ninja`). Times of a busy machine vary, so only the ratios
//! are worth quoting; the two sides take turns.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const WICK: &str = env!("CARGO_BIN_EXE_wick");

/// How many stages the fan has.
const WIDTH: usize = 1000;

/// How often each side runs.
const ROUNDS: usize = 5;

/// What a command took, its children included.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn main() -> ExitCode {
    let jobs = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    let folder = tempfile::tempdir().expect("a folder");
    let has_ninja = Command::new("ninja").arg("--version").stdout(Stdio::null()).status();
    let has_ninja = has_ninja.is_ok_and(|status| status.success());
    if !has_ninja {
        say("ninja is not installed: only wick is timed");
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let project = folder.path().join(format!("wick-{round}"));
        write_fan(&project);
        ours.push(run(wick(&project).args(["run", "-q", "fan.yaml"])));
        if has_ninja {
            let project = folder.path().join(format!("ninja-{round}"));
            write_ninja(&project);
            theirs.push(run(Command::new("ninja")
                .args(["--quiet", "-j", &jobs.to_string()])
                .current_dir(&project)));
        }
    }
    let per_stage = |cost: Duration| cost.as_secs_f64() * 1e3 / WIDTH as f64;
    let ours = median(ours);
    say(&format!("fan of {WIDTH} on {jobs} processors, median of {ROUNDS}, a stage:"));
    let show = |name: &str, cost: Cost| {
        let (wall, cpu) = (per_stage(cost.wall), per_stage(cost.cpu));
        say(&format!("  {name:<6} {wall:>7.3} ms wall  {cpu:>7.3} ms CPU"));
    };
    show("wick", ours);
    if has_ninja {
        let theirs = median(theirs);
        show("ninja", theirs);
        let wall = ours.wall.as_secs_f64() / theirs.wall.as_secs_f64();
        let cpu = ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64();
        say(&format!("  ratio  {wall:>7.2} x wall   {cpu:>7.2} x CPU   (at most 4)"));
    }

    let project = folder.path().join("wick-0");
    let again =
        median((0..ROUNDS).map(|_| run(wick(&project).args(["run", "-q", "fan.yaml"]))).collect());
    let (wall, cpu) = (again.wall.as_millis(), again.cpu.as_millis());
    say(&format!("nothing to do: {wall} ms wall, {cpu} ms CPU (at most 200 ms wall)"));

    let version = median((0..20).map(|_| run(wick(&project).arg("--version"))).collect());
    let wall = version.wall.as_secs_f64() * 1e3;
    say(&format!("wick --version: {wall:.1} ms wall (at most 20 ms)"));
    ExitCode::SUCCESS
}

fn say(text: &str) {
    // Who closed the pipe has read enough.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn wick(project: &Path) -> Command {
    let mut command = Command::new(WICK);
    command.current_dir(project);
    command
}

/// Runs a command to its end and tells what it cost.
fn run(command: &mut Command) -> Cost {
    let before = children_cpu();
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().expect("the program starts");
    let wall = began.elapsed();
    assert!(status.success(), "{command:?} ended with {status}");
    Cost { wall, cpu: children_cpu() - before }
}

/// The processor time of all children that have ended, and of theirs.
fn children_cpu() -> Duration {
    // SAFETY: a zeroed `rusage` is valid, and is written by the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn median(mut costs: Vec<Cost>) -> Cost {
    let middle = costs.len() / 2;
    costs.sort_by_key(|cost| cost.wall);
    let wall = costs[middle].wall;
    costs.sort_by_key(|cost| cost.cpu);
    Cost { wall, cpu: costs[middle].cpu }
}

fn write_fan(project: &Path) {
    let mut text = String::from("pipeline: fan\nstages:\n");
    let mut all = Vec::new();
    for place in 0..WIDTH {
        let _ = writeln!(text, "  s{place}: {{uses: command, with: {{run: [\"true\"]}}}}");
        all.push(format!("s{place}"));
    }
    let _ = writeln!(
        text,
        "  join: {{uses: command, after: [{}], with: {{run: [\"true\"]}}}}",
        all.join(", ")
    );
    std::fs::create_dir_all(project.join(".wick")).expect("a project");
    std::fs::write(project.join("fan.yaml"), text).expect("written");
}

fn write_ninja(project: &Path) {
    let mut text = String::from("rule run\n  command = true\n");
    let mut all = String::new();
    for place in 0..WIDTH {
        let _ = writeln!(text, "build s{place}: run");
        let _ = write!(all, " s{place}");
    }
    let _ = writeln!(text, "build join: run{all}\ndefault join");
    std::fs::create_dir_all(project).expect("a folder");
    std::fs::write(project.join("build.ninja"), text).expect("written");
}

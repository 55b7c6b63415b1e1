//! Kills at random moments, of random victims, over a mixed pipeline; each round ends with a
//! plain `wick rerun`, after which everything must be as if nothing had happened.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::mixed::{Subject, mend};
use crate::sandbox::{Sandbox, send};

/// The most kills that one run has to bear before it may end.
const MAX_KILLS_A_RUN: usize = 3;

/// What was done.
#[derive(Debug, Default)]
pub struct Kills {
    /// How many processes or groups of them were killed.
    pub kills: usize,
    /// How many of these kills found a run under way.
    pub landed: usize,
    /// How many runs there were.
    pub runs: usize,
    /// The kills by victim: engine, supervisor, worker or program, all at once.
    pub victims: [usize; 4],
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Engine,
    Supervisor,
    Attempt,
    All,
}

/// Kills `count` times, two runs side by side, and panics where something is not as it should
/// be. `seed` decides who and when; the machine's load decides what that hits.
pub fn many(count: usize, seed: u64, progress: impl Fn(usize) + Sync) -> Kills {
    Subject::Mixed.undisturbed();
    let wall = wall_of_a_run();
    let done = std::sync::Mutex::new(Kills::default());
    let next_seed = std::sync::atomic::AtomicU64::new(seed);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next_seed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let mut random = Random(seed);
                    let wanted = 1 + random.below(MAX_KILLS_A_RUN as u64) as usize;
                    let kills = {
                        let mut done = done.lock().expect("no panic elsewhere");
                        let kills = wanted.min(count - done.kills);
                        done.kills += kills;
                        kills
                    };
                    if kills == 0 {
                        return;
                    }
                    let round = round(kills, seed, &mut random, wall);
                    let mut done = done.lock().expect("no panic elsewhere");
                    done.landed += round.landed;
                    done.runs += 1;
                    for (all, these) in done.victims.iter_mut().zip(round.victims) {
                        *all += these;
                    }
                    progress(done.kills);
                }
            });
        }
    });
    done.into_inner().expect("no panic elsewhere")
}

/// One run: killed so many times, and mended.
fn round(kills: usize, seed: u64, random: &mut Random, wall: Duration) -> Kills {
    let sandbox = Subject::Mixed.sandbox();
    let mut done = Kills::default();
    for number in 0..kills {
        let verb: &[&str] = if number == 0 || sandbox.runs().is_empty() {
            &["run", "pipeline.yaml"]
        } else {
            &["rerun"]
        };
        let engine = sandbox
            .command(verb)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("wick starts");
        let victim = match random.below(10) {
            0..6 => Victim::Engine,
            6 => Victim::Supervisor,
            7..9 => Victim::Attempt,
            _ => Victim::All,
        };
        std::thread::sleep(wall.mul_f64(random.below(1000) as f64 / 1000.0));
        done.landed += usize::from(kill(victim, engine));
        done.victims[victim as usize] += 1;
    }
    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        mend(&sandbox, Subject::Mixed, random.below(2) == 0);
    }));
    if let Err(panic) = tried {
        let kept = keep(sandbox);
        let told = format!("seed {seed}, killed {kills} times: see {}\n", kept.display());
        std::io::stderr().write_all(told.as_bytes()).expect("said");
        std::panic::resume_unwind(panic);
    }
    done
}

/// Kills, and waits for the engine to be gone. Whether there was something to kill.
fn kill(victim: Victim, mut engine: Child) -> bool {
    let is_running = engine.try_wait().expect("asked").is_none();
    let children = children_of(engine.id());
    let attempts: Vec<u32> = children.iter().flat_map(|pid| children_of(*pid)).collect();
    let victims: Vec<u32> = match victim {
        Victim::Engine => vec![engine.id()],
        Victim::Supervisor => children,
        Victim::Attempt => attempts.into_iter().take(1).collect(),
        Victim::All => std::iter::once(engine.id()).chain(children).chain(attempts).collect(),
    };
    if is_running {
        for pid in &victims {
            // Those that ended in the meantime were quicker.
            let _ = send(*pid, Signal::KILL);
        }
    }
    // An engine whose attempt or supervisor was killed ends by itself, well or not.
    engine.wait().expect("waited for");
    is_running && !victims.is_empty()
}

/// The processes that `pid` started.
pub fn children_of(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    // A process that waits starts its children in any of its threads.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut all = listed.unwrap_or_default();
    for thread in threads {
        all.push(' ');
        all += &std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    }
    let mut pids: Vec<u32> =
        all.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// How long an undisturbed run takes on this machine, now.
fn wall_of_a_run() -> Duration {
    let sandbox = Subject::Mixed.sandbox();
    let begun = Instant::now();
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    begun.elapsed()
}

/// Leaves the sandbox of a failure for whoever looks into it.
fn keep(sandbox: Sandbox) -> std::path::PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kept-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&kept);
    let copied = std::process::Command::new("cp").arg("-a").arg(sandbox.path()).arg(&kept).status();
    copied.expect("cp starts");
    kept
}

/// The SplitMix64 generator of Steele, Lea and Flood, 2014.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

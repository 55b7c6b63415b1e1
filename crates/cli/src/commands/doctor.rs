//! `wick doctor`: what this machine and project have, what is missing, and how to mend it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::json;
use wick_artifact::{ArtifactError, Remote, RemotePlace};

use crate::args::{DoctorArgs, GlobalArgs};
use crate::environment;
use crate::error::{CommandResult, ExitCode};
use crate::project::{ArtifactsConfig, Project};
use crate::render::{Cell, Paint, Table, Ui, human};

/// Below this much free disk, runs soon fail.
const LITTLE_DISK: u64 = 1_000_000_000;

/// Below this much memory, training on more than toys is hard.
const LITTLE_MEMORY: u64 = 2_000_000_000;

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// As it should be.
    Ok,
    /// wick works, but something may not.
    Warn,
    /// wick cannot work.
    Broken,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    health: Health,
    found: String,
    /// What to do about it.
    mend: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, health: Health::Ok, found: found.into(), mend: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, health: Health::Warn, found: found.into(), mend: Some(mend.into()) }
    }

    fn broken(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, health: Health::Broken, found: found.into(), mend: Some(mend.into()) }
    }
}

pub async fn doctor(args: &DoctorArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let project = Project::here_or_new(global, ui)?;
    let findings = vec![
        Finding::ok("wick", format!("{} at {}", env!("CARGO_PKG_VERSION"), executable())),
        Finding::ok("project", project.root.display().to_string()),
        store(&project).await,
        artifacts(&project),
        disk(&project),
        memory(),
        cpu(),
        git(&project.root),
        python(),
        postgres(&project),
    ];
    let broken = findings.iter().any(|finding| finding.health == Health::Broken);
    if args.output.is_json() {
        ui.json(&json!({"version": 1, "healthy": !broken, "findings": findings}))?;
    } else {
        print(ui, &findings);
    }
    Ok(if broken { ExitCode::Internal } else { ExitCode::Success })
}

fn print(ui: &Ui, findings: &[Finding]) {
    let mut table = Table::new(ui, &[]);
    for finding in findings {
        let (paint, word) = match finding.health {
            Health::Ok => (Paint::Good, "ok"),
            Health::Warn => (Paint::Warning, "warn"),
            Health::Broken => (Paint::Bad, "broken"),
        };
        table.row([
            Cell::painted(paint, word),
            Cell::painted(Paint::Strong, finding.name),
            Cell::new(&finding.found),
        ]);
        if let Some(mend) = &finding.mend {
            table.row([
                Cell::new(""),
                Cell::new(""),
                Cell::painted(Paint::Command, format_args!("mend: {mend}")),
            ]);
        }
    }
    ui.print(table.render());
}

fn executable() -> String {
    std::env::current_exe().map_or_else(|_| "?".to_owned(), |path| path.display().to_string())
}

async fn store(project: &Project) -> Finding {
    let location = match project.store_location() {
        Ok(location) => location,
        Err(error) => {
            return Finding::broken("store", format!("{:#}", error.error), "name it with --store");
        }
    };
    // Looking must not make what is looked for.
    if !location.contains("://") && !Path::new(&location).exists() {
        return Finding::ok("store", format!("{location}: will be made by the first run"));
    }
    match wick_store::open(&location).await {
        Ok(store) => match store.search(&wick_store::Search::newest(1)).await {
            Ok(page) => {
                let last = page.runs.first().map_or_else(
                    || "no run yet".to_owned(),
                    |run| format!("last run {} {}", run.id, human::ago(run.started, human::now())),
                );
                Finding::ok("store", format!("{}: {last}", store.location()))
            }
            Err(error) => broken_store(&error),
        },
        Err(error) => broken_store(&error),
    }
}

fn broken_store(error: &wick_store::StoreError) -> Finding {
    let mut found = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let told = error.to_string();
        // Some errors tell their own cause, and it would be told twice.
        if !found.ends_with(&told) {
            found.push_str(&format!(": {told}"));
        }
        cause = error.source();
    }
    Finding::broken(
        "store",
        found,
        "check the place, its rights and the disk; --store names another",
    )
}

fn artifacts(project: &Project) -> Finding {
    if let Some(ArtifactsConfig::Remote { place, cache }) = project.artifacts_place() {
        return remote_artifacts(place, *cache);
    }
    let folder = project.artifacts_folder();
    let existing = nearest_existing(&folder);
    let writable = rustix::fs::access(existing.as_path(), rustix::fs::Access::WRITE_OK).is_ok();
    if writable {
        Finding::ok("artifacts", folder.display().to_string())
    } else {
        Finding::broken(
            "artifacts",
            format!("{} cannot be written", existing.display()),
            "mend its rights, or name another folder with `artifacts:` in wick.yaml",
        )
    }
}

/// Writes, reads and removes something in the object storage.
fn remote_artifacts(place: &RemotePlace, cache: u64) -> Finding {
    match Remote::new(place.clone()).probe() {
        Ok(took) => Finding::ok(
            "artifacts",
            format!(
                "{place}: written, read and cleared in {}; a cache of {}",
                human::micros(i64::try_from(took.as_micros()).unwrap_or(i64::MAX)),
                human::bytes(cache)
            ),
        ),
        Err(error) => {
            let mend = match &error {
                ArtifactError::Remote { mend, .. } => mend.clone(),
                _ => "look at the place, or name another with `artifacts:`".to_owned(),
            };
            Finding::broken("artifacts", format!("{:#}", anyhow::Error::from(error)), mend)
        }
    }
}

fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn disk(project: &Project) -> Finding {
    let place = nearest_existing(&project.artifacts_folder());
    match rustix::fs::statvfs(place.as_path()) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            let found = format!("{} free at {}", human::bytes(free), place.display());
            if free < LITTLE_DISK {
                Finding::warn("disk", found, "make room: artifacts are kept until you remove them")
            } else {
                Finding::ok("disk", found)
            }
        }
        Err(error) => Finding::warn("disk", error.to_string(), "look at the file system"),
    }
}

fn memory() -> Finding {
    match environment::memory_bytes() {
        Some(bytes) if bytes < LITTLE_MEMORY => Finding::warn(
            "memory",
            human::bytes(bytes),
            "use small batches, and `resources: {memory: …}` so that stages do not share it",
        ),
        Some(bytes) => Finding::ok("memory", human::bytes(bytes)),
        None => Finding::warn(
            "memory",
            "unknown",
            "say what runs may use with `slots: {memory: …}` in wick.yaml",
        ),
    }
}

fn cpu() -> Finding {
    let cpus = human::plural(environment::cpus(), "processor");
    #[cfg(target_arch = "x86_64")]
    {
        let features: Vec<&str> = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect();
        let found = format!("{cpus}, x86_64 {}", features.join(" "));
        if features.contains(&"avx2") && features.contains(&"fma") {
            Finding::ok("cpu", found)
        } else {
            Finding::warn(
                "cpu",
                found,
                "training is slow without AVX2 and FMA: use another machine",
            )
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    Finding::ok("cpu", format!("{cpus}, {}", std::env::consts::ARCH))
}

fn git(folder: &Path) -> Finding {
    let Some(version) = first_line("git", &["--version"]) else {
        return Finding::warn(
            "git",
            "not found",
            "install git: runs then record the code's version",
        );
    };
    match environment::Git::of(folder) {
        Some(state) => {
            let commit = state.commit.get(..12).unwrap_or(&state.commit);
            let dirty = if state.dirty { ", with uncommitted changes" } else { "" };
            Finding::ok("git", format!("{version}; commit {commit}{dirty}"))
        }
        None => Finding::ok("git", format!("{version}; the project is in no repository")),
    }
}

fn python() -> Finding {
    match first_line("python3", &["--version"]) {
        Some(version) => Finding::ok("python", version),
        None => Finding::warn(
            "python",
            "python3 was not found",
            "only `command` stages that run Python need it",
        ),
    }
}

fn postgres(project: &Project) -> Finding {
    let wanted = project.store_location().is_ok_and(|location| location.starts_with("postgres"));
    match first_line("psql", &["--version"]) {
        Some(version) => Finding::ok("postgres", version),
        None if wanted => Finding::ok(
            "postgres",
            "the store is on Postgres; its own tools are not installed here",
        ),
        None => Finding::ok("postgres", "not installed; the store is SQLite and needs none"),
    }
}

/// The first line that a program prints, if it is there and succeeds.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}

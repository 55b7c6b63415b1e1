//! Where a run is: the distribution, the container, the cluster's own number for it, the GPUs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use wick_plan::Plan;

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// What it is.
    pub name: String,
}

/// A program that stages run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Python {
    /// As the pipeline calls it.
    pub program: String,
    /// Its version.
    pub version: String,
}

/// What names an allocation of a cluster: variables that hold numbers, and nothing that is secret.
const SLURM: [(&str, &str); 3] = [
    ("job", "SLURM_JOB_ID"),
    ("array_job", "SLURM_ARRAY_JOB_ID"),
    ("array_task", "SLURM_ARRAY_TASK_ID"),
];

/// The system's name for people: `Debian GNU/Linux 12 (bookworm)`.
pub fn distribution() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// What kind of container this is in, if it shows.
pub fn container() -> Option<&'static str> {
    if Path::new("/var/run/secrets/kubernetes.io").exists() {
        Some("kubernetes")
    } else if Path::new("/run/.containerenv").exists() {
        Some("podman")
    } else if Path::new("/.dockerenv").exists() {
        Some("docker")
    } else if Path::new("/.singularity.d").exists() {
        Some("apptainer")
    } else {
        None
    }
}

/// The numbers by which Slurm knows this run, if it runs it.
pub fn slurm() -> Option<serde_json::Map<String, serde_json::Value>> {
    let numbers = SLURM.iter().filter_map(|(name, variable)| {
        let number: u64 = std::env::var(variable).ok()?.parse().ok()?;
        Some(((*name).to_owned(), number.into()))
    });
    let numbers: serde_json::Map<_, _> = numbers.collect();
    (!numbers.is_empty()).then_some(numbers)
}

/// NVIDIA's GPUs and the version of their driver, as the driver lists them under `root`, which is
/// `/proc/driver/nvidia`: to ask its library takes longer than many a run.
pub fn gpus(root: &Path) -> (Vec<Gpu>, Option<String>) {
    let entries = fs::read_dir(root.join("gpus")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path().join("information")).collect();
    files.sort();
    let gpus = files.iter().filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
        Some(Gpu { name: name.trim().to_owned() })
    });
    let version = fs::read_to_string(root.join("version")).ok();
    let driver = version.as_deref().and_then(|text| {
        // `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC`.
        let is_version = |word: &&str| {
            word.contains('.') && word.chars().all(|char| char.is_ascii_digit() || char == '.')
        };
        text.lines().next()?.split_ascii_whitespace().find(is_version).map(str::to_owned)
    });
    (gpus.collect(), driver)
}

/// The Pythons that stages of the pipeline run, as it calls them.
pub fn pythons(plan: &Plan) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for stage in plan.stages.iter().filter(|stage| stage.kind == "command") {
        let words: Vec<&str> = match &stage.config["run"] {
            serde_json::Value::String(text) => text.split_ascii_whitespace().collect(),
            // The program; its arguments may be called anything.
            serde_json::Value::Array(words) => {
                words.first().and_then(serde_json::Value::as_str).into_iter().collect()
            }
            _ => Vec::new(),
        };
        for word in words.into_iter().filter(|word| is_python(word)) {
            if !found.iter().any(|known| known == word) {
                found.push(word.to_owned());
            }
        }
    }
    found
}

/// `python`, `python3.12`, `/opt/venv/bin/python3`.
fn is_python(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.strip_prefix("python")
        .is_some_and(|version| version.chars().all(|char| char.is_ascii_digit() || char == '.'))
}

/// The versions of these Pythons, where they are found from `folder`.
pub fn versions(folder: &Path, programs: &[String]) -> Vec<Python> {
    let version = |program: &String| {
        let output = Command::new(program)
            .arg("--version")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.trim().strip_prefix("Python ")?.to_owned();
        Some(Python { program: program.clone(), version })
    };
    programs.iter().filter_map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_are_known_by_their_names() {
        for python in ["python", "python3", "python3.12", "/opt/venv/bin/python3"] {
            assert!(is_python(python), "{python}");
        }
        for other in ["pythonic", "ipython", "train.py", "python3-config", "sh"] {
            assert!(!is_python(other), "{other}");
        }
    }

    #[test]
    fn gpus_are_named_as_their_driver_lists_them() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(gpus(folder.path()), (Vec::new(), None));
        for (bus, model) in
            [("0000:01:00.0", "NVIDIA H100 80GB HBM3"), ("0000:02:00.0", "Tesla T4")]
        {
            let gpu = folder.path().join("gpus").join(bus);
            fs::create_dir_all(&gpu).expect("made");
            let text = format!("Model: \t\t {model}\nIRQ:   \t\t 77\n");
            fs::write(gpu.join("information"), text).expect("written");
        }
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n";
        fs::write(folder.path().join("version"), version).expect("written");
        let (found, driver) = gpus(folder.path());
        let names: Vec<&str> = found.iter().map(|gpu| gpu.name.as_str()).collect();
        assert_eq!(names, ["NVIDIA H100 80GB HBM3", "Tesla T4"]);
        assert_eq!(driver.as_deref(), Some("550.54.15"));
    }
}

//! The machine and the code of a run.

use serde_json::Value;

use crate::render::{Cell, Paint, Table, Ui, human};

/// How many files that git does not know are named.
const FEW_FILES: usize = 5;

/// A line for everything that is known.
pub fn table(ui: &Ui, environment: &Value, has_diff: bool) -> Option<String> {
    let text = |key: &str| environment.get(key).filter(|value| !value.is_null()).map(human::value);
    let mut table = Table::new(ui, &[]);
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([Cell::painted(Paint::Faint, name), Cell::new(value)]);
        }
    };
    let build = text("build").map(|build| format!(", {build}")).unwrap_or_default();
    fact("wick", text("wick").map(|version| version + &build));
    let git = environment.get("git");
    fact("git", git.and_then(|git| code(git, has_diff)));
    fact("untracked", git.and_then(untracked));
    fact("machine", text("host"));
    fact("user", text("user"));
    let distribution = text("distribution").map(|name| format!(", {name}")).unwrap_or_default();
    let arch = text("arch").unwrap_or_default();
    fact("system", text("os").map(|os| format!("{os} {arch}{distribution}")));
    fact("container", text("container"));
    fact("slurm", environment.get("slurm").and_then(numbers));
    fact("processor", text("cpu"));
    fact("processors", text("cpus"));
    let memory = environment.get("memory_bytes").and_then(Value::as_u64);
    fact("memory", memory.map(human::bytes));
    let driver = text("gpu_driver").map(|version| format!(", driver {version}"));
    fact("gpus", gpus(environment).map(|gpus| gpus + &driver.unwrap_or_default()));
    fact("python", environment.get("pythons").and_then(pythons));
    (!table.is_empty()).then(|| table.render_indented(2))
}

fn code(git: &Value, has_diff: bool) -> Option<String> {
    let commit = git.get("commit")?.as_str()?;
    let short = commit.get(..12).unwrap_or(commit);
    let branch = git.get("branch").and_then(Value::as_str);
    let dirty = git.get("dirty").and_then(Value::as_bool).unwrap_or_default();
    Some(format!(
        "{short}{}{}",
        branch.map(|branch| format!(" on {branch}")).unwrap_or_default(),
        match (dirty, has_diff) {
            (true, true) => ", with uncommitted changes: --diff prints them",
            (true, false) => ", with uncommitted changes",
            (false, _) => "",
        }
    ))
}

fn untracked(git: &Value) -> Option<String> {
    let files = git.get("untracked")?.as_array()?;
    let named: Vec<&str> = files.iter().filter_map(Value::as_str).take(FEW_FILES).collect();
    let beyond = git.get("more_untracked").and_then(Value::as_u64).unwrap_or(0);
    let more = match beyond + files.len().saturating_sub(named.len()) as u64 {
        0 => String::new(),
        more => format!(" and {} more", human::count(more)),
    };
    (!named.is_empty()).then(|| named.join(", ") + &more)
}

/// `2 × NVIDIA H100`.
fn gpus(environment: &Value) -> Option<String> {
    let gpus = environment.get("gpus")?.as_array()?.iter();
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for name in gpus.filter_map(|gpu| gpu.get("name")?.as_str()) {
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let counts = counts.iter().map(|(name, count)| match count {
        1 => (*name).to_owned(),
        count => format!("{count} × {name}"),
    });
    Some(counts.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())
}

fn pythons(pythons: &Value) -> Option<String> {
    let one = |python: &Value| {
        Some(format!("{} ({})", python.get("version")?.as_str()?, python.get("program")?.as_str()?))
    };
    Some(pythons.as_array()?.iter().filter_map(one).collect::<Vec<_>>().join(", "))
}

/// `job 17, array_task 3`.
fn numbers(numbers: &Value) -> Option<String> {
    let numbers = numbers.as_object()?.iter().map(|(name, number)| format!("{name} {number}"));
    Some(numbers.collect::<Vec<_>>().join(", "))
}

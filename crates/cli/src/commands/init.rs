//! `wick init`: a small working project that a beginner can read.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::args::InitArgs;
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::project::Project;
use crate::render::{Paint, Ui};

/// The files of a new project, by their paths in it.
const FILES: [(&str, &str); 4] = [
    ("wick.yaml", include_str!("../../templates/wick.yaml")),
    ("pipeline.yaml", include_str!("../../templates/pipeline.yaml")),
    ("data/plants.csv", include_str!("../../templates/plants.csv")),
    (".gitignore", ".wick/\n"),
];

pub fn init(args: &InitArgs, ui: &Ui) -> CommandResult {
    let folder = &args.folder;
    let taken: Vec<&str> = FILES
        .iter()
        .map(|(path, _)| *path)
        // A folder that is in git already has its .gitignore; `.wick/` ignores itself anyway.
        .filter(|path| *path != ".gitignore" && folder.join(path).symlink_metadata().is_ok())
        .collect();
    if !taken.is_empty() {
        return Err(CommandError::invalid(format!(
            "{} has {} already; nothing was written",
            shown(folder),
            taken.join(" and ")
        ))
        .hint("choose another folder: `wick init NAME`"));
    }
    for (path, text) in FILES {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).or_invalid(format!("cannot make {}", parent.display()))?;
        }
        match fs::File::create_new(&target) {
            Ok(mut file) => file
                .write_all(text.as_bytes())
                .or_internal(format!("cannot write {}", target.display()))?,
            // Whoever was quicker keeps it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(error) => {
                return Err(error).or_invalid(format!("cannot write {}", target.display()));
            }
        }
        ui.note(format_args!("wrote {}", target.display()));
    }
    let mut next = vec!["wick run pipeline.yaml", "wick show", "wick serve plants"];
    let enter = format!("cd {}", folder.display());
    if folder != Path::new(".") {
        next.insert(0, &enter);
    }
    ui.note(format_args!("\nNow look at {} and type:", shown(&folder.join("pipeline.yaml"))));
    for command in next {
        ui.note(format_args!("  {}", ui.err.paint(Paint::Command, command)));
    }
    Ok(ExitCode::Success)
}

fn shown(path: &Path) -> String {
    if path == Path::new(".") { "this folder".to_owned() } else { Project::shown(path) }
}

//! A text written in the editor that a person has chosen.

use std::fs;
use std::path::Path;
use std::process::Command;

use wick_core::RunId;

use crate::error::{CommandError, CommandResult, ResultExt};

/// Lets a person write in `$VISUAL` or `$EDITOR`, beginning with `before`. What was written stays
/// in its file if it could not be read back.
pub fn edit(before: &str, folder: &Path, run: &RunId) -> CommandResult<String> {
    let chosen = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty()));
    let Some(editor) = chosen else {
        return Err(CommandError::invalid("there is no note, and no editor to write it in")
            .hint(format!("give it: wick note {run} \"…\"; or `-` for the standard input"))
            .hint("or set EDITOR, to vi for one"));
    };
    let path = folder.join(format!("note-{run}-{}.md", std::process::id()));
    fs::write(&path, before).or_internal(format!("cannot write {}", path.display()))?;
    let written = written(&editor, &path);
    if written.is_ok() {
        // A file that stays is untidy, and no more.
        let _ = fs::remove_file(&path);
    }
    written.map_err(|error| error.hint(format!("what was written is in {}", path.display())))
}

fn written(editor: &str, path: &Path) -> CommandResult<String> {
    // An editor is often more than one word: `code --wait`.
    let ended = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(path)
        .status()
        .or_invalid(format!("cannot start the editor `{editor}`"))?;
    if !ended.success() {
        return Err(CommandError::invalid(format!(
            "the editor `{editor}` failed ({ended}); the note is as it was"
        )));
    }
    fs::read_to_string(path).or_invalid("the note is no text")
}

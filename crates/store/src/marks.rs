//! What people say of runs: names, notes, stars, tags, and what is put away.

use serde::{Deserialize, Serialize};
use wick_core::Timestamp;

use crate::error::{StoreError, StoreResult};

/// What people say of a run. A run that was just made has no marks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// What somebody called it. Several runs may share a name.
    pub name: Option<String>,
    /// What somebody wrote of it.
    pub note: Option<String>,
    /// Since when it is a favourite.
    pub starred: Option<Timestamp>,
    /// Since when it is put away: lists leave it out unless asked for it.
    pub archived: Option<Timestamp>,
    /// Since when it is thrown away: hidden, and gone with the next `wick gc`.
    pub deleted: Option<Timestamp>,
    /// Free words with values, by key.
    pub tags: Vec<(String, String)>,
}

/// Something to say of a run. Said again it changes nothing: a star keeps its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// Call it so, or not by a name any more.
    Name(Option<String>),
    /// Write this of it, or nothing any more.
    Note(Option<String>),
    /// Make it a favourite, or not one any more.
    Star(bool),
    /// Put it away, or take it out again.
    Archive(bool),
    /// Throw it away, or restore it.
    Delete(bool),
    /// Set a tag, in the place of an earlier one with this key.
    Tag {
        /// What it is about.
        key: String,
        /// What is said.
        value: String,
    },
    /// Take a tag away, if there is one with this key.
    Untag(String),
}

/// The longest a name or a tag's key may be, in bytes.
pub const MAX_MARK_LENGTH: usize = 256;

impl Mark {
    /// Checks that a store keeps it so that people find it again.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn check(&self) -> StoreResult<()> {
        let (what, text) = match self {
            Mark::Name(Some(name)) => ("a name", name),
            Mark::Tag { key, .. } => ("the key of a tag", key),
            _ => return Ok(()),
        };
        let refuse = |reason: &str| Err(StoreError::Refused(format!("{what} {reason}")));
        if text.trim().is_empty() {
            return refuse("is at least one character");
        }
        if text.len() > MAX_MARK_LENGTH {
            return refuse(&format!("is at most {MAX_MARK_LENGTH} bytes"));
        }
        if text.starts_with('@') || text.chars().any(char::is_control) {
            return refuse("does not start with `@`, and is one line");
        }
        Ok(())
    }

    /// The column of `runs` that it sets; `None` for tags, which have a table.
    pub(crate) fn setting(&self) -> Option<Setting<'_>> {
        Some(match self {
            Mark::Name(name) => Setting::Text("name", name.as_deref()),
            Mark::Note(note) => Setting::Text("note", note.as_deref()),
            Mark::Star(set) => Setting::Since("starred", *set),
            Mark::Archive(set) => Setting::Since("archived", *set),
            Mark::Delete(set) => Setting::Since("deleted", *set),
            Mark::Tag { .. } | Mark::Untag(_) => return None,
        })
    }
}

/// A column of `runs`, and what it is set to.
pub(crate) enum Setting<'a> {
    /// This text.
    Text(&'static str, Option<&'a str>),
    /// The time of the first mark, or nothing.
    Since(&'static str, bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_found_again_is_refused() {
        let long = "x".repeat(MAX_MARK_LENGTH + 1);
        for wrong in ["", "  ", "@last", "two\nlines", long.as_str()] {
            assert!(Mark::Name(Some(wrong.to_owned())).check().is_err(), "{wrong}");
            let tag = Mark::Tag { key: wrong.to_owned(), value: String::new() };
            assert!(tag.check().is_err(), "{wrong}");
        }
        for right in [Mark::Name(None), Mark::Name(Some("the first".to_owned()))] {
            assert!(right.check().is_ok());
        }
    }
}

//! Whether files have changed: looked at now and then, rather than told by the system.
//!
//! Looking works on every file system, over the network too, for folders that do not exist yet,
//! and for what changed while nobody was there; no notice can be lost. It costs a `stat` for each
//! file. A change counts when the files have been still for a while, so that a copy that is being
//! written begins no run.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use wick_core::Digest;

/// So many looks in a row must see the same before a change counts.
const STILL: u32 = 2;

/// More files than this are not looked at: patterns are for what people and programs hand over.
const MAX_FILES: usize = 100_000;

/// Files that begin with a dot are temporary or of a tool, and are not meant by `*`.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Patterns of files.
#[derive(Debug, Clone)]
pub struct Patterns {
    /// Absolute.
    patterns: Vec<String>,
}

/// What files looked like: size and time of the last change of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    files: BTreeMap<PathBuf, (u64, i64)>,
}

impl Patterns {
    /// The patterns as they are written, from the folder `base`.
    ///
    /// # Errors
    /// Names the first that is none.
    pub fn new(base: &Path, written: &[String]) -> anyhow::Result<Self> {
        let base = Pattern::escape(&base.to_string_lossy());
        let patterns = written.iter().map(|written| {
            let mut pattern = if written.starts_with('/') {
                written.clone()
            } else {
                format!("{base}/{written}")
            };
            // `data/` and `data/**` mean all that lies in there.
            if pattern.ends_with("**") {
                pattern.push_str("/*");
            } else if pattern.ends_with('/') {
                pattern.push_str("**/*");
            }
            match Pattern::new(&pattern) {
                Ok(_) => Ok(pattern),
                Err(error) => {
                    Err(anyhow::anyhow!("`{written}` is not a pattern of files: {}", error.msg))
                }
            }
        });
        Ok(Self { patterns: patterns.collect::<anyhow::Result<_>>()? })
    }

    /// Looks at the files. What cannot be read is not there.
    pub fn look(&self) -> Look {
        let mut look = Look::default();
        for pattern in &self.patterns {
            let found = glob::glob_with(pattern, OPTIONS).into_iter().flatten();
            for path in found.filter_map(Result::ok) {
                if look.files.len() == MAX_FILES {
                    return look;
                }
                match std::fs::metadata(&path) {
                    Ok(data) if !data.is_dir() => {
                        let changed = data.mtime() * 1_000_000_000 + data.mtime_nsec();
                        look.files.insert(path, (data.len(), changed));
                    }
                    _ => {}
                }
            }
        }
        look
    }
}

impl Look {
    /// What tells this look from others, to be kept.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        for (path, (size, changed)) in &self.files {
            text.push_str(&format!("{}\0{size}\0{changed}\0", path.display()));
        }
        Digest::of(text.as_bytes())
    }

    /// How many files there are.
    #[cfg(test)]
    fn files(&self) -> usize {
        self.files.len()
    }

    /// The files that came, went or changed since `before`.
    pub fn since<'a>(&'a self, before: &'a Look) -> Vec<&'a Path> {
        let ours = self.files.iter().filter(|(path, stamp)| before.files.get(*path) != Some(stamp));
        let gone = before.files.keys().filter(|path| !self.files.contains_key(*path));
        let mut paths: Vec<&Path> =
            ours.map(|(path, _)| path.as_path()).chain(gone.map(PathBuf::as_path)).collect();
        paths.sort_unstable();
        paths
    }
}

/// Waits until files that change are still.
#[derive(Debug)]
pub struct Watch {
    /// What was dealt with.
    dealt: Look,
    /// What was seen last, and how often in a row.
    last: (Look, u32),
}

impl Watch {
    /// Counts changes from this look on.
    pub fn new(look: Look) -> Self {
        Self { dealt: look.clone(), last: (look, STILL) }
    }

    /// What was dealt with.
    pub fn dealt(&self) -> &Look {
        &self.dealt
    }

    /// The files look so now. Once they are still, those that have changed.
    pub fn look(&mut self, look: Look) -> Option<Vec<PathBuf>> {
        if look == self.last.0 {
            self.last.1 = self.last.1.saturating_add(1);
        } else {
            self.last = (look, 1);
        }
        if self.last.1 < STILL || self.last.0 == self.dealt {
            return None;
        }
        let changed = self.last.0.since(&self.dealt).into_iter().map(Path::to_owned).collect();
        self.dealt = self.last.0.clone();
        Some(changed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(files: &[(&str, i64)]) -> Look {
        let files = files.iter().map(|(path, stamp)| (PathBuf::from(path), (1, *stamp)));
        Look { files: files.collect() }
    }

    #[test]
    fn a_change_counts_when_files_are_still() {
        let mut watch = Watch::new(look(&[("a", 1)]));
        assert_eq!(watch.look(look(&[("a", 1)])), None);
        assert_eq!(watch.look(look(&[("a", 2)])), None, "it is being written");
        assert_eq!(watch.look(look(&[("a", 3)])), None, "still");
        assert_eq!(watch.look(look(&[("a", 3)])), Some(vec!["a".into()]));
        assert_eq!(watch.look(look(&[("a", 3)])), None, "once");
        // What changes and changes back is no change.
        assert_eq!(watch.look(look(&[("a", 4)])), None);
        assert_eq!(watch.look(look(&[("a", 3)])), None);
        assert_eq!(watch.look(look(&[("a", 3)])), None);
        watch.look(look(&[("b", 1)]));
        let changed = watch.look(look(&[("b", 1)])).expect("one went, one came");
        assert_eq!(changed, [PathBuf::from("a"), PathBuf::from("b")]);
    }

    #[test]
    fn patterns_name_files_that_may_come_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().join("it's [odd]");
        let write = |path: &str| {
            let path = base.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, "x").expect("written");
        };
        let patterns = ["data/*.csv".to_owned(), "deep/**".to_owned(), "one.txt".to_owned()];
        let patterns = Patterns::new(&base, &patterns).expect("patterns");
        assert_eq!(patterns.look().files(), 0, "nothing is there yet");
        for path in ["data/a.csv", "data/b.txt", "data/.c.csv", "data/deeper/d.csv"] {
            write(path);
        }
        assert_eq!(patterns.look().files(), 1);
        for path in ["deep/er/e", "deep/f", "one.txt"] {
            write(path);
        }
        let look = patterns.look();
        assert_eq!(look.files(), 4);
        assert_eq!(look.digest(), patterns.look().digest());
        std::fs::remove_file(base.join("one.txt")).expect("removed");
        assert_ne!(look.digest(), patterns.look().digest());
        assert_eq!(patterns.look().since(&look), [base.join("one.txt")]);
        let error = Patterns::new(&base, &["a[".to_owned()]).expect_err("no pattern");
        assert!(error.to_string().contains("`a[` is not a pattern of files"), "{error}");
    }

    proptest! {
        /// Every state in which files rest is told of once, if it differs from the one before.
        #[test]
        fn every_rest_is_told_once(states in prop::collection::vec((0..4_i64, 1..5_u32), 1..50)) {
            let mut watch = Watch::new(look(&[("a", 0)]));
            let (mut dealt, mut last, mut row) = (0, 0, 2);
            for (state, times) in states {
                for _ in 0..times {
                    row = if state == last { row + 1 } else { 1 };
                    last = state;
                    let expect = row >= 2 && state != dealt;
                    prop_assert_eq!(watch.look(look(&[("a", state)])).is_some(), expect);
                    if expect {
                        dealt = state;
                    }
                }
            }
        }
    }
}

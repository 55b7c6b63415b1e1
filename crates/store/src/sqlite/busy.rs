//! Who holds a database that stays locked: for the message, so that a person knows what to end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of a database that processes lock.
const LOCKED_FILES: [&str; 3] = ["", "-shm", "-wal"];

/// The programs, other than this one, that hold a lock on the database in the file `path` which
/// keeps others from writing, in words.
pub(super) fn holder(path: &Path) -> String {
    let inodes: Vec<u64> = LOCKED_FILES
        .iter()
        .filter_map(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            Some(fs::metadata(PathBuf::from(name)).ok()?.ino())
        })
        .collect();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let programs: Vec<String> = writers(&locks, &inodes)
        .into_iter()
        .filter(|pid| *pid != std::process::id())
        .map(|pid| match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => format!("{} (process {pid})", name.trim()),
            Err(_) => format!("process {pid}"),
        })
        .collect();
    if programs.is_empty() { "another program".to_owned() } else { programs.join(", ") }
}

/// The processes that hold a write lock on one of `inodes`, by the lines of `/proc/locks`
/// (proc(5)): `1: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120`. An arrow marks one that waits.
fn writers(locks: &str, inodes: &[u64]) -> BTreeSet<u32> {
    locks
        .lines()
        .filter(|line| !line.contains("->"))
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word != "WRITE").skip(1);
            let pid = words.next()?.parse().ok()?;
            let inode = words.next()?.rsplit(':').next()?.parse().ok()?;
            inodes.contains(&inode).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_found_by_the_files_that_they_lock() {
        let locks = "\
1: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120
1: -> POSIX  ADVISORY  WRITE 4712 08:01:1234 120 120
2: POSIX  ADVISORY  READ 4713 08:01:1234 123 123
3: FLOCK  ADVISORY  WRITE 4714 08:01:99 0 EOF
4: OFDLCK ADVISORY  WRITE -1 08:01:1234 0 EOF
5: POSIX  ADVISORY  WRITE
";
        assert_eq!(writers(locks, &[1234, 5]), BTreeSet::from([4711]));
        assert_eq!(writers(locks, &[99]), BTreeSet::from([4714]));
        assert!(writers(locks, &[]).is_empty());
    }
}

//! Files: bounded reading, gzip, and patterns of paths.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use memmap2::Mmap;

use crate::error::{DataError, DataResult, closest};

/// Tables larger than this must not expand by more than [`MOST_EXPANSION`].
const SMALL_ENOUGH: u64 = 64 << 20;

/// Tables as text shrink ten- or twenty-fold; what expands much more was made to fill memory.
const MOST_EXPANSION: u64 = 200;

/// Deflate cannot expand a byte to more than 1,032.
pub const DEFLATE_LIMIT: u64 = 1032;

/// The bytes of a file: mapped, or decompressed.
pub enum Bytes {
    /// As they lie on disk.
    Mapped(Mmap),
    /// In memory.
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(mapped) => mapped,
            Bytes::Owned(owned) => owned,
        }
    }
}

/// Opens a file, and tells its size.
pub fn open(path: &Path) -> DataResult<(File, u64)> {
    let io = |error| DataError::io("read", path, error);
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(DataError::file(path, "is a folder, not a file")
            .help("name the files in it: `path: FOLDER/*.csv`"));
    }
    Ok((file, metadata.len()))
}

/// Whether a file is compressed: by its first bytes, whatever it is called.
pub fn is_gzip(path: &Path) -> DataResult<bool> {
    let (mut file, _) = open(path)?;
    let mut magic = [0; 2];
    let mut read = 0;
    while read < 2 {
        match file.read(&mut magic[read..]).map_err(|error| DataError::io("read", path, error))? {
            0 => return Ok(false),
            count => read += count,
        }
    }
    Ok(magic == [0x1f, 0x8b])
}

/// All bytes of a file, decompressed.
pub fn read_all(path: &Path) -> DataResult<Bytes> {
    let (file, size) = open(path)?;
    if is_gzip(path)? {
        let limit = SMALL_ENOUGH.max(size.saturating_mul(MOST_EXPANSION));
        let (bytes, whole) = read_up_to(path, MultiGzDecoder::new(file), limit)?;
        if !whole {
            return Err(DataError::file(
                path,
                format!("expands to more than {MOST_EXPANSION} times its size"),
            )
            .help("if it is meant to, decompress it yourself"));
        }
        return Ok(Bytes::Owned(bytes));
    }
    if size == 0 {
        return Ok(Bytes::Owned(Vec::new()));
    }
    // SAFETY: a file cut short while it is mapped would end this process with SIGBUS. Only
    // workers read whole files: then the attempt fails, which is right, and nothing else does.
    let mapped = unsafe { Mmap::map(&file) };
    mapped.map(Bytes::Mapped).map_err(|error| DataError::io("read", path, error))
}

/// The first bytes of a file, decompressed, and whether they are all of it.
pub fn read_head(path: &Path, limit: u64) -> DataResult<(Vec<u8>, bool)> {
    let (file, _) = open(path)?;
    if is_gzip(path)? {
        read_up_to(path, MultiGzDecoder::new(file), limit)
    } else {
        read_up_to(path, file, limit)
    }
}

/// Up to `limit` bytes, and whether there were no more.
pub fn read_up_to(path: &Path, reader: impl Read, limit: u64) -> DataResult<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::InvalidInput
            | std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::UnexpectedEof => {
                DataError::file(path, format!("is not valid gzip: {error}"))
                    .help("the file is damaged or cut short: fetch it again")
            }
            _ => DataError::io("read", path, error),
        }
    })?;
    let whole = bytes.len() as u64 <= limit;
    bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok((bytes, whole))
}

/// The files that `pattern` names, relative to `base`: one, or with `*` and `?` all that match,
/// sorted.
pub fn expand(base: &Path, pattern: &str) -> DataResult<Vec<PathBuf>> {
    let whole = base.join(pattern);
    if !pattern.contains(['*', '?']) {
        return match whole.try_exists() {
            Ok(true) => Ok(vec![whole]),
            Ok(false) => Err(no_file(&whole, pattern)),
            Err(error) => Err(DataError::io("read", whole, error)),
        };
    }
    let mut found = vec![PathBuf::new()];
    for component in whole.components() {
        let text = component.as_os_str();
        let Some(pattern) = text.to_str().filter(|text| text.contains(['*', '?'])) else {
            found.iter_mut().for_each(|path| path.push(text));
            continue;
        };
        let mut next = Vec::new();
        for folder in found {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry.map_err(|error| DataError::io("read", &folder, error))?;
                let name = entry.file_name();
                // As in a shell, a hidden file is matched only by a pattern that says so.
                let hidden = name.as_encoded_bytes().starts_with(b".") && !pattern.starts_with('.');
                if !hidden && name.to_str().is_some_and(|name| matches(pattern, name)) {
                    next.push(folder.join(name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    if found.is_empty() {
        return Err(DataError::file(&whole, "no file matches")
            .help("files are meant from the pipeline file's folder"));
    }
    Ok(found)
}

fn no_file(path: &Path, pattern: &str) -> DataError {
    let error = DataError::file(path, "there is no such file");
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(pattern);
    let siblings: Vec<String> = path
        .parent()
        .and_then(|folder| fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .take(1000)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let siblings: Vec<&str> = siblings.iter().map(String::as_str).collect();
    match closest(name, &siblings) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("files are meant from the pipeline file's folder"),
    }
}

/// Whether `name` matches `pattern`: `*` is any text, `?` any one character.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // The last star, and how much of the name it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        #[track_caller]
        fn check(pattern: &str, name: &str, expect: bool) {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        check("*.csv", "a.csv", true);
        check("*.csv", "a.csv.gz", false);
        check("part-?.csv", "part-1.csv", true);
        check("part-?.csv", "part-10.csv", false);
        check("*a*b*", "xxaxxbxx", true);
        check("*a*b", "ba", false);
    }

    #[test]
    fn files_are_found_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.csv", "a.csv", ".c.csv", "d.txt"] {
            fs::write(folder.path().join(name), "x").expect("written");
        }
        let found = expand(folder.path(), "*.csv").expect("found");
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["a.csv", "b.csv"]);
        assert!(expand(folder.path(), "*.parquet").is_err());
        let error = expand(folder.path(), "d.tx").expect_err("no such file");
        assert_eq!(error.mend(), Some("did you mean `d.txt`?"));
    }

    #[test]
    fn a_gzip_bomb_is_refused() {
        use std::io::Write;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bomb.csv.gz");
        let file = File::create(&path).expect("made");
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        let zeros = vec![b'0'; 1 << 20];
        for _ in 0..80 {
            gzip.write_all(&zeros).expect("written");
        }
        gzip.finish().expect("written");
        let error = read_all(&path).err().expect("refused");
        assert!(error.to_string().ends_with("expands to more than 200 times its size"), "{error}");
        fs::write(&path, [0x1f, 0x8b, 8, 0, 0]).expect("written");
        assert!(read_all(&path).err().expect("refused").to_string().contains("not valid gzip"));
    }
}

//! Makes the file of a new store.
//!
//! Migration by migration in the file itself, that takes some twenty flushes and twice as many
//! visits to the connection's thread. So a new store is made in memory, of the same migrations,
//! and comes to the disk at once: its bytes, then its name. Whoever dies over it leaves no store.

use std::ffi::{CStr, CString, c_int};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;

use libsqlite3_sys as ffi;
use sqlx::migrate::Migrator;

/// Where the header of a database says how it is written and how it is read, and that both go by
/// a write-ahead log.
const VERSIONS: std::ops::Range<usize> = 18..20;
const WRITE_AHEAD: u8 = 2;

/// The table in which sqlx keeps what was migrated, in its words.
const MIGRATED: &str = "
CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
";

/// Makes the store in the file `path`, unless something is there that may be one. Nobody else may
/// do so meanwhile.
pub(super) fn make(path: &Path, migrations: &Migrator, newest: i64) -> io::Result<()> {
    // SQLite takes what lies beside a database for a part of it, and clears up by itself where
    // the database is empty.
    let is_new = |path: &Path| fs::symlink_metadata(path).is_err();
    if ![path.to_owned(), beside(path, "-wal"), beside(path, "-journal")].iter().all(|p| is_new(p))
    {
        return Ok(());
    }
    let bytes = image(migrations, newest)?;
    let unnamed = beside(path, ".new");
    let written = write(&unnamed, &bytes).and_then(|()| fs::rename(&unnamed, path));
    if written.is_err() {
        // There may be nothing to remove.
        let _ = fs::remove_file(&unnamed);
    }
    // The name is flushed with the first commit, as that of the log.
    written
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    // As SQLite would make it.
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).clone();
    let mut file = options.open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The bytes of an empty store.
fn image(migrations: &Migrator, newest: i64) -> io::Result<Vec<u8>> {
    let memory = Memory::open()?;
    memory.execute(&script(migrations, newest))?;
    let mut bytes = memory.bytes()?;
    if let Some(versions) = bytes.get_mut(VERSIONS) {
        versions.fill(WRITE_AHEAD);
    }
    Ok(bytes)
}

/// All migrations as one transaction, with what the migrator would note of them.
fn script(migrations: &Migrator, newest: i64) -> String {
    let mut sql = format!("BEGIN;{MIGRATED}");
    for migration in migrations.iter() {
        let checksum = migration.checksum.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = write!(
            sql,
            "{};\nINSERT INTO _sqlx_migrations \
             (version, description, success, checksum, execution_time) \
             VALUES ({}, '{}', TRUE, x'{checksum}', 0);\n",
            migration.sql.as_str(),
            migration.version,
            migration.description.replace('\'', "''"),
        );
    }
    let _ = write!(sql, "PRAGMA user_version = {newest};\nCOMMIT;");
    sql
}

/// A database in memory, by the C interface: sqlx does not hand on its bytes.
struct Memory(*mut ffi::sqlite3);

impl Memory {
    fn open() -> io::Result<Self> {
        let mut raw = ptr::null_mut();
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE | ffi::SQLITE_OPEN_NOMUTEX;
        // SAFETY: the name ends with a zero byte and `raw` is ours to be written. Also where it
        // fails there may be a connection, which says why and is closed when it is dropped.
        let code =
            unsafe { ffi::sqlite3_open_v2(c":memory:".as_ptr(), &mut raw, flags, ptr::null()) };
        let memory = Self(raw);
        memory.check(code)?;
        Ok(memory)
    }

    fn check(&self, code: c_int) -> io::Result<()> {
        if code == ffi::SQLITE_OK {
            return Ok(());
        }
        if self.0.is_null() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // SAFETY: the connection is open; the message is copied before anything else is done
        // with it.
        let message = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.0)) };
        Err(io::Error::other(message.to_string_lossy().into_owned()))
    }

    fn execute(&self, sql: &str) -> io::Result<()> {
        let sql = CString::new(sql).map_err(io::Error::other)?;
        // SAFETY: the connection is open and the text ends with a zero byte; no callback, and no
        // copy of the message, is asked for.
        self.check(unsafe {
            ffi::sqlite3_exec(self.0, sql.as_ptr(), None, ptr::null_mut(), ptr::null_mut())
        })
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut size = 0;
        // SAFETY: the connection is open, the name of its database ends with a zero byte, and
        // `size` is ours to be written.
        let bytes = unsafe { ffi::sqlite3_serialize(self.0, c"main".as_ptr(), &mut size, 0) };
        let Some(length) = usize::try_from(size).ok().filter(|_| !bytes.is_null()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        // SAFETY: SQLite made so many bytes, for us to free.
        unsafe {
            let copy = std::slice::from_raw_parts(bytes, length).to_vec();
            ffi::sqlite3_free(bytes.cast());
            Ok(copy)
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was opened here and is closed once.
        unsafe { ffi::sqlite3_close(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{ConnectOptions, Connection};

    use super::super::connect::{MIGRATIONS, newest, open};
    use super::*;

    async fn connect(path: &Path) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        options.connect().await.expect("it opens")
    }

    /// All that a file says of itself.
    async fn described(connection: &mut SqliteConnection) -> Vec<String> {
        let all = "SELECT concat_ws('|', type, name, tbl_name, sql) FROM sqlite_schema
            UNION ALL SELECT concat_ws('|', version, description, success, hex(checksum))
                FROM _sqlx_migrations
            UNION ALL SELECT concat_ws('|', 'for', application_id) FROM pragma_application_id
            ORDER BY 1";
        sqlx::query_scalar(all).fetch_all(connection).await.expect("read")
    }

    #[tokio::test]
    async fn a_new_store_is_what_the_migrations_make() {
        let folder = tempfile::tempdir().expect("a folder");
        let [made, migrated] = ["made.db", "migrated.db"].map(|name| folder.path().join(name));
        make(&made, &MIGRATIONS, newest()).expect("made");
        let mut slowly = connect(&migrated).await;
        MIGRATIONS.run(&mut slowly).await.expect("migrated");
        let mut at_once = connect(&made).await;
        let expected = described(&mut slowly).await;
        assert_eq!(described(&mut at_once).await, expected);
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut at_once)
            .await
            .expect("a mode");
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut at_once)
            .await
            .expect("a version");
        assert_eq!((mode.as_str(), version), ("wal", newest()));
        // The migrator finds nothing to do, and nothing that was changed.
        MIGRATIONS.run(&mut at_once).await.expect("as it should be");
        assert_eq!(described(&mut at_once).await, expected);
        assert!(!folder.path().join("made.db.new").exists());
    }

    #[tokio::test]
    async fn what_lies_there_is_left_to_sqlite() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        // What the maker of a store that died has left does not matter.
        fs::write(folder.path().join("store.db.new"), "half").expect("written");
        let (mut writer, ..) = open(&path).await.expect("a store");
        let insert = "INSERT INTO experiments (name, created) VALUES ('old', 1)";
        sqlx::raw_sql(insert).execute(&mut writer).await.expect("written");
        let log = fs::read(beside(&path, "-wal")).expect("a log");
        writer.close().await.expect("closed");
        // A log whose store was removed is none of the next store.
        fs::remove_file(&path).expect("removed");
        fs::write(beside(&path, "-wal"), log).expect("written");
        let (mut writer, ..) = open(&path).await.expect("a store");
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM experiments")
            .fetch_one(&mut writer)
            .await
            .expect("counted");
        assert_eq!(count, 0);
        // What is no store is not written over.
        let other = folder.path().join("other.db");
        fs::write(&other, "something else").expect("written");
        make(&other, &MIGRATIONS, newest()).expect("nothing to do");
        assert_eq!(fs::read(&other).expect("read"), b"something else");
    }
}

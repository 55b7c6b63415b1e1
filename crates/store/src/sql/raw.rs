//! A SQLite connection of our own, by the C interface: for what sqlx does not hand on. It gives
//! the place of an error, asks before anything is executed ([`authorize`]), and stops what takes
//! too long.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use libsqlite3_sys as ffi;

use super::{Cell, MAX_CELL, cut_text};
use crate::sqlite::points_table;

/// How many of SQLite's steps pass between two questions whether to go on: about a millisecond.
const STEPS: c_int = 10_000;

/// What SQLite says went wrong.
#[derive(Debug)]
pub(super) struct RawError {
    /// The primary result code.
    pub code: c_int,
    /// Its words.
    pub message: String,
    /// Where in the statement, if it is to blame.
    pub place: Option<usize>,
}

/// Says whether to go on.
pub(super) type GoOn = Box<dyn Fn() -> bool + Send>;

/// A connection that reads. It belongs to one thread.
pub(super) struct Connection {
    raw: *mut ffi::sqlite3,
    /// What the progress handler asks; SQLite holds its address.
    go_on: Option<Box<GoOn>>,
}

impl Connection {
    /// Opens the database in the file `path` for reading.
    pub(super) fn open(path: &Path, wait: Duration) -> Result<Self, RawError> {
        let name = path.to_str().and_then(|path| CString::new(path).ok());
        let Some(name) = name else {
            let message = "its path cannot be handed to SQLite".to_owned();
            return Err(RawError { code: ffi::SQLITE_CANTOPEN, message, place: None });
        };
        let mut raw = ptr::null_mut();
        let flags = ffi::SQLITE_OPEN_READONLY | ffi::SQLITE_OPEN_NOMUTEX;
        // SAFETY: `name` ends with a zero byte and `raw` is ours to be written. Also where it
        // fails there may be a connection, which says why and is closed when it is dropped.
        let code = unsafe { ffi::sqlite3_open_v2(name.as_ptr(), &mut raw, flags, ptr::null()) };
        let connection = Self { raw, go_on: None };
        connection.check(code)?;
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the connection is open.
        connection.check(unsafe { ffi::sqlite3_busy_timeout(raw, wait) })?;
        // SAFETY: the same.
        connection.check(unsafe { points_table::register(raw) })?;
        Ok(connection)
    }

    fn check(&self, code: c_int) -> Result<(), RawError> {
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(self.error(code)) }
    }

    fn error(&self, code: c_int) -> RawError {
        if self.raw.is_null() {
            let message = "there is no memory for a connection".to_owned();
            return RawError { code, message, place: None };
        }
        // SAFETY: the connection is open; the message is copied before anything else is done
        // with it.
        let (message, place) = unsafe {
            let message = CStr::from_ptr(ffi::sqlite3_errmsg(self.raw));
            (message.to_string_lossy().into_owned(), ffi::sqlite3_error_offset(self.raw))
        };
        RawError { code: code & 0xff, message, place: usize::try_from(place).ok() }
    }

    /// Runs statements of our own.
    pub(super) fn execute(&self, sql: &str) -> Result<(), RawError> {
        let sql = CString::new(sql).map_err(|_| zero_byte())?;
        // SAFETY: the connection is open and the text ends with a zero byte; no callback, and no
        // copy of the message, is asked for.
        self.check(unsafe {
            ffi::sqlite3_exec(self.raw, sql.as_ptr(), None, ptr::null_mut(), ptr::null_mut())
        })
    }

    /// From here on nothing but queries can be prepared, no value may be longer than `longest`,
    /// and whatever runs asks `go_on` now and then.
    pub(super) fn guard(&mut self, longest: c_int, go_on: GoOn) -> Result<(), RawError> {
        let go_on = self.go_on.insert(Box::new(go_on));
        let go_on: *const GoOn = &**go_on;
        // SAFETY: the connection is open. The box lies where it is until the connection is
        // closed: see `drop`. `authorize` needs no data.
        unsafe {
            ffi::sqlite3_limit(self.raw, ffi::SQLITE_LIMIT_LENGTH, longest);
            ffi::sqlite3_limit(self.raw, ffi::SQLITE_LIMIT_ATTACHED, 0);
            ffi::sqlite3_limit(self.raw, ffi::SQLITE_LIMIT_WORKER_THREADS, 0);
            ffi::sqlite3_progress_handler(self.raw, STEPS, Some(progress), go_on as *mut c_void);
            self.check(ffi::sqlite3_db_config(
                self.raw,
                ffi::SQLITE_DBCONFIG_DEFENSIVE,
                1 as c_int,
                ptr::null_mut::<c_int>(),
            ))?;
            self.check(ffi::sqlite3_set_authorizer(self.raw, Some(authorize), ptr::null_mut()))
        }
    }

    /// Prepares the one statement that `sql` is.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement<'_>, RawError> {
        let length = c_int::try_from(sql.len()).map_err(|_| zero_byte())?;
        let mut raw = ptr::null_mut();
        let mut tail = ptr::null();
        // SAFETY: the connection is open, the text as long as said; both pointers are ours.
        let code = unsafe {
            ffi::sqlite3_prepare_v2(self.raw, sql.as_ptr().cast(), length, &mut raw, &mut tail)
        };
        self.check(code)?;
        let statement = Statement { connection: self, raw };
        // SAFETY: the statement was just prepared; of none (an empty text) SQLite says it reads.
        if raw.is_null() || unsafe { ffi::sqlite3_stmt_readonly(raw) } == 0 {
            let message = "not authorized".to_owned();
            return Err(RawError { code: ffi::SQLITE_AUTH, message, place: None });
        }
        Ok(statement)
    }
}

fn zero_byte() -> RawError {
    let message = "the text is too long, or has a zero byte in it".to_owned();
    RawError { code: ffi::SQLITE_MISUSE, message, place: None }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it was opened here, no statement outlives it (they borrow it), and it is closed
        // once. `go_on` is dropped after this.
        unsafe { ffi::sqlite3_close(self.raw) };
    }
}

/// Asked by SQLite now and then while it runs.
unsafe extern "C" fn progress(data: *mut c_void) -> c_int {
    // SAFETY: `guard` gave this address, of a box that lives as long as the connection.
    let go_on = unsafe { &*data.cast::<GoOn>() };
    c_int::from(!go_on())
}

/// Functions that do more than compute: one loads code, the other tells an address in memory.
const FORBIDDEN: [&[u8]; 2] = [b"load_extension", b"fts3_tokenizer"];

/// Asked by SQLite for all that a statement is about to do, when it is prepared.
unsafe extern "C" fn authorize(
    _data: *mut c_void,
    action: c_int,
    _first: *const c_char,
    second: *const c_char,
    _database: *const c_char,
    _through: *const c_char,
) -> c_int {
    let allowed = match action {
        ffi::SQLITE_SELECT | ffi::SQLITE_READ | ffi::SQLITE_RECURSIVE => true,
        ffi::SQLITE_FUNCTION => {
            // SAFETY: of a function SQLite gives the name, a text that ends with a zero byte.
            let name = (!second.is_null()).then(|| unsafe { CStr::from_ptr(second) });
            name.is_some_and(|name| {
                let name = name.to_bytes();
                !FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
            })
        }
        _ => false,
    };
    if allowed { ffi::SQLITE_OK } else { ffi::SQLITE_DENY }
}

/// A statement that was prepared.
pub(super) struct Statement<'a> {
    connection: &'a Connection,
    raw: *mut ffi::sqlite3_stmt,
}

impl Statement<'_> {
    /// The names of its columns.
    pub(super) fn columns(&self) -> Vec<String> {
        // SAFETY: the statement lives; a name is copied at once, and NULL without memory for it.
        unsafe {
            (0..ffi::sqlite3_column_count(self.raw))
                .map(|column| {
                    let name = ffi::sqlite3_column_name(self.raw, column);
                    if name.is_null() {
                        return String::new();
                    }
                    CStr::from_ptr(name).to_string_lossy().into_owned()
                })
                .collect()
        }
    }

    /// The next row.
    pub(super) fn step(&mut self) -> Result<Option<Vec<Cell>>, RawError> {
        // SAFETY: the statement lives, and belongs to this thread as its connection does.
        match unsafe { ffi::sqlite3_step(self.raw) } {
            ffi::SQLITE_ROW => Ok(Some(self.row())),
            ffi::SQLITE_DONE => Ok(None),
            code => Err(self.connection.error(code)),
        }
    }

    fn row(&self) -> Vec<Cell> {
        // SAFETY: the statement stands on a row.
        let columns = unsafe { ffi::sqlite3_column_count(self.raw) };
        (0..columns).map(|column| self.cell(column)).collect()
    }

    fn cell(&self, column: c_int) -> Cell {
        // SAFETY: the statement stands on a row that has the column. Text and bytes are read as
        // what they are, so that nothing is converted, and copied before the next call; the
        // pointer may be null where there are no bytes.
        unsafe {
            match ffi::sqlite3_column_type(self.raw, column) {
                ffi::SQLITE_INTEGER => Cell::Integer(ffi::sqlite3_column_int64(self.raw, column)),
                ffi::SQLITE_FLOAT => Cell::Real(ffi::sqlite3_column_double(self.raw, column)),
                ffi::SQLITE_TEXT => {
                    let start = ffi::sqlite3_column_text(self.raw, column);
                    let bytes = bytes(start, ffi::sqlite3_column_bytes(self.raw, column));
                    // What is cut off is not looked at: a bit more than a cell is, so that it is
                    // known to be cut.
                    let bytes = &bytes[..bytes.len().min(MAX_CELL + 4)];
                    Cell::Text(cut_text(&String::from_utf8_lossy(bytes)))
                }
                ffi::SQLITE_BLOB => {
                    let start = ffi::sqlite3_column_blob(self.raw, column).cast();
                    let bytes = bytes(start, ffi::sqlite3_column_bytes(self.raw, column));
                    Cell::Bytes(bytes[..bytes.len().min(MAX_CELL)].to_vec())
                }
                _ => Cell::Null,
            }
        }
    }
}

/// The bytes at `start`.
///
/// # Safety
/// If it is not null there are so many bytes, which live until the slice is dropped.
unsafe fn bytes<'a>(start: *const u8, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: as the caller says.
        Ok(length) if !start.is_null() => unsafe { std::slice::from_raw_parts(start, length) },
        _ => &[],
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: it was prepared here, and is finalised once; null is passed over.
        unsafe { ffi::sqlite3_finalize(self.raw) };
    }
}

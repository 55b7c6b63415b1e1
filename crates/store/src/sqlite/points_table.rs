//! The points of a series as a table within a query: `wick_points`.
//!
//! ```sql
//! SELECT x.place, x.step, x.time, x.value
//! FROM metrics m JOIN wick_points x ON x.metric_id = m.id
//! WHERE …
//! ```
//!
//! It unpacks the chunks of a series one after the other and gives what is in its tail after them,
//! so a query sees the points as if each had a row. It only answers where the series is known: by
//! `x.metric_id = …`, which the planner finds in a join like the one above. A connection that wants
//! it is given to [`register`]; nothing of it is in the file.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;

use libsqlite3_sys as ffi;

use crate::chunk;
use crate::points::Points;

/// The columns, in this order; the last one is what is asked for.
const DECLARATION: &CStr =
    c"CREATE TABLE x (place INTEGER, step INTEGER, time INTEGER, value REAL, metric_id INTEGER)";
const VALUE: c_int = 3;
const METRIC_ID: c_int = 4;

const CHUNKS: &CStr = c"SELECT data FROM main.metric_chunks WHERE metric_id = ?1 ORDER BY place";
const TAIL: &CStr =
    c"SELECT place, step, time, value FROM main.metric_points WHERE metric_id = ?1 ORDER BY place";

/// About as many points as a series has, for the planner.
const USUAL_POINTS: i64 = 256;

/// Makes `wick_points` known to a connection; gives SQLite's result code.
///
/// # Safety
/// `connection` is open.
pub(crate) unsafe fn register(connection: *mut ffi::sqlite3) -> c_int {
    // SAFETY: the connection is open, the name ends with a zero byte, and the module is static.
    unsafe {
        ffi::sqlite3_create_module_v2(
            connection,
            c"wick_points".as_ptr(),
            &MODULE,
            ptr::null_mut(),
            None,
        )
    }
}

/// What SQLite calls. There is nothing to create or to write: it is there by its name alone.
static MODULE: ffi::sqlite3_module = ffi::sqlite3_module {
    iVersion: 0,
    xCreate: None,
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: None,
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    xUpdate: None,
    xBegin: None,
    xSync: None,
    xCommit: None,
    xRollback: None,
    xFindFunction: None,
    xRename: None,
    xSavepoint: None,
    xRelease: None,
    xRollbackTo: None,
    xShadowName: None,
    xIntegrity: None,
};

/// The table. SQLite knows of its first field.
#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    connection: *mut ffi::sqlite3,
}

/// A place in the points of a series. SQLite knows of its first field.
#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    chunks: Statement,
    tail: Statement,
    series: i64,
    /// The chunk that was unpacked last, and the place in it.
    points: Points,
    at: usize,
    /// How many points came before: the place of the one that is shown.
    place: i64,
    part: Part,
}

/// Where the point lies that is shown.
#[derive(PartialEq)]
enum Part {
    Chunk,
    Tail,
    End,
}

/// A statement of our own on the same connection, or none yet.
struct Statement(*mut ffi::sqlite3_stmt);

impl Statement {
    /// Begins it anew for a series.
    ///
    /// # Safety
    /// `connection` is open, and no statement outlives it.
    unsafe fn begin(
        &mut self,
        connection: *mut ffi::sqlite3,
        sql: &CStr,
        series: i64,
    ) -> Result<(), c_int> {
        // SAFETY: the connection is open, the text ends with a zero byte, and the statement is
        // either none or was prepared here.
        unsafe {
            if self.0.is_null() {
                let flags = ffi::SQLITE_PREPARE_PERSISTENT;
                let end = ptr::null_mut();
                let code =
                    ffi::sqlite3_prepare_v3(connection, sql.as_ptr(), -1, flags, &mut self.0, end);
                ok(code)?;
            }
            // What it said when it ended was heard then.
            let _ = ffi::sqlite3_reset(self.0);
            ok(ffi::sqlite3_bind_int64(self.0, 1, series))
        }
    }

    /// Whether there is a further row.
    ///
    /// # Safety
    /// It was begun.
    unsafe fn step(&mut self) -> Result<bool, c_int> {
        // SAFETY: the statement is prepared.
        match unsafe { ffi::sqlite3_step(self.0) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(code),
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: it was prepared here or is none, and is ended once.
        let _ = unsafe { ffi::sqlite3_finalize(self.0) };
    }
}

const fn ok(code: c_int) -> Result<(), c_int> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

const fn code(result: Result<(), c_int>) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(code) => code,
    }
}

impl Cursor {
    /// Goes to the first point of `series`.
    ///
    /// # Safety
    /// The connection of its table is open.
    unsafe fn seek(&mut self, series: i64) -> Result<(), c_int> {
        // SAFETY: SQLite sets the table when it opens the cursor, and keeps it as long.
        let connection = unsafe { (*self.base.pVtab.cast::<Table>()).connection };
        (self.series, self.place, self.at) = (series, -1, 0);
        (self.points, self.part) = (Points::default(), Part::Chunk);
        // SAFETY: the connection is open, and the statements end with the cursor.
        unsafe {
            self.chunks.begin(connection, CHUNKS, series)?;
            self.tail.begin(connection, TAIL, series)?;
            self.advance()
        }
    }

    /// Goes to the next point.
    ///
    /// # Safety
    /// Both statements were begun.
    unsafe fn advance(&mut self) -> Result<(), c_int> {
        self.place += 1;
        if self.part == Part::Chunk {
            self.at += usize::from(self.place > 0);
            while self.at >= self.points.len() {
                // SAFETY: the statement was begun; its row stays until the next step, and a value
                // that is no blob has no length.
                let bytes = unsafe {
                    if !self.chunks.step()? {
                        self.part = Part::Tail;
                        break;
                    }
                    let start = ffi::sqlite3_column_blob(self.chunks.0, 0).cast::<u8>();
                    let length = ffi::sqlite3_column_bytes(self.chunks.0, 0);
                    match usize::try_from(length) {
                        Ok(length) if !start.is_null() => std::slice::from_raw_parts(start, length),
                        _ => &[],
                    }
                };
                self.points = chunk::unpack(bytes).map_err(|_| ffi::SQLITE_CORRUPT)?;
                self.at = 0;
            }
        }
        // SAFETY: the statement was begun.
        if self.part == Part::Tail && !unsafe { self.tail.step()? } {
            self.part = Part::End;
        }
        Ok(())
    }

    /// A column of the point that is shown; the first is its place.
    fn number(&self, column: c_int) -> i64 {
        match (column, &self.part) {
            (METRIC_ID, _) => self.series,
            (0, _) => self.place,
            (1, Part::Chunk) => self.points.steps[self.at],
            (_, Part::Chunk) => self.points.times[self.at],
            // SAFETY: the statement stands on a row of the tail.
            (column, _) => unsafe { ffi::sqlite3_column_int64(self.tail.0, column) },
        }
    }
}

unsafe extern "C" fn connect(
    connection: *mut ffi::sqlite3,
    _data: *mut c_void,
    _count: c_int,
    _arguments: *const *const c_char,
    table: *mut *mut ffi::sqlite3_vtab,
    _error: *mut *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives its open connection and a place for the table; all fields that it
    // knows of may be zero.
    unsafe {
        let declared = ffi::sqlite3_declare_vtab(connection, DECLARATION.as_ptr());
        if declared != ffi::SQLITE_OK {
            return declared;
        }
        let base = std::mem::zeroed();
        *table = Box::into_raw(Box::new(Table { base, connection })).cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: it is a box that `connect` made, and given back once.
    drop(unsafe { Box::from_raw(table.cast::<Table>()) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn best_index(
    _table: *mut ffi::sqlite3_vtab,
    info: *mut ffi::sqlite3_index_info,
) -> c_int {
    // SAFETY: SQLite gives as many constraints, and places for their usage, as it says.
    unsafe {
        let info = &mut *info;
        let count = usize::try_from(info.nConstraint).unwrap_or(0);
        for place in 0..count {
            let constraint = &*info.aConstraint.add(place);
            if constraint.iColumn == METRIC_ID
                && c_int::from(constraint.op) == ffi::SQLITE_INDEX_CONSTRAINT_EQ
                && constraint.usable != 0
            {
                let usage = &mut *info.aConstraintUsage.add(place);
                usage.argvIndex = 1;
                usage.omit = 1;
                info.estimatedCost = USUAL_POINTS as f64;
                info.estimatedRows = USUAL_POINTS;
                return ffi::SQLITE_OK;
            }
        }
    }
    ffi::SQLITE_CONSTRAINT
}

unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    cursor: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let new = Cursor {
        // SAFETY: a pointer that SQLite fills, which may be zero until then.
        base: unsafe { std::mem::zeroed() },
        chunks: Statement(ptr::null_mut()),
        tail: Statement(ptr::null_mut()),
        series: 0,
        points: Points::default(),
        at: 0,
        place: 0,
        part: Part::End,
    };
    // SAFETY: SQLite gives a place for the cursor.
    unsafe { *cursor = Box::into_raw(Box::new(new)).cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: it is a box that `open` made, and given back once.
    drop(unsafe { Box::from_raw(cursor.cast::<Cursor>()) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    _index: c_int,
    _name: *const c_char,
    _count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: the cursor is one that `open` made, and there is the one argument that `best_index`
    // asked for.
    unsafe {
        let series = ffi::sqlite3_value_int64(*arguments);
        code((*cursor.cast::<Cursor>()).seek(series))
    }
}

unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: the cursor is one that `open` made, and `filter` began its statements.
    unsafe { code((*cursor.cast::<Cursor>()).advance()) }
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: the cursor is one that `open` made.
    c_int::from(unsafe { (*cursor.cast::<Cursor>()).part == Part::End })
}

unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    context: *mut ffi::sqlite3_context,
    column: c_int,
) -> c_int {
    // SAFETY: the cursor is one that `open` made, and stands on a point; SQLite takes NaN for
    // NULL. The value of a row in the tail is handed on as it is.
    unsafe {
        let cursor = &*cursor.cast::<Cursor>();
        match (column, &cursor.part) {
            (VALUE, Part::Chunk) => {
                ffi::sqlite3_result_double(context, cursor.points.values[cursor.at]);
            }
            (VALUE, _) => {
                let value = ffi::sqlite3_column_value(cursor.tail.0, VALUE);
                ffi::sqlite3_result_value(context, value);
            }
            (column, _) => ffi::sqlite3_result_int64(context, cursor.number(column)),
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn rowid(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    rowid: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the cursor is one that `open` made; SQLite gives a place for the number.
    unsafe { *rowid = (*cursor.cast::<Cursor>()).place };
    ffi::SQLITE_OK
}

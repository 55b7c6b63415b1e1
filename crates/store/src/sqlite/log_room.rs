//! Room in the write-ahead log, made before it is needed.
//!
//! A commit flushes the log. Where the file has grown since the last flush, the file system has to
//! write down where its new blocks lie, with all else that has changed of its folders meanwhile:
//! that takes longer than the pages themselves. So the log is lengthened by zeros that are flushed
//! beside what goes on, and commits write into blocks that are there. SQLite reads a log up to the
//! first frame that is none, so zeros at its end mean nothing to it; and it writes into the same
//! file from the beginning again after a checkpoint, so the file stops growing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::{Executor, SqliteConnection};

/// How long the log's own header is, in bytes.
const HEADER: u64 = 32;

/// How long a frame is: a page with its header, which begins with the number of the page. No page
/// has the number zero.
const FRAME: u64 = 4096 + 24;

/// How many frames the log is lengthened by at a time: 1 MiB.
const STEP: u64 = 256;

/// How many frames are still free when it is lengthened again.
const LEFT: u64 = STEP / 2;

/// How long the log gets this way: SQLite begins it anew after about so many.
const MOST: u64 = HEADER + 1100 * FRAME;

/// The first batches are written without: most runs are short.
const PATIENCE: u32 = 4;

/// What is known of the room in the log of one store.
#[derive(Debug)]
pub(super) struct LogRoom {
    path: PathBuf,
    log: Option<Arc<File>>,
    batches: u32,
    /// Where a frame begins of which nothing is written while there is enough room.
    mark: u64,
    /// Whether there is nothing more to be done.
    is_done: bool,
}

impl LogRoom {
    /// Of the store in the file `store`.
    pub(super) fn of(store: &Path) -> Self {
        let mut path = store.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), log: None, batches: 0, mark: 0, is_done: false }
    }

    /// Sees to it that there is room for the next batches. `writer` must not be in a transaction.
    /// That there is none costs time alone, so no failure is told of.
    pub(super) async fn keep(&mut self, writer: &mut SqliteConnection) {
        self.batches = self.batches.saturating_add(1);
        if self.is_done || self.batches <= PATIENCE || !self.is_used_up() {
            return;
        }
        // Nobody else writes to the log meanwhile, so nothing is overwritten.
        if writer.execute("BEGIN IMMEDIATE").await.is_err() {
            return;
        }
        let lengthened = self.lengthen();
        if writer.execute("COMMIT").await.is_err() {
            // Nothing is in the transaction; what ails the connection shows at its next use.
            self.is_done = true;
            return;
        }
        let Ok(log) = lengthened else {
            self.is_done = true;
            return;
        };
        // Beside what goes on: the next commit finds the blocks in their places.
        tokio::task::spawn_blocking(move || drop(log.sync_data()));
    }

    /// Whether the frame at the mark is written.
    fn is_used_up(&self) -> bool {
        let mut page = [0; 4];
        match &self.log {
            Some(log) => log.read_exact_at(&mut page, self.mark).is_err() || page != [0; 4],
            None => true,
        }
    }

    fn lengthen(&mut self) -> io::Result<Arc<File>> {
        let log = match &self.log {
            Some(log) => log.clone(),
            None => Arc::new(OpenOptions::new().read(true).write(true).open(&self.path)?),
        };
        let end = log.metadata()?.len();
        let longer = (end + STEP * FRAME).min(MOST);
        self.is_done = longer == MOST;
        if end < longer {
            let zeros = vec![0; (longer - end) as usize];
            log.write_all_at(&zeros, end)?;
        }
        let frames = longer.saturating_sub(HEADER) / FRAME;
        self.mark = HEADER + frames.saturating_sub(LEFT) * FRAME;
        self.log = Some(log.clone());
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn zeros_at_the_end_of_the_log_mean_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        let (mut writer, ..) = crate::sqlite::connect::open(&path).await.expect("a store");
        writer.execute("CREATE TABLE t (n INTEGER) STRICT").await.expect("made");
        let wal = folder.path().join("store.db-wal");
        let before = std::fs::metadata(&wal).expect("a log").len();
        let mut room = LogRoom::of(&path);
        for _ in 0..=PATIENCE {
            room.keep(&mut writer).await;
        }
        let after = std::fs::metadata(&wal).expect("a log").len();
        assert_eq!(after - before, STEP * FRAME);
        for number in 0..300 {
            let insert = sqlx::query("INSERT INTO t VALUES ($1)").bind(number);
            insert.execute(&mut writer).await.expect("written");
            room.keep(&mut writer).await;
        }
        // Longer again before it was full; and what another program finds is what was written,
        // which nothing but the log holds.
        assert!(std::fs::metadata(&wal).expect("a log").len() > after);
        let copy = tempfile::tempdir().expect("a folder");
        for name in ["store.db", "store.db-wal"] {
            let (from, to) = (folder.path().join(name), copy.path().join(name));
            std::fs::copy(from, to).expect("copied");
        }
        let copied = copy.path().join("store.db");
        let (mut reader, ..) = crate::sqlite::connect::open(&copied).await.expect("a store");
        let found: (i64, i64) = sqlx::query_as("SELECT count(*), max(n) FROM t")
            .fetch_one(&mut reader)
            .await
            .expect("read");
        assert_eq!(found, (300, 299));
    }
}

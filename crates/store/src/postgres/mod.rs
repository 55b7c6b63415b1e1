//! The store in a Postgres database, for a team.
//!
//! Any number of engines and readers on any number of machines. A transaction that drives a run
//! locks the run's lease first, so that two engines never write to one run. Everything that more
//! than one run can write to is taken in one order, so that no two transactions wait for each
//! other: experiments, pipeline texts, fingerprints by their bytes, metric keys by their names;
//! models under one lock.
//!
//! Many rows travel as one array for each column (`unnest`), so that a batch is a handful of
//! statements, however many stages it tells of.

mod append;
mod columns;
mod connect;
mod dumping;
mod gone;
mod history;
mod inspect;
mod load;
mod marks;
mod models;
mod points;
mod questions;
mod runs;
mod search;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool};
use wick_core::{
    Digest, Effect, Event, Fingerprint, MetricKey, ModelName, PortType, RunId, StageName,
    StageOrigin, Timestamp,
};

use crate::changes::Changes;
use crate::delegate::impl_store;
use crate::directory::{Directories, Directory};
use crate::dump::{Loaded, ModelDump, RunDump};
use crate::error::{Said, StoreError, StoreResult, is_away};
use crate::liveness::this_host;
use crate::marks::Mark;
use crate::points::Tails;
use crate::questions::{MadeArtifact, Reader, StageInRun, StageQuery};
use crate::records::*;
use crate::search::{RunPage, Search};

pub(crate) use inspect::inspect;

/// A store in a Postgres database.
#[derive(Debug)]
pub struct PostgresStore {
    location: String,
    host: String,
    pool: PgPool,
    directories: Directories,
    /// The ids of metric keys, which never change.
    keys: std::sync::Mutex<HashMap<MetricKey, i64>>,
    tails: Tails,
}

impl PostgresStore {
    /// Opens the store in the database at `url`, and makes its tables if they are not there.
    ///
    /// # Errors
    /// If the database cannot be reached or used, or holds the store of a newer `wick`.
    pub async fn open(url: &str) -> StoreResult<Self> {
        let (location, pool) = connect::open(url).await?;
        Ok(Self {
            location,
            host: this_host(),
            pool,
            directories: Directories::default(),
            keys: std::sync::Mutex::default(),
            tails: Tails::default(),
        })
    }

    /// The database refused; nothing was written.
    fn refused(&self, error: sqlx::Error) -> StoreError {
        StoreError::Database { location: self.location.clone(), source: Box::new(Said(error)) }
    }

    /// The commit of a transaction failed.
    fn uncommitted(&self, error: sqlx::Error) -> StoreError {
        // What the server itself says is sure, unless that it ends; a connection that broke says
        // nothing.
        if error.as_database_error().is_some() && !is_away(&error) {
            return self.refused(error);
        }
        StoreError::Unknown { location: self.location.clone(), source: Box::new(Said(error)) }
    }

    /// The stages of `run`.
    async fn directory(&self, run: &RunId) -> StoreResult<Arc<Directory>> {
        if let Some(directory) = self.directories.get(run) {
            return Ok(directory);
        }
        self.find_directory(run).await?.ok_or_else(|| StoreError::NoRun(run.clone()))
    }

    /// The run and the place in it of a stage that an attempt was made of.
    async fn place(&self, run: &RunId, stage: &StageName) -> StoreResult<Option<(i64, u32)>> {
        let directory = self.directory(run).await?;
        if let Some(place) = directory.place(stage) {
            return Ok(Some((directory.run, place)));
        }
        // It may be an instance that has come to the run since.
        let directory = self.find_directory(run).await?;
        Ok(directory.and_then(|directory| Some((directory.run, directory.place(stage)?))))
    }

    /// Remembers the places of instances that have come to `run`.
    fn keep_instances(&self, run: &RunId, directory: &Directory, changes: &Changes<'_>) {
        let mut new = changes.expanded.iter().flat_map(|expansion| &expansion.new).peekable();
        if new.peek().is_some() {
            let new = new.map(|(place, name, _)| (*name, *place));
            self.directories.keep(run, directory.with(new));
        }
    }

    fn key(&self, key: &MetricKey) -> Option<i64> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn keep_keys(&self, keys: impl IntoIterator<Item = (MetricKey, i64)>) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }

    /// Does `work` in one write transaction, which is on the disk when this returns.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let mut transaction = self.pool.begin().await.map_err(|error| self.refused(error))?;
        match work(&mut transaction).await {
            Ok(done) => {
                transaction.commit().await.map_err(|error| self.uncommitted(error))?;
                Ok(done)
            }
            Err(error) => {
                // Its own failure would say less than the first; a connection that cannot roll
                // back is closed, which rolls back too.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// A text that Postgres can hold: it has no zero byte in any text.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// Any value as JSON text. In JSON a zero byte is an escape, which a text column keeps.
fn json_text<T: serde::Serialize + ?Sized>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::Refused(format!("something cannot be written as JSON: {error}"))
    })
}

impl_store!(PostgresStore);

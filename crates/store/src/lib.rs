//! The experiment store: the database of everything but the bytes.
//!
//! One trait, [`Store`], in plain types; sqlx and SQL stay behind it. Rows of a run are made
//! only from [`wick_core::Event`]s, by [`Store::append`].
//!
//! Two databases, each with SQL of its own and its own migrations in `migrations/`: [`sqlite`],
//! which needs no set-up, and [`postgres`], for a team. What does not depend on the database is
//! shared: what a batch of events changes (`changes`), what a row means (`rows`), whether an
//! engine still lives (`liveness`). One suite, `tests/store`, says what both do.

mod batches;
mod changes;
mod chunk;
pub mod copy;
mod curve;
mod delegate;
mod directory;
pub mod dump;
mod dumping;
pub mod error;
pub mod filter;
mod gone;
pub mod hold;
mod inspect;
mod liveness;
mod load;
mod location;
pub mod marks;
mod model_dumps;
mod points;
pub mod postgres;
mod queries;
pub mod questions;
pub mod records;
mod rows;
mod search;
pub mod slots;
pub mod sql;
pub mod sqlite;
mod tables;

use std::sync::Arc;

use async_trait::async_trait;
use wick_core::{
    Digest, Effect, Event, Fingerprint, ModelName, PortType, RunId, StageName, StageOrigin,
    Timestamp,
};

use location::Location;

pub use dump::{Loaded, ModelDump, RunDump};
pub use error::{StoreError, StoreResult};
pub use gone::PurgePreview;
pub use inspect::{Counts, DrivenRun, Inspection, inspect};
pub use liveness::{process_start, this_engine, this_host};
pub use marks::{MAX_MARK_LENGTH, Mark, Marks};
pub use questions::{MadeArtifact, ReadAs, Reader, StageAttempt, StageInRun, StageQuery};
pub use records::{
    ArtifactRecord, AttemptRecord, CachedOutputs, EngineId, EventRecord, InputRecord, LEASE_MICROS,
    Lease, MAX_SUMMARY_METRICS, MetricSummary, ModelRecord, ModelVersion, NewRun, ParamRecord,
    RunRecord, RunSummary, Series, SourceStamp, StageRecord,
};
pub use search::{ColumnValue, RunPage, Search, Step, Visible, Way};

/// Opens the store at `location`: a path or `sqlite://path` for SQLite, whose file is made if it
/// is not there, or `postgres://…` for a database that is.
///
/// # Errors
/// If there can be no store, if it was made by a newer `wick`, or if it cannot be used.
pub async fn open(location: &str) -> StoreResult<Arc<dyn Store>> {
    match location::parse(location)? {
        Location::Sqlite(path) => Ok(Arc::new(sqlite::SqliteStore::open(&path).await?)),
        Location::Postgres(url) => Ok(Arc::new(postgres::PostgresStore::open(&url).await?)),
    }
}

/// The database of runs, attempts, metrics, artifacts and models.
///
/// A method that writes is one transaction, and has written durably when it returns `Ok` (for
/// what a power cut may undo see [`append`](Self::append)). When it returns
/// [`StoreError::Unknown`] it may or may not have written, and the caller reads before it tries
/// again; after any other error nothing was written.
#[async_trait]
pub trait Store: Send + Sync {
    /// Where the store is, for people: a path or a URL without its password.
    fn location(&self) -> String;

    // ---- driving a run -------------------------------------------------------------------

    /// Records a new run and all its stages as `queued`, and gives its lease to `engine`.
    async fn create_run(
        &self,
        run: &NewRun,
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease>;

    /// Takes up an existing run that no living engine drives, however it ended: its `running`
    /// attempts become `lost`; stages that did not succeed become `queued` again, but for those
    /// called in `left` and for instances, which wait for their list. Stages that succeeded stay
    /// so until they are [requeued](wick_core::EventBody::StageRequeued). Fails with
    /// [`StoreError::Leased`] while another engine is alive.
    async fn take_run(
        &self,
        run: &RunId,
        left: &[StageName],
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease>;

    /// The engine that holds the lease of `run`, alive or dead; `None` if nobody drives it.
    async fn engine_of(&self, run: &RunId) -> StoreResult<Option<EngineId>>;

    /// Prolongs a lease. Fails with [`StoreError::LeaseLost`] if another engine took the run.
    async fn renew_lease(&self, lease: &Lease, now: Timestamp) -> StoreResult<()>;

    /// Records what happened, all or nothing, as long as `lease` holds: kept events are
    /// appended, and the rows of the run, its stages, attempts, metrics, artifacts and models
    /// follow from them. An [`AttemptFinished`](wick_core::EventBody::AttemptFinished) whose
    /// token is not the running attempt's is refused with [`StoreError::StaleToken`].
    ///
    /// Stages move as [`AttemptState`](wick_core::AttemptState) says; besides, a
    /// [`RetryScheduled`](wick_core::EventBody::RetryScheduled) puts a failed stage back to
    /// `queued`, and a [`StageRequeued`](wick_core::EventBody::StageRequeued) any that ended. A
    /// [`StageExpanded`](wick_core::EventBody::StageExpanded) adds the instances that the run has
    /// not had before; it may be told again by a later engine of the run: instances that are in
    /// the list again keep what they have made, and those that are not are `skipped`. Events that do not fit are refused with [`StoreError::Refused`]. A
    /// [`RunFinished`](wick_core::EventBody::RunFinished) gives the lease back.
    ///
    /// A batch that only says what began or was measured survives the death of any process, but
    /// not necessarily a power cut, which ends what began; it is flushed with the next batch
    /// that tells how something ended. Such batches cost no wait for the disk.
    async fn append(&self, lease: &Lease, events: &[Event]) -> StoreResult<()>;

    /// Marks every run whose engine is dead as `interrupted` and its running attempts as `lost`,
    /// and returns these runs. An engine of this machine is dead when its process is no more, and
    /// one of another machine when its lease has run out. Called when a command starts.
    async fn interrupt_dead_runs(&self, now: Timestamp) -> StoreResult<Vec<RunId>>;

    /// Asks the engine that drives `run` to cancel it. Nothing happens if none does.
    async fn request_cancel(&self, run: &RunId, now: Timestamp) -> StoreResult<()>;

    /// Whether someone asked for `run` to be cancelled.
    async fn cancel_requested(&self, run: &RunId) -> StoreResult<bool>;

    /// For each of `fingerprints` the newest successful attempt that had it, in their order.
    async fn find_cached(
        &self,
        fingerprints: &[Fingerprint],
    ) -> StoreResult<Vec<Option<CachedOutputs>>>;

    // ---- digests of source files ---------------------------------------------------------

    /// The stamps kept for these absolute paths, in their order.
    async fn source_stamps(&self, paths: &[String]) -> StoreResult<Vec<Option<SourceStamp>>>;

    /// Keeps stamps, each in the place of an earlier one for its path.
    async fn keep_source_stamps(&self, stamps: &[SourceStamp]) -> StoreResult<()>;

    // ---- history -------------------------------------------------------------------------

    /// The runs that `text` names: a full id; or else a name that people gave; or else a prefix of
    /// an id; or `@last`. Several are returned where a name or a prefix is not unique; none where
    /// nothing matches. Deleted runs are found by their ids only.
    async fn find_runs(&self, text: &str) -> StoreResult<Vec<RunId>>;

    /// Runs by a filter and in an order, a page of them.
    async fn search(&self, query: &Search) -> StoreResult<RunPage>;

    /// One run.
    async fn run(&self, run: &RunId) -> StoreResult<Option<RunRecord>>;

    /// The params of a run, by name.
    async fn params(&self, run: &RunId) -> StoreResult<Vec<ParamRecord>>;

    /// The stages of a run, in the plan's order; the instances of a list after the stage that
    /// stands for them.
    async fn stages(&self, run: &RunId) -> StoreResult<Vec<StageRecord>>;

    /// The attempts of a run, by stage in the plan's order, then by number.
    async fn attempts(&self, run: &RunId) -> StoreResult<Vec<AttemptRecord>>;

    /// The latest value of every metric of a run; of a cached stage, those of its origin, of any
    /// other, those of its last attempt. The latest point is the one with the highest step, and
    /// among equals the one that came last.
    async fn latest_metrics(&self, run: &RunId) -> StoreResult<Vec<MetricSummary>>;

    /// The latest value of every metric that an attempt has measured, by key.
    async fn metrics_of(&self, attempt: &StageOrigin) -> StoreResult<Vec<(String, f64)>>;

    /// The whole series of a run's metrics, of the same attempts as
    /// [`latest_metrics`](Self::latest_metrics): of those called `key` (`stage.key` or `key`), or
    /// of all.
    async fn series(&self, run: &RunId, key: Option<&str>) -> StoreResult<Vec<Series>>;

    /// The same series for a plot, each thinned to `most` points or a few more: the first and the
    /// last stay, and of each stretch the lowest and the highest.
    async fn curves(&self, run: &RunId, key: Option<&str>, most: usize)
    -> StoreResult<Vec<Series>>;

    /// What went into the fingerprints of a run's stages, in the plan's order; stages whose
    /// parts were never told are left out.
    async fn stage_parts(&self, run: &RunId) -> StoreResult<Vec<(StageName, serde_json::Value)>>;

    /// What the stages of a run made, in the plan's order.
    async fn artifacts(&self, run: &RunId) -> StoreResult<Vec<ArtifactRecord>>;

    /// What the stages of a run read.
    async fn inputs(&self, run: &RunId) -> StoreResult<Vec<InputRecord>>;

    /// The kept events of a run, oldest first, from the one after `after`.
    async fn events(&self, run: &RunId, after: Option<i64>) -> StoreResult<Vec<EventRecord>>;

    // ---- questions over many runs --------------------------------------------------------

    /// A stage in the runs that had it, newest run first; archived and deleted runs are left out.
    async fn stage_history(&self, query: &StageQuery) -> StoreResult<Vec<StageInRun>>;

    /// The digests of artifacts that begin with `prefix`, hexadecimal digits in lower case. A few
    /// of them where there are many.
    async fn find_artifacts(&self, prefix: &str) -> StoreResult<Vec<Digest>>;

    /// The attempts that made artifacts with these digests, oldest first, at most `limit`.
    async fn makers(&self, digests: &[Digest], limit: u32) -> StoreResult<Vec<MadeArtifact>>;

    /// The attempts that read artifacts with these digests, with what they made; those of the
    /// newest runs first, at most `limit`. Those that stand in deleted runs alone are left out.
    async fn readers(&self, digests: &[Digest], limit: u32) -> StoreResult<Vec<Reader>>;

    /// The attempts that read files or folders outside the store with these digests, with what
    /// they made: of equal attempts the newest that succeeded, at most `limit`.
    async fn source_readers(&self, digests: &[Digest], limit: u32) -> StoreResult<Vec<Reader>>;

    // ---- what people say -----------------------------------------------------------------

    /// Says all of `marks` of all of `runs`, at `now`, in one transaction. Fails with
    /// [`StoreError::NoRun`] if one of the runs is not there.
    async fn mark_runs(&self, runs: &[RunId], marks: &[Mark], now: Timestamp) -> StoreResult<()>;

    // ---- all that there is ---------------------------------------------------------------

    /// All that is known of a run, to be loaded elsewhere.
    async fn dump_run(&self, run: &RunId) -> StoreResult<Option<RunDump>> {
        Ok(self.dump_runs(std::slice::from_ref(run)).await?.pop().flatten())
    }

    /// The same for many runs, in their order, `None` for one that is not there: of as many of the
    /// first as lie well in memory together, but at least of one. Ask again for the others.
    async fn dump_runs(&self, runs: &[RunId]) -> StoreResult<Vec<Option<RunDump>>>;

    /// Loads runs, in one transaction; says of each what became of it. One that is there already,
    /// just as far or further, is left as it is. A run that was under way when it was dumped is
    /// `interrupted` here. Of a stage whose outputs are those of a run that is not here, nobody
    /// knows any more where they came from: so runs are loaded oldest first.
    async fn load_runs(&self, runs: &[RunDump]) -> StoreResult<Vec<Loaded>>;

    /// All registered models, to be loaded elsewhere; by name.
    async fn dump_models(&self) -> StoreResult<Vec<ModelDump>>;

    /// Loads models: versions that are not there yet come to those that are, each under its number
    /// where that is free; of an alias that is there, what was said last counts.
    async fn load_models(&self, models: &[ModelDump]) -> StoreResult<()>;

    /// Runs, oldest first: at most `limit` of those that came after `after`.
    async fn run_ids(&self, after: Option<&RunId>, limit: u32) -> StoreResult<Vec<RunId>>;

    /// Removes deleted runs for good, with all that is known of them; gives those that are gone.
    /// A run stays that is not [deleted](Marks::deleted), that an engine drives, of which a run
    /// that stays has taken outputs, or from which a registered model came.
    async fn purge_runs(&self, runs: &[RunId]) -> StoreResult<Vec<RunId>>;

    /// Removes what runs shared and none has any more: texts of pipelines, and what went into
    /// fingerprints; says how much that was. The names of metrics stay: engines remember their
    /// numbers. Each transaction is short.
    async fn clear_unused(&self) -> StoreResult<u64>;

    /// What would be gone if all of `runs` were deleted and [purged](Self::purge_runs) now.
    async fn preview_purge(&self, runs: &[RunId]) -> StoreResult<PurgePreview>;

    /// The artifacts that runs, the cache and models name, in the order of their digests: at most
    /// `limit` of those after `after`. With each its type, and its size as far as it is known.
    async fn referenced_artifacts(
        &self,
        after: Option<Digest>,
        limit: u32,
    ) -> StoreResult<Vec<(Digest, PortType, u64)>>;

    // ---- models --------------------------------------------------------------------------

    /// All registered models with their versions, by name.
    async fn models(&self) -> StoreResult<Vec<ModelRecord>>;

    /// The version of `name` that `reference` means: a number, an alias, or `None` for the
    /// newest.
    async fn model_version(
        &self,
        name: &ModelName,
        reference: Option<&str>,
    ) -> StoreResult<Option<ModelVersion>>;

    /// Applies an effect on behalf of a person rather than a stage.
    async fn apply_effect(&self, effect: &Effect, now: Timestamp) -> StoreResult<()>;

    /// Closes the store: the last thing to ask of it. Nothing is lost without, but the next
    /// opening may have to tidy up first.
    async fn close(&self);
}

//! The trait, handed on to methods of the same names.
//!
//! A store's methods are spread over files by what they are about; the trait wants them in one
//! place. This is that place, for all stores.

/// Implements [`Store`](crate::Store) by the methods that `$store` has itself.
macro_rules! impl_store {
    ($store:ty) => {
        #[async_trait]
        impl $crate::Store for $store {
            fn location(&self) -> String {
                self.location.clone()
            }

            async fn create_run(
                &self,
                run: &NewRun,
                engine: &EngineId,
                now: Timestamp,
            ) -> StoreResult<Lease> {
                self.create_run(run, engine, now).await
            }

            async fn take_run(
                &self,
                run: &RunId,
                left: &[StageName],
                engine: &EngineId,
                now: Timestamp,
            ) -> StoreResult<Lease> {
                self.take_run(run, left, engine, now).await
            }

            async fn engine_of(&self, run: &RunId) -> StoreResult<Option<EngineId>> {
                self.engine_of(run).await
            }

            async fn renew_lease(&self, lease: &Lease, now: Timestamp) -> StoreResult<()> {
                self.renew_lease(lease, now).await
            }

            async fn append(&self, lease: &Lease, events: &[Event]) -> StoreResult<()> {
                self.append(lease, events).await
            }

            async fn interrupt_dead_runs(&self, now: Timestamp) -> StoreResult<Vec<RunId>> {
                self.interrupt_dead_runs(now).await
            }

            async fn request_cancel(&self, run: &RunId, now: Timestamp) -> StoreResult<()> {
                self.request_cancel(run, now).await
            }

            async fn cancel_requested(&self, run: &RunId) -> StoreResult<bool> {
                self.cancel_requested(run).await
            }

            async fn find_cached(
                &self,
                fingerprints: &[Fingerprint],
            ) -> StoreResult<Vec<Option<CachedOutputs>>> {
                self.find_cached(fingerprints).await
            }

            async fn source_stamps(
                &self,
                paths: &[String],
            ) -> StoreResult<Vec<Option<SourceStamp>>> {
                self.source_stamps(paths).await
            }

            async fn keep_source_stamps(&self, stamps: &[SourceStamp]) -> StoreResult<()> {
                self.keep_source_stamps(stamps).await
            }

            async fn find_runs(&self, text: &str) -> StoreResult<Vec<RunId>> {
                self.find_runs(text).await
            }

            async fn search(&self, query: &Search) -> StoreResult<RunPage> {
                self.search(query).await
            }

            async fn run(&self, run: &RunId) -> StoreResult<Option<RunRecord>> {
                self.run(run).await
            }

            async fn params(&self, run: &RunId) -> StoreResult<Vec<ParamRecord>> {
                self.params(run).await
            }

            async fn stages(&self, run: &RunId) -> StoreResult<Vec<StageRecord>> {
                self.stages(run).await
            }

            async fn attempts(&self, run: &RunId) -> StoreResult<Vec<AttemptRecord>> {
                self.attempts(run).await
            }

            async fn latest_metrics(&self, run: &RunId) -> StoreResult<Vec<MetricSummary>> {
                self.latest_metrics(run).await
            }

            async fn metrics_of(&self, attempt: &StageOrigin) -> StoreResult<Vec<(String, f64)>> {
                self.metrics_of(attempt).await
            }

            async fn series(&self, run: &RunId, key: Option<&str>) -> StoreResult<Vec<Series>> {
                self.series(run, key).await
            }

            async fn curves(
                &self,
                run: &RunId,
                key: Option<&str>,
                most: usize,
            ) -> StoreResult<Vec<Series>> {
                self.curves(run, key, most).await
            }

            async fn stage_parts(
                &self,
                run: &RunId,
            ) -> StoreResult<Vec<(StageName, serde_json::Value)>> {
                self.stage_parts(run).await
            }

            async fn artifacts(&self, run: &RunId) -> StoreResult<Vec<ArtifactRecord>> {
                self.artifacts(run).await
            }

            async fn inputs(&self, run: &RunId) -> StoreResult<Vec<InputRecord>> {
                self.inputs(run).await
            }

            async fn events(
                &self,
                run: &RunId,
                after: Option<i64>,
            ) -> StoreResult<Vec<EventRecord>> {
                self.events(run, after).await
            }

            async fn stage_history(&self, query: &StageQuery) -> StoreResult<Vec<StageInRun>> {
                self.stage_history(query).await
            }

            async fn find_artifacts(&self, prefix: &str) -> StoreResult<Vec<Digest>> {
                self.find_artifacts(prefix).await
            }

            async fn makers(
                &self,
                digests: &[Digest],
                limit: u32,
            ) -> StoreResult<Vec<MadeArtifact>> {
                self.makers(digests, limit).await
            }

            async fn readers(&self, digests: &[Digest], limit: u32) -> StoreResult<Vec<Reader>> {
                self.readers(digests, limit).await
            }

            async fn source_readers(
                &self,
                digests: &[Digest],
                limit: u32,
            ) -> StoreResult<Vec<Reader>> {
                self.source_readers(digests, limit).await
            }

            async fn mark_runs(
                &self,
                runs: &[RunId],
                marks: &[Mark],
                now: Timestamp,
            ) -> StoreResult<()> {
                self.mark_runs(runs, marks, now).await
            }

            async fn dump_runs(&self, runs: &[RunId]) -> StoreResult<Vec<Option<RunDump>>> {
                self.dump_runs(runs).await
            }

            async fn load_runs(&self, runs: &[RunDump]) -> StoreResult<Vec<Loaded>> {
                self.load_runs(runs).await
            }

            async fn dump_models(&self) -> StoreResult<Vec<ModelDump>> {
                self.dump_models().await
            }

            async fn load_models(&self, models: &[ModelDump]) -> StoreResult<()> {
                self.load_models(models).await
            }

            async fn run_ids(&self, after: Option<&RunId>, limit: u32) -> StoreResult<Vec<RunId>> {
                self.run_ids(after, limit).await
            }

            async fn purge_runs(&self, runs: &[RunId]) -> StoreResult<Vec<RunId>> {
                self.purge_runs(runs).await
            }

            async fn clear_unused(&self) -> StoreResult<u64> {
                self.clear_unused().await
            }

            async fn preview_purge(&self, runs: &[RunId]) -> StoreResult<$crate::PurgePreview> {
                self.preview_purge(runs).await
            }

            async fn referenced_artifacts(
                &self,
                after: Option<Digest>,
                limit: u32,
            ) -> StoreResult<Vec<(Digest, PortType, u64)>> {
                self.referenced_artifacts(after, limit).await
            }

            async fn models(&self) -> StoreResult<Vec<ModelRecord>> {
                self.models().await
            }

            async fn model_version(
                &self,
                name: &ModelName,
                reference: Option<&str>,
            ) -> StoreResult<Option<ModelVersion>> {
                self.model_version(name, reference).await
            }

            async fn apply_effect(&self, effect: &Effect, now: Timestamp) -> StoreResult<()> {
                self.apply_effect(effect, now).await
            }

            async fn close(&self) {
                self.close().await;
            }
        }
    };
}

pub(crate) use impl_store;

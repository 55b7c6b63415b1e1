//! Registered models, their versions and aliases.

use sqlx::PgConnection;
use wick_core::{Effect, ModelName, RunId, StageName, Timestamp};

use super::{PostgresStore, clean, json_text};
use crate::dump::{ModelDump, ModelVersionDump};
use crate::error::{StoreError, StoreResult};
use crate::model_dumps::{
    self, ALIASES, AliasRow, LOAD_ALIAS, LOAD_MODEL, LOAD_VERSION, MODELS, ModelRow,
};
use crate::records::{ModelRecord, ModelVersion, check_alias};
use crate::rows::{self, VersionRow};

/// Any number that nothing else in the database locks: "WICK" and one.
const MODELS_LOCK: i64 = 0x5749_434b_0001;

const VERSIONS: &str = "
    SELECT m.name AS model, v.version, v.digest, r.public_id AS run, v.stage, v.created, v.tags,
           (SELECT coalesce(json_agg(alias ORDER BY alias), '[]')::text FROM model_aliases a
            WHERE a.model_id = v.model_id AND a.version = v.version) AS aliases
    FROM model_versions v JOIN models m ON m.id = v.model_id LEFT JOIN runs r ON r.id = v.run_id
    WHERE $1 IS NULL OR m.name = $1
    ORDER BY m.name, v.version";

const VERSION: &str = "
    SELECT m.name AS model, v.version, v.digest, r.public_id AS run, v.stage, v.created, v.tags,
           (SELECT coalesce(json_agg(alias ORDER BY alias), '[]')::text FROM model_aliases a
            WHERE a.model_id = v.model_id AND a.version = v.version) AS aliases
    FROM model_versions v JOIN models m ON m.id = v.model_id LEFT JOIN runs r ON r.id = v.run_id
    WHERE m.name = $1
      AND v.version = CASE
          WHEN $2 IS NOT NULL THEN $2
          WHEN $3 IS NOT NULL THEN
              (SELECT version FROM model_aliases a WHERE a.model_id = m.id AND a.alias = $3)
          ELSE (SELECT max(version) FROM model_versions n WHERE n.model_id = m.id)
      END";

impl PostgresStore {
    /// Applies an effect, by a stage of a run or by a person.
    pub(super) async fn write_effect(
        &self,
        connection: &mut PgConnection,
        effect: &Effect,
        by: Option<(i64, &str)>,
        now: Timestamp,
    ) -> StoreResult<()> {
        if let Effect::ReportParams { params } = effect {
            return self.write_reported(connection, params, by).await;
        }
        // One at a time in the whole database: versions count up, and effects come in any order.
        let query = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MODELS_LOCK);
        self.execute(connection, query).await?;
        match effect {
            Effect::RegisterModel { name, digest, description, tags } => {
                let description = description.as_deref().map(clean);
                let query = sqlx::query(
                    "INSERT INTO models (name, description, created) VALUES ($1, $2, $3)
                     ON CONFLICT (name) DO NOTHING",
                )
                .bind(name.as_str())
                .bind(&description)
                .bind(now.0);
                self.execute(connection, query).await?;
                let query = sqlx::query(
                    "INSERT INTO model_versions (model_id, version, digest, run_id, stage, created,
                                                 tags)
                     SELECT m.id,
                            1 + coalesce((SELECT max(version) FROM model_versions v
                                          WHERE v.model_id = m.id), 0),
                            $2, $3, $4, $5, $6
                     FROM models m WHERE m.name = $1
                     ON CONFLICT (model_id, digest) DO NOTHING",
                )
                .bind(name.as_str())
                .bind(digest.as_bytes().to_vec())
                .bind(by.map(|by| by.0))
                .bind(by.map(|by| by.1))
                .bind(now.0)
                .bind(json_text(tags)?);
                let is_new = self.execute(connection, query).await? == 1;
                if is_new && description.is_some() {
                    let query = sqlx::query("UPDATE models SET description = $2 WHERE name = $1")
                        .bind(name.as_str())
                        .bind(&description);
                    self.execute(connection, query).await?;
                }
            }
            Effect::ReportParams { .. } => {}
            Effect::SetAlias { name, alias, digest } => {
                check_alias(alias)?;
                let query = sqlx::query(
                    "INSERT INTO model_aliases AS old (model_id, alias, version, changed)
                     SELECT v.model_id, $2, v.version, $4
                     FROM model_versions v JOIN models m ON m.id = v.model_id
                     WHERE m.name = $1 AND v.digest = $3
                     ON CONFLICT (model_id, alias) DO UPDATE SET
                         changed = CASE WHEN old.version = excluded.version
                                   THEN old.changed ELSE excluded.changed END,
                         version = excluded.version",
                )
                .bind(name.as_str())
                .bind(alias)
                .bind(digest.as_bytes().to_vec())
                .bind(now.0);
                if self.execute(connection, query).await? == 0 {
                    return Err(StoreError::Refused(format!(
                        "model {name} has no version with artifact {}; register it first",
                        digest.short()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Notes the params that a stage of a run has reported, in the place of those that an earlier
    /// attempt of it had.
    async fn write_reported(
        &self,
        connection: &mut PgConnection,
        params: &[(String, serde_json::Value)],
        by: Option<(i64, &str)>,
    ) -> StoreResult<()> {
        // Only a stage of a run has a place for them.
        let Some((run, stage)) = by else { return Ok(()) };
        let start = format!("{stage}.");
        let query = sqlx::query("DELETE FROM params WHERE run_id = $1 AND starts_with(name, $2)")
            .bind(run)
            .bind(&start);
        self.execute(connection, query).await?;
        let names: Vec<String> =
            params.iter().map(|(name, _)| clean(&format!("{start}{name}")).into_owned()).collect();
        let values = params.iter().map(|(_, value)| json_text(value));
        let values: Vec<String> = values.collect::<StoreResult<_>>()?;
        let numbers: Vec<Option<f64>> = params.iter().map(|(_, value)| value.as_f64()).collect();
        let query = sqlx::query(
            "INSERT INTO params (run_id, name, value, number, overridden)
             SELECT $1, name, value, number, false
             FROM unnest($2::text[], $3::text[], $4::float8[]) AS p (name, value, number)
             ON CONFLICT (run_id, name) DO UPDATE SET
                 value = excluded.value, number = excluded.number",
        )
        .bind(run)
        .bind(names)
        .bind(values)
        .bind(numbers);
        self.execute(connection, query).await.map(drop)
    }

    pub(super) async fn apply_effect(&self, effect: &Effect, now: Timestamp) -> StoreResult<()> {
        self.write(async |connection| self.write_effect(connection, effect, None, now).await).await
    }

    pub(super) async fn models(&self) -> StoreResult<Vec<ModelRecord>> {
        let models: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT name, description FROM models ORDER BY name")
                .fetch_all(&self.pool)
                .await
                .map_err(|error| self.refused(error))?;
        let versions: Vec<VersionRow> = sqlx::query_as(VERSIONS)
            .bind(None::<&str>)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        rows::models(models, versions)
    }

    pub(super) async fn model_version(
        &self,
        name: &ModelName,
        reference: Option<&str>,
    ) -> StoreResult<Option<ModelVersion>> {
        let number = reference.and_then(|reference| reference.parse::<u32>().ok()).map(i64::from);
        let row: Option<VersionRow> = sqlx::query_as(VERSION)
            .bind(name.as_str())
            .bind(number)
            .bind(reference)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        row.map(VersionRow::record).transpose()
    }

    pub(super) async fn dump_models(&self) -> StoreResult<Vec<ModelDump>> {
        let models: Vec<ModelRow> = sqlx::query_as(MODELS)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let versions: Vec<model_dumps::VersionRow> = sqlx::query_as(model_dumps::VERSIONS)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let aliases: Vec<AliasRow> = sqlx::query_as(ALIASES)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        model_dumps::models(models, versions, aliases)
    }

    pub(super) async fn load_models(&self, models: &[ModelDump]) -> StoreResult<()> {
        self.write(async |connection| {
            // As for effects: one at a time.
            let query = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MODELS_LOCK);
            self.execute(connection, query).await?;
            for model in models {
                sqlx::query(LOAD_MODEL)
                    .bind(model.name.as_str())
                    .bind(model.description.as_deref().map(clean))
                    .bind(model.created.0)
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| self.refused(error))?;
                for version in &model.versions {
                    sqlx::query(LOAD_VERSION)
                        .bind(model.name.as_str())
                        .bind(i64::from(version.version))
                        .bind(version.digest.as_bytes().to_vec())
                        .bind(version.run.as_ref().map(RunId::as_str))
                        .bind(version.stage.as_ref().map(StageName::as_str))
                        .bind(version.created.0)
                        .bind(json_text(&version.tags)?)
                        .execute(&mut *connection)
                        .await
                        .map_err(|error| self.refused(error))?;
                }
                for alias in &model.aliases {
                    let named = |of: &&ModelVersionDump| of.version == alias.version;
                    let Some(version) = model.versions.iter().find(named) else { continue };
                    sqlx::query(LOAD_ALIAS)
                        .bind(model.name.as_str())
                        .bind(&alias.alias)
                        .bind(version.digest.as_bytes().to_vec())
                        .bind(alias.changed.0)
                        .execute(&mut *connection)
                        .await
                        .map_err(|error| self.refused(error))?;
                }
            }
            Ok(())
        })
        .await
    }
}

//! Registered models, their versions and aliases.

use sqlx::SqliteConnection;
use wick_core::{Effect, ModelName, RunId, StageName, Timestamp};

use super::SqliteStore;
use super::runs::array;
use crate::dump::{ModelDump, ModelVersionDump};
use crate::error::{StoreError, StoreResult};
use crate::model_dumps::{
    self, ALIASES, AliasRow, LOAD_ALIAS, LOAD_MODEL, LOAD_VERSION, MODELS, ModelRow,
};
use crate::records::{ModelRecord, ModelVersion, check_alias};
use crate::rows::{self, VersionRow};

const VERSIONS: &str = "
    SELECT m.name AS model, v.version, v.digest, r.public_id AS run, v.stage, v.created, v.tags,
           (SELECT json_group_array(alias ORDER BY alias) FROM model_aliases a
            WHERE a.model_id = v.model_id AND a.version = v.version) AS aliases
    FROM model_versions v JOIN models m ON m.id = v.model_id LEFT JOIN runs r ON r.id = v.run_id
    WHERE $1 IS NULL OR m.name = $1
    ORDER BY m.name, v.version";

const VERSION: &str = "
    SELECT m.name AS model, v.version, v.digest, r.public_id AS run, v.stage, v.created, v.tags,
           (SELECT json_group_array(alias ORDER BY alias) FROM model_aliases a
            WHERE a.model_id = v.model_id AND a.version = v.version) AS aliases
    FROM model_versions v JOIN models m ON m.id = v.model_id LEFT JOIN runs r ON r.id = v.run_id
    WHERE m.name = $1
      AND v.version = CASE
          WHEN $2 IS NOT NULL THEN $2
          WHEN $3 IS NOT NULL THEN
              (SELECT version FROM model_aliases a WHERE a.model_id = m.id AND a.alias = $3)
          ELSE (SELECT max(version) FROM model_versions n WHERE n.model_id = m.id)
      END";

impl SqliteStore {
    /// Applies an effect, by a stage of a run or by a person.
    pub(super) async fn write_effect(
        &self,
        connection: &mut SqliteConnection,
        effect: &Effect,
        by: Option<(i64, &str)>,
        now: Timestamp,
    ) -> StoreResult<()> {
        match effect {
            Effect::RegisterModel { name, digest, description, tags } => {
                sqlx::query(
                    "INSERT INTO models (name, description, created) VALUES ($1, $3, $4)
                         ON CONFLICT (name) DO NOTHING;
                     UPDATE models SET description = $3
                         WHERE name = $1 AND $3 IS NOT NULL AND NOT EXISTS
                             (SELECT 1 FROM model_versions v
                              WHERE v.model_id = models.id AND v.digest = $2);
                     INSERT INTO model_versions (model_id, version, digest, run_id, stage, created,
                                                 tags)
                         SELECT m.id,
                                1 + coalesce((SELECT max(version) FROM model_versions v
                                              WHERE v.model_id = m.id), 0),
                                $2, $5, $6, $4, $7
                         FROM models m WHERE m.name = $1
                         ON CONFLICT (model_id, digest) DO NOTHING",
                )
                .bind(name.as_str())
                .bind(digest.as_bytes().to_vec())
                .bind(description)
                .bind(now.0)
                .bind(by.map(|by| by.0))
                .bind(by.map(|by| by.1))
                .bind(array(tags)?)
                .execute(connection)
                .await
                .map_err(|error| self.refused(error))?;
            }
            Effect::ReportParams { params } => {
                // Only a stage of a run has a place for them.
                let Some((run, stage)) = by else { return Ok(()) };
                let params: Vec<_> = params
                    .iter()
                    .map(|(name, value)| {
                        (format!("{stage}.{name}"), value.to_string(), value.as_f64())
                    })
                    .collect();
                sqlx::query(
                    "DELETE FROM params
                         WHERE run_id = $1 AND substr(name, 1, length($2)) = $2;
                     INSERT INTO params (run_id, name, value, number, overridden)
                         SELECT $1, value ->> 0, value ->> 1, value ->> 2, 0 FROM json_each($3)
                         WHERE true
                         ON CONFLICT (run_id, name) DO UPDATE SET
                             value = excluded.value, number = excluded.number",
                )
                .bind(run)
                .bind(format!("{stage}."))
                .bind(array(&params)?)
                .execute(connection)
                .await
                .map_err(|error| self.refused(error))?;
            }
            Effect::SetAlias { name, alias, digest } => {
                check_alias(alias)?;
                let set = sqlx::query(
                    "INSERT INTO model_aliases (model_id, alias, version, changed)
                         SELECT v.model_id, $2, v.version, $4
                         FROM model_versions v JOIN models m ON m.id = v.model_id
                         WHERE m.name = $1 AND v.digest = $3
                         ON CONFLICT (model_id, alias) DO UPDATE SET
                             changed = CASE WHEN version = excluded.version
                                       THEN changed ELSE excluded.changed END,
                             version = excluded.version",
                )
                .bind(name.as_str())
                .bind(alias)
                .bind(digest.as_bytes().to_vec())
                .bind(now.0)
                .execute(connection)
                .await
                .map_err(|error| self.refused(error))?;
                if set.rows_affected() == 0 {
                    return Err(StoreError::Refused(format!(
                        "model {name} has no version with artifact {}; register it first",
                        digest.short()
                    )));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn apply_effect(&self, effect: &Effect, now: Timestamp) -> StoreResult<()> {
        self.write(async |connection| self.write_effect(connection, effect, None, now).await).await
    }

    pub(super) async fn models(&self) -> StoreResult<Vec<ModelRecord>> {
        let models: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT name, description FROM models ORDER BY name")
                .fetch_all(&self.readers)
                .await
                .map_err(|error| self.refused(error))?;
        let versions: Vec<VersionRow> = sqlx::query_as(VERSIONS)
            .bind(None::<&str>)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        rows::models(models, versions)
    }

    pub(super) async fn model_version(
        &self,
        name: &ModelName,
        reference: Option<&str>,
    ) -> StoreResult<Option<ModelVersion>> {
        let number = reference.and_then(|reference| reference.parse::<u32>().ok());
        let row: Option<VersionRow> = sqlx::query_as(VERSION)
            .bind(name.as_str())
            .bind(number)
            .bind(reference)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        row.map(VersionRow::record).transpose()
    }

    pub(super) async fn dump_models(&self) -> StoreResult<Vec<ModelDump>> {
        let models: Vec<ModelRow> = sqlx::query_as(MODELS)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let versions: Vec<model_dumps::VersionRow> = sqlx::query_as(model_dumps::VERSIONS)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let aliases: Vec<AliasRow> = sqlx::query_as(ALIASES)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        model_dumps::models(models, versions, aliases)
    }

    pub(super) async fn load_models(&self, models: &[ModelDump]) -> StoreResult<()> {
        self.write(async |connection| {
            for model in models {
                sqlx::query(LOAD_MODEL)
                    .bind(model.name.as_str())
                    .bind(model.description.as_deref())
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
                        .bind(array(&version.tags)?)
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

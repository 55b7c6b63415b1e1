//! Models as plain data, and back: what both databases do alike.

use std::collections::HashMap;

use wick_core::Timestamp;

use crate::dump::{AliasDump, DUMP_VERSION, ModelDump, ModelVersionDump};
use crate::error::StoreResult;
use crate::rows::{count, digest, json, text};

pub(crate) const MODELS: &str = "SELECT name, description, created FROM models ORDER BY name";

pub(crate) const VERSIONS: &str = "
    SELECT m.name, v.version, v.digest, r.public_id, v.stage, v.created, v.tags
    FROM model_versions v JOIN models m ON m.id = v.model_id LEFT JOIN runs r ON r.id = v.run_id
    ORDER BY m.name, v.version";

pub(crate) const ALIASES: &str = "
    SELECT m.name, a.alias, a.version, a.changed
    FROM model_aliases a JOIN models m ON m.id = a.model_id
    ORDER BY m.name, a.alias";

pub(crate) const LOAD_MODEL: &str = "
    INSERT INTO models (name, description, created) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO NOTHING";

/// A version has its number, unless another has it.
pub(crate) const LOAD_VERSION: &str = "
    INSERT INTO model_versions (model_id, version, digest, run_id, stage, created, tags)
    SELECT m.id,
           CASE WHEN EXISTS (SELECT 1 FROM model_versions v
                             WHERE v.model_id = m.id AND v.version = $2)
                THEN 1 + (SELECT max(v.version) FROM model_versions v WHERE v.model_id = m.id)
                ELSE $2 END,
           $3, (SELECT r.id FROM runs r WHERE r.public_id = $4), $5, $6, $7
    FROM models m WHERE m.name = $1
    ON CONFLICT (model_id, digest) DO NOTHING";

/// What was said last of an alias counts.
pub(crate) const LOAD_ALIAS: &str = "
    INSERT INTO model_aliases (model_id, alias, version, changed)
    SELECT v.model_id, $2, v.version, $4
    FROM model_versions v JOIN models m ON m.id = v.model_id
    WHERE m.name = $1 AND v.digest = $3
    ON CONFLICT (model_id, alias) DO UPDATE
        SET version = excluded.version, changed = excluded.changed
        WHERE excluded.changed > model_aliases.changed";

pub(crate) type ModelRow = (String, Option<String>, i64);
pub(crate) type VersionRow = (String, i64, Vec<u8>, Option<String>, Option<String>, i64, String);
pub(crate) type AliasRow = (String, String, i64, i64);

pub(crate) fn models(
    models: Vec<ModelRow>,
    versions: Vec<VersionRow>,
    aliases: Vec<AliasRow>,
) -> StoreResult<Vec<ModelDump>> {
    let mut versions_of: HashMap<String, Vec<ModelVersionDump>> = HashMap::new();
    for (model, version, bytes, run, stage, created, tags) in versions {
        versions_of.entry(model).or_default().push(ModelVersionDump {
            version: count(version)?,
            digest: digest(&bytes)?,
            run: run.as_deref().map(|run| text("a run id", run)).transpose()?,
            stage: stage.as_deref().map(|stage| text("a stage", stage)).transpose()?,
            created: Timestamp(created),
            tags: json("tags", &tags)?,
        });
    }
    let mut aliases_of: HashMap<String, Vec<AliasDump>> = HashMap::new();
    for (model, alias, version, changed) in aliases {
        let changed = Timestamp(changed);
        let alias = AliasDump { alias, version: count(version)?, changed };
        aliases_of.entry(model).or_default().push(alias);
    }
    models
        .into_iter()
        .map(|(name, description, created)| {
            Ok(ModelDump {
                version: DUMP_VERSION,
                versions: versions_of.remove(&name).unwrap_or_default(),
                aliases: aliases_of.remove(&name).unwrap_or_default(),
                name: text("a model", &name)?,
                description,
                created: Timestamp(created),
            })
        })
        .collect()
}

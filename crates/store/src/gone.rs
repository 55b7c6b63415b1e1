//! Which runs can be removed, and which artifacts must stay.

use std::collections::{BTreeMap, HashSet};

use wick_core::{Digest, PortType, RunId};

use crate::error::StoreResult;
use crate::rows::{digest, port_type, size, text};

/// What would be gone if some runs were removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgePreview {
    /// The runs that would go.
    pub runs: Vec<RunId>,
    /// The artifacts that nothing would name then, by digest, with their sizes.
    pub artifacts: Vec<(Digest, u64)>,
}

impl PurgePreview {
    pub(crate) fn new(runs: &[Candidate], artifacts: &[(Vec<u8>, i64)]) -> StoreResult<Self> {
        Ok(Self {
            runs: runs.iter().map(|run| text("a run id", &run.name)).collect::<Result<_, _>>()?,
            artifacts: artifacts
                .iter()
                .map(|(bytes, length)| Ok((digest(bytes)?, size(*length)?)))
                .collect::<StoreResult<_>>()?,
        })
    }
}

/// That no engine drives the run `r`, and no version of a model came from it: one that the run
/// registered, or one that a person did, of what the run made.
macro_rules! nobody_needs {
    () => {
        "NOT EXISTS (SELECT 1 FROM leases l WHERE l.run_id = r.id)
         AND NOT EXISTS (SELECT 1 FROM model_versions v WHERE v.run_id = r.id)
         AND NOT EXISTS (SELECT 1 FROM outputs o JOIN model_versions v ON v.digest = o.digest
                         WHERE o.run_id = r.id AND v.run_id IS NULL)"
    };
}
pub(crate) use nobody_needs;

/// Removes texts of pipelines, and differences, that no run has any more: not many at a time.
pub(crate) const CLEAR_TEXTS: &str = "
    DELETE FROM pipeline_texts WHERE id IN
        (SELECT t.id FROM pipeline_texts t
         WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.pipeline_text_id = t.id)
           AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.git_diff_id = t.id)
         LIMIT 1000)";

/// The fingerprints that parts are kept of and that nothing has any more. Stages have no index of
/// these, for they are written too often: all of them are read, once, and nobody waits for that.
pub(crate) const UNUSED_PARTS: &str = "
    SELECT fingerprint FROM fingerprint_parts
    EXCEPT SELECT fingerprint FROM stages
    EXCEPT SELECT fingerprint FROM attempts";

/// The parts of so many fingerprints are removed at once: others wait while it is made sure that
/// nobody has come to use one since.
pub(crate) const MOST_PARTS: usize = 5_000;

/// A run that somebody wants to be rid of.
pub(crate) struct Candidate {
    /// It in the database.
    pub(crate) id: i64,
    /// Its public id.
    pub(crate) name: String,
}

/// Those of `candidates` that can go. `taken` are pairs of a candidate and a run that has taken
/// outputs of it: it stays as long as the other does.
pub(crate) fn can_go(mut candidates: Vec<Candidate>, taken: &[(i64, i64)]) -> Vec<Candidate> {
    loop {
        let going: HashSet<i64> = candidates.iter().map(|candidate| candidate.id).collect();
        let needed: HashSet<i64> = taken
            .iter()
            .filter(|(_, taker)| !going.contains(taker))
            .map(|(source, _)| *source)
            .collect();
        let before = candidates.len();
        candidates.retain(|candidate| !needed.contains(&candidate.id));
        if candidates.len() == before {
            return candidates;
        }
    }
}

/// What was made: digest, type, size.
pub(crate) type MadeRow = (Vec<u8>, String, i64);

/// The first `limit` of both pages together, in the order of the digests.
pub(crate) fn referenced(
    made: &[MadeRow],
    registered: &[(Vec<u8>,)],
    limit: u32,
) -> StoreResult<Vec<(Digest, PortType, u64)>> {
    let mut found = BTreeMap::new();
    for (bytes,) in registered {
        // Whoever made it may be gone; then nobody knows its size.
        found.insert(digest(bytes)?, (PortType::Model, 0));
    }
    for (bytes, kind, length) in made {
        found.insert(digest(bytes)?, (port_type(kind)?, size(*length)?));
    }
    let rows = found.into_iter().map(|(digest, (kind, bytes))| (digest, kind, bytes));
    Ok(rows.take(limit as usize).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stays_as_long_as_another_needs_it() {
        let candidates = |ids: &[i64]| -> Vec<Candidate> {
            ids.iter().map(|&id| Candidate { id, name: id.to_string() }).collect()
        };
        let go = |ids: &[i64], taken: &[(i64, i64)]| -> Vec<i64> {
            can_go(candidates(ids), taken).iter().map(|candidate| candidate.id).collect()
        };
        assert_eq!(go(&[1, 2, 3], &[]), [1, 2, 3]);
        assert_eq!(go(&[1, 2, 3], &[(1, 2)]), [1, 2, 3], "both go");
        assert_eq!(go(&[1, 2, 3], &[(1, 4)]), [2, 3]);
        assert_eq!(go(&[1, 2, 3], &[(1, 2), (2, 4)]), [3], "and what that needs");
    }
}

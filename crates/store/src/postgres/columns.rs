//! What a batch changes, column by column: `unnest` makes rows of them again.

use std::collections::HashMap;

use wick_core::{AttemptState, StageOrigin, Usage};

use super::json_text;
use crate::changes::{AttemptEnd, Changes, Source};
use crate::directory::Directory;
use crate::error::StoreResult;

/// Declares a set of columns and how a row is added to it.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $type:ty,)* } $($set:ident: $more:ty)?) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(super) struct $name {
            $(pub(super) $column: Vec<$type>,)*
            $(
                /// Further columns, which are added to apart.
                pub(super) $set: $more,
            )?
        }

        impl $name {
            #[allow(clippy::too_many_arguments, reason = "one for each column")]
            fn push(&mut self, $($column: $type,)*) {
                $(self.$column.push($column);)*
            }
        }
    };
}

columns! {
    /// Events that are kept.
    Events { time: i64, body: String, }
}

columns! {
    /// Instances that the run has not had before.
    Instances { template: i64, position: i64, name: String, kind: String, }
}

columns! {
    /// Instances of an earlier drive that are in the list again.
    Again { template: i64, position: i64, }
}

columns! {
    /// What attempts used.
    UsageColumns {
        wall: Option<i64>,
        cpu: Option<i64>,
        rss: Option<i64>,
        read: Option<i64>,
        written: Option<i64>,
        joules: Option<f64>,
        energy: Option<&'static str>,
        co2: Option<f64>,
        gpu_memory: Option<i64>,
        gpu_busy: Option<i64>,
    }
}

impl UsageColumns {
    /// `None` for an attempt that runs.
    fn add(&mut self, usage: Option<&Usage>) {
        // Databases have signed numbers only; nothing is as large as that matters.
        let size = |size: u64| size as i64;
        self.push(
            usage.map(|usage| size(usage.wall_micros)),
            usage.map(|usage| size(usage.cpu_micros)),
            usage.map(|usage| size(usage.max_rss_bytes)),
            usage.and_then(|usage| usage.read_bytes).map(size),
            usage.and_then(|usage| usage.written_bytes).map(size),
            usage.and_then(|usage| usage.energy_joules),
            usage.and_then(|usage| usage.energy_source).map(|source| source.as_str()),
            usage.and_then(|usage| usage.co2_grams),
            usage.and_then(|usage| usage.gpu_memory_bytes).map(size),
            usage.and_then(|usage| usage.gpu_busy_micros).map(size),
        );
    }
}

columns! {
    /// Attempts that began.
    Begun {
        position: i64,
        attempt: i64,
        token: i64,
        fingerprint: Vec<u8>,
        pid: Option<i64>,
        queued: Option<i64>,
        started: i64,
        state: String,
        finished: Option<i64>,
        failure: Option<String>,
        effects: Option<String>,
    }
    usage: UsageColumns
}

columns! {
    /// Attempts that ended.
    Ended {
        position: i64,
        attempt: i64,
        token: i64,
        state: String,
        finished: i64,
        failure: Option<String>,
        effects: Option<String>,
    }
    usage: UsageColumns
}

columns! {
    /// Attempts that succeeded.
    Succeeded { position: i64, attempt: i64, }
}

columns! {
    /// Processes of attempts that began earlier.
    Spawned { position: i64, attempt: i64, pid: i64, }
}

columns! {
    /// Stages that moved.
    Stages {
        position: i64,
        expected: String,
        state: String,
        fingerprint: Option<Vec<u8>>,
        attempts: Option<i64>,
        source_run: Option<i64>,
        source_position: Option<i64>,
        source_attempt: Option<i64>,
        because: Option<String>,
        started: Option<i64>,
        finished: Option<i64>,
        sets_failure: bool,
        failure: Option<String>,
        anew: bool,
    }
}

columns! {
    /// Stages whose metrics are those of an attempt of another run.
    Taken { position: i64, source_run: i64, source_position: i64, source_attempt: i64, }
}

columns! {
    /// What stages read.
    Inputs {
        position: i64,
        port: String,
        item: String,
        from_stage: String,
        from_output: String,
        digest: Vec<u8>,
        place: i64,
    }
}

columns! {
    /// What attempts made.
    Outputs {
        position: i64,
        attempt: i64,
        place: i64,
        port: String,
        port_type: String,
        digest: Vec<u8>,
        bytes: i64,
        meta: String,
    }
}

columns! {
    /// What went into fingerprints.
    Parts { fingerprint: Vec<u8>, parts: String, }
}

/// All columns of a batch, but for points and effects.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) events: Events,
    pub(super) instances: Instances,
    pub(super) again: Again,
    pub(super) begun: Begun,
    pub(super) ended: Ended,
    pub(super) succeeded: Succeeded,
    pub(super) spawned: Spawned,
    pub(super) stages: Stages,
    /// Positions of stages that read something else now.
    pub(super) unread: Vec<i64>,
    pub(super) taken: Taken,
    pub(super) inputs: Inputs,
    pub(super) outputs: Outputs,
    pub(super) parts: Parts,
}

impl Columns {
    pub(super) fn of(
        directory: &Directory,
        changes: &Changes<'_>,
        origins: &HashMap<&StageOrigin, (i64, u32)>,
    ) -> StoreResult<Self> {
        let mut columns = Self::default();
        for event in &changes.events {
            columns.events.push(event.time.0, json_text(&event.body)?);
        }
        for expansion in &changes.expanded {
            let template = i64::from(expansion.template);
            for (place, name, kind) in &expansion.new {
                let (name, kind) = (name.as_str().to_owned(), kind.as_str().to_owned());
                columns.instances.push(template, i64::from(*place), name, kind);
            }
            for place in &expansion.again {
                columns.again.push(template, i64::from(*place));
            }
        }
        columns.unread.extend(changes.unread.iter().map(|place| i64::from(*place)));
        columns.attempts(changes)?;
        columns.stages(directory.run, changes, origins)?;
        for (place, inputs) in &changes.inputs {
            for (input, number) in inputs.iter().zip(0..) {
                columns.inputs.push(
                    i64::from(*place),
                    input.port.as_str().to_owned(),
                    input.item.clone().unwrap_or_default(),
                    input.stage.as_str().to_owned(),
                    input.output.as_str().to_owned(),
                    input.digest.as_bytes().to_vec(),
                    number,
                );
            }
        }
        for (place, attempt, outputs) in &changes.outputs {
            for (output, number) in outputs.iter().zip(0..) {
                columns.outputs.push(
                    i64::from(*place),
                    i64::from(*attempt),
                    number,
                    output.port.as_str().to_owned(),
                    output.port_type.as_str().to_owned(),
                    output.digest.as_bytes().to_vec(),
                    output.bytes as i64,
                    json_text(&output.meta)?,
                );
            }
        }
        for (fingerprint, parts) in &changes.parts {
            columns.parts.push(fingerprint.0.as_bytes().to_vec(), (*parts).to_owned());
        }
        Ok(columns)
    }

    fn attempts(&mut self, changes: &Changes<'_>) -> StoreResult<()> {
        for row in &changes.begun {
            let end = row.end.as_ref();
            self.begun.push(
                i64::from(row.place),
                i64::from(row.attempt),
                row.token.0 as i64,
                row.fingerprint.0.as_bytes().to_vec(),
                row.pid.map(i64::from),
                row.queued.map(|time| time.0),
                row.started.0,
                end.map_or(AttemptState::Running, |end| end.state).as_str().to_owned(),
                end.map(|end| end.finished.0),
                end.and_then(|end| end.failure).map(json_text).transpose()?,
                end.map(effects).transpose()?.flatten(),
            );
            self.begun.usage.add(end.map(|end| &end.usage));
        }
        for row in &changes.ended {
            self.ended.push(
                i64::from(row.place),
                i64::from(row.attempt),
                row.token.0 as i64,
                row.end.state.as_str().to_owned(),
                row.end.finished.0,
                row.end.failure.map(json_text).transpose()?,
                effects(&row.end)?,
            );
            self.ended.usage.add(Some(&row.end.usage));
        }
        for (place, attempt) in &changes.succeeded {
            self.succeeded.push(i64::from(*place), i64::from(*attempt));
        }
        for (place, attempt, pid) in &changes.spawned {
            self.spawned.push(i64::from(*place), i64::from(*attempt), i64::from(*pid));
        }
        Ok(())
    }

    fn stages(
        &mut self,
        run: i64,
        changes: &Changes<'_>,
        origins: &HashMap<&StageOrigin, (i64, u32)>,
    ) -> StoreResult<()> {
        for change in &changes.stages {
            let source = match change.source {
                None => None,
                Some(Source::Own(attempt)) => Some((run, change.place, attempt)),
                Some(Source::Origin(origin)) => {
                    let source = origins.get(origin);
                    source.map(|(run, place)| (*run, *place, origin.attempt))
                }
            };
            if let (Some(Source::Origin(_)), Some((run, place, attempt))) = (change.source, source)
            {
                let position = i64::from(change.place);
                self.taken.push(position, run, i64::from(place), i64::from(attempt));
            }
            self.stages.push(
                i64::from(change.place),
                change.expected.as_str().to_owned(),
                change.state.as_str().to_owned(),
                change.fingerprint.map(|fingerprint| fingerprint.0.as_bytes().to_vec()),
                change.attempts.map(i64::from),
                source.map(|source| source.0),
                source.map(|source| i64::from(source.1)),
                source.map(|source| i64::from(source.2)),
                change.because.map(json_text).transpose()?,
                change.started.map(|time| time.0),
                change.finished.map(|time| time.0),
                change.failure.is_some(),
                change.failure.flatten().map(json_text).transpose()?,
                change.anew,
            );
        }
        Ok(())
    }
}

fn effects(end: &AttemptEnd<'_>) -> StoreResult<Option<String>> {
    if end.effects.is_empty() { Ok(None) } else { json_text(end.effects).map(Some) }
}

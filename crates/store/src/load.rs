//! Loading dumps: from runs as people name them to rows.
//!
//! What both databases do alike is here: which runs are loaded, which numbers stand for names, and
//! all rows. What a [`Loader`] does is to look up, to give numbers, and to write.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use wick_core::{AttemptState, Digest, RunId, StageName};

use crate::dump::{AttemptDump, DUMP_VERSION, Loaded, RunDump, SeriesDump, StageDump};
use crate::error::{StoreError, StoreResult};
use crate::points::{Piece, SHORT_TAIL};
use crate::tables::*;

/// A run that is there.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct KnownRun {
    public_id: String,
    pub(crate) id: i64,
    driven: bool,
    events: i64,
    finished: Option<i64>,
    points: i64,
}

impl KnownRun {
    /// What becomes of a run that is there when `dump` is to be loaded.
    fn meets(&self, dump: &RunDump) -> Loaded {
        let here = (self.events, self.finished, self.points);
        let there = (dump.events.len() as i64, dump.finished.map(|time| time.0), dump.points());
        if !self.driven && there > here { Loaded::Further } else { Loaded::Kept }
    }
}

/// A database that is loaded into, within one transaction.
pub(crate) trait Loader {
    /// Those of the runs that are there.
    async fn known(&mut self, runs: &[&str]) -> StoreResult<Vec<KnownRun>>;
    /// The stages of runs, with their places: run, name, place.
    async fn places(&mut self, runs: &[i64]) -> StoreResult<Vec<(i64, String, i64)>>;
    /// Sees to it that names are there; gives their numbers. In the order of the arguments.
    async fn numbers(&mut self, names: &Names) -> StoreResult<Numbers>;
    /// So many numbers that no row of `table` has.
    async fn free(&mut self, table: &'static str, count: usize) -> StoreResult<Vec<i64>>;
    /// Removes all that hangs on runs, but not the runs.
    async fn clear(&mut self, runs: &[i64]) -> StoreResult<()>;
    /// Writes rows.
    async fn insert(&mut self, rows: &Rows<'_>) -> StoreResult<()>;
    /// A text as the database can hold it.
    fn text(text: &str) -> Cow<'_, str>;
    /// Whether a row would not give a value back as it was.
    fn is_lost(value: f64) -> bool;
}

/// Names that rows refer to by numbers.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) experiments: Experiments,
    pub(crate) texts: Texts,
    pub(crate) keys: Keys,
}

/// The numbers of names.
#[derive(Default)]
pub(crate) struct Numbers {
    pub(crate) experiments: HashMap<String, i64>,
    pub(crate) texts: HashMap<Vec<u8>, i64>,
    pub(crate) keys: HashMap<String, i64>,
}

/// All rows of the runs of a load.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    pub(crate) runs: Runs,
    pub(crate) tags: Tags,
    pub(crate) params: Params,
    pub(crate) stages: Stages,
    pub(crate) attempts: Attempts,
    pub(crate) inputs: Inputs,
    pub(crate) outputs: Outputs,
    pub(crate) metrics: Metrics,
    pub(crate) run_metrics: RunMetrics,
    pub(crate) tail: Tail,
    /// Series, place of the first point, points.
    pub(crate) chunks: Vec<(i64, i64, Piece<'a>)>,
    pub(crate) events: Events,
    pub(crate) parts: Parts,
    pub(crate) fingerprints: Fingerprints,
}

/// Loads runs; says of each what became of it.
pub(crate) async fn load<L: Loader>(loader: &mut L, dumps: &[RunDump]) -> StoreResult<Vec<Loaded>> {
    let dumps = dumps.iter().map(settled).collect::<StoreResult<Vec<_>>>()?;
    let mut asked: BTreeSet<&str> = BTreeSet::new();
    for dump in &dumps {
        asked.insert(dump.id.as_str());
        asked.extend(dump.parent.as_ref().map(RunId::as_str));
        asked.extend(sources(dump).map(|source| source.run.as_str()));
    }
    let known = loader.known(&asked.into_iter().collect::<Vec<_>>()).await?;
    let by_name: HashMap<&str, &KnownRun> =
        known.iter().map(|run| (run.public_id.as_str(), run)).collect();
    let mut seen = HashSet::new();
    let loaded: Vec<Loaded> = dumps
        .iter()
        .map(|dump| match by_name.get(dump.id.as_str()) {
            _ if !seen.insert(dump.id.as_str()) => Loaded::Kept,
            None => Loaded::New,
            Some(known) => known.meets(dump),
        })
        .collect();
    let dumps: Vec<(&RunDump, Loaded)> = dumps
        .iter()
        .map(|dump| &**dump)
        .zip(loaded.iter().copied())
        .filter(|(_, loaded)| *loaded != Loaded::Kept)
        .collect();
    if dumps.is_empty() {
        return Ok(loaded);
    }

    let new = dumps.iter().filter(|(_, loaded)| *loaded == Loaded::New).count();
    let mut free = loader.free("runs", new).await?.into_iter();
    let mut runs: HashMap<&str, i64> = by_name.iter().map(|(name, run)| (*name, run.id)).collect();
    for (dump, loaded) in &dumps {
        if *loaded == Loaded::New {
            let id = free.next().ok_or_else(|| StoreError::Corrupt("no number is free".into()))?;
            runs.insert(dump.id.as_str(), id);
        }
    }
    let cleared: Vec<i64> = dumps
        .iter()
        .filter(|(_, loaded)| *loaded == Loaded::Further)
        .filter_map(|(dump, _)| runs.get(dump.id.as_str()).copied())
        .collect();
    let dumps: Vec<&RunDump> = dumps.iter().map(|(dump, _)| *dump).collect();
    let places = places(loader, &dumps, &runs).await?;
    let numbers = loader.numbers(&names::<L>(&dumps)).await?;
    let count = dumps.iter().map(|dump| dump.series.len()).sum();
    let series = loader.free("metrics", count).await?;
    if !cleared.is_empty() {
        loader.clear(&cleared).await?;
    }
    let mut building = Building::<L> {
        runs: &runs,
        places: &places,
        numbers: &numbers,
        series: series.into_iter(),
        rows: Rows::default(),
        newest: BTreeMap::new(),
        parts: BTreeMap::new(),
        loader: std::marker::PhantomData,
    };
    for dump in &dumps {
        building.run(dump)?;
    }
    loader.insert(&building.finish()).await?;
    Ok(loaded)
}

/// A dump as it is loaded.
fn settled(dump: &RunDump) -> StoreResult<Cow<'_, RunDump>> {
    if dump.version > DUMP_VERSION {
        let (run, version) = (&dump.id, dump.version);
        return Err(StoreError::Refused(format!(
            "the dump of run {run} is of version {version}, which only a newer wick can read"
        )));
    }
    let mut dump = Cow::Borrowed(dump);
    if dump.is_under_way() {
        dump.to_mut().settle();
    }
    Ok(dump)
}

fn sources(dump: &RunDump) -> impl Iterator<Item = &wick_core::StageOrigin> {
    dump.stages.iter().filter_map(|stage| stage.source.as_ref())
}

/// Where the stages are that runs have taken outputs of: by run and name.
async fn places<L: Loader>(
    loader: &mut L,
    dumps: &[&RunDump],
    runs: &HashMap<&str, i64>,
) -> StoreResult<HashMap<(i64, String), i64>> {
    let own: HashSet<&str> = dumps.iter().map(|dump| dump.id.as_str()).collect();
    let others: BTreeSet<i64> = dumps
        .iter()
        .flat_map(|dump| sources(dump))
        .filter(|source| !own.contains(source.run.as_str()))
        .filter_map(|source| runs.get(source.run.as_str()).copied())
        .collect();
    let mut places = HashMap::new();
    if !others.is_empty() {
        let found = loader.places(&others.into_iter().collect::<Vec<_>>()).await?;
        places.extend(found.into_iter().map(|(run, name, place)| ((run, name), place)));
    }
    for dump in dumps {
        let Some(run) = runs.get(dump.id.as_str()) else { continue };
        for (stage, place) in dump.stages.iter().zip(0..) {
            places.insert((*run, stage.stage.as_str().to_owned()), place);
        }
    }
    Ok(places)
}

/// The names that these dumps use, each once and in order.
fn names<L: Loader>(dumps: &[&RunDump]) -> Names {
    let (mut experiments, mut texts) = (BTreeMap::new(), BTreeMap::new());
    let mut keys = BTreeSet::new();
    for dump in dumps {
        let first = experiments.entry(dump.experiment.as_str()).or_insert(dump.started.0);
        *first = (*first).min(dump.started.0);
        for text in [Some(&dump.pipeline_text), dump.git_diff.as_ref()].into_iter().flatten() {
            texts.insert(digest_of(text), L::text(text));
        }
        keys.extend(dump.series.iter().map(|series| L::text(&series.key)));
        let taken = dump.stages.iter().flat_map(|stage| &stage.metrics);
        keys.extend(taken.map(|metric| L::text(&metric.key)));
    }
    let mut names = Names::default();
    experiments.iter().for_each(|(name, at)| names.experiments.push((*name).to_owned(), *at));
    texts.into_iter().for_each(|(digest, text)| names.texts.push(digest, text.into_owned()));
    keys.into_iter().for_each(|name| names.keys.push(name.into_owned()));
    names
}

fn digest_of(text: &str) -> Vec<u8> {
    Digest::of(text.as_bytes()).as_bytes().to_vec()
}

fn json<T: serde::Serialize>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::Refused(format!("something cannot be written as JSON: {error}"))
    })
}

fn missing(what: &str) -> StoreError {
    StoreError::Refused(format!("a dump names {what}, which it does not have"))
}

/// Rows that are gathered.
struct Building<'a, L> {
    runs: &'a HashMap<&'a str, i64>,
    places: &'a HashMap<(i64, String), i64>,
    numbers: &'a Numbers,
    /// Free numbers of series.
    series: std::vec::IntoIter<i64>,
    rows: Rows<'a>,
    /// The newest success of each fingerprint: when, run, place, attempt.
    newest: BTreeMap<Vec<u8>, (i64, i64, i64, i64)>,
    parts: BTreeMap<Vec<u8>, String>,
    loader: std::marker::PhantomData<L>,
}

impl<'a, L: Loader> Building<'a, L> {
    fn run(&mut self, dump: &'a RunDump) -> StoreResult<()> {
        let text = |text: &str| L::text(text).into_owned();
        let run = *self.runs.get(dump.id.as_str()).ok_or_else(|| missing("a run"))?;
        let number_of = |text: &str| self.numbers.texts.get(&digest_of(text)).copied();
        let experiment = self.numbers.experiments.get(dump.experiment.as_str());
        let marks = &dump.marks;
        self.rows.runs.push(
            run,
            dump.id.as_str().to_owned(),
            *experiment.ok_or_else(|| missing("an experiment"))?,
            text(&dump.pipeline),
            text(&dump.pipeline_path),
            number_of(&dump.pipeline_text).ok_or_else(|| missing("a text"))?,
            dump.parent.as_ref().and_then(|parent| self.runs.get(parent.as_str()).copied()),
            dump.environment.as_str().to_owned(),
            dump.plan.as_bytes().to_vec(),
            dump.state.as_str(),
            dump.started.0,
            dump.finished.map(|time| time.0),
            marks.name.as_deref().map(text),
            marks.note.as_deref().map(text),
            marks.starred.map(|time| time.0),
            marks.archived.map(|time| time.0),
            marks.deleted.map(|time| time.0),
            dump.git_diff.as_deref().and_then(number_of),
        );
        for (key, value) in &marks.tags {
            self.rows.tags.push(run, text(key), text(value));
        }
        for param in &dump.params {
            self.rows.params.push(
                run,
                text(&param.name),
                param.value.as_str().to_owned(),
                param.value.number(),
                param.overridden,
            );
        }
        let mut own: HashMap<&StageName, i64> = HashMap::new();
        for (stage, place) in dump.stages.iter().zip(0..) {
            if own.insert(&stage.stage, place).is_some() {
                return Err(StoreError::Refused(format!("two stages are called {}", stage.stage)));
            }
        }
        for stage in &dump.stages {
            self.stage(dump, run, &own, stage)?;
        }
        let place_of = |stage: &StageName| {
            own.get(stage).copied().ok_or_else(|| missing(&format!("stage {stage}")))
        };
        for attempt in &dump.attempts {
            self.attempt(run, place_of(&attempt.stage)?, attempt)?;
        }
        for series in &dump.series {
            let place = place_of(&series.stage)?;
            let stage = &dump.stages[place as usize];
            let counts = stage.source.as_ref().is_some_and(|source| {
                source.run == dump.id
                    && source.stage == series.stage
                    && source.attempt == series.attempt
            });
            self.series(run, place, counts, series)?;
        }
        for part in &dump.parts {
            let fingerprint = part.fingerprint.0.as_bytes().to_vec();
            self.parts.insert(fingerprint, part.parts.as_str().to_owned());
        }
        for event in &dump.events {
            self.rows.events.push(run, event.time.0, event.body.as_str().to_owned());
        }
        Ok(())
    }

    fn stage(
        &mut self,
        dump: &RunDump,
        run: i64,
        own: &HashMap<&StageName, i64>,
        stage: &StageDump,
    ) -> StoreResult<()> {
        let place = own[&stage.stage];
        let template = stage
            .template
            .as_ref()
            .map(|name| own.get(name).copied().ok_or_else(|| missing(&format!("stage {name}"))));
        let source = stage.source.as_ref().and_then(|source| {
            let run = *self.runs.get(source.run.as_str())?;
            let place = *self.places.get(&(run, source.stage.as_str().to_owned()))?;
            Some((run, place, i64::from(source.attempt)))
        });
        self.rows.stages.push(
            run,
            place,
            stage.stage.as_str().to_owned(),
            stage.kind.as_str().to_owned(),
            stage.state.as_str(),
            stage.fingerprint.map(|fingerprint| fingerprint.0.as_bytes().to_vec()),
            i64::from(stage.attempts),
            source.map(|source| source.0),
            source.map(|source| source.1),
            source.map(|source| source.2),
            stage.because.as_ref().map(json).transpose()?,
            stage.started.map(|time| time.0),
            stage.finished.map(|time| time.0),
            stage.failure.as_ref().map(json).transpose()?,
            template.transpose()?,
        );
        for (input, number) in stage.inputs.iter().zip(0..) {
            self.rows.inputs.push(
                run,
                place,
                input.port.as_str().to_owned(),
                input.item.clone().unwrap_or_default(),
                input.stage.as_str().to_owned(),
                input.output.as_str().to_owned(),
                input.digest.as_bytes().to_vec(),
                number,
            );
        }
        let is_own = stage
            .source
            .as_ref()
            .is_some_and(|source| source.run == dump.id && source.stage == stage.stage);
        if !is_own {
            for metric in &stage.metrics {
                self.rows.run_metrics.push(run, place, self.key(&metric.key)?, metric.value);
            }
        }
        Ok(())
    }

    fn attempt(&mut self, run: i64, place: i64, dump: &AttemptDump) -> StoreResult<()> {
        let size = |size: u64| size as i64;
        let usage = dump.usage.as_ref();
        let attempt = i64::from(dump.attempt);
        let fingerprint = dump.fingerprint.0.as_bytes().to_vec();
        self.rows.attempts.push(
            run,
            place,
            attempt,
            dump.state.as_str(),
            // Nobody can end it any more: it has ended.
            0,
            fingerprint.clone(),
            dump.pid.map(i64::from),
            dump.queued.map(|time| time.0),
            dump.started.0,
            dump.finished.map(|time| time.0),
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
            dump.failure.as_ref().map(json).transpose()?,
            dump.effects.as_ref().map(|effects| effects.as_str().to_owned()),
        );
        for (output, number) in dump.outputs.iter().zip(0..) {
            self.rows.outputs.push(
                run,
                place,
                attempt,
                number,
                output.port.as_str().to_owned(),
                output.port_type.as_str(),
                output.digest.as_bytes().to_vec(),
                output.bytes as i64,
                output.meta.as_str().to_owned(),
            );
        }
        if dump.state == AttemptState::Succeeded && !dump.is_without_fingerprint() {
            let new = (dump.finished.map_or(0, |time| time.0), run, place, attempt);
            let newest = self.newest.entry(fingerprint).or_insert(new);
            *newest = (*newest).max(new);
        }
        Ok(())
    }

    fn series(
        &mut self,
        run: i64,
        place: i64,
        counts: bool,
        dump: &'a SeriesDump,
    ) -> StoreResult<()> {
        let SeriesDump { steps, times, values, .. } = dump;
        if (steps.len(), times.len()) != (values.len(), values.len()) {
            return Err(StoreError::Refused(format!("the columns of {} are uneven", dump.key)));
        }
        // The latest point is the one with the highest step, and among equals the last.
        let Some(latest) = (0..steps.len()).max_by_key(|place| steps[*place]) else {
            return Ok(());
        };
        let id = self.series.next().ok_or_else(|| missing("a series"))?;
        let key = self.key(&dump.key)?;
        let count = values.len() as i64;
        let seals = count >= SHORT_TAIL || values.iter().any(|value| L::is_lost(*value));
        let numbers = || values.iter().copied().filter(|value| !value.is_nan());
        self.rows.metrics.push(
            id,
            run,
            place,
            i64::from(dump.attempt),
            key,
            count,
            steps[latest],
            times[latest],
            values[latest],
            numbers().reduce(f64::min),
            numbers().reduce(f64::max),
            if seals { count } else { 0 },
        );
        if counts {
            self.rows.run_metrics.push(run, place, key, values[latest]);
        }
        if seals {
            let pieces = Piece { steps, times, values }.pieces();
            self.rows.chunks.extend(pieces.map(|(place, piece)| (id, place, piece)));
        } else {
            for (place, number) in (0..values.len()).zip(0..) {
                self.rows.tail.push(id, number, steps[place], times[place], values[place]);
            }
        }
        Ok(())
    }

    fn key(&self, key: &str) -> StoreResult<i64> {
        let number = self.numbers.keys.get(&*L::text(key)).copied();
        number.ok_or_else(|| missing(&format!("metric {key}")))
    }

    fn finish(self) -> Rows<'a> {
        let mut rows = self.rows;
        for (fingerprint, (_, run, place, attempt)) in self.newest {
            rows.fingerprints.push(fingerprint, run, place, attempt);
        }
        for (fingerprint, parts) in self.parts {
            rows.parts.push(fingerprint, parts);
        }
        rows
    }
}

/// Writes all tables, each after those that it refers to, with one of the two ways of [`Rows`].
macro_rules! insert_rows {
    ($rows:expr, $insert:ident, $connection:expr) => {{
        let (rows, connection) = ($rows, &mut *$connection);
        rows.runs.$insert(connection).await?;
        rows.tags.$insert(connection).await?;
        rows.params.$insert(connection).await?;
        rows.stages.$insert(connection).await?;
        rows.attempts.$insert(connection).await?;
        rows.inputs.$insert(connection).await?;
        rows.outputs.$insert(connection).await?;
        rows.metrics.$insert(connection).await?;
        rows.run_metrics.$insert(connection).await?;
        rows.tail.$insert(connection).await?;
        rows.events.$insert(connection).await?;
        rows.parts.$insert(connection).await?;
        rows.fingerprints.$insert(connection).await
    }};
}
pub(crate) use insert_rows;

//! Follows bytes through the store: back to all they came from, or forward to all they became.
//!
//! Both ways go stage by stage, each stage once, and stop after `depth` of them. What was cached
//! is followed to the attempt that really computed.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::Deserialize;
use serde_json::Value;
use wick_core::{AttemptState, Digest, EventBody, Input, RunId, StageName, StageOrigin};
use wick_plan::{FingerprintParts, Section};
use wick_store::{
    ArtifactRecord, MadeArtifact, ModelRecord, ModelVersion, ReadAs, Reader, RunRecord,
    StageRecord, Store, StoreError,
};

use super::find::What;
use super::graph::{Graph, Key, Node};
use crate::error::{CommandError, CommandResult};
use crate::render::run_view;

/// The kind of stages whose sources are programs.
const COMMAND: &str = "command";

/// How far a question goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// So many stages one after the other; 0 for all.
    pub depth: usize,
    /// So many stages altogether.
    pub stages: usize,
}

impl Bounds {
    fn ends_at(&self, depth: usize) -> bool {
        self.depth > 0 && depth >= self.depth
    }
}

/// What is known of a run that the way leads through.
struct RunFacts {
    record: RunRecord,
    stages: HashMap<StageName, StageRecord>,
    artifacts: Vec<ArtifactRecord>,
    inputs: HashMap<StageName, Vec<Input>>,
    parts: HashMap<StageName, FingerprintParts>,
    /// The order of the stages.
    order: Vec<StageName>,
}

/// A graph in the making.
pub struct Tracer<'a> {
    store: &'a dyn Store,
    bounds: Bounds,
    graph: Graph,
    runs: HashMap<RunId, RunFacts>,
    /// How many stages were followed.
    stages: usize,
}

impl<'a> Tracer<'a> {
    /// Nothing followed yet.
    pub fn new(store: &'a dyn Store, bounds: Bounds) -> Self {
        Self { store, bounds, graph: Graph::default(), runs: HashMap::new(), stages: 0 }
    }

    /// All that `what` came from.
    pub async fn back(mut self, what: &What) -> CommandResult<Graph> {
        // Stages whose own past is still to be told: which, as whose node, how deep.
        let mut waiting: VecDeque<(RunId, StageName, usize)> = VecDeque::new();
        match what {
            What::Run(run) => {
                let root = self.run_node(run).await?;
                self.graph.roots.push(root);
                for stage in self.last_stages(run).await? {
                    let attempt = self.attempt_node(run, &stage).await?;
                    self.graph.edge(attempt, root, None);
                    waiting.push_back((run.clone(), stage, 0));
                }
                self.models_of_run(run, root).await?;
            }
            What::Output(run, stage, port) => {
                self.output_roots(run, stage, port.as_deref()).await?;
                waiting.push_back((run.clone(), stage.clone(), 0));
            }
            What::Artifact(digest) => {
                let made = self.maker(digest).await?;
                waiting.extend(self.made_root(digest, made).await?);
            }
            What::Source(path, digest) => {
                let root = self.source_node(path, *digest, false);
                self.graph.roots.push(root);
            }
            What::Model(version) => waiting.extend(self.model_root(version).await?),
        }
        self.follow_back(waiting).await?;
        Ok(self.graph)
    }

    async fn follow_back(
        &mut self,
        mut waiting: VecDeque<(RunId, StageName, usize)>,
    ) -> CommandResult<()> {
        let mut done = HashSet::new();
        while let Some((run, stage, depth)) = waiting.pop_front() {
            let attempt = self.attempt_node(&run, &stage).await?;
            if !done.insert(attempt) {
                continue;
            }
            self.stages += 1;
            self.sources(&run, &stage, attempt);
            for input in self.inputs(&run, &stage).await? {
                if self.bounds.ends_at(depth + 1) || self.stages >= self.bounds.stages {
                    self.graph.cut(attempt);
                    break;
                }
                let artifact = self.input_node(&run, &input).await?;
                let item = input.item.map(|item| format!("[{item}]")).unwrap_or_default();
                self.graph.edge(artifact, attempt, Some(format!("{}{item}", input.port)));
                waiting.push_back((run.clone(), input.stage, depth + 1));
            }
        }
        Ok(())
    }

    /// All that came of `what`, in every run.
    pub async fn forward(mut self, what: &What) -> CommandResult<Graph> {
        // Artifacts whose readers are still to be found: the node, and how deep it lies.
        let mut frontier: Vec<(usize, Digest)> = Vec::new();
        let models = self.store.models().await?;
        match what {
            What::Run(run) => {
                let root = self.run_node(run).await?;
                self.graph.roots.push(root);
                // What the others made hangs below what they read.
                let facts = self.facts(run).await?;
                let begins = |made: &&ArtifactRecord| !facts.inputs.contains_key(&made.stage);
                let first: Vec<_> = facts.artifacts.iter().filter(begins).cloned().collect();
                for artifact in first {
                    let node = self.artifact_of_run(run, &artifact).await?;
                    self.graph.edge(root, node, None);
                    frontier.push((node, artifact.digest));
                }
            }
            What::Output(run, stage, port) => {
                self.output_roots(run, stage, port.as_deref()).await?;
                for root in self.graph.roots.clone() {
                    frontier.extend(self.digest_of(root).map(|digest| (root, digest)));
                }
            }
            What::Artifact(digest) => {
                let made = self.maker(digest).await?;
                self.made_root(digest, made).await?;
                frontier.extend(self.graph.roots.iter().map(|root| (*root, *digest)));
            }
            What::Source(path, digest) => {
                let root = self.source_node(path, *digest, false);
                self.graph.roots.push(root);
                let limit = u32::try_from(self.bounds.stages).unwrap_or(u32::MAX);
                let readers = self.store.source_readers(&[*digest], limit).await?;
                for reader in &readers {
                    frontier.extend(self.reader(root, reader));
                }
            }
            What::Model(version) => {
                self.model_root(version).await?;
                // A model is what was made of its artifact; what reads it reads that.
                for root in self.graph.roots.clone() {
                    frontier.push((root, version.digest));
                }
            }
        }
        self.follow_forward(frontier, &models).await?;
        Ok(self.graph)
    }

    async fn follow_forward(
        &mut self,
        mut frontier: Vec<(usize, Digest)>,
        models: &[ModelRecord],
    ) -> CommandResult<()> {
        // The same bytes may be made again and again; their readers hang where they came first.
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut depth = 0;
        while !frontier.is_empty() {
            let mut nodes: HashMap<Digest, usize> = HashMap::new();
            for (node, digest) in frontier.drain(..) {
                if seen.insert(digest) {
                    nodes.insert(digest, node);
                }
            }
            let mut digests: Vec<Digest> = nodes.keys().copied().collect();
            // Always in the same order, so that equal questions have equal answers.
            digests.sort_unstable();
            for version in models.iter().flat_map(|model| &model.versions) {
                if let Some(&artifact) = nodes.get(&version.digest) {
                    let model = self.model_node(version);
                    if model != artifact {
                        self.graph.edge(artifact, model, None);
                    }
                }
            }
            let left = self.bounds.stages.saturating_sub(self.stages);
            let limit = u32::try_from(left.saturating_add(1)).unwrap_or(u32::MAX);
            let readers = self.store.readers(&digests, limit).await?;
            depth += 1;
            for (number, reader) in readers.iter().enumerate() {
                let Some(&from) = nodes.get(&reader.digest) else { continue };
                if self.bounds.ends_at(depth) || number >= left {
                    self.graph.cut(from);
                    continue;
                }
                frontier.extend(self.reader(from, reader));
            }
            self.stages += readers.len();
        }
        Ok(())
    }

    /// A reader of the bytes at `from`, with what it made: the new artifacts.
    fn reader(&mut self, from: usize, reader: &Reader) -> Vec<(usize, Digest)> {
        let port = match &reader.read_as {
            ReadAs::Input { port, item } => {
                let item = item.as_ref().map(|item| format!("[{item}]")).unwrap_or_default();
                Some(format!("{port}{item}"))
            }
            ReadAs::Source { .. } => None,
        };
        let (attempt, _) = self.graph.node(Key::attempt(&reader.by), || Node::Attempt {
            by: reader.by.clone(),
            kind: reader.kind.to_string(),
            state: reader.state,
            started: Some(reader.started),
            git: git(&reader.environment),
            with: reader.parts.as_ref().and_then(parts_of).as_ref().map(with).unwrap_or_default(),
            runs: reader.runs,
        });
        self.graph.edge(from, attempt, port);
        reader
            .outputs
            .iter()
            .map(|made| {
                let node = self.made_node(made);
                self.graph.edge(attempt, node, None);
                (node, made.digest)
            })
            .collect()
    }

    async fn facts(&mut self, run: &RunId) -> CommandResult<&RunFacts> {
        if !self.runs.contains_key(run) {
            let facts = RunFacts::read(self.store, run).await?;
            self.runs.insert(run.clone(), facts);
        }
        self.runs.get(run).ok_or_else(|| CommandError::from(StoreError::NoRun(run.clone())))
    }

    /// The attempt whose outputs a stage of a run has: of a cached one, that of the run that
    /// computed.
    async fn origin(&mut self, run: &RunId, stage: &StageName) -> CommandResult<StageOrigin> {
        let record = self.facts(run).await?.stages.get(stage);
        let own = |attempt| StageOrigin { run: run.clone(), stage: stage.clone(), attempt };
        Ok(match record {
            Some(record) => record.origin.clone().unwrap_or_else(|| own(record.attempts)),
            None => own(0),
        })
    }

    async fn attempt_node(&mut self, run: &RunId, stage: &StageName) -> CommandResult<usize> {
        let origin = self.origin(run, stage).await?;
        // The code's version is that of the run that computed.
        let git = git(&self.facts(&origin.run).await?.record.environment);
        let maker = self.facts(&origin.run).await?.stages.get(&origin.stage).cloned();
        let facts = self.facts(run).await?;
        let record = facts.stages.get(stage);
        let with = facts.parts.get(stage).map(with).unwrap_or_default();
        let state = match (&maker, record) {
            (_, Some(record)) if !record.state.has_outputs() => record.state,
            _ => AttemptState::Succeeded,
        };
        let kind = record.map(|record| record.kind.to_string()).unwrap_or_default();
        let started = maker.and_then(|maker| maker.started);
        let key = Key::attempt(&origin);
        Ok(self
            .graph
            .node(key, || Node::Attempt { by: origin, kind, state, started, git, with, runs: None })
            .0)
    }

    /// What a stage read, as it was when its outputs were made.
    async fn inputs(&mut self, run: &RunId, stage: &StageName) -> CommandResult<Vec<Input>> {
        let facts = self.facts(run).await?;
        Ok(facts.inputs.get(stage).cloned().unwrap_or_default())
    }

    /// The files outside the store that a stage read.
    fn sources(&mut self, run: &RunId, stage: &StageName, attempt: usize) {
        let Some(facts) = self.runs.get(run) else { return };
        let is_code = facts.stages.get(stage).is_some_and(|record| record.kind == *COMMAND);
        let parts = facts.parts.get(stage).into_iter().flat_map(|parts| &parts.parts);
        let sources: Vec<(String, Digest)> = parts
            .filter(|part| part.section == Section::Source)
            .map(|part| (part.name.clone(), part.digest))
            .collect();
        for (path, digest) in sources {
            let source = self.source_node(&path, digest, is_code);
            self.graph.edge(source, attempt, None);
        }
    }

    fn source_node(&mut self, path: &str, digest: Digest, is_code: bool) -> usize {
        let key = Key::Source(path.to_owned(), digest);
        self.graph.node(key, || Node::Source { path: path.to_owned(), digest, is_code }).0
    }

    /// What a stage of `run` read, with the edge from its maker.
    async fn input_node(&mut self, run: &RunId, input: &Input) -> CommandResult<usize> {
        let facts = self.facts(run).await?;
        let made = facts.artifacts.iter().find(|artifact| {
            artifact.stage == input.stage
                && artifact.port == input.output
                && artifact.digest == input.digest
        });
        match made.cloned() {
            Some(made) => self.artifact_of_run(run, &made).await,
            // The maker was done again since, and made something else.
            None => {
                let origin = self.origin(run, &input.stage).await?;
                let name = format!("{}.{}", input.stage, input.output);
                let key = Key::artifact(&origin, input.output.as_str(), input.digest);
                let digest = input.digest;
                let node = || Node::Artifact {
                    name,
                    port_type: None,
                    digest,
                    bytes: None,
                    facts: "since made anew".to_owned(),
                };
                let node = self.graph.node(key, node).0;
                let maker = self.attempt_node(run, &input.stage).await?;
                self.graph.edge(maker, node, None);
                Ok(node)
            }
        }
    }

    /// What a stage of a run made, with the edge from the attempt that made it.
    async fn artifact_of_run(
        &mut self,
        run: &RunId,
        artifact: &ArtifactRecord,
    ) -> CommandResult<usize> {
        let by = self.origin(run, &artifact.stage).await?;
        let key = Key::artifact(&by, artifact.port.as_str(), artifact.digest);
        let (node, is_new) = self.graph.node(key, || Node::Artifact {
            name: format!("{}.{}", artifact.stage, artifact.port),
            port_type: Some(artifact.port_type),
            digest: artifact.digest,
            bytes: Some(artifact.bytes),
            facts: run_view::artifact_fact(artifact),
        });
        if is_new {
            let maker = self.attempt_node(run, &artifact.stage).await?;
            self.graph.edge(maker, node, None);
        }
        Ok(node)
    }

    fn made_node(&mut self, made: &MadeArtifact) -> usize {
        let key = Key::artifact(&made.by, made.port.as_str(), made.digest);
        let record = ArtifactRecord {
            stage: made.by.stage.clone(),
            port: made.port.clone(),
            port_type: made.port_type,
            digest: made.digest,
            bytes: made.bytes,
            meta: made.meta.clone(),
        };
        let node = || Node::Artifact {
            name: format!("{}.{}", made.by.stage, made.port),
            port_type: Some(made.port_type),
            digest: made.digest,
            bytes: Some(made.bytes),
            facts: run_view::artifact_fact(&record),
        };
        self.graph.node(key, node).0
    }

    fn model_node(&mut self, version: &ModelVersion) -> usize {
        let key = Key::Model(version.name.clone(), version.version);
        let node = || Node::Model {
            name: version.name.clone(),
            version: version.version,
            aliases: version.aliases.clone(),
            created: version.created,
        };
        self.graph.node(key, node).0
    }

    async fn run_node(&mut self, run: &RunId) -> CommandResult<usize> {
        let record = &self.facts(run).await?.record;
        let (pipeline, started) = (record.pipeline.clone(), record.started);
        let node = Node::Run { run: run.clone(), pipeline, started };
        Ok(self.graph.node(Key::Run(run.clone()), || node).0)
    }

    /// The stages of a run that no other stage of it reads: its results.
    async fn last_stages(&mut self, run: &RunId) -> CommandResult<Vec<StageName>> {
        let facts = self.facts(run).await?;
        let read: HashSet<&StageName> =
            facts.inputs.values().flatten().map(|input| &input.stage).collect();
        let has_begun = |stage: &&StageName| {
            let record = facts.stages.get(*stage);
            record.is_some_and(|record| record.fingerprint.is_some())
        };
        let last = facts.order.iter().filter(|stage| !read.contains(stage)).filter(has_begun);
        Ok(last.cloned().collect())
    }

    /// The versions of models that a run registered come before its other results.
    async fn models_of_run(&mut self, run: &RunId, root: usize) -> CommandResult<()> {
        let models = self.store.models().await?;
        let own = models.iter().flat_map(|model| &model.versions);
        for version in own.filter(|version| version.run.as_ref() == Some(run)) {
            let model = self.model_node(version);
            self.graph.edge(model, root, None);
            let mut made = self.facts(run).await?.artifacts.iter();
            let made = made.find(|artifact| artifact.digest == version.digest).cloned();
            if let Some(made) = made {
                let artifact = self.artifact_of_run(run, &made).await?;
                self.graph.edge(artifact, model, None);
            }
        }
        Ok(())
    }

    /// Makes the outputs of a stage the roots; a stage without any is one itself.
    async fn output_roots(
        &mut self,
        run: &RunId,
        stage: &StageName,
        port: Option<&str>,
    ) -> CommandResult<()> {
        let artifacts: Vec<ArtifactRecord> = self
            .facts(run)
            .await?
            .artifacts
            .iter()
            .filter(|made| made.stage == *stage && port.is_none_or(|port| made.port == *port))
            .cloned()
            .collect();
        for artifact in &artifacts {
            let node = self.artifact_of_run(run, artifact).await?;
            self.graph.roots.push(node);
        }
        if artifacts.is_empty() {
            let node = self.attempt_node(run, stage).await?;
            self.graph.roots.push(node);
        }
        Ok(())
    }

    /// The attempt that first made these bytes.
    async fn maker(&self, digest: &Digest) -> CommandResult<Option<MadeArtifact>> {
        Ok(self.store.makers(&[*digest], 1).await?.into_iter().next())
    }

    /// Makes bytes the root; gives the stage that made them, to be followed.
    async fn made_root(
        &mut self,
        digest: &Digest,
        made: Option<MadeArtifact>,
    ) -> CommandResult<Option<(RunId, StageName, usize)>> {
        let Some(made) = made else {
            let digest = *digest;
            let root =
                self.graph.node(Key::Artifact(None, String::new(), digest), || Node::Artifact {
                    name: digest.short(),
                    port_type: None,
                    digest,
                    bytes: None,
                    facts: "its maker is not recorded any more".to_owned(),
                });
            self.graph.roots.push(root.0);
            return Ok(None);
        };
        let root = self.made_node(&made);
        self.graph.roots.push(root);
        self.read_earlier(&made.by).await?;
        let maker = self.attempt_node(&made.by.run, &made.by.stage).await?;
        self.graph.edge(maker, root, None);
        Ok(Some((made.by.run, made.by.stage, 0)))
    }

    /// The rows of a run tell what the last attempt of a stage read. Of an earlier one the event
    /// of its start does.
    async fn read_earlier(&mut self, by: &StageOrigin) -> CommandResult<()> {
        let record = self.facts(&by.run).await?.stages.get(&by.stage);
        if record.is_none_or(|record| record.origin.is_none() && record.attempts == by.attempt) {
            return Ok(());
        }
        let events = self.store.events(&by.run, None).await?;
        let read = events.into_iter().find_map(|event| match event.event.body {
            EventBody::AttemptStarted { stage, attempt, inputs, .. }
                if stage == by.stage && attempt == by.attempt =>
            {
                Some(inputs)
            }
            _ => None,
        });
        if let (Some(read), Some(facts)) = (read, self.runs.get_mut(&by.run)) {
            facts.inputs.insert(by.stage.clone(), read);
            if let Some(record) = facts.stages.get_mut(&by.stage) {
                (record.attempts, record.origin) = (by.attempt, None);
            }
        }
        Ok(())
    }

    /// Makes a version of a model the root; gives the stage that made its bytes.
    async fn model_root(
        &mut self,
        version: &ModelVersion,
    ) -> CommandResult<Option<(RunId, StageName, usize)>> {
        let root = self.model_node(version);
        self.graph.roots.push(root);
        // Of several who made these bytes, the one in the run that registered them is meant.
        if let Some(run) = &version.run {
            let mut made = self.facts(run).await?.artifacts.iter();
            let made = made.find(|artifact| artifact.digest == version.digest).cloned();
            if let Some(made) = made {
                let artifact = self.artifact_of_run(run, &made).await?;
                self.graph.edge(artifact, root, None);
                return Ok(Some((run.clone(), made.stage, 0)));
            }
        }
        let Some(made) = self.maker(&version.digest).await? else { return Ok(None) };
        let artifact = self.made_node(&made);
        self.graph.edge(artifact, root, None);
        self.read_earlier(&made.by).await?;
        let maker = self.attempt_node(&made.by.run, &made.by.stage).await?;
        self.graph.edge(maker, artifact, None);
        Ok(Some((made.by.run, made.by.stage, 0)))
    }

    fn digest_of(&self, node: usize) -> Option<Digest> {
        match &self.graph.nodes[node] {
            Node::Artifact { digest, .. } => Some(*digest),
            _ => None,
        }
    }
}

impl RunFacts {
    async fn read(store: &dyn Store, run: &RunId) -> CommandResult<Self> {
        let record = store.run(run).await?.ok_or_else(|| StoreError::NoRun(run.clone()))?;
        let stages = store.stages(run).await?;
        let parts = store
            .stage_parts(run)
            .await?
            .into_iter()
            .filter_map(|(stage, parts)| Some((stage, parts_of(&parts)?)));
        let mut inputs: HashMap<StageName, Vec<Input>> = HashMap::new();
        for read in store.inputs(run).await? {
            inputs.entry(read.stage).or_default().push(Input {
                port: read.port,
                stage: read.from_stage,
                output: read.from_output,
                item: read.item,
                digest: read.digest,
            });
        }
        Ok(Self {
            record,
            order: stages.iter().map(|record| record.stage.clone()).collect(),
            stages: stages.into_iter().map(|record| (record.stage.clone(), record)).collect(),
            artifacts: store.artifacts(run).await?,
            inputs,
            parts: parts.collect(),
        })
    }
}

/// What went into a fingerprint. Parts that another version of wick wrote in another form are left
/// out.
fn parts_of(parts: &Value) -> Option<FingerprintParts> {
    FingerprintParts::deserialize(parts).ok()
}

/// What a stage was told: the values in its `with`, by their paths, in the order in which they
/// stand there.
fn with(parts: &FingerprintParts) -> Vec<(String, Option<String>)> {
    let told = parts.parts.iter().filter(|part| {
        // The order of keys is seen by their order; that there is nothing need not be said.
        part.section == Section::With && part.order_of().is_none() && !part.name.is_empty()
    });
    told.map(|part| (part.name.clone(), part.shown.clone())).collect()
}

/// The code's version, in words.
fn git(environment: &Value) -> Option<String> {
    let git = environment.get("git")?;
    let commit = git.get("commit")?.as_str()?;
    let branch = git.get("branch").and_then(Value::as_str);
    let is_dirty = git.get("dirty").and_then(Value::as_bool).unwrap_or_default();
    Some(format!(
        "{}{}{}",
        commit.get(..12).unwrap_or(commit),
        branch.map(|branch| format!(" on {branch}")).unwrap_or_default(),
        if is_dirty { ", changed since" } else { "" }
    ))
}

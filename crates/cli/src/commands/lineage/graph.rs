//! Where bytes came from, or what became of them: a graph of attempts and what they read and made.
//!
//! An edge leads the way that the bytes went. An artifact stands once for each attempt that made
//! it, so that a stage that only copies makes no circle.

use std::collections::HashMap;

use serde_json::{Value, json};
use wick_core::{AttemptState, Digest, ModelName, PortType, RunId, StageOrigin, Timestamp};

use crate::render::human;

/// Which thing a node is; no two nodes of a graph have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A run.
    Run(RunId),
    /// An attempt that computed.
    Attempt(RunId, String, u32),
    /// What an attempt made at a port; without its maker where that is not known.
    Artifact(Option<(RunId, String, u32)>, String, Digest),
    /// A file or folder outside the store.
    Source(String, Digest),
    /// A version of a model.
    Model(ModelName, u32),
}

impl Key {
    /// The key of an attempt.
    pub fn attempt(by: &StageOrigin) -> Self {
        Self::Attempt(by.run.clone(), by.stage.to_string(), by.attempt)
    }

    /// The key of what an attempt made.
    pub fn artifact(by: &StageOrigin, port: &str, digest: Digest) -> Self {
        let maker = (by.run.clone(), by.stage.to_string(), by.attempt);
        Self::Artifact(Some(maker), port.to_owned(), digest)
    }
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A run.
    Run {
        /// Which.
        run: RunId,
        /// Its pipeline.
        pipeline: String,
        /// When it began.
        started: Timestamp,
    },
    /// An attempt that computed.
    Attempt {
        /// Which.
        by: StageOrigin,
        /// Its kind.
        kind: String,
        /// How it stands.
        state: AttemptState,
        /// When it began.
        started: Option<Timestamp>,
        /// The code's version, in words.
        git: Option<String>,
        /// What it was told: paths in `with` and their values. Long values are not kept.
        with: Vec<(String, Option<String>)>,
        /// In how many runs its outputs stand, where that is known.
        runs: Option<u64>,
    },
    /// An artifact.
    Artifact {
        /// The stage that made it, or its beginning where no maker is known.
        name: String,
        /// Its type.
        port_type: Option<PortType>,
        /// Its digest.
        digest: Digest,
        /// Its size.
        bytes: Option<u64>,
        /// What is known of it, in words.
        facts: String,
    },
    /// A file or folder outside the store.
    Source {
        /// Its path from the pipeline's folder, as the stage named it.
        path: String,
        /// The digest of its bytes.
        digest: Digest,
        /// Whether it is a program rather than data.
        is_code: bool,
    },
    /// A version of a model.
    Model {
        /// Its name.
        name: ModelName,
        /// Its version.
        version: u32,
        /// The aliases that name it now.
        aliases: Vec<String>,
        /// When it was registered.
        created: Timestamp,
    },
}

/// The way of some bytes from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where they come from.
    pub from: usize,
    /// Where they go.
    pub to: usize,
    /// The port that read them; of what was made, nothing.
    pub port: Option<String>,
}

/// Nodes and edges, the nodes by the order in which they were found.
#[derive(Debug, Default)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The edges.
    pub edges: Vec<Edge>,
    /// Where the question began.
    pub roots: Vec<usize>,
    /// Nodes behind which there is more than was asked for.
    pub cut: Vec<usize>,
    by_key: HashMap<Key, usize>,
}

impl Graph {
    /// The node called `key`, made where it is not there yet; and whether it is new.
    pub fn node(&mut self, key: Key, make: impl FnOnce() -> Node) -> (usize, bool) {
        if let Some(&place) = self.by_key.get(&key) {
            return (place, false);
        }
        let place = self.nodes.len();
        self.nodes.push(make());
        self.by_key.insert(key, place);
        (place, true)
    }

    /// Adds an edge, once.
    pub fn edge(&mut self, from: usize, to: usize, port: Option<String>) {
        let edge = Edge { from, to, port };
        // Few edges lead from one node, and the last are the likeliest twins.
        if !self.edges.iter().rev().any(|other| *other == edge) {
            self.edges.push(edge);
        }
    }

    /// Marks a node behind which there is more.
    pub fn cut(&mut self, node: usize) {
        if !self.cut.contains(&node) {
            self.cut.push(node);
        }
    }
}

impl Node {
    /// The node for programs.
    pub fn to_json(&self, id: usize, is_cut: bool) -> Value {
        let mut value = match self {
            Node::Run { run, pipeline, started } => {
                json!({"type": "run", "run": run, "pipeline": pipeline, "started": started})
            }
            Node::Attempt { by, kind, state, started, git, with, runs } => {
                let with: serde_json::Map<String, Value> =
                    with.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                json!({
                    "type": "attempt",
                    "run": by.run,
                    "stage": by.stage,
                    "attempt": by.attempt,
                    "kind": kind,
                    "state": state,
                    "started": started,
                    "git": git,
                    "with": with,
                    "runs": runs,
                })
            }
            Node::Artifact { name, port_type, digest, bytes, .. } => json!({
                "type": "artifact",
                "name": name,
                "port_type": port_type,
                "digest": digest,
                "bytes": bytes,
            }),
            Node::Source { path, digest, is_code } => {
                json!({"type": if *is_code { "code" } else { "file" }, "path": path, "digest": digest})
            }
            Node::Model { name, version, aliases, created } => json!({
                "type": "model",
                "name": name,
                "version": version,
                "aliases": aliases,
                "created": created,
            }),
        };
        if let Value::Object(entries) = &mut value {
            entries.insert("id".to_owned(), json!(id));
            entries.insert("more".to_owned(), json!(is_cut));
        }
        value
    }

    /// What the node is called.
    pub fn title(&self) -> String {
        match self {
            Node::Run { run, .. } => format!("run {run}"),
            Node::Attempt { by, .. } => by.stage.to_string(),
            Node::Artifact { name, .. } => name.clone(),
            Node::Source { path, .. } => path.clone(),
            Node::Model { name, version, .. } => format!("model {name}:{version}"),
        }
    }

    /// What else there is to say of it, most telling first.
    pub fn facts(&self, now: Timestamp) -> Vec<String> {
        match self {
            Node::Run { pipeline, started, .. } => {
                vec![pipeline.clone(), human::ago(*started, now)]
            }
            Node::Attempt { by, kind, state, started, git, runs, .. } => {
                let mut facts = vec![kind.clone(), format!("run {}", by.run)];
                facts.extend(started.map(|started| human::ago(started, now)));
                if *state != AttemptState::Succeeded {
                    facts.push(state.to_string());
                }
                facts.extend(git.as_ref().map(|git| format!("git {git}")));
                if let Some(runs) = runs.filter(|runs| *runs > 1) {
                    facts.push(format!(
                        "cached in {}",
                        human::plural(runs as usize - 1, "more run")
                    ));
                }
                facts
            }
            Node::Artifact { facts, digest, .. } => {
                let facts = Some(facts.clone()).filter(|facts| !facts.is_empty());
                facts.into_iter().chain([digest.short()]).collect()
            }
            Node::Source { digest, is_code, .. } => {
                vec![if *is_code { "code" } else { "file" }.to_owned(), digest.short()]
            }
            Node::Model { aliases, created, .. } => {
                let aliases = Some(aliases.join(", ")).filter(|aliases| !aliases.is_empty());
                let registered = format!("registered {}", human::ago(*created, now));
                aliases.into_iter().chain([registered]).collect()
            }
        }
    }
}

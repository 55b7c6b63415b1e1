//! `wick.yaml`: strict, every mistake shown at its place like those of a pipeline.

use std::path::Path;

use wick_engine::Carbon;
use wick_pipeline::node::{Data, Node};
use wick_pipeline::{Diagnostic, Diagnostics, FileId, Sources, units, yaml};

use super::artifacts::ArtifactsConfig;
use super::retention::Retention;
use crate::error::{CommandError, CommandResult, ResultExt};
use crate::render::Ui;

/// What a `wick.yaml` may say; all of it is optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// `store`: a path relative to the project, or a URL.
    pub store: Option<String>,
    /// `artifacts`: where artifacts are kept.
    pub artifacts: Option<ArtifactsConfig>,
    /// `retention`: which runs go by themselves.
    pub retention: Retention,
    /// `slots`: how much of the machine runs may use.
    pub slots: SlotsConfig,
    /// `carbon`: what energy costs.
    pub carbon: Carbon,
}

/// How much of the machine runs may use; what is not said is found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotsConfig {
    /// `cpus`.
    pub cpus: Option<u32>,
    /// `memory`, in bytes.
    pub memory: Option<u64>,
    /// `gpus`.
    pub gpus: Option<u32>,
    /// `named`: what else stages share, and how much there is of each.
    pub named: Vec<(String, u32)>,
}

const KEYS: [&str; 5] = ["store", "artifacts", "slots", "carbon", "retention"];
const CARBON_KEYS: [&str; 2] = ["grams_per_kwh", "watts_per_cpu"];
const SLOT_KEYS: [&str; 4] = ["cpus", "memory", "gpus", "named"];

impl Config {
    /// Reads the file; one that does not exist says nothing. Its mistakes are shown.
    pub fn read(file: &Path, ui: &Ui) -> CommandResult<Self> {
        let source = match std::fs::read(file) {
            Ok(source) => source,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).or_invalid(format!("cannot read {}", file.display()));
            }
        };
        let (config, diagnostics) = Self::parse(&source);
        if diagnostics.is_empty() {
            return Ok(config);
        }
        let name = super::Project::shown(file);
        let sources = Sources::of_one(&name, &source);
        ui.say(wick_pipeline::render(&diagnostics, &sources, ui.diagnostics_style(false)));
        Err(CommandError::invalid(format!("{name} has {}", wick_pipeline::summary(&diagnostics))))
    }

    fn parse(source: &[u8]) -> (Self, Vec<Diagnostic>) {
        let mut diagnostics = Diagnostics::new();
        let mut config = Self::default();
        if let Some(root) = yaml::read(source, FileId::MAIN, &mut diagnostics) {
            config.take(&root, &mut diagnostics);
        }
        (config, diagnostics.into_sorted())
    }

    fn take(&mut self, root: &Node, diagnostics: &mut Diagnostics) {
        let entries = match &root.data {
            Data::Map(entries) => entries,
            // An empty file, or one of comments only, says nothing.
            Data::Null => return,
            _ => {
                diagnostics.push(expected("a mapping of settings", root));
                return;
            }
        };
        for entry in entries {
            match entry.key.as_str() {
                "store" => self.store = text(&entry.value, diagnostics),
                "artifacts" => {
                    self.artifacts = ArtifactsConfig::take(&entry.value, diagnostics);
                }
                "retention" => self.retention = Retention::take(&entry.value, diagnostics),
                "slots" => self.slots.take(&entry.value, diagnostics),
                "carbon" => take_carbon(&mut self.carbon, &entry.value, diagnostics),
                _ => unknown_key(entry, &KEYS, diagnostics),
            }
        }
    }
}

impl SlotsConfig {
    fn take(&mut self, node: &Node, diagnostics: &mut Diagnostics) {
        let Some(entries) = node.as_map() else {
            diagnostics.push(expected("a mapping such as `{cpus: 4, memory: 8GB}`", node));
            return;
        };
        for entry in entries {
            let value = &entry.value;
            match entry.key.as_str() {
                "cpus" => self.cpus = whole(value, 1, diagnostics),
                "gpus" => self.gpus = whole(value, 0, diagnostics),
                "named" => self.named = named(value, diagnostics),
                "memory" => {
                    self.memory =
                        text(value, diagnostics).and_then(|text| {
                            match units::parse_memory(&text) {
                                Ok(bytes) => Some(bytes),
                                Err(reason) => {
                                    diagnostics.push(
                                        Diagnostic::error(
                                            "wrong-value",
                                            value.span,
                                            format!(
                                                "`{text}` is not an amount of memory: {reason}"
                                            ),
                                        )
                                        .help("write a number and a unit: `512MB`, `8GB`, `16GiB`"),
                                    );
                                    None
                                }
                            }
                        });
                }
                _ => unknown_key(entry, &SLOT_KEYS, diagnostics),
            }
        }
    }
}

/// What stands at `carbon`.
fn take_carbon(carbon: &mut Carbon, node: &Node, diagnostics: &mut Diagnostics) {
    let Some(entries) = node.as_map() else {
        diagnostics.push(expected("a mapping such as `{grams_per_kwh: 400}`", node));
        return;
    };
    for entry in entries {
        let place = match entry.key.as_str() {
            "grams_per_kwh" => &mut carbon.grams_per_kwh,
            "watts_per_cpu" => &mut carbon.watts_per_cpu,
            _ => {
                unknown_key(entry, &CARBON_KEYS, diagnostics);
                continue;
            }
        };
        let number = match &entry.value.data {
            Data::Number(number) => number.as_f64(),
            _ => None,
        };
        match number.filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) => *place = number,
            None => diagnostics.push(expected("a number from 0 on", &entry.value)),
        }
    }
}

/// Slots by name: `{database: 2}`.
fn named(node: &Node, diagnostics: &mut Diagnostics) -> Vec<(String, u32)> {
    let Some(entries) = node.as_map() else {
        diagnostics.push(expected("a mapping such as `{database: 2}`", node));
        return Vec::new();
    };
    let mut slots = Vec::new();
    for entry in entries {
        if let Err(error) = wick_core::id::check_name(&entry.key) {
            let message = format!("`{}` cannot name a slot: {error}", entry.key);
            diagnostics.push(Diagnostic::error("bad-name", entry.key_span, message));
        } else if let Some(count) = whole(&entry.value, 1, diagnostics) {
            slots.push((entry.key.clone(), count));
        }
    }
    slots
}

pub(super) fn unknown_key(
    entry: &wick_pipeline::Entry,
    known: &[&str],
    diagnostics: &mut Diagnostics,
) {
    let help = diagnostics.suggest(&entry.key, known.iter().copied());
    diagnostics.push(
        Diagnostic::error("unknown-key", entry.key_span, format!("unknown key `{}`", entry.key))
            .maybe_help(help),
    );
}

pub(super) fn expected(what: &str, found: &Node) -> Diagnostic {
    Diagnostic::error(
        "wrong-type",
        found.span,
        format!("expected {what}, found {}", found.describe()),
    )
}

pub(super) fn text(node: &Node, diagnostics: &mut Diagnostics) -> Option<String> {
    match node.as_text() {
        Some(text) if !text.is_empty() => Some(text.to_owned()),
        _ => {
            diagnostics.push(expected("a text", node));
            None
        }
    }
}

fn whole(node: &Node, least: u32, diagnostics: &mut Diagnostics) -> Option<u32> {
    let number = match &node.data {
        Data::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        _ => None,
    };
    match number.filter(|number| *number >= least) {
        Some(number) => Some(number),
        None => {
            diagnostics.push(expected(&format!("a whole number from {least} on"), node));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_config_says_where_things_are() {
        let source =
            b"store: postgres://localhost/wick\nartifacts: out\nslots: {cpus: 4, memory: 8GB}\n";
        let (config, diagnostics) = Config::parse(source);
        assert_eq!(diagnostics, []);
        assert_eq!(config.store.as_deref(), Some("postgres://localhost/wick"));
        assert_eq!(config.artifacts, Some(ArtifactsConfig::Folder(PathBuf::from("out"))));
        assert_eq!(
            config.slots,
            SlotsConfig { cpus: Some(4), memory: Some(8_000_000_000), ..SlotsConfig::default() }
        );
        let (config, diagnostics) = Config::parse(b"slots: {named: {database: 2, licence: 1}}\n");
        assert_eq!(diagnostics, []);
        let named = [("database".to_owned(), 2), ("licence".to_owned(), 1)];
        assert_eq!(config.slots.named, named);
        for empty in ["", "# nothing\n", "{}\n"] {
            assert_eq!(Config::parse(empty.as_bytes()), (Config::default(), Vec::new()));
        }
    }

    #[test]
    fn artifacts_may_lie_in_a_bucket() {
        #[track_caller]
        fn check(source: &str, url: &str, endpoint: Option<&str>, bytes: u64) {
            let (config, diagnostics) = Config::parse(source.as_bytes());
            assert_eq!(diagnostics, []);
            let Some(ArtifactsConfig::Remote { place, cache }) = config.artifacts else {
                panic!("{config:?}")
            };
            assert_eq!((place.to_string().as_str(), place.endpoint()), (url, endpoint));
            assert_eq!(cache, bytes);
        }
        check("artifacts: s3://b/p\n", "s3://b/p", None, 20 << 30);
        check(
            "artifacts: {url: s3://b, endpoint: 'http://[::1]:9', region: eu-1, cache: 1MiB}\n",
            "s3://b",
            Some("http://[::1]:9"),
            1 << 20,
        );
    }

    #[test]
    fn places_that_are_none_are_told_at_their_place() {
        #[track_caller]
        fn check(source: &str, expect: &str) {
            let (_, diagnostics) = Config::parse(source.as_bytes());
            let messages: Vec<&str> =
                diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
            assert!(messages.len() == 1 && messages[0].contains(expect), "{messages:?}");
        }
        check("artifacts: ftp://b\n", "`ftp` is no storage");
        check("artifacts: {cache: 1GiB}\n", "says no `url`");
        check("artifacts: {url: 's3://b', cache: 3 cows}\n", "not an amount of bytes");
        check("artifacts: {url: 's3://b', endpoint: there}\n", "an endpoint is a URL");
        check("artifacts: {url: 'gs://b', region: eu}\n", "`gs` knows no regions");
        check("artifacts: {url: 's3://b', bucket: c}\n", "unknown key `bucket`");
        let (_, diagnostics) = Config::parse(b"artifacts: s3://key:hunter2@b\n");
        assert!(!format!("{diagnostics:?}").contains("hunter2"), "{diagnostics:?}");
    }

    #[test]
    fn what_energy_costs_is_said_in_part_or_in_full() {
        let (config, diagnostics) = Config::parse(b"carbon: {grams_per_kwh: 56}\n");
        assert_eq!(diagnostics, []);
        assert_eq!(config.carbon, Carbon { grams_per_kwh: 56.0, ..Carbon::default() });
        let (_, diagnostics) = Config::parse(b"carbon: {grams: 1, watts_per_cpu: -3}\n");
        let messages: Vec<&str> =
            diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
        assert_eq!(messages, ["unknown key `grams`", "expected a number from 0 on, found `-3`"]);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let source = b"stor: x\nslots: {cpus: 0, memory: 8 cows, disks: 1, \
            named: {database: 0, a b: 1}}\nartifacts: 3\n";
        let (_, diagnostics) = Config::parse(source);
        let messages: Vec<&str> =
            diagnostics.iter().map(|diagnostic| diagnostic.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "unknown key `stor`",
                "expected a whole number from 1 on, found `0`",
                "`8 cows` is not an amount of memory: `cows` is not a unit of memory",
                "unknown key `disks`",
                "expected a whole number from 1 on, found `0`",
                "`a b` cannot name a slot: ` ` cannot stand in a name: letters, digits, `_` and `-` can",
                "expected a text, found `3`",
            ]
        );
        assert_eq!(diagnostics[0].help.as_deref(), Some("did you mean `store`?"));
    }
}

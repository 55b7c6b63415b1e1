//! Where a project keeps its artifacts: `artifacts:` of `wick.yaml`, or `WICK_ARTIFACTS`.

use std::path::PathBuf;

use wick_artifact::{PlaceError, RemotePlace};
use wick_pipeline::node::Node;
use wick_pipeline::{Diagnostic, Diagnostics, units};

use super::config::{text, unknown_key};

/// What the folder in front of an object storage holds at most, where nothing is said.
const CACHE_BYTES: u64 = 20 << 30;

const KEYS: [&str; 4] = ["url", "endpoint", "region", "cache"];

/// Where artifacts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactsConfig {
    /// In this folder, relative to the project.
    Folder(PathBuf),
    /// In an object storage, with the project's own folder as a cache.
    Remote {
        /// Where that is.
        place: RemotePlace,
        /// What the cache holds at most, in bytes.
        cache: u64,
    },
}

impl ArtifactsConfig {
    /// What `text` says: a folder, or a URL.
    pub fn from_text(text: &str) -> Result<Self, PlaceError> {
        if RemotePlace::is_url(text) {
            Ok(Self::Remote { place: RemotePlace::parse(text)?, cache: CACHE_BYTES })
        } else {
            Ok(Self::Folder(PathBuf::from(text)))
        }
    }

    /// What stands at `artifacts:`.
    pub(super) fn take(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let Some(entries) = node.as_map() else {
            let text = text(node, diagnostics)?;
            return placed(Self::from_text(&text), node, &text, diagnostics);
        };
        let (mut url, mut endpoint, mut region, mut cache) = (None, None, None, CACHE_BYTES);
        for entry in entries {
            let value = &entry.value;
            let mut said = || text(value, diagnostics).map(|text| (text, value));
            match entry.key.as_str() {
                "url" => url = said(),
                "endpoint" => endpoint = said(),
                "region" => region = said(),
                "cache" => {
                    cache = said().map_or(cache, |(text, _)| bytes(&text, value, diagnostics))
                }
                _ => unknown_key(entry, &KEYS, diagnostics),
            }
        }
        if !entries.iter().any(|entry| entry.key == "url") {
            diagnostics.push(
                Diagnostic::error("missing-key", node.span, "`artifacts` says no `url`")
                    .help("write `{url: s3://bucket/prefix, cache: 20GiB}`, or a folder alone"),
            );
        }
        let (url, at) = url?;
        let mut place = placed(RemotePlace::parse(&url), at, &url, diagnostics)?;
        if let Some((endpoint, at)) = endpoint {
            place = placed(place.with_endpoint(&endpoint), at, &endpoint, diagnostics)?;
        }
        if let Some((region, at)) = region {
            place = placed(place.with_region(&region), at, &region, diagnostics)?;
        }
        Some(Self::Remote { place, cache })
    }
}

fn placed<T>(
    result: Result<T, PlaceError>,
    node: &Node,
    text: &str,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let error = match result {
        Ok(place) => return Some(place),
        Err(error) => error,
    };
    // What may hold a password is not shown once more.
    let shown = if text.contains('@') { "this" } else { &format!("`{text}`") };
    let message = format!("{shown} is no place for artifacts: {error}");
    diagnostics.push(Diagnostic::error("wrong-value", node.span, message).help(
        "write a folder, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`",
    ));
    None
}

fn bytes(text: &str, node: &Node, diagnostics: &mut Diagnostics) -> u64 {
    match units::parse_memory(text) {
        Ok(bytes) => bytes,
        Err(reason) => {
            let message = format!("`{text}` is not an amount of bytes: {reason}");
            diagnostics.push(
                Diagnostic::error("wrong-value", node.span, message)
                    .help("write a number and a unit: `500MB`, `20GiB`"),
            );
            CACHE_BYTES
        }
    }
}

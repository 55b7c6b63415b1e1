//! `secrets`: where the values come from that no file, store or log may hold.
//!
//! A secret is declared by reference. Its value is never read here: the engine fetches it when an
//! attempt starts, and puts it in the place of `${secrets.NAME}`, which is all that plans and
//! stores ever hold.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wick_core::id::check_name;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::files;
use crate::node::{Data, Entry};
use crate::resolve::Scope;
use crate::span::{FileId, Spanned};
use crate::template::{self, Piece};

/// A secret by reference: where its value is found when an attempt starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name: `${secrets.NAME}`.
    pub name: String,
    /// Where its value is.
    pub source: SecretSource,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// In this environment variable.
    Environment(String),
    /// In this file, absolute; line ends at its end do not count.
    File(PathBuf),
}

const HELP: &str = "write `NAME: \"${env.VARIABLE}\"` or `NAME: {file: PATH}`";

/// Reads `secrets`, and makes their names known in `scope`.
pub(crate) fn read(
    section: Option<&Entry>,
    scope: &mut Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Spanned<Secret>> {
    let entries = match section.map(|entry| &entry.value) {
        None => return Vec::new(),
        Some(node) => match &node.data {
            Data::Map(entries) => entries,
            Data::Null | Data::Unknown | Data::Open(_) => return Vec::new(),
            _ => {
                diagnostics
                    .push(fields::wrong_type(node, "`secrets` must be a mapping").help(HELP));
                return Vec::new();
            }
        },
    };
    let mut secrets = Vec::with_capacity(entries.len());
    for entry in entries {
        // Whatever is wrong with it, that it is declared is no mistake.
        scope.secrets.push(entry.key.clone());
        if let Err(error) = check_name(&entry.key) {
            diagnostics.push(
                Diagnostic::error(
                    "bad-name",
                    entry.key_span,
                    format!("`{}` cannot name a secret", entry.key),
                )
                .label(error.to_string()),
            );
            continue;
        }
        if let Some(source) = source(entry, scope, diagnostics) {
            let secret = Secret { name: entry.key.clone(), source };
            secrets.push(Spanned::new(secret, entry.key_span));
        }
    }
    secrets
}

fn source(entry: &Entry, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Option<SecretSource> {
    let node = &entry.value;
    match &node.data {
        Data::Text(text) => match template::pieces(text).as_slice() {
            [Ok(Piece::Reference(reference))] if reference.scope == "env" => {
                Some(SecretSource::Environment(reference.name.to_owned()))
            }
            _ => {
                // What stands here may be the secret itself: it is not repeated.
                diagnostics.push(
                    Diagnostic::error(
                        "bad-secret",
                        node.span,
                        format!("secret `{}` does not say where its value is", entry.key),
                    )
                    .label("a value itself never stands in a file")
                    .help(HELP),
                );
                None
            }
        },
        Data::Map(_) => {
            let mut node = node.clone();
            scope.resolve(&mut node, diagnostics);
            let entries = fields::entries(&node, "a secret", &["file"], &[], diagnostics)?;
            let Some(file) = fields::find(entries, "file") else {
                if entries.is_empty() {
                    diagnostics.push(
                        Diagnostic::error("missing-key", node.span, "the secret lacks `file`")
                            .help(HELP),
                    );
                }
                return None;
            };
            let path = fields::text(file, diagnostics)?;
            let folder = files::folder(scope.sources.get(path.span.file).path());
            Some(SecretSource::File(folder.join(path.value)))
        }
        Data::Unknown | Data::Open(_) => None,
        _ => {
            diagnostics
                .push(fields::wrong_type(node, "a secret says where its value is").help(HELP));
            None
        }
    }
}

/// Warns of secrets of the pipeline file `file` that nothing refers to.
pub(crate) fn warn_of_unused(
    secrets: &[Spanned<Secret>],
    file: FileId,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) {
    let used = scope.used_secrets.borrow();
    for Spanned { value: secret, span } in secrets {
        if span.file == file && !used.contains(&secret.name) {
            diagnostics.push(
                Diagnostic::warning(
                    "unused-secret",
                    *span,
                    format!("nothing refers to secret `{}`", secret.name),
                )
                .help(format!("use it as `${{secrets.{}}}`, or remove it", secret.name)),
            );
        }
    }
}

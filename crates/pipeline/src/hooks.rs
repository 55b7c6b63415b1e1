//! `hooks`: what is done when a run has ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::node::{Data, Entry, Node};
use crate::resolve::Scope;
use crate::settings::duration;
use crate::span::Spanned;

/// What is done when a run has ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    /// When it succeeded.
    pub on_success: Vec<Hook>,
    /// When it failed.
    pub on_failure: Vec<Hook>,
}

/// One thing that is done when a run has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// What.
    pub deed: HookDeed,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookDeed {
    /// Runs a program: words, or one text for `sh -c`. Values of `env` may refer to secrets: they
    /// are texts to [expand](crate::template::expand).
    Command {
        /// The words, or the text alone.
        run: Vec<String>,
        /// Whether `run` is a text for a shell.
        shell: bool,
        /// What the program finds in its environment.
        env: Vec<(String, String)>,
    },
    /// Posts what happened, as JSON.
    Webhook {
        /// Where to.
        url: String,
        /// Headers; their values may refer to secrets, as those of `env` may.
        headers: Vec<(String, String)>,
    },
}

const MAX_HOOKS: usize = 32;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
const EXAMPLE: &str = "write `- {command: [PROGRAM, ARGUMENT]}` or `- {webhook: URL}`";

/// Reads `hooks`.
pub(crate) fn read(
    section: Option<&Entry>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Hooks {
    let mut hooks = Hooks::default();
    let Some(section) = section.filter(|entry| entry.value.data != Data::Null) else {
        return hooks;
    };
    let known = ["on_success", "on_failure"];
    let Some(entries) = fields::entries(&section.value, "`hooks`", &known, &[], diagnostics) else {
        return hooks;
    };
    for entry in entries {
        match entry.key.as_str() {
            "on_success" => hooks.on_success = list(entry, scope, diagnostics),
            "on_failure" => hooks.on_failure = list(entry, scope, diagnostics),
            _ => {}
        }
    }
    hooks
}

fn list(entry: &Entry, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Vec<Hook> {
    let items = match &entry.value.data {
        Data::List(items) => items,
        Data::Null | Data::Unknown | Data::Open(_) => return Vec::new(),
        _ => {
            diagnostics.push(
                fields::wrong_type(&entry.value, &format!("`{}` must be a list", entry.key))
                    .help(EXAMPLE),
            );
            return Vec::new();
        }
    };
    if items.len() > MAX_HOOKS {
        diagnostics.push(fields::out_of_range(
            entry.value.span,
            format!("`{}` has {} hooks", entry.key, items.len()),
            format!("give it at most {MAX_HOOKS}"),
        ));
    }
    items.iter().filter_map(|item| hook(item, scope, diagnostics)).collect()
}

fn hook(item: &Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) -> Option<Hook> {
    let has = |key: &str| item.get(key).is_some();
    let known: &[&str] = match (has("command"), has("webhook")) {
        (true, false) => &["command", "env", "timeout"],
        (false, true) => &["webhook", "headers", "timeout"],
        _ => &["command", "webhook", "env", "headers", "timeout"],
    };
    let errors_before = diagnostics.errors();
    let entries = fields::entries(item, "a hook", known, &[], diagnostics)?;
    let mut timeout = DEFAULT_TIMEOUT;
    if let Some(entry) = fields::find(entries, "timeout") {
        let mut entry = entry.clone();
        scope.resolve(&mut entry.value, diagnostics);
        if let Some(found) = duration(&entry, Duration::from_millis(1), MAX_TIMEOUT, diagnostics) {
            timeout = found;
        }
    }
    let deed = match (fields::find(entries, "command"), fields::find(entries, "webhook")) {
        (Some(run), None) => command(run, fields::find(entries, "env"), scope, diagnostics)?,
        (None, Some(url)) => webhook(url, fields::find(entries, "headers"), scope, diagnostics)?,
        (None, None) => {
            if diagnostics.errors() == errors_before {
                diagnostics.push(
                    Diagnostic::error("missing-key", item.span, "the hook does nothing")
                        .help(EXAMPLE),
                );
            }
            return None;
        }
        (Some(_), Some(second)) => {
            diagnostics.push(
                Diagnostic::error(
                    "wrong-value",
                    second.key_span,
                    "a hook is either a `command` or a `webhook`",
                )
                .help("make two of it, each with a `-` of its own"),
            );
            return None;
        }
    };
    Some(Hook { deed, timeout })
}

fn command(
    run: &Entry,
    env: Option<&Entry>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<HookDeed> {
    let mut node = run.value.clone();
    scope.resolve_hook(&mut node, diagnostics);
    let (words, shell) = match &node.data {
        Data::Text(text) => (vec![text.clone()], true),
        Data::List(words) => {
            let mut all = Vec::with_capacity(words.len());
            for word in words {
                match &word.data {
                    Data::Text(word) => all.push(word.clone()),
                    Data::Unknown | Data::Open(_) => return None,
                    _ => {
                        diagnostics.push(fields::wrong_type(word, "a word of a command is a text"));
                        return None;
                    }
                }
            }
            (all, false)
        }
        Data::Unknown | Data::Open(_) => return None,
        _ => {
            diagnostics.push(
                fields::wrong_type(
                    &node,
                    "`command` must be a list of words, or a text for a shell",
                )
                .help(EXAMPLE),
            );
            return None;
        }
    };
    if words.first().is_none_or(|word| word.trim().is_empty()) {
        diagnostics.push(
            Diagnostic::error("wrong-value", node.span, "there is no program to run").help(EXAMPLE),
        );
        return None;
    }
    let mut values = Vec::new();
    for (name, value) in texts(env, scope, diagnostics) {
        if name.value.is_empty() || name.value.contains(['=', '\0']) {
            diagnostics.push(
                Diagnostic::error(
                    "bad-name",
                    name.span,
                    format!("`{}` cannot name an environment variable", name.value),
                )
                .help("write letters, digits and `_`"),
            );
        } else {
            values.push((name.value, value));
        }
    }
    Some(HookDeed::Command { run: words, shell, env: values })
}

fn webhook(
    entry: &Entry,
    headers: Option<&Entry>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<HookDeed> {
    let mut entry = entry.clone();
    scope.resolve(&mut entry.value, diagnostics);
    let mut values = Vec::new();
    for (name, value) in texts(headers, scope, diagnostics) {
        // RFC 9110, 5.6.2: a token.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.value.is_empty() || !name.value.bytes().all(fits) {
            diagnostics.push(
                Diagnostic::error(
                    "bad-name",
                    name.span,
                    format!("`{}` cannot name a header", name.value),
                )
                .help("write letters, digits and `-`"),
            );
        } else if value.contains(['\n', '\r', '\0']) {
            diagnostics.push(
                Diagnostic::error(
                    "wrong-value",
                    name.span,
                    format!("header `{}` has more than one line", name.value),
                )
                .help("a header is one line"),
            );
        } else {
            values.push((name.value, value));
        }
    }
    let url = fields::text(&entry, diagnostics)?;
    if let Err(reason) = check_url(&url.value) {
        diagnostics.push(
            Diagnostic::error("wrong-value", url.span, format!("`webhook` {reason}"))
                .help("write `https://HOST/PATH`"),
        );
        return None;
    }
    Some(HookDeed::Webhook { url: url.value, headers: values })
}

/// Whether `url` could be posted to. What the client makes of it is its own matter.
fn check_url(url: &str) -> Result<(), &'static str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("is not an address of the web")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        return Err("names no host");
    }
    if host.contains('@') {
        return Err("holds a user or a password: put them into a header, as a secret");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds a space or a control character");
    }
    Ok(())
}

/// The texts by name in `env` or `headers`. `${secrets.…}` stays in them, and so do escapes.
fn texts(
    entry: Option<&Entry>,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<(Spanned<String>, String)> {
    let Some(entry) = entry else { return Vec::new() };
    let mut node = entry.value.clone();
    scope.resolve_env(&mut node, diagnostics);
    let entries = match &node.data {
        Data::Map(entries) => entries,
        Data::Null | Data::Unknown | Data::Open(_) => return Vec::new(),
        _ => {
            diagnostics.push(
                fields::wrong_type(&node, &format!("`{}` must be a mapping", entry.key))
                    .help(format!("write `{}: {{NAME: VALUE}}`", entry.key)),
            );
            return Vec::new();
        }
    };
    let mut texts = Vec::with_capacity(entries.len());
    for entry in entries {
        if let Some(text) = fields::text(entry, diagnostics) {
            texts.push((Spanned::new(entry.key.clone(), entry.key_span), text.value));
        }
    }
    texts
}

//! What `defaults` and every stage may say of how attempts are made: `retry`, `timeout`,
//! `resources`, `cache`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wick_core::id::check_name;
use wick_core::{Exit, Failure, FailureCause};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::node::{Data, Entry, Node};
use crate::span::Span;
use crate::units;

/// The keys of `defaults`.
pub(crate) const DEFAULT_KEYS: [&str; 4] = ["retry", "timeout", "resources", "cache"];

const RETRY_KEYS: [&str; 6] = ["attempts", "backoff", "factor", "max_backoff", "jitter", "on"];
const RESOURCE_KEYS: [&str; 5] = ["cpus", "memory", "gpus", "slots", "mutex"];

/// The failures that another attempt may not meet, and so can be named in `on`.
const RETRY_CAUSES: [FailureCause; 6] = [
    FailureCause::Exit,
    FailureCause::Signal,
    FailureCause::Timeout,
    FailureCause::Io,
    FailureCause::Spawn,
    FailureCause::OutOfMemory,
];

/// The failures that every attempt would meet again.
const LASTING_CAUSES: [FailureCause; 5] = [
    FailureCause::Gate,
    FailureCause::Data,
    FailureCause::Config,
    FailureCause::Output,
    FailureCause::Internal,
];

const MAX_ATTEMPTS: u32 = 100;
const MAX_BACKOFF: Duration = Duration::from_secs(24 * 3600);
/// The longest that a `timeout` may be.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
const MAX_FACTOR: f64 = 100.0;
const MAX_CPUS: u32 = 4096;
const MAX_GPUS: u32 = 64;
const MAX_SHARES: u32 = 1_000_000;
const MIN_MEMORY: u64 = 1_000_000;

/// How often and how a stage is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub backoff: Duration,
    /// By what the wait grows with each further attempt; at least 1.
    pub factor: f64,
    /// The longest wait.
    pub max_backoff: Duration,
    /// By which part of itself a wait may be longer or shorter, from 0 to 1.
    pub jitter: f64,
    /// After which failures.
    pub on: RetryOn,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            backoff: Duration::from_secs(1),
            factor: 2.0,
            max_backoff: Duration::from_secs(3600),
            jitter: 0.0,
            on: RetryOn::Transient,
        }
    }
}

impl Retry {
    /// Whether a stage that ended with `failure` is to be tried again, if attempts are left.
    pub fn covers(&self, failure: &Failure) -> bool {
        match &self.on {
            RetryOn::Transient => failure.cause.is_transient(),
            RetryOn::These { causes, codes } => {
                let code = match failure.exit {
                    Some(Exit::Code(code)) if failure.cause == FailureCause::Exit => Some(code),
                    _ => None,
                };
                causes.contains(&failure.cause) || code.is_some_and(|code| codes.contains(&code))
            }
        }
    }
}

/// After which failures a stage is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// After those that another attempt may not meet.
    Transient,
    /// After these alone.
    These {
        /// Causes.
        causes: Vec<FailureCause>,
        /// Exit codes of a program.
        codes: Vec<i32>,
    },
}

/// What an attempt occupies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes; unknown counts as none.
    pub memory: Option<u64>,
    /// GPUs.
    pub gpus: u32,
    /// Shares of what the project counts by name, sorted by name.
    pub named: Vec<(String, u32)>,
    /// What no two attempts may hold at once, sorted.
    pub mutex: Vec<String>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: 1, memory: None, gpus: 0, named: Vec::new(), mutex: Vec::new() }
    }
}

/// What `defaults` says, and what a stage without keys of its own gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub retry: Retry,
    pub timeout: Option<Duration>,
    pub resources: Resources,
    pub resources_at: Option<Span>,
    /// Where each of `resources.slots` is written.
    pub slots_at: Vec<(String, Span)>,
    pub cache: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            timeout: None,
            resources: Resources::default(),
            resources_at: None,
            slots_at: Vec::new(),
            cache: true,
        }
    }
}

impl Settings {
    /// These settings with what `entries` says otherwise.
    pub fn overlaid(mut self, entries: &[Entry], diagnostics: &mut Diagnostics) -> Self {
        for entry in entries {
            match entry.key.as_str() {
                "retry" => self.retry(entry, diagnostics),
                "timeout" => self.timeout = timeout(entry, diagnostics).unwrap_or(self.timeout),
                "resources" => self.resources(entry, diagnostics),
                "cache" => {
                    if let Some(cache) = fields::boolean(entry, diagnostics) {
                        self.cache = cache;
                    }
                }
                _ => {}
            }
        }
        self
    }

    fn retry(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        if let Data::Number(number) = &entry.value.data {
            diagnostics.push(
                fields::wrong_type(&entry.value, "`retry` must be a mapping")
                    .help(format!("write `retry: {{attempts: {number}}}`")),
            );
            return;
        }
        let Some(entries) = fields::entries(&entry.value, "`retry`", &RETRY_KEYS, &[], diagnostics)
        else {
            return;
        };
        let retry = &mut self.retry;
        for entry in entries {
            match entry.key.as_str() {
                "attempts" => {
                    if let Some(attempts) = fields::whole(entry, 1, MAX_ATTEMPTS, diagnostics) {
                        retry.attempts = attempts;
                    }
                }
                "backoff" => {
                    if let Some(wait) = duration(entry, Duration::ZERO, MAX_BACKOFF, diagnostics) {
                        retry.backoff = wait;
                    }
                }
                "max_backoff" => {
                    if let Some(wait) = duration(entry, Duration::ZERO, MAX_BACKOFF, diagnostics) {
                        retry.max_backoff = wait;
                    }
                }
                "factor" => {
                    if let Some(factor) = fields::number(entry, 1.0, MAX_FACTOR, diagnostics) {
                        retry.factor = factor;
                    }
                }
                "jitter" => {
                    if let Some(jitter) = fields::number(entry, 0.0, 1.0, diagnostics) {
                        retry.jitter = jitter;
                    }
                }
                "on" => {
                    if let Some(on) = retry_on(entry, diagnostics) {
                        retry.on = on;
                    }
                }
                _ => {}
            }
        }
        if let (Some(least), Some(most)) =
            (fields::find(entries, "backoff"), fields::find(entries, "max_backoff"))
            && self.retry.max_backoff < self.retry.backoff
        {
            diagnostics.push(
                fields::out_of_range(
                    most.value.span,
                    "`max_backoff` is shorter than `backoff`".to_owned(),
                    "let it be at least as long".to_owned(),
                )
                .related(least.value.span, "the first wait is longer"),
            );
        }
    }

    fn resources(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        let Some(entries) =
            fields::entries(&entry.value, "`resources`", &RESOURCE_KEYS, &[], diagnostics)
        else {
            return;
        };
        self.resources_at = Some(entry.key_span);
        for entry in entries {
            match entry.key.as_str() {
                "cpus" => {
                    if let Some(cpus) = fields::whole(entry, 1, MAX_CPUS, diagnostics) {
                        self.resources.cpus = cpus;
                    }
                }
                "gpus" => {
                    if let Some(gpus) = fields::whole(entry, 0, MAX_GPUS, diagnostics) {
                        self.resources.gpus = gpus;
                    }
                }
                "memory" => {
                    if let Some(memory) = memory(entry, diagnostics) {
                        self.resources.memory = memory;
                    }
                }
                "slots" => self.slots(entry, diagnostics),
                "mutex" => self.resources.mutex = mutexes(entry, diagnostics),
                _ => {}
            }
        }
    }

    fn slots(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        let entries = match &entry.value.data {
            Data::Map(entries) => entries.as_slice(),
            Data::Null => &[],
            Data::Unknown | Data::Open(_) => return,
            _ => {
                diagnostics.push(
                    fields::wrong_type(&entry.value, "`slots` must be a mapping")
                        .help("write how many of which: `slots: {database: 1}`"),
                );
                return;
            }
        };
        self.resources.named.clear();
        self.slots_at.clear();
        for entry in entries {
            if name_of_slot(&entry.key, entry.key_span, diagnostics)
                && let Some(shares) = fields::whole(entry, 1, MAX_SHARES, diagnostics)
            {
                self.resources.named.push((entry.key.clone(), shares));
                self.slots_at.push((entry.key.clone(), entry.key_span));
            }
        }
        self.resources.named.sort_unstable();
    }
}

fn name_of_slot(name: &str, span: Span, diagnostics: &mut Diagnostics) -> bool {
    let named = check_name(name);
    if let Err(error) = &named {
        diagnostics.push(
            Diagnostic::error("bad-name", span, format!("`{name}` cannot name a slot or a mutex"))
                .label(error.to_string()),
        );
    }
    named.is_ok()
}

fn mutexes(entry: &Entry, diagnostics: &mut Diagnostics) -> Vec<String> {
    let mut names = Vec::new();
    for item in texts(entry, "`mutex` must be a list of names", "mutex: [NAME]", diagnostics) {
        match &item.data {
            Data::Text(name) => {
                if name_of_slot(name, item.span, diagnostics) {
                    names.push(name.clone());
                }
            }
            Data::Unknown | Data::Open(_) => {}
            _ => diagnostics.push(fields::wrong_type(item, "`mutex` lists names")),
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The items of a list of words; one word alone is reported with the list that it would be.
fn texts<'e>(
    entry: &'e Entry,
    message: &str,
    example: &str,
    diagnostics: &mut Diagnostics,
) -> &'e [Node] {
    match &entry.value.data {
        Data::List(items) => items,
        Data::Null | Data::Unknown | Data::Open(_) => &[],
        other => {
            let help = match other {
                Data::Text(name) => format!("write `{}: [{name}]`", entry.key),
                Data::Number(number) => format!("write `{}: [{number}]`", entry.key),
                _ => format!("write `{example}`"),
            };
            diagnostics.push(fields::wrong_type(&entry.value, message).help(help));
            &[]
        }
    }
}

/// Reads `on`: words for causes, numbers for exit codes.
fn retry_on(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<RetryOn> {
    let (mut causes, mut codes) = (Vec::new(), Vec::new());
    let message = "`on` must be a list of causes and exit codes";
    let errors_before = diagnostics.errors();
    for item in texts(entry, message, "on: [exit, timeout, 75]", diagnostics) {
        match &item.data {
            Data::Text(word) => match RETRY_CAUSES.iter().find(|cause| cause.as_str() == word) {
                Some(cause) => causes.push(*cause),
                None => diagnostics.push(unknown_cause(word, item.span)),
            },
            Data::Number(number) => match number.as_i64() {
                Some(code @ 1..=255) => codes.push(code as i32),
                _ => diagnostics.push(fields::out_of_range(
                    item.span,
                    format!("`{number}` is no exit code of a failure"),
                    "write a number from 1 to 255".to_owned(),
                )),
            },
            Data::Unknown | Data::Open(_) => return None,
            _ => diagnostics.push(fields::wrong_type(item, "`on` lists causes and exit codes")),
        }
    }
    if diagnostics.errors() > errors_before {
        return None;
    }
    if causes.is_empty() && codes.is_empty() {
        if entry.value.data != Data::Null {
            diagnostics.push(
                Diagnostic::error("wrong-value", entry.value.span, "`on` names no failure")
                    .help("remove it, or write `attempts: 1` to try nothing again"),
            );
        }
        return None;
    }
    Some(RetryOn::These { causes, codes })
}

fn unknown_cause(word: &str, span: Span) -> Diagnostic {
    if LASTING_CAUSES.iter().any(|cause| cause.as_str() == word) {
        return Diagnostic::error(
            "wrong-value",
            span,
            format!("a failure by `{word}` is not tried again"),
        )
        .label("every further attempt would meet it too")
        .help("remove it");
    }
    let known = RETRY_CAUSES.map(FailureCause::as_str);
    Diagnostic::error("wrong-value", span, format!("`{word}` is no cause of a failure"))
        .maybe_help(crate::suggest::did_you_mean(word, known))
}

/// Reads a `timeout`. `None` if it is wrong; `timeout: null` takes a default away.
pub(crate) fn timeout(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Option<Duration>> {
    if entry.value.data == Data::Null {
        return Some(None);
    }
    duration(entry, Duration::from_millis(1), MAX_TIMEOUT, diagnostics).map(Some)
}

/// A text with a unit in it.
fn with_unit<T>(
    entry: &Entry,
    parse: fn(&str) -> Result<T, String>,
    what: &str,
    example: &str,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let key = &entry.key;
    let reason = match &entry.value.data {
        Data::Text(text) => match parse(text) {
            Ok(value) => return Some(value),
            Err(reason) => reason,
        },
        Data::Number(number) => format!("`{number}` has no unit"),
        Data::Unknown | Data::Open(_) => return None,
        _ => {
            diagnostics.push(
                fields::wrong_type(&entry.value, &format!("`{key}` must be {what}"))
                    .help(format!("write {example}")),
            );
            return None;
        }
    };
    diagnostics.push(
        Diagnostic::error("wrong-value", entry.value.span, format!("`{key}` must be {what}"))
            .label(reason)
            .help(format!("write {example}")),
    );
    None
}

/// A duration from `min` to `max`.
pub(crate) fn duration(
    entry: &Entry,
    min: Duration,
    max: Duration,
    diagnostics: &mut Diagnostics,
) -> Option<Duration> {
    let example = "`30s`, `5m` or `1h30m`";
    let found = with_unit(entry, units::parse_duration, "a duration", example, diagnostics)?;
    if (min..=max).contains(&found) {
        return Some(found);
    }
    diagnostics.push(fields::out_of_range(
        entry.value.span,
        format!("`{}` is {}", entry.key, units::format_duration(found)),
        format!(
            "write a duration from {} to {}",
            units::format_duration(min),
            units::format_duration(max)
        ),
    ));
    None
}

fn memory(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Option<u64>> {
    if entry.value.data == Data::Null {
        return Some(None);
    }
    let example = "`512MB` or `2GiB`";
    let found = with_unit(entry, units::parse_memory, "a size", example, diagnostics)?;
    if found >= MIN_MEMORY {
        return Some(Some(found));
    }
    diagnostics.push(fields::out_of_range(
        entry.value.span,
        format!("`memory` is {}", units::format_memory(found)),
        "no stage runs in less than 1MB".to_owned(),
    ));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_tried_again_after_what_it_says() {
        #[track_caller]
        fn check(on: &RetryOn, cause: FailureCause, exit: Option<Exit>, expect: bool) {
            let retry = Retry { on: on.clone(), ..Retry::default() };
            let (message, chain) = (String::new(), Vec::new());
            let failure = Failure { cause, message, chain, help: None, exit };
            assert_eq!(retry.covers(&failure), expect, "{on:?} {failure:?}");
        }
        let usual = RetryOn::Transient;
        check(&usual, FailureCause::Exit, Some(Exit::Code(1)), true);
        check(&usual, FailureCause::OutOfMemory, Some(Exit::Signal(9)), false);
        check(&usual, FailureCause::Gate, None, false);
        let these = RetryOn::These { causes: vec![FailureCause::OutOfMemory], codes: vec![75] };
        check(&these, FailureCause::OutOfMemory, Some(Exit::Signal(9)), true);
        check(&these, FailureCause::Exit, Some(Exit::Code(75)), true);
        check(&these, FailureCause::Exit, Some(Exit::Code(1)), false);
        check(&these, FailureCause::Timeout, None, false);
        // An output that is missing is no exit, whatever the program returned.
        check(&these, FailureCause::Output, Some(Exit::Code(75)), false);
    }
}

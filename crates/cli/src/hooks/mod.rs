//! Hooks: what a pipeline does when a run of it has ended. A program is run ([`command`]), or what
//! happened is posted to an address ([`webhook`]).
//!
//! A hook changes nothing of its run: one that fails is a warning. All are bounded in time and in
//! what is kept of their answers; what they did is written to the run's `hooks.log`, with secrets
//! masked.

mod command;
mod payload;
mod webhook;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wick_core::RunState;
use wick_engine::RunOutcome;
use wick_engine::log::printable;
use wick_engine::mask::Masks;
use wick_engine::secrets::Values;
use wick_plan::{Hook, HookDeed, Plan};
use wick_stage::StageError;

use crate::project::Project;
use crate::render::{Ui, human};
use crate::session::Session;
use payload::Payload;

/// The file in a run's folder that tells what hooks did.
const LOG: &str = "hooks.log";

/// Of what a program printed or a server answered so much is kept, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// How a hook ended: what it answered, or why it failed. Without secrets.
struct Done {
    /// In a few words: `204 No Content`, `ended with code 3`.
    result: Result<String, String>,
    /// What it printed or answered.
    answer: String,
}

impl Done {
    fn failed(message: impl Into<String>) -> Self {
        Self { result: Err(message.into()), answer: String::new() }
    }
}

/// Does what `plan` wants done after this end of a run. Whatever goes wrong is warned of.
pub async fn after_run(plan: &Plan, outcome: &RunOutcome, session: &Session, ui: &Ui) {
    let (event, hooks) = match outcome.state {
        RunState::Succeeded => ("on_success", &plan.hooks.on_success),
        RunState::Failed => ("on_failure", &plan.hooks.on_failure),
        // Who stopped a run knows that it ended.
        RunState::Cancelled | RunState::Interrupted | RunState::Running => return,
    };
    if hooks.is_empty() {
        return;
    }
    let payload = match Payload::of(plan, outcome, event, session).await {
        Ok(payload) => payload,
        Err(error) => {
            ui.warn(format_args!("the hooks were not run: {:#}", error.error));
            return;
        }
    };
    let log = outcome.folder.join(LOG);
    for hook in hooks {
        let began = Instant::now();
        let done = one(hook, plan, &payload).await;
        write_log(&log, event, hook, &done, began.elapsed(), ui);
        if let Err(why) = &done.result {
            ui.warn(format_args!(
                "the hook {} failed: {why}; see {}",
                name(hook),
                Project::shown(&log)
            ));
        }
    }
}

/// Carries a hook out.
async fn one(hook: &Hook, plan: &Plan, payload: &Payload) -> Done {
    let texts: Vec<&str> = match &hook.deed {
        HookDeed::Command { env, .. } => env.iter().map(|(_, value)| value.as_str()).collect(),
        HookDeed::Webhook { headers, .. } => {
            headers.iter().map(|(_, value)| value.as_str()).collect()
        }
    };
    let values = match Values::look_up(&plan.secrets, texts) {
        Ok(values) => values,
        Err(error) => return Done::failed(words(&error)),
    };
    let masks = values.masks();
    let done = match &hook.deed {
        HookDeed::Command { run, shell, env } => match resolved(env, &values) {
            Ok(env) => {
                let program = command::Program { run, shell: *shell, env: &env };
                command::run(&program, plan, payload, hook.timeout, &masks).await
            }
            Err(error) => Done::failed(words(&error)),
        },
        HookDeed::Webhook { url, headers } => match resolved(headers, &values) {
            Ok(headers) => webhook::post(url, &headers, payload, hook.timeout).await,
            Err(error) => Done::failed(words(&error)),
        },
    };
    harmless(done, &masks)
}

/// Without secrets, and without what a terminal would obey.
fn harmless(done: Done, masks: &Masks) -> Done {
    let clean = |text: &str| printable(&masks.mask(text), MAX_ANSWER);
    Done {
        result: done.result.map(|text| clean(&text)).map_err(|text| clean(&text)),
        answer: clean(&done.answer),
    }
}

/// Names and values with secrets put in.
fn resolved(
    pairs: &[(String, String)],
    values: &Values,
) -> Result<Vec<(String, String)>, StageError> {
    pairs
        .iter()
        .map(|(name, value)| Ok((name.clone(), values.put_into(value, |_| None)?)))
        .collect()
}

/// An error with its mend, in one line.
fn words(error: &StageError) -> String {
    let failure = error.to_failure();
    match failure.help {
        Some(help) => format!("{} ({help})", failure.message),
        None => failure.message,
    }
}

/// What messages call a hook: its program, or the address without what may be secret in it.
fn name(hook: &Hook) -> String {
    match &hook.deed {
        HookDeed::Command { run, .. } => {
            let first = run.first().map(|text| text.lines().next().unwrap_or_default());
            let mut text = first.unwrap_or_default().to_owned();
            if text.chars().count() > 40 {
                text = text.chars().take(40).collect::<String>() + "…";
            }
            format!("`{}`", printable(&text, MAX_ANSWER))
        }
        HookDeed::Webhook { url, .. } => webhook::address(url),
    }
}

/// Adds to the run's `hooks.log`. A disk that refuses is warned of and stops nothing.
fn write_log(path: &PathBuf, event: &str, hook: &Hook, done: &Done, took: Duration, ui: &Ui) {
    let took = human::micros(i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
    let (word, text) = match &done.result {
        Ok(text) => ("ok", text),
        Err(text) => ("failed", text),
    };
    let mut entry = format!("{}Z {event} {}: {word} in {took}: {text}\n", human::now(), name(hook));
    for line in done.answer.lines() {
        entry.push_str(&format!("  | {line}\n"));
    }
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(entry.as_bytes()));
    if let Err(error) = written {
        ui.warn(format_args!("cannot write {}: {error}", Project::shown(path)));
    }
}

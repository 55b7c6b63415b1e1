//! What `wick up` says: a line for each thing that happens, for people or for programs.

use serde_json::{Value, json};
use wick_core::Timestamp;

use super::agenda::{Cause, MANY};
use crate::render::{Paint, Ui, human};

/// Writes lines to the standard output.
pub struct Log<'a> {
    ui: &'a Ui,
    json: bool,
    /// How wide the names of pipelines are.
    pub width: usize,
}

impl<'a> Log<'a> {
    /// For people, or with `json` for programs.
    pub fn new(ui: &'a Ui, json: bool) -> Self {
        Self { ui, json, width: 0 }
    }

    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Something happened to a pipeline: `event` and `details` tell it to programs, `text` to
    /// people.
    pub fn tell(&self, pipeline: &str, event: &str, paint: Paint, text: &str, details: Value) {
        if self.json {
            self.tell_programs(pipeline, event, details);
            return;
        }
        let now = human::now();
        let width = self.width;
        self.ui.print(format_args!(
            "{}  {}  {}",
            self.ui.out.paint(Paint::Faint, moment(now)),
            self.ui.out.paint(Paint::Strong, format_args!("{pipeline:width$}")),
            self.ui.out.paint(paint, text)
        ));
    }

    /// Something happened to a pipeline that people are told of otherwise.
    pub fn tell_programs(&self, pipeline: &str, event: &str, details: Value) {
        if !self.json {
            return;
        }
        let now = human::now();
        let mut line = json!({"version": 1, "time": now, "event": event, "pipeline": pipeline});
        if let (Value::Object(line), Value::Object(details)) = (&mut line, details) {
            line.extend(details);
        }
        self.ui.print(line);
    }

    /// Says something of all pipelines.
    pub fn say(&self, event: &str, text: &str) {
        if self.json {
            let now = human::now();
            self.ui.print(json!({"version": 1, "time": now, "event": event, "message": text}));
        } else {
            self.ui.note(text);
        }
    }
}

/// A moment at the begin of a line: UTC, to the second.
fn moment(time: Timestamp) -> String {
    format!("{time}Z").replacen(' ', "T", 1)
}

/// Why a run begins, in a few words.
pub fn because(cause: Cause, shown: impl Fn(Timestamp) -> String) -> String {
    match cause {
        Cause::Time(time) => format!("its time, {}", shown(time)),
        Cause::Missed { count: 1, last } => format!("its time was missed, {}", shown(last)),
        Cause::Missed { count, last } => {
            format!("{} were missed, the last {}", times(count), shown(last))
        }
        Cause::Change => "files changed".to_owned(),
    }
}

/// Why a run begins, for programs.
pub fn cause_to_json(cause: Cause) -> Value {
    match cause {
        Cause::Time(time) => json!({"kind": "time", "at": time}),
        Cause::Missed { count, last } => json!({"kind": "missed", "count": count, "last": last}),
        Cause::Change => json!({"kind": "change"}),
    }
}

/// `1 time`, `3 times`, `1,000 times or more`.
pub fn times(count: u32) -> String {
    let text = human::plural(count as usize, "time");
    if count >= MANY - 1 { format!("{text} or more") } else { text }
}

/// `in 8 h 21 min`.
pub fn from_now(time: Timestamp, now: Timestamp) -> String {
    format!("in {}", human::micros(time.micros_since(now)))
}

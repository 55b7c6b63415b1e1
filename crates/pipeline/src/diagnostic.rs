//! What is wrong with a pipeline: where, why, and the mend.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::span::Span;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// The pipeline can run, but perhaps not as meant.
    Warning,
}

impl Severity {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Another place that matters to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub span: Span,
    /// What is there.
    pub message: String,
}

/// Something wrong with a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What sort of mistake: a stable word such as `unknown-key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to say at the place itself.
    pub label: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
    /// Other places that matter.
    pub related: Vec<Related>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            span,
            message: message.into(),
            label: None,
            help: None,
            related: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Adds what to say at the place itself.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what to write instead, if that is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push(Related { span, message: message.into() });
        self
    }
}

/// How many names are compared for "did you mean" in all: a file so broken that it needs more
/// would take quadratic time, and suggestions are no help to it.
const MAX_COMPARED: usize = 50_000;

/// The instance of a stage that diagnostics are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// The stage as it is written.
    pub stage: Arc<str>,
    /// The instance.
    pub instance: Arc<str>,
    /// How many instances the stage has.
    pub count: usize,
}

/// What several instances of a stage have in common: the same sort of mistake at the same place.
type Mistake = (Arc<str>, &'static str, Span);

/// Which instances made a mistake.
#[derive(Debug)]
struct Tellers {
    /// The first, whose words are kept.
    first: Speaker,
    /// Where they stand among all diagnostics.
    places: Vec<usize>,
    /// The last, to count each once.
    last: Arc<str>,
    /// How many.
    count: usize,
}

/// Collects [`Diagnostic`]s.
#[derive(Debug, Default)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
    errors: usize,
    compared: usize,
    speaker: Option<Speaker>,
    tellers: HashMap<Mistake, Tellers>,
}

impl Diagnostics {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What follows is about this instance of a stage; about no instance if it is `None`. A
    /// mistake is written once, however many instances it is found in, so it is told once too: in
    /// the words of the first instance, with a note if others do not have it.
    pub fn enter(&mut self, speaker: Option<Speaker>) {
        self.speaker = speaker;
    }

    /// Adds `diagnostic`.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        if let Some(speaker) = &self.speaker {
            let mistake = (speaker.stage.clone(), diagnostic.code, diagnostic.span);
            match self.tellers.get_mut(&mistake) {
                None => {
                    let tellers = Tellers {
                        first: speaker.clone(),
                        places: vec![self.found.len()],
                        last: speaker.instance.clone(),
                        count: 1,
                    };
                    self.tellers.insert(mistake, tellers);
                }
                Some(tellers) if tellers.first == *speaker => tellers.places.push(self.found.len()),
                Some(tellers) => {
                    if tellers.last != speaker.instance {
                        tellers.count += 1;
                        tellers.last = speaker.instance.clone();
                    }
                    return;
                }
            }
        }
        self.found.push(diagnostic);
    }

    /// How many errors there are: compare before and after to see whether a part is sound.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// "did you mean …?" for `name` among `known`, or else the list of what is known if it is
    /// short.
    pub fn suggest<'n>(
        &mut self,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Option<String> {
        if self.compared > MAX_COMPARED {
            return None;
        }
        let compared = &mut self.compared;
        crate::suggest::did_you_mean(name, known.into_iter().inspect(|_| *compared += 1))
    }

    /// All of them, sorted by position.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        for tellers in self.tellers.values() {
            if tellers.count == tellers.first.count {
                continue;
            }
            for place in &tellers.places {
                let message = &mut self.found[*place].message;
                if message.contains(&*tellers.first.instance) && tellers.count == 1 {
                    continue;
                }
                message.push_str(&format!(", in `{}`", tellers.first.instance));
                if tellers.count > 1 {
                    let (more, all) = (tellers.count - 1, tellers.first.count);
                    message.push_str(&format!(" and {more} more of {all} instances"));
                }
            }
        }
        self.found.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.severity));
        self.found.dedup();
        self.found
    }
}

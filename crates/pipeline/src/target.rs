//! How a stage is named by another: `train`, `train.model`, `train[lr=0.1].model`, `train[*]`.

use wick_core::id::{check_label, check_name};

/// A stage, and perhaps one of its outputs, as they are named by another stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The stage.
    pub stage: String,
    /// Which of its instances.
    pub which: Which,
    /// The output, if it is named.
    pub output: Option<String>,
}

/// Which instance of a stage is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Which {
    /// It is not said: the stage has no instances, or the one with the same values is meant.
    #[default]
    Same,
    /// The one with this label.
    Label(String),
    /// All of them: `[*]`.
    All,
}

impl Target {
    /// Takes `text` apart; `None` if it is not of this form.
    pub fn parse(text: &str) -> Option<Target> {
        let (head, output) = match dot_outside_brackets(text) {
            None => (text, None),
            Some(at) => (&text[..at], Some(&text[at + 1..])),
        };
        if output.is_some_and(|output| check_name(output).is_err()) {
            return None;
        }
        let (stage, which) = match head.strip_suffix(']').and_then(|head| head.rsplit_once('[')) {
            None => (head, Which::Same),
            Some((stage, "*")) => (stage, Which::All),
            Some((stage, label)) => {
                check_label(label).ok()?;
                (stage, Which::Label(label.to_owned()))
            }
        };
        if stage.is_empty() || stage.ends_with(']') {
            return None;
        }
        Some(Target { stage: stage.to_owned(), which, output: output.map(str::to_owned) })
    }
}

/// The place of the first dot of `text` that does not stand in a label.
pub(crate) fn dot_outside_brackets(text: &str) -> Option<usize> {
    let mut inside = false;
    text.char_indices().find_map(|(at, c)| {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            '.' if !inside => return Some(at),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_named_with_labels_and_outputs() {
        #[track_caller]
        fn check(text: &str, expect: Option<(&str, Which, Option<&str>)>) {
            let expect = expect.map(|(stage, which, output)| Target {
                stage: stage.to_owned(),
                which,
                output: output.map(str::to_owned),
            });
            assert_eq!(Target::parse(text), expect, "{text}");
        }
        let label = |text: &str| Which::Label(text.to_owned());
        check("train", Some(("train", Which::Same, None)));
        check("train.model", Some(("train", Which::Same, Some("model"))));
        check("train[lr=0.1]", Some(("train", label("lr=0.1"), None)));
        check("train[lr=0.1].model", Some(("train", label("lr=0.1"), Some("model"))));
        check("train[*].model", Some(("train", Which::All, Some("model"))));
        check("f[size=3]/encode.data", Some(("f[size=3]/encode", Which::Same, Some("data"))));
        check("f[a=1]/encode[b=2]", Some(("f[a=1]/encode", label("b=2"), None)));
        check("", None);
        check(".model", None);
        check("train.", None);
        check("train.a.b", None);
        check("[x]", None);
        check("train[]", None);
        check("train[a b]", None);
        check("train[a][b]", None);
        check("train[*]x", Some(("train[*]x", Which::Same, None)));
    }
}

//! Names and ids, each a type of its own.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest a name may be, in bytes.
pub const MAX_NAME_LENGTH: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name is at least one character")]
    Empty,
    /// The text is longer than this.
    #[error("a name is at most {0} characters")]
    TooLong(usize),
    /// The first character is not a letter or an underscore.
    #[error("a name starts with a letter or `_`, not with `{0}`")]
    Start(char),
    /// A character cannot stand in a name.
    #[error("`{0}` cannot stand in a name: letters, digits, `_` and `-` can")]
    Character(char),
    /// What follows the name of an instance is not one label in brackets.
    #[error("an instance is named by one label in brackets, as in `train[lr=0.1]`")]
    Label,
    /// A character cannot stand in a label.
    #[error("`{0}` cannot stand in a label: letters, digits and `_.+-=,` can")]
    LabelCharacter(char),
}

/// Checks that `text` can name a stage, a port, a param or an experiment.
///
/// # Errors
/// Says which rule the text breaks.
pub fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAX_NAME_LENGTH {
        return Err(NameError::TooLong(MAX_NAME_LENGTH));
    }
    if !(first.is_ascii_alphabetic() || first == '_') {
        return Err(NameError::Start(first));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// The longest a stage's name may be, in bytes.
pub const MAX_STAGE_NAME_LENGTH: usize = 256;

/// The longest the label of an instance may be, in bytes.
pub const MAX_LABEL_LENGTH: usize = 64;

/// Checks that `text` can name a stage of a plan: a name, `features/encode` where it came with a
/// sub-pipeline, `train[lr=0.1]` where it is an instance of a stage that is written once.
///
/// # Errors
/// Says which rule the text breaks.
pub fn check_stage_name(text: &str) -> Result<(), NameError> {
    if text.len() > MAX_STAGE_NAME_LENGTH {
        return Err(NameError::TooLong(MAX_STAGE_NAME_LENGTH));
    }
    text.split('/').try_for_each(|segment| match segment.split_once('[') {
        None => check_name(segment),
        Some((name, rest)) => {
            check_name(name)?;
            check_label(rest.strip_suffix(']').ok_or(NameError::Label)?)
        }
    })
}

/// Checks that `text` can stand between the brackets of an instance's name.
///
/// # Errors
/// Says which rule the text breaks.
pub fn check_label(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Label);
    }
    if text.len() > MAX_LABEL_LENGTH {
        return Err(NameError::TooLong(MAX_LABEL_LENGTH));
    }
    match text.chars().find(|c| !is_label_character(*c)) {
        Some(c) => Err(NameError::LabelCharacter(c)),
        None => Ok(()),
    }
}

/// Whether `c` can stand between the brackets of an instance's name.
pub const fn is_label_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-' | '=' | ',')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name `text`, if it is one.
            ///
            /// # Errors
            /// Says which rule the text breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a stage within its plan: see [`check_stage_name`].
    StageName, check_stage_name
}
name! {
    /// The name of an input or output of a stage.
    PortName, check_name
}
name! {
    /// The name of a kind: `load`, `train`, `command`, …
    KindName, check_name
}
name! {
    /// The name of a group of runs; by default the pipeline's.
    ExperimentName, check_name
}
name! {
    /// The name of a registered model.
    ModelName, check_name
}

impl StageName {
    /// The name without the labels of instances: what is written in the pipeline file.
    ///
    /// ```
    /// let name = wick_core::StageName::new("features[size=3]/encode").unwrap();
    /// assert_eq!(name.template(), "features/encode");
    /// ```
    pub fn template(&self) -> String {
        let segments =
            self.0.split('/').map(|segment| segment.split('[').next().unwrap_or(segment));
        segments.collect::<Vec<_>>().join("/")
    }

    /// What tells an instance from the others of its stage: the labels in the name, also those of
    /// the sub-pipelines that it is a part of; empty where there are none.
    ///
    /// ```
    /// let name = wick_core::StageName::new("features[size=3]/encode").unwrap();
    /// assert_eq!(name.labels(), "size=3");
    /// ```
    pub fn labels(&self) -> String {
        self.0.split('/').filter_map(label_of).collect::<Vec<_>>().join(",")
    }

    /// The labels of an instance for one who reads it: without those of the sub-pipelines that both
    /// are a part of.
    ///
    /// ```
    /// let name = |text| wick_core::StageName::new(text).unwrap();
    /// let maker = name("features[size=3]/encode[k=1]");
    /// assert_eq!(maker.labels_for(&name("join")), "size=3,k=1");
    /// assert_eq!(maker.labels_for(&name("features[size=3]/join")), "k=1");
    /// ```
    pub fn labels_for(&self, reader: &StageName) -> String {
        // The last segment is the stage itself, in no other stage's name.
        let parents = |name: &str| name.split('/').count() - 1;
        let most = parents(&self.0).min(parents(&reader.0));
        let segments = self.0.split('/').zip(reader.0.split('/')).take(most);
        let shared = segments.take_while(|(own, other)| own == other).count();
        let labels = self.0.split('/').skip(shared).filter_map(label_of);
        labels.collect::<Vec<_>>().join(",")
    }

    /// Whether this is the stage that a person calls `text`: the stage itself, an instance of the
    /// stage `text`, or a stage of the sub-pipeline `text`.
    pub fn is_meant_by(&self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '/']))
            || self.template() == text
    }
}

/// The label in a segment of a stage's name.
fn label_of(segment: &str) -> Option<&str> {
    segment.split_once('[')?.1.strip_suffix(']')
}

/// How many characters a run id has.
pub const RUN_ID_LENGTH: usize = 12;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, so an id can be read aloud.
const ID_ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The id of a run: twelve characters, sixty random bits. People name it by a unique prefix.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Arc<str>);

impl RunId {
    /// The id made of the low sixty bits of `random`.
    pub fn from_random(random: u64) -> Self {
        let text: String = (0..RUN_ID_LENGTH)
            .map(|place| ID_ALPHABET[((random >> (5 * place)) & 31) as usize] as char)
            .collect();
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a run id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run id is {RUN_ID_LENGTH} characters of 0-9 and a-z without i, l, o, u")]
pub struct ParseRunIdError;

impl FromStr for RunId {
    type Err = ParseRunIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == RUN_ID_LENGTH && text.bytes().all(|b| ID_ALPHABET.contains(&b)) {
            Ok(Self(text.into()))
        } else {
            Err(ParseRunIdError)
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({})", self.0)
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The secret of one attempt: who holds it may publish the attempt's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_rules() {
        #[track_caller]
        fn check(text: &str, expect: Result<(), NameError>) {
            assert_eq!(StageName::new(text).map(|_| ()), expect, "{text:?}");
        }
        check("train", Ok(()));
        check("_a-1", Ok(()));
        check("", Err(NameError::Empty));
        check("1a", Err(NameError::Start('1')));
        check("a.b", Err(NameError::Character('.')));
        check("é", Err(NameError::Start('é')));
        check(&"a".repeat(129), Err(NameError::TooLong(128)));
    }

    #[test]
    fn stages_of_a_plan_have_labels_and_segments() {
        #[track_caller]
        fn check(text: &str, expect: Result<(), NameError>) {
            assert_eq!(StageName::new(text).map(|_| ()), expect, "{text:?}");
        }
        check("train[lr=0.1,width=16]", Ok(()));
        check("features[size=3]/encode", Ok(()));
        check("a[]", Err(NameError::Label));
        check("a[b", Err(NameError::Label));
        check("a[b]c", Err(NameError::Label));
        check("a[b][c]", Err(NameError::LabelCharacter(']')));
        check("a[b/c]", Err(NameError::Label));
        check("a[..\u{0}]", Err(NameError::LabelCharacter('\u{0}')));
        check("a//b", Err(NameError::Empty));
        check("a/../b", Err(NameError::Start('.')));
        check("/a", Err(NameError::Empty));
        check(&format!("a[{}]", "b".repeat(65)), Err(NameError::TooLong(64)));
        assert!(PortName::new("a/b").is_err());
    }

    #[test]
    fn a_stage_is_meant_by_its_template() {
        let name = StageName::new("features[size=3]/encode[x=1]").expect("a name");
        for text in ["features", "features[size=3]", "features/encode", "features[size=3]/encode"] {
            assert!(name.is_meant_by(text), "{text}");
        }
        assert!(name.is_meant_by(name.as_str()));
        for text in ["feature", "encode", "features/enc", "features[size=3"] {
            assert!(!name.is_meant_by(text), "{text}");
        }
    }

    #[test]
    fn a_run_id_survives_its_text() {
        let id = RunId::from_random(0x0123_4567_89ab_cdef);
        assert_eq!(id.as_str().len(), RUN_ID_LENGTH);
        assert_eq!(id.as_str().parse(), Ok(id));
        assert!("short".parse::<RunId>().is_err());
        assert!("uuuuuuuuuuuu".parse::<RunId>().is_err());
    }
}

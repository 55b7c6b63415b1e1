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
    /// The text is longer than [`MAX_NAME_LENGTH`].
    #[error("a name is at most {MAX_NAME_LENGTH} characters")]
    TooLong,
    /// The first character is not a letter or an underscore.
    #[error("a name starts with a letter or `_`, not with `{0}`")]
    Start(char),
    /// A character cannot stand in a name.
    #[error("`{0}` cannot stand in a name: letters, digits, `_` and `-` can")]
    Character(char),
}

/// Checks that `text` can name a stage, a port, a param or an experiment.
///
/// # Errors
/// Says which rule the text breaks.
pub fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > MAX_NAME_LENGTH {
        return Err(NameError::TooLong);
    }
    if !(first.is_ascii_alphabetic() || first == '_') {
        return Err(NameError::Start(first));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
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
                check_name(text)?;
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
    /// The name of a stage within its pipeline.
    StageName
}
name! {
    /// The name of an input or output of a stage.
    PortName
}
name! {
    /// The name of a kind: `load`, `train`, `command`, …
    KindName
}
name! {
    /// The name of a group of runs; by default the pipeline's.
    ExperimentName
}
name! {
    /// The name of a registered model.
    ModelName
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
        check(&"a".repeat(129), Err(NameError::TooLong));
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

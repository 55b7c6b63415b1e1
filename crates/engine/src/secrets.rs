//! Finds the values of secrets when an attempt or a hook starts, and keeps them out of sight.
//!
//! A plan holds references only. A value is read anew for each start, goes to the one process
//! that was meant to have it, as an environment variable, and is kept nowhere else.

use std::io::Read;
use std::path::Path;

use wick_pipeline::pipeline::COMMAND_KIND;
use wick_pipeline::template::{Piece, Quoting, Reference, expand, pieces};
use wick_plan::{Plan, Secret, SecretSource};
use wick_stage::{StageError, StageResult};

use crate::mask::{MIN_VALUE, Masks};

/// The scope of references to secrets: `${secrets.NAME}`.
pub const SCOPE: &str = "secrets";

/// The longest value that is read from a file, in bytes: a variable of the environment has its
/// limits, too.
const MAX_VALUE: u64 = 64 << 10;

/// The reference to the secret `name`, as it stands in a text.
pub fn reference(name: &str) -> String {
    format!("${{{SCOPE}.{name}}}")
}

/// The names of the secrets that `text` refers to.
pub fn named_in(text: &str) -> Vec<&str> {
    let names = pieces(text).into_iter().filter_map(|piece| match piece {
        Ok(Piece::Reference(Reference { scope: SCOPE, name, .. })) => Some(name),
        _ => None,
    });
    names.collect()
}

/// Values of secrets that were looked up, to be put into texts and hidden from others.
#[derive(Default)]
pub struct Values(Vec<(String, String)>);

impl std::fmt::Debug for Values {
    /// Does not show them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Values {
    /// Looks up every secret that one of `texts` refers to.
    ///
    /// # Errors
    /// If one is not declared, not there, or cannot be kept out of the log.
    pub fn look_up<'a>(
        secrets: &[Secret],
        texts: impl IntoIterator<Item = &'a str>,
    ) -> StageResult<Self> {
        let mut values = Self::default();
        for name in texts.into_iter().flat_map(named_in) {
            if values.get(name).is_some() {
                continue;
            }
            let secret = secrets.iter().find(|secret| secret.name == name).ok_or_else(|| {
                StageError::config(format!("there is no secret `{name}`"))
                    .help("declare it under `secrets` of the pipeline")
            })?;
            values.0.push((name.to_owned(), value_of(secret)?));
        }
        Ok(values)
    }

    /// The value of the secret `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What must not be seen of them.
    pub fn masks(&self) -> Masks {
        Masks::of(self.0.iter().map(|(_, value)| value.as_str()))
    }

    /// `text` with references replaced: to secrets by their values, others by what `lookup` says.
    ///
    /// # Errors
    /// If a reference leads nowhere.
    pub fn put_into(
        &self,
        text: &str,
        mut lookup: impl FnMut(&Reference<'_>) -> Option<String>,
    ) -> StageResult<String> {
        expand(text, Quoting::None, |reference| match reference.scope {
            SCOPE => self.get(reference.name).map(str::to_owned),
            _ => lookup(reference),
        })
        .map_err(|error| StageError::config(error.message).help(error.help))
    }
}

/// Looks whether every secret can be had that a stage of `plan` refers to, so that nothing begins
/// which cannot end. One that only a hook lacks changes nothing of the run.
///
/// # Errors
/// Says of the first that cannot where it was looked for.
pub fn are_there(plan: &Plan) -> StageResult<()> {
    let texts: Vec<String> = plan
        .stages
        .iter()
        .filter(|stage| !plan.secrets.is_empty() && stage.kind.as_str() == COMMAND_KIND)
        .map(|stage| stage.config["env"].to_string())
        .collect();
    Values::look_up(&plan.secrets, texts.iter().map(String::as_str)).map(drop)
}

/// What must not be seen of all `secrets` whose values can be found.
pub fn masks_of(secrets: &[Secret]) -> Masks {
    let values: Vec<String> = secrets.iter().filter_map(|secret| value_of(secret).ok()).collect();
    Masks::of(values.iter().map(String::as_str))
}

fn value_of(secret: &Secret) -> StageResult<String> {
    let name = &secret.name;
    let refused = |why: String, help: &str| {
        Err(StageError::config(format!("the secret `{name}` {why}")).help(help))
    };
    let value = match &secret.source {
        SecretSource::Environment(variable) => match std::env::var(variable) {
            Ok(value) => value,
            Err(std::env::VarError::NotPresent) => {
                return refused(
                    format!("is not there: the environment variable `{variable}` is not set"),
                    "set it for the `wick` that runs the pipeline",
                );
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                return refused(
                    format!("cannot be used: the variable `{variable}` is not UTF-8"),
                    "encode it, as Base64 for one",
                );
            }
        },
        SecretSource::File(path) => read(path).map_err(|error| {
            StageError::config(format!("the secret `{name}` cannot be read"))
                .because(std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))
                .help("see that the file is there, and that its rights allow you to read it")
        })?,
    };
    if value.contains('\0') {
        return refused(
            "holds a NUL character, which no environment variable can".to_owned(),
            "encode it, as Base64 for one",
        );
    }
    if value.len() < MIN_VALUE {
        return refused(
            format!("is shorter than {MIN_VALUE} characters, too short to be kept out of logs"),
            "see whether it is set right; what is so short is no secret, and can be a param",
        );
    }
    Ok(value)
}

/// The text of a file, without line ends at its end.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    if file.take(MAX_VALUE + 1).read_to_string(&mut text)? as u64 > MAX_VALUE {
        let message = format!("it is longer than {} KiB", MAX_VALUE >> 10);
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, source: SecretSource) -> Secret {
        Secret { name: name.to_owned(), source }
    }

    #[test]
    fn values_are_put_into_texts() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "correct horse\r\n\n").expect("written");
        let secrets = [
            secret("password", SecretSource::File(file)),
            secret("unused", SecretSource::Environment("WICK_TEST_NOT_SET".to_owned())),
        ];
        let text = "x:${secrets.password}:${run.id}";
        let values = Values::look_up(&secrets, [text, "nothing"]).expect("found");
        let put = values.put_into(text, |reference| (reference.name == "id").then(|| "r".into()));
        assert_eq!(put.expect("replaced"), "x:correct horse:r");
        assert_eq!(values.masks().mask("<correct horse>"), "<***>");
        assert_eq!(format!("{values:?}"), "[\"password\"]");
    }

    #[test]
    fn what_is_known_of_secrets_is_masked() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "correct horse\n").expect("written");
        let secrets = [
            secret("gone", SecretSource::File(folder.path().join("gone"))),
            secret("password", SecretSource::File(file)),
        ];
        assert_eq!(masks_of(&secrets).mask("+the correct horse"), "+the ***");
    }

    #[test]
    fn what_cannot_be_a_secret_is_told_without_its_value() {
        #[track_caller]
        fn check(content: &[u8], expect: &str) {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("s");
            std::fs::write(&file, content).expect("written");
            let secrets = [secret("s", SecretSource::File(file))];
            let failure = Values::look_up(&secrets, ["${secrets.s}"])
                .expect_err("it cannot be used")
                .to_failure();
            assert!(failure.message.contains(expect), "{failure:?}");
            assert!(failure.help.is_some());
        }
        check(b"abc\n", "shorter than 4");
        check(b"", "shorter than 4");
        check(b"abcd\0e", "NUL");
        check(b"\xff\xfe\xff\xfe", "cannot be read");
        check(&[b'x'; 70_000], "cannot be read");
        let secrets = [secret("s", SecretSource::Environment("WICK_TEST_NOT_SET".to_owned()))];
        let message = |text| Values::look_up(&secrets, [text]).expect_err("it fails").to_string();
        assert!(message("${secrets.s}").contains("`WICK_TEST_NOT_SET` is not set"));
        assert!(message("${secrets.t}").contains("no secret `t`"));
    }
}

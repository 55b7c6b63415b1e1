//! What the storage said, as an error that tells where, and what to look at. No message of it
//! holds credentials.

use object_store::Error;

use crate::error::ArtifactError;
use crate::place::{RemotePlace, Scheme};

/// What could not be done, and where.
pub(super) struct Failed<'a> {
    pub(super) place: &'a RemotePlace,
    /// `read`, `write`, `list`.
    pub(super) action: &'static str,
    /// The key, below the place.
    pub(super) key: Option<&'a str>,
}

impl Failed<'_> {
    pub(super) fn error(&self, error: Error) -> ArtifactError {
        let said = said(&error);
        ArtifactError::Remote {
            action: self.action,
            url: match self.key {
                Some(key) => format!("{}/{key}", self.place),
                None => self.place.to_string(),
            },
            mend: mend(self.place, &error, &said),
            source: said.into(),
        }
    }
}

/// The error with its causes, without what stands behind `?` in URLs: that may be a signature.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    without_queries(&text)
}

fn without_queries(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for (place, word) in text.split(' ').enumerate() {
        if place > 0 {
            clean.push(' ');
        }
        match word.split_once('?') {
            Some((before, after)) if before.contains("://") => {
                clean.push_str(before);
                // What closes the URL is no part of its query.
                let end = after.trim_start_matches(|c: char| !matches!(c, ')' | '"' | '\'' | '>'));
                clean.push_str("?…");
                clean.push_str(end);
            }
            _ => clean.push_str(word),
        }
    }
    clean
}

fn mend(place: &RemotePlace, error: &Error, said: &str) -> String {
    let scheme = place.scheme();
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let credentials = match scheme {
        Scheme::S3 => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        Scheme::Google => "GOOGLE_APPLICATION_CREDENTIALS, or log in with `gcloud auth`",
        Scheme::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        Scheme::Folder => return "check that the folder is mounted and may be written to".into(),
    };
    if has(&["169.254.169.254", "metadata.google.internal", "fd00:ec2"])
        || has(&["Account must be specified", "MissingCredentials"])
    {
        return format!("there are no credentials: set {credentials}");
    }
    if has(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) {
        return format!("there is no bucket `{}`: make it, or mend `artifacts:`", place.bucket());
    }
    if has(&["incorrectly configured region", "AuthorizationHeaderMalformed", "PermanentRedirect"])
    {
        return "the bucket lies in another region: set `region` of `artifacts:`, or AWS_REGION"
            .to_owned();
    }
    if has(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"]) {
        return format!("the credentials are not taken: check {credentials}");
    }
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            format!("access is denied: check {credentials}, and the rights to the bucket")
        }
        Error::NotFound { .. } => "it is not there".to_owned(),
        _ => match place.endpoint() {
            Some(endpoint) => format!("check the endpoint {endpoint} and the network"),
            None => "check the network, and the endpoint and region of `artifacts:`".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn errors_tell_what_to_look_at() {
        #[track_caller]
        fn check(url: &str, error: Error, expect: &str) {
            let place = RemotePlace::parse(url).expect("a place");
            let failed = Failed { place: &place, action: "read", key: Some("a/b") };
            let told = failed.error(error).to_string();
            assert!(told.contains(expect) && told.contains(&format!("{url}/a/b")), "{told}");
        }
        check("s3://b/p", generic("error sending to http://169.254.169.254/x"), "no credentials");
        check("s3://b", generic("<Code>NoSuchBucket</Code>"), "no bucket `b`");
        check("s3://b", generic("incorrectly configured region"), "another region");
        check("s3://b", generic("connection refused"), "the network");
        let denied = || Error::PermissionDenied { path: "a".into(), source: "403".into() };
        check("s3://b", denied(), "AWS_SECRET_ACCESS_KEY");
        check("gs://b", denied(), "GOOGLE_APPLICATION_CREDENTIALS");
        check("file:///mnt/x", denied(), "mounted");
    }

    #[test]
    fn no_signature_is_shown() {
        let place = RemotePlace::parse("az://c").expect("a place");
        let failed = Failed { place: &place, action: "read", key: None };
        let error = failed.error(generic("GET (https://h/c?sig=hunter2&se=1) failed: why?"));
        let ArtifactError::Remote { source, .. } = error else { panic!("{error}") };
        let told = source.to_string();
        assert!(!told.contains("hunter2") && told.contains("failed: why?"), "{told}");
    }
}

//! Where artifacts lie that are not (only) in a folder of this machine: a bucket and a prefix.
//!
//! A place never holds credentials. It is written into configuration files and shown in
//! messages; who may read and write there is told by the environment, as it is to the tools of
//! the clouds themselves.

use std::fmt;

/// The longest URL of a place, in bytes.
const MAX_URL_LENGTH: usize = 1024;

/// Which protocol a place is spoken to by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `s3://`: Amazon S3, and whatever speaks its protocol.
    S3,
    /// `gs://`: Google Cloud Storage.
    Google,
    /// `az://`: Azure Blob Storage.
    Azure,
    /// `file://`: a folder that several machines mount.
    Folder,
}

impl Scheme {
    const ALL: [Scheme; 4] = [Scheme::S3, Scheme::Google, Scheme::Azure, Scheme::Folder];

    /// How URLs of it begin.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Google => "gs",
            Scheme::Azure => "az",
            Scheme::Folder => "file",
        }
    }
}

/// A place for artifacts in an object storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePlace {
    scheme: Scheme,
    /// Of a folder empty.
    bucket: String,
    /// Below the bucket, without slashes at its ends; of a folder its whole path.
    prefix: String,
    endpoint: Option<String>,
    region: Option<String>,
}

/// Why a text names no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlaceError(String);

fn wrong<T>(reason: impl Into<String>) -> Result<T, PlaceError> {
    Err(PlaceError(reason.into()))
}

impl RemotePlace {
    /// Whether `text` is meant as a URL rather than as a folder.
    pub fn is_url(text: &str) -> bool {
        text.contains("://")
    }

    /// The place at `url`: `s3://bucket/prefix`, `gs://…`, `az://container/prefix`, `file:///path`.
    ///
    /// # Errors
    /// If it is none of these, or holds what a place must not hold.
    pub fn parse(url: &str) -> Result<Self, PlaceError> {
        if url.len() > MAX_URL_LENGTH {
            return wrong(format!("it is longer than {MAX_URL_LENGTH} bytes"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return wrong("it is no URL: write `s3://bucket/prefix`");
        };
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme) else {
            return wrong(format!(
                "`{scheme}` is no storage that wick knows: `s3`, `gs`, `az` and `file` are"
            ));
        };
        if rest.contains(['?', '#']) || rest.chars().any(char::is_control) {
            return wrong("it holds `?`, `#` or a control character");
        }
        let (bucket, prefix) = match scheme {
            Scheme::Folder if !rest.starts_with('/') => {
                return wrong("the path of a folder begins with a slash: `file:///mnt/wick`");
            }
            Scheme::Folder => ("", rest),
            _ => rest.split_once('/').unwrap_or((rest, "")),
        };
        if bucket.contains('@') {
            return wrong(
                "credentials do not belong into a URL: give them in the environment, as to the \
                 tools of the cloud",
            );
        }
        if scheme != Scheme::Folder {
            check_bucket(bucket)?;
        }
        let prefix = prefix.trim_matches('/');
        if prefix.split('/').any(|part| matches!(part, "." | "..") || part.is_empty())
            && !prefix.is_empty()
        {
            return wrong("its path holds `.`, `..` or two slashes in a row");
        }
        if scheme == Scheme::Folder && prefix.is_empty() {
            return wrong("the root of the file system is no place for artifacts");
        }
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Ok(Self { scheme, bucket, prefix, endpoint: None, region: None })
    }

    /// The same place behind another server than the cloud's own.
    ///
    /// # Errors
    /// If that is no `http://` or `https://` URL, or holds credentials.
    pub fn with_endpoint(mut self, endpoint: &str) -> Result<Self, PlaceError> {
        let rest = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            return wrong("an endpoint is a URL such as `https://minio.example:9000`");
        };
        if rest.contains(['@', '?', '#']) || rest.chars().any(|c| c.is_control() || c == ' ') {
            return wrong("an endpoint holds no credentials and no query");
        }
        if self.scheme == Scheme::Folder {
            return wrong("a folder has no endpoint");
        }
        self.endpoint = Some(endpoint.trim_end_matches('/').to_owned());
        Ok(self)
    }

    /// The same place in this region of the cloud.
    ///
    /// # Errors
    /// If that cannot be one, or the storage knows no regions.
    pub fn with_region(mut self, region: &str) -> Result<Self, PlaceError> {
        if self.scheme != Scheme::S3 {
            return wrong(format!("`{}` knows no regions", self.scheme.as_str()));
        }
        if region.is_empty() || !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return wrong("a region is a name such as `eu-central-1`");
        }
        self.region = Some(region.to_owned());
        Ok(self)
    }

    /// The protocol.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket or container.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The path in the bucket, without slashes at its ends; of a folder its whole path.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The server, where it is not the cloud's own.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The region, where it is said.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }
}

impl fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

fn check_bucket(bucket: &str) -> Result<(), PlaceError> {
    if bucket.is_empty() {
        return wrong("it names no bucket: write `s3://bucket/prefix`");
    }
    let can_stand = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match bucket.chars().find(|c| !can_stand(*c)) {
        Some(c) => wrong(format!("`{c}` cannot stand in the name of a bucket")),
        None if bucket.starts_with(['.', '-']) => {
            wrong("the name of a bucket begins with a letter or a digit")
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_they_are_written() {
        for url in ["s3://b", "s3://my.bucket/a/b", "gs://b/x", "az://c/d", "file:///mnt/wick"] {
            assert_eq!(RemotePlace::parse(url).expect("a place").to_string(), url);
        }
        let place = RemotePlace::parse("s3://b/a/b/").expect("a place");
        assert_eq!((place.bucket(), place.prefix()), ("b", "a/b"));
        let place = place.with_endpoint("http://[::1]:9000/").expect("an endpoint");
        assert_eq!(place.endpoint(), Some("http://[::1]:9000"));
        assert_eq!(place.with_region("eu-1").expect("a region").region(), Some("eu-1"));
        assert!(!RemotePlace::is_url("out/s3"));
    }

    #[test]
    fn what_is_no_place_says_why() {
        #[track_caller]
        fn check(url: &str, expect: &str) {
            let error = RemotePlace::parse(url).expect_err("it is wrong").to_string();
            assert!(error.contains(expect), "{error}");
        }
        check("bucket/a", "no URL");
        check("ftp://b", "`ftp` is no storage that wick knows");
        check("s3://", "names no bucket");
        check("s3:///a", "names no bucket");
        check("s3://key:secret@b/a", "credentials do not belong");
        check("s3://b c/a", "cannot stand in the name");
        check("s3://b/a/../c", "`..`");
        check("s3://b/a//c", "two slashes");
        check("s3://b/a?x=1", "holds `?`");
        check("s3://b/a\nc", "control character");
        check("file://mnt", "begins with a slash");
        check("file:///", "root of the file system");
        check(&format!("s3://b/{}", "a".repeat(2000)), "longer than");
        let place = RemotePlace::parse("s3://b").expect("a place");
        for endpoint in ["minio:9000", "http://", "http://a:b@c", "http://c/?x", "ftp://c"] {
            assert!(place.clone().with_endpoint(endpoint).is_err(), "{endpoint}");
        }
        assert!(place.with_region("eu 1").is_err());
        assert!(RemotePlace::parse("gs://b").expect("a place").with_region("eu").is_err());
    }
}

//! Where a store is: a path or a URL.

use std::path::PathBuf;

use crate::error::{StoreError, StoreResult};

/// A place that a store can be at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its URL.
    Postgres(String),
}

/// Reads a path, `sqlite://path`, or `postgres://…`.
pub(crate) fn parse(text: &str) -> StoreResult<Location> {
    let refuse = |reason: &str| StoreError::Location {
        location: without_password(text),
        reason: reason.to_owned(),
    };
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        return Ok(Location::Postgres(text.to_owned()));
    }
    let path = match text.split_once("://") {
        Some(("sqlite" | "file", path)) => path,
        Some(_) => {
            return Err(refuse("write a path, or a URL that starts with sqlite:// or postgres://"));
        }
        None => text.strip_prefix("sqlite:").unwrap_or(text),
    };
    if path.is_empty() {
        return Err(refuse("the path is empty"));
    }
    if path == ":memory:" {
        return Err(refuse("a store is kept; name a file"));
    }
    Ok(Location::Sqlite(path.into()))
}

/// A URL without the password in it, for people and logs.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    // The last `@`: a password may hold one that nobody encoded.
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let tail = match tail.split_once('?') {
        // libpq also takes the password as a parameter.
        Some((path, query)) => {
            let kept: Vec<_> =
                query.split('&').filter(|pair| !pair.starts_with("password=")).collect();
            if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
        }
        None => tail.to_owned(),
    };
    format!("{scheme}://{authority}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_told_apart() {
        #[track_caller]
        fn check(text: &str, expect: Option<Location>) {
            assert_eq!(parse(text).ok(), expect, "{text}");
        }
        let sqlite = |path: &str| Some(Location::Sqlite(path.into()));
        check(".wick/store.db", sqlite(".wick/store.db"));
        check("sqlite:///tmp/store.db", sqlite("/tmp/store.db"));
        check("sqlite://store.db", sqlite("store.db"));
        check("sqlite:store.db", sqlite("store.db"));
        let url = "postgres://me:secret@host/db";
        check(url, Some(Location::Postgres(url.to_owned())));
        check("mysql://host/db", None);
        check("sqlite://", None);
        check(":memory:", None);
        check("", None);
    }

    #[test]
    fn passwords_are_not_shown() {
        #[track_caller]
        fn check(url: &str, expect: &str) {
            assert_eq!(without_password(url), expect);
        }
        check("postgres://me:s@cret@host:5432/db", "postgres://me@host:5432/db");
        check(
            "postgres://host/db?password=x&sslmode=require",
            "postgres://host/db?sslmode=require",
        );
        check("postgres://host/db?password=x", "postgres://host/db");
        check("postgres://me@host/db", "postgres://me@host/db");
        check("store.db", "store.db");
    }
}

//! Reads what MLflow has recorded, to be loaded into a store of ours.
//!
//! MLflow keeps its runs in one of three forms: a folder of small files (`mlruns`), a database
//! (`mlflow.db`), or behind a tracking server. A [`Source`] lists the runs of a [`Place`] and reads
//! each of them whole as a [`ForeignRun`]; [`dump::of`] makes a [`RunDump`](wick_store::RunDump) of
//! it. Nothing is written here, and nothing of what is read is believed: sizes are bounded, names
//! never become paths, and a run that cannot be read is told and left out, whole.

mod database;
pub mod dump;
pub mod error;
mod folder;
mod server;

use std::path::PathBuf;

use reqwest::Url;

pub use error::{MlflowError, MlflowResult};
pub use server::Credentials;

/// The longest text of a param, a tag or a note.
pub(crate) const MAX_TEXT: usize = 1024 * 1024;

/// The longest key of a param, a metric or a tag.
pub(crate) const MAX_KEY: usize = 1024;

/// The most points that one run may have: they are in memory at once.
pub(crate) const MAX_POINTS: usize = 20_000_000;

/// The most params, tags or metrics that one run may have, of each.
pub(crate) const MAX_ENTRIES: usize = 100_000;

/// Where MLflow's runs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, usually called `mlruns`.
    Folder(PathBuf),
    /// A SQLite database, usually called `mlflow.db`.
    Database(PathBuf),
    /// A tracking server.
    Server(Url),
}

impl Place {
    /// Reads a path, `file://…`, `sqlite:///…` or `http(s)://…`, as MLflow writes them.
    ///
    /// # Errors
    /// If there is nothing at the path, or no such form.
    pub fn parse(text: &str) -> MlflowResult<Self> {
        if text.starts_with("http://") || text.starts_with("https://") {
            let url = Url::parse(text).map_err(|error| {
                MlflowError::Place(format!("the address cannot be read: {error}"))
            })?;
            return Ok(Place::Server(url));
        }
        // Three slashes lead to a relative path for SQLAlchemy, and four to an absolute one.
        if let Some(path) = text.strip_prefix("sqlite:///") {
            return Ok(Place::Database(path.into()));
        }
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.contains("://") {
            let scheme = text.split("://").next().unwrap_or_default();
            return Err(MlflowError::Place(format!(
                "`{scheme}` is not a form that is read: name a folder, a SQLite file, or the \
                 address of a tracking server"
            )));
        }
        let path = PathBuf::from(path);
        let metadata =
            std::fs::metadata(&path).map_err(|error| MlflowError::read(path.display(), error))?;
        if !metadata.is_dir() {
            return Ok(Place::Database(path));
        }
        // The folder in which MLflow was run, rather than MLflow's own.
        let inner = path.join("mlruns");
        Ok(Place::Folder(if inner.is_dir() { inner } else { path }))
    }
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// MLflow's id of it.
    pub id: String,
    /// The name of its experiment.
    pub experiment: String,
    /// When it started, in milliseconds since 1970; 0 where that is not known.
    pub started: i64,
    /// Where it lies, as the source calls it.
    pub(crate) within: String,
}

/// What is not imported, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// A run or an experiment, for people.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Skipped {
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: printable(&what.into()), why: printable(&why.into()) }
    }
}

/// All runs of a place.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those to be read, those that started first first: a parent before its children.
    pub runs: Vec<Listed>,
    /// Those that cannot or should not be read.
    pub skipped: Vec<Skipped>,
}

impl Listing {
    fn sorted(mut self) -> Self {
        self.runs.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        self
    }
}

/// How a run stands, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It runs, or waits for it.
    Running,
    /// It ended well.
    Finished,
    /// It failed.
    Failed,
    /// It was stopped.
    Killed,
}

impl Status {
    /// The status of the number or word that MLflow keeps.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "1" | "2" | "RUNNING" | "SCHEDULED" => Status::Running,
            "3" | "FINISHED" => Status::Finished,
            "4" | "FAILED" => Status::Failed,
            "5" | "KILLED" => Status::Killed,
            _ => return None,
        })
    }
}

/// The points of a metric, as they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForeignSeries {
    /// Its name.
    pub key: String,
    /// Step, time in milliseconds since 1970, and value.
    pub points: Vec<(i64, i64, f64)>,
}

/// A run, as MLflow has it.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignRun {
    /// MLflow's id of it.
    pub id: String,
    /// The name of its experiment.
    pub experiment: String,
    /// Its name.
    pub name: Option<String>,
    /// Who ran it.
    pub user: Option<String>,
    /// How it stands.
    pub status: Status,
    /// When it started, in milliseconds since 1970.
    pub started: i64,
    /// When it ended.
    pub finished: Option<i64>,
    /// Where its files are.
    pub artifacts: Option<String>,
    /// Its params.
    pub params: Vec<(String, String)>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
    /// Its metrics.
    pub series: Vec<ForeignSeries>,
}

/// A place that is being read.
pub struct Source(Form);

enum Form {
    Folder(folder::Folder),
    Database(database::Database),
    Server(server::Server),
}

impl Source {
    /// Opens `place`. Only a server asks for credentials.
    ///
    /// # Errors
    /// If there is nothing of MLflow.
    pub async fn open(place: &Place, credentials: Credentials) -> MlflowResult<Self> {
        Ok(Self(match place {
            Place::Folder(path) => Form::Folder(folder::Folder::open(path)?),
            Place::Database(path) => Form::Database(database::Database::open(path).await?),
            Place::Server(url) => Form::Server(server::Server::new(url.clone(), credentials)?),
        }))
    }

    /// Lists all runs.
    ///
    /// # Errors
    /// If the place as a whole cannot be read.
    pub async fn list(&mut self) -> MlflowResult<Listing> {
        let listing = match &mut self.0 {
            Form::Folder(folder) => folder.list()?,
            Form::Database(database) => database.list().await?,
            Form::Server(server) => server.list().await?,
        };
        Ok(listing.sorted())
    }

    /// Reads a run of the list, whole.
    ///
    /// # Errors
    /// [`MlflowError::Run`] if this run cannot be read; anything else concerns all of them.
    pub async fn run(&mut self, listed: &Listed) -> MlflowResult<ForeignRun> {
        match &mut self.0 {
            Form::Folder(folder) => folder.run(listed),
            Form::Database(database) => database.run(listed).await,
            Form::Server(server) => server.run(listed).await,
        }
    }

    /// The folder with the files of a run, where they lie beside it: there and not a link.
    pub fn artifacts(&self, listed: &Listed) -> Option<PathBuf> {
        match &self.0 {
            Form::Folder(folder) => folder.artifacts(listed),
            _ => None,
        }
    }
}

/// Whether `id` can be an id of MLflow's: what it is made of can do no harm in a path or an address.
pub(crate) fn is_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&id.len()) && id.bytes().all(fits)
}

/// A number as MLflow's databases keep it: infinity is the largest of all.
pub(crate) fn unbounded(value: f64) -> f64 {
    if value == f64::MAX {
        f64::INFINITY
    } else if value == f64::MIN {
        f64::NEG_INFINITY
    } else {
        value
    }
}

/// A name that says something: MLflow calls who is not known `unknown`.
pub(crate) fn known(name: Option<String>) -> Option<String> {
    name.filter(|name| !name.is_empty() && name != "unknown")
}

/// A text for people, on one line and not too long.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = folder.path().display().to_string();
        assert_eq!(Place::parse(&text).expect("it is there"), Place::Folder(folder.path().into()));
        std::fs::create_dir(folder.path().join("mlruns")).expect("made");
        let inner = Place::Folder(folder.path().join("mlruns"));
        assert_eq!(Place::parse(&text).expect("it is there"), inner);
        assert_eq!(Place::parse(&format!("file://{text}")).expect("it is there"), inner);
        std::fs::write(folder.path().join("mlflow.db"), "").expect("written");
        let file = Place::parse(&format!("{text}/mlflow.db")).expect("it is there");
        assert_eq!(file, Place::Database(folder.path().join("mlflow.db")));
        assert_eq!(
            Place::parse("sqlite:////data/mlflow.db").expect("a path"),
            Place::Database("/data/mlflow.db".into())
        );
        assert!(matches!(Place::parse("http://localhost:5000"), Ok(Place::Server(_))));
        for wrong in ["postgresql://u@h/db", "databricks://x", "/nonexistent", "http://"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_hold_nothing_but_letters_and_digits() {
        for id in ["2ba6dd20ce3d4a329cc1bd873c3f284e", "0", "a-b_C"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "..", "../x", "a/b", "a\\b", "a%2fb", "é", "a b", &"a".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }
}

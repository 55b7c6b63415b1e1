//! MLflow's tracking server, by its REST interface.
//!
//! Only the server that was named is asked: no redirect is followed, no proxy of the environment is
//! used, every answer is bounded in size and time, and a list that never ends is left.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{
    ForeignRun, ForeignSeries, Listed, Listing, MAX_ENTRIES, MAX_KEY, MAX_POINTS, MAX_TEXT,
    MlflowError, MlflowResult, Skipped, Status, is_id, known, printable, unbounded,
};

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many entries are asked for at once.
const PAGE: u32 = 1000;

/// The same of points, which are small; MLflow's own bound.
const POINTS_PAGE: u32 = 25_000;

/// More pages than this has no server.
const MAX_PAGES: usize = 100_000;

/// Where one run is asked for.
const RUN: &str = "runs/get";

/// Who asks a server.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A name.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token, instead of both.
    pub token: Option<String>,
}

/// A tracking server.
pub struct Server {
    base: Url,
    client: Client,
    credentials: Credentials,
}

impl Server {
    pub(crate) fn new(mut base: Url, mut credentials: Credentials) -> MlflowResult<Self> {
        let cannot = || MlflowError::Place("the address names no server".to_owned());
        if base.host_str().is_none() {
            return Err(cannot());
        }
        // What stands in the address goes before what the environment says.
        if !base.username().is_empty() {
            credentials = Credentials {
                user: Some(base.username().to_owned()),
                password: base.password().map(str::to_owned),
                token: None,
            };
            base.set_username("").map_err(|()| cannot())?;
            base.set_password(None).map_err(|()| cannot())?;
        }
        base.set_query(None);
        base.set_fragment(None);
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(TIMEOUT)
            .user_agent(concat!("wick/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| MlflowError::Server(format!("cannot be asked: {error}")))?;
        Ok(Self { base, client, credentials })
    }

    /// Asks for `path`, with a body or with a query.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> MlflowResult<Answer> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| MlflowError::Place("the address names no server".to_owned()))?
            .pop_if_empty()
            .extend(["api", "2.0", "mlflow"])
            .extend(path.split('/'));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).header("accept", "application/json");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let Credentials { user, password, token } = &self.credentials;
        request = match (token, user) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(user)) => request.basic_auth(user, password.as_deref()),
            (None, None) => request,
        };
        let response = request.send().await.map_err(broken)?;
        let status = response.status();
        let answer = read(response).await?;
        if status.is_redirection() {
            return Err(MlflowError::Server(format!(
                "answers {status} to {path}: redirects are not followed; name the server itself"
            )));
        }
        if status == StatusCode::NOT_FOUND && path == RUN {
            return Err(MlflowError::run("it is gone"));
        }
        if !status.is_success() {
            let said: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let why = said["message"].as_str().map(|text| format!(": {}", printable(text)));
            return Err(MlflowError::Server(format!(
                "answers {status} to {path}{}",
                why.unwrap_or_default()
            )));
        }
        Ok(Answer { path: path.to_owned(), body: answer })
    }

    /// Asks for page after page of a list, and gives each entry of `field` to `take`.
    async fn pages(
        &self,
        path: &str,
        field: &str,
        mut body: Value,
        mut take: impl FnMut(&Value),
    ) -> MlflowResult<()> {
        for _ in 0..MAX_PAGES {
            let answer: Value = self.ask(Method::POST, path, &[], Some(&body)).await?.read()?;
            answer[field].as_array().into_iter().flatten().for_each(&mut take);
            match answer["next_page_token"].as_str() {
                None | Some("") => return Ok(()),
                Some(token) if body["page_token"] == token => break,
                Some(token) => body["page_token"] = token.into(),
            }
        }
        Err(endless(path))
    }

    pub(crate) async fn list(&self) -> MlflowResult<Listing> {
        let mut experiments = Vec::new();
        let body = json!({"max_results": PAGE, "view_type": "ACTIVE_ONLY"});
        self.pages("experiments/search", "experiments", body, |experiment| {
            let id = text(&experiment["experiment_id"]);
            let name = text(&experiment["name"]);
            experiments.extend(id.zip(name));
        })
        .await?;
        let mut listing = Listing::default();
        for (id, name) in &experiments {
            let body = json!({
                "experiment_ids": [id], "max_results": PAGE, "run_view_type": "ACTIVE_ONLY",
            });
            self.pages("runs/search", "runs", body, |run| {
                let info = &run["info"];
                let run = text(&info["run_id"]).or_else(|| text(&info["run_uuid"]));
                let run = run.unwrap_or_default();
                let what = || format!("run {run} of {name}");
                if !is_id(&run) {
                    listing.skipped.push(Skipped::new(what(), "its id is not one of MLflow's"));
                } else if info["lifecycle_stage"] == "deleted" {
                    listing.skipped.push(Skipped::new(what(), "it was deleted"));
                } else {
                    listing.runs.push(Listed {
                        started: number(&info["start_time"]).unwrap_or_default(),
                        id: run,
                        experiment: name.clone(),
                        within: id.clone(),
                    });
                }
            })
            .await?;
        }
        Ok(listing)
    }

    pub(crate) async fn run(&self, listed: &Listed) -> MlflowResult<ForeignRun> {
        let query = [("run_id", listed.id.as_str())];
        let answer: Value = self.ask(Method::GET, RUN, &query, None).await?.read()?;
        let (info, data) = (&answer["run"]["info"], &answer["run"]["data"]);
        let status = text(&info["status"]).and_then(|text| Status::parse(&text));
        let started = number(&info["start_time"]);
        let mut series = Vec::new();
        let mut room = MAX_POINTS;
        let mut keys: Vec<String> = list(&data["metrics"], "key")?;
        keys.sort();
        keys.dedup();
        for key in keys {
            let points = self.points(&listed.id, &key, room).await?;
            room -= points.len();
            series.push(ForeignSeries { key, points });
        }
        let filled = |text: &String| !text.is_empty();
        Ok(ForeignRun {
            id: listed.id.clone(),
            experiment: listed.experiment.clone(),
            name: text(&info["run_name"]).filter(filled),
            user: known(text(&info["user_id"])),
            status: status.ok_or_else(|| MlflowError::run("its status is unknown"))?,
            started: started.ok_or_else(|| MlflowError::run("it has no start time"))?,
            finished: number(&info["end_time"]).filter(|end| *end > 0),
            artifacts: text(&info["artifact_uri"]).filter(filled),
            params: pairs(&data["params"])?,
            tags: pairs(&data["tags"])?,
            series,
        })
    }

    /// The whole history of a metric.
    async fn points(
        &self,
        run: &str,
        key: &str,
        room: usize,
    ) -> MlflowResult<Vec<(i64, i64, f64)>> {
        const PATH: &str = "metrics/get-history";
        let mut points = Vec::new();
        let page = POINTS_PAGE.to_string();
        let mut token = String::new();
        for _ in 0..MAX_PAGES {
            let mut query = vec![("run_id", run), ("metric_key", key), ("max_results", &*page)];
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let answer: History = self.ask(Method::GET, PATH, &query, None).await?.read()?;
            for point in answer.metrics {
                let value = float(&point.value)
                    .ok_or_else(|| MlflowError::run(format!("a value of {key} is no number")))?;
                let step = number(&point.step).unwrap_or_default();
                let time = number(&point.timestamp).unwrap_or_default();
                if points.len() >= room {
                    return Err(MlflowError::run("it has more points than can be read at once"));
                }
                points.push((step, time, value));
            }
            match answer.next_page_token {
                None => return Ok(points),
                Some(next) if next.is_empty() => return Ok(points),
                Some(next) if next == token => break,
                Some(next) => token = next,
            }
        }
        Err(endless(PATH))
    }
}

/// What a server answered.
struct Answer {
    path: String,
    body: Vec<u8>,
}

impl Answer {
    fn read<T: for<'de> Deserialize<'de>>(&self) -> MlflowResult<T> {
        serde_json::from_slice(&self.body).map_err(|_| {
            MlflowError::Server(format!("answers {} with something else than is asked", self.path))
        })
    }
}

/// A page of points.
#[derive(Deserialize)]
struct History {
    #[serde(default)]
    metrics: Vec<Point>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Point {
    /// Read as it is written: serde_json rounds a little where it reads quickly.
    value: Box<RawValue>,
    #[serde(default)]
    timestamp: Value,
    #[serde(default)]
    step: Value,
}

fn endless(path: &str) -> MlflowError {
    MlflowError::Server(format!("never comes to the end of {path}"))
}

fn broken(error: reqwest::Error) -> MlflowError {
    // The address may hold what is not for people's eyes.
    let error = error.without_url();
    let mut text = format!("cannot be reached: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    MlflowError::Server(text)
}

/// The body of an answer, up to a bound.
async fn read(mut response: Response) -> MlflowResult<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(MlflowError::Server("gives an answer larger than 64 MiB".to_owned()));
        }
    }
    Ok(body)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number; some servers write those of 64 bits as texts.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A number; what JSON has no number for is a text.
fn float(json: &RawValue) -> Option<f64> {
    json.get().trim_matches('"').parse().ok().map(unbounded)
}

/// One field of each entry of a list that may be missing.
fn list(value: &Value, field: &str) -> MlflowResult<Vec<String>> {
    let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.len() > MAX_ENTRIES {
        return Err(MlflowError::run("it has too many metrics, params or tags"));
    }
    let keys = entries.iter().filter_map(|entry| text(&entry[field]));
    keys.map(|key| {
        if key.len() > MAX_KEY {
            return Err(MlflowError::run("it has a name that is too long"));
        }
        Ok(key)
    })
    .collect()
}

/// A list of keys with values.
fn pairs(value: &Value) -> MlflowResult<Vec<(String, String)>> {
    let keys = list(value, "key")?;
    let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let values = entries
        .iter()
        .filter(|entry| text(&entry["key"]).is_some())
        .map(|entry| text(&entry["value"]).unwrap_or_default());
    keys.into_iter()
        .zip(values)
        .map(|(key, value)| {
            if value.len() > MAX_TEXT {
                return Err(MlflowError::run(format!("the text of `{key}` is longer than 1 MiB")));
            }
            Ok((key, value))
        })
        .collect()
}

//! The inference server: a model behind HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `POST /predict` | a prediction for each row sent, see [`crate::request`] |
//! | `GET /model` | what is served: name, version, digest, what it reads and predicts |
//! | `GET /health` | `{"status": "ok"}` |
//!
//! Every error is JSON: `{"error": "…", "help": "…"}` with a status that says whose fault it is.
//! It knows no store: whoever starts it looks the model up.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use wick_core::Digest;
use wick_nn::{Model, NnError, Predictions};

use crate::request::{RequestError, Rows};

/// The largest request that is read, in bytes.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A model with its name in the registry.
pub struct Served {
    /// The registered model, or what the user called it.
    pub name: String,
    /// Its version, if it is registered.
    pub version: Option<u32>,
    /// Its artifact, if it is one.
    pub digest: Option<Digest>,
    model: Model,
    turns: Semaphore,
}

/// Why a server could not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The model cannot be read.
    #[error("cannot load the model")]
    Model(#[source] NnError),
    /// The connection to the network failed.
    #[error("the server stopped")]
    Io(#[source] std::io::Error),
}

impl Served {
    /// Loads the model in `folder`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(
        folder: &Path,
        name: String,
        version: Option<u32>,
        digest: Option<Digest>,
    ) -> Result<Self, ServeError> {
        let model = Model::load(folder).map_err(ServeError::Model)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { name, version, digest, model, turns: Semaphore::new(processors) })
    }

    /// What is served, for `GET /model`.
    fn describe(&self) -> Value {
        let info = self.model.info();
        json!({
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "target": info.target.column,
            "task": info.target.task,
            "classes": info.target.classes,
            "columns": Rows::columns(&self.model),
            "parameters": info.parameters,
        })
    }

    fn predict(&self, rows: &Rows) -> Result<Value, RequestError> {
        let frame = rows.frame(&self.model)?;
        let inputs = self.model.encode_raw(&frame).map_err(RequestError::from_model)?;
        let predictions = self.model.predict(&inputs).map_err(RequestError::from_model)?;
        // JSON has no word for what is not a number, and a class without a probability is none.
        let lost = |row: &usize| predictions.row(*row).iter().any(|value| !value.is_finite());
        if let Some(row) = (0..predictions.rows).find(lost) {
            return Err(RequestError::boundless(row));
        }
        Ok(json!({
            "model": self.name,
            "version": self.version,
            "predictions": answers(&predictions),
        }))
    }
}

/// One object a row: class and probabilities, or a value.
fn answers(predictions: &Predictions) -> Vec<Value> {
    (0..predictions.rows)
        .map(|row| {
            let values = predictions.row(row);
            if predictions.classes.is_empty() {
                return json!({"value": values.first()});
            }
            let best = predictions.class_index(row);
            let probabilities: serde_json::Map<String, Value> = predictions
                .classes
                .iter()
                .zip(values)
                .map(|(class, value)| (class.clone(), json!(value)))
                .collect();
            json!({
                "class": predictions.classes.get(best),
                "probability": values.get(best),
                "probabilities": probabilities,
            })
        })
        .collect()
}

/// The routes of a server for `served`.
pub fn router(served: Arc<Served>) -> Router {
    Router::new()
        .route("/predict", post(predict))
        .route("/model", get(model))
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .fallback(nowhere)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn(in_time))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(served)
}

/// Answers requests on `listener` until `shutdown` is done, then finishes those under way.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    served: Arc<Served>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    axum::serve(listener, router(served))
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(ServeError::Io)
}

/// Gives up on a request that takes too long, such as one whose body does not arrive.
async fn in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let message = format!("the request took longer than {} seconds", TIMEOUT.as_secs());
        RequestError::new(
            StatusCode::REQUEST_TIMEOUT,
            message,
            "send fewer rows, or all of the body",
        )
        .into_response()
    })
}

async fn model(State(served): State<Arc<Served>>) -> Json<Value> {
    Json(served.describe())
}

async fn predict(
    State(served): State<Arc<Served>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, RequestError> {
    let body = body.map_err(|rejection| RequestError::unread(&rejection))?;
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("application/json")
        .to_owned();
    // polars and candle block: they run on threads of their own, as many at once as there are
    // processors, and further requests wait their turn.
    let turn = served.clone();
    let _turn = turn.turns.acquire().await.map_err(|_| RequestError::closing())?;
    let answer = tokio::task::spawn_blocking(move || {
        let rows = Rows::read(&media_type, &body, &served.model)?;
        served.predict(&rows)
    });
    match answer.await {
        Ok(answer) => answer.map(Json),
        Err(_) => Err(RequestError::internal()),
    }
}

async fn nowhere() -> RequestError {
    RequestError::new(
        StatusCode::NOT_FOUND,
        "there is nothing here",
        "POST /predict, GET /model and GET /health are served",
    )
}

async fn other_method() -> RequestError {
    RequestError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not answer that method",
        "POST /predict, GET /model and GET /health are served",
    )
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.message, "help": self.help});
        (self.status, Json(body)).into_response()
    }
}

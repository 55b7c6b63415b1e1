//! What a client sends to `POST /predict`.
//!
//! - `application/json`: one row as an object, `{"age": 22, "sex": "female"}`, or several as
//!   `{"rows": [{…}, {…}]}`. A row has the columns that the pipeline loaded, before any
//!   preprocessing; what is missing counts as empty. An image is a list of its values, flat or
//!   nested by rows, as they were in the training data (0 to 255 for bytes), or a text: a PNG or
//!   JPEG in base64.
//! - `image/png`, `image/jpeg`: one picture, for a model that reads one image.

use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::{ImageFormat, ImageReader, Limits};
use serde_json::{Map, Value};
use wick_data::DataFrame;
use wick_nn::{Model, NnError};
use wick_stage::{Column, ColumnType};

/// The most rows that one request may have.
pub const MAX_ROWS: usize = 10_000;

/// The longest side of a picture that is decoded, in pixels.
const MAX_SIDE: u32 = 8192;

/// Why a request cannot be answered.
#[derive(Debug)]
pub struct RequestError {
    /// Whose fault it is.
    pub status: StatusCode,
    /// What is wrong.
    pub message: String,
    /// What to send instead.
    pub help: Option<String>,
}

impl RequestError {
    /// An error with a mend.
    pub fn new(status: StatusCode, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { status, message: message.into(), help: Some(help.into()) }
    }

    fn bad(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message, help)
    }

    /// The model refused the rows.
    pub fn from_model(error: NnError) -> Self {
        let error = wick_stage::StageError::from(error);
        let failure = error.to_failure();
        let message = std::iter::once(failure.message).chain(failure.chain).collect::<Vec<_>>();
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            message: message.join(": "),
            help: failure.help,
        }
    }

    /// The body did not arrive, or is too long.
    pub fn unread(rejection: &BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let most = crate::server::MAX_BODY >> 20;
            let help = format!("send at most {most} MiB at a time");
            return Self::new(rejection.status(), "the body is too long", help);
        }
        Self::new(rejection.status(), "the body did not arrive", "send it again")
    }

    /// A row whose prediction is no number.
    pub fn boundless(row: usize) -> Self {
        let message = format!("row {}: the prediction is not a number", row + 1);
        Self::bad(message, "its values are too large: send such as the model was trained on")
    }

    /// The server is going down.
    pub fn closing() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is going down", "ask another one")
    }

    /// A defect of the server.
    pub fn internal() -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: "the prediction failed unexpectedly".to_owned(),
            help: None,
        }
    }
}

/// The rows of a request.
pub struct Rows(Vec<Map<String, Value>>);

impl Rows {
    /// The columns that the model reads: those before any preprocessing, without the target.
    pub fn columns(model: &Model) -> Vec<Column> {
        let mut columns = match model.transform() {
            Some(transform) => transform.raw_columns().to_vec(),
            None => model.info().features.iter().map(wick_nn::Feature::to_column).collect(),
        };
        columns.retain(|column| column.name != model.info().target.column);
        columns
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// If it is not of its media type, has no rows or too many, or a column is unknown.
    pub fn read(media_type: &str, body: &[u8], model: &Model) -> Result<Self, RequestError> {
        let columns = Self::columns(model);
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let mut rows = match essence {
            "application/json" | "application/x-www-form-urlencoded" | "" => rows_of_json(body)?,
            "image/png" | "image/jpeg" => vec![row_of_picture(body, &columns)?],
            other => {
                return Err(RequestError::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!("`{other}` is not understood here"),
                    "send application/json, image/png or image/jpeg",
                ));
            }
        };
        for (place, row) in rows.iter_mut().enumerate() {
            check_row(place, row, &columns, &model.info().target.column)?;
        }
        Ok(Self(rows))
    }

    /// The rows as a table.
    ///
    /// # Errors
    /// If a value is not what its column holds.
    pub fn frame(&self, model: &Model) -> Result<DataFrame, RequestError> {
        wick_data::frame_from_json(&self.0, &Self::columns(model))
            .map_err(|error| RequestError::from_model(error.into()))
    }
}

fn rows_of_json(body: &[u8]) -> Result<Vec<Map<String, Value>>, RequestError> {
    let example = r#"send a row such as {"age": 22}, or {"rows": [{"age": 22}, …]}"#;
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not JSON: {error}");
        RequestError::new(StatusCode::BAD_REQUEST, message, example)
    })?;
    let Value::Object(mut object) = value else {
        return Err(RequestError::bad("the body is not an object", example));
    };
    let rows = match object.remove("rows") {
        None => return Ok(vec![object]),
        Some(Value::Array(rows)) if object.is_empty() => rows,
        Some(_) => return Err(RequestError::bad("`rows` is not the list of rows", example)),
    };
    if rows.is_empty() || rows.len() > MAX_ROWS {
        let message = format!("{} rows were sent", rows.len());
        return Err(RequestError::bad(message, format!("send 1 to {MAX_ROWS} rows at a time")));
    }
    rows.into_iter()
        .enumerate()
        .map(|(place, row)| match row {
            Value::Object(row) => Ok(row),
            _ => Err(RequestError::bad(format!("row {} is not an object", place + 1), example)),
        })
        .collect()
}

/// Refuses unknown columns, and brings images into the form that tables have.
fn check_row(
    place: usize,
    row: &mut Map<String, Value>,
    columns: &[Column],
    target: &str,
) -> Result<(), RequestError> {
    row.remove(target);
    for (name, value) in row.iter_mut() {
        let Some(column) = columns.iter().find(|column| column.name == *name) else {
            let known: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
            let message = format!("row {}: the model knows no column `{name}`", place + 1);
            return Err(RequestError::bad(message, format!("it reads {}", known.join(", "))));
        };
        if let ColumnType::Bytes { shape } = &column.column_type {
            *value = image_value(value, shape).map_err(|error| RequestError {
                message: format!("row {}, column `{name}`: {}", place + 1, error.message),
                ..error
            })?;
        }
    }
    Ok(())
}

/// An image as the flat list of its values.
fn image_value(value: &Value, shape: &[usize]) -> Result<Value, RequestError> {
    if let Value::String(text) = value {
        let bytes = BASE64.decode(text).map_err(|_| {
            RequestError::bad(
                "the text is not base64",
                "send a PNG or JPEG in base64, or its values",
            )
        })?;
        return decode_picture(&bytes, shape);
    }
    let expect: usize = shape.iter().product();
    let mut flat = Vec::with_capacity(expect);
    flatten(value, &mut flat, expect)?;
    if flat.len() != expect {
        let message = format!("{} values where the image has {expect}", flat.len());
        return Err(RequestError::bad(message, format!("send the values of shape {shape:?}")));
    }
    Ok(Value::Array(flat))
}

fn flatten(value: &Value, flat: &mut Vec<Value>, expect: usize) -> Result<(), RequestError> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| flatten(item, flat, expect)),
        Value::Number(_) if flat.len() <= expect => {
            flat.push(value.clone());
            Ok(())
        }
        Value::Number(_) => Ok(()),
        _ => Err(RequestError::bad(
            "an image is made of numbers",
            "send a list of its values, flat or nested by rows, or a PNG in base64",
        )),
    }
}

fn row_of_picture(body: &[u8], columns: &[Column]) -> Result<Map<String, Value>, RequestError> {
    let images: Vec<_> = columns
        .iter()
        .filter_map(|column| match &column.column_type {
            ColumnType::Bytes { shape } => Some((&column.name, shape)),
            _ => None,
        })
        .collect();
    let [(name, shape)] = images.as_slice() else {
        return Err(RequestError::bad(
            "a picture was sent, but the model does not read exactly one image",
            "send a row as JSON",
        ));
    };
    Ok(Map::from_iter([((*name).clone(), decode_picture(body, shape)?)]))
}

/// Decodes a picture into an image of `shape` (rows, columns, channels), resized to fit.
fn decode_picture(bytes: &[u8], shape: &[usize]) -> Result<Value, RequestError> {
    let unreadable = |reason: String| RequestError::bad(reason, "send a PNG or JPEG");
    let format = image::guess_format(bytes)
        .ok()
        .filter(|format| matches!(format, ImageFormat::Png | ImageFormat::Jpeg))
        .ok_or_else(|| unreadable("it is neither a PNG nor a JPEG".to_owned()))?;
    let mut reader = ImageReader::with_format(std::io::Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| unreadable(error.to_string()))?;
    let (height, width, channels) = match *shape {
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => return Err(unreadable(format!("a picture does not fit the shape {shape:?}"))),
    };
    let picture = if (picture.height() as usize, picture.width() as usize) == (height, width) {
        picture
    } else {
        let filter = image::imageops::FilterType::Triangle;
        picture.resize_exact(width as u32, height as u32, filter)
    };
    let values = match channels {
        1 => picture.into_luma8().into_raw(),
        3 => picture.into_rgb8().into_raw(),
        4 => picture.into_rgba8().into_raw(),
        _ => return Err(unreadable(format!("a picture does not have {channels} channels"))),
    };
    Ok(Value::Array(values.into_iter().map(Value::from).collect()))
}

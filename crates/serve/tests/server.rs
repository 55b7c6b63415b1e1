//! The inference server over a real connection: what it answers, and what it refuses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use serde_json::{Value, json};
use wick_nn::{Model, ModelInfo};
use wick_serve::{Served, serve};

/// A classifier of 2 × 2 images whose weights are drawn from a seed.
fn image_model(folder: &Path) {
    let info: ModelInfo = serde_json::from_value(json!({
        "version": 1,
        "layers": ["flatten", {"dense": 3}],
        "features": [{
            "column": "image",
            "form": {"image": {"height": 2, "width": 2, "channels": 1}},
            "scale": 255.0,
        }],
        "target": {"column": "label", "task": "multiclass", "classes": ["a", "b", "c"]},
        "loss": "cross_entropy",
        "parameters": 15,
    }))
    .expect("a model's description");
    Model::untrained(info, None, 7).expect("layers that fit").save(folder).expect("it is saved");
}

/// A classifier of one number.
fn number_model(folder: &Path) {
    let info: ModelInfo = serde_json::from_value(json!({
        "version": 1,
        "layers": [{"dense": 3}],
        "features": [{"column": "x", "form": "number", "scale": 1.0}],
        "target": {"column": "label", "task": "multiclass", "classes": ["a", "b", "c"]},
        "loss": "cross_entropy",
        "parameters": 6,
    }))
    .expect("a model's description");
    Model::untrained(info, None, 7).expect("layers that fit").save(folder).expect("it is saved");
}

struct Server {
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

/// Starts a server of [`image_model`].
fn start() -> Server {
    start_with(image_model)
}

/// Starts a server that lives as long as the test's process.
fn start_with(model: fn(&Path)) -> Server {
    let folder = tempfile::tempdir().expect("a temporary folder");
    model(folder.path());
    let served = Served::load(folder.path(), "shapes".into(), Some(3), None).expect("it loads");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("the test waits");
            serve(listener, Arc::new(served), std::future::pending()).await.expect("it serves");
        });
    });
    Server { address: receiver.recv().expect("the server starts"), _folder: folder }
}

impl Server {
    fn ask(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .expect("it reads");
        // A server that refuses a long body early may close before it has read all of it.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("an answer is text");
        let status = answer[9..12].parse().expect("a status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn predict(&self, body: &Value) -> (u16, Value) {
        self.ask("POST", "/predict", "application/json", body.to_string().as_bytes())
    }
}

#[test]
fn an_image_gets_a_class_and_probabilities() {
    let server = start();
    let (status, flat) = server.predict(&json!({"image": [0, 128, 255, 64]}));
    assert_eq!(status, 200, "{flat}");
    assert_eq!(flat["model"], "shapes");
    assert_eq!(flat["version"], 3);
    let prediction = &flat["predictions"][0];
    let sum: f64 = ["a", "b", "c"]
        .iter()
        .map(|class| prediction["probabilities"][class].as_f64().expect("a probability"))
        .sum();
    assert!((sum - 1.0).abs() < 1e-6);
    let class = prediction["class"].as_str().expect("a class");
    assert_eq!(prediction["probability"], prediction["probabilities"][class]);

    // The same image nested, among several, and as a picture.
    let (_, nested) = server
        .predict(&json!({"rows": [{"image": [[0, 128], [255, 64]]}, {"image": [0, 0, 0, 0]}]}));
    assert_eq!(nested["predictions"][0], *prediction);
    assert_eq!(nested["predictions"].as_array().map(Vec::len), Some(2));
    let mut png = std::io::Cursor::new(Vec::new());
    let picture = image::GrayImage::from_raw(2, 2, vec![0, 128, 255, 64]).expect("four pixels");
    picture.write_to(&mut png, image::ImageFormat::Png).expect("a PNG");
    let png = png.into_inner();
    let (status, picture) = server.ask("POST", "/predict", "image/png", &png);
    assert_eq!((status, &picture["predictions"][0]), (200, prediction));
    let text = base64::engine::general_purpose::STANDARD.encode(&png);
    let (status, text) = server.predict(&json!({"image": text}));
    assert_eq!((status, &text["predictions"][0]), (200, prediction));
}

#[test]
fn what_cannot_be_answered_is_refused_with_the_mend() {
    let server = start();
    #[track_caller]
    fn check(answer: (u16, Value), status: u16, error: &str) {
        assert_eq!(answer.0, status, "{}", answer.1);
        let text = answer.1["error"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains(error), "{text}");
        assert!(answer.1["help"].is_string(), "{}", answer.1);
    }
    let json = "application/json";
    check(server.ask("POST", "/predict", json, b"{"), 400, "not JSON");
    check(server.ask("POST", "/predict", json, b"[1]"), 422, "not an object");
    check(server.ask("POST", "/predict", "text/csv", b"a"), 415, "text/csv");
    check(server.ask("POST", "/predict", "image/png", b"GIF89a"), 422, "neither a PNG");
    check(server.ask("GET", "/predict", json, b""), 405, "method");
    check(server.ask("GET", "/nowhere", json, b""), 404, "nothing here");
    check(server.predict(&json!({"rows": []})), 422, "0 rows");
    check(server.predict(&json!({"rows": [1]})), 422, "row 1 is not");
    check(server.predict(&json!({"picture": []})), 422, "`picture`");
    check(server.predict(&json!({"image": [1, 2]})), 422, "2 values where the image has 4");
    check(server.predict(&json!({"image": [1, 2, 3, "x"]})), 422, "made of numbers");
    check(server.predict(&json!({"image": [1, 2, 3, 400]})), 422, "image");
    check(server.predict(&json!({})), 422, "image");
    let long = vec![b' '; wick_serve::server::MAX_BODY + 1];
    check(server.ask("POST", "/predict", json, &long), 413, "too long");
}

#[test]
fn a_long_body_of_many_rows_is_read() {
    let server = start();
    let mut body = json!({"rows": vec![json!({"image": [0, 1, 2, 3]}); 10_000]}).to_string();
    body.push_str(&" ".repeat(wick_serve::server::MAX_BODY - body.len()));
    let (status, answer) = server.ask("POST", "/predict", "application/json", body.as_bytes());
    assert_eq!(status, 200, "{}", answer["error"]);
    assert_eq!(answer["predictions"].as_array().map(Vec::len), Some(10_000));
}

#[test]
fn a_prediction_that_is_no_number_is_refused() {
    let server = start_with(number_model);
    assert_eq!(server.predict(&json!({"x": 1.5})).0, 200);
    let (status, answer) = server.predict(&json!({"rows": [{"x": 1}, {"x": 1e300}]}));
    assert_eq!(status, 422, "{answer}");
    assert_eq!(answer["error"], "row 2: the prediction is not a number");
}

#[test]
fn the_model_describes_itself() {
    let server = start();
    let (status, model) = server.ask("GET", "/model", "", b"");
    assert_eq!(status, 200);
    assert_eq!(model["classes"], json!(["a", "b", "c"]));
    assert_eq!(model["columns"][0]["name"], "image");
    assert_eq!(server.ask("GET", "/health", "", b""), (200, json!({"status": "ok"})));
}

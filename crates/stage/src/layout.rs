//! Where things lie inside artifacts and attempt folders. Written formats are versioned in
//! their own files; these are only the names.

/// The table of a dataset as Parquet.
pub const DATASET_PARQUET: &str = "data.parquet";
/// The table of a dataset as Arrow IPC.
pub const DATASET_ARROW: &str = "data.arrow";
/// The table of a dataset as CSV: only as written by a `command` stage.
pub const DATASET_CSV: &str = "data.csv";
/// Every name that a dataset's table may have; a dataset has exactly one of them.
pub const DATASET_TABLES: [&str; 3] = [DATASET_PARQUET, DATASET_ARROW, DATASET_CSV];
/// Schema and row count of a dataset.
pub const DATASET_INFO: &str = "dataset.json";
/// The fitted transform that a dataset or a model carries.
pub const TRANSFORM: &str = "transform.json";
/// Architecture and signature of a model.
pub const MODEL_INFO: &str = "model.json";
/// Weights of a model.
pub const MODEL_WEIGHTS: &str = "weights.safetensors";
/// Metrics and tables of a report.
pub const REPORT: &str = "report.json";

/// What an attempt is to do, in its folder.
pub const ASSIGNMENT: &str = "attempt.json";
/// What a worker tells the engine, in its attempt's folder.
pub const WORKER_EVENTS: &str = "events.jsonl";
/// Everything that the attempt's process printed.
pub const LOG: &str = "log";
/// The folder in an attempt's folder that holds one entry for each output port.
pub const OUTPUTS: &str = "outputs";
/// The folder in an attempt's folder that holds a link for each input port.
pub const INPUTS: &str = "inputs";

/// The folder in a project's `.wick` folder that holds what long attempts save of their state.
pub const CHECKPOINTS: &str = "checkpoints";

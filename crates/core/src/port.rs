//! What travels on the edges of a pipeline.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a port. An edge joins equal types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortType {
    /// A table: a folder with `data.parquet` or `data.arrow`, its schema, and the transform that made it.
    Dataset,
    /// A fitted preprocessing, as JSON.
    Transform,
    /// A network: architecture and signature as JSON, weights as safetensors.
    Model,
    /// Metrics, tables and plots: JSON and SVG.
    Report,
    /// Any one file, as it is.
    File,
    /// Any folder, as it is.
    Folder,
    /// A number, a text or a list, as JSON.
    Value,
}

impl PortType {
    /// Every port type, in the order of the documentation.
    pub const ALL: [PortType; 7] = [
        PortType::Dataset,
        PortType::Transform,
        PortType::Model,
        PortType::Report,
        PortType::File,
        PortType::Folder,
        PortType::Value,
    ];

    /// The word used in pipelines.
    pub const fn as_str(self) -> &'static str {
        match self {
            PortType::Dataset => "dataset",
            PortType::Transform => "transform",
            PortType::Model => "model",
            PortType::Report => "report",
            PortType::File => "file",
            PortType::Folder => "folder",
            PortType::Value => "value",
        }
    }

    /// Whether its bytes are a folder rather than one file.
    pub const fn is_folder(self) -> bool {
        matches!(self, PortType::Dataset | PortType::Model | PortType::Report | PortType::Folder)
    }
}

impl fmt::Display for PortType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

//! The pipeline language: YAML to a typed pipeline, spans, diagnostics, references, JSON schema.

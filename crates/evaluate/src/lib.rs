//! Metrics, curves, calibration, gates.

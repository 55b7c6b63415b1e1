//! Model registry actions and the inference server.

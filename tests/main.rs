//! Integration tests: they drive the real `wick`.

mod corpus;
mod walls;

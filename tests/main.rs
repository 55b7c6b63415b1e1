//! Integration tests: they drive the real `wick`.

mod ask;
mod bucket;
mod cancel;
mod check;
mod checkpoints;
mod corpus;
mod diff;
mod export;
mod failure;
mod faults;
mod help;
mod history;
mod hooks;
mod init;
mod parts;
mod project;
mod ready;
mod recorded;
mod recovery;
mod run;
mod sandbox;
mod selection;
mod slots;
mod sql;
mod up;
mod walls;

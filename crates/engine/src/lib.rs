//! Executes plans: dispatcher, executors, retries, recovery, the command kind.

//! SIGTERM and SIGINT, at any moment of a run.

use std::time::Duration;

use rustix::process::Signal;

use super::mixed::{Subject, mend};
use super::random_kills::Random;
use crate::sandbox::{ended, send};

/// Sends `signals`, a moment apart, after a random part of a run; whatever it hits, the run ends
/// soon, and a rerun brings it to its end.
fn at_any_moment(signals: &[Signal], seed: u64, rounds: usize) {
    let mut random = Random(seed);
    for _ in 0..rounds {
        let sandbox = Subject::Mixed.sandbox();
        let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
        std::thread::sleep(Duration::from_millis(random.below(700)));
        for signal in signals {
            // That the run may be over by then is one of the moments.
            let _ = send(engine.id(), *signal);
            std::thread::sleep(Duration::from_millis(random.below(30)));
        }
        let ran = ended(engine, &["run", "pipeline.yaml"]);
        // -1: so early that nothing was there to take the signal.
        assert!(matches!(ran.code, 0 | 130 | -1), "code {}\n{}", ran.code, ran.everything());
        mend(&sandbox, Subject::Mixed, true);
    }
}

#[test]
fn a_termination_at_any_moment_leaves_a_run_that_goes_on() {
    at_any_moment(&[Signal::TERM], 1, 8);
}

#[test]
fn an_interrupt_at_any_moment_leaves_a_run_that_goes_on() {
    at_any_moment(&[Signal::INT], 2, 6);
}

#[test]
fn two_interrupts_at_any_moment_leave_a_run_that_goes_on() {
    at_any_moment(&[Signal::INT, Signal::INT], 3, 8);
}

#[test]
fn a_closed_terminal_at_any_moment_leaves_a_run_that_goes_on() {
    at_any_moment(&[Signal::HUP], 4, 4);
}

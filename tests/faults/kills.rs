//! Random `kill -9`s over a mixed pipeline. `cargo bench --bench kills` is the same at length.

use super::random_kills::{Kills, many};

/// How many kills a test run can afford.
const KILLS: usize = 25;

#[test]
fn random_kills_lose_nothing() {
    let Kills { kills, landed, .. } = many(KILLS, 20_260_211, |_| {});
    assert_eq!(kills, KILLS);
    assert!(landed > KILLS / 2, "only {landed} kills hit a run that was under way");
}

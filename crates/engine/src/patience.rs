//! Waits for a store whose server is away: it starts again, or the network is cut.

use std::time::Duration;

use wick_store::{StoreError, StoreResult};

use crate::world::{self, World};

/// How often a server that is away is asked again: for about five minutes.
pub const MAX_AWAY_TRIES: u32 = 150;

/// The wait before it is asked again; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// The longest wait between two tries.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Asks until there is an answer. Only for questions: what writes may have been done.
pub async fn ask<T, F: Future<Output = StoreResult<T>>>(
    world: &dyn World,
    mut question: impl FnMut() -> F,
) -> StoreResult<T> {
    let (mut tries, mut wait) = (1, FIRST_WAIT);
    loop {
        let answer = question().await;
        if tries == MAX_AWAY_TRIES || !answer.as_ref().is_err_and(StoreError::is_away) {
            return answer;
        }
        world::sleep(world, wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        tries += 1;
    }
}

//! One process begins runs by schedule.

use wick_core::Timestamp;
use wick_store::hold::{Asked, Hold, Holder, hold};

use crate::world::now;

pub fn holder(pid: u32) -> Holder {
    Holder { host: "here".into(), pid, since: now() }
}

#[track_caller]
pub fn ours(asked: Asked) -> Hold {
    match asked {
        Asked::Ours(hold) => hold,
        Asked::Theirs(other) => panic!("{other:?} has it"),
    }
}

/// The store at `location` is there.
pub async fn one_holds_at_a_time(location: &str) {
    let first = holder(17);
    let mut held = ours(hold(location, first.clone()).await.expect("an answer"));
    assert!(held.confirm().await.expect("an answer"));
    let Asked::Theirs(Some(found)) = hold(location, holder(18)).await.expect("an answer") else {
        panic!("two have it, or nobody knows who");
    };
    assert_eq!((found.pid, found.host.as_str()), (17, "here"));
    // A server tells by its own clock since when.
    let apart = found.since.micros_since(first.since).abs();
    assert!(
        found.since == first.since || found.since > Timestamp(1_700_000_000_000_000),
        "{apart}"
    );
    drop(held);
    drop(ours_soon(location, holder(18)).await);
}

/// The hold, as soon as the one before is gone: a server takes a while to see that a session is.
pub async fn ours_soon(location: &str, holder: Holder) -> Hold {
    for _ in 0..3_000 {
        if let Asked::Ours(hold) = hold(location, holder.clone()).await.expect("an answer") {
            return hold;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nobody gets it after the first one is gone");
}

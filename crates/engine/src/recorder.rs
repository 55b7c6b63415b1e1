//! Writes what happens into the store: everything that has come together since the last commit
//! goes into the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wick_core::{Event, EventBody};
use wick_store::{Lease, Store, StoreError, StoreResult};

use crate::patience::{self, LONGEST_WAIT, MAX_AWAY_TRIES};
use crate::world::{self, World};

/// The most events that one commit takes.
const MAX_BATCH: usize = 4096;

/// How often a write that the database refused is tried again.
const MAX_TRIES: u32 = 6;

/// How often a write is tried for which the store waited in vain for another program: about five
/// minutes, for each try waits by itself. Stages go on meanwhile.
const MAX_BUSY_TRIES: u32 = 10;

/// The wait before the first such try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// An event on its way into the store.
#[derive(Debug)]
pub struct Entry {
    /// The event.
    pub event: Event,
    /// Whether the dispatcher waits to hear that it is recorded.
    pub is_fact: bool,
}

/// Takes events until its sender is dropped, and hands each batch that is recorded to `done`, with
/// the number of facts in it. Ends at the first batch that cannot be recorded: what came after it
/// must not be.
///
/// `busy` hears who holds the store, each time that it was waited for in vain.
///
/// # Errors
/// What the store said.
pub async fn record(
    world: Arc<dyn World>,
    store: Arc<dyn Store>,
    lease: Lease,
    mut entries: mpsc::UnboundedReceiver<Entry>,
    done: impl Fn(Vec<Event>, usize),
    busy: impl Fn(&str),
) -> StoreResult<()> {
    loop {
        let mut batch = Vec::new();
        if entries.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return Ok(());
        }
        let facts = batch.iter().filter(|entry| entry.is_fact).count();
        let events: Vec<Event> = batch.into_iter().map(|entry| entry.event).collect();
        append(&*world, &*store, &lease, &events, &busy).await?;
        done(events, facts);
    }
}

/// Appends `events`, and finds out what became of them when the store does not say.
async fn append(
    world: &dyn World,
    store: &dyn Store,
    lease: &Lease,
    events: &[Event],
    busy: impl Fn(&str),
) -> StoreResult<()> {
    let mut wait = FIRST_WAIT;
    let mut in_doubt = false;
    for tries in 1.. {
        let Err(error) = store.append(lease, events).await else { return Ok(()) };
        let may_pass = matches!(error, StoreError::Unknown { .. } | StoreError::Database { .. });
        // The store has waited by itself where it is busy.
        let is_busy = matches!(error, StoreError::Busy { .. });
        if may_pass {
            world::sleep(world, wait).await;
        }
        if let StoreError::Busy { holder, .. } = &error
            && tries < MAX_BUSY_TRIES
        {
            busy(holder);
        }
        // A try that nobody confirmed may have been written, and even be written later than it
        // was looked for. Then every further one is refused, for one reason or another.
        in_doubt |= matches!(error, StoreError::Unknown { .. });
        if in_doubt && is_recorded(world, store, lease, events).await.unwrap_or(false) {
            return Ok(());
        }
        let most = match (is_busy, error.is_away()) {
            (true, _) => MAX_BUSY_TRIES,
            // Stages go on meanwhile.
            (false, true) => MAX_AWAY_TRIES,
            (false, false) => MAX_TRIES,
        };
        if !(may_pass || is_busy) || tries >= most {
            return Err(error);
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Ok(())
}

/// Whether `events`, of which all or none were written, are in the store: by the last one that is
/// kept as an event. A batch of metrics alone leaves no such trace; then it counts as not written,
/// and the points are written once more.
async fn is_recorded(
    world: &dyn World,
    store: &dyn Store,
    lease: &Lease,
    events: &[Event],
) -> StoreResult<bool> {
    let Some(last) = events.iter().rev().find(|event| event.body.is_kept()) else {
        return Ok(false);
    };
    let last = as_stored(last.clone());
    let mut tries = 1;
    let kept = loop {
        match patience::ask(world, || store.events(&lease.run, None)).await {
            Err(StoreError::Database { .. }) if tries < MAX_TRIES => {
                world::sleep(world, FIRST_WAIT * tries).await;
                tries += 1;
            }
            kept => break kept?,
        }
    };
    Ok(kept.iter().rev().any(|record| record.event == last))
}

/// An event as the store gives it back: the parts of a fingerprint are kept elsewhere.
fn as_stored(mut event: Event) -> Event {
    if let EventBody::AttemptStarted { parts, .. } = &mut event.body {
        *parts = None;
    }
    event
}

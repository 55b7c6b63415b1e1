//! What projects count by name, shared by all runs of a store: named slots, and mutexes.
//!
//! Each unit of a slot is a lock that nothing but the system keeps: with SQLite a locked file
//! beside the store, with Postgres an advisory lock of a session. So what a dead engine held is
//! free, however it died, and nothing has to be tidied up. With SQLite it is given to nobody before
//! that engine's supervisor has ended what it had started ([`dying`]); a server gives it free at once.
//!
//! Claims are all or nothing, and wait in line. Beside its units each name has a *turn*, which is
//! the right to take units of it. A claim takes the turns of all its names first, in one order for
//! all claims, and keeps them until it has its units; so whoever has waited longest for a turn is
//! next, and cannot be overtaken by a run that gives a unit back and wants the next one at once.
//! Units are held by attempts, which end without anything that is counted here; turns are waited
//! for in one order: nobody waits in a circle.

pub mod dying;
mod files;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wick_core::RunId;

use crate::error::StoreResult;
use crate::location::{self, Location};
use files::Files;
use server::Server;

/// The first wait for something that another run has; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// The longest wait between two looks.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What a claim wants of one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Want {
    /// A mutex and a slot of one name are two things.
    pub is_mutex: bool,
    /// The name.
    pub name: String,
    /// How many units there are.
    pub size: u32,
    /// How many of them are wanted: at most all.
    pub share: u32,
}

impl fmt::Display for Want {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_mutex { "mutex" } else { "slot" };
        write!(formatter, "{kind} {}", self.name)
    }
}

/// What a claim waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Obstacle {
    /// The first thing that is not free: `slot database`.
    pub what: String,
    /// The run that has it, if that can be told.
    pub holder: Option<RunId>,
    /// Why it cannot even be asked for: a server that does not answer, a full disk.
    pub trouble: Option<String>,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, ", self.what)?;
        match (&self.trouble, &self.holder) {
            (Some(trouble), _) => write!(formatter, "which cannot be asked for: {trouble}"),
            (None, Some(run)) => write!(formatter, "held by run {run}"),
            (None, None) => write!(formatter, "held by another run"),
        }
    }
}

/// The named slots and mutexes of a store, as one run sees them.
#[derive(Debug, Clone)]
pub struct Slots {
    run: RunId,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Files(Arc<Files>),
    Server(Arc<Server>),
}

/// Units that are held until this is dropped, or given back.
#[derive(Debug)]
pub struct Taken {
    units: Vec<Lock>,
}

impl Taken {
    /// Gives the units back: nothing runs any more for which they were taken. Whoever comes next
    /// has nothing to look for. Where this is only dropped, they look whether anything still ends.
    pub fn give_back(self) {
        for unit in &self.units {
            if let Lock::File { file } = unit {
                // That it cannot be written costs the next one a look.
                let _ = file.set_len(0);
            }
        }
    }
}

/// Something locked.
#[derive(Debug)]
enum Lock {
    File { file: std::fs::File },
    Session { _lock: server::Held },
}

/// What is locked: a unit of a name, or its turn.
#[derive(Debug, Clone, Copy)]
struct Key<'a> {
    want: &'a Want,
    /// `None` is the turn.
    unit: Option<u32>,
}

impl fmt::Display for Key<'_> {
    /// As part of a file's name.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.want.is_mutex { "mutex-" } else { "slot-" })?;
        for byte in self.want.name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => {
                    write!(formatter, "{}", byte as char)?;
                }
                other => write!(formatter, "%{other:02x}")?,
            }
        }
        match self.unit {
            None => formatter.write_str(".turn"),
            Some(unit) => write!(formatter, ".{unit}"),
        }
    }
}

impl Slots {
    /// The slots of the store at `location`, as `run` wants them. Nothing is touched until
    /// something is wanted.
    ///
    /// # Errors
    /// If there can be no store at `location`.
    pub fn of_store(location: &str, run: &RunId) -> StoreResult<Self> {
        let kind = match location::parse(location)? {
            Location::Sqlite(path) => Kind::Files(Arc::new(Files::beside(&path))),
            Location::Postgres(url) => Kind::Server(Arc::new(Server::new(url, run))),
        };
        Ok(Self { run: run.clone(), kind })
    }

    /// Takes all that is wanted. Waits for it as long as it takes; `waits` hears what for,
    /// whenever that changes. Whoever drops the future stands in line no more.
    pub async fn take(&self, wants: &[Want], waits: impl Fn(Obstacle)) -> Taken {
        let mut wants: Vec<&Want> = wants.iter().collect();
        // One order for all.
        wants.sort_unstable();
        let mut patience = Patience { slots: self, waits, wait: FIRST_WAIT, told: None };
        let mut turns = Vec::with_capacity(wants.len());
        for want in &wants {
            let turn = Key { want, unit: None };
            loop {
                match self.try_lock(turn).await {
                    Ok(Some(lock)) => break turns.push(lock),
                    Ok(None) => patience.lose(want, None).await,
                    Err(trouble) => patience.lose(want, Some(trouble)).await,
                }
            }
        }
        loop {
            match self.try_units(&wants).await {
                Ok(units) => break Taken { units },
                Err((want, trouble)) => patience.lose(want, trouble).await,
            }
        }
    }

    /// Takes the units that are wanted, or none. The turns are ours: nobody else takes any
    /// meanwhile.
    async fn try_units<'a>(
        &self,
        wants: &[&'a Want],
    ) -> Result<Vec<Lock>, (&'a Want, Option<String>)> {
        let mut units = Vec::new();
        for want in wants {
            let enough = units.len() + want.share.min(want.size) as usize;
            for unit in 0..want.size {
                if units.len() == enough {
                    break;
                }
                let key = Key { want, unit: Some(unit) };
                units.extend(self.try_lock(key).await.map_err(|trouble| (*want, Some(trouble)))?);
            }
            if units.len() < enough {
                return Err((want, None));
            }
        }
        Ok(units)
    }

    async fn try_lock(&self, key: Key<'_>) -> Result<Option<Lock>, String> {
        match &self.kind {
            Kind::Files(files) => {
                let locked = files.try_lock(key, &self.run).map_err(|error| error.to_string())?;
                Ok(locked.map(|file| Lock::File { file }))
            }
            Kind::Server(server) => {
                let locked = server.try_lock(key).await.map_err(|error| error.to_string())?;
                Ok(locked.map(|lock| Lock::Session { _lock: lock }))
            }
        }
    }

    /// A run, other than this one if there is, that holds units of what is wanted.
    async fn holder(&self, want: &Want) -> Option<RunId> {
        let mut own = None;
        for unit in 0..want.size {
            let key = Key { want, unit: Some(unit) };
            let holder = match &self.kind {
                Kind::Files(files) => files.holder(key),
                Kind::Server(server) => server.holder(key).await,
            };
            match holder {
                Some(run) if run == self.run => own = Some(run),
                Some(run) => return Some(run),
                None => {}
            }
        }
        own
    }
}

/// Waits, longer each time, and says what for.
struct Patience<'a, F> {
    slots: &'a Slots,
    waits: F,
    wait: Duration,
    told: Option<Obstacle>,
}

impl<F: Fn(Obstacle)> Patience<'_, F> {
    async fn lose(&mut self, want: &Want, trouble: Option<String>) {
        let holder = match trouble {
            Some(_) => None,
            None => self.slots.holder(want).await,
        };
        let obstacle = Obstacle { what: want.to_string(), holder, trouble };
        if self.told.as_ref() != Some(&obstacle) {
            (self.waits)(obstacle.clone());
            self.told = Some(obstacle);
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_file_names_that_are_apart() {
        let want = |name: &str, is_mutex| Want { is_mutex, name: name.into(), size: 1, share: 1 };
        let (slot, odd) = (want("a.b", false), want("../ä", true));
        assert_eq!(Key { want: &slot, unit: Some(3) }.to_string(), "slot-a%2eb.3");
        assert_eq!(Key { want: &odd, unit: None }.to_string(), "mutex-%2e%2e%2f%c3%a4.turn");
    }
}

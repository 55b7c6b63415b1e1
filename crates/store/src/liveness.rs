//! Whether the engine that drives a run still lives.
//!
//! On the engine's own machine the system knows: a process is named by its id and the moment when
//! it started, for ids are used again. There the lease says nothing more: a clock that was set
//! ahead, or a machine that slept, lets it run out while its engine is alive. For engines of other
//! machines the lease decides.

use std::path::Path;

use wick_core::{Timestamp, Token};

use crate::records::EngineId;

/// This process as an engine; `token` is a random number drawn for it.
pub fn this_engine(token: Token) -> EngineId {
    let pid = std::process::id();
    EngineId { host: this_host(), pid, process_start: process_start(pid).unwrap_or(0), token }
}

/// The name of this machine.
pub fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// When the process `pid` of this machine started, in clock ticks since the machine did; `None`
/// if there is no such process or the system does not tell.
pub fn process_start(pid: u32) -> Option<u64> {
    parse_start(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)). The name in field 2 may hold spaces and
/// parentheses, so fields are counted from the last `)`. A zombie has ended.
fn parse_start(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// An engine's lease, as it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseState {
    pub(crate) engine: EngineId,
    pub(crate) expires: Timestamp,
}

impl LeaseState {
    /// Whether the engine is dead: a process of this machine that is no longer there, or one of
    /// another machine whose lease ran out.
    pub(crate) fn is_dead(&self, now: Timestamp, this_host: &str) -> bool {
        // Without /proc nothing is known of processes, and the lease decides alone.
        let is_known = self.engine.host == this_host
            && self.engine.process_start != 0
            && Path::new("/proc/self/stat").exists();
        if is_known {
            process_start(self.engine.pid) != Some(self.engine.process_start)
        } else {
            self.expires <= now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_read_past_any_name() {
        let stat = "17 (a) b) (c) S 1 17 17 0 -1 4194560 9 0 0 0 0 0 0 0 20 0 1 0 98765 1 2";
        assert_eq!(parse_start(stat), Some(98_765));
        assert_eq!(parse_start(&stat.replace(" S ", " Z ")), None, "a zombie has ended");
        assert_eq!(parse_start("17 (a"), None);
        assert_eq!(parse_start(""), None);
    }

    #[test]
    fn a_dead_process_is_known_before_its_lease_ends() {
        let now = Timestamp(1_000);
        let mut lease = LeaseState { engine: this_engine(Token(1)), expires: Timestamp(2_000) };
        let host = this_host();
        assert!(!lease.is_dead(now, &host));
        assert!(!lease.is_dead(Timestamp(2_000), &host), "whatever the clock says, it is there");
        lease.engine.process_start += 1;
        assert!(lease.is_dead(now, &host), "another process has its id");
        lease.engine.host.push_str("-elsewhere");
        assert!(!lease.is_dead(now, &host), "nothing is known of other machines");
        assert!(lease.is_dead(Timestamp(2_000), &host), "its time is over");
    }
}

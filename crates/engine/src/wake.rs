//! How an engine is told to look at once whether its run is to be cancelled: by a signal from
//! another process of its machine. Without it, the next heartbeat finds out.

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;
use wick_store::{EngineId, process_start, this_host};

/// The signal. A process that does not listen for it does not notice it, whichever program it is.
const ROUSE: i32 = libc::SIGURG;

/// Changes with each call to look.
pub type Wake = watch::Receiver<u64>;

/// Listens for calls to look, from now on. Must be used on a tokio runtime.
pub fn listen() -> Wake {
    let (calls, wake) = watch::channel(0);
    // Without signals there are heartbeats.
    if let Ok(mut signals) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(ROUSE))
    {
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = calls.closed() => return,
                    called = signals.recv() => match called {
                        Some(()) => calls.send_modify(|count| *count += 1),
                        None => return,
                    },
                }
            }
        });
    }
    wake
}

/// Calls `engine` to look, if it is a process of this machine: the one that it was, and not
/// another that has its id now.
pub fn rouse(engine: &EngineId) {
    if engine.host != this_host() || process_start(engine.pid) != Some(engine.process_start) {
        return;
    }
    let pid = i32::try_from(engine.pid).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(ROUSE)) {
        // That it has ended just now is no matter: then there is nothing to cancel.
        let _ = kill_process(pid, signal);
    }
}

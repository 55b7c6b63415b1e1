//! Slots: the shares of the machine that attempts occupy.

use std::path::Path;

use wick_plan::Resources;

/// An amount of the machine: all of it, what is free, or what an attempt occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slots {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// GPUs.
    pub gpus: u32,
}

impl Slots {
    /// What this machine has: processors and memory as this process may use them.
    pub fn of_machine() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        Self { cpus, memory: machine_memory(), gpus: machine_gpus() }
    }

    /// What an attempt with these resources occupies of a machine with these slots. A stage that
    /// wants more than there is gets all of it rather than waiting for ever; the plan has warned.
    pub fn of_resources(resources: &Resources, machine: &Slots) -> Self {
        Self {
            cpus: resources.cpus.clamp(1, machine.cpus.max(1)),
            memory: resources.memory.unwrap_or(0).min(machine.memory),
            gpus: resources.gpus.min(machine.gpus),
        }
    }

    /// Whether `other` fits in this.
    pub const fn fits(&self, other: &Slots) -> bool {
        other.cpus <= self.cpus && other.memory <= self.memory && other.gpus <= self.gpus
    }

    /// Takes `other` out of this. The caller has asked [`Slots::fits`].
    pub fn take(&mut self, other: &Slots) {
        debug_assert!(self.fits(other), "{other:?} taken out of {self:?}");
        self.cpus -= other.cpus;
        self.memory -= other.memory;
        self.gpus -= other.gpus;
    }

    /// Gives `other` back.
    pub const fn give(&mut self, other: &Slots) {
        self.cpus += other.cpus;
        self.memory += other.memory;
        self.gpus += other.gpus;
    }
}

/// The memory of the machine or of the control group that this process lives in, whichever is
/// less.
fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let whole = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit).max(1));
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    limits
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok())
        .fold(whole, u64::min)
}

/// How many NVIDIA devices the system shows.
fn machine_gpus() -> u32 {
    (0..64).take_while(|device| Path::new(&format!("/dev/nvidia{device}")).exists()).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_never_occupies_more_than_there_is() {
        let machine = Slots { cpus: 2, memory: 100, gpus: 0 };
        let resources = Resources { cpus: 8, memory: Some(1000), gpus: 1, ..Resources::default() };
        assert_eq!(Slots::of_resources(&resources, &machine), machine);
        let resources = Resources { cpus: 0, ..Resources::default() };
        let least = Slots { cpus: 1, memory: 0, gpus: 0 };
        assert_eq!(Slots::of_resources(&resources, &machine), least);
    }

    #[test]
    fn the_machine_has_something() {
        let machine = Slots::of_machine();
        assert!(machine.cpus >= 1 && machine.memory > 1 << 20, "{machine:?}");
    }
}

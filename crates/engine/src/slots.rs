//! Slots: the shares of the machine, and of what is counted by name, that attempts occupy.

use std::path::Path;

use wick_plan::Resources;
use wick_store::slots::Want;

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

/// What an attempt occupies: a part of the machine, and shares of what is counted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    slots: Slots,
    names: NamesId,
}

/// The place in [`Pool::lists`] of the names that an attempt wants; most want none, which is the
/// first. So a demand is small and quickly compared, whatever stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct NamesId(u32);

const NO_NAMES: NamesId = NamesId(0);

impl Demand {
    /// Whether anything is wanted that is counted by name.
    pub fn has_names(&self) -> bool {
        self.names != NO_NAMES
    }

    /// The part of the machine alone.
    pub const fn of_machine(&self) -> Self {
        Self { slots: self.slots, names: NO_NAMES }
    }
}

/// What there is, and what of it is free.
#[derive(Debug, Clone)]
pub struct Pool {
    machine: Slots,
    free: Slots,
    names: Vec<Name>,
    /// What attempts want of names: the place of each, and how much.
    lists: Vec<Vec<(usize, u32)>>,
}

/// Something that is counted by name.
#[derive(Debug, Clone)]
struct Name {
    name: String,
    /// A mutex and a slot of one name are two things.
    is_mutex: bool,
    size: u32,
    free: u32,
}

impl Pool {
    /// The machine, and the slots that the project counts by name.
    pub fn new(machine: Slots, named: &[(String, u32)]) -> Self {
        let name = |(name, size): &(String, u32)| Name {
            name: name.clone(),
            is_mutex: false,
            size: *size,
            free: *size,
        };
        let names = named.iter().map(name).collect();
        Self { machine, free: machine, names, lists: vec![Vec::new()] }
    }

    /// What an attempt with these resources occupies. As with the machine, one that wants more of
    /// a name than there is gets all of it. A name that nobody gave a size has one slot.
    pub fn demand(&mut self, resources: &Resources) -> Demand {
        let slots = Slots::of_resources(resources, &self.machine);
        if resources.named.is_empty() && resources.mutex.is_empty() {
            return Demand { slots, names: NO_NAMES };
        }
        let mut list = Vec::new();
        for (name, share) in &resources.named {
            let place = self.name(name, false);
            list.push((place, (*share).min(self.names[place].size)));
        }
        for name in &resources.mutex {
            list.push((self.name(name, true), 1));
        }
        list.sort_unstable();
        list.dedup_by_key(|(place, _)| *place);
        let known = self.lists.iter().position(|other| *other == list);
        let place = known.unwrap_or_else(|| {
            self.lists.push(list);
            self.lists.len() - 1
        });
        Demand { slots, names: NamesId(place as u32) }
    }

    fn name(&mut self, name: &str, is_mutex: bool) -> usize {
        let known = self.names.iter().position(|n| n.name == name && n.is_mutex == is_mutex);
        known.unwrap_or_else(|| {
            self.names.push(Name { name: name.to_owned(), is_mutex, size: 1, free: 1 });
            self.names.len() - 1
        })
    }

    fn list(&self, demand: &Demand) -> &[(usize, u32)] {
        &self.lists[demand.names.0 as usize]
    }

    /// Whether there is room for `demand`.
    pub fn fits(&self, demand: &Demand) -> bool {
        self.free.fits(&demand.slots) && self.names_fit(demand)
    }

    /// Whether what `demand` wants by name is free.
    pub fn names_fit(&self, demand: &Demand) -> bool {
        demand.names == NO_NAMES
            || self.list(demand).iter().all(|(place, share)| self.names[*place].free >= *share)
    }

    /// Whether two demands want something of one name.
    pub fn share_a_name(&self, one: &Demand, other: &Demand) -> bool {
        let wants = |place| self.list(other).iter().any(|(other, _)| *other == place);
        self.list(one).iter().any(|(place, _)| wants(*place))
    }

    /// What `demand` wants by name, for those with whom the names are shared.
    pub fn wants(&self, demand: &Demand) -> Vec<Want> {
        let want = |(place, share): &(usize, u32)| {
            let Name { name, is_mutex, size, .. } = &self.names[*place];
            Want { is_mutex: *is_mutex, name: name.clone(), size: *size, share: *share }
        };
        self.list(demand).iter().map(want).collect()
    }

    /// Gives back the part of the machine, and keeps what is counted by name.
    pub fn give_machine(&mut self, demand: &Demand) {
        self.free.give(&demand.slots);
    }

    /// Gives back what is counted by name, and keeps the part of the machine.
    pub fn give_names(&mut self, demand: &Demand) {
        for (place, share) in &self.lists[demand.names.0 as usize] {
            self.names[*place].free += share;
        }
    }

    /// Occupies `demand`. The caller has asked [`Pool::fits`].
    pub fn take(&mut self, demand: &Demand) {
        debug_assert!(self.fits(demand), "{demand:?} taken out of {self:?}");
        self.free.take(&demand.slots);
        for (place, share) in &self.lists[demand.names.0 as usize] {
            self.names[*place].free -= share;
        }
    }

    /// Gives `demand` back.
    pub fn give(&mut self, demand: &Demand) {
        self.give_machine(demand);
        self.give_names(demand);
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
    fn names_are_counted_beside_the_machine() {
        let machine = Slots { cpus: 8, memory: 0, gpus: 0 };
        let mut pool = Pool::new(machine, &[("database".to_owned(), 2)]);
        let mut demand = |named: &[(&str, u32)], mutex: &[&str]| {
            pool.demand(&Resources {
                named: named.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect(),
                mutex: mutex.iter().map(|name| (*name).to_owned()).collect(),
                ..Resources::default()
            })
        };
        let one = demand(&[("database", 1)], &[]);
        let all = demand(&[("database", 9)], &[]);
        let held = demand(&[], &["database"]);
        let unsized_name = demand(&[("license", 1)], &[]);
        let plain = demand(&[], &[]);
        assert_eq!(demand(&[("database", 1)], &[]), one);
        pool.take(&one);
        assert!(pool.fits(&one) && pool.fits(&held) && pool.fits(&plain));
        assert!(!pool.fits(&all), "one of two is taken");
        assert!(pool.share_a_name(&one, &all) && !pool.share_a_name(&one, &held));
        pool.take(&held);
        assert!(!pool.fits(&held), "a mutex is held by one");
        pool.take(&unsized_name);
        assert!(!pool.fits(&unsized_name), "what nobody gave a size is one");
        pool.give(&one);
        assert!(pool.fits(&all), "all that there is");
    }

    #[test]
    fn the_machine_has_something() {
        let machine = Slots::of_machine();
        assert!(machine.cpus >= 1 && machine.memory > 1 << 20, "{machine:?}");
    }
}

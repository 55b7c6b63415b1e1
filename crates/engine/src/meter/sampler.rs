//! Samples attempts while they run, on a thread of its own: looking at all processes of a machine
//! takes milliseconds, which the engine has other uses for.
//!
//! The thread is started for the first attempt that lives for [`FIRST`]. An attempt is sampled
//! every second at first, and the seldomer the longer it lives: 60 samples in its first minute,
//! 265 in its first half hour, 3,085 in its first day.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use wick_core::{MetricPoint, Timestamp, Usage};

use super::gpu::{self, GpuReading, Gpus};
use super::processes::{GroupUse, ProcessTable};
use super::{
    CPU, DISK_READ, DISK_WRITTEN, GPU_MEMORY, GPU_POWER, GPU_UTILISATION, MEMORY, gpu_metric,
};
use crate::identity;
use crate::protocol::ProcessId;

/// How long an attempt has to live to be sampled.
pub const FIRST: Duration = Duration::from_secs(1);

/// The longest time between two samples.
const LONGEST: Duration = Duration::from_secs(30);

/// Attempts that are due so soon after each other are sampled together: to look at all processes
/// costs as much for many of them as for one.
const TOGETHER: Duration = Duration::from_millis(250);

/// For how long after a sample at the age of `age` the next one waits.
fn pause(age: Duration) -> Duration {
    (age / 60).clamp(FIRST, LONGEST)
}

/// An attempt to be sampled.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// What it is called.
    pub id: ProcessId,
    /// The process that leads its group.
    pub leader: u32,
    /// When it began, on the sampler's clock.
    pub begun: Duration,
    /// Whether its stage asks for GPUs.
    pub wants_gpus: bool,
}

/// What was seen of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Which attempt.
    pub id: ProcessId,
    /// What this sample shows.
    pub points: Vec<MetricPoint>,
    /// What all samples of the attempt show together.
    pub seen: Seen,
}

/// What all samples of an attempt show together: lower bounds, for the last sample comes before
/// the end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// Processor time, in microseconds.
    pub cpu_micros: u64,
    /// The most memory that all its processes held together, in bytes.
    pub memory_bytes: u64,
    /// Read from disks, in bytes.
    pub read_bytes: Option<u64>,
    /// Written to disks, in bytes.
    pub written_bytes: Option<u64>,
    /// The most memory of GPUs, in bytes.
    pub gpu_memory_bytes: Option<u64>,
    /// For how long GPUs were busy with it, in microseconds, added up over all of them.
    pub gpu_busy_micros: Option<u64>,
    /// What the GPUs took, in joules.
    pub gpu_joules: Option<f64>,
}

impl Seen {
    /// Adds what was seen to what the system said when the attempt ended, which leaves out what
    /// nobody took note of: children that were killed with their parent, and that several
    /// processes held memory at the same time.
    pub fn complete(&self, usage: &mut Usage) {
        usage.cpu_micros = usage.cpu_micros.max(self.cpu_micros);
        usage.max_rss_bytes = usage.max_rss_bytes.max(self.memory_bytes);
        usage.read_bytes = usage.read_bytes.max(self.read_bytes);
        usage.written_bytes = usage.written_bytes.max(self.written_bytes);
        usage.gpu_memory_bytes = self.gpu_memory_bytes;
        usage.gpu_busy_micros = self.gpu_busy_micros;
    }
}

/// An attempt that is sampled.
#[derive(Debug)]
struct Watched {
    watch: Watch,
    due: Duration,
    last: Duration,
    seen: Seen,
}

/// Takes samples. Knows no clock: it is told the time.
pub struct Sampler {
    proc: PathBuf,
    gpus: Box<dyn Gpus>,
    watched: BTreeMap<ProcessId, Watched>,
    /// What each GPU had taken, and when, when it was last read.
    taken: HashMap<u32, (Duration, Option<f64>)>,
}

impl Sampler {
    /// Reads processes under `proc`.
    pub fn new(proc: &Path, gpus: Box<dyn Gpus>) -> Self {
        Self { proc: proc.to_owned(), gpus, watched: BTreeMap::new(), taken: HashMap::new() }
    }

    /// Samples this attempt from now on.
    pub fn watch(&mut self, watch: Watch) {
        let (due, last) = (watch.begun + FIRST, watch.begun);
        let watched = Watched { watch, due, last, seen: Seen::default() };
        self.watched.insert(watch.id, watched);
    }

    /// The attempt has ended.
    pub fn forget(&mut self, id: ProcessId) {
        self.watched.remove(&id);
    }

    /// When the next sample is due.
    pub fn due(&self) -> Option<Duration> {
        self.watched.values().map(|watched| watched.due).min()
    }

    /// Samples every attempt of which a sample is due `now`; `time` is what clocks show.
    pub fn sample(&mut self, now: Duration, time: Timestamp) -> Vec<Sample> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let table = ProcessTable::read(&self.proc);
        let used: BTreeMap<ProcessId, GroupUse> = self
            .watched
            .iter()
            .filter_map(|(id, watched)| Some((*id, table.use_of(watched.watch.leader)?)))
            .collect();
        let gpus = self.read_gpus(&used, now);
        let mut samples = Vec::new();
        for (id, watched) in &mut self.watched {
            // What a GPU took since it was last read falls on those that used it meanwhile, also
            // where no sample of them is due.
            let shares = gpus.get(id).map(Vec::as_slice).unwrap_or_default();
            shares.iter().for_each(|share| share.add_to(&mut watched.seen));
            if watched.due > now + TOGETHER {
                continue;
            }
            watched.due = now + pause(now.saturating_sub(watched.watch.begun));
            if let Some(used) = used.get(id) {
                samples.push(watched.sample(used, shares, now, time));
            }
        }
        samples
    }

    /// What each attempt has of the GPUs.
    fn read_gpus(
        &mut self,
        used: &BTreeMap<ProcessId, GroupUse>,
        now: Duration,
    ) -> HashMap<ProcessId, Vec<GpuShare>> {
        let mut shares: HashMap<ProcessId, Vec<GpuShare>> = HashMap::new();
        for reading in self.gpus.read() {
            let before = self.taken.insert(reading.index, (now, reading.joules));
            let users = self.users_of(&reading, used);
            for (id, memory_bytes) in &users {
                let begun = self.watched.get(id).map_or(now, |watched| watched.last);
                let share = GpuShare::of(&reading, *memory_bytes, before, begun, now, users.len());
                shares.entry(*id).or_default().push(share);
            }
        }
        shares
    }

    /// The attempts that compute on a GPU, and what each holds of its memory.
    fn users_of(
        &self,
        reading: &GpuReading,
        used: &BTreeMap<ProcessId, GroupUse>,
    ) -> Vec<(ProcessId, Option<u64>)> {
        let mut users = Vec::new();
        for (id, used) in used {
            let own = || reading.processes.iter().filter(|(pid, _)| used.pids.contains(pid));
            if own().next().is_some() {
                let held = own().filter_map(|(_, bytes)| *bytes);
                users.push((*id, own().any(|(_, bytes)| bytes.is_some()).then(|| held.sum())));
            }
        }
        if !users.is_empty() || reading.processes.is_empty() {
            return users;
        }
        // In a container the driver numbers processes as the host does. Then whoever asks for
        // GPUs is taken for the one that uses them, as long as that leaves no doubt.
        let mut wanting = used.keys().filter(|id| self.watched[*id].watch.wants_gpus);
        match (wanting.next(), wanting.next()) {
            (Some(only), None) => vec![(*only, reading.memory_bytes)],
            _ => users,
        }
    }
}

/// What an attempt has of a GPU.
#[derive(Debug, Clone)]
struct GpuShare {
    index: u32,
    utilisation: Option<f64>,
    watts: Option<f64>,
    memory_bytes: Option<u64>,
    busy_micros: Option<u64>,
    joules: Option<f64>,
}

impl GpuShare {
    /// The share of one of `users` attempts; `before` is when the GPU was read last, and what it
    /// had taken by then.
    fn of(
        reading: &GpuReading,
        memory_bytes: Option<u64>,
        before: Option<(Duration, Option<f64>)>,
        begun: Duration,
        now: Duration,
        users: usize,
    ) -> Self {
        let users = users.max(1) as f64;
        let since = before.map_or(begun, |(at, _)| at.max(begun));
        let seconds = now.saturating_sub(since).as_secs_f64();
        let counted = match (before, reading.joules) {
            // The counter goes on for all: it says what this attempt took only if it was there.
            (Some((at, Some(before))), Some(after)) if at >= begun => Some(after - before),
            _ => None,
        };
        let joules = counted.filter(|joules| *joules >= 0.0);
        Self {
            index: reading.index,
            utilisation: reading.utilisation,
            watts: reading.watts,
            memory_bytes,
            busy_micros: reading.utilisation.map(|part| (part * seconds * 1e6 / users) as u64),
            joules: joules
                .or_else(|| reading.watts.map(|watts| watts * seconds))
                .map(|joules| joules / users),
        }
    }

    fn add_to(&self, seen: &mut Seen) {
        if let Some(micros) = self.busy_micros {
            *seen.gpu_busy_micros.get_or_insert(0) += micros;
        }
        if let Some(joules) = self.joules {
            *seen.gpu_joules.get_or_insert(0.0) += joules;
        }
    }
}

impl Watched {
    fn sample(
        &mut self,
        used: &GroupUse,
        shares: &[GpuShare],
        now: Duration,
        time: Timestamp,
    ) -> Sample {
        let Watch { id, begun, .. } = self.watch;
        // A process that was in the sum can have ended without anybody's note of it.
        let cpu = used.cpu_micros.max(self.seen.cpu_micros);
        let micros = now.saturating_sub(self.last).as_micros().max(1) as f64;
        let seen = &mut self.seen;
        let mut points = vec![
            (CPU.to_owned(), (cpu - seen.cpu_micros) as f64 / micros),
            (MEMORY.to_owned(), used.memory_bytes as f64),
        ];
        self.last = now;
        seen.cpu_micros = cpu;
        seen.memory_bytes = seen.memory_bytes.max(used.memory_bytes);
        seen.read_bytes = seen.read_bytes.max(used.read_bytes);
        seen.written_bytes = seen.written_bytes.max(used.written_bytes);
        points.extend(seen.read_bytes.map(|bytes| (DISK_READ.to_owned(), bytes as f64)));
        points.extend(seen.written_bytes.map(|bytes| (DISK_WRITTEN.to_owned(), bytes as f64)));
        for share in shares {
            let bytes = share.memory_bytes.map(|bytes| bytes as f64);
            let values = [
                (GPU_UTILISATION, share.utilisation),
                (GPU_MEMORY, bytes),
                (GPU_POWER, share.watts),
            ];
            points.extend(
                values
                    .into_iter()
                    .filter_map(|(what, value)| Some((gpu_metric(share.index, what), value?))),
            );
        }
        let held = shares.iter().filter_map(|share| share.memory_bytes);
        let held = shares.iter().any(|share| share.memory_bytes.is_some()).then(|| held.sum());
        seen.gpu_memory_bytes = seen.gpu_memory_bytes.max(held);
        let step = now.saturating_sub(begun).as_secs() as i64;
        let points = points
            .into_iter()
            .map(|(key, value)| MetricPoint { key: key.into(), step, time, value })
            .collect();
        Sample { id, points, seen: self.seen }
    }
}

/// What the thread is told.
enum Order {
    Watch(Watch),
    Forget(ProcessId),
}

/// A thread that samples. It ends when this is dropped.
pub struct SamplerThread {
    orders: Option<mpsc::Sender<Order>>,
    clock: Instant,
}

impl SamplerThread {
    /// None yet: the thread is started for the first attempt. `clock` is when its time began.
    pub const fn new(clock: Instant) -> Self {
        Self { orders: None, clock }
    }

    /// Samples an attempt from now on, and hands what it shows to `take`.
    pub fn watch(&mut self, watch: Watch, take: impl Fn(Sample) + Send + 'static) {
        let clock = self.clock;
        let orders = self.orders.get_or_insert_with(|| {
            let (orders, inbox) = mpsc::channel();
            let serve = move || {
                let sampler = Sampler::new(Path::new("/proc"), gpu::open());
                serve(sampler, &inbox, clock, take);
            };
            // Without a thread nothing is sampled, which nothing depends on.
            let _ = thread::Builder::new().name("wick-sampler".to_owned()).spawn(serve);
            orders
        });
        let _ = orders.send(Order::Watch(watch));
    }

    /// The attempt has ended.
    pub fn forget(&self, id: ProcessId) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::Forget(id));
        }
    }
}

fn serve(
    mut sampler: Sampler,
    orders: &mpsc::Receiver<Order>,
    clock: Instant,
    take: impl Fn(Sample),
) {
    loop {
        let wait = match sampler.due() {
            Some(due) => due.saturating_sub(clock.elapsed()),
            None => Duration::MAX,
        };
        match orders.recv_timeout(wait) {
            Ok(Order::Watch(watch)) => sampler.watch(watch),
            Ok(Order::Forget(id)) => sampler.forget(id),
            Err(RecvTimeoutError::Timeout) => {
                sampler.sample(clock.elapsed(), identity::now()).into_iter().for_each(&take);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::processes::tests::FakeProc;
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// GPUs that a test sets.
    #[derive(Clone, Default)]
    struct FakeGpus(Arc<Mutex<Vec<GpuReading>>>);

    impl Gpus for FakeGpus {
        fn read(&mut self) -> Vec<GpuReading> {
            self.0.lock().expect("nobody panicked").clone()
        }
    }

    fn watch(id: ProcessId, leader: u32) -> Watch {
        Watch { id, leader, begun: seconds(0), wants_gpus: false }
    }

    fn values(sample: &Sample) -> Vec<(&str, i64, f64)> {
        sample.points.iter().map(|point| (&*point.key, point.step, point.value)).collect()
    }

    #[test]
    fn an_attempt_is_sampled_from_its_first_second() {
        let proc = FakeProc::new();
        let mut sampler = Sampler::new(proc.path(), Box::new(FakeGpus::default()));
        proc.process([10, 1, 10], [50, 1], Some([4096, 0]));
        sampler.watch(watch(1, 10));
        assert_eq!(sampler.due(), Some(seconds(1)));
        assert_eq!(sampler.sample(Duration::from_millis(999), Timestamp(0)), []);
        let samples = sampler.sample(seconds(1), Timestamp(7));
        let page = samples[0].seen.memory_bytes as f64;
        let expect =
            [(CPU, 1, 0.5), (MEMORY, 1, page), (DISK_READ, 1, 4096.0), (DISK_WRITTEN, 1, 0.0)];
        assert_eq!(values(&samples[0]), expect);
        assert_eq!(samples[0].points[0].time, Timestamp(7));
        // A second process has come, and later goes without a trace.
        proc.process([11, 10, 10], [100, 3], Some([0, 512]));
        let samples = sampler.sample(seconds(2), Timestamp(8));
        assert_eq!(values(&samples[0])[..2], [(CPU, 2, 1.0), (MEMORY, 2, 4.0 * page)]);
        std::fs::remove_dir_all(proc.path().join("11")).expect("removed");
        let samples = sampler.sample(seconds(3), Timestamp(9));
        assert_eq!(values(&samples[0])[..2], [(CPU, 3, 0.0), (MEMORY, 3, page)]);
        let mut usage = Usage { cpu_micros: 600_000, max_rss_bytes: 1, ..Usage::default() };
        samples[0].seen.complete(&mut usage);
        assert_eq!(usage.cpu_micros, 1_500_000);
        assert_eq!(usage.max_rss_bytes, 4 * page as u64);
        assert_eq!((usage.read_bytes, usage.written_bytes), (Some(4096), Some(512)));
        assert_eq!((usage.gpu_memory_bytes, usage.gpu_busy_micros), (None, None));
        sampler.forget(1);
        assert_eq!(sampler.due(), None);
    }

    #[test]
    fn a_long_attempt_is_sampled_ever_seldomer() {
        let mut samples = 0;
        let mut age = FIRST;
        let mut within = |limit: Duration| {
            while age <= limit {
                samples += 1;
                age += pause(age);
            }
            samples
        };
        assert_eq!(within(seconds(60)), 60);
        assert_eq!(within(seconds(1800)), 265);
        assert_eq!(within(seconds(86_400)), 3085);
    }

    #[test]
    fn gpus_are_shared_by_those_that_use_them() {
        let proc = FakeProc::new();
        let gpus = FakeGpus::default();
        let set = |joules: f64, processes: &[(u32, Option<u64>)]| {
            let reading = GpuReading {
                index: 0,
                utilisation: Some(0.5),
                watts: Some(100.0),
                joules: Some(joules),
                memory_bytes: Some(9000),
                processes: processes.to_vec(),
            };
            *gpus.0.lock().expect("nobody panicked") = vec![reading];
        };
        let mut sampler = Sampler::new(proc.path(), Box::new(gpus.clone()));
        proc.process([10, 1, 10], [0, 1], None);
        proc.process([20, 1, 20], [0, 1], None);
        proc.process([30, 1, 30], [0, 1], None);
        for (id, leader) in [(1, 10), (2, 20), (3, 30)] {
            sampler.watch(watch(id, leader));
        }
        // What it took before is not known: its power is what there is to go by.
        set(1000.0, &[(10, Some(3000)), (20, Some(1000))]);
        let samples = sampler.sample(seconds(1), Timestamp(0));
        let expect = [
            ("system.gpu0.utilisation", 1, 0.5),
            ("system.gpu0.memory", 1, 3000.0),
            ("system.gpu0.power", 1, 100.0),
        ];
        assert_eq!(values(&samples[0])[2..], expect);
        assert_eq!(samples[0].seen.gpu_joules, Some(50.0), "half of 100 W for a second");
        assert_eq!(samples[0].seen.gpu_busy_micros, Some(250_000));
        assert_eq!(samples[1].seen.gpu_memory_bytes, Some(1000));
        assert_eq!(samples[2].seen.gpu_joules, None);
        // From here on its counter is.
        set(1080.0, &[(10, Some(2000))]);
        let samples = sampler.sample(seconds(2), Timestamp(0));
        assert_eq!(samples[0].seen.gpu_joules, Some(130.0));
        assert_eq!(samples[0].seen.gpu_memory_bytes, Some(3000));
        assert_eq!(samples[1].seen.gpu_joules, Some(50.0));
    }

    #[test]
    fn in_a_container_the_one_that_asks_for_gpus_uses_them() {
        let proc = FakeProc::new();
        let gpus = FakeGpus::default();
        let processes = vec![(70_001, Some(5000))];
        let reading = GpuReading { memory_bytes: Some(6000), processes, ..GpuReading::default() };
        gpus.0.lock().expect("nobody panicked").push(reading);
        let mut sampler = Sampler::new(proc.path(), Box::new(gpus));
        proc.process([10, 1, 10], [0, 1], None);
        proc.process([20, 1, 20], [0, 1], None);
        sampler.watch(Watch { wants_gpus: true, ..watch(1, 10) });
        sampler.watch(watch(2, 20));
        let samples = sampler.sample(seconds(1), Timestamp(0));
        let held = |sample: &Sample| sample.seen.gpu_memory_bytes;
        assert_eq!(samples.iter().map(held).collect::<Vec<_>>(), [Some(6000), None]);
        proc.process([30, 1, 30], [0, 1], None);
        sampler.watch(Watch { wants_gpus: true, ..watch(3, 30) });
        let samples = sampler.sample(seconds(2), Timestamp(0));
        assert_eq!(values(&samples[2]).len(), 2, "of two that ask nobody knows which it is");
    }
}

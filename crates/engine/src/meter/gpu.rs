//! GPUs, through NVIDIA's management library where the machine has one.
//!
//! The library is looked for when the first attempt lives long enough to be sampled; a machine
//! without it has no GPUs here, and that is no error.

use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;

/// What a GPU shows at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuReading {
    /// Its number.
    pub index: u32,
    /// How much of the time it computed lately, from 0 to 1.
    pub utilisation: Option<f64>,
    /// What it draws, in watts.
    pub watts: Option<f64>,
    /// What it has taken since its driver was loaded, in joules: from Volta on.
    pub joules: Option<f64>,
    /// The memory in use, by whomever, in bytes.
    pub memory_bytes: Option<u64>,
    /// The processes that compute on it, and the memory that each holds where that is known.
    pub processes: Vec<(u32, Option<u64>)>,
}

/// Where GPUs are read.
pub trait Gpus: Send {
    /// What all of them show now.
    fn read(&mut self) -> Vec<GpuReading>;
}

/// The GPUs of a machine that has none.
#[derive(Debug, Clone, Copy)]
pub struct NoGpus;

impl Gpus for NoGpus {
    fn read(&mut self) -> Vec<GpuReading> {
        Vec::new()
    }
}

/// NVIDIA's.
struct Nvidia(Nvml);

/// The GPUs of this machine.
pub fn open() -> Box<dyn Gpus> {
    match Nvml::init() {
        Ok(nvml) => Box::new(Nvidia(nvml)),
        Err(_) => Box::new(NoGpus),
    }
}

impl Gpus for Nvidia {
    fn read(&mut self) -> Vec<GpuReading> {
        let read = |index| {
            let device = self.0.device_by_index(index).ok()?;
            let computing = device.running_compute_processes().unwrap_or_default();
            Some(GpuReading {
                index,
                utilisation: device
                    .utilization_rates()
                    .ok()
                    .map(|rate| f64::from(rate.gpu) / 100.0),
                watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
                joules: device.total_energy_consumption().ok().map(|count| count as f64 / 1e3),
                memory_bytes: device.memory_info().ok().map(|memory| memory.used),
                processes: computing
                    .into_iter()
                    .map(|process| match process.used_gpu_memory {
                        UsedGpuMemory::Used(bytes) => (process.pid, Some(bytes)),
                        UsedGpuMemory::Unavailable => (process.pid, None),
                    })
                    .collect(),
            })
        };
        (0..self.0.device_count().unwrap_or(0)).filter_map(read).collect()
    }
}

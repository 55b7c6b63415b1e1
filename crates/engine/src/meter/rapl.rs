//! The energy counters of processors: Intel's RAPL, which AMD has too, as Linux shows it in
//! `/sys/class/powercap`.
//!
//! One domain a package (a socket). Counters count microjoules and start again at a largest
//! value, at full load every few minutes to hours; so they are to be read at least every minute.
//! Most systems let only root read them (since CVE-2020-8694).

use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux shows the counters.
pub const POWERCAP: &str = "/sys/class/powercap";

/// The energy counters of all packages.
#[derive(Debug)]
pub struct Rapl {
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    counter: PathBuf,
    /// The largest value of the counter, in microjoules.
    range: u64,
    last: u64,
    /// What was counted since this was opened, in microjoules.
    counted: u64,
}

impl Rapl {
    /// The counters under `root`; `None` if there is none that may be read.
    pub fn open(root: &Path) -> Option<Self> {
        let entries = fs::read_dir(root).ok()?.flatten();
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        folders.sort();
        let packages: Vec<Package> =
            folders.iter().filter_map(|folder| Package::open(folder)).collect();
        (!packages.is_empty()).then_some(Self { packages })
    }

    /// The energy that all packages have taken since this was opened, in joules. A counter that
    /// cannot be read now adds nothing until it can.
    pub fn read(&mut self) -> f64 {
        let counted = self.packages.iter_mut().map(Package::read);
        counted.sum::<u64>() as f64 / 1e6
    }
}

impl Package {
    /// A package's domain: `intel-rapl:0`, with `package-0` as its name. Below it lie the parts
    /// that it is made of, and beside it the whole board (`psys`): both would count twice.
    fn open(folder: &Path) -> Option<Self> {
        if !fs::read_to_string(folder.join("name")).ok()?.starts_with("package-") {
            return None;
        }
        let counter = folder.join("energy_uj");
        let last = read_number(&counter)?;
        let range = read_number(&folder.join("max_energy_range_uj")).unwrap_or(u64::MAX);
        Some(Self { counter, range, last, counted: 0 })
    }

    fn read(&mut self) -> u64 {
        if let Some(now) = read_number(&self.counter) {
            let since = match now.checked_sub(self.last) {
                Some(since) => since,
                // It went over its largest value.
                None => self.range.saturating_sub(self.last).saturating_add(now),
            };
            self.counted = self.counted.saturating_add(since);
            self.last = now;
        }
        self.counted
    }
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A `/sys/class/powercap` that a test makes.
    pub(crate) struct FakePowercap(tempfile::TempDir);

    impl FakePowercap {
        pub(crate) fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        pub(crate) fn path(&self) -> &Path {
            self.0.path()
        }

        pub(crate) fn domain(&self, folder: &str, name: &str, microjoules: u64) {
            let folder = self.path().join(folder);
            fs::create_dir_all(&folder).expect("made");
            let file = |name: &str, text: String| {
                fs::write(folder.join(name), text + "\n").expect("written");
            };
            file("name", name.to_owned());
            file("energy_uj", microjoules.to_string());
            file("max_energy_range_uj", "10000000".to_owned());
        }
    }

    #[test]
    fn packages_are_counted_and_go_over_their_largest_value() {
        let sys = FakePowercap::new();
        assert!(Rapl::open(sys.path()).is_none());
        assert!(Rapl::open(&sys.path().join("nothing")).is_none());
        let domains = |first, second| {
            sys.domain("intel-rapl:0", "package-0", first);
            sys.domain("intel-rapl:1", "package-1", second);
            sys.domain("intel-rapl:0:0", "core", first);
            sys.domain("intel-rapl:2", "psys", first);
        };
        domains(9_000_000, 1_000_000);
        let mut rapl = Rapl::open(sys.path()).expect("two packages");
        assert_eq!(rapl.read(), 0.0);
        domains(9_500_000, 1_250_000);
        assert_eq!(rapl.read(), 0.75);
        domains(500_000, 1_250_000);
        assert_eq!(rapl.read(), 1.75, "one joule from 9.5 over 10 to 0.5");
        fs::remove_file(sys.path().join("intel-rapl:0/energy_uj")).expect("removed");
        domains(500_000, 2_250_000);
        assert_eq!(rapl.read(), 2.75);
    }
}

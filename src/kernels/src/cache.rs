//! The data caches of this CPU, for which `blocking` chooses block sizes.

/// A cache and the cores that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedCache {
    /// Its size; 0 where there is no such cache.
    pub bytes: usize,
    /// Cores that share it, not counting the second thread of a core.
    pub cores: usize,
}

impl SharedCache {
    /// A core's share.
    #[must_use]
    pub fn per_core(self) -> usize {
        self.bytes.checked_div(self.cores).unwrap_or(self.bytes)
    }
}

/// The data caches of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheInfo {
    /// Bytes of the first level, which is each core's own.
    pub l1d: usize,
    /// The second level.
    pub l2: SharedCache,
    /// The third level.
    pub l3: SharedCache,
}

impl CacheInfo {
    /// A server's core with 2 MiB of L2 (Sapphire Rapids): the machine on which block sizes were measured. What would
    /// change the bits of a result is chosen for it, whatever CPU runs.
    pub const SERVER: Self = Self {
        l1d: 48 << 10,
        l2: SharedCache { bytes: 2 << 20, cores: 1 },
        l3: SharedCache { bytes: 32 << 20, cores: 16 },
    };

    /// What a board of four small cores has (Cortex-A72 in a Raspberry Pi 4).
    const BOARD: Self = Self {
        l1d: 32 << 10,
        l2: SharedCache { bytes: 1 << 20, cores: 4 },
        l3: SharedCache { bytes: 0, cores: 1 },
    };

    /// Made up for tests, so that small maps take every path of a block.
    #[cfg(test)]
    pub(crate) const SMALL: [Self; 3] = [
        Self::of(1 << 10, (2 << 10, 1), (0, 1)),
        Self::of(8 << 10, (64 << 10, 4), (0, 1)),
        Self::of(16 << 10, (64 << 10, 1), (256 << 10, 2)),
    ];

    #[cfg(test)]
    const fn of(l1d: usize, l2: (usize, usize), l3: (usize, usize)) -> Self {
        let (l2, l3) = (SharedCache { bytes: l2.0, cores: l2.1 }, SharedCache { bytes: l3.0, cores: l3.1 });
        Self { l1d, l2, l3 }
    }

    /// What is taken where nothing can be read.
    const DEFAULT: Self = if cfg!(target_arch = "x86_64") { Self::SERVER } else { Self::BOARD };

    /// The caches of this CPU, read once.
    ///
    /// The environment variable `FRCNN_CACHES` tells them where the system does not, or for tests: L1d, L2 and L3, the
    /// latter two with the cores that share them, as in `32K,1M/4,0`. Otherwise they are what Linux says of CPU 0
    /// (`/sys/devices/system/cpu/cpu0/cache`), or what the instruction CPUID does. Where neither says anything, and
    /// without the `std` feature, they are those of a server (x86-64) or of a board (elsewhere).
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(feature = "std")]
        {
            static CACHES: std::sync::OnceLock<CacheInfo> = std::sync::OnceLock::new();
            *CACHES.get_or_init(|| {
                let told = std::env::var("FRCNN_CACHES").ok().and_then(|text| Self::described(&text));
                let found = told.or_else(|| read::sysfs(|path| std::fs::read_to_string(path).ok()));
                found.or_else(read::cpuid).unwrap_or(Self::DEFAULT)
            })
        }
        #[cfg(not(feature = "std"))]
        Self::DEFAULT
    }

    /// The caches that a text describes as `FRCNN_CACHES` does; `None` where it describes none.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn described(text: &str) -> Option<Self> {
        read::description(text)
    }

    /// Bytes of the second level that a core may fill: its share, or L1d where there is no L2.
    #[must_use]
    pub fn l2_per_core(self) -> usize {
        self.l2.per_core().max(self.l1d)
    }

    /// Bytes of the last level, all of it.
    pub(crate) fn last_level(self) -> usize {
        self.l3.bytes.max(self.l2.bytes).max(self.l1d)
    }
}

/// Where caches are described.
#[cfg(feature = "std")]
mod read {
    use std::{format, string::String};

    use super::{CacheInfo, SharedCache};

    /// Sizes as in `48K`, `2M` or `512`.
    fn size(text: &str) -> Option<usize> {
        let text = text.trim();
        let (digits, unit) = match text.strip_suffix('K') {
            Some(digits) => (digits, 1 << 10),
            None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1 << 20)),
        };
        digits.parse::<usize>().ok()?.checked_mul(unit)
    }

    /// `32K,1M/4,0`
    pub(super) fn description(text: &str) -> Option<CacheInfo> {
        let mut levels = text.split(',');
        let l1d = size(levels.next()?)?;
        let mut shared = || {
            let level = levels.next()?;
            let (bytes, cores) = level.split_once('/').unwrap_or((level, "1"));
            let cores = cores.trim().parse().ok().filter(|&cores| cores > 0)?;
            Some(SharedCache { bytes: size(bytes)?, cores })
        };
        let (l2, l3) = (shared()?, shared()?);
        (l1d > 0 && levels.next().is_none()).then_some(CacheInfo { l1d, l2, l3 })
    }

    /// How many CPUs a list like `0-3,8` has.
    fn cpus(list: &str) -> Option<usize> {
        list.trim().split(',').try_fold(0usize, |cpus, range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
            cpus.checked_add(last.checked_sub(first)?.checked_add(1)?)
        })
    }

    /// What Linux says of CPU 0, by the files that `read` reads.
    pub(super) fn sysfs(read: impl Fn(&str) -> Option<String>) -> Option<CacheInfo> {
        const CPU: &str = "/sys/devices/system/cpu/cpu0";
        let threads = read(&format!("{CPU}/topology/thread_siblings_list")).and_then(|list| cpus(&list));
        let mut levels = [None; 4];
        for index in 0..8 {
            let file = |name: &str| read(&format!("{CPU}/cache/index{index}/{name}"));
            let Some(kind) = file("type") else { break };
            let level = file("level").and_then(|level| level.trim().parse::<usize>().ok())?;
            if let Some(known) = levels.get_mut(level)
                && kind.trim() != "Instruction"
            {
                let sharing = file("shared_cpu_list").and_then(|list| cpus(&list)).unwrap_or(1);
                let cores = (sharing / threads.unwrap_or(1).max(1)).max(1);
                *known = Some(SharedCache { bytes: size(&file("size")?)?, cores });
            }
        }
        of_levels(levels)
    }

    /// What levels 1 to 3 are, if the first one is known.
    fn of_levels([_, l1, l2, l3]: [Option<SharedCache>; 4]) -> Option<CacheInfo> {
        let none = SharedCache { bytes: 0, cores: 1 };
        let l1d = l1.map(|l1| l1.bytes).filter(|&bytes| bytes > 0)?;
        Some(CacheInfo { l1d, l2: l2.unwrap_or(none), l3: l3.unwrap_or(none) })
    }

    /// What CPUID says: leaf 4 of Intel's CPUs, or AMD's leaf of the same form.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn cpuid() -> Option<CacheInfo> {
        use core::arch::x86_64::{__cpuid, __cpuid_count};

        const INTEL: u32 = 4;
        const AMD: u32 = 0x8000_001d;
        const TOPOLOGY: u32 = 0xb;
        let max = __cpuid(0).eax;
        let leaf =
            if __cpuid(0x8000_0000).eax >= AMD && __cpuid_count(AMD, 0).eax != 0 { AMD } else { INTEL };
        if leaf == INTEL && max < INTEL {
            return None;
        }
        let threads = if max >= TOPOLOGY { __cpuid_count(TOPOLOGY, 0).ebx & 0xffff } else { 1 };
        let mut levels = [None; 4];
        for index in 0..8 {
            let cache = __cpuid_count(leaf, index);
            let (kind, level) = (cache.eax & 31, (cache.eax >> 5 & 7) as usize);
            if kind == 0 {
                break;
            }
            // 1 is a data cache and 3 a unified one.
            if let Some(known) = levels.get_mut(level)
                && kind != 2
            {
                let [line, partitions, ways] =
                    [cache.ebx & 0xfff, cache.ebx >> 12 & 0x3ff, cache.ebx >> 22].map(|n| n as usize + 1);
                let bytes = line * partitions * ways * (cache.ecx as usize + 1);
                let sharing = (cache.eax >> 14 & 0xfff) + 1;
                *known = Some(SharedCache { bytes, cores: (sharing / threads.max(1)).max(1) as usize });
            }
        }
        of_levels(levels)
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn cpuid() -> Option<CacheInfo> {
        None
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn descriptions() {
            assert_eq!(description("32K,1M/4,0"), Some(CacheInfo::of(32 << 10, (1 << 20, 4), (0, 1))));
            assert_eq!(description("100, 200 ,3M/8"), Some(CacheInfo::of(100, (200, 1), (3 << 20, 8))));
            for wrong in ["", "32K", "32K,1M", "0,1M,0", "32K,1M/0,0", "32K,1M,0,0", "32G,1M,0", "-1,1M,0"] {
                assert_eq!(description(wrong), None, "{wrong:?}");
            }
        }

        /// Eight CPUs, two of each core; pairs of cores share an L2, all an L3.
        #[test]
        fn what_linux_says() {
            let read = |path: &str| {
                let path = path.strip_prefix("/sys/devices/system/cpu/cpu0/").unwrap();
                let text = match path {
                    "topology/thread_siblings_list" => "0,4\n",
                    "cache/index0/type" => "Data\n",
                    "cache/index1/type" => "Instruction\n",
                    "cache/index2/type" | "cache/index3/type" => "Unified\n",
                    "cache/index0/level" | "cache/index1/level" => "1\n",
                    "cache/index2/level" => "2\n",
                    "cache/index3/level" => "3\n",
                    "cache/index0/size" => "48K\n",
                    "cache/index1/size" => "64K\n",
                    "cache/index2/size" => "2048K\n",
                    "cache/index3/size" => "32768K\n",
                    "cache/index0/shared_cpu_list" => "0,4\n",
                    "cache/index2/shared_cpu_list" => "0-1,4-5\n",
                    "cache/index3/shared_cpu_list" => "0-7\n",
                    _ => return None,
                };
                Some(String::from(text))
            };
            assert_eq!(sysfs(read), Some(CacheInfo::of(48 << 10, (2 << 20, 2), (32 << 20, 4))));
            assert_eq!(sysfs(|_| None), None);
            // Arm boards may say which caches there are, and not how large.
            assert_eq!(sysfs(|path| read(path).filter(|_| !path.ends_with("size"))), None);
        }

        /// Linux has its figures from the same instruction.
        #[test]
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        fn cpuid_agrees_with_linux() {
            let linux = sysfs(|path| std::fs::read_to_string(path).ok());
            if let Some((linux, cpuid)) = linux.zip(cpuid()) {
                let bytes = |caches: CacheInfo| [caches.l1d, caches.l2.bytes, caches.l3.bytes];
                assert_eq!(bytes(cpuid), bytes(linux));
            }
        }
    }
}

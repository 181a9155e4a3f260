//! AMX: eight tiles, registers of up to 16 rows of 64 bytes, and the instructions that multiply them.
//!
//! ```text
//!   rows 0..16   tile 4 ┐             ┌ tile 0  tile 1 ┐
//!   rows 16..32  tile 5 ┘ x 6 | 7  -> └ tile 2  tile 3 ┘
//! ```

#[cfg(target_arch = "x86_64")]
mod tiles;

#[cfg(target_arch = "x86_64")]
pub(crate) use tiles::Tiles;

/// What AMX may multiply.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Feature {
    /// `TDPBF16PS`.
    Bf16,
    /// `TDPBUSD` and its like.
    Int8,
}

impl Feature {
    /// Whether the CPU has the instructions, and the kernel lets this process use them. Never without the feature `std`.
    pub(crate) fn is_available(self) -> bool {
        #[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "std"))]
        {
            // Asked once: in a virtual machine CPUID is a trap of tens of microseconds.
            static AVAILABLE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
            let features = *AVAILABLE.get_or_init(|| if request_tiles() { cpu_features() } else { 0 });
            // AMX-TILE, and AMX-BF16 or AMX-INT8.
            let needed = 1 << 24 | if self == Self::Bf16 { 1 << 22 } else { 1 << 25 };
            features & needed == needed
        }
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux", feature = "std")))]
        false
    }
}

/// What CPUID's leaf 7 has in EDX.
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "std"))]
fn cpu_features() -> u32 {
    let leaves = core::arch::x86_64::__cpuid(0).eax;
    if leaves >= 7 { core::arch::x86_64::__cpuid_count(7, 0).edx } else { 0 }
}

/// Asks Linux for room to save tiles in when it switches threads. It is granted to the process as a whole, and refused
/// by kernels before 5.16 and inside some sandboxes.
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "std"))]
fn request_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: a system call that takes two numbers and touches no memory of ours; the kernel overwrites RCX and R11.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

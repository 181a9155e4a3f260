//! CPU or CUDA.

use std::str::FromStr;

use tch::{Cuda, Device};

use crate::error::Error;

/// Brings libtorch's CUDA half into the process where there is one, so that one program runs with and without a GPU.
///
/// Must come before anything else is asked of libtorch: a first `Cuda::is_available()` without it disables CUDA for the
/// process.
#[allow(unsafe_code, reason = "dlopen")]
pub(crate) fn load_cuda() {
    // SAFETY: the name is a C string. Loading runs the library's initialisers, which are written to run at this point
    // of a program; no thread has been started yet. Where it is absent, null comes back and nothing has happened.
    unsafe { libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
}

/// Has freed memory kept for the next tensor.
///
/// glibc gives large blocks back at once, and the kernel clears them again for the next iteration, which asks for the same
/// ones: an eighth of a training step.
#[allow(unsafe_code, reason = "mallopt")]
pub(crate) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only changes when memory is returned, and takes the allocator's lock; main has started no thread yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// What `--device` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first GPU, or the CPU where there is none.
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "cpu" => Ok(Choice::Cpu),
            "cuda" => Ok(Choice::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Choice::Cuda)
                .ok_or_else(|| "expected auto, cpu or cuda:N".to_string()),
        }
    }
}

impl Choice {
    pub(crate) fn device(self) -> Result<Device, Error> {
        let gpus = if Cuda::is_available() { Cuda::device_count().max(0) as usize } else { 0 };
        match self {
            Choice::Auto if gpus > 0 => Ok(Device::Cuda(0)),
            Choice::Auto | Choice::Cpu => Ok(Device::Cpu),
            Choice::Cuda(number) if number < gpus => Ok(Device::Cuda(number)),
            Choice::Cuda(number) => Err(Error::Usage(format!(
                "--device cuda:{number}: libtorch finds {gpus} GPUs here (a GPU needs libtorch_cuda.so on \
                 LD_LIBRARY_PATH and a driver)"
            ))),
        }
    }
}

/// As `--device` would be given.
pub(crate) fn name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ => "cpu".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("cuda:3".parse(), Ok(Choice::Cuda(3)));
        assert!("gpu".parse::<Choice>().is_err() && "cuda:x".parse::<Choice>().is_err());
    }
}

//! Which algorithm runs each convolution fastest on this very machine: measured once and kept beside the bundle.
//!
//! Without it algorithms are chosen by a model of their cost, see `conv::cost` in `frcnn-kernels`. A tuning changes the last
//! bits of results, as every choice of an algorithm does, and how much memory weights take.

mod measure;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use frcnn_kernels::{ConvAlgorithm, ConvShape, Cpu};
use serde::{Deserialize, Serialize};

pub use measure::{TuneReport, TuneStep};

/// First bytes of a file.
const MAGIC: [u8; 8] = *b"FRCNNTU1";
/// Most bytes of one: a thousand layers have far fewer.
const MAX_BYTES: u64 = 1 << 20;

/// How long each convolution of a bundle takes by each algorithm, on one CPU and at one size of blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The CPU: its model, instruction set and caches.
    pub cpu: String,
    /// Threads that worked on a layer.
    pub threads: u32,
    /// The layers for which there is a choice.
    pub layers: Vec<TunedLayer>,
}

/// How long a layer takes by each algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunedLayer {
    /// Its name.
    pub layer: String,
    /// Its window and channels, what a weight takes (or f16, where products are of f16 values), and the size of its input, such as
    /// `3x3 64 -> 128 padded 1 1 1 1, 32 bits, on 1 x 120 x 160`.
    pub shape: String,
    /// The algorithms in the words of [`PlannedLayer::by`](crate::PlannedLayer::by), and milliseconds.
    pub times: Vec<(String, f64)>,
}

/// Whether algorithms were chosen by a [`Tuning`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tuned {
    /// There was none.
    No,
    /// They were.
    Yes,
    /// There was one that says nothing of this bundle on this CPU. Why not.
    Misfit(String),
}

impl Tuning {
    /// Where that of a bundle lies: `BUNDLE.tune`.
    pub fn path(bundle: &Path) -> PathBuf {
        let mut path = OsString::from(bundle);
        path.push(".tune");
        path.into()
    }

    /// Reads a file that [`Tuning::to_bytes`] made.
    ///
    /// # Errors
    /// It cannot be read, is larger than a MiB, or no tuning.
    pub fn open(path: &Path) -> Result<Tuning, String> {
        let bytes = frcnn_files::read_at_most(path, MAX_BYTES).map_err(|error| error.to_string())?;
        let rest = bytes.strip_prefix(&MAGIC).ok_or("is no file that `frcnn tune` wrote")?;
        let (tuning, rest): (Tuning, _) =
            postcard::take_from_bytes(rest).map_err(|error| format!("is damaged: {error}"))?;
        if rest.is_empty() { Ok(tuning) } else { Err("is damaged: it goes on behind its end".to_string()) }
    }

    /// The tuning beside a bundle, if there is one.
    ///
    /// # Errors
    /// There is a file, and it is not one that can be read: see [`Tuning::open`]. The bundle runs without.
    pub fn beside(bundle: &Path) -> Result<Option<Tuning>, String> {
        let path = Tuning::path(bundle);
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        Tuning::open(&path).map(Some)
    }

    /// What a file holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to memory does not fail.
        let rest = postcard::to_allocvec(self).unwrap_or_default();
        [&MAGIC[..], &rest].concat()
    }

    /// Milliseconds of a layer by each of `algorithms`, of those and no others.
    ///
    /// # Errors
    /// Why it says nothing of such a layer.
    pub(crate) fn times(
        &self,
        layer: &str,
        shape: &str,
        algorithms: &[ConvAlgorithm],
    ) -> Result<Vec<f64>, String> {
        let tuned = self.layers.iter().find(|tuned| tuned.layer == layer && tuned.shape == shape);
        let Some(tuned) = tuned else { return Err(format!("it does not know {layer}, {shape}")) };
        if tuned.times.iter().any(|(_, ms)| !ms.is_finite() || *ms < 0.0) {
            return Err(format!("the times that it has for {layer} are no times"));
        }
        let times: Vec<f64> = algorithms
            .iter()
            .filter_map(|&algorithm| {
                let time = tuned.times.iter().find(|(name, _)| name == algorithm_name(algorithm));
                time.map(|&(_, ms)| ms)
            })
            .collect();
        if times.len() == algorithms.len() {
            Ok(times)
        } else {
            Err(format!("it was made by another version, which had other algorithms for {layer}"))
        }
    }
}

/// A layer's sizes, for people and to tell layers apart: all of [`ConvShape`]. `numbers` is what it multiplies.
pub(crate) fn shape_name(shape: &ConvShape, numbers: &str) -> String {
    let &ConvShape { batch, height, width, in_channels, out_channels, kernel, stride, dilation, pads, group } =
        shape;
    let [kernel, stride, dilation] =
        [kernel, stride, dilation].map(|[rows, columns]| format!("{rows}x{columns}"));
    let [top, left, bottom, right] = pads;
    let mut name = format!("{kernel} {in_channels} -> {out_channels}");
    for (what, is_usual) in [
        (format!(" in {group} groups"), group == 1),
        (format!(" by {stride}"), stride == "1x1"),
        (format!(" dilated {dilation}"), dilation == "1x1"),
        (format!(" padded {top} {left} {bottom} {right}"), pads == [0; 4]),
    ] {
        name.push_str(if is_usual { "" } else { &what });
    }
    format!("{name}, {numbers}, on {batch} x {height} x {width}")
}

/// An algorithm in the field's words.
pub(crate) fn algorithm_name(algorithm: ConvAlgorithm) -> &'static str {
    match algorithm {
        ConvAlgorithm::Plain => "im2row and GEMM",
        ConvAlgorithm::Direct => "direct",
        ConvAlgorithm::Depthwise => "depthwise",
        ConvAlgorithm::Winograd4Lean => "Winograd F(4x4, 3x3), lean",
        ConvAlgorithm::Winograd4 => "Winograd F(4x4, 3x3)",
        ConvAlgorithm::Winograd5 => "Winograd F(5x5, 4x4)",
        ConvAlgorithm::Winograd6 => "Winograd F(6x6, 3x3)",
    }
}

/// What tells one CPU from others that may want other algorithms.
pub(crate) fn cpu_name() -> String {
    let Cpu { isa, caches } = Cpu::detect();
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_string())
    };
    // Arm names a core by numbers.
    let arm = || Some(format!("Arm {} {}", field("CPU implementer")?, field("CPU part")?));
    let model = field("model name").or_else(arm).unwrap_or_else(|| std::env::consts::ARCH.to_string());
    let kib = |bytes: usize| bytes >> 10;
    format!(
        "{model}, {}, L1d {} KiB, L2 {} KiB of {}, L3 {} KiB of {}",
        isa.name(),
        kib(caches.l1d),
        kib(caches.l2.bytes),
        caches.l2.cores,
        kib(caches.l3.bytes),
        caches.l3.cores
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning() -> Tuning {
        let times = vec![("direct".to_string(), 2.0), ("Winograd F(4x4, 3x3)".to_string(), 0.5)];
        let shape = "64 -> 128, 32 bits, on 1 x 15 x 20".to_string();
        let layers = vec![TunedLayer { layer: "conv5_1".to_string(), shape, times }];
        Tuning { cpu: cpu_name(), threads: 2, layers }
    }

    #[test]
    fn a_file_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("cells.frcnn");
        assert_eq!(Tuning::beside(&bundle), Ok(None));
        let path = Tuning::path(&bundle);
        assert_eq!(path.file_name().unwrap(), "cells.frcnn.tune");
        std::fs::write(&path, tuning().to_bytes()).unwrap();
        assert_eq!(Tuning::beside(&bundle), Ok(Some(tuning())));
        let bytes = tuning().to_bytes();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Tuning::open(&path).is_err(), "{length} bytes");
        }
        std::fs::write(&path, [bytes, vec![0]].concat()).unwrap();
        assert!(Tuning::beside(&bundle).unwrap_err().contains("damaged"));
        std::fs::write(&path, "{}").unwrap();
        assert!(Tuning::open(&path).unwrap_err().contains("frcnn tune"));
    }

    #[test]
    fn layers_of_one_name_are_of_one_shape() {
        let shape = ConvShape {
            batch: 1,
            height: 15,
            width: 20,
            in_channels: 64,
            out_channels: 128,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [1; 4],
            group: 1,
        };
        let others = [
            ConvShape { batch: 2, ..shape },
            ConvShape { height: 16, ..shape },
            ConvShape { width: 21, ..shape },
            ConvShape { in_channels: 32, ..shape },
            ConvShape { out_channels: 32, ..shape },
            ConvShape { kernel: [5, 5], ..shape },
            ConvShape { stride: [2, 2], ..shape },
            ConvShape { dilation: [2, 2], ..shape },
            ConvShape { pads: [1, 1, 0, 0], ..shape },
            ConvShape { group: 64, ..shape },
        ];
        let name = shape_name(&shape, "32 bits");
        assert_eq!(name, "3x3 64 -> 128 padded 1 1 1 1, 32 bits, on 1 x 15 x 20");
        assert!(others.iter().all(|other| shape_name(other, "32 bits") != name));
    }

    #[test]
    fn it_speaks_of_its_own_layers_and_algorithms_alone() {
        let shape = "64 -> 128, 32 bits, on 1 x 15 x 20";
        let known = [ConvAlgorithm::Winograd4, ConvAlgorithm::Direct];
        assert_eq!(tuning().times("conv5_1", shape, &known), Ok(vec![0.5, 2.0]));
        assert!(tuning().times("conv5_2", shape, &known).is_err());
        assert!(tuning().times("conv5_1", "64 -> 128, 16 bits, on 1 x 15 x 20", &known).is_err());
        assert!(tuning().times("conv5_1", shape, &[ConvAlgorithm::Winograd6]).is_err());
        let mut broken = tuning();
        broken.layers[0].times[0].1 = f64::NAN;
        assert!(broken.times("conv5_1", shape, &known).unwrap_err().contains("no times"));
    }
}

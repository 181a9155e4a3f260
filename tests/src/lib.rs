//! What the conformance tests share: the reference data where it is at hand, and models that need none.
//!
//! Reference data lies outside the repository, at `../shared` or where the environment variable `FRCNN_SHARED` says
//! (`frcnn_testkit::shared`); every test that does without stands on models that `frcnn new` makes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a failure here is a test's failure"
)]

/// The example of the repository's README.md.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod matching;
pub mod tensors;
pub mod trunks;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use frcnn::{BBox, Detector, Frame, Options};
use frcnn_bundle::{Bundle, Contents, Regions, RoiPooling};
use frcnn_compiler::arch::{Arch, new_model};
use frcnn_compiler::{Compiled, compile, load_manifest};

/// The shared blood-cell detector, compiled without factoring; once per test program.
pub fn bccd(shared: &Path) -> Arc<Bundle> {
    static BUNDLE: OnceLock<Arc<Bundle>> = OnceLock::new();
    let model = shared.join("models/bccd-squeezenet");
    BUNDLE.get_or_init(|| compile_file(&model.join("model.onnx"), &Default::default()).bundle).clone()
}

/// Compiles an ONNX file with the manifest beside it.
pub fn compile_file(onnx: &Path, options: &frcnn_compiler::Options) -> Compiled {
    let manifest = load_manifest(&onnx.with_file_name("manifest.json")).unwrap();
    compile(onnx, &manifest, options, &mut |_| {}).unwrap()
}

/// An untrained SqueezeNet Fast R-CNN with 3 classes, compiled; once per test program.
pub fn untrained() -> Arc<Bundle> {
    static BUNDLE: OnceLock<Arc<Bundle>> = OnceLock::new();
    BUNDLE.get_or_init(|| compile_new(Arch::SqueezeNet, 3, |_| {})).clone()
}

/// An untrained network, with a manifest that `change` may alter.
pub fn compile_new(arch: Arch, classes: u32, change: impl FnOnce(&mut frcnn::Manifest)) -> Arc<Bundle> {
    let mut model = new_model(arch, classes, 0).unwrap();
    change(&mut model.manifest);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    frcnn_compiler::onnx_writer::write(&model.onnx, &path).unwrap();
    compile(&path, &model.manifest, &frcnn_compiler::Options::default(), &mut |_| {}).unwrap().bundle
}

/// How what is no R-CNN pools.
pub fn roi_pooling(contents: &Contents) -> &RoiPooling {
    match &contents.regions {
        Regions::RoiPooling(pooling) => pooling,
        Regions::RoiAlign(_) | Regions::Warp(_) => panic!("it pools no RoIs"),
    }
}

/// A detector with a number of threads.
pub fn detector(bundle: &Arc<Bundle>, threads: usize) -> Detector {
    Detector::new(bundle.clone(), &Options { threads: Some(threads), ..Options::default() }).unwrap()
}

/// A decoded photo.
pub struct Photo {
    /// Red, green, blue.
    pub rgb: image::RgbImage,
}

impl Photo {
    /// Decodes a file.
    pub fn open(path: &Path) -> Photo {
        Photo { rgb: image::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).to_rgb8() }
    }

    /// A picture that is not flat: a few gradients and edges, from nothing but its size.
    pub fn synthetic(width: u32, height: u32) -> Photo {
        let rgb = image::RgbImage::from_fn(width, height, |x, y| {
            let disc = (x as i64 - 90).pow(2) + (y as i64 - 70).pow(2) < 45 * 45;
            let square = (150..220).contains(&x) && (60..140).contains(&y);
            match (disc, square) {
                (true, _) => image::Rgb([200, 40, (y % 256) as u8]),
                (_, true) => image::Rgb([30, (x % 256) as u8, 220]),
                _ => image::Rgb([(x % 251) as u8, (y % 241) as u8, ((x * 3 + y * 7) % 239) as u8]),
            }
        });
        Photo { rgb }
    }

    /// The photo as the detector reads it.
    pub fn frame(&self) -> Frame<'_> {
        Frame::rgb8(self.rgb.as_raw(), self.rgb.width(), self.rgb.height()).unwrap()
    }
}

/// Boxes spread over an image by a small generator of its own: seeded, and in no order.
pub fn boxes(count: usize, width: f32, height: f32, seed: u64) -> Vec<BBox> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut unit = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut side = |len: f32| {
        let (a, b) = (unit() * (len - 1.0), unit() * (len - 1.0));
        (a.min(b), a.max(b))
    };
    (0..count)
        .map(|_| {
            let ((x1, x2), (y1, y2)) = (side(width), side(height));
            BBox::new(x1, y1, x2, y2)
        })
        .collect()
}

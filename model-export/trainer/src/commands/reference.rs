//! `frcnn-train reference`: every stage's tensor for an image, for others to be held against.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tch::{Cuda, Device, Tensor};

use frcnn_core::BBox;

use super::model::Model;
use crate::console;
use crate::data::{BoxSource, Photo, Preprocessing, decode};
use crate::detect::{Detector, network_roi};
use crate::device::{self, Choice};
use crate::error::Error;
use crate::files;
use crate::tensors::TensorFile;

/// Write every stage's tensor for an image, for other runtimes to be held against
///
/// The network is a run's, or any ONNX file that `frcnn compile` takes. The file has, in f32 and channels first: data (as the
/// network reads it), rois (network pixels, with a leading batch index), conv (the map that is pooled), pool5 (or roi_align), fc6
/// and fc7 (after ReLU), cls_score, cls_prob and bbox_pred; of a network that makes proposals also rpn_logits.0, rpn_deltas.0 and
/// proposals (network pixels, the best first). With several images the names begin
/// with the image's stem and a slash. On CUDA TF32 is off for products and convolutions, and only deterministic
/// algorithms are used; the metadata says where it was made.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  frcnn-train reference model.onnx --images photo.png -o photo.safetensors
  frcnn-train reference runs/vgg16 --images a.png b.png --proposals ss.safetensors --device cuda:0 -o ab.safetensors")]
pub(crate) struct Args {
    /// The folder of a run, or an ONNX file with its manifest.json beside it
    #[arg(value_name = "RUN_DIR|MODEL.onnx")]
    model: PathBuf,
    /// JPEG or PNG files, whatever they are called
    #[arg(long, required = true, num_args = 1.., value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Boxes for every image: grid, selective-search, or a safetensors file with a tensor [N, 4] for each stem; by default what
    /// the network proposes, and grid where it does not
    #[arg(long, value_name = "METHOD|FILE")]
    proposals: Option<BoxSource>,
    /// At most this many RoIs of each image, spread evenly over its boxes
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rois: u32,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto")]
    device: Choice,
    /// The file to write
    #[arg(short, long, value_name = "FILE.safetensors")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    files::check_output(&args.output)?;
    let device = args.device.device()?;
    Cuda::cudnn_set_benchmark(false);
    let model = Model::open(&args.model, device)?;
    let photos: Vec<Photo> = args.images.iter().map(|path| Photo::open(path)).collect::<Result<_, _>>()?;
    let source = match (&args.proposals, &model.rpn) {
        (None, Some(_)) => None,
        (given, _) => Some(given.clone().unwrap_or(BoxSource::Grid)),
    };
    let given = source.map(|source| source.open(&photos, None)).transpose()?;
    let detector = Detector {
        network: &model.network,
        manifest: &model.manifest,
        rpn: model.rpn.as_ref(),
        device,
        bbox: true,
    };
    let mut file = TensorFile { metadata: metadata(args, device)?, ..TensorFile::default() };
    for photo in &photos {
        let prefix = if photos.len() > 1 { format!("{}/", photo.stem) } else { String::new() };
        let image = decode(&photo.path)?;
        let proposed = detector.propose(&image, model.rpn.as_ref().map_or(0, |rpn| rpn.post_nms_top_n), true);
        let boxes = match &given {
            Some(given) => given.of(photo)?,
            None => proposed.as_ref().map_or(Vec::new(), |proposed| proposed.boxes.clone()),
        };
        let every = boxes.len().div_ceil(args.rois as usize).max(1);
        let preprocessing = Preprocessing {
            pixel_means_bgr: model.network.blob_means(&model.manifest),
            max_long_side: model.manifest.max_long_side,
        };
        let Some(&short_side) = model.manifest.scales.first() else { continue };
        let (data, im_scale) = preprocessing.blob(&image, short_side);
        let rois: Vec<[f32; 5]> =
            boxes.iter().step_by(every).map(|bbox| network_roi(bbox, im_scale)).collect();
        if let Some(proposed) = &proposed {
            let output = &proposed.output;
            let tensors = [
                ("rpn_logits.0", output.logits.permute([0, 3, 1, 2])),
                ("rpn_deltas.0", output.deltas.permute([0, 3, 1, 2])),
                ("proposals", rows(&proposed.network_boxes)),
            ];
            file.tensors.extend(tensors.map(|(stage, tensor)| (format!("{prefix}{stage}"), tensor)));
        }
        file.metadata.insert(format!("{prefix}im_scale"), im_scale.to_string());
        file.metadata.insert(format!("{prefix}image"), file_name(&photo.path));
        model.network.check(&data).map_err(|problem| Error::file(&photo.path, problem))?;
        let stages = tch::no_grad(|| model.network.stages(&data.to_device(device), &rois));
        for (stage, tensor) in stages {
            file.tensors.insert(format!("{prefix}{stage}"), tensor);
        }
        file.tensors.insert(format!("{prefix}rois"), Tensor::from_slice(rois.as_flattened()).view([-1, 5]));
        file.tensors.insert(format!("{prefix}data"), model.network.data(&model.manifest, &data));
    }
    file.write(&args.output)?;
    console::result(&format!("{}\n", args.output.display()))
}

/// Boxes as a tensor `[N, 4]`.
fn rows(boxes: &[BBox]) -> Tensor {
    let corners: Vec<f32> = boxes.iter().flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).collect();
    Tensor::from_slice(&corners).view([-1, 4])
}

fn metadata(args: &Args, device: Device) -> Result<HashMap<String, String>, Error> {
    let mut metadata = HashMap::from([
        ("device".to_string(), device::name(device)),
        ("device_name".to_string(), device_name(device)),
        ("library".to_string(), format!("libtorch {}", env!("FRCNN_LIBTORCH_VERSION"))),
        ("tf32".to_string(), "off".to_string()),
        (
            "layout".to_string(),
            "NCHW; rois in network pixels with a leading batch index; fc6 and fc7 after ReLU".to_string(),
        ),
    ]);
    if let Device::Cuda(_) = device
        && let Some(cuda) = loaded_library("libcudart")
    {
        metadata.insert("cuda_runtime".to_string(), cuda);
    }
    if args.model.is_file() {
        let hash = Sha256::digest(files::read(&args.model)?);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        metadata.insert("onnx_sha256".to_string(), hex);
    }
    Ok(metadata)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What the operating system calls the processor or the GPU.
fn device_name(device: Device) -> String {
    let field = |path: &Path, key: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let found = match device {
        Device::Cuda(number) => {
            let mut gpus: Vec<PathBuf> = fs::read_dir("/proc/driver/nvidia/gpus")
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path().join("information")))
                .collect();
            gpus.sort();
            gpus.get(number).and_then(|gpu| field(gpu, "Model"))
        }
        _ => field(Path::new("/proc/cpuinfo"), "model name"),
    };
    found.unwrap_or_else(|| "unknown".to_string())
}

/// The file name of a library in this process.
fn loaded_library(prefix: &str) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let mut files = maps.lines().filter_map(|line| line.rsplit('/').next());
    files.find(|file| file.starts_with(prefix)).map(str::to_string)
}

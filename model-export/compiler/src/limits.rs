//! How much a model may ask for. Each limit is checked before memory is reserved or work begins.

/// An ONNX file is one protobuf message, and readers refuse those from 2 GiB on.
pub(crate) const FILE_BYTES: u64 = i32::MAX as u64;

/// A manifest: ten thousand classes with names of a kilobyte are 10 MB.
pub(crate) const MANIFEST_BYTES: u64 = 64 << 20;

/// Bytes of a network's weights in f32; VGG16's are 0.6 GB.
pub(crate) const WEIGHT_BYTES: u64 = 4 << 30;

/// Bytes of what layers read, for each byte of the tensors in the file and beyond them: several layers may share a tensor.
pub(crate) const SHARING: u64 = 4;
pub(crate) const SHARED_BYTES: u64 = 256 << 20;

/// Nodes of a graph; an Inception or a DenseNet of the largest kind has about 2,000 with constants and shapes.
pub(crate) const NODES: usize = 10_000;

/// Layers before or behind RoI pooling, for which tract-onnx, which checks them, takes half a minute; DenseNet-201 has 700.
pub(crate) const LAYERS: usize = 1_500;

/// Initializers, inputs and outputs of a graph, together.
pub(crate) const TENSORS: usize = 100_000;

/// Bytes that a network's constant expressions may read and make, for each byte of the weights in its file and beyond them.
pub(crate) const CONSTANT_WORK: u64 = 32;
pub(crate) const CONSTANT_BYTES: u64 = 256 << 20;

/// Features of a row or channels of a map; SPPnet's largest row has 25,600.
pub(crate) const FEATURES: usize = 1 << 24;

/// Kernels, strides, dilations, pads and pooled sizes.
pub(crate) const WINDOW: u32 = 1_024;

/// `MaxRoiPool` nodes: SPPnet has 4.
pub(crate) const LEVELS: usize = 16;

/// RoIs per run that a model may fix; published detectors read 2,000.
pub(crate) const FIXED_ROIS: usize = 10_000;

/// What running a network once, to check it against tract-onnx, may take: multiply-accumulates, and bytes at a time.
pub(crate) const CHECK_MACS: f64 = 2e12;
pub(crate) const CHECK_BYTES: f64 = 3e9;

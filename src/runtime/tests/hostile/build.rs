//! Small bundles.

use frcnn::{Bundle, Contents, Detector, Error, Limits, Manifest, Options};
use frcnn_bundle::{
    BundleWriter, Cascade, Conv, Gemm, Graph, Layer, Op, Origin, Pool, Regions, RoiPooling, Rpn, SectionId,
    Warp,
};

/// A trunk of one's own before a head that is a matrix product for scores and one for boxes.
pub(crate) struct Builder {
    pub(crate) writer: BundleWriter,
    pub(crate) manifest: Manifest,
    pub(crate) trunk: Vec<Layer>,
    /// The values that the trunk gives; if there is none, that of its last layer.
    pub(crate) outputs: Vec<u32>,
    pub(crate) regions: Regions,
    /// A head in place of the usual one.
    pub(crate) head: Option<Graph>,
    pub(crate) cascade: Option<Cascade>,
    pub(crate) rpn: Option<Rpn>,
}

pub(crate) fn layer(op: Op, inputs: &[u32]) -> Layer {
    Layer { name: op.name().to_string(), op, inputs: inputs.to_vec() }
}

pub(crate) fn pool(kernel: u32, stride: u32, pads: [u32; 4], ceil_mode: bool) -> Pool {
    Pool { kernel: [kernel; 2], stride: [stride; 2], pads, ceil_mode }
}

impl Builder {
    pub(crate) fn new(classes: usize) -> Builder {
        let mut manifest = Manifest::new((0..classes).map(|class| format!("class {class}")).collect());
        manifest.scales = vec![64];
        Builder {
            writer: BundleWriter::new(),
            manifest,
            trunk: Vec::new(),
            outputs: Vec::new(),
            regions: Regions::RoiPooling(RoiPooling { pooled: vec![[2, 2]], spatial_scale: 0.25 }),
            head: None,
            cascade: None,
            rpn: None,
        }
    }

    /// Weights that are small, of both signs and not all alike.
    pub(crate) fn weights(&mut self, shape: &[usize]) -> SectionId {
        let len = shape.iter().product::<usize>();
        let values = (0..len).map(|i| ((i * 37 % 23) as f32 - 11.0) / 64.0).collect();
        self.writer.add("w", shape, values)
    }

    /// A convolution with weights of its own, not yet among the layers.
    pub(crate) fn conv(&mut self, [from, to]: [u32; 2], kernel: u32, pad: u32) -> Conv {
        let weight = self.weights(&[kernel as usize, kernel as usize, from as usize, to as usize]);
        Conv {
            in_channels: from,
            out_channels: to,
            kernel: [kernel; 2],
            stride: [1; 2],
            dilation: [1; 2],
            pads: [pad; 4],
            group: 1,
            weight,
            bias: None,
        }
    }

    /// Adds a layer that reads what the last one made.
    pub(crate) fn then(&mut self, op: Op) -> &mut Builder {
        let input = self.trunk.len() as u32;
        self.trunk.push(layer(op, &[input]));
        self
    }

    pub(crate) fn gemm(&mut self, from: usize, to: usize) -> Op {
        let weight = self.weights(&[from, to]);
        Op::Gemm(Gemm { in_features: from as u32, out_features: to as u32, weight, bias: None })
    }

    /// A head of two hidden layers on `features` values, as the published one has.
    pub(crate) fn deep_head(&mut self, features: usize, hidden: [usize; 2]) -> Graph {
        let classes = self.manifest.classes.len();
        let [first, second] = [self.gemm(features, hidden[0]), self.gemm(hidden[0], hidden[1])];
        let [scores, boxes] = [classes, 4 * classes].map(|out| self.gemm(hidden[1], out));
        let layers = vec![
            layer(Op::Flatten, &[0]),
            layer(first, &[1]),
            layer(Op::Relu, &[2]),
            layer(second, &[3]),
            layer(Op::Relu, &[4]),
            layer(scores, &[5]),
            layer(Op::Softmax, &[6]),
            layer(boxes, &[5]),
        ];
        Graph { layers, outputs: vec![7, 8] }
    }

    /// The usual head on `features` values.
    pub(crate) fn usual_head(&mut self, features: usize, flatten: bool) -> Graph {
        let classes = self.manifest.classes.len();
        let [scores, boxes] = [classes, 4 * classes].map(|out| self.gemm(features, out));
        let mut layers = Vec::new();
        if flatten {
            layers.push(layer(Op::Flatten, &[0]));
        }
        let row = layers.len() as u32;
        layers.push(layer(scores, &[row]));
        layers.push(layer(Op::Softmax, &[row + 1]));
        layers.push(layer(boxes, &[row]));
        Graph { layers, outputs: vec![row + 2, row + 3] }
    }

    /// The bundle, whose trunk gives `channels`.
    pub(crate) fn finish(mut self, channels: usize) -> Result<Bundle, frcnn_bundle::Error> {
        let (bins, flatten) = match &self.regions {
            Regions::RoiPooling(pooling) => {
                let bins = pooling.pooled.iter().map(|[h, w]| (h * w) as usize).sum::<usize>();
                (bins, pooling.pooled.len() == 1)
            }
            Regions::RoiAlign(align) => (align.pooled.iter().map(|&p| p as usize).product(), true),
            Regions::Warp(_) => (1, true),
        };
        let head = match self.head.take() {
            Some(head) => head,
            None => self.usual_head(bins * channels, flatten),
        };
        if self.outputs.is_empty() {
            self.outputs.push(self.trunk.len() as u32);
        }
        let contents = Contents {
            blob_means: self.manifest.blob_means(),
            manifest: self.manifest,
            trunk: Graph { layers: self.trunk, outputs: self.outputs },
            regions: self.regions,
            head,
            sections: vec![],
            factored: vec![],
            origin: Origin { onnx_sha256: [0; 32], compiler: "a test".to_string() },
            board: None,
            cascade: self.cascade,
            rpn: self.rpn,
        };
        // As a file, so that what is read is what is tested.
        self.writer.finish(contents).and_then(|bundle| Bundle::from_bytes(&bundle.to_bytes()))
    }
}

pub(crate) fn warp(side: u32) -> Regions {
    Regions::Warp(Warp { side, context: 0 })
}

pub(crate) fn open_within(bundle: Bundle, limits: Limits) -> Result<Detector, Error> {
    Detector::new(
        bundle,
        &Options { threads: Some(1), score_threshold: Some(0.0), limits, ..Options::default() },
    )
}

pub(crate) fn open(bundle: Bundle) -> Result<Detector, Error> {
    open_within(bundle, Limits::default())
}

//! Every stage by its definition, in f64.

use frcnn::{BBox, Bundle};
use frcnn_bundle::{Conv, Gemm, Graph, Op, Pool, Regions, RoiAlign, Rpn, SectionId};

/// `[H, W, C]`.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) size: [usize; 3],
    pub(crate) data: Vec<f64>,
}

impl Map {
    pub(crate) fn new(data: &[f32], size: [usize; 3]) -> Map {
        assert_eq!(data.len(), size.iter().product::<usize>());
        Map { size, data: data.iter().map(|&v| f64::from(v)).collect() }
    }

    pub(crate) fn at(&self, y: usize, x: usize, c: usize) -> f64 {
        let [_, width, channels] = self.size;
        self.data[(y * width + x) * channels + c]
    }

    fn from(size: [usize; 3], value: impl Fn(usize, usize, usize) -> f64) -> Map {
        let [height, width, channels] = size;
        let cells = (0..height * width * channels).map(|i| {
            let (cell, c) = (i / channels, i % channels);
            value(cell / width, cell % width, c)
        });
        Map { size, data: cells.collect() }
    }

    /// Zero beyond the border.
    fn padded(&self, y: isize, x: isize, c: usize) -> f64 {
        let [height, width, _] = self.size;
        let inside = y >= 0 && x >= 0 && (y as usize) < height && (x as usize) < width;
        if inside { self.at(y as usize, x as usize, c) } else { 0.0 }
    }
}

/// All values of a graph, its input first.
pub(crate) fn graph(bundle: &Bundle, graph: &Graph, input: Map) -> Vec<Map> {
    let mut values = vec![input];
    for layer in &graph.layers {
        let read = |i: usize| &values[layer.inputs[i] as usize];
        let value = match &layer.op {
            Op::Conv(conv) => conv2d(bundle, conv, read(0)),
            Op::Relu => Map::from(read(0).size, |y, x, c| read(0).at(y, x, c).max(0.0)),
            Op::Add => Map::from(read(0).size, |y, x, c| read(0).at(y, x, c) + read(1).at(y, x, c)),
            Op::Upsample => {
                let ([h, w, channels], [height, width, _]) = (read(0).size, read(1).size);
                Map::from([height, width, channels], |y, x, c| read(0).at(y * h / height, x * w / width, c))
            }
            Op::MaxPool(Pool { kernel: [1, 1], stride: [2, 2], .. }) => {
                let [height, width, channels] = read(0).size;
                let size = [height.div_ceil(2), width.div_ceil(2), channels];
                Map::from(size, |y, x, c| read(0).at(2 * y, 2 * x, c))
            }
            Op::Flatten => Map { size: [1, 1, read(0).data.len()], data: read(0).data.clone() },
            Op::Gemm(gemm) => linear(bundle, gemm, read(0)),
            Op::Softmax => {
                let sum: f64 = read(0).data.iter().map(|v| v.exp()).sum();
                Map::from(read(0).size, |y, x, c| read(0).at(y, x, c).exp() / sum)
            }
            other => panic!("{other:?}"),
        };
        values.push(value);
    }
    values
}

fn bias(bundle: &Bundle, section: Option<SectionId>, c: usize) -> f64 {
    section.map_or(0.0, |id| f64::from(bundle.weights_as_f32(id)[c]))
}

fn conv2d(bundle: &Bundle, conv: &Conv, map: &Map) -> Map {
    let weights = bundle.weights_as_f32(conv.weight);
    let [kernel, stride] = [conv.kernel[0], conv.stride[0]].map(|v| v as usize);
    let (from, to, pad) = (conv.in_channels as usize, conv.out_channels as usize, conv.pads[0] as isize);
    let side = |side: usize| (side + 2 * pad as usize - kernel) / stride + 1;
    Map::from([side(map.size[0]), side(map.size[1]), to], |y, x, c| {
        let mut sum = bias(bundle, conv.bias, c);
        for ky in 0..kernel {
            for kx in 0..kernel {
                for i in 0..from {
                    let (y, x) = ((y * stride + ky) as isize - pad, (x * stride + kx) as isize - pad);
                    sum += map.padded(y, x, i) * f64::from(weights[((ky * kernel + kx) * from + i) * to + c]);
                }
            }
        }
        sum
    })
}

fn linear(bundle: &Bundle, gemm: &Gemm, row: &Map) -> Map {
    let weights = bundle.weights_as_f32(gemm.weight);
    let to = gemm.out_features as usize;
    Map::from([1, 1, to], |_, _, c| {
        let products = row.data.iter().enumerate().map(|(i, v)| v * f64::from(weights[i * to + c]));
        bias(bundle, gemm.bias, c) + products.sum::<f64>()
    })
}

/// A box and how sure the network is of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scored {
    pub(crate) bbox: [f64; 4],
    pub(crate) score: f64,
    /// Level or class.
    pub(crate) group: usize,
}

pub(crate) fn decode([x1, y1, x2, y2]: [f64; 4], delta: [f64; 4], weights: [f32; 4]) -> [f64; 4] {
    let t: Vec<f64> = (0..4).map(|i| delta[i] / f64::from(weights[i])).collect();
    let (w, h) = (x2 - x1, y2 - y1);
    let (x, y) = (x1 + w / 2.0 + t[0] * w, y1 + h / 2.0 + t[1] * h);
    let limit = (1000.0f64 / 16.0).ln();
    let (w, h) = (w * t[2].min(limit).exp(), h * t[3].min(limit).exp());
    [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
}

pub(crate) fn clip(b: [f64; 4], [height, width]: [usize; 2]) -> [f64; 4] {
    let (right, bottom) = (width as f64, height as f64);
    [b[0].clamp(0.0, right), b[1].clamp(0.0, bottom), b[2].clamp(0.0, right), b[3].clamp(0.0, bottom)]
}

fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

/// The best first, without those that overlap a better one of their group.
pub(crate) fn suppress(mut all: Vec<Scored>, threshold: f64, most: usize) -> Vec<Scored> {
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Scored> = Vec::new();
    for candidate in all {
        let covers = |k: &Scored| k.group == candidate.group && iou(&k.bbox, &candidate.bbox) > threshold;
        if !kept.iter().any(covers) {
            kept.push(candidate);
        }
    }
    kept.truncate(most);
    kept
}

/// `outputs` are logits and deltas of each map; the blob's size, and that of the image in it.
pub(crate) fn proposals(rpn: &Rpn, outputs: &[[Map; 2]], blob: [usize; 2], image: [usize; 2]) -> Vec<Scored> {
    let mut all = Vec::new();
    for (level, [logits, deltas]) in outputs.iter().enumerate() {
        let [height, width, anchors] = logits.size;
        let stride = match &rpn.strides {
            Some(strides) => [strides[level] as usize; 2],
            None => [blob[0] / height, blob[1] / width],
        };
        let mut places: Vec<usize> = (0..logits.data.len()).collect();
        places.sort_by(|&a, &b| logits.data[b].total_cmp(&logits.data[a]));
        places.truncate(rpn.pre_nms_top_n as usize);
        for place in places {
            let (cell, anchor) = (place / anchors, place % anchors);
            let (y, x) = ((cell / width * stride[0]) as f64, (cell % width * stride[1]) as f64);
            let base = rpn.anchors[level][anchor].map(f64::from);
            let base = [base[0] + x, base[1] + y, base[2] + x, base[3] + y];
            let delta = [0, 1, 2, 3].map(|i| deltas.data[4 * place + i]);
            let bbox = clip(decode(base, delta, rpn.box_weights), image);
            let least = f64::from(rpn.min_side);
            let score = 1.0 / (1.0 + (-logits.data[place]).exp());
            if bbox[2] - bbox[0] >= least && bbox[3] - bbox[1] >= least {
                all.push(Scored { bbox, score, group: level });
            }
        }
    }
    suppress(all, f64::from(rpn.nms_iou), rpn.post_nms_top_n as usize)
}

/// `[P, P, C]` of a box in pixels of the blob, and the map that it is sampled from.
pub(crate) fn roi_align(align: &RoiAlign, maps: &[Map], bbox: &BBox) -> (usize, Vec<f64>) {
    let corners = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(f64::from);
    let side = ((corners[2] - corners[0]) * (corners[3] - corners[1])).sqrt();
    let rule = &align.level_rule;
    let level = f64::from(rule.canonical_level) + (side / f64::from(rule.canonical_size)).log2() + 1e-6;
    let level =
        (level.floor() - f64::from(rule.finest_level)).clamp(0.0, align.spatial_scales.len() as f64 - 1.0);
    let (map, scale) = (&maps[level as usize], f64::from(align.spatial_scales[level as usize]));
    assert!(!align.half_pixel && align.sampling_ratio > 0);
    let [height, width, channels] = map.size;
    let [rows, columns] = align.pooled.map(|p| p as usize);
    let n = align.sampling_ratio as usize;
    let size = |from: f64, to: f64| ((to - from) * scale).max(1.0);
    let (w, h) = (size(corners[0], corners[2]), size(corners[1], corners[3]));
    let point = |from: f64, size: f64, bins: usize, bin: usize, i: usize| {
        from * scale + size / bins as f64 * (bin as f64 + (i as f64 + 0.5) / n as f64)
    };
    let mut out = Vec::new();
    for bin in 0..rows * columns {
        for c in 0..channels {
            let mut sum = 0.0;
            for i in 0..n * n {
                let y = point(corners[1], h, rows, bin / columns, i / n);
                let x = point(corners[0], w, columns, bin % columns, i % n);
                sum += bilinear(map, [height, width], y, x, c);
            }
            out.push(sum / (n * n) as f64);
        }
    }
    (level as usize, out)
}

fn bilinear(map: &Map, [height, width]: [usize; 2], y: f64, x: f64, c: usize) -> f64 {
    if y < -1.0 || x < -1.0 || y > height as f64 || x > width as f64 {
        return 0.0;
    }
    let (y, x) = (y.clamp(0.0, height as f64 - 1.0), x.clamp(0.0, width as f64 - 1.0));
    let (y0, x0) = (y.floor() as usize, x.floor() as usize);
    let (y1, x1) = ((y0 + 1).min(height - 1), (x0 + 1).min(width - 1));
    let (dy, dx) = (y - y0 as f64, x - x0 as f64);
    let row = |y: usize| map.at(y, x0, c) * (1.0 - dx) + map.at(y, x1, c) * dx;
    row(y0) * (1.0 - dy) + row(y1) * dy
}

pub(crate) fn align_of(bundle: &Bundle) -> &RoiAlign {
    match &bundle.contents().regions {
        Regions::RoiAlign(align) => align,
        other => panic!("{other:?}"),
    }
}

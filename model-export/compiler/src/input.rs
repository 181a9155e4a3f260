//! Between the device's blob and the network: the manifest's channel order, scale, means and deviations, and what the graph
//! itself does to the image before its first convolution.
//!
//! ```text
//! pixel p ─► d = p - means ─► resize ─► trunk         the device: blue, green, red, 0..255
//!        └─► resize ─► manifest ─► (Gather, Sub, Div, Mul, Add ...) ─► v ─► Conv
//! v[k] = scale[k] * p[source[k]] + shift[k]
//! ```
//!
//! All that gives a `v` of this form is taken out of the graph. The means are chosen so that a first convolution's `v` is
//! `scale * d`, zero where `d` is: so padding with zeros stays padding with zeros. The factors then go into its weights, each
//! in one rounding, and its input channels are reordered. Every other reader of an image (a pooling, or a convolution with
//! other means) gets `v` from a 1 x 1 convolution of its own.

use frcnn_bundle::{ChannelOrder, Conv, Graph, Layer, Manifest, Op, Rewrite, SectionId};

use crate::report::AssumedInput;
use crate::weights::WeightStore;

/// Factors, and means over each other, that are equal up to f32's rounding.
const SAME: f64 = 1e-6;

/// A graph that joins an image to itself again and again is no preparation of it.
const MAX_CHANNELS: usize = 64;

/// One channel of a value that is an image still.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Channel {
    /// 0, 1, 2: blue, green, red.
    source: usize,
    scale: f64,
    shift: f64,
}

impl Channel {
    /// The grey level that becomes 0.
    fn mean(&self) -> f64 {
        -self.shift / self.scale
    }

    fn then(&self, scale: f32, shift: f32) -> Channel {
        let (scale, shift) = (f64::from(scale), f64::from(shift));
        Channel { source: self.source, scale: self.scale * scale, shift: self.shift * scale + shift }
    }

    /// What is left to add to `scale * d`.
    fn remaining_shift(&self, means: &[f32; 3]) -> f64 {
        let subtracted = self.scale * f64::from(means[self.source]);
        let shift = subtracted + self.shift;
        if shift.abs() <= SAME * subtracted.abs().max(self.shift.abs()) { 0.0 } else { shift }
    }

    fn is_finite(&self) -> bool {
        self.scale.is_finite() && self.shift.is_finite()
    }
}

type Image = Vec<Channel>;

/// Takes what is done to the image out of `trunk`, whose input is the network's `data`; afterwards it is the device's blob.
/// Gives the means that the device subtracts, and what became of it all.
pub(crate) fn fold(
    trunk: &mut Graph,
    weights: &mut WeightStore,
    manifest: &Manifest,
) -> ([f32; 3], AssumedInput) {
    let images = images(trunk, weights, manifest);
    let means = choose_means(trunk, &images, manifest);
    let report = AssumedInput::new(manifest);
    let mut rebuilt = Rebuilt { graph: Rewrite::default(), weights, means, images: &images, report };
    for (position, layer) in std::mem::take(&mut trunk.layers).into_iter().enumerate() {
        rebuilt.layer(position, layer);
    }
    for &output in &trunk.outputs {
        rebuilt.value(output);
    }
    let Rebuilt { graph, report, .. } = rebuilt;
    // Each has its place now.
    *trunk = graph.finish(&trunk.outputs).unwrap_or_default();
    (means, report)
}

/// What each value is of the image, if it is one still.
fn images(trunk: &Graph, weights: &WeightStore, manifest: &Manifest) -> Vec<Option<Image>> {
    let grey_level = f64::from(manifest.pixel_scale) / 255.0;
    let channel = |c: usize| {
        let std = f64::from(manifest.pixel_stds[c]);
        let shift = -f64::from(manifest.pixel_means[c]) / std;
        Channel { source: manifest.channel_order.bgr(c), scale: grey_level / std, shift }
    };
    let mut images: Vec<Option<Image>> = vec![Some([0, 1, 2].map(channel).to_vec())];
    for layer in &trunk.layers {
        let read: Option<Vec<&Image>> =
            layer.inputs.iter().map(|&value| images.get(value as usize)?.as_ref()).collect();
        let image = read.and_then(|read| after(&layer.op, &read, weights));
        let is_small = |image: &Image| image.len() <= MAX_CHANNELS && image.iter().all(Channel::is_finite);
        images.push(image.filter(is_small));
    }
    images
}

/// What a layer makes of images, if that is one.
fn after(op: &Op, read: &[&Image], weights: &WeightStore) -> Option<Image> {
    let first = *read.first()?;
    match op {
        Op::Affine(affine) => {
            let (scale, shift) = (weights.get(affine.scale)?, weights.get(affine.shift)?);
            let factors = scale.data.iter().zip(&shift.data);
            Some(first.iter().zip(factors).map(|(channel, (&s, &t))| channel.then(s, t)).collect())
        }
        Op::Concat => Some(read.iter().copied().flatten().copied().collect()),
        Op::Conv(conv) => chosen(conv, first, weights),
        _ => None,
    }
}

/// What a 1 x 1 convolution makes of which every filter reads one channel.
fn chosen(conv: &Conv, image: &Image, weights: &WeightStore) -> Option<Image> {
    let plain = Conv { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], pads: [0; 4], ..conv.clone() };
    if *conv != plain {
        return None;
    }
    let (weight, bias) = (weights.get(conv.weight)?, conv.bias.map(|id| weights.get(id)));
    let filter = |out: usize| {
        let mut read = taps(conv, out).filter_map(|(input, row)| {
            let weight = *weight.data.get(row * conv.out_channels as usize + out)?;
            (weight != 0.0).then_some((input, weight))
        });
        let (Some((input, factor)), None) = (read.next(), read.next()) else { return None };
        let shift = match bias {
            Some(bias) => *bias?.data.get(out)?,
            None => 0.0,
        };
        Some(image.get(input)?.then(factor, shift))
    };
    (0..conv.out_channels as usize).map(filter).collect()
}

/// The input channels that filter `out` reads, each with its row in `[Ci/g, Co]`.
fn taps(conv: &Conv, out: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
    let rows = (conv.in_channels / conv.group.max(1)) as usize;
    let group = out / (conv.out_channels / conv.group.max(1)).max(1) as usize;
    (0..rows).map(move |row| (group * rows + row, row))
}

/// Those of the first convolution that pads with zeros an image of its own means, or of the first at all; else the
/// manifest's.
fn choose_means(trunk: &Graph, images: &[Option<Image>], manifest: &Manifest) -> [f32; 3] {
    let own = manifest.blob_means();
    let of = |padded: bool| {
        trunk.layers.iter().enumerate().find_map(|(position, layer)| {
            let (Op::Conv(conv), None) = (&layer.op, images.get(position + 1)?) else { return None };
            if padded && conv.pads == [0; 4] {
                return None;
            }
            let image = images.get(*layer.inputs.first()? as usize)?.as_ref()?;
            means_of(image, own)
        })
    };
    of(true).or_else(|| of(false)).unwrap_or(own)
}

/// The means by which `image` becomes `scale * d`, if there are such; `own` of channels that it does not have.
fn means_of(image: &Image, own: [f32; 3]) -> Option<[f32; 3]> {
    let mut means = own;
    for (source, mean) in means.iter_mut().enumerate() {
        let Some(channel) = image.iter().find(|channel| channel.source == source) else { continue };
        if channel.remaining_shift(&own) != 0.0 {
            *mean = channel.mean() as f32;
        }
    }
    let pure = image.iter().all(|channel| channel.scale != 0.0 && channel.remaining_shift(&means) == 0.0);
    (pure && means.iter().all(|mean| mean.is_finite())).then_some(means)
}

struct Rebuilt<'a> {
    graph: Rewrite,
    weights: &'a mut WeightStore,
    means: [f32; 3],
    images: &'a [Option<Image>],
    report: AssumedInput,
}

impl<'a> Rebuilt<'a> {
    fn layer(&mut self, position: usize, mut layer: Layer) {
        if self.image(position as u32 + 1).is_some() {
            self.report.in_graph.push(layer.name);
            return;
        }
        let folded = match (&layer.op, layer.inputs.first().and_then(|&value| self.image(value))) {
            (Op::Conv(conv), Some(image)) => self.conv(conv, image),
            _ => None,
        };
        layer.inputs = match folded {
            Some(conv) => {
                if matches!(&layer.op, Op::Conv(old) if *old != conv) {
                    self.report.folded_into.push(layer.name.clone());
                }
                layer.op = Op::Conv(conv);
                vec![0]
            }
            None => layer.inputs.iter().map(|&value| self.value(value)).collect(),
        };
        let made = self.graph.push(layer);
        self.graph.set(position as u32 + 1, made);
    }

    fn image(&self, value: u32) -> Option<&'a Image> {
        let images: &'a [Option<Image>] = self.images;
        images.get(value as usize)?.as_ref()
    }

    /// An old value in the new graph; an image is made there if it has to be.
    fn value(&mut self, value: u32) -> u32 {
        if let Some(moved) = self.graph.value(value) {
            return moved;
        }
        let image = self.image(value).cloned().unwrap_or_default();
        let made = if self.is_blob(&image) { 0 } else { self.make(value, &image) };
        self.graph.set(value, made);
        made
    }

    /// Whether an image is the blob itself.
    fn is_blob(&self, image: &Image) -> bool {
        let unchanged = |(c, channel): (usize, &Channel)| {
            channel.source == c
                && (channel.scale - 1.0).abs() <= SAME
                && channel.remaining_shift(&self.means) == 0.0
        };
        image.len() == 3 && image.iter().enumerate().all(unchanged)
    }

    /// A layer that computes an image of the blob.
    fn make(&mut self, value: u32, image: &Image) -> u32 {
        let mut weight = vec![0.0; 3 * image.len()];
        for (column, channel) in image.iter().enumerate() {
            weight[channel.source * image.len() + column] = channel.scale as f32;
        }
        let shift: Vec<f32> =
            image.iter().map(|channel| channel.remaining_shift(&self.means) as f32).collect();
        let name = if value == 0 { "input".to_string() } else { format!("input_{value}") };
        self.report.added.push(name.clone());
        let conv = Conv {
            in_channels: 3,
            out_channels: image.len() as u32,
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
            group: 1,
            weight: self.weights.add(String::new(), &[1, 1, 3, image.len()], weight),
            bias: shift
                .iter()
                .any(|&shift| shift != 0.0)
                .then(|| self.weights.add(String::new(), &[image.len()], shift.clone())),
        };
        self.graph.push(Layer { name, op: Op::Conv(conv), inputs: vec![0] })
    }

    /// A convolution that reads the blob in the place of an image, if the image is nothing but a factor away from it.
    fn conv(&mut self, conv: &Conv, image: &Image) -> Option<Conv> {
        if image.iter().any(|channel| channel.remaining_shift(&self.means) != 0.0) {
            return None;
        }
        if self.is_blob(image) {
            return Some(conv.clone());
        }
        let in_order = image.len() == 3 && image.iter().enumerate().all(|(c, channel)| channel.source == c);
        let group = if in_order { conv.group } else { 1 };
        let weight = self.scaled(conv, image, group)?;
        Some(Conv { in_channels: 3, group, weight, ..conv.clone() })
    }

    /// The weights `[Kh, Kw, 3 / group, Co]` that do to the blob what those of `conv` do to `image`.
    fn scaled(&mut self, conv: &Conv, image: &Image, group: u32) -> Option<SectionId> {
        let old = self.weights.get(conv.weight)?;
        let [kh, kw] = conv.kernel.map(|side| side as usize);
        let (out_channels, rows) =
            (conv.out_channels as usize, (conv.in_channels / conv.group.max(1)) as usize);
        let new_rows = 3 / group.max(1) as usize;
        let mut data = vec![0.0f32; kh * kw * new_rows * out_channels];
        for tap in 0..kh * kw {
            for out in 0..out_channels {
                for (input, row) in taps(conv, out) {
                    let channel = image.get(input)?;
                    let weight = old.data.get((tap * rows + row) * out_channels + out)?;
                    let new_row = if group == 1 { channel.source } else { row };
                    let place = data.get_mut((tap * new_rows + new_row) * out_channels + out)?;
                    *place = (f64::from(*place) + f64::from(*weight) * channel.scale) as f32;
                }
            }
        }
        Some(self.weights.add(String::new(), &[kh, kw, new_rows, out_channels], data))
    }
}

impl AssumedInput {
    fn new(manifest: &Manifest) -> AssumedInput {
        let mut assumed = format!("the network reads {}", manifest.input_line());
        if manifest.channel_order == ChannelOrder::Bgr {
            assumed +=
                " (Caffe's order; say \"channel_order\": \"rgb\" in the manifest if it was trained on RGB)";
        }
        AssumedInput {
            channel_order: manifest.channel_order,
            pixel_scale: manifest.pixel_scale,
            pixel_means: manifest.pixel_means,
            pixel_stds: manifest.pixel_stds,
            box_weights: manifest.box_weights,
            assumed,
            in_graph: Vec::new(),
            folded_into: Vec::new(),
            added: Vec::new(),
        }
    }
}

//! Makes what a mutation left of a network fit together again: most networks that were changed in one place are refused by
//! the first check, and nothing behind it would ever be tried.

use frcnn_bundle::{Contents, Graph, Int8, Op, Precision, Section, SectionId, Shape, nominal_size};

/// Sets channels, features and sections of all graphs to what their inputs want; the last layers of the head to what
/// the classes want; weights behind the first layer to `precision`, where they may be of it. Stops where a graph cannot be made to fit.
pub(super) fn fit(contents: &mut Contents, precision: Precision) {
    let mut sections = Sections { list: Vec::new(), precision };
    let (height, width) = nominal_size(contents);
    let classes = contents.manifest.classes.len() as u32;
    if height.checked_mul(width).is_none_or(|pixels| pixels > 1 << 22) {
        return;
    }
    let Some(map) = fit_graph(&mut contents.trunk, Shape::Map { height, width, channels: 3 }, &mut sections)
    else {
        return;
    };
    let rpn = contents.rpn.as_mut().map(|rpn| fit_graph(&mut rpn.graph, map, &mut sections).is_some());
    if rpn == Some(false) {
        return;
    }
    let region = contents.region_shape(map);
    let outputs = contents.head.outputs.clone();
    for (value, features) in outputs.into_iter().zip([classes, classes.saturating_mul(4)]) {
        set_features(&mut contents.head, value, features);
    }
    if fit_graph(&mut contents.head, region, &mut sections).is_some() {
        contents.sections = sections.list;
    }
}

/// The fully connected layer that makes `value`, through layers of one input.
fn set_features(head: &mut Graph, mut value: u32, features: u32) {
    while let Some(layer) = (value as usize).checked_sub(1).and_then(|i| head.layers.get_mut(i)) {
        if let Op::Gemm(gemm) = &mut layer.op {
            gemm.out_features = features;
            return;
        }
        match layer.inputs[..] {
            [input] if input < value => value = input,
            _ => return,
        }
    }
}

struct Sections {
    list: Vec<Section>,
    precision: Precision,
}

impl Sections {
    fn add(&mut self, shape: &[u32], precision: Precision) -> SectionId {
        let int8 = (precision == Precision::Int8).then(|| {
            let scales = self.add(&shape[shape.len().saturating_sub(1)..], Precision::F32);
            Int8 { scales, input_scale: 0.125, input_zero_point: 3 }
        });
        let values = shape.iter().fold(1u64, |n, &d| n.saturating_mul(d.into()));
        let bytes = values.saturating_mul(precision.bytes());
        let name = format!("s{}", self.list.len());
        let shape = shape.to_vec();
        self.list.push(Section { name, shape, precision, int8, offset: 0, bytes, hash: 0 });
        (self.list.len() - 1) as SectionId
    }
}

/// The shape of the graph's first output.
fn fit_graph(graph: &mut Graph, input: Shape, sections: &mut Sections) -> Option<Shape> {
    let mut done = Graph::default();
    let mut shapes = vec![input];
    for layer in &mut graph.layers {
        let channels = layer.inputs.first().and_then(|&i| shapes.get(i as usize)).map(Shape::channels);
        let channels = u32::try_from(channels?).ok()?;
        let reduced = layer.op.reducible_weight().is_some() && !done.layers.is_empty();
        let precision = if reduced { sections.precision } else { Precision::F32 };
        match &mut layer.op {
            Op::Conv(conv) => {
                conv.in_channels = channels;
                if conv.group == 0 || channels % conv.group != 0 || conv.out_channels % conv.group != 0 {
                    conv.group = 1;
                }
                let [kh, kw] = conv.kernel;
                conv.weight = sections.add(&[kh, kw, channels / conv.group, conv.out_channels], precision);
                conv.bias = conv.bias.map(|_| sections.add(&[conv.out_channels], Precision::F32));
            }
            Op::Gemm(gemm) => {
                gemm.in_features = channels;
                gemm.weight = sections.add(&[channels, gemm.out_features], precision);
                gemm.bias = gemm.bias.map(|_| sections.add(&[gemm.out_features], Precision::F32));
            }
            Op::Affine(affine) => {
                affine.channels = channels;
                affine.scale = sections.add(&[channels], Precision::F32);
                affine.shift = sections.add(&[channels], Precision::F32);
            }
            _ => {}
        }
        done.layers.push(layer.clone());
        shapes = done.infer(input).ok()?;
    }
    shapes.get(*graph.outputs.first()? as usize).copied()
}

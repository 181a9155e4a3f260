//! The weights of a network that is being compiled.

use frcnn_bundle::{Bundle, BundleWriter, Contents, Graph, Op, SectionId};

use crate::error::Problem;
use crate::finite;

/// One tensor.
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// Tensors by section id. Layers refer to them while weights are still folded and replaced; what no
/// layer refers to in the end is not written.
#[derive(Default)]
pub(crate) struct WeightStore(Vec<Weight>, u64);

impl WeightStore {
    pub(crate) fn add(&mut self, name: String, shape: &[usize], data: Vec<f32>) -> SectionId {
        self.1 = self.1.saturating_add(4 * data.len() as u64);
        self.0.push(Weight { name, shape: shape.to_vec(), data });
        (self.0.len() - 1) as SectionId
    }

    /// Bytes of all that were ever added.
    pub(crate) fn bytes(&self) -> u64 {
        self.1
    }

    pub(crate) fn get(&self, id: SectionId) -> Option<&Weight> {
        self.0.get(id as usize)
    }

    pub(crate) fn get_mut(&mut self, id: SectionId) -> Option<&mut Weight> {
        self.0.get_mut(id as usize)
    }

    /// Puts the network together; sections lie in the order in which layers read them.
    ///
    /// # Errors
    /// Folding made a weight that is not finite, or the network is not valid.
    pub(crate) fn into_bundle(mut self, mut contents: Contents) -> Result<Bundle, Problem> {
        for layer in contents.layers() {
            for weight in layer.op.sections().filter_map(|id| self.0.get(id as usize)) {
                finite::check(layer, &weight.data, "once layers are folded together or factored")?;
            }
        }
        let mut writer = BundleWriter::new();
        let mut written = vec![None; self.0.len()];
        let mut move_section = |id: &mut SectionId| {
            let (Some(weight), Some(place)) = (self.0.get_mut(*id as usize), written.get_mut(*id as usize))
            else {
                return;
            };
            *id = *place.get_or_insert_with(|| {
                writer.add(std::mem::take(&mut weight.name), &weight.shape, std::mem::take(&mut weight.data))
            });
        };
        let rpn = contents.rpn.iter_mut().flat_map(|rpn| &mut rpn.graph.layers);
        for layer in contents.trunk.layers.iter_mut().chain(&mut contents.head.layers).chain(rpn) {
            for_each_section(&mut layer.op, &mut move_section);
        }
        Ok(writer.finish(contents)?)
    }
}

pub(crate) fn for_each_section(op: &mut Op, mut visit: impl FnMut(&mut SectionId)) {
    match op {
        Op::Conv(conv) => {
            visit(&mut conv.weight);
            conv.bias.as_mut().map(visit);
        }
        Op::Gemm(gemm) => {
            visit(&mut gemm.weight);
            gemm.bias.as_mut().map(visit);
        }
        Op::Affine(affine) => {
            visit(&mut affine.scale);
            visit(&mut affine.shift);
        }
        _ => {}
    }
}

/// Names the layers' sections after the layers: `fc6.weight`, `fc6.bias`.
pub(crate) fn name_sections(graph: &Graph, weights: &mut WeightStore) {
    for layer in &graph.layers {
        let suffixes = match layer.op {
            Op::Affine(_) => ["scale", "shift"],
            _ => ["weight", "bias"],
        };
        for (id, suffix) in layer.op.sections().zip(suffixes) {
            if let Some(weight) = weights.get_mut(id) {
                weight.name = format!("{}.{suffix}", layer.name);
            }
        }
    }
}

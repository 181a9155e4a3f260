//! The head: pooled RoIs to class probabilities and box deltas.

use std::sync::Arc;

use frcnn_bundle::{Bundle, Graph, Op};
use frcnn_core::ShapeError;
use tract_core::internal::*;

use crate::Error;
use crate::ops::Workshop;
use crate::plan::{Plan, values};

/// Bytes of pooled features that the head takes at once: enough rows to keep its products busy, few
/// enough that 100,000 RoIs fit on a board.
const CHUNK_BYTES: usize = 12 << 20;

/// What the head gives for `R` RoIs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadOutput {
    /// `[R, K + 1]`, each row a distribution over the classes.
    pub cls_prob: Vec<f32>,
    /// `[R, 4 (K + 1)]`: tx, ty, tw, th of each class.
    pub bbox_pred: Vec<f32>,
}

/// A tensor by its published blob name.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Such as `fc6`; as in the published networks, a layer's blob is what its ReLU left in it.
    pub name: String,
    /// `[R, ...]`, channels last.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: Vec<f32>,
}

/// The head of one detector.
#[derive(Debug)]
pub(crate) struct Head {
    bundle: Arc<Bundle>,
    workshop: Workshop,
    plan: Plan,
    /// `[P, P, C]` of one RoI.
    pooled: [usize; 3],
}

impl Head {
    pub(crate) fn new(bundle: Arc<Bundle>, channels: usize, workshop: Workshop) -> Result<Head, Error> {
        let [height, width] = bundle.contents().roi_pooling.pooled.map(|p| p as usize);
        let pooled = [height, width, channels];
        let outputs = bundle.contents().head.outputs.clone();
        let plan = plan(&bundle, pooled, &outputs, &workshop)?;
        Ok(Head { bundle, workshop, plan, pooled })
    }

    /// Values in one pooled RoI.
    pub(crate) fn features(&self) -> usize {
        self.pooled.iter().product()
    }

    /// RoIs to pool and run at a time.
    pub(crate) fn chunk(&self) -> usize {
        (CHUNK_BYTES / 4 / self.features().max(1)).clamp(64, 4096)
    }

    /// Appends the predictions for the RoIs in `pooled`, which `fill` writes: `[rows, P, P, C]`.
    ///
    /// `buffer` is kept between calls: pooled features are large, and fresh memory for each chunk would
    /// be paid for page by page.
    pub(crate) fn run(
        &self,
        rows: usize,
        buffer: &mut Arc<Tensor>,
        fill: impl FnOnce(&mut [f32]) -> Result<(), Error>,
        output: &mut HeadOutput,
    ) -> Result<(), Error> {
        let graph_error = Error::graph("head");
        let [height, width, channels] = self.pooled;
        let shape = [rows, height, width, channels];
        if buffer.shape() != shape || Arc::get_mut(buffer).is_none() {
            *buffer = Arc::new(Tensor::zero::<f32>(&shape).map_err(&graph_error)?);
        }
        if let Some(tensor) = Arc::get_mut(buffer) {
            let mut plain = tensor.try_as_plain_ram_mut().map_err(&graph_error)?;
            fill(plain.as_slice_mut::<f32>().map_err(&graph_error)?)?;
        }
        let result = self.plan.run(buffer.clone().into_tvalue())?;
        let [cls_prob, bbox_pred] = &result[..] else {
            return Err(ShapeError { what: "head outputs", expected: 2, found: result.len() }.into());
        };
        output.cls_prob.extend_from_slice(values("head", cls_prob)?);
        output.bbox_pred.extend_from_slice(values("head", bbox_pred)?);
        Ok(())
    }

    /// Runs the head on `[R, P, P, C]` and gives what its named layers made.
    pub(crate) fn stages(&self, pooled: &[f32]) -> Result<Vec<Stage>, Error> {
        let graph_error = Error::graph("head");
        let rows = pooled.len() / self.features().max(1);
        let named = named_values(&self.bundle.contents().head);
        let outputs: Vec<u32> = named.iter().map(|(_, value)| *value).collect();
        let plan = plan(&self.bundle, self.pooled, &outputs, &self.workshop)?;
        let [height, width, channels] = self.pooled;
        let input = Tensor::from_shape(&[rows, height, width, channels], pooled).map_err(&graph_error)?;
        let tensors = plan.run(input.into_tvalue())?;
        named
            .into_iter()
            .zip(&tensors)
            .map(|((name, _), tensor)| {
                Ok(Stage { name, shape: tensor.shape().to_vec(), data: values("head", tensor)?.to_vec() })
            })
            .collect()
    }
}

fn plan(
    bundle: &Arc<Bundle>,
    [height, width, channels]: [usize; 3],
    outputs: &[u32],
    workshop: &Workshop,
) -> Result<Plan, Error> {
    let symbols = SymbolScope::default();
    let rois = symbols.sym("R").to_dim();
    let input = [rois, height.to_dim(), width.to_dim(), channels.to_dim()];
    Plan::new("head", bundle, &bundle.contents().head, &input, outputs, workshop, symbols)
}

/// The values that have a published name, each after the ReLU that follows its layer, then the outputs.
fn named_values(graph: &Graph) -> Vec<(String, u32)> {
    let after_relu = |value: u32| {
        let relu = graph.layers.iter().position(|l| l.inputs == [value] && matches!(l.op, Op::Relu));
        relu.map_or(value, |position| position as u32 + 1)
    };
    let mut named: Vec<(String, u32)> = Vec::new();
    for (position, layer) in graph.layers.iter().enumerate() {
        if matches!(layer.op, Op::Conv(_) | Op::Gemm(_)) && !layer.name.ends_with("_L") {
            let name = layer.name.strip_suffix("_U").unwrap_or(&layer.name);
            named.push((name.to_string(), after_relu(position as u32 + 1)));
        }
    }
    for (name, &value) in ["cls_prob", "bbox_pred"].into_iter().zip(&graph.outputs) {
        if named.iter().all(|(known, _)| known != name) {
            named.push((name.to_string(), value));
        }
    }
    named
}

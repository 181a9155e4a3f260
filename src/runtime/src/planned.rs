//! How each layer of a bundle runs on this machine, for people who want to know.

use frcnn_bundle::{Gemm, Graph, Op};
use frcnn_kernels::Pointwise;

use crate::fusion::{Fusion, Step};
use crate::ops::PackedWeights;

/// How one layer runs on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLayer {
    /// `trunk`, `rpn`, `head` or `judge`.
    pub graph: &'static str,
    /// Its name.
    pub layer: String,
    /// What it is in the bundle's vocabulary, such as `Conv`.
    pub op: &'static str,
    /// What computes it, such as `Winograd F(4x4, 3x3)`; `part of LAYER` where another layer's operator does.
    pub by: String,
    /// How its products are computed, in which instruction set: `exact f32 (avx512)`, `bf16x3 (amx)`, `bf16 (amx)`. None for
    /// layers without weights to multiply.
    pub products: Option<String>,
    /// Why it is not part of another layer's operator, where layers of its kind often are.
    pub reason: Option<&'static str>,
    /// Of a convolution in f32: the time of a frame that is expected of its algorithm, on one thread,
    /// as multiplications and additions of a product of matrices that would take as long.
    pub flops: Option<f64>,
    /// Milliseconds of it as they were measured by `frcnn tune`, if they were.
    pub ms: Option<f64>,
}

fn name_of(function: Pointwise) -> &'static str {
    match function {
        Pointwise::HardSwish => " + HardSwish",
        Pointwise::Clip { scale: 1.0, shift: 0.0, .. } => " + Clip",
        Pointwise::Clip { .. } => " + HardSigmoid",
    }
}

/// The layers of `graph` as `fusion` has decided for it. `reads_rois` tells which are fused with RoI pooling.
pub(crate) fn planned(
    which: &'static str,
    graph: &Graph,
    fusion: &Fusion,
    weights: &PackedWeights,
    reads_rois: impl Fn(&Gemm) -> bool,
) -> Vec<PlannedLayer> {
    let name = |position: usize| graph.layers.get(position).map_or("", |layer| layer.name.as_str());
    let layers = graph.layers.iter().enumerate().map(|(position, layer)| {
        let epilogue = fusion.epilogue(position);
        let algorithm = match &layer.op {
            Op::Conv(conv) => weights.plans.algorithm_name(conv).unwrap_or("unknown"),
            Op::Gemm(gemm) if reads_rois(gemm) => "GEMM, pre-packed, fused with RoI pooling",
            Op::Gemm(_) => "GEMM, pre-packed",
            Op::Flatten => "nothing: the same values in another shape",
            Op::MaxPool(_) | Op::AveragePool { .. } | Op::Lrn { .. } => "SIMD kernel",
            Op::Softmax => "row by row",
            Op::Upsample => "copies of cells",
            Op::GlobalAveragePool => "SIMD kernel",
            Op::Relu | Op::Clip { .. } | Op::HardSigmoid { .. } | Op::HardSwish | Op::Add | Op::Mul => {
                "SIMD kernel, in place"
            }
            _ => "tract",
        };
        let mut by = match fusion.step(position) {
            Step::Own | Step::AddUpsampled(_) => algorithm.to_string(),
            Step::Strips(_) => format!("{algorithm}, in strips of rows"),
            Step::Concat(_) => "nothing: its inputs are written side by side".to_string(),
            Step::Within(maker) if matches!(layer.op, Op::Conv(_)) => {
                format!("{algorithm}, as part of {}", name(*maker))
            }
            Step::Within(maker) => format!("part of {}", name(*maker)),
        };
        for (is, what) in [
            (epilogue.relu, " + ReLU"),
            (epilogue.then.is_some(), epilogue.then.map_or("", name_of)),
            (epilogue.pool.is_some(), " + max pooling"),
            (epilogue.bf16, ", gives bf16"),
        ] {
            if is {
                by += what;
            }
        }
        let products = match &layer.op {
            Op::Conv(conv) => weights.convs.products(conv),
            Op::Gemm(gemm) => weights.linears.get(gemm).ok().map(|linear| linear.products().to_string()),
            _ => None,
        };
        let choice = match &layer.op {
            Op::Conv(conv) => weights.plans.choice(conv),
            _ => None,
        };
        PlannedLayer {
            flops: choice.map(|choice| choice.candidate.flops),
            ms: choice.and_then(|choice| choice.ms),
            graph: which,
            layer: layer.name.clone(),
            op: layer.op.name(),
            by,
            products,
            reason: fusion.reason(position),
        }
    });
    layers.collect()
}

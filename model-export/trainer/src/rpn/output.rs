//! What a region proposal network says, as libtorch gives it.

use frcnn_bundle::Rpn;
use frcnn_core::BBox;
use rayon::prelude::*;
use tch::Tensor;

use super::{AnchorGrid, propose};
use crate::tensors::values;

/// Of the anchors of the feature maps of N images.
#[derive(Debug)]
pub(crate) struct RpnOutput {
    /// `[N, Hf, Wf, A]`.
    pub(crate) logits: Tensor,
    /// `[N, Hf, Wf, 4A]`.
    pub(crate) deltas: Tensor,
}

impl RpnOutput {
    /// From blobs `[N, A, Hf, Wf]` and `[N, 4A, Hf, Wf]`.
    pub(crate) fn new(logits: &Tensor, deltas: &Tensor) -> RpnOutput {
        let [logits, deltas] = [logits, deltas].map(|blob| blob.permute([0, 2, 3, 1]));
        RpnOutput { logits, deltas }
    }

    /// The anchors of each image of a blob `[N, 3, H, W]`, on the first map of the rules.
    pub(crate) fn grid<'a>(&self, rules: &'a Rpn, blob: &Tensor) -> AnchorGrid<'a> {
        let sides = |tensor: &Tensor, axes: [usize; 2]| {
            let size = tensor.size();
            axes.map(|axis| size.get(axis).map_or(0, |&side| side as usize))
        };
        let cells = sides(&self.logits, [1, 2]);
        let stride = rules.stride(0, sides(blob, [2, 3]), cells);
        AnchorGrid { base: rules.anchors.first().map_or(&[], Vec::as_slice), stride, cells }
    }

    /// The proposals of each image in network pixels, the best first. `images` are the parts of the blobs that are the images,
    /// rows and columns.
    pub(crate) fn proposals(
        &self,
        grid: &AnchorGrid<'_>,
        images: &[[u32; 2]],
        rules: &Rpn,
    ) -> Vec<Vec<BBox>> {
        let [logits, deltas] = [&self.logits, &self.deltas].map(values);
        let of_image = grid.len().max(1);
        images
            .par_iter()
            .zip(logits.par_chunks(of_image).zip(deltas.par_chunks(4 * of_image)))
            .map(|(&image, (logits, deltas))| propose(grid, logits, deltas, image, rules))
            .collect()
    }
}

//! Row tiling: a convolution whose map is large, and what reads the map, run together on a strip of rows at a time, so that the
//! map between them stays in cache (Alwani et al., Fused-Layer CNN Accelerators, MICRO 2016).
//!
//! ```text
//! Conv ─ Conv                 the second convolution ends the strips
//! Conv ─ depthwise ─ 1x1      or two of these: the inner maps are the wide ones of an inverted residual
//! Conv ─ LRN ─ MaxPool ...    until something else, or a value that is asked for
//! ```

use frcnn_bundle::{Conv, Op};

use super::{Planner, Step};

/// Most layers in strips: a convolution, an LRN, a pooling and what they hand on to.
const MOST_IN_STRIPS: usize = 4;
/// Rows that two windows of a layer in strips may share: each strip computes them anew.
const SHARED_ROWS: u32 = 4;

impl Planner<'_> {
    pub(super) fn tile_rows(&mut self, layer: usize) {
        let depthwise = self.around_depthwise(layer);
        if !depthwise.is_empty() {
            self.run_in_strips(layer, depthwise);
            return;
        }
        let Some(first) = self.uses.conv(layer).filter(|first| self.starts_strips(layer, first)) else {
            return;
        };
        let behind = match self.conv_behind(layer, first) {
            Some(second) => vec![second],
            None => self.lrns_and_pools_behind(layer, first),
        };
        if behind.is_empty() {
            self.reasons[layer] = Some("a large map, but what reads it gains nothing by strips of rows");
            return;
        }
        self.run_in_strips(layer, behind);
    }

    fn run_in_strips(&mut self, layer: usize, behind: Vec<usize>) {
        for &next in &behind {
            self.steps[next] = Step::Within(layer);
            self.reasons[next] = None;
        }
        self.steps[layer] = Step::Strips([vec![layer], behind].concat());
    }

    /// Convolutions behind `layer`, each of which alone reads what the one before gives and is cheap beside it: a depthwise one
    /// among them, or `layer` itself.
    fn around_depthwise(&self, layer: usize) -> Vec<usize> {
        let mut behind = Vec::new();
        let (mut end, mut is_depthwise) = (layer, self.uses.conv(layer).is_some_and(is_depthwise));
        while behind.len() + 1 < MOST_IN_STRIPS
            && let Some(conv) = self.own_conv(end)
            && let Some(next) = self.only_reader(end)
            && let Some(second) = self.own_conv(next)
            && shares_few_rows(extent(second.kernel[0], second.dilation[0]), second.stride[0], second.pads)
            && self.kernels.goes_on_strips(conv, second)
        {
            is_depthwise |= self::is_depthwise(second);
            behind.push(next);
            end = next;
        }
        let sees_rows = |conv: &Conv| sees_rows(extent(conv.kernel[0], conv.dilation[0]), conv.pads);
        if !is_depthwise || !self.uses.conv(layer).is_some_and(sees_rows) {
            behind.clear();
        }
        behind
    }

    /// The layer as a convolution that is an operator of its own, and pools nothing.
    fn own_conv(&self, layer: usize) -> Option<&Conv> {
        let is_own = self.steps.get(layer) == Some(&Step::Own) && self.epilogues[layer].pool.is_none();
        self.uses.conv(layer).filter(|_| is_own)
    }

    /// Whether the convolution `layer` is an operator of its own, with a map that is worth cutting into strips.
    fn starts_strips(&self, layer: usize, conv: &Conv) -> bool {
        self.steps[layer] == Step::Own
            && self.kernels.starts_strips(conv)
            && sees_rows(extent(conv.kernel[0], conv.dilation[0]), conv.pads)
            && self.epilogues[layer].pool.is_none()
    }

    /// The convolution that alone reads what `layer` gives and can do so by strips.
    fn conv_behind(&self, layer: usize, first: &Conv) -> Option<usize> {
        let next = self.only_reader(layer)?;
        let second = self.uses.conv(next)?;
        let ends_strips = self.steps[next] == Step::Own
            && shares_few_rows(extent(second.kernel[0], second.dilation[0]), second.stride[0], second.pads)
            && self.kernels.ends_strips(first, second);
        ends_strips.then_some(next)
    }

    /// LRNs and poolings behind `layer`, each of which alone reads what the one before gives. They join no convolution whose
    /// algorithm pools by itself.
    fn lrns_and_pools_behind(&self, layer: usize, first: &Conv) -> Vec<usize> {
        let mut behind = Vec::new();
        if self.kernels.pools(first) {
            return behind;
        }
        let mut end = self.last[layer];
        while behind.len() + 1 < MOST_IN_STRIPS
            && let Some(next) = self.uses.only_reader(end)
            && match self.uses.op(next) {
                Some(Op::MaxPool(pool)) => shares_few_rows(pool.kernel[0], pool.stride[0], pool.pads),
                Some(Op::Lrn { .. }) => true,
                _ => false,
            }
        {
            behind.push(next);
            end = next;
        }
        behind
    }
}

fn is_depthwise(conv: &Conv) -> bool {
    conv.group > 1 && conv.group == conv.in_channels
}

/// Rows from the first tap of a window to the last.
fn extent(kernel: u32, dilation: u32) -> u32 {
    kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1)
}

/// Whether each window sees a row of the map: then no strip is made of padding alone.
fn sees_rows(extent: u32, [top, _, bottom, _]: [u32; 4]) -> bool {
    top < extent && bottom < extent
}

/// Whether strips are little more work than the whole map, too.
fn shares_few_rows(extent: u32, stride: u32, pads: [u32; 4]) -> bool {
    extent.saturating_sub(stride) <= SHARED_ROWS && sees_rows(extent, pads)
}

//! Direct convolution in f16: the windows of some output rows are packed, and meet all panels of weights. See `direct` for what
//! windows are, and `f16` for the arithmetic.

use alloc::vec::Vec;

use super::{
    ChannelRange, ConvArgs, ConvShape,
    direct::{Windows, chunk_size, copy_rows, even_rows, k_blocks, padded_row_len},
};
use crate::{
    F16Isa,
    aligned::{AlignedVec, aligned},
    blocking::LINEAR_K,
    f16::{Output, PANEL, PackedRows, Panels, Product, RUN_STEPS, STEP},
    init::Init,
    k_order::{KBlock, KPart},
    len_of, tasks,
};

/// A layer's packed weights.
#[derive(Clone, Debug)]
pub(super) struct DirectF16 {
    /// Of each group; `K` in blocks as [`blocks`] cuts it.
    groups: Vec<Panels>,
}

impl DirectF16 {
    /// Packs `weights`, `[Kh, Kw, Ci / group, Co]`, of the right length. `None` where the CPU lacks `isa`.
    pub(super) fn new(isa: F16Isa, shape: &ConvShape, weights: &[u16], threads: usize) -> Option<Self> {
        let (co, [_, group_out]) = (shape.out_channels, shape.group_channels());
        let mut rows: Vec<Vec<usize>> = Vec::new();
        for block in blocks(&Windows::new(shape, 1)) {
            rows.push((block.first_k..block.first_k + block.len()).collect());
        }
        let group = |g: usize| {
            let of_group = |row: &[u16]| row[g * group_out..][..group_out].to_vec();
            let weights: Vec<u16> = weights.chunks_exact(co.max(1)).flat_map(of_group).collect();
            Panels::new(isa, &weights, group_out, &rows, RUN_STEPS, threads)
        };
        (0..shape.group).map(group).collect::<Option<_>>().map(|groups| Self { groups })
    }

    /// Bytes of packed weights; saturates.
    pub(super) fn packed_bytes(shape: &ConvShape) -> usize {
        let [_, group_out] = shape.group_channels();
        let (segments, len) = Windows::segment_lens(shape);
        let padded = |len: usize| len.max(1).next_multiple_of(STEP);
        // As `k_blocks` cuts them: some whole segments, or a piece of one.
        let k = if len > LINEAR_K {
            let pieces = len.div_ceil(LINEAR_K);
            let step = len.div_ceil(pieces);
            let pieces = len.div_ceil(step);
            let of_one =
                len_of(&[pieces - 1, padded(step)]).saturating_add(padded(len - (pieces - 1) * step));
            len_of(&[segments, of_one])
        } else {
            let at_once = LINEAR_K / len.max(1);
            let rest = segments % at_once;
            let of_rest = if rest > 0 { padded(rest * len) } else { 0 };
            len_of(&[segments / at_once, padded(at_once * len)]).saturating_add(of_rest)
        };
        len_of(&[shape.group, size_of::<u16>(), k, group_out.next_multiple_of(PANEL)])
    }

    pub(super) fn weight_bytes(&self) -> usize {
        self.groups.iter().map(Panels::bytes).sum()
    }

    pub(super) fn isa(&self) -> Option<F16Isa> {
        self.groups.first().map(Panels::isa)
    }

    /// f32 values that a task needs: copied input rows, and a block of packed windows; saturates.
    pub(super) fn scratch_lens(shape: &ConvShape, out_width: usize) -> [usize; 2] {
        let (pixels, rows) = chunk_size(shape, out_width);
        let copied =
            if shape.is_pointwise() { 0 } else { len_of(&[rows, shape.kernel[0], padded_row_len(shape)]) };
        let packed = PackedRows::len(len_of(&[rows, pixels]), shape.patch_len().min(LINEAR_K));
        [copied, packed.div_ceil(2)]
    }

    /// Convolves maps of the prepared layer; the shapes were checked, and `out` is not empty.
    pub(super) fn run(
        &self,
        shape: &ConvShape,
        [out_height, out_width]: [usize; 2],
        args: ConvArgs<'_>,
        channels: ChannelRange,
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let windows = Windows::new(shape, out_width);
        let blocks: Vec<KBlock> = blocks(&windows).collect();
        let (pixels, most_rows) = chunk_size(shape, out_width);
        let chunk_rows = even_rows(shape, out.len() / channels.stride / pixels, most_rows);
        let [copied_len, packed_len] = Self::scratch_lens(shape, out_width);
        let (tasks, task_len) = (tasks::task_count(args.threads), copied_len + packed_len);
        let buffers = aligned(scratch, len_of(&[tasks, task_len])).chunks_exact_mut(task_len);
        let mut buffers: Vec<_> = buffers.map(|buffer| (buffer, AlignedVec::default())).collect();
        let chunk_len = len_of(&[chunk_rows, pixels, channels.stride]);
        tasks::for_each_chunk(&mut buffers, out, chunk_len, |(buffer, edge), i, out| {
            let (copied, packed) = buffer.split_at_mut(copied_len);
            let rows = out.len() / channels.stride / windows.pixels;
            let first = i * chunk_rows;
            let data = if windows.copied {
                for (y, row) in (first..first + rows).zip(copied.chunks_exact_mut(windows.row_stride)) {
                    copy_rows(shape, args.input, y / out_height, y % out_height, row);
                }
                &copied[..]
            } else {
                &args.input[first * windows.row_stride..]
            };
            let chunk =
                Chunk { layer: self, shape, windows: &windows, blocks: &blocks, data, rows, args, channels };
            chunk.run(packed, edge, out);
        });
    }
}

/// `K` in blocks of about as many values as a fully connected layer's.
fn blocks(windows: &Windows) -> impl Iterator<Item = KBlock> {
    k_blocks(windows, LINEAR_K).scan(0, |first_k, block| {
        let segments = block.segments.iter().map(|first| first + block.values.start).collect();
        let block = KBlock { first_k: *first_k, segments, segment_len: block.values.len() };
        *first_k += block.len();
        Some(block)
    })
}

/// A few rows of the output.
struct Chunk<'a> {
    layer: &'a DirectF16,
    shape: &'a ConvShape,
    windows: &'a Windows,
    blocks: &'a [KBlock],
    /// What `windows` are offsets in.
    data: &'a [f32],
    rows: usize,
    args: ConvArgs<'a>,
    channels: ChannelRange,
}

impl Chunk<'_> {
    fn run(&self, packed: &mut [f32], edge: &mut AlignedVec, out: &mut [f32]) {
        let Self { layer, shape, windows, blocks, channels, .. } = self;
        let [group_in, group_out] = shape.group_channels();
        assert!(self.rows * windows.pixels * channels.stride == out.len());
        assert!(channels.first + shape.out_channels <= channels.stride);
        // SAFETY: an f32 has room for two of them, and any bits are one.
        let packed =
            unsafe { core::slice::from_raw_parts_mut(packed.as_mut_ptr().cast::<u16>(), 2 * packed.len()) };
        for (g, weights) in layer.groups.iter().enumerate() {
            for (i, block) in blocks.iter().enumerate() {
                let mut rows = PackedRows::new(weights, i, packed);
                // Rows of one pixel are one long line when nothing lies between them.
                let (lines, pixels) =
                    if windows.copied { (self.rows, windows.pixels) } else { (1, self.rows) };
                for line in 0..lines {
                    let data = &self.data[line * windows.row_stride + g * group_in..];
                    rows.push(&KPart { data, stride: windows.pixel_stride, block }, 0..pixels);
                }
                let bias = self.args.bias.map(|bias| &bias[g * group_out..][..group_out]);
                let init = if i == 0 { Init::bias(bias) } else { Init::Accumulate };
                let relu = self.args.relu && i + 1 == blocks.len();
                let to = out[channels.first + g * group_out..].as_mut_ptr();
                for panel in 0..weights.count() {
                    let product = Product { rows: rows.packed(), weights, block: i, panel, init, relu };
                    // SAFETY: `out` has all pixels, `stride` values each, of which the group's are here; no one else has it.
                    unsafe { product.run(Output { to, stride: channels.stride }, edge) };
                }
            }
        }
    }
}

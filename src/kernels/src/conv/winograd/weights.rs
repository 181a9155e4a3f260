//! A layer's weights: transformed once, or as they came and transformed as they are read.
//!
//! ```text
//!                            transformed once      as they came (lean)
//!   values in memory         t^2 Ci Co             9 Ci Co (of 4 x 4: 16), in f32 or in 16 bits
//!   computed for each block  nothing               t^2 Ci Co: some Ci x 64 at a time, which stay in L2
//! ```
//!
//! Lean layers hold a quarter of what F(4x4) holds otherwise. They take 1.1 to 1.7 times as long: V does not stay in L2 while
//! the groups of output channels go by, and sums go by once for each part of Ci. Both give the same bits.
//!
//! Transformed weights are f32, also where the layer's are of 16 bits: rounded to f16, they would move outputs by up to 4e-3
//! of the largest, for a tile's outputs are differences of sums that are larger than they. Where the CPU computes in f16 that is
//! done, with other points: see `f16`.

use core::ops::Range;

use super::{
    Tile, Winograd, f4, f5, f6,
    nested::{Square, Transform, transform},
    odd_lines,
    steps::TileBuffer,
    strided::rearrange_weights,
};
use crate::{
    Cpu,
    aligned::{AlignedVec, Value},
    conv::ConvShape,
    len_of,
    packed::{self, Half, Packed, Packing},
    product::packed_len,
    simd::{Kernel, Vector, Width, run_on},
    sync_ptr::SyncPtr,
    tasks,
};

/// Input channels whose weights are transformed at a time, when they are transformed once.
const WEIGHT_PART: usize = 32;

/// A layer's weights, or those of one of its groups.
#[derive(Clone, Debug)]
pub(super) enum Weights {
    /// `t^2` matrices `Ci x Co`, packed for `product`, `stride` apart.
    Transformed { matrices: AlignedVec, stride: usize },
    /// As they came.
    Given(Given),
}

/// `[taps, Ci, Co]`, with zeros behind the last channel to whole vectors.
#[derive(Clone, Debug)]
pub(super) struct Given {
    tile: Tile,
    in_channels: usize,
    /// Output channels, in whole vectors.
    row: usize,
    weights: Packed,
}

impl Weights {
    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Transformed { matrices, .. } => size_of_val(matrices.as_slice()),
            Self::Given(given) => given.weights.bytes(),
        }
    }

    /// Values held of all groups of a layer; saturates.
    pub(super) fn len(cpu: Cpu, tile: Tile, lean: bool, shape: &ConvShape) -> usize {
        let (width, [ci, co]) = (Width::of(cpu.isa), shape.group_channels());
        let of_a_group = match lean {
            true => len_of(&[tile.window_side(), tile.window_side(), packed_len(ci, co, width)]),
            false => len_of(&[tile.products(), matrix_stride(shape, width)]),
        };
        len_of(&[shape.group, of_a_group])
    }
}

/// Values from one of the `t^2` matrices to the next. Not a multiple of what maps to one set of a cache.
fn matrix_stride(shape: &ConvShape, width: Width) -> usize {
    let [in_channels, out_channels] = shape.group_channels();
    odd_lines(packed_len(in_channels, out_channels, width))
}

/// Where transformed weights go: `t^2` matrices, `stride` apart, of input channels `rows` and output channels `columns`,
/// packed for `product`.
#[derive(Clone)]
pub(super) struct Matrices {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    pub(super) to: SyncPtr,
    pub(super) stride: usize,
}

impl Given {
    /// Those of group `g` out of `weights`, `[Kh, Kw, Ci / group, Co]`, of the right length.
    pub(super) fn new(
        cpu: Cpu,
        tile: Tile,
        shape: &ConvShape,
        g: usize,
        weights: packed::Weights<'_>,
    ) -> Self {
        let [in_channels, out_channels] = Winograd::computed(tile, shape, [0; 2]).group_channels();
        let row = out_channels.next_multiple_of(Width::of(cpu.isa).lanes);
        let packing = GroupPacking { shape, rows: tile.window_side().pow(2) * in_channels, row, g };
        Self { tile, in_channels, row, weights: Packed::new(weights, &packing) }
    }

    /// All of them, transformed.
    pub(super) fn transformed(&self, cpu: Cpu, shape: &ConvShape, threads: usize) -> Weights {
        let stride = matrix_stride(shape, Width::of(cpu.isa));
        let mut matrices = AlignedVec::zeros(len_of(&[self.tile.products(), stride]));
        let to = SyncPtr::new(matrices.as_mut_slice());
        let mut tasks = alloc::vec![(); tasks::task_count(threads)];
        tasks::for_each_index(&mut tasks, self.in_channels.div_ceil(WEIGHT_PART), |(), i| {
            let part = i * WEIGHT_PART..self.in_channels.min((i + 1) * WEIGHT_PART);
            let (rows, columns) = (0..self.in_channels, 0..self.row);
            // SAFETY: the matrices have room for all channels; tasks write rows of different input channels.
            unsafe { self.transform(cpu, part, Matrices { rows, columns, to, stride }) };
        });
        Weights::Transformed { matrices, stride }
    }

    /// Transforms the weights of the input channels `part`, some of `matrices.rows`.
    ///
    /// # Safety
    /// The columns are whole vectors, up to the last of the layer's, of whole panels but for the last. The matrices are
    /// writable, and no one else touches the rows of `part`.
    pub(super) unsafe fn transform(&self, cpu: Cpu, part: Range<usize>, matrices: Matrices) {
        let Matrices { rows, columns, .. } = &matrices;
        assert!(rows.start <= part.start && part.end <= rows.end && rows.end <= self.in_channels);
        assert!(columns.end <= self.row);
        run_on(cpu.isa, TransformWeights { given: self, part, matrices });
    }
}

/// A group's channels of all rows.
struct GroupPacking<'a> {
    shape: &'a ConvShape,
    /// How many, and values in each.
    rows: usize,
    row: usize,
    g: usize,
}

impl Packing for GroupPacking<'_> {
    fn pack<T: Value>(&self, weights: &[T]) -> AlignedVec<T> {
        let Self { shape, rows, row, g } = *self;
        let [_, out_channels] = shape.group_channels();
        let rearranged;
        let weights = if shape.stride == [1, 1] {
            weights
        } else {
            rearranged = rearrange_weights(shape, weights);
            rearranged.as_slice()
        };
        let mut packed = AlignedVec::zeros(len_of(&[rows, row]));
        let rows = packed.as_mut_slice().chunks_exact_mut(row.max(1));
        for (to, from) in rows.zip(weights.chunks_exact(shape.out_channels.max(1))) {
            to[..out_channels].copy_from_slice(&from[g * out_channels..][..out_channels]);
        }
        packed
    }
}

struct TransformWeights<'a> {
    given: &'a Given,
    part: Range<usize>,
    matrices: Matrices,
}

impl Kernel for TransformWeights<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the instruction set is the caller's promise; the rest is that of `Given::transform`.
        unsafe {
            match self.given.tile {
                Tile::F4 => self.transform::<f4::Weights, V, 3, 6>(),
                Tile::F5 => self.transform::<f5::Weights, V, 4, 8>(),
                Tile::F6 => self.transform::<f6::Weights, V, 3, 8>(),
            }
        }
    }
}

impl TransformWeights<'_> {
    /// # Safety
    /// The CPU has the instruction set of `V`, and as [`Given::transform`].
    #[inline(always)]
    unsafe fn transform<F: Transform<K, T>, V: Vector, const K: usize, const T: usize>(self) {
        let Self { given, part, matrices: Matrices { rows, columns, to, stride } } = self;
        let panel_width = V::PANEL * V::LANES;
        // From one tap to the next.
        let tap = given.in_channels * given.row;
        let mut buffer = TileBuffer::new();
        for first in columns.clone().step_by(panel_width) {
            let width = panel_width.min(columns.end - first);
            for ci in part.clone() {
                for co in (first..first + width).step_by(V::LANES) {
                    let at = ci * given.row + co;
                    // SAFETY: all taps of the weights exist at (ci, co), a whole vector of them, as `Given::transform` saw;
                    // `buffer` has room for them. Panels before `first` hold `rows` times their width values of each matrix.
                    unsafe {
                        let from = match &given.weights {
                            Packed::F32(weights) => {
                                let data = weights.as_slice().as_ptr().add(at);
                                Square { data, row: K * tap, column: tap }
                            }
                            Packed::Half(half, bits) => {
                                let square = buffer.square::<V>(K);
                                for i in 0..K * K {
                                    let from = bits.as_slice().as_ptr().add(at + i * tap);
                                    let values = match half {
                                        Half::F16 => V::widen_f16(from),
                                        Half::Bf16 => V::widen_bf16(from),
                                    };
                                    values.store(square.data.add(i * V::LANES));
                                }
                                Square {
                                    data: square.data.cast_const(),
                                    row: square.row,
                                    column: square.column,
                                }
                            }
                        };
                        let before =
                            rows.len() * (first - columns.start) + (ci - rows.start) * width + co - first;
                        let data = to.as_mut_ptr().add(before);
                        transform::<F, V, K, T>(from, Square { data, row: T * stride, column: stride }, None);
                    }
                }
            }
        }
    }
}

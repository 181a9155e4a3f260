//! The steps of the algorithm: transform tiles of the input, multiply, transform tiles of the output.

use core::{mem::MaybeUninit, ops::Range};

use super::{
    Place, Tile, Tiling, f4, f5, f6,
    nested::{Finish, Square, Transform, transform},
};
use crate::{
    Cpu, Pointwise,
    blocking::conv_k,
    conv::ChannelRange,
    init::Init,
    product::{Left, Rows, Sums, multiply_panel, tile_of_vectors},
    simd::{Kernel, MAX_LANES, Vector},
    sync_ptr::SyncPtr,
};

/// Room for a tile of the widest vectors, of which nothing is written yet.
#[repr(C, align(64))]
pub(super) struct TileBuffer([MaybeUninit<f32>; 8 * 8 * MAX_LANES]);

impl TileBuffer {
    pub(super) fn new() -> Self {
        Self([MaybeUninit::uninit(); _])
    }

    /// A square of `side x side` vectors.
    pub(super) fn square<V: Vector>(&mut self, side: usize) -> Square<*mut f32> {
        assert!(side * side * V::LANES <= self.0.len());
        Square { data: self.0.as_mut_ptr().cast(), row: side * V::LANES, column: V::LANES }
    }
}

/// Writes zeros to a square of `side x side` vectors that follow one another.
///
/// # Safety
/// The CPU has the instruction set of `V`, and the square is writable.
#[inline(always)]
pub(super) unsafe fn clear<V: Vector>(square: Square<*mut f32>, side: usize) {
    for i in 0..side * side {
        // SAFETY: the caller's promises.
        unsafe { V::splat(0.0).store(square.data.add(i * V::LANES)) };
    }
}

/// Copies `lanes` channels, a vector of them or fewer, of the cells `rows x columns` of a square to another.
///
/// # Safety
/// The CPU has the instruction set of `V`. Those cells of `from` are readable, those of `to` writable, and they do not
/// overlap.
#[inline(always)]
pub(super) unsafe fn copy_cells<V: Vector>(
    from: Square<*const f32>,
    to: Square<*mut f32>,
    rows: Range<usize>,
    columns: Range<usize>,
    lanes: usize,
) {
    for i in rows {
        for j in columns.clone() {
            // SAFETY: the caller's promise. The offset from a square that begins in the padding wraps back.
            unsafe {
                let from = from.data.wrapping_add(i * from.row + j * from.column);
                let to = to.data.wrapping_add(i * to.row + j * to.column);
                if lanes == V::LANES {
                    V::load(from).store(to);
                } else {
                    to.copy_from_nonoverlapping(from, lanes);
                }
            }
        }
    }
}

/// Tiles of the input to their place in V.
pub(super) struct TransformInput<'a> {
    pub(super) tiling: &'a Tiling,
    pub(super) channels: usize,
    /// The map, and which of its channels are the layer's.
    pub(super) input: &'a [f32],
    pub(super) in_channels: ChannelRange,
    /// Tiles of the batch, the first of which is row `row` of each part of V.
    pub(super) tiles: Range<usize>,
    pub(super) row: usize,
    /// V, whose rows are `row_len` values and whose parts are `part_len`. `rows` of them are multiplied together.
    pub(super) v: SyncPtr,
    pub(super) rows: usize,
    pub(super) row_len: usize,
    pub(super) part_len: usize,
}

impl Kernel for TransformInput<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the instruction set and room in V are the promises of `Kernel::run` and of who made `self`.
        unsafe {
            match self.tiling.tile {
                Tile::F4 => self.transform::<f4::Input, V, 6>(),
                // The same points, and so the same matrix.
                Tile::F5 | Tile::F6 => self.transform::<f6::Input, V, 8>(),
            }
        }
    }
}

impl TransformInput<'_> {
    /// # Safety
    /// The CPU has the instruction set of `V`. V has the rows asked for, and no other task touches them; `row_len` is
    /// at least `channels` in whole vectors.
    #[inline(always)]
    unsafe fn transform<F: Transform<T, T>, V: Vector, const T: usize>(self) {
        let Self { channels, in_channels, .. } = self;
        let width = self.tiling.width;
        for (row, tile) in (self.row..).zip(self.tiles) {
            let Place { first, rows, columns } = self.tiling.input(tile);
            let inside = rows == (0..T) && columns == (0..T);
            // Where the row begins, and how far apart its vectors are.
            let (begin, apart) = if V::INTERLEAVED {
                let (first, rows) = tile_of_vectors::<V>(self.rows, row);
                (first * self.row_len + (row - first) * V::LANES, rows)
            } else {
                (row * self.row_len, 1)
            };
            let first = self.input.as_ptr().wrapping_offset(first * in_channels.stride as isize);
            let mut buffer = TileBuffer::new();
            let buffered = buffer.square::<V>(T);
            if !inside {
                // SAFETY: the instruction set is the caller's promise. Cells that do not exist stay zeros from vector to vector.
                unsafe { clear::<V>(buffered, T) };
            }
            for c in (0..channels).step_by(V::LANES) {
                let lanes = V::LANES.min(channels - c);
                let data = first.wrapping_add(in_channels.first + c);
                let mut from = Square { data, row: width * in_channels.stride, column: in_channels.stride };
                // SAFETY: cells in `rows x columns` exist, and so do `lanes` channels of each from `c` on. The tile
                // is read in place only when it has all cells and lanes, else from `buffer`. V has room for whole
                // vectors in each row, says the caller.
                unsafe {
                    if lanes < V::LANES {
                        clear::<V>(buffered, T);
                    }
                    if !inside || lanes < V::LANES {
                        copy_cells::<V>(from, buffered, rows.clone(), columns.clone(), lanes);
                        from = buffered.as_const();
                    }
                    let data = self.v.as_mut_ptr().add(begin + c * apart);
                    let to = Square { data, row: T * self.part_len, column: self.part_len };
                    transform::<F, V, T, T>(from, to, None);
                }
            }
        }
    }
}

/// Some of `K` of one panel of one of the `t^2` products: rows of V to rows of M. V's rows are interleaved where that makes
/// products faster.
#[derive(Clone, Copy)]
pub(super) struct Multiply<'a> {
    /// `[K, width]`.
    pub(super) panel: &'a [f32],
    /// Which of the input channels.
    pub(super) k: (usize, usize),
    /// Rows, and values in each, of V.
    pub(super) rows: usize,
    pub(super) v: SyncPtr,
    pub(super) v_row_len: usize,
    /// First output channel and how many, in whole vectors.
    pub(super) first: usize,
    pub(super) width: usize,
    pub(super) m: SyncPtr,
    pub(super) m_row_len: usize,
    /// Whether what follows the panel in memory is needed next.
    pub(super) prefetch_next: bool,
}

impl Multiply<'_> {
    pub(super) fn run(self, cpu: Cpu, interleaved: bool) {
        let (begin, end) = self.k;
        assert!(self.panel.len() >= (end - begin) * self.width);
        // Whole vectors.
        let k_block = conv_k(cpu.caches, self.width) / MAX_LANES * MAX_LANES;
        for k in (begin..end).step_by(k_block) {
            // SAFETY: V and M have the rows that who made `self` says, no other task writes to either's part of
            // them, and the panel has `width` values for each `k`.
            unsafe {
                let data = self.v.as_mut_ptr().cast_const();
                let (row_len, block) = (self.v_row_len, k_block.min(end - k));
                let a = if interleaved {
                    Left::Vectors { data, row_len, first_k: k, k: block }
                } else {
                    let data = data.add(k);
                    Left::Rows(Rows { data, stride: row_len, segments: &[0], segment_len: block })
                };
                let sums = Sums {
                    data: self.m.as_mut_ptr().add(self.first),
                    stride: self.m_row_len,
                    init: if k == 0 { Init::Zero } else { Init::Accumulate },
                    relu: false,
                };
                let panel = self.panel.as_ptr().add((k - begin) * self.width);
                multiply_panel(cpu.isa, a, self.rows, panel, self.width, self.prefetch_next, sums);
            }
        }
    }
}

/// Tiles of M to their place in the output.
pub(super) struct TransformOutput<'a> {
    pub(super) tiling: &'a Tiling,
    pub(super) channels: usize,
    /// Tiles of the batch, the first of which is row `row` of each part of M.
    pub(super) tiles: Range<usize>,
    pub(super) row: usize,
    pub(super) m: SyncPtr,
    pub(super) row_len: usize,
    pub(super) part_len: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
    pub(super) then: Option<Pointwise>,
    pub(super) out: SyncPtr,
    /// Values from one cell of the output to the next.
    pub(super) out_stride: usize,
}

impl Kernel for TransformOutput<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the instruction set, M and the output are the promises of `Kernel::run` and of who made `self`.
        unsafe {
            match self.tiling.tile {
                Tile::F4 => self.transform::<f4::Output, V, 6, 4>(),
                Tile::F5 => self.transform::<f5::Output, V, 8, 5>(),
                Tile::F6 => self.transform::<f6::Output, V, 8, 6>(),
            }
        }
    }
}

impl TransformOutput<'_> {
    /// # Safety
    /// The CPU has the instruction set of `V`. M has the rows asked for, of at least `channels` in whole vectors; the
    /// output has the size of the tiling, and no other task touches these tiles of it.
    #[inline(always)]
    pub(super) unsafe fn transform<F: Transform<T, M>, V: Vector, const T: usize, const M: usize>(self) {
        let Self { tiling, channels, out_stride, .. } = self;
        for (row, tile) in (self.row..).zip(self.tiles) {
            let Place { first, rows, columns } = tiling.output(tile);
            for c in (0..channels).step_by(V::LANES) {
                let lanes = V::LANES.min(channels - c);
                let mut bias = [0.0; MAX_LANES];
                if let Some(values) = self.bias {
                    bias[..lanes].copy_from_slice(&values[c..c + lanes]);
                }
                // SAFETY: M has whole vectors of the tile, says the caller. Cells in `rows x columns` of the output
                // exist, or of the pooled output where there is one, and so do `lanes` channels of each from `c`
                // on; the tile is written in place only when it has all cells and lanes, else to `buffer`.
                unsafe {
                    let data = self.m.as_mut_ptr().add(row * self.row_len + c).cast_const();
                    let from = Square { data, row: T * self.part_len, column: self.part_len };
                    let finish =
                        Some(Finish { bias: V::load(bias.as_ptr()), relu: self.relu, then: self.then });
                    let place = |first: isize, width: usize| Square {
                        data: self
                            .out
                            .as_mut_ptr()
                            .wrapping_offset(first * out_stride as isize)
                            .wrapping_add(c),
                        row: width * out_stride,
                        column: out_stride,
                    };
                    let whole = rows == (0..M) && columns == (0..M) && lanes == V::LANES;
                    if whole && tiling.pooled.is_none() {
                        transform::<F, V, T, M>(from, place(first, tiling.out_width), finish);
                        continue;
                    }
                    let mut buffer = TileBuffer::new();
                    let buffered = buffer.square::<V>(M);
                    transform::<F, V, T, M>(from, buffered, finish);
                    if let Some([_, pooled_width]) = tiling.pooled {
                        let pooled = tiling.pooled_output(tile);
                        // The windows are read before their maximum is written, at or before the first of them.
                        pool::<V, M>(buffered, [&rows, &columns], [&pooled.rows, &pooled.columns]);
                        let to = place(pooled.first, pooled_width);
                        copy_cells::<V>(buffered.as_const(), to, pooled.rows, pooled.columns, lanes);
                    } else {
                        let to = place(first, tiling.out_width);
                        copy_cells::<V>(buffered.as_const(), to, rows.clone(), columns.clone(), lanes);
                    }
                }
            }
        }
    }
}

/// Max pooling of the `M x M` vectors of `tile`, of which `cells` exist, by 2 x 2 windows; the maxima of the windows
/// `pooled` take the places of the first cells.
///
/// # Safety
/// The CPU has the instruction set of `V`, and all vectors of the tile are readable and writable.
#[inline(always)]
unsafe fn pool<V: Vector, const M: usize>(
    tile: Square<*mut f32>,
    [rows, columns]: [&Range<usize>; 2],
    [pooled_rows, pooled_columns]: [&Range<usize>; 2],
) {
    assert!(rows.end <= M && columns.end <= M);
    assert!(pooled_rows.end <= M && pooled_columns.end <= M);
    let at = |i: usize, j: usize| tile.data.wrapping_add(i * tile.row + j * tile.column);
    for i in pooled_rows.clone() {
        for j in pooled_columns.clone() {
            // SAFETY: cells before `rows.end` and `columns.end` are in the tile, and so is cell
            // (i, j): all of it asserted above.
            unsafe {
                let mut max = V::splat(f32::NEG_INFINITY);
                for y in 2 * i..rows.end.min(2 * i + 2) {
                    for x in 2 * j..columns.end.min(2 * j + 2) {
                        max = max.max(V::load(at(y, x)));
                    }
                }
                max.store(at(i, j));
            }
        }
    }
}

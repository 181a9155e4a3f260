//! What each instruction set brings: the loop over `K` of a tile of sums.

use super::{Int8Isa, plain::Plain, rows::RowValue};
use crate::aligned::AlignedVec;

/// Most rows of a tile.
pub(super) const MAX_ROWS: usize = 32;
/// Most channels of a panel.
pub(super) const MAX_PANEL: usize = 64;

/// The inner loop of an instruction set, and how it wants its operands.
///
/// ```text
///   rows         [m, k]                       as they lie, `stride` values apart
///   panel        [k / DEPTH, width, DEPTH]    the next DEPTH values of each channel side by side
///   sums         [m, PANEL]
/// ```
///
/// # Safety
/// `DEPTH` divides `STEP`; `LANES` divides `PANEL`, which is at most [`MAX_PANEL`]; `ROWS` is at most [`MAX_ROWS`].
pub(super) unsafe trait Tile: Sized {
    /// What rows are made of.
    type Value: RowValue;
    /// What weights are read as.
    type Weight: Copy;
    /// How at least [`Tile::MANY_ROWS`] are multiplied: with panels of the same sizes.
    type OfManyRows: Tile<Value = Self::Value>;
    /// So many rows make up for what they need beforehand, such as a panel that is widened.
    const MANY_ROWS: usize = 24;
    /// Rows of a tile, at most.
    const ROWS: usize;
    /// Channels of a panel, at most.
    const PANEL: usize;
    /// A panel's channels are a multiple of it.
    const LANES: usize;
    /// Values of a channel that lie side by side.
    const DEPTH: usize;
    /// `K` is a multiple of it.
    const STEP: usize;

    /// What [`Tile::multiply`] needs that a thread holds for a while.
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn new() -> Self;

    /// A panel's weights as they are read: where they lie, or in `room`.
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn weights(panel: &[i8], room: &mut AlignedVec<u8>) -> *const Self::Weight;

    /// Adds to the sums of `m` rows, at most [`Tile::ROWS`], their products with a panel.
    ///
    /// # Safety
    /// The CPU has the instructions; operands are as [`Operands`] says.
    unsafe fn multiply(&self, m: usize, operands: Operands<Self::Value, Self::Weight>);
}

/// What a tile is computed from.
#[derive(Clone, Copy)]
pub(super) struct Operands<V, W> {
    /// Readable for `k` values of each row.
    pub(super) rows: *const V,
    /// From one row to the next.
    pub(super) stride: usize,
    /// A multiple of [`Tile::STEP`].
    pub(super) k: usize,
    /// Readable for `k * width` values, and begins on a vector.
    pub(super) panel: *const W,
    /// A multiple of [`Tile::LANES`], at most [`Tile::PANEL`].
    pub(super) width: usize,
    /// [`Tile::ROWS`] rows of [`Tile::PANEL`] sums, of which the first `width` count.
    pub(super) sums: *mut i32,
}

/// Work written over any [`Tile`].
pub(super) trait Work {
    type Output;

    /// Implementations are `#[inline(always)]`, so that they become part of a function compiled for `T`.
    ///
    /// # Safety
    /// The CPU has the instructions of `T`.
    unsafe fn run<T: Tile>(self) -> Self::Output;
}

/// A function that runs work on a [`Tile`], compiled for the features that it asks for.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
macro_rules! compiled_for {
    ($features:literal, $tile:ty, $work:ident: $type:ident) => {{
        #[target_feature(enable = $features)]
        fn compiled<W: Work>(work: W) -> W::Output {
            // SAFETY: this function is compiled for these features, so its caller has seen to them.
            unsafe { work.run::<$tile>() }
        }
        // SAFETY: the condition of the arm that this stands in.
        unsafe { compiled::<$type>($work) }
    }};
}

/// Runs `work` on the instructions of `isa`, or on plain ones if the CPU lacks them.
pub(super) fn run_on<W: Work>(isa: Int8Isa, work: W) -> W::Output {
    match isa.or_scalar() {
        #[cfg(target_arch = "x86_64")]
        Int8Isa::Avx2 => compiled_for!("avx2", super::x86::Avx2, work: W),
        #[cfg(target_arch = "x86_64")]
        Int8Isa::AvxVnni => compiled_for!("avx2,avxvnni", super::x86::AvxVnni, work: W),
        #[cfg(target_arch = "x86_64")]
        Int8Isa::Avx512Vnni => {
            compiled_for!("avx512f,avx512bw,avx512vl,avx512vnni", super::x86::Avx512Vnni, work: W)
        }
        #[cfg(target_arch = "x86_64")]
        Int8Isa::Amx => compiled_for!("avx512f,avx512bw,avx512vl,avx512vnni", super::amx::FewRows, work: W),
        // Part of what nearly every aarch64 target is compiled for: no function of its own.
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        // SAFETY: as the condition says.
        Int8Isa::Neon => unsafe { work.run::<super::neon::Neon>() },
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        Int8Isa::DotProd => compiled_for!("dotprod", super::dotprod::DotProd, work: W),
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        Int8Isa::I8mm => compiled_for!("i8mm", super::i8mm::I8mm, work: W),
        // SAFETY: plain arithmetic needs no instruction set but the one compiled for.
        _ => unsafe { work.run::<Plain>() },
    }
}

/// [`Tile`]'s sizes, as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) panel: usize,
    pub(super) lanes: usize,
    pub(super) depth: usize,
    pub(super) step: usize,
    /// Bytes of a row's value.
    pub(super) value_bytes: usize,
    /// What is taken from each `q` in a row.
    pub(super) offset: i32,
}

impl Layout {
    pub(super) fn of(isa: Int8Isa) -> Self {
        struct LayoutOf;
        impl Work for LayoutOf {
            type Output = Layout;
            #[inline(always)]
            unsafe fn run<T: Tile>(self) -> Layout {
                Layout {
                    panel: T::PANEL,
                    lanes: T::LANES,
                    depth: T::DEPTH,
                    step: T::STEP,
                    value_bytes: size_of::<T::Value>(),
                    offset: T::Value::OFFSET,
                }
            }
        }
        run_on(isa, LayoutOf)
    }
}

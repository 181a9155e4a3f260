//! Cache blocking: how much a kernel works on at a time, so that it stays in a cache.
//!
//! Each size is a function of its own, which says why it is what it is. They were measured on [`CacheInfo::SERVER`], and
//! are the same shares of other caches. No size changes a bit of what an algorithm gives: a sum is one chain of additions,
//! however it is cut. But sizes are part of what algorithms cost, and so of which one a convolution gets. Where that does not hold, the size is the server's on every CPU:
//!
//! - im2row, because the `gemm` crate multiplies a single row in another way than many;
//! - strips of which a Winograd layer's map is an inner one, see `strips`;
//! - rows of a bf16 linear layer, because few of them are multiplied in another way when their weights are split.

use crate::{CacheInfo, k_order::SLAB, product::ROWS};

/// Bytes of an f32.
const F32: usize = 4;

/// Rows of a convolution's packed weights, `panel` values each, that are multiplied at a time: they stay in L1d while the
/// pixels of a chunk go by, at most [`CONV_K`].
pub(crate) fn conv_k(caches: CacheInfo, panel: usize) -> usize {
    (caches.l1d / (F32 * panel.max(1))).clamp(16, CONV_K)
}

/// With 128 rows the sums' loads and stores in between are already cheap. On aarch64 the sums of a pixel are more vectors, and
/// the cache holds more rows: with 256 a 1x1 layer takes 3% fewer instructions.
const CONV_K: usize = if cfg!(target_arch = "aarch64") { 256 } else { 128 };

/// Output pixels of direct convolution that are computed together, at least: they share the weights, which come from L2
/// or farther.
pub(crate) const DIRECT_PIXELS: usize = 96;

/// Most values of a window that direct convolution packs: those of [`DIRECT_PIXELS`] then are 96 KiB, which stay in L2.
pub(crate) const PACKED_WINDOW: usize = 256;

/// Pixels that im2row gathers and multiplies at a time, with `values` for each in the patch or in the output: half of L2,
/// beside the packed weights. With fewer than 64 of them the product would spend its time packing weights.
pub(crate) fn im2row_pixels(values: usize) -> usize {
    (CacheInfo::SERVER.l2_per_core() / 2 / F32 / values.max(1)).max(64)
}

/// Values of Winograd's V, M and weights that stay in L2 together: three quarters of it.
pub(crate) fn winograd_values(caches: CacheInfo) -> usize {
    caches.l2_per_core() / F32 / 4 * 3
}

/// Values of Winograd's weights that are transformed at a time where they do not all stay in L2: half of it.
pub(crate) fn transformed_values(caches: CacheInfo) -> usize {
    caches.l2_per_core() / F32 / 2
}

/// Values of M that a core's share of the caches holds, while sums are added to them.
pub(crate) fn group_m_values(caches: CacheInfo) -> usize {
    (caches.l2_per_core() + caches.l3.per_core()) / F32
}

/// Most values in V and M where they do not stay in L2: 32 MiB, for memory's sake.
pub(crate) const MAX_WINOGRAD_VALUES: usize = 1 << 23;

/// Bytes of the largest map between two fused layers that a strip has: L2, and half as much of the next level. Shorter
/// strips compute more rows twice.
pub(crate) fn strip_bytes(caches: CacheInfo) -> usize {
    caches.l2_per_core() / 2 * 3
}

/// The same where a depthwise layer reads or writes it, which does so little with each value that it must come from L2: half of
/// that, beside the next map and weights.
pub(crate) fn depthwise_strip_bytes(caches: CacheInfo) -> usize {
    caches.l2_per_core() / 2
}

/// The same where Winograd's algorithm makes the first map: rows computed twice then cost a good part of what the layer
/// after it does.
pub(crate) fn winograd_strip_bytes() -> usize {
    CacheInfo::SERVER.l2_per_core() * 3
}

/// Bytes of a bf16 convolution's padded rows and the output made of them, about: half of L2, beside weights.
pub(crate) fn bf16_chunk_bytes(caches: CacheInfo) -> usize {
    caches.l2_per_core() / 2
}

/// Weights of a bf16 convolution up to this many bytes stay in L2, beside a chunk: each block of pixels then meets all of
/// them before the next.
pub(crate) fn bf16_weight_bytes(caches: CacheInfo) -> usize {
    caches.l2_per_core() / 8 * 3
}

/// Values of `K` of a linear layer that are multiplied at a time, at most: as many as a slab of 7 x 7 bins has. A panel's
/// part is 200 KiB then, which stays in L2 while rows go by. Weights are packed in such blocks, so it is the same on every
/// CPU.
pub(crate) const LINEAR_K: usize = 784;

/// Rows of a linear layer in a block, whole tiles of sums: with [`LINEAR_K`] values of each they take three eighths of L2
/// at most, beside the parts of two panels. 120 are enough to spread the cost of reading a panel; with 60 of them heads of
/// published networks take 3 to 5% longer.
pub(crate) fn linear_rows(caches: CacheInfo) -> usize {
    (caches.l2_per_core() / 8 * 3 / (F32 * LINEAR_K) / ROWS * ROWS).clamp(ROWS, 120)
}

/// The same of a bf16 layer. Split into two bf16 values each, they take 800 KiB.
pub(crate) const BF16_LINEAR_ROWS: usize = 256;

/// Cache lines of packed rows of a bf16 linear layer that meet all panels at a time: they stay in L2 beside a panel, and
/// the sums go by once for each time.
pub(crate) fn bf16_linear_lines(caches: CacheInfo) -> usize {
    caches.l2_per_core() / 64 * 25 / 64
}

/// Bytes of an int8 layer's quantised rows that meet a panel before the next ones do: half of L2, beside the panel.
pub(crate) fn int8_rows_bytes(caches: CacheInfo) -> usize {
    caches.l2_per_core() / 2
}

/// Pooled values that may still be in a cache when they are read: half of the last level, at most 16 MiB. More are
/// written past the caches.
pub(crate) fn pooled_values(caches: CacheInfo) -> usize {
    (caches.last_level() / 2).min(16 << 20) / F32
}

/// Bytes of pooled slabs that are multiplied together: three quarters of the last level, at most 24 MiB. Sums go by once
/// for each group.
pub(crate) fn pooled_group_bytes(caches: CacheInfo) -> usize {
    (caches.last_level() / 4 * 3).min(24 << 20)
}

/// Values of pooled features up to which all channels of an RoI are pooled at a time: three eighths of the last level, at
/// most 12 MiB. The weights are read once all the same.
pub(crate) fn pooled_whole_values(caches: CacheInfo) -> usize {
    (caches.last_level() / 8 * 3).min(12 << 20) / F32
}

/// Cells of all tables of a slab that caches near the core hold for the most part: a quarter of the last level, at most
/// 8 MiB. RoIs whose tables are larger are pooled one by one.
pub(crate) fn table_cells(caches: CacheInfo) -> usize {
    (caches.last_level() / 4).min(8 << 20) / (F32 * SLAB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedCache;

    /// What was measured.
    #[test]
    fn sizes_on_a_server() {
        let server = CacheInfo::SERVER;
        assert_eq!([conv_k(server, 64), conv_k(server, 16)], [192.min(CONV_K), CONV_K]);
        assert_eq!([im2row_pixels(2304), im2row_pixels(1 << 20)], [113, 64]);
        assert_eq!(winograd_values(server), 3 << 17);
        assert_eq!([strip_bytes(server), winograd_strip_bytes()], [3 << 20, 6 << 20]);
        assert_eq!([bf16_chunk_bytes(server), bf16_weight_bytes(server)], [1 << 20, 3 << 18]);
        assert_eq!([linear_rows(server), bf16_linear_lines(server)], [120, 12800]);
        assert_eq!([pooled_values(server), pooled_group_bytes(server)], [4 << 20, 24 << 20]);
        assert_eq!([pooled_whole_values(server), table_cells(server)], [3 << 20, 131072]);
    }

    #[test]
    fn sizes_of_a_share() {
        let none = SharedCache { bytes: 0, cores: 1 };
        let board = CacheInfo { l1d: 16 << 10, l2: SharedCache { bytes: 1 << 20, cores: 4 }, l3: none };
        assert_eq!(conv_k(board, 64), 64);
        assert_eq!(winograd_values(board), 3 << 14);
        assert_eq!(linear_rows(board), 30);
        let one_mib = CacheInfo { l2: SharedCache { bytes: 1 << 20, cores: 1 }, ..board };
        assert_eq!(linear_rows(one_mib), 120);
        // The last level is L2, and all of it.
        assert_eq!(pooled_values(board), 1 << 17);
        // Without an L2 it is L1d that counts.
        let small = CacheInfo { l2: none, ..board };
        assert_eq!(winograd_values(small), 3 << 10);
    }
}

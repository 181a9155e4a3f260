//! What AVX-512 does for bf16: blocks of sums, rounding, and the way from sums to a layer's output.

use core::arch::x86_64::{
    __m256i, __m512, __m512bh, __m512i, _CMP_GT_OQ, _CMP_LT_OQ, _MM_HINT_T0, _mm_prefetch,
    _mm256_mask_storeu_epi16, _mm512_abs_ps, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_and_epi32, _mm512_mask_cmp_ps_mask,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::{
    layout::{BLOCK, Columns, GEMV_ROWS, Line, Rows, STEP, Target},
    pack::BF16_MAX,
};

/// Rows of sums in registers at a time, two vectors of them each.
const ROWS: usize = 8;
const LANES: usize = 16;
/// How many lines ahead [`gemv`] prefetches: two steps. Its panels come from memory.
const PREFETCH_LINES: usize = 128;

/// As [`Engine::multiply`](super::engine::Engine::multiply).
///
/// # Safety
/// As there; [`Bf16Isa::Avx512Bf16`](super::Bf16Isa) is available.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply(
    rows: Rows<'_>,
    panel: *const Line,
    sums: *mut f32,
    stride: usize,
    fresh: bool,
) {
    for first in (0..BLOCK).step_by(ROWS) {
        // SAFETY: the caller's promises: the pointers walk over the rows, the panel and the sums.
        unsafe {
            let (mut line, sums) = (panel.cast::<__m512i>(), sums.add(first * stride));
            let data = rows.data.add(first * rows.stride);
            let mut block = [[_mm512_setzero_ps(); 2]; ROWS];
            if !fresh {
                for (i, block) in block.iter_mut().enumerate() {
                    *block = [0, LANES].map(|lane| _mm512_loadu_ps(sums.add(i * stride + lane)));
                }
            }
            for &offset in rows.steps {
                for pair in 0..Line::PAIRS {
                    let weights =
                        [0, Line::PAIRS].map(|half| bf16s(_mm512_loadu_si512(line.add(half + pair))));
                    for (i, sums) in block.iter_mut().enumerate() {
                        let values = data.add(i * rows.stride + offset + 2 * pair).cast::<i32>();
                        let values = bf16s(_mm512_set1_epi32(values.read_unaligned()));
                        for (sum, weights) in sums.iter_mut().zip(weights) {
                            *sum = _mm512_dpbf16_ps(*sum, values, weights);
                        }
                    }
                }
                line = line.add(2 * Line::PAIRS);
            }
            for (i, block) in block.into_iter().enumerate() {
                for (half, sum) in block.into_iter().enumerate() {
                    _mm512_storeu_ps(sums.add(i * stride + half * LANES), sum);
                }
            }
        }
    }
}

/// As [`Engine::gemv`](super::engine::Engine::gemv).
///
/// # Safety
/// As there; [`Bf16Isa::Avx512Bf16`](super::Bf16Isa) is available.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn gemv(columns: &Columns, panel: *const Line, sums: *mut f32, stride: usize, fresh: bool) {
    let mut block = [[_mm512_setzero_ps(); 2]; GEMV_ROWS];
    // SAFETY: the caller's promise: the pointer walks over the panel, as far as there are columns, and over the sums, two
    // vectors in a row. Lines that are prefetched need not be there.
    unsafe {
        let mut line = panel.cast::<__m512i>();
        if !fresh {
            for (i, block) in block.iter_mut().enumerate() {
                *block = [0, LANES].map(|lane| _mm512_loadu_ps(sums.add(i * stride + lane)));
            }
        }
        for step in columns.chunks_exact(STEP) {
            for (pair, [first, second]) in step.as_chunks().0.iter().enumerate() {
                // hi of channels 0 to 15 and 16 to 31, then lo of both.
                let lines = [0, 1, 2, 3].map(|i| {
                    let line = line.wrapping_add(i * Line::PAIRS + pair);
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(PREFETCH_LINES).cast());
                    _mm512_loadu_si512(line)
                });
                let join = |channels: usize| {
                    let [hi, lo] = [lines[channels], lines[2 + channels]];
                    let even = [hi, lo].map(|bits| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)));
                    let odd = [hi, lo]
                        .map(|bits| _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(!0xffff))));
                    [even, odd].map(|[hi, lo]| _mm512_add_ps(hi, lo))
                };
                let weights = [join(0), join(1)];
                for (i, sums) in block.iter_mut().enumerate() {
                    let values = [first, second].map(|column| _mm512_set1_ps(column[i]));
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = _mm512_fmadd_ps(values[0], weights[0], *sum);
                        *sum = _mm512_fmadd_ps(values[1], weights[1], *sum);
                    }
                }
            }
            line = line.add(4 * Line::PAIRS);
        }
        for (i, block) in block.into_iter().enumerate() {
            for (half, sum) in block.into_iter().enumerate() {
                _mm512_storeu_ps(sums.add(i * stride + half * LANES), sum);
            }
        }
    }
}

/// The bits of a vector as bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16s(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits of which every pattern is valid.
    unsafe { core::mem::transmute(bits) }
}

/// Rounds run `p` of cell `x`, which follow one another in `from`, to `to + p * plane_len + x * cell`, for all `cells` and
/// `planes`; each is `cell` values long.
///
/// # Safety
/// [`Bf16Isa::Avx512Bf16`](super::Bf16Isa) is available; all that is readable and writable.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn round_planes(
    mut from: *const f32,
    [cells, planes, cell]: [usize; 3],
    plane_len: usize,
    to: *mut u16,
) {
    for (x, plane) in (0..cells).flat_map(|x| (0..planes).map(move |plane| (x, plane))) {
        // SAFETY: the caller's promises, for the lanes in the mask.
        unsafe {
            let to = to.add(plane * plane_len + x * cell);
            for first in (0..cell).step_by(LANES) {
                let mask = mask(cell - first);
                store_bf16(_mm512_maskz_loadu_ps(mask, from.add(first)), mask, to.add(first));
            }
            from = from.add(cell);
        }
    }
}

/// As [`Engine::round_step`](super::engine::Engine::round_step).
///
/// # Safety
/// As there; [`Bf16Isa::Avx512Bf16`](super::Bf16Isa) is available.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn round_step(from: *const f32, len: usize, to: *mut u16, lo: Option<usize>) {
    for first in [0, LANES] {
        // SAFETY: the caller's promises, for the lanes in the mask; what it leaves out is 0.
        unsafe {
            let values = _mm512_maskz_loadu_ps(mask(len.saturating_sub(first)), from.wrapping_add(first));
            store_split(values, u16::MAX, to.add(first), lo);
        }
    }
}

/// The first `count` lanes.
#[inline(always)]
fn mask(count: usize) -> u16 {
    if count < LANES { (1 << count) - 1 } else { u16::MAX }
}

/// Stores values rounded to bf16, and gives the bits of all.
///
/// # Safety
/// [`Bf16Isa::Avx512Bf16`](super::Bf16Isa) is available, and `to` writable for the lanes of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn store_bf16(values: __m512, mask: u16, to: *mut u16) -> __m256i {
    // SAFETY: both are 256 bits of which every pattern is valid; the caller's promise.
    unsafe {
        let bits: __m256i = core::mem::transmute(_mm512_cvtneps_pbh(values));
        _mm256_mask_storeu_epi16(to.cast(), mask, bits);
        bits
    }
}

/// [`store_bf16`], the hi halves, and what rounding leaves, rounded, the lo halves, `lo` values behind.
///
/// # Safety
/// As [`store_bf16`], there too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn store_split(values: __m512, mask: u16, to: *mut u16, lo: Option<usize>) {
    let Some(lo) = lo else {
        // SAFETY: the caller's promises.
        unsafe { store_bf16(values, mask, to) };
        return;
    };
    let (abs, infinity) = (_mm512_abs_ps(values), _mm512_set1_ps(f32::INFINITY));
    let huge = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(
        _mm512_cmp_ps_mask::<_CMP_GT_OQ>(abs, _mm512_set1_ps(BF16_MAX)),
        abs,
        infinity,
    );
    let cut = |values: __m512| {
        let bits = _mm512_castps_si512(values);
        _mm512_castsi512_ps(_mm512_mask_and_epi32(bits, huge, bits, _mm512_set1_epi32(!0xffff)))
    };
    // SAFETY: the caller's promises.
    unsafe {
        let hi = store_bf16(cut(values), mask, to);
        let hi = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(hi)));
        let left = _mm512_sub_ps(values, hi);
        // An infinite value or NaN leaves none.
        let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(left), infinity);
        store_bf16(cut(_mm512_maskz_mov_ps(finite, left)), mask, to.add(lo));
    }
}

/// As [`Engine::finish`](super::engine::Engine::finish).
///
/// # Safety
/// As there; [`Bf16Isa::Avx512Bf16`](super::Bf16Isa) is available.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn finish(
    sums: *const f32,
    count: usize,
    bias: &[f32; BLOCK],
    relu: bool,
    channels: usize,
    target: Target,
    stride: usize,
) {
    for half in 0..BLOCK / LANES {
        let first = half * LANES;
        let mask = mask(channels.saturating_sub(first));
        // SAFETY: the lanes in the mask are among the channels; the caller's promises.
        unsafe {
            let bias = _mm512_loadu_ps(bias.as_ptr().add(first));
            for row in 0..count {
                let mut sum = _mm512_add_ps(_mm512_loadu_ps(sums.add(row * BLOCK + first)), bias);
                if relu {
                    sum = _mm512_max_ps(_mm512_setzero_ps(), sum);
                }
                match target {
                    Target::F32(to) => _mm512_mask_storeu_ps(to.add(row * stride + first), mask, sum),
                    Target::Bf16(to) => {
                        store_bf16(sum, mask, to.add(row * stride + first));
                    }
                }
            }
        }
    }
}

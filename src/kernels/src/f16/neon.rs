//! aarch64 with FEAT_FP16.
//!
//! ```text
//!   v0 to v7     eight values of `K` of each row, which are lanes: `fmla v.8h, v.8h, v.h[lane]`
//!   v8 to v15    weights, two vectors for each `k`, four `k` at a time
//!   v16 to v31   sums, two vectors for each row
//! ```
//!
//! It is assembly because Rust's intrinsics for f16 are not stable. Loads stand together where they can, and before what they
//! load is needed, for in-order cores (Cortex-A55).

use core::arch::{aarch64::vdupq_n_u16, asm};

use super::engine::{Sums, Tile};

/// One `k`: two vectors of weights times each row's lane, to be added to sums or, at the beginning of a run, to be the sums.
macro_rules! column {
    ($multiply:literal $w0:literal $w1:literal $lane:literal, $($value:literal $s0:literal $s1:literal),+) => {
        concat!(
            $($multiply, " v", $s0, ".8h, v", $w0, ".8h, v", $value, ".h[", $lane, "]\n",)+
            $($multiply, " v", $s1, ".8h, v", $w1, ".8h, v", $value, ".h[", $lane, "]\n",)+
        )
    };
}

/// Eight `k`, given the text that loads the values of the rows. The first are multiplied by `fmul` or `fmla`.
macro_rules! eight {
    ($first:literal, $load:literal, $($row:tt)+) => {
        concat!(
            $load,
            "ld1 {{v8.8h, v9.8h, v10.8h, v11.8h}}, [{weights}], #64\n",
            "ld1 {{v12.8h, v13.8h, v14.8h, v15.8h}}, [{weights}], #64\n",
            column!($first 8 9 0, $($row)+), column!("fmla" 10 11 1, $($row)+),
            "ld1 {{v8.8h, v9.8h, v10.8h, v11.8h}}, [{weights}], #64\n",
            column!("fmla" 12 13 2, $($row)+), column!("fmla" 14 15 3, $($row)+),
            "ld1 {{v12.8h, v13.8h, v14.8h, v15.8h}}, [{weights}], #64\n",
            column!("fmla" 8 9 4, $($row)+), column!("fmla" 10 11 5, $($row)+),
            column!("fmla" 12 13 6, $($row)+), column!("fmla" 14 15 7, $($row)+),
        )
    };
}

/// The inverse of a row's scale, when all are in v14 and v15.
macro_rules! inverse {
    (0) => {
        "v14.s[0]"
    };
    (1) => {
        "v14.s[1]"
    };
    (2) => {
        "v14.s[2]"
    };
    (3) => {
        "v14.s[3]"
    };
    (4) => {
        "v15.s[0]"
    };
    (5) => {
        "v15.s[1]"
    };
    (6) => {
        "v15.s[2]"
    };
    (7) => {
        "v15.s[3]"
    };
}

/// Adds a run's sums of each row to what is at `from`, and writes them to `row`.
macro_rules! widen {
    ($($value:tt $s0:literal $s1:literal),+) => {
        concat!($(
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{from}], {from_stride}\n",
            "fcvtl v4.4s, v", $s0, ".4h\n", "fcvtl2 v5.4s, v", $s0, ".8h\n",
            "fcvtl v6.4s, v", $s1, ".4h\n", "fcvtl2 v7.4s, v", $s1, ".8h\n",
            "fmla v0.4s, v4.4s, ", inverse!($value), "\nfmla v1.4s, v5.4s, ", inverse!($value), "\n",
            "fmla v2.4s, v6.4s, ", inverse!($value), "\nfmla v3.4s, v7.4s, ", inverse!($value), "\n",
            "st1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{row}], {stride}\n",
        )+)
    };
}

/// All runs of a tile. A turn of the inner loop is a step, two times eight `k`.
macro_rules! tile {
    ($tile:ident, $sums:ident, $load:literal, $($value:tt $s0:literal $s1:literal),+) => {
        asm!(
            "2:",
            "cmp {steps}, {run}",
            "csel {left}, {steps}, {run}, lo",
            "sub {steps}, {steps}, {left}",
            eight!("fmul", $load, $($value $s0 $s1),+),
            "b 4f",
            "3:",
            eight!("fmla", $load, $($value $s0 $s1),+),
            "4:",
            eight!("fmla", $load, $($value $s0 $s1),+),
            "subs {left}, {left}, #1",
            "b.ne 3b",
            "ldp q14, q15, [{inverses}]",
            "mov {row}, {to}",
            widen!($($value $s0 $s1),+),
            "mov {from}, {to}",
            "mov {from_stride}, {stride}",
            "cbnz {steps}, 2b",
            values = inout(reg) $tile.values => _,
            weights = inout(reg) $tile.weights => _,
            steps = inout(reg) $tile.steps => _,
            run = in(reg) $tile.run_steps,
            inverses = in(reg) $tile.inverses.as_ptr(),
            to = in(reg) $sums.to,
            stride = in(reg) $sums.stride * size_of::<f32>(),
            from = inout(reg) $sums.from => _,
            from_stride = inout(reg) $sums.from_stride * size_of::<f32>() => _,
            left = out(reg) _,
            row = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    };
}

/// As `Engine::multiply`.
///
/// # Safety
/// What `tile` describes is readable, and its sums are writable.
#[target_feature(enable = "neon,fp16")]
pub(super) unsafe fn multiply(tile: Tile<'_>, sums: Sums) {
    debug_assert!(tile.steps > 0 && tile.run_steps > 0);
    // SAFETY: the caller's promise. Each text reads the values of as many rows as the tile has and all steps of weights, writes
    // as many rows of sums, and says what it overwrites.
    unsafe {
        match tile.rows {
            1 => tile!(tile, sums, "ldr q0, [{values}], #16\n", 0 16 17),
            2 => tile!(tile, sums, "ldp q0, q1, [{values}], #32\n", 0 16 17, 1 18 19),
            3 => tile!(
                tile, sums, "ld1 {{v0.8h, v1.8h, v2.8h}}, [{values}], #48\n",
                0 16 17, 1 18 19, 2 20 21
            ),
            4 => tile!(
                tile, sums, "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{values}], #64\n",
                0 16 17, 1 18 19, 2 20 21, 3 22 23
            ),
            5 => tile!(
                tile, sums,
                "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{values}], #64\nldr q4, [{values}], #16\n",
                0 16 17, 1 18 19, 2 20 21, 3 22 23, 4 24 25
            ),
            6 => tile!(
                tile, sums,
                "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{values}], #64\nldp q4, q5, [{values}], #32\n",
                0 16 17, 1 18 19, 2 20 21, 3 22 23, 4 24 25, 5 26 27
            ),
            7 => tile!(
                tile, sums,
                "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{values}], #64\nld1 {{v4.8h, v5.8h, v6.8h}}, [{values}], #48\n",
                0 16 17, 1 18 19, 2 20 21, 3 22 23, 4 24 25, 5 26 27, 6 28 29
            ),
            8 => tile!(
                tile, sums,
                "ld1 {{v0.8h, v1.8h, v2.8h, v3.8h}}, [{values}], #64\nld1 {{v4.8h, v5.8h, v6.8h, v7.8h}}, [{values}], #64\n",
                0 16 17, 1 18 19, 2 20 21, 3 22 23, 4 24 25, 5 26 27, 6 28 29, 7 30 31
            ),
            _ => {}
        }
    }
}

/// As `Engine::round`.
///
/// # Safety
/// The steps are readable and writable.
#[inline(always)]
pub(super) unsafe fn round(from: *const f32, steps: usize, to: *mut u16, rows: usize, largest: u16) -> u16 {
    let half = rows * 8;
    // SAFETY: the caller's promise.
    unsafe { round_parts(from, steps, to, 2 * half, rows, largest) }
}

/// As `Engine::round_parts`.
///
/// # Safety
/// The steps are readable and writable.
#[inline(always)]
pub(super) unsafe fn round_parts(
    from: *const f32,
    parts: usize,
    to: *mut u16,
    part_len: usize,
    rows: usize,
    largest: u16,
) -> u16 {
    if parts == 0 {
        return largest;
    }
    let half = rows * 8 * size_of::<u16>();
    let found: u32;
    // SAFETY: the caller's promise: a turn reads a step and writes its two halves. The instructions are part of NEON.
    unsafe {
        asm!(
            "2:",
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{from}], #64",
            "subs {parts}, {parts}, #1",
            "fcvtn v0.4h, v0.4s",
            "fcvtn v2.4h, v2.4s",
            "fcvtn2 v0.8h, v1.4s",
            "fcvtn2 v2.8h, v3.4s",
            "st1 {{v0.8h}}, [{to}], {half}",
            "st1 {{v2.8h}}, [{to}], {rest}",
            "bic v0.8h, #0x80, lsl #8",
            "bic v2.8h, #0x80, lsl #8",
            "umax {largest:v}.8h, {largest:v}.8h, v0.8h",
            "umax {largest:v}.8h, {largest:v}.8h, v2.8h",
            "b.ne 2b",
            "umaxv h0, {largest:v}.8h",
            "fmov {found:w}, s0",
            from = inout(reg) from => _,
            parts = inout(reg) parts => _,
            to = inout(reg) to => _,
            half = in(reg) half,
            rest = in(reg) (part_len * size_of::<u16>()).wrapping_sub(half),
            largest = inout(vreg) vdupq_n_u16(largest) => _,
            found = out(reg) found,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            options(nostack),
        );
    }
    found as u16
}

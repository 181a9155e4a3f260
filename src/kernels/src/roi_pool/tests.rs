use alloc::{vec, vec::Vec};

use frcnn_core::{Roi, ShapeError};
use proptest::prelude::*;

use super::*;

fn roi(x1: i32, y1: i32, x2: i32, y2: i32) -> Roi {
    Roi { level: 0, x1, y1, x2, y2 }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Every instruction set, with one thread and with three, against the reference's bits.
fn assert_all_agree(map: FeatureMap<'_>, rois: &[Roi], pooled: &[[usize; 2]]) {
    let mut expected = vec![];
    for roi in rois {
        for grid in pooled {
            let mut bins = vec![7.0; grid[0] * grid[1] * map.channels()];
            roi_pool_reference(map, &[*roi], *grid, &mut bins, None).unwrap();
            expected.extend(bins);
        }
    }
    for isa in Isa::available() {
        for threads in [1, 3] {
            let mut out = vec![9.0; expected.len()];
            roi_pool_with(isa, map, rois, pooled, threads, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&expected), "{isa:?}, {threads} threads, {rois:?} into {pooled:?}");
        }
    }
}

/// The map is 3 rows of 4 columns, one channel:
/// ```text
///      x 0   1   2   3
/// y 0   -1  -2   3  -4
/// y 1   -5   6  -7  -8
/// y 2   -9 -10 -11  12
/// ```
/// RoI A, (0, 0) to (3, 2), into 2 x 2. Width 4: bins of 2, columns [0, 2) and [2, 4). Height 3: bins of 1.5, rows
/// [floor 0, ceil 1.5) = [0, 2) and [floor 1.5, ceil 3) = [1, 3). Maxima: {-1, -2, -5, 6} = 6 at cell 5,
/// {3, -4, -7, -8} = 3 at cell 2, {-5, 6, -9, -10} = 6 at cell 5, {-7, -8, -11, 12} = 12 at cell 11.
///
/// RoI B, (-2, 2) to (1, 5), sticks out. Columns [-2, 0) and [0, 2), clipped [0, 0) and [0, 2); rows [2, 4) and [4, 6),
/// clipped [2, 3) and [3, 3). One bin is left: {-9, -10} = -9 at cell 8. It is negative, and empty bins are 0.
///
/// RoI C, (3, 0) to (2, 0), is inverted: width max(0, 1) = 1, bins of 0.5, columns [0, 1) and [0, 1) from 3; likewise
/// both rows [0, 1): -4 at cell 3, four times.
#[test]
fn golden_case_by_hand() {
    let data = [-1.0, -2.0, 3.0, -4.0, -5.0, 6.0, -7.0, -8.0, -9.0, -10.0, -11.0, 12.0];
    let map = FeatureMap::new(&data, 3, 4, 1).unwrap();
    let rois = [roi(0, 0, 3, 2), roi(-2, 2, 1, 5), roi(3, 0, 2, 0)];
    let (mut out, mut argmax) = ([7.0; 12], [7; 12]);
    roi_pool_reference(map, &rois, [2, 2], &mut out, Some(&mut argmax)).unwrap();
    assert_eq!(out, [6.0, 3.0, 6.0, 12.0, 0.0, -9.0, 0.0, 0.0, -4.0, -4.0, -4.0, -4.0]);
    assert_eq!(argmax, [5, 2, 5, 11, -1, 8, -1, -1, 3, 3, 3, 3]);
    assert_all_agree(map, &rois, &[[2, 2]]);
}

/// At P = 7 the f32 product 7 * (w / 7) is above w for widths 57, 114 and 121 alone (of 1 to 128), so the last bin
/// ends one cell later than exact arithmetic says. A 1-row map with its greatest value in that extra cell shows it.
#[test]
fn f32_bins_take_one_cell_more() {
    let mut one_more = vec![];
    for width in 1..=128 {
        let mut data = vec![0.0; 129];
        data[width as usize] = 1.0; // the first cell after the RoI
        let map = FeatureMap::new(&data, 1, 129, 1).unwrap();
        let rois = [roi(0, 0, width - 1, 0)];
        let mut out = [0.0; 7];
        roi_pool_reference(map, &rois, [1, 7], &mut out, None).unwrap();
        assert_eq!(out[..6], [0.0; 6], "width {width}");
        if out[6] == 1.0 {
            one_more.push(width);
        }
        assert_all_agree(map, &rois, &[[1, 7]]);
    }
    assert_eq!(one_more, [57, 114, 121]);
}

#[test]
fn nan_infinity_and_signed_zeros() {
    // One row of four cells, 19 channels so that vectors and tails both see every case.
    let cases: [([f32; 4], f32, i32); 7] = [
        ([f32::NAN, 1.0, f32::NAN, 0.5], 1.0, 1),
        ([f32::NAN; 4], -f32::MAX, -1),
        ([f32::NEG_INFINITY; 4], -f32::MAX, -1),
        ([-0.0, 0.0, -0.0, 0.0], -0.0, 0),
        ([0.0, -0.0, 0.0, -0.0], 0.0, 0),
        ([1.0, f32::INFINITY, f32::NAN, f32::INFINITY], f32::INFINITY, 1),
        ([-f32::MAX, f32::NAN, f32::MIN_POSITIVE, 1e-45], f32::MIN_POSITIVE, 2),
    ];
    for (cells, max, cell) in cases {
        let data: Vec<f32> = cells.iter().flat_map(|&v| [v; 19]).collect();
        let map = FeatureMap::new(&data, 1, 4, 19).unwrap();
        let (mut out, mut argmax) = ([7.0; 19], [7; 19]);
        roi_pool_reference(map, &[roi(0, 0, 3, 0)], [1, 1], &mut out, Some(&mut argmax)).unwrap();
        assert_eq!(bits(&out), [max.to_bits(); 19], "{cells:?}");
        assert_eq!(argmax, [cell; 19], "{cells:?}");
        assert_all_agree(map, &[roi(0, 0, 3, 0)], &[[1, 1]]);
    }
}

#[test]
fn degenerate_shapes() {
    let data = [1.0, 2.0];
    let map = FeatureMap::new(&data, 1, 2, 1).unwrap();
    assert_all_agree(map, &[], &[[7, 7]]);
    assert_all_agree(map, &[roi(0, 0, 1, 0)], &[]);
    assert_all_agree(map, &[roi(0, 0, 1, 0)], &[[0, 7]]);
    // The corners of i32 neither overflow nor panic.
    let (min, max) = (i32::MIN, i32::MAX);
    assert_all_agree(
        map,
        &[roi(min, min, max, max), roi(max, max, min, min), roi(max, 0, max, 0)],
        &[[3, 2]],
    );
    assert_all_agree(FeatureMap::new(&[], 0, 5, 4).unwrap(), &[roi(0, 0, 1, 1)], &[[2, 2]]);
    assert_all_agree(FeatureMap::new(&[], 5, 5, 0).unwrap(), &[roi(0, 0, 1, 1)], &[[2, 2]]);
}

#[test]
fn wrong_lengths_are_errors() {
    assert_eq!(
        FeatureMap::new(&[0.0; 5], 1, 2, 3).unwrap_err(),
        ShapeError { what: "data", expected: 6, found: 5 }
    );
    assert_eq!(FeatureMap::new(&[], usize::MAX, 2, 1).unwrap_err().expected, usize::MAX);
    let map = FeatureMap::new(&[0.0; 6], 1, 2, 3).unwrap();
    let error = roi_pool_into(map, &[roi(0, 0, 1, 0)], &[[2, 2]], 1, &mut [0.0; 11]).unwrap_err();
    assert_eq!(error, ShapeError { what: "out", expected: 12, found: 11 });
    let error = roi_pool_into(map, &[roi(0, 0, 1, 0)], &[[usize::MAX, 2]], 1, &mut [0.0; 11]).unwrap_err();
    assert_eq!(error.expected, usize::MAX);
    let error = roi_pool_reference(map, &[roi(0, 0, 1, 0)], [1, 1], &mut [0.0; 3], Some(&mut [0; 2]));
    assert_eq!(error.unwrap_err(), ShapeError { what: "argmax", expected: 3, found: 2 });
}

fn any_value() -> impl Strategy<Value = f32> {
    prop_oneof![
        12 => -4.0f32..4.0,
        2 => prop::sample::select(&[0.0f32, -0.0]),
        1 => prop::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::MAX]),
    ]
}

prop_compose! {
    fn any_problem()(
        height in 1usize..9, width in 1usize..9,
        // Around every block size: 1, 4, 8, 16 lanes and eight of each.
        channels in prop_oneof![1usize..40, prop::sample::select(&[63usize, 64, 65, 127, 128, 129, 150])],
    )(
        data in prop::collection::vec(any_value(), height * width * channels),
        rois in prop::collection::vec(
            // Network pixels and the scale of a trunk; beyond the map on every side, and inverted.
            (-60.0f32..200.0, -60.0f32..200.0, -40.0f32..150.0, -40.0f32..150.0)
                .prop_map(|(x, y, w, h)| Roi::from_network(0, x, y, x + w, y + h, 1.0 / 16.0)),
            1..12,
        ),
        (height, width, channels) in Just((height, width, channels)),
        pooled in (1usize..8, 1usize..8),
    ) -> (Vec<f32>, [usize; 3], Vec<Roi>, [usize; 2]) {
        (data, [height, width, channels], rois, [pooled.0, pooled.1])
    }
}

/// Slab after slab of a map by each way there is: its tables, their first plane alone, and the map itself.
fn pool_by_every_way<T: Cell + PartialEq>(
    isa: Isa,
    map: FeatureMap<'_, T>,
    rois: &[Roi],
    grid: [usize; 2],
) -> [Vec<T>; 3] {
    let pooled = &[grid];
    let (bins, channels) = (bin_count(pooled), map.channels);
    let spans = || Spans::of(map, rois, pooled).unwrap().0;
    [Some(spans()), Some(spans().without_lookup()), None].map(|spans| {
        let mut room = vec![T::default(); spans.as_ref().map_or(0, |spans| table::values(map, spans))];
        let len = room.len();
        let mut tables = Table::all(&mut room, len, 1);
        let mut out = vec![T::default(); rois.len() * bins * channels];
        let data = SyncPtr::new(&mut out);
        for slab in slabs(channels, T::SLAB) {
            let data = data.offset(slab.start);
            let (roi_stride, bin_stride) = (bins * channels, channels);
            let out = Bins { data, roi_stride, bin_stride, large: false, empty: T::default() };
            // SAFETY: `out` has all channels of each bin of each RoI.
            unsafe { pool_slab(isa, &mut tables[0], map, rois, spans.as_ref(), pooled, slab, out) };
        }
        out
    })
}

proptest! {
    #[test]
    fn every_way_to_pool_a_slab_equals_the_reference((data, [height, width, channels], rois, pooled) in any_problem()) {
        let map = FeatureMap::new(&data, height, width, channels).unwrap();
        let mut expected = vec![0.0; rois.len() * len_of(&pooled) * channels];
        roi_pool_reference(map, &rois, pooled, &mut expected, None).unwrap();
        let bytes: Vec<u8> = data.iter().map(|&value| (value * 16.0 + 128.0) as u8).collect();
        let as_f32: Vec<f32> = bytes.iter().copied().map(f32::from).collect();
        let mut of_bytes = expected.clone();
        let byte_map = FeatureMap { data: &bytes[..], height, width, channels };
        roi_pool_reference(FeatureMap { data: &as_f32[..], ..map }, &rois, pooled, &mut of_bytes, None).unwrap();
        for isa in Isa::available() {
            for out in pool_by_every_way(isa, map, &rois, pooled) {
                prop_assert_eq!(bits(&out), bits(&expected));
            }
            for out in pool_by_every_way(isa, byte_map, &rois, pooled) {
                prop_assert!(out.iter().copied().map(f32::from).eq(of_bytes.iter().copied()));
            }
        }
    }

    #[test]
    fn every_isa_equals_the_reference((data, [height, width, channels], rois, pooled) in any_problem()) {
        assert_all_agree(FeatureMap::new(&data, height, width, channels).unwrap(), &rois, &[pooled]);
    }

    #[test]
    fn grids_lie_one_after_the_other(
        (data, [height, width, channels], rois, [ph, pw]) in any_problem(), few in 1usize..4,
    ) {
        let map = FeatureMap::new(&data, height, width, channels).unwrap();
        // Enough RoIs for tables, which all grids share.
        let many: Vec<Roi> = rois.iter().copied().cycle().take(rois.len() * 8).collect();
        for rois in [rois, many] {
            assert_all_agree(map, &rois, &[[ph, pw], [1, 1], [few, 2]]);
        }
    }

    #[test]
    fn argmax_points_at_the_maximum((data, [height, width, channels], rois, pooled) in any_problem()) {
        let map = FeatureMap::new(&data, height, width, channels).unwrap();
        let len = rois.len() * pooled[0] * pooled[1] * channels;
        let (mut out, mut argmax) = (vec![7.0; len], vec![7; len]);
        roi_pool_reference(map, &rois, pooled, &mut out, Some(&mut argmax)).unwrap();
        for (i, (&max, &cell)) in out.iter().zip(&argmax).enumerate() {
            if cell >= 0 {
                prop_assert_eq!(data[cell as usize * channels + i % channels].to_bits(), max.to_bits());
            } else {
                prop_assert!(max == 0.0 || max == -f32::MAX);
            }
        }
    }
}

use alloc::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;

const TORCHVISION: RoiAlign = RoiAlign { pooled: [2, 2], sampling_ratio: 2, half_pixel: false };

fn roi(x1: f32, y1: f32, x2: f32, y2: f32) -> AlignedRoi {
    AlignedRoi { level: 0, bbox: BBox::new(x1, y1, x2, y2) }
}

fn map(data: &[f32], height: usize, width: usize, channels: usize, spatial_scale: f32) -> ScaledMap<'_> {
    ScaledMap { map: FeatureMap::new(data, height, width, channels).unwrap(), spatial_scale }
}

/// Bits, of which a NaN has the same whatever computed it.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

/// What the reference gives; every instruction set, with one thread and with three, gives the same bits.
fn aligned(maps: &[ScaledMap<'_>], rois: &[AlignedRoi], align: &RoiAlign) -> Vec<f32> {
    let len = rois.len() * align.bins() * maps[0].map.channels();
    let mut expected = vec![7.0; len];
    roi_align_reference(maps, rois, align, &mut expected).unwrap();
    for isa in Isa::tested() {
        for threads in [1, 3] {
            let mut out = vec![9.0; len];
            roi_align_with(isa, maps, rois, align, threads, &mut out).unwrap();
            assert_eq!(bits(&out), bits(&expected), "{isa:?}, {threads} threads, {rois:?}, {align:?}");
        }
    }
    expected
}

/// The definition, point by point, in f64: the mean of interpolated points. Coordinates are f32's, as models have them.
fn by_definition(scaled: ScaledMap<'_>, roi: &AlignedRoi, align: &RoiAlign) -> Vec<f64> {
    let ScaledMap { map, spatial_scale } = scaled;
    let axis = |from: f32, to: f32, bins: usize, cells: usize| {
        let offset = if align.half_pixel { 0.5 } else { 0.0 };
        let start = from * spatial_scale - offset;
        let mut size = to * spatial_scale - offset - start;
        if !align.half_pixel && size < 1.0 {
            size = 1.0;
        }
        let bin = size / bins as f32;
        let n = if align.sampling_ratio > 0 { align.sampling_ratio } else { bin.ceil().max(0.0) as usize };
        let point = move |p: usize, i: usize| {
            let point = f64::from(start + p as f32 * bin + (i as f32 + 0.5) * bin / n as f32);
            let inside = point >= -1.0 && point <= cells as f64 && cells > 0;
            inside.then(|| {
                let point = point.max(0.0).min(cells as f64 - 1.0);
                let low = point.floor();
                (low as usize, (low as usize + 1).min(cells - 1), point - low)
            })
        };
        (n, point)
    };
    let [ph, pw] = align.pooled;
    let (ny, point_y) = axis(roi.bbox.y1, roi.bbox.y2, ph, map.height());
    let (nx, point_x) = axis(roi.bbox.x1, roi.bbox.x2, pw, map.width());
    let mut out = vec![];
    for bin in 0..ph * pw {
        for c in 0..map.channels() {
            let cell = |y: usize, x: usize| f64::from(map.data()[(y * map.width() + x) * map.channels() + c]);
            let mut sum = 0.0;
            for i in 0..ny * nx {
                let (y, x) = (point_y(bin / pw, i / nx), point_x(bin % pw, i % nx));
                let (Some((top, bottom, dy)), Some((left, right, dx))) = (y, x) else { continue };
                let row = |y| cell(y, left) * (1.0 - dx) + cell(y, right) * dx;
                sum += row(top) * (1.0 - dy) + row(bottom) * dy;
            }
            out.push(sum / (ny * nx).max(1) as f64);
        }
    }
    out
}

/// A map of 3 x 4 cells of value `10 y + x`: an interpolated value is `10 y + x` at any point between cells.
fn ramp() -> Vec<f32> {
    (0..12).map(|i| (10 * (i / 4) + i % 4) as f32).collect()
}

/// Pixels are half cells. RoI A, pixels 1 to 5 and 0 to 4: cells .5 to 2.5 and 0 to 2, bins of one cell, points at a quarter
/// and three quarters of each. Means lie in the bins' middles: columns 1 and 2, rows .5 and 1.5.
///
/// RoI B is a point at cell (1, 1): sides of at least 1, bins of half a cell from it on; middles at 1.25 and 1.75. With
/// `half_pixel` it is at (.5, .5) and stays a point.
///
/// RoI C, pixels -8 to 8 and 0 to 2: columns -4 to 4, bins of four cells. Bin 0 has points at -3, which counts as 0, and at -1,
/// which lies on cell 0: half of that is left. Bin 1 has points at 1 and 3, the last cell. Rows are from 0 to 1, the bins'
/// middles .25 and .75.
#[test]
fn golden_cases_by_hand() {
    let data = ramp();
    let maps = [map(&data, 3, 4, 1, 0.5)];
    assert_eq!(aligned(&maps, &[roi(1.0, 0.0, 5.0, 4.0)], &TORCHVISION), [6.0, 7.0, 16.0, 17.0]);
    let point = [roi(2.0, 2.0, 2.0, 2.0)];
    assert_eq!(aligned(&maps, &point, &TORCHVISION), [13.75, 14.25, 18.75, 19.25]);
    let half_pixel = RoiAlign { half_pixel: true, ..TORCHVISION };
    assert_eq!(aligned(&maps, &point, &half_pixel), [5.5; 4]);
    let beyond = [roi(-8.0, 0.0, 8.0, 2.0)];
    assert_eq!(aligned(&maps, &beyond, &TORCHVISION), [1.25, 4.5, 3.75, 9.5]);
}

/// Adaptive: bins of 1.5 columns have two points, bins of 2/3 rows one.
#[test]
fn as_many_points_as_a_bin_has_cells() {
    let data = ramp();
    let maps = [map(&data, 3, 4, 1, 1.0)];
    let align = RoiAlign { pooled: [3, 2], sampling_ratio: 0, half_pixel: true };
    let middles = aligned(&maps, &[roi(0.5, 0.5, 3.5, 2.5)], &align);
    for (bin, value) in middles.iter().enumerate() {
        let (y, x) = ((bin / 2) as f32 + 0.5, (bin % 2) as f32 + 0.5);
        assert!((value - (10.0 * y * 2.0 / 3.0 + 1.5 * x)).abs() < 1e-5, "{middles:?}");
    }
    // Inverted, with a size below 0: no points at all. Not so where their number is given, or sizes are at least 1.
    let inverted = [roi(3.5, 2.5, 0.5, 0.5)];
    assert_eq!(aligned(&maps, &inverted, &align), [0.0; 6]);
    let turned = aligned(&maps, &inverted, &RoiAlign { sampling_ratio: 2, ..align });
    assert!(turned.iter().rev().zip(&middles).all(|(a, b)| (a - b).abs() < 1e-5), "{turned:?}");
    // Sides of 1: of the points, one row and one column lie beyond the map.
    let one_cell = aligned(&maps, &inverted, &RoiAlign { half_pixel: false, ..align });
    assert!(one_cell[0] > 20.0 && one_cell[1] == 0.0 && one_cell[4..] == [0.0; 2], "{one_cell:?}");
}

#[test]
fn nan_and_infinity_in_the_map() {
    // One row of four cells, 19 channels so that vectors and tails both see every case; one bin for each cell, which has one
    // point in the middle of it and the next.
    let align = RoiAlign { pooled: [1, 3], sampling_ratio: 1, half_pixel: false };
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let data: Vec<f32> = [1.0, 2.0, odd, 3.0].iter().flat_map(|&v| [v; 19]).collect();
        let out = aligned(&[map(&data, 1, 4, 19, 1.0)], &[roi(0.0, 0.0, 3.0, 1.0)], &align);
        assert_eq!(out[..19], [1.5; 19]);
        assert_eq!(bits(&out[19..]), bits(&[odd; 38]));
    }
    // On a cell, the next one has weight 0 and is read.
    let data = [1.0, f32::NAN, 1.0];
    let on_cell = RoiAlign { pooled: [1, 1], sampling_ratio: 1, half_pixel: true };
    assert!(aligned(&[map(&data, 1, 3, 1, 1.0)], &[roi(0.5, 0.5, 0.5, 0.5)], &on_cell)[0].is_nan());
}

#[test]
fn rois_without_a_place() {
    let data = ramp();
    let maps = [map(&data, 3, 4, 1, 0.5)];
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for sampling_ratio in [0, 2] {
        for half_pixel in [false, true] {
            let align = RoiAlign { sampling_ratio, half_pixel, ..TORCHVISION };
            let of = |roi| aligned(&maps, &[roi], &align);
            for i in 0..4 {
                let mut corners = [0.0, 0.0, 4.0, 4.0];
                corners[i] = nan;
                let [x1, y1, x2, y2] = corners;
                assert!(of(roi(x1, y1, x2, y2)).iter().all(|v| v.is_nan()), "{corners:?}, {align:?}");
            }
            // Far away, in whatever direction, and as large as can be: ends soon, and far points count as 0.
            for far in [1e3, 1e9, f32::MAX, inf] {
                assert_eq!(of(roi(far, 0.0, far, 4.0)), [0.0; 4]);
                assert_eq!(of(roi(0.0, -far, 4.0, -far)), [0.0; 4]);
                // Small, for what lies in the map are few points of many.
                assert!(of(roi(-far, -far, far, far)).iter().all(|v| v.abs() < 1.0));
            }
            // A level that has no map.
            assert_eq!(of(AlignedRoi { level: 1, ..roi(0.0, 0.0, 4.0, 4.0) }), [0.0; 4]);
        }
    }
}

#[test]
fn degenerate_shapes() {
    let data = [1.0, 2.0];
    let maps = [map(&data, 1, 2, 1, 1.0)];
    let one = [roi(0.0, 0.0, 1.0, 0.0)];
    assert_eq!(aligned(&maps, &[], &TORCHVISION), []);
    assert_eq!(aligned(&maps, &one, &RoiAlign { pooled: [0, 7], ..TORCHVISION }), []);
    assert_eq!(aligned(&[map(&[], 0, 5, 4, 1.0)], &one, &TORCHVISION), [0.0; 16]);
    assert_eq!(aligned(&[map(&[], 5, 0, 4, 1.0)], &one, &TORCHVISION), [0.0; 16]);
    assert_eq!(aligned(&[map(&[], 5, 5, 0, 1.0)], &one, &TORCHVISION), []);
}

#[test]
fn wrong_lengths_are_errors() {
    let data = [0.0; 6];
    let maps = [map(&data, 1, 2, 3, 1.0), map(&data, 3, 2, 1, 1.0)];
    let rois = [roi(0.0, 0.0, 1.0, 0.0)];
    let run = |maps: &[ScaledMap<'_>], align: RoiAlign, len: usize| {
        let plain = roi_align_reference(maps, &rois, &align, &mut vec![0.0; len]).unwrap_err();
        let error = roi_align_into(maps, &rois, &align, 1, &mut vec![0.0; len]).unwrap_err();
        assert_eq!(plain, error);
        error
    };
    assert_eq!(run(&maps[..1], TORCHVISION, 11), ShapeError { what: "out", expected: 12, found: 11 });
    let huge = RoiAlign { pooled: [usize::MAX, 2], ..TORCHVISION };
    assert_eq!(run(&maps[..1], huge, 11).expected, usize::MAX);
    assert_eq!(run(&maps, TORCHVISION, 12), ShapeError { what: "channels", expected: 3, found: 1 });
    assert_eq!(run(&[], TORCHVISION, 12), ShapeError { what: "maps", expected: 1, found: 0 });
    let many = RoiAlign { sampling_ratio: 1025, ..TORCHVISION };
    assert_eq!(
        run(&maps[..1], many, 12),
        ShapeError { what: "sampling_ratio, at most", expected: 1024, found: 1025 }
    );
}

fn any_value() -> impl Strategy<Value = f32> {
    prop_oneof![
        14 => -4.0f32..4.0,
        1 => prop::sample::select(&[0.0f32, -0.0]),
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
            // Beyond the map on every side, and inverted.
            (-60.0f32..200.0, -60.0f32..200.0, -40.0f32..150.0, -40.0f32..150.0)
                .prop_map(|(x, y, w, h)| roi(x, y, x + w, y + h)),
            1..12,
        ),
        (height, width, channels) in Just((height, width, channels)),
        pooled in (1usize..8, 1usize..8),
        sampling_ratio in 0usize..4,
        half_pixel in any::<bool>(),
        // Of the trunks' strides, and one that makes RoIs large beside the map.
        spatial_scale in prop::sample::select(&[0.25f32, 0.125, 0.0625, 0.03125]),
    ) -> (Vec<f32>, [usize; 3], f32, Vec<AlignedRoi>, RoiAlign) {
        let align = RoiAlign { pooled: [pooled.0, pooled.1], sampling_ratio, half_pixel };
        (data, [height, width, channels], spatial_scale, rois, align)
    }
}

proptest! {
    #[test]
    fn every_isa_equals_the_reference_and_that_the_definition(
        (data, [height, width, channels], scale, rois, align) in any_problem(),
    ) {
        let scaled = map(&data, height, width, channels, scale);
        let out = aligned(&[scaled], &rois, &align);
        let expected: Vec<f64> = rois.iter().flat_map(|roi| by_definition(scaled, roi, &align)).collect();
        for (i, (&value, expected)) in out.iter().zip(expected).enumerate() {
            // Values are below 4, and sums of some hundred of them are rounded.
            prop_assert!((f64::from(value) - expected).abs() < 2e-5, "{value} for {expected} at {i}, {align:?}");
        }
    }

    #[test]
    fn nan_spreads_as_in_the_reference(
        (mut data, [height, width, channels], scale, rois, align) in any_problem(), every in 3usize..40,
    ) {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
        data.iter_mut().step_by(every).zip(odd.into_iter().cycle()).for_each(|(x, odd)| *x = odd);
        aligned(&[map(&data, height, width, channels, scale)], &rois, &align);
    }

    #[test]
    fn what_is_not_read_changes_nothing(
        (data, [height, width, channels], scale, rois, align) in any_problem(), far in prop::sample::select(&[1.0f32, 1e3, 1e8]),
    ) {
        for roi in rois {
            let BBox { x1, y1, x2, y2 } = roi.bbox;
            for bbox in [roi.bbox, BBox::new(x1 * far, y1, x2, y2 * far), BBox::new(x1, y1 * far, x2 * far, y2)] {
                let roi = AlignedRoi { bbox, ..roi };
                let [rows, columns] = align.cells_read(&bbox, scale, [height, width]);
                let is_read = |cell: usize| rows.contains(&(cell / width)) && columns.contains(&(cell % width));
                let other: Vec<f32> = data.iter().enumerate()
                    .map(|(i, &value)| if is_read(i / channels) { value } else { f32::NAN })
                    .collect();
                let [expected, found] = [&data, &other].map(|data| {
                    let mut out = vec![0.0; align.bins() * channels];
                    roi_align_into(&[map(data, height, width, channels, scale)], &[roi], &align, 1, &mut out).unwrap();
                    bits(&out)
                });
                prop_assert_eq!(expected, found, "{:?}, {:?} {:?}", bbox, rows, columns);
                // No more than a cell beyond those of the corners.
                let cells = |a: f32, b: f32, len: usize| {
                    let least = 1.0 + 2.0 * f32::from(u8::from(!align.half_pixel));
                    (((b - a).abs() * scale).max(least) + 4.0).min(len as f32)
                };
                prop_assert!(rows.len() as f32 <= cells(bbox.y1, bbox.y2, height), "{:?} {:?}", bbox, rows);
                prop_assert!(columns.len() as f32 <= cells(bbox.x1, bbox.x2, width), "{:?} {:?}", bbox, columns);
            }
        }
    }

    #[test]
    fn each_roi_is_on_its_level(
        (data, [height, width, channels], scale, mut rois, align) in any_problem(),
        (other, [h, w, _], s, ..) in any_problem(),
    ) {
        let other: Vec<f32> = other.iter().copied().cycle().take(h * w * channels).collect();
        let maps = [map(&data, height, width, channels, scale), map(&other, h, w, channels, s)];
        rois.iter_mut().enumerate().for_each(|(i, roi)| roi.level = (i % 3) as u16);
        let all = aligned(&maps, &rois, &align);
        for (roi, all) in rois.iter().zip(all.chunks(align.bins() * channels)) {
            let alone = match maps.get(usize::from(roi.level)) {
                Some(&map) => aligned(&[map], &[AlignedRoi { level: 0, ..*roi }], &align),
                None => vec![0.0; all.len()],
            };
            prop_assert_eq!(all, alone);
        }
    }
}

use alloc::vec::Vec;
use core::ops::Range;

use super::ConvWindow;
use crate::{ConvShape, test_random::Random};

/// A window of a map has the bits of the whole map, also where values nearby are of other magnitudes. `run` gives the output of
/// the layer on an input; `window` is the layer's, and gives none where no window has those bits.
pub(crate) fn check_window(
    shape: &ConvShape,
    input: &[f32],
    seed: u32,
    window: impl FnOnce([Range<usize>; 2]) -> Option<ConvWindow>,
    run: impl Fn(&ConvShape, &[f32]) -> Vec<f32>,
) {
    let ConvShape { batch, height, width, in_channels, out_channels, .. } = *shape;
    let (out_height, out_width) = shape.output_size().unwrap();
    let mut random = Random::new(seed);
    let mut below = |most: usize| (random.values(1)[0].abs() * most as f32) as usize % most;
    let mut part = |len: usize| {
        let start = below(len);
        start..(start + 1 + below(len)).min(len)
    };
    let asked = [part(out_height), part(out_width)];
    let Some(window) = window(asked.clone()) else { return };
    let [rows, columns] = window.outputs.clone();
    assert!(rows.start <= asked[0].start && asked[0].end <= rows.end);
    assert!(columns.start <= asked[1].start && asked[1].end <= columns.end);

    // Squares of 5 x 5 pixels.
    let magnitudes = random.values(height.div_ceil(5) * width.div_ceil(5));
    let pixel = |i: usize| {
        let square = i / width % height / 5 * width.div_ceil(5) + i % width / 5;
        [0.0, 1e-6, 1.0, 1e5][(magnitudes[square].abs() * 4.0) as usize % 4]
    };
    let input: Vec<f32> = input.iter().enumerate().map(|(i, value)| value * pixel(i / in_channels)).collect();
    let crop = |map: &[f32], [height, width, channels]: [usize; 3], [rows, columns]: &[Range<usize>; 2]| {
        let mut values = Vec::new();
        for (image, y) in (0..batch).flat_map(|image| rows.clone().map(move |y| (image, y))) {
            let row = &map[(image * height + y) * width * channels..][..width * channels];
            values.extend_from_slice(&row[columns.start * channels..columns.end * channels]);
        }
        values
    };
    let whole = run(shape, &input);
    let seen = crop(&input, [height, width, in_channels], &window.inputs);
    let found = run(&window.shape, &seen);
    let expected = crop(&whole, [out_height, out_width, out_channels], &window.outputs);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert!(bits(&found) == bits(&expected), "{window:?} of {shape:?}");
}

//! Windows of a quantised map as rows of a product: im2row.

use crate::{
    ConvShape,
    window::{start, taps_inside},
};

/// Writes the windows `[Kh, Kw, Ci]` of `rows.len() / stride` output pixels from `first` on, counted through `[N, Ho, Wo]`,
/// `stride` values apart. Padding is `zero`; what is behind a window stays as it is.
#[inline(always)]
pub(super) fn gather<V: Copy>(
    shape: &ConvShape,
    [out_height, out_width]: [usize; 2],
    map: &[V],
    zero: V,
    first: usize,
    stride: usize,
    rows: &mut [V],
) {
    let channels = shape.in_channels;
    let [kh, kw] = shape.kernel;
    for (pixel, row) in (first..).zip(rows.chunks_exact_mut(stride)) {
        let (x, y) = (pixel % out_width, pixel / out_width % out_height);
        let image = pixel / out_width / out_height;
        let (top, left) =
            (start(y, shape.stride[0], shape.pads[0]), start(x, shape.stride[1], shape.pads[1]));
        let taps_y = taps_inside(top, kh, shape.dilation[0], shape.height);
        let taps_x = taps_inside(left, kw, shape.dilation[1], shape.width);
        if taps_y.len() < kh || taps_x.len() < kw {
            row[..kh * kw * channels].fill(zero);
        }
        if taps_x.is_empty() {
            continue;
        }
        // Whole rows of a window lie together when no dilation pulls them apart.
        let (pieces, piece_len) =
            if shape.dilation[1] == 1 { (1, taps_x.len() * channels) } else { (taps_x.len(), channels) };
        let first_x = left.wrapping_add_unsigned(taps_x.start * shape.dilation[1]) as usize;
        for tap_y in taps_y {
            let y = image * shape.height + top.wrapping_add_unsigned(tap_y * shape.dilation[0]) as usize;
            for piece in 0..pieces {
                let from = (y * shape.width + first_x + piece * shape.dilation[1]) * channels;
                let to = (tap_y * kw + taps_x.start + piece) * channels;
                row[to..][..piece_len].copy_from_slice(&map[from..][..piece_len]);
            }
        }
    }
}

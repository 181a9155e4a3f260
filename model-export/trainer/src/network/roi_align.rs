//! RoIAlign that libtorch can differentiate.
//!
//! ```text
//! weights of the cells of each bin, a sparse matrix [R * Ph * Pw, N * Hf * Wf]
//!   times the map [N * Hf * Wf, C]  ──►  [R * Ph * Pw, C]          backward: the matrix, transposed, times the gradient
//! ```
//!
//! Which cells a bin reads, and with which weights, is decided here as `frcnn-kernels`' reference decides it: the weights of
//! rows and columns in f32, each the sum of its points' shares. Nothing flows back to the corners of RoIs.

use frcnn_kernels::RoiAlign;
use rayon::prelude::*;
use tch::{Kind, Tensor};

use super::Rois;

/// Corners are held within this distance from cell 0.
const FARTHEST: f32 = 4_194_304.0;

/// How RoIs are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Align {
    /// Rows and columns of bins.
    pub(super) pooled: [i64; 2],
    /// Feature cells per network pixel.
    pub(super) spatial_scale: f32,
    /// Points along each side of a bin; 0 for as many as it has cells, rounded up.
    pub(super) sampling_ratio: i64,
    /// Whether a cell's centre lies at half a cell; if not, it lies at its corner, and RoIs are at least one cell wide and high.
    pub(super) half_pixel: bool,
}

/// The cells along one axis that a bin reads, in ascending order, and their weights.
type Taps = Vec<(usize, f32)>;

/// Pools RoIs of the maps `[N, C, Hf, Wf]` into `[R, C, Ph, Pw]`. An RoI with a NaN corner becomes NaN.
pub(super) fn roi_align(maps: &Tensor, rois: &Rois, align: &Align) -> Tensor {
    let &[images, channels, height, width] = &maps.size()[..] else { return Tensor::new() };
    let [high, wide] = align.pooled;
    let of_roi = |roi: &[f32; 5]| align.weights(roi, [images, height, width].map(|side| side as usize));
    let bins: Vec<Vec<(i64, f32)>> = rois.par_iter().flat_map_iter(of_roi).collect();
    let (mut rows, mut cells, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for (bin, taps) in (0i64..).zip(&bins) {
        for &(cell, weight) in taps {
            rows.push(bin);
            cells.push(cell);
            weights.push(weight);
        }
    }
    let taps = rows.len() as i64;
    rows.append(&mut cells);
    let indices = Tensor::from_slice(&rows).view([2, taps]).to_device(maps.device());
    let weights = Tensor::from_slice(&weights).to_device(maps.device());
    let shape = [bins.len() as i64, images * height * width];
    // Bins come in their order, and a bin's cells in theirs, each once.
    let matrix =
        Tensor::sparse_coo_tensor_indices_size(&indices, &weights, shape, (Kind::Float, maps.device()), true);
    let cells = maps.permute([0, 2, 3, 1]).reshape([-1, channels]);
    let pooled = Tensor::internal_sparse_mm(&matrix, &cells);
    pooled.view([rois.len() as i64, high, wide, channels]).permute([0, 3, 1, 2])
}

impl Align {
    /// For each bin of an RoI the cells of all maps that it reads, and their weights.
    fn weights(&self, roi: &[f32; 5], [images, height, width]: [usize; 3]) -> Vec<Vec<(i64, f32)>> {
        let &[image, x1, y1, x2, y2] = roi;
        let first = (image.max(0.0) as usize).min(images.saturating_sub(1)) * height * width;
        let [high, wide] = self.pooled.map(|side| side as usize);
        let (Some(rows), Some(columns)) = (self.axis(y1, y2, high, height), self.axis(x1, x2, wide, width))
        else {
            return vec![vec![(first as i64, f32::NAN)]; high * wide];
        };
        let mut bins = Vec::with_capacity(high * wide);
        for rows in &rows {
            for columns in &columns {
                let cell = |y: usize, x: usize| (first + y * width + x) as i64;
                let of_row = |&(y, row): &(usize, f32)| {
                    columns.iter().map(move |&(x, column)| (cell(y, x), row * column))
                };
                bins.push(rows.iter().flat_map(of_row).collect());
            }
        }
        bins
    }

    /// The taps of each bin along an axis of `cells` cells; `None` for a corner that is NaN.
    fn axis(&self, from: f32, to: f32, bins: usize, cells: usize) -> Option<Vec<Taps>> {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let corner = |pixel: f32| (pixel * self.spatial_scale - offset).clamp(-FARTHEST, FARTHEST);
        let (start, end) = (corner(from), corner(to));
        if start.is_nan() || end.is_nan() {
            return None;
        }
        let size = if self.half_pixel { end - start } else { (end - start).max(1.0) };
        let bin = size / bins as f32;
        let points = match self.sampling_ratio {
            0 => bin.ceil().clamp(0.0, RoiAlign::MAX_POINTS as f32) as usize,
            ratio => ratio as usize,
        };
        let point = |p: usize, i: usize| start + p as f32 * bin + (i as f32 + 0.5) * bin / points as f32;
        let of_bin = |p: usize| {
            let mut taps = Taps::new();
            for (cell, weight) in (0..points).flat_map(|i| between(point(p, i), cells).into_iter().flatten())
            {
                match taps.iter_mut().find(|(known, _)| *known == cell) {
                    Some((_, sum)) => *sum += weight,
                    None => taps.push((cell, weight)),
                }
            }
            taps.sort_unstable_by_key(|&(cell, _)| cell);
            taps.iter_mut().for_each(|(_, weight)| *weight /= points as f32);
            taps
        };
        Some((0..bins).map(of_bin).collect())
    }
}

/// The two cells of an axis that a point lies between, and their weights; `None` for a point that counts as 0.
fn between(point: f32, cells: usize) -> Option<[(usize, f32); 2]> {
    let last = cells.checked_sub(1)?;
    if !(-1.0..=cells as f32).contains(&point) {
        return None;
    }
    let point = point.max(0.0);
    let low = point as usize;
    if low >= last {
        return Some([(last, 1.0), (last, 0.0)]);
    }
    let weight = point - low as f32;
    Some([(low, 1.0 - weight), (low + 1, weight)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use frcnn_core::{BBox, relative_difference};
    use frcnn_kernels::{AlignedRoi, FeatureMap, ScaledMap, roi_align_reference};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const SCALE: f32 = 1.0 / 8.0;

    fn aligns() -> impl Iterator<Item = Align> {
        let kinds = [(0, true), (0, false), (2, true), (2, false)];
        let align = |(sampling_ratio, half_pixel)| Align {
            pooled: [3, 2],
            spatial_scale: SCALE,
            sampling_ratio,
            half_pixel,
        };
        kinds.into_iter().map(align)
    }

    /// Some smaller than a cell, some partly or wholly beyond the map.
    fn random_rois(rng: &mut ChaCha8Rng, count: usize, images: u32) -> Vec<[f32; 5]> {
        let roi = |_| {
            let image = rng.random_range(0..images) as f32;
            let mut at = || (rng.random_range(-60.0f32..200.0), rng.random_range(0.5f32..150.0));
            let ((x, width), (y, height)) = (at(), at());
            [image, x, y, x + width, y + height]
        };
        (0..count).map(roi).collect()
    }

    #[test]
    fn forward_is_the_kernels_reference() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let (images, channels, height, width) = (2usize, 5usize, 17usize, 23usize);
        let plane = height * width * channels;
        let values: Vec<f32> = (0..images * plane).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        // Channels last.
        let shape = [images as i64, height as i64, width as i64, channels as i64];
        let maps = Tensor::from_slice(&values).view(shape).permute([0, 3, 1, 2]);
        let rois = random_rois(&mut rng, 100, images as u32);
        for align in aligns() {
            let pooled = roi_align(&maps, &rois, &align).permute([0, 2, 3, 1]).contiguous();
            let pooled = Vec::<f32>::try_from(pooled.view(-1)).unwrap();
            let kernel = RoiAlign {
                pooled: align.pooled.map(|side| side as usize),
                sampling_ratio: align.sampling_ratio as usize,
                half_pixel: align.half_pixel,
            };
            let mut differs = false;
            for (roi, found) in rois.iter().zip(pooled.chunks_exact(6 * channels)) {
                let map =
                    FeatureMap::new(&values[roi[0] as usize * plane..][..plane], height, width, channels);
                let map = ScaledMap { map: map.unwrap(), spatial_scale: SCALE };
                let bbox = BBox::new(roi[1], roi[2], roi[3], roi[4]);
                let mut expected = vec![0.0; found.len()];
                roi_align_reference(&[map], &[AlignedRoi { level: 0, bbox }], &kernel, &mut expected)
                    .unwrap();
                // The same products, added in another order.
                let error = relative_difference(found, &expected);
                assert!(error < 1e-5, "{roi:?} {align:?}: off by {error:e}");
                differs |= expected.iter().any(|value| *value != 0.0);
            }
            assert!(differs);
        }
    }

    #[test]
    fn gradient_is_the_finite_difference() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (channels, height, width) = (2usize, 9usize, 11usize);
        let values: Vec<f32> =
            (0..channels * height * width).map(|_| rng.random_range(-1.0f32..1.0)).collect();
        let rois = random_rois(&mut rng, 40, 1);
        for align in aligns() {
            let shape = [1, channels as i64, height as i64, width as i64];
            let weights: Vec<f32> =
                (0..rois.len() * channels * 6).map(|_| rng.random_range(-4i32..=4) as f32).collect();
            let weights = Tensor::from_slice(&weights).view([rois.len() as i64, channels as i64, 3, 2]);
            let loss = |values: &Tensor| {
                (roi_align(values, &rois, &align).to_kind(Kind::Double) * &weights).sum(Kind::Double)
            };
            let map = Tensor::from_slice(&values).view(shape).set_requires_grad(true);
            loss(&map).backward();
            let gradient = Vec::<f32>::try_from(map.grad().view(-1)).unwrap();
            assert!(gradient.iter().filter(|g| **g != 0.0).count() > 50);
            for i in 0..values.len() {
                let at = |delta: f32| {
                    let mut moved = values.clone();
                    moved[i] += delta;
                    loss(&Tensor::from_slice(&moved).view(shape)).double_value(&[])
                };
                let difference = (at(1.0) - at(-1.0)) / 2.0;
                // Linear in the map: what is left are the roundings of some hundred products of order 1.
                let error = (difference - f64::from(gradient[i])).abs();
                assert!(error < 1e-4, "cell {i} {align:?}: {difference} and {}", gradient[i]);
            }
        }
    }

    #[test]
    fn a_corner_that_is_no_number_makes_bins_that_are_none() {
        let map = Tensor::ones([1, 1, 4, 4], (Kind::Float, tch::Device::Cpu));
        let rois = [[0.0, f32::NAN, 0.0, 16.0, 16.0], [0.0, 0.0, 0.0, 16.0, 16.0]];
        let align = Align { pooled: [1, 1], spatial_scale: SCALE, sampling_ratio: 2, half_pixel: false };
        let pooled = Vec::<f32>::try_from(roi_align(&map, &rois, &align).reshape([-1])).unwrap();
        assert!(pooled[0].is_nan() && pooled[1] == 1.0, "{pooled:?}");
    }
}

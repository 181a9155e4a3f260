//! RoI max pooling that libtorch can differentiate.
//!
//! ```text
//! map ──► host: the cell of each bin's maximum (integers, not differentiated)
//!  └────► gather those cells ──► [R, C, P, P]       backward: the gradient of a pooled cell is added to its cell
//! ```
//!
//! Which cell a bin takes is decided here exactly as `frcnn-kernels`' reference decides it, so the pooled values are the
//! device's bit for bit. The values themselves come from one `gather`, whose backward is libtorch's own scatter: where
//! RoIs overlap, their gradients add up.

use std::ops::Range;

use frcnn_core::Roi;
use frcnn_kernels::roi_pool_bin;
use rayon::prelude::*;
use tch::{Kind, Tensor};

use super::Rois;

/// Pools RoIs of the maps `[N, C, Hf, Wf]` into `[R, C, Ph, Pw]`, `pooled` being Ph and Pw.
///
/// Works channels last, where a bin's cells are compared for many channels at a time: maps that lie so in memory are not
/// copied.
pub(super) fn roi_pool(maps: &Tensor, rois: &Rois, pooled: [i64; 2], spatial_scale: f32) -> Tensor {
    let size = maps.size();
    let [images, channels, height, width] = size[..] else { return Tensor::new() };
    let last = maps.permute([0, 2, 3, 1]).contiguous();
    let host = last.detach().to_device(tch::Device::Cpu);
    let mut values = vec![0.0f32; host.numel()];
    host.copy_data(&mut values, host.numel());
    let maps_on_host = Maps {
        values: &values,
        images: images as usize,
        channels: channels as usize,
        height: height as usize,
        width: width as usize,
    };
    let sides = pooled.map(|side| side as usize);
    let mut cells = vec![0i64; rois.len() * maps_on_host.channels * sides[0] * sides[1]];
    maps_on_host.argmax(rois, sides, spatial_scale, &mut cells);

    let special = cells.iter().any(|&cell| cell < 0);
    let index = Tensor::from_slice(&cells).to_device(maps.device());
    let gather = |index: &Tensor| last.reshape([-1]).gather(0, index, false);
    let gathered = if special {
        let zeros = Tensor::zeros([index.numel() as i64], (Kind::Float, maps.device()));
        let fill = zeros.masked_fill(&index.eq(NOTHING_GREATER), f64::from(-f32::MAX));
        gather(&index.clamp_min(0)).where_self(&index.ge(0), &fill)
    } else {
        gather(&index)
    };
    gathered.view([rois.len() as i64, pooled[0], pooled[1], channels]).permute([0, 3, 1, 2])
}

/// A bin without cells: 0.
const EMPTY: i64 = -1;
/// A bin in which nothing is greater than `-f32::MAX`, as when all is NaN: that value.
const NOTHING_GREATER: i64 = -2;

/// Feature maps `[N, H, W, C]`.
struct Maps<'a> {
    values: &'a [f32],
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
}

impl Maps<'_> {
    /// For every pooled cell `[R, P, P, C]` the index into `values` of its maximum, the first of equals; or one of the
    /// two constants.
    fn argmax(&self, rois: &Rois, [high, wide]: [usize; 2], spatial_scale: f32, cells: &mut [i64]) {
        let per_roi = self.channels * high * wide;
        if per_roi == 0 {
            return;
        }
        let best = || (vec![0.0; self.channels], vec![0; self.channels]);
        cells.par_chunks_mut(per_roi).zip(rois).for_each_init(best, |best, (cells, roi)| {
            let &[image, x1, y1, x2, y2] = roi;
            let roi = Roi::from_network(0, x1, y1, x2, y2, spatial_scale);
            let image = (image.max(0.0) as usize).min(self.images.saturating_sub(1));
            for (bin, cells) in cells.chunks_exact_mut(self.channels).enumerate() {
                let rows = roi_pool_bin(roi.y1, roi.y2, bin / wide, high, self.height);
                let columns = roi_pool_bin(roi.x1, roi.x2, bin % wide, wide, self.width);
                self.argmax_of_bin(image, rows, columns, best, cells);
            }
        });
    }

    /// The same for the channels of one bin. `maxima` and `positions` are scratch memory of their number.
    fn argmax_of_bin(
        &self,
        image: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        (maxima, positions): &mut (Vec<f32>, Vec<i32>),
        cells: &mut [i64],
    ) {
        let empty = rows.is_empty() || columns.is_empty();
        maxima.fill(-f32::MAX);
        positions.fill(if empty { EMPTY as i32 } else { NOTHING_GREATER as i32 });
        let plane = &self.values[image * self.height * self.width * self.channels..];
        for (y, x) in rows.flat_map(|y| columns.clone().map(move |x| (y, x))) {
            let position = y * self.width + x;
            let values = &plane[position * self.channels..];
            for ((max, at), &value) in maxima.iter_mut().zip(positions.iter_mut()).zip(values) {
                // Written without a branch, so that it is compiled to vector instructions.
                let greater = value > *max;
                *max = if greater { value } else { *max };
                *at = if greater { position as i32 } else { *at };
            }
        }
        let first = image * self.height * self.width;
        for (channel, (cell, &at)) in cells.iter_mut().zip(positions.iter()).enumerate() {
            let index = |at: usize| ((first + at) * self.channels + channel) as i64;
            *cell = usize::try_from(at).map_or(i64::from(at), index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frcnn_kernels::{FeatureMap, roi_pool_reference};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const SCALE: f32 = 1.0 / 16.0;

    /// Some inverted, some beyond the map, many overlapping.
    fn random_rois(rng: &mut ChaCha8Rng, count: usize, images: u32) -> Vec<[f32; 5]> {
        let roi = |_| {
            let image = rng.random_range(0..images) as f32;
            let mut corner = || rng.random_range(-60.0f32..240.0);
            [image, corner(), corner(), corner(), corner()]
        };
        (0..count).map(roi).collect()
    }

    #[test]
    fn forward_is_the_reference_bit_for_bit() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let (images, channels, height, width) = (2, 5, 17, 23);
        let mut values: Vec<f32> =
            (0..images * channels * height * width).map(|_| rng.random_range(-4i32..0) as f32).collect();
        for at in 0..40 {
            values[at * 97] = if at % 2 == 0 { f32::NAN } else { -0.0 };
        }
        let rois = random_rois(&mut rng, 200, images as u32);
        for side in [1, 6, 7] {
            let maps = Tensor::from_slice(&values).view([
                images as i64,
                channels as i64,
                height as i64,
                width as i64,
            ]);
            let pooled = roi_pool(&maps, &rois, [side as i64; 2], SCALE);
            let pooled = Vec::<f32>::try_from(pooled.permute([0, 2, 3, 1]).contiguous().view(-1)).unwrap();
            let plane = channels * height * width;
            for (roi, found) in rois.iter().zip(pooled.chunks_exact(side * side * channels)) {
                let image = &values[roi[0] as usize * plane..][..plane];
                let last: Vec<f32> = (0..height * width)
                    .flat_map(|cell| (0..channels).map(move |c| image[c * height * width + cell]))
                    .collect();
                let map = FeatureMap::new(&last, height, width, channels).unwrap();
                let roi = Roi::from_network(0, roi[1], roi[2], roi[3], roi[4], SCALE);
                let mut expected = vec![0.0; found.len()];
                roi_pool_reference(map, &[roi], [side, side], &mut expected, None).unwrap();
                let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(found), bits(&expected), "{roi:?} {side}");
            }
        }
    }

    #[test]
    fn overlapping_rois_add_up() {
        // One map of 2 x 2 cells; its maximum, 4, is in both RoIs.
        let map = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([1, 1, 2, 2]).set_requires_grad(true);
        let rois = [[0.0, 0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 16.0, 16.0, 16.0]];
        let pooled = roi_pool(&map, &rois, [1, 1], SCALE);
        (pooled * Tensor::from_slice(&[1.0f32, 10.0]).view([2, 1, 1, 1])).sum(Kind::Float).backward();
        assert_eq!(Vec::<f32>::try_from(map.grad().view(-1)).unwrap(), [0.0, 0.0, 0.0, 11.0]);
    }

    #[test]
    fn gradient_is_the_finite_difference() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (channels, height, width) = (3usize, 9usize, 11usize);
        // Distinct values a step of 1 apart: a difference of a quarter does not change which is the greatest.
        let mut values: Vec<f32> = (0..channels * height * width).map(|i| i as f32).collect();
        for i in (1..values.len()).rev() {
            values.swap(i, rng.random_range(0..=i));
        }
        let rois = random_rois(&mut rng, 80, 1);
        let weights: Vec<f32> =
            (0..rois.len() * channels * 9).map(|_| rng.random_range(-4i32..=4) as f32).collect();
        let weights = Tensor::from_slice(&weights).view([rois.len() as i64, channels as i64, 3, 3]);
        let shape = [1, channels as i64, height as i64, width as i64];
        let loss = |values: &Tensor| (roi_pool(values, &rois, [3, 3], SCALE) * &weights).sum(Kind::Double);
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
            let difference = (at(0.25) - at(-0.25)) / 0.5;
            // Sums of small integers and quarters: exact in f64.
            assert_eq!(difference, f64::from(gradient[i]), "cell {i}");
        }
    }

    #[test]
    fn nothing_flows_back_from_empty_bins() {
        let map = Tensor::ones([1, 1, 4, 4], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let rois = [[0.0, 400.0, 400.0, 420.0, 420.0]];
        let pooled = roi_pool(&map, &rois, [2, 2], SCALE);
        assert_eq!(pooled.abs().sum(Kind::Float).double_value(&[]), 0.0);
        pooled.sum(Kind::Float).backward();
        assert_eq!(map.grad().abs().sum(Kind::Float).double_value(&[]), 0.0);
    }
}

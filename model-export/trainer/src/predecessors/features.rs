//! What a trained network sees in a box: how SPPnet and Fast R-CNN pool it, and how R-CNN crops it.

use frcnn_core::{BBox, im_scale, nearest_level};
use image::RgbImage;
use tch::{Device, Tensor};

use super::warp::Pixels;
use crate::data::Preprocessing;
use crate::detect::network_roi;
use crate::network::{DATA, Run, TorchNetwork};

/// Boxes that the head sees at a time; bounds the memory that a pyramid's 25,600 features take to 50 MB.
const BOXES_PER_CHUNK: usize = 512;
/// Crops that the network sees at a time, as in the published R-CNN.
const CROPS_PER_CHUNK: usize = 128;

/// A network, and how it is shown a box.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) network: &'a TorchNetwork,
    pub(super) preprocessing: Preprocessing,
    pub(super) device: Device,
    pub(super) view: View<'a>,
}

/// How a network is shown a box.
#[derive(Clone, Copy, Debug)]
pub(super) enum View<'a> {
    /// The trunk runs on the photo at each of these short sides; a box is pooled at the one that suits it.
    Pooled(&'a [u32]),
    /// The network runs on a square of this side.
    Warped(u32),
}

impl Reader<'_> {
    /// The blobs `wanted` of each box, on the CPU, one row for each.
    pub(super) fn read<const N: usize>(
        &self,
        image: &RgbImage,
        boxes: &[BBox],
        wanted: [&str; N],
    ) -> [Tensor; N] {
        let mut chunks: [Vec<Tensor>; N] = std::array::from_fn(|_| Vec::new());
        let mut order = Vec::with_capacity(boxes.len());
        tch::no_grad(|| match self.view {
            View::Pooled(scales) => self.pool(image, boxes, scales, wanted, &mut chunks, &mut order),
            View::Warped(side) => {
                order.extend(0..boxes.len() as i64);
                self.crop(image, boxes, side, wanted, &mut chunks);
            }
        });
        // From the order in which levels were computed back to that of the boxes.
        let mut back = vec![0i64; order.len()];
        for (position, &i) in order.iter().enumerate() {
            back[i as usize] = position as i64;
        }
        let back = Tensor::from_slice(&back);
        chunks.map(|chunks| Tensor::cat(&chunks, 0).index_select(0, &back))
    }

    fn pool<const N: usize>(
        &self,
        image: &RgbImage,
        boxes: &[BBox],
        scales: &[u32],
        wanted: [&str; N],
        chunks: &mut [Vec<Tensor>; N],
        order: &mut Vec<i64>,
    ) {
        let (width, height) = image.dimensions();
        let im_scales: Vec<f64> = scales
            .iter()
            .map(|&short_side| im_scale(height, width, short_side, self.preprocessing.max_long_side))
            .collect();
        let levels: Vec<usize> = boxes.iter().map(|bbox| nearest_level(bbox, &im_scales, 1.0)).collect();
        for (level, (&short_side, &scale)) in scales.iter().zip(&im_scales).enumerate() {
            let here: Vec<usize> = (0..boxes.len()).filter(|&i| levels[i] == level).collect();
            if here.is_empty() {
                continue;
            }
            let (data, _) = self.preprocessing.blob(image, short_side);
            let map_name = self.network.feature_map();
            let maps = self.network.run(Run::default(), &data.to_device(self.device), &[], &[map_name]);
            let Some(map) = maps.get(map_name) else { return };
            for part in here.chunks(BOXES_PER_CHUNK) {
                let rois: Vec<[f32; 5]> = part.iter().map(|&i| network_roi(&boxes[i], scale)).collect();
                let mut blobs = self.network.head(Run::default(), map, &rois, &wanted);
                for (chunks, name) in chunks.iter_mut().zip(wanted) {
                    chunks.extend(blobs.remove(name).map(|blob| blob.flatten(1, -1).to_device(Device::Cpu)));
                }
                order.extend(part.iter().map(|&i| i as i64));
            }
        }
    }

    fn crop<const N: usize>(
        &self,
        image: &RgbImage,
        boxes: &[BBox],
        side: u32,
        wanted: [&str; N],
        chunks: &mut [Vec<Tensor>; N],
    ) {
        let pixels = Pixels::new(image, &self.preprocessing);
        for part in boxes.chunks(CROPS_PER_CHUNK) {
            let crops = pixels.warp(part, side).to_device(self.device);
            let mut blobs = self.network.run_from(DATA, &crops, Run::default(), &[], &wanted);
            for (chunks, name) in chunks.iter_mut().zip(wanted) {
                chunks.extend(blobs.remove(name).map(|blob| blob.flatten(1, -1).to_device(Device::Cpu)));
            }
        }
    }
}

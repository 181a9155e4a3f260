//! Mini-batches by hierarchical sampling: a few photos, and RoIs of each.
//!
//! Iteration `i` draws all its random numbers from a stream of its own, so it depends on nothing but the seed and `i`:
//! a run that was interrupted goes on with the very batches that it would have seen.

use frcnn_core::{BBox, BoxCoder};
use image::RgbImage;
use rand::seq::{SliceRandom, index};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::joint::Scene;
use super::label::{LabelledRoi, label};
use crate::data::{DatasetProposals, Object, Photo, Preprocessing, decode};
use crate::error::Error;
use crate::network::Normalisation;
use crate::recipe::Recipe;
use crate::rpn::evenly;

/// Streams of epochs' orders start here; iterations have those below: as many for their photos, and from here on for what is
/// drawn of the proposals of these.
const EPOCHS: u64 = 1 << 62;
const PROPOSALS: u64 = 1 << 61;

/// What one iteration learns from.
#[derive(Debug)]
pub(super) struct Minibatch {
    /// `[N, 3, H, W]`; smaller photos are padded with zeros on the right and below.
    pub(super) data: Tensor,
    /// Photos whose RoIs are yet to be proposed.
    pub(super) scenes: Vec<Scene>,
    /// `R` of them, in network pixels.
    pub(super) rois: Vec<[f32; 5]>,
    /// The class of each, 0 for background.
    pub(super) labels: Vec<i64>,
    /// The normalised regression of each, meaningless for background.
    pub(super) regressions: Vec<[f32; 4]>,
}

/// Makes mini-batches.
#[derive(Debug)]
pub(super) struct Batches<'a> {
    pub(super) photos: &'a [Photo],
    /// Indices of the photos to learn from; not empty.
    pub(super) usable: &'a [usize],
    /// None where the network proposes.
    pub(super) proposals: Option<&'a DatasetProposals>,
    pub(super) normalisation: &'a Normalisation,
    pub(super) recipe: &'a Recipe,
    pub(super) preprocessing: Preprocessing,
}

impl Batches<'_> {
    /// The mini-batch of iteration `i`.
    pub(super) fn make(&self, i: u64) -> Result<Minibatch, Error> {
        let mut rng = rng(self.recipe, i);
        let images = self.recipe.images_per_batch;
        let mut batch = Minibatch {
            data: Tensor::new(),
            scenes: Vec::new(),
            rois: Vec::new(),
            labels: Vec::new(),
            regressions: Vec::new(),
        };
        let mut blobs = Vec::with_capacity(images);
        let mut order = Order::default();
        for position in 0..images as u64 {
            let photo = &self.photos[self.photo(&mut order, i * images as u64 + position)];
            blobs.push(self.add_photo(photo, position as usize, &mut rng, &mut batch)?);
        }
        batch.data = stack(&blobs);
        Ok(batch)
    }

    fn add_photo(
        &self,
        photo: &Photo,
        position: usize,
        rng: &mut ChaCha8Rng,
        batch: &mut Minibatch,
    ) -> Result<Tensor, Error> {
        let recipe = self.recipe;
        let flip = rng.random::<f32>() < recipe.flip_probability;
        let short_side = recipe.scales[rng.random_range(0..recipe.scales.len())];
        let image = decode(&photo.path)?;
        self.check_size(photo, &image)?;
        let (blob, scale) = self.preprocessing.blob(&image, short_side);
        let blob = if flip { blob.flip([3]) } else { blob };
        let Some(proposals) = self.proposals else {
            batch.scenes.push(scene(photo, flip, &blob, scale));
            return Ok(blob);
        };
        for mut roi in sample(&label(&photo.objects, &proposals.of(photo)?, self.coder()), recipe, rng) {
            if flip {
                roi = mirrored(roi, photo.width);
            }
            self.add_roi(position, scale, &roi, batch);
        }
        Ok(blob)
    }

    /// Adds an RoI of the photo at `position`, which becomes `scale` times as large.
    pub(super) fn add_roi(&self, position: usize, scale: f64, roi: &LabelledRoi, batch: &mut Minibatch) {
        let network = |pixel: f32| (f64::from(pixel) * scale) as f32;
        let BBox { x1, y1, x2, y2 } = roi.bbox;
        batch.rois.push([position as f32, network(x1), network(y1), network(x2), network(y2)]);
        let foreground = roi.is_foreground(self.recipe);
        batch.labels.push(if foreground { i64::from(roi.class) } else { 0 });
        let class = usize::from(roi.class);
        let (mean, std) = (self.normalisation.mean[class], self.normalisation.std[class]);
        batch.regressions.push(std::array::from_fn(|c| (roi.regression[c] - mean[c]) / std[c]));
    }

    /// From RoIs to what the network is taught of them.
    pub(super) fn coder(&self) -> BoxCoder {
        self.recipe.coder()
    }

    /// The random numbers by which iteration `i` draws from what the network proposes.
    pub(super) fn rng_of_proposals(&self, i: u64) -> ChaCha8Rng {
        rng(self.recipe, PROPOSALS + i)
    }

    /// The boxes are those of the picture that was there when training began.
    fn check_size(&self, photo: &Photo, image: &RgbImage) -> Result<(), Error> {
        if image.dimensions() == (photo.width, photo.height) {
            return Ok(());
        }
        Err(Error::file(&photo.path, "has another size than when training began"))
    }

    /// The photo that comes at `position` of an endless list, which is one shuffled epoch after the other.
    fn photo(&self, order: &mut Order, position: u64) -> usize {
        let len = self.usable.len() as u64;
        let epoch = position / len;
        if order.epoch != Some(epoch) {
            order.epoch = Some(epoch);
            order.photos = self.usable.to_vec();
            order.photos.shuffle(&mut rng(self.recipe, EPOCHS + epoch));
        }
        order.photos[(position % len) as usize]
    }
}

fn rng(recipe: &Recipe, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    rng.set_stream(stream);
    rng
}

/// A photo whose RoIs are yet to be proposed. Boxes that are learned are continuous, and end behind an object's last pixels.
fn scene(photo: &Photo, flip: bool, blob: &Tensor, scale: f64) -> Scene {
    let side = |axis: usize| blob.size().get(axis).map_or(0, |&side| side as u32);
    let object = |object: &Object| {
        let pixels = if flip { mirrored_box(object.bbox, photo.width) } else { object.bbox };
        let bbox = BBox::new(pixels.x1, pixels.y1, pixels.x2 + 1.0, pixels.y2 + 1.0);
        Object { bbox, ..*object }
    };
    let objects = photo.objects.iter().filter(|object| !object.difficult).map(object).collect();
    Scene { image: [side(2), side(3)], scale, objects }
}

/// The photos of one epoch in their order.
#[derive(Debug, Default)]
struct Order {
    epoch: Option<u64>,
    photos: Vec<usize>,
}

/// At most a quarter foreground, the rest background, without replacement and without refill. Where proposals are learned the
/// foreground is drawn evenly over the objects.
pub(crate) fn sample(rois: &[LabelledRoi], recipe: &Recipe, rng: &mut ChaCha8Rng) -> Vec<LabelledRoi> {
    let foreground: Vec<_> = rois.iter().filter(|roi| roi.is_foreground(recipe)).copied().collect();
    let background: Vec<_> = rois.iter().filter(|roi| roi.is_background(recipe)).copied().collect();
    let wanted = (recipe.fg_fraction * recipe.rois_per_image as f32).round() as usize;
    let mut chosen = if recipe.proposing.rpn {
        evenly(by_object(foreground), wanted, rng)
    } else {
        draw(&foreground, wanted, rng)
    };
    chosen.extend(draw(&background, recipe.rois_per_image - chosen.len(), rng));
    chosen
}

fn draw(from: &[LabelledRoi], most: usize, rng: &mut ChaCha8Rng) -> Vec<LabelledRoi> {
    index::sample(rng, from.len(), most.min(from.len())).into_iter().map(|i| from[i]).collect()
}

fn by_object(rois: Vec<LabelledRoi>) -> Vec<Vec<LabelledRoi>> {
    let mut groups = vec![Vec::new(); rois.iter().map(|roi| roi.object + 1).max().unwrap_or(0)];
    for roi in rois {
        groups[roi.object].push(roi);
    }
    groups
}

/// The RoI on the mirrored photo.
fn mirrored(roi: LabelledRoi, width: u32) -> LabelledRoi {
    let [tx, ty, tw, th] = roi.regression;
    LabelledRoi { bbox: mirrored_box(roi.bbox, width), regression: [-tx, ty, tw, th], ..roi }
}

fn mirrored_box(bbox: BBox, width: u32) -> BBox {
    let right = width as f32 - 1.0;
    BBox::new(right - bbox.x2, bbox.y1, right - bbox.x1, bbox.y2)
}

fn stack(blobs: &[Tensor]) -> Tensor {
    let extent = |axis: usize| blobs.iter().filter_map(|b| b.size().get(axis).copied()).max().unwrap_or(0);
    let (height, width) = (extent(2), extent(3));
    let padded: Vec<Tensor> = blobs
        .iter()
        .map(|blob| {
            let size = blob.size();
            if size[2..] == [height, width] {
                return blob.shallow_clone();
            }
            blob.constant_pad_nd([0, width - size[3], 0, height - size[2]])
        })
        .collect();
    Tensor::cat(&padded, 0)
}

#[cfg(test)]
mod tests {
    use super::super::label::CODER;
    use super::*;
    use crate::rpn::RpnRecipe;

    fn roi(iou: f32) -> LabelledRoi {
        LabelledRoi {
            bbox: BBox::default(),
            iou,
            object: 0,
            class: u16::from(iou > 0.0),
            regression: [0.0; 4],
        }
    }

    #[test]
    fn a_quarter_is_foreground() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let recipe = Recipe::default();
        let rois: Vec<_> = (0..1000).map(|i| roi(i as f32 / 1000.0)).collect();
        let chosen = sample(&rois, &recipe, &mut rng);
        assert_eq!(chosen.len(), 64);
        assert_eq!(chosen.iter().filter(|r| r.iou >= 0.5).count(), 16);
        assert!(chosen.iter().all(|r| r.iou >= 0.1));
        // No replacement.
        let mut ious: Vec<u32> = chosen.iter().map(|r| r.iou.to_bits()).collect();
        ious.sort_unstable();
        ious.dedup();
        assert_eq!(ious.len(), 64);
    }

    #[test]
    fn learned_proposals_are_drawn_evenly_over_objects() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let proposing = RpnRecipe { rpn: true, ..RpnRecipe::default() };
        let recipe = Recipe { proposing, ..Recipe::default() };
        // Nine tenths of the foreground are the first object's.
        let of = |i: usize| LabelledRoi { object: usize::from(i.is_multiple_of(10)), ..roi(0.9) };
        let rois: Vec<_> = (0..100).map(of).chain((0..100).map(|_| roi(0.2))).collect();
        let chosen = sample(&rois, &recipe, &mut rng);
        let count = |object| chosen.iter().filter(|r| r.iou == 0.9 && r.object == object).count();
        assert_eq!((chosen.len(), count(0), count(1)), (64, 8, 8));
    }

    #[test]
    fn there_is_no_refill() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let few = [roi(0.9), roi(0.2), roi(0.05), roi(0.0)];
        assert_eq!(sample(&few, &Recipe::default(), &mut rng).len(), 2);
        let foreground: Vec<_> = (0..100).map(|_| roi(0.9)).collect();
        assert_eq!(sample(&foreground, &Recipe::default(), &mut rng).len(), 16);
    }

    #[test]
    fn mirrored_regressions_lead_to_the_mirrored_object() {
        let (bbox, object) = (BBox::new(10.0, 5.0, 29.0, 24.0), BBox::new(4.0, 8.0, 33.0, 20.0));
        let roi =
            LabelledRoi { bbox, iou: 0.5, object: 0, class: 1, regression: CODER.encode(&bbox, &object) };
        let flipped = mirrored(roi, 100);
        let found = CODER.decode(&flipped.bbox, flipped.regression);
        let expected = BBox::new(99.0 - 33.0, 8.0, 99.0 - 4.0, 20.0);
        for (a, b) in [(found.x1, expected.x1), (found.x2, expected.x2), (found.y1, 8.0), (found.y2, 20.0)] {
            // A few roundings of coordinates below 100.
            assert!((a - b).abs() < 1e-4, "{found:?}");
        }
    }
}

//! Detections that are likely another thing than their format says.

use crate::{Dataset, Detection, Warnings};

/// Boxes of a detector that does not clip them reach out by some pixels.
const TOLERATED_OVERHANG: f64 = 2.0;

/// Counts detections that nothing can match: boxes without area, and boxes that reach out of their image, as those do
/// whose four numbers are read as corners and are sizes, or the other way round.
#[must_use]
pub fn doubts(dataset: &Dataset, detections: &[Detection]) -> Warnings {
    let mut warnings = Warnings::default();
    for found in detections {
        let Some(image) = dataset.images.get(found.image) else { continue };
        let region = found.region;
        let place = || format!("image {}, {:?}", image.stem, region.inclusive());
        if region.width <= 0.0 || region.height <= 0.0 {
            warnings.add(
                "detections have no area, so they find nothing: are the four numbers corners or sizes?",
                place,
            );
            continue;
        }
        let Some((width, height)) = image.size else { continue };
        let over = (-region.x)
            .max(-region.y)
            .max(region.x + region.width - f64::from(width))
            .max(region.y + region.height - f64::from(height));
        if over > TOLERATED_OVERHANG {
            warnings
                .add("detections reach out of their image: are the four numbers corners or sizes?", place);
        }
    }
    warnings
}

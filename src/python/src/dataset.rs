//! A data set, and how its photos are loaded.

use std::path::Path;

use frcnn_core::Printable;
use frcnn_eval::{Dataset, Location};
use frcnn_harness::{KeptBoxes, Loaded, selective_search};

use crate::error::Failure;
use crate::picture::of_file;

/// The images of a split, and doubts about them; `classes` are a detector's, the background first.
pub(crate) fn open(data: &Path, split: &str, classes: &[String]) -> Result<(Dataset, Vec<String>), Failure> {
    let mut dataset = Dataset::open(&Location::new(data, split))?;
    let root = Printable(data.display());
    let mut doubts: Vec<String> =
        dataset.warnings.iter().map(|warning| format!("{root}: {warning}")).collect();
    let strange = dataset.meet_classes(classes.get(1..).unwrap_or_default());
    if !strange.is_empty() {
        let what =
            "the data set has objects of classes that the detector does not know, which count as missed";
        doubts.push(format!("{what}: {}", Printable(strange.join(", "))));
    }
    Ok((dataset, doubts))
}

/// A photo with boxes of selective search, unless the network proposes by itself. Of photos that are looked at again and again the
/// boxes are kept.
pub(crate) fn load(
    path: &Path,
    has_rpn: bool,
    kept: Option<&KeptBoxes>,
) -> Result<Loaded, frcnn_harness::Error> {
    let pixels = of_file(path).map_err(|failure| frcnn_harness::Error::Stage(failure.text))?;
    let boxes = match (has_rpn, kept) {
        (true, _) => None,
        (false, Some(kept)) => Some(kept.of(path, &pixels).map_err(frcnn::Error::from)?),
        (false, None) => Some(selective_search(&pixels).map_err(frcnn::Error::from)?),
    };
    Ok(Loaded { pixels, boxes })
}

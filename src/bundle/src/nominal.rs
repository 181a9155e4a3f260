//! The sizes for which a network is judged: those of a usual photo.

use crate::graph::{Contents, Regions};

/// Height and width of the blob that the trunk reads: of a 4:3 photo at the manifest's first scale, or of a warped region.
pub fn nominal_size(contents: &Contents) -> (usize, usize) {
    match (&contents.regions, nominal_blobs(contents).first()) {
        (Regions::Warp(warp), _) => (warp.side as usize, warp.side as usize),
        (_, Some(&[height, width])) => (height, width),
        (_, None) => (1, 1),
    }
}

/// Height and width of the blobs of a 4:3 photo, one for each of the manifest's scales; of R-CNN, which reads photos as they
/// are, those of one of 480 x 640.
pub fn nominal_blobs(contents: &Contents) -> Vec<[usize; 2]> {
    if let Regions::Warp(_) = contents.regions {
        return vec![[480, 640]];
    }
    let long_limit = contents.manifest.max_long_side as usize;
    let blob = |&short: &u32| {
        let short = short as usize;
        let long = short * 4 / 3;
        let image = if long > long_limit {
            [(long_limit * 3 / 4).max(1), long_limit]
        } else {
            [short.max(1), long.max(1)]
        };
        contents.manifest.padded(image, [1.0; 2]).blob
    };
    contents.manifest.scales.iter().map(blob).collect()
}

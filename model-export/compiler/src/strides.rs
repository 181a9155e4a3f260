//! Whether the cells of the trunk's maps lie as far apart as the model and its manifest say.

use frcnn_bundle::{Contents, Regions, Shape, nominal_size};

use crate::error::Problem;

/// By so many pixels the blob grows to see how many cells more a map gets: padding and windows at the border have no part in that.
const GROWTH: usize = 4096;

/// Holds the pooling's spatial scales and an RPN's strides against the trunk's own strides.
///
/// A network whose regions lie elsewhere in the map than in the image runs and finds nothing; none is right by a stride
/// that is a quarter more or less.
pub(crate) fn check(contents: &Contents) -> Result<(), Problem> {
    let scales = match &contents.regions {
        Regions::RoiPooling(pooling) => vec![pooling.spatial_scale],
        Regions::RoiAlign(align) => align.spatial_scales.clone(),
        Regions::Warp(_) => return Ok(()),
    };
    let actual = actual(contents);
    let disagree = |said: f32, [down, right]: [f32; 2]| {
        [down, right].iter().all(|stride| (said - stride).abs() > stride / 4.0)
    };
    for (level, (scale, &strides)) in scales.iter().zip(&actual).enumerate() {
        if disagree(1.0 / scale, strides) {
            let said = format!("the RoI pooling's spatial_scale {scale}");
            return Err(Problem::Stride { level, said, pixels: 1.0 / scale, actual: strides[0] });
        }
    }
    let strides = contents.rpn.iter().filter_map(|rpn| rpn.strides.as_ref()).flatten();
    for (level, (&stride, &strides)) in strides.zip(&actual).enumerate() {
        if disagree(stride as f32, strides) {
            let said = "the manifest's `rpn` by its `strides`".to_string();
            return Err(Problem::Stride { level, said, pixels: stride as f32, actual: strides[0] });
        }
    }
    Ok(())
}

/// Blob pixels between two cells of each of the trunk's maps, down and to the right; none of a trunk that does not say.
fn actual(contents: &Contents) -> Vec<[f32; 2]> {
    let (height, width) = nominal_size(contents);
    let maps = |more: usize| {
        let blob = Shape::Map { height: height + more, width: width + more, channels: 3 };
        let shapes = contents.trunk.infer(blob).ok()?;
        let size = |value: &u32| match shapes.get(*value as usize) {
            Some(&Shape::Map { height, width, .. }) => Some([height, width]),
            _ => None,
        };
        contents.trunk.outputs.iter().map(size).collect::<Option<Vec<_>>>()
    };
    let (Some(small), Some(large)) = (maps(0), maps(GROWTH)) else { return Vec::new() };
    // A map that does not grow has an infinite stride, which nothing is far from.
    let stride = |(small, large): (usize, usize)| GROWTH as f32 / large.saturating_sub(small) as f32;
    small.iter().zip(large).map(|(s, l)| [stride((s[0], l[0])), stride((s[1], l[1]))]).collect()
}

//! What lies between the trunk's maps and the head: regions, pooled by the runtime and by definition.

use frcnn::{AlignedRoi, BBox, FeatureMap, ImageBlob, Roi, Session};
use frcnn_bundle::{Bundle, Regions};
use frcnn_kernels::{RoiAlign, ScaledMap, roi_align_reference, roi_pool_reference};

use crate::error::Problem;

/// The regions of a sample.
#[derive(Debug)]
pub(super) enum SampleRois {
    /// Cells to be pooled, or of an R-CNN windows to be cut out.
    Rois(Vec<Roi>),
    /// Boxes to be sampled, each from the map of its level.
    Aligned(Vec<AlignedRoi>),
}

impl SampleRois {
    /// As many regions as there are `boxes`, of which some may be alike.
    pub(super) fn new(
        session: &Session,
        bundle: &Bundle,
        boxes: &[BBox],
        blob: &ImageBlob,
    ) -> Result<SampleRois, Problem> {
        if let Regions::RoiAlign(_) = bundle.contents().regions {
            return Ok(SampleRois::Aligned(session.align_rois(boxes)?.rois));
        }
        let distinct = session.project(boxes, std::slice::from_ref(blob))?.rois;
        // Duplicates would only be dropped on one side; a model may ask for an exact number.
        Ok(SampleRois::Rois(distinct.iter().copied().cycle().take(boxes.len()).collect()))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            SampleRois::Rois(rois) => rois.len(),
            SampleRois::Aligned(rois) => rois.len(),
        }
    }
}

/// What lies between a blob and the head.
pub(super) struct Features {
    /// What an R-CNN's trunk read: `[R, S, S, 3]`.
    pub(super) crops: Vec<f32>,
    /// What any other's trunk gave.
    pub(super) maps: Vec<FeatureMap>,
    /// What the head reads.
    pub(super) features: Vec<f32>,
}

impl Features {
    pub(super) fn new(
        session: &Session,
        bundle: &Bundle,
        blob: &ImageBlob,
        rois: &SampleRois,
    ) -> Result<Features, Problem> {
        match rois {
            SampleRois::Aligned(rois) => {
                let maps = session.maps(blob)?;
                let features = session.roi_align(&maps, rois)?;
                Ok(Features { crops: Vec::new(), maps, features })
            }
            SampleRois::Rois(rois) if matches!(bundle.contents().regions, Regions::Warp(_)) => {
                let crops = session.warp(blob, rois)?;
                Ok(Features { features: session.trunk_of_crops(&crops)?, crops, maps: Vec::new() })
            }
            SampleRois::Rois(rois) => {
                let maps = session.maps(blob)?;
                let features = session.roi_pool(&maps, rois)?;
                Ok(Features { crops: Vec::new(), maps, features })
            }
        }
    }
}

/// Regions pooled from `maps` by definition, `[R, P, P, C]`: once, or for each of `levels` of RoI max pooling.
pub(super) fn pooled(
    maps: &[frcnn_kernels::FeatureMap<'_>],
    rois: &SampleRois,
    levels: &[[u32; 2]],
    bundle: &Bundle,
) -> Result<Vec<Pooled>, Problem> {
    let channels = maps.first().map_or(0, |map| map.channels());
    let runtime = |error: frcnn_core::ShapeError| Problem::Runtime(error.into());
    match (rois, &bundle.contents().regions) {
        (SampleRois::Aligned(rois), Regions::RoiAlign(align)) => {
            let sides = align.pooled.map(|side| side as usize);
            let kernel = RoiAlign {
                pooled: sides,
                sampling_ratio: align.sampling_ratio as usize,
                half_pixel: align.half_pixel,
            };
            let maps: Vec<ScaledMap> = maps
                .iter()
                .zip(&align.spatial_scales)
                .map(|(&map, &spatial_scale)| ScaledMap { map, spatial_scale })
                .collect();
            let mut values = vec![0.0; rois.len() * sides[0] * sides[1] * channels];
            roi_align_reference(&maps, rois, &kernel, &mut values).map_err(runtime)?;
            Ok(vec![Pooled { values, region: [sides[0], sides[1], channels] }])
        }
        (SampleRois::Rois(rois), _) => {
            let Some(&map) = maps.first() else { return Ok(Vec::new()) };
            let level = |level: &[u32; 2]| {
                let [height, width] = level.map(|side| side as usize);
                let mut values = vec![0.0; rois.len() * height * width * channels];
                roi_pool_reference(map, rois, [height, width], &mut values, None).map_err(runtime)?;
                Ok(Pooled { values, region: [height, width, channels] })
            };
            levels.iter().map(level).collect()
        }
        (SampleRois::Aligned(_), _) => Ok(Vec::new()),
    }
}

/// Regions, channels last.
pub(super) struct Pooled {
    pub(super) values: Vec<f32>,
    /// `[H, W, C]` of one of them.
    pub(super) region: [usize; 3],
}

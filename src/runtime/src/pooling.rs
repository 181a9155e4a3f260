//! How the features of regions come from the trunk's maps: RoI max pooling, or RoIAlign.

use frcnn_bundle::{Contents, Regions};
use frcnn_core::{BBox, Roi, ShapeError};
use frcnn_kernels::{
    AlignedRoi, PooledIn, PooledLayer, RoiAlign, ScaledMap, Step, roi_align_into, roi_align_linear_into,
    roi_align_linear_scratch_len, roi_pool_into, roi_pool_linear_into, roi_pool_linear_scratch_len,
    roi_pool_scratch_len,
};
use tract_core::internal::*;

use crate::area::Area;
use crate::ops::Resources;
use crate::{Error, FeatureMap};

/// How a bundle pools its regions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pooling {
    /// R-CNN: the trunk's map of a region is what the head reads.
    None,
    /// The levels of bins.
    Max(Vec<[usize; 2]>),
    /// RoIAlign from maps of these spatial scales.
    Align(RoiAlign, Vec<f32>),
}

/// Regions of feature maps.
#[derive(Clone, Copy)]
pub(crate) enum MapRegions<'a> {
    /// RoIs of feature maps, one for each level of the image pyramid.
    Max(&'a [FeatureMap], &'a [Roi]),
    /// RoIs of the levels of a feature pyramid.
    Align(&'a [FeatureMap], &'a [AlignedRoi]),
}

/// A region of one of the maps.
pub(crate) trait MapRegion: Copy {
    fn on_maps<'a>(maps: &'a [FeatureMap], regions: &'a [Self]) -> MapRegions<'a>;

    /// All that it is: regions with the same one pool the same of the same maps.
    fn key(&self) -> [u32; 5];

    /// The position of the map that it is on, and what it sees there, or some cells more. Of a map that there is not it sees
    /// nothing.
    fn seen(&self, pooling: &Pooling, maps: &[FeatureMap]) -> (usize, Area);
}

impl MapRegion for Roi {
    fn on_maps<'a>(maps: &'a [FeatureMap], regions: &'a [Roi]) -> MapRegions<'a> {
        MapRegions::Max(maps, regions)
    }

    fn key(&self) -> [u32; 5] {
        let Roi { level, y1, x1, y2, x2 } = *self;
        [u32::from(level), y1.cast_unsigned(), x1.cast_unsigned(), y2.cast_unsigned(), x2.cast_unsigned()]
    }

    fn seen(&self, _: &Pooling, _: &[FeatureMap]) -> (usize, Area) {
        (usize::from(self.level), roi_cells(self, 0))
    }
}

/// The cells of an RoI, and so many around them.
pub(crate) fn roi_cells(roi: &Roi, around: i32) -> Area {
    let axis = |first: i32, last: i32| {
        let cell = |cell: i32| usize::try_from(cell).unwrap_or(0);
        cell(first.min(last) - around)..cell(first.max(last) + 1 + around)
    };
    Area::new(axis(roi.y1, roi.y2), axis(roi.x1, roi.x2))
}

impl MapRegion for AlignedRoi {
    fn on_maps<'a>(maps: &'a [FeatureMap], regions: &'a [AlignedRoi]) -> MapRegions<'a> {
        MapRegions::Align(maps, regions)
    }

    fn key(&self) -> [u32; 5] {
        let BBox { x1, y1, x2, y2 } = self.bbox;
        [u32::from(self.level), x1.to_bits(), y1.to_bits(), x2.to_bits(), y2.to_bits()]
    }

    fn seen(&self, pooling: &Pooling, maps: &[FeatureMap]) -> (usize, Area) {
        let level = usize::from(self.level);
        let Pooling::Align(align, scales) = pooling else { return (level, Area::new(0..0, 0..0)) };
        let [rows, columns] = match maps.get(level).zip(scales.get(level)) {
            Some((map, &scale)) => align.cells_read(&self.bbox, scale, [map.height(), map.width()]),
            None => [0..0, 0..0],
        };
        (level, Area::new(rows, columns))
    }
}

impl<'a> MapRegions<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            MapRegions::Max(_, rois) => rois.len(),
            MapRegions::Align(_, rois) => rois.len(),
        }
    }

    /// So many at a time.
    pub(crate) fn chunks(self, rows: usize) -> Box<dyn Iterator<Item = MapRegions<'a>> + 'a> {
        match self {
            MapRegions::Max(maps, rois) => {
                Box::new(rois.chunks(rows).map(move |rois| MapRegions::Max(maps, rois)))
            }
            MapRegions::Align(maps, rois) => {
                Box::new(rois.chunks(rows).map(move |rois| MapRegions::Align(maps, rois)))
            }
        }
    }
}

impl Pooling {
    pub(crate) fn of(contents: &Contents) -> Pooling {
        match &contents.regions {
            Regions::Warp(_) => Pooling::None,
            Regions::RoiPooling(pooling) => {
                Pooling::Max(pooling.pooled.iter().map(|level| level.map(|p| p as usize)).collect())
            }
            Regions::RoiAlign(align) => {
                let kernel = RoiAlign {
                    pooled: align.pooled.map(|p| p as usize),
                    sampling_ratio: align.sampling_ratio as usize,
                    half_pixel: align.half_pixel,
                };
                Pooling::Align(kernel, align.spatial_scales.clone())
            }
        }
    }

    /// Bins of a region; 0 if it is not pooled.
    pub(crate) fn bins(&self) -> usize {
        match self {
            Pooling::Max(levels) => levels.iter().map(|[rows, columns]| rows * columns).sum(),
            Pooling::Align(align, _) => align.bins(),
            Pooling::None => 0,
        }
    }

    /// Pools regions, of `features` values each. Those of a level that has no map give zeros.
    pub(crate) fn pool(
        &self,
        regions: MapRegions<'_>,
        features: usize,
        threads: usize,
        pooled: &mut [f32],
    ) -> Result<(), Error> {
        match (self, regions) {
            (Pooling::Max(levels), MapRegions::Max(maps, rois)) => {
                let mut rest = pooled;
                for run in rois.chunk_by(|a, b| a.level == b.level) {
                    let (out, after) = rest.split_at_mut(run.len() * features);
                    rest = after;
                    match run.first().and_then(|roi| maps.get(usize::from(roi.level))) {
                        Some(map) => roi_pool_into(map.view()?, run, levels, threads, out)?,
                        None => out.fill(0.0),
                    }
                }
                Ok(())
            }
            (Pooling::Align(align, scales), MapRegions::Align(maps, rois)) => {
                Ok(roi_align_into(&scaled(maps, scales)?, rois, align, threads, pooled)?)
            }
            _ => Err(other_regions().into()),
        }
    }

    /// Pools regions, of `features` values each, and runs the layers that read them. `after` is called after each step of the
    /// work.
    pub(crate) fn pool_linear(
        &self,
        regions: MapRegions<'_>,
        features: usize,
        layers: &mut [PooledLayer<'_>],
        resources: &Resources,
        after: &mut dyn FnMut(Step),
    ) -> TractResult<()> {
        let threads = resources.threads;
        match (self, regions) {
            (Pooling::Max(levels), MapRegions::Max(maps, rois)) => {
                let maps = maps.iter().map(FeatureMap::view).collect::<Result<Vec<_>, Error>>()?;
                let pooled_in = PooledIn::of(layers.iter().map(|layer| layer.linear.quantization()));
                let sizes: Vec<[usize; 2]> = maps.iter().map(|map| [map.height(), map.width()]).collect();
                let len = self.linear_scratch_len(pooled_in, &sizes, rois.len(), features, threads);
                resources.with_scratch(len, |scratch| {
                    Ok(roi_pool_linear_into(&maps, rois, levels, layers, threads, scratch, after)?)
                })
            }
            (Pooling::Align(align, scales), MapRegions::Align(maps, rois)) => {
                let maps = scaled(maps, scales)?;
                let pooled_in = PooledIn::of(layers.iter().map(|layer| layer.linear.quantization()));
                let len = self.linear_scratch_len(pooled_in, &[], rois.len(), features, threads);
                resources.with_scratch(len, |scratch| {
                    Ok(roi_align_linear_into(&maps, rois, align, layers, threads, scratch, after)?)
                })
            }
            _ => Err(other_regions().into()),
        }
    }

    /// Values of scratch that pooling so many regions with the layers that read them takes, from maps of these rows and columns.
    pub(crate) fn linear_scratch_len(
        &self,
        pooled_in: PooledIn,
        sizes: &[[usize; 2]],
        rois: usize,
        features: usize,
        threads: usize,
    ) -> usize {
        match self {
            Pooling::Max(levels) => {
                let channels = features / self.bins().max(1);
                roi_pool_linear_scratch_len(pooled_in, sizes, rois, levels, channels, threads)
            }
            Pooling::Align(align, _) => {
                let channels = features / self.bins().max(1);
                roi_align_linear_scratch_len(pooled_in, rois, align, channels, threads)
            }
            Pooling::None => 0,
        }
    }

    /// Values of scratch that pooling so many regions alone takes, from a map of these rows and columns.
    pub(crate) fn scratch_len(&self, size: [usize; 2], rois: usize, threads: usize) -> usize {
        match self {
            Pooling::Max(levels) => roi_pool_scratch_len(size, rois, levels, threads),
            // Weights of an RoI's rows and columns, of each task.
            Pooling::Align(..) => threads.saturating_mul(8).saturating_mul(size[0].saturating_add(size[1])),
            Pooling::None => 0,
        }
    }
}

fn scaled<'a>(maps: &'a [FeatureMap], scales: &[f32]) -> Result<Vec<ScaledMap<'a>>, Error> {
    let scaled = maps.iter().zip(scales);
    scaled.map(|(map, &spatial_scale)| Ok(ScaledMap { map: map.view()?, spatial_scale })).collect()
}

/// Never: who makes regions knows how they are pooled.
fn other_regions() -> ShapeError {
    ShapeError { what: "regions of the bundle's kind", expected: 1, found: 0 }
}

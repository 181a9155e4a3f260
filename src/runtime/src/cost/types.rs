//! What each layer takes in each precision, on a CPU that need not be this one.

use frcnn_bundle::{Contents, Error, Graph, Op, Precision, Regions, SectionId, Shape, nominal_blobs};
use frcnn_kernels::{TypeCosts, TypeModel};

use super::{outputs, shapes};
use crate::ops::conv_shape;

/// Regions of an image for which layers of the head are judged.
const ROIS: usize = 300;

/// The layers with the same weights, which may be of another precision than f32, and what they take in each.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTypes {
    /// The first of them.
    pub layer: String,
    /// Their weights.
    pub weight: SectionId,
    /// On one image: multiplications and additions of a product of matrices in f32 that would take as long.
    pub costs: TypeCosts,
}

impl LayerTypes {
    /// Those of a bundle, on a 4:3 photo at the manifest's scales with 300 regions.
    ///
    /// # Errors
    /// The graphs do not fit such a photo.
    pub fn of(contents: &Contents, model: &TypeModel) -> Result<Vec<LayerTypes>, Error> {
        let mut found: Vec<LayerTypes> = Vec::new();
        let (blobs, batch) = match &contents.regions {
            Regions::RoiPooling(_) | Regions::RoiAlign(_) => (nominal_blobs(contents), 1),
            // The whole network runs on each region.
            Regions::Warp(warp) => (vec![[warp.side as usize; 2]], ROIS),
        };
        let mut maps = Vec::new();
        for [height, width] in blobs {
            let values = shapes(&contents.trunk, Shape::Map { height, width, channels: 3 })?;
            add(&mut found, &contents.trunk, &values, batch, model);
            maps = outputs(&contents.trunk, &values);
        }
        let map = maps.first().copied().unwrap_or(Shape::Flat { features: 0 });
        for (rpn, &map) in contents.rpn.iter().flat_map(|rpn| maps.iter().map(move |map| (rpn, map))) {
            add(&mut found, &rpn.graph, &shapes(&rpn.graph, map)?, 1, model);
        }
        let values = shapes(&contents.head, contents.region_shape(map))?;
        add(&mut found, &contents.head, &values, ROIS, model);
        Ok(found)
    }

    /// What they take in `precision`.
    pub fn cost(&self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.costs.f32,
            Precision::F16 => self.costs.f16,
            Precision::Bf16 => self.costs.bf16,
            Precision::Int8 => self.costs.int8,
        }
    }
}

/// What a cascade's judge takes of the head's time on a region, by `model`: each layer in the precision that it has, of which
/// the judge's is f32 as a rule. 0 where there is no judge; above 1 where it takes longer than the head.
///
/// # Errors
/// The graphs do not fit a region.
pub fn judge_share(contents: &Contents, model: &TypeModel) -> Result<f64, Error> {
    let [height, width] = nominal_blobs(contents).first().copied().unwrap_or_default();
    let maps = outputs(&contents.trunk, &shapes(&contents.trunk, Shape::Map { height, width, channels: 3 })?);
    let region = contents.region_shape(maps.first().copied().unwrap_or(Shape::Flat { features: 0 }));
    let time = |graph: &Graph| -> Result<f64, Error> {
        let mut layers = Vec::new();
        add(&mut layers, graph, &shapes(graph, region)?, ROIS, model);
        let precision =
            |weight: SectionId| contents.sections.get(weight as usize).map(|section| section.precision);
        Ok(layers.iter().map(|layer| layer.cost(precision(layer.weight).unwrap_or(Precision::F32))).sum())
    };
    let judge = contents.cascade.as_ref().map_or(Ok(0.0), |cascade| time(&cascade.judge))?;
    Ok(judge / time(&contents.head)?.max(1.0))
}

fn add(found: &mut Vec<LayerTypes>, graph: &Graph, shapes: &[Shape], batch: usize, model: &TypeModel) {
    for layer in &graph.layers {
        let Some(weight) = layer.op.reducible_weight() else { continue };
        let input = layer.inputs.first().and_then(|&value| shapes.get(value as usize));
        let costs = match (&layer.op, input) {
            (Op::Conv(conv), Some(&Shape::Map { height, width, .. })) => {
                model.conv(&conv_shape(conv, [batch, height, width]))
            }
            (Op::Gemm(gemm), _) => model.linear(batch, gemm.in_features as usize, gemm.out_features as usize),
            _ => continue,
        };
        match found.iter_mut().find(|known| known.weight == weight) {
            Some(known) => known.costs += costs,
            None => found.push(LayerTypes { layer: layer.name.clone(), weight, costs }),
        }
    }
}

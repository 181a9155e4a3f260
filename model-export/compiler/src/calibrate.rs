//! How each layer's input is to become u8: by the values that it reads on photos.

use std::collections::HashMap;
use std::sync::Arc;

use frcnn::{BBox, Detector, Frame, GraphInput, Options, Session};
use frcnn_bundle::{Bundle, Contents, Graph, Op, Precision, Regions, SectionId};
use frcnn_kernels::Quantization;
use serde::Serialize;

use crate::error::Problem;
use crate::graph_inputs;
use crate::histogram::{Chosen, Histogram};
use crate::precision::{Precisions, layer_of};

/// Regions of a photo whose features are looked at, evenly spaced among all.
const REGIONS: usize = 256;
/// The same of R-CNN, whose whole network runs on each.
const RCNN_REGIONS: usize = 32;
/// Bytes of a graph's values that are kept at once.
const KEPT_BYTES: u64 = 64 << 20;

/// What was seen of the inputs of layers, and how they are to become u8.
#[derive(Clone, Debug, Default)]
pub struct Calibration {
    /// Photos that were looked at.
    pub photos: usize,
    /// Regions of them.
    pub regions: usize,
    /// By the section of the layer's weights.
    pub inputs: Vec<CalibratedInput>,
}

/// The input of a layer.
#[derive(Clone, Debug, Serialize)]
pub struct CalibratedInput {
    /// Weights of the layer, and of all that share them.
    #[serde(skip)]
    pub section: SectionId,
    /// The first layer that has them.
    pub layer: String,
    /// The least and the largest value that it read.
    pub range: [f32; 2],
    /// What a step of u8 is worth.
    pub scale: f32,
    /// The u8 value that stands for 0; 0 where the input is never negative.
    pub zero_point: u8,
    /// The share of values outside the steps.
    pub clipped: f64,
    /// The share of regions of which the layer would read next to nothing, values of fewer than four steps, though there is more; of a
    /// convolution 0.
    pub vanishing: f64,
}

/// Most regions of which an int8 layer may read next to nothing, as a share of all. Their scores become something else: before `fc7`
/// of the blood-cell detector 0.3 % of regions, on which no filter of the trunk answers, are a bias below a step or half of one. They
/// become confident detections, and its smallest class loses 20 points of average precision.
const VANISHING: f64 = 1e-3;

impl Calibration {
    /// `precisions`, but f16 for layers that as int8 would read nothing of too many regions.
    #[must_use]
    pub fn without_vanishing(&self, mut precisions: Precisions) -> Precisions {
        for input in self.inputs.iter().filter(|input| input.vanishing > VANISHING) {
            if let Some(precision) = precisions.get_mut(&input.section)
                && *precision == Precision::Int8
            {
                *precision = Precision::F16;
            }
        }
        precisions
    }

    /// How the input of the layer with these weights becomes u8.
    pub(crate) fn input(&self, section: SectionId) -> Option<Quantization> {
        let input = self.inputs.iter().find(|input| input.section == section)?;
        Some(Quantization { scale: input.scale, zero_point: input.zero_point })
    }
}

/// Looks at the inputs of layers, a photo at a time.
pub struct Calibrator {
    session: Session,
    contents: Contents,
    /// What layers to be calibrated read, of each graph.
    trunk: Vec<Watched>,
    head: Vec<Watched>,
    histograms: HashMap<SectionId, Histogram>,
    photos: usize,
    regions: usize,
}

/// A value that the layer with these weights reads.
#[derive(Clone, Copy)]
struct Watched {
    value: u32,
    section: SectionId,
    /// Values of a region, of a layer that reads rows of them.
    row: Option<usize>,
}

impl Calibrator {
    /// Of the layers of an f32 network that are to be int8.
    ///
    /// # Errors
    /// The network does not run.
    pub fn new(bundle: &Arc<Bundle>, precisions: &Precisions) -> Result<Calibrator, Problem> {
        let contents = bundle.contents().clone();
        let wanted = |section: &SectionId| precisions.get(section) == Some(&Precision::Int8);
        let watched = |graph: &Graph| -> Vec<Watched> {
            let layers = graph.layers.iter();
            let layers = layers.filter_map(|layer| {
                let section = layer.op.reducible_weight().filter(wanted)?;
                let row = match &layer.op {
                    Op::Gemm(gemm) => Some(gemm.in_features as usize),
                    _ => None,
                };
                Some(Watched { value: *layer.inputs.first()?, section, row })
            });
            layers.collect()
        };
        let (trunk, head) = (watched(&contents.trunk), watched(&contents.head));
        let sections = trunk.iter().chain(&head).map(|watched| (watched.section, Histogram::new()));
        let histograms = sections.collect();
        let session = Detector::new(bundle.clone(), &Options::default())?.session();
        Ok(Calibrator { session, contents, trunk, head, histograms, photos: 0, regions: 0 })
    }

    /// Looks at one photo and some of `boxes`, evenly spaced.
    ///
    /// # Errors
    /// The network does not run on it, or a layer reads what is no number.
    pub fn observe(&mut self, frame: &Frame, boxes: &[BBox]) -> Result<(), Problem> {
        let is_rcnn = matches!(self.contents.regions, Regions::Warp(_));
        let most = if is_rcnn { RCNN_REGIONS } else { REGIONS };
        let Calibrator { session, contents, trunk, head, histograms, .. } = self;
        self.regions += graph_inputs::for_each(session, contents, frame, (boxes, most), |session, input| {
            let watched = if matches!(input, GraphInput::Features(_)) { &head } else { &trunk };
            count(session, contents, input, watched, histograms)
        })?;
        self.photos += 1;
        Ok(())
    }

    /// What was seen.
    ///
    /// # Errors
    /// No photo was, or no region.
    pub fn finish(self) -> Result<Calibration, Problem> {
        if self.photos == 0 || (self.regions == 0 && !self.head.is_empty()) {
            return Err(Problem::NothingToCalibrateOn);
        }
        let mut inputs: Vec<CalibratedInput> = Vec::new();
        for Watched { section, .. } in self.trunk.iter().chain(&self.head) {
            let Some(histogram) = self.histograms.get(section) else { continue };
            if inputs.iter().any(|input| input.section == *section) {
                continue;
            }
            let Chosen { quantization: Quantization { scale, zero_point }, clipped, vanishing } =
                histogram.choose();
            inputs.push(CalibratedInput {
                section: *section,
                layer: layer_of(&self.contents, *section).to_string(),
                range: histogram.range(),
                scale,
                zero_point,
                clipped,
                vanishing,
            });
        }
        Ok(Calibration { photos: self.photos, regions: self.regions, inputs })
    }
}

/// Counts what layers read of an input of their graph.
fn count(
    session: &Session,
    contents: &Contents,
    input: GraphInput<'_>,
    watched: &[Watched],
    histograms: &mut HashMap<SectionId, Histogram>,
) -> Result<(), Problem> {
    let (_, batch, shapes) = graph_inputs::graph_of(contents, input)?;
    let bytes = |watched: &Watched| {
        let shape = shapes.get(watched.value as usize);
        shape.map_or(0, |shape| shape.bytes().saturating_mul(batch as u64))
    };
    let mut rest = watched;
    while !rest.is_empty() {
        let mut kept = 0u64;
        let fit = rest.iter().take_while(|watched| {
            kept = kept.saturating_add(bytes(watched));
            kept <= KEPT_BYTES
        });
        let (now, later) = rest.split_at(fit.count().max(1));
        rest = later;
        let wanted: Vec<u32> = now.iter().map(|watched| watched.value).collect();
        for (watched, values) in now.iter().zip(&session.values(input, &wanted)?) {
            let Some(histogram) = histograms.get_mut(&watched.section) else { continue };
            let row = watched.row.unwrap_or(values.len());
            values.chunks(row.max(1)).for_each(|row| histogram.add(row));
            if histogram.not_finite > 0 {
                let layer = layer_of(contents, watched.section).to_string();
                return Err(Problem::NotFiniteInput { layer, count: histogram.not_finite });
            }
        }
    }
    Ok(())
}

//! The precisions that gain time for each layer on a board.

use std::collections::HashMap;

use frcnn::{Bundle, LayerTypes};
use frcnn_bundle::SectionId;
use frcnn_compiler::{Precision, fits_int8, uniform};

use crate::{Board, Error};

/// Share of a layer's time that a precision must gain over the exacter one: less is lost in what a model of costs does not know.
const WORTH: f64 = 0.05;
/// Magnitudes from here on round to infinity in f16.
const F16_OVERFLOW: f32 = 65520.0;

/// A layer with weights, and the precisions that gain something.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// Its name; of several layers with the same weights, that of the first.
    pub layer: String,
    /// Its weights.
    pub weight: SectionId,
    /// Whether it reads the image, and so stays f32.
    pub reads_image: bool,
    /// Whether int8 is no rung of it because it would round next to all that the layer reads of some regions to zero.
    pub vanishes: bool,
    /// f32, and the precisions that gain, each faster and coarser than the one before.
    pub rungs: Vec<Rung>,
}

/// A precision of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// Which.
    pub precision: Precision,
    /// Expected time; only shares of it mean something.
    pub cost: f64,
}

impl Ladder {
    /// Those of all ungrouped convolutions and fully connected layers, in the order in which they run.
    ///
    /// # Errors
    /// The network does not fit a photo.
    pub fn all(bundle: &Bundle, board: &Board) -> Result<Vec<Ladder>, Error> {
        let contents = bundle.contents();
        let layers = LayerTypes::of(contents, &board.model).map_err(frcnn::Error::from)?;
        let [halves, int8] = [Precision::F16, Precision::Int8].map(|precision| uniform(contents, precision));
        let is_allowed = |weight: SectionId, precision: Precision| match precision {
            Precision::F32 => true,
            Precision::F16 => {
                let is_small = |value: &f32| value.abs() < F16_OVERFLOW;
                halves.contains_key(&weight) && bundle.weights_as_f32(weight).iter().all(is_small)
            }
            Precision::Bf16 => halves.contains_key(&weight),
            Precision::Int8 => int8.contains_key(&weight) && fits_int8(contents, weight),
        };
        let ladder = |layer: LayerTypes| {
            let mut rungs: Vec<Rung> = Vec::new();
            for precision in Precision::ALL {
                let cost = layer.cost(precision);
                let gains = rungs.last().is_none_or(|last| cost < last.cost * (1.0 - WORTH));
                if gains && is_allowed(layer.weight, precision) {
                    rungs.push(Rung { precision, cost });
                }
            }
            let reads_image = !halves.contains_key(&layer.weight);
            Ladder { layer: layer.layer, weight: layer.weight, reads_image, vanishes: false, rungs }
        };
        Ok(layers.into_iter().map(ladder).collect())
    }

    /// Expected time in f32.
    pub fn exact_cost(&self) -> f64 {
        self.rungs.first().map_or(0.0, |rung| rung.cost)
    }

    /// The share of the layer's time that a rung saves.
    pub fn gain(&self, rung: usize) -> f64 {
        let cost = self.rungs.get(rung).map_or(self.exact_cost(), |rung| rung.cost);
        1.0 - cost / self.exact_cost().max(f64::MIN_POSITIVE)
    }
}

/// What is left of `precisions`, which were asked for, where each layer's must gain time on a board: the fastest that is no
/// coarser. And the layers that are exacter for it.
///
/// # Errors
/// Nothing is left: the board gains nothing by it. Or the network does not fit a photo.
pub fn worthwhile(
    bundle: &Bundle,
    board: &Board,
    asked: Precision,
) -> Result<(HashMap<SectionId, Precision>, Vec<String>), Error> {
    let position = |precision| Precision::ALL.iter().position(|&p| p == precision);
    let mut kept = HashMap::new();
    let mut exacter = Vec::new();
    let wanted = uniform(bundle.contents(), asked);
    for ladder in Ladder::all(bundle, board)? {
        let Some(&wanted) = wanted.get(&ladder.weight) else { continue };
        let coarsest = position(wanted);
        let fits = ladder.rungs.iter().rev().find(|rung| position(rung.precision) <= coarsest);
        match fits.map_or(Precision::F32, |rung| rung.precision) {
            Precision::F32 => {}
            precision => {
                kept.insert(ladder.weight, precision);
            }
        }
        if kept.get(&ladder.weight) != Some(&wanted) {
            exacter.push(ladder.layer);
        }
    }
    if !kept.values().any(|&precision| precision == asked) {
        return Err(Error::Stage(format!(
            "{precision} gains no layer of this network any time on {}, by the model of costs: nothing was written. It makes the file \
             smaller all the same: compile without --for",
            board.name,
            precision = asked.name()
        )));
    }
    Ok((kept, exacter))
}

//! A first judge of regions, and whether what is said of it can be.

use serde::{Deserialize, Serialize};

use crate::{Graph, Scores};

/// A judge that reads what the head reads, and costs a fraction of it: regions that it finds to be background are dropped
/// before the head runs (Viola and Jones, *Rapid object detection using a boosted cascade of simple features*, CVPR 2001).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cascade {
    /// A region's features to scores of all classes: one input, the head's, and one output. It has fully connected and
    /// element-wise layers alone, and may share the head's weights.
    pub judge: Graph,
    /// A region is dropped where [`Cascade::foreground`] of the judge's scores is below this: probabilities in 0..=1, or any
    /// margin.
    pub keep: f32,
    /// Singular values that were kept of the head's hidden fully connected layers.
    pub rank: u32,
    /// What `keep` does, on photos that it was not chosen on; nothing where it was given by hand.
    pub chosen: Option<Chosen>,
}

/// What a cascade does on photos that its threshold was not chosen on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Photos.
    pub photos: u32,
    /// The share of regions that are dropped, in 0..=1.
    pub dropped: f32,
    /// VOC10+ mAP at IoU 0.5 of the head on all regions, in 0..=1.
    pub map_before: f32,
    /// The same with the judge before it.
    pub map_after: f32,
}

impl Cascade {
    /// How much a region looks like an object, by the scores that it got: the probabilities of all classes but the
    /// background together, or the largest of their margins. NaN where one of them is.
    pub fn foreground(kind: Scores, scores: &[f32]) -> f32 {
        let objects = scores.get(1..).unwrap_or_default().iter();
        match kind {
            Scores::Probabilities => objects.sum(),
            Scores::Margins => {
                objects.fold(
                    f32::NEG_INFINITY,
                    |most, &score| {
                        if score <= most || most.is_nan() { most } else { score }
                    },
                )
            }
        }
    }

    /// Whether `keep` is a threshold for such scores; the error says what is.
    pub fn check_keep(kind: Scores, keep: f32) -> Result<(), &'static str> {
        match kind {
            Scores::Probabilities if !(0.0..=1.0).contains(&keep) => Err("from 0 to 1"),
            Scores::Margins if !keep.is_finite() => Err("a number"),
            _ => Ok(()),
        }
    }

    /// Whether the threshold and what is said of it are in their ranges, and the judge has layers that a judge may have.
    pub(crate) fn check(&self, kind: Scores) -> Result<(), String> {
        Cascade::check_keep(kind, self.keep)
            .map_err(|range| format!("the cascade's threshold is {}, not {range}", self.keep))?;
        if self.judge.outputs.len() != 1 {
            return Err(format!("the cascade's judge gives {} values, not one", self.judge.outputs.len()));
        }
        let on_maps = self.judge.layers.iter().find(|layer| layer.op.is_on_maps());
        if let Some(layer) = on_maps {
            let (name, op) = (&layer.name, layer.op.name());
            return Err(format!(
                "the cascade's judge has `{name}` ({op}), which is no fully connected layer"
            ));
        }
        if let Some(Chosen { dropped, map_before, map_after, .. }) = self.chosen
            && ![dropped, map_before, map_after].iter().all(|share| (0.0..=1.0).contains(share))
        {
            return Err("what the cascade drops and finds is not from 0 to 1".to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_the_foreground() {
        let probabilities = |scores: &[f32]| Cascade::foreground(Scores::Probabilities, scores);
        assert_eq!(probabilities(&[0.5, 0.25, 0.125]), 0.375);
        assert_eq!(probabilities(&[1.0]), 0.0);
        let margins = |scores: &[f32]| Cascade::foreground(Scores::Margins, scores);
        assert_eq!(margins(&[0.0, -2.0, -0.5, -1.0]), -0.5);
        for place in 1..4 {
            let mut scores = [0.1, 0.2, 0.3, 0.4];
            scores[place] = f32::NAN;
            assert!(probabilities(&scores).is_nan() && margins(&scores).is_nan(), "NaN at {place}");
        }
    }

    #[test]
    fn thresholds_have_the_range_of_the_scores() {
        for (kind, keep, fits) in [
            (Scores::Probabilities, 0.0, true),
            (Scores::Probabilities, 1.0, true),
            (Scores::Probabilities, -0.1, false),
            (Scores::Probabilities, 1.1, false),
            (Scores::Probabilities, f32::NAN, false),
            (Scores::Margins, -3.5, true),
            (Scores::Margins, f32::INFINITY, false),
            (Scores::Margins, f32::NAN, false),
        ] {
            assert_eq!(Cascade::check_keep(kind, keep).is_ok(), fits, "{kind:?} {keep}");
        }
    }
}

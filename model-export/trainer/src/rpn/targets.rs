//! What the anchors of a photo are taught.
//!
//! | anchor | taught |
//! |---|---|
//! | overlaps an object by an IoU of 0.7 or more; or is one of those that overlap some object most | object, and the way to the object that it overlaps most |
//! | overlaps all objects by less than 0.3 | no object |
//! | others | nothing |
//!
//! Of these 256 are drawn, at most half of them objects, and those evenly over the objects.

use frcnn_core::{BBox, BoxCoder};
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::{AnchorGrid, evenly};

/// An anchor that overlaps an object by this IoU or more is taught to be one.
const FG_IOU: f32 = 0.7;
const BG_IOU: f32 = 0.3;
/// Anchors of a photo that are learned from.
const SAMPLED: usize = 256;
const OBJECTS: usize = SAMPLED / 2;

const CODER: BoxCoder = BoxCoder { width_offset: 0.0, weights: [1.0; 4] };

/// The anchors of a photo that are learned from, by their places in the grid.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct AnchorTargets {
    pub(crate) objects: Vec<usize>,
    /// The regression of each object from its anchor.
    pub(crate) regressions: Vec<[f32; 4]>,
    pub(crate) background: Vec<usize>,
}

impl AnchorTargets {
    /// Draws anchors of a photo with these objects, in network pixels.
    pub(crate) fn sample(grid: &AnchorGrid<'_>, objects: &[BBox], rng: &mut ChaCha8Rng) -> AnchorTargets {
        let matches = matches(grid, objects);
        let mut of_objects = vec![Vec::new(); objects.len()];
        let mut none = Vec::new();
        for (place, found) in matches.iter().enumerate() {
            match *found {
                Match::Object(object) => of_objects[object].push(place),
                Match::Background => none.push(place),
                Match::Neither => {}
            }
        }
        let chosen = evenly(of_objects, OBJECTS, rng);
        let wanted = (SAMPLED - chosen.len()).min(none.len());
        let background = index::sample(rng, none.len(), wanted).into_iter().map(|i| none[i]).collect();
        let regression = |&place: &usize| match matches[place] {
            Match::Object(object) => CODER.encode(&grid.at(place), &objects[object]),
            _ => [0.0; 4],
        };
        let regressions = chosen.iter().map(regression).collect();
        AnchorTargets { objects: chosen, regressions, background }
    }
}

/// What an anchor is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Match {
    /// Of the objects the one that it overlaps most, the first of equals.
    Object(usize),
    Background,
    Neither,
}

fn matches(grid: &AnchorGrid<'_>, objects: &[BBox]) -> Vec<Match> {
    // Of each object the highest IoU with any anchor, and of each anchor that with any object.
    let mut highest = vec![0.0f32; objects.len()];
    let mut best = Vec::with_capacity(grid.len());
    for anchor in grid.iter() {
        let mut most = (0.0f32, 0);
        for (number, (object, highest)) in objects.iter().zip(&mut highest).enumerate() {
            let iou = anchor.iou(object, 0.0);
            *highest = highest.max(iou);
            if iou > most.0 {
                most = (iou, number);
            }
        }
        best.push(most);
    }
    let is_best = |anchor: &BBox| {
        objects
            .iter()
            .zip(&highest)
            .any(|(object, &highest)| highest > 0.0 && anchor.iou(object, 0.0) == highest)
    };
    let of_anchor = |(anchor, (iou, object)): (BBox, (f32, usize))| {
        if iou >= FG_IOU || (iou > 0.0 && is_best(&anchor)) {
            Match::Object(object)
        } else if iou < BG_IOU {
            Match::Background
        } else {
            Match::Neither
        }
    };
    grid.iter().zip(best).map(of_anchor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const BASE: [[f32; 4]; 2] = [[-8.0, -8.0, 8.0, 8.0], [-16.0, -16.0, 16.0, 16.0]];

    #[test]
    fn anchors_are_matched_by_hand() {
        let grid = AnchorGrid { base: &BASE, stride: [16, 16], cells: [1, 4] };
        // The first is the small anchor of cell 1, moved by 2: 14 * 16 of 18 * 16. The second is 40 wide
        // and high: its best anchor is the large one of cell 3, 32 * 28 of 1600 + 1024 - 32 * 28.
        let objects = [BBox::new(10.0, -8.0, 26.0, 8.0), BBox::new(32.0, -12.0, 72.0, 28.0)];
        let iou = |i: usize, object: usize| grid.at(i).iou(&objects[object], 0.0);
        assert_eq!(iou(2, 0), 224.0 / 288.0);
        assert_eq!(iou(7, 1), 896.0 / 1728.0);
        let expected: Vec<Match> = (0..8)
            .map(|i| match i {
                2 => Match::Object(0),
                7 => Match::Object(1),
                _ if iou(i, 0).max(iou(i, 1)) < 0.3 => Match::Background,
                _ => Match::Neither,
            })
            .collect();
        assert_eq!(matches(&grid, &objects), expected);
        // Large anchors of cells 0 and 1 cover part of the first object: 256 / 1024 and less.
        assert_eq!(
            expected[..4],
            [Match::Background, Match::Background, Match::Object(0), Match::Background]
        );
    }

    #[test]
    fn an_object_that_no_anchor_meets_teaches_nothing() {
        let grid = AnchorGrid { base: &BASE, stride: [16, 16], cells: [1, 2] };
        let far = [BBox::new(500.0, 500.0, 600.0, 600.0)];
        assert_eq!(matches(&grid, &far), [Match::Background; 4]);
        assert_eq!(matches(&grid, &[]), [Match::Background; 4]);
    }

    #[test]
    fn half_are_objects_at_most() {
        let grid = AnchorGrid { base: &BASE[..1], stride: [1, 1], cells: [40, 40] };
        let objects = [BBox::new(4.0, 4.0, 20.0, 20.0), BBox::new(15.0, 12.0, 31.0, 28.0)];
        let all = matches(&grid, &objects);
        let count = |wanted: fn(&Match) -> bool| all.iter().filter(|&found| wanted(found)).count();
        // Moved by (a, b), squares of 16 overlap by 0.7 from (16 - a)(16 - b) = 210.8 on: 13 places around each.
        assert_eq!(count(|found| matches!(found, Match::Object(_))), 2 * 13);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let drawn = AnchorTargets::sample(&grid, &objects, &mut rng);
        assert_eq!((drawn.objects.len(), drawn.background.len()), (26, 230));
        for (&place, &regression) in drawn.objects.iter().zip(&drawn.regressions) {
            let Match::Object(object) = all[place] else { panic!("{place} is no object") };
            assert_eq!(CODER.decode(&grid.at(place), regression), objects[object]);
        }
        assert!(drawn.background.iter().all(|&place| all[place] == Match::Background));
        let dense = AnchorGrid { base: &[[-8.0, -8.0, 8.0, 8.0]; 12], ..grid };
        let drawn = AnchorTargets::sample(&dense, &objects, &mut rng);
        assert_eq!((drawn.objects.len(), drawn.background.len()), (128, 128));
    }
}

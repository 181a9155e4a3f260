//! A region proposal network, and what becomes of what it gives.

use serde::{Deserialize, Serialize};

use crate::Graph;
use crate::validate::{MAX_LEVELS, MAX_SIDE};

/// Proposals of an image at most, before and after non-maximum suppression.
pub const MAX_PROPOSALS: u32 = 16_384;
/// Base anchors of a cell at most.
pub const MAX_ANCHORS: usize = 256;
/// Blob pixels from a cell's centre to a corner of an anchor at most.
const MAX_CORNER: f32 = 1e6;

/// A region proposal network (Ren et al., *Faster R-CNN*, NIPS 2015): a small head that slides over each of the trunk's maps and
/// says of some anchors at each cell how likely they are objects, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rpn {
    /// One input, a map `[H, W, C]` of the trunk; outputs logits `[H, W, A]`, and box deltas `[H, W, 4 A]`: tx, ty, tw and
    /// th of the first anchor, then of the next. It runs on every output of the trunk.
    pub graph: Graph,
    /// For each of the trunk's outputs its `A` base anchors: x1, y1, x2 and y2 in blob pixels, around a cell's position.
    ///
    /// Cell (x, y) of a map lies at blob pixel (x, y) times the map's stride.
    pub anchors: Vec<Vec<[f32; 4]>>,
    /// The stride of each of the trunk's outputs, in blob pixels, down and to the right. None: the blob's size, padding
    /// included, over the map's, rounded down, of each axis, as torchvision has it. Where layers pad more than their windows
    /// need, that is too little, and anchors drift away from their cells.
    pub strides: Option<Vec<u32>>,
    /// The deltas are divided by these.
    pub box_weights: [f32; 4],
    /// Anchors of the highest logits that are decoded, for each map.
    pub pre_nms_top_n: u32,
    /// Proposals of an image at most, of all maps together.
    pub post_nms_top_n: u32,
    /// A proposal is suppressed when its IoU with a better one of its map is greater than this; in 0..=1.
    pub nms_iou: f32,
    /// Proposals narrower or lower than this are dropped, in blob pixels.
    pub min_side: f32,
    /// Proposals whose probability is lower than this are dropped; in 0..1.
    pub score_threshold: f32,
}

impl Rpn {
    /// Blob pixels from one cell to the next, down and to the right, on the map at `position`, of `map` rows and columns, of a blob
    /// of `blob`.
    pub fn stride(&self, position: usize, blob: [usize; 2], map: [usize; 2]) -> [usize; 2] {
        match self.strides.as_ref().and_then(|strides| strides.get(position)) {
            Some(&stride) => [stride as usize; 2],
            None => [0, 1].map(|axis| blob[axis] / map[axis].max(1)),
        }
    }

    /// Anchors at each cell.
    pub fn anchors_per_cell(&self) -> usize {
        self.anchors.first().map_or(0, Vec::len)
    }

    /// Whether every value lies in its range, for a trunk that gives `maps`.
    pub(crate) fn check(&self, maps: usize) -> Result<(), String> {
        let within = |what: &str, ok: bool, range: &str| {
            if ok { Ok(()) } else { Err(format!("the RPN's {what} must be {range}")) }
        };
        if self.anchors.len() != maps || maps > MAX_LEVELS {
            let levels = self.anchors.len();
            return Err(format!("the RPN has anchors for {levels} maps, and the trunk gives {maps}"));
        }
        let each = self.anchors_per_cell();
        if !(1..=MAX_ANCHORS).contains(&each) || self.anchors.iter().any(|anchors| anchors.len() != each) {
            let counts: Vec<usize> = self.anchors.iter().map(Vec::len).collect();
            return Err(format!(
                "the RPN has {counts:?} anchors a cell of each map, not one number of 1 to {MAX_ANCHORS}"
            ));
        }
        let is_box = |&[x1, y1, x2, y2]: &[f32; 4]| {
            x1 >= -MAX_CORNER
                && y1 >= -MAX_CORNER
                && x2 > x1
                && y2 > y1
                && x2 <= MAX_CORNER
                && y2 <= MAX_CORNER
        };
        if let Some(anchor) = self.anchors.iter().flatten().find(|anchor| !is_box(anchor)) {
            return Err(format!("the RPN's anchor {anchor:?} is no box within {MAX_CORNER} pixels"));
        }
        if let Some(strides) = &self.strides
            && (strides.len() != maps || !strides.iter().all(|stride| (1..=MAX_SIDE).contains(stride)))
        {
            return Err(format!("the RPN's strides {strides:?} are not {maps} numbers of 1 to {MAX_SIDE}"));
        }
        let weight = 1e-3..=1e6;
        let counts = 1..=MAX_PROPOSALS;
        within(
            "`box_weights`",
            self.box_weights.iter().all(|w| weight.contains(w)),
            "four numbers of 1e-3 to 1e6",
        )?;
        for (what, count) in
            [("`pre_nms_top_n`", self.pre_nms_top_n), ("`post_nms_top_n`", self.post_nms_top_n)]
        {
            within(what, counts.contains(&count), &format!("1 to {MAX_PROPOSALS}"))?;
        }
        within("`nms_iou`", self.nms_iou > 0.0 && self.nms_iou <= 1.0, "above 0 and at most 1")?;
        within("`min_side`", (0.0..=MAX_CORNER).contains(&self.min_side), "0 to 1e6 pixels")?;
        within("`score_threshold`", (0.0..1.0).contains(&self.score_threshold), "at least 0 and below 1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpn() -> Rpn {
        Rpn {
            graph: Graph::default(),
            anchors: vec![vec![[-8.0, -8.0, 8.0, 8.0], [-16.0, -4.0, 16.0, 4.0]]; 3],
            strides: None,
            box_weights: [1.0; 4],
            pre_nms_top_n: 1000,
            post_nms_top_n: 1000,
            nms_iou: 0.7,
            min_side: 1e-3,
            score_threshold: 0.0,
        }
    }

    #[test]
    fn strides_are_said_or_follow_from_the_sizes() {
        let mut rpn = rpn();
        assert_eq!(rpn.stride(1, [800, 1088], [50, 67]), [16, 16]);
        // 600 / 38 is 15.8, and 800 / 50 is 16.
        assert_eq!(rpn.stride(0, [600, 800], [38, 50]), [15, 16]);
        rpn.strides = Some(vec![16, 32, 64]);
        assert_eq!(rpn.check(3), Ok(()));
        assert_eq!(rpn.stride(0, [600, 800], [38, 50]), [16, 16]);
        assert_eq!(rpn.stride(2, [600, 800], [10, 13]), [64, 64]);
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert_eq!(rpn().check(3), Ok(()));
        assert!(rpn().check(2).unwrap_err().contains("anchors for 3 maps, and the trunk gives 2"));
        type Spoil = fn(&mut Rpn);
        let cases: [(Spoil, &str); 20] = [
            (|rpn| rpn.anchors.truncate(1), "anchors for 1 maps"),
            (|rpn| rpn.anchors.iter_mut().for_each(Vec::clear), "[0, 0, 0] anchors a cell"),
            (|rpn| rpn.anchors[1].truncate(1), "[2, 1, 2] anchors a cell"),
            (|rpn| rpn.anchors = vec![vec![[-1.0, -1.0, 1.0, 1.0]; 257]; 3], "not one number of 1 to 256"),
            (|rpn| rpn.anchors[2][1] = [1.0, 0.0, 1.0, 1.0], "[1.0, 0.0, 1.0, 1.0] is no box"),
            (|rpn| rpn.anchors[0][0][2] = f32::NAN, "is no box"),
            (|rpn| rpn.anchors[0][0][1] = f32::NAN, "is no box"),
            (|rpn| rpn.anchors[0][0][3] = f32::INFINITY, "is no box"),
            (|rpn| rpn.anchors[0][0][0] = -2e6, "is no box"),
            (|rpn| rpn.strides = Some(vec![4, 8]), "strides [4, 8] are not 3 numbers"),
            (|rpn| rpn.strides = Some(vec![4, 8, 0]), "strides [4, 8, 0]"),
            (|rpn| rpn.strides = Some(vec![4, 8, 20_001]), "1 to 20000"),
            (|rpn| rpn.box_weights[2] = 0.0, "box_weights"),
            (|rpn| rpn.pre_nms_top_n = 0, "pre_nms_top_n"),
            (|rpn| rpn.pre_nms_top_n = u32::MAX, "pre_nms_top_n"),
            (|rpn| rpn.post_nms_top_n = MAX_PROPOSALS + 1, "post_nms_top_n"),
            (|rpn| rpn.nms_iou = f32::NAN, "nms_iou"),
            (|rpn| rpn.min_side = -1.0, "min_side"),
            (|rpn| rpn.min_side = f32::NAN, "min_side"),
            (|rpn| rpn.score_threshold = 1.0, "score_threshold"),
        ];
        for (spoil, words) in cases {
            let mut rpn = rpn();
            spoil(&mut rpn);
            let problem = rpn.check(3).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}

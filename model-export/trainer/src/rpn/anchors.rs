//! The boxes that proposals are made from.

use std::fmt;
use std::str::FromStr;

use frcnn_core::{BBox, anchor, base_anchor};
use serde::{Deserialize, Serialize};

/// As many sizes, or ratios, at most: all together no more anchors at a cell than a bundle takes.
const MOST: usize = 16;

/// The shapes of the anchors at a cell, as `--anchors` says them: `32,64,128/0.5,1,2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct AnchorShapes {
    /// Sides of squares in network pixels.
    sizes: Vec<f32>,
    /// Height over width; the area stays that of the square.
    ratios: Vec<f32>,
}

impl Default for AnchorShapes {
    /// torchvision's of a single map.
    fn default() -> AnchorShapes {
        AnchorShapes { sizes: vec![32.0, 64.0, 128.0, 256.0, 512.0], ratios: vec![0.5, 1.0, 2.0] }
    }
}

impl AnchorShapes {
    /// x1, y1, x2, y2 of each around its cell, in network pixels: whole numbers, sizes in each ratio one after the other.
    pub(crate) fn base(&self) -> Vec<[f32; 4]> {
        let of_ratio = |&ratio: &f32| self.sizes.iter().map(move |&size| base_anchor(size, ratio));
        self.ratios.iter().flat_map(of_ratio).collect()
    }
}

impl FromStr for AnchorShapes {
    type Err = String;

    fn from_str(text: &str) -> Result<AnchorShapes, String> {
        let numbers = |list: &str, what: &str, low: f32, high: f32| -> Result<Vec<f32>, String> {
            let wrong = || format!("{what} are 1 to {MOST} numbers of {low} to {high}, and not `{list}`");
            let parsed: Result<Vec<f32>, _> = list.split(',').map(|number| number.trim().parse()).collect();
            let parsed = parsed.map_err(|_| wrong())?;
            let fits = parsed.len() <= MOST && parsed.iter().all(|number| (low..=high).contains(number));
            if fits { Ok(parsed) } else { Err(wrong()) }
        };
        let (sizes, ratios) = text.split_once('/').unwrap_or((text, "0.5,1,2"));
        Ok(AnchorShapes {
            sizes: numbers(sizes, "sizes", 8.0, 10_000.0)?,
            ratios: numbers(ratios, "ratios", 0.1, 10.0)?,
        })
    }
}

impl fmt::Display for AnchorShapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[f32]| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        write!(f, "{}/{}", list(&self.sizes), list(&self.ratios))
    }
}

impl TryFrom<String> for AnchorShapes {
    type Error = String;

    fn try_from(text: String) -> Result<AnchorShapes, String> {
        text.parse()
    }
}

impl From<AnchorShapes> for String {
    fn from(shapes: AnchorShapes) -> String {
        shapes.to_string()
    }
}

/// The anchors of a feature map: all of a cell, cell after cell, row after row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnchorGrid<'a> {
    /// Those of a cell, around it.
    pub(crate) base: &'a [[f32; 4]],
    /// Network pixels between cells, down and to the right.
    pub(crate) stride: [usize; 2],
    /// Rows and columns of cells.
    pub(crate) cells: [usize; 2],
}

impl AnchorGrid<'_> {
    pub(crate) fn len(&self) -> usize {
        self.cells[0] * self.cells[1] * self.base.len()
    }

    /// Anchor `i` of them in network pixels.
    pub(crate) fn at(&self, i: usize) -> BBox {
        let (cell, number) = (i / self.base.len(), i % self.base.len());
        anchor(self.base[number], self.stride, [cell / self.cells[1], cell % self.cells[1]])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = BBox> {
        (0..self.len()).map(|i| self.at(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_as_they_are_written() {
        let shapes: AnchorShapes = "40, 80.5/1,2".parse().unwrap();
        assert_eq!(shapes.to_string(), "40,80.5/1,2");
        assert_eq!(shapes.to_string().parse(), Ok(shapes.clone()));
        assert_eq!(shapes.base()[..2], [[-20.0, -20.0, 20.0, 20.0], [-40.0, -40.0, 40.0, 40.0]]);
        assert_eq!(shapes.base()[2], base_anchor(40.0, 2.0));
        assert_eq!("64".parse::<AnchorShapes>().unwrap().base().len(), 3);
        assert_eq!(AnchorShapes::default().to_string(), "32,64,128,256,512/0.5,1,2");
        for wrong in ["", "/1", "64/", "x/1", "64/0", "4/1", "64/NaN", "64/1/2", "inf/1"] {
            assert!(wrong.parse::<AnchorShapes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn anchors_lie_around_their_cells() {
        let base = [[-4.0, -4.0, 4.0, 4.0], [-8.0, -2.0, 8.0, 2.0]];
        let grid = AnchorGrid { base: &base, stride: [8, 16], cells: [2, 3] };
        assert_eq!(grid.len(), 12);
        assert_eq!(grid.at(0), BBox::new(-4.0, -4.0, 4.0, 4.0));
        // Row 1, column 2.
        assert_eq!(grid.at(11), BBox::new(24.0, 6.0, 40.0, 10.0));
        assert_eq!(grid.iter().count(), 12);
    }
}

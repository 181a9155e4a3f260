//! From accepted cells to rectangles of pixels.

use super::composite::Changed;
use super::difference::CELL;
use crate::area::{Area, merge};

/// Cells, each way, of a block; blocks that touch belong together.
const BLOCK: usize = 4;
/// Rectangles at most: each is a run of every layer.
const MOST_AREAS: usize = 32;
/// Share of the cells from which all of them are taken.
const MOST_CELLS: f64 = 0.6;

/// Rectangles of a frame of `size` pixels that hold all cells which have changed; `None` where most have.
pub(super) fn pixel_areas(changed: &Changed, [height, width]: [usize; 2]) -> Option<Vec<Area>> {
    if changed.count() as f64 > MOST_CELLS * changed.cells() as f64 {
        return None;
    }
    // The cells of each block that have changed.
    let columns = width.div_ceil(CELL).div_ceil(BLOCK);
    let mut blocks: Vec<Option<Area>> = Vec::new();
    for (y, row) in changed.rows().enumerate() {
        let first = y / BLOCK * columns;
        blocks.resize(first + columns, None);
        for (x, _) in row.iter().enumerate().filter(|(_, changed)| **changed) {
            let cell = Area::new(y..y + 1, x..x + 1);
            let block = &mut blocks[first + x / BLOCK];
            *block = Some(block.as_ref().map_or(cell.clone(), |known| known.union(&cell)));
        }
    }
    let mut areas = Vec::new();
    let mut next = Vec::new();
    for start in 0..blocks.len() {
        let Some(mut area) = blocks[start].take() else { continue };
        next.push(start);
        while let Some(block) = next.pop() {
            let (y, x) = (block / columns, block % columns);
            for (y, x) in neighbours(y, x) {
                let at = y * columns + x;
                if x < columns
                    && let Some(cells) = blocks.get_mut(at).and_then(Option::take)
                {
                    area = area.union(&cells);
                    next.push(at);
                }
            }
        }
        areas.push(area);
    }
    let mut slack = 2;
    merge(&mut areas, slack);
    while areas.len() > MOST_AREAS {
        slack *= 4;
        merge(&mut areas, slack);
    }
    let pixels =
        |cells: &std::ops::Range<usize>, most: usize| cells.start * CELL..(cells.end * CELL).min(most);
    Some(
        areas
            .iter()
            .map(|area| Area::new(pixels(&area.rows, height), pixels(&area.columns, width)))
            .collect(),
    )
}

/// Those that touch, diagonals included; they may lie outside.
fn neighbours(y: usize, x: usize) -> impl Iterator<Item = (usize, usize)> {
    let around = |at: usize| at.saturating_sub(1)..at + 2;
    around(y).flat_map(move |y| around(x).map(move |x| (y, x)))
}

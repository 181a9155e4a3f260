//! Connected regions of foreground cells.

/// Cells of a region at least: less is noise.
const LEAST: usize = 4;
/// Of the nine cells around and including a cell, so many must be foreground for it to count: this fills gaps and takes
/// specks away.
const OF_NINE: u8 = 4;

/// A group of cells that touch, corners included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// x1, y1, x2, y2 in cells, both ends inclusive.
    pub(super) cells: [usize; 4],
    /// Its cells.
    pub(super) count: usize,
}

/// Buffers kept from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Finder {
    neighbours: Vec<u8>,
    solid: Vec<bool>,
    stack: Vec<usize>,
}

impl Finder {
    /// Regions of `foreground`, `columns` cells a row, largest first.
    pub(super) fn find(&mut self, foreground: &[bool], columns: usize) -> Vec<Region> {
        self.clean(foreground, columns);
        let mut regions = Vec::new();
        for start in 0..self.solid.len() {
            if std::mem::take(&mut self.solid[start]) {
                let region = self.fill(start, columns);
                if region.count >= LEAST {
                    regions.push(region);
                }
            }
        }
        regions.sort_by_key(|region| std::cmp::Reverse(region.count));
        regions
    }

    /// Sums of three by three cells, first along rows and then along columns, decide what is solid.
    fn clean(&mut self, foreground: &[bool], columns: usize) {
        self.neighbours.clear();
        for row in foreground.chunks_exact(columns) {
            let at = |x: Option<usize>| x.and_then(|x| row.get(x)).is_some_and(|&cell| cell);
            self.neighbours.extend(
                (0..columns).map(|x| {
                    u8::from(at(x.checked_sub(1))) + u8::from(at(Some(x))) + u8::from(at(Some(x + 1)))
                }),
            );
        }
        let rows = foreground.len() / columns.max(1);
        self.solid.clear();
        for y in 0..rows {
            let row = |y: Option<usize>| {
                let start = y.filter(|&y| y < rows).map(|y| y * columns);
                start.and_then(|start| self.neighbours.get(start..start + columns)).unwrap_or_default()
            };
            let (above, here, below) = (row(y.checked_sub(1)), row(Some(y)), row(Some(y + 1)));
            let value = |row: &[u8], x: usize| row.get(x).copied().unwrap_or(0);
            self.solid
                .extend((0..columns).map(|x| value(above, x) + value(here, x) + value(below, x) >= OF_NINE));
        }
    }

    /// The region that `start` belongs to; its cells are no longer solid.
    fn fill(&mut self, start: usize, columns: usize) -> Region {
        let rows = self.solid.len() / columns;
        let mut region = Region { cells: [usize::MAX, usize::MAX, 0, 0], count: 0 };
        self.stack.push(start);
        while let Some(cell) = self.stack.pop() {
            let (x, y) = (cell % columns, cell / columns);
            let [x1, y1, x2, y2] = region.cells;
            region.cells = [x1.min(x), y1.min(y), x2.max(x), y2.max(y)];
            region.count += 1;
            for y in y.saturating_sub(1)..(y + 2).min(rows) {
                for x in x.saturating_sub(1)..(x + 2).min(columns) {
                    if std::mem::take(&mut self.solid[y * columns + x]) {
                        self.stack.push(y * columns + x);
                    }
                }
            }
        }
        region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(rows: &[&str]) -> Vec<Region> {
        let cells: Vec<bool> = rows.iter().flat_map(|row| row.chars().map(|c| c == '#')).collect();
        Finder::default().find(&cells, rows[0].len())
    }

    #[test]
    fn specks_go_and_gaps_close() {
        let regions = find(&[
            "..........",
            ".####...#.", // a speck on the right
            ".#.##.....",
            ".####.....",
            "..........",
            "......###.",
            "......###.",
        ]);
        assert_eq!(regions.len(), 2, "{regions:?}");
        assert_eq!(regions[0].cells, [1, 1, 4, 3]);
        assert_eq!(regions[1].cells, [6, 5, 8, 6]);
        assert!(find(&["#.#.#", ".....", "#.#.#"]).is_empty());
    }

    #[test]
    fn one_cell_and_none() {
        assert!(find(&["#"]).is_empty());
        assert!(Finder::default().find(&[], 3).is_empty());
    }
}

//! Rectangles of maps: which cells have changed, and which are computed anew.

use std::ops::Range;

/// Rows and columns of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Area {
    pub(crate) fn new(rows: Range<usize>, columns: Range<usize>) -> Area {
        Area { rows, columns }
    }

    /// All of a map of `height` rows and `width` columns.
    pub(crate) fn whole([height, width]: [usize; 2]) -> Area {
        Area { rows: 0..height, columns: 0..width }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() || self.columns.is_empty()
    }

    pub(crate) fn cells(&self) -> usize {
        self.rows.len().saturating_mul(self.columns.len())
    }

    /// The smallest rectangle that holds both.
    pub(crate) fn union(&self, other: &Area) -> Area {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other.clone() } else { self.clone() };
        }
        let join = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        Area { rows: join(&self.rows, &other.rows), columns: join(&self.columns, &other.columns) }
    }

    pub(crate) fn meets(&self, other: &Area) -> bool {
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        meet(&self.rows, &other.rows) && meet(&self.columns, &other.columns)
    }
}

/// Joins rectangles where their union is hardly larger than both: `slack` cells more at most. Empty ones go.
pub(crate) fn merge(areas: &mut Vec<Area>, slack: usize) {
    areas.retain(|area| !area.is_empty());
    let mut first = 0;
    while first < areas.len() {
        let mut joined = false;
        let mut second = first + 1;
        while second < areas.len() {
            let union = areas[first].union(&areas[second]);
            let both = areas[first].cells().saturating_add(areas[second].cells());
            if union.cells() <= both.saturating_add(slack) {
                areas[first] = union;
                areas.swap_remove(second);
                joined = true;
            } else {
                second += 1;
            }
        }
        // What has grown may now reach those it did not.
        first += usize::from(!joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_rectangles_are_joined_and_far_ones_stay() {
        let mut areas = vec![
            Area::new(0..2, 0..2),
            Area::new(50..51, 50..51),
            Area::new(0..2, 3..5),
            Area::new(9..9, 0..4),
            Area::new(0..2, 5..7),
        ];
        merge(&mut areas, 4);
        areas.sort_by_key(|area| area.rows.start);
        assert_eq!(areas, [Area::new(0..2, 0..7), Area::new(50..51, 50..51)]);
    }
}

//! The assignment of observations to objects that has the largest sum of gains.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

/// What it gains to assign a column to a row: above 0, and at most 1. Pairs that are not listed cannot be assigned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) gain: f64,
}

/// Gains are whole numbers for the solver, so that its sums are exact.
const UNIT: f64 = 1e9;

/// Pairs of row and column, each of which occurs once at most, with the largest sum of gains.
///
/// Rows and columns that compete with none are independent problems, and nearly all have one row: so a hundred objects
/// all over the view cost little more than one.
pub(crate) fn assign(rows: usize, columns: usize, pairs: &[Pair]) -> Vec<(usize, usize)> {
    let mut groups = Groups::new(rows + columns);
    for pair in pairs {
        groups.join(pair.row, rows + pair.column);
    }
    let mut by_group: Vec<(usize, Pair)> = pairs.iter().map(|&pair| (groups.find(pair.row), pair)).collect();
    by_group.sort_by_key(|&(group, _)| group);
    let mut assigned = Vec::new();
    for group in by_group.chunk_by(|a, b| a.0 == b.0) {
        match group {
            [(_, pair)] => assigned.push((pair.row, pair.column)),
            _ => solve(group.iter().map(|(_, pair)| *pair), &mut assigned),
        }
    }
    assigned
}

/// One group by the Hungarian method (Kuhn, 1955; Munkres, 1957).
fn solve(pairs: impl Iterator<Item = Pair> + Clone, assigned: &mut Vec<(usize, usize)>) {
    let distinct = |of: fn(&Pair) -> usize| {
        let mut values: Vec<usize> = pairs.clone().map(|pair| of(&pair)).collect();
        values.sort_unstable();
        values.dedup();
        values
    };
    let (rows, columns) = (distinct(|pair| pair.row), distinct(|pair| pair.column));
    // The solver assigns every row, so the shorter side is its rows; what it assigns at no gain is left alone.
    let turned = rows.len() > columns.len();
    let (short, long) = if turned { (&columns, &rows) } else { (&rows, &columns) };
    let mut gains = Matrix::new(short.len(), long.len(), 0i64);
    for pair in pairs {
        let (s, l) = if turned { (pair.column, pair.row) } else { (pair.row, pair.column) };
        if let (Ok(s), Ok(l)) = (short.binary_search(&s), long.binary_search(&l)) {
            gains[(s, l)] = ((pair.gain.clamp(0.0, 1.0) * UNIT) as i64).max(1);
        }
    }
    let (_, chosen) = kuhn_munkres(&gains);
    for (s, &l) in chosen.iter().enumerate() {
        if gains[(s, l)] > 0 {
            let (row, column) = if turned { (long[l], short[s]) } else { (short[s], long[l]) };
            assigned.push((row, column));
        }
    }
}

/// Disjoint sets.
struct Groups {
    parent: Vec<usize>,
}

impl Groups {
    fn new(count: usize) -> Groups {
        Groups { parent: (0..count).collect() }
    }

    fn find(&mut self, mut member: usize) -> usize {
        while self.parent[member] != member {
            self.parent[member] = self.parent[self.parent[member]];
            member = self.parent[member];
        }
        member
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        let (low, high) = (a.min(b), a.max(b));
        self.parent[high] = low;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The best sum by trying everything.
    fn best(row: usize, rows: usize, taken: u32, gains: &[f64], columns: usize) -> f64 {
        if row == rows {
            return 0.0;
        }
        let mut most = best(row + 1, rows, taken, gains, columns);
        for column in 0..columns {
            let gain = gains[row * columns + column];
            if gain > 0.0 && taken >> column & 1 == 0 {
                most = most.max(gain + best(row + 1, rows, taken | 1 << column, gains, columns));
            }
        }
        most
    }

    proptest! {
        #[test]
        fn no_other_assignment_gains_more(
            rows in 1usize..6, columns in 1usize..6, numbers in prop::collection::vec(0u8..20, 25), empty in 0u8..20,
        ) {
            let gain = |row: usize, column: usize| {
                let number = numbers[row * columns + column];
                if number < empty { 0.0 } else { (f64::from(number) + 1.0) / 20.0 }
            };
            let gains: Vec<f64> = (0..rows * columns).map(|i| gain(i / columns, i % columns)).collect();
            let pairs: Vec<Pair> = (0..rows * columns)
                .filter(|&i| gains[i] > 0.0)
                .map(|i| Pair { row: i / columns, column: i % columns, gain: gains[i] })
                .collect();
            let assigned = assign(rows, columns, &pairs);
            let mut seen_rows: Vec<_> = assigned.iter().map(|pair| pair.0).collect();
            let mut seen_columns: Vec<_> = assigned.iter().map(|pair| pair.1).collect();
            seen_rows.sort_unstable();
            seen_columns.sort_unstable();
            prop_assert!(seen_rows.windows(2).chain(seen_columns.windows(2)).all(|pair| pair[0] < pair[1]));
            prop_assert!(assigned.iter().all(|&(row, column)| gains[row * columns + column] > 0.0));
            let sum: f64 = assigned.iter().map(|&(row, column)| gains[row * columns + column]).sum();
            let best = best(0, rows, 0, &gains, columns);
            prop_assert!((sum - best).abs() < 1e-6, "{sum} of {best}");
        }
    }
}

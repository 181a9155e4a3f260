//! The assignment of observations to objects that has the largest sum of gains.

/// What it gains to assign a column to a row: above 0, and at most 1. Pairs that are not listed cannot be assigned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) gain: f64,
}

/// Gains are whole numbers to the solver, so that its sums are exact.
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

/// One group.
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
    let mut gains = Gains { columns: long.len(), values: vec![0; short.len() * long.len()] };
    for pair in pairs {
        let (s, l) = if turned { (pair.column, pair.row) } else { (pair.row, pair.column) };
        if let (Ok(s), Ok(l)) = (short.binary_search(&s), long.binary_search(&l)) {
            gains.values[s * long.len() + l] = ((pair.gain.clamp(0.0, 1.0) * UNIT) as i64).max(1);
        }
    }
    for (l, s) in gains.assign().into_iter().enumerate() {
        let Some(s) = s.filter(|&s| gains.at(s, l) > 0) else { continue };
        let (row, column) = if turned { (long[l], short[s]) } else { (short[s], long[l]) };
        assigned.push((row, column));
    }
}

/// A matrix with no more rows than columns.
struct Gains {
    columns: usize,
    values: Vec<i64>,
}

impl Gains {
    fn at(&self, row: usize, column: usize) -> i64 {
        self.values[row * self.columns + column]
    }

    /// The row of each column, so that every row has one and the sum of gains is the largest: the Hungarian method by
    /// shortest augmenting paths (Jonker and Volgenant, 1987; Crouse, 2016), in O(rows^2 columns).
    ///
    /// Each row and column has a price, and no pair costs less (gains less the other way round) than the prices of both. One row
    /// after another looks for its way to a free column over pairs that cost no more, or the least more, than their prices.
    fn assign(&self) -> Vec<Option<usize>> {
        let columns = self.columns;
        let mut prices = (vec![0i64; self.values.len() / columns.max(1)], vec![0i64; columns]);
        let mut rows: Vec<Option<usize>> = vec![None; columns];
        for first in 0..prices.0.len() {
            // The way to each column: how much more it costs than the prices say, and the column before it.
            let mut ways = vec![(i64::MAX, None); columns];
            let mut done = vec![false; columns];
            let (mut row, mut last, mut cost) = (first, None, 0);
            let end = loop {
                let mut next = None;
                for column in (0..columns).filter(|&column| !done[column]) {
                    let more = cost - self.at(row, column) - prices.0[row] - prices.1[column];
                    if more < ways[column].0 {
                        ways[column] = (more, last);
                    }
                    if next.is_none_or(|best: usize| ways[column].0 < ways[best].0) {
                        next = Some(column);
                    }
                }
                // There are as many columns as rows, so one is left.
                let Some(column) = next else { return rows };
                cost = ways[column].0;
                done[column] = true;
                last = Some(column);
                match rows[column] {
                    Some(owner) => row = owner,
                    None => break column,
                }
            };
            prices.0[first] += cost;
            for column in (0..columns).filter(|&column| done[column]) {
                let change = cost - ways[column].0;
                prices.1[column] -= change;
                if let Some(owner) = rows[column] {
                    prices.0[owner] += change;
                }
            }
            // Each column on the way gets the row of the one before it.
            let mut column = end;
            while let Some(before) = ways[column].1 {
                rows[column] = rows[before];
                column = before;
            }
            rows[column] = Some(first);
        }
        rows
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
